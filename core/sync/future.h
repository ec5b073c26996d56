/* future.h - a future as select sees it. */
#ifndef CORE_SYNC_FUTURE_H
#define CORE_SYNC_FUTURE_H

#include "../../include/coil/sync.h"
#include "lot.h"

/* Waiters in lot are woken with the code. An item that is not NULL says where the value goes (void
 * **): the future may be gone when the task runs. */
struct future {
    struct lot lot;
    void *value;
    int code;
    bool set; /* and lot is empty */
};

static inline struct future *future_of(const struct coil_future *f)
{
    return (struct future *)(uintptr_t)f;
}

static inline bool future_ready(const struct future *f)
{
    return f->set;
}

#endif
