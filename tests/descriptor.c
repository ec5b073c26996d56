/* descriptor.c - the table of descriptors: who is woken by a close, and who is never met by
 * mistake. */
#define _GNU_SOURCE
#include "inside.h"

#include <sys/resource.h>

/* Moves fd to the number that was just freed. */
static int move_to(int fd, int number)
{
    if (fd == number)
        return fd;
    CHECK_EQ(dup2(fd, number), number);
    close(fd);
    return number;
}

/* --- Closing under those who wait --------------------------------------------------------------*/

COIL_TEST(descriptor, closing_wakes_the_reader_and_the_writer_and_waits_for_both)
{
    for (enum call reading = 0; reading < CALL_READERS; reading++)
        for (enum call writing = CALL_ACCEPT + 1; writing < CALL_COUNT; writing++) {
            char in = '.';
            char out = 'x';
            struct caller reader = {.call = reading, .buf = &in, .n = 1};
            struct caller writer = {.call = writing, .buf = &out, .n = 1};
            struct coil_group g;
            int ends[2];

            wire_open(WIRE_UNIX, ends);
            wire_fill(ends[0]);
            reader.fd = writer.fd = ends[0];
            coil_group_begin(&g);
            caller_start(&g, &reader);
            caller_start(&g, &writer);
            CHECK(!reader.answered && !writer.answered);
            CHECK_EQ(coil_close(ends[0]), 0);
            CHECK(reader.answered && writer.answered);
            call_check(reading, reader.result, -EBADF);
            call_check(writing, writer.result, -EBADF);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            CHECK_EQ(fcntl(ends[0], F_GETFD), -1);
            close(ends[1]);
        }
}

COIL_TEST(descriptor, closing_wakes_who_waits_on_a_pipe)
{
    for (int end = 0; end < 2; end++)
        for (int vector = 0; vector < 2; vector++) {
            char byte = 'x';
            struct caller c = {.buf = &byte, .n = 1};
            struct coil_group g;
            int ends[2];

            wire_open(WIRE_PIPE, ends);
            c.fd = ends[end];
            c.call = end ? (vector ? CALL_WRITEV : CALL_WRITE) : (vector ? CALL_READV : CALL_READ);
            if (end)
                wire_fill(ends[1]);
            coil_group_begin(&g);
            caller_start(&g, &c);
            CHECK(!c.answered);
            CHECK_EQ(coil_close(ends[end]), 0);
            CHECK(c.answered);
            CHECK_EQ(c.result, -EBADF);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            close(ends[1 - end]);
        }
}

COIL_TEST(descriptor, closing_a_listener_wakes_who_accepts)
{
    struct sockaddr_in addr;
    struct caller c = {.call = CALL_ACCEPT};
    struct coil_group g;

    c.fd = wire_listen(4, &addr);
    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK_EQ(coil_close(c.fd), 0);
    CHECK(c.answered);
    CHECK_EQ(c.result, -EBADF);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

struct dialling {
    int fd;
    struct sockaddr_storage addr;
    socklen_t len;
    int result;
    bool answered;
};

static int dial(void *arg)
{
    struct dialling *d = arg;

    d->result = coil_connect(d->fd, (struct sockaddr *)&d->addr, d->len);
    d->answered = true;
    return 0;
}

/* Whoever connects to d's listener first takes all of its backlog. */
static int fill_backlog(struct dialling *d, int family)
{
    int fd = socket(family, SOCK_STREAM, 0);

    CHECK_EQ(connect(fd, (struct sockaddr *)&d->addr, d->len), 0);
    return fd;
}

static void close_while_connecting(struct dialling *d, int family, int listener)
{
    int first = fill_backlog(d, family);
    struct coil_group g;

    wire_await(listener, POLLIN);
    d->fd = coil_socket(family, SOCK_STREAM, 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, dial, d), 0);
    for (int i = 0; i < 8; i++)
        coil_yield_shielded();
    CHECK(!d->answered);
    CHECK_EQ(coil_close(d->fd), 0);
    CHECK(d->answered);
    CHECK_EQ(d->result, -EBADF);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    close(first);
}

COIL_TEST(descriptor, closing_wakes_who_connects)
{
    struct dialling d = {.len = sizeof(struct sockaddr_in)};
    int listener = wire_listen(0, (struct sockaddr_in *)&d.addr);

    close_while_connecting(&d, AF_INET, listener);
    close(listener);
}

/* Here connect asks again and again, with pauses: what it asks about must not have been closed, and
 * opened as something else, in one of them. */
COIL_TEST(descriptor, closing_wakes_who_waits_for_a_unix_backlog_and_nobody_else_is_connected)
{
    struct dialling d = {.len = 0};
    int listener = wire_listen_unix(0, (struct sockaddr_un *)&d.addr, &d.len);
    int next;

    close_while_connecting(&d, AF_UNIX, listener);
    next = move_to(socket(AF_UNIX, SOCK_STREAM, 0), d.fd);
    close(accept(listener, NULL, NULL));
    CHECK_EQ(coil_sleep(40 * COIL_MILLISECOND), 0); /* longer than any of the pauses */
    CHECK(!wire_ready(listener, POLLIN));
    CHECK_EQ(coil_close(next), 0);
    close(listener);
}

COIL_TEST(descriptor, a_result_that_was_there_already_wins_over_the_close)
{
    char byte = '.';
    struct caller c = {.call = CALL_RECV, .buf = &byte, .n = 1};
    struct coil_group g;
    int ends[2];

    inside_in_order();
    wire_open(WIRE_UNIX, ends);
    c.fd = ends[0];
    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    inside_reap(1);
    CHECK(!c.answered);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK(c.answered);
    CHECK_EQ(c.result, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    close(ends[1]);
}

/* The writer was told of room, and finds none: it must not begin to wait under the close. */
COIL_TEST(descriptor, a_writer_that_missed_its_room_does_not_wait_again_once_a_close_has_begun)
{
    for (enum call call = CALL_WRITE; call <= CALL_WRITEV; call++) {
        char byte = 'x';
        struct caller c = {.call = call, .buf = &byte, .n = 1};
        struct coil_group g;
        int ends[2];
        int other;

        inside_in_order();
        wire_open(WIRE_PIPE, ends);
        other = dup(ends[1]);
        wire_fill(other);
        c.fd = ends[1];
        coil_group_begin(&g);
        caller_start(&g, &c);
        wire_drain(ends[0]);
        inside_reap(1);
        wire_fill(other);
        if (!c.answered) { /* with epoll the write was made when there was room */
            CHECK_EQ(coil_close(ends[1]), 0);
            CHECK(c.answered);
            CHECK(c.result == -EBADF || c.result == 1);
        }
        CHECK_EQ(coil_group_end(&g, 0), 0);
        close(other);
        close(ends[0]);
    }
}

struct parts {
    int fd;
    bool sends;
    size_t count;
    ssize_t result;
    bool answered;
};

static char large[1 << 20];

static int do_parts(void *arg)
{
    struct parts *p = arg;

    if (p->sends)
        p->result = coil_send_all(p->fd, large, sizeof(large), 0, &p->count);
    else
        p->result = coil_recv(p->fd, large, sizeof(large), MSG_WAITALL);
    p->answered = true;
    return 0;
}

/* Everybody gets as far as they can. */
static void get_going(void)
{
    for (int i = 0; i < 4; i++) {
        coil_yield_shielded();
        inside_look();
    }
}

COIL_TEST(descriptor, a_call_of_many_parts_ends_with_the_close_and_says_how_far_it_got)
{
    for (int sends = 0; sends < 2; sends++) {
        struct parts p = {.sends = sends};
        struct coil_group g;
        int ends[2];
        size_t at_peer;

        inside_in_order();
        wire_open(WIRE_UNIX, ends);
        p.fd = ends[0];
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, do_parts, &p), 0);
        get_going();
        if (sends)
            at_peer = wire_drain(ends[1]);
        else
            CHECK_EQ(write(ends[1], "abc", 3), 3);
        get_going();
        CHECK_EQ(coil_close(ends[0]), 0);
        CHECK(p.answered);
        if (sends) {
            CHECK_EQ(p.result, -EBADF);
            CHECK_EQ(p.count, at_peer + wire_drain(ends[1]));
        } else {
            CHECK_EQ(p.result, 3);
        }
        CHECK_EQ(coil_group_end(&g, 0), 0);
        close(ends[1]);
    }
}

/* --- Closing what is closed, or about to be ----------------------------------------------------*/

COIL_TEST(descriptor, closing_what_is_closed_is_ebadf)
{
    int ends[2];

    wire_open(WIRE_UNIX, ends);
    CHECK_EQ(coil_send(ends[0], "x", 1, 0), 1);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[0]), -EBADF);
    CHECK_EQ(coil_close(ends[1]), 0); /* never used here */
    CHECK_EQ(coil_close(ends[1]), -EBADF);
    CHECK_EQ(coil_close(-1), -EBADF);
}

/* With one pool thread, and in order: what comes second shall find it taken. */
#define POOL_TEST(name_)                                                                           \
    static void name_##_body(void);                                                                \
    Test(descriptor, name_)                                                                        \
    {                                                                                              \
        struct coil_loop_options options = harness_options();                                      \
                                                                                                   \
        options.blocking_threads = 1;                                                              \
        options.shuffle_seed = 0;                                                                  \
        harness_run(&options, name_##_body);                                                       \
    }                                                                                              \
    static void name_##_body(void)

struct closing {
    int fd;
    int result;
    bool answered;
};

static int close_it(void *arg)
{
    struct closing *c = arg;

    c->result = coil_close(c->fd);
    c->answered = true;
    return 0;
}

POOL_TEST(a_close_waits_for_a_thread_that_uses_the_descriptor_and_meanwhile_nobody_else_may)
{
    struct folder f;
    struct opening o = {.path = "fifo", .flags = O_RDONLY};
    struct closing c = {.fd = -1};
    struct coil_group g;
    char entries[256];

    folder_open(&f);
    o.dirfd = c.fd = f.fd;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, opening_run, &o), 0);
    coil_yield_shielded();
    inside_await_taken_up();
    CHECK_EQ(coil_group_spawn(&g, close_it, &c), 0);
    coil_scope_cancel(coil_group_scope(&g), "a close is shielded");
    for (int i = 0; i < 100; i++)
        coil_yield_shielded();
    CHECK(!c.answered);
    CHECK(fcntl(f.fd, F_GETFD) >= 0);
    CHECK_EQ(coil_close(f.fd), -EBADF);
    CHECK_EQ(coil_forget(f.fd), -EBADF);
    folder_release(&f);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 0);
    CHECK(o.result >= 0);
    CHECK_EQ(coil_getdents(f.fd, entries, sizeof(entries)), -EBADF);
    CHECK_EQ(coil_close(o.result), 0);
    f.fd = -1;
    folder_close(&f);
}

static int sync_it(void *arg)
{
    struct closing *c = arg;

    c->result = coil_fsync(c->fd);
    c->answered = true;
    return 0;
}

POOL_TEST(closing_wakes_who_is_queued_for_a_thread_and_its_call_does_not_happen)
{
    struct folder f;
    struct opening busy, queued;
    struct closing synced = {.fd = -1};
    struct coil_group g, inner;

    folder_open(&f);
    busy = (struct opening){.dirfd = AT_FDCWD, .path = f.fifo, .flags = O_RDONLY};
    queued = (struct opening){.dirfd = f.fd, .path = "file", .flags = O_CREAT | O_RDWR};
    synced.fd = f.fd;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, opening_run, &busy), 0);
    coil_yield_shielded();
    inside_await_taken_up();
    coil_group_begin(&inner);
    CHECK_EQ(coil_group_spawn(&inner, opening_run, &queued), 0);
    CHECK_EQ(coil_group_spawn(&inner, sync_it, &synced), 0);
    for (int i = 0; i < 4; i++)
        coil_yield_shielded();
    CHECK_EQ(coil_close(f.fd), 0);
    CHECK(queued.answered && synced.answered);
    CHECK_EQ(queued.result, -EBADF);
    CHECK_EQ(synced.result, -EBADF);
    CHECK_EQ(coil_group_end(&inner, 0), 0);
    CHECK(!busy.answered);
    CHECK_EQ(access(f.file, F_OK), -1);
    folder_release(&f);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_close(busy.result), 0);
    f.fd = -1;
    folder_close(&f);
}

/* In libc's stead. */
static int close_error;
static int closes;
static int close_held = -2; /* atomic: closing this one has to wait; -2: none */

int close(int fd)
{
    int r;

    while (__atomic_load_n(&close_held, __ATOMIC_ACQUIRE) == fd)
        sched_yield();
    r = (int)syscall(SYS_close, fd);
    closes++;
    if (r == 0 && close_error) {
        errno = close_error;
        return -1;
    }
    return r;
}

/* Waits until a thread would take up a close at once. */
static void await_thread(void)
{
    while (!coil__pool_has_room(&coil__here.loop->pool))
        sched_yield();
}

static void hold_close(int fd)
{
    await_thread();
    __atomic_store_n(&close_held, fd, __ATOMIC_RELEASE);
}

static void let_close(void)
{
    __atomic_store_n(&close_held, -2, __ATOMIC_RELEASE);
}

static int read_it(void *arg)
{
    struct closing *c = arg;
    char byte;

    c->result = (int)coil_read(c->fd, &byte, 1);
    c->answered = true;
    return 0;
}

POOL_TEST(what_waits_for_a_thread_to_close_it_is_not_met_again)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 1};
    struct closing closing = {.fd = -1}, reading = {.fd = -1};
    struct coil_stats stats;
    struct coil_group g;
    int ends[2];

    wire_open(WIRE_TCP, ends);
    CHECK_EQ(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    CHECK_EQ(coil_send(ends[0], "x", 1, 0), 1); /* known here */
    closing.fd = reading.fd = ends[0];
    hold_close(ends[0]);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, close_it, &closing), 0);
    CHECK_EQ(coil_group_spawn(&g, read_it, &reading), 0);
    for (int i = 0; i < 4; i++)
        coil_yield_shielded();
    CHECK(!closing.answered);
    CHECK(reading.answered);
    CHECK_EQ(reading.result, -EBADF);
    CHECK_EQ(coil_close(ends[0]), -EBADF);
    CHECK_EQ(coil_forget(ends[0]), -EBADF);
    let_close();
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(closing.result, 0);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.descriptors, 0);
    close(ends[1]);
}

/* The number is free again before we have heard of it. */
POOL_TEST(whoever_gets_the_number_while_the_close_has_not_answered_is_met)
{
    for (int closes_it = 0; closes_it < 2; closes_it++) {
        struct closing closing;
        struct coil_group g;
        char bytes[2] = "..";
        int fd = open("/proc/self/status", O_RDONLY);
        int ends[2];

        CHECK_EQ(coil_wait_readable(fd), 0); /* known here */
        closing = (struct closing){.fd = fd};
        hold_close(fd);
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, close_it, &closing), 0);
        coil_yield_shielded();
        let_close();
        inside_await_mail(); /* closed, and not delivered */
        wire_open(WIRE_UNIX, ends);
        ends[0] = move_to(ends[0], fd);
        CHECK_EQ(write(ends[1], "xy", 2), 2);
        if (closes_it)
            CHECK_EQ(coil_close(ends[0]), 0);
        else
            CHECK_EQ(coil_read(ends[0], bytes, 1), 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(closing.result, 0);
        if (!closes_it) {
            CHECK_EQ(coil_read(ends[0], bytes + 1, 1), 1);
            CHECK_EQ(memcmp(bytes, "xy", 2), 0);
            CHECK_EQ(coil_close(ends[0]), 0);
        }
        CHECK_EQ(fcntl(fd, F_GETFD), -1);
        close(ends[1]);
    }
}

/* Linux has let go of the number whatever it says, and may have given it to somebody else. */
POOL_TEST(a_close_that_fails_is_not_done_twice)
{
    static const int errors[] = {EAGAIN, ENOMEM, EIO, EINTR};

    for (size_t i = 0; i < count_of(errors); i++) {
        int fd = open("/proc/self/status", O_RDONLY);
        int r;

        CHECK_EQ(coil_wait_readable(fd), 0); /* known here */
        await_thread();                      /* a thread is to do it */
        close_error = errors[i];
        closes = 0;
        r = coil_close(fd);
        close_error = 0;
        CHECK_EQ(closes, 1);
        CHECK_EQ(r, errors[i] == EINTR ? 0 : -errors[i]);
        CHECK_EQ(fcntl(fd, F_GETFD), -1);
    }
}

COIL_TEST(descriptor, a_close_works_in_a_cancelled_task)
{
    char byte = '.';
    struct caller c = {.call = CALL_READ, .buf = &byte, .n = 1};
    struct coil_group g;
    struct coil_scope s;
    int ends[2];

    wire_open(WIRE_UNIX, ends);
    c.fd = ends[0];
    coil_group_begin(&g);
    caller_start(&g, &c);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_close(ends[0]), 0); /* and waits for the reader */
    CHECK(c.answered);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, -EBADF);
    close(ends[1]);
}

/* --- The same number, another file -------------------------------------------------------------*/

COIL_TEST(descriptor, a_number_closed_and_used_again_is_a_new_descriptor)
{
    int number = -1;

    for (int i = 0; i < 60; i++) {
        enum wire wire = (enum wire)(i % WIRE_COUNT);
        char byte = '.';
        struct caller c = {.call = CALL_READ, .buf = &byte, .n = 1};
        struct coil_group g;
        int ends[2];

        wire_open(wire, ends);
        if (number >= 0)
            ends[0] = move_to(ends[0], number);
        number = c.fd = ends[0];
        coil_group_begin(&g);
        caller_start(&g, &c);
        CHECK(!c.answered);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(c.result, 1);
        wire_close(ends);
    }
}

/* Nobody told coil; but it made the next descriptor of that number itself, and so it knows. */
COIL_TEST(descriptor, a_number_closed_behind_coils_back_is_new_when_accept_makes_it_again)
{
    struct sockaddr_in addr;
    int listener = wire_listen(8, &addr);
    int clients[2];
    int fds[2];
    char byte = '.';
    struct caller c = {.call = CALL_RECV, .buf = &byte, .n = 1};
    struct coil_group g;

    clients[0] = wire_connect(&addr);
    clients[1] = wire_connect(&addr);
    for (int i = 0; i < 2; i++) {
        fds[i] = coil_accept(listener, NULL, NULL);
        CHECK(fds[i] >= 0);
        c = (struct caller){.call = CALL_RECV, .fd = fds[i], .buf = &byte, .n = 1};
        coil_group_begin(&g);
        caller_start(&g, &c);
        CHECK(!c.answered);
        CHECK_EQ(send(clients[i], "x", 1, 0), 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(c.result, 1);
        if (i == 0)
            close(fds[0]);
    }
    CHECK_EQ(fds[1], fds[0]);
    CHECK_EQ(coil_close(fds[1]), 0);
    close(clients[0]);
    close(clients[1]);
    CHECK_EQ(coil_close(listener), 0);
}

static int wait_for_a_byte(int fd, int peer)
{
    char byte = '.';
    struct caller c = {.call = CALL_READ, .fd = fd, .buf = &byte, .n = 1};
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_set_deadline(coil_group_scope(&g), coil_now() + PATIENCE_NS);
    caller_start(&g, &c);
    CHECK(!c.answered);
    CHECK_EQ(write(peer, "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    return (int)c.result;
}

COIL_TEST(descriptor, a_number_closed_behind_coils_back_is_new_when_open_or_socket_makes_it_again)
{
    struct sockaddr_in addr;
    int listener = wire_listen(8, &addr);
    int ends[2];
    int peer;
    int fd;
    int file;

    wire_open(WIRE_UNIX, ends);
    CHECK_EQ(wait_for_a_byte(ends[0], ends[1]), 1);
    close(ends[0]);
    fd = coil_socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(fd, ends[0]);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    peer = accept(listener, NULL, NULL);
    CHECK_EQ(wait_for_a_byte(fd, peer), 1);
    close(fd);
    file = coil_openat(AT_FDCWD, "/dev/zero", O_RDONLY, 0);
    CHECK_EQ(file, fd);
    CHECK_EQ(coil_read(file, large, 100), 100);
    CHECK_EQ(coil_close(file), 0);
    close(peer);
    close(ends[1]);
    close(listener);
}

static enum coil_abort make_socket(void *ctx)
{
    *(int *)ctx = coil_socket(AF_INET, SOCK_STREAM, 0);
    return COIL_ABORT_DONE;
}

static int park_until_made(void *arg)
{
    return coil_park(make_socket, arg, "a socket");
}

COIL_TEST(descriptor,
          a_number_closed_behind_coils_back_is_new_when_an_abort_function_makes_it_again)
{
    struct coil_group g;
    int ends[2];
    int fd = -1;

    wire_open(WIRE_UNIX, ends);
    CHECK_EQ(wait_for_a_byte(ends[0], ends[1]), 1);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, park_until_made, &fd), 0);
    CHECK_EQ(coil_checkpoint(), 0);
    close(ends[0]);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(fd, ends[0]);
    CHECK(!descriptor_known(&coil__here.loop->descriptors, fd));
    CHECK_EQ(coil_close(fd), 0);
    close(ends[1]);
}

/* What one connection was owed must not reach the next of its number: each has its own word. */
COIL_TEST(descriptor, a_stale_wait_never_takes_the_byte_of_a_newer_connection)
{
    int number = -1;

    for (int i = 0; i < 400; i++) {
        char got = '.';
        char word = (char)('a' + i % 26);
        struct caller c = {.call = CALL_READ, .buf = &got, .n = 1};
        struct coil_group g;
        int ends[2];

        wire_open((enum wire)(i % WIRE_COUNT), ends);
        if (number >= 0)
            ends[0] = move_to(ends[0], number);
        number = c.fd = ends[0];
        CHECK_EQ(write(ends[1], &word, 1), 1);
        wire_await(ends[0], POLLIN);
        CHECK_EQ(coil_read(ends[0], &got, 1), 1);
        CHECK_EQ(got, word);
        coil_group_begin(&g);
        caller_start(&g, &c);
        if (i & 1) { /* something is on its way while it is closed, or cancelled and then closed */
            CHECK_EQ(write(ends[1], "!", 1), 1);
            if (i & 2)
                inside_enter();
        }
        if (i & 4)
            coil_scope_cancel(coil_group_scope(&g), NULL);
        CHECK_EQ(coil_close(ends[0]), 0);
        CHECK(c.answered);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        close(ends[1]);
    }
}

/* --- A dup that lives on -----------------------------------------------------------------------*/

static void check_not_disturbed(int fd, int dup_fd, int old_peer, int peer)
{
    char byte = '.';
    struct caller c = {.call = CALL_READ, .fd = fd, .buf = &byte, .n = 1};
    struct coil_group g;

    coil_group_begin(&g);
    caller_start(&g, &c);
    for (int i = 0; i < 200; i++) { /* the old file is as lively as ever */
        CHECK_EQ(write(old_peer, "o", 1), 1);
        coil_yield_shielded();
        CHECK_EQ(wire_drain(dup_fd), 1);
    }
    CHECK(!c.answered);
    CHECK_EQ(write(peer, "n", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 1);
    CHECK_EQ(byte, 'n');
}

COIL_TEST(descriptor, a_dup_that_goes_on_firing_disturbs_nobody_after_a_close)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int old[2];
        int new[2];
        int other;

        wire_open(wire, old);
        CHECK_EQ(wait_for_a_byte(old[0], old[1]), 1);
        other = dup(old[0]);
        CHECK_EQ(coil_close(old[0]), 0);
        wire_open(wire, new);
        new[0] = move_to(new[0], old[0]);
        check_not_disturbed(new[0], other, old[1], new[1]);
        wire_close(new);
        close(other);
        close(old[1]);
    }
}

COIL_TEST(descriptor,
          a_dup_that_goes_on_firing_disturbs_nobody_though_its_number_was_closed_plainly)
{
    struct sockaddr_in addr;
    int listener = wire_listen(8, &addr);
    int first = wire_connect(&addr);
    int fd = coil_accept(listener, NULL, NULL);
    int other;
    int second;
    int again;

    CHECK_EQ(wait_for_a_byte(fd, first), 1);
    other = dup(fd);
    close(fd);
    second = wire_connect(&addr);
    CHECK_EQ(second, fd); /* the lowest free number; we want accept to have it */
    second = dup(second);
    close(fd);
    again = coil_accept(listener, NULL, NULL);
    CHECK_EQ(again, fd);
    check_not_disturbed(again, other, first, second);
    close(first);
    wire_await(other, POLLRDHUP);
    inside_look();
    CHECK_EQ(descriptor_known(&coil__here.loop->descriptors, again)->sticky, 0); /* not its end */
    CHECK_EQ(coil_close(again), 0);
    CHECK_EQ(coil_close(listener), 0);
    close(other);
    close(second);
}

COIL_TEST(descriptor, a_file_that_comes_back_to_its_number_is_waited_for_again)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++)
        for (int plainly = 0; plainly < 2; plainly++) {
            int ends[2];
            int other;

            wire_open(wire, ends);
            CHECK_EQ(wait_for_a_byte(ends[0], ends[1]), 1);
            other = dup(ends[0]);
            if (plainly) {
                CHECK_EQ(coil_forget(ends[0]), 0);
                close(ends[0]);
            } else {
                CHECK_EQ(coil_close(ends[0]), 0);
            }
            ends[0] = move_to(other, ends[0]);
            CHECK_EQ(wait_for_a_byte(ends[0], ends[1]), 1);
            wire_close(ends);
        }
}

COIL_TEST(descriptor, two_numbers_of_one_file_have_a_reader_each)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        char bytes[2] = "..";
        struct caller callers[2];
        struct coil_group g;
        int ends[2];
        int fds[2];

        wire_open(wire, ends);
        fds[0] = ends[0];
        fds[1] = dup(ends[0]);
        coil_group_begin(&g);
        for (int i = 0; i < 2; i++) {
            callers[i] = (struct caller){.call = CALL_READ, .fd = fds[i], .buf = &bytes[i], .n = 1};
            caller_start(&g, &callers[i]);
        }
        CHECK_EQ(write(ends[1], "xy", 2), 2);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(bytes[0] + bytes[1], 'x' + 'y');

        /* And closing one leaves the other's reader where it is. */
        callers[1].answered = false;
        coil_group_begin(&g);
        caller_start(&g, &callers[1]);
        CHECK_EQ(coil_close(fds[0]), 0);
        CHECK(!callers[1].answered);
        CHECK_EQ(write(ends[1], "z", 1), 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(bytes[1], 'z');
        CHECK_EQ(coil_close(fds[1]), 0);
        close(ends[1]);
    }
}

/* --- Forgetting --------------------------------------------------------------------------------*/

COIL_TEST(descriptor, forgetting_wakes_those_who_wait_and_leaves_the_descriptor_open)
{
    char in = '.';
    char out = 'x';
    struct caller reader = {.call = CALL_RECV, .buf = &in, .n = 1};
    struct caller writer = {.call = CALL_SEND, .buf = &out, .n = 1};
    struct coil_group g;
    struct coil_stats stats;
    size_t sum;
    int ends[2];

    wire_open(WIRE_UNIX, ends);
    sum = wire_fill(ends[0]);
    reader.fd = writer.fd = ends[0];
    coil_group_begin(&g);
    caller_start(&g, &reader);
    caller_start(&g, &writer);
    CHECK_EQ(coil_forget(ends[0]), 0);
    CHECK(reader.answered && writer.answered);
    CHECK_EQ(reader.result, -EBADF);
    CHECK_EQ(writer.result, -EBADF);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.descriptors, 0);

    CHECK_EQ(wire_drain(ends[1]), sum);
    CHECK_EQ(write(ends[1], "y", 1), 1);
    CHECK_EQ(read(ends[0], &in, 1), 1);             /* others may have it now */
    CHECK_EQ(wait_for_a_byte(ends[0], ends[1]), 1); /* and coil again */
    wire_close(ends);
}

COIL_TEST(descriptor, forgetting_what_was_never_known_is_nothing)
{
    CHECK_EQ(coil_forget(0), 0);
    CHECK_EQ(coil_forget(123456789), 0);
    CHECK_EQ(coil_forget(-1), 0);
}

/* --- The table ---------------------------------------------------------------------------------*/

COIL_TEST(descriptor, numbers_on_both_sides_of_a_chunk_and_at_the_limit_are_as_good_as_any)
{
    int numbers[] = {DESCRIPTOR_CHUNK - 1,     DESCRIPTOR_CHUNK,     DESCRIPTOR_CHUNK + 1,
                     2 * DESCRIPTOR_CHUNK - 1, 2 * DESCRIPTOR_CHUNK, 0};
    struct rlimit limit;
    int ends[2];

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < 1000000 ? limit.rlim_max : 1000000;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    numbers[5] = (int)limit.rlim_cur - 1;
    for (size_t i = 0; i < count_of(numbers); i++) {
        if (numbers[i] >= (int)limit.rlim_cur)
            continue;
        wire_open(WIRE_UNIX, ends);
        ends[0] = move_to(ends[0], numbers[i]);
        CHECK_EQ(wait_for_a_byte(ends[0], ends[1]), 1);
        CHECK_EQ(coil_write(ends[0], "y", 1), 1);
        wire_close(ends);
    }
}

COIL_TEST(descriptor, thousands_wait_at_once_and_each_gets_its_own)
{
    static struct caller callers[4000];
    static char words[4000];
    static int peers[4000];
    struct rlimit limit;
    struct coil_group g;
    struct coil_stats stats;
    int count = 4000;

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (count > (int)(limit.rlim_cur - 100) / 2)
        count = (int)(limit.rlim_cur - 100) / 2;
    coil_group_begin(&g);
    for (int i = 0; i < count; i++) {
        int ends[2];

        wire_open(i % 2 ? WIRE_PIPE : WIRE_UNIX, ends);
        peers[i] = ends[1];
        callers[i] = (struct caller){.call = CALL_READ, .fd = ends[0], .buf = &words[i], .n = 1};
        CHECK_EQ(coil_group_spawn(&g, caller_run, &callers[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        coil_yield_shielded();
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.descriptors, count);
    CHECK_EQ(stats.operations, count);
    for (int i = count; i-- > 0;) {
        char word = (char)(i * 7);

        CHECK_EQ(write(peers[i], &word, 1), 1);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(callers[i].result, 1);
        CHECK_EQ(words[i], (char)(i * 7));
        CHECK_EQ(coil_close(callers[i].fd), 0);
        close(peers[i]);
    }
}

/* Memory that runs out when told to. */
static bool no_memory;

static void *allocate(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (!size) {
        free(ptr);
        return NULL;
    }
    return no_memory ? NULL : realloc(ptr, size);
}

static void run_out_of_memory(void)
{
    int ends[2];
    int fd;
    char byte;

    wire_open(WIRE_UNIX, ends);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    fd = fcntl(ends[0], F_DUPFD, 3 * DESCRIPTOR_CHUNK);
    CHECK(fd >= 0);
    no_memory = true;
    for (enum call call = 0; call < CALL_COUNT; call++)
        call_check(call, call_now(call, fd, &byte, 1), -ENOMEM);
    CHECK_EQ(coil_fsync(fd), -ENOMEM);
    no_memory = false;
    CHECK_EQ(coil_read(fd, &byte, 1), 1);
    CHECK_EQ(coil_close(fd), 0);
    close(ends[0]);
    close(ends[1]);
}

Test(descriptor, a_descriptor_there_is_no_memory_for_is_enomem_and_nothing_happened)
{
    struct coil_loop_options options = harness_options();

    options.allocate = allocate;
    harness_run(&options, run_out_of_memory);
}
