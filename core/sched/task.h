/* task.h - a function on a stack of its own. The control block sits at the top of that stack. */
#ifndef CORE_SCHED_TASK_H
#define CORE_SCHED_TASK_H

#include <errno.h>

#include "../../include/coil/group.h"
#include "../../include/coil/lowlevel.h"
#include "../list.h"
#include "context.h"
#include "scope.h"

struct group;
struct errors;
struct loop;

enum task_state {
    TASK_READY, /* on the loop's ready queue */
    TASK_RUNNING,
    TASK_PARKED, /* until coil_unpark */
    TASK_ENDED,
};

/* Inline successes a task may have in one step before it gives way. */
#define TASK_BUDGET 32

struct coil_task {
    struct context context;
    struct coil_task *next_ready;
    struct loop *loop;
    struct scope *scope; /* the innermost one */

    coil_abort_fn *abort; /* while parked and not aborted yet */
    void *abort_ctx;
    const char *waits_for; /* while parked */
    int wake_result;
    uint8_t state; /* enum task_state */
    uint8_t budget;
    bool open_park;    /* parked by coil_park: coil_unpark may wake it */
    bool told_to_stop; /* got -ECANCELED, and no scope has caught it yet */
    uint8_t stack_class;
    struct list waiting;  /* on whatever queue it parks in */
    struct list aborting; /* on a canceller's list, between its marking and its aborts */

    struct group *group;   /* NULL for the main task */
    struct list siblings;  /* in group */
    struct handle *handle; /* may be NULL */
    coil_task_fn *fn;
    void *arg;
    int result;
    const char *name;
    const char *site; /* of the spawn */

    struct scope own;      /* around everything it does; coil_task_cancel cancels it */
    struct errors *errors; /* of the last group it ended that failed */
    const char *message;   /* from coil_fail, */
    int message_code;      /* for a failure of this code */
};

/* Makes a task of fn, ready to run, whose own scope is under parent. NULL: no memory. */
struct coil_task *coil__task_new(struct loop *loop, struct scope *parent, coil_task_fn *fn,
                                 void *arg, unsigned int stack_class, const char *name,
                                 const char *site);

/* Blocks the calling task. The door to everything that waits; contract in coil/lowlevel.h. */
int coil__park(struct coil_task *self, coil_abort_fn *abort, void *ctx, const char *what);
void coil__unpark(struct coil_task *t, int result);

/* Calls the abort function of t, which is parked and has one. True: it said DONE. */
bool coil__abort(struct coil_task *t);

/* Lets every other ready task run. */
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

static inline bool task_cancelled(const struct coil_task *t)
{
    return t->scope->seen & ASK_STOP;
}

#endif
