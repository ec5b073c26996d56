/* mailbox.c - a stack that many push to and one takes whole. */
#include "mailbox.h"

void coil__mailbox_init(struct mailbox *box)
{
    atomic_init(&box->newest, NULL);
    atomic_init(&box->posters, 0);
    atomic_init(&box->sleeping, false);
}

bool coil__mailbox_post(struct mailbox *box, struct mail *m)
{
    struct mail *newest = atomic_load_explicit(&box->newest, memory_order_relaxed);

    do {
        m->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&box->newest, &newest, m, memory_order_seq_cst,
                                                    memory_order_relaxed));

    /* Against the loop's "publish sleeping, then look again": one of the two sees the other. */
    return atomic_exchange_explicit(&box->sleeping, false, memory_order_seq_cst);
}

void coil__mailbox_deliver(struct mailbox *box)
{
    struct mail *newest = atomic_exchange_explicit(&box->newest, NULL, memory_order_acquire);
    struct mail *oldest = NULL;

    while (newest) {
        struct mail *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct mail *m = oldest;

        oldest = m->next;
        m->deliver(m);
    }
}
