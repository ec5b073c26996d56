/* event.h - an event and a watch as select sees them. */
#ifndef CORE_SYNC_EVENT_H
#define CORE_SYNC_EVENT_H

#include "../../include/coil/sync.h"
#include "lot.h"

/* Waiters in lot are woken with 0. */
struct event {
    struct lot lot;
    bool set; /* and lot is empty */
};

static inline struct event *event_of(const struct coil_event *e)
{
    return (struct event *)(uintptr_t)e;
}

static inline bool event_ready(const struct event *e)
{
    return e->set;
}

/* A waiter's item is its `seen`, which notify fills in: the watch may be gone when the task
 * runs. */
struct watch {
    struct lot lot;
    uint64_t generation;
};

static inline struct watch *watch_of(const struct coil_watch *w)
{
    return (struct watch *)(uintptr_t)w;
}

#endif
