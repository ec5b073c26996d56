/* timer.h - deadlines, soonest first. The loop asks for the soonest and sleeps no longer.
 *
 * A hierarchical wheel, exact to the nanosecond: level n holds the timers whose deadline first
 * differs from the base in its nth digit of six bits, slot by the value of that digit. Arming and
 * disarming touch one slot and never allocate; a timer moves down at most once a level, and only if
 * it comes near its time, which most time-outs never do. */
#ifndef CORE_SCHED_TIMER_H
#define CORE_SCHED_TIMER_H

#include "../list.h"

#define TIMER_LEVELS 11 /* of six bits: all of 63 */
#define TIMER_SLOTS  64

struct timer {
    struct list link;
    int64_t deadline_ns;
    void (*fire)(struct timer *t); /* disarmed by then; may arm it again */
    uint8_t level;
    uint8_t slot;
};

struct timer_slot {
    struct list timers;
    int64_t soonest_ns; /* no timer here is sooner; a removed one may have been it */
};

struct timers {
    int64_t base_ns; /* everything up to here has fired */
    size_t count;
    unsigned int levels; /* a bit for each level in use */
    uint64_t used[TIMER_LEVELS];
    struct timer_slot slots[TIMER_LEVELS][TIMER_SLOTS];
};

void coil__timers_init(struct timers *all, int64_t now_ns);
void coil__timer_add(struct timers *all, struct timer *t, int64_t deadline_ns);
void coil__timer_remove(struct timers *all, struct timer *t);

/* Fires what is due, in the order of the deadlines, first armed first. One that was in the past
 * when it was armed counts as due then. */
void coil__timers_fire(struct timers *all, int64_t now_ns);

/* No timer is due before this. INT64_MAX: there is none. */
static inline int64_t timers_soonest(const struct timers *all)
{
    unsigned int level;
    unsigned int slot;

    if (!all->levels)
        return INT64_MAX;
    level = (unsigned int)__builtin_ctz(all->levels);
    slot = (unsigned int)__builtin_ctzll(all->used[level]);
    return all->slots[level][slot].soonest_ns;
}

static inline bool timer_armed(const struct timer *t)
{
    return list_linked(&t->link);
}

#endif
