/* waits.h - a task that makes one call which may wait, and what became of it. */
#ifndef TESTS_WAITS_H
#define TESTS_WAITS_H

#include "parker.h"

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

struct wait {
    int (*call)(void *on);
    void *on;
    struct coil_handle handle;
    int result;
    int place; /* 0: it waits. 1: its call was the first to return, ... */
};

static __attribute__((unused)) int wait_places;

static __attribute__((unused)) int wait_run(void *arg)
{
    struct wait *w = arg;

    w->result = w->call(w->on);
    w->place = ++wait_places;
    return 0;
}

/* Has a task make the call, and lets it go as far as it goes. */
static __attribute__((unused)) void wait_start(struct coil_group *g, struct wait *w,
                                               int (*call)(void *on), void *on)
{
    struct coil_spawn_options options = {.handle = &w->handle};

    w->call = call;
    w->on = on;
    w->place = 0;
    CHECK_EQ(coil_group_spawn_with(g, wait_run, w, &options), 0);
    give_way();
}

static __attribute__((unused)) void wait_cancel(struct wait *w)
{
    coil_task_cancel(&w->handle, NULL);
}

/* It returned result. */
#define CHECK_RETURNED(w, result_)                                                                 \
    do {                                                                                           \
        CHECK((w)->place);                                                                         \
        CHECK_EQ((w)->result, result_);                                                            \
    } while (0)

#define CHECK_WAITS(w) CHECK(!(w)->place)

/* Holds something until it is told to go. */
struct holder {
    struct parker until;
    int (*acquire)(void *on);
    int (*release)(void *on);
    void *on;
    int acquired;
};

static __attribute__((unused)) int hold(void *arg)
{
    struct holder *h = arg;
    struct coil_scope shield;

    h->acquired = h->acquire(h->on);
    if (h->acquired < 0)
        return h->acquired;
    coil_shield_begin(&shield, COIL_FOREVER);
    CHECK_EQ(parker_park(&h->until), 0);
    if (h->release)
        CHECK_EQ(h->release(h->on), 0);
    return coil_scope_end(&shield, 0);
}

static __attribute__((unused)) void hold_until_told(struct coil_group *g, struct wait *w,
                                                    struct holder *h)
{
    wait_start(g, w, hold, h);
}

static __attribute__((unused)) void tell(struct holder *h)
{
    parker_unpark(&h->until, 0);
    give_way();
}

#endif
