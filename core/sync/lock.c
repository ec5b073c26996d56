/* lock.c - one at a time, and who it is. */
#include "lock.h"

_Static_assert(sizeof(struct lock) <= sizeof(struct coil_lock), "coil_lock is too small");

void coil__lock_orphan(struct hold *owner)
{
    struct lock *l = container_of(owner, struct lock, owner);

    owner->task = DEAD_TASK;
    coil_lot_break((struct coil_lot *)&l->lot);
}

void coil__lock_hand_on(struct lock *l)
{
    lock_give(l, l->lot.first->task);
    lot_wake_first(&l->lot, 0);
}

/* Why self cannot have l without waiting. */
static int refusal(const struct lock *l, const struct coil_task *self)
{
    if (l->lot.broken)
        return -EOWNERDEAD;
    return l->owner.task == self ? -EDEADLK : -EAGAIN;
}

/* The last thing that the other does: so who waits returns from no more than one. */
static out_of_line int wait_for(struct lock *l, struct coil_task *self)
{
    int r = refusal(l, self);

    return r == -EAGAIN ? lot_wait(&l->lot, self, NULL, "lock") : sync_answer(self, r);
}

int coil_lock_acquire(struct coil_lock *public)
{
    struct lock *l = lock_of(public);
    struct coil_task *self = coil__sync_self("coil_lock_acquire");
    int r = task_checkpoint(self);

    if (unlikely(r < 0))
        return r;
    if (unlikely(l->owner.task))
        return wait_for(l, self);
    lock_give(l, self);
    return sync_answer(self, 0);
}

int coil_lock_acquire_nowait(struct coil_lock *public)
{
    struct lock *l = lock_of(public);
    struct coil_task *self = coil__sync_self("coil_lock_acquire_nowait");

    if (l->owner.task)
        return refusal(l, self);
    lock_give(l, self);
    return 0;
}

int coil_lock_release(struct coil_lock *public)
{
    struct lock *l = lock_of(public);
    const struct coil_task *self = here_task();

    if (unlikely(!self || l->owner.task != self))
        return -EPERM;
    lock_take(l);
    return 0;
}

void coil_lock_stats(const struct coil_lock *public, struct coil_lock_stats *ret)
{
    const struct lock *l = lock_of(public);
    bool held = l->owner.task && !l->lot.broken;

    ret->owner = held ? l->owner.task->name : NULL;
    ret->owner_died = l->lot.broken;
    ret->waiting = l->lot.count;
}
