/* condition.c - to wait for what a lock protects.
 *
 * A task waits here for its notification, and then, without having run in between, for the lock: it
 * goes on to the lock's queue in its sleep. So a hundred that are notified at once wake one by one,
 * as the lock becomes free. */
#include "lock.h"

struct condition {
    struct lot lot;
};

/* In the condition's lot, then in its lock's. */
struct condition_waiter {
    struct waiter w;
    struct lock *lock;
    int result; /* if it gets the lock back */
};

_Static_assert(sizeof(struct condition) <= sizeof(struct coil_condition),
               "coil_condition is too small");

static struct condition *condition_of(const struct coil_condition *c)
{
    return (struct condition *)(uintptr_t)c;
}

/* Gives c, which is in no lot, its lock. False: it has to queue. */
static bool regain(struct condition_waiter *c)
{
    if (!c->lock->owner.task) {
        lock_give(c->lock, c->w.task);
        return true;
    }
    c->w.task->waits_for = "lock";
    coil__lot_add(&c->lock->lot, &c->w);
    return false;
}

static enum coil_abort give_up(void *ctx)
{
    struct condition_waiter *c = ctx;

    coil__lot_remove(&c->w);
    if (c->lock->lot.broken) {
        c->result = -EOWNERDEAD;
        return COIL_ABORT_DONE;
    }
    c->result = -ECANCELED;
    return regain(c) ? COIL_ABORT_DONE : COIL_ABORT_LATER;
}

static int wait_for_notification(struct condition *c, struct lock *l, struct coil_task *self)
{
    struct condition_waiter waiter = {.w = {.task = self}, .lock = l};
    int r;

    coil__lot_add(&c->lot, &waiter.w);
    lock_take(l);
    r = park(self, give_up, &waiter, "condition");
    if (r == -EOWNERDEAD)
        return r;
    return waiter.result == -ECANCELED ? task_refuse(self) : waiter.result;
}

/* Before a wait of self's, which must hold l. */
static int check(const struct coil_lock *l, struct coil_task *self)
{
    if (!l)
        return -EINVAL;
    return lock_of(l)->owner.task == self ? task_checkpoint(self) : -EPERM;
}

int coil_condition_wait(struct coil_condition *c, struct coil_lock *l)
{
    struct coil_task *self = coil__sync_self("coil_condition_wait");
    int r = check(l, self);

    return r < 0 ? r : wait_for_notification(condition_of(c), lock_of(l), self);
}

int coil_condition_wait_for(struct coil_condition *c, struct coil_lock *l,
                            coil_predicate_fn *predicate, void *ctx)
{
    struct coil_task *self = coil__sync_self("coil_condition_wait_for");
    int r = predicate ? check(l, self) : -EINVAL;

    if (r < 0)
        return r;
    r = predicate(ctx);
    if (r)
        return sync_answer(self, r);
    do {
        r = coil_condition_wait(c, l);
        if (r < 0)
            return r;
        r = predicate(ctx);
    } while (!r);
    return r;
}

/* False: it can do nothing with a notification, which is then another's. */
static bool notify_first(struct condition *c)
{
    struct condition_waiter *first = container_of(c->lot.first, struct condition_waiter, w);

    if (unlikely(first->w.task->loop != coil__here.loop))
        coil__lot_not_ours(first->w.task);
    coil__lot_remove(&first->w);
    if (first->lock->lot.broken) {
        coil__lot_wake(&first->w, -EOWNERDEAD);
        return false;
    }
    first->w.task->abort = NULL; /* it will have its lock, and 0, whatever happens */
    if (regain(first))
        coil__lot_wake(&first->w, 0);
    return true;
}

size_t coil_condition_notify(struct coil_condition *public, size_t count)
{
    struct condition *c = condition_of(public);
    size_t notified = 0;

    while (notified < count && c->lot.first)
        notified += notify_first(c);
    return notified;
}

size_t coil_condition_notify_all(struct coil_condition *c)
{
    return coil_condition_notify(c, SIZE_MAX);
}

void coil_condition_stats(const struct coil_condition *c, struct coil_condition_stats *ret)
{
    ret->waiting = condition_of(c)->lot.count;
}
