/* task.c - semantics.md 3.7 (handles), 3.10 (turns), 4 (checkpoints), and coil/lowlevel.h. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "parker.h"

#define SPAWN(g, fn, arg)                  CHECK_EQ(coil_group_spawn(g, fn, arg), 0)
#define SPAWN_WITH_HANDLE(g, fn, arg, hnd) CHECK_EQ(spawn_with_handle(g, fn, arg, #fn, hnd), 0)

/* A test about the order of tasks: first come, first served, also when the environment shuffles. */
#define IN_ORDER_TEST(suite_, name_)                                                               \
    static void suite_##_##name_##_body(void);                                                     \
    Test(suite_, name_)                                                                            \
    {                                                                                              \
        struct coil_loop_options options_ = harness_options();                                     \
                                                                                                   \
        options_.shuffle_seed = 0;                                                                 \
        harness_run(&options_, suite_##_##name_##_body);                                           \
    }                                                                                              \
    static void suite_##_##name_##_body(void)

static int spawn_with_handle(struct coil_group *g, coil_task_fn *fn, void *arg, const char *name,
                             struct coil_handle *handle)
{
    struct coil_spawn_options options = {.handle = handle, .name = name};

    return coil_group_spawn_with(g, fn, arg, &options);
}

static bool same(const char *left, const char *right)
{
    return left && right && strcmp(left, right) == 0;
}

static struct coil_stats stats_now(void)
{
    struct coil_stats stats;

    CHECK_EQ(coil_loop_stats(&stats), 0);
    return stats;
}

static int return_it(void *arg)
{
    return *(const int *)arg;
}

static int count_it(void *arg)
{
    ++*(int *)arg;
    return 0;
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

static void await_end(const struct coil_handle *h)
{
    while (coil_task_result(h) == -EAGAIN)
        coil_yield_shielded();
}

/* --- 3.7: a scope of its own ----------------------------------------------------------------- */

COIL_TEST(task, s3_7_a_cancel_reaches_just_that_task)
{
    struct parker p[3] = {
        {.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}};
    struct coil_handle h[3];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 3; i++)
        SPAWN_WITH_HANDLE(&g, parker_run, &p[i], &h[i]);
    for (int i = 0; i < 3; i++)
        parker_await(&p[i]);
    coil_task_cancel(&h[1], "you there");
    CHECK_EQ(p[1].aborts, 1);
    await_end(&h[1]);
    CHECK_EQ(coil_task_result(&h[1]), -ECANCELED);
    CHECK_EQ(coil_task_status(&h[1]), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
    CHECK_EQ(coil_checkpoint(), 0);
    for (int i = 0; i < 3; i += 2) {
        CHECK_EQ(coil_task_status(&h[i]), COIL_STATUS_RUNNING);
        parker_unpark(&p[i], 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 0);
}

COIL_TEST(task, s3_7_cancelled_before_it_ran_it_runs_to_its_first_checkpoint)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, parker_run, &p, &h);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(p.aborts, 1);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
}

COIL_TEST(task, s3_7_cancelling_again_or_after_the_end_does_nothing)
{
    static int seven = 7;
    struct parker p = {.answer = COIL_ABORT_LATER};
    struct coil_handle h[2];
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, parker_run, &p, &h[0]);
    SPAWN_WITH_HANDLE(&g, return_it, &seven, &h[1]);
    parker_await(&p);
    await_end(&h[1]);
    coil_task_cancel(&h[1], NULL);
    CHECK_EQ(coil_task_status(&h[1]), COIL_STATUS_FINISHED);
    for (int i = 0; i < 3; i++)
        coil_task_cancel(&h[0], NULL);
    CHECK_EQ(p.aborts, 1);
    parker_unpark(&p, 9);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_result(&h[0]), 9);
    CHECK_EQ(coil_task_result(&h[1]), 7);
}

static int begin_a_group_and_sleep(void *arg)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, parker_run, arg);
    return coil_group_end(&g, 0);
}

COIL_TEST(task, s3_7_a_cancel_reaches_the_groups_of_the_task)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, begin_a_group_and_sleep, &p, &h);
    parker_await(&p);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(p.aborts, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(p.result, -ECANCELED);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
}

static int cancel_myself(void *arg)
{
    CHECK_EQ(coil_checkpoint_if_cancelled(), 0);
    coil_task_cancel((struct coil_handle *)arg, NULL);
    return coil_checkpoint_if_cancelled();
}

COIL_TEST(task, s3_7_a_task_may_cancel_itself)
{
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, cancel_myself, &h, &h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
}

/* --- 3.7: result and status ------------------------------------------------------------------ */

COIL_TEST(task, s3_7_the_result_is_what_it_returned)
{
    static int results[] = {0, 7, INT32_MAX, -EIO, INT32_MIN};
    static const enum coil_status statuses[] = {COIL_STATUS_FINISHED, COIL_STATUS_FINISHED,
                                                COIL_STATUS_FINISHED, COIL_STATUS_FAILED,
                                                COIL_STATUS_FAILED};

    for (int i = 0; i < 5; i++) {
        struct coil_handle h;
        struct coil_group g;

        coil_group_begin(&g);
        SPAWN_WITH_HANDLE(&g, return_it, &results[i], &h);
        CHECK_EQ(coil_task_result(&h), -EAGAIN);
        CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
        CHECK_EQ(coil_group_end(&g, 0), results[i] < 0 ? results[i] : 0);
        CHECK_EQ(coil_task_result(&h), results[i]);
        CHECK_EQ(coil_task_status(&h), statuses[i]);
        CHECK_EQ(coil_group_error_count(&g), results[i] < 0);
    }
}

COIL_TEST(task, s3_7_a_failure_shows_on_the_handle_and_fails_the_group)
{
    static int eio = -EIO;
    struct coil_handle h[2];
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, sleep_for_ever, NULL, &h[0]);
    SPAWN_WITH_HANDLE(&g, return_it, &eio, &h[1]);
    CHECK_EQ(coil_task_wait(&h[1]), -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(coil_task_status(&h[0]), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_task_status(&h[1]), COIL_STATUS_FAILED);
    CHECK_EQ(coil_task_result(&h[1]), -EIO);
}

static int ignore_the_cancel(void *arg)
{
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    return *(int *)arg;
}

COIL_TEST(task, s3_7_a_cancelled_task_is_what_it_made_of_it)
{
    static int results[] = {3, -EIO, -ECANCELED};
    static const enum coil_status statuses[] = {COIL_STATUS_FINISHED, COIL_STATUS_FAILED,
                                                COIL_STATUS_CANCELLED};

    for (int i = 0; i < 3; i++) {
        struct coil_handle h;
        struct coil_group g;

        coil_group_begin(&g);
        SPAWN_WITH_HANDLE(&g, ignore_the_cancel, &results[i], &h);
        coil_task_cancel(&h, NULL);
        CHECK_EQ(coil_group_end(&g, 0), results[i] == -EIO ? -EIO : 0);
        CHECK_EQ(coil_task_result(&h), results[i]);
        CHECK_EQ(coil_task_status(&h), statuses[i]);
    }
}

COIL_TEST(task, s3_7_cancelled_with_its_group_it_is_cancelled_too)
{
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, sleep_for_ever, NULL, &h);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_STOPPING);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
}

static int park_under_a_shield(void *arg)
{
    struct coil_scope s;

    coil_shield_begin(&s, COIL_FOREVER);
    return coil_scope_end(&s, parker_park(arg));
}

COIL_TEST(task, s3_7_cancelled_and_cleaning_up_under_a_shield_it_is_stopping)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, park_under_a_shield, &p, &h);
    parker_await(&p);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(p.aborts, 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_STOPPING);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int park_in_a_cancelled_scope(void *arg)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    return coil_scope_end(&s, parker_park(arg));
}

COIL_TEST(task, s3_7_a_scope_inside_that_is_cancelled_is_not_the_task)
{
    struct parker p = {.answer = COIL_ABORT_LATER};
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, park_in_a_cancelled_scope, &p, &h);
    parker_await(&p);
    CHECK_EQ(p.aborts, 1);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
    parker_unpark(&p, -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_FINISHED);
}

static int owner(void *arg)
{
    struct coil_handle h;
    struct coil_group g;
    static int zero;

    (void)arg;
    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, return_it, &zero, &h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(same(coil_task_name(&h), "return_it"));
    CHECK(same(coil_task_parent(&h), "the owner"));
    return 0;
}

COIL_TEST(task, s3_7_it_has_a_name_and_a_parent)
{
    struct coil_spawn_options named = {.name = "the owner"};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, owner, NULL, &named), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(task, s3_7_the_name_is_the_functions_unless_it_was_given_one)
{
    struct coil_spawn_options options = {.name = NULL};
    struct coil_handle h[2];
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    options.handle = &h[0];
    CHECK_EQ(coil_group_spawn_with(&g, count_it, &ran, &options), 0);
    options = (struct coil_spawn_options){.name = "number two", .handle = &h[1]};
    CHECK_EQ(coil_group_spawn_with(&g, count_it, &ran, &options), 0);
    memset(&options, 0xff, sizeof(options)); /* it is not kept */
    CHECK(same(coil_task_name(&h[0]), "count_it"));
    CHECK(same(coil_task_name(&h[1]), "number two"));
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(same(coil_task_name(&h[1]), "number two"));
}

COIL_TEST(task, s3_7_a_spawn_that_fails_leaves_group_and_handle_alone)
{
    struct coil_handle h = {{0}};
    struct coil_spawn_options options = {.stack_size = 256 << 20, .handle = &h};
    struct rlimit before;
    struct rlimit tight;
    struct coil_group g;
    int ran = 0;

    CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = 1 << 20;
    coil_group_begin(&g);
    CHECK_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    CHECK_EQ(getrlimit(RLIMIT_AS, &tight), 0);
    if (tight.rlim_cur != 1 << 20)
        SKIP("the address space cannot be limited here (qemu-user)");
    CHECK_EQ(coil_group_spawn_with(&g, count_it, &ran, &options), -ENOMEM);
    CHECK_EQ(setrlimit(RLIMIT_AS, &before), 0);
    for (size_t i = 0; i < sizeof(h.opaque_) / sizeof(h.opaque_[0]); i++)
        CHECK_EQ(h.opaque_[i], 0);
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_checkpoint(), 0);
    SPAWN(&g, count_it, &ran);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 1);
}

/* The stack of the last task that ended is taken back by whoever comes next, or is short of one. */
COIL_TEST(task, a_spawn_without_memory_has_the_stack_of_who_has_just_ended)
{
    const struct coil_spawn_options options = {.stack_size = 4 << 20};
    struct rlimit before;
    struct rlimit tight;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, count_it, &ran, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = 1 << 20;
    coil_group_begin(&g);
    CHECK_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    CHECK_EQ(coil_group_spawn_with(&g, count_it, &ran, &options), 0);
    CHECK_EQ(setrlimit(RLIMIT_AS, &before), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 2);
}

/* --- 3.7: waiting for one task --------------------------------------------------------------- */

struct waiter {
    struct coil_handle *handle;
    int result;
    int *clock;
    int woken_at;
};

static int wait_for_it(void *arg)
{
    struct waiter *w = arg;

    w->result = coil_task_wait(w->handle);
    w->woken_at = ++*w->clock;
    return 0;
}

IN_ORDER_TEST(task, s3_7_any_number_of_tasks_wait_and_wake_first_come_first_served)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct waiter w[20];
    struct coil_handle h;
    struct coil_group g;
    int clock = 0;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, parker_run, &p, &h);
    parker_await(&p);
    for (int i = 0; i < 20; i++) {
        w[i] = (struct waiter){.handle = &h, .result = 1, .clock = &clock};
        SPAWN(&g, wait_for_it, &w[i]);
    }
    give_way();
    CHECK_EQ(clock, 0);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(w[i].result, 0);
        CHECK_EQ(w[i].woken_at, i + 1);
    }
}

COIL_TEST(task, s3_7_however_it_ended_the_wait_is_over)
{
    struct coil_handle h[3];
    struct coil_group outer;
    struct coil_group g;
    static int eio = -EIO;
    struct waiter w[3];
    int clock = 0;

    coil_group_begin(&outer);
    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, ignore_the_cancel, &eio, &h[0]);
    SPAWN_WITH_HANDLE(&g, sleep_for_ever, NULL, &h[1]);
    SPAWN_WITH_HANDLE(&g, ignore_the_cancel, &clock, &h[2]);
    for (int i = 0; i < 3; i++) {
        w[i] = (struct waiter){.handle = &h[i], .result = 1, .clock = &clock};
        SPAWN(&outer, wait_for_it, &w[i]);
    }
    give_way();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(w[i].result, 0);
}

COIL_TEST(task, s3_7_a_cancelled_waiter_harms_nobody)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct waiter w[3];
    struct coil_handle waiters[3];
    struct coil_handle h;
    struct coil_group g;
    int clock = 0;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, parker_run, &p, &h);
    for (int i = 0; i < 3; i++) {
        w[i] = (struct waiter){.handle = &h, .result = 1, .clock = &clock};
        SPAWN_WITH_HANDLE(&g, wait_for_it, &w[i], &waiters[i]);
    }
    give_way();
    coil_task_cancel(&waiters[1], NULL);
    give_way();
    CHECK_EQ(w[1].result, -ECANCELED);
    CHECK_EQ(clock, 1);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(w[0].result, 0);
    CHECK_EQ(w[2].result, 0);
}

COIL_TEST(task, s3_7_the_end_and_a_cancel_in_one_turn_the_end_wins)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_handle h;
    struct coil_handle waiter;
    struct waiter w = {.handle = &h, .result = 1, .clock = &(int){0}};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, parker_run, &p, &h);
    SPAWN_WITH_HANDLE(&g, wait_for_it, &w, &waiter);
    give_way();
    parker_unpark(&p, 0);
    while (!p.over)
        coil_yield_shielded(); /* its task has ended in this very turn, or before */
    coil_task_cancel(&waiter, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(w.result, 0);
}

COIL_TEST(task, s3_7_waiting_for_an_ended_task_is_a_checkpoint)
{
    struct coil_scope s;
    struct coil_handle h;
    struct coil_group g;
    uint64_t turns;
    int ran = 0;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, count_it, &ran, &h);
    await_end(&h);
    turns = stats_now().turns;
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(stats_now().turns, turns + 1);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_task_wait(&h), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(task, s3_7_waiting_when_cancelled_does_not_wait)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_scope s;
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, parker_run, &p, &h);
    parker_await(&p);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_task_wait(&h), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_scope_end(&s, coil_task_wait(&h)), 0);
    CHECK_EQ(coil_scope_caught(&s), 1);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- 3.10: turns ----------------------------------------------------------------------------- */

struct runner {
    int id;
    int rounds;
    int *log;
    int *len;
    uint64_t *turns; /* of each entry of the log; may be NULL */
};

static int log_rounds(void *arg)
{
    struct runner *r = arg;

    for (int i = 0; i < r->rounds; i++) {
        if (r->turns)
            r->turns[*r->len] = stats_now().turns;
        r->log[(*r->len)++] = r->id;
        coil_yield_shielded();
    }
    return 0;
}

static void run_rounds(int count, int rounds, int *log, uint64_t *turns)
{
    struct runner r[32];
    struct coil_group g;
    int len = 0;

    coil_group_begin(&g);
    for (int i = 0; i < count; i++) {
        r[i] = (struct runner){i, rounds, log, &len, turns};
        SPAWN(&g, log_rounds, &r[i]);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(len, count * rounds);
}

IN_ORDER_TEST(task, s3_10_tasks_run_in_the_order_of_spawning_and_once_a_turn)
{
    int log[20 * 50];
    uint64_t turns[20 * 50];

    run_rounds(20, 50, log, turns);
    for (int i = 0; i < 20 * 50; i++) {
        CHECK_EQ(log[i], i % 20);
        CHECK_EQ(turns[i], turns[0] + (uint64_t)(i / 20));
    }
}

IN_ORDER_TEST(task, s3_10_unparked_tasks_run_in_the_order_of_their_unparking)
{
    static const int order[] = {3, 1, 4, 0, 2};
    struct parker p[5];
    struct waiter w[5];
    struct coil_handle h[5];
    struct coil_group g;
    int clock = 0;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        p[i] = (struct parker){.answer = COIL_ABORT_DONE};
        SPAWN_WITH_HANDLE(&g, parker_run, &p[i], &h[i]);
        parker_await(&p[i]);
        w[i] = (struct waiter){.handle = &h[i], .clock = &clock};
        SPAWN(&g, wait_for_it, &w[i]);
        give_way();
    }
    for (int i = 0; i < 5; i++)
        parker_unpark(&p[order[i]], 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(w[order[i]].woken_at, i + 1);
}

static int make_ready_for_ever(void *arg)
{
    int *left = arg;

    while (--*left)
        coil_yield_shielded();
    return 0;
}

COIL_TEST(task, s3_10_a_task_that_is_always_ready_does_not_hold_up_time)
{
    struct coil_handle h;
    struct coil_group g;
    int left = INT32_MAX;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, make_ready_for_ever, &left, &h);
    CHECK_EQ(coil_sleep(2 * COIL_MILLISECOND), 0);
    CHECK(left > 1);
    left = 1;
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST_WITH_(task, s3_10_a_task_readied_in_a_turn_runs_in_the_next,
                harness_not_late("it counts turns"))
{
    struct coil_group g;
    struct coil_stats before;
    int ran = 0;

    coil_group_begin(&g);
    before = stats_now();
    CHECK_EQ(before.ready, 0);
    SPAWN(&g, count_it, &ran);
    SPAWN(&g, count_it, &ran);
    CHECK_EQ(stats_now().ready, 2);
    CHECK_EQ(stats_now().tasks, before.tasks + 2);
    coil_yield_shielded();
    CHECK_EQ(stats_now().turns, before.turns + 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 2);
}

/* Runs body's rounds on a loop of its own, with the ready tasks shuffled. */
static int shuffled_log[8 * 100];
static uint64_t shuffled_turns[8 * 100];

static void run_8_by_100(void)
{
    run_rounds(8, 100, shuffled_log, shuffled_turns);
}

static void shuffle(uint64_t seed, void (*body)(void))
{
    struct coil_loop_options options = harness_options();

    options.shuffle_seed = seed;
    harness_run(&options, body);
}

Test(task, s3_10_shuffled_each_task_still_runs_once_a_turn)
{
    harness_not_late("it counts turns");
    for (uint64_t seed = 1; seed <= 10; seed++) {
        shuffle(seed, run_8_by_100);
        for (int turn = 0; turn < 100; turn++) {
            int seen = 0;

            for (int i = turn * 8; i < turn * 8 + 8; i++) {
                CHECK_EQ(shuffled_turns[i], shuffled_turns[0] + (uint64_t)turn);
                seen |= 1 << shuffled_log[i];
            }
            CHECK_EQ(seen, 0xff);
        }
    }
}

Test(task, s3_10_the_same_seed_gives_the_same_order)
{
    static int first[8 * 100];

    for (uint64_t seed = 1; seed <= 5; seed++) {
        shuffle(seed, run_8_by_100);
        memcpy(first, shuffled_log, sizeof(first));
        shuffle(seed, run_8_by_100);
        CHECK_EQ(memcmp(first, shuffled_log, sizeof(first)), 0);
    }
}

Test(task, s3_10_seeds_differ_from_the_first_turn_on)
{
    int orders[40][8];
    int distinct = 0;

    for (uint64_t seed = 1; seed <= 40; seed++) {
        shuffle(seed, run_8_by_100);
        memcpy(orders[seed - 1], shuffled_log, sizeof(orders[0]));
        distinct++;
        for (uint64_t other = 1; other < seed; other++)
            if (memcmp(orders[seed - 1], orders[other - 1], sizeof(orders[0])) == 0) {
                distinct--;
                break;
            }
    }
    CHECK(distinct >= 35);
}

static int three_log[3 * 1200];

static void run_3_by_1200(void)
{
    run_rounds(3, 1200, three_log, NULL);
}

Test(task, s3_10_every_order_is_about_as_likely)
{
    int counts[27] = {0};
    int orders = 0;

    shuffle(12345, run_3_by_1200);
    for (int i = 0; i < 3 * 1200; i += 3)
        counts[three_log[i] * 9 + three_log[i + 1] * 3 + three_log[i + 2]]++;
    for (int i = 0; i < 27; i++) {
        orders += counts[i] > 0;
        CHECK(!counts[i] || (counts[i] > 130 && counts[i] < 270));
    }
    CHECK_EQ(orders, 6);
}

/* --- 4.1: every call that can wait is a checkpoint ------------------------------------------- */

struct counter {
    int rounds;
    bool stop;
};

static int count_rounds(void *arg)
{
    struct counter *c = arg;

    while (!c->stop) {
        c->rounds++;
        coil_yield_shielded();
    }
    return 0;
}

COIL_TEST(task, s4_1_calls_that_finish_at_once_give_others_a_turn_within_a_budget)
{
    static char bytes[4096];
    struct counter c = {.stop = false};
    struct coil_group g;
    int ends[2];
    char byte;

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(write(ends[1], bytes, sizeof(bytes)), (long long)sizeof(bytes));
    coil_group_begin(&g);
    SPAWN(&g, count_rounds, &c);
    for (size_t i = 0; i < sizeof(bytes); i++)
        CHECK_EQ(coil_read(ends[0], &byte, 1), 1);
    CHECK(c.rounds >= 4096 / 32 - 1);
    c.stop = true;
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

/* Whoever ignores a cancellation must not starve the loop with it. */
COIL_TEST(task, s4_1_calls_that_are_cancelled_at_once_give_others_a_turn_within_a_budget)
{
    struct counter c = {.stop = false};
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_handle h;
    struct coil_scope s;
    struct coil_group g;
    char byte;
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, count_rounds, &c, &h);
    while (!c.rounds)
        coil_yield_shielded();
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    for (int call = 0; call < 5; call++) {
        c.rounds = 0;
        for (int i = 0; i < 1000; i++)
            switch (call) {
            case 0:
                CHECK_EQ(coil_sleep(COIL_SECOND), -ECANCELED);
                break;
            case 1:
                CHECK_EQ(parker_park(&p), -ECANCELED);
                break;
            case 2:
                CHECK_EQ(coil_task_wait(&h), -ECANCELED);
                break;
            case 3:
                CHECK_EQ(coil_read(ends[0], &byte, 1), -ECANCELED);
                break;
            case 4:
                CHECK_EQ(coil_openat(AT_FDCWD, "/", 0, 0), -ECANCELED);
                break;
            }
        CHECK(c.rounds >= 5);
    }
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    c.stop = true;
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

/* --- 4.2: a cancelled call did not happen ---------------------------------------------------- */

COIL_TEST(task, s4_2_a_cancelled_read_takes_no_byte)
{
    struct coil_scope s;
    char bytes[4] = "...";
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(write(ends[1], "abc", 3), 3);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_read(ends[0], bytes, 3), -ECANCELED);
    CHECK(same(bytes, "..."));
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_read(ends[0], bytes, 3), 3);
    CHECK(same(bytes, "abc"));
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

/* --- 4.3: the three forms -------------------------------------------------------------------- */

static int cancel_it(void *arg)
{
    coil_scope_cancel(arg, NULL);
    return 0;
}

IN_ORDER_TEST(task, s4_3_checkpoint_yields_then_checks)
{
    struct coil_scope s;
    struct coil_group g;
    uint64_t turns;

    coil_group_begin(&g);
    coil_scope_begin(&s, COIL_FOREVER);
    SPAWN(&g, cancel_it, &s);
    turns = stats_now().turns;
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(stats_now().turns, turns + 1);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* trio's test_yield_briefly_checks_for_timeout */
COIL_TEST(task, s4_3_checkpoint_sees_a_deadline_that_passes_while_it_yields)
{
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() + 50 * COIL_MILLISECOND);
    CHECK_EQ(coil_checkpoint(), 0);
    while (coil_now() < coil_scope_deadline(&s))
        continue;
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

COIL_TEST(task, s4_3_checkpoint_if_cancelled_never_gives_way)
{
    struct coil_scope s;
    struct coil_group g;
    uint64_t switches;
    int ran = 0;

    coil_group_begin(&g);
    SPAWN(&g, count_it, &ran);
    coil_scope_begin(&s, COIL_FOREVER);
    switches = stats_now().switches;
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coil_checkpoint_if_cancelled(), 0);
    coil_scope_cancel(&s, NULL);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED);
    CHECK_EQ(ran, 0);
    CHECK_EQ(stats_now().switches, switches);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

IN_ORDER_TEST(task, s4_3_yield_shielded_gives_way_and_never_asks)
{
    struct coil_scope s;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    SPAWN(&g, count_it, &ran);
    coil_yield_shielded();
    CHECK_EQ(ran, 1);
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(task, s4_3_plain_setters_and_questions_are_never_checkpoints)
{
    struct coil_cancellation why;
    struct coil_handle h;
    struct coil_scope s;
    struct coil_group g;
    uint64_t switches;
    int ran = 0;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, count_it, &ran, &h);
    switches = stats_now().switches;
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_request(&s, COIL_SECOND, NULL);
    coil_scope_set_deadline(&s, coil_now() - 1);
    coil_scope_set_shield(&s, 1);
    coil_scope_cancel(&s, NULL);
    coil_scope_cancellation(&s, &why);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(coil_task_result(&h), -EAGAIN);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_STOPPING);
    CHECK_EQ(coil_group_count(&g), 1);
    CHECK_EQ(coil_cancel_requested(), 1);
    CHECK_EQ(coil_effective_deadline(), INT64_MIN);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(ran, 0);
    CHECK_EQ(stats_now().switches, switches);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 1);
}

/* --- 4.4: completion and cancel -------------------------------------------------------------- */

static int park_then_check(void *arg)
{
    int rc = parker_park(arg);

    if (rc < 0)
        return rc;
    return coil_checkpoint();
}

COIL_TEST(task, s4_4_completion_then_cancel_in_the_same_turn_completion_wins)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN_WITH_HANDLE(&g, park_then_check, &p, &h);
    parker_await(&p);
    parker_unpark(&p, 7);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(p.aborts, 0);
    CHECK_EQ(p.result, 7);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
}

COIL_TEST(task, s4_4_cancel_then_hand_over_skips_that_waiter)
{
    struct parker p[2] = {{.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}};
    struct coil_handle h[2];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 2; i++) {
        SPAWN_WITH_HANDLE(&g, parker_run, &p[i], &h[i]);
        parker_await(&p[i]);
    }
    coil_task_cancel(&h[0], NULL);
    CHECK(!p[0].task); /* it left the queue before cancel returned */
    for (int i = 0; i < 2; i++)
        if (p[i].task) {
            parker_unpark(&p[i], 7);
            break;
        }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(p[0].result, -ECANCELED);
    CHECK_EQ(p[1].result, 7);
}

/* --- coil/lowlevel.h: park and unpark -------------------------------------------------------- */

COIL_TEST(task, lowlevel_self_is_the_calling_task)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_task *self = coil_task_self();
    struct coil_group g;

    CHECK(self);
    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p);
    parker_await(&p);
    CHECK(p.task != self);
    CHECK(coil_task_self() == self);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(coil_task_self() == self);
}

COIL_TEST(task, lowlevel_park_returns_what_unpark_says)
{
    static const int results[] = {0, 1, -1, -EIO, -ECANCELED, INT32_MAX, INT32_MIN};
    struct coil_group g;

    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        struct parker p = {.answer = COIL_ABORT_DONE};

        coil_group_begin(&g);
        SPAWN(&g, parker_run, &p);
        parker_await(&p);
        parker_unpark(&p, results[i]);
        CHECK(!p.over); /* unpark does not switch */
        if (results[i] == -ECANCELED)
            CHECK_EQ(coil_group_end(&g, 0), -EPROTO); /* nobody has cancelled it */
        else
            CHECK_EQ(coil_group_end(&g, 0), results[i] < 0 ? results[i] : 0);
        CHECK_EQ(p.result, results[i]);
        CHECK_EQ(p.aborts, 0);
    }
}

static int park_without_abort(void *arg)
{
    struct parker *p = arg;

    p->task = coil_task_self();
    p->result = coil_park(NULL, NULL, "a test");
    return 0;
}

COIL_TEST(task, lowlevel_without_abort_a_cancel_does_not_cut_the_wait_short)
{
    struct coil_group g;

    for (int cancelled_before = 0; cancelled_before < 2; cancelled_before++) {
        struct parker p = {.result = 1};

        coil_group_begin(&g);
        if (cancelled_before)
            coil_scope_cancel(coil_group_scope(&g), NULL);
        SPAWN(&g, park_without_abort, &p);
        parker_await(&p);
        coil_scope_cancel(coil_group_scope(&g), NULL);
        give_way();
        CHECK_EQ(p.result, 1);
        parker_unpark(&p, 3);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(p.result, 3);
    }
}

COIL_TEST(task, lowlevel_cancelled_already_it_is_aborted_at_once)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(parker_park(&p), -ECANCELED);
    CHECK_EQ(p.aborts, 1);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

/* trio's test_failed_abort */
COIL_TEST(task, lowlevel_an_abort_that_says_later_waits_for_its_unpark)
{
    struct coil_group g;

    for (int cancelled_before = 0; cancelled_before < 2; cancelled_before++) {
        struct parker p = {.answer = COIL_ABORT_LATER};
        struct coil_handle h;

        coil_group_begin(&g);
        if (cancelled_before)
            coil_scope_cancel(coil_group_scope(&g), NULL);
        SPAWN_WITH_HANDLE(&g, park_then_check, &p, &h);
        parker_await(&p);
        coil_scope_cancel(coil_group_scope(&g), NULL);
        CHECK_EQ(p.aborts, 1);
        give_way();
        CHECK(!p.over);
        parker_unpark(&p, 7);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(p.result, 7);
        CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    }
}

static int park_twice(void *arg)
{
    CHECK_EQ(parker_park(arg), 5);
    return coil_checkpoint();
}

/* trio's test_slow_abort_edge_cases */
COIL_TEST(task, lowlevel_abort_is_called_at_most_once_per_park)
{
    struct parker p = {.answer = COIL_ABORT_LATER};
    struct coil_scope outer[2];
    struct coil_group g;

    coil_scope_begin(&outer[0], COIL_FOREVER);
    coil_scope_begin(&outer[1], COIL_FOREVER);
    coil_group_begin(&g);
    SPAWN(&g, park_twice, &p);
    parker_await(&p);
    coil_scope_cancel(&outer[0], NULL);
    coil_scope_cancel(&outer[1], NULL);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(p.aborts, 1);
    for (int i = 0; i < 3; i++) {
        coil_scope_set_shield(coil_group_scope(&g), 1);
        coil_scope_set_shield(coil_group_scope(&g), 0);
    }
    CHECK_EQ(p.aborts, 1);
    parker_unpark(&p, 5);
    CHECK_EQ(coil_group_end(&g, 0), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer[1], -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer[0], -ECANCELED), 0);
}

COIL_TEST(task, lowlevel_abort_is_called_once_for_each_park)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_scope s;

    for (int i = 1; i <= 10; i++) {
        coil_scope_begin(&s, coil_now());
        CHECK_EQ(parker_park(&p), -ECANCELED);
        CHECK_EQ(p.aborts, i);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    }
}

COIL_TEST(task, lowlevel_a_deadline_aborts_from_between_tasks)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_scope s;

    coil_timeout_begin(&s, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_scope_end(&s, parker_park(&p)), -ETIME);
    CHECK_EQ(p.aborts, 1);
}

struct pair {
    struct parker own;
    struct parker *other;
};

static enum coil_abort wake_the_other(void *ctx)
{
    struct pair *p = ctx;

    p->own.aborts++;
    if (p->other->task)
        parker_unpark(p->other, 7);
    return COIL_ABORT_LATER;
}

static int park_and_wake_the_other(void *arg)
{
    struct pair *p = arg;

    p->own.task = coil_task_self();
    p->own.result = coil_park(wake_the_other, p, "a test");
    return 0;
}

COIL_TEST(task, lowlevel_an_abort_may_unpark_another_that_is_about_to_be_aborted)
{
    struct pair p[2];
    struct coil_group g;

    p[0] = (struct pair){.other = &p[1].own};
    p[1] = (struct pair){.other = &p[0].own};
    coil_group_begin(&g);
    SPAWN(&g, park_and_wake_the_other, &p[0]);
    SPAWN(&g, park_and_wake_the_other, &p[1]);
    parker_await(&p[0].own);
    parker_await(&p[1].own);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(p[0].own.aborts + p[1].own.aborts, 1);
    for (int i = 0; i < 2; i++)
        if (p[i].own.task) {
            CHECK_EQ(p[i].own.aborts, 1);
            parker_unpark(&p[i].own, 8);
        }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(p[0].own.result + p[1].own.result, 15);
}

COIL_TEST(task, lowlevel_the_rest_is_aborted_though_one_was_unparked_meanwhile)
{
    struct parker rest = {.answer = COIL_ABORT_DONE};
    struct pair p[2];
    struct coil_group g;

    p[0] = (struct pair){.other = &p[1].own};
    p[1] = (struct pair){.other = &p[0].own};
    coil_group_begin(&g);
    for (int i = 0; i < 2; i++) {
        SPAWN(&g, park_and_wake_the_other, &p[i]);
        parker_await(&p[i].own);
    }
    SPAWN(&g, parker_run, &rest);
    parker_await(&rest);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(rest.aborts, 1);
    for (int i = 0; i < 2; i++)
        if (p[i].own.task)
            parker_unpark(&p[i].own, 8);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* Its abort function does all that one may. */
struct busybody {
    struct parker own;
    struct parker *other;
    struct coil_scope *scope;
    struct coil_group *group;
    bool was_nobody;
    bool spawned_ran;
};

static int note_that_it_ran(void *arg)
{
    *(bool *)arg = true;
    return 0;
}

static enum coil_abort do_all_that_may_be_done(void *ctx)
{
    struct busybody *b = ctx;

    b->was_nobody = !coil_task_self();
    parker_unpark(b->other, 7);
    coil_scope_cancel(b->scope, "from an abort function");
    SPAWN(b->group, note_that_it_ran, &b->spawned_ran);
    return COIL_ABORT_DONE;
}

static int park_as_a_busybody(void *arg)
{
    struct busybody *b = arg;

    b->own.task = coil_task_self();
    return coil_park(do_all_that_may_be_done, b, "a test");
}

static int cancel_as_a_task(void *arg)
{
    struct coil_task *self = coil_task_self();

    coil_scope_cancel(arg, NULL);
    CHECK(coil_task_self() == self);
    return coil_checkpoint();
}

COIL_TEST(task, lowlevel_an_abort_runs_as_no_task_and_its_cancels_bear_the_name_of_the_canceller)
{
    struct parker other = {.answer = COIL_ABORT_LATER};
    struct coil_cancellation why;
    struct coil_group outer;
    struct coil_group cancelled;
    struct coil_group third;
    struct busybody b = {.other = &other, .group = &outer};

    coil_group_begin(&outer);
    SPAWN(&outer, parker_run, &other);
    parker_await(&other);
    coil_group_begin(&cancelled);
    SPAWN(&cancelled, park_as_a_busybody, &b);
    parker_await(&b.own);
    coil_group_begin(&third);
    b.scope = coil_group_scope(&third);
    SPAWN(&outer, cancel_as_a_task, coil_group_scope(&cancelled));
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    CHECK(b.was_nobody);
    coil_scope_cancellation(b.scope, &why);
    CHECK_EQ(why.cause, COIL_CAUSE_EXPLICIT);
    CHECK_EQ(strcmp(why.task, "cancel_as_a_task"), 0);
    CHECK_EQ(strcmp(why.reason, "from an abort function"), 0);
    CHECK_EQ(coil_group_end(&third, -ECANCELED), -ECANCELED); /* the one around it as well */
    CHECK_EQ(coil_group_end(&cancelled, -ECANCELED), 0);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
    CHECK_EQ(other.result, 7);
    CHECK(b.spawned_ran);
}

static enum coil_abort cancel_its_scope(void *ctx)
{
    coil_scope_cancel(((struct busybody *)ctx)->scope, "from an abort function");
    return COIL_ABORT_DONE;
}

static int park_and_cancel(void *arg)
{
    struct busybody *b = arg;

    b->own.task = coil_task_self();
    return coil_park(cancel_its_scope, b, "a test");
}

static void check_nobody_cancelled(const struct coil_scope *s)
{
    struct coil_cancellation why;

    coil_scope_cancellation(s, &why);
    CHECK_EQ(why.cause, COIL_CAUSE_EXPLICIT);
    CHECK(!why.task);
}

/* Whoever happens to look at the clock. */
COIL_TEST(task, lowlevel_what_an_abort_cancels_because_of_a_deadline_bears_no_name)
{
    struct coil_scope scope;
    struct busybody b = {.scope = &scope};
    struct coil_group late;

    coil_group_begin(&late);
    SPAWN(&late, park_and_cancel, &b);
    parker_await(&b.own);
    coil_scope_begin(&scope, COIL_FOREVER);
    coil_scope_set_deadline(coil_group_scope(&late), coil_now() - 1);
    CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED);
    check_nobody_cancelled(&scope);
    CHECK(coil_task_self());
    CHECK_EQ(coil_scope_end(&scope, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_group_end(&late, -ECANCELED), 0);
}

static void *cancel_two(void *arg)
{
    struct coil_scope **two = arg;

    coil_scope_cancel(two[0], NULL);
    coil_scope_cancel(two[1], NULL);
    return NULL;
}

/* Whoever takes the message. */
COIL_TEST(task, lowlevel_what_an_abort_cancels_because_of_another_thread_bears_no_name)
{
    struct coil_scope scope;
    struct coil_scope last;
    struct busybody b = {.scope = &scope};
    struct coil_group g;
    struct coil_scope *two[] = {coil_group_scope(&g), &last};
    pthread_t thread;

    coil_group_begin(&g);
    SPAWN(&g, park_and_cancel, &b);
    parker_await(&b.own);
    coil_scope_begin(&scope, COIL_FOREVER);
    coil_scope_begin(&last, COIL_FOREVER);
    CHECK_EQ(pthread_create(&thread, NULL, cancel_two, two), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coil_scope_end(&last, 0), 0); /* takes what has come */
    check_nobody_cancelled(&scope);
    CHECK(coil_task_self());
    CHECK_EQ(coil_scope_end(&scope, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_group_end(&g, -ECANCELED), 0);
}

struct flicker {
    struct coil_scope *shield;
    struct parker own;
};

static enum coil_abort raise_and_lower_a_shield(void *ctx)
{
    struct flicker *f = ctx;

    f->own.aborts++;
    coil_scope_set_shield(f->shield, 1);
    coil_scope_set_shield(f->shield, 0);
    return COIL_ABORT_DONE;
}

static int park_and_flicker(void *arg)
{
    struct flicker *f = arg;

    f->own.task = coil_task_self();
    return coil_park(raise_and_lower_a_shield, f, "a test");
}

COIL_TEST(task, lowlevel_a_shield_that_goes_up_and_down_meanwhile_aborts_nobody_twice)
{
    struct parker p[2] = {{.answer = COIL_ABORT_LATER}, {.answer = COIL_ABORT_LATER}};
    struct flicker f = {.shield = NULL};
    struct coil_group outer;
    struct coil_group inner;

    coil_group_begin(&outer);
    SPAWN(&outer, park_and_flicker, &f);
    parker_await(&f.own);
    coil_group_begin(&inner);
    f.shield = coil_group_scope(&inner);
    for (int i = 0; i < 2; i++) {
        SPAWN(&inner, parker_run, &p[i]);
        parker_await(&p[i]);
    }
    coil_scope_cancel(coil_group_scope(&outer), NULL);
    CHECK_EQ(f.own.aborts, 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(p[i].aborts, 1);
        parker_unpark(&p[i], 0);
    }
    CHECK_EQ(coil_group_end(&inner, 0), 0);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
}

struct observer {
    struct coil_handle *all;
    int count;
    int stopping;
};

static enum coil_abort count_the_stopping(void *ctx)
{
    struct observer *o = ctx;

    for (int i = 0; i < o->count; i++)
        o->stopping += coil_task_status(&o->all[i]) == COIL_STATUS_STOPPING;
    return COIL_ABORT_DONE;
}

static int park_and_observe(void *arg)
{
    return coil_park(count_the_stopping, arg, "a test");
}

COIL_TEST(task, lowlevel_an_abort_never_meets_a_tree_half_cancelled)
{
    struct coil_handle h[5];
    struct observer o[5];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        o[i] = (struct observer){.all = h, .count = 5};
        SPAWN_WITH_HANDLE(&g, park_and_observe, &o[i], &h[i]);
    }
    give_way();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(o[i].stopping, 5);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

struct chain {
    struct coil_scope *next;
    int aborts;
};

static enum coil_abort cancel_the_next(void *ctx)
{
    struct chain *c = ctx;

    c->aborts++;
    if (c->next)
        coil_scope_cancel(c->next, NULL);
    return COIL_ABORT_DONE;
}

static int park_in_a_chain(void *arg)
{
    return coil_park(cancel_the_next, arg, "a test");
}

COIL_TEST(task, lowlevel_an_abort_may_cancel_another_scope)
{
    struct coil_group g[3];
    struct chain c[3] = {{NULL}, {NULL}, {NULL}};

    for (int i = 0; i < 3; i++) {
        coil_group_begin(&g[i]);
        coil_scope_set_shield(coil_group_scope(&g[i]), 1);
        if (i)
            c[i].next = coil_group_scope(&g[i - 1]);
        SPAWN(&g[i], park_in_a_chain, &c[i]);
    }
    c[0].next = coil_group_scope(&g[2]);
    give_way();
    coil_scope_cancel(coil_group_scope(&g[2]), NULL);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(c[i].aborts, 1);
    for (int i = 2; i >= 0; i--)
        CHECK_EQ(coil_group_end(&g[i], 0), 0);
}

static enum coil_abort unpark_myself(void *ctx)
{
    parker_unpark(ctx, 11);
    return COIL_ABORT_LATER;
}

static int park_and_unpark_myself(void *arg)
{
    struct parker *p = arg;

    p->task = coil_task_self();
    p->result = coil_park(unpark_myself, p, "a test");
    return 0;
}

COIL_TEST(task, lowlevel_an_abort_may_unpark_its_own_task_and_say_later)
{
    struct coil_group g;

    for (int cancelled_before = 0; cancelled_before < 2; cancelled_before++) {
        struct parker p = {.result = 0};

        coil_group_begin(&g);
        if (cancelled_before)
            coil_scope_cancel(coil_group_scope(&g), NULL);
        SPAWN(&g, park_and_unpark_myself, &p);
        give_way();
        coil_scope_cancel(coil_group_scope(&g), NULL);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(p.result, 11);
    }
}

COIL_TEST(task, lowlevel_a_cancelled_park_leaves_nothing_behind)
{
    struct coil_scope s;
    struct parker p = {.answer = COIL_ABORT_DONE};

    for (int i = 0; i < 3; i++) {
        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_cancel(&s, NULL);
        CHECK_EQ(parker_park(&p), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        CHECK_EQ(stats_now().ready, 0);
        CHECK_EQ(coil_checkpoint(), 0);
    }
}

/* --- stacks ---------------------------------------------------------------------------------- */

static int use_stack(void *arg)
{
    const size_t size = *(const size_t *)arg;
    volatile char *bytes = __builtin_alloca(size);

    for (size_t i = 0; i < size; i += 4096)
        bytes[i] = (char)i;
    CHECK_EQ(coil_checkpoint(), 0);
    for (size_t i = 0; i < size; i += 4096)
        CHECK_EQ(bytes[i], (char)i);
    return 0;
}

COIL_TEST(task, stack_a_task_has_the_stack_it_asked_for)
{
    static const size_t sizes[] = {16 << 10, 40 << 10, 64 << 10, 1 << 20, 32 << 20};
    static size_t used[5];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        struct coil_spawn_options options = {.stack_size = sizes[i]};

        used[i] = sizes[i] - (12 << 10); /* a guard, a task, and a frame or two */
        CHECK_EQ(coil_group_spawn_with(&g, use_stack, &used[i], &options), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(task, stack_the_largest_there_is)
{
    struct coil_spawn_options options = {.stack_size = 1 << 30};
    struct coil_group g;
    int ran = 0;
    int r;

    coil_group_begin(&g);
    r = coil_group_spawn_with(&g, count_it, &ran, &options);
    CHECK(r == 0 || r == -ENOMEM);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, r == 0);
}

COIL_TEST(task, stack_sizes_out_of_range_are_refused)
{
    static const size_t sizes[] = {1, (16 << 10) - 1, (1 << 30) + 1, SIZE_MAX};
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    for (int i = 0; i < 4; i++) {
        struct coil_spawn_options options = {.stack_size = sizes[i]};

        CHECK_EQ(coil_group_spawn_with(&g, count_it, &ran, &options), -EINVAL);
    }
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 0);
}
