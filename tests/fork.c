/* fork.c - the child of a fork has no loop, may run one anew, and leaves the parent's alone. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

static void await_success(pid_t child)
{
    int status = -1;

    CHECK(child > 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

/* A loop with something of each kind under way: a receive, a timer, a thread of the pool, and a
 * task that is ready. */
struct busy {
    struct coil_group group;
    int ends[2];
    int received;
    pid_t process; /* where its tasks may run */
};

static int receive_all(void *arg)
{
    struct busy *b = arg;
    char byte;
    ssize_t n;

    while ((n = coil_recv(b->ends[1], &byte, 1, 0)) > 0)
        b->received++;
    return (int)n;
}

static int take_steps(void *arg)
{
    struct busy *b = arg;
    int rc = 0;

    while (rc == 0) {
        CHECK_EQ(getpid(), b->process);
        rc = coil_checkpoint();
    }
    return rc;
}

static int sleep_long(void *arg)
{
    (void)arg;
    return coil_sleep(1000 * COIL_SECOND);
}

static void busy_begin(struct busy *b)
{
    int fd = coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);

    CHECK(fd >= 0);
    CHECK_EQ(coil_close(fd), 0);
    *b = (struct busy){.process = getpid()};
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b->ends), 0);
    coil_group_begin(&b->group);
    SPAWN(&b->group, receive_all, b);
    SPAWN(&b->group, sleep_long, NULL);
    SPAWN(&b->group, take_steps, b);
    CHECK_EQ(coil_send_all(b->ends[0], "x", 1, 0, NULL), 0);
    while (!b->received)
        CHECK_EQ(coil_checkpoint(), 0);
}

/* All of it works still, and has happened once. */
static void busy_end(struct busy *b)
{
    int before = b->received;

    CHECK_EQ(coil_send_all(b->ends[0], "abc", 3, 0, NULL), 0);
    while (b->received < before + 3)
        CHECK_EQ(coil_checkpoint(), 0);
    coil_scope_cancel(coil_group_scope(&b->group), NULL);
    CHECK_EQ(coil_group_end(&b->group, 0), 0);
    CHECK_EQ(b->received, before + 3);
    CHECK_EQ(coil_close(b->ends[0]), 0);
    CHECK_EQ(coil_close(b->ends[1]), 0);
}

/* --- What dies in the child ------------------------------------------------------------------- */

static struct busy busy;
static struct coil_scope around;

static void sleep_a_little(void)
{
    (void)!coil_sleep(1);
}

static void give_way(void)
{
    (void)!coil_checkpoint();
}

static void receive(void)
{
    char byte;

    (void)!coil_recv(busy.ends[0], &byte, 1, 0);
}

static void send_a_byte(void)
{
    (void)!coil_send(busy.ends[0], "x", 1, 0);
}

static void close_an_end(void)
{
    (void)!coil_close(busy.ends[1]);
}

static void open_a_file(void)
{
    (void)!coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);
}

static void begin_a_scope(void)
{
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
}

static void end_a_scope(void)
{
    (void)!coil_scope_end(&around, 0);
}

static void end_a_group(void)
{
    (void)!coil_group_end(&busy.group, 0);
}

static void change_a_deadline(void)
{
    coil_scope_set_deadline(&around, 0);
}

static void spawn(void)
{
    (void)!coil_group_spawn(&busy.group, sleep_long, NULL);
}

COIL_TEST(fork, s8_6_in_the_child_of_a_task_what_needs_the_loop_dies_and_the_parent_goes_on)
{
    static void (*const inside[])(void) = {sleep_a_little, give_way,     receive,
                                           send_a_byte,    close_an_end, open_a_file,
                                           begin_a_scope,  end_a_scope,  end_a_group};
    static void (*const outside[])(void) = {change_a_deadline, spawn};

    busy_begin(&busy);
    coil_scope_begin(&around, COIL_FOREVER);
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
        CHECK(strstr(harness_abort_line(inside[i]), "in the child of a fork"));
        CHECK_EQ(coil_checkpoint(), 0);
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        CHECK(strstr(harness_abort_line(outside[i]), "from outside"));
        CHECK_EQ(coil_checkpoint(), 0);
    }
    CHECK_EQ(coil_scope_end(&around, 0), 0);
    busy_end(&busy);
}

static int ends[2]; /* of a pipe that the child's stderr goes to */
static pid_t child;

static int fork_and_return(void *arg)
{
    const struct rlimit no_core = {0, 0};

    (void)arg;
    child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &no_core);
    }
    return 0;
}

COIL_TEST(fork, s8_6_a_task_that_returns_in_the_child_dies_there_and_nobody_else_runs)
{
    char line[256] = "";
    struct coil_group g;
    int status;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    busy_begin(&busy);
    coil_group_begin(&g);
    SPAWN(&g, fork_and_return, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    close(ends[1]);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(read(ends[0], line, sizeof(line) - 1) > 0);
    CHECK(strstr(line, "fork_and_return"));
    CHECK(strstr(line, "returned in the child of a fork"));
    close(ends[0]);
    busy_end(&busy);
}

static enum coil_abort fork_and_leave(void *ctx)
{
    (void)fork_and_return(ctx);
    return COIL_ABORT_DONE;
}

static int park_until_forked(void *arg)
{
    return coil_park(fork_and_leave, arg, "a fork");
}

COIL_TEST(fork, s8_6_an_abort_function_that_returns_in_the_child_dies_there)
{
    char line[256] = "";
    struct coil_group g;
    int status;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    busy_begin(&busy);
    coil_group_begin(&g);
    SPAWN(&g, park_until_forked, NULL);
    CHECK_EQ(coil_checkpoint(), 0);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    close(ends[1]);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(read(ends[0], line, sizeof(line) - 1) > 0);
    CHECK(strstr(line, "park_until_forked"));
    CHECK(strstr(line, "returned in the child of a fork"));
    close(ends[0]);
    busy_end(&busy);
}

/* --- What works in the child ------------------------------------------------------------------ */

static int use_a_loop(void *arg)
{
    struct busy b;

    busy_begin(&b);
    busy_end(&b);
    *(int *)arg += 1;
    return 0;
}

static void run_loops_anew(void)
{
    struct coil_loop_options options = harness_options();
    struct coil_runtime_options one = {.loops = 1, .loop = options};
    int ran = 0;

    for (int i = 0; i < 3; i++)
        CHECK_EQ(coil_run(&options, use_a_loop, &ran), 0);
    CHECK_EQ(coil_runtime_run(&one, use_a_loop, &ran), 0);
    CHECK_EQ(ran, 4);
}

COIL_TEST(fork, s8_6_in_the_child_of_a_task_there_is_no_loop_and_one_can_be_run_anew)
{
    struct coil_stats stats;
    pid_t pid;

    busy_begin(&busy);
    pid = fork();
    if (pid == 0) {
        coil_scope_cancel(coil_group_scope(&busy.group), "by nobody");
        for (int i = 0; i < 2; i++) {
            CHECK(!coil_task_self());
            CHECK(!coil_backend_name());
            CHECK_EQ(coil_loop_stats(&stats), -EINVAL);
            CHECK_EQ(coil_shutdown_loops(NULL), -EINVAL);
            CHECK(coil_now() > 0);
            run_loops_anew();
        }
        CHECK(strstr(harness_abort_line(give_way), "in the child of a fork"));
        _exit(0);
    }
    await_success(pid);
    CHECK_EQ(coil_checkpoint(), 0);
    busy_end(&busy);
}

static int fork_in_a_new_loop(void *arg)
{
    pid_t pid = fork();

    (void)arg;
    if (pid == 0) {
        run_loops_anew();
        _exit(0);
    }
    await_success(pid);
    return coil_checkpoint();
}

COIL_TEST(fork, s8_6_a_child_of_a_child_may_as_well)
{
    struct coil_loop_options options = harness_options();
    pid_t pid = fork();

    if (pid == 0) {
        CHECK_EQ(coil_run(&options, fork_in_a_new_loop, NULL), 0);
        _exit(0);
    }
    await_success(pid);
}

/* A loop in a thread of its own, until it is cancelled. */
struct elsewhere {
    struct coil_scope *scope;
    int started[2]; /* a pipe */
};

static int stay_busy(void *arg)
{
    struct elsewhere *e = arg;
    struct coil_scope s;
    struct busy b;
    int rc;

    busy_begin(&b);
    coil_scope_begin(&s, COIL_FOREVER);
    e->scope = &s;
    CHECK_EQ(coil_send_all(b.ends[0], "x", 1, 0, NULL), 0);
    CHECK_EQ(write(e->started[1], "x", 1), 1);
    rc = coil_sleep(COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&s, rc), 0);
    busy_end(&b);
    return 0;
}

static void *run_elsewhere(void *arg)
{
    struct coil_loop_options options = harness_options();

    CHECK_EQ(coil_run(&options, stay_busy, arg), 0);
    return NULL;
}

Test(fork, s8_6_a_child_may_run_a_loop_though_other_threads_of_the_parent_run_theirs)
{
    struct elsewhere e = {.scope = NULL};
    pthread_t thread;
    char byte;

    harness_need_backend();
    CHECK_EQ(pipe2(e.started, O_CLOEXEC), 0);
    CHECK_EQ(pthread_create(&thread, NULL, run_elsewhere, &e), 0);
    CHECK_EQ(read(e.started[0], &byte, 1), 1);
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            coil_scope_cancel(e.scope, "by nobody");
            run_loops_anew();
            _exit(0);
        }
        await_success(pid);
    }
    coil_scope_cancel(e.scope, "done");
    CHECK_EQ(pthread_join(thread, NULL), 0);
    close(e.started[0]);
    close(e.started[1]);
}
