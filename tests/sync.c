/* sync.c - semantics.md section 5: what holds for every primitive, tried on each. */
#include <pthread.h>

#include "waits.h"

/* One of each, and whatever else a wait on it needs. */
struct all {
    struct coil_lot lot;
    struct coil_event event;
    struct coil_watch watch;
    struct coil_lock lock;
    struct coil_condition condition;
    struct coil_semaphore semaphore;
    struct coil_rwlock rwlock;
    struct coil_barrier barrier;
    struct coil_limiter limiter;
    struct coil_token token;
    struct coil_future future;
    struct coil_guard guard;
    struct coil_breaker breaker;
};

/* clang-format off */
#define ALL_INIT { \
    .lot = COIL_LOT_INIT, \
    .event = COIL_EVENT_INIT, \
    .watch = COIL_WATCH_INIT, \
    .lock = COIL_LOCK_INIT, \
    .condition = COIL_CONDITION_INIT, \
    .semaphore = COIL_SEMAPHORE_INIT(0, 1), \
    .rwlock = COIL_RWLOCK_INIT, \
    .barrier = COIL_BARRIER_INIT(2), \
    .limiter = COIL_LIMITER_INIT(0), \
    .token = COIL_TOKEN_INIT, \
    .future = COIL_FUTURE_INIT, \
    .guard = COIL_GUARD_INIT("trying"), \
    .breaker = COIL_BREAKER_INIT, \
}
/* clang-format on */

static const struct all fresh = ALL_INIT;

/* For each: a wait, what lets one wait end, and the number of those who wait. */

static int wait_for_event(void *on)
{
    return coil_event_wait(&((struct all *)on)->event);
}

static void set_event(struct all *a)
{
    coil_event_set(&a->event);
}

static size_t count_event(const struct all *a)
{
    struct coil_event_stats stats;

    coil_event_stats(&a->event, &stats);
    return stats.waiting;
}

static int wait_for_watch(void *on)
{
    uint64_t seen = 0;
    int r = coil_watch_wait(&((struct all *)on)->watch, &seen);

    CHECK_EQ(seen, r == 0);
    return r;
}

static void notify_watch(struct all *a)
{
    coil_watch_notify(&a->watch);
}

static size_t count_watch(const struct all *a)
{
    struct coil_watch_stats stats;

    coil_watch_stats(&a->watch, &stats);
    return stats.waiting;
}

static int wait_for_semaphore(void *on)
{
    return coil_semaphore_acquire(&((struct all *)on)->semaphore);
}

static void release_semaphore(struct all *a)
{
    CHECK_EQ(coil_semaphore_release(&a->semaphore), 0);
}

static size_t count_semaphore(const struct all *a)
{
    struct coil_semaphore_stats stats;

    coil_semaphore_stats(&a->semaphore, &stats);
    return stats.waiting;
}

static int wait_for_future(void *on)
{
    void *value = NULL;
    int r = coil_future_wait(&((struct all *)on)->future, &value);

    CHECK(r < 0 || value == &fresh);
    return r;
}

static void set_future(struct all *a)
{
    CHECK_EQ(coil_future_set(&a->future, 0, (void *)(uintptr_t)&fresh), 0);
}

static size_t count_future(const struct all *a)
{
    struct coil_future_stats stats;

    coil_future_stats(&a->future, &stats);
    return stats.waiting;
}

static int wait_at_barrier(void *on)
{
    int r = coil_barrier_wait(&((struct all *)on)->barrier);

    return r < 0 ? r : 0;
}

static void come_to_barrier(struct all *a)
{
    CHECK_EQ(coil_barrier_wait(&a->barrier), 1);
}

static size_t count_barrier(const struct all *a)
{
    struct coil_barrier_stats stats;

    coil_barrier_stats(&a->barrier, &stats);
    return stats.waiting;
}

/* The test holds the lock; whoever gets it gives it back. */
static int wait_for_lock(void *on)
{
    struct all *a = on;
    int r = coil_lock_acquire(&a->lock);

    if (r == 0)
        CHECK_EQ(coil_lock_release(&a->lock), 0);
    return r;
}

static void take_lock(struct all *a)
{
    CHECK_EQ(coil_lock_acquire_nowait(&a->lock), 0);
}

static void release_lock(struct all *a)
{
    CHECK_EQ(coil_lock_release(&a->lock), 0);
}

static size_t count_lock(const struct all *a)
{
    struct coil_lock_stats stats;

    coil_lock_stats(&a->lock, &stats);
    return stats.waiting;
}

static int wait_to_read(void *on)
{
    struct all *a = on;
    int r = coil_rwlock_acquire_read(&a->rwlock);

    if (r == 0)
        CHECK_EQ(coil_rwlock_release_read(&a->rwlock), 0);
    return r;
}

static int wait_to_write(void *on)
{
    struct all *a = on;
    int r = coil_rwlock_acquire_write(&a->rwlock);

    if (r == 0)
        CHECK_EQ(coil_rwlock_release_write(&a->rwlock), 0);
    return r;
}

static void take_rwlock(struct all *a)
{
    CHECK_EQ(coil_rwlock_acquire_write_nowait(&a->rwlock), 0);
}

static void release_rwlock(struct all *a)
{
    CHECK_EQ(coil_rwlock_release_write(&a->rwlock), 0);
}

static size_t count_rwlock(const struct all *a)
{
    struct coil_rwlock_stats stats;

    coil_rwlock_stats(&a->rwlock, &stats);
    return stats.waiting;
}

static int wait_for_token(void *on)
{
    struct all *a = on;
    struct coil_token token = COIL_TOKEN_INIT;
    int r = coil_limiter_acquire(&a->limiter, &token);

    if (r == 0)
        CHECK_EQ(coil_limiter_release(&a->limiter, &token), 0);
    return r;
}

static void add_a_token(struct all *a)
{
    CHECK_EQ(coil_limiter_set_total(&a->limiter, 1), 0);
}

static size_t count_limiter(const struct all *a)
{
    struct coil_limiter_stats stats;

    coil_limiter_stats(&a->limiter, &stats);
    return stats.waiting;
}

static int wait_for_condition(void *on)
{
    struct all *a = on;
    int r;

    r = coil_lock_acquire(&a->lock);
    if (r < 0)
        return r;
    r = coil_condition_wait(&a->condition, &a->lock);
    CHECK_EQ(coil_lock_release(&a->lock), 0);
    return r;
}

static void notify_condition(struct all *a)
{
    CHECK_EQ(coil_condition_notify(&a->condition, 1), 1);
}

static size_t count_condition(const struct all *a)
{
    struct coil_condition_stats stats;

    coil_condition_stats(&a->condition, &stats);
    return stats.waiting;
}

static int wait_in_lot(void *on)
{
    return coil_lot_park(&((struct all *)on)->lot, "a test");
}

static void unpark_lot(struct all *a)
{
    CHECK_EQ(coil_lot_unpark(&a->lot, 1, 0), 1);
}

static size_t count_lot(const struct all *a)
{
    return coil_lot_count(&a->lot);
}

struct kind {
    int (*wait)(void *on);         /* a task's; 0 when it is let go */
    void (*close)(struct all *a);  /* so that the wait has to wait; NULL: it does */
    void (*let_go)(struct all *a); /* one that waits */
    size_t (*count)(const struct all *a);
    bool gone;   /* once it was let go, nobody needs the memory any more */
    bool early;  /* let_go may come before the wait, which then need not wait */
    bool singly; /* let_go is for one, and there may be another */
};

static const struct kind kinds[] = {
    {wait_in_lot, NULL, unpark_lot, count_lot, true, false, true},
    {wait_for_event, NULL, set_event, count_event, true, true, false},
    {wait_for_watch, NULL, notify_watch, count_watch, true, true, false},
    {wait_for_semaphore, NULL, release_semaphore, count_semaphore, true, true, true},
    {wait_for_future, NULL, set_future, count_future, true, true, false},
    {wait_at_barrier, NULL, come_to_barrier, count_barrier, true, false, false},
    {wait_for_condition, NULL, notify_condition, count_condition, false, false, true},
    {wait_for_lock, take_lock, release_lock, count_lock, false, true, false},
    {wait_to_read, take_rwlock, release_rwlock, count_rwlock, false, true, false},
    {wait_to_write, take_rwlock, release_rwlock, count_rwlock, false, true, false},
    {wait_for_token, NULL, add_a_token, count_limiter, false, true, false},
};

#define for_each_kind(k) for (const struct kind *k = kinds; k < kinds + 11; k++)

static void make_wait(const struct kind *k, struct all *a)
{
    *a = fresh;
    if (k->close)
        k->close(a);
}

static void make_ready(const struct kind *k, struct all *a)
{
    make_wait(k, a);
    k->let_go(a);
}

COIL_TEST(sync, s4_1_each_wait_waits_until_it_is_let_go)
{
    for_each_kind(k)
    {
        struct all a;
        struct coil_group g;
        struct wait w;

        coil_group_begin(&g);
        make_wait(k, &a);
        CHECK_EQ(k->count(&a), 0);
        wait_start(&g, &w, k->wait, &a);
        CHECK_WAITS(&w);
        CHECK_EQ(k->count(&a), 1);
        k->let_go(&a);
        CHECK_EQ(k->count(&a), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&w, 0);
    }
}

static void check_untouched(const struct all *a, const struct all *before)
{
    CHECK_EQ(memcmp(a, before, sizeof(*a)), 0);
}

COIL_TEST(sync, s4_2_cancelled_before_no_wait_happens_though_it_need_not_wait)
{
    for_each_kind(k)
    {
        struct all a;
        struct all before;
        struct coil_scope s;

        if (!k->early)
            continue;
        make_ready(k, &a);
        before = a;
        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_cancel(&s, NULL);
        CHECK_EQ(k->wait(&a), -ECANCELED);
        CHECK_EQ(k->wait(&a), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        check_untouched(&a, &before);
        CHECK_EQ(k->wait(&a), 0);
    }
}

COIL_TEST(sync, s2_7_a_deadline_already_past_acts_at_a_wait_that_need_not_wait)
{
    for_each_kind(k)
    {
        struct all a;
        struct coil_scope s;

        if (!k->early)
            continue;
        make_ready(k, &a);
        coil_scope_begin(&s, coil_now() - 1);
        CHECK_EQ(k->wait(&a), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        CHECK_EQ(coil_scope_caught(&s), 1);
        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_set_deadline(&s, 0);
        CHECK_EQ(k->wait(&a), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    }
}

COIL_TEST(sync, s2_7_and_one_that_comes_at_a_wait_that_has_to)
{
    for_each_kind(k)
    {
        struct all a;
        struct coil_group g;
        struct wait w;

        make_wait(k, &a);
        coil_group_begin(&g);
        coil_scope_set_deadline(coil_group_scope(&g), coil_now() + COIL_MILLISECOND);
        wait_start(&g, &w, k->wait, &a);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&w, -ECANCELED);
        CHECK_EQ(k->count(&a), 0);
        if (k->close)
            k->let_go(&a);
    }
}

COIL_TEST(sync, s4_4_cancelled_it_leaves_at_once_and_touches_nothing_more)
{
    for_each_kind(k)
    {
        struct all a;
        struct all before;
        struct coil_group g;
        struct wait w;

        coil_group_begin(&g);
        make_wait(k, &a);
        wait_start(&g, &w, k->wait, &a);
        wait_cancel(&w);
        CHECK_EQ(k->count(&a), 0);
        if (k->close)
            k->let_go(&a);
        if (k->wait != wait_for_condition) /* that one gives its lock back */
            memset(&a, 0xa5, sizeof(a));
        before = a;
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&w, -ECANCELED);
        if (k->wait != wait_for_condition)
            check_untouched(&a, &before);
    }
}

COIL_TEST(sync, s4_4_let_go_and_cancelled_in_the_same_turn_it_was_let_go)
{
    for_each_kind(k)
    {
        struct all a;
        struct coil_group g;
        struct wait w;

        coil_group_begin(&g);
        make_wait(k, &a);
        wait_start(&g, &w, k->wait, &a);
        k->let_go(&a);
        wait_cancel(&w);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&w, 0);
    }
}

COIL_TEST(sync, s4_4_cancelled_first_it_is_skipped_and_the_next_is_let_go)
{
    for_each_kind(k)
    {
        struct all a;
        struct coil_group g;
        struct wait w[3];

        coil_group_begin(&g);
        make_wait(k, &a);
        a.barrier = (struct coil_barrier)COIL_BARRIER_INIT(3);
        for (int i = 0; i < 3 && k->count(&a) < 2; i++) {
            wait_start(&g, &w[i], k->wait, &a);
            if (i == 0)
                wait_cancel(&w[0]);
        }
        k->let_go(&a);
        if (k->singly)
            k->let_go(&a);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&w[0], -ECANCELED);
        CHECK_RETURNED(&w[1], 0);
        CHECK_RETURNED(&w[2], 0);
    }
}

COIL_TEST(sync, s5_memory_may_be_used_again_as_soon_as_all_are_let_go)
{
    for_each_kind(k)
    {
        struct all a;
        struct all before;
        struct coil_group g;
        struct wait w;

        if (!k->gone)
            continue;
        coil_group_begin(&g);
        make_wait(k, &a);
        wait_start(&g, &w, k->wait, &a);
        k->let_go(&a);
        memset(&a, 0xa5, sizeof(a));
        before = a;
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&w, 0);
        check_untouched(&a, &before);
    }
}

COIL_TEST(sync, s5_a_condition_may_be_gone_once_it_has_notified_and_its_lock_live_on)
{
    struct all a = fresh;
    struct coil_group g;
    struct wait w;

    coil_group_begin(&g);
    wait_start(&g, &w, wait_for_condition, &a);
    take_lock(&a);
    notify_condition(&a);
    memset(&a.condition, 0xa5, sizeof(a.condition));
    release_lock(&a);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_RETURNED(&w, 0);
}

/* --- Turns ----------------------------------------------------------------------------------- */

struct spinning {
    const struct kind *kind;
    struct all a;
    bool other_ran;
};

static int spin(void *arg)
{
    struct spinning *s = arg;

    while (!s->other_ran) {
        CHECK_EQ(s->kind->wait(&s->a), 0);
        if (s->kind->wait == wait_for_semaphore)
            release_semaphore(&s->a);
    }
    return 0;
}

static int run_too(void *arg)
{
    *(bool *)arg = true;
    return 0;
}

COIL_TEST(sync, s4_1_who_never_has_to_wait_gives_others_a_turn)
{
    for_each_kind(k)
    {
        struct spinning s = {.kind = k};
        struct coil_group g;

        if (!k->early)
            continue;
        make_ready(k, &s.a);
        coil_group_begin(&g);
        SPAWN(&g, spin, &s);
        SPAWN(&g, run_too, &s.other_ran);
        CHECK_EQ(coil_group_end(&g, 0), 0);
    }
}

struct deaf {
    struct all a;
    bool other_ran;
};

static int do_not_listen(void *arg)
{
    struct deaf *d = arg;

    while (!d->other_ran)
        CHECK_EQ(coil_event_wait(&d->a.event), -ECANCELED);
    return -ECANCELED;
}

COIL_TEST(sync, s4_1_also_who_is_cancelled_and_does_not_listen)
{
    struct deaf d = {.a = fresh};
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    SPAWN(&g, do_not_listen, &d);
    SPAWN(&g, run_too, &d.other_ran);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int ask_for_a_lost_lock(void *arg)
{
    struct deaf *d = arg;

    while (!d->other_ran)
        CHECK_EQ(coil_lock_acquire(&d->a.lock), -EOWNERDEAD);
    return 0;
}

static int die_with_the_lock(void *lock)
{
    return coil_lock_acquire_nowait(lock);
}

COIL_TEST(sync, s4_1_also_who_asks_for_what_is_lost)
{
    struct deaf d = {.a = fresh};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, die_with_the_lock, &d.a.lock);
    give_way();
    SPAWN(&g, ask_for_a_lost_lock, &d);
    SPAWN(&g, run_too, &d.other_ran);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- Before, between and outside of loops ---------------------------------------------------- */

static struct all set_up = ALL_INIT;

static int use_after_set_up(void *arg)
{
    (void)arg;
    CHECK_EQ(coil_event_wait(&set_up.event), 0);
    CHECK_EQ(wait_for_watch(&set_up), 0);
    CHECK_EQ(wait_for_future(&set_up), 0);
    CHECK_EQ(coil_semaphore_acquire(&set_up.semaphore), 0);
    CHECK_EQ(wait_for_token(&set_up), 0);
    return coil_lock_acquire(&set_up.lock);
}

Test(sync, s5_all_can_be_set_up_before_there_is_a_loop)
{
    struct coil_loop_options options = harness_options();

    harness_need_backend();
    set_event(&set_up);
    notify_watch(&set_up);
    set_future(&set_up);
    release_semaphore(&set_up);
    add_a_token(&set_up);
    CHECK_EQ(coil_semaphore_acquire_nowait(&set_up.semaphore), 0);
    release_semaphore(&set_up);
    CHECK_EQ(coil_condition_notify_all(&set_up.condition), 0);
    CHECK_EQ(coil_lot_unpark(&set_up.lot, 1, 0), 0);
    CHECK_EQ(coil_lock_release(&set_up.lock), -EPERM);
    CHECK_EQ(coil_rwlock_release_read(&set_up.rwlock), -EPERM);
    CHECK_EQ(coil_rwlock_release_write(&set_up.rwlock), -EPERM);
    CHECK_EQ(coil_guard_leave(&set_up.guard), -EPERM);
    coil_breaker_remove(&set_up.breaker);
    CHECK_EQ(coil_run(&options, use_after_set_up, NULL), 0);
    CHECK_EQ(coil_lock_release(&set_up.lock), -EPERM);
}

static struct all lasting = ALL_INIT;

static int borrow_and_watch_over(void *arg)
{
    (void)arg;
    CHECK_EQ(coil_guard_enter(&lasting.guard), 0);
    CHECK_EQ(coil_limiter_acquire(&lasting.limiter, &lasting.token), 0);
    CHECK_EQ(coil_breaker_add(&lasting.breaker, coil_task_self(), &lasting.lot), 0);
    return 0;
}

static int wait_on_each(void *arg)
{
    struct coil_lot_stats stats;
    struct coil_group g;
    struct wait w;

    (void)arg;
    for_each_kind(k)
    {
        if (k->close)
            k->close(&lasting);
        coil_group_begin(&g);
        wait_start(&g, &w, k->wait, &lasting);
        CHECK_EQ(k->count(&lasting), 1);
        k->let_go(&lasting);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_RETURNED(&w, 0);
        CHECK_EQ(k->count(&lasting), 0);
    }
    coil_group_begin(&g);
    SPAWN(&g, borrow_and_watch_over, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    coil_lot_stats(&lasting.lot, &stats);
    CHECK_EQ(stats.broken, 1);                     /* by the end of that task, */
    CHECK_EQ(coil_guard_enter(&lasting.guard), 0); /* which has left, */
    CHECK_EQ(wait_for_token(&lasting), 0);         /* and given back */
    return coil_guard_leave(&lasting.guard);
}

Test(sync, s5_all_can_be_initialised_at_file_scope_and_be_waited_for)
{
    struct coil_loop_options options = harness_options();

    harness_need_backend();
    CHECK_EQ(coil_run(&options, wait_on_each, NULL), 0);
}

static void wait_outside(void)
{
    static struct all a;

    CHECK_EQ(wait_for_event(&a), 0);
}

Test(sync, a_wait_outside_of_any_task_dies_with_a_line)
{
    CHECK(strstr(harness_abort_line(wait_outside), "coil: coil_event_wait outside of any task"));
}

/* trio's and anyio's grant-against-cancel bugs (anyio #387, #398, #947, #1145): many tasks on one
 * primitive, cancelled in every pattern while it changes hands. Nobody may be left behind. */
static void cancel_in_pattern(const struct kind *k, unsigned int pattern, bool let_go_first)
{
    struct all a;
    struct coil_group g;
    struct wait w[5];

    coil_group_begin(&g);
    make_wait(k, &a);
    a.barrier = (struct coil_barrier)COIL_BARRIER_INIT(2);
    for (int i = 0; i < 5; i++)
        wait_start(&g, &w[i], k->wait, &a);
    if (let_go_first)
        k->let_go(&a);
    for (int i = 0; i < 5; i++)
        if (pattern >> i & 1)
            wait_cancel(&w[i]);
    if (!let_go_first)
        k->let_go(&a);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 5; i++)
        CHECK(w[i].result == 0 || (w[i].result == -ECANCELED && pattern >> i & 1));
    if (!let_go_first)
        for (int i = 0; i < 5; i++)
            CHECK_EQ(w[i].result, pattern >> i & 1 ? -ECANCELED : 0);
    CHECK_EQ(k->count(&a), 0);
}

COIL_TEST(sync, anyio_398_387_947_1145_whoever_is_cancelled_when_nobody_is_left_behind)
{
    for_each_kind(k)
    {
        /* What one call lets all go of, one by one. */
        if (k->wait != wait_for_lock && k->wait != wait_to_read && k->wait != wait_to_write &&
            k->wait != wait_for_token)
            continue;
        for (unsigned int pattern = 0; pattern < 32; pattern++) {
            cancel_in_pattern(k, pattern, false);
            cancel_in_pattern(k, pattern, true);
        }
    }
}

/* --- What cannot be mended -------------------------------------------------------------------- */

static int end_with_a_token(void *limiter)
{
    struct coil_token token = COIL_TOKEN_INIT;

    return coil_limiter_acquire(limiter, &token);
}

static int end_with_a_lock(void *arg)
{
    struct coil_lock lock = COIL_LOCK_INIT;

    (void)arg;
    return coil_lock_acquire(&lock);
}

static void run_end_with_a_token(void)
{
    static struct coil_limiter limiter = COIL_LIMITER_INIT(1);
    const struct coil_loop_options options = harness_options();

    CHECK_EQ(coil_run(&options, end_with_a_token, &limiter), 0);
}

static void run_end_with_a_lock(void)
{
    const struct coil_loop_options options = harness_options();

    CHECK_EQ(coil_run(&options, end_with_a_lock, NULL), 0);
}

Test(sync, a_task_that_ends_holding_what_lies_on_its_stack_aborts_with_a_line)
{
#ifdef __SANITIZE_ADDRESS__
    SKIP("a sanitizer keeps variables elsewhere, and says so itself");
#endif
    harness_need_backend();
    CHECK(strstr(harness_abort_line(run_end_with_a_token), "on its own stack"));
    CHECK(strstr(harness_abort_line(run_end_with_a_lock), "on its own stack"));
}

static struct all foreign;

static void *notify_from_here(void *arg)
{
    (void)arg;
    (void)coil_condition_notify(&foreign.condition, 1);
    return NULL;
}

static int be_notified_by_a_thread(void *arg)
{
    struct coil_group g;
    pthread_t thread;

    (void)arg;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, wait_for_condition, &foreign), 0);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(pthread_create(&thread, NULL, notify_from_here, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    return coil_group_end(&g, 0);
}

static void run_notified_by_a_thread(void)
{
    const struct coil_loop_options options = harness_options();

    CHECK_EQ(coil_run(&options, be_notified_by_a_thread, NULL), 0);
}

Test(sync, waking_from_another_thread_aborts_with_a_line)
{
    harness_need_backend();
    CHECK(strstr(harness_abort_line(run_notified_by_a_thread), "from outside its loop"));
}
