/* lot.c - semantics.md 5.11: parking lots, through coil/lowlevel.h. */
#include <pthread.h>

#include "waits.h"

static int park_in(void *lot)
{
    return coil_lot_park(lot, "a test");
}

static int end_at_once(void *arg)
{
    (void)arg;
    return 0;
}

COIL_TEST_IN_ORDER(lot, s5_11_unpark_wakes_as_many_as_it_says_the_longest_waiting_first)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_group g;
    struct wait w[5];

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++)
        wait_start(&g, &w[i], park_in, &lot);
    CHECK_EQ(coil_lot_count(&lot), 5);
    CHECK_EQ(coil_lot_unpark(&lot, 0, 0), 0);
    CHECK_EQ(coil_lot_unpark(&lot, 2, 7), 2);
    give_way();
    CHECK_RETURNED(&w[0], 7);
    CHECK_RETURNED(&w[1], 7);
    CHECK(w[0].place < w[1].place);
    CHECK_WAITS(&w[2]);
    CHECK_EQ(coil_lot_unpark(&lot, SIZE_MAX, 8), 3);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(w[2].place < w[3].place && w[3].place < w[4].place);
    CHECK_EQ(coil_lot_unpark(&lot, 1, 0), 0);
}

COIL_TEST(lot, s5_a_lot_says_who_waits_and_whether_it_is_broken)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_lot_stats stats;
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    for (int i = 0; i < 2; i++)
        wait_start(&g, &w[i], park_in, &lot);
    coil_lot_stats(&lot, &stats);
    CHECK_EQ(stats.waiting, 2);
    CHECK_EQ(stats.broken, 0);
    coil_lot_break(&lot);
    coil_lot_stats(&lot, &stats);
    CHECK_EQ(stats.waiting, 0);
    CHECK_EQ(stats.broken, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lot, s5_11_nothing_is_remembered_of_an_unpark_that_found_nobody)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    CHECK_EQ(coil_lot_unpark(&lot, 1, 0), 0);
    wait_start(&g, &w, park_in, &lot);
    CHECK_WAITS(&w);
    CHECK_EQ(coil_lot_unpark(&lot, 1, 0), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lot, s5_11_a_cancelled_task_leaves_at_once_and_unpark_goes_to_the_next)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_group g;
    struct wait w[3];

    for (int victim = 0; victim < 3; victim++) {
        coil_group_begin(&g);
        for (int i = 0; i < 3; i++)
            wait_start(&g, &w[i], park_in, &lot);
        wait_cancel(&w[victim]);
        CHECK_EQ(coil_lot_count(&lot), 2);
        CHECK_EQ(coil_lot_unpark(&lot, 2, 3), 2);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        for (int i = 0; i < 3; i++)
            CHECK_RETURNED(&w[i], i == victim ? -ECANCELED : 3);
    }
}

COIL_TEST(lot, s5_11_unparked_and_cancelled_in_the_same_turn_it_was_unparked)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, park_in, &lot);
    CHECK_EQ(coil_lot_unpark(&lot, 1, 3), 1);
    wait_cancel(&w);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 3);
}

/* trio #53 */
COIL_TEST_IN_ORDER(lot, s5_11_repark_moves_sleepers_to_the_end_of_another_lot_without_waking_them)
{
    struct coil_lot from = COIL_LOT_INIT;
    struct coil_lot to = COIL_LOT_INIT;
    struct coil_group g;
    struct wait w[4];
    uint64_t switches;
    struct coil_stats stats;

    coil_group_begin(&g);
    wait_start(&g, &w[3], park_in, &to);
    for (int i = 0; i < 3; i++)
        wait_start(&g, &w[i], park_in, &from);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    switches = stats.switches;
    CHECK_EQ(coil_lot_repark(&from, &to, 2), 2);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.ready, 0);
    CHECK_EQ(stats.switches, switches);
    CHECK_EQ(coil_lot_count(&from), 1);
    CHECK_EQ(coil_lot_count(&to), 3);
    wait_cancel(&w[0]);
    CHECK_EQ(coil_lot_count(&to), 2);
    CHECK_EQ(coil_lot_unpark(&to, SIZE_MAX, 5), 2);
    CHECK_EQ(coil_lot_repark(&from, &to, SIZE_MAX), 1);
    CHECK_EQ(coil_lot_unpark(&to, 1, 6), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], -ECANCELED);
    CHECK_RETURNED(&w[1], 5);
    CHECK_RETURNED(&w[2], 6);
    CHECK(w[3].place < w[1].place);
}

COIL_TEST(lot, s5_11_a_broken_lot_wakes_all_and_takes_nobody)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_lot other = COIL_LOT_INIT;
    struct coil_group g;
    struct wait w[4];

    coil_group_begin(&g);
    wait_start(&g, &w[0], park_in, &lot);
    wait_start(&g, &w[1], park_in, &lot);
    coil_lot_break(&lot);
    CHECK_EQ(coil_lot_count(&lot), 0);
    wait_start(&g, &w[2], park_in, &lot);
    wait_start(&g, &w[3], park_in, &other);
    CHECK_EQ(coil_lot_repark(&other, &lot, 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 4; i++)
        CHECK_RETURNED(&w[i], -EOWNERDEAD);
    CHECK_EQ(coil_lot_park(&lot, "a test"), -EOWNERDEAD);
}

/* --- Breakers -------------------------------------------------------------------------------- */

struct breaking {
    struct coil_lot lot;
    struct coil_breaker breaker;
    bool take_back;
};

static int add_a_breaker_and_end(void *arg)
{
    struct breaking *b = arg;

    CHECK_EQ(coil_breaker_add(&b->breaker, coil_task_self(), &b->lot), 0);
    give_way();
    if (b->take_back)
        coil_breaker_remove(&b->breaker);
    return 0;
}

COIL_TEST(lot, s5_11_a_lot_is_broken_when_the_task_of_its_breaker_ends)
{
    struct breaking b = {.lot = COIL_LOT_INIT};
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    SPAWN(&g, add_a_breaker_and_end, &b);
    wait_start(&g, &w, park_in, &b.lot);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, -EOWNERDEAD);
    coil_breaker_remove(&b.breaker); /* it has done its work */
}

COIL_TEST(lot, s5_11_a_breaker_taken_back_does_nothing)
{
    struct breaking b = {.lot = COIL_LOT_INIT, .take_back = true};
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    SPAWN(&g, add_a_breaker_and_end, &b);
    wait_start(&g, &w, park_in, &b.lot);
    while (coil_group_count(&g) > 1)
        coil_yield_shielded();
    give_way();
    CHECK_WAITS(&w);
    CHECK_EQ(coil_lot_unpark(&b.lot, 1, 0), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

struct two_breakers {
    struct coil_lot lots[2];
    struct coil_breaker breakers[2];
    struct coil_event may_end;
};

static bool is_broken(const struct coil_lot *lot)
{
    struct coil_lot_stats stats;

    coil_lot_stats(lot, &stats);
    return stats.broken;
}

static int add_two_breakers_and_end(void *arg)
{
    struct two_breakers *two = arg;

    for (int i = 0; i < 2; i++)
        CHECK_EQ(coil_breaker_add(&two->breakers[i], coil_task_self(), &two->lots[i]), 0);
    return coil_event_wait(&two->may_end);
}

static void take_back_the_other(void *ctx, struct coil_task *t)
{
    struct two_breakers *two = ctx;

    (void)t;
    if (is_broken(&two->lots[1]))
        coil_breaker_remove(&two->breakers[0]);
}

COIL_TEST(lot, s5_11_a_breaker_is_taken_back_also_while_another_of_its_task_does_its_work)
{
    struct two_breakers two = {.lots = {COIL_LOT_INIT}};
    struct coil_instrument i = {.task_scheduled = take_back_the_other, .ctx = &two};
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    SPAWN(&g, add_two_breakers_and_end, &two);
    wait_start(&g, &w[0], park_in, &two.lots[0]);
    wait_start(&g, &w[1], park_in, &two.lots[1]);
    CHECK_EQ(coil_instrument_add(&i), 0);
    coil_event_set(&two.may_end);
    while (!is_broken(&two.lots[1])) /* the newest first */
        give_way();
    coil_instrument_remove(&i);
    CHECK(!is_broken(&two.lots[0]));
    CHECK_EQ(coil_lot_unpark(&two.lots[0], 1, 5), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], 5);
    CHECK_RETURNED(&w[1], -EOWNERDEAD);
}

struct many_breakers {
    struct coil_lot lots[6];
    struct coil_breaker breakers[6];
};

/* Takes back the first, the last, and one in between. */
static int add_six_breakers_and_end(void *arg)
{
    struct many_breakers *m = arg;

    for (int i = 0; i < 6; i++)
        CHECK_EQ(coil_breaker_add(&m->breakers[i], coil_task_self(), &m->lots[i]), 0);
    coil_breaker_remove(&m->breakers[0]);
    coil_breaker_remove(&m->breakers[3]);
    coil_breaker_remove(&m->breakers[5]);
    coil_breaker_remove(&m->breakers[5]);
    return 0;
}

COIL_TEST(lot, s5_11_a_task_has_any_number_of_breakers_taken_back_in_any_order)
{
    struct many_breakers m = {.lots = {COIL_LOT_INIT}};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, add_six_breakers_and_end, &m);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    coil_group_begin(&g);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    for (int i = 0; i < 6; i++) {
        bool kept = i == 0 || i == 3 || i == 5;
        struct coil_scope shield;

        coil_shield_begin(&shield, COIL_FOREVER);
        if (!kept)
            CHECK_EQ(coil_lot_park(&m.lots[i], "a test"), -EOWNERDEAD);
        CHECK_EQ(coil_scope_end(&shield, 0), 0);
        if (kept)
            CHECK_EQ(coil_lot_park(&m.lots[i], "a test"), -ECANCELED);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lot, s5_11_a_breaker_is_added_once_and_to_a_task)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_breaker b = COIL_BREAKER_INIT;

    CHECK_EQ(coil_breaker_add(&b, NULL, &lot), -EINVAL);
    CHECK_EQ(coil_breaker_add(&b, coil_task_self(), NULL), -EINVAL);
    CHECK_EQ(coil_breaker_add(&b, coil_task_self(), &lot), 0);
    CHECK_EQ(coil_breaker_add(&b, coil_task_self(), &lot), -EBUSY);
    coil_breaker_remove(&b);
    CHECK_EQ(coil_breaker_add(&b, coil_task_self(), &lot), 0);
    coil_breaker_remove(&b);
}

/* The main task ends after everything else: nobody is left to wait. */
static struct coil_lot outlived;
static struct coil_breaker of_main;

static int add_to_main(void *arg)
{
    (void)arg;
    return coil_breaker_add(&of_main, coil_task_self(), &outlived);
}

static int park_in_outlived(void *arg)
{
    (void)arg;
    return coil_lot_park(&outlived, "a test") == -EOWNERDEAD ? 0 : -EPROTO;
}

Test(lot, s5_11_the_main_tasks_breakers_work_too)
{
    struct coil_loop_options options = harness_options();

    harness_need_backend();
    CHECK_EQ(coil_run(&options, add_to_main, NULL), 0);
    CHECK_EQ(coil_run(&options, park_in_outlived, NULL), 0);
}

/* --- Misuse ---------------------------------------------------------------------------------- */

static void park_outside(void)
{
    struct coil_lot lot = COIL_LOT_INIT;

    CHECK_EQ(coil_lot_park(&lot, "a test"), 0);
}

Test(lot, parking_outside_of_any_task_dies_with_a_line)
{
    CHECK(strstr(harness_abort_line(park_outside), "coil: coil_lot_park outside of any task"));
}

static int unpark_the_other_loops(void *lot)
{
    return (int)coil_lot_unpark(lot, 1, 0);
}

static void *run_another_loop(void *lot)
{
    CHECK_EQ(coil_run(NULL, unpark_the_other_loops, lot), 0);
    return NULL;
}

static int wake_from_another_thread(void *arg)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_group g;
    struct wait w;
    pthread_t thread;

    (void)arg;
    coil_group_begin(&g);
    wait_start(&g, &w, park_in, &lot);
    CHECK_EQ(pthread_create(&thread, NULL, run_another_loop, &lot), 0);
    pthread_join(thread, NULL);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    return coil_group_end(&g, 0);
}

static void wake_across_loops(void)
{
    CHECK_EQ(coil_run(NULL, wake_from_another_thread, NULL), 0);
}

Test(lot, waking_a_task_of_another_loop_dies_with_a_line)
{
    harness_need_backend();
    CHECK(strstr(harness_abort_line(wake_across_loops), "woken from outside its loop"));
}

COIL_TEST(lot, a_task_that_holds_nothing_ends_as_ever)
{
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 100; i++)
        SPAWN(&g, end_at_once, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int park_somewhere(void *lot)
{
    return coil_lot_park(lot, "a test");
}

COIL_TEST(lot, s5_11_reparked_to_where_they_are_all_move_once)
{
    static struct coil_lot lot = COIL_LOT_INIT;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_somewhere, &lot), 0);
    CHECK_EQ(coil_group_spawn(&g, park_somewhere, &lot), 0);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(coil_lot_repark(&lot, &lot, SIZE_MAX), 2);
    CHECK_EQ(coil_lot_count(&lot), 2);
    CHECK_EQ(coil_lot_unpark(&lot, SIZE_MAX, 0), 2);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* Nothing but a cancellation is called -ECANCELED. */
COIL_TEST(lot, s5_11_an_error_is_not_for_unpark_to_say)
{
    static struct coil_lot lot = COIL_LOT_INIT;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_somewhere, &lot), 0);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(coil_lot_unpark(&lot, 1, -ECANCELED), 0);
    CHECK_EQ(coil_lot_count(&lot), 1);
    CHECK_EQ(coil_lot_unpark(&lot, 1, 0), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static struct {
    struct coil_breaker breaker;
    struct coil_lot lot;
    struct coil_task *task;
} last_will;

static void add_breaker(void *value)
{
    (void)value;
    CHECK_EQ(coil_breaker_add(&last_will.breaker, last_will.task, &last_will.lot), 0);
}

static int leave_a_will(void *arg)
{
    static struct coil_local key = {.destroy = add_breaker};

    last_will.task = coil_task_self();
    return coil_local_set(&key, arg);
}

COIL_TEST(lot, s5_11_a_breaker_added_while_its_task_ends_breaks)
{
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, leave_a_will, &g), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_lot_park(&last_will.lot, "a test"), -EOWNERDEAD);
}
