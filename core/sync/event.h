/* event.h - an event as select sees it. */
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

#endif
