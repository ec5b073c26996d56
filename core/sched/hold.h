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
    void (*orphan)(struct hold *h); /* its task ended: nobody holds h any more */
};

/* hold_add and hold_remove where there are others. */
void coil__hold_add_to(struct hold *h, struct hold **all);
void coil__hold_remove_from(struct hold *h);

/* Mostly a task holds one thing at a time. Then what is written does not depend on what is read, so
 * that one acquisition need not wait for the release before it. */
static inline void hold_add(struct hold *h, struct coil_task *t, struct hold **all,
                            void (*orphan)(struct hold *h))
{
    h->next = NULL;
    h->at = all;
    h->task = t;
    h->orphan = orphan;
    if (unlikely(*all))
        coil__hold_add_to(h, all);
    else
        *all = h;
}

static inline void hold_remove(struct hold *h)
{
    h->task = NULL;
    if (unlikely(h->next))
        coil__hold_remove_from(h);
    else
        *h->at = NULL;
}

#endif
