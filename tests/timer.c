/* timer.c - the wheel against a sorted list, and sleeping (semantics.md 4.5). */
#include <stdlib.h>
#include <time.h>

#include "../core/sched/timer.h"
#include "parker.h"

#define MODEL_TIMERS 200
#define LATEST       (INT64_MAX - 1)

/* --- A model: an array, searched from end to end --------------------------------------------- */

struct model_timer {
    struct timer timer;
    bool armed;
    int64_t key;    /* when it is due: its deadline, or, if that was past already, then and there */
    uint64_t order; /* of arming */
};

struct model {
    struct timers wheel;
    struct model_timer timers[MODEL_TIMERS];
    uint64_t seed;
    uint64_t state;
    int64_t base_ns; /* everything up to here has fired */
    uint64_t armed_so_far;
    size_t count;
    size_t fired;
    bool meddle; /* callbacks arm and remove others */
};

static struct model *model; /* the callback's */

#define CHECK_SEED(claim)                                                                          \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            fprintf(stderr, "seed %llu: ", (unsigned long long)model->seed);                       \
            CHECK(claim);                                                                          \
        }                                                                                          \
    } while (0)

static uint64_t draw(struct model *m)
{
    uint64_t z = m->state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static int64_t later(int64_t base_ns, uint64_t by_ns)
{
    if (base_ns >= LATEST || by_ns > (uint64_t)(LATEST - base_ns))
        return LATEST;
    return base_ns + (int64_t)by_ns;
}

static int64_t draw_deadline(struct model *m)
{
    const struct model_timer *other = &m->timers[draw(m) % MODEL_TIMERS];
    uint64_t bits = draw(m) % 63;

    switch (draw(m) % 8) {
    case 0: /* past, or now */
        return m->base_ns - (int64_t)(draw(m) % ((uint64_t)m->base_ns + 1));
    case 1: /* as another's */
        return other->key;
    case 2: /* around the border of a slot */
        return later(m->base_ns | ((INT64_C(1) << bits) - 1), draw(m) % 3);
    case 3: /* the last there is */
        return LATEST - (int64_t)(draw(m) % 2);
    case 4: /* near */
        return later(m->base_ns, draw(m) % 100);
    default: /* any order of magnitude */
        return later(m->base_ns, draw(m) >> (64 - bits) % 64);
    }
}

static void fired(struct timer *t);

static void model_arm(struct model *m, struct model_timer *t)
{
    const int64_t deadline_ns = draw_deadline(m);

    t->timer.fire = fired;
    t->key = deadline_ns > m->base_ns ? deadline_ns : m->base_ns;
    t->order = m->armed_so_far++;
    t->armed = true;
    m->count++;
    coil__timer_add(&m->wheel, &t->timer, deadline_ns);
    CHECK_SEED(timer_armed(&t->timer));
}

static void model_remove(struct model *m, struct model_timer *t)
{
    t->armed = false;
    m->count--;
    coil__timer_remove(&m->wheel, &t->timer);
    CHECK_SEED(!timer_armed(&t->timer));
}

static void arm_or_remove_any(struct model *m)
{
    struct model_timer *t = &m->timers[draw(m) % MODEL_TIMERS];

    if (t->armed)
        model_remove(m, t);
    else
        model_arm(m, t);
}

static struct model_timer *model_first(struct model *m)
{
    struct model_timer *first = NULL;

    for (int i = 0; i < MODEL_TIMERS; i++) {
        struct model_timer *t = &m->timers[i];

        if (t->armed &&
            (!first || t->key < first->key || (t->key == first->key && t->order < first->order)))
            first = t;
    }
    return first;
}

static void fired(struct timer *timer)
{
    struct model *m = model;
    struct model_timer *t = container_of(timer, struct model_timer, timer);

    CHECK_SEED(t->armed);
    CHECK_SEED(t == model_first(m));
    CHECK_SEED(!timer_armed(timer));
    t->armed = false;
    m->count--;
    m->fired++;
    m->base_ns = t->key;
    if (m->meddle)
        for (uint64_t n = draw(m) % 3; n; n--)
            if (draw(m) % 4 || m->fired % 64) /* else two that are past could go on for ever */
                arm_or_remove_any(m);
}

static void model_fire(struct model *m, int64_t now_ns)
{
    const struct model_timer *first;

    coil__timers_fire(&m->wheel, now_ns);
    if (now_ns > m->base_ns)
        m->base_ns = now_ns;
    first = model_first(m);
    CHECK_SEED(!first || first->key > now_ns);
    CHECK_SEED(m->wheel.count == m->count);
    /* Else the loop would not sleep. */
    CHECK_SEED(timers_soonest(&m->wheel) > now_ns);
}

static void check_soonest(struct model *m)
{
    const struct model_timer *first = model_first(m);
    const int64_t soonest_ns = timers_soonest(&m->wheel);

    if (first)
        CHECK_SEED(soonest_ns <= first->key);
    else
        CHECK_SEED(soonest_ns == INT64_MAX);
}

static void run_model(uint64_t seed, int64_t start_ns, bool meddle)
{
    model = calloc(1, sizeof(*model));
    CHECK(model);
    model->seed = seed;
    model->state = seed;
    model->base_ns = start_ns;
    model->meddle = meddle;
    coil__timers_init(&model->wheel, start_ns);
    for (int i = 0; i < 1500; i++) {
        const struct model_timer *first;

        switch (draw(model) % 16) {
        case 0: /* as the loop does: to the soonest */
            if (model->count)
                model_fire(model, timers_soonest(&model->wheel));
            break;
        case 1: /* a jump of any size */
            if (draw(model) % 32 == 0)
                model_fire(model, later(model->base_ns, draw(model) >> draw(model) % 64));
            break;
        case 2: /* just before the first, and just there */
            first = model_first(model);
            if (first && first->key > model->base_ns + 1)
                model_fire(model, first->key - 1);
            first = model_first(model);
            if (first)
                model_fire(model, first->key);
            break;
        default:
            arm_or_remove_any(model);
        }
        check_soonest(model);
    }
    model->meddle = false;
    model_fire(model, LATEST);
    CHECK_SEED(model->count == 0);
    CHECK_SEED(timers_soonest(&model->wheel) == INT64_MAX);
    free(model);
}

Test(timer, wheel_fires_in_exact_order_as_a_sorted_list_would)
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        run_model(seed, seed % 3 ? (int64_t)(seed * 123456789123) : 0, false);
}

Test(timer, wheel_holds_while_callbacks_arm_and_remove)
{
    for (uint64_t seed = 1; seed <= 60; seed++)
        run_model(seed, (int64_t)(seed * 987654321), true);
}

Test(timer, wheel_works_at_the_end_of_time)
{
    for (uint64_t seed = 1; seed <= 30; seed++)
        run_model(seed, LATEST - (int64_t)(seed * 1000), seed % 2);
}

/* --- The wheel by itself --------------------------------------------------------------------- */

static struct timers wheel;
static int64_t fire_count;
static struct timer *last_fired;

static void count_it(struct timer *t)
{
    fire_count++;
    last_fired = t;
}

Test(timer, wheel_is_empty_at_first)
{
    coil__timers_init(&wheel, 12345);
    CHECK_EQ(wheel.count, 0);
    CHECK_EQ(timers_soonest(&wheel), INT64_MAX);
    coil__timers_fire(&wheel, LATEST);
    CHECK_EQ(timers_soonest(&wheel), INT64_MAX);
}

Test(timer, wheel_never_fires_early_and_never_late)
{
    for (unsigned int bit = 0; bit < 63; bit++) {
        struct timer t = {.fire = count_it};
        const int64_t deadline_ns = later(1000, UINT64_C(1) << bit);

        coil__timers_init(&wheel, 1000);
        fire_count = 0;
        coil__timer_add(&wheel, &t, deadline_ns);
        coil__timers_fire(&wheel, deadline_ns - 1);
        CHECK_EQ(fire_count, 0);
        CHECK(timer_armed(&t));
        coil__timers_fire(&wheel, deadline_ns);
        CHECK_EQ(fire_count, 1);
        CHECK(!timer_armed(&t));
    }
}

Test(timer, wheel_knows_the_soonest_exactly_if_nothing_was_removed)
{
    struct timer t[2] = {{.fire = count_it}, {.fire = count_it}};

    coil__timers_init(&wheel, 1);
    coil__timer_add(&wheel, &t[0], 86400 * COIL_SECOND);
    CHECK_EQ(timers_soonest(&wheel), 86400 * COIL_SECOND);
    coil__timer_add(&wheel, &t[1], 86400 * COIL_SECOND - 5);
    CHECK_EQ(timers_soonest(&wheel), 86400 * COIL_SECOND - 5);
    fire_count = 0;
    coil__timers_fire(&wheel, timers_soonest(&wheel));
    CHECK_EQ(fire_count, 1);
    CHECK(last_fired == &t[1]);
    CHECK_EQ(timers_soonest(&wheel), 86400 * COIL_SECOND);
    coil__timers_fire(&wheel, timers_soonest(&wheel));
    CHECK_EQ(fire_count, 2);
}

Test(timer, wheel_wakes_the_loop_a_few_times_at_most_for_what_was_removed)
{
    static struct timer t[1000];
    int wakes = 0;

    coil__timers_init(&wheel, 1);
    for (int i = 0; i < 1000; i++) {
        t[i].fire = count_it;
        coil__timer_add(&wheel, &t[i], (i + 1) * COIL_SECOND);
    }
    for (int i = 0; i < 999; i++)
        coil__timer_remove(&wheel, &t[i]);
    fire_count = 0;
    while (wheel.count) {
        CHECK(timers_soonest(&wheel) <= 1000 * COIL_SECOND);
        coil__timers_fire(&wheel, timers_soonest(&wheel));
        wakes++;
    }
    CHECK_EQ(fire_count, 1);
    CHECK(wakes <= TIMER_LEVELS);
}

Test(timer, wheel_equal_deadlines_fire_in_the_order_of_arming)
{
    struct timer t[3] = {{.fire = count_it}, {.fire = count_it}, {.fire = count_it}};
    const int64_t deadline_ns = 1000 * COIL_SECOND;

    coil__timers_init(&wheel, 0);
    coil__timer_add(&wheel, &t[0], deadline_ns); /* from far away */
    coil__timers_fire(&wheel, deadline_ns - COIL_SECOND);
    coil__timer_add(&wheel, &t[1], deadline_ns); /* from nearer */
    coil__timers_fire(&wheel, deadline_ns - 1);
    coil__timer_add(&wheel, &t[2], deadline_ns); /* from next door */
    fire_count = 0;
    for (int i = 0; i < 3; i++) {
        coil__timer_remove(&wheel, &t[(i + 1) % 3]);
        coil__timer_add(&wheel, &t[(i + 1) % 3], deadline_ns);
    }
    coil__timers_fire(&wheel, deadline_ns);
    CHECK_EQ(fire_count, 3);
    CHECK(last_fired == &t[0]);
}

Test(timer, wheel_fires_what_was_armed_past_at_the_next_look)
{
    static const int64_t past[] = {0, 1, 999, 1000};

    for (int i = 0; i < 4; i++) {
        struct timer t = {.fire = count_it};

        coil__timers_init(&wheel, 1000);
        fire_count = 0;
        coil__timer_add(&wheel, &t, past[i]);
        CHECK(timers_soonest(&wheel) <= 1000);
        coil__timers_fire(&wheel, 1000);
        CHECK_EQ(fire_count, 1);
    }
}

Test(timer, wheel_takes_the_last_deadline_there_is)
{
    struct timer t = {.fire = count_it};

    coil__timers_init(&wheel, coil_now());
    fire_count = 0;
    coil__timer_add(&wheel, &t, INT64_MAX - 1);
    CHECK_EQ(timers_soonest(&wheel), INT64_MAX - 1);
    coil__timers_fire(&wheel, INT64_MAX - 2);
    CHECK_EQ(fire_count, 0);
    coil__timers_fire(&wheel, INT64_MAX - 1);
    CHECK_EQ(fire_count, 1);
}

static struct timer victim = {.fire = count_it};

static void remove_the_victim(struct timer *t)
{
    (void)t;
    coil__timer_remove(&wheel, &victim);
}

Test(timer, wheel_one_that_is_due_too_can_be_removed_by_the_one_before)
{
    static const int64_t distances[] = {0, 1, 63, 64, 4096, COIL_SECOND};

    for (int i = 0; i < 6; i++) {
        struct timer t = {.fire = remove_the_victim};

        coil__timers_init(&wheel, 0);
        fire_count = 0;
        coil__timer_add(&wheel, &t, 500);
        coil__timer_add(&wheel, &victim, 500 + distances[i]);
        coil__timers_fire(&wheel, 100 * COIL_SECOND);
        CHECK_EQ(fire_count, 0);
        CHECK(!timer_armed(&victim));
        CHECK_EQ(wheel.count, 0);
        CHECK_EQ(wheel.levels, 0);
    }
}

static void arm_again(struct timer *t)
{
    if (++fire_count < 100)
        coil__timer_add(&wheel, t, t->deadline_ns + (fire_count % 2 ? 0 : 70));
}

Test(timer, wheel_one_may_arm_itself_again)
{
    struct timer t = {.fire = arm_again};

    coil__timers_init(&wheel, 0);
    fire_count = 0;
    coil__timer_add(&wheel, &t, 500);
    coil__timers_fire(&wheel, COIL_SECOND);
    CHECK_EQ(fire_count, 100);
    CHECK_EQ(wheel.count, 0);
}

Test(timer, wheel_1000000_armed_and_cancelled_leave_nothing)
{
    static struct timer t[1000];
    struct model m = {.state = 1};

    model = &m;
    coil__timers_init(&wheel, coil_now());
    m.base_ns = wheel.base_ns;
    for (int i = 0; i < 1000 * 1000; i++) {
        struct timer *one = &t[draw(&m) % 1000];

        if (timer_armed(one))
            coil__timer_remove(&wheel, one);
        one->fire = count_it;
        coil__timer_add(&wheel, one, later(m.base_ns, draw(&m) >> (1 + draw(&m) % 62)));
    }
    for (int i = 0; i < 1000; i++)
        if (timer_armed(&t[i]))
            coil__timer_remove(&wheel, &t[i]);
    CHECK_EQ(wheel.count, 0);
    CHECK_EQ(wheel.levels, 0);
    for (int level = 0; level < TIMER_LEVELS; level++) {
        CHECK_EQ(wheel.used[level], 0);
        for (int slot = 0; slot < TIMER_SLOTS; slot++)
            CHECK(list_empty(&wheel.slots[level][slot].timers));
    }
    CHECK_EQ(timers_soonest(&wheel), INT64_MAX);
}

/* --- 4.5: sleeping --------------------------------------------------------------------------- */

static struct coil_stats stats_now(void)
{
    struct coil_stats stats;

    CHECK_EQ(coil_loop_stats(&stats), 0);
    return stats;
}

static int64_t monotonic(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * COIL_SECOND + ts.tv_nsec;
}

#define NOT_OUR_CLOCK          "sim's clock is not the kernel's"
#define REAL_CLOCK_TEST(name_) COIL_TEST_NOT_ON_SIM(timer, name_, NOT_OUR_CLOCK)

REAL_CLOCK_TEST(s4_5_a_sleep_never_wakes_early)
{
    static const int64_t durations[] = {1,      999,     1000,    12345,   100000,
                                        999999, 1000000, 1000001, 1500000, 2999999};

    for (int round = 0; round < 5; round++)
        for (int i = 0; i < 10; i++) {
            const int64_t began = monotonic();

            CHECK_EQ(coil_sleep(durations[i]), 0);
            CHECK(monotonic() - began >= durations[i]);
        }
}

REAL_CLOCK_TEST(s4_5_nor_does_sleep_until)
{
    for (int i = 0; i < 20; i++) {
        const int64_t deadline_ns = monotonic() + 300 * COIL_MICROSECOND + i;

        CHECK_EQ(coil_sleep_until(deadline_ns), 0);
        CHECK(monotonic() >= deadline_ns);
    }
}

static int bump(void *arg)
{
    ++*(int *)arg;
    return 0;
}

/* D8: a negative duration is none. */
COIL_TEST_WITH_(timer, s4_5_a_sleep_of_nothing_is_a_checkpoint, harness_not_late("it counts turns"))
{
    static const int64_t durations[] = {0, -1, INT64_MIN};

    for (int i = 0; i < 3; i++) {
        const uint64_t turns = stats_now().turns;
        struct coil_scope s;
        struct coil_group g;
        int ran = 0;

        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, bump, &ran), 0);
        CHECK_EQ(coil_sleep(durations[i]), 0);
        CHECK_EQ(stats_now().turns, turns + 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(ran, 1);
        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_cancel(&s, NULL);
        CHECK_EQ(coil_sleep(durations[i]), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    }
}

COIL_TEST(timer, s4_5_a_sleep_until_what_is_past_is_a_checkpoint)
{
    const int64_t past[] = {coil_now(), coil_now() - 1, 0, -1, INT64_MIN};

    for (int i = 0; i < 5; i++) {
        const uint64_t turns = stats_now().turns;
        struct coil_scope s;

        CHECK_EQ(coil_sleep_until(past[i]), 0);
        CHECK_EQ(stats_now().turns, turns + 1);
        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_cancel(&s, NULL);
        CHECK_EQ(coil_sleep_until(past[i]), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    }
}

COIL_TEST(timer, s4_5_a_sleep_for_ever_ends_by_cancellation_only)
{
    static const int64_t durations[] = {COIL_FOREVER, COIL_FOREVER - 1,
                                        COIL_SECOND * 86400 * 36500};

    for (int i = 0; i < 3; i++) {
        struct coil_scope s;

        coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
        CHECK_EQ(coil_sleep(durations[i]), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
        CHECK_EQ(coil_sleep_until(durations[i]), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    }
    CHECK_EQ(stats_now().timers, 0);
}

static int sleep_long(void *arg)
{
    return coil_sleep_until(*(const int64_t *)arg);
}

COIL_TEST(timer, s4_5_cancelled_sleeps_leave_no_timer)
{
    static const int64_t latest = LATEST;
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coil_group_spawn(&g, sleep_long, (void *)&latest), 0);
    while (stats_now().timers < 1000)
        coil_yield_shielded();
    CHECK_EQ(stats_now().next_deadline_ns, LATEST);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(stats_now().timers, 0);
    CHECK_EQ(stats_now().next_deadline_ns, COIL_FOREVER);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

#define SLEEPERS 100

struct sleeper {
    int64_t deadline_ns;
    int id;
};

static int woken[SLEEPERS];
static int woken_count;
static bool late; /* somebody was not asleep before the first was to wake */

static int sleep_and_log(void *arg)
{
    const struct sleeper *s = arg;

    CHECK_EQ(coil_sleep_until(s->deadline_ns), 0);
    CHECK(monotonic() >= s->deadline_ns);
    woken[woken_count++] = s->id;
    return 0;
}

/* Has sleepers wake step_ns apart, two and two together, and none before all are asleep. */
static void sleep_in_disorder(int64_t step_ns)
{
    struct sleeper s[SLEEPERS];

    for (int64_t first_ns = 5 * COIL_MILLISECOND; first_ns < COIL_SECOND; first_ns *= 2) {
        const int64_t start_ns = coil_now() + first_ns;
        struct coil_group g;

        woken_count = 0;
        coil_group_begin(&g);
        for (int i = 0; i < SLEEPERS; i++) {
            const int id = i * 37 % SLEEPERS; /* each once */

            s[i] = (struct sleeper){start_ns + id / 2 * step_ns, id};
            CHECK_EQ(coil_group_spawn(&g, sleep_and_log, &s[i]), 0);
        }
        coil_yield_shielded();
        late = coil_now() >= start_ns;
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(woken_count, SLEEPERS);
        if (!late)
            return;
    }
    CHECK(!late);
}

static void sleep_till_different_moments(void)
{
    sleep_in_disorder(20 * COIL_MICROSECOND);
    for (int i = 0; i < SLEEPERS; i++)
        CHECK_EQ(woken[i] / 2, i / 2);
}

static void sleep_till_the_same_moment(void)
{
    sleep_in_disorder(0);
    for (int i = 0; i < SLEEPERS; i++)
        CHECK_EQ(woken[i], i * 37 % SLEEPERS);
}

/* First come, first served, also when the environment shuffles. */
static void run_in_order(void (*body)(void))
{
    struct coil_loop_options options = harness_options();

    options.shuffle_seed = 0;
    harness_run(&options, body);
}

Test(timer, s4_5_sleepers_wake_in_the_order_of_their_deadlines)
{
    harness_not_on_sim(NOT_OUR_CLOCK);
    run_in_order(sleep_till_different_moments);
}

Test(timer, s4_5_sleepers_till_the_same_moment_wake_first_come_first_served)
{
    harness_not_on_sim(NOT_OUR_CLOCK);
    run_in_order(sleep_till_the_same_moment);
}

COIL_TEST(timer, s4_5_while_all_sleep_the_loop_does_not_turn)
{
    const uint64_t turns = stats_now().turns;

    CHECK_EQ(coil_sleep(20 * COIL_MILLISECOND), 0);
    CHECK(stats_now().turns - turns <= 3);
}

REAL_CLOCK_TEST(coil_now_is_the_monotonic_clock)
{
    for (int i = 0; i < 100; i++) {
        const int64_t before = monotonic();
        const int64_t now = coil_now();

        CHECK(before <= now);
        CHECK(now <= monotonic());
    }
}

Test(timer, coil_now_works_outside_of_a_loop)
{
    const int64_t before = monotonic();

    CHECK(coil_now() >= before);
    CHECK(coil_now() <= monotonic());
}

REAL_CLOCK_TEST(coil_now_coarse_is_never_ahead_and_moves_with_each_sleep)
{
    int64_t before = coil_now_coarse();

    for (int i = 0; i < 100; i++) {
        const int64_t looked = coil_now();
        const int64_t now = coil_now_coarse();

        CHECK(before <= now);
        CHECK(now >= looked); /* the last look, and that was ours */
        CHECK(now <= monotonic());
        before = now;
    }
    CHECK_EQ(coil_sleep(COIL_MILLISECOND), 0);
    CHECK(coil_now_coarse() >= before + COIL_MILLISECOND);
}

COIL_TEST(timer, coil_now_coarse_stands_still_while_a_task_computes)
{
    const int64_t began = coil_now();
    const int64_t coarse = coil_now_coarse();

    for (int64_t until = monotonic() + COIL_MILLISECOND; monotonic() < until;)
        ;
    CHECK_EQ(coil_now_coarse(), coarse);
    CHECK(coil_now() >= began);
}

/* Also when nobody sleeps, and no timer is armed that would have the clock read. */
COIL_TEST(timer, coil_now_coarse_is_no_older_than_256_turns)
{
    const int64_t before = coil_now();

    for (int i = 0; i < 2 * 256; i++)
        CHECK_EQ(coil_checkpoint(), 0);
    if (!harness_on("sim"))
        CHECK(coil_now_coarse() > before);
}

Test(timer, coil_now_coarse_works_outside_of_a_loop)
{
    const int64_t before = monotonic();

    CHECK(coil_now_coarse() >= before);
    CHECK(coil_now_coarse() <= monotonic());
}
