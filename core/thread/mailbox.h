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
    atomic_uint posters; /* that have entered and not left; POSTERS_AWAITED */
    atomic_bool
        sleeping; /* the loop waits in its backend, or is about to: whoever posts must wake it */
    struct mail *taken; /* the loop's own: what is left of those being delivered, oldest first */
};

#define POSTERS_AWAITED (1u << 31) /* the loop sleeps until there are none */

void coil__mailbox_init(struct mailbox *box);

/* From any thread, around all it does about a message: the loop does not go away in between. */
void coil__mailbox_enter(struct mailbox *box);
void coil__mailbox_leave(struct mailbox *box);

/* Waits until everybody who had entered has left. On the loop's thread. */
void coil__mailbox_await_posters(struct mailbox *box);

/* From any thread that has entered. True: the loop sleeps and the caller must wake it. */
bool coil__mailbox_post(struct mailbox *box, struct mail *m);

/* Delivers all there is, oldest first. On the loop's thread, and not while it does. */
void coil__mailbox_deliver(struct mailbox *box);

/* Takes m, which has been posted and not delivered, out again. On the loop's thread, also while it
 * delivers. */
void coil__mailbox_withdraw(struct mailbox *box, struct mail *m);

static inline bool mailbox_empty(struct mailbox *box)
{
    return !atomic_load_explicit(&box->newest, memory_order_relaxed);
}

#endif
