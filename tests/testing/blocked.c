/* blocked.c - who waits for what: the words for a deadlock; and waiting until nobody can run. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

/* A backend that works by readiness may leave out some looks at the kernel in a row. */
#define QUIET_TURNS 40

void coil__testing_say(struct coil_testing_report *report, const char *format, ...)
{
    size_t len = strlen(report->text);
    va_list args;

    if (len >= sizeof(report->text) - 2)
        return;
    if (len)
        report->text[len++] = '\n';
    va_start(args, format);
    vsnprintf(report->text + len, sizeof(report->text) - len, format, args);
    va_end(args);
}

static bool is_full(const struct coil_testing_report *report)
{
    return strlen(report->text) > sizeof(report->text) - 512;
}

static void describe(const struct coil_task *t, struct coil_testing_report *report, int fd)
{
    const char *what = t->waits_for ? t->waits_for : "nothing: it is ready";

    if (fd < 0)
        coil__testing_say(report, "%s, spawned at %s, waits for: %s", t->name, t->site, what);
    else
        coil__testing_say(report, "%s, spawned at %s, waits for: %s of descriptor %d", t->name,
                          t->site, what, fd);
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

void coil__testing_describe_blocked(struct loop *loop, struct coil_testing_report *report,
                                    int (*fd_of)(void *ctx, const struct coil_task *t), void *ctx)
{
    size_t unsaid = 0;

    for (struct scope *s = after(&loop->root); s; s = after(s)) {
        if (s != &s->task->own)
            continue;
        if (is_full(report))
            unsaid++;
        else
            describe(s->task, report, fd_of(ctx, s->task));
    }
    if (unsaid)
        coil__testing_say(report, "and %zu more", unsaid);
}

/* --- Until nobody else can run ---------------------------------------------------------------- */

/* How often a waiter was resumed in its wait: what the loop's switches are more, are others'. */
static __thread uint64_t resumed;

static uint64_t switches_of_others(void)
{
    struct coil_stats stats;

    (void)coil_loop_stats(&stats);
    return stats.switches - resumed;
}

/* Gives way until all the others did not want it for a while, the backend's looks included. */
static int await_quiet(void)
{
    unsigned int turns = 0;

    while (turns < QUIET_TURNS) {
        uint64_t before = switches_of_others();
        int r = coil_checkpoint();

        resumed++;
        if (r < 0)
            return r;
        turns = switches_of_others() == before ? turns + 1 : 0;
    }
    return 0;
}

int coil_wait_all_blocked(int64_t cushion_ns)
{
    uint64_t before;
    int r;

    do {
        r = await_quiet();
        before = switches_of_others();
        if (r >= 0 && cushion_ns > 0) {
            r = coil_sleep(cushion_ns);
            resumed++;
        }
    } while (r >= 0 && switches_of_others() != before);
    return r;
}
