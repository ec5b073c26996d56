/* lot.h - queues of waiting tasks, first come, first served: what all primitives are made of.
 *
 * A task waits in one lot, or, to select, in several at once. Whoever wakes it takes it out of all of
 * them at once, so a task that stands in a lot can always be handed something. */
#ifndef CORE_SYNC_LOT_H
#define CORE_SYNC_LOT_H

#include "../../include/coil/lowlevel.h"
#include "../sched/park.h"

struct lot;

/* A task's place in a lot; lives on the stack of that task. */
struct waiter {
    struct waiter *next;
    struct waiter *prev;
    struct lot *lot; /* NULL: in none */
    struct coil_task *task;
    void *item;   /* what is to be filled in or taken; the lot's owner knows */
    size_t count; /* how much is wanted; likewise */
    struct waiter
        *others; /* of a select: its waiters, all in one array. NULL: there is just this */
    unsigned int others_count;
    bool woken; /* by whoever took it out, not by a cancel */
};

/* Zeroed, it is empty. */
struct lot {
    struct waiter *first;
    struct waiter *last;
    size_t count;
    bool broken;
};

static inline struct lot *lot_of(const struct coil_lot *l)
{
    return (struct lot *)(uintptr_t)l;
}

/* Puts w at the end of lot. */
void coil__lot_add(struct lot *lot, struct waiter *w);

/* Takes w out of its lot, if it is in one. */
void coil__lot_remove(struct waiter *w);

/* Waits in lot, with w, of which item and count are the caller's. 0 or more: the result given to
 * lot_wake. -ECANCELED: w is out of the lot. No checkpoint before: for that see sync_checkpoint. */
int coil__lot_wait(struct lot *lot, struct waiter *w, const char *what);

/* The same where cancellation does not reach. */
int coil__lot_wait_shielded(struct lot *lot, struct waiter *w, const char *what);

/* Takes w out of its lot, and out of all others it waits in, and makes its task ready. */
void coil__lot_wake(struct waiter *w, int result);

/* Wakes the first. False: there is none. */
static inline bool lot_wake_first(struct lot *lot, int result)
{
    if (!lot->first)
        return false;
    coil__lot_wake(lot->first, result);
    return true;
}

static inline void lot_wake_all(struct lot *lot, int result)
{
    while (lot_wake_first(lot, result))
        continue;
}

/* The calling task; dies outside of one. what: "coil_event_wait". */
struct coil_task *coil__sync_self(const char *what);

/* Before a call that may wait: a deadline that has passed acts now, a cancelled task is refused. 0 or
 * -ECANCELED. */
static inline int sync_checkpoint(struct coil_task *self)
{
    return unlikely(task_cancelled(self)) ? task_refuse(self) : 0;
}

#endif
