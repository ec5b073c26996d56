/* blocked.c - who waits for what: the words for a deadlock; and waiting until nobody can run. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../core/sched/group.h"
#include "world.h"

#define ROOM_FOR_LAST 128 /* kept in a report for two lines at its end */

/* A backend that works by readiness may leave out some looks at the kernel in a row. */
#define QUIET_TURNS 40

#define LINE_SIZE   512

static size_t used(const struct coil_testing_report *report)
{
    return strlen(report->text) + (report->text[0] != '\0');
}

static void append(struct coil_testing_report *report, const char *line)
{
    size_t len = strlen(report->text);

    snprintf(report->text + len, sizeof(report->text) - len, "%s%s", len ? "\n" : "", line);
}

void coil__testing_say(struct world *w, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (w->options.complain)
        w->options.complain(w->options.complain_ctx, line);
    if (w->unsaid || used(w->report) + strlen(line) > sizeof(w->report->text) - ROOM_FOR_LAST)
        w->unsaid++;
    else
        append(w->report, line);
}

void coil__testing_add(struct coil_testing_report *report, const char *format, ...)
{
    char line[ROOM_FOR_LAST / 2];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    append(report, line);
}

static void describe(struct world *w, const char *name, const char *site, const char *what, int fd)
{
    if (fd < 0)
        coil__testing_say(w, "%s, spawned at %s, waits for: %s", name, site, what);
    else
        coil__testing_say(w, "%s, spawned at %s, waits for: %s of descriptor %d", name, site, what,
                          fd);
}

static void describe_dormants(struct world *w, const struct group *g)
{
    const struct dormant *d = NULL;

    while ((d = coil__dormant_next(g, d)))
        describe(w, coil__dormant_name(d), d->site, d->watches ? "poll" : "its time",
                 d->watches ? dormant_op(d)->fd : -1);
}

static struct scope *first_of(const struct list *scopes)
{
    return container_of(scopes->next, struct scope, siblings);
}

/* The next scope of the tree, a parent before its children. NULL: that was the last. */
static struct scope *after(struct scope *s)
{
    if (!list_empty(&s->children))
        return first_of(&s->children);
    while (s->parent && s->siblings.next == &s->parent->children)
        s = s->parent;
    return s->parent ? first_of(&s->siblings) : NULL;
}

void coil__testing_describe_blocked(struct loop *loop, struct world *w,
                                    int (*fd_of)(void *ctx, const struct coil_task *t), void *ctx)
{
    for (struct scope *s = after(&loop->root); s; s = after(s)) {
        const struct coil_task *t = s->task;

        if (s == &s->task->own)
            describe(w, t->name, t->site, t->waits_for ? t->waits_for : "nothing: it is ready",
                     fd_of(ctx, t));
        if (s->of_group)
            describe_dormants(w, container_of(s, struct group, scope));
    }
}

/* --- Until nobody else can run ---------------------------------------------------------------- */

/* A task that waits until all others do. One of them watches; the others are parked. */
struct waiting {
    struct list link; /* among them all; in no list once it has been released, or has left */
    struct coil_task *task;
    int64_t cushion_ns;
    bool released;
    struct timer timer; /* while it watches, and sleeps */

    /* While it watches. */
    uint64_t switches;      /* of the loop, as far as they were seen */
    int64_t quiet_since_ns; /* when somebody else was last seen to have run */
};

/* Those of this thread's loop. */
static __thread struct {
    const struct loop *loop;
    struct list all;
    struct waiting *watcher;
} here;

static void disarm(struct waiting *w)
{
    if (timer_armed(&w->timer))
        coil__timer_remove(&w->task->loop->timers, &w->timer);
}

static void leave(struct waiting *w)
{
    disarm(w);
    if (list_linked(&w->link))
        list_remove(&w->link);
    w->link.next = NULL;
    if (here.watcher == w)
        here.watcher = NULL;
}

static enum coil_abort stop_waiting(void *ctx)
{
    leave(ctx);
    return COIL_ABORT_DONE;
}

static void cushion_is_over(struct timer *t)
{
    coil_unpark(container_of(t, struct waiting, timer)->task, 0);
}

static int park_with(struct waiting *w)
{
    return coil_park(stop_waiting, w, "all others to be blocked");
}

/* Has anybody else run since we last asked, being resumed once in between? */
static bool others_ran(struct waiting *w)
{
    const bool ran = w->task->loop->switches != ++w->switches;

    if (ran) {
        w->switches = w->task->loop->switches;
        w->quiet_since_ns = coil_now();
    }
    return ran;
}

/* Gives way until all the others did not want it for a while, the backend's looks included. */
static int await_quiet(struct waiting *w)
{
    for (unsigned int turns = 0; turns < QUIET_TURNS;) {
        int r = coil_checkpoint();

        if (r < 0)
            return r;
        turns = others_ran(w) ? 0 : turns + 1;
    }
    return 0;
}

static int64_t least_cushion(void)
{
    int64_t least_ns = COIL_FOREVER;

    list_for_each(n, &here.all) {
        const struct waiting *w = container_of(n, struct waiting, link);

        if (w->cushion_ns < least_ns)
            least_ns = w->cushion_ns;
    }
    return least_ns;
}

static void release(int64_t cushion_ns)
{
    struct list all;
    struct list *n;

    list_take(&all, &here.all);
    while ((n = list_pop_front(&all))) {
        struct waiting *w = container_of(n, struct waiting, link);

        if (w->cushion_ns > cushion_ns) {
            list_push_back(&here.all, n);
            continue;
        }
        w->released = true;
        w->link.next = NULL;
        if (w != here.watcher)
            coil_unpark(w->task, 0);
    }
}

/* Looks on until somebody is released, or the others have run while we slept. */
static int watch(struct waiting *w)
{
    struct loop *loop = w->task->loop;
    int64_t cushion_ns;
    int r = await_quiet(w);

    if (r < 0)
        return r;
    cushion_ns = least_cushion();
    if (coil_now() - w->quiet_since_ns >= cushion_ns) {
        release(cushion_ns);
        return 0;
    }
    if (cushion_ns < COIL_FOREVER - w->quiet_since_ns)
        coil__timer_add(&loop->timers, &w->timer, w->quiet_since_ns + cushion_ns);
    r = park_with(w);
    (void)others_ran(w);
    return r;
}

static void begin_watch(struct waiting *w)
{
    here.watcher = w;
    w->switches = w->task->loop->switches;
    w->quiet_since_ns = coil_now();
}

/* A watcher that sleeps is woken: it does not know of us, nor of how long we want to wait. */
static void enter(struct waiting *w)
{
    if (here.loop != w->task->loop) {
        here.loop = w->task->loop;
        here.watcher = NULL;
        list_init(&here.all);
    }
    list_push_back(&here.all, &w->link);
    if (!here.watcher) {
        begin_watch(w);
    } else if (here.watcher->task->state == TASK_PARKED) {
        disarm(here.watcher);
        coil_unpark(here.watcher->task, 0);
    }
}

static void hand_watch_on(void)
{
    if (here.watcher || list_empty(&here.all))
        return;
    here.watcher = container_of(here.all.next, struct waiting, link);
    coil_unpark(here.watcher->task, 0);
}

int coil_wait_all_blocked(int64_t cushion_ns)
{
    struct waiting w = {
        .task = need_task("coil_wait_all_blocked", NULL),
        .cushion_ns = cushion_ns > 0 ? cushion_ns : 0,
        .timer.fire = cushion_is_over,
    };
    int r = 0;

    enter(&w);
    while (!w.released && r >= 0) {
        if (here.watcher == &w) {
            r = watch(&w);
        } else {
            r = park_with(&w);
            if (here.watcher == &w)
                begin_watch(&w);
        }
    }
    leave(&w);
    hand_watch_on();
    return w.released ? 0 : r;
}
