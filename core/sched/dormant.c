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

/* Great, since malloc adds a page to each; but touched only as far as it is lent. */
#define CHUNK_SIZE (256 * 1024)

struct dormant_chunk {
    struct dormant_chunk *next;
    char records[];
};

_Static_assert(sizeof(struct dormant_sleeper) <= 128, "a million of them take 131 MB");

/* With the entry of its descriptor and a slot of the ring's. */
_Static_assert(sizeof(struct dormant_watcher) + sizeof(struct descriptor) + 16 <= 250,
               "one of them is to fit in 256 bytes, whatever it waits for");

static size_t size_of(bool watches)
{
    return watches ? sizeof(struct dormant_watcher) : sizeof(struct dormant_sleeper);
}

void coil__dormant_pool_open(struct loop *loop)
{
    for (size_t i = 0; i < count_of(loop->dormant.shelves); i++)
        list_init(&loop->dormant.shelves[i].free);
}

static bool grow(struct loop *loop, struct dormant_shelf *s)
{
    struct dormant_chunk *c = loop_allocate(loop, NULL, CHUNK_SIZE);

    if (!c)
        return false;
    c->next = loop->dormant.chunks;
    loop->dormant.chunks = c;
    s->rest = c->records;
    s->end = (char *)c + CHUNK_SIZE;
    return true;
}

static struct dormant *lend(struct loop *loop, bool watches)
{
    struct dormant_shelf *s = &loop->dormant.shelves[watches];
    const size_t size = size_of(watches);
    struct dormant *d;

    if (!list_empty(&s->free))
        return container_of(list_pop_front(&s->free), struct dormant, link);
    if ((size_t)(s->end - s->rest) < size && !grow(loop, s))
        return NULL;
    d = (struct dormant *)(void *)s->rest;
    s->rest += size;
    return d;
}

static void give_back(struct loop *loop, struct dormant *d)
{
    list_push_front(&loop->dormant.shelves[d->watches].free, &d->link);
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

static struct dormant_sleeper *sleeper_of(struct dormant *d)
{
    assert(!d->watches);

    return container_of(d, struct dormant_sleeper, dormant);
}

static struct op *op_of(struct dormant *d)
{
    assert(d->watches);

    return &container_of(d, struct dormant_watcher, dormant)->op;
}

/* l is d's now, which waits. */
static void keep_locals(struct dormant *d, struct locals *l)
{
    if (d->watches)
        op_of(d)->ptr = l;
    else
        sleeper_of(d)->locals = l;
}

static struct locals *take_locals(struct dormant *d)
{
    struct locals *l = d->watches ? op_of(d)->ptr : sleeper_of(d)->locals;

    keep_locals(d, NULL);
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
        if (op_of(d)->state != OP_PENDING || !coil__op_stop(op_of(d)))
            return; /* watch_delivered concludes it */
        (void)coil__op_end(op_of(d));
    }
    conclude(d);
}

static void time_has_come(struct timer *t)
{
    struct dormant *d = container_of(t, struct dormant, timer);

    stop_waiting(d, d->is_deadline ? FATE_BEGIN_LATE : FATE_BEGIN);
}

static struct dormant *dormant_of(struct op *op)
{
    return &container_of(op, struct dormant_watcher, op)->dormant;
}

/* Out of wait, where nothing may fail a group: that would call abort functions. */
static void watch_delivered(struct mail *m)
{
    struct op *op = container_of(m, struct op, mail);
    struct dormant *d = dormant_of(op);
    bool closed = op->descriptor->closing;

    (void)coil__op_end(op);
    if (closed && d->fate != FATE_END)
        end(d, -EBADF);
    else
        conclude(d); /* an error is for the task's own read to meet */
}

static void watch_done(struct op *op)
{
    struct dormant *d = dormant_of(op);

    disarm(d);
    op->mail.deliver = watch_delivered;
    (void)coil__mailbox_post(&coil__here.loop->mailbox, &op->mail); /* we are awake */
}

static int watch(struct op *op)
{
    int r;

    *op = coil__op_poll(op->fd, false);
    op_then(op, watch_done);
    r = coil__op_look(op);
    if (r == -EAGAIN)
        return coil__op_begin(op);
    if (r == 0)
        r = coil__op_begin_ready(op);
    return r;
}

static void note_since(struct dormant *d, int64_t now_ns)
{
    if (d->watches)
        op_of(d)->offset = now_ns;
    else
        sleeper_of(d)->since_ns = now_ns;
}

/* d, of a group, begins to wait. -EBADF, -EBUSY, -ENOMEM: it does not. */
static int fall_asleep(struct loop *loop, struct dormant *d)
{
    int64_t at_ns = d->timer.deadline_ns;
    int r = d->watches ? watch(op_of(d)) : 0;

    if (r < 0)
        return r;
    d->is_deadline = d->watches || d->deadline_ns < at_ns;
    if (d->deadline_ns < at_ns)
        at_ns = d->deadline_ns;
    note_since(d, loop->now_ns);
    d->timer = (struct timer){.fire = time_has_come};
    if (d->watches && op_of(d)->state == OP_DONE)
        watch_done(op_of(d));
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
struct aim {
    bool watches;
    int fd;
    int64_t at_ns; /* its time; watching, its limit */
};

static struct aim at(int64_t when_ns)
{
    return (struct aim){.at_ns = when_ns};
}

static struct aim readable(int fd, int64_t until_ns)
{
    return (struct aim){.watches = true, .fd = fd, .at_ns = until_ns};
}

static void take_aim(struct dormant *d, const struct aim *a)
{
    d->watches = a->watches;
    d->timer.deadline_ns = a->at_ns;
    if (a->watches)
        op_of(d)->fd = a->fd;
}

static int spawn(struct coil_group *public, struct aim aim, coil_task_fn *fn, void *arg,
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
    d = lend(loop, aim.watches);
    if (!d)
        return -ENOMEM;
    *d = (struct dormant){
        .group = g,
        .name = name,
        .fn = fn,
        .arg = arg,
        .site = site,
        .deadline_ns = options->deadline_ns ? options->deadline_ns : COIL_FOREVER,
        .stack_class = (uint8_t) class,
    };
    take_aim(d, &aim);
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
    return spawn(g, at(when_ns), fn, arg, options, name, site);
}

int coil_group_spawn_readable_at(struct coil_group *g, int fd, coil_task_fn *fn, void *arg,
                                 const struct coil_spawn_options *options, const char *name,
                                 const char *site)
{
    return spawn(g, readable(fd, COIL_FOREVER), fn, arg, options, name, site);
}

/* The record is lent now, so that what fails is this call; it falls asleep when the task is
 * over. */
static int again(struct aim aim, const char *what)
{
    struct coil_task *self = need_task(what, NULL);
    struct dormant *d;

    if (!self->group || self->role & (ROLE_STARTING | ROLE_SERVICE | ROLE_ONCE))
        return -EINVAL;
    d = self->role & ROLE_AGAIN ? self->again : NULL;
    if (!d || d->watches != aim.watches) {
        struct dormant *other = lend(self->loop, aim.watches);

        if (!other)
            return -ENOMEM;
        if (d)
            give_back(self->loop, d);
        d = other;
    }
    *d = (struct dormant){0};
    take_aim(d, &aim);
    self->again = d;
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
    d->fn = self->context.fn;
    d->arg = self->context.arg;
    d->site = self->site;
    d->stack_class = self->stack_class;
    d->role = self->role & (uint8_t)~ROLE_AGAIN;
    d->deadline_ns = self->own.deadline_ns;
}

bool coil__dormant_again(struct coil_task *self, int *result)
{
    struct dormant *d = self->again;
    struct loop *loop = self->loop;

    if (*result >= 0 && self->own.seen & ASK_STOP)
        *result = -ECANCELED;
    if (*result >= 0) {
        take_over(d, self);
        *result = fall_asleep(loop, d);
    }
    if (*result < 0) {
        give_back(loop, d);
        return false;
    }
    (void)scope_leave(&self->own, 0);
    coil__errors_free(loop, self->errors);
    keep_locals(d, self->locals);
    self->locals = NULL;
    join(d->group, d);
    self->state = TASK_ENDED;
    report(loop, HOOK_EXITED, self); /* it comes back as a new one */
    return true;
}
