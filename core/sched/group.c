/* group.c - begin, spawn, end; and the handle of a single task. */
#include "group.h"

#include <errno.h>

#include "errors.h"
#include "park.h"

_Static_assert(sizeof(struct group) <= sizeof(struct coil_group), "coil_group is too small");
_Static_assert(sizeof(struct handle) <= sizeof(struct coil_handle), "coil_handle is too small");

static struct group *group_of(const struct coil_group *g)
{
    return (struct group *)(uintptr_t)g;
}

static struct handle *handle_of(const struct coil_handle *h)
{
    return (struct handle *)(uintptr_t)h;
}

void coil_group_begin_at(struct coil_group *public, const char *site)
{
    struct group *g = group_of(public);
    struct coil_task *self = scope_beginner(&g->scope, site);

    scope_clear(&g->scope, self->loop, STAGE_BEGUN);
    g->scope.of_group = true;
    scope_join(&g->scope, self->scope, self, site);
    self->scope = &g->scope;
    g->state = GROUP_ACTIVE;
    g->first_error = 0;
    g->waiting = false;
    g->task_gave_in = false;
    g->host = self;
    g->count = 0;
    g->errors = NULL;
    g->dropped = 0;
}

static void handle_begin(struct handle *h, struct coil_task *t, const struct group *g)
{
    h->task = t;
    h->result = -EAGAIN;
    h->cancelled = false;
    h->name = t->name;
    h->parent = g->host->name;
    list_init(&h->waiters);
    t->handle = h;
}

int coil_group_spawn_at(struct coil_group *public, coil_task_fn *fn, void *arg,
                        const struct coil_spawn_options *options, const char *name,
                        const char *site)
{
    static const struct coil_spawn_options defaults;
    struct group *g = group_of(public);
    struct loop *loop = coil__here.loop;
    unsigned int class;
    struct coil_task *t;

    if (!options)
        options = &defaults;
    if (!fn)
        return -EINVAL;
    if (g->state != GROUP_ACTIVE)
        return -ESHUTDOWN;
    if (unlikely(g->scope.loop != loop))
        coil__die("a task is spawned at %s from outside the loop of its group, begun at %s", site,
                  g->scope.site);
    class = options->stack_size ? coil__stack_class(options->stack_size) : loop->stack_class;
    if (!class)
        return -EINVAL;

    t = coil__task_new(loop, &g->scope, fn, arg, class, options->name ? options->name : name, site);
    if (!t)
        return -ENOMEM;
    t->group = g;
    g->count++;
    if (options->handle)
        handle_begin(handle_of(options->handle), t, g);
    return 0;
}

/* Takes the failures of the group whose end led to this one, if that is what happened. */
static struct errors *take_inner(struct coil_task *t, int code)
{
    struct errors *inner = t->errors;
    struct coil_error first;

    if (coil_error_inner(&(struct coil_error){.inner = inner}, 0, &first) < 0 || first.code != code)
        return NULL;
    t->errors = NULL;
    return inner;
}

/* Task t, of g or its host, failed with code. */
static void fail(struct group *g, struct coil_task *t, int code, const char *site)
{
    const struct error_record e = {
        .code = code,
        .task = t->name,
        .site = site,
        .message = t->message_code == code ? t->message : NULL,
        .inner = take_inner(t, code),
    };

    t->message_code = 0;
    if (!g->first_error)
        g->first_error = code;
    if (!coil__errors_add(g->scope.loop, &g->errors, &e))
        g->dropped++;
    else
        g->errors_serial = coil__errors_serial(g->errors);
    coil__scope_cancel(&g->scope, COIL_CAUSE_GROUP_ERROR, e.message, e.task, e.site);
}

static void handle_end(struct handle *h, int result, bool cancelled)
{
    struct list *n;

    h->task = NULL;
    h->result = result;
    h->cancelled = cancelled;
    while ((n = list_pop_front(&h->waiters)))
        unpark(container_of(n, struct coil_task, waiting), 0);
}

void coil__group_task_ended(struct coil_task *t, int result, int rc, bool was_cancelled)
{
    struct group *g = t->group;

    if (rc < 0 && !(rc == -ECANCELED && was_cancelled))
        fail(g, t, rc, t->site);
    else if (rc == -ECANCELED)
        g->task_gave_in = true;
    if (unlikely(t->errors))
        coil__errors_free(t->loop, t->errors);

    if (t->handle)
        handle_end(t->handle, result, result == -ECANCELED && was_cancelled);
    if (!--g->count && g->waiting) {
        g->waiting = false;
        unpark(g->host, 0);
    }
}

int coil_group_end_at(struct coil_group *public, int rc, const char *site)
{
    struct group *g = group_of(public);
    struct coil_task *self = scope_ender(&g->scope, true, site);

    if (rc < 0 && !(rc == -ECANCELED && (task_cancelled(self) || self->told_to_stop)))
        fail(g, self, rc, g->scope.site);

    if (!g->count)
        yield(self);
    while (g->count) { /* again: before we ran, somebody may have spawned */
        g->waiting = true;
        (void)park(self, NULL, NULL, "group end");
    }

    g->state = GROUP_ENDED;
    self->scope = g->scope.parent;
    rc = scope_leave(&g->scope, rc == -ECANCELED || g->task_gave_in ? -ECANCELED : 0);
    if (g->errors) {
        coil__errors_free(self->loop, self->errors);
        self->errors = g->errors;
    }
    return g->first_error ? g->first_error : rc;
}

struct coil_scope *coil_group_scope(struct coil_group *g)
{
    return (struct coil_scope *)&group_of(g)->scope;
}

size_t coil_group_count(const struct coil_group *g)
{
    return group_of(g)->state == GROUP_ACTIVE ? group_of(g)->count : 0;
}

/* --- Handles --------------------------------------------------------------------------------- */

void coil_task_cancel_at(struct coil_handle *public, const char *reason, const char *site)
{
    struct handle *h = handle_of(public);

    if (h->task)
        coil__scope_cancel(&h->task->own, COIL_CAUSE_EXPLICIT, reason, here_name(), site);
}

/* Waits for the end of a task. */
struct joiner {
    struct coil_task *self;
    const struct handle *handle;
};

static const char end_of_task[] = "the end of a task";

static enum coil_abort stop_waiting(void *ctx)
{
    list_remove(&((struct joiner *)ctx)->self->waiting);
    return COIL_ABORT_DONE;
}

const struct handle *coil__handle_waited_for(const struct coil_task *t)
{
    return t->waits_for == end_of_task ? ((const struct joiner *)t->abort_ctx)->handle : NULL;
}

int coil_task_wait(struct coil_handle *public)
{
    struct handle *h = handle_of(public);
    struct coil_task *self = need_task("coil_task_wait", NULL);
    struct joiner j = {self, h};

    if (h->task == self)
        return -EDEADLK;
    if (!h->task)
        return coil_checkpoint();
    if (task_cancelled(self))
        return task_refuse(self);
    list_push_back(&h->waiters, &self->waiting);
    return park(self, stop_waiting, &j, end_of_task);
}

int coil_task_result(const struct coil_handle *h)
{
    return handle_of(h)->result;
}

enum coil_status coil_task_status(const struct coil_handle *public)
{
    const struct handle *h = handle_of(public);

    if (h->task)
        return h->task->own.seen & ASK_STOP ? COIL_STATUS_STOPPING : COIL_STATUS_RUNNING;
    if (h->cancelled)
        return COIL_STATUS_CANCELLED;
    return h->result < 0 ? COIL_STATUS_FAILED : COIL_STATUS_FINISHED;
}

const char *coil_task_name(const struct coil_handle *h)
{
    return handle_of(h)->name;
}

const char *coil_task_parent(const struct coil_handle *h)
{
    return handle_of(h)->parent;
}
