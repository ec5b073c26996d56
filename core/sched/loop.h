/* loop.h - one thread's scheduler: the ready queue, the timers, the backend, the turn. */
#ifndef CORE_SCHED_LOOP_H
#define CORE_SCHED_LOOP_H

#include <errno.h>

#include "../../include/coil/loop.h"
#include "../backend.h"
#include "../debug/instrument.h"
#include "../io/descriptor.h"
#include "../thread/mailbox.h"
#include "../thread/pool.h"
#include "dormant.h"
#include "scope.h"
#include "stack.h"
#include "task.h"
#include "timer.h"

struct runtime;

struct loop {
    struct context context; /* the loop's own, on the thread's stack */
    struct coil_task *ready_head;
    struct coil_task **ready_tail;
    size_t ready_count;
    size_t round_left;             /* tasks that were ready at a turn's start, left for the next */
    bool stepwise;                 /* a turn for each task, and the backend sees every step */
    bool looks_each_turn;          /* also when nothing can have come */
    bool may_lack_stacks;          /* the backend says whether there is one. For tests */
    uint16_t hooks;                /* which of the instruments' are set: bits of enum hook */
    const struct context *starter; /* the last to switch, if it began a task so; context_leave */
    size_t living;
    size_t steps_left; /* of this turn: tasks that were ready at its start. Not beside ready_count,
                        * or gcc loads both at once, and waits for the store to the other */
    struct coil_task *corpse; /* the last task that ended, until coil__bury */
    bool main_ended;
    int main_result;
    int failure; /* of the backend: what the run answers, whatever main does. 0: none */
    int64_t trim_at_ns;
    int64_t now_ns;     /* when somebody last read the clock */
    uintptr_t last_run; /* where a task lies that ran before this one, in a crowd */

    const struct coil__backend_ops *ops;
    struct backend *backend;
    struct backend_reason reason;

    bool deadline_unseen; /* one was armed, and may be past: nobody has looked at the clock since */
    struct timers timers;
    struct passing passing;
    struct audience *audience; /* of a change of the tree that is under way; NULL: there is none */
    struct scope root;
    struct stacks stacks;
    struct dormant_pool dormant;
    unsigned int stack_class;
    struct descriptors descriptors;
    struct mailbox mailbox;
    struct pool pool;
    const uint32_t *layout; /* for a debugger */
    struct list dumpers;    /* that others may ask */
    struct locals *locals;  /* the loop's own slots */

    struct rwlock *rwlocks_to_admit; /* where somebody has left who may have stood in the way */
    bool rwlocks_held;               /* they will be gone through by whoever began to */
    struct instruments instruments;

    uint64_t shuffle_state; /* 0: first come, first served */
    void *(*allocate)(void *ctx, void *ptr, size_t size);
    void *allocate_ctx;

    struct runtime *runtime; /* NULL in a coil_run */
    unsigned int index;

    uint64_t errors_serial;
    size_t operations;
    uint64_t turns;
    uint64_t switches;
    uint64_t cancels;
    uint64_t late_results;
};

/* As coil_run; runtime may be NULL. */
int coil__loop_run(const struct coil_loop_options *options, struct runtime *runtime,
                   unsigned int index, coil_task_fn *main_fn, void *arg, const char *name,
                   const char *site);

/* Where to go from an ended task, whose stack is to be taken back by coil__bury. */
struct departure coil__leave_for_good(struct coil_task *self);

/* Takes back the stack of the last task that ended, if somebody else runs: the loop after a turn,
 * the next task that ends, or who is short of a stack. */
void coil__bury(struct loop *loop);

/* The entry of fd, made if it is new here. -EBADF (also if it is being closed), -ENOMEM. */
static inline int descriptor_get(struct loop *loop, int fd, struct descriptor **ret)
{
    struct descriptor *d = descriptor_known(&loop->descriptors, fd);

    if (unlikely(!d))
        return coil__descriptor_meet(loop, fd, ret);
    if (unlikely(d->closing))
        return coil__descriptor_meet_next(loop, fd, ret);
    *ret = d;
    return 0;
}

/* Reads the clock. */
static inline int64_t loop_now(struct loop *loop)
{
    handicap(loop, 200);
    loop->now_ns = loop->ops->now(loop->backend);
    return loop->now_ns;
}

/* So many turns at the most does now_ns stand still. */
#define TURNS_PER_LOOK 256

void coil__loop_look(struct loop *loop);

static inline void count_turn(struct loop *loop)
{
    if (unlikely(++loop->turns % TURNS_PER_LOOK == 0))
        coil__loop_look(loop);
}

/* Calls the instruments' hooks of that kind, if there are any. */
static inline void report(struct loop *loop, enum hook hook, struct coil_task *t)
{
    if (unlikely(loop->hooks & HOOK_BIT(hook)))
        coil__instruments_report(loop, hook, t, 0);
}

/* Of a task that is new, and complete. */
static inline void report_new(struct coil_task *t)
{
    if (unlikely(t->loop->hooks))
        coil__instruments_report_spawn(t->loop, t);
}

/* How many timers there are, without that of passing, */
static inline size_t loop_timers(const struct loop *loop)
{
    return loop->timers.count - timer_armed(&loop->passing.timer);
}

/* ... and what none of them is due before. COIL_FOREVER if there is none. */
static inline int64_t loop_next_deadline(const struct loop *loop)
{
    return loop_timers(loop) ? timers_soonest(&loop->timers) : COIL_FOREVER;
}

/* Fires what is due. */
static inline void fire_timers(struct loop *loop)
{
    int64_t now_ns;

    loop->deadline_unseen = false;
    if (!loop->timers.count)
        return;
    now_ns = loop_now(loop);
    if (now_ns >= timers_soonest(&loop->timers))
        coil__timers_fire(&loop->timers, now_ns);
}

/* The same before a call that may succeed without a turn. Most deadlines are far off, and to see
 * that costs less than to read the clock. */
void coil__meet_deadlines(struct loop *loop);

/* From any thread: has m delivered by the loop. */
void coil__loop_post(struct loop *loop, struct mail *m);

static inline void *loop_allocate(struct loop *loop, void *ptr, size_t size)
{
    return loop->allocate(loop->allocate_ctx, ptr, size);
}

/* Where a thing has its memory from that may be older than a loop, or outlive it. */
struct memory {
    void *(*allocate)(void *ctx, void *ptr, size_t size);
    void *ctx;
};

/* This thread's loop's; malloc's where there is none. */
struct memory coil__memory_here(void);

static inline void *memory_allocate(const struct memory *m, void *ptr, size_t size)
{
    return m->allocate(m->ctx, ptr, size);
}

/* coil_now plus a duration; COIL_FOREVER if that is beyond the end of time. */
int64_t coil__deadline_after(int64_t duration_ns);

/* The main task has returned; its scope's cancellations are caught. */
void coil__main_ended(struct coil_task *t, int rc);

#endif
