/* parker.h - a task that parks, and remembers what became of it. */
#ifndef TESTS_PARKER_H
#define TESTS_PARKER_H

#include "harness.h"

struct parker {
    struct coil_task *task; /* while it is parked and nobody has woken it */
    enum coil_abort answer; /* to whoever cancels it */
    int aborts;             /* how often it was asked to leave */
    int result;             /* of its coil_park */
    bool over;
};

static inline enum coil_abort parker_leave(void *ctx)
{
    struct parker *p = ctx;

    p->aborts++;
    if (p->answer == COIL_ABORT_DONE)
        p->task = NULL;
    return p->answer;
}

static inline int parker_park(struct parker *p)
{
    p->task = coil_task_self();
    p->result = coil_park(parker_leave, p, "a parker");
    p->over = true;
    return p->result;
}

/* To be spawned. */
static inline int parker_run(void *arg)
{
    return parker_park(arg);
}

static inline void parker_unpark(struct parker *p, int result)
{
    struct coil_task *t = p->task;

    CHECK(t);
    p->task = NULL;
    coil_unpark(t, result);
}

/* Gives way until p has parked. */
static inline void parker_await(const struct parker *p)
{
    while (!p->task)
        coil_yield_shielded();
}

/* Gives way often enough for everybody who could run to have run, in any order. */
static inline void give_way(void)
{
    for (int i = 0; i < 4; i++)
        coil_yield_shielded();
}

#endif
