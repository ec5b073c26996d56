/* semaphore.c - semantics.md 5.4, 5.5: semaphores, barriers, capacity limiters. */
#include "waits.h"

static int acquire(void *s)
{
    return coil_semaphore_acquire(s);
}

static struct coil_semaphore_stats semaphore_stats(const struct coil_semaphore *s)
{
    struct coil_semaphore_stats stats;

    coil_semaphore_stats(s, &stats);
    return stats;
}

/* --- 5.4: semaphore -------------------------------------------------------------------------- */

COIL_TEST(semaphore, s5_4_it_gives_out_what_it_holds_and_then_in_order)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(2, COIL_UNLIMITED);
    struct coil_group g;
    struct wait w[3];

    CHECK_EQ(coil_semaphore_acquire(&s), 0);
    CHECK_EQ(coil_semaphore_acquire_nowait(&s), 0);
    CHECK_EQ(coil_semaphore_acquire_nowait(&s), -EAGAIN);
    coil_group_begin(&g);
    for (int i = 0; i < 3; i++)
        wait_start(&g, &w[i], acquire, &s);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(semaphore_stats(&s).waiting, 3 - i);
        CHECK_WAITS(&w[i]);
        CHECK_EQ(coil_semaphore_release(&s), 0);
        give_way();
        CHECK_EQ(w[i].place, i + 1);
    }
    CHECK_EQ(semaphore_stats(&s).value, 0);
    CHECK_EQ(coil_semaphore_release(&s), 0);
    CHECK_EQ(semaphore_stats(&s).value, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(semaphore, s5_4_after_a_release_to_a_waiter_nobody_else_can_acquire)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(0, COIL_UNLIMITED);
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, acquire, &s);
    CHECK_EQ(coil_semaphore_release(&s), 0);
    CHECK_EQ(coil_semaphore_acquire_nowait(&s), -EAGAIN);
    CHECK_EQ(semaphore_stats(&s).value, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
}

COIL_TEST(semaphore, s5_4_a_release_beyond_the_maximum_is_refused)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(2, 2);

    CHECK_EQ(coil_semaphore_release(&s), -EOVERFLOW);
    CHECK_EQ(coil_semaphore_acquire(&s), 0);
    CHECK_EQ(coil_semaphore_release(&s), 0);
    CHECK_EQ(coil_semaphore_release(&s), -EOVERFLOW);
    CHECK_EQ(semaphore_stats(&s).value, 2);
    CHECK_EQ(semaphore_stats(&s).max, 2);
}

COIL_TEST(semaphore, s5_4_at_the_very_end_of_numbers_too)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(INT64_MAX - 1, COIL_UNLIMITED);

    CHECK_EQ(coil_semaphore_release(&s), 0);
    CHECK_EQ(coil_semaphore_release(&s), -EOVERFLOW);
    CHECK_EQ(coil_semaphore_acquire(&s), 0);
}

COIL_TEST(semaphore, s5_4_any_task_may_release)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(0, 1);
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, acquire, &s);
    CHECK_EQ(coil_semaphore_release(&s), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_semaphore_release(&s), 0);
}

/* anyio #387, #1145 */
COIL_TEST(semaphore, s5_4_anyio_1145_a_cancelled_waiter_passes_by)
{
    for (int victim = 0; victim < 3; victim++) {
        struct coil_semaphore s = COIL_SEMAPHORE_INIT(0, 5);
        struct coil_group g;
        struct wait w[3];

        coil_group_begin(&g);
        for (int i = 0; i < 3; i++)
            wait_start(&g, &w[i], acquire, &s);
        wait_cancel(&w[victim]);
        CHECK_EQ(coil_semaphore_release(&s), 0);
        CHECK_EQ(coil_semaphore_release(&s), 0);
        CHECK_EQ(coil_semaphore_release(&s), 0);
        CHECK_EQ(semaphore_stats(&s).value, 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        for (int i = 0; i < 3; i++)
            CHECK_RETURNED(&w[i], i == victim ? -ECANCELED : 0);
    }
}

/* anyio #728: what was handed to a waiter that is then cancelled is not dropped. */
COIL_TEST(semaphore, s5_4_anyio_728_what_a_cancelled_waiter_was_handed_it_has)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(0, 1);
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, acquire, &s);
    CHECK_EQ(coil_semaphore_release(&s), 0);
    wait_cancel(&w);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
    CHECK_EQ(semaphore_stats(&s).value, 0);
}

COIL_TEST(semaphore, s5_4_release_and_nowait_are_no_checkpoints)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(1, 1);
    struct coil_scope scope;

    coil_scope_begin(&scope, COIL_FOREVER);
    coil_scope_cancel(&scope, NULL);
    CHECK_EQ(coil_semaphore_acquire_nowait(&s), 0);
    CHECK_EQ(coil_semaphore_release(&s), 0);
    CHECK_EQ(coil_scope_end(&scope, 0), 0);
}

COIL_TEST(semaphore, one_that_was_set_up_wrongly_is_refused_everywhere)
{
    struct coil_semaphore wrong[] = {
        COIL_SEMAPHORE_INIT(-1, 5),        COIL_SEMAPHORE_INIT(0, 0),
        COIL_SEMAPHORE_INIT(0, -1),        COIL_SEMAPHORE_INIT(6, 5),
        COIL_SEMAPHORE_INIT(INT64_MIN, 1), COIL_SEMAPHORE_INIT(1, INT64_MIN),
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_EQ(coil_semaphore_acquire(&wrong[i]), -EINVAL);
        CHECK_EQ(coil_semaphore_acquire_nowait(&wrong[i]), -EINVAL);
        CHECK_EQ(coil_semaphore_release(&wrong[i]), -EINVAL);
    }
}

/* --- 5.4: barrier ---------------------------------------------------------------------------- */

static int come(void *b)
{
    return coil_barrier_wait(b);
}

COIL_TEST(semaphore, s5_4_at_a_barrier_the_last_gets_1_and_the_others_0)
{
    struct coil_barrier b = COIL_BARRIER_INIT(4);
    struct coil_barrier_stats stats;
    struct coil_group g;
    struct wait w[4];

    coil_group_begin(&g);
    for (int i = 0; i < 4; i++) {
        coil_barrier_stats(&b, &stats);
        CHECK_EQ(stats.waiting, i);
        CHECK_EQ(stats.count, 4);
        wait_start(&g, &w[i], come, &b);
        for (int k = 0; k < i; k++)
            CHECK_EQ(w[k].place > 0, i == 3);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 4; i++)
        CHECK_RETURNED(&w[i], i == 3);
}

COIL_TEST(semaphore, s5_4_a_cancelled_waiter_was_never_at_the_barrier)
{
    struct coil_barrier b = COIL_BARRIER_INIT(3);
    struct coil_group g;
    struct wait w[4];

    coil_group_begin(&g);
    wait_start(&g, &w[0], come, &b);
    wait_start(&g, &w[1], come, &b);
    wait_cancel(&w[0]);
    wait_start(&g, &w[2], come, &b);
    CHECK_WAITS(&w[1]);
    CHECK_WAITS(&w[2]);
    wait_start(&g, &w[3], come, &b);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], -ECANCELED);
    CHECK_RETURNED(&w[1], 0);
    CHECK_RETURNED(&w[2], 0);
    CHECK_RETURNED(&w[3], 1);
}

struct race {
    struct coil_barrier start;
    int laps[5];
    int firsts;
};

struct runner {
    struct race *race;
    int number;
};

static int run_laps(void *arg)
{
    struct runner *r = arg;

    for (int lap = 0; lap < 50; lap++) {
        int last = coil_barrier_wait(&r->race->start);

        CHECK(last == 0 || last == 1);
        r->race->firsts += last;
        for (int i = 0; i < 5; i++) /* nobody is a whole lap ahead or behind */
            CHECK(r->race->laps[i] == lap || r->race->laps[i] == lap + 1);
        r->race->laps[r->number]++;
    }
    return 0;
}

COIL_TEST(semaphore, s5_4_a_barrier_serves_again_and_again)
{
    struct race race = {.start = COIL_BARRIER_INIT(5)};
    struct runner runners[5];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        runners[i] = (struct runner){&race, i};
        SPAWN(&g, run_laps, &runners[i]);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(race.firsts, 50);
}

COIL_TEST(semaphore, s5_4_a_barrier_for_one_never_waits)
{
    struct coil_barrier b = COIL_BARRIER_INIT(1);

    CHECK_EQ(coil_barrier_wait(&b), 1);
    CHECK_EQ(coil_barrier_wait(&b), 1);
}

COIL_TEST(semaphore, a_barrier_for_nobody_is_refused)
{
    struct coil_barrier none = COIL_BARRIER_INIT(0);
    struct coil_barrier fewer = COIL_BARRIER_INIT(-3);

    CHECK_EQ(coil_barrier_wait(&none), -EINVAL);
    CHECK_EQ(coil_barrier_wait(&fewer), -EINVAL);
}

/* --- 5.5: capacity limiter ------------------------------------------------------------------- */

struct borrowing {
    struct coil_limiter *limiter;
    struct coil_token token;
    const void *borrower; /* NULL: the task itself */
};

static int borrow(void *arg)
{
    struct borrowing *b = arg;

    return b->borrower ? coil_limiter_acquire_for(b->limiter, &b->token, b->borrower)
                       : coil_limiter_acquire(b->limiter, &b->token);
}

static int give_back(void *arg)
{
    struct borrowing *b = arg;

    return b->borrower ? coil_limiter_release_for(b->limiter, &b->token, b->borrower)
                       : coil_limiter_release(b->limiter, &b->token);
}

static int borrow_for_a_moment(void *arg)
{
    int r = borrow(arg);

    return r < 0 ? r : give_back(arg);
}

static struct coil_limiter_stats limiter_stats(const struct coil_limiter *l)
{
    struct coil_limiter_stats stats;

    coil_limiter_stats(l, &stats);
    return stats;
}

struct crowd {
    struct coil_limiter limiter;
    int inside;
    int most;
};

static int work_in_crowd(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < 10; i++) {
        struct coil_token token = COIL_TOKEN_INIT;

        CHECK_EQ(coil_limiter_acquire(&c->limiter, &token), 0);
        if (++c->inside > c->most)
            c->most = c->inside;
        for (int k = 0; k <= i % 3; k++)
            coil_yield_shielded();
        c->inside--;
        CHECK_EQ(coil_limiter_release(&c->limiter, &token), 0);
    }
    return 0;
}

COIL_TEST(semaphore, s5_5_at_most_so_many_at_once)
{
    struct crowd c = {.limiter = COIL_LIMITER_INIT(3)};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 20; i++)
        SPAWN(&g, work_in_crowd, &c);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.most, 3);
    CHECK_EQ(limiter_stats(&c.limiter).borrowed, 0);
}

COIL_TEST(semaphore, s5_5_a_borrower_has_one_token)
{
    struct coil_limiter l = COIL_LIMITER_INIT(5);
    struct coil_token first = COIL_TOKEN_INIT;
    struct coil_token second = COIL_TOKEN_INIT;

    CHECK_EQ(coil_limiter_acquire(&l, &first), 0);
    CHECK_EQ(coil_limiter_acquire(&l, &second), -EDEADLK);
    CHECK_EQ(coil_limiter_acquire_nowait(&l, &second), -EDEADLK);
    CHECK_EQ(limiter_stats(&l).borrowed, 1);
    CHECK_EQ(coil_limiter_acquire_for(&l, &second, &l), 0);
    CHECK_EQ(limiter_stats(&l).borrowed, 2);
    CHECK_EQ(coil_limiter_release(&l, &first), 0);
    CHECK_EQ(coil_limiter_acquire(&l, &first), 0);
    CHECK_EQ(coil_limiter_release(&l, &first), 0);
    CHECK_EQ(coil_limiter_release_for(&l, &second, &l), 0);
}

COIL_TEST(semaphore, s5_5_also_while_it_waits_for_one)
{
    struct coil_limiter l = COIL_LIMITER_INIT(0);
    struct borrowing b = {.limiter = &l, .borrower = &l};
    struct coil_token second = COIL_TOKEN_INIT;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, borrow_for_a_moment, &b);
    CHECK_EQ(coil_limiter_acquire_for(&l, &second, &l), -EDEADLK);
    CHECK_EQ(coil_limiter_acquire_nowait_for(&l, &second, &l), -EDEADLK);
    wait_cancel(&w);
    CHECK_EQ(coil_limiter_acquire_nowait_for(&l, &second, &l), -EAGAIN);
    CHECK_EQ(coil_limiter_set_total(&l, 1), 0);
    CHECK_EQ(coil_limiter_acquire_nowait_for(&l, &second, &l), 0);
    CHECK_EQ(coil_limiter_release_for(&l, &second, &l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, -ECANCELED);
}

COIL_TEST(semaphore, s5_5_only_the_borrower_can_give_back)
{
    struct coil_limiter l = COIL_LIMITER_INIT(2);
    struct coil_limiter other = COIL_LIMITER_INIT(2);
    struct borrowing b = {.limiter = &l};
    struct holder h = {.acquire = borrow, .release = give_back, .on = &b};
    struct coil_token never_lent = COIL_TOKEN_INIT;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    hold_until_told(&g, &w, &h);
    CHECK_EQ(coil_limiter_release(&l, &b.token), -EPERM);
    CHECK_EQ(coil_limiter_release_for(&l, &b.token, &l), -EPERM);
    CHECK_EQ(coil_limiter_release_for(&l, &b.token, NULL), -EPERM);
    CHECK_EQ(coil_limiter_release(&l, &never_lent), -EPERM);
    CHECK_EQ(limiter_stats(&l).borrowed, 1);
    tell(&h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_limiter_acquire(&l, &b.token), 0);
    CHECK_EQ(coil_limiter_release(&other, &b.token), -EPERM);
    CHECK_EQ(coil_limiter_release(&l, &b.token), 0);
    CHECK_EQ(coil_limiter_release(&l, &b.token), -EPERM);
}

COIL_TEST(semaphore, s5_5_a_waiting_borrower_has_nothing_to_give_back)
{
    struct coil_limiter l = COIL_LIMITER_INIT(0);
    struct borrowing b = {.limiter = &l, .borrower = &b};
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, borrow, &b);
    CHECK_EQ(coil_limiter_release_for(&l, &b.token, &b), -EPERM);
    CHECK_EQ(coil_limiter_set_total(&l, 1), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
    CHECK_EQ(coil_limiter_release_for(&l, &b.token, &b), 0);
}

/* anyio #1170 */
COIL_TEST(semaphore, s5_5_anyio_1170_a_freed_token_is_kept_for_whom_was_woken)
{
    struct coil_limiter l = COIL_LIMITER_INIT(1);
    struct coil_token mine = COIL_TOKEN_INIT;
    struct borrowing b = {.limiter = &l};
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    CHECK_EQ(coil_limiter_acquire(&l, &mine), 0);
    wait_start(&g, &w, borrow_for_a_moment, &b);
    CHECK_EQ(coil_limiter_release(&l, &mine), 0);
    CHECK_EQ(coil_limiter_acquire_nowait(&l, &mine), -EAGAIN);
    CHECK_EQ(limiter_stats(&l).borrowed, 1);
    CHECK_EQ(limiter_stats(&l).available, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
    CHECK_EQ(limiter_stats(&l).available, 1);
}

/* anyio #947 */
COIL_TEST(semaphore, s5_5_anyio_947_granted_and_then_cancelled_it_passes_on_in_the_end)
{
    struct coil_limiter l = COIL_LIMITER_INIT(1);
    struct coil_token mine = COIL_TOKEN_INIT;
    struct borrowing b[2] = {{.limiter = &l}, {.limiter = &l}};
    struct coil_group g;
    struct wait w[2];

    coil_group_begin(&g);
    CHECK_EQ(coil_limiter_acquire(&l, &mine), 0);
    wait_start(&g, &w[0], borrow_for_a_moment, &b[0]);
    wait_start(&g, &w[1], borrow_for_a_moment, &b[1]);
    CHECK_EQ(coil_limiter_release(&l, &mine), 0);
    wait_cancel(&w[0]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w[0], 0);
    CHECK_RETURNED(&w[1], 0);
}

COIL_TEST_IN_ORDER(semaphore, s5_5_raising_the_total_wakes_at_once)
{
    struct coil_limiter l = COIL_LIMITER_INIT(0);
    struct borrowing b[6];
    struct coil_group g;
    struct wait w[6];

    coil_group_begin(&g);
    for (int i = 0; i < 6; i++) {
        b[i] = (struct borrowing){.limiter = &l, .borrower = &b[i]};
        wait_start(&g, &w[i], borrow, &b[i]);
        CHECK_WAITS(&w[i]);
    }
    CHECK_EQ(coil_limiter_set_total(&l, 2), 0);
    CHECK_EQ(limiter_stats(&l).borrowed, 2);
    give_way();
    CHECK_RETURNED(&w[0], 0);
    CHECK_RETURNED(&w[1], 0);
    CHECK_WAITS(&w[2]);
    CHECK_EQ(coil_limiter_set_total(&l, COIL_UNLIMITED), 0);
    CHECK_EQ(limiter_stats(&l).available, COIL_UNLIMITED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(w[i].place, i + 1);
        CHECK_EQ(give_back(&b[i]), 0);
    }
}

COIL_TEST(semaphore, s5_5_lowering_the_total_lets_holders_finish)
{
    struct coil_limiter l = COIL_LIMITER_INIT(3);
    struct borrowing b[4];
    struct coil_group g;
    struct wait w;

    for (int i = 0; i < 3; i++) {
        b[i] = (struct borrowing){.limiter = &l, .borrower = &b[i]};
        CHECK_EQ(borrow(&b[i]), 0);
    }
    CHECK_EQ(coil_limiter_set_total(&l, 1), 0);
    CHECK_EQ(limiter_stats(&l).borrowed, 3);
    CHECK_EQ(limiter_stats(&l).available, 0);
    coil_group_begin(&g);
    b[3] = (struct borrowing){.limiter = &l};
    wait_start(&g, &w, borrow_for_a_moment, &b[3]);
    for (int i = 0; i < 3; i++) {
        CHECK_WAITS(&w);
        CHECK_EQ(give_back(&b[i]), 0);
        give_way();
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
    CHECK_EQ(limiter_stats(&l).available, 1);
}

COIL_TEST(semaphore, s5_5_the_total_may_be_0_and_anything_but_negative)
{
    struct coil_limiter l = COIL_LIMITER_INIT(1);
    struct coil_token t = COIL_TOKEN_INIT;

    CHECK_EQ(coil_limiter_set_total(&l, 0), 0);
    CHECK_EQ(coil_limiter_acquire_nowait(&l, &t), -EAGAIN);
    CHECK_EQ(coil_limiter_set_total(&l, -1), -EINVAL);
    CHECK_EQ(coil_limiter_set_total(&l, INT64_MIN), -EINVAL);
    CHECK_EQ(limiter_stats(&l).total, 0);
    CHECK_EQ(coil_limiter_set_total(&l, COIL_UNLIMITED), 0);
    CHECK_EQ(coil_limiter_acquire_nowait(&l, &t), 0);
    CHECK_EQ(coil_limiter_release(&l, &t), 0);
}

COIL_TEST(semaphore, s5_5_a_task_that_ends_gives_back_what_it_borrowed)
{
    struct coil_limiter l = COIL_LIMITER_INIT(1);
    struct borrowing b[2] = {{.limiter = &l}, {.limiter = &l}};
    struct holder h = {.acquire = borrow, .on = &b[0]};
    struct coil_group g;
    struct wait owner;
    struct wait w;

    coil_group_begin(&g);
    hold_until_told(&g, &owner, &h);
    wait_start(&g, &w, borrow_for_a_moment, &b[1]);
    CHECK_WAITS(&w);
    tell(&h);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
    CHECK_EQ(limiter_stats(&l).borrowed, 0);
    CHECK_EQ(coil_limiter_release(&l, &b[0].token), -EPERM);
}

COIL_TEST(semaphore, s5_5_but_not_what_it_borrowed_for_another)
{
    struct coil_limiter l = COIL_LIMITER_INIT(1);
    struct borrowing b = {.limiter = &l, .borrower = &l};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, borrow, &b);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(limiter_stats(&l).borrowed, 1);
    CHECK_EQ(give_back(&b), 0);
}

/* Its tree of borrowers, in and out in orders drawn from a seed, against a plain table. trio #548:
 * one that was cancelled stayed there. */
COIL_TEST(semaphore, s5_5_thousands_of_borrowers_come_and_go_and_each_is_known)
{
    static struct borrowing b[2000];
    static bool has[2000];
    struct coil_limiter l = COIL_LIMITER_INIT(COIL_UNLIMITED);
    struct coil_token second = COIL_TOKEN_INIT;
    uint64_t seed = 20261122;
    int64_t count = 0;

    for (int i = 0; i < 2000; i++)
        b[i] = (struct borrowing){.limiter = &l, .borrower = (const char *)b + i};
    for (int step = 0; step < 20000; step++) {
        int i;

        seed = seed * UINT64_C(6364136223846793005) + 1;
        i = (int)((seed >> 33) % 2000);
        if (has[i]) {
            CHECK_EQ(coil_limiter_acquire_nowait_for(&l, &second, b[i].borrower), -EDEADLK);
            CHECK_EQ(give_back(&b[i]), 0);
        } else {
            CHECK_EQ(give_back(&b[i]), -EPERM);
            CHECK_EQ(borrow(&b[i]), 0);
        }
        has[i] = !has[i];
        count += has[i] ? 1 : -1;
        CHECK_EQ(limiter_stats(&l).borrowed, count);
    }
    for (int i = 0; i < 2000; i++)
        CHECK_EQ(give_back(&b[i]), has[i] ? 0 : -EPERM);
}

COIL_TEST(semaphore, a_limiter_refuses_what_makes_no_sense)
{
    struct coil_limiter l = COIL_LIMITER_INIT(2);
    struct coil_limiter wrong = COIL_LIMITER_INIT(-1);
    struct coil_token t = COIL_TOKEN_INIT;

    CHECK_EQ(coil_limiter_acquire(&l, NULL), -EINVAL);
    CHECK_EQ(coil_limiter_acquire_nowait(&l, NULL), -EINVAL);
    CHECK_EQ(coil_limiter_acquire_for(&l, &t, NULL), -EINVAL);
    CHECK_EQ(coil_limiter_acquire_nowait_for(&l, &t, NULL), -EINVAL);
    CHECK_EQ(coil_limiter_release(&l, NULL), -EINVAL);
    CHECK_EQ(coil_limiter_acquire(&wrong, &t), -EINVAL);
    CHECK_EQ(coil_limiter_acquire_nowait(&wrong, &t), -EINVAL);
    CHECK_EQ(coil_limiter_acquire(&l, &t), 0);
    CHECK_EQ(coil_limiter_acquire_for(&l, &t, &l), -EINVAL); /* in use */
    CHECK_EQ(coil_limiter_release(&l, &t), 0);
}

static enum coil_abort release_one(void *semaphore)
{
    CHECK_EQ(coil_semaphore_release(semaphore), 0);
    return COIL_ABORT_DONE;
}

static int release_when_cancelled(void *semaphore)
{
    return coil_park(release_one, semaphore, "a test");
}

struct taker {
    struct coil_semaphore *semaphore;
    int result;
};

static int take_one(void *arg)
{
    struct taker *t = arg;

    t->result = coil_semaphore_acquire(t->semaphore);
    return 0;
}

/* All of a group are cancelled before the first of them is told. */
COIL_TEST_IN_ORDER(semaphore, s4_4_what_an_abort_function_releases_is_not_for_who_is_cancelled)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(0, 9);
    struct taker cancelled = {&s, 99};
    struct taker next = {&s, 99};
    struct coil_group outer;
    struct coil_group g;

    coil_group_begin(&outer);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, release_when_cancelled, &s), 0);
    CHECK_EQ(coil_group_spawn(&g, take_one, &cancelled), 0);
    CHECK_EQ(coil_group_spawn(&outer, take_one, &next), 0);
    for (int i = 0; i < 4; i++)
        coil_yield_shielded();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(cancelled.result, -ECANCELED);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
    CHECK_EQ(next.result, 0);
}
