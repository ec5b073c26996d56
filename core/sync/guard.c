/* guard.c - a second user is a mistake, and is told who is the first. */
#include <stdio.h>

#include "../../include/coil/sync.h"
#include "lot.h"

struct guard {
    struct hold user;
    const char *action;
};

_Static_assert(sizeof(struct guard) <= sizeof(struct coil_guard), "coil_guard is too small");

static struct guard *guard_of(const struct coil_guard *g)
{
    return (struct guard *)(uintptr_t)g;
}

static void orphan(struct hold *user)
{
    (void)user; /* nobody uses it any more, and nobody waits to */
}

int coil_guard_enter(struct coil_guard *g)
{
    struct coil_task *self = coil__sync_self("coil_guard_enter");

    if (guard_of(g)->user.task)
        return -EBUSY;
    task_hold(self, &guard_of(g)->user, orphan);
    return 0;
}

int coil_guard_leave(struct coil_guard *g)
{
    const struct coil_task *self = here_task();

    if (!self || guard_of(g)->user.task != self)
        return -EPERM;
    hold_remove(&guard_of(g)->user);
    return 0;
}

int coil_guard_message(const struct coil_guard *public, char *buf, size_t size)
{
    const struct guard *g = guard_of(public);
    const struct coil_task *t = g->user.task;

    if (!t)
        return snprintf(buf, size, "%s", "");
    return snprintf(buf, size, "task %s, spawned at %s, is already %s this", t->name, t->site,
                    g->action ? g->action : "using");
}

void coil_guard_stats(const struct coil_guard *g, struct coil_guard_stats *ret)
{
    const struct coil_task *t = guard_of(g)->user.task;

    ret->user = t ? t->name : NULL;
}
