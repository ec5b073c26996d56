/* task.c - the life of a task: made, parked, unparked, ended. */
#include "task.h"

#include <errno.h>

#include "dormant.h"
#include "group.h"
#include "loop.h"
#include "park.h"

struct coil_task *coil_task_self(void)
{
    return here_task();
}

static void check_not_forked(const struct coil_task *t)
{
    if (unlikely(here_task() != t))
        coil__die("task %s, spawned at %s, returned in the child of a fork: _exit or exec", t->name,
                  t->site);
}

/* A task that returns with a scope open would leave a node of the tree on a stack that is gone. */
static void check_scopes_ended(const struct coil_task *t)
{
    if (unlikely(t->scope != &t->own))
        coil__die("task %s, spawned at %s, ended with the scope begun at %s open", t->name, t->site,
                  t->scope->site);
}

/* What lies in a frame that is gone cannot be given back: it may be anything by now. */
static void check_not_on_its_stack(const struct coil_task *t, const struct hold *h)
{
    uintptr_t bottom = (uintptr_t)coil__stack_bottom(&t->loop->stacks, t->stack_class, t);

    if (unlikely((uintptr_t)h >= bottom && (uintptr_t)h < (uintptr_t)t))
        coil__die(
            "task %s, spawned at %s, ended holding a lock or token that lies on its own stack",
            t->name, t->site);
}

/* The task has ended holding these. Whoever wants them must hear of it. */
static out_of_line void orphan_holds(struct coil_task *t)
{
    struct hold *h;

    while ((h = t->holds)) {
        check_not_on_its_stack(t, h);
        hold_remove(h);
        h->orphan(h);
    }
}

struct departure coil__task_ended(struct coil_task *self, int result)
{
    bool was_cancelled;
    int rc;

    check_not_forked(self);
    check_scopes_ended(self);
    if (unlikely(self->role & ROLE_AGAIN)) {
        orphan_holds(self);
        if (coil__dormant_again(self, &result))
            return coil__leave_for_good(self);
    }
    if (unlikely(self->locals))
        coil__locals_drop(self->loop, &self->locals);
    if (unlikely(self->holds)) /* last: a slot's destructor may have added some */
        orphan_holds(self);

    was_cancelled = self->own.seen & ASK_STOP || self->told_to_stop;
    rc = scope_leave(&self->own, result);
    if (self->group)
        coil__group_task_ended(self, result, rc, was_cancelled);
    else
        coil__main_ended(self, rc);
    self->state = TASK_ENDED;
    report(self->loop, HOOK_EXITED, self);
    return coil__leave_for_good(self);
}

struct coil_task *coil__task_new(struct loop *loop, struct scope *parent, coil_task_fn *fn,
                                 void *arg, unsigned int stack_class, const char *name,
                                 const char *site)
{
    struct coil_task *t;

    if (unlikely(loop->may_lack_stacks) && !loop->ops->has_stack(loop->backend))
        return NULL;
    t = stack_lend(&loop->stacks, stack_class);
    if (unlikely(!t)) {
        coil__bury(loop); /* there may be one that only waits for that */
        t = stack_lend(&loop->stacks, stack_class);
    }
    if (!t)
        return NULL;
    handicap(t, 300);
    t->context.fn = fn;
    t->context.arg = arg;
    coil__context_make(&t->context, coil__stack_bottom(&loop->stacks, stack_class, t));
    t->loop = loop;
    t->scope = &t->own;
    t->group = NULL;
    t->handle = NULL;
    t->abort = NULL;
    t->waits_for = NULL;
    t->open_park = false;
    t->told_to_stop = false;
    t->message_code = 0;
    t->stack_class = (uint8_t)stack_class;
    t->to_abort = false;
    t->role = 0;
    t->name = name;
    t->site = site;
    t->errors = NULL;
    t->holds = NULL;
    t->locals = here_task() ? locals_share(here_task()->locals) : NULL;
    scope_clear(&t->own, loop, STAGE_BEGUN);
    t->own.told_outside = false;
    scope_join(&t->own, parent, t, site);
    loop->living++;
    push_ready(loop, t);
    return t;
}

void coil__die_outside(const char *what, const char *site)
{
    const struct coil_task *t = coil__here.aborting;
    const char *at = site ? " at " : "";

    if (t)
        coil__die("%s%s%s in an abort function, that of task %s, spawned at %s: it must not wait",
                  what, at, site ? site : "", t->name, t->site);
    if (coil__here.callback)
        coil__die("%s%s%s in %s: it must not wait", what, at, site ? site : "",
                  coil__here.callback);
    coil__die("%s%s%s %s", what, at, site ? site : "",
              coil__here.forked ? "in the child of a fork: the loop is the parent's"
                                : "outside of any task");
}

struct here coil__callback_begin(const char *whose)
{
    const struct here before = coil__here;

    coil__here.canceller = here_name();
    coil__here.task = NULL;
    coil__here.aborting = NULL;
    coil__here.callback = whose;
    return before;
}

void coil__callback_end(const struct here *before)
{
    if (!coil__here.forked)
        coil__here = *before;
}

bool coil__task_must_stop(struct coil_task *t)
{
    if (t->scope->seen & ASK_TELL)
        t->loop->ops->call_begins(t->loop->backend, t, true);
    return task_cancelled(t);
}

void coil__task_will_park(struct coil_task *t)
{
    t->loop->ops->call_begins(t->loop->backend, t, false);
}

/* Nobody is the calling task meanwhile: all that could wait dies, whoever it was that cancelled. */
static out_of_line bool abort_by_user(struct coil_task *t, coil_abort_fn *abort_fn)
{
    const struct here before = coil__here;
    bool done;

    coil__here.canceller = here_name();
    coil__here.task = NULL;
    coil__here.aborting = t;
    t->hurried = true;
    done = abort_fn(t->abort_ctx) == COIL_ABORT_DONE;
    if (unlikely(coil__here.aborting != t))
        coil__die("the abort function of task %s, spawned at %s, returned in the child of a fork: "
                  "_exit or exec",
                  t->name, t->site);
    coil__here = before;
    if (unlikely(done && t->state != TASK_PARKED))
        coil__die("an abort function unparked task %s, spawned at %s, and said it was done",
                  t->name, t->site);
    return done;
}

bool coil__abort(struct coil_task *t)
{
    coil_abort_fn *abort_fn = t->abort;

    t->abort = NULL;
    return t->open_park ? abort_by_user(t, abort_fn) : abort_fn(t->abort_ctx) == COIL_ABORT_DONE;
}

bool coil__abort_now(struct coil_task *self)
{
    if (!coil__abort(self))
        return false;
    self->state = TASK_RUNNING;
    self->waits_for = NULL;
    return true;
}

void coil__yield(struct coil_task *self)
{
    yield(self);
}

/* A deadline may be past already. It acts when we are parked: we stand on somebody's list by now,
 * and what else is due may make him wake us. */
static int park_and_look(struct coil_task *self, coil_abort_fn *abort_fn, void *ctx,
                         const char *what)
{
    if (task_cancelled(self))
        return park(self, abort_fn, ctx, what);
    park_begin(self, abort_fn, ctx, what);
    coil__meet_deadlines(self->loop);
    return park_end(self);
}

int coil_park(coil_abort_fn *abort_fn, void *ctx, const char *what)
{
    struct coil_task *self = need_task("coil_park", NULL);
    int r;

    task_will_park(self);
    self->open_park = true;
    self->hurried = false;
    if (unlikely(self->loop->deadline_unseen))
        r = park_and_look(self, abort_fn, ctx, what);
    else
        r = park(self, abort_fn, ctx, what);
    self->open_park = false;
    return r;
}

void coil_unpark(struct coil_task *t, int result)
{
    if (unlikely(t->loop != coil__here.loop))
        coil__die("coil_unpark of task %s, spawned at %s, from outside its loop", t->name, t->site);
    if (unlikely(t->state != TASK_PARKED || !t->open_park))
        coil__die("coil_unpark of task %s, spawned at %s, which is not parked", t->name, t->site);
    if (result == -ECANCELED) /* or it is somebody else's word, and who passes it on fails */
        t->told_to_stop |= t->hurried || task_cancelled(t);
    unpark(t, result);
}
