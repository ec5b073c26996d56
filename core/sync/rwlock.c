/* rwlock.c - many who read, or one who writes. */
#include "lock.h"

enum wish {
    TO_READ,
    TO_WRITE,
};

/* Not one way of waiting but two, in one queue: a waiter's count is its wish. If the first is a
 * reader, somebody writes. */
struct rwlock {
    struct lot lot;
    struct hold writer;
    size_t readers;
};

_Static_assert(sizeof(struct rwlock) <= sizeof(struct coil_rwlock), "coil_rwlock is too small");

static struct rwlock *rwlock_of(const struct coil_rwlock *l)
{
    return (struct rwlock *)(uintptr_t)l;
}

static void orphan(struct hold *writer)
{
    struct rwlock *l = container_of(writer, struct rwlock, writer);

    writer->task = DEAD_TASK;
    coil_lot_break((struct coil_lot *)&l->lot);
}

/* What l has to say to self. -EAGAIN: wait. */
static int ask(const struct rwlock *l, const struct coil_task *self, enum wish wish)
{
    if (l->lot.broken)
        return -EOWNERDEAD;
    if (l->writer.task)
        return l->writer.task == self ? -EDEADLK : -EAGAIN;
    return wish == TO_WRITE && l->readers ? -EAGAIN : 0;
}

static void give(struct rwlock *l, struct coil_task *t, enum wish wish)
{
    if (wish == TO_WRITE)
        task_hold(t, &l->writer, orphan);
    else
        l->readers++;
}

/* Lets in whoever can be. One that is about to be told that it is cancelled leaves by itself, and
 * lets in the next. */
static void admit(struct rwlock *l)
{
    struct waiter *w;

    while ((w = l->lot.first) && !w->task->to_abort && ask(l, w->task, w->count) == 0) {
        give(l, w->task, w->count);
        lot_wake_first(&l->lot, 0);
    }
}

static enum coil_abort leave(void *ctx)
{
    struct waiter *w = ctx;
    struct rwlock *l = container_of(w->lot, struct rwlock, lot);

    coil__lot_remove(w);
    admit(l); /* readers may have waited behind a writer that is gone */
    return COIL_ABORT_DONE;
}

static int acquire_nowait(struct rwlock *l, struct coil_task *self, enum wish wish)
{
    int r = ask(l, self, wish);

    if (!r && l->lot.first)
        r = -EAGAIN;
    if (!r)
        give(l, self, wish);
    return r;
}

static inline int acquire(struct rwlock *l, struct coil_task *self, enum wish wish)
{
    struct waiter w = {.task = self, .count = wish};
    int r = task_checkpoint(self);

    if (r < 0)
        return r;
    r = acquire_nowait(l, self, wish);
    if (r != -EAGAIN)
        return sync_answer(self, r);
    coil__lot_add(&l->lot, &w);
    return park(self, leave, &w, wish == TO_WRITE ? "write lock" : "read lock");
}

int coil_rwlock_acquire_read(struct coil_rwlock *l)
{
    return acquire(rwlock_of(l), coil__sync_self("coil_rwlock_acquire_read"), TO_READ);
}

int coil_rwlock_acquire_write(struct coil_rwlock *l)
{
    return acquire(rwlock_of(l), coil__sync_self("coil_rwlock_acquire_write"), TO_WRITE);
}

int coil_rwlock_acquire_read_nowait(struct coil_rwlock *l)
{
    return acquire_nowait(rwlock_of(l), coil__sync_self("coil_rwlock_acquire_read_nowait"),
                          TO_READ);
}

int coil_rwlock_acquire_write_nowait(struct coil_rwlock *l)
{
    return acquire_nowait(rwlock_of(l), coil__sync_self("coil_rwlock_acquire_write_nowait"),
                          TO_WRITE);
}

int coil_rwlock_release_read(struct coil_rwlock *public)
{
    struct rwlock *l = rwlock_of(public);

    if (!l->readers)
        return -EPERM;
    l->readers--;
    admit(l);
    return 0;
}

int coil_rwlock_release_write(struct coil_rwlock *public)
{
    struct rwlock *l = rwlock_of(public);
    const struct coil_task *self = here_task();

    if (!self || l->writer.task != self)
        return -EPERM;
    hold_remove(&l->writer);
    admit(l);
    return 0;
}

void coil_rwlock_stats(const struct coil_rwlock *public, struct coil_rwlock_stats *ret)
{
    const struct rwlock *l = rwlock_of(public);
    bool written = l->writer.task && !l->lot.broken;

    ret->readers = l->readers;
    ret->writer = written ? l->writer.task->name : NULL;
    ret->writer_died = l->lot.broken;
    ret->waiting = l->lot.count;
}
