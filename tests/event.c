/* event.c - semantics.md 5.1, 5.8, 5.10: events, watches, futures, guards. */
#include "waits.h"

static int wait_for_event(void *e)
{
    return coil_event_wait(e);
}

/* --- 5.1: event ------------------------------------------------------------------------------ */

COIL_TEST_IN_ORDER(event, s5_1_set_wakes_all_in_the_order_in_which_they_came)
{
    struct coil_event e = COIL_EVENT_INIT;
    struct coil_event_stats stats;
    struct coil_group g;
    struct wait w[20];

    coil_group_begin(&g);
    for (int i = 0; i < 20; i++)
        wait_start(&g, &w[i], wait_for_event, &e);
    coil_event_stats(&e, &stats);
    CHECK_EQ(stats.set, 0);
    CHECK_EQ(stats.waiting, 20);
    coil_event_set(&e);
    coil_event_stats(&e, &stats);
    CHECK_EQ(stats.set, 1);
    CHECK_EQ(stats.waiting, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(w[i].place, i + 1);
}

/* trio #637: there is no way back, by design. */
COIL_TEST(event, s5_1_once_set_it_stays_set)
{
    struct coil_event e = COIL_EVENT_INIT;

    CHECK_EQ(coil_event_is_set(&e), 0);
    for (int i = 0; i < 3; i++) {
        coil_event_set(&e);
        CHECK_EQ(coil_event_is_set(&e), 1);
        CHECK_EQ(coil_event_wait(&e), 0);
    }
}

COIL_TEST(event, s5_1_set_is_no_checkpoint)
{
    struct coil_event e = COIL_EVENT_INIT;
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    coil_event_set(&e);
    CHECK_EQ(coil_event_is_set(&e), 1);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_scope_caught(&s), 0);
}

struct short_lived {
    struct coil_event **shared;
    bool woken;
};

static int wait_for_anothers_event(void *arg)
{
    struct short_lived *s = arg;
    int r = coil_event_wait(*s->shared);

    s->woken = true;
    return r;
}

static __attribute__((noinline)) void set_one_of_this_frame(struct coil_event **shared)
{
    struct coil_event e = COIL_EVENT_INIT;

    *shared = &e;
    give_way();
    coil_event_set(&e);
}

static __attribute__((noinline)) void overwrite_the_stack(void)
{
    volatile char frame[512];

    memset((char *)frame, 0xa5, sizeof(frame));
}

COIL_TEST(event, s5_1_it_may_go_out_of_scope_right_after_set)
{
    struct coil_event *shared = NULL;
    struct short_lived s = {.shared = &shared};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, wait_for_anothers_event, &s);
    set_one_of_this_frame(&shared);
    overwrite_the_stack();
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(s.woken);
}

static int set_again(void *arg)
{
    struct coil_event **chain = arg;

    CHECK_EQ(coil_event_wait(chain[0]), 0);
    coil_event_set(chain[1]);
    return 0;
}

COIL_TEST(event, s5_1_who_is_woken_may_wake_others)
{
    struct coil_event e[10] = {COIL_EVENT_INIT};
    struct coil_event *chain[9][2];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 9; i++) {
        chain[i][0] = &e[i];
        chain[i][1] = &e[i + 1];
        SPAWN(&g, set_again, chain[i]);
    }
    coil_event_set(&e[0]);
    CHECK_EQ(coil_event_wait(&e[9]), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- 5.1: watch ------------------------------------------------------------------------------ */

struct watcher {
    struct coil_watch *watch;
    uint64_t seen;
};

static int look(void *arg)
{
    struct watcher *w = arg;

    return coil_watch_wait(w->watch, &w->seen);
}

COIL_TEST(event, s5_1_a_watch_tells_that_it_changed_since_one_looked)
{
    struct coil_watch watch = COIL_WATCH_INIT;
    struct watcher late = {.watch = &watch};
    struct coil_group g;
    struct wait w;

    CHECK_EQ(coil_watch_generation(&watch), 0);
    coil_watch_notify(&watch);
    coil_watch_notify(&watch);
    coil_watch_notify(&watch);
    CHECK_EQ(look(&late), 0);
    CHECK_EQ(late.seen, 3);
    coil_group_begin(&g);
    wait_start(&g, &w, look, &late);
    CHECK_WAITS(&w);
    coil_watch_notify(&watch);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
    CHECK_EQ(late.seen, 4);
}

/* trio #987 */
COIL_TEST(event, s5_1_a_change_between_being_woken_and_running_is_not_lost)
{
    struct coil_watch watch = COIL_WATCH_INIT;
    struct watcher watcher = {.watch = &watch};
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, look, &watcher);
    coil_watch_notify(&watch);
    coil_watch_notify(&watch);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(watcher.seen, 1);
    CHECK_EQ(look(&watcher), 0);
    CHECK_EQ(watcher.seen, 2);
}

struct number {
    struct coil_watch watch;
    int now;
    int watchers_done;
};

/* Looks, works for a while, and looks again, until it has seen the last. */
static int follow(void *arg)
{
    struct number *n = arg;
    uint64_t seen = coil_watch_generation(&n->watch);
    int last = n->now;

    while (last < 100) {
        CHECK_EQ(coil_watch_wait(&n->watch, &seen), 0);
        CHECK(n->now >= last);
        last = n->now;
        for (int i = 0; i < last % 5; i++)
            coil_yield_shielded();
    }
    n->watchers_done++;
    return 0;
}

COIL_TEST(event, s5_1_the_last_update_reaches_every_watcher_however_busy)
{
    struct number n = {.watch = COIL_WATCH_INIT};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 10; i++)
        SPAWN(&g, follow, &n);
    while (n.now < 100) {
        n.now++;
        coil_watch_notify(&n.watch);
        for (int i = 0; i < n.now % 3; i++)
            coil_yield_shielded();
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(n.watchers_done, 10);
}

COIL_TEST(event, s5_1_a_cancelled_watcher_has_seen_nothing)
{
    struct coil_watch watch = COIL_WATCH_INIT;
    struct watcher watcher = {.watch = &watch};
    struct coil_watch_stats stats;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, look, &watcher);
    coil_watch_stats(&watch, &stats);
    CHECK_EQ(stats.waiting, 1);
    wait_cancel(&w);
    coil_watch_notify(&watch);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, -ECANCELED);
    CHECK_EQ(watcher.seen, 0);
    coil_watch_stats(&watch, &stats);
    CHECK_EQ(stats.generation, 1);
    CHECK_EQ(stats.waiting, 0);
}

COIL_TEST(event, a_watch_without_a_place_for_the_generation_is_refused)
{
    struct coil_watch watch = COIL_WATCH_INIT;

    CHECK_EQ(coil_watch_wait(&watch, NULL), -EINVAL);
    coil_watch_notify(&watch);
    CHECK_EQ(coil_watch_wait(&watch, NULL), -EINVAL);
}

/* --- 5.8: future ----------------------------------------------------------------------------- */

struct reader {
    struct coil_future *future;
    void *value;
};

static int read_future(void *arg)
{
    struct reader *r = arg;

    return coil_future_wait(r->future, &r->value);
}

COIL_TEST_IN_ORDER(event, s5_8_a_future_gives_its_result_to_all_who_wait_and_all_who_come)
{
    struct coil_future f = COIL_FUTURE_INIT;
    struct reader readers[5];
    struct coil_future_stats stats;
    struct coil_group g;
    struct wait w[5];
    int value;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        readers[i] = (struct reader){.future = &f};
        wait_start(&g, &w[i], read_future, &readers[i]);
    }
    coil_future_stats(&f, &stats);
    CHECK_EQ(stats.set, 0);
    CHECK_EQ(stats.waiting, 5);
    CHECK_EQ(coil_future_set(&f, 7, &value), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 5; i++) {
        CHECK_RETURNED(&w[i], 7);
        CHECK_EQ(w[i].place, i + 1);
        CHECK(readers[i].value == &value);
    }
    readers[0].value = NULL;
    CHECK_EQ(read_future(&readers[0]), 7);
    CHECK(readers[0].value == &value);
    CHECK_EQ(coil_future_wait(&f, NULL), 7);
    coil_future_stats(&f, &stats);
    CHECK_EQ(stats.set, 1);
    CHECK_EQ(stats.waiting, 0);
}

COIL_TEST(event, s5_8_it_is_written_once)
{
    struct coil_future f = COIL_FUTURE_INIT;
    int first;
    int second;
    void *value = NULL;

    CHECK_EQ(coil_future_set(&f, 0, &first), 0);
    CHECK_EQ(coil_future_set(&f, 1, &second), -EALREADY);
    CHECK_EQ(coil_future_set(&f, -EIO, NULL), -EALREADY);
    CHECK_EQ(coil_future_result(&f, &value), 0);
    CHECK(value == &first);
}

COIL_TEST(event, s5_8_read_too_early_it_says_so)
{
    struct coil_future f = COIL_FUTURE_INIT;
    int nothing;
    void *value = &nothing;

    CHECK_EQ(coil_future_is_set(&f), 0);
    CHECK_EQ(coil_future_result(&f, &value), -EAGAIN);
    CHECK(value == &nothing);
    CHECK_EQ(coil_future_result(&f, NULL), -EAGAIN);
    CHECK_EQ(coil_future_set(&f, 3, NULL), 0);
    CHECK_EQ(coil_future_is_set(&f), 1);
    CHECK_EQ(coil_future_result(&f, &value), 3);
    CHECK(value == NULL);
}

COIL_TEST(event, s5_8_a_cancelled_waiter_harms_nobody)
{
    for (int victim = 0; victim < 3; victim++) {
        struct coil_future f = COIL_FUTURE_INIT;
        struct reader readers[3];
        struct coil_group g;
        struct wait w[3];

        coil_group_begin(&g);
        for (int i = 0; i < 3; i++) {
            readers[i] = (struct reader){.future = &f};
            wait_start(&g, &w[i], read_future, &readers[i]);
        }
        wait_cancel(&w[victim]);
        give_way();
        CHECK_RETURNED(&w[victim], -ECANCELED);
        CHECK_EQ(coil_future_set(&f, 5, &f), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(w[i].result, i == victim ? -ECANCELED : 5);
            CHECK(readers[i].value == (i == victim ? NULL : &f));
        }
    }
}

COIL_TEST(event, s5_8_a_result_may_be_an_error_and_carry_a_value)
{
    struct coil_future f = COIL_FUTURE_INIT;
    struct reader reader = {.future = &f};
    struct coil_group g;
    struct wait w;
    int why;

    coil_group_begin(&g);
    wait_start(&g, &w, read_future, &reader);
    CHECK_EQ(coil_future_set(&f, -EIO, &why), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, -EIO);
    CHECK(reader.value == &why);
}

COIL_TEST(event, s5_8_no_result_is_called_cancelled)
{
    struct coil_future f = COIL_FUTURE_INIT;

    CHECK_EQ(coil_future_set(&f, -ECANCELED, NULL), -EINVAL);
    CHECK_EQ(coil_future_is_set(&f), 0);
    CHECK_EQ(coil_future_set(&f, 0, NULL), 0);
    CHECK_EQ(coil_future_set(&f, -ECANCELED, NULL), -EINVAL);
}

/* --- 5.10: guard ----------------------------------------------------------------------------- */

static int enter(void *g)
{
    return coil_guard_enter(g);
}

static int leave(void *g)
{
    return coil_guard_leave(g);
}

COIL_TEST(event, s5_10_a_second_user_is_refused_and_told_who_is_in_the_way)
{
    struct coil_guard guard = COIL_GUARD_INIT("reading from");
    struct holder h = {.acquire = enter, .release = leave, .on = &guard};
    struct coil_guard_stats stats;
    struct coil_group g;
    struct wait w;
    char words[256];
    int len;

    coil_group_begin(&g);
    hold_until_told(&g, &w, &h);
    coil_guard_stats(&guard, &stats);
    CHECK(strcmp(stats.user, "wait_run") == 0);
    CHECK_EQ(coil_guard_enter(&guard), -EBUSY);
    len = coil_guard_message(&guard, words, sizeof(words));
    CHECK_EQ(len, strlen(words));
    CHECK(strstr(words, "task wait_run, spawned at "));
    CHECK(strstr(words, "waits.h:"));
    CHECK(strstr(words, " is already reading from this"));
    tell(&h);
    CHECK_EQ(coil_guard_enter(&guard), 0);
    CHECK_EQ(coil_guard_enter(&guard), -EBUSY);
    CHECK_EQ(coil_guard_leave(&guard), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(event, s5_10_nobody_in_the_way_is_no_words)
{
    struct coil_guard guard = COIL_GUARD_INIT(NULL);
    struct coil_guard_stats stats;
    char words[8] = "before";

    coil_guard_stats(&guard, &stats);
    CHECK(!stats.user);
    CHECK_EQ(coil_guard_message(&guard, words, sizeof(words)), 0);
    CHECK_EQ(strlen(words), 0);
    CHECK_EQ(coil_guard_enter(&guard), 0);
    CHECK(coil_guard_message(&guard, words, sizeof(words)) > 8);
    CHECK_EQ(strlen(words), 7);
    CHECK(coil_guard_message(&guard, NULL, 0) > 8);
    CHECK_EQ(coil_guard_leave(&guard), 0);
}

COIL_TEST(event, s5_10_only_who_is_in_can_leave)
{
    struct coil_guard guard = COIL_GUARD_INIT("using");
    struct holder h = {.acquire = enter, .release = leave, .on = &guard};
    struct coil_group g;
    struct wait w;

    CHECK_EQ(coil_guard_leave(&guard), -EPERM);
    coil_group_begin(&g);
    hold_until_told(&g, &w, &h);
    CHECK_EQ(coil_guard_leave(&guard), -EPERM);
    CHECK_EQ(coil_guard_enter(&guard), -EBUSY);
    tell(&h);
    CHECK_EQ(coil_guard_leave(&guard), -EPERM);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(event, s5_10_a_task_that_ends_has_left)
{
    struct coil_guard guard = COIL_GUARD_INIT("using");
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, enter, &guard);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_guard_enter(&guard), 0);
    CHECK_EQ(coil_guard_leave(&guard), 0);
}
