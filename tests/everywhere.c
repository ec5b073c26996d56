/* everywhere.c - whole scenarios with trouble at every turn: cancelled at each call, failed at each
 * operation, starved at each allocation. Nothing is ever left behind. */
#define _GNU_SOURCE
#include "wires.h"

#define SEEDS 5

static struct coil_testing_report report;

/* Under no seed and some; how many runs. */
static int everywhere(const struct coil_everywhere *e)
{
    int runs = 0;

    for (uint64_t seed = 0; seed <= SEEDS; seed++) {
        struct coil_testing_options o = coil_testing_seeded(seed);
        int r;

        harness_seed = seed;
        r = coil_testing_everywhere(&o, e, &report);
        if (r < 0)
            harness_fail(__FILE__, __LINE__, report.text);
        runs += r;
    }
    return runs;
}

/* --- It finds what is wrong ------------------------------------------------------------------- */

static bool says(const char *words)
{
    return strstr(report.text, words) != NULL;
}

static int sleep_thrice(void *arg)
{
    int rc = 0;

    (void)arg;
    for (int i = 0; i < 3 && rc >= 0; i++)
        rc = coil_sleep(COIL_MILLISECOND);
    return rc;
}

/* Once undisturbed; for each call, before, while and after, and for the one that there is not; for
 * the operation that there is not, the one stack and what is allocated not. */
Test(everywhere, each_call_of_a_scenario_is_cancelled_before_while_and_after)
{
    const struct coil_everywhere e = {.scenario = sleep_thrice};

    CHECK_EQ(coil_testing_everywhere(NULL, &e, &report), 1 + 3 * (3 + 1) + 1 + 2);
}

static int sleep_behind_a_shield(void *arg)
{
    struct coil_scope s;

    (void)arg;
    coil_shield_begin(&s, COIL_FOREVER);
    return coil_scope_end(&s, coil_sleep(COIL_MILLISECOND));
}

Test(everywhere, a_call_behind_a_shield_is_a_call)
{
    const struct coil_everywhere e = {.scenario = sleep_behind_a_shield};

    CHECK_EQ(coil_testing_everywhere(NULL, &e, &report), 1 + 3 * (1 + 1) + 1 + 2);
}

/* How often each of five calls was refused; and how often each of two was seen to be done and the
 * call behind it refused. */
struct refusals {
    int calls[5];
};

static int sleep_and_lock(void *arg)
{
    struct refusals *refused = arg;
    struct coil_lock locks[3] = {COIL_LOCK_INIT, COIL_LOCK_INIT, COIL_LOCK_INIT};
    int held = 0;
    int r = coil_sleep(COIL_MILLISECOND);

    refused->calls[0] += r < 0;
    while (r >= 0 && held < 3) {
        r = coil_lock_acquire(&locks[held]);
        if (r < 0)
            refused->calls[1 + held]++;
        else
            held++;
    }
    while (held)
        CHECK_EQ(coil_lock_release(&locks[--held]), 0);
    if (r >= 0) {
        r = coil_sleep(COIL_MILLISECOND);
        refused->calls[4] += r < 0;
    }
    return r;
}

/* A sleep is refused before, and while it waits; after it is done it is the next call that is. The
 * locks need not wait, and are refused before. */
Test(everywhere, a_call_that_need_not_wait_is_cancelled_at_too)
{
    struct refusals refused = {{0}};
    const struct coil_everywhere e = {.scenario = sleep_and_lock, .arg = &refused};

    CHECK(coil_testing_everywhere(NULL, &e, &report) > 0);
    CHECK_EQ(refused.calls[0], 2);
    CHECK_EQ(refused.calls[1], 1 + 1);
    CHECK_EQ(refused.calls[2], 1);
    CHECK_EQ(refused.calls[3], 1);
    CHECK_EQ(refused.calls[4], 2);
}

static int hand_over(void *arg)
{
    struct coil_event *e = arg;
    int r = coil_sleep(COIL_MILLISECOND);

    coil_event_set(e);
    return r;
}

/* The one that waits is cancelled alone, or the one that sets the event is. */
static int wait_for_another(void *arg)
{
    struct coil_event e = COIL_EVENT_INIT;
    struct coil_group g;
    int rc;

    coil_group_begin(&g);
    rc = coil_group_spawn(&g, hand_over, &e);
    if (rc >= 0)
        rc = coil_event_wait(&e);
    *(int *)arg += rc == -ECANCELED;
    return coil_group_end(&g, rc);
}

Test(everywhere, each_task_is_cancelled_alone_if_so_wished)
{
    int cancelled = 0;
    struct coil_everywhere e = {.scenario = wait_for_another, .arg = &cancelled};
    int runs = coil_testing_everywhere(NULL, &e, &report);

    CHECK(runs > 0);
    CHECK_EQ(cancelled, 2 + 3); /* before the wait and while; before the sleep, while, and after */
    e.each_task = 1;
    cancelled = 0;
    CHECK(coil_testing_everywhere(NULL, &e, &report) > runs);
    CHECK_EQ(cancelled, 2 + 3 + 2); /* when it is the other that is stopped, the event comes */
}

static int leak_if_cancelled(void *arg)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int rc = coil_sleep(COIL_MILLISECOND);

    rc = rc < 0 ? rc : coil_sleep(COIL_MILLISECOND);
    if (rc >= 0)
        close(fd);
    *(int *)arg = fd;
    return rc;
}

Test(everywhere, a_leak_on_the_way_out_is_found_and_the_call_is_named)
{
    int fd;
    const struct coil_everywhere e = {.scenario = leak_if_cancelled, .arg = &fd};

    CHECK_EQ(coil_testing_everywhere(NULL, &e, &report), -EUCLEAN);
    CHECK(says("cancelled before call 1, seed 0:\n"));
    CHECK(says("was left open: /dev/null"));
    close(fd);
}

static int mistake_a_cancel(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_MILLISECOND) < 0 ? -EPROTO : 0;
}

Test(everywhere, an_answer_that_its_trouble_does_not_explain_is_found)
{
    static const int allowed[] = {-EPROTO};
    struct coil_everywhere e = {.scenario = mistake_a_cancel};

    CHECK_EQ(coil_testing_everywhere(NULL, &e, &report), -EPROTO);
    CHECK(says("cancelled before call 1, seed 0:\nanswers -71, and undisturbed 0"));
    e.allowed = allowed;
    e.allowed_count = 1;
    CHECK(coil_testing_everywhere(NULL, &e, &report) > 0);
}

static int forget_an_error(void *arg)
{
    int ends[2];
    char byte = 'x';
    ssize_t n;

    (void)arg;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    n = coil_write(ends[1], &byte, 1);
    n = coil_read(ends[0], &byte, 1); /* for ever, if nothing was written */
    (void)coil_close(ends[0]);
    (void)coil_close(ends[1]);
    return n < 0 ? (int)n : 0;
}

Test(everywhere, a_failed_operation_that_makes_another_wait_for_ever_is_found)
{
    const struct coil_everywhere e = {.scenario = forget_an_error};

    CHECK_EQ(coil_testing_everywhere(NULL, &e, &report), -EDEADLK);
    CHECK(says("with a failure of operation 1, seed 0:\n"));
    CHECK(says("waits for: read of descriptor"));
}

static int complain_once(void *arg, int rc)
{
    return rc == 0 && ++*(int *)arg == 3 ? -EBADMSG : 0;
}

Test(everywhere, a_verdict_of_the_callers_counts)
{
    int times = 0;
    const struct coil_everywhere e = {
        .scenario = sleep_thrice, .arg = &times, .after = complain_once};

    CHECK_EQ(coil_testing_everywhere(NULL, &e, &report), -EBADMSG);
    CHECK(says("afterwards something is wrong: -74"));
}

/* --- An echo server and its clients ----------------------------------------------------------- */

#define CLIENTS 3
#define ROUNDS  2

struct echo {
    struct sockaddr_un addr;
    socklen_t addr_len;
    int listener;
    struct coil_group *connections;
};

/* Ends fd whatever has happened, and keeps what that was. */
static int close_after(int fd, int rc)
{
    int r = coil_close(fd);

    return rc < 0 ? rc : r;
}

static int serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[64];
    ssize_t n;

    while ((n = coil_recv(fd, buf, sizeof(buf), 0)) > 0) {
        int r = coil_send_all(fd, buf, (size_t)n, 0, NULL);

        if (r < 0)
            n = r;
        if (n < 0)
            break;
    }
    return close_after(fd, (int)n);
}

static int accept_one(struct echo *e)
{
    int fd = coil_accept(e->listener, NULL, NULL);
    int r;

    if (fd < 0)
        return fd;
    r = coil_group_spawn(e->connections, serve, (void *)(intptr_t)fd);
    return r < 0 ? close_after(fd, r) : 0;
}

static int accept_all(void *arg)
{
    int r = 0;

    for (int i = 0; i < CLIENTS && r >= 0; i++)
        r = accept_one(arg);
    return r;
}

static int receive_all(int fd, char *buf, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = coil_recv(fd, buf + done, n - done, 0);

        if (r <= 0)
            return r < 0 ? (int)r : -EPIPE;
        done += (size_t)r;
    }
    return 0;
}

static int talk(int fd)
{
    char said[16];
    char heard[16];
    int r = 0;

    for (char round = 0; round < ROUNDS && r >= 0; round++) {
        memset(said, 'a' + round, sizeof(said));
        r = coil_send_all(fd, said, sizeof(said), 0, NULL);
        if (r >= 0)
            r = receive_all(fd, heard, sizeof(heard));
        if (r >= 0)
            CHECK_EQ(memcmp(said, heard, sizeof(said)), 0);
    }
    return r;
}

static int call_server(void *arg)
{
    struct echo *e = arg;
    int fd = coil_socket(AF_UNIX, SOCK_STREAM, 0);
    int r;

    if (fd < 0)
        return fd;
    r = coil_connect(fd, (struct sockaddr *)&e->addr, e->addr_len);
    return close_after(fd, r < 0 ? r : talk(fd));
}

static int echo_scenario(void *arg)
{
    struct echo e;
    struct coil_group g;
    int rc;

    (void)arg;
    e.listener = wire_listen_unix(CLIENTS, &e.addr, &e.addr_len);
    e.connections = &g;
    coil_group_begin(&g);
    rc = coil_group_spawn(&g, accept_all, &e);
    for (int i = 0; i < CLIENTS && rc >= 0; i++)
        rc = coil_group_spawn(&g, call_server, &e);
    return close_after(e.listener, coil_group_end(&g, rc));
}

Test(everywhere, an_echo_server_and_its_clients)
{
    const struct coil_everywhere e = {.scenario = echo_scenario};

    CHECK(everywhere(&e) > 500);
}

/* --- Over TCP, under a time-out --------------------------------------------------------------- */

static int accept_and_close(void *arg)
{
    int fd = coil_accept(*(int *)arg, NULL, NULL);

    return fd < 0 ? fd : coil_close(fd);
}

static int connect_to(const struct sockaddr_in *addr)
{
    int fd = coil_socket(AF_INET, SOCK_STREAM, 0);
    char byte;
    int r;

    if (fd < 0)
        return fd;
    r = coil_connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
    if (r >= 0)
        r = (int)coil_recv(fd, &byte, 1, 0); /* its end */
    return close_after(fd, r);
}

static int connect_scenario(void *arg)
{
    struct sockaddr_in addr;
    int listener = wire_listen(1, &addr);
    struct coil_group g;
    struct coil_scope s;
    int rc;

    (void)arg;
    coil_timeout_begin(&s, coil_now() + 10 * COIL_SECOND);
    coil_group_begin(&g);
    rc = coil_group_spawn(&g, accept_and_close, &listener);
    if (rc >= 0)
        rc = connect_to(&addr);
    rc = coil_group_end(&g, rc);
    rc = coil_scope_end(&s, rc);
    return close_after(listener, rc);
}

Test(everywhere, a_connect_and_an_accept_over_tcp)
{
    static const int allowed[] = {-ECONNRESET};
    const struct coil_everywhere e = {
        .scenario = connect_scenario, .allowed = allowed, .allowed_count = 1};

    CHECK(everywhere(&e) > 60);
}

/* --- Files, through the pool ------------------------------------------------------------------ */

static int write_and_read(int fd)
{
    char buf[8];
    ssize_t n = coil_pwrite(fd, "content", 7, 0);
    ssize_t written = n;

    if (n >= 0)
        n = coil_fsync(fd);
    if (n >= 0)
        n = coil_pread(fd, buf, sizeof(buf), 0);
    if (n >= 0)
        CHECK(n > 0 && n <= written);
    return n < 0 ? (int)n : 0;
}

static int use_file(int dirfd)
{
    int fd = coil_openat(dirfd, "file", O_RDWR | O_CREAT, 0600);
    int r;

    if (fd < 0)
        return fd;
    r = close_after(fd, write_and_read(fd));
    return r < 0 ? r : coil_renameat(dirfd, "file", dirfd, "other", 0);
}

static int file_scenario(void *arg)
{
    int dirfd = coil_openat(AT_FDCWD, arg, O_RDONLY | O_DIRECTORY, 0);

    return dirfd < 0 ? dirfd : close_after(dirfd, use_file(dirfd));
}

/* It made a file, or made one and renamed it, or it did not. */
static int empty_folder(void *arg, int rc)
{
    char path[64];
    bool file;
    bool other;

    (void)rc;
    snprintf(path, sizeof(path), "%s/file", (char *)arg);
    file = unlink(path) == 0;
    snprintf(path, sizeof(path), "%s/other", (char *)arg);
    other = unlink(path) == 0;
    return file && other ? -EUCLEAN : 0;
}

Test(everywhere, files_through_the_pool)
{
    char path[] = "/tmp/coil-test-XXXXXX";
    const struct coil_everywhere e = {
        .scenario = file_scenario, .arg = path, .after = empty_folder};

    CHECK(mkdtemp(path));
    CHECK(everywhere(&e) > 100);
    CHECK_EQ(rmdir(path), 0);
}

/* --- Groups in groups, shields, and a task that fails ----------------------------------------- */

static int clean_up_slowly(void *arg)
{
    struct coil_scope s;
    int rc = coil_sleep(3 * COIL_MILLISECOND);
    int cleaned;

    coil_shield_begin(&s, COIL_SECOND);
    cleaned = coil_sleep(COIL_MILLISECOND);
    CHECK_EQ(coil_scope_end(&s, cleaned), 0);
    CHECK_EQ(cleaned, 0);
    ++*(int *)arg;
    return rc;
}

static int nest(void *arg)
{
    struct coil_group g;
    int rc;

    coil_group_begin(&g);
    rc = coil_group_spawn(&g, clean_up_slowly, arg);
    if (rc >= 0)
        rc = coil_group_spawn(&g, clean_up_slowly, arg);
    return coil_group_end(&g, rc);
}

static int fail_later(void *arg)
{
    int rc = coil_sleep(2 * COIL_MILLISECOND);

    (void)arg;
    return rc < 0 ? rc : -EPROTO;
}

static int group_scenario(void *arg)
{
    struct coil_group g;
    int rc;

    *(int *)arg = 0;
    coil_group_begin(&g);
    rc = coil_group_spawn(&g, nest, arg);
    if (rc >= 0)
        rc = coil_group_spawn(&g, nest, arg);
    if (rc >= 0)
        rc = coil_group_spawn(&g, fail_later, NULL);
    return coil_group_end(&g, rc);
}

static int all_cleaned_up(void *arg, int rc)
{
    return *(int *)arg == 4 || rc == -ENOMEM ? 0 : -EUCLEAN;
}

Test(everywhere, s3_1_groups_in_groups_with_clean_up_and_a_failure)
{
    int cleaned;
    const struct coil_everywhere e = {
        .scenario = group_scenario, .arg = &cleaned, .after = all_cleaned_up};

    CHECK(everywhere(&e) > 100);
}
