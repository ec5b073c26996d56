/* dormant.c - tasks that have no stack until it is time: by the clock, or when there is something
 * to read.
 *
 * Such a task has no scope of its own either. It has begun none, so it sees just what its group's
 * scope sees: when that is cancelled, all of them end, and one that is cancelled by its handle ends
 * there and then. */
#define _GNU_SOURCE
#include "dormant.h"

#include <errno.h>
#include <poll.h>

#include "../op.h"
#include "group.h"
#include "loop.h"
#include "park.h"

#define CHUNK_COUNT 256

enum dormant_state {
    DORMANT_TIMED,
    DORMANT_WATCHING, /* the backend has op */
    DORMANT_WAKING,   /* op is over; its mail is on its way to us */
};

struct dormant {
    struct list link; /* in its group; in the pool if it is free */
    struct group *group;
    struct handle *handle; /* may be NULL */
    coil_task_fn *fn;
    void *arg;
    const char *name;
    const char *site;
    uint8_t state; /* enum dormant_state */
    uint8_t stack_class;
    uint8_t role;   /* of the task that it was */
    bool watches;   /* fd, not the clock */
    bool cancelled; /* ends as soon as the backend lets go of op */
    bool gave_in;   /* ... with its group */
    int fd;
    union {
        struct timer timer;
        struct op op;
        int64_t when_ns; /* before it sleeps */
    };
};

struct dormant_chunk {
    struct dormant_chunk *next;
    struct dormant all[CHUNK_COUNT];
};

_Static_assert(sizeof(struct dormant) <= 256, "a million of them are to fit in 300 MB");

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

/* Ends d, which never ran, with code. */
static void end(struct dormant *d, int code)
{
    const struct error_record e = {.code = code, .task = d->name, .site = d->site};
    struct group *g = d->group;
    struct loop *loop = g->scope.loop;
    struct handle *h = d->handle;
    bool gave_in = d->gave_in;

    if (h)
        h->dormant = NULL; /* a failure calls abort functions, which may cancel by it */
    list_remove(&d->link);
    g->dormant_count--;
    give_back(loop, d);
    loop->living--;
    coil__group_lost(g, h, &e, gave_in);
}

/* It is time: makes the task. */
static void wake(struct dormant *d)
{
    struct group *g = d->group;
    struct loop *loop = g->scope.loop;
    struct coil_task *t =
        coil__task_new(loop, &g->scope, d->fn, d->arg, d->stack_class, d->name, d->site);

    if (!t) {
        end(d, -ENOMEM);
        return;
    }
    if (t->locals) /* of whoever happens to run; its spawner's are forgotten */
        coil__locals_drop(loop, &t->locals);
    loop->living--; /* it was counted */
    t->group = g;
    t->role = d->role;
    t->handle = d->handle;
    if (t->handle) {
        t->handle->dormant = NULL;
        t->handle->task = t;
    }
    list_remove(&d->link);
    g->dormant_count--;
    give_back(loop, d);
    report_new(t); /* last: a hook may cancel it, or its group */
}

static void time_has_come(struct timer *t)
{
    wake(container_of(t, struct dormant, timer));
}

/* Out of wait, where nothing may fail a group: that would call abort functions. */
static void watch_delivered(struct mail *m)
{
    struct dormant *d = container_of(m, struct dormant, op.mail);
    bool closed = d->op.descriptor->closing;

    (void)coil__op_end(&d->op);
    if (d->cancelled)
        end(d, -ECANCELED);
    else if (closed)
        end(d, -EBADF);
    else
        wake(d); /* an error is for the task's own read to meet */
}

static void watch_done(struct op *op)
{
    struct dormant *d = container_of(op, struct dormant, op);

    d->state = DORMANT_WAKING;
    op->mail.deliver = watch_delivered;
    (void)coil__mailbox_post(&coil__here.loop->mailbox, &op->mail); /* we are awake */
}

/* d begins to wait. -EBADF, -EBUSY, -ENOMEM: it does not. */
static int fall_asleep(struct loop *loop, struct dormant *d)
{
    int64_t when_ns = d->when_ns;
    int r;

    if (d->watches) {
        d->state = DORMANT_WATCHING;
        d->op = coil__op_poll(d->fd, false);
        op_then(&d->op, watch_done);
        r = coil__op_look(&d->op);
        if (r == -EAGAIN)
            return coil__op_begin(&d->op);
        if (r == 0)
            r = coil__op_begin_ready(&d->op);
        if (r == 0)
            watch_done(&d->op);
        return r;
    }
    d->state = DORMANT_TIMED;
    d->timer = (struct timer){.fire = time_has_come};
    if (when_ns != COIL_FOREVER)
        coil__timer_add(&loop->timers, &d->timer, when_ns > 0 ? when_ns : 0);
    return 0;
}

static void join(struct group *g, struct dormant *d)
{
    if (!list_linked(&g->dormant)) {
        list_init(&g->dormant);
        g->telling.next = NULL;
    }
    list_push_back(&g->dormant, &d->link);
    g->dormant_count++;
    g->scope.loop->living++;
    if (d->handle) {
        d->handle->task = NULL;
        d->handle->dormant = d;
    }
}

/* --- Cancelling ------------------------------------------------------------------------------ */

static void cancel(struct dormant *d, bool with_group)
{
    struct loop *loop = d->group->scope.loop;

    d->cancelled = true;
    d->gave_in |= with_group;
    switch ((enum dormant_state)d->state) {
    case DORMANT_TIMED:
        if (timer_armed(&d->timer))
            coil__timer_remove(&loop->timers, &d->timer);
        end(d, -ECANCELED);
        break;
    case DORMANT_WATCHING:
        if (!coil__op_stop(&d->op))
            break;
        (void)coil__op_end(&d->op);
        end(d, -ECANCELED);
        break;
    case DORMANT_WAKING:
        break;
    }
}

void coil__dormant_cancel(struct dormant *d)
{
    if (!d->cancelled)
        cancel(d, false);
}

bool coil__dormant_cancelled(const struct dormant *d)
{
    return d->cancelled;
}

void coil__dormants_tell(struct group *g)
{
    struct list all;
    struct list *n;

    if (!(g->scope.seen & ASK_STOP))
        return; /* any more */
    /* Take the list first: some stay in it until the backend has let go of them. */
    list_take(&all, &g->dormant);
    while ((n = list_pop_front(&all))) {
        list_push_back(&g->dormant, n);
        cancel(container_of(n, struct dormant, link), true);
    }
}

/* --- The public side ------------------------------------------------------------------------- */

static int spawn(struct coil_group *public, struct dormant how, coil_task_fn *fn, void *arg,
                 const struct coil_spawn_options *options, const char *name, const char *site)
{
    static const struct coil_spawn_options defaults;
    struct group *g = (struct group *)public;
    struct loop *loop = coil__here.loop;
    struct handle *h;
    struct dormant *d;
    unsigned int class;
    int r;

    options = options ? options : &defaults;
    name = options->name ? options->name : name;
    h = (struct handle *)options->handle;
    r = options->service ? -EINVAL : coil__group_check(g, fn, options, site, &class);
    if (r < 0)
        return r;
    d = lend(loop);
    if (!d)
        return -ENOMEM;
    *d = how;
    d->group = g;
    d->handle = h;
    d->fn = fn;
    d->arg = arg;
    d->name = name;
    d->site = site;
    d->stack_class = (uint8_t) class;
    r = fall_asleep(loop, d);
    if (r < 0) {
        give_back(loop, d);
        return r;
    }
    if (h)
        coil__handle_begin(h, name, g);
    g->count++;
    join(g, d);
    if (g->scope.seen & ASK_STOP)
        cancel(d, true);
    return 0;
}

int coil_group_spawn_later_at(struct coil_group *g, int64_t when_ns, coil_task_fn *fn, void *arg,
                              const struct coil_spawn_options *options, const char *name,
                              const char *site)
{
    return spawn(g, (struct dormant){.when_ns = when_ns}, fn, arg, options, name, site);
}

int coil_group_spawn_readable_at(struct coil_group *g, int fd, coil_task_fn *fn, void *arg,
                                 const struct coil_spawn_options *options, const char *name,
                                 const char *site)
{
    return spawn(g, (struct dormant){.watches = true, .fd = fd}, fn, arg, options, name, site);
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
    return again((struct dormant){.when_ns = when_ns}, "coil_again_later");
}

int coil_again_readable(int fd)
{
    return again((struct dormant){.watches = true, .fd = fd}, "coil_again_readable");
}

int coil__dormant_again(struct coil_task *self, int result)
{
    struct dormant *d = self->again;
    struct loop *loop = self->loop;

    if (result >= 0 && self->own.seen & ASK_STOP)
        result = -ECANCELED;
    if (result >= 0)
        result = fall_asleep(loop, d);
    if (result < 0) {
        give_back(loop, d);
        return result;
    }
    (void)scope_leave(&self->own, 0);
    coil__errors_free(loop, self->errors);
    d->group = self->group;
    d->handle = self->handle;
    d->fn = self->fn;
    d->arg = self->arg;
    d->name = self->name;
    d->site = self->site;
    d->stack_class = self->stack_class;
    d->role = self->role & (uint8_t)~ROLE_AGAIN;
    join(d->group, d);
    self->state = TASK_ENDED;
    report(loop, HOOK_EXITED, self); /* it comes back as a new one */
    coil__switch_for_good(self);
    return 0; /* never */
}
