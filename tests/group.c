/* group.c - semantics.md section 3: groups, and what becomes of failures. */
#include <stdlib.h>

#include "parker.h"

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

static struct coil_error error_of(const struct coil_group *g, size_t i)
{
    struct coil_error e = {.code = 0};

    CHECK_EQ(coil_group_error(g, i, &e), 0);
    return e;
}

static struct coil_error inner_of(const struct coil_error *outer, size_t i)
{
    struct coil_error e = {.code = 0};

    CHECK_EQ(coil_error_inner(outer, i, &e), 0);
    return e;
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

/* Gives way count times, whatever anybody asks. */
struct slow {
    int count;
    int result;
    bool over;
};

static int run_slowly(void *arg)
{
    struct slow *s = arg;

    for (int i = 0; i < s->count; i++)
        coil_yield_shielded();
    s->over = true;
    return s->result;
}

/* --- 3.1: no task outlives its group --------------------------------------------------------- */

COIL_TEST(group, s3_1_end_returns_when_every_child_has_ended)
{
    struct slow s[5] = {{.count = 1}, {.count = 9}, {.count = 0}, {.count = 3}, {.count = 20}};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++)
        SPAWN(&g, run_slowly, &s[i]);
    CHECK_EQ(coil_group_count(&g), 5);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_count(&g), 0);
    for (int i = 0; i < 5; i++)
        CHECK(s[i].over);
    CHECK_EQ(stats_now().tasks, 1);
}

COIL_TEST(group, s3_1_also_when_the_body_has_failed)
{
    struct slow s = {.count = 9};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, run_slowly, &s);
    CHECK_EQ(coil_group_end(&g, -EIO), -EIO);
    CHECK(s.over);
}

COIL_TEST(group, s3_1_also_when_the_caller_is_cancelled)
{
    struct slow s = {.count = 9};
    struct coil_scope outer;
    struct coil_group g;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_group_begin(&g);
    SPAWN(&g, run_slowly, &s);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_group_end(&g, coil_checkpoint()), -ECANCELED);
    CHECK(s.over);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(group, s3_1_the_count_is_of_those_not_ended)
{
    struct parker p[2] = {{.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_count(&g), 0);
    SPAWN(&g, parker_run, &p[0]);
    CHECK_EQ(coil_group_count(&g), 1);
    SPAWN(&g, parker_run, &p[1]);
    CHECK_EQ(coil_group_count(&g), 2);
    parker_await(&p[0]);
    parker_await(&p[1]);
    parker_unpark(&p[0], 0);
    CHECK_EQ(coil_group_count(&g), 2);
    while (!p[0].over)
        coil_yield_shielded();
    CHECK_EQ(coil_group_count(&g), 1);
    parker_unpark(&p[1], 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int nest(void *arg)
{
    int depth = *(int *)arg - 1;
    struct coil_group g;

    if (!depth)
        return sleep_for_ever(NULL);
    coil_group_begin(&g);
    SPAWN(&g, nest, &depth);
    return coil_group_end(&g, 0);
}

/* anyio #126 */
COIL_TEST(group, s3_1_a_cancel_unwinds_a_tree_of_groups)
{
    struct coil_group g;
    int depth = 50;

    coil_group_begin(&g);
    SPAWN(&g, nest, &depth);
    while (stats_now().tasks < 51)
        coil_yield_shielded();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(stats_now().tasks, 1);
}

/* --- 3.2: what is a failure ------------------------------------------------------------------ */

COIL_TEST(group, s3_2_zero_and_more_is_success)
{
    static int results[] = {0, 1, INT32_MAX};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 3; i++)
        SPAWN(&g, return_it, &results[i]);
    CHECK_EQ(coil_group_end(&g, 7), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
}

COIL_TEST(group, s3_2_canceled_from_a_cancelled_task_is_no_failure)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    SPAWN(&g, sleep_for_ever, NULL);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, coil_checkpoint()), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_group_error_dropped(&g), 0);
}

/* Out of a group's end it would be for a scope above that nobody cancelled. */
COIL_TEST(group, s3_3_canceled_from_a_task_that_was_not_cancelled_is_a_failure_of_another_name)
{
    static int result = -ECANCELED;
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, return_it, &result, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), -EPROTO);
    CHECK_EQ(coil_group_error_count(&g), 1);
    CHECK_EQ(error_of(&g, 0).code, -EPROTO);
    CHECK(strstr(error_of(&g, 0).message, "ECANCELED"));
    CHECK_EQ(coil_task_result(&h), -EPROTO);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_FAILED);
}

COIL_TEST(group, s3_3_also_if_another_task_woke_it_with_that_word)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p);
    parker_await(&p);
    parker_unpark(&p, -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), -EPROTO);
    CHECK_EQ(p.result, -ECANCELED);
}

/* It was told to hurry, and the word it was woken with is for that, whatever the shield. */
COIL_TEST(group, s3_3_but_not_if_it_had_been_asked_to_leave)
{
    struct parker p = {.answer = COIL_ABORT_LATER};
    struct coil_scope outer;
    struct coil_group g;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p);
    parker_await(&p);
    coil_scope_cancel(&outer, NULL);
    coil_scope_set_shield(coil_group_scope(&g), 1);
    parker_unpark(&p, -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), -ECANCELED);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(group, s3_3_nor_may_the_body_say_so)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    CHECK_EQ(coil_group_end(&g, -ECANCELED), -EPROTO);
    CHECK_EQ(coil_group_error_count(&g), 1);
}

static int get_over_a_scope_then_say_canceled(void *arg)
{
    struct coil_scope s;

    (void)arg;
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    return -ECANCELED;
}

COIL_TEST(group, s3_3_also_if_a_scope_of_its_own_once_was)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, get_over_a_scope_then_say_canceled, NULL);
    SPAWN(&g, sleep_for_ever, NULL);
    CHECK_EQ(coil_group_end(&g, 0), -EPROTO);
    CHECK_EQ(coil_group_error_count(&g), 1);
}

COIL_TEST(group, s3_2_any_other_negative_value_fails_the_group)
{
    static int results[] = {-1, -EIO, -ETIME, INT32_MIN};

    for (int i = 0; i < 4; i++) {
        struct coil_group g;

        coil_group_begin(&g);
        SPAWN(&g, return_it, &results[i]);
        CHECK_EQ(coil_group_end(&g, 0), results[i]);
        CHECK_EQ(coil_group_error_count(&g), 1);
        CHECK_EQ(error_of(&g, 0).code, results[i]);
    }
}

COIL_TEST(group, s3_2_a_failure_cancels_the_rest_and_they_are_awaited)
{
    static int eio = -EIO;
    struct parker p[3] = {
        {.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 3; i++)
        SPAWN(&g, parker_run, &p[i]);
    for (int i = 0; i < 3; i++)
        parker_await(&p[i]);
    SPAWN(&g, return_it, &eio);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(p[i].result, -ECANCELED);
    CHECK_EQ(coil_group_error_count(&g), 1);
}

/* trio's test_child_crash_wakes_parent */
COIL_TEST(group, s3_2_a_failure_reaches_the_body)
{
    static int eio = -EIO;
    struct coil_group g;
    int rc;

    coil_group_begin(&g);
    SPAWN(&g, return_it, &eio);
    rc = coil_sleep(COIL_FOREVER);
    CHECK_EQ(rc, -ECANCELED);
    CHECK_EQ(coil_group_end(&g, rc), -EIO);
    CHECK_EQ(coil_group_error_count(&g), 1);
}

COIL_TEST(group, s3_2_a_failure_of_the_body_cancels_the_tasks)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    SPAWN(&g, sleep_for_ever, NULL);
    CHECK_EQ(coil_group_end(&g, -EIO), -EIO);
    CHECK_EQ(coil_group_error_count(&g), 1);
    CHECK(strstr(error_of(&g, 0).site, "group.c:"));
}

struct in_order {
    int *codes;
    int count;
    int code;
};

/* Fails with its code, once everybody else is about to as well, and writes down when. */
static int fail_in_turn(void *arg)
{
    struct in_order *o = *(struct in_order **)arg;
    int code = o->code--;

    o->codes[o->count++] = code;
    return code;
}

COIL_TEST(group, s3_2_all_failures_are_kept_in_order_of_occurrence)
{
    int codes[40];
    struct in_order o = {.codes = codes, .code = -200};
    struct in_order *shared = &o;
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 40; i++)
        SPAWN(&g, fail_in_turn, &shared);
    CHECK_EQ(coil_group_end(&g, 0), -200);
    CHECK_EQ(coil_group_error_count(&g), 40);
    CHECK_EQ(coil_group_error_dropped(&g), 0);
    for (int i = 0; i < 40; i++)
        CHECK_EQ(error_of(&g, (size_t)i).code, codes[i]);
}

COIL_TEST(group, s3_2_the_body_has_its_place_in_the_order)
{
    static int before = -EIO;
    struct slow after = {.count = 9, .result = -EPIPE};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, return_it, &before);
    SPAWN(&g, run_slowly, &after);
    while (coil_checkpoint() == 0)
        continue;
    CHECK_EQ(coil_group_end(&g, -EXDEV), -EIO);
    CHECK_EQ(coil_group_error_count(&g), 3);
    CHECK_EQ(error_of(&g, 0).code, -EIO);
    CHECK_EQ(error_of(&g, 1).code, -EXDEV);
    CHECK_EQ(error_of(&g, 2).code, -EPIPE);
}

static int fail_when_cancelled(void *arg)
{
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    return *(int *)arg;
}

/* anyio #787 */
COIL_TEST(group, s3_2_a_failure_of_a_cancelled_task_is_not_lost)
{
    static int eio = -EIO;
    struct coil_scope outer;

    for (int from_outside = 0; from_outside < 2; from_outside++) {
        struct coil_group g;

        coil_scope_begin(&outer, COIL_FOREVER);
        coil_group_begin(&g);
        SPAWN(&g, fail_when_cancelled, &eio);
        coil_scope_cancel(from_outside ? &outer : coil_group_scope(&g), NULL);
        CHECK_EQ(coil_group_end(&g, coil_checkpoint()), -EIO);
        CHECK_EQ(coil_group_error_count(&g), 1);
        CHECK_EQ(coil_scope_end(&outer, -EIO), -EIO);
    }
}

COIL_TEST(group, s3_2_a_failure_after_a_cancel_leaves_the_cause)
{
    static int eio = -EIO;
    struct coil_cancellation why;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, fail_when_cancelled, &eio);
    coil_scope_cancel(coil_group_scope(&g), "enough");
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    coil_scope_cancellation(coil_group_scope(&g), &why);
    CHECK_EQ(why.cause, COIL_CAUSE_EXPLICIT);
    CHECK(same(why.reason, "enough"));
}

COIL_TEST(group, s3_2_a_failure_stays_in_its_group)
{
    static int eio = -EIO;
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group outer;
    struct coil_group inner;

    coil_group_begin(&outer);
    SPAWN(&outer, parker_run, &p);
    parker_await(&p);
    coil_group_begin(&inner);
    SPAWN(&inner, return_it, &eio);
    CHECK_EQ(coil_group_end(&inner, 0), -EIO);
    CHECK_EQ(p.aborts, 0);
    CHECK_EQ(coil_checkpoint(), 0);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
    CHECK_EQ(coil_group_error_count(&outer), 0);
}

COIL_TEST(group, s3_2_a_deadline_of_the_group_is_no_failure)
{
    struct coil_cancellation why;
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_set_deadline(coil_group_scope(&g), coil_now() + COIL_MILLISECOND);
    SPAWN(&g, sleep_for_ever, NULL);
    CHECK_EQ(coil_group_end(&g, coil_sleep(COIL_FOREVER)), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 1);
    coil_scope_cancellation(coil_group_scope(&g), &why);
    CHECK_EQ(why.cause, COIL_CAUSE_DEADLINE);
}

/* --- 3.3: what comes out --------------------------------------------------------------------- */

COIL_TEST(group, s3_3_an_empty_group_is_a_success)
{
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_group_error_dropped(&g), 0);
}

COIL_TEST(group, s3_3_a_cancellation_of_its_own_ends_here)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 1);
    CHECK_EQ(coil_checkpoint(), 0);
}

/* anyio #374 */
COIL_TEST(group, s3_3_a_cancellation_from_further_up_goes_on)
{
    struct coil_scope outer;

    for (int who = 0; who < 2; who++) {
        struct coil_group g;

        coil_scope_begin(&outer, COIL_FOREVER);
        coil_group_begin(&g);
        if (!who)
            SPAWN(&g, sleep_for_ever, NULL);
        coil_scope_cancel(coil_group_scope(&g), NULL);
        coil_scope_cancel(&outer, NULL);
        CHECK_EQ(coil_group_end(&g, who ? coil_checkpoint() : 0), -ECANCELED);
        CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 0);
        CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
        CHECK_EQ(coil_scope_caught(&outer), 1);
    }
}

COIL_TEST(group, s3_3_a_failure_comes_out_though_the_caller_is_cancelled)
{
    static int eio = -EIO;
    struct coil_scope outer;
    struct coil_group g;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    give_way();
    SPAWN(&g, sleep_for_ever, NULL);
    coil_scope_cancel(&outer, NULL);
    SPAWN(&g, return_it, &eio);
    CHECK_EQ(coil_group_end(&g, coil_checkpoint()), -EIO);
    CHECK_EQ(coil_group_error_count(&g), 1);
    CHECK_EQ(coil_scope_end(&outer, -EIO), -EIO);
}

/* D2 */
COIL_TEST(group, s3_3_caught_means_that_a_cancellation_of_its_own_was_absorbed)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, -EIO), -EIO);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 1);
}

COIL_TEST(group, s3_3_caught_is_true_of_the_tasks_that_a_failure_stopped)
{
    static int eio = -EIO;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    SPAWN(&g, return_it, &eio);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 1);
}

COIL_TEST(group, s3_3_nothing_is_caught_where_nobody_gave_in)
{
    static int eio = -EIO;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, return_it, &eio);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 0);
}

static int fail_with_words(void *arg)
{
    (void)arg;
    return coil_fail(-EPROTO, "no greeting");
}

COIL_TEST(group, s3_3_a_record_has_code_name_site_and_message)
{
    struct coil_spawn_options named = {.name = "the greeter"};
    struct coil_group g;
    struct coil_error e;
    char site[64];

    coil_group_begin(&g);
    snprintf(site, sizeof(site), "group.c:%d", __LINE__ + 1);
    CHECK_EQ(coil_group_spawn_with(&g, fail_with_words, NULL, &named), 0);
    CHECK_EQ(coil_group_end(&g, 0), -EPROTO);
    e = error_of(&g, 0);
    CHECK_EQ(e.code, -EPROTO);
    CHECK(same(e.task, "the greeter"));
    CHECK(strstr(e.site, site));
    CHECK(same(e.message, "no greeting"));
    CHECK_EQ(e.count, 0);
}

COIL_TEST(group, s3_3_without_a_name_it_is_the_functions)
{
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, fail_with_words, NULL), 0);
    CHECK_EQ(coil_group_end(&g, 0), -EPROTO);
    CHECK(same(error_of(&g, 0).task, "fail_with_words"));
}

COIL_TEST(group, s3_3_without_words_there_is_no_message)
{
    static int eio = -EIO;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, return_it, &eio);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK(!error_of(&g, 0).message);
}

static int fail_differently_in_the_end(void *arg)
{
    (void)arg;
    (void)coil_fail(-EPROTO, "no greeting"); /* and gets over it */
    return -EIO;
}

COIL_TEST(group, s3_3_a_message_belongs_to_its_code)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, fail_differently_in_the_end, NULL);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK(!error_of(&g, 0).message);
}

COIL_TEST(group, s3_3_the_bodys_words_are_for_one_failure)
{
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_end(&g, coil_fail(-EPROTO, "no greeting")), -EPROTO);
    CHECK(same(error_of(&g, 0).message, "no greeting"));
    coil_group_begin(&g);
    CHECK_EQ(coil_group_end(&g, -EPROTO), -EPROTO);
    CHECK(!error_of(&g, 0).message);
}

COIL_TEST(group, s3_3_there_is_no_record_beyond_the_last)
{
    static int eio = -EIO;
    struct coil_error e = {.code = 12345};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_error(&g, 0, &e), -ENOENT);
    SPAWN(&g, return_it, &eio);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(coil_group_error(&g, 1, &e), -ENOENT);
    CHECK_EQ(coil_group_error(&g, SIZE_MAX, &e), -ENOENT);
    CHECK_EQ(e.code, 12345);
    e = error_of(&g, 0);
    CHECK_EQ(coil_error_inner(&e, 0, &e), -ENOENT);
    CHECK_EQ(e.code, -EIO);
}

COIL_TEST(group, s3_3_cancellations_are_never_in_the_list)
{
    static int eio = -EIO;
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 10; i++)
        SPAWN(&g, sleep_for_ever, NULL);
    SPAWN(&g, return_it, &eio);
    CHECK_EQ(coil_group_end(&g, coil_sleep(COIL_FOREVER)), -EIO);
    CHECK_EQ(coil_group_error_count(&g), 1);
}

/* trio #1175, for a group. The body has been told, by this call or that, and only then the group is
 * shielded: what it returns is a cancellation all the same. */
enum told {
    BY_CHECKPOINT,
    BY_CHECK,
    BY_SLEEP,
    BY_A_GROUPS_END,
    IN_A_CANCELLED_SCOPE,
    AND_CLEANED_UP,
    AND_FAILED_TO_START_A_TASK,
    AND_HAD_NO_TIME_TO_CLEAN_UP,
    AND_WAS_STOPPED_CLEANING_UP,
    AND_FAILED_TO_CLEAN_UP,
    TOLD_WAYS
};

static int cancel_it(void *arg)
{
    coil_scope_cancel(arg, NULL);
    return 0;
}

/* Behind a shield, what begins and ends there is cancelled, and has nothing to do with outer. */
static void clean_up_in_vain(enum told how)
{
    static int eio = -EIO;
    struct coil_scope shield;
    struct coil_scope s;
    struct coil_group g;

    coil_shield_begin(&shield, COIL_SECOND);
    if (how == AND_HAD_NO_TIME_TO_CLEAN_UP) {
        coil_timeout_begin(&s, coil_now());
        CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), -ETIME);
    }
    if (how == AND_FAILED_TO_CLEAN_UP) {
        coil_group_begin(&g);
        SPAWN(&g, return_it, &eio);
        CHECK_EQ(coil_group_end(&g, coil_sleep(COIL_FOREVER)), -EIO);
    }
    if (how == AND_WAS_STOPPED_CLEANING_UP) {
        coil_scope_cancel(&shield, NULL);
        CHECK_EQ(coil_checkpoint(), -ECANCELED);
    }
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
}

static int be_told(enum told how, struct coil_scope *outer)
{
    struct coil_scope s;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, cancel_it, outer);
    if (how == BY_A_GROUPS_END) {
        SPAWN(&g, sleep_for_ever, NULL);
        return coil_group_end(&g, 0);
    }
    if (how == BY_SLEEP)
        return coil_group_end(&g, coil_sleep(COIL_FOREVER));
    CHECK_EQ(coil_group_end(&g, 0), 0);
    if (how == BY_CHECK)
        return coil_checkpoint_if_cancelled();
    if (how == IN_A_CANCELLED_SCOPE) {
        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_cancel(&s, NULL);
        return coil_scope_end(&s, coil_checkpoint());
    }
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    if (how == AND_CLEANED_UP) {
        coil_shield_begin(&s, COIL_SECOND);
        CHECK_EQ(coil_scope_end(&s, 0), 0);
    }
    if (how == AND_FAILED_TO_START_A_TASK) {
        static int eio = -EIO;
        struct coil_group h;

        coil_shield_begin(&s, COIL_SECOND);
        coil_group_begin(&h);
        CHECK_EQ(coil_group_start(&h, return_it, &eio, NULL), -EIO);
        CHECK_EQ(coil_group_end(&h, 0), 0);
        CHECK_EQ(coil_scope_end(&s, 0), 0);
    }
    if (how > AND_FAILED_TO_START_A_TASK)
        clean_up_in_vain(how);
    return -ECANCELED;
}

COIL_TEST(group, s3_3_a_cancellation_in_flight_is_no_failure_though_a_shield_went_up_behind_it)
{
    for (enum told how = 0; how < TOLD_WAYS; how++) {
        struct coil_scope outer;
        struct coil_group g;
        int rc;

        coil_scope_begin(&outer, COIL_FOREVER);
        coil_group_begin(&g);
        rc = be_told(how, &outer);
        CHECK_EQ(rc, -ECANCELED);
        coil_scope_set_shield(coil_group_scope(&g), 1);
        CHECK_EQ(coil_group_end(&g, rc), -ECANCELED);
        CHECK_EQ(coil_group_error_count(&g), 0);
        CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
    }
}

static int give_in_late(void *arg)
{
    int rc = coil_sleep(COIL_FOREVER);

    while (!*(bool *)arg)
        coil_yield_shielded();
    return rc;
}

/* A task that is told, and gives in when a shield has gone up behind it. */
static void shield_behind(coil_task_fn *gives_in)
{
    struct coil_scope outer;
    struct coil_group g;
    bool shielded = false;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_group_begin(&g);
    SPAWN(&g, gives_in, &shielded);
    give_way();
    coil_scope_cancel(&outer, NULL);
    give_way();
    coil_scope_set_shield(coil_group_scope(&g), 1);
    shielded = true;
    CHECK_EQ(coil_group_end(&g, 0), -ECANCELED);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(group, s3_3_nor_is_a_tasks)
{
    shield_behind(give_in_late);
}

static int clean_up_and_give_in(void *arg)
{
    int rc = coil_sleep(COIL_FOREVER);

    clean_up_in_vain(AND_HAD_NO_TIME_TO_CLEAN_UP);
    while (!*(bool *)arg)
        coil_yield_shielded();
    return rc;
}

COIL_TEST(group, s3_3_nor_is_one_that_had_no_time_to_clean_up)
{
    shield_behind(clean_up_and_give_in);
}

/* Whom nobody told but a scope that has ended, was not cancelled, whoever is behind the shield. */
COIL_TEST(group, s3_3_what_a_scope_behind_a_shield_told_ends_with_it_though_others_are_cancelled)
{
    struct coil_scope outer;
    struct coil_scope shield;
    struct coil_scope s;
    struct coil_group g;
    int rc;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    coil_shield_begin(&shield, COIL_SECOND);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    rc = coil_checkpoint();
    CHECK_EQ(coil_scope_end(&s, rc), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_end(&g, rc), -EPROTO);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

static int fail_twice_inside(void *arg)
{
    static int codes[] = {-EPIPE, -EXDEV};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, fail_with_words, NULL), 0);
    while (coil_checkpoint() == 0)
        continue;
    CHECK_EQ(coil_group_spawn(&g, return_it, &codes[*(int *)arg]), 0);
    return coil_group_end(&g, 0);
}

COIL_TEST(group, s3_3_a_nested_group_is_a_sub_list)
{
    static int which[] = {0, 1};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, fail_twice_inside, &which[0]);
    SPAWN(&g, fail_twice_inside, &which[1]);
    CHECK_EQ(coil_group_end(&g, 0), -EPROTO);
    CHECK_EQ(coil_group_error_count(&g), 2);
    for (size_t i = 0; i < 2; i++) {
        struct coil_error e = error_of(&g, i);
        struct coil_error inner;

        CHECK_EQ(e.code, -EPROTO);
        CHECK(same(e.task, "fail_twice_inside"));
        CHECK(!e.message);
        CHECK_EQ(e.count, 2);
        inner = inner_of(&e, 0);
        CHECK_EQ(inner.code, -EPROTO);
        CHECK(same(inner.task, "fail_with_words"));
        CHECK(same(inner.message, "no greeting"));
        CHECK_EQ(inner.count, 0);
        inner = inner_of(&e, 1);
        CHECK(inner.code == -EPIPE || inner.code == -EXDEV);
        CHECK(same(inner.task, "return_it"));
        CHECK_EQ(coil_error_inner(&e, 2, &inner), -ENOENT);
    }
}

static int fail_at_depth(void *arg)
{
    int depth = *(int *)arg - 1;
    struct coil_group g;

    if (!depth)
        return -EIO;
    coil_group_begin(&g);
    SPAWN(&g, fail_at_depth, &depth);
    return coil_group_end(&g, 0);
}

COIL_TEST(group, s3_3_sub_lists_go_as_deep_as_the_groups)
{
    struct coil_group g;
    struct coil_error e;
    int depth = 1000;

    coil_group_begin(&g);
    SPAWN(&g, fail_at_depth, &depth);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    e = error_of(&g, 0);
    for (int i = 1; i < depth; i++) {
        CHECK_EQ(e.count, 1);
        e = inner_of(&e, 0);
        CHECK_EQ(e.code, -EIO);
    }
    CHECK_EQ(e.count, 0);
}

COIL_TEST(group, s3_3_the_body_hands_on_a_nested_group_too)
{
    static int eio = -EIO;
    struct coil_group outer;
    struct coil_group inner;
    struct coil_error e;

    coil_group_begin(&outer);
    coil_group_begin(&inner);
    SPAWN(&inner, return_it, &eio);
    CHECK_EQ(coil_group_end(&outer, coil_group_end(&inner, 0)), -EIO);
    e = error_of(&outer, 0);
    CHECK_EQ(e.count, 1);
    CHECK(same(inner_of(&e, 0).task, "return_it"));
}

static int get_over_it(void *arg)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, fail_with_words, NULL);
    CHECK_EQ(coil_group_end(&g, 0), -EPROTO);
    return *(int *)arg;
}

COIL_TEST(group, s3_3_a_group_that_was_got_over_is_not_blamed)
{
    static int results[] = {-EIO, 0};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, get_over_it, &results[0]);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(error_of(&g, 0).count, 0);
    coil_group_begin(&g);
    SPAWN(&g, get_over_it, &results[1]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(group, s3_3_records_last_until_another_group_of_the_task_fails)
{
    static int codes[] = {-EIO, -EPIPE};
    struct coil_group first;
    struct coil_group good;
    struct coil_group second;
    int ran = 0;

    coil_group_begin(&first);
    SPAWN(&first, return_it, &codes[0]);
    CHECK_EQ(coil_group_end(&first, 0), -EIO);
    coil_group_begin(&good);
    SPAWN(&good, count_it, &ran);
    CHECK_EQ(coil_group_end(&good, 0), 0);
    CHECK_EQ(coil_group_error_count(&good), 0);
    CHECK_EQ(coil_group_error_count(&first), 1);
    CHECK_EQ(error_of(&first, 0).code, -EIO);

    coil_group_begin(&second);
    SPAWN(&second, return_it, &codes[1]);
    CHECK_EQ(coil_group_error_count(&first), 1);
    CHECK_EQ(coil_group_end(&second, 0), -EPIPE);
    CHECK_EQ(coil_group_error_count(&first), 0);
    CHECK_EQ(coil_group_error(&first, 0, &(struct coil_error){.code = 0}), -ENOENT);
    CHECK_EQ(error_of(&second, 0).code, -EPIPE);
}

/* Memory that gives the block freed last to the next who asks for as much: a new list then lies
 * where the old one did. Counts the blocks that are lent, and has none while told to refuse. */
struct block {
    struct block *next;
    size_t size;
};

static struct block *freed;
static size_t lent;
static bool refuse;

static void *take_back(void *ptr)
{
    struct block *b;

    if (!ptr)
        return NULL;
    b = (struct block *)ptr - 1;
    b->next = freed;
    freed = b;
    lent--;
    return NULL;
}

static struct block *find_freed(size_t size)
{
    for (struct block **p = &freed; *p; p = &(*p)->next) {
        struct block *b = *p;

        if (b->size == size) {
            *p = b->next;
            return b;
        }
    }
    return malloc(sizeof(struct block) + size);
}

static void *recycle(void *ctx, void *ptr, size_t size)
{
    struct block *b;

    (void)ctx;
    if (!size)
        return take_back(ptr);
    b = refuse ? NULL : find_freed(size);
    if (!b)
        return NULL;
    b->size = size;
    lent++;
    if (ptr) {
        size_t had = ((struct block *)ptr)[-1].size;

        memcpy(b + 1, ptr, had < size ? had : size);
        take_back(ptr);
    }
    return b + 1;
}

static void run_recycling(void (*body)(void))
{
    struct coil_loop_options options = harness_options();

    options.allocate = recycle;
    harness_run(&options, body);
    CHECK_EQ(lent, 0);
    while (freed) {
        struct block *next = freed->next;

        free(freed);
        freed = next;
    }
}

static void fail_one_after_the_other(void)
{
    struct coil_group first;
    struct coil_group second;

    coil_group_begin(&first);
    CHECK_EQ(coil_group_end(&first, -EIO), -EIO);
    coil_group_begin(&second);
    CHECK_EQ(coil_group_end(&second, -EPIPE), -EPIPE);
    CHECK_EQ(error_of(&second, 0).code, -EPIPE);
    CHECK_EQ(coil_group_error_count(&first), 0);
    CHECK_EQ(coil_group_error(&first, 0, &(struct coil_error){.code = 0}), -ENOENT);
}

Test(group, s3_3_a_list_that_is_gone_is_not_taken_for_another_in_its_place)
{
    run_recycling(fail_one_after_the_other);
}

static void fail_in_every_way(void)
{
    static int codes[] = {-EIO, -EPROTO};
    static int which[] = {0, 1};

    for (int i = 0; i < 20; i++) {
        struct coil_group g;

        coil_group_begin(&g);
        for (int k = 0; k < 2; k++) {
            SPAWN(&g, get_over_it, &codes[k]);
            SPAWN(&g, fail_twice_inside, &which[k]);
            SPAWN(&g, return_it, &codes[k]);
        }
        CHECK(coil_group_end(&g, -EXDEV) < 0);
        CHECK_EQ(coil_group_error_count(&g), 7);
    }
}

Test(group, s3_3_every_record_is_freed_in_the_end)
{
    run_recycling(fail_in_every_way);
}

static void fail_without_memory(void)
{
    static int codes[] = {-EIO, -EPIPE, -EXDEV};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 3; i++)
        SPAWN(&g, return_it, &codes[i]);
    SPAWN(&g, sleep_for_ever, NULL);
    refuse = true;
    CHECK(coil_group_end(&g, 0) < 0);
    refuse = false;
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_group_error_dropped(&g), 3);
    CHECK_EQ(coil_group_error(&g, 0, &(struct coil_error){.code = 0}), -ENOENT);
}

Test(group, s3_3_out_of_memory_loses_records_but_not_the_failure)
{
    run_recycling(fail_without_memory);
}

static int refuse_from_now_on(void *arg)
{
    (void)arg;
    refuse = true;
    return -EPIPE;
}

static void fail_with_memory_for_some(void)
{
    static int eio = -EIO;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, return_it, &eio);
    while (coil_checkpoint() == 0)
        continue;
    for (int i = 0; i < 19; i++)
        SPAWN(&g, refuse_from_now_on, NULL);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    refuse = false;
    CHECK_EQ(error_of(&g, 0).code, -EIO);
    CHECK(coil_group_error_dropped(&g) > 0);
    CHECK_EQ(coil_group_error_count(&g) + coil_group_error_dropped(&g), 20);
}

Test(group, s3_3_records_from_before_memory_ran_out_are_kept)
{
    run_recycling(fail_with_memory_for_some);
}

static int refuse_at_the_end(void *arg)
{
    int rc = fail_twice_inside(arg);

    refuse = true;
    return rc;
}

static void fail_with_a_sub_list_and_no_memory(void)
{
    static int which;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, refuse_at_the_end, &which);
    CHECK_EQ(coil_group_end(&g, 0), -EPROTO);
    refuse = false;
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_group_error_dropped(&g), 1);
}

Test(group, s3_3_a_sub_list_whose_record_was_lost_is_freed)
{
    run_recycling(fail_with_a_sub_list_and_no_memory);
}

COIL_TEST(group, s3_3_the_records_can_be_read_while_the_group_lives)
{
    static int eio = -EIO;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, return_it, &eio);
    while (coil_checkpoint() == 0)
        continue;
    CHECK_EQ(coil_group_error_count(&g), 1);
    CHECK_EQ(error_of(&g, 0).code, -EIO);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
}

/* --- 3.4: the end ---------------------------------------------------------------------------- */

COIL_TEST(group, s3_4_the_end_of_an_empty_group_is_no_cancel_point)
{
    struct coil_scope outer;
    struct coil_group g;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_group_begin(&g);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(group, s3_4_nor_if_the_group_itself_is_cancelled)
{
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_caught(coil_group_scope(&g)), 0);
}

/* D1, trio #1457 */
COIL_TEST(group, s3_4_cancelled_during_the_end_it_adds_nothing_if_the_tasks_finish)
{
    struct slow s = {.count = 9};
    struct coil_scope outer;
    struct coil_group g;
    int after = 0;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_group_begin(&g);
    SPAWN(&g, run_slowly, &s);
    coil_scope_set_deadline(&outer, coil_now());
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(s.over);
    after++;
    CHECK_EQ(coil_scope_cancelled(&outer), 1);
    CHECK_EQ(coil_scope_end(&outer, after), 1);
    CHECK_EQ(coil_scope_caught(&outer), 0);
}

COIL_TEST(group, s3_4_the_end_of_an_empty_group_gives_others_a_turn)
{
    struct coil_group outer;
    int ran = 0;

    coil_group_begin(&outer);
    SPAWN(&outer, count_it, &ran);
    for (int i = 0; i < 4; i++) {
        const uint64_t turns = stats_now().turns;
        struct coil_group g;

        coil_group_begin(&g);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK(stats_now().turns > turns);
    }
    CHECK_EQ(ran, 1);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
}

COIL_TEST(group, s3_4_the_end_gives_a_turn_though_its_tasks_have_long_ended)
{
    struct coil_group g;
    uint64_t turns;
    int ran = 0;

    coil_group_begin(&g);
    SPAWN(&g, count_it, &ran);
    while (coil_group_count(&g))
        coil_yield_shielded();
    turns = stats_now().turns;
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(stats_now().turns > turns);
}

struct cancelled_group {
    struct coil_scope *scope;
    uint64_t turns_asleep;
};

static int sleep_under_a_shield(void *arg)
{
    struct cancelled_group *c = arg;
    struct coil_scope shield;
    uint64_t before;

    coil_shield_begin(&shield, COIL_FOREVER);
    coil_scope_cancel(c->scope, NULL);
    before = stats_now().turns;
    CHECK_EQ(coil_sleep(20 * COIL_MILLISECOND), 0);
    c->turns_asleep = stats_now().turns - before;
    return coil_scope_end(&shield, 0);
}

/* anyio #695, #1111, #1257: there it burns a core. */
COIL_TEST(group, s3_4_waiting_for_a_shielded_task_of_a_cancelled_group_costs_no_turns)
{
    struct coil_scope outer;

    for (int from_outside = 0; from_outside < 2; from_outside++) {
        struct coil_group g;
        struct cancelled_group c;

        coil_scope_begin(&outer, COIL_FOREVER);
        coil_group_begin(&g);
        c.scope = from_outside ? &outer : coil_group_scope(&g);
        SPAWN(&g, sleep_under_a_shield, &c);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK(c.turns_asleep <= 3);
        CHECK_EQ(coil_scope_end(&outer, 0), 0);
    }
}

/* --- 3.5: spawning --------------------------------------------------------------------------- */

static int run_to_the_first_checkpoint(void *arg)
{
    ++*(int *)arg;
    CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED);
    return coil_sleep(COIL_FOREVER);
}

/* trio #41, anyio: test_cancel_before_start */
COIL_TEST(group, s3_5_a_task_spawned_into_a_cancelled_group_runs_to_its_first_checkpoint)
{
    struct coil_scope outer;

    for (int from_outside = 0; from_outside < 2; from_outside++) {
        struct coil_group g;
        int started = 0;

        coil_scope_begin(&outer, COIL_FOREVER);
        coil_group_begin(&g);
        coil_scope_cancel(from_outside ? &outer : coil_group_scope(&g), NULL);
        SPAWN(&g, run_to_the_first_checkpoint, &started);
        CHECK_EQ(coil_group_end(&g, 0), from_outside ? -ECANCELED : 0);
        CHECK_EQ(started, 1);
        CHECK_EQ(coil_scope_end(&outer, 0), 0);
    }
}

COIL_TEST(group, s3_5_a_task_cancelled_before_it_ran_does_run)
{
    struct coil_group g;
    int started = 0;

    coil_group_begin(&g);
    SPAWN(&g, run_to_the_first_checkpoint, &started);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(started, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(started, 1);
}

COIL_TEST(group, s3_5_a_task_of_a_group_that_has_failed_does_run)
{
    struct coil_group g;
    int started = 0;

    coil_group_begin(&g);
    SPAWN(&g, run_to_the_first_checkpoint, &started);
    CHECK_EQ(coil_group_end(&g, -EIO), -EIO);
    CHECK_EQ(started, 1);
}

COIL_TEST(group, s3_5_spawning_is_never_a_checkpoint)
{
    struct coil_stats before;
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    before = stats_now();
    for (int i = 0; i < 200; i++)
        SPAWN(&g, count_it, &ran);
    CHECK_EQ(ran, 0);
    CHECK_EQ(stats_now().turns, before.turns);
    CHECK_EQ(stats_now().switches, before.switches);
    CHECK_EQ(stats_now().tasks, before.tasks + 200);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 200);
}

COIL_TEST(group, s3_5_an_ended_group_takes_no_task)
{
    struct coil_handle handle = {{0}};
    struct coil_spawn_options options = {.handle = &handle};
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_spawn_with(&g, count_it, &ran, &options), -ESHUTDOWN);
    give_way();
    CHECK_EQ(ran, 0);
    for (size_t i = 0; i < sizeof(handle.opaque_) / sizeof(handle.opaque_[0]); i++)
        CHECK_EQ(handle.opaque_[i], 0);
}

struct family {
    struct coil_group *g;
    int children;
    int ran;
};

static int spawn_a_sibling(void *arg)
{
    struct family *f = arg;

    f->ran++;
    if (f->children-- > 0)
        SPAWN(f->g, spawn_a_sibling, f);
    return 0;
}

COIL_TEST(group, s3_5_a_task_may_spawn_siblings_while_the_owner_waits_in_the_end)
{
    struct coil_group g;
    struct family f = {.g = &g, .children = 100};

    coil_group_begin(&g);
    SPAWN(&g, spawn_a_sibling, &f);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(f.ran, 101);
}

COIL_TEST(group, s3_5_it_may_do_so_in_a_cancelled_group)
{
    struct coil_group g;
    struct family f = {.g = &g, .children = 100};

    coil_group_begin(&g);
    SPAWN(&g, spawn_a_sibling, &f);
    CHECK_EQ(coil_group_end(&g, -EIO), -EIO);
    CHECK_EQ(f.ran, 101);
}

struct visit {
    struct coil_group *g;
    const bool *until;
    int spawned;
    struct slow child;
};

/* From outside of g: as soon as its last task has ended, gives it another. */
static int visit_at_the_last_moment(void *arg)
{
    struct visit *v = arg;
    int r;

    while (!*v->until)
        coil_yield_shielded();
    r = coil_group_spawn(v->g, run_slowly, &v->child);
    CHECK(r == 0 || r == -ESHUTDOWN);
    v->spawned = r == 0;
    return 0;
}

static void visit_between_the_last_task_and_the_end(void)
{
    for (int i = 0; i < 50; i++) {
        struct slow last = {.count = i % 4};
        struct coil_group outer;
        struct coil_group g;
        struct visit v[3];

        coil_group_begin(&outer);
        coil_group_begin(&g);
        SPAWN(&g, run_slowly, &last);
        for (int k = 0; k < 3; k++) {
            v[k] = (struct visit){.g = &g, .until = &last.over, .child = {.count = k}};
            SPAWN(&outer, visit_at_the_last_moment, &v[k]);
        }
        CHECK_EQ(coil_group_end(&g, 0), 0);
        for (int k = 0; k < 3; k++)
            if (v[k].spawned)
                CHECK(v[k].child.over);
        CHECK_EQ(coil_group_end(&outer, 0), 0);
        for (int k = 0; k < 3; k++)
            CHECK_EQ(v[k].spawned, v[k].child.over);
    }
}

COIL_TEST(group, s3_5_a_task_spawned_between_the_last_ones_end_and_the_groups_is_awaited)
{
    visit_between_the_last_task_and_the_end();
}

Test(group, s3_5_and_that_in_any_order)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct coil_loop_options options = harness_options();

        options.shuffle_seed = seed * UINT64_C(0x9e3779b97f4a7c15);
        harness_run(&options, visit_between_the_last_task_and_the_end);
    }
}

static int spawn_into_an_empty_group(void *arg)
{
    struct visit *v = arg;

    v->spawned = coil_group_spawn(v->g, run_slowly, &v->child) == 0;
    return 0;
}

COIL_TEST(group, s3_5_a_task_spawned_while_an_empty_group_ends_is_awaited)
{
    struct coil_group outer;
    struct coil_group g;
    struct visit v[2] = {{.g = &g, .child = {.count = 0}}, {.g = &g, .child = {.count = 5}}};

    coil_group_begin(&outer);
    coil_group_begin(&g);
    SPAWN(&outer, spawn_into_an_empty_group, &v[0]);
    SPAWN(&outer, spawn_into_an_empty_group, &v[1]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(v[i].spawned, v[i].child.over);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
}

static int spawn_from_an_abort(void *arg)
{
    struct parker p = {.answer = COIL_ABORT_DONE};

    (void)arg;
    return parker_park(&p);
}

static enum coil_abort spawn_on_the_way_out(void *ctx)
{
    struct family *f = ctx;

    SPAWN(f->g, count_it, &f->ran);
    return COIL_ABORT_DONE;
}

static int park_and_spawn(void *arg)
{
    return coil_park(spawn_on_the_way_out, arg, "a test");
}

COIL_TEST(group, s3_5_an_abort_function_may_spawn_also_when_a_deadline_called_it)
{
    struct coil_group g;
    struct family f = {.g = &g};

    coil_group_begin(&g);
    coil_scope_set_deadline(coil_group_scope(&g), coil_now() + COIL_MILLISECOND);
    SPAWN(&g, park_and_spawn, &f);
    SPAWN(&g, spawn_from_an_abort, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(f.ran, 1);
}

COIL_TEST(group, s3_5_10000_tasks_come_and_go)
{
    struct coil_group g;
    int ran = 0;

    coil_group_begin(&g);
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 100; k++)
            SPAWN(&g, count_it, &ran);
        CHECK_EQ(coil_checkpoint(), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(ran, 10000);
    CHECK(stats_now().stacks <= 400);
}

/* --- 3.11: arguments on the stack ------------------------------------------------------------ */

static int sum(void *arg)
{
    int *numbers = arg;

    CHECK_EQ(coil_checkpoint(), 0);
    numbers[2] = numbers[0] + numbers[1];
    return 0;
}

static int add_in_an_inner_frame(int left, int right)
{
    int numbers[3] = {left, right, 0};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, sum, numbers);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    return numbers[2];
}

COIL_TEST(group, s3_11_arguments_live_on_the_stack_of_the_function_that_ends_the_group)
{
    CHECK_EQ(add_in_an_inner_frame(3, 4), 7);
    CHECK_EQ(add_in_an_inner_frame(-3, 4), 1);
}
