/* mailbox.c - a stack that many push to and one takes whole. */
#include "mailbox.h"

#include "futex.h"

void coil__mailbox_init(struct mailbox *box)
{
    atomic_init(&box->newest, NULL);
    atomic_init(&box->posters, 0);
    atomic_init(&box->sleeping, false);
    box->taken = NULL;
}

void coil__mailbox_enter(struct mailbox *box)
{
    atomic_fetch_add_explicit(&box->posters, 1, memory_order_relaxed);
}

void coil__mailbox_leave(struct mailbox *box)
{
    unsigned int before = atomic_fetch_sub_explicit(&box->posters, 1, memory_order_release);

    if (unlikely(before == (POSTERS_AWAITED | 1)))
        futex_wake(&box->posters);
}

void coil__mailbox_await_posters(struct mailbox *box)
{
    unsigned int now =
        atomic_fetch_or_explicit(&box->posters, POSTERS_AWAITED, memory_order_acquire) |
        POSTERS_AWAITED;

    while (now != POSTERS_AWAITED) {
        futex_wait(&box->posters, now);
        now = atomic_load_explicit(&box->posters, memory_order_acquire);
    }
    atomic_fetch_and_explicit(&box->posters, ~POSTERS_AWAITED, memory_order_relaxed);
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

    assert(!box->taken);

    while (newest) {
        struct mail *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    box->taken = oldest;
    while (box->taken) {
        struct mail *m = box->taken;

        box->taken = m->next;
        m->deliver(m);
    }
}

static bool unlink_from(struct mail **at, struct mail *m)
{
    while (*at && *at != m)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = m->next;
    return true;
}

void coil__mailbox_withdraw(struct mailbox *box, struct mail *m)
{
    struct mail *newest = m;

    if (unlink_from(&box->taken, m))
        return;
    /* The newest may get another before it at any time. What is behind it is ours. */
    if (!atomic_compare_exchange_strong_explicit(&box->newest, &newest, m->next,
                                                 memory_order_acquire, memory_order_acquire))
        (void)unlink_from(&newest->next, m);
}
