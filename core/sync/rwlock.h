/* rwlock.h - a read-write lock as select sees it. */
#ifndef CORE_SYNC_RWLOCK_H
#define CORE_SYNC_RWLOCK_H

#include "../../include/coil/sync.h"
#include "lot.h"

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
    struct rwlock *next_to_admit; /* on the loop's list, while: */
    bool to_admit;
};

static inline struct rwlock *rwlock_of(const struct coil_rwlock *l)
{
    return (struct rwlock *)(uintptr_t)l;
}

/* 0: self has it. -EAGAIN, -EDEADLK, -EOWNERDEAD. */
int coil__rwlock_acquire_nowait(struct rwlock *l, struct coil_task *self, enum wish wish);

/* Between the two nobody is let in for whom somebody has made way. hold says whether that was so
 * already, which release wants to know. */
bool coil__rwlocks_hold(void);
void coil__rwlocks_release(bool held);

/* What a waiter in lot has for `left`. */
void coil__rwlock_left(struct waiter *w, struct lot *lot);

#endif
