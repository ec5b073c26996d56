/* harness.c - what every test does before and after. */
#define _GNU_SOURCE
#include "harness.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

bool harness_on(const char *backend)
{
    return strcmp(coil_backend_name(), backend) == 0;
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

void harness_need_backend(void)
{
    struct coil_loop_options options = harness_options();
    int r = coil_run(&options, nothing, NULL);

    if (r == -ENOSYS || r == -EPERM || r == -EOPNOTSUPP)
        SKIP(coil_run_error());
    CHECK_EQ(r, 0);
}

static int run_body(void *arg)
{
    void (*const *body)(void) = arg;
    struct coil_stats stats;

    (*body)();
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.tasks, 1);
    CHECK_EQ(stats.operations, 0);
    CHECK_EQ(stats.timers, 0);
    CHECK_EQ(stats.descriptors, 0);
    CHECK_EQ(stats.blocking, 0);
    return 0;
}

void harness_run(const struct coil_loop_options *options, void (*body)(void))
{
    int before;

    harness_need_backend();
    before = harness_count_fds();
    CHECK_EQ(coil_run(options, run_body, &body), 0);
    CHECK_EQ(harness_count_fds(), before);
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

#ifdef __SANITIZE_THREAD__
static struct plain_test *all;

void plain_test_add(struct plain_test *t)
{
    t->next = all;
    all = t;
}

_Noreturn void plain_test_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    _exit(1);
}

_Noreturn void plain_test_skip(const char *why)
{
    printf("%s\n", why);
    fflush(stdout);
    _exit(77);
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
    return !filter || strcmp(filter, name) == 0;
}

static void list(const char *suite)
{
    if (suite)
        printf("%s: tests\n", suite);
    for (struct plain_test *t = all; t; t = t->next)
        printf("├── %s\n", t->name);
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

/* Speaks as much of Criterion's language as tests/tally.py does: --list, --filter=SUITE/NAME,
 * --tap=FILE. */
int main(int argc, char **argv)
{
    const char *filter = option(argc, argv, "--filter=");
    const char *tap = option(argc, argv, "--tap=");
    FILE *report = tap ? fopen(tap, "w") : stdout;
    int failed = 0;

    if (option(argc, argv, "--list")) {
        list(all ? all->suite : NULL);
        return 0;
    }
    for (struct plain_test *t = all; t && report; t = t->next) {
        int status;

        if (!wanted(t, filter))
            continue;
        fflush(report);
        status = run_apart(t);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            fprintf(report, "ok - %s::%s # SKIP see its output\n", t->suite, t->name);
        else
            fprintf(report, "%s - %s::%s\n", status ? "not ok" : "ok", t->suite, t->name);
        failed += status && !(WIFEXITED(status) && WEXITSTATUS(status) == 77);
    }
    return failed || !report || fclose(report);
}
#endif
