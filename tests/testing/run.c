/* run.c - one run, and its ledger: what is there before is there after, and nothing else. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

__thread struct world *coil__testing_world;

struct coil_testing_options coil_testing_seeded(uint64_t seed)
{
    return (struct coil_testing_options){
        .seed = seed,
        .short_percent = 30,
        .late_percent = 30,
        .lost_percent = 50,
        .late_ns = COIL_MILLISECOND,
    };
}

/* --- Descriptors ----------------------------------------------------------------------------- */

#define FDS_MOST 65536 /* those beyond are not looked at */

/* On the stack: a test may leave its run by a jump, and nothing must be lost by that. */
struct fds {
    uint64_t bits[FDS_MOST / 64];
};

static bool has(const struct fds *all, int fd)
{
    return all->bits[fd / 64] >> fd % 64 & 1;
}

static void find_fds(struct fds *ret)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    memset(ret, 0, sizeof(*ret));
    while (dir && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && fd != dirfd(dir) && fd < FDS_MOST)
            ret->bits[fd / 64] |= UINT64_C(1) << fd % 64;
    }
    if (dir)
        closedir(dir);
}

static void say_fd(struct world *w, int fd, const char *what)
{
    char path[32];
    char target[64] = "";

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (readlink(path, target, sizeof(target) - 1) < 0)
        target[0] = '\0';
    coil__testing_say(w, "descriptor %d %s%s%s", fd, what, *target ? ": " : "", target);
}

static void compare_fds(struct world *w, const struct fds *before, const struct fds *after)
{
    for (int fd = 0; fd < FDS_MOST; fd++) {
        if (has(after, fd) && !has(before, fd))
            say_fd(w, fd, "was left open");
        if (has(before, fd) && !has(after, fd))
            say_fd(w, fd, "was closed, and is not the run's");
    }
}

/* --- Memory ---------------------------------------------------------------------------------- */

static void *from_user(struct world *w, void *ptr, size_t size)
{
    const struct coil_loop_options *o = &w->options.loop;

    if (o->allocate)
        return o->allocate(o->allocate_ctx, ptr, size);
    if (size)
        return realloc(ptr, size);
    free(ptr);
    return NULL;
}

static void *counted(void *ctx, void *ptr, size_t size)
{
    struct world *w = ctx;
    void *fresh;

    if (!size) {
        w->live -= ptr != NULL;
        return from_user(w, ptr, 0);
    }
    if (++w->report->allocations == w->options.fail_allocation)
        return NULL;
    fresh = from_user(w, ptr, size);
    w->live += fresh && !ptr;
    return fresh;
}

/* --- The run --------------------------------------------------------------------------------- */

static void check_empty(struct world *w, size_t count, const char *what)
{
    if (count)
        coil__testing_say(w, "%zu %s left when main had returned", count, what);
}

static void check_loop(struct world *w)
{
    struct coil_stats stats;

    (void)coil_loop_stats(&stats);
    check_empty(w, stats.tasks - 1, "tasks");
    check_empty(w, stats.operations, "operations");
    check_empty(w, stats.timers, "timers");
    check_empty(w, stats.descriptors, "descriptors neither closed nor forgotten");
    check_empty(w, stats.blocking, "calls in the pool");
}

static int cancellable(struct world *w)
{
    struct coil_scope scope;
    int rc;

    coil_scope_begin(&scope, COIL_FOREVER);
    if (coil__here.loop->ops == &coil__testing_ops)
        coil__scope_tell(scope_of(&scope));
    w->scope = &scope;
    rc = w->main_fn(w->arg);
    w->scope = NULL;
    return coil_scope_end(&scope, rc);
}

static int run_main(void *arg)
{
    struct world *w = arg;
    int rc;

    coil__testing_world = NULL; /* a loop inside would be another world */
    w->report->backend = coil_backend_name();
    rc = w->options.cancel_at ? cancellable(w) : w->main_fn(w->arg);
    check_loop(w);
    return rc;
}

static const char *chosen_backend(const struct coil_loop_options *o)
{
    const char *from_environment = getenv("COIL_BACKEND");

    if (o->backend)
        return o->backend;
    return from_environment && *from_environment ? NULL : coil__testing_ops.name;
}

static int run(struct world *w, const char *site)
{
    struct coil_loop_options loop = w->options.loop;
    int r;

    loop.backend = chosen_backend(&loop);
    loop.allocate = counted;
    loop.allocate_ctx = w;
    if (!loop.shuffle_seed)
        loop.shuffle_seed = w->options.seed;
    coil__testing_world = w;
    r = coil_run_at(&loop, run_main, w, "main", site);
    coil__testing_world = NULL;
    return r;
}

int coil__testing_run(const struct coil_testing_options *options, coil_task_fn *main_fn, void *arg,
                      struct coil_testing_report *report, const char *site)
{
    struct world w = {.options = *options, .report = report, .main_fn = main_fn, .arg = arg};
    struct fds before;
    struct fds after;
    int r;

    memset(report, 0, sizeof(*report));
    report->seed = options->seed;
    find_fds(&before);
    r = run(&w, site);
    find_fds(&after);
    compare_fds(&w, &before, &after);
    if (w.live)
        coil__testing_say(&w, "%ld pieces of memory did not go back", w.live);
    if (w.unsaid)
        coil__testing_add(report, "and %zu more", w.unsaid);
    if (r == -EDEADLK && report->text[0])
        return r;
    return report->text[0] ? -EUCLEAN : r;
}

int coil_testing_run_at(const struct coil_testing_options *options, coil_task_fn *main_fn,
                        void *arg, struct coil_testing_report *ret, const char *site)
{
    static const struct coil_testing_options defaults;
    struct coil_testing_report own_report;
    int r;

    if (!main_fn)
        return -EINVAL;
    if (!ret)
        ret = &own_report;
    r = coil__testing_run(options ? options : &defaults, main_fn, arg, ret, site);
    if (ret->text[0] && ret->seed)
        coil__testing_add(ret, "seed %llu", (unsigned long long)ret->seed);
    return r;
}

static bool is_lacking(int r, const struct coil_testing_report *report)
{
    return !report->backend && (r == -ENOSYS || r == -EPERM || r == -EOPNOTSUPP);
}

int coil_testing_run_each_at(const struct coil_testing_options *options, coil_task_fn *main_fn,
                             void *arg, struct coil_testing_report *ret, const char *site)
{
    static const char *const backends[] = {"io_uring", "epoll", "sim"};
    struct coil_testing_options o = {0};
    struct coil_testing_report own_report;
    int r = 0;

    if (options)
        o = *options;
    if (!ret)
        ret = &own_report;
    for (size_t i = 0; i < count_of(backends); i++) {
        o.loop.backend = backends[i];
        r = coil_testing_run_at(&o, main_fn, arg, ret, site);
        if (r < 0 && !is_lacking(r, ret))
            return r;
    }
    return r;
}
