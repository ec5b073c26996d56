/* scope.c - semantics.md section 2: cancel scopes. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "parker.h"

static int64_t in(int64_t ns)
{
    return coil_now() + ns;
}

static bool same(const char *left, const char *right)
{
    return left && right && strcmp(left, right) == 0;
}

static struct coil_cancellation why(const struct coil_scope *s)
{
    struct coil_cancellation c;

    coil_scope_cancellation(s, &c);
    return c;
}

static struct coil_stats stats_now(void)
{
    struct coil_stats stats;

    CHECK_EQ(coil_loop_stats(&stats), 0);
    return stats;
}

/* --- 2.1: storage, results ------------------------------------------------------------------- */

static size_t allocations;

static void *count_allocations(void *ctx, void *ptr, size_t size)
{
    allocations++;
    if (!size) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

static void begin_and_end_all_kinds(void)
{
    const size_t before = allocations;

    for (int i = 0; i < 1000; i++) {
        struct coil_scope s[4];

        coil_scope_begin(&s[0], in(COIL_SECOND));
        coil_timeout_begin(&s[1], in(COIL_SECOND));
        coil_shield_begin(&s[2], COIL_SECOND);
        coil_scope_prepare(&s[3]);
        coil_scope_begin_prepared(&s[3], in(COIL_SECOND));
        coil_scope_request(&s[3], COIL_SECOND, NULL);
        coil_scope_cancel(&s[0], NULL);
        for (int k = 3; k >= 0; k--)
            CHECK_EQ(coil_scope_end(&s[k], 0), 0);
    }
    CHECK_EQ(allocations, before);
}

Test(scope, s2_1_beginning_and_ending_allocate_nothing)
{
    struct coil_loop_options options = harness_options();

    options.allocate = count_allocations;
    harness_run(&options, begin_and_end_all_kinds);
}

COIL_TEST(scope, s2_1_a_result_passes_through)
{
    static const int results[] = {0, 1, INT32_MAX, -EIO, -ETIME, -ECANCELED, INT32_MIN};

    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        struct coil_scope s;

        coil_scope_begin(&s, COIL_FOREVER);
        CHECK_EQ(coil_scope_end(&s, results[i]), results[i]);
        coil_timeout_begin(&s, COIL_FOREVER);
        CHECK_EQ(coil_scope_end(&s, results[i]), results[i]);
        coil_shield_begin(&s, COIL_FOREVER);
        CHECK_EQ(coil_scope_end(&s, results[i]), results[i]);
        CHECK_EQ(coil_scope_caught(&s), 0);
    }
}

COIL_TEST(scope, s2_1_the_storage_of_an_ended_scope_can_hold_a_new_one)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, "first life");
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    coil_scope_begin(&s, COIL_FOREVER);
    CHECK_EQ(coil_scope_cancelled(&s), 0);
    CHECK_EQ(coil_scope_caught(&s), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_NONE);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

/* --- 2.2: a state, not an event -------------------------------------------------------------- */

COIL_TEST(scope, s2_2_once_cancelled_every_further_checkpoint_says_so)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    for (int i = 0; i < 100; i++) {
        struct parker p = {.answer = COIL_ABORT_DONE};

        CHECK_EQ(coil_checkpoint(), -ECANCELED);
        CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED);
        CHECK_EQ(coil_sleep(0), -ECANCELED);
        CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
        CHECK_EQ(coil_sleep_until(in(COIL_SECOND)), -ECANCELED);
        CHECK_EQ(parker_park(&p), -ECANCELED);
        CHECK_EQ(coil_cancel_requested(), 1);
    }
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_checkpoint(), 0);
}

COIL_TEST(scope, s2_2_a_deadline_is_a_state_too)
{
    struct coil_scope s;

    coil_scope_begin(&s, in(-1));
    for (int i = 0; i < 100; i++)
        CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

COIL_TEST(scope, s2_2_cancelling_again_changes_nothing)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    for (int i = 0; i < 10; i++)
        coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_checkpoint(), 0);
}

/* --- 2.3: whom it reaches -------------------------------------------------------------------- */

COIL_TEST(scope, s2_3_a_cancel_reaches_every_scope_inside_and_none_outside)
{
    struct coil_scope outer;
    struct coil_scope middle;
    struct coil_scope inner;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_begin(&middle, COIL_FOREVER);
    coil_scope_begin(&inner, COIL_FOREVER);
    coil_scope_cancel(&middle, NULL);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&inner, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&middle, -ECANCELED), 0);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

COIL_TEST(scope, s2_3_cancelled_means_the_scope_itself_not_an_ancestor)
{
    struct coil_scope outer;
    struct coil_scope inner;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_begin(&inner, COIL_FOREVER);
    CHECK_EQ(coil_scope_cancelled(&outer), 0);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_scope_cancelled(&outer), 1);
    CHECK_EQ(coil_scope_cancelled(&inner), 0);
    CHECK_EQ(why(&inner).cause, COIL_CAUSE_NONE);
    CHECK_EQ(coil_scope_end(&inner, 0), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

COIL_TEST(scope, s2_3_a_scope_begun_in_a_cancelled_one_is_cancelled)
{
    struct coil_scope outer;
    struct coil_scope inner;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    coil_scope_begin(&inner, COIL_FOREVER);
    CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&inner, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(scope, s2_3_a_shield_blocks_its_ancestors)
{
    struct coil_scope outer;
    struct coil_scope shield;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    coil_shield_begin(&shield, COIL_FOREVER);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_sleep(1), 0);
    CHECK_EQ(coil_cancel_requested(), 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(scope, s2_3_a_shield_covers_the_scopes_inside_it)
{
    struct coil_scope outer;
    struct coil_scope shield;
    struct coil_scope inner;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_shield_begin(&shield, COIL_FOREVER);
    coil_scope_begin(&inner, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_checkpoint(), 0);
    coil_scope_cancel(&inner, NULL);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&inner, -ECANCELED), 0);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

COIL_TEST(scope, s2_3_a_shield_does_not_block_its_own_cancel)
{
    struct coil_scope s;

    coil_shield_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_scope_caught(&s), 1);
}

COIL_TEST(scope, s2_3_a_shield_does_not_block_its_own_deadline)
{
    struct coil_scope s;

    coil_scope_begin(&s, in(-1));
    coil_scope_set_shield(&s, 1);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_DEADLINE);
}

static int park_under_a_shield(void *arg)
{
    struct coil_scope s;

    coil_shield_begin(&s, COIL_FOREVER);
    return coil_scope_end(&s, parker_park(arg));
}

COIL_TEST(scope, s2_3_a_shield_does_not_protect_siblings)
{
    struct parker shielded = {.answer = COIL_ABORT_DONE};
    struct parker bare = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_under_a_shield, &shielded), 0);
    CHECK_EQ(coil_group_spawn(&g, parker_run, &bare), 0);
    parker_await(&shielded);
    parker_await(&bare);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(shielded.aborts, 0);
    CHECK_EQ(bare.aborts, 1);
    give_way();
    CHECK(!shielded.over);
    CHECK(bare.over);
    parker_unpark(&shielded, 7);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(shielded.result, 7);
    CHECK_EQ(bare.result, -ECANCELED);
}

/* anyio #642 */
COIL_TEST(scope, s2_3_a_shield_in_the_host_does_not_protect_its_tasks)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;
    struct coil_scope shield;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, parker_run, &p), 0);
    parker_await(&p);
    coil_shield_begin(&shield, COIL_FOREVER);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(p.aborts, 1);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_group_end(&g, coil_checkpoint()), 0);
}

/* anyio #370 */
COIL_TEST(scope, s2_3_all_ancestors_cancel_again_once_a_shield_inside_has_ended)
{
    struct coil_scope s[3];
    struct coil_scope shield;

    for (int i = 0; i < 3; i++)
        coil_scope_begin(&s[i], COIL_FOREVER);
    coil_scope_cancel(&s[0], NULL);
    coil_shield_begin(&shield, COIL_FOREVER);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    for (int i = 2; i > 0; i--) {
        CHECK_EQ(coil_checkpoint(), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s[i], -ECANCELED), -ECANCELED);
    }
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s[0], -ECANCELED), 0);
}

/* --- 2.4: the effective deadline ------------------------------------------------------------- */

COIL_TEST(scope, s2_4_without_a_deadline_it_is_forever)
{
    struct coil_scope s;

    CHECK_EQ(coil_effective_deadline(), COIL_FOREVER);
    coil_scope_begin(&s, COIL_FOREVER);
    CHECK_EQ(coil_effective_deadline(), COIL_FOREVER);
    CHECK_EQ(coil_scope_deadline(&s), COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

COIL_TEST(scope, s2_4_it_is_the_minimum_going_up)
{
    const int64_t t = in(COIL_SECOND * 100);
    struct coil_scope outer;
    struct coil_scope inner;

    coil_scope_begin(&outer, t + 5);
    CHECK_EQ(coil_effective_deadline(), t + 5);
    coil_scope_begin(&inner, t + 10);
    CHECK_EQ(coil_effective_deadline(), t + 5);
    coil_scope_set_deadline(&inner, t + 3);
    CHECK_EQ(coil_effective_deadline(), t + 3);
    CHECK_EQ(coil_scope_deadline(&inner), t + 3);
    coil_scope_set_deadline(&inner, t + 10);
    CHECK_EQ(coil_effective_deadline(), t + 5);
    CHECK_EQ(coil_scope_end(&inner, 0), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
    CHECK_EQ(coil_effective_deadline(), COIL_FOREVER);
}

COIL_TEST(scope, s2_4_it_stops_at_the_first_shield_and_includes_it)
{
    const int64_t t = in(COIL_SECOND * 100);
    struct coil_scope outer;
    struct coil_scope shield;
    struct coil_scope inner;

    coil_scope_begin(&outer, t + 5);
    coil_scope_begin(&shield, t + 10);
    coil_scope_begin(&inner, t + 20);
    CHECK_EQ(coil_effective_deadline(), t + 5);
    coil_scope_set_shield(&shield, 1);
    CHECK_EQ(coil_effective_deadline(), t + 10);
    coil_scope_set_deadline(&shield, COIL_FOREVER);
    CHECK_EQ(coil_effective_deadline(), t + 20);
    coil_scope_set_shield(&shield, 0);
    CHECK_EQ(coil_effective_deadline(), t + 5);
    CHECK_EQ(coil_scope_end(&inner, 0), 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

COIL_TEST(scope, s2_4_it_is_minus_infinity_when_cancelled)
{
    const int64_t t = in(COIL_SECOND * 100);
    struct coil_scope outer;
    struct coil_scope inner;

    coil_scope_begin(&outer, t + 5);
    coil_scope_begin(&inner, t + 10);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_effective_deadline(), INT64_MIN);
    coil_scope_set_shield(&inner, 1);
    CHECK_EQ(coil_effective_deadline(), t + 10);
    coil_scope_set_shield(&inner, 0);
    CHECK_EQ(coil_effective_deadline(), INT64_MIN);
    CHECK_EQ(coil_scope_end(&inner, 0), 0);
    CHECK_EQ(coil_effective_deadline(), INT64_MIN);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
    CHECK_EQ(coil_effective_deadline(), COIL_FOREVER);
}

static int its_deadline(void *arg)
{
    *(int64_t *)arg = coil_effective_deadline();
    return 0;
}

COIL_TEST(scope, s2_4_it_goes_up_through_the_task_and_its_group)
{
    const int64_t t = in(COIL_SECOND * 100);
    struct coil_scope s;
    struct coil_group g;
    int64_t seen = 0;

    coil_scope_begin(&s, t + 5);
    coil_group_begin(&g);
    coil_scope_set_deadline(coil_group_scope(&g), t + 10);
    CHECK_EQ(coil_group_spawn(&g, its_deadline, &seen), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(seen, t + 5);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

/* --- 2.5: who catches ------------------------------------------------------------------------ */

COIL_TEST(scope, s2_5_a_cancelled_scope_catches_its_own_cancellation)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_scope_caught(&s), 0);
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(coil_scope_caught(&s), 1);
}

COIL_TEST(scope, s2_5_the_outermost_visible_cancelled_scope_catches)
{
    struct coil_scope s1;
    struct coil_scope s2;
    struct coil_scope s3;

    coil_scope_begin(&s1, COIL_FOREVER);
    coil_scope_begin(&s2, COIL_FOREVER);
    coil_scope_begin(&s3, COIL_FOREVER);
    coil_scope_cancel(&s3, NULL);
    coil_scope_cancel(&s2, NULL);
    CHECK_EQ(coil_scope_end(&s3, coil_sleep(COIL_FOREVER)), -ECANCELED);
    CHECK_EQ(coil_scope_caught(&s3), 0);
    CHECK_EQ(coil_scope_end(&s2, -ECANCELED), 0);
    CHECK_EQ(coil_scope_caught(&s2), 1);
    CHECK_EQ(coil_scope_end(&s1, 0), 0);
    CHECK_EQ(coil_scope_caught(&s1), 0);
}

COIL_TEST(scope, s2_5_an_ancestor_two_up_is_visible_through_one_that_is_not_cancelled)
{
    struct coil_scope s1;
    struct coil_scope s2;
    struct coil_scope s3;

    coil_scope_begin(&s1, COIL_FOREVER);
    coil_scope_begin(&s2, COIL_FOREVER);
    coil_scope_begin(&s3, COIL_FOREVER);
    coil_scope_cancel(&s3, NULL);
    coil_scope_cancel(&s1, NULL);
    CHECK_EQ(coil_scope_end(&s3, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s2, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s1, -ECANCELED), 0);
    CHECK_EQ(coil_scope_caught(&s1), 1);
}

COIL_TEST(scope, s2_5_a_cancelled_shield_catches_though_its_ancestors_are_cancelled)
{
    struct coil_scope outer;
    struct coil_scope shield;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    coil_shield_begin(&shield, COIL_FOREVER);
    coil_scope_cancel(&shield, NULL);
    CHECK_EQ(coil_scope_end(&shield, coil_checkpoint()), 0);
    CHECK_EQ(coil_scope_caught(&shield), 1);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(scope, s2_5_a_cancelled_ancestor_behind_a_shield_is_not_visible)
{
    struct coil_scope outer;
    struct coil_scope shield;
    struct coil_scope inner;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_shield_begin(&shield, COIL_FOREVER);
    coil_scope_begin(&inner, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    coil_scope_cancel(&inner, NULL);
    CHECK_EQ(coil_scope_end(&inner, -ECANCELED), 0);
    CHECK_EQ(coil_scope_caught(&inner), 1);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
    CHECK_EQ(coil_scope_caught(&outer), 0);
}

COIL_TEST(scope, s2_5_a_scope_that_was_not_cancelled_lets_it_go_on_up)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_scope_caught(&s), 0);
}

COIL_TEST(scope, s2_5_any_other_result_passes_a_cancelled_scope)
{
    static const int results[] = {0, 3, -EIO, -ETIME, -EPIPE};

    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        struct coil_scope s;

        coil_timeout_begin(&s, in(-1));
        CHECK_EQ(coil_checkpoint(), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, results[i]), results[i]);
        CHECK_EQ(coil_scope_caught(&s), 0);
        CHECK_EQ(coil_scope_cancelled(&s), 1);
    }
}

COIL_TEST(scope, s2_5_a_timeout_fails_and_a_scope_moves_on)
{
    struct coil_scope s;

    coil_timeout_begin(&s, in(-1));
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), -ETIME);
    CHECK_EQ(coil_scope_caught(&s), 1);
    coil_scope_begin(&s, in(-1));
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(coil_scope_caught(&s), 1);
}

COIL_TEST(scope, s2_5_a_timeout_inside_a_cancelled_scope_does_not_report_itself)
{
    struct coil_scope outer;
    struct coil_scope timeout;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_timeout_begin(&timeout, in(-1));
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_scope_end(&timeout, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_scope_caught(&timeout), 0);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(scope, s2_5_of_two_deadlines_that_passed_the_outer_one_is_reported)
{
    struct coil_scope outer;
    struct coil_scope inner;

    coil_timeout_begin(&outer, in(-1));
    coil_timeout_begin(&inner, in(-2));
    CHECK_EQ(coil_scope_end(&inner, coil_checkpoint()), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), -ETIME);
}

/* trio #1175 */
COIL_TEST(scope, s2_5_a_cancellation_in_flight_is_not_trapped_by_a_later_shield)
{
    struct coil_scope outer;
    struct coil_scope inner;
    int rc;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_begin(&inner, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    rc = coil_checkpoint();
    coil_scope_set_shield(&inner, 1);
    CHECK_EQ(coil_scope_end(&inner, rc), -ECANCELED);
    CHECK_EQ(coil_scope_caught(&inner), 0);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
    CHECK_EQ(coil_scope_caught(&outer), 1);
}

/* --- 2.6: the cause -------------------------------------------------------------------------- */

COIL_TEST(scope, s2_6_a_scope_that_was_not_cancelled_has_no_cause)
{
    struct coil_scope s;

    for (int ended = 0; ended < 2; ended++) {
        if (!ended)
            coil_scope_begin(&s, in(COIL_SECOND));
        else
            CHECK_EQ(coil_scope_end(&s, 0), 0);
        CHECK_EQ(why(&s).cause, COIL_CAUSE_NONE);
        CHECK(!why(&s).reason);
        CHECK(!why(&s).task);
        CHECK(!why(&s).site);
    }
}

COIL_TEST(scope, s2_6_a_deadline_has_no_author)
{
    struct coil_scope s;

    coil_scope_begin(&s, in(-1));
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_DEADLINE);
    CHECK(!why(&s).reason);
    CHECK(!why(&s).task);
    CHECK(!why(&s).site);
}

static int cancel_it(void *arg)
{
    coil_scope_cancel(arg, "enough");
    return 0;
}

COIL_TEST(scope, s2_6_who_cancelled_and_where_and_why_is_recorded)
{
    struct coil_spawn_options named = {.name = "the canceller"};
    struct coil_scope s;
    struct coil_group g;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, cancel_it, &s, &named), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_EXPLICIT);
    CHECK(same(why(&s).reason, "enough"));
    CHECK(same(why(&s).task, "the canceller"));
    CHECK(strstr(why(&s).site, "scope.c:"));
}

COIL_TEST(scope, s2_6_the_first_cause_is_kept)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel_at(&s, "first", "here");
    coil_scope_cancel_at(&s, "second", "there");
    coil_scope_request_at(&s, 0, "third", "elsewhere");
    coil_scope_set_deadline(&s, in(-1));
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_EXPLICIT);
    CHECK(same(why(&s).reason, "first"));
    CHECK(same(why(&s).site, "here"));
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK(same(why(&s).reason, "first"));
}

COIL_TEST(scope, s2_6_an_explicit_cancel_does_not_overwrite_a_deadline)
{
    struct coil_scope s;

    coil_timeout_begin(&s, in(-1));
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    coil_scope_cancel(&s, "too late");
    CHECK_EQ(why(&s).cause, COIL_CAUSE_DEADLINE);
    CHECK(!why(&s).reason);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), -ETIME);
}

/* D11, anyio #514: anyio and trio both report a time-out here. */
COIL_TEST(scope, s2_6_explicit_cancel_then_deadline_is_no_time_out)
{
    struct coil_scope s;

    coil_timeout_begin(&s, in(COIL_MILLISECOND));
    coil_scope_cancel(&s, NULL);
    while (coil_now() < coil_scope_deadline(&s))
        coil_yield_shielded();
    give_way();
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(coil_scope_caught(&s), 1);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_EXPLICIT);
}

COIL_TEST(scope, s2_6_explicit_cancel_after_the_deadline_but_before_anybody_looked_is_no_time_out)
{
    struct coil_scope s;

    coil_timeout_begin(&s, in(COIL_MILLISECOND));
    while (coil_now() < coil_scope_deadline(&s))
        continue;
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
}

COIL_TEST(scope, s2_6_a_failed_group_names_the_task_that_failed)
{
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_end(&g, coil_fail(-EIO, "the disk")), -EIO);
    CHECK_EQ(why(coil_group_scope(&g)).cause, COIL_CAUSE_GROUP_ERROR);
    CHECK(same(why(coil_group_scope(&g)).reason, "the disk"));
    CHECK(why(coil_group_scope(&g)).task);
    CHECK(strstr(why(coil_group_scope(&g)).site, "scope.c:"));
}

COIL_TEST(scope, s2_6_a_shutdown_reaches_everything)
{
    struct coil_cancellation c;
    struct coil_scope s;

    CHECK_EQ(coil_shutdown_loops("closing time"), 0);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_why_cancelled(&c), 1);
    CHECK_EQ(c.cause, COIL_CAUSE_SHUTDOWN);
    CHECK(same(c.reason, "closing time"));
    coil_shield_begin(&s, COIL_SECOND);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

COIL_TEST(scope, s2_6_why_a_task_is_cancelled_is_said_by_the_outermost_scope_it_can_see)
{
    struct coil_cancellation c = {.reason = "untouched"};
    struct coil_scope s[3];

    for (int i = 0; i < 3; i++)
        coil_scope_begin(&s[i], COIL_FOREVER);
    CHECK_EQ(coil_why_cancelled(&c), 0);
    CHECK(same(c.reason, "untouched"));
    coil_scope_cancel(&s[2], "innermost");
    CHECK_EQ(coil_why_cancelled(&c), 1);
    CHECK(same(c.reason, "innermost"));
    coil_scope_cancel(&s[0], "outermost");
    CHECK_EQ(coil_why_cancelled(&c), 1);
    CHECK(same(c.reason, "outermost"));
    CHECK_EQ(c.cause, COIL_CAUSE_EXPLICIT);
    CHECK(c.task);
    CHECK(strstr(c.site, "scope.c:"));
    coil_scope_set_shield(&s[1], 1);
    CHECK_EQ(coil_why_cancelled(&c), 1);
    CHECK(same(c.reason, "innermost"));
    CHECK_EQ(coil_scope_end(&s[2], -ECANCELED), 0);
    c.reason = "untouched";
    CHECK_EQ(coil_why_cancelled(&c), 0);
    CHECK(same(c.reason, "untouched"));
    CHECK_EQ(coil_scope_end(&s[1], 0), 0);
    CHECK_EQ(coil_why_cancelled(&c), 1);
    CHECK_EQ(coil_scope_end(&s[0], -ECANCELED), 0);
    CHECK_EQ(coil_why_cancelled(&c), 0);
}

static int say_why(void *arg)
{
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    CHECK_EQ(coil_why_cancelled(arg), 1);
    return -ECANCELED;
}

COIL_TEST(scope, s2_6_a_cancelled_task_can_say_who_and_why)
{
    struct coil_cancellation c;
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, say_why, &c, &options), 0);
    coil_task_cancel(&h, "you there");
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.cause, COIL_CAUSE_EXPLICIT);
    CHECK(same(c.reason, "you there"));
    CHECK(strstr(c.site, "scope.c:"));
}

COIL_TEST(scope, s2_6_a_task_stopped_by_a_siblings_failure_can_say_so)
{
    struct coil_cancellation c;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, say_why, &c), 0);
    CHECK_EQ(coil_group_end(&g, coil_fail(-EIO, "the disk")), -EIO);
    CHECK_EQ(c.cause, COIL_CAUSE_GROUP_ERROR);
    CHECK(same(c.reason, "the disk"));
}

COIL_TEST(scope, s2_6_a_task_that_ran_out_of_time_can_say_so)
{
    struct coil_cancellation c;
    struct coil_scope s;

    coil_scope_begin(&s, in(-1));
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_why_cancelled(&c), 1);
    CHECK_EQ(c.cause, COIL_CAUSE_DEADLINE);
    CHECK(!c.reason);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

/* --- 2.7: before the begin ------------------------------------------------------------------- */

COIL_TEST(scope, s2_7_cancelled_before_it_begins_it_is_cancelled_at_once)
{
    struct coil_scope s;

    coil_scope_prepare(&s);
    CHECK_EQ(coil_scope_cancelled(&s), 0);
    coil_scope_cancel(&s, "early");
    CHECK_EQ(coil_scope_cancelled(&s), 1);
    CHECK_EQ(coil_checkpoint(), 0);
    coil_scope_begin_prepared(&s, in(COIL_SECOND));
    CHECK_EQ(stats_now().timers, 0);
    CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED);
    CHECK_EQ(coil_effective_deadline(), INT64_MIN);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_scope_caught(&s), 1);
    CHECK(same(why(&s).reason, "early"));
    CHECK_EQ(coil_checkpoint(), 0);
}

COIL_TEST(scope, s2_7_prepared_and_not_cancelled_it_is_a_scope_like_any_other)
{
    struct coil_scope s;

    coil_scope_prepare(&s);
    CHECK_EQ(coil_scope_deadline(&s), COIL_FOREVER);
    coil_scope_begin_prepared(&s, in(-1));
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_DEADLINE);
    coil_scope_prepare(&s);
    coil_scope_begin_prepared(&s, COIL_FOREVER);
    CHECK_EQ(coil_checkpoint(), 0);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
}

/* trio's test_cancel_unbound */
COIL_TEST(scope, s2_7_a_shield_may_go_up_before_the_begin)
{
    struct coil_scope outer;
    struct coil_scope s;

    coil_scope_prepare(&s);
    coil_scope_set_shield(&s, 1);
    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    coil_scope_begin_prepared(&s, COIL_FOREVER);
    CHECK_EQ(coil_checkpoint(), 0);
    coil_scope_set_shield(&s, 0);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

static int begin_what_was_prepared(void *arg)
{
    coil_scope_begin_prepared((struct coil_scope *)arg, COIL_FOREVER);
    return coil_scope_end(arg, coil_sleep(COIL_FOREVER));
}

COIL_TEST(scope, s2_7_another_task_cancels_before_the_begin)
{
    struct coil_scope s;
    struct coil_group g;

    coil_scope_prepare(&s);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, begin_what_was_prepared, &s), 0);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_caught(&s), 1);
}

COIL_TEST(scope, s2_7_prepared_and_never_begun_it_leaves_nothing)
{
    struct coil_scope s;

    coil_scope_prepare(&s);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_checkpoint(), 0);
}

COIL_TEST(scope, s2_7_a_deadline_already_past_acts_at_the_first_checkpoint)
{
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() - 1);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK(coil_scope_caught(&s));
}

COIL_TEST(scope, s2_7_a_deadline_already_past_acts_at_a_check_that_does_not_give_way)
{
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() - 1);
    CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

COIL_TEST(scope, s2_7_a_deadline_already_past_acts_at_a_sleep)
{
    static const int64_t durations[] = {-1, 0, 1, COIL_SECOND, COIL_FOREVER};

    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        struct coil_scope s;

        coil_scope_begin(&s, coil_now() - 1);
        CHECK_EQ(coil_sleep(durations[i]), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    }
}

static int unpark_with_5(void *arg)
{
    struct parker *p = arg;

    if (p->task)
        parker_unpark(p, 5);
    return 0;
}

static int park_past_a_deadline(void *arg)
{
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() - 1);
    (void)parker_park(arg);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    return coil_scope_end(&s, -ECANCELED);
}

/* Also if somebody would wake us this very turn, before the loop looks at the clock. */
static void check_park_past_a_deadline(struct parker *p)
{
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_past_a_deadline, p), 0);
    CHECK_EQ(coil_group_spawn(&g, unpark_with_5, p), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(p->aborts, 1);
}

COIL_TEST_IN_ORDER(scope, s2_7_a_deadline_already_past_acts_at_a_park)
{
    struct parker p = {.answer = COIL_ABORT_DONE};

    check_park_past_a_deadline(&p);
    CHECK_EQ(p.result, -ECANCELED);
}

COIL_TEST_IN_ORDER(scope, s2_7_a_deadline_already_past_asks_who_cannot_leave_to_hurry)
{
    struct parker p = {.answer = COIL_ABORT_LATER};

    check_park_past_a_deadline(&p);
    CHECK_EQ(p.result, 5);
}

/* Leaves, and hands what it was given to another, which is about to park. */
static struct parker heir;

static enum coil_abort hand_over(void *ctx)
{
    (void)ctx;
    parker_unpark(&heir, 7);
    return COIL_ABORT_DONE;
}

static struct coil_scope others;

static int park_until_the_deadline(void *arg)
{
    coil_scope_begin(&others, COIL_FOREVER);
    *(bool *)arg = true;
    return coil_scope_end(&others, coil_park(hand_over, NULL, "a test"));
}

COIL_TEST(scope, s2_7_a_park_may_be_ended_by_the_deadline_of_another_that_it_meets)
{
    struct coil_group g;
    bool parked = false;

    heir = (struct parker){.answer = COIL_ABORT_DONE};
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_until_the_deadline, &parked), 0);
    while (!parked)
        coil_yield_shielded();
    coil_scope_set_deadline(&others, coil_now() - 1);
    CHECK_EQ(parker_park(&heir), 7);
    CHECK_EQ(heir.aborts, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* Both have the same deadline, and the first gives back what the second waits for. */
struct rivals {
    struct coil_semaphore s;
    int64_t deadline_ns;
};

static enum coil_abort give_back(void *ctx)
{
    CHECK_EQ(coil_semaphore_release(ctx), 0);
    return COIL_ABORT_DONE;
}

static int park_and_give_back(void *arg)
{
    struct rivals *r = arg;
    struct coil_scope s;

    coil_scope_begin(&s, r->deadline_ns);
    return coil_scope_end(&s, coil_park(give_back, &r->s, "a test"));
}

static int acquire_in_vain(void *arg)
{
    struct rivals *r = arg;
    struct coil_scope s;

    coil_scope_begin(&s, r->deadline_ns);
    CHECK_EQ(coil_semaphore_acquire(&r->s), -ECANCELED);
    return coil_scope_end(&s, -ECANCELED);
}

COIL_TEST(scope, s2_2_deadlines_of_one_time_are_all_seen_before_an_abort_function_runs)
{
    struct rivals r = {COIL_SEMAPHORE_INIT(0, 1), in(COIL_MILLISECOND)};
    struct coil_semaphore_stats stats;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_and_give_back, &r), 0);
    CHECK_EQ(coil_group_spawn(&g, acquire_in_vain, &r), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    coil_semaphore_stats(&r.s, &stats);
    CHECK_EQ(stats.value, 1);
}

static int succeed(void *arg)
{
    (void)arg;
    return 0;
}

static int wait_past_a_deadline(void *arg)
{
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() - 1);
    CHECK_EQ(coil_task_wait(arg), -ECANCELED);
    return coil_scope_end(&s, -ECANCELED);
}

COIL_TEST_IN_ORDER(scope, s2_7_a_deadline_already_past_acts_at_the_wait_for_a_task)
{
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, wait_past_a_deadline, &h), 0);
    CHECK_EQ(coil_group_spawn_with(&g, succeed, NULL, &options), 0); /* ends this very turn */
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int say_so(void *arg)
{
    (void)arg;
    CHECK_EQ(coil_started(0), 0);
    return coil_sleep(COIL_FOREVER);
}

static int start_past_a_deadline(void *arg)
{
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() - 1);
    CHECK_EQ(coil_group_start(arg, say_so, NULL, NULL), -ECANCELED);
    return coil_scope_end(&s, -ECANCELED);
}

COIL_TEST(scope, s2_7_a_deadline_already_past_acts_at_a_start)
{
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, start_past_a_deadline, &g), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(scope, s2_7_a_deadline_already_past_acts_at_a_read_that_could_finish_at_once)
{
    struct coil_scope s;
    char byte = 0;
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(write(ends[1], "xyz", 3), 3);
    CHECK_EQ(coil_read(ends[0], &byte, 1), 1);
    coil_scope_begin(&s, coil_now() - 1);
    CHECK_EQ(coil_read(ends[0], &byte, 1), -ECANCELED);
    CHECK_EQ(byte, 'x');
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_read(ends[0], &byte, 1), 1);
    CHECK_EQ(byte, 'y');
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

COIL_TEST(scope, s2_7_the_oldest_deadline_there_is_counts_as_past)
{
    static const int64_t long_ago[] = {0, -1, INT64_MIN};

    for (size_t i = 0; i < sizeof(long_ago) / sizeof(long_ago[0]); i++) {
        struct coil_scope s;

        coil_timeout_begin(&s, long_ago[i]);
        CHECK_EQ(coil_scope_deadline(&s), long_ago[i]);
        CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), -ETIME);
    }
}

/* --- 2.8: changes while it is active --------------------------------------------------------- */

COIL_TEST(scope, s2_8_a_deadline_moved_away_in_time_does_not_act)
{
    struct coil_scope s;

    coil_scope_begin(&s, in(COIL_MILLISECOND));
    coil_scope_set_deadline(&s, COIL_FOREVER);
    CHECK_EQ(coil_sleep(2 * COIL_MILLISECOND), 0);
    coil_scope_set_deadline(&s, in(COIL_MILLISECOND));
    coil_scope_set_deadline(&s, in(COIL_SECOND * 100));
    CHECK_EQ(coil_sleep(2 * COIL_MILLISECOND), 0);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

COIL_TEST(scope, s2_8_a_deadline_moved_out_of_time_leaves_no_timer)
{
    struct coil_scope s;

    coil_scope_begin(&s, in(1000 * COIL_SECOND));
    CHECK_EQ(stats_now().timers, 1);
    coil_scope_set_deadline(&s, COIL_FOREVER);
    CHECK_EQ(stats_now().timers, 0);
    CHECK_EQ(stats_now().next_deadline_ns, COIL_FOREVER);
    coil_scope_set_deadline(&s, in(2000 * COIL_SECOND));
    coil_scope_request(&s, 500 * COIL_SECOND, NULL);
    coil_scope_set_deadline(&s, COIL_FOREVER);
    CHECK_EQ(stats_now().timers, 1); /* the end of the grace */
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

COIL_TEST(scope, s2_8_a_deadline_moved_into_the_past_acts_at_the_next_turn)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_set_deadline(&s, in(-1));
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_DEADLINE);
}

static int bring_it_forward(void *arg)
{
    coil_scope_set_deadline(arg, coil_now() + COIL_MILLISECOND);
    return 0;
}

COIL_TEST(scope, s2_8_another_task_moves_the_deadline_of_a_sleeping_one)
{
    struct coil_scope s;
    struct coil_group g;

    coil_group_begin(&g);
    coil_timeout_begin(&s, in(COIL_SECOND * 1000));
    CHECK_EQ(coil_group_spawn(&g, bring_it_forward, &s), 0);
    CHECK_EQ(coil_scope_end(&s, coil_sleep(COIL_FOREVER)), -ETIME);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(scope, s2_8_unshielding_delivers_at_once)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_scope outer;
    struct coil_group g;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_group_begin(&g);
    coil_scope_set_shield(coil_group_scope(&g), 1);
    CHECK_EQ(coil_group_spawn(&g, parker_run, &p), 0);
    parker_await(&p);
    coil_scope_cancel(&outer, NULL);
    give_way();
    CHECK_EQ(p.aborts, 0);
    coil_scope_set_shield(coil_group_scope(&g), 0);
    CHECK_EQ(p.aborts, 1);
    CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), -ECANCELED);
    CHECK_EQ(p.result, -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

COIL_TEST(scope, s2_8_unshielding_with_nothing_pending_delivers_nothing)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_set_shield(coil_group_scope(&g), 1);
    CHECK_EQ(coil_group_spawn(&g, parker_run, &p), 0);
    parker_await(&p);
    coil_scope_set_shield(coil_group_scope(&g), 0);
    give_way();
    CHECK_EQ(p.aborts, 0);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* Parks in a scope of its own, which the abort function of another task shields. */
struct sheltered {
    struct parker p;
    struct coil_scope scope;
};

static int park_sheltered(void *arg)
{
    struct sheltered *s = arg;
    int rc;

    coil_scope_begin(&s->scope, COIL_FOREVER);
    rc = parker_park(&s->p);
    CHECK_EQ(coil_checkpoint(), 0);
    return coil_scope_end(&s->scope, rc);
}

static enum coil_abort shelter_the_other(void *ctx)
{
    coil_scope_set_shield(&((struct sheltered *)ctx)->scope, 1);
    return COIL_ABORT_DONE;
}

static int park_before(void *arg)
{
    return coil_park(shelter_the_other, arg, "its cancellation");
}

COIL_TEST_IN_ORDER(scope, s2_8_who_is_shielded_before_being_told_is_not_told)
{
    struct sheltered s = {.p = {.answer = COIL_ABORT_DONE}};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_before, &s), 0);
    CHECK_EQ(coil_group_spawn(&g, park_sheltered, &s), 0);
    give_way();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(s.p.aborts, 0);
    give_way();
    CHECK(!s.p.over);
    parker_unpark(&s.p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s.p.result, 0);
}

static int raise_the_shield(void *arg)
{
    coil_scope_set_shield(arg, 1);
    return 0;
}

COIL_TEST(scope, s2_8_another_task_raises_the_shield)
{
    struct coil_scope outer;
    struct coil_scope inner;
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_begin(&inner, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_group_spawn(&g, raise_the_shield, &inner), 0);
    while (coil_checkpoint() == -ECANCELED)
        continue;
    CHECK_EQ(coil_scope_end(&inner, 0), 0);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* trio's test_cancel_shielding, whole. */
COIL_TEST(scope, s2_8_a_shield_goes_up_and_down_as_often_as_one_likes)
{
    struct coil_scope outer;
    struct coil_scope inner;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_begin(&inner, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(coil_checkpoint(), -ECANCELED);
        coil_scope_set_shield(&inner, 1);
        CHECK_EQ(coil_checkpoint(), 0);
        coil_scope_set_shield(&inner, 0);
    }
    coil_scope_set_shield(&inner, 1);
    coil_scope_cancel(&inner, NULL);
    CHECK_EQ(coil_scope_end(&inner, coil_checkpoint()), 0);
    CHECK_EQ(coil_scope_caught(&inner), 1);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

/* trio PR #1629: a heap that grew with every move. */
COIL_TEST(scope, s2_8_moving_a_deadline_100000_times_grows_nothing)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    CHECK_EQ(stats_now().timers, 0);
    for (int i = 0; i < 100 * 1000; i++)
        coil_scope_set_deadline(&s, in(COIL_SECOND * (1000 + i % 7)));
    CHECK_EQ(stats_now().timers, 1);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(stats_now().timers, 0);
}

COIL_TEST(scope, s2_8_moving_the_deadline_after_the_cancel_changes_nothing)
{
    const int64_t t = in(COIL_SECOND * 100);
    struct coil_scope s;

    coil_scope_begin(&s, t);
    coil_scope_cancel(&s, NULL);
    coil_scope_set_deadline(&s, t + 1);
    CHECK_EQ(coil_scope_deadline(&s), t);
    CHECK_EQ(stats_now().timers, 0);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

/* --- 2.9: called, not caught ----------------------------------------------------------------- */

COIL_TEST(scope, s2_9_a_cancel_without_a_later_checkpoint_is_called_but_not_caught)
{
    struct coil_scope s;

    coil_timeout_begin(&s, in(-1));
    coil_yield_shielded();
    CHECK_EQ(coil_scope_end(&s, 42), 42);
    CHECK_EQ(coil_scope_cancelled(&s), 1);
    CHECK_EQ(coil_scope_caught(&s), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_DEADLINE);
}

/* --- 2.10: no residue ------------------------------------------------------------------------ */

COIL_TEST(scope, s2_10_after_the_end_it_is_as_if_it_had_never_been)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    coil_yield_shielded();
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_cancel_requested(), 0);
    CHECK_EQ(coil_effective_deadline(), COIL_FOREVER);
    CHECK_EQ(coil_sleep(1), 0);
    CHECK_EQ(coil_scope_caught(&s), 0);
}

COIL_TEST(scope, s2_10_the_deadline_of_an_ended_scope_never_comes)
{
    struct coil_scope *s = malloc(sizeof(*s));

    CHECK(s);
    coil_scope_begin(s, in(COIL_MILLISECOND));
    CHECK_EQ(stats_now().timers, 1);
    CHECK_EQ(coil_scope_end(s, 0), 0);
    CHECK_EQ(stats_now().timers, 0);
    free(s);
    CHECK_EQ(coil_sleep(2 * COIL_MILLISECOND), 0);
}

COIL_TEST(scope, s2_10_the_scope_around_it_is_as_before)
{
    const int64_t t = in(COIL_SECOND * 100);
    struct coil_scope outer;

    coil_scope_begin(&outer, t);
    for (int i = 0; i < 1000; i++) {
        struct coil_scope s;

        coil_scope_begin(&s, in(-1));
        coil_scope_cancel(&s, NULL);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        CHECK_EQ(coil_effective_deadline(), t);
        CHECK_EQ(coil_checkpoint_if_cancelled(), 0);
    }
    CHECK_EQ(stats_now().timers, 1);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

COIL_TEST(scope, s2_10_a_cancel_after_the_end_does_not_change_the_record)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    coil_scope_cancel(&s, "too late");
    CHECK_EQ(coil_scope_cancelled(&s), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_NONE);
    CHECK(!why(&s).reason);
}

/* anyio #88 */
COIL_TEST(scope, s2_10_a_time_out_that_was_got_over_does_not_come_out_of_a_scope_cancelled_since)
{
    struct coil_scope outer;
    struct coil_scope inner;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_begin(&inner, in(COIL_MILLISECOND));
    CHECK_EQ(coil_scope_end(&inner, coil_sleep(COIL_FOREVER)), 0);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
    CHECK_EQ(coil_scope_caught(&outer), 0);
    CHECK_EQ(coil_checkpoint(), 0);
}

/* anyio #832: in clean-up nothing is pending. */
COIL_TEST(scope, s2_3_behind_a_shield_every_question_is_answered_as_if_nobody_had_cancelled)
{
    struct coil_cancellation cause;
    struct coil_scope outer;
    struct coil_scope shield;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    coil_shield_begin(&shield, COIL_FOREVER);
    CHECK_EQ(coil_checkpoint_if_cancelled(), 0);
    CHECK_EQ(coil_cancel_requested(), 0);
    CHECK_EQ(coil_why_cancelled(&cause), 0);
    CHECK_EQ(coil_effective_deadline(), COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_cancel_requested(), 1);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
}

/* --- 2.11: shields with a limit -------------------------------------------------------------- */

COIL_TEST(scope, s2_11_clean_up_has_its_limit_and_no_more)
{
    const int64_t began = in(0);
    struct coil_scope outer;
    struct coil_scope shield;

    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    coil_shield_begin(&shield, 2 * COIL_MILLISECOND);
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    CHECK(coil_now() - began >= 2 * COIL_MILLISECOND);
    CHECK_EQ(why(&shield).cause, COIL_CAUSE_DEADLINE);
    CHECK_EQ(coil_scope_end(&shield, -ECANCELED), 0);
    CHECK_EQ(coil_scope_end(&outer, 0), 0);
}

COIL_TEST(scope, s2_11_no_limit_is_forever)
{
    struct coil_scope shield;

    coil_shield_begin(&shield, COIL_FOREVER);
    CHECK_EQ(coil_scope_deadline(&shield), COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    coil_shield_begin(&shield, COIL_FOREVER - 1);
    CHECK_EQ(coil_scope_deadline(&shield), COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
}

COIL_TEST(scope, s2_11_a_limit_of_nothing_acts_at_the_first_checkpoint)
{
    static const int64_t limits[] = {0, -1, INT64_MIN};

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct coil_scope shield;

        coil_shield_begin(&shield, limits[i]);
        CHECK_EQ(coil_scope_end(&shield, coil_checkpoint()), 0);
        CHECK_EQ(coil_scope_caught(&shield), 1);
    }
}

/* --- 2.12: grace ----------------------------------------------------------------------------- */

COIL_TEST(scope, s2_12_a_request_is_visible_and_checkpoints_go_on_working)
{
    struct coil_scope s;
    struct coil_scope inner;

    coil_scope_begin(&s, COIL_FOREVER);
    CHECK_EQ(coil_cancel_requested(), 0);
    coil_scope_request(&s, COIL_SECOND * 1000, "closing");
    CHECK_EQ(coil_cancel_requested(), 1);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_sleep(1), 0);
    CHECK_EQ(coil_scope_cancelled(&s), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_NONE);
    CHECK(!why(&s).reason);
    CHECK(!why(&s).task);
    CHECK(!why(&s).site);
    coil_scope_begin(&inner, COIL_FOREVER);
    CHECK_EQ(coil_cancel_requested(), 1);
    CHECK_EQ(coil_scope_end(&inner, 0), 0);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_cancel_requested(), 0);
}

COIL_TEST(scope, s2_12_after_the_grace_it_is_cancelled_in_the_words_of_the_request)
{
    const int64_t began = in(0);
    struct coil_scope s;

    coil_timeout_begin(&s, COIL_FOREVER);
    coil_scope_request_at(&s, 2 * COIL_MILLISECOND, "closing", "here");
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    CHECK(coil_now() - began >= 2 * COIL_MILLISECOND);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_EXPLICIT);
    CHECK(same(why(&s).reason, "closing"));
    CHECK(same(why(&s).site, "here"));
    CHECK(why(&s).task);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

COIL_TEST(scope, s2_12_no_grace_acts_at_the_next_checkpoint)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_request(&s, 0, NULL);
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK_EQ(coil_scope_caught(&s), 1);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_EXPLICIT);
}

COIL_TEST(scope, s2_12_a_cancel_cuts_the_grace_short)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_request(&s, COIL_SECOND * 1000, "softly");
    coil_scope_cancel(&s, "now");
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK(same(why(&s).reason, "now"));
    CHECK_EQ(stats_now().timers, 0);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

COIL_TEST(scope, s2_12_a_deadline_within_the_grace_is_a_deadline)
{
    struct coil_scope s;

    coil_timeout_begin(&s, in(COIL_MILLISECOND));
    coil_scope_request(&s, COIL_SECOND * 1000, "closing");
    CHECK_EQ(coil_scope_end(&s, coil_sleep(COIL_FOREVER)), -ETIME);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_DEADLINE);
    CHECK(!why(&s).reason);
}

COIL_TEST(scope, s2_12_a_second_request_changes_nothing)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_request(&s, COIL_MILLISECOND, "first");
    coil_scope_request(&s, COIL_SECOND * 1000, "second");
    CHECK_EQ(coil_scope_end(&s, coil_sleep(COIL_FOREVER)), 0);
    CHECK(same(why(&s).reason, "first"));
}

COIL_TEST(scope, s2_12_a_request_of_a_cancelled_scope_changes_nothing)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, "hard");
    coil_scope_request(&s, COIL_SECOND, "soft");
    CHECK_EQ(stats_now().timers, 0);
    CHECK_EQ(coil_scope_end(&s, coil_checkpoint()), 0);
    CHECK(same(why(&s).reason, "hard"));
}

COIL_TEST(scope, s2_12_a_later_deadline_does_not_prolong_the_grace)
{
    struct coil_scope s;

    coil_scope_begin(&s, in(COIL_SECOND * 1000));
    coil_scope_request(&s, COIL_MILLISECOND, "closing");
    coil_scope_set_deadline(&s, COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&s, coil_sleep(COIL_FOREVER)), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_EXPLICIT);
}

COIL_TEST(scope, s2_12_a_deadline_moved_away_during_the_grace_does_not_act)
{
    struct coil_scope s;

    coil_scope_begin(&s, in(COIL_MILLISECOND));
    coil_scope_request(&s, COIL_SECOND * 1000, "closing");
    coil_scope_set_deadline(&s, COIL_FOREVER);
    CHECK_EQ(coil_sleep(2 * COIL_MILLISECOND), 0);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

COIL_TEST(scope, s2_12_a_deadline_moved_to_and_fro_leaves_the_grace_as_it_was)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_request(&s, 500 * COIL_MILLISECOND, "closing");
    coil_scope_set_deadline(&s, in(COIL_MILLISECOND));
    coil_scope_set_deadline(&s, in(COIL_SECOND * 1000));
    CHECK_EQ(coil_sleep(2 * COIL_MILLISECOND), 0);
    CHECK_EQ(coil_scope_end(&s, coil_sleep(COIL_FOREVER)), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_EXPLICIT);
    CHECK(same(why(&s).reason, "closing"));
}

COIL_TEST(scope, s2_12_a_grace_without_end_leaves_the_deadline_movable)
{
    struct coil_scope s;

    coil_timeout_begin(&s, in(COIL_MILLISECOND));
    coil_scope_request(&s, COIL_FOREVER, "when you like");
    coil_scope_set_deadline(&s, in(500 * COIL_MILLISECOND));
    CHECK_EQ(coil_sleep(2 * COIL_MILLISECOND), 0);
    CHECK_EQ(coil_scope_end(&s, coil_sleep(COIL_FOREVER)), -ETIME);
}

COIL_TEST(scope, s2_12_a_shield_keeps_requests_out)
{
    struct coil_scope s;
    struct coil_scope shield;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_shield_begin(&shield, COIL_FOREVER);
    coil_scope_request(&s, COIL_SECOND * 1000, NULL);
    CHECK_EQ(coil_cancel_requested(), 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_cancel_requested(), 1);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

COIL_TEST(scope, s2_12_the_end_of_the_grace_is_an_effective_deadline)
{
    const int64_t t = in(COIL_SECOND * 100);
    struct coil_scope s;

    coil_scope_begin(&s, t + COIL_SECOND * 100);
    coil_scope_request(&s, COIL_SECOND * 100, NULL);
    CHECK(coil_effective_deadline() >= t);
    CHECK(coil_effective_deadline() <= in(COIL_SECOND * 100));
    coil_scope_set_deadline(&s, t - 5);
    CHECK_EQ(coil_effective_deadline(), t - 5);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

static int finish_when_asked(void *arg)
{
    int *rounds = arg;

    while (!coil_cancel_requested()) {
        CHECK_EQ(coil_checkpoint(), 0);
        ++*rounds;
    }
    return coil_checkpoint();
}

COIL_TEST(scope, s2_12_tasks_of_a_group_finish_in_their_own_time)
{
    struct coil_group g;
    int rounds = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, finish_when_asked, &rounds), 0);
    while (rounds < 3)
        coil_yield_shielded();
    coil_scope_request(coil_group_scope(&g), COIL_SECOND * 1000, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
}

/* --- 2.13: depth ----------------------------------------------------------------------------- */

static int descend(struct coil_scope *outermost, int depth)
{
    struct coil_scope s;
    int rc;

    coil_scope_begin(&s, COIL_FOREVER);
    if (depth) {
        rc = descend(outermost, depth - 1);
    } else {
        CHECK_EQ(coil_checkpoint(), 0);
        coil_scope_cancel(outermost, NULL);
        rc = coil_checkpoint();
    }
    rc = coil_scope_end(&s, rc);
    CHECK_EQ(coil_scope_caught(&s), 0);
    return rc;
}

static int descend_5000(void *arg)
{
    struct coil_scope outermost;

    (void)arg;
    coil_scope_begin(&outermost, COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&outermost, descend(&outermost, 5000)), 0);
    CHECK_EQ(coil_scope_caught(&outermost), 1);
    return 0;
}

COIL_TEST(scope, s2_13_5000_nested_scopes_work)
{
    struct coil_spawn_options large = {.stack_size = 8 << 20};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, descend_5000, NULL, &large), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int64_t cost_of_checks(void)
{
    int64_t best = INT64_MAX;

    for (int round = 0; round < 10; round++) {
        const int64_t began = coil_now();

        for (int i = 0; i < 1000; i++)
            CHECK_EQ(coil_checkpoint_if_cancelled(), 0);
        if (coil_now() - began < best)
            best = coil_now() - began;
    }
    return best;
}

/* trio #58: were each scope looked at, it would cost some thousand times as much. */
COIL_TEST(scope, s2_13_a_check_costs_the_same_at_any_depth)
{
    static struct coil_scope scopes[5000];
    const int64_t shallow = cost_of_checks();

    for (int i = 0; i < 5000; i++)
        coil_scope_begin(&scopes[i], COIL_FOREVER);
    CHECK(cost_of_checks() < 10 * shallow);
    for (int i = 4999; i >= 0; i--)
        CHECK_EQ(coil_scope_end(&scopes[i], 0), 0);
}

/* --- 2.14: from elsewhere -------------------------------------------------------------------- */

static int cancel_and_look(void *arg)
{
    struct parker *p = ((void **)arg)[1];

    coil_scope_cancel(((void **)arg)[0], NULL);
    CHECK_EQ(p->aborts, 1);
    return 0;
}

COIL_TEST(scope, s2_14_a_cancel_by_another_task_is_immediate)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_scope s;
    struct coil_group g;
    void *args[] = {&s, &p};

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, cancel_and_look, args), 0);
    coil_scope_begin(&s, COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&s, parker_park(&p)), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static void *cancel_from_a_thread(void *arg)
{
    coil_scope_cancel_at(arg, "from a thread", "over there");
    return NULL;
}

static void run_in_a_thread(void *(*fn)(void *arg), void *arg)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, fn, arg), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

COIL_TEST(scope, s2_14_a_cancel_from_another_thread_wakes_the_loop)
{
    struct coil_scope s;
    pthread_t thread;

    coil_timeout_begin(&s, COIL_FOREVER);
    CHECK_EQ(pthread_create(&thread, NULL, cancel_from_a_thread, &s), 0);
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_EXPLICIT);
    CHECK(same(why(&s).reason, "from a thread"));
    CHECK(same(why(&s).site, "over there"));
    CHECK(!why(&s).task);
}

COIL_TEST(scope, s2_14_a_cancel_from_another_thread_is_a_message)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    run_in_a_thread(cancel_from_a_thread, &s);
    CHECK_EQ(coil_checkpoint_if_cancelled(), 0);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

COIL_TEST(scope, s2_14_a_message_under_way_does_not_outlive_the_scope)
{
    static struct coil_scope s;
    static struct coil_scope trampled;

    memset(&trampled, 0xff, sizeof(trampled));
    for (int i = 0; i < 100; i++) {
        coil_scope_begin(&s, COIL_FOREVER);
        run_in_a_thread(cancel_from_a_thread, &s);
        CHECK_EQ(coil_scope_end(&s, 0), 0);
        CHECK_EQ(coil_scope_caught(&s), 0);
        s = trampled;
        CHECK_EQ(coil_checkpoint(), 0);
        CHECK_EQ(memcmp(&s, &trampled, sizeof(s)), 0);
    }
}

COIL_TEST(scope, s2_14_a_cancel_from_another_thread_does_not_overwrite_the_cause)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel_at(&s, "first", "here");
    run_in_a_thread(cancel_from_a_thread, &s);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK(same(why(&s).reason, "first"));
    CHECK(same(why(&s).site, "here"));
    CHECK(why(&s).task);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK(same(why(&s).reason, "first"));
}

COIL_TEST(scope, s2_14_a_cancel_from_another_thread_does_not_give_a_deadline_words)
{
    struct coil_scope s;

    coil_timeout_begin(&s, in(-1));
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    run_in_a_thread(cancel_from_a_thread, &s);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(why(&s).cause, COIL_CAUSE_DEADLINE);
    CHECK(!why(&s).reason);
    CHECK(!why(&s).site);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), -ETIME);
}

COIL_TEST(scope, s2_14_a_request_keeps_its_words_until_the_cancel_has_arrived)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_request_at(&s, 0, "closing", "here");
    run_in_a_thread(cancel_from_a_thread, &s);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK(same(why(&s).reason, "closing"));
    CHECK(same(why(&s).site, "here"));
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

COIL_TEST(scope, s2_14_four_threads_cancel_at_once)
{
    for (int i = 0; i < 50; i++) {
        struct coil_scope s;
        pthread_t threads[4];

        coil_scope_begin(&s, COIL_FOREVER);
        for (int k = 0; k < 4; k++)
            CHECK_EQ(pthread_create(&threads[k], NULL, cancel_from_a_thread, &s), 0);
        CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
        for (int k = 0; k < 4; k++)
            CHECK_EQ(pthread_join(threads[k], NULL), 0);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        CHECK(same(why(&s).reason, "from a thread"));
        CHECK_EQ(coil_checkpoint(), 0);
    }
}

COIL_TEST(scope, s2_14_a_thread_cancels_before_the_begin)
{
    struct coil_scope s;

    coil_scope_prepare(&s);
    run_in_a_thread(cancel_from_a_thread, &s);
    coil_scope_begin_prepared(&s, COIL_FOREVER);
    CHECK_EQ(coil_checkpoint_if_cancelled(), -ECANCELED); /* 2.7: at once */
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK(same(why(&s).reason, "from a thread"));
    CHECK(!why(&s).task);
}

COIL_TEST(scope, s2_14_a_thread_cancels_what_never_begins)
{
    static struct coil_scope s;
    static struct coil_scope trampled;

    memset(&trampled, 0xff, sizeof(trampled));
    coil_scope_prepare(&s);
    run_in_a_thread(cancel_from_a_thread, &s);
    s = trampled;
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(memcmp(&s, &trampled, sizeof(s)), 0);
}

COIL_TEST(scope, s2_14_a_thread_cancels_while_it_begins)
{
    for (int i = 0; i < 100; i++) {
        struct coil_scope s;
        pthread_t thread;

        coil_scope_prepare(&s);
        CHECK_EQ(pthread_create(&thread, NULL, cancel_from_a_thread, &s), 0);
        if (i % 2)
            coil_yield_shielded();
        coil_scope_begin_prepared(&s, COIL_FOREVER);
        CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        CHECK(same(why(&s).reason, "from a thread"));
    }
}
