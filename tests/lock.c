/* lock.c - semantics.md 5.2, 5.3, 5.4: locks, conditions, read-write locks. */
#include "waits.h"

static int acquire(void *l)
{
    return coil_lock_acquire(l);
}

static int release(void *l)
{
    return coil_lock_release(l);
}

static int acquire_and_release(void *l)
{
    int r = coil_lock_acquire(l);

    return r < 0 ? r : coil_lock_release(l);
}

static int acquire_nowait(void *l)
{
    return coil_lock_acquire_nowait(l);
}

static struct coil_lock_stats lock_stats(const struct coil_lock *l)
{
    struct coil_lock_stats stats;

    coil_lock_stats(l, &stats);
    return stats;
}

/* --- 5.2: lock ------------------------------------------------------------------------------- */

struct shared {
    struct coil_lock lock;
    int inside;
    int passes;
};

static int pass_through(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < 20; i++) {
        CHECK_EQ(coil_lock_acquire(&s->lock), 0);
        CHECK_EQ(s->inside++, 0);
        for (int k = 0; k < i % 3; k++)
            coil_yield_shielded();
        CHECK_EQ(--s->inside, 0);
        s->passes++;
        CHECK_EQ(coil_lock_release(&s->lock), 0);
    }
    return 0;
}

COIL_TEST(lock, s5_2_one_task_at_a_time_holds_it)
{
    struct shared s = {.lock = COIL_LOCK_INIT};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 10; i++)
        SPAWN(&g, pass_through, &s);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s.passes, 200);
}

COIL_TEST(lock, s5_2_release_hands_it_to_the_longest_waiting_and_so_on)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_group g;
    struct wait w[6];

    coil_group_begin(&g);
    CHECK_EQ(coil_lock_acquire(&l), 0);
    for (int i = 0; i < 6; i++)
        wait_start(&g, &w[i], acquire_and_release, &l);
    CHECK_EQ(lock_stats(&l).waiting, 6);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(w[i].place, i + 1);
}

COIL_TEST(lock, s5_2_nobody_overtakes_whom_it_was_handed_to)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    CHECK_EQ(coil_lock_acquire(&l), 0);
    wait_start(&g, &w, acquire_and_release, &l);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_lock_acquire_nowait(&l), -EAGAIN);
    CHECK(strcmp(lock_stats(&l).owner, "wait_run") == 0);
    CHECK_EQ(coil_lock_acquire(&l), 0);
    CHECK_RETURNED(&w, 0);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lock, s5_2_the_owner_that_acquires_again_gets_edeadlk)
{
    struct coil_lock l = COIL_LOCK_INIT;

    CHECK_EQ(coil_lock_acquire(&l), 0);
    CHECK_EQ(coil_lock_acquire(&l), -EDEADLK);
    CHECK_EQ(coil_lock_acquire_nowait(&l), -EDEADLK);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_lock_release(&l), -EPERM);
    CHECK_EQ(coil_lock_acquire_nowait(&l), 0);
    CHECK_EQ(coil_lock_acquire(&l), -EDEADLK);
    CHECK_EQ(coil_lock_release(&l), 0);
}

COIL_TEST(lock, s5_2_also_if_it_was_handed_the_lock)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct holder h = {.acquire = acquire, .release = release, .on = &l};
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    hold_until_told(&g, &w, &h);
    parker_unpark(&h.until, 0);
    CHECK_EQ(coil_lock_acquire(&l), 0);
    CHECK_EQ(coil_lock_acquire(&l), -EDEADLK);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lock, s5_2_only_the_owner_can_release)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_group g;
    struct wait stranger;
    struct wait waiting;

    coil_group_begin(&g);
    CHECK_EQ(coil_lock_release(&l), -EPERM);
    CHECK_EQ(coil_lock_acquire(&l), 0);
    wait_start(&g, &waiting, acquire_and_release, &l);
    wait_start(&g, &stranger, release, &l);
    CHECK_RETURNED(&stranger, -EPERM);
    CHECK_WAITS(&waiting);
    CHECK(lock_stats(&l).owner);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lock, s5_2_release_and_nowait_are_no_checkpoints)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_lock_acquire_nowait(&l), 0);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_scope_caught(&s), 0);
}

/* anyio #1145, #387: a cancelled waiter that is first, in the middle, last. */
COIL_TEST(lock, s5_2_anyio_387_a_cancelled_waiter_passes_by)
{
    for (int victim = 0; victim < 3; victim++) {
        struct coil_lock l = COIL_LOCK_INIT;
        struct coil_group g;
        struct wait w[3];

        coil_group_begin(&g);
        CHECK_EQ(coil_lock_acquire(&l), 0);
        for (int i = 0; i < 3; i++)
            wait_start(&g, &w[i], acquire_and_release, &l);
        wait_cancel(&w[victim]);
        CHECK_EQ(lock_stats(&l).waiting, 2);
        CHECK_EQ(coil_lock_release(&l), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        for (int i = 0; i < 3; i++)
            CHECK_RETURNED(&w[i], i == victim ? -ECANCELED : 0);
        CHECK(!lock_stats(&l).owner);
    }
}

/* anyio #398: granted, then cancelled before it ran. It holds the lock, and can release it. */
COIL_TEST(lock, s5_2_anyio_398_whom_it_was_handed_to_holds_it_though_cancelled)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    CHECK_EQ(coil_lock_acquire(&l), 0);
    wait_start(&g, &w[0], acquire_and_release, &l);
    wait_start(&g, &w[1], acquire_and_release, &l);
    CHECK_EQ(coil_lock_release(&l), 0);
    wait_cancel(&w[0]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], 0);
    CHECK_RETURNED(&w[1], 0);
}

/* trio #3035 */
COIL_TEST(lock, s5_2_trio_3035_waiters_hear_that_the_owner_ended_without_release)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct holder h = {.acquire = acquire, .on = &l};
    struct coil_group g;
    struct wait owner;
    struct wait w[3];

    coil_group_begin(&g);
    hold_until_told(&g, &owner, &h);
    for (int i = 0; i < 3; i++)
        wait_start(&g, &w[i], acquire, &l);
    tell(&h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 3; i++)
        CHECK_RETURNED(&w[i], -EOWNERDEAD);
    CHECK_EQ(lock_stats(&l).waiting, 0);
}

COIL_TEST(lock, s5_2_trio_3035_and_so_does_whoever_comes_later)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, acquire, &l);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(lock_stats(&l).owner_died, 1);
    CHECK(!lock_stats(&l).owner);
    CHECK_EQ(coil_lock_acquire(&l), -EOWNERDEAD);
    CHECK_EQ(coil_lock_acquire_nowait(&l), -EOWNERDEAD);
    CHECK_EQ(coil_lock_release(&l), -EPERM);
}

struct graveyard {
    struct coil_lock lock;
    struct coil_rwlock rwlock;
    const struct coil_task *dead;
    bool haunted; /* another task came to lie where the dead one had */
};

static int die_with_both(void *arg)
{
    struct graveyard *y = arg;

    y->dead = coil_task_self();
    CHECK_EQ(coil_lock_acquire(&y->lock), 0);
    return coil_rwlock_acquire_write(&y->rwlock);
}

static int be_refused_everything(void *arg)
{
    struct graveyard *y = arg;

    y->haunted |= coil_task_self() == y->dead;
    CHECK_EQ(coil_lock_acquire(&y->lock), -EOWNERDEAD);
    CHECK_EQ(coil_lock_acquire_nowait(&y->lock), -EOWNERDEAD);
    CHECK_EQ(coil_lock_release(&y->lock), -EPERM);
    CHECK_EQ(coil_rwlock_acquire_write(&y->rwlock), -EOWNERDEAD);
    CHECK_EQ(coil_rwlock_release_write(&y->rwlock), -EPERM);
    return 0;
}

/* Its stack, and with it its task's address, is used again. */
COIL_TEST(lock, s5_2_a_task_in_the_dead_owners_place_is_not_taken_for_it)
{
    struct graveyard y = {.lock = COIL_LOCK_INIT, .rwlock = COIL_RWLOCK_INIT};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, die_with_both, &y);
    give_way();
    for (int i = 0; i < 100 && !y.haunted; i++) {
        SPAWN(&g, be_refused_everything, &y);
        give_way();
    }
    CHECK(y.haunted);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lock, s5_2_a_waiter_that_is_handed_the_lock_and_dies_with_it_is_reported_too)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    CHECK_EQ(coil_lock_acquire(&l), 0);
    wait_start(&g, &w[0], acquire, &l);
    wait_start(&g, &w[1], acquire, &l);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], 0);
    CHECK_RETURNED(&w[1], -EOWNERDEAD);
}

struct many_locks {
    struct coil_lock locks[5];
    int order[5];
    int count; /* how many are released, in that order */
};

static int take_all_and_release_some(void *arg)
{
    struct many_locks *m = arg;

    for (int i = 0; i < 5; i++)
        CHECK_EQ(coil_lock_acquire(&m->locks[i]), 0);
    for (int i = 0; i < m->count; i++)
        CHECK_EQ(coil_lock_release(&m->locks[m->order[i]]), 0);
    return 0;
}

COIL_TEST(lock, s5_2_of_many_locks_released_in_any_order_the_rest_are_lost)
{
    static const int orders[][5] = {
        {0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}, {1, 3, 0, 2, 4}};

    for (int k = 0; k < 4; k++) {
        for (int count = 0; count <= 5; count++) {
            struct many_locks m = {.locks = {COIL_LOCK_INIT}, .count = count};
            struct coil_group g;

            memcpy(m.order, orders[k], sizeof(m.order));
            coil_group_begin(&g);
            SPAWN(&g, take_all_and_release_some, &m);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            for (int i = 0; i < 5; i++)
                CHECK_EQ(acquire_nowait(&m.locks[m.order[i]]), i < count ? 0 : -EOWNERDEAD);
            for (int i = 0; i < count; i++)
                CHECK_EQ(coil_lock_release(&m.locks[m.order[i]]), 0);
        }
    }
}

COIL_TEST(lock, s5_2_a_lock_released_in_time_survives_its_last_owner)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 10; i++)
        SPAWN(&g, acquire_and_release, &l);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_lock_acquire(&l), 0);
    CHECK_EQ(lock_stats(&l).owner_died, 0);
    CHECK_EQ(coil_lock_release(&l), 0);
}

/* --- 5.3: condition -------------------------------------------------------------------------- */

struct meeting {
    struct coil_lock lock;
    struct coil_condition condition;
    int count;  /* that the predicate looks at */
    int target; /* and is to reach */
    int inside; /* who holds the lock, as far as the test knows */
};

static const struct meeting new_meeting = {
    .lock = COIL_LOCK_INIT,
    .condition = COIL_CONDITION_INIT,
    .target = 1,
};

/* Whatever the wait's answer, the lock is held after it. */
static int meet(void *arg)
{
    struct meeting *m = arg;
    int r = coil_lock_acquire(&m->lock);

    if (r < 0)
        return r;
    r = coil_condition_wait(&m->condition, &m->lock);
    if (r == -EOWNERDEAD)
        return r;
    CHECK_EQ(m->inside++, 0);
    coil_yield_shielded();
    CHECK_EQ(--m->inside, 0);
    CHECK_EQ(coil_lock_release(&m->lock), 0);
    return r;
}

static size_t condition_waiting(const struct meeting *m)
{
    struct coil_condition_stats stats;

    coil_condition_stats(&m->condition, &stats);
    return stats.waiting;
}

static void take(struct meeting *m)
{
    CHECK_EQ(coil_lock_acquire(&m->lock), 0);
}

static void give_back(struct meeting *m)
{
    CHECK_EQ(coil_lock_release(&m->lock), 0);
}

COIL_TEST(lock, s5_3_wait_needs_the_lock)
{
    struct meeting m = new_meeting;
    struct holder h = {.acquire = acquire, .release = release, .on = &m.lock};
    struct coil_group g;
    struct wait w;

    CHECK_EQ(coil_condition_wait(&m.condition, &m.lock), -EPERM);
    coil_group_begin(&g);
    hold_until_told(&g, &w, &h);
    CHECK_EQ(coil_condition_wait(&m.condition, &m.lock), -EPERM);
    tell(&h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(condition_waiting(&m), 0);
}

COIL_TEST(lock, s5_3_wait_releases_the_lock_and_has_it_again_afterwards)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, meet, &m);
    CHECK_EQ(condition_waiting(&m), 1);
    take(&m);
    CHECK_EQ(coil_condition_notify(&m.condition, 1), 1);
    give_way();
    CHECK_WAITS(&w);
    CHECK_EQ(condition_waiting(&m), 0);
    CHECK_EQ(lock_stats(&m.lock).waiting, 1);
    give_back(&m);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
}

COIL_TEST(lock, s5_3_notify_wakes_as_many_as_it_says_the_longest_waiting_first)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w[5];

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++)
        wait_start(&g, &w[i], meet, &m);
    take(&m);
    CHECK_EQ(coil_condition_notify(&m.condition, 0), 0);
    CHECK_EQ(coil_condition_notify(&m.condition, 2), 2);
    give_back(&m);
    while (!w[1].place)
        coil_yield_shielded();
    give_way();
    CHECK_EQ(w[0].place, 1);
    CHECK_EQ(w[1].place, 2);
    CHECK_WAITS(&w[2]);
    CHECK_EQ(coil_condition_notify_all(&m.condition), 3);
    CHECK_EQ(coil_condition_notify_all(&m.condition), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(w[i].place, i + 1);
}

/* trio: repark. Those who are notified sleep on until the lock is theirs. */
COIL_TEST(lock, s5_3_notify_all_wakes_no_herd)
{
    struct meeting m = new_meeting;
    struct coil_stats stats;
    struct coil_group g;
    struct wait w[50];

    coil_group_begin(&g);
    for (int i = 0; i < 50; i++)
        wait_start(&g, &w[i], meet, &m);
    take(&m);
    CHECK_EQ(coil_condition_notify_all(&m.condition), 50);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.ready, 0);
    give_back(&m);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.ready, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lock, s5_3_the_notifier_need_not_hold_the_lock)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    wait_start(&g, &w[0], meet, &m);
    wait_start(&g, &w[1], meet, &m);
    CHECK_EQ(coil_condition_notify_all(&m.condition), 2);
    CHECK_EQ(coil_lock_acquire_nowait(&m.lock), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], 0);
    CHECK_RETURNED(&w[1], 0);
}

COIL_TEST(lock, s5_3_cancelled_it_has_the_lock_again_before_it_says_so)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, meet, &m);
    take(&m);
    wait_cancel(&w);
    give_way();
    CHECK_WAITS(&w);
    CHECK_EQ(condition_waiting(&m), 0);
    CHECK_EQ(lock_stats(&m.lock).waiting, 1);
    give_back(&m);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, -ECANCELED);
    CHECK(!lock_stats(&m.lock).owner);
}

COIL_TEST(lock, s5_3_cancelled_with_the_lock_free_it_takes_it_at_once)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, meet, &m);
    wait_cancel(&w);
    CHECK_EQ(coil_lock_acquire_nowait(&m.lock), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, -ECANCELED);
}

COIL_TEST(lock, s5_3_all_that_are_cancelled_together_have_the_lock_one_after_the_other)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w[10];

    coil_group_begin(&g);
    for (int i = 0; i < 10; i++)
        wait_start(&g, &w[i], meet, &m);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 10; i++)
        CHECK_RETURNED(&w[i], -ECANCELED);
    CHECK(!lock_stats(&m.lock).owner);
}

COIL_TEST(lock, s5_3_cancelled_before_it_does_not_release_the_lock)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct coil_scope s;
    struct wait w;

    coil_group_begin(&g);
    take(&m);
    wait_start(&g, &w, acquire_and_release, &m.lock);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_condition_wait(&m.condition, &m.lock), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    give_way();
    CHECK_WAITS(&w);
    give_back(&m);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lock, s5_3_a_notification_does_not_go_to_one_that_was_cancelled_first)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    wait_start(&g, &w[0], meet, &m);
    wait_start(&g, &w[1], meet, &m);
    take(&m);
    wait_cancel(&w[0]);
    CHECK_EQ(coil_condition_notify(&m.condition, 1), 1);
    CHECK_EQ(condition_waiting(&m), 0);
    give_back(&m);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], -ECANCELED);
    CHECK_RETURNED(&w[1], 0);
}

COIL_TEST(lock, s5_3_one_that_was_notified_first_is_not_cancelled_by_the_wait)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    wait_start(&g, &w[0], meet, &m);
    wait_start(&g, &w[1], meet, &m);
    take(&m);
    CHECK_EQ(coil_condition_notify(&m.condition, 1), 1);
    wait_cancel(&w[0]);
    give_way();
    give_back(&m);
    while (!w[0].place)
        coil_yield_shielded();
    CHECK_RETURNED(&w[0], 0);
    CHECK_WAITS(&w[1]);
    CHECK_EQ(coil_condition_notify(&m.condition, 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lock, s5_3_the_lock_lost_meanwhile_is_said_however_the_wait_ends)
{
    for (int how = 0; how < 3; how++) {
        struct meeting m = new_meeting;
        struct holder h = {.acquire = acquire, .on = &m.lock};
        struct coil_group g;
        struct wait owner;
        struct wait w;

        coil_group_begin(&g);
        wait_start(&g, &w, meet, &m);
        hold_until_told(&g, &owner, &h);
        if (how == 0)
            CHECK_EQ(coil_condition_notify(&m.condition, 1), 1); /* it waits for the lock */
        tell(&h);
        if (how == 1)
            CHECK_EQ(coil_condition_notify(&m.condition, 1), 0);
        if (how == 2)
            wait_cancel(&w);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&w, -EOWNERDEAD);
    }
}

/* The condition of one meeting, the lock of another. */
struct muddle {
    struct meeting *one;
    struct meeting *other;
};

static int meet_with_anothers_lock(void *arg)
{
    struct muddle *m = arg;

    CHECK_EQ(coil_lock_acquire(&m->other->lock), 0);
    return coil_condition_wait(&m->one->condition, &m->other->lock);
}

COIL_TEST(lock, s5_3_a_notification_that_one_can_do_nothing_with_goes_to_the_next)
{
    struct meeting m = new_meeting;
    struct meeting lost = new_meeting;
    struct muddle muddle = {&m, &lost};
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    wait_start(&g, &w[0], meet_with_anothers_lock, &muddle);
    wait_start(&g, &w[1], meet, &m);
    SPAWN(&g, acquire, &lost.lock);
    give_way();
    CHECK_EQ(lock_stats(&lost.lock).owner_died, 1);
    CHECK_EQ(coil_condition_notify(&m.condition, 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], -EOWNERDEAD);
    CHECK_RETURNED(&w[1], 0);
}

static int has_reached(void *arg)
{
    const struct meeting *m = arg;

    CHECK(lock_stats(&m->lock).owner);
    return m->count < m->target ? 0 : m->count;
}

static int meet_when_reached(void *arg)
{
    struct meeting *m = arg;
    int r;

    CHECK_EQ(coil_lock_acquire(&m->lock), 0);
    r = coil_condition_wait_for(&m->condition, &m->lock, has_reached, m);
    CHECK_EQ(coil_lock_release(&m->lock), 0);
    return r;
}

static int count_up(void *arg)
{
    struct meeting *m = arg;

    CHECK_EQ(coil_lock_acquire(&m->lock), 0);
    m->count++;
    CHECK(coil_condition_notify_all(&m->condition) <= 1);
    return coil_lock_release(&m->lock);
}

COIL_TEST(lock, s5_3_wait_for_waits_as_often_as_need_be)
{
    struct meeting m = new_meeting;
    struct coil_group g;
    struct wait w;

    m.target = 5;
    coil_group_begin(&g);
    wait_start(&g, &w, meet_when_reached, &m);
    for (int i = 0; i < 5; i++) {
        CHECK_WAITS(&w);
        SPAWN(&g, count_up, &m);
        give_way();
        give_way();
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 5);
    CHECK_EQ(meet_when_reached(&m), 5);
}

COIL_TEST(lock, s5_3_wait_for_is_a_checkpoint_also_if_the_predicate_is_true)
{
    struct meeting m = new_meeting;
    struct coil_scope s;

    m.count = 1;
    coil_scope_begin(&s, COIL_FOREVER);
    take(&m);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_condition_wait_for(&m.condition, &m.lock, has_reached, &m), -ECANCELED);
    give_back(&m);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

static int refuse(void *arg)
{
    (void)arg;
    return -EPROTO;
}

COIL_TEST(lock, s5_3_a_predicate_may_give_up)
{
    struct meeting m = new_meeting;

    take(&m);
    CHECK_EQ(coil_condition_wait_for(&m.condition, &m.lock, refuse, NULL), -EPROTO);
    give_back(&m);
}

COIL_TEST(lock, a_condition_without_a_lock_or_a_predicate_is_refused)
{
    struct meeting m = new_meeting;

    CHECK_EQ(coil_condition_wait(&m.condition, NULL), -EINVAL);
    CHECK_EQ(coil_condition_wait_for(&m.condition, NULL, has_reached, &m), -EINVAL);
    CHECK_EQ(coil_condition_wait_for(&m.condition, &m.lock, has_reached, &m), -EPERM);
    take(&m);
    CHECK_EQ(coil_condition_wait_for(&m.condition, &m.lock, NULL, &m), -EINVAL);
    give_back(&m);
}

/* --- 5.4: read-write lock -------------------------------------------------------------------- */

static int read_lock(void *l)
{
    return coil_rwlock_acquire_read(l);
}

static int read_unlock(void *l)
{
    return coil_rwlock_release_read(l);
}

static int write_lock(void *l)
{
    return coil_rwlock_acquire_write(l);
}

static int write_unlock(void *l)
{
    return coil_rwlock_release_write(l);
}

static int read_once(void *l)
{
    int r = coil_rwlock_acquire_read(l);

    return r < 0 ? r : coil_rwlock_release_read(l);
}

static int write_once(void *l)
{
    int r = coil_rwlock_acquire_write(l);

    return r < 0 ? r : coil_rwlock_release_write(l);
}

static struct coil_rwlock_stats rwlock_stats(const struct coil_rwlock *l)
{
    struct coil_rwlock_stats stats;

    coil_rwlock_stats(l, &stats);
    return stats;
}

COIL_TEST(lock, s5_4_many_read_or_one_writes)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct holder h[3];
    struct coil_group g;
    struct wait w[4];

    coil_group_begin(&g);
    for (int i = 0; i < 3; i++) {
        h[i] = (struct holder){.acquire = read_lock, .release = read_unlock, .on = &l};
        hold_until_told(&g, &w[i], &h[i]);
        CHECK_EQ(rwlock_stats(&l).readers, i + 1);
    }
    wait_start(&g, &w[3], write_once, &l);
    for (int i = 0; i < 3; i++) {
        CHECK_WAITS(&w[3]);
        CHECK_EQ(coil_rwlock_acquire_write_nowait(&l), -EAGAIN);
        tell(&h[i]);
    }
    CHECK_RETURNED(&w[3], 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(lock, s5_4_a_reader_behind_a_waiting_writer_waits)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct coil_group g;
    struct wait writer;
    struct wait reader;

    coil_group_begin(&g);
    CHECK_EQ(coil_rwlock_acquire_read(&l), 0);
    wait_start(&g, &writer, write_once, &l);
    wait_start(&g, &reader, read_once, &l);
    CHECK_WAITS(&reader);
    CHECK_EQ(coil_rwlock_acquire_read_nowait(&l), -EAGAIN);
    CHECK_EQ(rwlock_stats(&l).waiting, 2);
    CHECK_EQ(coil_rwlock_release_read(&l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(writer.place < reader.place);
}

COIL_TEST(lock, s5_4_readers_next_to_each_other_go_in_together)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct holder h[4];
    struct coil_group g;
    struct wait w[4];
    struct wait writer;
    struct wait last;

    coil_group_begin(&g);
    CHECK_EQ(coil_rwlock_acquire_write(&l), 0);
    for (int i = 0; i < 4; i++) {
        h[i] = (struct holder){.acquire = read_lock, .release = read_unlock, .on = &l};
        hold_until_told(&g, &w[i], &h[i]);
    }
    wait_start(&g, &writer, write_once, &l);
    wait_start(&g, &last, read_once, &l);
    CHECK_EQ(coil_rwlock_release_write(&l), 0);
    CHECK_EQ(rwlock_stats(&l).readers, 4);
    CHECK_EQ(rwlock_stats(&l).waiting, 2);
    give_way();
    for (int i = 0; i < 4; i++)
        tell(&h[i]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(writer.place < last.place);
}

COIL_TEST(lock, s5_4_readers_go_in_when_the_writer_before_them_is_cancelled)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct coil_group g;
    struct wait writer;
    struct wait readers[2];

    coil_group_begin(&g);
    CHECK_EQ(coil_rwlock_acquire_read(&l), 0);
    wait_start(&g, &writer, write_once, &l);
    wait_start(&g, &readers[0], read_once, &l);
    wait_start(&g, &readers[1], read_once, &l);
    wait_cancel(&writer);
    CHECK_EQ(rwlock_stats(&l).readers, 3);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&writer, -ECANCELED);
    CHECK_RETURNED(&readers[0], 0);
    CHECK_RETURNED(&readers[1], 0);
    CHECK_EQ(coil_rwlock_release_read(&l), 0);
}

COIL_TEST(lock, s5_4_but_not_if_they_are_cancelled_with_it)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct coil_group g;
    struct coil_group outer;
    struct wait writer;
    struct wait readers[2];
    struct wait apart;

    coil_group_begin(&outer);
    coil_group_begin(&g);
    CHECK_EQ(coil_rwlock_acquire_read(&l), 0);
    wait_start(&g, &writer, write_once, &l);
    wait_start(&g, &readers[0], read_once, &l);
    wait_start(&outer, &apart, read_once, &l);
    wait_start(&g, &readers[1], read_once, &l);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&writer, -ECANCELED);
    CHECK_RETURNED(&readers[0], -ECANCELED);
    CHECK_RETURNED(&readers[1], -ECANCELED);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
    CHECK_RETURNED(&apart, 0);
    CHECK_EQ(coil_rwlock_release_read(&l), 0);
}

struct hurried {
    struct coil_rwlock l;
    int64_t deadline_ns;
};

static int write_until_the_deadline(void *arg)
{
    struct hurried *h = arg;
    struct coil_scope s;

    coil_scope_begin(&s, h->deadline_ns);
    return coil_scope_end(&s, write_once(&h->l));
}

static int read_until_the_deadline(void *arg)
{
    struct hurried *h = arg;
    struct coil_scope s;

    coil_scope_begin(&s, h->deadline_ns);
    CHECK_EQ(coil_rwlock_acquire_read(&h->l), -ECANCELED);
    return coil_scope_end(&s, -ECANCELED);
}

COIL_TEST(lock, s5_4_nor_if_their_own_deadline_passes_at_the_same_time)
{
    struct hurried h = {COIL_RWLOCK_INIT, coil_now() + COIL_MILLISECOND};
    struct coil_group g;
    struct wait writer;
    struct wait reader;

    coil_group_begin(&g);
    CHECK_EQ(coil_rwlock_acquire_read(&h.l), 0);
    wait_start(&g, &writer, write_until_the_deadline, &h);
    wait_start(&g, &reader, read_until_the_deadline, &h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&writer, 0);
    CHECK_RETURNED(&reader, 0);
    CHECK_EQ(rwlock_stats(&h.l).readers, 1);
    CHECK_EQ(coil_rwlock_release_read(&h.l), 0);
}

/* At one time a writer gives up, and with him, by a hook, a group is cancelled: in it a reader, who
 * would be let in, and one who holds the lock, and whose abort function lets go and does away with
 * it. */
struct abandoned {
    struct coil_rwlock l;
    struct coil_scope hurry; /* around the writer */
    struct coil_group g;
    bool cancelled;
    bool gone;
};

static enum coil_abort do_away_with(void *ctx)
{
    struct abandoned *a = ctx;

    CHECK_EQ(coil_rwlock_release_read(&a->l), 0);
    memset(&a->l, 0xff, sizeof(a->l));
    a->gone = true;
    return COIL_ABORT_DONE;
}

static int read_until_told(void *arg)
{
    struct abandoned *a = arg;

    CHECK_EQ(coil_rwlock_acquire_read(&a->l), 0);
    return coil_park(do_away_with, a, "the end");
}

static int write_in_a_hurry(void *arg)
{
    struct abandoned *a = arg;
    int rc;

    coil_scope_begin(&a->hurry, COIL_FOREVER);
    rc = write_once(&a->l);
    return coil_scope_end(&a->hurry, rc);
}

static void cancel_with_him(void *ctx, struct coil_task *t)
{
    struct abandoned *a = ctx;

    (void)t;
    if (a->cancelled)
        return;
    a->cancelled = true;
    coil_scope_cancel(coil_group_scope(&a->g), NULL);
    CHECK(!a->gone); /* he is told when the writer's leaving is through */
}

COIL_TEST(lock, s5_4_who_does_away_with_a_lock_that_others_are_leaving_comes_after_them)
{
    struct abandoned a = {.l = COIL_RWLOCK_INIT};
    const struct coil_instrument i = {.task_scheduled = cancel_with_him, .ctx = &a};
    struct coil_group outer;
    struct wait holder;
    struct wait writer;
    struct wait reader;

    coil_group_begin(&outer);
    coil_group_begin(&a.g);
    wait_start(&a.g, &holder, read_until_told, &a);
    wait_start(&outer, &writer, write_in_a_hurry, &a);
    wait_start(&a.g, &reader, read_once, &a.l);
    CHECK_EQ(coil_instrument_add(&i), 0);
    coil_scope_set_deadline(&a.hurry, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_group_end(&a.g, 0), 0);
    coil_instrument_remove(&i);
    CHECK(a.gone);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
    CHECK_RETURNED(&writer, 0);
    CHECK_RETURNED(&reader, -ECANCELED);
}

/* Of two who are cancelled at once, the first has been told: a hook shields the second, who waits
 * for the lock, and releases that, in this order or the other. */
struct rescue {
    struct coil_scope scope; /* around the second's wait */
    struct coil_rwlock l;
    bool shield_first;
    bool done;
};

static int sleep_for_ever(void *unused)
{
    (void)unused;
    return coil_sleep(COIL_FOREVER);
}

static int write_in_a_scope(void *arg)
{
    struct rescue *r = arg;
    int rc;

    coil_scope_begin(&r->scope, COIL_FOREVER);
    rc = write_once(&r->l);
    return coil_scope_end(&r->scope, rc);
}

static void rescue(void *ctx, struct coil_task *t)
{
    struct rescue *r = ctx;

    (void)t;
    if (r->done)
        return;
    r->done = true;
    if (r->shield_first)
        coil_scope_set_shield(&r->scope, 1);
    CHECK_EQ(coil_rwlock_release_read(&r->l), 0);
    coil_scope_set_shield(&r->scope, 1);
}

COIL_TEST(lock, s5_4_who_is_shielded_before_being_told_of_the_cancel_is_let_in)
{
    for (int shield_first = 0; shield_first < 2; shield_first++) {
        struct rescue r = {.l = COIL_RWLOCK_INIT, .shield_first = shield_first};
        const struct coil_instrument i = {.task_scheduled = rescue, .ctx = &r};
        struct coil_group outer;
        struct coil_group g;
        struct wait first;
        struct wait writer;
        struct wait last;

        coil_group_begin(&outer);
        coil_group_begin(&g);
        CHECK_EQ(coil_rwlock_acquire_read(&r.l), 0);
        wait_start(&g, &first, sleep_for_ever, NULL);
        wait_start(&g, &writer, write_in_a_scope, &r);
        wait_start(&outer, &last, read_once, &r.l);
        CHECK_EQ(coil_instrument_add(&i), 0);
        coil_scope_cancel(coil_group_scope(&g), NULL);
        coil_instrument_remove(&i);
        CHECK(r.done);
        CHECK(rwlock_stats(&r.l).writer);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&writer, 0);
        CHECK_EQ(coil_group_end(&outer, 0), 0);
        CHECK_RETURNED(&last, 0);
    }
}

COIL_TEST(lock, s5_4_the_writer_that_asks_again_gets_edeadlk)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;

    CHECK_EQ(coil_rwlock_acquire_write(&l), 0);
    CHECK_EQ(coil_rwlock_acquire_write(&l), -EDEADLK);
    CHECK_EQ(coil_rwlock_acquire_read(&l), -EDEADLK);
    CHECK_EQ(coil_rwlock_acquire_write_nowait(&l), -EDEADLK);
    CHECK_EQ(coil_rwlock_acquire_read_nowait(&l), -EDEADLK);
    CHECK_EQ(coil_rwlock_release_write(&l), 0);
}

COIL_TEST(lock, s5_4_only_what_is_held_can_be_released)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct holder h = {.acquire = write_lock, .release = write_unlock, .on = &l};
    struct coil_group g;
    struct wait w;

    CHECK_EQ(coil_rwlock_release_read(&l), -EPERM);
    CHECK_EQ(coil_rwlock_release_write(&l), -EPERM);
    coil_group_begin(&g);
    hold_until_told(&g, &w, &h);
    CHECK(rwlock_stats(&l).writer);
    CHECK_EQ(coil_rwlock_release_read(&l), -EPERM);
    CHECK_EQ(coil_rwlock_release_write(&l), -EPERM);
    tell(&h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_rwlock_acquire_read(&l), 0);
    CHECK_EQ(coil_rwlock_release_write(&l), -EPERM);
    CHECK_EQ(coil_rwlock_release_read(&l), 0);
    CHECK_EQ(coil_rwlock_release_read(&l), -EPERM);
}

COIL_TEST(lock, s5_4_a_writer_that_ends_without_release_loses_the_lock)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct holder h = {.acquire = write_lock, .on = &l};
    struct coil_group g;
    struct wait owner;
    struct wait w[2];

    coil_group_begin(&g);
    hold_until_told(&g, &owner, &h);
    wait_start(&g, &w[0], read_once, &l);
    wait_start(&g, &w[1], write_once, &l);
    tell(&h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], -EOWNERDEAD);
    CHECK_RETURNED(&w[1], -EOWNERDEAD);
    CHECK_EQ(coil_rwlock_acquire_read(&l), -EOWNERDEAD);
    CHECK_EQ(coil_rwlock_acquire_write_nowait(&l), -EOWNERDEAD);
    CHECK_EQ(coil_rwlock_release_write(&l), -EPERM);
    CHECK_EQ(rwlock_stats(&l).writer_died, 1);
}

struct book {
    struct coil_rwlock lock;
    int readers;
    int writers;
    int read;
    int written;
};

static int read_much(void *arg)
{
    struct book *b = arg;

    for (int i = 0; i < 10; i++) {
        CHECK_EQ(coil_rwlock_acquire_read(&b->lock), 0);
        CHECK_EQ(b->writers, 0);
        b->readers++;
        coil_yield_shielded();
        b->readers--;
        b->read++;
        CHECK_EQ(coil_rwlock_release_read(&b->lock), 0);
    }
    return 0;
}

static int write_much(void *arg)
{
    struct book *b = arg;

    for (int i = 0; i < 10; i++) {
        CHECK_EQ(coil_rwlock_acquire_write(&b->lock), 0);
        CHECK_EQ(b->readers, 0);
        CHECK_EQ(b->writers++, 0);
        coil_yield_shielded();
        b->writers--;
        b->written++;
        CHECK_EQ(coil_rwlock_release_write(&b->lock), 0);
    }
    return 0;
}

COIL_TEST(lock, s5_4_readers_and_writers_are_all_served)
{
    struct book b = {.lock = COIL_RWLOCK_INIT};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 10; i++) {
        SPAWN(&g, read_much, &b);
        SPAWN(&g, write_much, &b);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(b.read, 100);
    CHECK_EQ(b.written, 100);
}
