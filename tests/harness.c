/* harness.c - what every test does before and after. */
#define _GNU_SOURCE
#include "harness.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef HAVE_URING
#include "../uring/compat.h"
#endif

uint64_t harness_seed;

/* Also in a signal handler. */
static void say(const char *words)
{
    ssize_t ignored = write(STDERR_FILENO, words, strlen(words));

    (void)ignored;
}

static void say_seed(void)
{
    char digits[24] = "";
    size_t at = sizeof(digits) - 2;

    digits[at] = '\n';
    for (uint64_t left = harness_seed; left; left /= 10)
        digits[--at] = (char)('0' + left % 10);
    say("seed ");
    say(digits + at);
}

static void say_variable(const char *name)
{
    const char *value = getenv(name);

    if (!value)
        return;
    say(name);
    say("=");
    say(value);
    say("\n");
}

/* Which run it is, for whoever wants to have it again. */
static void say_which(void)
{
    if (harness_seed)
        say_seed();
    say_variable("COIL_TEST_SEED");
    say_variable("COIL_TEST_LATE");
}

_Noreturn void harness_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    say_which();
    _exit(1);
}

static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
static struct sigaction handlers_before[sizeof(crashes) / sizeof(crashes[0])];

/* Then it happens once more, and whoever was here before us hears of it. */
static void crashed(int signal, siginfo_t *info, void *context)
{
    (void)context;
    say_which();
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
        if (crashes[i] == signal)
            sigaction(signal, &handlers_before[i], NULL);
    if (info->si_code <= 0) /* it was sent, and does not come by itself */
        raise(signal);
}

/* On a stack of its own: a task's may be what ran over. */
static __attribute__((constructor)) void listen_for_crashes(void)
{
    static char stack[16384];
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)};
    const struct sigaction handler = {.sa_sigaction = crashed,
                                      .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    stack_t before;

    if (sigaltstack(NULL, &before) == 0 && before.ss_flags & SS_DISABLE)
        sigaltstack(&own, NULL);
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
        sigaction(crashes[i], &handler, &handlers_before[i]);
}

struct coil_loop_options harness_options(void)
{
    const char *sq = getenv("COIL_TEST_SQ");
    const char *cq = getenv("COIL_TEST_CQ");
    const char *seed = getenv("COIL_TEST_SEED");

    return (struct coil_loop_options){
        .sq_entries = sq ? (unsigned int)atoi(sq) : 0,
        .cq_entries = cq ? (unsigned int)atoi(cq) : 0,
        .shuffle_seed = seed ? strtoull(seed, NULL, 0) : 0,
    };
}

int harness_count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = -3; /* ".", "..", and dir itself */

    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

void harness_not_on_sim(const char *why)
{
    const char *backend = getenv("COIL_BACKEND");

    if (backend && strcmp(backend, "sim") == 0)
        SKIP(why);
}

/* --- Older kernels, by standing between the library and the system call ----------------------- */

bool harness_kernel_before(int major, int minor)
{
    const char *kernel = getenv("COIL_TEST_KERNEL");
    int has_major;
    int has_minor;

    if (!kernel || sscanf(kernel, "%d.%d", &has_major, &has_minor) != 2)
        return false;
    return has_major < major || (has_major == major && has_minor < minor);
}

int epoll_pwait2(int fd, struct epoll_event *events, int most, const struct timespec *timeout,
                 const sigset_t *mask)
{
    if (!harness_kernel_before(5, 11))
        return (int)syscall(SYS_epoll_pwait2, fd, events, most, timeout, mask, _NSIG / 8);
    errno = ENOSYS;
    return -1;
}

#ifdef HAVE_URING
static const struct {
    int major, minor; /* it came with this one */
    unsigned int setup;
    unsigned int features;
} novelties[] = {
    {5, 18, IORING_SETUP_SUBMIT_ALL, 0},
    {5, 19, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0},
    {6, 1, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0},
    {6, 10, 0, IORING_FEAT_RECVSEND_BUNDLE},
    {6, 12, 0, IORING_FEAT_MIN_TIMEOUT},
    {6, 15, 0, IORING_FEAT_NO_IOWAIT},
};

int io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
                               struct io_uring_params *p)
{
    int (*real)(unsigned int, struct io_uring *, struct io_uring_params *) =
        (int (*)(unsigned int, struct io_uring *, struct io_uring_params *))dlsym(
            RTLD_NEXT, "io_uring_queue_init_params");
    unsigned int features = 0;
    int r;

    for (size_t i = 0; i < sizeof(novelties) / sizeof(novelties[0]); i++) {
        if (!harness_kernel_before(novelties[i].major, novelties[i].minor))
            continue;
        if (p->flags & novelties[i].setup)
            return -EINVAL;
        features |= novelties[i].features;
    }
    r = real(entries, ring, p);
    ring->features &= ~features;
    return r;
}

int io_uring_register_ring_fd(struct io_uring *ring)
{
    int (*real)(struct io_uring *) =
        (int (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_register_ring_fd");

    return harness_kernel_before(5, 18) ? -EINVAL : real(ring);
}
#endif

void harness_not_late(const char *why)
{
    if (getenv("COIL_TEST_LATE"))
        SKIP(why);
}

bool harness_on(const char *backend)
{
    return strcmp(coil_backend_name(), backend) == 0;
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

/* Some tests hold thousands of descriptors, and the usual soft limit is 1024. */
static void raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 16384) {
        limit.rlim_cur = limit.rlim_max < 16384 ? limit.rlim_max : 16384;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void harness_need_backend(void)
{
    struct coil_loop_options options = harness_options();
    int r = coil_run(&options, nothing, NULL);

    raise_fd_limit();
    if (r == -ENOSYS || r == -EPERM || r == -EOPNOTSUPP)
        SKIP(coil_run_error());
    CHECK_EQ(r, 0);
}

static int run_body(void *arg)
{
    (*(void (**)(void))arg)();
    return 0;
}

static int tell_backend(void *ret)
{
    *(const char **)ret = coil_backend_name();
    return 0;
}

/* What coil would choose, where nobody has named one: a testing run would choose sim. */
static const char *chosen_backend(const struct coil_loop_options *options)
{
    const char *name = options->backend;

    if (!name && !getenv("COIL_BACKEND"))
        CHECK_EQ(coil_run(NULL, tell_backend, &name), 0);
    return name;
}

void harness_run(const struct coil_loop_options *options, void (*body)(void))
{
    struct coil_testing_options o = {
        .loop = *options,
        .seed = getenv("COIL_TEST_LATE") ? options->shuffle_seed : 0,
        .late_percent = 25,
        .late_ns = 20 * COIL_MICROSECOND,
        .tick_ns = COIL_MICROSECOND,          /* tests may spin, */
        .outside_ns = 50 * COIL_MILLISECOND,  /* and start threads, */
        .threads = !getenv("COIL_TEST_LATE"), /* or look at the pool's */
    };
    struct coil_testing_report report;
    int r;

    harness_need_backend();
    o.loop.backend = chosen_backend(options);
    r = coil_testing_run(&o, run_body, &body, &report);
    if (report.text[0])
        harness_fail(report.backend, 0, report.text);
    CHECK_EQ(r, 0);
}

const char *harness_abort_line(void (*fn)(void))
{
    static char line[512];
    const struct rlimit no_core = {0, 0};
    int ends[2];
    int status;
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    CHECK_EQ(pipe(ends), 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &no_core);
        fn();
        _exit(0);
    }
    close(ends[1]);
    while (len < sizeof(line) - 1 && (n = read(ends[0], line + len, sizeof(line) - 1 - len)) > 0)
        len += (size_t)n;
    line[len] = '\0';
    close(ends[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        line[0] = '\0';
    return line;
}

#ifdef PLAIN_RUNNER
#define SKIPPED 77

static struct plain_test *all;
static char *skip_reason; /* shared with the process of the test */
static const size_t skip_reason_size = 256;

void plain_test_add(struct plain_test *t)
{
    t->next = all;
    all = t;
}

_Noreturn void plain_test_skip(const char *why)
{
    snprintf(skip_reason, skip_reason_size, "%s", why);
    _exit(SKIPPED);
}

static const char *option(int argc, char **argv, const char *name)
{
    size_t len = strlen(name);

    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, len) == 0)
            return argv[i] + len;
    return NULL;
}

static bool wanted(const struct plain_test *t, const char *filter)
{
    char name[256];

    snprintf(name, sizeof(name), "%s/%s", t->suite, t->name);
    return !filter || fnmatch(filter, name, FNM_EXTMATCH) == 0;
}

static void list(const char *suite)
{
    if (suite)
        printf("%s: tests\n", suite);
    for (struct plain_test *t = all; t; t = t->next)
        printf("|-- %s\n", t->name);
}

/* In a process of its own, as Criterion has it. */
static int run_apart(struct plain_test *t)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        t->body();
        exit(0); /* TSan reports, and changes the code, at exit */
    }
    waitpid(pid, &status, 0);
    return status;
}

static bool run_and_report(struct plain_test *t)
{
    int status;

    fprintf(stderr, "[RUN ] %s::%s\n", t->suite, t->name);
    status = run_apart(t);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        fprintf(stderr, "[SKIP] %s::%s: %s\n", t->suite, t->name, skip_reason);
        return true;
    }
    fprintf(stderr, "[%s] %s::%s\n", status ? "FAIL" : "PASS", t->suite, t->name);
    return status == 0;
}

/* Speaks as much of Criterion's language as tests/tally.py does: --list, --filter=PATTERN. */
int main(int argc, char **argv)
{
    const char *filter = option(argc, argv, "--filter=");
    int failed = 0;

    if (option(argc, argv, "--list")) {
        list(all ? all->suite : NULL);
        return 0;
    }
    skip_reason =
        mmap(NULL, skip_reason_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (skip_reason == MAP_FAILED)
        return 1;
    for (struct plain_test *t = all; t; t = t->next)
        if (wanted(t, filter))
            failed += !run_and_report(t);
    return failed != 0;
}
#endif
