/* semaphore.c - a count that any task may take from and add to. */
#include "semaphore.h"

_Static_assert(sizeof(struct semaphore) <= sizeof(struct coil_semaphore),
               "coil_semaphore is too small");

static bool sound(const struct semaphore *s)
{
    return s->value >= 0 && s->value <= s->max && s->max > 0;
}

int coil_semaphore_acquire(struct coil_semaphore *public)
{
    struct semaphore *s = semaphore_of(public);
    struct coil_task *self = coil__sync_self("coil_semaphore_acquire");
    int r;

    if (unlikely(!sound(s)))
        return -EINVAL;
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    if (!s->value)
        return lot_wait(&s->lot, self, NULL, "semaphore");
    s->value--;
    return sync_answer(self, 0);
}

int coil_semaphore_acquire_nowait(struct coil_semaphore *public)
{
    struct semaphore *s = semaphore_of(public);

    if (unlikely(!sound(s)))
        return -EINVAL;
    if (!s->value)
        return -EAGAIN;
    s->value--;
    return 0;
}

int coil_semaphore_release(struct coil_semaphore *public)
{
    struct semaphore *s = semaphore_of(public);

    if (unlikely(!sound(s)))
        return -EINVAL;
    if (lot_wake_first(&s->lot, 0))
        return 0;
    if (s->value == s->max)
        return -EOVERFLOW;
    s->value++;
    return 0;
}

void coil_semaphore_stats(const struct coil_semaphore *public, struct coil_semaphore_stats *ret)
{
    const struct semaphore *s = semaphore_of(public);

    ret->value = s->value;
    ret->max = s->max;
    ret->waiting = s->lot.count;
}
