/* loop.h - one thread's scheduler: the ready queue, the timers, the backend, the turn. */
#ifndef CORE_SCHED_LOOP_H
#define CORE_SCHED_LOOP_H

#include <errno.h>

#include "../../include/coil/loop.h"
#include "../backend.h"
#include "../io/descriptor.h"
#include "../thread/mailbox.h"
#include "../thread/pool.h"
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
    size_t steps_left; /* of this turn: tasks that were ready at its start */
    size_t living;
    struct coil_task *corpse; /* a task that has ended; its stack can be returned once off it */
    bool main_ended;
    int main_result;
    int64_t trim_at_ns;

    const struct coil__backend_ops *ops;
    struct backend *backend;
    struct backend_reason reason;

    struct timers timers;
    struct scope root;
    struct stacks stacks;
    unsigned int stack_class;
    struct descriptors descriptors;
    struct mailbox mailbox;
    struct pool pool;

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

/* The loop this thread runs, and its running task. All that is not in struct loop: it says where
 * that is. A copy of the library has its own. */
struct here {
    struct loop *loop;
    struct coil_task *task;
    const struct coil_task *aborting; /* whose abort function runs; task is NULL meanwhile, */
    const char *canceller;            /* and this is the name of the one behind it */
    bool forked; /* there was a loop, and the parent has it: see loop.c, forget_loop */
};
extern __thread struct here coil__here __attribute__((tls_model("initial-exec")));

static inline struct coil_task *here_task(void)
{
    return coil__here.task;
}

/* The name of whoever does what is being done; NULL if that is a timer or a message. */
static inline const char *here_name(void)
{
    return coil__here.task ? coil__here.task->name : coil__here.canceller;
}

/* There is no calling task. Says what needs one, and where (NULL: what says it all). */
_Noreturn void coil__die_outside(const char *what, const char *site);

static inline struct coil_task *need_task(const char *what, const char *site)
{
    if (unlikely(!coil__here.task))
        coil__die_outside(what, site);
    return coil__here.task;
}

/* As coil_run; runtime may be NULL. */
int coil__loop_run(const struct coil_loop_options *options, struct runtime *runtime,
                   unsigned int index, coil_task_fn *main_fn, void *arg, const char *name,
                   const char *site);

void coil__ready(struct loop *loop, struct coil_task *t);

/* Resumes the next ready task of this turn, or the loop, in place of the calling task. */
void coil__switch_away(struct coil_task *self);

/* Leaves an ended task's stack for the loop to take back. */
_Noreturn void coil__switch_for_good(struct coil_task *self);

/* The entry of fd, made if it is new here. -EBADF (also if it is being closed), -ENOMEM. */
static inline int descriptor_get(struct loop *loop, int fd, struct descriptor **ret)
{
    struct descriptor *d = descriptor_known(&loop->descriptors, fd);

    if (unlikely(!d))
        return coil__descriptor_meet(loop, fd, ret);
    *ret = d;
    return unlikely(d->closing) ? -EBADF : 0;
}

/* Fires what is due. */
static inline void fire_timers(struct loop *loop)
{
    int64_t now_ns;

    if (!loop->timers.count)
        return;
    now_ns = loop->ops->now(loop->backend);
    if (now_ns >= timers_soonest(&loop->timers))
        coil__timers_fire(&loop->timers, now_ns);
}

/* From any thread: has m delivered by the loop. */
void coil__loop_post(struct loop *loop, struct mail *m);

static inline void *loop_allocate(struct loop *loop, void *ptr, size_t size)
{
    return loop->allocate(loop->allocate_ctx, ptr, size);
}

/* coil_now plus a duration; COIL_FOREVER if that is beyond the end of time. */
int64_t coil__deadline_after(int64_t duration_ns);

/* The main task has returned; its scope's cancellations are caught. */
void coil__main_ended(struct coil_task *t, int rc);

/* Bytes at the top of each stack that hold its task. */
size_t coil__task_block_size(void);

#endif
