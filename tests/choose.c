/* choose.c - which backend a loop runs on, what it says of that, and what happens when it
 * cannot. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static char name[32];
static char reason[160];
static int runs;

static int look_around(void *arg)
{
    (void)arg;
    runs++;
    snprintf(name, sizeof(name), "%s", coil_backend_name());
    snprintf(reason, sizeof(reason), "%s", coil_backend_reason());
    return 0;
}

/* Which backend a run of these options has, and why, in name and reason. */
static int run_with(const char *backend)
{
    const struct coil_loop_options options = {.backend = backend};
    int before = harness_count_fds();
    int r;

    runs = 0;
    r = coil_run(&options, look_around, NULL);
    CHECK_EQ(runs, r >= 0);
    CHECK_EQ(harness_count_fds(), before);
    return r;
}

static bool says(const char *text, const char *words)
{
    if (!strstr(text, words))
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", text, words);
    return strstr(text, words);
}

static void limit(int resource, rlim_t soft)
{
    struct rlimit r;

    CHECK_EQ(getrlimit((__rlimit_resource_t)resource, &r), 0);
    r.rlim_cur = soft;
    CHECK_EQ(setrlimit((__rlimit_resource_t)resource, &r), 0);
}

#ifdef HAVE_URING
/* The machine's own choice must be io_uring for what follows to mean anything. */
static void need_uring(void)
{
    unsetenv("COIL_BACKEND");
    CHECK_EQ(run_with(NULL), 0);
    if (strcmp(name, "io_uring") != 0)
        SKIP(reason);
}

Test(choose, a_loop_that_nobody_told_prefers_io_uring_and_says_so)
{
    need_uring();
    CHECK(says(reason, "preferred"));
    CHECK_EQ(strlen(coil_run_error()), 0);
}

/* --- Denied ----------------------------------------------------------------------------------- */

/* From here on, in this process, the system call fails. */
static void deny(unsigned int call, unsigned int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

Test(choose, a_seccomp_filter_with_EPERM_leaves_epoll_and_a_reason)
{
    need_uring();
    deny(SYS_io_uring_setup, EPERM);
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "io_uring_setup: EPERM"));
}

Test(choose, a_seccomp_filter_with_ENOSYS_leaves_epoll_and_a_reason)
{
    need_uring();
    deny(SYS_io_uring_setup, ENOSYS);
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "io_uring_setup: ENOSYS"));
}

Test(choose, a_kernel_that_knows_no_way_of_setting_up_our_ring_leaves_epoll_and_a_reason)
{
    need_uring();
    deny(SYS_io_uring_setup, EINVAL);
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "io_uring_setup: EINVAL"));
    CHECK_EQ(run_with("io_uring"), -ENOSYS);
    CHECK(says(coil_run_error(), "io_uring_setup: EINVAL"));
}

Test(choose, a_ring_that_may_be_set_up_but_not_entered_leaves_epoll)
{
    need_uring();
    deny(SYS_io_uring_enter, EPERM);
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "io_uring_enter"));
    CHECK_EQ(run_with("io_uring"), -EPERM);
    CHECK(says(coil_run_error(), "io_uring_enter"));
}

Test(choose, a_ring_that_may_not_be_registered_with_leaves_epoll)
{
    need_uring();
    deny(SYS_io_uring_register, EPERM);
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "io_uring_register"));
    CHECK_EQ(run_with("io_uring"), -EPERM);
}

Test(choose, a_backend_named_by_an_option_is_used_or_the_call_fails_with_code_and_reason)
{
    need_uring();
    deny(SYS_io_uring_setup, EPERM);
    CHECK_EQ(run_with("io_uring"), -EPERM);
    CHECK(says(coil_run_error(), "io_uring_setup: EPERM"));
    CHECK_EQ(run_with("epoll"), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "option"));
    CHECK_EQ(strlen(coil_run_error()), 0);
}

Test(choose, a_backend_named_by_the_environment_is_used_or_the_call_fails_with_code_and_reason)
{
    need_uring();
    deny(SYS_io_uring_setup, ENOSYS);
    setenv("COIL_BACKEND", "io_uring", 1);
    CHECK_EQ(run_with(NULL), -ENOSYS);
    CHECK(says(coil_run_error(), "io_uring_setup: ENOSYS"));
    setenv("COIL_BACKEND", "epoll", 1);
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "COIL_BACKEND"));
}

/* --- Short of memory to lock ----------------------------------------------------------------- */

/* Becomes a user that nobody else is: rings are charged per user, and given back late. */
static void become_nobody(unsigned int number)
{
    const uid_t uid = 1000000 + (uid_t)getpid() * 8 + number;

    if (geteuid() != 0)
        SKIP("needs root, to be a user of whom no other test has locked memory");
    CHECK_EQ(setresuid(uid, uid, uid), 0);
    prctl(PR_SET_DUMPABLE, 1); /* for the leak checker */
}

/* Kernels from 5.12 to 6.13 do not charge rings to the limit at all. */
static void need_charge(void)
{
    if (run_with("io_uring") == 0 && !strstr(reason, "RLIMIT_MEMLOCK")) {
        limit(RLIMIT_MEMLOCK, 0);
        if (run_with("io_uring") == 0)
            SKIP("this kernel does not charge rings to RLIMIT_MEMLOCK");
    }
}

Test(choose, with_little_memory_to_lock_the_rings_are_smaller_and_the_reason_says_so)
{
    need_uring();
    become_nobody(0);
    limit(RLIMIT_MEMLOCK, 64 * 1024);
    need_charge();
    limit(RLIMIT_MEMLOCK, 64 * 1024);
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "io_uring"));
    CHECK(says(reason, "RLIMIT_MEMLOCK"));
}

Test(choose, with_no_memory_to_lock_the_loop_runs_on_epoll_and_a_forced_one_fails)
{
    need_uring();
    become_nobody(1);
    limit(RLIMIT_MEMLOCK, 4096);
    need_charge();
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "RLIMIT_MEMLOCK"));
    CHECK_EQ(run_with("io_uring"), -ENOMEM);
    CHECK(says(coil_run_error(), "RLIMIT_MEMLOCK"));
}

#else

Test(choose, a_build_without_io_uring_runs_on_epoll_says_why_and_refuses_the_other)
{
    unsetenv("COIL_BACKEND");
    CHECK_EQ(run_with(NULL), 0);
    CHECK(says(name, "epoll"));
    CHECK(says(reason, "left out of this build"));
    CHECK_EQ(run_with("io_uring"), -EOPNOTSUPP);
    CHECK(says(coil_run_error(), "left out of this build"));
    setenv("COIL_BACKEND", "io_uring", 1);
    CHECK_EQ(run_with(NULL), -EOPNOTSUPP);
}

#endif

/* --- Wrong calls, and want of descriptors ---------------------------------------------------- */

Test(choose, a_name_that_is_no_backend_is_refused_by_name)
{
    CHECK_EQ(run_with("kqueue"), -EINVAL);
    CHECK(says(coil_run_error(), "kqueue"));
    CHECK_EQ(run_with(""), -EINVAL);
    setenv("COIL_BACKEND", "iocp", 1);
    CHECK_EQ(run_with(NULL), -EINVAL);
    CHECK(says(coil_run_error(), "iocp"));
}

Test(choose, an_option_goes_before_the_environment_and_an_empty_variable_names_nothing)
{
    setenv("COIL_BACKEND", "iocp", 1);
    CHECK_EQ(run_with("epoll"), 0);
    CHECK(says(name, "epoll"));
    setenv("COIL_BACKEND", "", 1);
    CHECK_EQ(run_with(NULL), 0);
}

Test(choose, without_descriptors_to_be_had_the_run_fails_whole_and_the_next_one_works)
{
    struct coil_loop_options options = harness_options();
    struct rlimit before;
    int fd;

    harness_need_backend();
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    fd = dup(0);
    CHECK(fd >= 0);
    /* None, one, two ...: until it works. */
    for (int more = 0;; more++) {
        int r;

        CHECK(more < 8);
        limit(RLIMIT_NOFILE, (rlim_t)fd + (rlim_t)more);
        close(fd);
        r = coil_run(&options, look_around, NULL);
        CHECK_EQ(dup(0), more ? fd : -1); /* all as it was */
        if (r == 0)
            break;
        CHECK_EQ(r, -EMFILE);
        CHECK(strlen(coil_run_error()) > 0);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (!more)
            CHECK_EQ(dup(0), fd);
    }
    close(fd);
}

Test(choose, options_out_of_range_are_refused_before_anything_happens)
{
    const struct coil_loop_options wrong[] = {
        {.stack_size = ((size_t)1 << 30) + 1},
        {.stack_size = SIZE_MAX},
        {.sq_entries = 32769},
        {.sq_entries = UINT32_MAX},
        {.cq_entries = 65537},
        {.cq_entries = UINT32_MAX},
        {.blocking_threads = 1025},
        {.blocking_threads = UINT32_MAX},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CHECK_EQ(coil_run(&wrong[i], look_around, NULL), -EINVAL);
    CHECK_EQ(coil_run(NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(coil_runtime_run(NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(
        coil_runtime_run(&(struct coil_runtime_options){.loops = UINT32_MAX}, look_around, NULL),
        -EINVAL);
    CHECK_EQ(runs, 0);
}

Test(choose, options_at_their_limits_are_taken)
{
    const struct coil_loop_options odd[] = {
        {.stack_size = 16384}, {.sq_entries = 1, .cq_entries = 1}, {.sq_entries = 2},
        {.cq_entries = 2},     {.sq_entries = 3, .cq_entries = 5}, {.blocking_threads = 1024},
    };

    harness_need_backend();
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        CHECK_EQ(coil_run(&odd[i], look_around, NULL), 0);
}

static int run_inside(void *arg)
{
    CHECK_EQ(coil_run(arg, look_around, NULL), -EBUSY);
    CHECK_EQ(coil_runtime_run(NULL, look_around, NULL), -EBUSY);
    CHECK_EQ(coil_checkpoint(), 0);
    return 7;
}

Test(choose, a_loop_inside_a_loop_is_refused_and_the_outer_one_goes_on)
{
    struct coil_loop_options options = harness_options();

    harness_need_backend();
    CHECK_EQ(coil_run(&options, run_inside, &options), 7);
}

static int pass_on(void *arg)
{
    return *(int *)arg;
}

Test(choose, what_main_returns_is_what_the_run_returns)
{
    struct coil_loop_options options = harness_options();
    int results[] = {0, 1, 12345, -1, -EIO, -ECANCELED};

    harness_need_backend();
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
        CHECK_EQ(coil_run(&options, pass_on, &results[i]), results[i]);
}

Test(choose, outside_of_a_task_there_is_no_backend_and_there_are_no_numbers)
{
    struct coil_stats stats;

    CHECK(!coil_backend_name());
    CHECK(!coil_backend_reason());
    CHECK_EQ(coil_loop_stats(&stats), -EINVAL);
    CHECK_EQ(coil_shutdown_loops("nothing to shut"), -EINVAL);
    CHECK_EQ(coil_loop_index(), 0);
    CHECK_EQ(coil_loop_count(), 1);
    CHECK(!coil_task_self());
}

/* --- The allocator hook ---------------------------------------------------------------------- */

struct supply {
    long count;    /* so far */
    long fail_at;  /* this one fails, counted from 1 */
    bool for_good; /* and all after it */
    size_t live;
};

static void *supply(void *ctx, void *ptr, size_t size)
{
    struct supply *s = ctx;
    void *fresh;

    if (!size) {
        s->live -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (++s->count == s->fail_at || (s->for_good && s->count > s->fail_at && s->fail_at))
        return NULL;
    fresh = realloc(ptr, size);
    s->live += fresh && !ptr;
    return fresh;
}

static int echo_once(void *arg)
{
    int fd = *(int *)arg;
    char byte;
    ssize_t n = coil_recv(fd, &byte, 1, 0);

    return n <= 0 ? (int)n : coil_send_all(fd, &byte, 1, 0, NULL);
}

static int say_and_hear(int fd)
{
    char byte = 'a';
    int r = coil_send_all(fd, &byte, 1, 0, NULL);

    if (r >= 0)
        r = (int)coil_recv(fd, &byte, 1, 0);
    return r < 0 ? r : 0;
}

static int fail_early(void *arg)
{
    (void)arg;
    return -EIO;
}

/* An echo, a sleep under a time-out, a file, a failure with its record. 0 or -ENOMEM. */
static int scenario(void *arg)
{
    int *ends = arg;
    struct coil_group g;
    struct coil_scope s;
    struct coil_error e;
    int fd;
    int rc;

    coil_group_begin(&g);
    coil_scope_begin(&s, coil_now() + 10 * COIL_SECOND);
    rc = coil_group_spawn(&g, echo_once, &ends[1]);
    if (rc >= 0)
        rc = say_and_hear(ends[0]);
    if (rc >= 0)
        rc = coil_sleep(COIL_MICROSECOND);
    rc = coil_scope_end(&s, rc);
    rc = coil_group_end(&g, rc);
    CHECK(rc == 0 || rc == -ENOMEM);

    fd = coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);
    CHECK(fd >= 0 || fd == -ENOMEM);
    if (fd >= 0)
        CHECK_EQ(coil_close(fd), 0);

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, fail_early, NULL), 0);
    CHECK_EQ(coil_group_end(&g, 0), -EIO); /* the fact is never lost */
    CHECK_EQ(coil_group_error_count(&g) + coil_group_error_dropped(&g), 1);
    if (coil_group_error_count(&g)) {
        CHECK_EQ(coil_group_error(&g, 0, &e), 0);
        CHECK_EQ(e.code, -EIO);
    }
    return rc < 0 ? rc : fd < 0 ? fd : 0;
}

static int run_scenario(struct supply *s)
{
    struct coil_loop_options options = harness_options();
    int before = harness_count_fds();
    int ends[2];
    int r;

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    options.allocate = supply;
    options.allocate_ctx = s;
    r = coil_run(&options, scenario, ends);
    close(ends[0]);
    close(ends[1]);
    CHECK_EQ(s->live, 0);
    CHECK_EQ(harness_count_fds(), before);
    return r;
}

/* Fails the 1st, 2nd, 3rd ... allocation in turn, until the scenario no longer gets to it. */
static void starve(bool for_good)
{
    long n = 0;
    struct supply s;

    harness_need_backend();
    do {
        int r;

        s = (struct supply){.fail_at = ++n, .for_good = for_good};
        r = run_scenario(&s);
        CHECK(r == 0 || r == -ENOMEM);
        CHECK(n < 1000);
    } while (s.count >= n);
    CHECK(n > 2); /* else the hook was never asked */
}

Test(choose, any_one_allocation_may_fail_and_is_answered_with_ENOMEM_at_most)
{
    starve(false);
}

Test(choose, memory_may_run_out_at_any_allocation_and_stay_out)
{
    starve(true);
}

Test(choose, everything_that_came_from_the_hook_goes_back_to_it)
{
    struct supply s = {.fail_at = 0};

    harness_need_backend();
    CHECK_EQ(run_scenario(&s), 0);
    CHECK(s.count > 0);
}
