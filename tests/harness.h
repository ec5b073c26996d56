/* harness.h - a test is a sentence, runs as the main task of a loop, and leaves nothing behind.
 *
 *      COIL_TEST(scope, a_deadline_already_past_acts_at_the_first_checkpoint)
 *      {
 *          ...
 *          CHECK_EQ(coil_checkpoint(), -ECANCELED);
 *      }
 *
 * It names no backend: tests/run runs every suite on each, through COIL_BACKEND, and again with
 * rings of COIL_TEST_SQ and COIL_TEST_CQ entries, as if on an older COIL_TEST_KERNEL, with the
 * ready tasks shuffled by COIL_TEST_SEED,
 * and, with COIL_TEST_LATE, in a simulated world where by that seed operations complete late, and
 * the loop looks after each step of a task. Afterwards the harness checks that tasks,
 * operations, timers and descriptors are as before. A backend this machine lacks is skipped,
 * visibly. */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <coil.h>
#include <coil/lowlevel.h>
#include <coil/testing.h>

#ifdef PLAIN_RUNNER
/* Criterion does not start under TSan (Snaipe/Criterion #274), and is not there when
 * cross-compiling: a list and a loop stand in for it. */
struct plain_test {
    const char *suite;
    const char *name;
    void (*body)(void);
    struct plain_test *next;
};
void plain_test_add(struct plain_test *t);
_Noreturn void plain_test_skip(const char *why);

#define Test(suite_, name_)                                                                        \
    static void suite_##_##name_(void);                                                            \
    static __attribute__((constructor)) void suite_##_##name_##_add(void)                          \
    {                                                                                              \
        static struct plain_test t = {#suite_, #name_, suite_##_##name_, NULL};                    \
        plain_test_add(&t);                                                                        \
    }                                                                                              \
    static void suite_##_##name_(void)
#define SKIP(why) plain_test_skip(why)
#else
#include <criterion/criterion.h>
#define SKIP(why) cr_skip_test("%s", why)
#endif

/* Of the run that a test is at, for whoever wants to have it again. 0: it has none. */
extern uint64_t harness_seed;

/* Says so on stderr and ends the process, which is this test's own. Not cr_assert: that jumps back
 * to where the test began, and a claim may fail on a task's stack, in another thread, or in a
 * child. */
_Noreturn void harness_fail(const char *file, int line, const char *what);

#define CHECK(claim)                                                                               \
    do {                                                                                           \
        if (!(claim))                                                                              \
            harness_fail(__FILE__, __LINE__, #claim);                                              \
    } while (0)

#define CHECK_EQ(left, right)                                                                      \
    do {                                                                                           \
        long long left_ = (long long)(left);                                                       \
        long long right_ = (long long)(right);                                                     \
        char words_[256];                                                                          \
                                                                                                   \
        if (left_ != right_) {                                                                     \
            snprintf(words_, sizeof(words_), "%s is %lld, not %lld (%s)", #left, left_, right_,    \
                     #right);                                                                      \
            harness_fail(__FILE__, __LINE__, words_);                                              \
        }                                                                                          \
    } while (0)

/* The options the environment asks for. */
struct coil_loop_options harness_options(void);

/* Runs body as the main task of a loop with these options, and checks that it leaves nothing
 * behind. */
void harness_run(const struct coil_loop_options *options, void (*body)(void));

/* Skips the test if the backend of the environment cannot be had. */
void harness_need_backend(void);

/* Skips the test on the simulated backend, visibly. */
void harness_not_on_sim(const char *why);

/* Skips it where operations are late. */
void harness_not_late(const char *why);

/* Is COIL_TEST_KERNEL, "5.18" say, before this? Then what came later is kept from the library, as
 * far as setting up goes. */
bool harness_kernel_before(int major, int minor);

/* How many descriptors the process has open. */
int harness_count_fds(void);

/* Is the calling task's loop on this backend? */
bool harness_on(const char *backend);

#define COIL_TEST_WITH_(suite_, name_, change_)                                                    \
    static void suite_##_##name_##_body(void);                                                     \
    Test(suite_, name_)                                                                            \
    {                                                                                              \
        struct coil_loop_options options_ = harness_options();                                     \
                                                                                                   \
        change_;                                                                                   \
        harness_run(&options_, suite_##_##name_##_body);                                           \
    }                                                                                              \
    static void suite_##_##name_##_body(void)

#define COIL_TEST(suite_, name_) COIL_TEST_WITH_(suite_, name_, (void)0)

/* For a test that counts on first come, first served: COIL_TEST_SEED does not shuffle it. */
#define COIL_TEST_IN_ORDER(suite_, name_) COIL_TEST_WITH_(suite_, name_, options_.shuffle_seed = 0)

/* For a test that is about the kernel, or about time as it passes there. */
#define COIL_TEST_NOT_ON_SIM(suite_, name_, why_)                                                  \
    COIL_TEST_WITH_(suite_, name_, harness_not_on_sim(why_))

/* Runs fn(arg) in a child process and returns the line it wrote to stderr before it aborted; "" if
 * it did not abort. For misuse. The text is static. */
const char *harness_abort_line(void (*fn)(void));

#endif
