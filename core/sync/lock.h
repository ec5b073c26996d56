/* lock.h - a lock as a condition sees it. */
#ifndef CORE_SYNC_LOCK_H
#define CORE_SYNC_LOCK_H

#include "../../include/coil/sync.h"
#include "lot.h"

/* Once its owner has died, lot is broken, and somebody who does not exist holds it. */
struct lock {
    struct lot lot; /* empty if nobody holds it. Waiters are woken with 0 holding it */
    struct hold owner;
};

static inline struct lock *lock_of(const struct coil_lock *l)
{
    return (struct lock *)(uintptr_t)l;
}

/* Whom a task's death leaves in its place: a pointer that is no task's. */
#define DEAD_TASK ((struct coil_task *)1)

void coil__lock_orphan(struct hold *owner);

static inline void lock_give(struct lock *l, struct coil_task *t)
{
    task_hold(t, &l->owner, coil__lock_orphan);
}

/* Gives l, which nobody holds, to the first who waits for it. */
void coil__lock_hand_on(struct lock *l);

/* Takes it from its owner and hands it on. */
static inline void lock_take(struct lock *l)
{
    hold_remove(&l->owner);
    if (unlikely(l->lot.first))
        coil__lock_hand_on(l);
}

#endif
