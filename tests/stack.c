/* stack.c - stacks: guarded, many, small in memory, used again, and given back. */
#define _GNU_SOURCE
#include "harness.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/sched/loop.h"
#include "../core/sched/stack.h"

#define BLOCK 512

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* --- The guard ---------------------------------------------------------------------------------*/

static __attribute__((noinline)) int dig(volatile char *above, int depth)
{
    volatile char here[256];

    here[0] = above ? above[0] : 0;
    if (depth == 0)
        return here[0];
    return dig(here, depth - 1) + here[0];
}

static int overflow(void *arg)
{
    (void)arg;
    return dig(NULL, 1 << 30);
}

static size_t overflow_size;

static int run_overflow(void *arg)
{
    struct coil_spawn_options options = {.stack_size = overflow_size};
    struct coil_group g;
    int rc;

    (void)arg;
    coil_group_begin(&g);
    rc = coil_group_spawn_with(&g, overflow, NULL, &options);
    return coil_group_end(&g, rc);
}

/* The signal that ends a process whose task uses more stack than it has. */
static int signal_of_overflow(size_t size)
{
    const struct rlimit no_core = {0, 0};
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        struct coil_loop_options options = harness_options();

        signal(SIGSEGV, SIG_DFL);
        setrlimit(RLIMIT_CORE, &no_core);
        overflow_size = size;
        _exit(coil_run(&options, run_overflow, NULL) != 0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

Test(stack, a_task_that_overflows_its_stack_hits_the_guard)
{
    harness_need_backend();
    if (SANITIZED)
        SKIP("a sanitizer catches it first");
    CHECK_EQ(signal_of_overflow(0), SIGSEGV);
    CHECK_EQ(signal_of_overflow(16 * 1024), SIGSEGV);
    CHECK_EQ(signal_of_overflow(8 * 1024 * 1024), SIGSEGV);
}

static int sleep_long(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

/* What the handler, on a stack of its own, compares the address of the fault with. */
static char *guard;
static size_t guard_size;

static void met(int signal_number, siginfo_t *info, void *context)
{
    char *at = info->si_addr;

    (void)signal_number;
    (void)context;
    _exit(at >= guard && at < guard + guard_size ? 42 : 43);
}

static void catch_faults(void)
{
    const struct sigaction sa = {.sa_sigaction = met, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const stack_t elsewhere = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};

    CHECK_EQ(sigaltstack(&elsewhere, NULL), 0);
    CHECK_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
}

static char *own_bottom(void)
{
    struct coil_task *self = coil_task_self();

    return coil__stack_bottom(&coil__here.loop->stacks, self->stack_class, self);
}

static int overflow_under_watch(void *arg)
{
    guard_size = coil__here.loop->stacks.page_size;
    guard = own_bottom() - guard_size;
    return overflow(arg);
}

static bool use_mprotect;

static int run_under_watch(void *arg)
{
    struct coil_spawn_options options = {.stack_size = *(size_t *)arg};
    struct coil_group g;
    int rc;

    catch_faults();
    coil__here.loop->stacks.no_guard_install |= use_mprotect;
    coil_group_begin(&g);
    for (int i = 0; i < 2; i++) /* neighbours on both sides */
        CHECK_EQ(coil_group_spawn_with(&g, sleep_long, NULL, &options), 0);
    rc = coil_group_spawn_with(&g, overflow_under_watch, NULL, &options);
    CHECK_EQ(coil_group_spawn_with(&g, sleep_long, NULL, &options), 0);
    return coil_group_end(&g, rc);
}

static int exit_code_of(coil_task_fn *fn, void *arg)
{
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        struct coil_loop_options options = harness_options();

        _exit(coil_run(&options, fn, arg) != 0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(stack, the_fault_of_an_overflow_is_in_the_guard_whatever_the_size_and_the_kind_of_guard)
{
    size_t sizes[] = {16 << 10, 64 << 10, 256 << 10, 1 << 20, 64 << 20};

    harness_need_backend();
    if (SANITIZED)
        SKIP("a sanitizer catches it first");
    for (int kind = 0; kind < 2; kind++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            use_mprotect = kind;
            CHECK_EQ(exit_code_of(run_under_watch, &sizes[i]), 42);
        }
}

/* A task that goes as far down as it may, leaves its mark and looks whether it stays. */
static int touch_the_bottom(void *arg)
{
    volatile char *bottom = own_bottom();

    (void)arg;
    bottom[0] = 'x';
    coil_yield_shielded();
    return bottom[0] == 'x' ? 0 : -EFAULT;
}

COIL_TEST(stack, one_is_usable_down_to_its_guard)
{
    const size_t sizes[] = {16 << 10, (16 << 10) + 1, 64 << 10, (64 << 10) + 1,
                            1 << 20,  64 << 20,       1 << 30};
    struct coil_group g;

    coil_group_begin(&g);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (int k = 0; k < 20; k++) {
            struct coil_spawn_options options = {.stack_size = sizes[i]};

            if (sizes[i] < (1 << 24) || k == 0)
                CHECK_EQ(coil_group_spawn_with(&g, touch_the_bottom, NULL, &options), 0);
        }
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- Many --------------------------------------------------------------------------------------*/

/* Kilobytes that /proc/self/status names. */
static long status_kib(const char *name)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;

    CHECK(f);
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, name, strlen(name)) == 0)
            kib = atol(line + strlen(name) + 1);
    fclose(f);
    return kib;
}

static long memory_kib(void)
{
    return status_kib("RssAnon") + status_kib("VmPTE");
}

/* Puts count tasks to sleep and returns the bytes that each takes, its share of page tables
 * counted. */
static double bytes_a_sleeper(size_t count)
{
    struct coil_group g;
    long before = memory_kib();
    double bytes;

    coil_group_begin(&g);
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(coil_group_spawn(&g, sleep_long, NULL), 0);
    coil_yield_shielded();
    CHECK_EQ(coil_group_count(&g), count);
    bytes = (double)(memory_kib() - before) * 1024 / (double)count;
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    return bytes;
}

COIL_TEST(stack, a_hundred_thousand_tasks_live_at_once)
{
    double bytes;

    if (coil__here.loop->stacks.no_guard_install)
        SKIP("guards cost mappings on this kernel: vm.max_map_count allows some 32,000");
    bytes = bytes_a_sleeper(SANITIZED ? 1000 : 100 * 1000);
    if (!SANITIZED)
        CHECK(bytes <= 4400);
}

COIL_TEST(stack, a_million_sleeping_tasks_take_no_more_than_4400_bytes_each)
{
    double bytes;

    if (SANITIZED)
        SKIP("a sanitizer's own memory would be counted");
    if (getenv("COIL_TEST_SEED") || getenv("COIL_TEST_SQ"))
        SKIP("measured without a shuffle and with rings of the usual size");
    if (sysconf(_SC_AVPHYS_PAGES) / 1024 * sysconf(_SC_PAGESIZE) < 8L * 1024 * 1024)
        SKIP("less than 8 GiB of memory are free");
    CHECK(bytes_a_sleeper(1) >= 0); /* a first stack, so that the kernel has been asked */
    if (coil__here.loop->stacks.no_guard_install)
        SKIP("MADV_GUARD_INSTALL is not there (Linux 6.13)");
    bytes = bytes_a_sleeper(1000 * 1000);
    CHECK(bytes <= 4400);
}

COIL_TEST(stack, a_million_tasks_without_a_stack_take_less_than_150_megabytes)
{
    const int64_t later_ns = coil_now() + 3600 * COIL_SECOND;
    const long before = memory_kib();
    struct coil_group g;

    if (SANITIZED)
        SKIP("a sanitizer's own memory would be counted");
    coil_group_begin(&g);
    for (int i = 0; i < 1000 * 1000; i++)
        CHECK_EQ(coil_group_spawn_later(&g, later_ns + i, sleep_long, NULL), 0);
    CHECK_EQ(coil_group_count(&g), 1000 * 1000);
    CHECK((memory_kib() - before) * 1024 < 150L * 1000 * 1000);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- Used again, and given back ----------------------------------------------------------------*/

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

COIL_TEST(stack, one_that_was_returned_is_lent_again)
{
    struct coil_group g;
    struct coil_stats stats;

    coil_group_begin(&g);
    for (int i = 0; i < 10000; i++) {
        CHECK_EQ(coil_group_spawn(&g, nothing, NULL), 0);
        coil_yield_shielded();
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK(stats.stacks <= 4);
}

Test(stack, the_last_one_returned_is_the_first_one_lent)
{
    struct stacks all;
    void *a;
    void *b;

    coil__stacks_init(&all, BLOCK);
    a = stack_lend(&all, 16);
    b = stack_lend(&all, 16);
    CHECK(a && b && a != b);
    stack_return(&all, 16, a);
    stack_return(&all, 16, b);
    CHECK(stack_lend(&all, 16) == b);
    CHECK(stack_lend(&all, 16) == a);
    stack_return(&all, 16, a);
    stack_return(&all, 16, b);
    coil__stacks_close(&all);
}

/* Lends count stacks, dirties 16 KiB of each, and returns them. */
static void burst(struct stacks *all, size_t count)
{
    char **blocks = calloc(count, sizeof(*blocks));

    CHECK(blocks);
    for (size_t i = 0; i < count; i++) {
        blocks[i] = stack_lend(all, 16);
        CHECK(blocks[i]);
        memset(blocks[i] - 16 * 1024, 1, 16 * 1024);
    }
    for (size_t i = 0; i < count; i++)
        stack_return(all, 16, blocks[i]);
    free(blocks);
}

Test(stack, those_of_a_burst_go_back_to_the_system)
{
    const size_t count = 5000;
    struct stacks all;
    long before = status_kib("RssAnon");
    int trims = 0;

    if (SANITIZED)
        SKIP("a sanitizer's own memory would be counted");
    coil__stacks_init(&all, BLOCK);
    burst(&all, count);
    CHECK(status_kib("RssAnon") - before > (long)count * 16);
    coil__stacks_trim(&all); /* marks all as idle from here on */
    while (coil__stacks_trimmable(&all) && trims++ < 100)
        coil__stacks_trim(&all);
    CHECK(trims < 100);
    CHECK(coil__stacks_mapped(&all) < 3000); /* slabs of which all were cold are gone */
    CHECK(status_kib("RssAnon") - before < 256 * 24 + 3000 * 4 + 1024);
    burst(&all, count); /* and it all works again */
    coil__stacks_close(&all);
}

Test(stack, the_guard_survives_that_pages_are_given_back)
{
    struct stacks all;
    int status = 0;
    pid_t pid;

    if (SANITIZED)
        SKIP("a sanitizer catches it first");
    coil__stacks_init(&all, BLOCK);
    burst(&all, 1000);
    coil__stacks_trim(&all);
    coil__stacks_trim(&all);
    for (int i = 0; i < 1000; i++) {
        char *block = stack_lend(&all, 16);
        char *bottom = coil__stack_bottom(&all, 16, block);

        bottom[0] = 1; /* the lowest usable byte is usable */
        if (i != 0 && i != 999)
            continue;
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            const struct rlimit no_core = {0, 0};

            signal(SIGSEGV, SIG_DFL);
            setrlimit(RLIMIT_CORE, &no_core);
            *(volatile char *)(bottom - 1) = 1;
            _exit(0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    }
    /* Not returned, and not closed: the process ends here. */
}

/* --- Where the kernel has no marks for guards --------------------------------------------------*/

COIL_TEST(stack, with_mprotect_for_guards_running_out_is_an_answer)
{
    struct stacks *stacks = &coil__here.loop->stacks;
    struct coil_group g;
    size_t count = 0;
    int rc = 0;

    if (SANITIZED)
        SKIP("a sanitizer maps beside us");
    stacks->no_guard_install = true;
    coil_group_begin(&g);
    while (count < 70 * 1000 && (rc = coil_group_spawn(&g, sleep_long, NULL)) == 0)
        count++;
    CHECK_EQ(rc, -ENOMEM);
    CHECK(count > 20 * 1000);
    CHECK_EQ(coil_group_count(&g), count);
    coil_yield_shielded();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);

    coil_group_begin(&g); /* the tree is intact, and so is what was lent */
    CHECK_EQ(coil_group_spawn(&g, nothing, NULL), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}
