/* mailbox.h - how other threads reach a loop: messages in, in order, run by the loop between
 * turns. */
#ifndef CORE_THREAD_MAILBOX_H
#define CORE_THREAD_MAILBOX_H

#include <stdatomic.h>

#include "../base.h"

/* Lives inside whatever the message is about, so that sending cannot fail. */
struct mail {
    struct mail *next;
    void (*deliver)(struct mail *m); /* on the loop's thread; m is free by then */
};

struct mailbox {
    _Atomic(struct mail *) newest;
    atomic_int posters; /* between posting and waking: the loop must not go away under them */
    atomic_bool
        sleeping; /* the loop waits in its backend, or is about to: whoever posts must wake it */
};

void coil__mailbox_init(struct mailbox *box);

/* From any thread. True: the loop sleeps and the caller must wake it. */
bool coil__mailbox_post(struct mailbox *box, struct mail *m);

/* Delivers all there is, oldest first. On the loop's thread. */
void coil__mailbox_deliver(struct mailbox *box);

static inline bool mailbox_empty(struct mailbox *box)
{
    return !atomic_load_explicit(&box->newest, memory_order_relaxed);
}

#endif
