/* tasks.c - what COUNT operations of a bench cost on libuv, asked for line by line on standard
 * input. libuv has no tasks, so only a few benches make sense; ../../README.md says what one
 * operation of each is. */

#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

enum { HOUR_MS = 3600 * 1000 };

struct watch {
    int64_t cpu_ns, wall_ns;
};

static uv_loop_t loop;

static void check(int r, const char *what)
{
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(r));
        exit(1);
    }
}

/* --- Watch ------------------------------------------------------------------------------------ */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void watch_start(struct watch *w)
{
    w->wall_ns = clock_ns(CLOCK_MONOTONIC);
    w->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void watch_stop(struct watch *w)
{
    w->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - w->cpu_ns;
    w->wall_ns = clock_ns(CLOCK_MONOTONIC) - w->wall_ns;
}

/* --- Timers ----------------------------------------------------------------------------------- */

static uv_timer_t *timers;
static int64_t timer_count;
static int64_t closed_count;

static void too_late(uv_timer_t *timer)
{
    fprintf(stderr, "an hour has passed\n");
    exit(1);
}

static void on_closed(uv_handle_t *handle)
{
    closed_count++;
}

static void timers_new(int64_t count)
{
    timers = malloc((size_t)count * sizeof(*timers));
    if (!timers)
        abort();
    timer_count = count;
    for (int64_t i = 0; i < count; i++)
        check(uv_timer_init(&loop, &timers[i]), "uv_timer_init");
}

static void timers_arm(void)
{
    for (int64_t i = 0; i < timer_count; i++)
        check(uv_timer_start(&timers[i], too_late, HOUR_MS, 0), "uv_timer_start");
}

static int64_t timers_active(void)
{
    int64_t active = 0;

    for (int64_t i = 0; i < timer_count; i++)
        active += uv_is_active((uv_handle_t *)&timers[i]) != 0;
    return active;
}

/* Returns how many the loop has let go. */
static int64_t timers_free(void)
{
    closed_count = 0;
    for (int64_t i = 0; i < timer_count; i++)
        uv_close((uv_handle_t *)&timers[i], on_closed);
    check(uv_run(&loop, UV_RUN_DEFAULT), "uv_run");
    free(timers);
    timers = NULL;
    timer_count = 0;
    return closed_count;
}

static int64_t bench_timers(int64_t count, struct watch *watch)
{
    int64_t left;

    timers_new(count);
    watch_start(watch);
    timers_arm();
    for (int64_t i = 0; i < count; i++) {
        if (i % 100 != 0)
            check(uv_timer_stop(&timers[i]), "uv_timer_stop");
    }
    watch_stop(watch);
    left = timers_active();
    timers_free();
    return left;
}

/* They stay until the next line, which is `wake`. */
static int64_t bench_sleepers_later(int64_t count, struct watch *watch)
{
    watch_start(watch);
    timers_new(count);
    timers_arm();
    watch_stop(watch);
    return timers_active();
}

static int64_t bench_wake(int64_t count, struct watch *watch)
{
    int64_t ended;

    watch_start(watch);
    ended = timers_free();
    watch_stop(watch);
    return ended;
}

/* --- The pool --------------------------------------------------------------------------------- */

static int64_t calls_left;
static int64_t successful_count;

static void call(uv_fs_t *request);

static void on_answer(uv_fs_t *request)
{
    successful_count += request->result == 0;
    uv_fs_req_cleanup(request);
    if (--calls_left > 0)
        call(request);
}

static void call(uv_fs_t *request)
{
    check(uv_fs_stat(&loop, request, "/", on_answer), "uv_fs_stat");
}

static void calls_make(int64_t count)
{
    uv_fs_t request;

    calls_left = count;
    successful_count = 0;
    call(&request);
    check(uv_run(&loop, UV_RUN_DEFAULT), "uv_run");
}

/* The first calls start the pool's threads. */
static int64_t bench_pool_call(int64_t count, struct watch *watch)
{
    calls_make(100);
    watch_start(watch);
    calls_make(count);
    watch_stop(watch);
    return successful_count;
}

/* --- Lines ------------------------------------------------------------------------------------ */

static const struct bench {
    const char *name;
    int64_t (*run)(int64_t count, struct watch *watch);
} benches[] = {
    {"timers", bench_timers},
    {"pool_call", bench_pool_call},
    {"sleepers_later", bench_sleepers_later},
    {"wake", bench_wake},
};

static void answer(const char *name, int64_t count)
{
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
        if (strcmp(benches[i].name, name) == 0) {
            struct watch watch;
            int64_t answer = benches[i].run(count, &watch);

            printf("{\"bench\":\"%s\",\"count\":%" PRId64 ",\"cpu_ns\":%" PRId64
                   ",\"wall_ns\":%" PRId64 ",\"answer\":%" PRId64 "}\n",
                   name, count, watch.cpu_ns, watch.wall_ns, answer);
            return;
        }
    }
    printf("{\"bench\":\"%s\",\"error\":\"has none: libuv has callbacks, and no tasks\"}\n", name);
}

int main(void)
{
    char line[128], name[64];
    int64_t count;

    check(uv_loop_init(&loop), "uv_loop_init");
    printf("ready libuv %s\n", uv_version_string());
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%63s %" SCNd64, name, &count) != 2) {
            fprintf(stderr, "%s is not BENCH COUNT\n", line);
            return 1;
        }
        answer(name, count);
        fflush(stdout);
    }
    return 0;
}
