/* task.c - the life of a task: made, run, parked, unparked, ended. */
#include "task.h"

#include <errno.h>

#include "group.h"
#include "loop.h"

#define BLOCK_ALIGN 64

size_t coil__task_block_size(void)
{
    /* The stack pool keeps a pointer of its own at the end of the block. */
    return (sizeof(struct coil_task) + sizeof(void *) + BLOCK_ALIGN - 1) &
           ~(size_t)(BLOCK_ALIGN - 1);
}

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

static void task_main(void *arg)
{
    struct coil_task *self = arg;
    bool was_cancelled;

    coil__context_arrived();
    self->result = self->fn(self->arg);
    check_not_forked(self);
    check_scopes_ended(self);

    was_cancelled = self->own.seen & ASK_STOP || self->told_to_stop;
    if (self->group)
        coil__group_task_ended(self, coil__scope_end(&self->own, self->result), was_cancelled);
    else
        coil__main_ended(self, coil__scope_end(&self->own, self->result));
    self->state = TASK_ENDED;
    coil__switch_for_good(self);
}

struct coil_task *coil__task_new(struct loop *loop, struct scope *parent, coil_task_fn *fn,
                                 void *arg, unsigned int stack_class, const char *name,
                                 const char *site)
{
    size_t block_size = coil__task_block_size();
    struct coil_task *t = coil__stack_lend(&loop->stacks, stack_class, block_size);

    if (!t)
        return NULL;
    t->loop = loop;
    t->abort = NULL;
    t->waits_for = NULL;
    t->stack_class = (uint8_t)stack_class;
    t->aborting.next = NULL;
    t->group = NULL;
    t->handle = NULL;
    t->fn = fn;
    t->arg = arg;
    t->name = name;
    t->site = site;
    t->errors = NULL;
    t->message = NULL;
    t->told_to_stop = false;
    t->open_park = false;
    coil__scope_prepare(&t->own);
    coil__scope_begin(&t->own, parent, t, loop, COIL_FOREVER, site);
    t->scope = &t->own;
    coil__context_make(&t->context, coil__stack_bottom(&loop->stacks, stack_class, t), t, task_main,
                       t);
    loop->living++;
    coil__ready(loop, t);
    return t;
}

void coil__die_outside(const char *what, const char *site)
{
    const struct coil_task *t = coil__here.aborting;
    const char *at = site ? " at " : "";

    if (t)
        coil__die("%s%s%s in an abort function, that of task %s, spawned at %s: it must not wait",
                  what, at, site ? site : "", t->name, t->site);
    coil__die("%s%s%s %s", what, at, site ? site : "",
              coil__here.forked ? "in the child of a fork: the loop is the parent's"
                                : "outside of any task");
}

/* Nobody is the calling task meanwhile: all that could wait dies, whoever it was that cancelled. */
bool coil__abort(struct coil_task *t)
{
    const struct here before = coil__here;
    coil_abort_fn *abort_fn = t->abort;
    bool done;

    t->abort = NULL;
    coil__here.canceller = here_name();
    coil__here.task = NULL;
    coil__here.aborting = t;
    done = abort_fn(t->abort_ctx) == COIL_ABORT_DONE;
    coil__here = before;
    if (unlikely(done && t->state != TASK_PARKED))
        coil__die("an abort function unparked task %s, spawned at %s, and said it was done",
                  t->name, t->site);
    return done;
}

int coil__park(struct coil_task *self, coil_abort_fn *abort_fn, void *ctx, const char *what)
{
    self->state = TASK_PARKED;
    self->abort = abort_fn;
    self->abort_ctx = ctx;
    self->waits_for = what;
    if (unlikely(task_cancelled(self)) && abort_fn && coil__abort(self)) {
        self->state = TASK_RUNNING;
        self->waits_for = NULL;
        return task_refuse(self);
    }
    coil__switch_away(self);
    self->waits_for = NULL;
    self->told_to_stop |= self->wake_result == -ECANCELED;
    return self->wake_result;
}

int coil_park(coil_abort_fn *abort_fn, void *ctx, const char *what)
{
    struct coil_task *self = need_task("coil_park", NULL);
    int r;

    self->open_park = true;
    r = coil__park(self, abort_fn, ctx, what);
    self->open_park = false;
    return r;
}

void coil__unpark(struct coil_task *t, int result)
{
    assert(t->state == TASK_PARKED);

    t->abort = NULL;
    t->wake_result = result;
    coil__ready(t->loop, t);
}

void coil_unpark(struct coil_task *t, int result)
{
    if (unlikely(t->loop != coil__here.loop))
        coil__die("coil_unpark of task %s, spawned at %s, from outside its loop", t->name, t->site);
    if (unlikely(t->state != TASK_PARKED || !t->open_park))
        coil__die("coil_unpark of task %s, spawned at %s, which is not parked", t->name, t->site);
    coil__unpark(t, result);
}
