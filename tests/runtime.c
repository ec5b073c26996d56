/* runtime.c - a loop a core, loops in threads of one's own, and all that crosses threads. Runs
 * under TSan too. */
#define _GNU_SOURCE
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "../core/sched/loop.h"
#include "../core/thread/futex.h"
#include "../core/thread/quota.h"

#define LOOPS_MOST 16

#ifdef __SANITIZE_THREAD__
#define ROUNDS 200
#else
#define ROUNDS 2000
#endif

static struct coil_runtime_options runtime_options(unsigned int loops)
{
    return (struct coil_runtime_options){.loops = loops, .loop = harness_options()};
}

/* Runs main_fn on so many loops, and checks that it leaves nothing behind. */
static int run_loops(unsigned int loops, coil_task_fn *main_fn, void *arg)
{
    struct coil_runtime_options options = runtime_options(loops);
    int before;
    int r;

    harness_need_backend();
    before = harness_count_fds();
    r = coil_runtime_run(&options, main_fn, arg);
    CHECK_EQ(harness_count_fds(), before);
    return r;
}

/* Returns when every loop of the runtime has come here. */
static void meet(atomic_uint *here)
{
    atomic_fetch_add(here, 1);
    while (atomic_load(here) < coil_loop_count())
        coil_yield_shielded(); /* whoever is first may end it all while we are here */
}

/* --- One loop per core ----------------------------------------------------------------------- */

struct placement {
    atomic_uint here;
    unsigned int count;
    cpu_set_t cpus[LOOPS_MOST];
    atomic_uint visits[LOOPS_MOST];
};

static int note_placement(void *arg)
{
    struct placement *p = arg;
    unsigned int i = coil_loop_index();

    CHECK(i < LOOPS_MOST);
    CHECK(i < coil_loop_count());
    if (i == 0)
        p->count = coil_loop_count();
    atomic_fetch_add(&p->visits[i], 1);
    CHECK_EQ(sched_getaffinity(0, sizeof(p->cpus[i]), &p->cpus[i]), 0);
    meet(&p->here);
    return 0;
}

static unsigned int cpus_of_quota(void)
{
    unsigned int quota = coil__cpus_of_quota("/proc/self/cgroup", "/sys/fs/cgroup");

    return quota ? quota : LOOPS_MOST;
}

Test(runtime, every_core_of_the_mask_has_one_loop_and_the_loop_has_one_core)
{
    static struct placement p;
    unsigned int expected;
    cpu_set_t mask;
    cpu_set_t seen;

    CHECK_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
    while (CPU_COUNT(&mask) > LOOPS_MOST)
        for (size_t cpu = CPU_SETSIZE; cpu-- && CPU_COUNT(&mask) > LOOPS_MOST;)
            CPU_CLR(cpu, &mask);
    CHECK_EQ(sched_setaffinity(0, sizeof(mask), &mask), 0);
    expected = (unsigned int)CPU_COUNT(&mask);
    if (cpus_of_quota() < expected)
        expected = cpus_of_quota();

    CHECK_EQ(run_loops(0, note_placement, &p), 0);
    CHECK_EQ(p.count, expected);
    CPU_ZERO(&seen);
    for (unsigned int i = 0; i < p.count; i++) {
        CHECK_EQ(p.visits[i], 1);
        CHECK_EQ(CPU_COUNT(&p.cpus[i]), 1);
        CPU_OR(&seen, &seen, &p.cpus[i]);
    }
    CHECK_EQ(CPU_COUNT(&seen), expected);
    CPU_AND(&seen, &seen, &mask);
    CHECK_EQ(CPU_COUNT(&seen), expected);
    CHECK_EQ(sched_getaffinity(0, sizeof(seen), &seen), 0);
    CHECK(CPU_EQUAL(&seen, &mask)); /* the caller's own is as before */
}

static void put(int dir, const char *path, const char *text)
{
    int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* Quotas of "/", "/a" and "/a/b", the place that /proc tells, and what it comes to. */
static const struct {
    const char *quotas[3]; /* NULL: no such file, as in the root */
    const char *place;
    unsigned int cpus;
} limits[] = {
    {{NULL, NULL, NULL}, "0::/a/b\n", 0},
    {{NULL, "max 100000\n", "max 100000\n"}, "0::/a/b\n", 0},
    {{NULL, "max 100000\n", "150000 100000\n"}, "0::/a/b\n", 2},
    {{NULL, "300000 100000\n", "400000 100000\n"}, "0::/a/b\n", 3},
    {{"100000 100000\n", "300000 100000\n", NULL}, "0::/a/b\n", 1},
    {{NULL, "300000 100000\n", "100000 100000\n"}, "0::/a\n", 3},
    {{"200000 100000\n", "100000 100000\n", NULL}, "0::/\n", 2},
    {{"200000 100000\n", NULL, NULL}, "0::/../other\n", 2},
    {{"200000 100000\n", "100000 100000\n", NULL}, "3:cpu:/a\n1:name=systemd:/a/b\n", 2},
    {{"200000 100000\n", "100000 100000\n", NULL}, "1:name=systemd:/\n0::/a\n", 1},
    {{"5000 100000\n", NULL, NULL}, "", 1},
    {{"nonsense\n", "100000 0\n", NULL}, "0::/a\n", 0},
};

Test(runtime, a_quota_of_the_cgroup_or_of_one_around_it_counts_and_the_least_of_them)
{
    static const char *const files[] = {"cpu.max", "a/cpu.max", "a/b/cpu.max"};
    char root[] = "/tmp/coil-runtime-XXXXXX";
    char self[64];
    int dir;

    CHECK(mkdtemp(root));
    snprintf(self, sizeof(self), "%s/self", root);
    dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(mkdirat(dir, "a", 0700), 0);
    CHECK_EQ(mkdirat(dir, "a/b", 0700), 0);
    for (size_t i = 0; i < count_of(limits); i++) {
        put(dir, "self", limits[i].place);
        for (int k = 0; k < 3; k++)
            if (limits[i].quotas[k])
                put(dir, files[k], limits[i].quotas[k]);
            else
                (void)unlinkat(dir, files[k], 0);
        CHECK_EQ(coil__cpus_of_quota(self, root), limits[i].cpus);
    }
    CHECK_EQ(unlinkat(dir, "self", 0), 0);
    for (int k = 0; k < 3; k++)
        (void)unlinkat(dir, files[k], 0);
    CHECK_EQ(coil__cpus_of_quota(self, root), 0);
    CHECK_EQ(unlinkat(dir, "a/b", AT_REMOVEDIR), 0);
    CHECK_EQ(unlinkat(dir, "a", AT_REMOVEDIR), 0);
    close(dir);
    CHECK_EQ(rmdir(root), 0);
}

Test(runtime, a_mask_of_one_core_makes_one_loop)
{
    static struct placement p;
    cpu_set_t mask;
    cpu_set_t one;
    size_t cpu = 0;

    CHECK_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
    while (!CPU_ISSET(cpu, &mask))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    CHECK_EQ(run_loops(0, note_placement, &p), 0);
    CHECK_EQ(p.count, 1);
    CHECK(CPU_EQUAL(&p.cpus[0], &one));
}

Test(runtime, more_loops_than_cores_go_round_and_each_has_a_number_of_its_own)
{
    static struct placement p;

    CHECK_EQ(run_loops(7, note_placement, &p), 0);
    CHECK_EQ(p.count, 7);
    for (unsigned int i = 0; i < 7; i++) {
        CHECK_EQ(p.visits[i], 1);
        CHECK_EQ(CPU_COUNT(&p.cpus[i]), 1);
    }
}

Test(runtime, unpinned_loops_may_run_wherever_the_caller_may)
{
    static struct placement p;
    struct coil_runtime_options options = runtime_options(2);
    cpu_set_t mask;

    harness_need_backend();
    options.unpinned = 1;
    CHECK_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
    CHECK_EQ(coil_runtime_run(&options, note_placement, &p), 0);
    CHECK(CPU_EQUAL(&p.cpus[0], &mask));
    CHECK(CPU_EQUAL(&p.cpus[1], &mask));
}

static int note_signals(void *arg)
{
    sigset_t blocked;

    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    atomic_fetch_add((atomic_uint *)arg, (unsigned int)sigismember(&blocked, SIGUSR1));
    CHECK_EQ(sigismember(&blocked, SIGUSR2), 0);
    return 0;
}

Test(runtime, the_loops_block_the_signals_that_their_starter_blocks)
{
    static atomic_uint blocked;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    CHECK_EQ(run_loops(3, note_signals, &blocked), 0);
    CHECK_EQ(blocked, 3);
}

/* --- The common end -------------------------------------------------------------------------- */

struct ending {
    atomic_uint here;
    atomic_uint cancelled;
    unsigned int who; /* acts; the others sleep */
    int result;       /* of the one that acts */
    bool shuts_down;
};

static int end_them_all(void *arg)
{
    struct ending *e = arg;
    int rc;

    meet(&e->here);
    if (coil_loop_index() == e->who) {
        if (e->shuts_down)
            CHECK_EQ(coil_shutdown_loops("enough"), 0);
        if (e->result)
            return e->result;
    }
    rc = coil_sleep_until(COIL_FOREVER);
    CHECK_EQ(rc, -ECANCELED);
    CHECK_EQ(coil_checkpoint(), -ECANCELED); /* and it stays so */
    atomic_fetch_add(&e->cancelled, 1);
    return rc;
}

Test(runtime, a_failure_on_one_loop_shuts_down_the_others_and_is_the_answer)
{
    for (unsigned int who = 0; who < 3; who++) {
        struct ending e = {.who = who, .result = -EIO};

        CHECK_EQ(run_loops(3, end_them_all, &e), -EIO);
        CHECK_EQ(e.cancelled, 2);
    }
}

Test(runtime, a_shutdown_ends_every_loop_and_is_no_failure)
{
    for (unsigned int who = 0; who < 3; who++) {
        struct ending e = {.who = who, .shuts_down = true};

        CHECK_EQ(run_loops(3, end_them_all, &e), 0);
        CHECK_EQ(e.cancelled, 3);
    }
}

Test(runtime, a_loop_that_has_ended_well_leaves_the_others_running_until_they_are_shut_down)
{
    struct ending e = {.who = 1, .shuts_down = true, .result = 5};

    CHECK_EQ(run_loops(3, end_them_all, &e), 0);
    CHECK_EQ(e.cancelled, 2);
}

static int shut_down_at_once(void *arg)
{
    int rc;

    atomic_fetch_add((atomic_uint *)arg, 1);
    CHECK_EQ(coil_shutdown_loops("at once"), 0);
    CHECK_EQ(coil_shutdown_loops("again"), 0);
    rc = coil_sleep_until(COIL_FOREVER);
    CHECK_EQ(rc, -ECANCELED);
    return rc;
}

Test(runtime, a_shutdown_reaches_loops_that_have_not_started_yet)
{
    for (int round = 0; round < ROUNDS / 20; round++) {
        static atomic_uint started;

        atomic_store(&started, 0);
        CHECK_EQ(run_loops(3, shut_down_at_once, &started), 0);
        CHECK_EQ(started, 3); /* each does run up to its first checkpoint */
    }
}

static int shut_down_and_fail(void *arg)
{
    (void)arg;
    CHECK_EQ(coil_shutdown_loops("over"), 0);
    CHECK_EQ(coil_sleep_until(COIL_FOREVER), -ECANCELED);
    return -EPROTO;
}

Test(runtime, a_failure_during_the_shutdown_is_still_the_answer)
{
    CHECK_EQ(run_loops(2, shut_down_and_fail, NULL), -EPROTO);
}

static int shut_down_alone(void *arg)
{
    (void)arg;
    CHECK_EQ(coil_shutdown_loops("alone"), 0);
    return coil_sleep_until(COIL_FOREVER);
}

Test(runtime, a_shutdown_in_a_single_loop_cancels_its_main_task)
{
    struct coil_loop_options options = harness_options();

    harness_need_backend();
    CHECK_EQ(coil_run(&options, shut_down_alone, NULL), 0);
}

static int never(void *arg)
{
    (void)arg;
    CHECK(false);
    return 0;
}

Test(runtime, a_backend_that_no_loop_can_open_fails_the_whole_run_with_its_code_and_the_reason)
{
    struct coil_runtime_options options = {.loops = 3, .loop = {.backend = "iocp"}};

    CHECK_EQ(coil_runtime_run(&options, never, NULL), -EINVAL);
    CHECK(strstr(coil_run_error(), "iocp"));
}

#if !defined(__SANITIZE_THREAD__) /* it needs a thread of its own */
static int sleep_for_good(void *arg)
{
    (void)arg;
    return coil_sleep_until(COIL_FOREVER);
}

Test(runtime, when_a_thread_cannot_be_had_those_that_started_are_shut_down)
{
    struct coil_runtime_options options = runtime_options(8);
    const struct rlimit few = {4, 4};
    const uid_t uid = 1000000 + (uid_t)getpid() * 8;

    harness_need_backend();
    if (geteuid() != 0)
        SKIP("needs root, to be a user without other processes");
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &few), 0);
    CHECK_EQ(setresuid(uid, uid, uid), 0);
    CHECK_EQ(coil_runtime_run(&options, sleep_for_good, NULL), -EAGAIN);
}
#endif

/* --- Listeners that share a port ------------------------------------------------------------- */

#define CLIENTS     4
#define CONNECTIONS 50 /* each, one after the other */

struct service {
    in_port_t port;
    int all_served; /* an eventfd: the clients are done */
    atomic_uint served[LOOPS_MOST];
    atomic_uint listening;
};

struct shop {
    struct service *service;
    struct coil_group connections;
    int listener;
};

struct visit {
    struct shop *shop;
    int fd;
};

static int socket_on(in_port_t port, bool listening)
{
    const struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
    CHECK_EQ(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    if (listening)
        CHECK_EQ(listen(fd, CLIENTS * CONNECTIONS), 0);
    return fd;
}

static int serve_visit(void *arg)
{
    struct visit *v = arg;
    char buf[64];
    ssize_t n;

    while ((n = coil_recv(v->fd, buf, sizeof(buf), 0)) > 0)
        CHECK_EQ(coil_send_all(v->fd, buf, (size_t)n, 0, NULL), 0);
    CHECK_EQ(n, 0);
    CHECK_EQ(coil_close(v->fd), 0);
    atomic_fetch_add(&v->shop->service->served[coil_loop_index()], 1);
    free(v);
    return 0;
}

static int accept_visits(void *arg)
{
    struct shop *shop = arg;
    int fd;

    while ((fd = coil_accept(shop->listener, NULL, NULL)) >= 0) {
        struct visit *v = malloc(sizeof(*v));

        CHECK(v);
        *v = (struct visit){shop, fd};
        CHECK_EQ(coil_group_spawn(&shop->connections, serve_visit, v), 0);
    }
    return fd;
}

static int keep_shop(void *arg)
{
    struct shop shop = {.service = arg};
    int rc;

    shop.listener = socket_on(shop.service->port, true);
    coil_group_begin(&shop.connections);
    CHECK_EQ(coil_group_spawn(&shop.connections, accept_visits, &shop), 0);
    meet(&shop.service->listening);
    rc = 0;
    if (coil_loop_index() == 0) {
        rc = coil_wait_readable(shop.service->all_served);
        CHECK_EQ(coil_forget(shop.service->all_served), 0);
        CHECK_EQ(coil_shutdown_loops("all served"), 0);
    }
    rc = coil_group_end(&shop.connections, rc);
    CHECK_EQ(coil_close(shop.listener), 0);
    return rc;
}

static void *visit_the_shop(void *arg)
{
    struct service *service = arg;
    const struct sockaddr_in addr = {.sin_family = AF_INET,
                                     .sin_port = service->port,
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval patience = {.tv_sec = 30};

    while (atomic_load(&service->listening) < 2)
        sched_yield();
    for (int i = 0; i < CONNECTIONS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char sent[32];
        char buf[32];

        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        CHECK_EQ(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
        memset(sent, 'a' + i % 26, sizeof(sent));
        CHECK_EQ(send(fd, sent, sizeof(sent), MSG_NOSIGNAL), sizeof(sent));
        CHECK_EQ(recv(fd, buf, sizeof(buf), MSG_WAITALL), sizeof(sent));
        CHECK_EQ(memcmp(buf, sent, sizeof(sent)), 0);
        CHECK_EQ(shutdown(fd, SHUT_WR), 0);
        CHECK_EQ(recv(fd, buf, sizeof(buf), 0), 0); /* so it has been served to the end */
        close(fd);
    }
    return NULL;
}

static void *send_clients(void *arg)
{
    struct service *service = arg;
    const uint64_t one = 1;
    pthread_t clients[CLIENTS];

    for (int i = 0; i < CLIENTS; i++)
        CHECK_EQ(pthread_create(&clients[i], NULL, visit_the_shop, service), 0);
    for (int i = 0; i < CLIENTS; i++)
        CHECK_EQ(pthread_join(clients[i], NULL), 0);
    CHECK_EQ(write(service->all_served, &one, sizeof(one)), sizeof(one));
    return NULL;
}

Test(runtime, listeners_of_two_loops_share_a_port_and_together_serve_everybody)
{
    static struct service service;
    const struct coil_runtime_options options = runtime_options(2);
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    pthread_t clients;
    int holder;

    harness_need_backend();
    holder = socket_on(0, false); /* keeps the number ours */
    CHECK_EQ(getsockname(holder, (struct sockaddr *)&addr, &len), 0);
    service.port = addr.sin_port;
    service.all_served = eventfd(0, EFD_CLOEXEC);
    CHECK(service.all_served >= 0);
    CHECK_EQ(pthread_create(&clients, NULL, send_clients, &service), 0);
    CHECK_EQ(coil_runtime_run(&options, keep_shop, &service), 0);
    CHECK_EQ(pthread_join(clients, NULL), 0);
    CHECK_EQ(service.served[0] + service.served[1], CLIENTS * CONNECTIONS);
    CHECK(service.served[0] > 0);
    CHECK(service.served[1] > 0);
}

/* --- Options written in the call ------------------------------------------------------------- */

static int has_this_name(void *arg)
{
    const struct coil_handle *h = *(struct coil_handle **)arg;

    CHECK_EQ(strcmp(coil_task_name(h), "literal"), 0);
    CHECK_EQ(strcmp(coil_task_parent(h), "main"), 0);
    return 5;
}

static int spawn_with_literals(void *arg)
{
    struct coil_handle h;
    struct coil_group g;
    int rc;

    atomic_fetch_add(*(atomic_uint **)arg, coil_loop_count());
    coil_group_begin(&g);
    /* Not within CHECK_EQ, which is a block: the argument must live until the task has run. */
    rc = coil_group_spawn_with(&g, has_this_name, (struct coil_handle *[]){&h, NULL},
                               &(struct coil_spawn_options){.name = "literal", .handle = &h});
    CHECK_EQ(rc, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_result(&h), 5);
    return 0;
}

Test(runtime, options_may_be_literals_with_commas_in_the_call_itself)
{
    atomic_uint sum = 0;

    harness_need_backend();
    CHECK_EQ(coil_run(&(struct coil_loop_options){.stack_size = 1 << 17, .sq_entries = 4},
                      spawn_with_literals, (void *[]){&sum, NULL}),
             0);
    CHECK_EQ(coil_runtime_run(&(struct coil_runtime_options){.loops = 2, .unpinned = 1},
                              spawn_with_literals, (void *[]){&sum, NULL}),
             0);
    CHECK_EQ(sum, 1 + 2 + 2);
    CHECK_EQ(coil_run(&(struct coil_loop_options){.stack_size = 1 << 17, .backend = "no such"},
                      spawn_with_literals, NULL),
             -EINVAL);
}

/* --- Cancelling from another thread ---------------------------------------------------------- */

struct far_cancel {
    pthread_mutex_t lock; /* over scope */
    struct coil_scope *scope;
    const char *reason;
    atomic_bool over;
};

static void *cancel_now(void *arg)
{
    struct far_cancel *far = arg;

    coil_scope_cancel(far->scope, far->reason);
    return NULL;
}

static void start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    CHECK_EQ(pthread_create(thread, NULL, fn, arg), 0);
}

COIL_TEST(runtime, s2_14_a_cancel_from_another_thread_wakes_a_task_that_sleeps_for_good)
{
    struct coil_scope s;
    struct coil_cancellation why;
    struct far_cancel far = {.scope = &s, .reason = "from afar"};
    pthread_t thread;
    int rc;

    coil_scope_begin(&s, COIL_FOREVER);
    start(&thread, cancel_now, &far);
    rc = coil_sleep_until(COIL_FOREVER);
    CHECK_EQ(rc, -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, rc), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(coil_scope_caught(&s));
    coil_scope_cancellation(&s, &why);
    CHECK_EQ(why.cause, COIL_CAUSE_EXPLICIT);
    CHECK_EQ(strcmp(why.reason, "from afar"), 0);
    CHECK(!why.task);
    CHECK(why.site && strstr(why.site, "runtime.c:"));
}

COIL_TEST(runtime, s2_14_a_cancel_from_another_thread_interrupts_a_receive)
{
    struct coil_scope s;
    struct far_cancel far = {.scope = &s};
    pthread_t thread;
    char byte;
    int ends[2];
    int rc;

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    coil_scope_begin(&s, COIL_FOREVER);
    start(&thread, cancel_now, &far);
    rc = (int)coil_recv(ends[0], &byte, 1, 0);
    CHECK_EQ(rc, -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, rc), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
    close(ends[1]);
}

COIL_TEST(runtime, s2_6_a_cancel_from_another_thread_that_comes_second_keeps_the_first_reason)
{
    struct coil_scope s;
    struct coil_cancellation why;
    struct far_cancel far = {.scope = &s, .reason = "second"};
    pthread_t thread;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, "first");
    start(&thread, cancel_now, &far);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    coil_yield_shielded(); /* the message, if there is one, is delivered */
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    coil_scope_cancellation(&s, &why);
    CHECK_EQ(strcmp(why.reason, "first"), 0);
    CHECK(why.task != NULL);
}

COIL_TEST(runtime, s2_6_a_deadline_that_passed_first_stays_the_cause)
{
    struct coil_scope s;
    struct coil_cancellation why;
    struct far_cancel far = {.scope = &s, .reason = "second"};
    pthread_t thread;

    coil_timeout_begin(&s, coil_now() + COIL_MICROSECOND);
    CHECK_EQ(coil_sleep_until(COIL_FOREVER), -ECANCELED);
    start(&thread, cancel_now, &far);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    coil_yield_shielded();
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), -ETIME);
    coil_scope_cancellation(&s, &why);
    CHECK_EQ(why.cause, COIL_CAUSE_DEADLINE);
    CHECK(!why.reason);
}

static void *cancel_until_over(void *arg)
{
    struct far_cancel *far = arg;

    while (!atomic_load(&far->over)) {
        pthread_mutex_lock(&far->lock);
        if (far->scope)
            coil_scope_cancel(far->scope, far->reason);
        pthread_mutex_unlock(&far->lock);
        sched_yield();
    }
    return NULL;
}

/* Shows s to the thread, waits a little, takes it back and ends it: the thread is never late, and
 * its message is under way, or delivered, or was not sent. */
static bool one_round(struct far_cancel *far, int wait)
{
    struct coil_scope s;
    int rc = 0;

    coil_scope_begin(&s, COIL_FOREVER);
    pthread_mutex_lock(&far->lock);
    far->scope = &s;
    pthread_mutex_unlock(&far->lock);
    for (int i = 0; i < wait && rc == 0; i++)
        rc = coil_checkpoint();
    pthread_mutex_lock(&far->lock);
    far->scope = NULL;
    pthread_mutex_unlock(&far->lock);
    CHECK_EQ(coil_scope_end(&s, rc), 0);
    CHECK_EQ(coil_scope_caught(&s), rc == -ECANCELED);
    memset(&s, 0xa5, sizeof(s)); /* whoever comes later meets this */
    return rc == -ECANCELED;
}

COIL_TEST(runtime, s2_14_a_cancel_from_another_thread_may_race_with_the_end_of_its_scope)
{
    struct far_cancel far[2] = {{.lock = PTHREAD_MUTEX_INITIALIZER, .reason = "one"},
                                {.lock = PTHREAD_MUTEX_INITIALIZER, .reason = "two"}};
    pthread_t threads[2];
    int caught = 0;
    int rounds;

    start(&threads[0], cancel_until_over, &far[0]);
    start(&threads[1], cancel_until_over, &far[1]);
    for (rounds = 0; rounds < ROUNDS * 5; rounds++)
        caught += one_round(&far[rounds % 2], rounds % 7);
    atomic_store(&far[0].over, true);
    atomic_store(&far[1].over, true);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    CHECK_EQ(pthread_join(threads[1], NULL), 0);
    CHECK(caught <= rounds);
    CHECK_EQ(coil_checkpoint(), 0); /* none of it reached what is outside */
}

static void *cancel_when_told(void *arg)
{
    struct far_cancel *far = arg;

    while (!atomic_load(&far->over))
        sched_yield();
    coil_scope_cancel(far->scope, far->reason);
    return NULL;
}

COIL_TEST(runtime, s2_6_of_two_threads_that_cancel_at_once_one_is_recorded_whole)
{
    for (int round = 0; round < ROUNDS / 10; round++) {
        struct coil_scope s;
        struct coil_cancellation why;
        struct far_cancel far[2] = {{.scope = &s, .reason = "one"}, {.scope = &s, .reason = "two"}};
        pthread_t threads[2];
        int rc;

        coil_scope_begin(&s, COIL_FOREVER);
        for (int i = 0; i < 2; i++)
            start(&threads[i], cancel_when_told, &far[i]);
        for (int i = 0; i < 2; i++)
            atomic_store(&far[i].over, true);
        rc = coil_sleep_until(COIL_FOREVER);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(coil_scope_end(&s, rc), 0);
        coil_scope_cancellation(&s, &why);
        CHECK_EQ(why.cause, COIL_CAUSE_EXPLICIT);
        CHECK(why.reason == far[0].reason || why.reason == far[1].reason);
    }
}

/* --- A sender that is preempted where it hurts ------------------------------------------------
 *
 * The test is the sender, and stops in the middle of what it does until the loop's thread sleeps:
 * one that spun instead, at a real-time priority, would keep the sender from going on for ever. */

#define LOOKS 20 /* that find it asleep, in a row */

struct slow_sender {
    void (*go_on)(struct slow_sender *s);
    pid_t loop_thread;
    struct loop *loop;
    struct scope *scope;
    pthread_t thread;
};

static bool sleeps(pid_t thread)
{
    char path[64];
    char state = '?';
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
    f = fopen(path, "re");
    CHECK(f);
    CHECK_EQ(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
    fclose(f);
    return state == 'S';
}

static void *go_on_when_it_sleeps(void *arg)
{
    struct slow_sender *s = arg;
    int64_t until_ns = coil_now() + 20 * COIL_SECOND;

    for (int looks = 0; looks < LOOKS; looks = sleeps(s->loop_thread) ? looks + 1 : 0) {
        CHECK(coil_now() < until_ns);
        sched_yield();
    }
    s->go_on(s);
    return NULL;
}

static void slow_sender_start(struct slow_sender *s)
{
    s->loop = coil__here.loop;
    s->loop_thread = (pid_t)syscall(SYS_gettid);
    start(&s->thread, go_on_when_it_sleeps, s);
}

static void leave(struct slow_sender *s)
{
    coil__mailbox_leave(&s->loop->mailbox);
}

static int end_under_a_sender(void *arg)
{
    coil__mailbox_enter(&coil__here.loop->mailbox);
    slow_sender_start(arg);
    return 0;
}

Test(runtime, the_end_of_a_loop_sleeps_until_a_sender_is_done_with_it)
{
    struct coil_loop_options options = harness_options();
    struct slow_sender s = {.go_on = leave};

    harness_need_backend();
    CHECK_EQ(coil_run(&options, end_under_a_sender, &s), 0);
    CHECK_EQ(pthread_join(s.thread, NULL), 0);
}

static void cancel_arrives(struct mail *m)
{
    struct scope *s = container_of(m, struct scope, mail);

    __atomic_store_n(&s->mailed, false, __ATOMIC_RELEASE);
    coil__scope_cancel(s, COIL_CAUSE_EXPLICIT, "slowly", NULL, "afar");
}

static void post_the_cancel(struct slow_sender *s)
{
    s->scope->mail.deliver = cancel_arrives;
    coil__loop_post(s->loop, &s->scope->mail);
    leave(s);
}

COIL_TEST(runtime, s2_14_the_end_of_a_scope_sleeps_until_a_cancel_on_its_way_has_arrived)
{
    struct coil_scope s = {{0}};
    struct coil_cancellation why;
    struct slow_sender sender = {.go_on = post_the_cancel, .scope = scope_of(&s)};

    coil_scope_begin(&s, COIL_FOREVER);
    coil__mailbox_enter(&coil__here.loop->mailbox);
    sender.scope->mailed = true;
    slow_sender_start(&sender);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    coil_scope_cancellation(&s, &why);
    CHECK_EQ(strcmp(why.reason, "slowly"), 0);
    CHECK_EQ(pthread_join(sender.thread, NULL), 0);
}

static void write_down_why(struct slow_sender *s)
{
    s->scope->mail_reason = "slowly";
    CHECK_EQ(__atomic_exchange_n(&s->scope->stage, STAGE_CANCELLED, __ATOMIC_ACQ_REL),
             STAGE_AWAITED);
    futex_wake(&s->scope->stage);
}

COIL_TEST(runtime, s2_7_the_begin_of_a_scope_sleeps_until_a_cancel_before_it_is_written_down)
{
    struct coil_scope s = {{0}};
    struct coil_cancellation why;
    struct slow_sender sender = {.go_on = write_down_why, .scope = scope_of(&s)};

    coil_scope_prepare(&s);
    sender.scope->stage = STAGE_CANCELLING;
    slow_sender_start(&sender);
    coil_scope_begin_prepared(&s, COIL_FOREVER);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    coil_scope_cancellation(&s, &why);
    CHECK_EQ(strcmp(why.reason, "slowly"), 0);
    CHECK_EQ(pthread_join(sender.thread, NULL), 0);
}

/* --- Loops that do not know of each other ---------------------------------------------------- */

static int beat(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(coil_sleep(10 * COIL_MICROSECOND), 0);
    return 0;
}

static int echo_back(void *arg)
{
    int fd = *(int *)arg;
    char buf[64];
    ssize_t n;

    while ((n = coil_recv(fd, buf, sizeof(buf), 0)) > 0)
        CHECK_EQ(coil_send_all(fd, buf, (size_t)n, 0, NULL), 0);
    return (int)n;
}

/* A little of everything, with numbers that would be off if another loop were seen. */
static int live(void *arg)
{
    struct coil_stats stats;
    struct coil_group g;
    char byte = 'x';
    int ends[2];

    (void)arg;
    CHECK_EQ(coil_loop_index(), 0);
    CHECK_EQ(coil_loop_count(), 1);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, echo_back, &ends[1]), 0);
    CHECK_EQ(coil_group_spawn(&g, beat, NULL), 0);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.tasks, 3);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(coil_send_all(ends[0], &byte, 1, 0, NULL), 0);
        CHECK_EQ(coil_recv(ends[0], &byte, 1, 0), 1);
    }
    CHECK_EQ(coil_shutdown(ends[0], SHUT_WR), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.tasks, 1);
    CHECK_EQ(stats.descriptors, 0);
    return 0;
}

static void *run_a_loop(void *arg)
{
    struct coil_loop_options options = harness_options();

    (void)arg;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(coil_run(&options, live, NULL), 0);
    return NULL;
}

Test(runtime, loops_in_threads_of_one_process_do_not_meet)
{
    pthread_t threads[3];
    int before;

    harness_need_backend();
    before = harness_count_fds();
    for (int i = 0; i < 3; i++)
        start(&threads[i], run_a_loop, NULL);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(harness_count_fds(), before);
}

static int count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int count = -2; /* "." and ".." */

    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static long virtual_pages(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long pages = 0;

    CHECK(f);
    CHECK_EQ(fscanf(f, "%ld", &pages), 1);
    fclose(f);
    return pages;
}

static int use_everything(void *arg)
{
    int fd = coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0); /* the pool has a thread now */

    CHECK(fd >= 0);
    CHECK_EQ(coil_close(fd), 0);
    return live(arg);
}

Test(runtime, a_thousand_loops_one_after_the_other_leave_no_descriptor_thread_or_mapping_behind)
{
    struct coil_loop_options options = harness_options();
    const int rounds = ROUNDS / 2;
    const int first = rounds / 10;
    int threads = 0;
    int fds = 0;
    long pages = 0;

    harness_need_backend();
    for (int i = 0; i < rounds; i++) {
        if (i == first) {
            threads = count_threads();
            fds = harness_count_fds();
            pages = virtual_pages();
        }
        CHECK_EQ(coil_run(&options, use_everything, NULL), 0);
    }
    CHECK_EQ(count_threads(), threads);
    CHECK_EQ(harness_count_fds(), fds);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they map as they like */
    CHECK(virtual_pages() - pages < rounds - first);                /* not one page a loop */
#else
    (void)pages;
#endif
}

static int count_threads_here(void *arg)
{
    *(int *)arg = count_threads();
    return live(NULL);
}

Test(runtime, a_loop_starts_no_thread_and_takes_no_signal)
{
    struct coil_loop_options options = harness_options();
    struct sigaction before[NSIG];
    sigset_t blocked[2];
    int threads = 0;
    int inside = 0;

    harness_need_backend();
    threads = count_threads();
    for (int i = 1; i < NSIG; i++)
        sigaction(i, NULL, &before[i]);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &blocked[0]), 0);
    CHECK_EQ(coil_run(&options, count_threads_here, &inside), 0);
    CHECK_EQ(inside, threads);
    CHECK_EQ(count_threads(), threads);
    for (int i = 1; i < NSIG; i++) {
        struct sigaction after;

        if (sigaction(i, NULL, &after) == 0)
            CHECK(after.sa_handler == before[i].sa_handler);
    }
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &blocked[1]), 0);
    for (int i = 1; i < NSIG; i++)
        CHECK_EQ(sigismember(&blocked[1], i), sigismember(&blocked[0], i));
}

/* --- The blocking pool ----------------------------------------------------------------------- */

#define WRITERS 6

struct papers {
    char dir[32];
    atomic_uint done;
};

struct writer {
    struct papers *papers;
    unsigned int number;
};

static int write_and_read_back(void *arg)
{
    struct writer *w = arg;

    for (unsigned int round = 0; round < 10; round++) {
        char path[96];
        char text[64];
        void *back = NULL;
        size_t size = 0;

        snprintf(path, sizeof(path), "%s/%u-%u", w->papers->dir, coil_loop_index(), w->number);
        snprintf(text, sizeof(text), "loop %u, writer %u, round %u", coil_loop_index(), w->number,
                 round);
        CHECK_EQ(coil_write_file(AT_FDCWD, path, text, strlen(text), 0600), 0);
        CHECK_EQ(coil_read_file(AT_FDCWD, path, 4096, &back, &size), 0);
        CHECK_EQ(size, strlen(text));
        CHECK_EQ(memcmp(back, text, size), 0);
        free(back);
        CHECK_EQ(coil_unlinkat(AT_FDCWD, path, 0), 0);
        atomic_fetch_add(&w->papers->done, 1);
    }
    return 0;
}

static int write_papers(void *arg)
{
    struct writer writers[WRITERS];
    struct coil_group g;

    coil_group_begin(&g);
    for (unsigned int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){arg, i};
        CHECK_EQ(coil_group_spawn(&g, write_and_read_back, &writers[i]), 0);
    }
    return coil_group_end(&g, 0);
}

Test(runtime, s7_6_several_loops_do_file_calls_each_in_a_pool_of_its_own)
{
    static struct papers papers = {.dir = "/tmp/coil-runtime-XXXXXX"};

    CHECK(mkdtemp(papers.dir));
    CHECK_EQ(run_loops(3, write_papers, &papers), 0);
    CHECK_EQ(papers.done, 3 * WRITERS * 10);
    CHECK_EQ(rmdir(papers.dir), 0);
}

static int open_a_fifo(void *arg)
{
    return coil_openat(AT_FDCWD, arg, O_RDONLY, 0);
}

static void ask_in_vain(const char *fifo)
{
    struct coil_scope s;
    int fd;

    coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
    fd = coil_openat(AT_FDCWD, fifo, O_RDONLY, 0);
    CHECK_EQ(fd, -ECANCELED); /* no thread had taken it up */
    CHECK_EQ(coil_scope_end(&s, fd), 0);
}

/* Both threads are stuck in opening a FIFO until somebody writes to it. */
static int fill_the_pool(void *arg)
{
    struct coil_handle openers[2];
    struct coil_group g;
    int fd;

    coil_group_begin(&g);
    for (int i = 0; i < 2; i++) {
        const struct coil_spawn_options options = {.handle = &openers[i]};

        CHECK_EQ(coil_group_spawn_with(&g, open_a_fifo, arg, &options), 0);
    }
    CHECK_EQ(coil_checkpoint(), 0);
    ask_in_vain(arg);
    while ((fd = open(arg, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0) {
        CHECK_EQ(errno, ENXIO); /* the threads have not come so far */
        CHECK_EQ(coil_sleep(COIL_MILLISECOND), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    close(fd);
    for (int i = 0; i < 2; i++) {
        CHECK(coil_task_result(&openers[i]) >= 0);
        CHECK_EQ(coil_close(coil_task_result(&openers[i])), 0);
    }
    return 0;
}

Test(runtime, s7_1_a_call_that_no_thread_has_taken_up_is_cancelled_and_never_made)
{
    struct coil_loop_options options = harness_options();
    char dir[] = "/tmp/coil-runtime-XXXXXX";
    char fifo[64];

    harness_need_backend();
    CHECK(mkdtemp(dir));
    snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
    CHECK_EQ(mkfifo(fifo, 0600), 0);
    options.blocking_threads = 2;
    options.shuffle_seed = 0;
    CHECK_EQ(coil_run(&options, fill_the_pool, fifo), 0);
    CHECK_EQ(unlink(fifo), 0);
    CHECK_EQ(rmdir(dir), 0);
}
