/* instrument.c - calling the hooks, in the order in which their instruments were added. */
#include "instrument.h"

#include <errno.h>
#include <string.h>

#include "../sched/loop.h"

static unsigned int hooks_of(const struct coil_instrument *i)
{
    return (i->before_run ? HOOK_BIT(HOOK_BEFORE_RUN) : 0) |
           (i->after_run ? HOOK_BIT(HOOK_AFTER_RUN) : 0) |
           (i->task_spawned ? HOOK_BIT(HOOK_SPAWNED) : 0) |
           (i->task_scheduled ? HOOK_BIT(HOOK_SCHEDULED) : 0) |
           (i->before_step ? HOOK_BIT(HOOK_BEFORE_STEP) : 0) |
           (i->after_step ? HOOK_BIT(HOOK_AFTER_STEP) : 0) |
           (i->task_exited ? HOOK_BIT(HOOK_EXITED) : 0) |
           (i->before_wait ? HOOK_BIT(HOOK_BEFORE_WAIT) : 0) |
           (i->after_wait ? HOOK_BIT(HOOK_AFTER_WAIT) : 0);
}

static void call(const struct coil_instrument *i, enum hook hook, struct coil_task *t,
                 int64_t deadline_ns)
{
    switch (hook) {
    case HOOK_BEFORE_RUN:
        i->before_run(i->ctx);
        break;
    case HOOK_AFTER_RUN:
        i->after_run(i->ctx);
        break;
    case HOOK_SPAWNED:
        i->task_spawned(i->ctx, t);
        break;
    case HOOK_SCHEDULED:
        i->task_scheduled(i->ctx, t);
        break;
    case HOOK_BEFORE_STEP:
        i->before_step(i->ctx, t);
        break;
    case HOOK_AFTER_STEP:
        i->after_step(i->ctx, t);
        break;
    case HOOK_EXITED:
        i->task_exited(i->ctx, t);
        break;
    case HOOK_BEFORE_WAIT:
        i->before_wait(i->ctx, deadline_ns);
        break;
    case HOOK_AFTER_WAIT:
        i->after_wait(i->ctx);
        break;
    }
}

void coil__instruments_report(struct loop *loop, enum hook hook, struct coil_task *t,
                              int64_t deadline_ns)
{
    struct instruments *in = &loop->instruments;
    struct here before;

    if (hook == HOOK_SCHEDULED && t == in->runs)
        in->runs = NULL;
    if (in->telling)
        return;
    before = coil__callback_begin("an instrument");
    in->telling = true;
    in->end = in->count;
    for (in->at = 0; in->at < in->end; in->at++)
        if (hooks_of(in->all[in->at]) & HOOK_BIT(hook))
            call(in->all[in->at], hook, t, deadline_ns);
    in->telling = false;
    coil__callback_end(&before);
}

void coil__instruments_report_spawn(struct loop *loop, struct coil_task *t)
{
    coil__instruments_report(loop, HOOK_SPAWNED, t, 0);
    coil__instruments_report(loop, HOOK_SCHEDULED, t, 0);
}

void coil__instruments_begin_step(struct loop *loop, struct coil_task *t)
{
    loop->instruments.runs = t;
    coil__instruments_report(loop, HOOK_BEFORE_STEP, t, 0);
}

/* Ready without anybody having said so: it gave way. */
void coil__instruments_end_step(struct loop *loop, struct coil_task *t)
{
    if (t->state == TASK_READY && loop->instruments.runs == t)
        coil__instruments_report(loop, HOOK_SCHEDULED, t, 0);
    loop->instruments.runs = NULL;
    coil__instruments_report(loop, HOOK_AFTER_STEP, t, 0);
}

static int find(const struct instruments *in, const struct coil_instrument *i)
{
    int at = 0;

    while (at < in->count && in->all[at] != i)
        at++;
    return at;
}

/* Steps are told by the loop, so from now on each has to come back to it, or none. */
void coil__instruments_update(struct loop *loop)
{
    const struct instruments *in = &loop->instruments;
    unsigned int hooks = in->stepping ? HOOKS_BY_STEP : 0;

    for (int at = 0; at < in->count; at++)
        hooks |= hooks_of(in->all[at]);
    loop->hooks = (uint16_t)hooks;
    if (hooks & HOOKS_BY_STEP)
        loop->steps_left = 0;
}

void coil__instruments_push(struct loop *loop, const struct coil_instrument *i)
{
    struct instruments *in = &loop->instruments;

    in->all[in->count++] = i;
    coil__instruments_update(loop);
}

int coil_instrument_add(const struct coil_instrument *i)
{
    struct loop *loop = coil__here.loop;
    struct instruments *in;

    if (!loop || !i)
        return -EINVAL;
    in = &loop->instruments;
    if (find(in, i) < in->count)
        return 0;
    if (in->count == COIL_INSTRUMENTS_MOST)
        return -ENOSPC;
    coil__instruments_push(loop, i);
    return 0;
}

void coil_instrument_remove(const struct coil_instrument *i)
{
    struct loop *loop = coil__here.loop;
    struct instruments *in;
    int at;

    if (!loop)
        return;
    in = &loop->instruments;
    at = find(in, i);
    if (at == in->count)
        return;
    in->count--;
    memmove(&in->all[at], &in->all[at + 1], (size_t)(in->count - at) * sizeof(in->all[0]));
    if (at <= in->at)
        in->at--; /* whoever comes next has moved to where we are */
    if (at < in->end)
        in->end--;
    coil__instruments_update(loop);
}
