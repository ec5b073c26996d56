/* hold.h - what a task holds and must not take with it when it ends: locks, tokens. */
#ifndef CORE_SCHED_HOLD_H
#define CORE_SCHED_HOLD_H

#include "../base.h"

struct coil_task;

/* Lies in what is held. Zeroed, nobody holds it. */
struct hold {
    struct hold *next;
    struct hold **at;       /* what points here */
    struct coil_task *task; /* who holds it */
    void (*orphan)(
        struct hold *h); /* task ended holding it: h is off its list, the rest is as was */
};

static inline void hold_add(struct hold *h, struct coil_task *t, struct hold **all,
                            void (*orphan)(struct hold *h))
{
    h->next = *all;
    h->at = all;
    h->task = t;
    h->orphan = orphan;
    if (h->next)
        h->next->at = &h->next;
    *all = h;
}

static inline void hold_remove(struct hold *h)
{
    *h->at = h->next;
    if (h->next)
        h->next->at = h->at;
    h->task = NULL;
}

#endif
