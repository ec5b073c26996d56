/* local.h - the slots of a task or a loop. */
#ifndef CORE_SCHED_LOCAL_H
#define CORE_SCHED_LOCAL_H

#include "../../include/coil/local.h"
#include "../base.h"

struct loop;

/* One value, and how many have it. */
struct local {
    const struct coil_local *key;
    void *value;
    size_t users;
};

/* All that a task has; tasks that have the same share it. Who wants to change one that is shared
 * makes a copy. */
struct locals {
    size_t users;
    size_t count;
    struct local *all[];
};

/* NULL is nobody's. */
static inline struct locals *locals_share(struct locals *l)
{
    if (unlikely(l))
        l->users++;
    return l;
}

/* Gives up *l: last value first, if nobody else has them. */
void coil__locals_drop(struct loop *loop, struct locals **l);

#endif
