/* dormant.c - tasks that have no stack until it is time: semantics.md 3, but for the first half of
 * 3.5. */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inside.h"
#include "parker.h"
#include "scarce.h"

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

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

static int count_it(void *arg)
{
    return ++*(int *)arg;
}

static int return_it(void *arg)
{
    return *(const int *)arg;
}

/* Spawns one that never comes by itself. */
static void spawn_idle(struct coil_group *g, int *ran, struct coil_handle *h)
{
    struct coil_spawn_options options = {.handle = h};

    CHECK_EQ(coil_group_spawn_later_with(g, COIL_FOREVER, count_it, ran, &options), 0);
}

/* --- By the clock ---------------------------------------------------------------------------- */

static int note_the_time(void *arg)
{
    *(int64_t *)arg = coil_now();
    return 0;
}

COIL_TEST(dormant, s3_1_a_group_waits_for_one_until_its_time_has_come_and_it_has_run)
{
    const int64_t when_ns = coil_now() + 2 * COIL_MILLISECOND;
    struct coil_group g;
    int64_t ran_ns = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later(&g, when_ns, note_the_time, &ran_ns), 0);
    CHECK_EQ(coil_group_count(&g), 1);
    CHECK_EQ(stats_now().tasks, 2);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(ran_ns >= when_ns);
}

/* Runs in the order of their times. */
struct turn {
    int *clock;
    int ran_at;
};

static int take_turn(void *arg)
{
    struct turn *t = arg;

    t->ran_at = ++*t->clock;
    return 0;
}

COIL_TEST_IN_ORDER(dormant, s3_10_they_come_in_the_order_of_their_times)
{
    static const int order[] = {3, 0, 4, 1, 2};
    struct turn t[5];
    struct coil_group g;
    int64_t now_ns = coil_now();
    int clock = 0;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        t[i] = (struct turn){.clock = &clock};
        CHECK_EQ(coil_group_spawn_later(&g, now_ns + order[i] * 100 * COIL_MICROSECOND, take_turn,
                                        &t[i]),
                 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(t[i].ran_at, order[i] + 1);
}

COIL_TEST(dormant, s3_5_a_time_that_is_past_is_now_and_spawning_is_no_checkpoint)
{
    static const int64_t times[] = {INT64_MIN, -1, 0, 1};
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(coil_group_spawn_later(&g, times[i], count_it, &ran), 0);
    CHECK_EQ(ran, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 4);
}

COIL_TEST(dormant, until_its_time_it_has_no_stack)
{
    struct coil_stats before = stats_now();
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    for (int i = 0; i < 5000; i++)
        spawn_idle(&g, &ran, NULL);
    CHECK_EQ(stats_now().stacks, before.stacks);
    CHECK_EQ(stats_now().tasks, before.tasks + 5000);
    CHECK_EQ(coil_group_count(&g), 5000);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(stats_now().stacks, before.stacks);
    CHECK_EQ(ran, 0);
}

COIL_TEST(dormant, s3_7_its_handle_works_before_and_after)
{
    static int seven = 7;
    struct coil_handle h;
    struct coil_spawn_options options = {.name = "the seventh", .handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(
        coil_group_spawn_later_with(&g, coil_now() + COIL_MILLISECOND, return_it, &seven, &options),
        0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
    CHECK_EQ(coil_task_result(&h), -EAGAIN);
    CHECK(same(coil_task_name(&h), "the seventh"));
    CHECK(same(coil_task_parent(&h), "main"));
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_FINISHED);
    CHECK_EQ(coil_task_result(&h), 7);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(dormant, s3_2_one_that_fails_fails_its_group)
{
    static int failure = -EIO;
    struct coil_group g;
    struct coil_error e;
    int ran = 0;

    coil_group_begin(&g);
    spawn_idle(&g, &ran, NULL);
    CHECK_EQ(coil_group_spawn_later(&g, 0, return_it, &failure), 0);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(coil_group_error_count(&g), 1);
    CHECK_EQ(coil_group_error(&g, 0, &e), 0);
    CHECK(same(e.task, "return_it"));
    CHECK(strstr(e.site, "dormant.c:"));
    CHECK_EQ(ran, 0);
}

/* --- Cancelled before its time --------------------------------------------------------------- */

COIL_TEST(dormant, s3_5_cancelled_with_its_group_it_ends_at_once_and_never_runs)
{
    struct coil_handle h;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_task_result(&h), -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 1);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(ran, 0);
}

COIL_TEST(dormant, s3_3_its_cancellation_goes_on_to_the_scope_that_is_responsible)
{
    struct coil_scope outer;
    struct coil_group g;
    int ran = 0;

    coil_timeout_begin(&outer, coil_now() + COIL_MILLISECOND);
    coil_group_begin(&g);
    spawn_idle(&g, &ran, NULL);
    CHECK_EQ(coil_group_end(&g, 0), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), -ETIME);
    CHECK_EQ(ran, 0);
}

COIL_TEST(dormant, s3_7_cancelled_by_its_handle_it_is_the_only_one)
{
    struct coil_handle h[2];
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h[0]);
    spawn_idle(&g, &ran, &h[1]);
    coil_task_cancel(&h[0], NULL);
    coil_task_cancel(&h[0], NULL);
    CHECK_EQ(coil_task_status(&h[0]), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_task_status(&h[1]), COIL_STATUS_RUNNING);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
    coil_task_cancel(&h[1], NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 0);
    CHECK_EQ(ran, 0);
}

COIL_TEST(dormant, s3_5_spawned_into_a_cancelled_group_it_has_ended)
{
    struct coil_handle h;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    spawn_idle(&g, &ran, &h);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_group_spawn_later(&g, 0, count_it, &ran), 0);
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 0);
}

COIL_TEST(dormant, s2_3_it_sees_what_its_group_sees)
{
    struct coil_scope outer;
    struct coil_scope shield;
    struct coil_handle h;
    struct coil_group g;
    int ran = 0;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_shield_begin(&shield, COIL_FOREVER);
    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
    coil_scope_set_shield(&shield, 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_group_end(&g, 0), -ECANCELED);
    CHECK_EQ(coil_scope_end(&shield, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

static int wait_for_it(void *arg)
{
    return coil_task_wait(arg);
}

COIL_TEST(dormant, s3_7_those_who_wait_for_it_are_woken_by_its_cancellation)
{
    struct coil_handle h;
    struct coil_handle waiter;
    struct coil_spawn_options options = {.handle = &waiter};
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h);
    CHECK_EQ(coil_group_spawn_with(&g, wait_for_it, &h, &options), 0);
    give_way();
    coil_task_cancel(&h, NULL);
    CHECK_EQ(coil_task_wait(&waiter), 0);
    CHECK_EQ(coil_task_result(&waiter), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(dormant, s3_7_once_it_has_come_a_cancel_finds_a_task_like_any_other)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later_with(&g, 0, parker_run, &p, &options), 0);
    parker_await(&p);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_STOPPING);
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(p.result, -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- Back to sleep --------------------------------------------------------------------------- */

/* Comes so often, and then returns last. */
struct regular {
    int times;
    int ran;
    int last;
    struct coil_task *task;
    int said;
    int fd;
};

static int come_again(void *arg)
{
    struct regular *r = arg;

    if (++r->ran == r->times)
        return r->last;
    return coil_again_later(coil_now() + 50 * COIL_MICROSECOND);
}

COIL_TEST(dormant, a_task_may_go_back_to_sleep_with_its_handle_and_its_place)
{
    struct regular r = {.times = 5, .last = 9};
    struct coil_handle h;
    struct coil_spawn_options options = {.name = "a regular", .handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, come_again, &r, &options), 0);
    while (!r.ran)
        coil_yield_shielded();
    CHECK_EQ(coil_group_count(&g), 1);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
    CHECK(same(coil_task_name(&h), "a regular"));
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(r.ran, 5);
    CHECK_EQ(coil_task_result(&h), 9);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int sleep_until_cancelled(void *arg)
{
    ++*(int *)arg;
    return coil_again_later(COIL_FOREVER);
}

COIL_TEST(dormant, its_stack_is_another_tasks_meanwhile)
{
    struct coil_stats before;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    SPAWN(&g, sleep_until_cancelled, &ran);
    give_way();
    before = stats_now();
    for (int i = 0; i < 1000; i++) {
        SPAWN(&g, sleep_until_cancelled, &ran);
        give_way();
    }
    CHECK_EQ(ran, 1001);
    CHECK(stats_now().stacks <= before.stacks + 1); /* one more while the last one ends */
    CHECK_EQ(coil_group_count(&g), 1001);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int cancel_yourself_and_sleep(void *arg)
{
    coil_task_cancel(arg, NULL);
    return coil_again_later(COIL_FOREVER);
}

COIL_TEST(dormant, a_cancel_from_before_ends_it_instead)
{
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, cancel_yourself_and_sleep, &h, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
}

static int change_your_mind(void *arg)
{
    CHECK_EQ(coil_again_later(COIL_FOREVER), 0);
    CHECK_EQ(coil_again_later(0), 0);
    return ++*(int *)arg < 3 ? 0 : -EIO;
}

COIL_TEST(dormant, the_last_word_counts_and_a_failure_ends_it_as_ever)
{
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    SPAWN(&g, change_your_mind, &ran);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(ran, 3);
}

/* Thinks better of it, twice a time. */
static int change_what_you_wait_for(void *arg)
{
    struct regular *r = arg;

    if (++r->ran == 3)
        return 0;
    CHECK_EQ(coil_again_later(COIL_FOREVER), 0);
    CHECK_EQ(coil_again_readable(r->fd), 0);
    return r->ran == 1 ? 0 : coil_again_later(0);
}

COIL_TEST(dormant, the_last_word_counts_also_about_what_to_wait_for)
{
    struct regular r = {.fd = eventfd(1, EFD_CLOEXEC)};
    struct coil_group g;

    CHECK(r.fd >= 0);
    coil_group_begin(&g);
    SPAWN(&g, change_what_you_wait_for, &r);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r.ran, 3);
    CHECK_EQ(coil_close(r.fd), 0);
}

static int say_again(void *arg)
{
    *(int *)arg = coil_again_later(0);
    return 0;
}

static int say_again_too_early(void *arg)
{
    *(int *)arg = coil_again_later(0);
    return coil_started(0);
}

COIL_TEST(dormant, the_main_task_services_and_what_has_not_started_stay_awake)
{
    struct coil_spawn_options options = {.service = 1};
    struct coil_group g;
    int said = 1;

    CHECK_EQ(coil_again_later(0), -EINVAL);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, say_again, &said, &options), 0);
    give_way();
    CHECK_EQ(said, -EINVAL);
    said = 1;
    CHECK_EQ(coil_group_start(&g, say_again_too_early, &said, NULL), 0);
    CHECK_EQ(said, -EINVAL);
    CHECK_EQ(coil_group_spawn_later_with(&g, 0, say_again, &said, &options), -EINVAL);
    CHECK_EQ(coil_group_spawn_readable_with(&g, 0, say_again, &said, &options), -EINVAL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int start_and_come_again(void *arg)
{
    struct regular *r = arg;

    r->said = coil_started(4);
    return come_again(arg);
}

COIL_TEST(dormant, s3_6_a_started_task_sleeps_in_the_group_it_went_to)
{
    struct regular r = {.times = 3};
    struct coil_group g;
    intptr_t value = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, start_and_come_again, &r, &value), 0);
    CHECK_EQ(value, 4);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r.ran, 3);
    CHECK_EQ(r.said, -EALREADY);
}

/* --- When there is something to read --------------------------------------------------------- */

struct reader {
    int fds[2];
    int came;
    int ran;   /* with something to show for it */
    int times; /* as often, and then it returns */
    char got[16];
    ssize_t last;
};

static int read_a_byte(void *arg)
{
    struct reader *r = arg;

    r->came++;
    r->last = coil_recv(r->fds[0], &r->got[r->ran], 1, 0);
    if (r->last < 0)
        return (int)r->last;
    return ++r->ran < r->times && r->last ? coil_again_readable(r->fds[0]) : 0;
}

static void reader_open(struct reader *r, int times)
{
    *r = (struct reader){.times = times};
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->fds), 0);
}

static void reader_close(struct reader *r)
{
    CHECK_EQ(coil_close(r->fds[0]), 0);
    close(r->fds[1]);
}

static void spawn_reader(struct coil_group *g, struct reader *r, struct coil_handle *h)
{
    struct coil_spawn_options options = {.handle = h};

    CHECK_EQ(coil_group_spawn_readable_with(g, r->fds[0], read_a_byte, r, &options), 0);
}

COIL_TEST(dormant, a_task_comes_when_there_is_something_to_read)
{
    struct reader r;
    struct coil_group g;

    reader_open(&r, 1);
    coil_group_begin(&g);
    spawn_reader(&g, &r, NULL);
    for (int i = 0; i < 100; i++)
        coil_yield_shielded();
    inside_look();
    give_way();
    CHECK_EQ(r.ran, 0);
    CHECK_EQ(write(r.fds[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r.ran, 1);
    CHECK_EQ(r.got[0], 'x');
    reader_close(&r);
}

COIL_TEST(dormant, also_when_it_was_there_before)
{
    struct reader r;
    struct coil_group g;

    reader_open(&r, 3);
    CHECK_EQ(write(r.fds[1], "abc", 3), 3);
    coil_group_begin(&g);
    spawn_reader(&g, &r, NULL);
    CHECK_EQ(r.ran, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(same(r.got, "abc"));
    reader_close(&r);
}

COIL_TEST(dormant, also_for_the_end)
{
    struct reader r;
    struct coil_group g;

    reader_open(&r, 5);
    coil_group_begin(&g);
    spawn_reader(&g, &r, NULL);
    give_way();
    CHECK_EQ(shutdown(r.fds[1], SHUT_WR), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r.ran, 1);
    CHECK_EQ(r.last, 0);
    reader_close(&r);
}

COIL_TEST(dormant, between_two_requests_a_connection_has_no_stack)
{
    struct coil_stats before;
    struct reader r;
    struct coil_handle h;
    struct coil_group g;

    reader_open(&r, 8);
    coil_group_begin(&g);
    spawn_reader(&g, &r, &h);
    before = stats_now();
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
        CHECK_EQ(coil_group_count(&g), 1);
        CHECK_EQ(write(r.fds[1], &"requests"[i], 1), 1);
        while (r.ran == i)
            coil_yield_shielded();
    }
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(same(r.got, "requests"));
    CHECK(stats_now().stacks <= before.stacks + 2);
    reader_close(&r);
}

COIL_TEST(dormant, until_then_it_is_the_descriptors_reader)
{
    struct reader r;
    struct coil_handle h;
    struct coil_group g;
    char byte;

    reader_open(&r, 1);
    coil_group_begin(&g);
    spawn_reader(&g, &r, &h);
    CHECK_EQ(coil_recv(r.fds[0], &byte, 1, 0), -EBUSY);
    CHECK_EQ(coil_group_spawn_readable(&g, r.fds[0], read_a_byte, &r), -EBUSY);
    CHECK_EQ(coil_send(r.fds[0], "y", 1, 0), 1);
    CHECK_EQ(coil_group_count(&g), 1);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(write(r.fds[1], "x", 1), 1);
    CHECK_EQ(coil_recv(r.fds[0], &byte, 1, 0), 1); /* and now it is not */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r.ran, 0);
    reader_close(&r);
}

COIL_TEST(dormant, cancelled_with_its_group_it_takes_nothing)
{
    struct reader r;
    struct coil_group g;
    char byte = 0;

    reader_open(&r, 1);
    coil_group_begin(&g);
    spawn_reader(&g, &r, NULL);
    give_way();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(write(r.fds[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 1);
    CHECK_EQ(r.ran, 0);
    CHECK_EQ(coil_recv(r.fds[0], &byte, 1, 0), 1);
    CHECK_EQ(byte, 'x');
    reader_close(&r);
}

/* What who waits for a task of its own group is told when the group is cancelled. */
static int waiter_told(struct coil_group *g, struct coil_handle *h)
{
    struct coil_handle waiter;
    struct coil_spawn_options options = {.handle = &waiter};

    CHECK_EQ(coil_group_spawn_with(g, wait_for_it, h, &options), 0);
    give_way();
    coil_scope_cancel(coil_group_scope(g), NULL);
    CHECK_EQ(coil_group_end(g, 0), 0);
    CHECK_EQ(coil_task_status(h), COIL_STATUS_CANCELLED);
    return coil_task_result(&waiter);
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

COIL_TEST(dormant, s4_4_who_waits_for_one_and_is_cancelled_with_it_is_told_so_whatever_its_kind)
{
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;
    struct reader r;
    int ran = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, sleep_for_ever, NULL, &options), 0);
    CHECK_EQ(waiter_told(&g, &h), -ECANCELED);
    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h);
    CHECK_EQ(waiter_told(&g, &h), -ECANCELED);
    coil_group_begin(&g);
    reader_open(&r, 1);
    spawn_reader(&g, &r, &h);
    CHECK_EQ(waiter_told(&g, &h), -ECANCELED);
    reader_close(&r);
}

COIL_TEST(dormant, s4_4_also_the_host_that_waits_for_its_own)
{
    struct coil_handle h;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h);
    coil_scope_set_deadline(coil_group_scope(&g), coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_task_wait(&h), -ECANCELED);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_group_end(&g, -ECANCELED), 0);
    CHECK_EQ(ran, 0);
}

/* Waits for a task under a deadline. */
struct hurried {
    struct coil_handle h;
    int64_t deadline_ns;
    int told;
};

static int wait_until_the_deadline(void *arg)
{
    struct hurried *w = arg;
    struct coil_scope s;

    coil_scope_begin(&s, w->deadline_ns);
    w->told = coil_task_wait(&w->h);
    return coil_scope_end(&s, w->told);
}

/* What it is told if a deadline of the same time, that may be armed first, ends the other. */
static int told_at_one_time(bool the_others_first)
{
    struct hurried w = {.deadline_ns = coil_now() + COIL_MILLISECOND};
    struct coil_group all;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&all);
    coil_group_begin(&g);
    spawn_idle(&g, &ran, &w.h);
    if (the_others_first)
        coil_scope_set_deadline(coil_group_scope(&g), w.deadline_ns);
    SPAWN(&all, wait_until_the_deadline, &w);
    give_way();
    coil_scope_set_deadline(coil_group_scope(&g), w.deadline_ns);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_end(&all, 0), 0);
    CHECK_EQ(coil_task_status(&w.h), COIL_STATUS_CANCELLED);
    CHECK_EQ(ran, 0);
    return w.told;
}

COIL_TEST(dormant, s4_4_also_by_two_deadlines_of_one_time_whichever_was_armed_first)
{
    CHECK_EQ(told_at_one_time(false), -ECANCELED);
    CHECK_EQ(told_at_one_time(true), -ECANCELED);
}

COIL_TEST(dormant, s2_4_a_deadline_of_its_group_ends_one)
{
    struct coil_handle h[2];
    struct coil_cancellation why;
    struct coil_group g;
    struct reader r;
    int ran = 0;

    coil_group_begin(&g);
    reader_open(&r, 1);
    spawn_idle(&g, &ran, &h[0]);
    spawn_reader(&g, &r, &h[1]);
    coil_scope_set_deadline(coil_group_scope(&g), coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    coil_scope_cancellation(coil_group_scope(&g), &why);
    CHECK_EQ(why.cause, COIL_CAUSE_DEADLINE);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 1);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(coil_task_status(&h[i]), COIL_STATUS_CANCELLED);
    CHECK_EQ(ran + r.ran, 0);
    reader_close(&r);
}

/* An abort function that looks at one which is cancelled with its own task. */
static enum coil_status seen_status;

static enum coil_abort look_at_it(void *ctx)
{
    seen_status = coil_task_status(ctx);
    return COIL_ABORT_DONE;
}

static int park_and_look(void *arg)
{
    return coil_park(look_at_it, arg, "a test");
}

COIL_TEST(dormant, users_abort_functions_meet_those_that_have_ended)
{
    struct coil_handle h;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h);
    SPAWN(&g, park_and_look, &h);
    give_way();
    seen_status = COIL_STATUS_RUNNING;
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(seen_status, COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* The backend has said that there is something, and nobody has run since. */
static void ready_unseen(struct coil_group *g, struct reader *r, struct coil_handle *h)
{
    reader_open(r, 1);
    spawn_reader(g, r, h);
    inside_look();
    CHECK_EQ(write(r->fds[1], "x", 1), 1);
    for (int i = 0; i < 1000 && mailbox_empty(&coil__here.loop->mailbox); i++)
        inside_look();
    CHECK(!mailbox_empty(&coil__here.loop->mailbox));
}

COIL_TEST(dormant, s4_4_cancelled_between_the_event_and_its_turn_it_does_not_run)
{
    struct reader r;
    struct coil_handle h;
    struct coil_group g;
    char byte;

    coil_group_begin(&g);
    ready_unseen(&g, &r, &h);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_STOPPING);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_count(&g), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(r.ran, 0);
    CHECK_EQ(coil_recv(r.fds[0], &byte, 1, 0), 1);
    reader_close(&r);
}

COIL_TEST(dormant, s4_4_cancelled_before_its_turn_it_does_not_run_though_softly_asked_then)
{
    struct reader r;
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    ready_unseen(&g, &r, &h);
    coil_task_cancel(&h, NULL);
    coil_scope_request(coil_group_scope(&g), COIL_SECOND, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(r.ran, 0);
    reader_close(&r);
}

COIL_TEST(dormant, a_descriptor_that_is_closed_meanwhile_fails_it)
{
    struct reader r;
    struct coil_handle h;
    struct coil_group g;

    reader_open(&r, 1);
    coil_group_begin(&g);
    spawn_reader(&g, &r, &h);
    give_way();
    reader_close(&r);
    CHECK_EQ(coil_group_end(&g, 0), -EBADF);
    CHECK_EQ(coil_task_result(&h), -EBADF);
    CHECK_EQ(r.came, 0);
}

COIL_TEST(dormant, also_between_the_event_and_its_turn)
{
    struct reader r;
    struct coil_handle h;
    struct coil_group g;

    coil_group_begin(&g);
    ready_unseen(&g, &r, &h);
    reader_close(&r);
    CHECK_EQ(coil_group_end(&g, 0), -EBADF);
    CHECK_EQ(r.came, 0);
}

COIL_TEST(dormant, what_is_not_open_is_refused_at_once)
{
    struct reader r = {.times = 1};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable(&g, -1, read_a_byte, &r), -EBADF);
    CHECK_EQ(coil_group_spawn_readable(&g, 9999, read_a_byte, &r), -EBADF);
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int read_again_from_nothing(void *arg)
{
    (void)arg;
    return coil_again_readable(-1);
}

COIL_TEST(dormant, a_task_that_goes_back_to_what_is_not_open_fails)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, read_again_from_nothing, NULL);
    CHECK_EQ(coil_group_end(&g, 0), -EBADF);
}

/* --- Why ------------------------------------------------------------------------------------- */

static void check_why(const struct coil_handle *h, enum coil_cause cause, const char *reason,
                      const char *task)
{
    struct coil_cancellation why;

    CHECK_EQ(coil_task_why_cancelled(h, &why), 1);
    CHECK_EQ(why.cause, cause);
    CHECK(reason ? same(why.reason, reason) : !why.reason);
    CHECK(task ? same(why.task, task) : !why.task);
}

/* One of each kind. */
struct kinds {
    struct reader r;
    struct coil_handle h[3];
    int ran;
};

static void spawn_kinds(struct coil_group *g, struct kinds *k)
{
    struct coil_spawn_options options = {.handle = &k->h[0]};

    k->ran = 0;
    reader_open(&k->r, 1);
    CHECK_EQ(coil_group_spawn_with(g, sleep_for_ever, NULL, &options), 0);
    spawn_idle(g, &k->ran, &k->h[1]);
    spawn_reader(g, &k->r, &k->h[2]);
    give_way();
}

COIL_TEST(dormant, s2_6_a_handle_says_who_cancelled_its_task_and_why_whatever_its_kind)
{
    struct coil_cancellation why = {.reason = "untouched"};
    struct coil_group g;
    struct kinds k;

    coil_group_begin(&g);
    spawn_kinds(&g, &k);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coil_task_why_cancelled(&k.h[i], &why), 0);
        CHECK(same(why.reason, "untouched"));
        coil_task_cancel_at(&k.h[i], "enough", "here:1");
        coil_task_cancel_at(&k.h[i], "more than enough", "here:2");
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            check_why(&k.h[i], COIL_CAUSE_EXPLICIT, "enough", "main");
            CHECK_EQ(coil_task_why_cancelled(&k.h[i], &why), 1);
            CHECK(same(why.site, "here:1"));
            CHECK_EQ(coil_task_wait(&k.h[i]), 0);
        }
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    reader_close(&k.r);
}

COIL_TEST(dormant, s2_6_cancelled_with_its_group_it_is_for_the_groups_reason)
{
    struct coil_group g;
    struct kinds k;

    coil_group_begin(&g);
    spawn_kinds(&g, &k);
    coil_scope_cancel(coil_group_scope(&g), "all of you");
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 3; i++)
        check_why(&k.h[i], COIL_CAUSE_EXPLICIT, "all of you", "main");
    reader_close(&k.r);
}

COIL_TEST(dormant, s2_6_one_that_was_not_cancelled_has_no_reason)
{
    struct coil_cancellation why;
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later_with(&g, 0, count_it, &ran, &options), 0);
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_task_why_cancelled(&h, &why), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- Softly asked ---------------------------------------------------------------------------- */

/* Answers, and says goodbye when it is asked to finish. */
struct polite {
    struct reader r;
    int goodbyes;
};

static int serve_politely(void *arg)
{
    struct polite *p = arg;

    if (coil_cancel_requested()) {
        p->goodbyes++;
        return coil_send(p->r.fds[0], "bye", 3, 0) == 3 ? 0 : -EIO;
    }
    return read_a_byte(&p->r);
}

static void spawn_polite(struct coil_group *g, struct polite *p)
{
    *p = (struct polite){.goodbyes = 0};
    reader_open(&p->r, 9);
    CHECK_EQ(coil_group_spawn_readable(g, p->r.fds[0], serve_politely, p), 0);
}

COIL_TEST(dormant, s2_12_softly_asked_one_that_waits_for_a_descriptor_begins_and_says_goodbye)
{
    struct coil_group g;
    struct polite p;

    coil_group_begin(&g);
    spawn_polite(&g, &p);
    give_way();
    coil_scope_request(coil_group_scope(&g), COIL_FOREVER, "closing time");
    CHECK_EQ(coil_group_end(&g, 0), 0); /* it does not sit out the grace */
    CHECK_EQ(p.goodbyes, 1);
    CHECK_EQ(p.r.came, 0);
    reader_close(&p.r);
}

/* It does not listen, and goes back to sleep. */
static int sleep_on(void *arg)
{
    struct polite *p = arg;

    p->goodbyes++;
    return coil_again_readable(p->r.fds[0]);
}

COIL_TEST(dormant, s2_12_one_that_was_asked_and_sleeps_on_is_not_asked_again_and_again)
{
    struct coil_group g;
    struct polite p = {.goodbyes = 0};

    reader_open(&p.r, 9);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable(&g, p.r.fds[0], sleep_on, &p), 0);
    give_way();
    coil_scope_request(coil_group_scope(&g), COIL_FOREVER, "closing time");
    for (int i = 0; i < 100; i++)
        give_way();
    CHECK_EQ(p.goodbyes, 1);
    coil_scope_cancel(coil_group_scope(&g), "closed");
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(p.goodbyes, 1);
    reader_close(&p.r);
}

COIL_TEST(dormant, s2_12_softly_asked_one_that_waits_for_its_time_ends_without_having_run)
{
    struct coil_handle h;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h);
    coil_scope_request(coil_group_scope(&g), COIL_FOREVER, "closing time");
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_task_result(&h), -ECANCELED);
    check_why(&h, COIL_CAUSE_EXPLICIT, "closing time", "main");
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
    CHECK_EQ(ran, 0);
}

/* Being asked is a state, as being cancelled is. */
COIL_TEST(dormant, s2_12_who_goes_to_sleep_when_it_has_been_asked_already_is_told_so_at_once)
{
    struct coil_scope outer;
    struct coil_group g;
    struct polite early;
    struct polite late;
    int ran = 0;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_group_begin(&g);
    spawn_polite(&g, &early);
    CHECK_EQ(write(early.r.fds[1], "x", 1), 1);
    while (!early.r.came)
        coil_yield_shielded();
    coil_scope_request(&outer, COIL_FOREVER, NULL);
    spawn_polite(&g, &late);
    spawn_idle(&g, &ran, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
    CHECK_EQ(early.r.ran, 1);
    CHECK_EQ(early.goodbyes, 1);
    CHECK_EQ(late.goodbyes, 1);
    CHECK_EQ(ran, 0);
    reader_close(&early.r);
    reader_close(&late.r);
}

COIL_TEST(dormant, s2_12_a_shield_keeps_it_from_being_asked)
{
    struct coil_scope outer;
    struct coil_scope shield;
    struct coil_handle h;
    struct coil_group g;
    int ran = 0;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_shield_begin(&shield, COIL_FOREVER);
    coil_group_begin(&g);
    spawn_idle(&g, &ran, &h);
    coil_scope_request(&outer, COIL_FOREVER, NULL);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_RUNNING);
    coil_scope_set_shield(&shield, 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

/* --- A deadline of its own ------------------------------------------------------------------- */

struct dated {
    struct coil_handle h;
    int64_t deadline_ns; /* that reached it, when it ran */
    int result;          /* of its first checkpoint */
    int ran;
};

static int look_at_the_date(void *arg)
{
    struct dated *d = arg;

    d->ran++;
    d->deadline_ns = coil_effective_deadline();
    d->result = coil_checkpoint();
    return d->result;
}

static struct coil_spawn_options dated(struct dated *d, int64_t deadline_ns)
{
    *d = (struct dated){.ran = 0};
    return (struct coil_spawn_options){.handle = &d->h, .deadline_ns = deadline_ns};
}

static int64_t in(int64_t ns)
{
    return coil_now() + ns;
}

COIL_TEST(dormant, s3_7_a_deadline_of_its_own_cancels_just_that_task)
{
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h, .deadline_ns = in(COIL_MILLISECOND)};
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, sleep_for_ever, NULL, &options), 0);
    SPAWN(&g, parker_run, &p);
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    check_why(&h, COIL_CAUSE_DEADLINE, NULL, NULL);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
}

COIL_TEST(dormant, s2_7_a_tasks_deadline_already_past_acts_at_its_first_checkpoint)
{
    static const int64_t past[] = {INT64_MIN, -1, 1};
    struct coil_group g;
    struct dated d;

    for (int i = 0; i < 3; i++) {
        struct coil_spawn_options options = dated(&d, past[i]);

        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn_with(&g, look_at_the_date, &d, &options), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(d.result, -ECANCELED);
    }
}

COIL_TEST(dormant, s2_4_no_deadline_is_none)
{
    static const int64_t none[] = {0, COIL_FOREVER};
    struct coil_stats before = stats_now();
    struct coil_group g;
    struct dated d;

    for (int i = 0; i < 2; i++) {
        struct coil_spawn_options options = dated(&d, none[i]);

        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn_later_with(&g, COIL_FOREVER, look_at_the_date, &d, &options), 0);
        CHECK_EQ(coil_group_spawn_with(&g, look_at_the_date, &d, &options), 0);
        CHECK_EQ(stats_now().timers, before.timers);
        give_way();
        CHECK_EQ(d.deadline_ns, COIL_FOREVER);
        coil_scope_cancel(coil_group_scope(&g), NULL);
        CHECK_EQ(coil_group_end(&g, 0), 0);
    }
}

static int start_and_sleep(void *arg)
{
    (void)arg;
    CHECK_EQ(coil_started(0), 0);
    return coil_sleep(COIL_FOREVER);
}

COIL_TEST(dormant, s3_6_a_started_task_takes_its_deadline_along)
{
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h, .deadline_ns = in(COIL_MILLISECOND)};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start_with(&g, start_and_sleep, NULL, NULL, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    check_why(&h, COIL_CAUSE_DEADLINE, NULL, NULL);
}

/* d has begun, cancelled by its deadline, and its group has not noticed. */
static void check_begun_late(struct coil_group *g, const struct dated *d)
{
    CHECK_EQ(coil_group_end(g, 0), 0);
    CHECK_EQ(d->ran, 1);
    CHECK_EQ(d->result, -ECANCELED);
    CHECK_EQ(coil_task_status(&d->h), COIL_STATUS_CANCELLED);
    check_why(&d->h, COIL_CAUSE_DEADLINE, NULL, NULL);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(g)), 0);
    CHECK_EQ(coil_group_error_count(g), 0);
}

COIL_TEST(dormant, s3_7_when_its_deadline_passes_before_it_comes_it_begins_cancelled)
{
    const int64_t deadline_ns = in(COIL_MILLISECOND);
    struct coil_spawn_options options;
    struct coil_group g;
    struct reader r;
    struct dated d;

    options = dated(&d, deadline_ns);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later_with(&g, COIL_FOREVER, look_at_the_date, &d, &options), 0);
    check_begun_late(&g, &d);
    reader_open(&r, 1);
    options = dated(&d, deadline_ns);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable_with(&g, r.fds[0], look_at_the_date, &d, &options), 0);
    check_begun_late(&g, &d);
    CHECK(coil_now() >= deadline_ns);
    reader_close(&r);
}

COIL_TEST(dormant, s3_7_one_that_comes_in_time_has_the_rest_of_its_deadline)
{
    const int64_t deadline_ns = in(1000 * COIL_SECOND);
    struct coil_stats before = stats_now();
    struct coil_spawn_options options;
    struct coil_group g;
    struct reader r;
    struct dated d[2];

    reader_open(&r, 1);
    coil_group_begin(&g);
    options = dated(&d[0], deadline_ns);
    CHECK_EQ(coil_group_spawn_later_with(&g, 0, look_at_the_date, &d[0], &options), 0);
    options = dated(&d[1], deadline_ns);
    CHECK_EQ(coil_group_spawn_readable_with(&g, r.fds[0], look_at_the_date, &d[1], &options), 0);
    CHECK_EQ(write(r.fds[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(d[i].deadline_ns, deadline_ns);
        CHECK_EQ(d[i].result, 0);
    }
    CHECK_EQ(stats_now().timers, before.timers);
    reader_close(&r);
}

static int come_again_for_ever(void *arg)
{
    struct dated *d = arg;
    int r = look_at_the_date(d);

    return r < 0 ? r : coil_again_later(COIL_FOREVER);
}

COIL_TEST(dormant, s3_7_a_task_that_goes_back_to_sleep_keeps_its_deadline)
{
    struct coil_spawn_options options;
    struct coil_group g;
    struct dated d;

    options = dated(&d, in(200 * COIL_MILLISECOND));
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, come_again_for_ever, &d, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(d.ran, 2);
    CHECK_EQ(d.result, -ECANCELED);
    check_why(&d.h, COIL_CAUSE_DEADLINE, NULL, NULL);
}

/* A connection that is given so much time between two requests. */
struct idler {
    struct reader r;
    int64_t idle_ns;
    int64_t deadline_ns; /* that reached it, when it ran last */
};

static int serve_idly(void *arg)
{
    struct idler *i = arg;
    int r;

    i->deadline_ns = coil_effective_deadline();
    r = read_a_byte(&i->r);
    if (r < 0 || i->r.ran == i->r.times)
        return r;
    return coil_again_readable_until(i->r.fds[0], coil_now() + i->idle_ns);
}

COIL_TEST(dormant, s3_7_a_connection_that_says_nothing_for_too_long_begins_cancelled)
{
    struct idler i = {.idle_ns = COIL_MILLISECOND};
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    reader_open(&i.r, 9);
    CHECK_EQ(write(i.r.fds[1], "ab", 2), 2);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable_with(&g, i.r.fds[0], serve_idly, &i, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(i.r.ran, 2);
    CHECK_EQ(i.r.came, 3);
    CHECK_EQ(i.r.last, -ECANCELED);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    check_why(&h, COIL_CAUSE_DEADLINE, NULL, NULL);
    reader_close(&i.r);
}

COIL_TEST(dormant, s3_7_its_limit_is_for_the_waiting_and_not_for_what_comes_of_it)
{
    struct coil_stats before = stats_now();
    struct idler i = {.idle_ns = 1000 * COIL_SECOND};
    struct coil_group g;

    reader_open(&i.r, 2);
    CHECK_EQ(write(i.r.fds[1], "ab", 2), 2);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable(&g, i.r.fds[0], serve_idly, &i), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(i.r.ran, 2);
    CHECK_EQ(i.deadline_ns, COIL_FOREVER);
    CHECK_EQ(stats_now().timers, before.timers);
    reader_close(&i.r);
}

COIL_TEST(dormant, s3_7_a_deadline_that_finds_no_memory_for_a_stack_fails_nobody)
{
    struct coil_spawn_options options;
    struct coil_group g;
    struct dated d;

    options = dated(&d, in(COIL_MILLISECOND));
    options.stack_size = 256 << 20;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later_with(&g, COIL_FOREVER, look_at_the_date, &d, &options), 0);
    scarce_begin();
    CHECK_EQ(coil_task_wait(&d.h), 0);
    scarce_end();
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(d.ran, 0);
    CHECK_EQ(coil_task_status(&d.h), COIL_STATUS_CANCELLED);
}

/* On a ring it is over some time after it was asked to be; whatever is decided meanwhile. */
COIL_TEST(dormant, a_cancel_after_its_deadline_finds_it_in_whatever_state)
{
    struct coil_spawn_options options;
    struct coil_group g;
    struct reader r;
    struct dated d;

    reader_open(&r, 1);
    options = dated(&d, in(COIL_MILLISECOND));
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable_with(&g, r.fds[0], look_at_the_date, &d, &options), 0);
    CHECK_EQ(coil_sleep_until(options.deadline_ns), 0);
    CHECK_EQ(coil_task_status(&d.h), COIL_STATUS_STOPPING);
    coil_task_cancel(&d.h, NULL);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_status(&d.h), COIL_STATUS_CANCELLED);
    reader_close(&r);
}

/* --- Bad input, no memory -------------------------------------------------------------------- */

COIL_TEST(dormant, a_wrong_spawn_is_refused)
{
    struct coil_spawn_options options = {.stack_size = 1};
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later(&g, 0, NULL, &ran), -EINVAL);
    CHECK_EQ(coil_group_spawn_later_with(&g, 0, count_it, &ran, &options), -EINVAL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_spawn_later(&g, 0, count_it, &ran), -ESHUTDOWN);
    CHECK_EQ(coil_group_spawn_readable(&g, 0, count_it, &ran), -ESHUTDOWN);
}

static bool refuse;
static size_t lent;

static void *allocate_unless_told(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (size) {
        void *p = refuse ? NULL : realloc(ptr, size);

        lent += p && !ptr;
        return p;
    }
    lent -= ptr != NULL;
    free(ptr);
    return NULL;
}

static int go_to_sleep_without_memory(void *arg)
{
    refuse = true;
    *(int *)arg = coil_again_later(0);
    refuse = false;
    return 0;
}

/* What it has said before stands. */
static int change_your_mind_without_memory(void *arg)
{
    int *times = arg;

    if (++*times == 2)
        return 0;
    CHECK_EQ(coil_again_later(0), 0);
    refuse = true;
    CHECK_EQ(coil_again_readable(0), -ENOMEM);
    CHECK_EQ(coil_again_later(1), 0);
    refuse = false;
    return 0;
}

static void spawn_without_memory(void)
{
    struct coil_handle h = {{0}};
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;
    int said = 0;
    int ran = 0;

    coil_group_begin(&g);
    refuse = true;
    CHECK_EQ(coil_group_spawn_later_with(&g, 0, count_it, &ran, &options), -ENOMEM);
    refuse = false;
    CHECK_EQ(h.opaque_[0], 0);
    CHECK_EQ(coil_group_count(&g), 0);
    SPAWN(&g, go_to_sleep_without_memory, &said);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(said, -ENOMEM);
    CHECK_EQ(ran, 0);

    coil_group_begin(&g);
    SPAWN(&g, change_your_mind_without_memory, &ran);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 2);
}

static void spawn_some(void)
{
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coil_group_spawn_later(&g, 0, count_it, &ran), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 1000);
}

Test(dormant, without_memory_nothing_has_happened)
{
    struct coil_loop_options options = harness_options();

    options.allocate = allocate_unless_told;
    harness_run(&options, spawn_without_memory);
    CHECK_EQ(lent, 0);
}

Test(dormant, all_its_memory_is_given_back_in_the_end)
{
    struct coil_loop_options options = harness_options();

    options.allocate = allocate_unless_told;
    harness_run(&options, spawn_some);
    CHECK_EQ(lent, 0);
}

COIL_TEST(dormant, without_memory_for_its_stack_it_fails)
{
    struct coil_handle h;
    struct coil_spawn_options options = {.stack_size = 256 << 20, .handle = &h};
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later_with(&g, 0, count_it, &ran, &options), 0);
    scarce_begin();
    CHECK_EQ(coil_task_wait(&h), -ECANCELED); /* its failure has cancelled us */
    scarce_end();
    CHECK_EQ(coil_task_result(&h), -ENOMEM);
    CHECK_EQ(coil_group_end(&g, -ECANCELED), -ENOMEM);
    CHECK_EQ(ran, 0);
}

static size_t resident(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t total;
    size_t pages;

    CHECK(f);
    CHECK_EQ(fscanf(f, "%zu %zu", &total, &pages), 2);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t held;

/* Each piece of memory begins with its size. */
static void *allocate_and_count(void *ctx, void *ptr, size_t size)
{
    char *start = ptr ? (char *)ptr - 16 : NULL;
    size_t before = start ? *(size_t *)(void *)start : 0;

    (void)ctx;
    if (!size) {
        held -= before;
        free(start);
        return NULL;
    }
    start = realloc(start, size + 16);
    if (!start)
        return NULL;
    held += size - before;
    *(size_t *)(void *)start = size;
    return start + 16;
}

#define ASLEEP 20000

/* Whether they have a deadline or not. */
static void measure_asleep(void)
{
    struct coil_group g;
    size_t before = held;
    int ran = 0;

    coil_group_begin(&g);
    for (int i = 0; i < ASLEEP; i++) {
        const struct coil_spawn_options options = {.deadline_ns = i % 2 ? INT64_MAX - 2 : 0};

        CHECK_EQ(coil_group_spawn_later_with(&g, INT64_MAX - 1, count_it, &ran, &options), 0);
    }
    CHECK_EQ(coil_group_count(&g), ASLEEP);
    CHECK((held - before) / ASLEEP <= 132);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 0);
}

Test(dormant, one_that_waits_for_its_time_takes_132_bytes_in_all)
{
    struct coil_loop_options options = harness_options();

    options.allocate = allocate_and_count;
    harness_run(&options, measure_asleep);
    CHECK_EQ(held, 0);
}

#define WATCHED 13000

/* With their descriptors' entries, and whatever the backend has of them. */
static void measure_watching(void)
{
    static int fds[WATCHED];
    struct coil_group g;
    size_t before = held;
    int ran = 0;

    for (int i = 0; i < WATCHED; i++)
        CHECK((fds[i] = eventfd(0, EFD_CLOEXEC)) >= 0);
    coil_group_begin(&g);
    for (int i = 0; i < WATCHED; i++) {
        const struct coil_spawn_options options = {.deadline_ns = 1000 * COIL_SECOND + coil_now()};

        CHECK_EQ(coil_group_spawn_readable_with(&g, fds[i], count_it, &ran, &options), 0);
    }
    give_way();
    CHECK_EQ(coil_group_count(&g), WATCHED);
    CHECK((held - before) / WATCHED <= 256);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < WATCHED; i++)
        CHECK_EQ(coil_close(fds[i]), 0);
}

Test(dormant, one_that_waits_for_a_descriptor_takes_256_bytes_in_all)
{
    struct coil_loop_options options = harness_options();
    struct rlimit limit;

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < WATCHED + 100)
        SKIP("there may not be so many descriptors");
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    options.allocate = allocate_and_count;
    harness_run(&options, measure_watching);
    CHECK_EQ(held, 0);
}

COIL_TEST(dormant, a_million_of_them_fit_in_150_megabytes)
{
#if defined(CONTEXT_ASAN) || defined(CONTEXT_TSAN)
    const int count = 10000;
#else
    const int count = 1000000;
#endif
    const int64_t when_ns = coil_now() + 3600 * COIL_SECOND;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    for (int i = 0; i < count; i++)
        CHECK_EQ(coil_group_spawn_later(&g, when_ns + i, count_it, &ran), 0);
    CHECK_EQ(coil_group_count(&g), (size_t)count);
    CHECK(resident() < (size_t)150 << 20);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 0);
}

/* Ready or not, it is the reader from the spawn on. */
COIL_TEST(dormant, a_descriptor_that_is_ready_at_once_has_its_reader)
{
    struct coil_group g;
    int ends[2];
    int ran = 0;

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable(&g, ends[0], count_it, &ran), 0);
    CHECK_EQ(coil_group_spawn_readable(&g, ends[0], count_it, &ran), -EBUSY);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_group_end(&g, 0), -EBADF);
    CHECK_EQ(ran, 0);
    CHECK_EQ(close(ends[1]), 0);
}

static struct coil_handle without_stack;

static enum coil_abort cancel_without_stack(void *ctx)
{
    (void)ctx;
    coil_task_cancel(&without_stack, "an abort function");
    return COIL_ABORT_DONE;
}

static int cancel_when_cancelled(void *arg)
{
    (void)arg;
    return coil_park(cancel_without_stack, NULL, "a test");
}

COIL_TEST(dormant, one_that_got_no_stack_has_ended_before_anybody_hears_of_it)
{
    const struct coil_spawn_options options = {.handle = &without_stack,
                                               .stack_size = (size_t)1 << 30};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, cancel_when_cancelled, NULL), 0);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(coil_group_spawn_later(&g, COIL_FOREVER, sleep_until_cancelled, NULL), 0);
    scarce_begin(); /* the record is there, beside that one's */
    CHECK_EQ(coil_group_spawn_later_with(&g, coil_now() + COIL_MILLISECOND, sleep_until_cancelled,
                                         NULL, &options),
             0);
    CHECK_EQ(coil_group_end(&g, 0), -ENOMEM);
    scarce_end();
    CHECK_EQ(coil_task_result(&without_stack), -ENOMEM);
}
