/* event.c - what happens once, and what happens again and again. */
#include "event.h"

_Static_assert(sizeof(struct event) <= sizeof(struct coil_event), "coil_event is too small");

void coil_event_set(struct coil_event *e)
{
    event_of(e)->set = true;
    lot_wake_all(&event_of(e)->lot, 0);
}

int coil_event_is_set(const struct coil_event *e)
{
    return event_ready(event_of(e));
}

int coil_event_wait(struct coil_event *public)
{
    struct event *e = event_of(public);
    struct coil_task *self = coil__sync_self("coil_event_wait");
    int r = task_checkpoint(self);

    if (r < 0)
        return r;
    return event_ready(e) ? sync_answer(self, 0) : lot_wait(&e->lot, self, NULL, "event");
}

void coil_event_stats(const struct coil_event *e, struct coil_event_stats *ret)
{
    ret->set = event_of(e)->set;
    ret->waiting = event_of(e)->lot.count;
}

/* --- Watch ----------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct watch) <= sizeof(struct coil_watch), "coil_watch is too small");

uint64_t coil_watch_generation(const struct coil_watch *w)
{
    return watch_of(w)->generation;
}

void coil_watch_notify(struct coil_watch *public)
{
    struct watch *w = watch_of(public);

    w->generation++;
    while (w->lot.first) {
        *(uint64_t *)w->lot.first->item = w->generation;
        lot_wake_first(&w->lot, 0);
    }
}

int coil_watch_wait(struct coil_watch *public, uint64_t *seen)
{
    struct watch *w = watch_of(public);
    struct coil_task *self = coil__sync_self("coil_watch_wait");
    int r;

    if (!seen)
        return -EINVAL;
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    if (w->generation == *seen)
        return lot_wait(&w->lot, self, seen, "watch");
    *seen = w->generation;
    return sync_answer(self, 0);
}

void coil_watch_stats(const struct coil_watch *w, struct coil_watch_stats *ret)
{
    ret->generation = watch_of(w)->generation;
    ret->waiting = watch_of(w)->lot.count;
}
