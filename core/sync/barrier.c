/* barrier.c - nobody goes on before all have come. */
#include "../../include/coil/sync.h"
#include "lot.h"

struct barrier {
    struct lot lot;
    int64_t count;
};

_Static_assert(sizeof(struct barrier) <= sizeof(struct coil_barrier), "coil_barrier is too small");

static struct barrier *barrier_of(const struct coil_barrier *b)
{
    return (struct barrier *)(uintptr_t)b;
}

int coil_barrier_wait(struct coil_barrier *public)
{
    struct barrier *b = barrier_of(public);
    struct coil_task *self = coil__sync_self("coil_barrier_wait");
    struct waiter w = {.task = self};
    int r;

    if (b->count < 1)
        return -EINVAL;
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    if (b->lot.count + 1 < (size_t)b->count)
        return coil__lot_wait(&b->lot, &w, "barrier");
    lot_wake_all(&b->lot, 0);
    return sync_answer(self, 1);
}

void coil_barrier_stats(const struct coil_barrier *b, struct coil_barrier_stats *ret)
{
    ret->count = barrier_of(b)->count;
    ret->waiting = barrier_of(b)->lot.count;
}
