/* kit.c - what coil-testing brings for tests, on every backend: the ledger, waiting until nothing
 * happens, taking turns, and what a call is. */
#define _GNU_SOURCE
#include "parker.h"
#include "wires.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

static struct coil_testing_report report;

static bool says(const char *words)
{
    return strstr(report.text, words) != NULL;
}

/* --- The ledger ------------------------------------------------------------------------------ */

static int run(coil_task_fn *fn, void *arg)
{
    const struct coil_testing_options o = {.loop = harness_options()};

    harness_need_backend();
    return coil_testing_run(&o, fn, arg, &report);
}

static int return_arg(void *arg)
{
    return *(int *)arg;
}

Test(kit, s8_4_a_run_that_leaves_nothing_answers_what_main_did)
{
    int result = 7;

    CHECK_EQ(run(return_arg, &result), 7);
    CHECK_EQ(strlen(report.text), 0);
    CHECK(report.backend);
    result = -EPROTO;
    CHECK_EQ(run(return_arg, &result), -EPROTO);
    CHECK_EQ(strlen(report.text), 0);
}

static int leave_a_descriptor(void *arg)
{
    CHECK_EQ(pipe2(arg, O_CLOEXEC), 0);
    return 0;
}

Test(kit, s8_4_a_descriptor_left_open_is_named)
{
    char words[64];
    int fds[2];

    CHECK_EQ(run(leave_a_descriptor, fds), -EUCLEAN);
    for (int i = 0; i < 2; i++) {
        snprintf(words, sizeof(words), "descriptor %d was left open: pipe:[", fds[i]);
        CHECK(says(words));
        close(fds[i]);
    }
}

static int close_it(void *arg)
{
    return close(*(int *)arg);
}

Test(kit, s8_4_a_descriptor_that_was_the_callers_is_missed)
{
    char words[64];
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CHECK_EQ(run(close_it, &fd), -EUCLEAN);
    snprintf(words, sizeof(words), "descriptor %d was closed", fd);
    CHECK(says(words));
}

static int leave_it_known(void *arg)
{
    char byte;

    return coil_read(*(int *)arg, &byte, 1) == 1 ? 0 : -EPROTO;
}

Test(kit, s8_4_a_descriptor_that_was_used_and_neither_closed_nor_forgotten_is_told)
{
    int fds[2];

    CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(run(leave_it_known, &fds[0]), -EUCLEAN);
    CHECK(says("1 descriptors neither closed nor forgotten left"));
    close(fds[0]);
    close(fds[1]);
}

static void *keeps_one(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (size)
        return realloc(ptr, size);
    free(ptr);
    return NULL;
}

static int fail_a_group(void *arg)
{
    static int code = -EIO;
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, return_arg, &code), 0);
    return coil_group_end(&g, 0) == -EIO ? 0 : -EPROTO;
}

Test(kit, s8_4_memory_is_counted_also_behind_the_callers_own_hook)
{
    struct coil_testing_options o = {.loop = harness_options()};

    harness_need_backend();
    o.loop.allocate = keeps_one;
    CHECK_EQ(coil_testing_run(&o, fail_a_group, NULL, &report), 0);
    CHECK(report.allocations > 0);
    o.fail_allocation = report.allocations;
    CHECK_EQ(coil_testing_run(&o, fail_a_group, NULL, &report), 0); /* the fact is never lost */
}

static int note_the_backend(void *arg)
{
    char *names = arg;

    strcat(strcat(names, coil_backend_name()), " ");
    return 0;
}

Test(kit, s8_4_a_scenario_runs_on_each_backend_there_is)
{
    char names[64] = "";

    CHECK_EQ(coil_testing_run_each(NULL, note_the_backend, names, &report), 0);
    CHECK(strcmp(names, "io_uring epoll sim ") == 0 || strcmp(names, "epoll sim ") == 0);
}

static int fail_on_epoll(void *arg)
{
    strcat(strcat(arg, coil_backend_name()), " ");
    return harness_on("epoll") ? -EPROTO : 0;
}

Test(kit, s8_4_the_first_backend_that_fails_is_the_last)
{
    char names[64] = "";

    CHECK_EQ(coil_testing_run_each(NULL, fail_on_epoll, names, &report), -EPROTO);
    CHECK_EQ(strcmp(report.backend, "epoll"), 0);
    CHECK(!strstr(names, "sim"));
}

/* --- Which run it was ------------------------------------------------------------------------- */

static void fail_a_claim(void)
{
    CHECK(harness_seed == 1);
}

static void crash(void)
{
    raise(SIGSEGV);
}

/* What fn, which fails, says before its process ends. */
static void listen_to(void (*fn)(void), char *said, size_t size)
{
    const struct rlimit no_core = {0, 0};
    size_t len = 0;
    int ends[2];
    ssize_t n;
    pid_t pid;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        setrlimit(RLIMIT_CORE, &no_core);
        setenv("COIL_TEST_SEED", "12", 1);
        setenv("COIL_TEST_LATE", "yes", 1);
        harness_seed = 4711;
        fn();
        _exit(0);
    }
    close(ends[1]);
    while (len < size - 1 && (n = read(ends[0], said + len, size - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    close(ends[0]);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

Test(kit, s8_4_whatever_fails_says_under_which_seed)
{
    void (*const failures[])(void) = {fail_a_claim, crash, abort};

    for (int i = 0; i < 3; i++) {
        char said[16384];

        listen_to(failures[i], said, sizeof(said));
        CHECK(strstr(said, "seed 4711\n"));
        CHECK(strstr(said, "COIL_TEST_SEED=12\n"));
        CHECK(strstr(said, "COIL_TEST_LATE=yes\n"));
    }
}

/* --- Waiting until nothing happens ----------------------------------------------------------- */

struct walker {
    int steps;
    int done;
};

static int walk(void *arg)
{
    struct walker *w = arg;

    for (; w->done < w->steps; w->done++)
        if (coil_checkpoint() < 0)
            return -ECANCELED;
    return coil_sleep(COIL_FOREVER);
}

COIL_TEST(kit, s8_2_wait_all_blocked_returns_when_every_other_task_waits)
{
    struct walker walkers[] = {{.steps = 3}, {.steps = 300}, {.steps = 50}};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coil_group_spawn(&g, walk, &walkers[i]), 0);
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(walkers[i].done, walkers[i].steps);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(kit, s8_2_alone_it_returns)
{
    CHECK_EQ(coil_wait_all_blocked(0), 0);
}

static int read_two(void *arg)
{
    struct parker *p = arg; /* its result counts the bytes */
    char byte;

    while (p->result < 2) {
        if (coil_read(p->aborts, &byte, 1) != 1)
            return -ECANCELED;
        p->result++;
    }
    return 0;
}

COIL_TEST(kit, s8_2_what_the_kernel_has_for_a_task_is_seen_before_it_counts_as_waiting)
{
    int ends[2];
    struct parker p = {.result = 0};
    struct coil_group g;

    wire_open(WIRE_PIPE, ends);
    p.aborts = ends[0];
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, read_two, &p), 0);
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    CHECK_EQ(p.result, 0);
    for (int i = 1; i <= 2; i++) {
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(coil_wait_all_blocked(0), 0);
        CHECK_EQ(p.result, i);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    wire_close(ends);
}

struct waiting {
    int64_t cushion_ns;
    int *order;
    int number;
    int *count;
    int result;
};

static int wait_with_a_cushion(void *arg)
{
    struct waiting *w = arg;

    w->result = coil_wait_all_blocked(w->cushion_ns);
    w->order[(*w->count)++] = w->number;
    return 0;
}

COIL_TEST(kit, s8_2_of_several_the_smallest_cushion_is_first_and_equal_ones_come_together)
{
    static const int64_t cushions_ns[] = {20 * COIL_MILLISECOND, 0, 5 * COIL_MILLISECOND, 0};
    struct waiting waiting[4];
    int order[4];
    int count = 0;
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 4; i++) {
        waiting[i] = (struct waiting){cushions_ns[i], order, i, &count, -1};
        CHECK_EQ(coil_group_spawn(&g, wait_with_a_cushion, &waiting[i]), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(waiting[i].result, 0);
    CHECK_EQ(order[0] + order[1], 1 + 3);
    CHECK_EQ(order[2], 2);
    CHECK_EQ(order[3], 0);
}

static int stir(void *arg)
{
    for (int *left = arg; *left; --*left)
        if (coil_sleep(COIL_MILLISECOND) < 0)
            return -ECANCELED;
    return 0;
}

COIL_TEST(kit, s8_2_whoever_moves_within_the_cushion_begins_it_anew)
{
    int left = 5;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, stir, &left), 0);
    CHECK_EQ(coil_wait_all_blocked(200 * COIL_MILLISECOND), 0);
    CHECK_EQ(left, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

struct returner {
    int64_t ran_ns; /* when it went on after its own wait */
};

static int return_and_run(void *arg)
{
    struct returner *r = arg;
    int rc = coil_wait_all_blocked(10 * COIL_MILLISECOND);

    r->ran_ns = coil_now(); /* it is no waiter any more */
    return rc < 0 ? rc : coil_sleep(COIL_FOREVER);
}

COIL_TEST(kit, s8_2_what_a_waiter_does_after_its_wait_is_seen_by_those_who_still_wait)
{
    const int64_t cushion_ns = 15 * COIL_MILLISECOND;
    struct returner r = {.ran_ns = 0};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, return_and_run, &r), 0);
    CHECK_EQ(coil_wait_all_blocked(cushion_ns), 0);
    CHECK(r.ran_ns);
    CHECK(coil_now() - r.ran_ns >= cushion_ns);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int wait_and_count(void *arg)
{
    struct returner *r = arg;
    int rc = coil_wait_all_blocked(20 * COIL_MILLISECOND);

    r->ran_ns = coil_now();
    return rc;
}

static int wait_later(void *arg)
{
    return coil_sleep(5 * COIL_MILLISECOND) < 0 ? -ECANCELED : wait_and_count(arg);
}

/* Though they began at different times: it is the others' rest that counts. */
COIL_TEST(kit, s8_2_equal_cushions_come_together_whenever_they_began)
{
    struct returner r[2] = {{0}, {0}};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, wait_and_count, &r[0]), 0);
    CHECK_EQ(coil_group_spawn(&g, wait_later, &r[1]), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(r[0].ran_ns);
    if (harness_on("sim")) /* where time does not pass between two looks at the clock */
        CHECK(llabs(r[1].ran_ns - r[0].ran_ns) < COIL_MILLISECOND);
}

static int wait_without_a_cushion(void *arg)
{
    *(int *)arg = coil_wait_all_blocked(0);
    return 0;
}

COIL_TEST(kit, s8_2_a_waiter_that_is_cancelled_leaves_the_others_their_turn)
{
    struct coil_handle first;
    const struct coil_spawn_options options = {.handle = &first};
    int results[2] = {1, 1};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, wait_without_a_cushion, &results[0], &options), 0);
    CHECK_EQ(coil_group_spawn(&g, wait_without_a_cushion, &results[1]), 0);
    coil_yield_shielded();
    coil_task_cancel(&first, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(results[0], -ECANCELED);
    CHECK_EQ(results[1], 0);
}

static int wait_long(void *arg)
{
    return coil_wait_all_blocked(*(int64_t *)arg);
}

/* The one that sleeps through its cushion is not in the way of who comes with a smaller one. */
COIL_TEST(kit, s8_2_who_comes_with_a_smaller_cushion_does_not_wait_for_the_larger)
{
    int64_t hour_ns = 3600 * COIL_SECOND;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, wait_long, &hour_ns), 0);
    CHECK_EQ(coil_sleep(5 * COIL_MILLISECOND), 0);
    CHECK_EQ(coil_wait_all_blocked(COIL_MILLISECOND), 0);
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(kit, s8_2_a_cancelled_wait_says_so)
{
    static const int64_t cushions_ns[] = {0, COIL_SECOND};
    struct coil_scope s;

    for (int i = 0; i < 2; i++) {
        int rc;

        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_cancel(&s, NULL);
        rc = coil_wait_all_blocked(cushions_ns[i]);
        CHECK_EQ(rc, -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, rc), 0);
    }
}

/* --- Taking turns ---------------------------------------------------------------------------- */

struct turn {
    struct coil_sequencer *sequencer;
    unsigned int number;
    unsigned int *order;
    int *count;
    int result;
};

static int take_turn(void *arg)
{
    struct turn *t = arg;

    t->result = coil_sequencer_begin(t->sequencer, t->number);
    if (t->result < 0)
        return 0;
    t->order[(*t->count)++] = t->number;
    coil_yield_shielded(); /* nobody comes in between */
    CHECK_EQ(t->order[*t->count - 1], t->number);
    coil_sequencer_end(t->sequencer);
    return 0;
}

COIL_TEST(kit, turns_are_had_in_the_order_of_their_numbers)
{
    static const unsigned int numbers[] = {3, 0, 4, 2, 1};
    struct coil_sequencer s = {0};
    struct turn turns[5];
    unsigned int order[5];
    int count = 0;
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        turns[i] = (struct turn){&s, numbers[i], order, &count, -1};
        CHECK_EQ(coil_group_spawn(&g, take_turn, &turns[i]), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (unsigned int i = 0; i < 5; i++)
        CHECK_EQ(order[i], i);
}

COIL_TEST(kit, a_cancelled_turn_makes_all_that_come_after_it_fail)
{
    struct coil_sequencer s = {0};
    struct turn turns[3];
    struct coil_handle handles[3];
    unsigned int order[3];
    int count = 0;
    struct coil_group g;

    coil_group_begin(&g);
    for (unsigned int i = 0; i < 3; i++) {
        const struct coil_spawn_options options = {.handle = &handles[i]};

        turns[i] = (struct turn){&s, i + 1, order, &count, -1};
        CHECK_EQ(coil_group_spawn_with(&g, take_turn, &turns[i], &options), 0);
    }
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    coil_task_cancel(&handles[1], NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(turns[0].result, -EPIPE);
    CHECK_EQ(turns[1].result, -ECANCELED);
    CHECK_EQ(turns[2].result, -EPIPE);
    CHECK_EQ(coil_sequencer_begin(&s, 0), -EPIPE);
    CHECK_EQ(count, 0);
}

COIL_TEST(kit, a_turn_is_had_once)
{
    struct coil_sequencer s = {0};

    CHECK_EQ(coil_sequencer_begin(&s, 0), 0);
    CHECK_EQ(coil_sequencer_begin(&s, 0), -EALREADY);
    coil_sequencer_end(&s);
    CHECK_EQ(coil_sequencer_begin(&s, 0), -EALREADY);
    CHECK_EQ(coil_sequencer_begin(&s, 1), 0);
    coil_sequencer_end(&s);
}

COIL_TEST(kit, a_turn_that_is_cancelled_before_it_is_begun_breaks_the_sequence_too)
{
    struct coil_sequencer sequencer = {0};
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_sequencer_begin(&sequencer, 0), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_sequencer_begin(&sequencer, 0), -EPIPE);
}

/* --- What a call is -------------------------------------------------------------------------- */

COIL_TEST(kit, a_probe_sees_who_gives_way_and_who_does_not)
{
    struct coil_probe p;

    coil_probe_begin(&p, 0);
    CHECK_EQ(coil_checkpoint(), 0);
    coil_probe_end(&p);
    CHECK(p.gave_way && !p.met_cancellation);

    coil_probe_begin(&p, 0);
    CHECK_EQ(coil_checkpoint_if_cancelled(), 0);
    (void)coil_effective_deadline();
    coil_probe_end(&p);
    CHECK(!p.gave_way && !p.met_cancellation);
}

COIL_TEST(kit, a_probe_sees_who_answers_a_cancellation_and_who_does_not)
{
    struct coil_probe p;

    coil_probe_begin(&p, 1);
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    coil_probe_end(&p);
    CHECK(p.met_cancellation);

    coil_probe_begin(&p, 1);
    coil_yield_shielded();
    coil_probe_end(&p);
    CHECK(p.gave_way && !p.met_cancellation);
    CHECK_EQ(coil_checkpoint(), 0); /* and nothing of it is left */
}
