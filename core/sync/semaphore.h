/* semaphore.h - a semaphore as select sees it. */
#ifndef CORE_SYNC_SEMAPHORE_H
#define CORE_SYNC_SEMAPHORE_H

#include "../../include/coil/sync.h"
#include "lot.h"

/* Waiters in lot are woken with 0, each having one. */
struct semaphore {
    struct lot lot; /* empty if value is not 0 */
    int64_t value;
    int64_t max;
};

static inline struct semaphore *semaphore_of(const struct coil_semaphore *s)
{
    return (struct semaphore *)(uintptr_t)s;
}

#endif
