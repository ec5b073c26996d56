/* dormant.c - tasks that have no stack until it is time: by the clock, or when there is something
 * to read.
 *
 * Such a task has no scope of its own either. It has begun none, so it sees just what its group's
 * scope sees: when that is cancelled, all of them end, and one that is cancelled by its handle ends
 * there and then. A deadline of its own is a timer here, and its own scope's once it has begun. */
#define _GNU_SOURCE
#include "dormant.h"

#include <errno.h>
#include <poll.h>

#include "../op.h"
#include "group.h"
#include "loop.h"
#include "park.h"

#define CHUNK_SIZE  (64 * 1024) /* no allocator has to round that up */
#define CHUNK_COUNT ((CHUNK_SIZE - sizeof(void *)) / sizeof(struct dormant))

struct dormant_chunk {
    struct dormant_chunk *next;
    struct dormant all[CHUNK_COUNT];
};

/* With the entry of its descriptor and a slot of the ring's. */
_Static_assert(sizeof(struct dormant) + sizeof(struct descriptor) + 16 <= 250,
               "one of them is to fit in 256 bytes, whatever it waits for");

static bool grow(struct loop *loop)
{
    struct dormant_chunk *c = loop_allocate(loop, NULL, sizeof(*c));

    if (!c)
        return false;
    c->next = loop->dormant.chunks;
    loop->dormant.chunks = c;
    for (size_t i = 0; i < CHUNK_COUNT; i++)
        list_push_back(&loop->dormant.free, &c->all[i].link);
    return true;
}

static struct dormant *lend(struct loop *loop)
{
    if (list_empty(&loop->dormant.free) && !grow(loop))
        return NULL;
    return container_of(list_pop_front(&loop->dormant.free), struct dormant, link);
}

static void give_back(struct loop *loop, struct dormant *d)
{
    list_push_front(&loop->dormant.free, &d->link);
}

void coil__dormant_pool_close(struct loop *loop)
{
    while (loop->dormant.chunks) {
        struct dormant_chunk *next = loop->dormant.chunks->next;

        loop_allocate(loop, loop->dormant.chunks, 0);
        loop->dormant.chunks = next;
    }
}

static bool is_cancelled(const struct dormant *d)
{
    return d->fate != FATE_BEGIN;
}

const char *coil__dormant_name(const struct dormant *d)
{
    return d->has_handle ? d->handle->name : d->name;
}

static struct handle *handle_of(const struct dormant *d)
{
    return d->has_handle ? d->handle : NULL;
}

/* l is d's now, which waits. */
static void keep_locals(struct dormant *d, struct locals *l)
{
    d->op.ptr = l;
}

static struct locals *take_locals(struct dormant *d)
{
    struct locals *l = d->op.ptr;

    d->op.ptr = NULL;
    return l;
}

/* Takes d out of its group, and forgets it. */
static void leave(struct dormant *d)
{
    list_remove(&d->link);
    d->group->dormant_count--;
    give_back(d->group->scope.loop, d);
}

const struct dormant *coil__dormant_next(const struct group *g, const struct dormant *d)
{
    const struct list *next = d ? d->link.next : g->dormant.next;

    if (!g->dormant_count || next == &g->dormant)
        return NULL;
    return container_of(next, struct dormant, link);
}

/* Ends d, which never ran, with code. */
static void end(struct dormant *d, int code)
{
    const struct error_record e = {.code = code, .task = coil__dormant_name(d), .site = d->site};
    struct group *g = d->group;
    struct handle *h = handle_of(d);
    struct locals *l = take_locals(d);
    bool gave_in = d->gave_in;

    if (h)
        h->dormant = NULL; /* what follows calls the user's, who may cancel by it */
    leave(d);
    g->scope.loop->living--;
    coil__locals_drop(g->scope.loop, &l);
    coil__group_lost(g, h, &e, gave_in);
}

/* It is time, one way or the other: makes the task. */
static void begin(struct dormant *d)
{
    const bool late = d->fate == FATE_BEGIN_LATE;
    struct group *g = d->group;
    struct loop *loop = g->scope.loop;
    struct coil_task *t = coil__task_new(loop, &g->scope, d->fn, d->arg, d->stack_class,
                                         coil__dormant_name(d), d->site);

    if (!t) {
        end(d, late ? -ECANCELED : -ENOMEM);
        return;
    }
    coil__locals_drop(loop, &t->locals); /* of whoever happens to run */
    t->locals = take_locals(d);
    loop->living--; /* it was counted */
    t->group = g;
    t->role = d->role;
    t->handle = handle_of(d);
    if (t->handle) {
        t->handle->dormant = NULL;
        t->handle->task = t;
    }
    if (d->deadline_ns != COIL_FOREVER)
        coil_scope_set_deadline((struct coil_scope *)&t->own, d->deadline_ns);
    leave(d);
    if (late)
        coil__scope_cancel(&t->own, COIL_CAUSE_DEADLINE, NULL, NULL, NULL);
    report_new(t); /* last: a hook may cancel it, or its group */
}

static void conclude(struct dormant *d)
{
    if (d->fate == FATE_END)
        end(d, -ECANCELED);
    else
        begin(d);
}

static void disarm(struct dormant *d)
{
    if (timer_armed(&d->timer))
        coil__timer_remove(&d->group->scope.loop->timers, &d->timer);
}

/* d waits no longer, nor does the backend for it, or soon so. */
static void stop_waiting(struct dormant *d, enum fate fate)
{
    if (fate > d->fate)
        d->fate = (uint8_t)fate;
    disarm(d);
    if (d->watches) {
        if (d->op.state != OP_PENDING || !coil__op_stop(&d->op))
            return; /* watch_delivered concludes it */
        (void)coil__op_end(&d->op);
    }
    conclude(d);
}

static void time_has_come(struct timer *t)
{
    struct dormant *d = container_of(t, struct dormant, timer);

    stop_waiting(d, d->is_deadline ? FATE_BEGIN_LATE : FATE_BEGIN);
}

/* Out of wait, where nothing may fail a group: that would call abort functions. */
static void watch_delivered(struct mail *m)
{
    struct dormant *d = container_of(m, struct dormant, op.mail);
    bool closed = d->op.descriptor->closing;

    (void)coil__op_end(&d->op);
    if (closed && d->fate != FATE_END)
        end(d, -EBADF);
    else
        conclude(d); /* an error is for the task's own read to meet */
}

static void watch_done(struct op *op)
{
    struct dormant *d = container_of(op, struct dormant, op);

    disarm(d);
    op->mail.deliver = watch_delivered;
    (void)coil__mailbox_post(&coil__here.loop->mailbox, &op->mail); /* we are awake */
}

static int watch(struct dormant *d)
{
    int r;

    d->op = coil__op_poll(d->op.fd, false);
    op_then(&d->op, watch_done);
    r = coil__op_look(&d->op);
    if (r == -EAGAIN)
        return coil__op_begin(&d->op);
    if (r == 0)
        r = coil__op_begin_ready(&d->op);
    return r;
}

/* d, of a group, begins to wait. -EBADF, -EBUSY, -ENOMEM: it does not. */
static int fall_asleep(struct loop *loop, struct dormant *d)
{
    int64_t at_ns = d->timer.deadline_ns;
    int r = d->watches ? watch(d) : 0;

    if (r < 0)
        return r;
    d->is_deadline = d->watches || d->deadline_ns < at_ns;
    if (d->deadline_ns < at_ns)
        at_ns = d->deadline_ns;
    d->op.offset = loop->now_ns;
    d->timer = (struct timer){.fire = time_has_come};
    if (d->watches && d->op.state == OP_DONE)
        watch_done(&d->op);
    else if (at_ns != COIL_FOREVER)
        coil__timer_add(&loop->timers, &d->timer, at_ns > 0 ? at_ns : 0);
    return 0;
}

/* --- Cancelling ------------------------------------------------------------------------------ */

void coil__dormant_cancel(struct dormant *d, const struct coil_cancellation *why)
{
    coil__handle_note(d->handle, why);
    if (d->fate != FATE_END)
        stop_waiting(d, FATE_END);
}

bool coil__dormant_cancelled(const struct dormant *d)
{
    return is_cancelled(d);
}

/* What d's group sees has changed: it is to stop, or to finish. Then who waits for a descriptor
 * begins, to say goodbye, and what would begin later does not begin any more. */
static void tell(struct dormant *d)
{
    const struct scope *s = &d->group->scope;
    const bool stops = s->seen & ASK_STOP;
    struct coil_cancellation why;

    if (!stops && d->watches) {
        if (d->role & ROLE_WARNED)
            return;
        d->role |= ROLE_WARNED;
        stop_waiting(d, FATE_BEGIN);
        return;
    }
    if (d->has_handle && coil__scope_why(s, &why))
        coil__handle_note(d->handle, &why);
    d->gave_in |= stops;
    stop_waiting(d, FATE_END);
}

void coil__dormants_tell(struct group *g)
{
    struct list all;
    struct list *n;

    /* Take the list first: some stay in it until the backend has let go of them. */
    list_take(&all, &g->dormant);
    while ((n = list_pop_front(&all))) {
        list_push_back(&g->dormant, n);
        if (scope_is_asked(&g->scope)) /* still */
            tell(container_of(n, struct dormant, link));
    }
}

/* d, which waits, is one of g's. */
static void join(struct group *g, struct dormant *d)
{
    if (!list_linked(&g->dormant)) {
        list_init(&g->dormant);
        g->telling.next = NULL;
    }
    list_push_back(&g->dormant, &d->link);
    g->dormant_count++;
    g->scope.loop->living++;
    if (d->has_handle) {
        d->handle->task = NULL;
        d->handle->dormant = d;
    }
    if (scope_is_asked(&g->scope))
        tell(d);
}

/* --- The public side ------------------------------------------------------------------------- */

/* What to wait for. */
static struct dormant at(int64_t when_ns)
{
    return (struct dormant){.deadline_ns = COIL_FOREVER, .timer.deadline_ns = when_ns};
}

static struct dormant readable(int fd, int64_t until_ns)
{
    return (struct dormant){
        .watches = true,
        .op.fd = fd,
        .deadline_ns = COIL_FOREVER,
        .timer.deadline_ns = until_ns,
    };
}

static int spawn(struct coil_group *public, const struct dormant *how, coil_task_fn *fn, void *arg,
                 const struct coil_spawn_options *options, const char *name, const char *site)
{
    static const struct coil_spawn_options defaults;
    struct group *g = (struct group *)public;
    struct loop *loop = coil__here.loop;
    struct dormant *d;
    unsigned int class;
    int r;

    options = options ? options : &defaults;
    name = options->name ? options->name : name;
    r = options->service ? -EINVAL : coil__group_check(g, fn, options, site, &class);
    if (r < 0)
        return r;
    d = lend(loop);
    if (!d)
        return -ENOMEM;
    *d = *how;
    d->group = g;
    d->fn = fn;
    d->arg = arg;
    d->name = name;
    d->site = site;
    d->stack_class = (uint8_t) class;
    if (options->deadline_ns)
        d->deadline_ns = options->deadline_ns;
    r = fall_asleep(loop, d);
    if (r < 0) {
        give_back(loop, d);
        return r;
    }
    if (options->handle) {
        d->has_handle = true;
        d->handle = (struct handle *)options->handle;
        coil__handle_begin(d->handle, name, g);
    }
    keep_locals(d, here_task() ? locals_share(here_task()->locals) : NULL);
    g->count++;
    join(g, d);
    return 0;
}

int coil_group_spawn_later_at(struct coil_group *g, int64_t when_ns, coil_task_fn *fn, void *arg,
                              const struct coil_spawn_options *options, const char *name,
                              const char *site)
{
    const struct dormant how = at(when_ns);

    return spawn(g, &how, fn, arg, options, name, site);
}

int coil_group_spawn_readable_at(struct coil_group *g, int fd, coil_task_fn *fn, void *arg,
                                 const struct coil_spawn_options *options, const char *name,
                                 const char *site)
{
    const struct dormant how = readable(fd, COIL_FOREVER);

    return spawn(g, &how, fn, arg, options, name, site);
}

/* The record is lent now, so that what fails is this call; it falls asleep when the task is
 * over. */
static int again(struct dormant how, const char *what)
{
    struct coil_task *self = need_task(what, NULL);

    if (!self->group || self->role & (ROLE_STARTING | ROLE_SERVICE | ROLE_ONCE))
        return -EINVAL;
    if (!(self->role & ROLE_AGAIN))
        self->again = lend(self->loop);
    if (!self->again)
        return -ENOMEM;
    *self->again = how;
    self->role |= ROLE_AGAIN;
    return 0;
}

int coil_again_later(int64_t when_ns)
{
    return again(at(when_ns), "coil_again_later");
}

int coil_again_readable(int fd)
{
    return again(readable(fd, COIL_FOREVER), "coil_again_readable");
}

int coil_again_readable_until(int fd, int64_t until_ns)
{
    return again(readable(fd, until_ns), "coil_again_readable_until");
}

/* d is now what the calling task was. */
static void take_over(struct dormant *d, const struct coil_task *self)
{
    d->group = self->group;
    d->has_handle = self->handle;
    if (self->handle)
        d->handle = self->handle;
    else
        d->name = self->name;
    d->fn = self->fn;
    d->arg = self->arg;
    d->site = self->site;
    d->stack_class = self->stack_class;
    d->role = self->role & (uint8_t)~ROLE_AGAIN;
    d->deadline_ns = self->own.deadline_ns;
}

int coil__dormant_again(struct coil_task *self, int result)
{
    struct dormant *d = self->again;
    struct loop *loop = self->loop;

    if (result >= 0 && self->own.seen & ASK_STOP)
        result = -ECANCELED;
    if (result >= 0) {
        take_over(d, self);
        result = fall_asleep(loop, d);
    }
    if (result < 0) {
        give_back(loop, d);
        return result;
    }
    (void)scope_leave(&self->own, 0);
    coil__errors_free(loop, self->errors);
    keep_locals(d, self->locals);
    self->locals = NULL;
    join(d->group, d);
    self->state = TASK_ENDED;
    report(loop, HOOK_EXITED, self); /* it comes back as a new one */
    coil__switch_for_good(self);
    return 0; /* never */
}
