/* group.c - begin, spawn, start, end; and the handle of a single task. */
#include "group.h"

#include <errno.h>

#include "dormant.h"
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
    scope_enter(&g->scope, self, site);
    g->state = GROUP_ACTIVE;
    g->first_error = 0;
    g->waiting = false;
    g->task_gave_in = false;
    g->host = self;
    g->count = 0;
    g->services = 0;
    g->dormant.next = NULL;
    g->dormant_count = 0;
    g->errors = NULL;
    g->dropped = 0;
}

static inline void handle_begin(struct handle *h, const char *name, const struct group *g)
{
    h->task = NULL;
    h->dormant = NULL;
    h->result = -EAGAIN;
    h->cancelled = false;
    h->started = false;
    h->cause = COIL_CAUSE_NONE;
    h->name = name;
    h->parent = g->host->name;
    list_init(&h->waiters);
}

void coil__handle_begin(struct handle *h, const char *name, const struct group *g)
{
    handle_begin(h, name, g);
}

static inline int check(const struct group *g, coil_task_fn *fn,
                        const struct coil_spawn_options *options, const char *site,
                        unsigned int *ret)
{
    const struct loop *loop = coil__here.loop;

    if (!fn)
        return -EINVAL;
    if (g->state != GROUP_ACTIVE)
        return -ESHUTDOWN;
    if (unlikely(g->scope.loop != loop))
        coil__die("a task is spawned at %s from outside the loop of its group, begun at %s", site,
                  g->scope.site);
    *ret = options->stack_size ? coil__stack_class(options->stack_size) : loop->stack_class;
    return *ret ? 0 : -EINVAL;
}

int coil__group_check(const struct group *g, coil_task_fn *fn,
                      const struct coil_spawn_options *options, const char *site, unsigned int *ret)
{
    return check(g, fn, options, site, ret);
}

/* The new task, in g. NULL: no memory. */
static inline struct coil_task *spawn(struct group *g, coil_task_fn *fn, void *arg,
                                      unsigned int class, const struct coil_spawn_options *options,
                                      const char *name, const char *site)
{
    struct coil_task *t = coil__task_new(g->scope.loop, &g->scope, fn, arg, class,
                                         options->name ? options->name : name, site);

    if (!t)
        return NULL;
    t->group = g;
    g->count++;
    if (options->handle) {
        t->handle = handle_of(options->handle);
        handle_begin(t->handle, t->name, g);
        t->handle->task = t;
    }
    if (unlikely(options->deadline_ns))
        coil_scope_set_deadline((struct coil_scope *)&t->own, options->deadline_ns);
    report_new(t);
    return t;
}

/* t, of g, is one from now on. */
static void serve(struct coil_task *t, struct group *g)
{
    t->role |= ROLE_SERVICE;
    g->services++;
    coil_scope_set_shield((struct coil_scope *)&t->own, true);
}

static const struct coil_spawn_options spawn_defaults;

int coil_group_spawn_at(struct coil_group *public, coil_task_fn *fn, void *arg,
                        const struct coil_spawn_options *options, const char *name,
                        const char *site)
{
    struct group *g = group_of(public);
    unsigned int class;
    struct coil_task *t;
    int r;

    if (!options)
        options = &spawn_defaults;
    r = check(g, fn, options, site, &class);
    if (r < 0)
        return r;
    t = spawn(g, fn, arg, class, options, name, site);
    if (!t)
        return -ENOMEM;
    if (unlikely(options->service))
        serve(t, g);
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

static void record(struct group *g, const struct error_record *e)
{
    if (!g->first_error)
        g->first_error = e->code;
    if (!coil__errors_add(g->scope.loop, &g->errors, e))
        g->dropped++;
    else
        g->errors_serial = coil__errors_serial(g->errors);
    coil__scope_cancel(&g->scope, COIL_CAUSE_GROUP_ERROR, e->message, e->task, e->site);
}

/* What t, which was not cancelled, failed with. -ECANCELED is the word for who was asked to stop:
 * out of a group's end it would be for a scope above that nobody cancelled. */
static out_of_line int failure_of(struct coil_task *t, int rc)
{
    if (rc == -ECANCELED) {
        t->message = "said -ECANCELED without having been cancelled";
        t->message_code = rc = -EPROTO;
    }
    return rc;
}

/* Task t, of g or its host, failed with code. */
static out_of_line void fail(struct group *g, struct coil_task *t, int code, const char *site)
{
    const struct error_record e = {
        .code = code,
        .task = t->name,
        .site = site,
        .message = t->message_code == code ? t->message : NULL,
        .inner = take_inner(t, code),
    };

    t->message_code = 0;
    record(g, &e);
}

static inline void handle_note(struct handle *h, enum coil_cause cause, const char *reason,
                               const char *canceller, const char *site)
{
    if (h->cause != COIL_CAUSE_NONE)
        return;
    h->cause = (uint8_t)cause;
    h->reason = reason;
    h->canceller = canceller;
    h->cancel_site = site;
}

void coil__handle_note(struct handle *h, const struct coil_cancellation *why)
{
    handle_note(h, why->cause, why->reason, why->task, why->site);
}

/* In the handle of t, which has been cancelled and has ended. From field to field: a struct in
 * between, written in words and read in pairs of them, costs a stall. */
static void note_why(struct coil_task *t)
{
    const struct scope *s = coil__scope_responsible(&t->own);

    assert(s);

    handle_note(t->handle, (enum coil_cause)s->cause, s->reason, s->canceller, s->cancel_site);
}

static out_of_line void wake_waiters(struct handle *h)
{
    struct list *n;

    while ((n = list_pop_front(&h->waiters)))
        unpark(container_of(n, struct coil_task, waiting), 0);
}

static void handle_end(struct handle *h, int result, bool cancelled)
{
    h->task = NULL;
    h->dormant = NULL;
    h->result = result;
    h->cancelled = cancelled;
    if (unlikely(!list_empty(&h->waiters)))
        wake_waiters(h);
}

/* A task of g has ended, or gone elsewhere. The host waits until there are none, and again, for
 * each service, when there is nothing else. */
static inline void tell_host(struct group *g)
{
    if (g->count == g->services && g->waiting) {
        g->waiting = false;
        unpark(g->host, 0);
    }
}

static inline void count_down(struct group *g)
{
    g->count--;
    tell_host(g);
}

void coil__group_task_ended(struct coil_task *t, int result, int rc, bool was_cancelled)
{
    struct group *g = t->group;

    if (rc < 0 && !(rc == -ECANCELED && was_cancelled)) {
        result = failure_of(t, rc);
        fail(g, t, result, t->site);
    } else if (rc == -ECANCELED) {
        g->task_gave_in = true;
    }
    if (unlikely(t->errors))
        coil__errors_free(t->loop, t->errors);

    if (t->handle) {
        if (unlikely(t->own.seen & ASK_STOP))
            note_why(t);
        handle_end(t->handle, result, result == -ECANCELED && was_cancelled);
    }
    if (unlikely(t->role & ROLE_SERVICE))
        g->services--;
    count_down(g);
}

void coil__group_lost(struct group *g, struct handle *h, const struct error_record *e, bool gave_in)
{
    if (e->code != -ECANCELED)
        record(g, e);
    g->task_gave_in |= gave_in;
    if (h)
        handle_end(h, e->code, e->code == -ECANCELED);
    count_down(g);
}

/* Only services are left, so theirs are the only scopes in g's, in the order of their spawns. */
static void cancel_newest_service(struct group *g, const char *site)
{
    struct scope *newest = container_of(g->scope.children.prev, struct scope, siblings);

    assert(newest->task->role & ROLE_SERVICE);

    coil__scope_cancel(newest, COIL_CAUSE_SHUTDOWN, "only services are left", g->host->name, site);
}

int coil_group_end_at(struct coil_group *public, int rc, const char *site)
{
    struct group *g = group_of(public);
    struct coil_task *self = scope_ender(&g->scope, true, site);

    if (rc < 0 && !(rc == -ECANCELED && (task_cancelled(self) || self->told_to_stop))) {
        rc = failure_of(self, rc);
        fail(g, self, rc, g->scope.site);
    }

    if (g->count)
        task_will_park(self);
    else
        yield(self);
    while (g->count) { /* again: before we ran, somebody may have spawned */
        if (unlikely(g->count == g->services))
            cancel_newest_service(g, site);
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
    if (g->first_error)
        return g->first_error;
    self->told_to_stop |= rc == -ECANCELED; /* as its tasks were, if not itself */
    return rc;
}

/* --- A task that says when it has started ---------------------------------------------------- */

int coil_group_start_at(struct coil_group *public, coil_task_fn *fn, void *arg, intptr_t *ret,
                        const struct coil_spawn_options *options, const char *name,
                        const char *site)
{
    struct group *g = group_of(public);
    struct start start = {.group = g};
    struct coil_group *before = (struct coil_group *)&start.before;
    unsigned int class;
    struct coil_task *t;
    int r;

    (void)need_task("coil_group_start", site);
    if (!options)
        options = &spawn_defaults;
    r = check(g, fn, options, site, &class);
    if (r < 0)
        return r;
    start.service = options->service;
    g->count++;
    coil_group_begin_at(before, site);
    t = spawn(&start.before, fn, arg, class, options, name, site);
    if (t)
        t->role = ROLE_STARTING;
    r = coil_group_end_at(before, t ? 0 : -ENOMEM, site);
    if (!start.moved)
        count_down(g);
    if (r < 0)
        return r;
    if (!start.said)
        return -EPROTO;
    if (ret)
        *ret = start.value;
    return 0;
}

static void move(struct coil_task *t, struct start *start)
{
    t->group = start->group;
    start->moved = true;
    if (t->handle)
        t->handle->parent = start->group->host->name;
    if (start->service)
        serve(t, start->group);
    coil__scope_move(&t->own, &start->group->scope);
    tell_host(start->group); /* it may be waiting already, and have only services left */
    count_down(&start->before);
}

int coil_started(intptr_t value)
{
    struct coil_task *self = need_task("coil_started", NULL);
    struct start *start;

    if (self->role & ROLE_STARTED)
        return -EALREADY;
    if (!(self->role & ROLE_STARTING))
        return 0;
    start = container_of(self->group, struct start, before);
    self->role = ROLE_STARTED;
    start->said = true;
    start->value = value;
    if (self->handle) {
        self->handle->started = true;
        self->handle->start_value = value;
    }
    /* In a cancelled start the task may be on its way out, with a cancellation that nobody in the
     * group would catch; also if a shield has gone up in between. */
    if (!(start->before.scope.seen & ASK_STOP || coil__scope_told_from_above(self)))
        move(self, start);
    return 0;
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

void coil__handle_never(struct handle *h, const char *name, const char *parent)
{
    *h = (struct handle){.result = -ECANCELED, .cancelled = true, .name = name, .parent = parent};
    list_init(&h->waiters);
}

void coil_task_cancel_at(struct coil_handle *public, const char *reason, const char *site)
{
    struct handle *h = handle_of(public);

    if (h->task)
        coil__scope_cancel(&h->task->own, COIL_CAUSE_EXPLICIT, reason, here_name(), site);
    else if (h->dormant)
        coil__dormant_cancel(h->dormant, &(struct coil_cancellation){COIL_CAUSE_EXPLICIT, reason,
                                                                     here_name(), site});
}

int coil_task_why_cancelled(const struct coil_handle *public, struct coil_cancellation *ret)
{
    const struct handle *h = handle_of(public);

    if (h->task)
        return h->task->own.seen & ASK_STOP && coil__scope_why(&h->task->own, ret);
    if (h->cause == COIL_CAUSE_NONE)
        return 0;
    *ret = (struct coil_cancellation){(enum coil_cause)h->cause, h->reason, h->canceller,
                                      h->cancel_site};
    return 1;
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
    int r;

    if (h->task == self)
        return -EDEADLK;
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    if (!h->task && !h->dormant)
        return coil_checkpoint();
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
    if (h->dormant)
        return coil__dormant_cancelled(h->dormant) ? COIL_STATUS_STOPPING : COIL_STATUS_RUNNING;
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

int coil_task_start_value(const struct coil_handle *public, intptr_t *ret)
{
    const struct handle *h = handle_of(public);

    if (!h->started)
        return -EAGAIN;
    *ret = h->start_value;
    return 0;
}
