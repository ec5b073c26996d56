/* rwlock.c - many who read, or one who writes. */
#include "rwlock.h"

#include "lock.h"

_Static_assert(sizeof(struct rwlock) <= sizeof(struct coil_rwlock), "coil_rwlock is too small");

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

/* Lets in whoever can be. Nobody stands there who is about to be told that he is cancelled: while
 * they are told, it is held off. */
static void admit_to(struct rwlock *l)
{
    struct waiter *w;

    while ((w = l->lot.first) && ask(l, w->task, w->count) == 0) {
        give(l, w->task, w->count);
        lot_wake_first(&l->lot, 0);
    }
}

bool coil__rwlocks_hold(void)
{
    const bool held = coil__here.loop->rwlocks_held;

    coil__here.loop->rwlocks_held = true;
    return held;
}

/* A select that is let in leaves other locks, which let in others: one after the other, not one
 * inside the other. */
void coil__rwlocks_release(bool held)
{
    struct loop *loop = coil__here.loop;
    struct rwlock *l;

    if (held)
        return;
    while ((l = loop->rwlocks_to_admit)) {
        loop->rwlocks_to_admit = l->next_to_admit;
        l->to_admit = false;
        admit_to(l);
    }
    loop->rwlocks_held = false;
}

static void admit(struct rwlock *l)
{
    bool held;

    if (!l->lot.first || l->to_admit)
        return;
    if (unlikely(l->lot.first->task->loop != coil__here.loop))
        coil__lot_not_ours(l->lot.first->task);
    held = coil__rwlocks_hold();
    l->to_admit = true;
    l->next_to_admit = coil__here.loop->rwlocks_to_admit;
    coil__here.loop->rwlocks_to_admit = l;
    coil__rwlocks_release(held);
}

/* Readers may have waited behind a writer that is gone. */
void coil__rwlock_left(struct waiter *w, struct lot *lot)
{
    (void)w;
    admit(container_of(lot, struct rwlock, lot));
}

int coil__rwlock_acquire_nowait(struct rwlock *l, struct coil_task *self, enum wish wish)
{
    int r = ask(l, self, wish);

    if (!r && l->lot.first)
        r = -EAGAIN;
    if (!r)
        give(l, self, wish);
    return r;
}

static int wait_for(struct rwlock *l, struct coil_task *self, enum wish wish)
{
    struct waiter w = {.task = self, .count = wish, .left = coil__rwlock_left};

    return coil__lot_wait(&l->lot, &w, wish == TO_WRITE ? "write lock" : "read lock");
}

static inline int acquire(struct rwlock *l, struct coil_task *self, enum wish wish)
{
    int r = task_checkpoint(self);

    if (r < 0)
        return r;
    r = coil__rwlock_acquire_nowait(l, self, wish);
    return r == -EAGAIN ? wait_for(l, self, wish) : sync_answer(self, r);
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
    return coil__rwlock_acquire_nowait(rwlock_of(l),
                                       coil__sync_self("coil_rwlock_acquire_read_nowait"), TO_READ);
}

int coil_rwlock_acquire_write_nowait(struct coil_rwlock *l)
{
    return coil__rwlock_acquire_nowait(
        rwlock_of(l), coil__sync_self("coil_rwlock_acquire_write_nowait"), TO_WRITE);
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
