/* task.h - a function on a stack of its own. The control block sits at the top of that stack. */
#ifndef CORE_SCHED_TASK_H
#define CORE_SCHED_TASK_H

#include <errno.h>

#include "../../include/coil/group.h"
#include "../../include/coil/lowlevel.h"
#include "../list.h"
#include "context.h"
#include "hold.h"
#include "local.h"
#include "scope.h"

struct group;
struct dormant;
struct errors;
struct loop;

enum task_state {
    TASK_READY, /* on the loop's ready queue */
    TASK_RUNNING,
    TASK_PARKED, /* until coil_unpark */
    TASK_ENDED,
};

/* What few tasks are. */
enum task_role {
    ROLE_STARTING = 1, /* group is the `before` of a struct start */
    ROLE_STARTED = 2,  /* has said so */
    ROLE_SERVICE = 4,
    ROLE_AGAIN = 8,   /* goes to sleep in `again` when it returns */
    ROLE_ONCE = 16,   /* its return is the answer of a call: it cannot go back to sleep */
    ROLE_WARNED = 32, /* began because its group was asked to finish: it is not told again */
};

/* Inline successes a task may have in one step before it gives way. */
#define TASK_BUDGET 32

/* What every task needs comes first: two lines of the cache, and two that end in its scope. */
struct coil_task {
    struct context context;
    union {
        struct coil_task *next_ready; /* while ready */
        int64_t since_ns;             /* while parked: when it parked, by the loop's clock */
    };
    struct loop *loop;
    struct scope *scope;   /* the innermost one */
    struct group *group;   /* NULL for the main task */
    struct handle *handle; /* may be NULL */

    coil_abort_fn *abort; /* while parked and not aborted yet */
    void *abort_ctx;
    const char *waits_for; /* while parked */
    uint8_t state; /* enum task_state */
    uint8_t budget;
    bool open_park;    /* parked by coil_park: coil_unpark may wake it */
    bool told_to_stop; /* got -ECANCELED, and whose that was has not ended yet */
    int message_code;  /* 0, or the failure that message is for */
    uint8_t stack_class;
    bool to_abort; /* on a canceller's list, between its marking and its aborts */
    uint8_t role;  /* ROLE_ bits; 0 for most */
    bool hurried;  /* its abort function has been called, in the last coil_park or since */
    const char *name;
    const char *site;      /* of the spawn */
    struct errors *errors; /* of the last group it ended that failed */
    struct hold *holds;    /* what others wait for it to give back, newest first */
    struct locals *locals; /* its slots; NULL: none */

    struct scope own; /* around everything it does; coil_task_cancel cancels it */

    struct list aborting;
    const char *message; /* from coil_fail */
    union {
        struct list waiting; /* among those of a handle */
        struct timer sleep_timer;
    };
    struct dormant *again;
};

_Static_assert(offsetof(struct coil_task, context) == 0, "the top of its stack, see switch_*.S");
#ifndef CONTEXT_WATCHED
_Static_assert(offsetof(struct coil_task, sleep_timer) % CACHE_LINE == 0, "all of it in one line");
#endif

/* At the top of each stack: a task, and the pointer that the stack pool keeps there. */
#define TASK_BLOCK_SIZE ((sizeof(struct coil_task) + sizeof(void *) + 63) & ~(size_t)63)

/* The loop this thread runs, and its running task. All that is not in struct loop: it says where
 * that is. A copy of the library has its own. */
struct here {
    struct loop *loop;
    struct coil_task *task;
    const struct coil_task *aborting; /* whose abort function runs; task is NULL meanwhile, */
    const char *canceller;            /* and this is the name of the one behind it */
    const char *callback;             /* whose callback runs; task is NULL meanwhile */
    uint32_t scope_mask; /* all bits; 0 under Valgrind, which minds a look at what is not written */
    bool forked;         /* there was a loop, and the parent has it: see loop.c, forget_loop */
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

/* Around what is done because it is time, or because of a message, by whoever happens to look: that
 * task is not behind it, so its name is on no cancel. */
static inline struct coil_task *nobody_begin(void)
{
    struct coil_task *self = coil__here.task;

    coil__here.task = NULL;
    return self;
}

static inline void nobody_end(struct coil_task *self)
{
    if (!coil__here.forked)
        coil__here.task = self;
}

/* There is no calling task. Says what needs one, and where (NULL: what says it all). */
_Noreturn void coil__die_outside(const char *what, const char *site);

/* Around a callback that looks on: nobody is the calling task meanwhile, so all that could wait
 * dies. whose says in a few words what the callback is of. */
struct here coil__callback_begin(const char *whose);
void coil__callback_end(const struct here *before);

static inline struct coil_task *need_task(const char *what, const char *site)
{
    if (unlikely(!coil__here.task))
        coil__die_outside(what, site);
    return coil__here.task;
}

/* A walk over very many tasks is a walk over as many pages, none of which is in the cache. Their
 * stacks came from the same slabs one after the other, so the step from the last one to this says
 * where the next are: has these lines of theirs come meanwhile, counted from the control block,
 * below which lie the frames that a task parked in. A wrong guess costs nothing. */
#define STEPS_AHEAD 4

prefetching void task_prefetch(const struct coil_task *t, uintptr_t *last, int first, int end)
{
    const uintptr_t step = (uintptr_t)t - *last;
    const char *at = (const char *)((uintptr_t)t + STEPS_AHEAD * step);

    *last = (uintptr_t)t;
    prefetch_lines(at + first * CACHE_LINE, end - first);
}

/* Makes a task of fn, ready to run, whose own scope is under parent. NULL: no memory. */
struct coil_task *coil__task_new(struct loop *loop, struct scope *parent, coil_task_fn *fn,
                                 void *arg, unsigned int stack_class, const char *name,
                                 const char *site);

/* Calls the abort function of t, which is parked and has one. True: it said DONE. */
bool coil__abort(struct coil_task *t);

/* Has h be t's, until hold_remove. */
static inline void task_hold(struct coil_task *t, struct hold *h, void (*orphan)(struct hold *h))
{
    hold_add(h, t, &t->holds, orphan);
}

static inline bool task_cancelled(const struct coil_task *t)
{
    return t->scope->seen & ASK_STOP;
}

/* task_must_stop where it is not simply no. */
bool coil__task_must_stop(struct coil_task *t);

/* A call of t's begins that can wait: has it to refuse? A test that stands by is told first, and
 * may cancel. */
static inline bool task_must_stop(struct coil_task *t)
{
    return unlikely(t->scope->seen & (ASK_STOP | ASK_TELL)) && coil__task_must_stop(t);
}

/* The same of one that parks in any case. What it waits for may know it already, so who is told
 * cancels it when it has parked, and not now. */
void coil__task_will_park(struct coil_task *t);

static inline void task_will_park(struct coil_task *t)
{
    if (unlikely(t->scope->seen & ASK_TELL))
        coil__task_will_park(t);
}

/* Is s open, by the look of it? Its memory need not have been written yet. */
static inline bool scope_looks_open(const struct scope *s)
{
    return (s->state & coil__here.scope_mask) == SCOPE_ACTIVE;
}

/* The calling task, which may begin s: begun inside itself, s would be its own ancestor. */
static inline struct coil_task *scope_beginner(const struct scope *s, const char *site)
{
    struct coil_task *self = need_task("a scope begun", site);

    if (unlikely(scope_looks_open(s)))
        coil__scope_must_not_be_open(s, site);
    return self;
}

/* Puts s, which is prepared, around what self does next. */
static inline void scope_enter(struct scope *s, struct coil_task *self, const char *site)
{
    scope_join(s, self->scope, self, site);
    s->told_outside = self->told_to_stop;
    self->scope = s;
}

/* The calling task, of which s is the innermost scope, and a group's or not. */
static inline struct coil_task *scope_ender(const struct scope *s, bool of_group, const char *site)
{
    struct coil_task *self = here_task();

    if (unlikely(!self || self->scope != s || s->of_group != of_group))
        coil__scope_no_end(s, of_group, site);
    return self;
}

#endif
