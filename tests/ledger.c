/* ledger.c - whatever a cancellation meets on its way, what came in is in an answer or where it
 * was.
 *
 * The first half meets it at each moment of a call's life, one by one and without luck: it reaches
 * into the loop to submit, to enter and to reap exactly when it wants to. The second half makes
 * storms of it. */
#define _GNU_SOURCE
#include "inside.h"

#include <pty.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#ifdef __SANITIZE_ADDRESS__
#define CONNECTIONS 1000
#define RECORDS     100000
#else
#define CONNECTIONS 10000
#define RECORDS     1000000
#endif

/* --- One call, one cancellation --------------------------------------------------------------- */

/* When the cancel comes. */
enum moment {
    BEFORE,  /* the call has not begun; what it wants is there */
    QUEUED,  /* it has begun; the kernel has not heard of it */
    IDLE,    /* the kernel has it; nothing has come */
    LATE,    /* the same; and what it wants comes before anybody looks */
    LANDED,  /* it has come; nobody has looked */
    ENTERED, /* the same; but a ring was entered, as by a loop with other things to do */
    REAPED,  /* the call is complete; its task has not run */
    TAKEN,   /* its task has the answer */
};

struct trial;

/* What is waited for, one at a time. */
struct kind {
    const char *name;
    bool by_readiness; /* a ring may wait for readiness first, and then make the call */
    void (*open)(struct trial *t);
    ssize_t (*call)(struct trial *t);
    void (*land)(struct trial *t); /* makes one come */
    int (*left)(struct trial *t);  /* how many are still there */
    int (*taken)(struct trial *t); /* how many the answer holds */
    void (*close)(struct trial *t);
};

struct trial {
    const struct kind *kind;
    enum moment moment;
    struct coil_scope scope;
    int ends[2]; /* 0: coil's */
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char buf[8];
    size_t filled;  /* so many bytes there was no room beside, */
    size_t drained; /* and so many were taken when room was made */
    int fd;         /* that came with a message */

    bool answered;
    ssize_t result;
    int next; /* what the checkpoint after it said */
};

static void must(const struct trial *t, bool claim, const char *words)
{
    char line[160];

    if (claim)
        return;
    snprintf(line, sizeof(line), "%s: %s (it said %zd)", t->kind->name, words, t->result);
    harness_fail(__FILE__, __LINE__, line);
}

static int attempt(void *arg)
{
    struct trial *t = arg;

    coil_scope_begin_prepared(&t->scope, COIL_FOREVER);
    t->result = t->kind->call(t);
    t->answered = true;
    while (t->moment == TAKEN && !coil_scope_cancelled(&t->scope))
        coil_yield_shielded();
    t->next = coil_checkpoint();
    CHECK_EQ(coil_scope_end(&t->scope, t->next), 0);
    return 0;
}

static void await_answer(const struct trial *t)
{
    int64_t until_ns = coil_now() + PATIENCE_NS;

    while (!t->answered && coil_now() < until_ns)
        coil_yield_shielded();
    must(t, t->answered, "gave no answer");
}

static void run(struct trial *t, enum moment moment)
{
    struct coil_group g;

    inside_in_order();
    t->moment = moment;
    t->fd = -1;
    coil_scope_prepare(&t->scope);
    if (moment == BEFORE) {
        t->kind->land(t);
        coil_scope_cancel(&t->scope, NULL);
    }
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, attempt, t), 0);
    coil_yield_shielded(); /* it runs, and we come right after it */
    if (moment >= IDLE)
        inside_look();
    if (moment >= LANDED)
        t->kind->land(t);
    if (moment == ENTERED)
        inside_enter();
    if (moment == REAPED)
        inside_reap(1);
    if (moment == TAKEN)
        await_answer(t);
    must(t, t->answered == (moment == BEFORE || moment == TAKEN),
         "answered too soon or not at all");
    coil_scope_cancel(&t->scope, NULL);
    if (moment == LATE)
        t->kind->land(t);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    must(t, t->next == -ECANCELED, "the cancellation is not met at the next checkpoint");
}

/* --- What can come ---------------------------------------------------------------------------- */

static void open_listener(struct trial *t)
{
    t->ends[0] = wire_listen(8, (struct sockaddr_in *)&t->addr);
    t->ends[1] = -1;
    t->addr_len = sizeof(struct sockaddr_in);
}

static void open_unix_listener(struct trial *t)
{
    t->ends[0] = wire_listen_unix(8, (struct sockaddr_un *)&t->addr, &t->addr_len);
    t->ends[1] = -1;
}

static ssize_t call_accept(struct trial *t)
{
    return coil_accept(t->ends[0], NULL, NULL);
}

/* Waits until what was sent has come: on an eager ring, as the call's answer. */
static void await_landed(const struct trial *t, short events)
{
    if (t->moment > QUEUED && inside_ring_is_eager())
        inside_await_done();
    else
        wire_await(t->ends[0], events);
}

static void land_connection(struct trial *t)
{
    t->ends[1] = socket(t->addr.ss_family, SOCK_STREAM, 0);
    CHECK_EQ(connect(t->ends[1], (struct sockaddr *)&t->addr, t->addr_len), 0);
    await_landed(t, POLLIN);
}

static int connections_left(struct trial *t)
{
    int count = 0;
    int fd;

    CHECK_EQ(fcntl(t->ends[0], F_SETFL, O_NONBLOCK), 0);
    while ((fd = accept(t->ends[0], NULL, NULL)) >= 0) {
        count++;
        close(fd);
    }
    return count;
}

/* It is a connection, and to whom it should be. */
static int connection_taken(struct trial *t)
{
    char byte;

    if (t->result < 0)
        return 0;
    CHECK_EQ(write(t->ends[1], "x", 1), 1);
    CHECK_EQ(coil_read((int)t->result, &byte, 1), 1);
    CHECK_EQ(coil_close((int)t->result), 0);
    return 1;
}

static void close_listener(struct trial *t)
{
    if (t->ends[1] >= 0)
        close(t->ends[1]);
    CHECK_EQ(coil_close(t->ends[0]), 0);
}

static void open_pipe(struct trial *t)
{
    wire_open(WIRE_PIPE, t->ends);
}

static void open_unix(struct trial *t)
{
    wire_open(WIRE_UNIX, t->ends);
}

static void open_tcp(struct trial *t)
{
    wire_open(WIRE_TCP, t->ends);
}

static void open_datagrams(struct trial *t)
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, t->ends), 0);
}

static ssize_t call_read(struct trial *t)
{
    return coil_read(t->ends[0], t->buf, sizeof(t->buf));
}

static ssize_t call_recv(struct trial *t)
{
    return coil_recv(t->ends[0], t->buf, sizeof(t->buf), 0);
}

static ssize_t call_recvfrom(struct trial *t)
{
    return coil_recvfrom(t->ends[0], t->buf, sizeof(t->buf), 0, NULL, NULL);
}

static ssize_t call_readv(struct trial *t)
{
    struct iovec iov[] = {{t->buf, 1}, {t->buf + 1, 7}};

    return coil_readv(t->ends[0], iov, 2);
}

static void land_byte(struct trial *t)
{
    CHECK_EQ(write(t->ends[1], "x", 1), 1);
    await_landed(t, POLLIN);
}

static int bytes_left(struct trial *t)
{
    return (int)wire_drain(t->ends[0]);
}

static int byte_taken(struct trial *t)
{
    return t->result == 1 && t->buf[0] == 'x';
}

static void close_wire(struct trial *t)
{
    wire_close(t->ends);
}

union control {
    char buf[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static void land_descriptor(struct trial *t)
{
    union control control = {{0}};
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &t->ends[1], sizeof(int));
    CHECK_EQ(sendmsg(t->ends[1], &msg, 0), 1);
}

static ssize_t receive_descriptor(struct trial *t, ssize_t (*receive)(int, struct msghdr *, int))
{
    union control control = {{0}};
    struct iovec iov = {t->buf, sizeof(t->buf)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    ssize_t r = receive(t->ends[0], &msg, 0);

    if (r > 0 && CMSG_FIRSTHDR(&msg))
        memcpy(&t->fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
    return r;
}

static ssize_t call_recvmsg(struct trial *t)
{
    return receive_descriptor(t, coil_recvmsg);
}

static int descriptor_taken(struct trial *t)
{
    return t->fd >= 0 && close(t->fd) == 0;
}

static int descriptors_left(struct trial *t)
{
    t->fd = -1;
    return receive_descriptor(t, recvmsg) == 1 && descriptor_taken(t);
}

static void open_eventfd(struct trial *t)
{
    t->ends[0] = eventfd(0, 0);
    t->ends[1] = -1;
}

static void land_event(struct trial *t)
{
    CHECK_EQ(write(t->ends[0], &(uint64_t){1}, 8), 8);
}

static int event_taken(struct trial *t)
{
    uint64_t count;

    memcpy(&count, t->buf, sizeof(count));
    return t->result == 8 && count == 1;
}

static int events_left(struct trial *t)
{
    uint64_t count = 0;

    CHECK_EQ(fcntl(t->ends[0], F_SETFL, O_NONBLOCK), 0);
    return read(t->ends[0], &count, 8) == 8 ? (int)count : 0;
}

static void open_timer(struct trial *t)
{
    t->ends[0] = timerfd_create(CLOCK_MONOTONIC, 0);
    t->ends[1] = -1;
}

static void land_expiry(struct trial *t)
{
    const struct itimerspec at_once = {.it_value = {.tv_nsec = 1}};

    CHECK_EQ(timerfd_settime(t->ends[0], 0, &at_once, NULL), 0);
    await_landed(t, POLLIN);
}

static void open_terminal(struct trial *t)
{
    CHECK_EQ(openpty(&t->ends[1], &t->ends[0], NULL, NULL, NULL), 0);
}

static void land_line(struct trial *t)
{
    CHECK_EQ(write(t->ends[1], "\n", 1), 1);
    await_landed(t, POLLIN);
}

static int line_taken(struct trial *t)
{
    return t->result == 1 && t->buf[0] == '\n';
}

static const struct kind kinds[] = {
    {"accept", false, open_listener, call_accept, land_connection, connections_left,
     connection_taken, close_listener},
    {"accept, unix", false, open_unix_listener, call_accept, land_connection, connections_left,
     connection_taken, close_listener},
    {"recv, tcp", false, open_tcp, call_recv, land_byte, bytes_left, byte_taken, close_wire},
    {"recv, unix", false, open_unix, call_recv, land_byte, bytes_left, byte_taken, close_wire},
    {"recvfrom, datagram", false, open_datagrams, call_recvfrom, land_byte, bytes_left, byte_taken,
     close_wire},
    {"recvmsg, descriptor", false, open_unix, call_recvmsg, land_descriptor, descriptors_left,
     descriptor_taken, close_wire},
    {"read, pipe", true, open_pipe, call_read, land_byte, bytes_left, byte_taken, close_wire},
    {"readv, pipe", true, open_pipe, call_readv, land_byte, bytes_left, byte_taken, close_wire},
    {"read, eventfd", true, open_eventfd, call_read, land_event, events_left, event_taken,
     close_listener},
    {"read, timerfd", true, open_timer, call_read, land_expiry, events_left, event_taken,
     close_listener},
    {"read, terminal", true, open_terminal, call_read, land_line, bytes_left, line_taken,
     close_wire},
};

/* --- Every kind at every moment --------------------------------------------------------------- */

/* Has a ring done the call itself, behind everybody's back? */
static bool kernel_did(const struct trial *t)
{
    if (!harness_on("io_uring") || t->kind->by_readiness)
        return false;
    return t->moment == ENTERED ||
           ((t->moment == LATE || t->moment == LANDED) && inside_ring_is_eager());
}

/* How many answers, of how many kinds, were results. */
static int try_each(enum moment moment)
{
    int landed = moment == QUEUED || moment == IDLE ? 0 : 1;
    int results = 0;

    for (size_t i = 0; i < count_of(kinds); i++) {
        struct trial t = {.kind = &kinds[i]};
        int taken;

        t.kind->open(&t);
        run(&t, moment);
        must(&t, t.result >= 0 || t.result == -ECANCELED, "failed");
        taken = t.kind->taken(&t);
        must(&t, taken == (t.result >= 0), "the answer does not hold what it says");
        must(&t, taken + t.kind->left(&t) == landed, "is lost, or there twice");
        if (kernel_did(&t))
            must(&t, taken == 1, "what the kernel did is not the answer");
        t.kind->close(&t);
        results += taken;
    }
    return results;
}

COIL_TEST(ledger, s4_2_a_call_cancelled_before_it_began_took_nothing)
{
    CHECK_EQ(try_each(BEFORE), 0);
}

COIL_TEST(ledger, s4_2_a_call_cancelled_before_the_kernel_heard_of_it_took_nothing)
{
    CHECK_EQ(try_each(QUEUED), 0);
}

COIL_TEST(ledger, s4_2_a_call_cancelled_while_nothing_came_took_nothing)
{
    CHECK_EQ(try_each(IDLE), 0);
}

COIL_TEST(ledger, s4_4_what_comes_just_after_the_cancel_is_not_lost)
{
    int results = try_each(LATE);

    if (!harness_on("io_uring"))
        CHECK_EQ(results, 0);
}

COIL_TEST(ledger, s4_4_what_has_come_and_nobody_has_seen_is_not_lost_by_a_cancel)
{
    int results = try_each(LANDED);

    if (!harness_on("io_uring"))
        CHECK_EQ(results, 0);
}

/* DEFER_TASKRUN hides this one from loops that have nothing else to do. */
COIL_TEST(ledger, s4_4_what_the_kernel_has_done_is_the_answer_though_a_cancel_came)
{
    struct coil_stats stats;
    int results = try_each(ENTERED);

    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.late_results, results);
    CHECK(results > 0 || !harness_on("io_uring"));
}

COIL_TEST(ledger, s4_4_what_is_complete_is_the_answer_though_a_cancel_came_before_its_task_ran)
{
    CHECK_EQ(try_each(REAPED), count_of(kinds));
}

COIL_TEST(ledger, s2_9_a_cancel_after_the_answer_takes_nothing_back)
{
    CHECK_EQ(try_each(TAKEN), count_of(kinds));
}

/* --- Room to write ---------------------------------------------------------------------------- */

static void open_full(struct trial *t)
{
    open_unix(t);
    t->filled = wire_fill(t->ends[0]);
}

static void open_full_pipe(struct trial *t)
{
    int swapped[2];

    wire_open(WIRE_PIPE, swapped);
    t->ends[0] = swapped[1];
    t->ends[1] = swapped[0];
    t->filled = wire_fill(t->ends[0]);
}

static ssize_t call_send(struct trial *t)
{
    return coil_send(t->ends[0], "abcd", 4, 0);
}

static ssize_t call_writev(struct trial *t)
{
    char text[] = "abcd";
    struct iovec iov[] = {{text, 2}, {text + 2, 2}};

    return coil_writev(t->ends[0], iov, 2);
}

static ssize_t call_write(struct trial *t)
{
    return coil_write(t->ends[0], "abcd", 4);
}

static void land_room(struct trial *t)
{
    t->drained = wire_drain(t->ends[1]);
    await_landed(t, POLLOUT);
}

static int written(struct trial *t)
{
    return t->result == 4;
}

COIL_TEST(ledger, s4_2_a_write_says_what_went_whenever_it_was_cancelled)
{
    static const struct kind writers[] = {
        {"send", false, open_full, call_send, land_room, NULL, written, close_wire},
        {"writev", false, open_full, call_writev, land_room, NULL, written, close_wire},
        {"write, pipe", true, open_full_pipe, call_write, land_room, NULL, written, close_wire},
        {"writev, pipe", true, open_full_pipe, call_writev, land_room, NULL, written, close_wire},
    };

    for (enum moment moment = BEFORE; moment <= TAKEN; moment++)
        for (size_t i = 0; i < count_of(writers); i++) {
            struct trial t = {.kind = &writers[i]};
            bool room = moment != QUEUED && moment != IDLE;

            t.kind->open(&t);
            run(&t, moment);
            must(&t, t.result == 4 || t.result == -ECANCELED, "failed");
            if (room)
                must(&t,
                     t.drained + wire_drain(t.ends[1]) ==
                         t.filled + (t.result > 0 ? (size_t)t.result : 0),
                     "what went is not what it said");
            if (moment < LATE)
                must(&t, t.result == -ECANCELED, "went all the same");
            if (kernel_did(&t))
                must(&t, t.result == 4, "what the kernel did is not the answer");
            if (moment > ENTERED)
                must(&t, t.result == 4, "what was done is not the answer");
            t.kind->close(&t);
        }
}

struct sender {
    int fd;
    size_t n;
    size_t sent;
    int result;
};

static char pattern[1 << 20];

static int send_much(void *arg)
{
    struct sender *s = arg;

    s->result = coil_send_all(s->fd, pattern, s->n, 0, &s->sent);
    return 0;
}

static size_t drain_to_end(int fd)
{
    static char sink[65536];
    size_t sum = 0;
    ssize_t n;

    /* What a ring has left to do may interrupt a plain call of its thread. */
    while ((n = recv(fd, sink, sizeof(sink), 0)) > 0 || (n < 0 && errno == EINTR))
        sum += n > 0 ? (size_t)n : 0;
    CHECK_EQ(n, 0);
    return sum;
}

COIL_TEST(ledger, s4_2_a_cancelled_send_all_says_how_many_bytes_the_peer_got)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++)
        for (int room = 0; room < 4;
             room++) { /* how often the peer made some, the last time unseen */
            struct sender s = {.n = sizeof(pattern)};
            struct coil_group g;
            size_t at_peer = 0;
            int ends[2];
            int size = 4096;

            wire_open(wire, ends);
            CHECK_EQ(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
            CHECK_EQ(setsockopt(ends[1], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
            s.fd = ends[0];
            coil_group_begin(&g);
            CHECK_EQ(coil_group_spawn(&g, send_much, &s), 0);
            for (int i = 0; i < room; i++) {
                coil_yield_shielded();
                inside_look();
                at_peer += wire_drain(ends[1]);
                inside_enter();
            }
            coil_yield_shielded();
            coil_scope_cancel(coil_group_scope(&g), NULL);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            CHECK_EQ(s.result, -ECANCELED);
            CHECK_EQ(coil_close(ends[0]), 0);
            CHECK_EQ(at_peer + drain_to_end(ends[1]), s.sent);
            CHECK(s.sent > 0 || room == 0);
            close(ends[1]);
        }
}

/* --- Connect ---------------------------------------------------------------------------------- */

static ssize_t call_connect(struct trial *t)
{
    return coil_connect(t->ends[0], (struct sockaddr *)&t->addr, t->addr_len);
}

static void land_nothing(struct trial *t)
{
    (void)t; /* the connection makes itself as soon as it is asked for */
}

static const struct kind connecting = {
    .name = "connect", .call = call_connect, .land = land_nothing};

/* The connection is there, both ways; or it is not, and the listener's side, if there is one,
 * ends. */
static void check_connection(struct trial *t, int listener)
{
    int fd = -1;
    char byte;

    must(t, t->result == 0 || t->result == -ECANCELED, "failed");
    if (t->result == 0)
        wire_await(listener, POLLIN);
    if (wire_ready(listener, POLLIN)) {
        fd = accept(listener, NULL, NULL);
        wire_limit(fd);
    }
    if (t->result == 0) {
        CHECK_EQ(coil_send(t->ends[0], "x", 1, 0), 1);
        CHECK_EQ(recv(fd, &byte, 1, 0), 1);
    }
    CHECK_EQ(coil_close(t->ends[0]), 0);
    if (fd >= 0)
        CHECK_EQ(recv(fd, &byte, 1, 0), 0);
    close(fd);
    close(listener);
}

static void try_connect(struct trial *t, enum moment moment)
{
    int listener = wire_listen(4, (struct sockaddr_in *)&t->addr);

    t->addr_len = sizeof(struct sockaddr_in);
    t->ends[0] = coil_socket(AF_INET, SOCK_STREAM, 0);
    run(t, moment);
    if (moment == BEFORE)
        CHECK(!wire_ready(listener, POLLIN));
    check_connection(t, listener);
}

COIL_TEST(ledger, s4_2_a_connect_cancelled_before_it_began_did_not_happen)
{
    struct trial t = {.kind = &connecting};

    try_connect(&t, BEFORE);
    CHECK_EQ(t.result, -ECANCELED);
}

COIL_TEST(ledger, s4_2_a_connect_cancelled_before_the_kernel_has_answered_is_closed_without_a_trace)
{
    struct trial t = {.kind = &connecting};

    try_connect(&t, QUEUED);
    CHECK_EQ(t.result, -ECANCELED);
}

COIL_TEST(ledger, s4_2_a_connect_cancelled_while_the_backlog_is_full_is_closed_without_a_trace)
{
    struct trial t = {.kind = &connecting};
    struct sockaddr_in *addr = (struct sockaddr_in *)&t.addr;
    int listener = wire_listen(0, addr);
    int first = wire_connect(addr);

    wire_await(listener, POLLIN);
    t.addr_len = sizeof(*addr);
    t.ends[0] = coil_socket(AF_INET, SOCK_STREAM, 0);
    run(&t, IDLE);
    CHECK_EQ(t.result, -ECANCELED);
    CHECK_EQ(coil_close(t.ends[0]), 0);
    close(accept(listener, NULL, NULL));
    CHECK(!wire_ready(listener, POLLIN));
    close(first);
    close(listener);
}

COIL_TEST(ledger, s4_4_a_connect_that_is_complete_is_connected_though_a_cancel_came)
{
    struct trial t = {.kind = &connecting};

    try_connect(&t, LANDED); /* either way, whole */
    t = (struct trial){.kind = &connecting};
    try_connect(&t, ENTERED); /* the same: whether the loop has looked is the clock's affair */
}

static int dial(void *arg)
{
    struct trial *t = arg;

    t->result = call_connect(t);
    t->answered = true;
    t->next = coil_checkpoint();
    return 0;
}

/* The same, by the steps of run, but reaping is all that submits. */
COIL_TEST(ledger, s4_4_a_connect_that_was_reaped_is_connected_though_a_cancel_came)
{
    struct trial t = {.kind = &connecting};
    struct coil_group g;
    int listener = wire_listen(4, (struct sockaddr_in *)&t.addr);

    inside_in_order();
    t.addr_len = sizeof(struct sockaddr_in);
    t.ends[0] = coil_socket(AF_INET, SOCK_STREAM, 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, dial, &t), 0);
    coil_yield_shielded();
    CHECK(!t.answered);
    inside_reap(1);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(t.result, 0);
    CHECK_EQ(t.next, -ECANCELED);
    check_connection(&t, listener);
}

COIL_TEST(ledger, s2_9_a_connect_that_was_answered_stays_connected)
{
    struct trial t = {.kind = &connecting};

    try_connect(&t, TAKEN);
    CHECK_EQ(t.result, 0);
}

/* The kernel repeats the request after a second; then there is room, and nobody has looked. */
COIL_TEST_IN_ORDER(ledger, s4_4_a_connect_that_got_through_late_is_whole_or_cancelled)
{
    for (int enter = 0; enter < 2; enter++) {
        struct trial t = {.kind = &connecting};
        struct sockaddr_in *addr = (struct sockaddr_in *)&t.addr;
        int listener = wire_listen(0, addr);
        int first = wire_connect(addr);
        struct coil_group g;

        wire_await(listener, POLLIN);
        t.addr_len = sizeof(*addr);
        t.ends[0] = coil_socket(AF_INET, SOCK_STREAM, 0);
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, dial, &t), 0);
        coil_yield_shielded();
        inside_look();
        close(accept(listener, NULL, NULL));
        if (inside_ring_is_eager())
            inside_await_done();
        else
            wire_await(t.ends[0], POLLOUT);
        if (enter)
            inside_enter();
        coil_scope_cancel(coil_group_scope(&g), NULL);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(t.next, -ECANCELED);
        if (!harness_on("io_uring"))
            CHECK_EQ(t.result, -ECANCELED);
        else if (enter || inside_ring_is_eager())
            CHECK_EQ(t.result, 0);
        check_connection(&t, listener);
        close(first);
    }
}

/* --- Open ------------------------------------------------------------------------------------- */

/* With one pool thread, and in order: what comes second shall find it taken. */
#define OPEN_TEST(name_)                                                                           \
    static void name_##_body(void);                                                                \
    Test(ledger, name_)                                                                            \
    {                                                                                              \
        struct coil_loop_options options = harness_options();                                      \
                                                                                                   \
        options.blocking_threads = 1;                                                              \
        options.shuffle_seed = 0;                                                                  \
        harness_run(&options, name_##_body);                                                       \
    }                                                                                              \
    static void name_##_body(void)

OPEN_TEST(s4_2_an_open_cancelled_before_it_began_made_no_file)
{
    struct folder f;
    struct coil_scope s;

    folder_open(&f);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_openat(AT_FDCWD, f.file, O_CREAT | O_RDWR, 0600), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(access(f.file, F_OK), -1);
    folder_close(&f);
}

OPEN_TEST(s7_6_an_open_cancelled_while_queued_made_no_file)
{
    struct folder f;
    struct opening first, second;
    struct coil_group g, inner;

    folder_open(&f);
    first = (struct opening){.dirfd = AT_FDCWD, .path = f.fifo, .flags = O_RDONLY};
    second = (struct opening){.dirfd = AT_FDCWD, .path = f.file, .flags = O_CREAT | O_RDWR};
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, opening_run, &first), 0);
    coil_yield_shielded();
    inside_await_taken_up();
    coil_group_begin(&inner);
    CHECK_EQ(coil_group_spawn(&inner, opening_run, &second), 0);
    coil_yield_shielded();
    coil_scope_cancel(coil_group_scope(&inner), NULL);
    CHECK_EQ(coil_group_end(&inner, 0), 0); /* although the thread is as busy as before */
    CHECK_EQ(second.result, -ECANCELED);
    CHECK(!first.answered);
    folder_release(&f);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(access(f.file, F_OK), -1);
    CHECK_EQ(coil_close(first.result), 0);
    folder_close(&f);
}

OPEN_TEST(s7_6_an_open_cancelled_while_a_thread_does_it_waits_and_is_open)
{
    struct folder f;
    struct opening o;
    struct coil_group g;

    folder_open(&f);
    o = (struct opening){.dirfd = AT_FDCWD, .path = f.fifo, .flags = O_RDONLY};
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, opening_run, &o), 0);
    coil_yield_shielded();
    inside_await_taken_up();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    for (int i = 0; i < 100; i++)
        coil_yield_shielded();
    CHECK(!o.answered);
    folder_release(&f);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(o.result >= 0);
    CHECK_EQ(o.next, -ECANCELED);
    CHECK_EQ(coil_close(o.result), 0);
    folder_close(&f);
}

static void cancel_an_open_that_is_done(bool delivered)
{
    struct folder f;
    struct opening o;
    struct coil_group g;

    folder_open(&f);
    o = (struct opening){.dirfd = AT_FDCWD, .path = f.file, .flags = O_CREAT | O_RDWR};
    inside_in_order();
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, opening_run, &o), 0);
    coil_yield_shielded();
    inside_await_mail();
    if (delivered)
        coil__mailbox_deliver(&coil__here.loop->mailbox);
    CHECK(!o.answered);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(o.result >= 0);
    CHECK_EQ(o.next, -ECANCELED);
    CHECK_EQ(coil_close(o.result), 0);
    folder_close(&f);
}

OPEN_TEST(s4_4_an_open_that_a_thread_has_done_is_open_though_a_cancel_came)
{
    cancel_an_open_that_is_done(false);
}

OPEN_TEST(s4_4_an_open_that_was_delivered_is_open_though_a_cancel_came_before_its_task_ran)
{
    cancel_an_open_that_is_done(true);
}

OPEN_TEST(s2_9_an_open_that_was_answered_stays_open)
{
    struct folder f;
    struct coil_scope s;
    int fd;

    folder_open(&f);
    coil_scope_begin(&s, COIL_FOREVER);
    fd = coil_openat(AT_FDCWD, f.file, O_CREAT | O_RDWR, 0600);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_write(fd, "x", 1), 1);
    CHECK_EQ(coil_close(fd), 0);
    folder_close(&f);
}

/* --- Storms ----------------------------------------------------------------------------------- */

struct dice {
    uint64_t state;
};

static uint64_t draw(struct dice *d, uint64_t below)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return (d->state >> 11) % below;
}

static void dawdle(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / COIL_SECOND, .tv_nsec = ns % COIL_SECOND};

    ppoll(NULL, 0, &t, NULL);
}

/* Somebody else in the loop who computes for a while, now and then, so that things happen between a
 * deadline and the moment it is acted upon. */
struct hog {
    int64_t busy_ns;
    bool stop;
};

static int compute(void *arg)
{
    struct hog *h = arg;
    struct dice dice = {0x9e3779b97f4a7c15};

    while (!h->stop) {
        int64_t until_ns = coil_now() + h->busy_ns;

        while (coil_now() < until_ns)
            continue;
        if (draw(&dice, 2))
            inside_enter();
        CHECK_EQ(coil_sleep((int64_t)draw(&dice, (uint64_t)COIL_MILLISECOND)), 0);
    }
    return 0;
}

struct storm {
    struct sockaddr_in addr;
    int clients;
    int per_client;
    atomic_int connected;
    atomic_int echoed;
    atomic_int hung;
    atomic_int broken;
    atomic_int done;
    int accepted;
    int served;
    int silent;
    int timed_out;
};

struct client {
    pthread_t thread;
    struct storm *storm;
    struct dice dice;
    int last; /* the connection that says nothing */
};

static void talk(struct client *c, int fd)
{
    uint64_t nonce = draw(&c->dice, UINT64_MAX);
    uint64_t echo = 0;
    ssize_t n;

    CHECK_EQ(send(fd, &nonce, sizeof(nonce), MSG_NOSIGNAL), sizeof(nonce));
    n = recv(fd, &echo, sizeof(echo), MSG_WAITALL);
    if (n == sizeof(echo) && echo == nonce)
        atomic_fetch_add(&c->storm->echoed, 1);
    else if (n < 0 && errno == EAGAIN)
        atomic_fetch_add(&c->storm->hung, 1);
    else
        atomic_fetch_add(&c->storm->broken, 1);
}

static void *be_client(void *arg)
{
    struct client *c = arg;
    struct storm *s = c->storm;
    /* All of them together come about every 200 microseconds. */
    const uint64_t gap_ns = (uint64_t)s->clients * 400 * COIL_MICROSECOND;

    for (int i = 0; i < s->per_client; i++) {
        int fd;

        dawdle((int64_t)draw(&c->dice, gap_ns));
        fd = wire_connect(&s->addr);
        atomic_fetch_add(&s->connected, 1);
        wire_limit(fd);
        talk(c, fd);
        wire_reset(fd); /* or ten thousand of them would stay in TIME_WAIT */
    }
    c->last = wire_connect(&s->addr);
    atomic_fetch_add(&s->connected, 1);
    atomic_fetch_add(&s->done, 1);
    return NULL;
}

struct served {
    struct storm *storm;
    int fd;
};

static int serve(void *arg)
{
    struct served *one = arg;
    struct storm *s = one->storm;
    char nonce[8];
    ssize_t n = coil_recv(one->fd, nonce, sizeof(nonce), MSG_WAITALL);

    if (n == sizeof(nonce)) {
        CHECK_EQ(coil_send_all(one->fd, nonce, sizeof(nonce), 0, NULL), 0);
        s->served++;
    } else {
        CHECK_EQ(n, 0);
        s->silent++;
    }
    CHECK_EQ(coil_close(one->fd), 0);
    free(one);
    return 0;
}

static void accept_some(struct storm *s, int listener, struct coil_group *g)
{
    struct dice dice = {88172645463325252};

    while (atomic_load(&s->done) < s->clients) {
        struct coil_scope scope;
        struct served *one;
        int fd;

        coil_scope_begin(&scope, coil_now() + (int64_t)draw(&dice, 5 * COIL_MILLISECOND));
        fd = coil_accept(listener, NULL, NULL);
        if (fd == -ECANCELED) {
            CHECK_EQ(coil_scope_end(&scope, fd), 0);
            s->timed_out++;
            continue;
        }
        CHECK(fd >= 0);
        CHECK_EQ(coil_scope_end(&scope, fd), fd);
        s->accepted++;
        one = malloc(sizeof(*one));
        *one = (struct served){s, fd};
        CHECK_EQ(coil_group_spawn(g, serve, one), 0);
    }
}

/* Those who are still in the backlog. All have connected, and so are there or about to be. */
static int count_backlog(const struct storm *s, int listener)
{
    int count = 0;

    CHECK_EQ(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    while (s->accepted + count < atomic_load(&s->connected)) {
        wire_await(listener, POLLIN);
        close(accept(listener, NULL, NULL));
        count++;
    }
    CHECK(!wire_ready(listener, POLLIN));
    return count;
}

static void storm(int clients, int block_us)
{
    static struct client all[32];
    struct storm s = {.clients = clients, .per_client = (CONNECTIONS + clients - 1) / clients};
    struct hog hog = {.busy_ns = block_us * COIL_MICROSECOND};
    int listener = wire_listen(128, &s.addr);
    struct coil_group g;

    coil_group_begin(&g);
    if (block_us)
        CHECK_EQ(coil_group_spawn(&g, compute, &hog), 0);
    for (int i = 0; i < clients; i++) {
        all[i] = (struct client){.storm = &s, .dice = {(uint64_t)i + 1}};
        for (int k = 0; k < 8; k++)
            draw(&all[i].dice, 2);
        CHECK_EQ(pthread_create(&all[i].thread, NULL, be_client, &all[i]), 0);
    }
    accept_some(&s, listener, &g);
    hog.stop = true;
    for (int i = 0; i < clients; i++)
        pthread_join(all[i].thread, NULL);

    CHECK_EQ(s.accepted + count_backlog(&s, listener), s.connected);
    for (int i = 0; i < clients; i++)
        close(all[i].last);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s.hung, 0);
    CHECK_EQ(s.broken, 0);
    CHECK_EQ(s.echoed, clients * s.per_client);
    CHECK_EQ(s.served, s.echoed);
    CHECK_EQ(s.accepted, s.served + s.silent);
    CHECK(s.timed_out > 0);
    CHECK_EQ(coil_close(listener), 0);
}

/* Its clients are threads, whose time is not a simulated loop's. */
#define STORM_TEST(name_) COIL_TEST_NOT_ON_SIM(ledger, name_, "the clients' time is not its own")

STORM_TEST(all_who_connect_are_served_or_in_the_backlog_with_one_client)
{
    storm(1, 0);
}

STORM_TEST(all_who_connect_are_served_or_in_the_backlog_with_four_clients)
{
    storm(4, 0);
}

STORM_TEST(all_who_connect_are_served_or_in_the_backlog_with_thirty_two_clients)
{
    storm(32, 0);
}

STORM_TEST(all_who_connect_are_served_or_in_the_backlog_with_one_client_and_a_busy_loop)
{
    storm(1, 300);
}

STORM_TEST(all_who_connect_are_served_or_in_the_backlog_with_four_clients_and_a_busy_loop)
{
    storm(4, 300);
}

STORM_TEST(all_who_connect_are_served_or_in_the_backlog_with_thirty_two_clients_and_a_busy_loop)
{
    storm(32, 300);
}

/* --- A million records ------------------------------------------------------------------------ */

struct records {
    int fd;
    size_t bytes;
    struct dice dice;
};

/* The stream: the numbers from 0, eight bytes each. */
static void fill_records(char *buf, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t record = (from + i) / 8;

        buf[i] = (char)(record >> (from + i) % 8 * 8);
    }
}

static void *write_records(void *arg)
{
    struct records *r = arg;
    char buf[4096];
    size_t done = 0;

    while (done < r->bytes) {
        size_t n = draw(&r->dice, 2048) + 1;
        ssize_t sent;

        if (n > r->bytes - done)
            n = r->bytes - done;
        fill_records(buf, done, n);
        sent = write(r->fd, buf, n);
        CHECK(sent > 0);
        done += (size_t)sent;
        if (!draw(&r->dice, 4))
            dawdle((int64_t)draw(&r->dice, 2 * COIL_MILLISECOND));
    }
    close(r->fd);
    return NULL;
}

/* Some call or other that reads, under some time-out or other. */
static ssize_t read_some(struct dice *dice, int fd, void *buf, size_t n, bool is_socket)
{
    static const enum call on_sockets[] = {CALL_READ, CALL_READV, CALL_RECV, CALL_RECVFROM,
                                           CALL_RECVMSG};
    struct coil_scope scope;
    ssize_t r;

    coil_scope_begin(&scope, coil_now() + (int64_t)draw(dice, 2 * COIL_MILLISECOND));
    r = call_now(on_sockets[draw(dice, is_socket ? 5 : 2)], fd, buf, n);
    if (r == -ECANCELED)
        CHECK_EQ(coil_scope_end(&scope, (int)r), 0);
    else
        CHECK_EQ(coil_scope_end(&scope, (int)r), r);
    return r;
}

static void receive_records(enum wire wire, size_t count)
{
    static char got[16384], expected[16384];
    struct records r = {.bytes = count * 8, .dice = {42}};
    struct dice dice = {4711};
    struct hog hog = {.busy_ns = 100 * COIL_MICROSECOND};
    struct coil_group g;
    pthread_t writer;
    size_t done = 0;
    int timed_out = 0;
    ssize_t n;
    int ends[2];

    wire_open(wire, ends);
    r.fd = ends[1];
    CHECK_EQ(pthread_create(&writer, NULL, write_records, &r), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, compute, &hog), 0);
    while ((n = read_some(&dice, ends[0], got, draw(&dice, sizeof(got)) + 1, wire != WIRE_PIPE))) {
        if (n == -ECANCELED) {
            timed_out++;
            continue;
        }
        CHECK(n > 0);
        fill_records(expected, done, (size_t)n);
        CHECK_EQ(memcmp(got, expected, (size_t)n), 0); /* none lost, none doubled, in order */
        done += (size_t)n;
    }
    CHECK_EQ(done, r.bytes);
    CHECK(timed_out > 0);
    hog.stop = true;
    CHECK_EQ(coil_group_end(&g, 0), 0);
    pthread_join(writer, NULL);
    CHECK_EQ(coil_close(ends[0]), 0);
}

/* Its time-outs race with a thread. */
#define REAL_TIME_TEST(name_)                                                                      \
    COIL_TEST_NOT_ON_SIM(ledger, name_, "a thread writes, and sim's clock does not know it")

REAL_TIME_TEST(a_million_records_arrive_once_each_over_tcp)
{
    receive_records(WIRE_TCP, RECORDS);
}

REAL_TIME_TEST(a_stream_of_records_arrives_once_each_over_a_unix_socket)
{
    receive_records(WIRE_UNIX, RECORDS / 4);
}

REAL_TIME_TEST(a_stream_of_records_arrives_once_each_through_a_pipe)
{
    receive_records(WIRE_PIPE, RECORDS / 4);
}

/* The other way round: the peer is slow, and must get what the calls say that it got. */
struct slow_reader {
    int fd;
    size_t got;
    struct dice dice;
};

static void *read_slowly(void *arg)
{
    struct slow_reader *r = arg;
    char buf[8192];
    char expected[8192];
    ssize_t n;

    while ((n = read(r->fd, buf, draw(&r->dice, sizeof(buf)) + 1)) > 0) {
        fill_records(expected, r->got, (size_t)n);
        CHECK_EQ(memcmp(buf, expected, (size_t)n), 0);
        r->got += (size_t)n;
        if (!draw(&r->dice, 4))
            dawdle((int64_t)draw(&r->dice, COIL_MILLISECOND));
    }
    CHECK_EQ(n, 0);
    return NULL;
}

static size_t write_some(struct dice *dice, int fd, char *buf, size_t n, bool is_socket)
{
    struct coil_scope scope;
    enum call call = is_socket && draw(dice, 2) ? CALL_SEND + draw(dice, 3)
                                                : (draw(dice, 2) ? CALL_WRITE : CALL_WRITEV);
    size_t sent = 0;
    ssize_t r;

    coil_scope_begin(&scope, coil_now() + (int64_t)draw(dice, COIL_MILLISECOND));
    if (is_socket && !draw(dice, 4)) {
        r = coil_send_all(fd, buf, n, 0, &sent);
        CHECK(r == -ECANCELED || (r == 0 && sent == n));
    } else {
        r = call_now(call, fd, buf, n);
        CHECK(r == -ECANCELED || r > 0);
        sent = r > 0 ? (size_t)r : 0;
    }
    CHECK_EQ(coil_scope_end(&scope, (int)r), r == -ECANCELED ? 0 : (int)r);
    return sent;
}

static void send_records(enum wire wire)
{
    static char buf[65536];
    const size_t bytes = RECORDS * 4;
    struct slow_reader reader = {.dice = {43}};
    struct dice dice = {4712};
    struct hog hog = {.busy_ns = 100 * COIL_MICROSECOND};
    struct coil_group g;
    pthread_t thread;
    size_t done = 0;
    int size = 4096;
    int ends[2];

    wire_open(wire, ends);
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    reader.fd = ends[wire == WIRE_PIPE ? 0 : 1];
    CHECK_EQ(pthread_create(&thread, NULL, read_slowly, &reader), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, compute, &hog), 0);
    while (done < bytes) {
        size_t n = draw(&dice, sizeof(buf)) + 1;

        fill_records(buf, done, n);
        done += write_some(&dice, ends[wire == WIRE_PIPE ? 1 : 0], buf, n, wire != WIRE_PIPE);
    }
    hog.stop = true;
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_close(ends[wire == WIRE_PIPE ? 1 : 0]), 0);
    pthread_join(thread, NULL);
    CHECK_EQ(reader.got, done);
    close(reader.fd);
}

COIL_TEST(ledger, s4_2_what_the_peer_got_is_what_was_said_over_tcp)
{
    send_records(WIRE_TCP);
}

COIL_TEST(ledger, s4_2_what_the_peer_got_is_what_was_said_over_a_unix_socket)
{
    send_records(WIRE_UNIX);
}

COIL_TEST(ledger, s4_2_what_the_peer_got_is_what_was_said_through_a_pipe)
{
    send_records(WIRE_PIPE);
}
