/* park.h - how a task gives way: the ready queue, yield, park and unpark.
 *
 * Inline all the way down to the switch. Each return between a switch and the code that asked for
 * it is one that the processor has forgotten, or predicts from the task that ran before. */
#ifndef CORE_SCHED_PARK_H
#define CORE_SCHED_PARK_H

#include <errno.h>

#include "loop.h"

/* With no operation under way, no timer armed and no mail, nothing but our own tasks can have made
 * anything happen: the next turn can begin without a look at the world. */
static inline bool begin_turn_at_once(struct loop *loop)
{
    if (!loop->ready_count || loop->operations || loop->timers.count ||
        !mailbox_empty(&loop->mailbox) || loop->looks_each_turn || loop->hooks & HOOKS_BY_STEP)
        return false;
    count_turn(loop);
    loop->steps_left = loop->ready_count;
    return true;
}

/* Whoever calls this reports HOOK_SCHEDULED; for a yield the loop does. */
static inline void push_ready(struct loop *loop, struct coil_task *t)
{
    t->state = TASK_READY;
    t->next_ready = NULL;
    *loop->ready_tail = t;
    loop->ready_tail = &t->next_ready;
    loop->ready_count++;
}

/* With more ready tasks than this, each finds its lines of the cache taken by the others. To fetch
 * them costs one that only yields a nanosecond, and spares others several. */
#define PREFETCH_NEXT_ABOVE    16
/* With more than this, they are in no cache, and have to be fetched earlier. */
#define PREFETCH_FURTHER_ABOVE 2048

/* The lines of a ready task, counted from its control block: the last frames that it parked in, and
 * what every task needs. */
#define READY_LINES_FIRST      (-3)
#define READY_LINES_END        4

/* While t runs, has those of the next come, and in a crowd those of one further on. */
prefetching void prefetch_ready(struct loop *loop, const struct coil_task *t)
{
    if (unlikely(loop->ready_count > PREFETCH_FURTHER_ABOVE))
        task_prefetch(t, &loop->last_run, READY_LINES_FIRST, READY_LINES_END);
    prefetch_lines((const char *)loop->ready_head + READY_LINES_FIRST * CACHE_LINE,
                   READY_LINES_END - READY_LINES_FIRST);
}

static inline struct coil_task *pop_ready(struct loop *loop)
{
    struct coil_task *t = loop->ready_head;

    handicap(t, 130);
    loop->ready_head = t->next_ready;
    if (!loop->ready_head)
        loop->ready_tail = &loop->ready_head;
    loop->ready_count--;
    loop->steps_left--;
    loop->switches++;
    t->state = TASK_RUNNING;
    t->budget = TASK_BUDGET;
    coil__here.task = t;
    if (loop->ready_count > PREFETCH_NEXT_ABOVE)
        prefetch_ready(loop, t);
    return t;
}

/* Who runs after the calling task: the next of this turn, or the loop. */
static inline struct context *pop_next(struct loop *loop)
{
    if (loop->steps_left || begin_turn_at_once(loop))
        return &pop_ready(loop)->context;
    coil__here.task = NULL;
    return &loop->context;
}

static inline int switch_to(struct loop *loop, struct context *from, struct context *to)
{
    loop->starter = to->sp ? NULL : from;
    return context_switch(from, to);
}

/* Returns the answer of whoever makes self ready again; none for a yield. */
static inline int switch_away(struct coil_task *self)
{
    struct context *next = pop_next(self->loop);

    return next == &self->context ? next->answer : switch_to(self->loop, &self->context, next);
}

/* Lets every other ready task run. */
static inline void yield(struct coil_task *self)
{
    push_ready(self->loop, self);
    (void)switch_away(self);
}

/* The same, for who hardly ever does. */
void coil__yield(struct coil_task *self);

/* Counts one thing done without waiting; past the budget, gives way. */
static inline void task_charge(struct coil_task *self)
{
    if (unlikely(!--self->budget))
        coil__yield(self);
}

/* What a call answers in a cancelled task. It does not wait, so it is charged: a task that does not
 * listen must not stop the others. */
static inline int task_refuse(struct coil_task *self)
{
    task_charge(self);
    self->told_to_stop = true;
    return -ECANCELED;
}

/* At the head of every call that may wait: a deadline that was past when it was set acts now, a
 * cancelled task is refused. 0 or -ECANCELED. */
static inline int task_checkpoint(struct coil_task *self)
{
    handicap(self, 60);
    if (unlikely(self->loop->deadline_unseen))
        coil__meet_deadlines(self->loop);
    return task_must_stop(self) ? task_refuse(self) : 0;
}

/* Parks a task that is cancelled already, if its abort function will have it so. True: it need not
 * park; -ECANCELED it is. */
bool coil__abort_now(struct coil_task *self);

/* The two halves of park: the task counts as parked, and can be woken and aborted, */
static inline void park_begin(struct coil_task *self, coil_abort_fn *abort_fn, void *ctx,
                              const char *what)
{
    handicap(what, 50);
    self->state = TASK_PARKED;
    self->since_ns = self->loop->now_ns;
    self->abort = abort_fn;
    self->abort_ctx = ctx;
    self->waits_for = what;
}

/* ... and gives way until it is woken, which it may be already. */
static inline int park_end(struct coil_task *self)
{
    return switch_away(self);
}

/* Blocks the calling task. The door to everything that waits; contract in coil/lowlevel.h. */
static inline int park(struct coil_task *self, coil_abort_fn *abort_fn, void *ctx, const char *what)
{
    park_begin(self, abort_fn, ctx, what);
    if (unlikely(task_cancelled(self)) && abort_fn && coil__abort_now(self))
        return task_refuse(self);
    return park_end(self);
}

static inline void unpark(struct coil_task *t, int result)
{
    assert(t->state == TASK_PARKED);

    t->abort = NULL;
    t->waits_for = NULL;
    t->context.answer = result;
    push_ready(t->loop, t);
    report(t->loop, HOOK_SCHEDULED, t);
}

#endif
