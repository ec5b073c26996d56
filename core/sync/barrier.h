/* barrier.h - a barrier as select sees it. */
#ifndef CORE_SYNC_BARRIER_H
#define CORE_SYNC_BARRIER_H

#include "../../include/coil/sync.h"
#include "lot.h"

/* Waiters in lot are woken with 0. */
struct barrier {
    struct lot lot;
    int64_t count;
};

static inline struct barrier *barrier_of(const struct coil_barrier *b)
{
    return (struct barrier *)(uintptr_t)b;
}

/* 1: the caller is the last, and the others are awake. -EAGAIN: not all have come. -EINVAL. */
int coil__barrier_come(struct barrier *b);

#endif
