/* context.c - the switch: what the ABI says a call preserves is there when a task goes on. */
#include "harness.h"

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
