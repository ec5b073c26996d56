/* context.c - the switch: what the ABI says a call preserves is there when a task goes on, and the
 * answer of whoever woke it. */
#include "../core/sched/park.h"
#include "parker.h"

#define WORDS  12 /* more than there are callee-saved registers of either kind */
#define ROUNDS 100

struct numbers {
    long seed;
    int left; /* rounds */
};

/* All of these are alive across the wait, in whatever registers the compiler likes best. */
static int hold_numbers(void *arg)
{
    struct numbers *n = arg;

    for (; n->left; n->left--) {
        long words[WORDS];
        double reals[WORDS];

        for (int i = 0; i < WORDS; i++) {
            words[i] = n->seed * 31 + i + n->left;
            reals[i] = (double)n->seed / 3 + i + n->left;
        }
        {
            long a = words[0], b = words[1], c = words[2], d = words[3], e = words[4], f = words[5];
            double p = reals[0], q = reals[1], r = reals[2], s = reals[3], t = reals[4];
            double u = reals[5], v = reals[6], w = reals[7];

            __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
#ifdef __aarch64__
            __asm__ volatile(""
                             : "+w"(p), "+w"(q), "+w"(r), "+w"(s), "+w"(t), "+w"(u), "+w"(v),
                               "+w"(w));
#endif
            CHECK_EQ(coil_checkpoint(), 0);
            CHECK(a == words[0] && b == words[1] && c == words[2]);
            CHECK(d == words[3] && e == words[4] && f == words[5]);
            CHECK(p == reals[0] && q == reals[1] && r == reals[2] && s == reals[3]);
            CHECK(t == reals[4] && u == reals[5] && v == reals[6] && w == reals[7]);
        }
    }
    return 0;
}

COIL_TEST(context, numbers_that_a_task_holds_are_there_after_others_have_run)
{
    struct numbers numbers[5];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        numbers[i] = (struct numbers){.seed = i * 1000003, .left = ROUNDS};
        CHECK_EQ(coil_group_spawn(&g, hold_numbers, &numbers[i]), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* Stacks that are not aligned as the ABI says make vector code crash. */
static int use_aligned_memory(void *arg)
{
    _Alignas(16) char buf[256];

    CHECK_EQ((uintptr_t)__builtin_frame_address(0) % 16, 0);
    CHECK_EQ((uintptr_t)buf % 16, 0);
    snprintf(buf, sizeof(buf), "%.3f %s", *(double *)arg, coil_backend_name());
    CHECK(strncmp(buf, "2.500 ", 6) == 0);
    return 0;
}

COIL_TEST(context, a_task_begins_on_an_aligned_stack_of_any_size)
{
    double number = 2.5;

    for (size_t size = 16 * 1024; size <= 1024 * 1024; size *= 2) {
        const struct coil_spawn_options options = {.stack_size = size};
        struct coil_group g;

        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn_with(&g, use_aligned_memory, &number, &options), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
    }
}

/* --- The answer, and the way --------------------------------------------------------------------
 *
 * On the simulated backend each turn goes by the loop, and only what is common to all is tested. */

static bool by_the_loop(void)
{
    return coil__here.loop->looks_each_turn;
}

static int wake_with_7(void *arg)
{
    struct parker *p = arg;
    const struct loop *loop = coil__here.loop;

    CHECK(loop->starter == (by_the_loop() ? &loop->context : &p->task->context));
    if (!by_the_loop())
        CHECK_EQ(context_leave(&p->task->context, loop->starter).way, WAY_FORESEEN);
    parker_unpark(p, 7);
    return 0;
}

static int begin_and_end(void *arg)
{
    *(const struct context **)arg = coil__here.loop->starter;
    return 0;
}

COIL_TEST_IN_ORDER(context, who_began_a_task_is_resumed_by_the_end_of_the_last_with_its_answer)
{
    const struct context *starter = NULL;
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, begin_and_end, &starter), 0);
    CHECK_EQ(coil_group_spawn(&g, wake_with_7, &p), 0);
    CHECK_EQ(parker_park(&p), 7);
    CHECK(starter == (by_the_loop() ? &coil__here.loop->context : &coil_task_self()->context));
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int wake_both(void *arg)
{
    struct parker *p = arg;
    const struct loop *loop = coil__here.loop;

    for (int i = 0; i < 2; i++) {
        CHECK_EQ(context_leave(&p[i].task->context, loop->starter).way, WAY_UNFORESEEN);
        parker_unpark(&p[i], 11 + i);
    }
    return 0;
}

COIL_TEST_IN_ORDER(context, who_has_parked_is_resumed_by_the_end_of_another_with_its_answer)
{
    struct parker p[2] = {{.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(coil_group_spawn(&g, parker_run, &p[i]), 0);
    parker_await(&p[1]);
    CHECK_EQ(coil_group_spawn(&g, wake_both, p), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(p[0].result, 11);
    CHECK_EQ(p[1].result, 12);
}

static int park_twice(void *arg)
{
    struct parker *p = arg;

    CHECK_EQ(parker_park(p), 13);
    CHECK(coil__here.loop->starter == NULL);
    CHECK_EQ(parker_park(p), 14);
    return 0;
}

COIL_TEST_IN_ORDER(context, who_has_parked_is_resumed_by_a_task_or_by_the_loop_with_its_answer)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_twice, &p), 0);
    parker_await(&p);
    parker_unpark(&p, 13);
    parker_await(&p);
    parker_unpark(&p, 14);
    CHECK_EQ(coil_sleep(1), 0); /* with a timer armed, a turn goes by the loop */
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST_IN_ORDER(context, who_is_woken_before_it_has_given_way_gets_its_answer)
{
    struct coil_task *self = coil_task_self();

    park_begin(self, NULL, NULL, "a test");
    unpark(self, 15);
    CHECK(!self->waits_for);
    CHECK_EQ(park_end(self), 15);
}
