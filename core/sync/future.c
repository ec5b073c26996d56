/* future.c - a result, written once. */
#include "future.h"

_Static_assert(sizeof(struct future) <= sizeof(struct coil_future), "coil_future is too small");

int coil_future_set(struct coil_future *public, int code, void *value)
{
    struct future *f = future_of(public);

    if (code == -ECANCELED)
        return -EINVAL;
    if (f->set)
        return -EALREADY;
    f->value = value;
    f->code = code;
    f->set = true;
    while (f->lot.first) {
        if (f->lot.first->item)
            *(void **)f->lot.first->item = value;
        lot_wake_first(&f->lot, code);
    }
    return 0;
}

int coil_future_result(const struct coil_future *public, void **value)
{
    const struct future *f = future_of(public);

    if (!future_ready(f))
        return -EAGAIN;
    if (value)
        *value = f->value;
    return f->code;
}

int coil_future_wait(struct coil_future *public, void **value)
{
    struct future *f = future_of(public);
    struct coil_task *self = coil__sync_self("coil_future_wait");
    int r = task_checkpoint(self);

    if (r < 0)
        return r;
    if (!future_ready(f))
        return lot_wait(&f->lot, self, value, "future");
    return sync_answer(self, coil_future_result(public, value));
}

int coil_future_is_set(const struct coil_future *f)
{
    return future_ready(future_of(f));
}

void coil_future_stats(const struct coil_future *f, struct coil_future_stats *ret)
{
    ret->set = future_of(f)->set;
    ret->waiting = future_of(f)->lot.count;
}
