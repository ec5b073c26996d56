/* barrier.c - nobody goes on before all have come. */
#include "barrier.h"

#include "rwlock.h"

_Static_assert(sizeof(struct barrier) <= sizeof(struct coil_barrier), "coil_barrier is too small");

int coil__barrier_come(struct barrier *b)
{
    bool held;

    if (b->count < 1)
        return -EINVAL;
    if (b->lot.count + 1 < (size_t)b->count)
        return -EAGAIN;
    if (!b->lot.first)
        return 1;
    if (unlikely(b->lot.first->task->loop != coil__here.loop))
        coil__lot_not_ours(b->lot.first->task);
    held = coil__rwlocks_hold(); /* who is let in meanwhile would leave us, and has come */
    lot_wake_all(&b->lot, 0);
    coil__rwlocks_release(held);
    return 1;
}

int coil_barrier_wait(struct coil_barrier *public)
{
    struct barrier *b = barrier_of(public);
    struct coil_task *self = coil__sync_self("coil_barrier_wait");
    int r;

    if (b->count < 1)
        return -EINVAL;
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    r = coil__barrier_come(b);
    return r == -EAGAIN ? lot_wait(&b->lot, self, NULL, "barrier") : sync_answer(self, r);
}

void coil_barrier_stats(const struct coil_barrier *b, struct coil_barrier_stats *ret)
{
    ret->count = barrier_of(b)->count;
    ret->waiting = barrier_of(b)->lot.count;
}
