/* teardown.c - the end of a scope, and of a loop, with operations in flight: nothing is lost,
 * nothing is touched late. Of most use under ASan. */
#define _GNU_SOURCE
#include "inside.h"

#define MANY 1000

/* What a task waits in, with a buffer on its own stack. */
enum kind {
    IN_RECV,
    IN_READ,
    IN_ACCEPT,
    IN_POLL,
    IN_SEND,
    IN_CONNECT,
    IN_CONNECT_UNIX,
    IN_SLEEP,
    IN_OPEN,
    KINDS,
};

struct waiter {
    enum kind kind;
    int fd;
    int other; /* -1: none */
    int result;
};

/* Listeners whose backlog is full, for those who wait in connect. */
struct crowd {
    int listener, unix_listener;
    int first, unix_first;
    struct sockaddr_in addr;
    struct sockaddr_un name;
    socklen_t name_len;
};

static struct crowd crowd;

static void crowd_open(void)
{
    crowd.listener = wire_listen(0, &crowd.addr);
    crowd.unix_listener = wire_listen_unix(0, &crowd.name, &crowd.name_len);
    crowd.first = wire_connect(&crowd.addr);
    crowd.unix_first = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(connect(crowd.unix_first, (struct sockaddr *)&crowd.name, crowd.name_len), 0);
    wire_await(crowd.listener, POLLIN);
}

static void crowd_close(void)
{
    close(crowd.first);
    close(crowd.unix_first);
    close(crowd.listener);
    close(crowd.unix_listener);
}

static void set_up(struct waiter *w, enum kind kind)
{
    int ends[2] = {-1, -1};
    struct sockaddr_in anywhere;

    w->kind = kind;
    w->result = 0;
    switch (kind) {
    case IN_READ:
        wire_open(WIRE_PIPE, ends);
        break;
    case IN_ACCEPT:
        ends[0] = wire_listen(1, &anywhere);
        break;
    case IN_CONNECT:
        ends[0] = coil_socket(AF_INET, SOCK_STREAM, 0);
        break;
    case IN_CONNECT_UNIX:
        ends[0] = coil_socket(AF_UNIX, SOCK_STREAM, 0);
        break;
    case IN_SLEEP:
    case IN_OPEN:
        break;
    default:
        wire_open(WIRE_UNIX, ends);
    }
    if (kind == IN_SEND)
        wire_fill(ends[0]);
    w->fd = ends[0];
    w->other = ends[1];
}

static int wait_in(void *arg)
{
    struct waiter *w = arg;
    char buf[256] = "";

    switch (w->kind) {
    case IN_RECV:
        w->result = (int)coil_recv(w->fd, buf, sizeof(buf), 0);
        break;
    case IN_READ:
        w->result = (int)coil_read(w->fd, buf, sizeof(buf));
        break;
    case IN_ACCEPT:
        w->result = coil_accept(w->fd, NULL, NULL);
        break;
    case IN_POLL:
        w->result = coil_wait_readable(w->fd);
        break;
    case IN_SEND:
        w->result = (int)coil_send(w->fd, buf, sizeof(buf), 0);
        break;
    case IN_CONNECT:
        w->result = coil_connect(w->fd, (struct sockaddr *)&crowd.addr, sizeof(crowd.addr));
        break;
    case IN_CONNECT_UNIX:
        w->result = coil_connect(w->fd, (struct sockaddr *)&crowd.name, crowd.name_len);
        break;
    case IN_SLEEP:
        w->result = coil_sleep(COIL_FOREVER);
        break;
    case IN_OPEN: /* more than the pool's threads can begin */
        w->result = coil_openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0);
        break;
    case KINDS:
        break;
    }
    return w->result < 0 ? w->result : 0;
}

static void tear_down(struct waiter *w)
{
    if (w->kind == IN_OPEN && w->result >= 0)
        CHECK_EQ(coil_close(w->result), 0);
    else
        CHECK_EQ(w->result, -ECANCELED);
    if (w->fd >= 0)
        CHECK_EQ(coil_close(w->fd), 0);
    if (w->other >= 0)
        CHECK_EQ(close(w->other), 0);
}

/* How a scope comes to its end. */
enum end {
    BY_CANCEL,
    BY_DEADLINE,
    BY_FAILURE,
    ENDS,
};

static int fail(void *arg)
{
    (void)arg;
    return -EPROTO;
}

static void come_to(enum end end, struct coil_group *g)
{
    if (end == BY_CANCEL)
        coil_scope_cancel(coil_group_scope(g), "the end");
    else if (end == BY_DEADLINE)
        coil_scope_set_deadline(coil_group_scope(g), coil_now());
    else
        CHECK_EQ(coil_group_spawn(g, fail, NULL), 0);
}

/* Ends a scope of count waiters after so many turns: 0 is before they have begun. */
static void end_all(size_t count, enum end end, int turns)
{
    struct waiter *all = calloc(count, sizeof(*all));
    struct coil_group g;

    CHECK(all);
    crowd_open();
    coil_group_begin(&g);
    for (size_t i = 0; i < count; i++) {
        set_up(&all[i], (enum kind)(i % KINDS));
        CHECK_EQ(coil_group_spawn(&g, wait_in, &all[i]), 0);
    }
    for (int i = 0; i < turns; i++)
        coil_yield_shielded();
    come_to(end, &g);
    CHECK_EQ(coil_group_end(&g, 0), end == BY_FAILURE ? -EPROTO : 0);
    for (size_t i = 0; i < count; i++)
        tear_down(&all[i]);
    crowd_close();
    free(all);
}

COIL_TEST(teardown, a_scope_ends_with_one_operation_of_each_kind_in_flight)
{
    for (enum end end = 0; end < ENDS; end++)
        for (int turns = 0; turns < 4; turns++)
            end_all(KINDS, end, turns);
}

COIL_TEST(teardown, a_scope_ends_with_a_thousand_operations_in_flight)
{
    for (enum end end = 0; end < ENDS; end++)
        for (int turns = 0; turns < 4; turns++)
            end_all(MANY, end, turns);
}

static void end_a_thousand(void)
{
    for (int turns = 0; turns < 4; turns++)
        end_all(MANY, BY_CANCEL, turns);
}

Test(teardown, a_scope_ends_with_a_thousand_operations_in_flight_in_a_ring_of_two)
{
    struct coil_loop_options options = harness_options();

    options.sq_entries = 2;
    options.cq_entries = 4;
    harness_run(&options, end_a_thousand);
}

/* All of it again, where the whole loop ends: main returns because it was told to. */
static int main_with_many(void *arg)
{
    const size_t count = *(const size_t *)arg;
    struct waiter *all = calloc(count, sizeof(*all));
    struct coil_group g;
    int rc = 0;

    CHECK(all);
    crowd_open();
    coil_group_begin(&g);
    for (size_t i = 0; i < count && rc == 0; i++) {
        set_up(&all[i], (enum kind)(i % KINDS));
        rc = coil_group_spawn(&g, wait_in, &all[i]);
    }
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(coil_shutdown_loops("that was all"), 0);
    rc = coil_group_end(&g, rc);
    for (size_t i = 0; i < count; i++)
        tear_down(&all[i]);
    crowd_close();
    free(all);
    return rc;
}

Test(teardown, a_loop_ends_with_one_and_with_a_thousand_operations_in_flight)
{
    struct coil_loop_options options = harness_options();
    size_t counts[] = {1, KINDS, MANY};

    harness_need_backend();
    for (size_t i = 0; i < 3; i++) {
        int before = harness_count_fds();

        CHECK_EQ(coil_run(&options, main_with_many, &counts[i]), 0);
        CHECK_EQ(harness_count_fds(), before);
    }
}

/* --- Everything at once ------------------------------------------------------------------------*/

/* A byte for each of a thousand readers, and a cancel, before anybody looks: each byte is in an
 * answer or in its socket. */
static void cancel_what_has_landed(bool enter, bool look)
{
    static struct caller readers[MANY];
    static char bytes[MANY];
    static int peers[MANY];
    struct coil_group g;
    size_t taken = 0;
    size_t left = 0;

    inside_in_order();
    coil_group_begin(&g);
    for (int i = 0; i < MANY; i++) {
        int ends[2];

        wire_open(i % 2 ? WIRE_UNIX : WIRE_PIPE, ends);
        peers[i] = ends[1];
        readers[i] = (struct caller){.call = CALL_READ, .fd = ends[0], .buf = &bytes[i], .n = 1};
        CHECK_EQ(coil_group_spawn(&g, caller_run, &readers[i]), 0);
    }
    coil_yield_shielded();
    inside_look();
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(write(peers[i], "x", 1), 1);
    if (enter)
        inside_enter();
    if (look)
        inside_reap(MANY);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK(readers[i].result == 1 || readers[i].result == -ECANCELED);
        taken += readers[i].result == 1;
        left += wire_drain(readers[i].fd);
        CHECK_EQ(coil_close(readers[i].fd), 0);
        close(peers[i]);
    }
    CHECK_EQ(taken + left, MANY);
    if (look)
        CHECK_EQ(taken, MANY);
}

COIL_TEST(teardown, a_thousand_results_and_a_cancel_of_all_lose_nothing)
{
    cancel_what_has_landed(false, false);
    cancel_what_has_landed(true, false);
    cancel_what_has_landed(true, true);
}

static void lose_nothing(void)
{
    cancel_what_has_landed(false, false);
    cancel_what_has_landed(true, false);
}

Test(teardown, a_thousand_results_and_a_cancel_of_all_lose_nothing_in_a_ring_of_two)
{
    struct coil_loop_options options = harness_options();

    options.sq_entries = 2;
    options.cq_entries = 4;
    harness_run(&options, lose_nothing);
}

/* --- The pool ----------------------------------------------------------------------------------*/

/* Four threads in opens that wait for somebody, and a thousand more behind them. */
COIL_TEST(teardown, a_scope_ends_with_all_threads_busy_and_a_thousand_calls_behind_them)
{
    static struct opening all[MANY];
    struct folder f;
    struct coil_group g;
    int opened = 0;

    folder_open(&f);
    coil_group_begin(&g);
    for (int i = 0; i < MANY; i++) {
        all[i] = (struct opening){.dirfd = AT_FDCWD, .path = f.fifo, .flags = O_RDONLY};
        CHECK_EQ(coil_group_spawn(&g, opening_run, &all[i]), 0);
    }
    coil_yield_shielded();
    coil_yield_shielded();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    while (coil_group_count(&g)) {
        int fd = open(f.fifo, O_WRONLY | O_NONBLOCK); /* for those that begin only now */

        if (fd >= 0)
            close(fd);
        coil_yield_shielded();
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < MANY; i++) {
        CHECK(all[i].result >= 0 || all[i].result == -ECANCELED);
        opened += all[i].result >= 0;
        if (all[i].result >= 0)
            CHECK_EQ(coil_close(all[i].result), 0);
    }
    CHECK(opened <= 4);
    folder_close(&f);
}

/* --- Closing with everything in flight ---------------------------------------------------------*/

static int recv_until_closed(void *arg)
{
    char buf[64];
    ssize_t n = coil_recv(*(int *)arg, buf, sizeof(buf), 0);

    CHECK_EQ(n, -EBADF);
    return 0;
}

COIL_TEST(teardown, a_thousand_descriptors_close_under_their_readers)
{
    static int ends[MANY][2];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[i]), 0);
        CHECK_EQ(coil_group_spawn(&g, recv_until_closed, &ends[i][0]), 0);
    }
    coil_yield_shielded();
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(coil_close(ends[i][0]), 0);
        CHECK_EQ(close(ends[i][1]), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
}
