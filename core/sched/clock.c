/* clock.c - what time it is, and sleeping until it is later. */
#include <errno.h>
#include <time.h>

#include "park.h"

/* Out of line for another reason: where a local variable's address has been given away, clang makes
 * no call the last thing that a function does; see sleep_until. */
static out_of_line int64_t read_clock(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * COIL_SECOND + ts.tv_nsec;
}

int64_t coil__clock_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t coil__clock_tick(void)
{
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

int64_t coil_now(void)
{
    struct loop *loop = coil__here.loop;

    return loop ? loop_now(loop) : coil__clock_now();
}

int64_t coil_now_coarse(void)
{
    const struct loop *loop = coil__here.loop;

    return loop ? loop->now_ns : coil__clock_now();
}

static int64_t time_add(int64_t now_ns, int64_t duration_ns)
{
    if (duration_ns < 0)
        return now_ns;
    return duration_ns >= COIL_FOREVER - now_ns ? COIL_FOREVER : now_ns + duration_ns;
}

int64_t coil__deadline_after(int64_t duration_ns)
{
    return time_add(coil_now(), duration_ns);
}

static void time_is_up(struct timer *t)
{
    unpark(container_of(t, struct coil_task, sleep_timer), 0);
}

static enum coil_abort stop_sleeping(void *ctx)
{
    struct coil_task *t = ctx;

    if (timer_armed(&t->sleep_timer))
        coil__timer_remove(&t->loop->timers, &t->sleep_timer);
    return COIL_ABORT_DONE;
}

/* Leaves nothing in its frame, so that the last call is a jump, and the switch returns to the
 * caller: that spares a return that the processor has forgotten. */
static int sleep_until(int64_t deadline_ns, int64_t now_ns)
{
    struct coil_task *self = need_task("a sleep", NULL);
    int r;

    if (deadline_ns <= now_ns)
        return coil_checkpoint();
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    self->sleep_timer = (struct timer){.fire = time_is_up};
    if (deadline_ns != COIL_FOREVER)
        coil__timer_add(&self->loop->timers, &self->sleep_timer, deadline_ns);
    return park(self, stop_sleeping, self, "sleep");
}

int coil_sleep_until(int64_t deadline_ns)
{
    return sleep_until(deadline_ns, coil_now());
}

int coil_sleep(int64_t duration_ns)
{
    int64_t now_ns = duration_ns > 0 ? coil_now() : 0;

    return sleep_until(time_add(now_ns, duration_ns), now_ns);
}
