/* io.c - coil/io.h, call by call: what each answers, and what it leaves alone. */
#define _GNU_SOURCE
#include "inside.h"

#include <arpa/inet.h>
#include <limits.h>
#include <linux/errqueue.h>
#include <linux/sockios.h>
#include <pty.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>

#define PATIENCE_NS (WIRE_PATIENCE_S * COIL_SECOND)

static char big[1 << 20];

/* --- Reading ---------------------------------------------------------------------------------- */

COIL_TEST(io, every_way_of_reading_returns_what_is_there)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int ends[2];

        wire_open(wire, ends);
        for (enum call call = 0; call < CALL_READERS; call++) {
            char buf[8] = "........";
            size_t n = call == CALL_WAIT_READABLE ? 0 : 5;

            if (wire == WIRE_PIPE && !call_is_general(call))
                continue;
            CHECK_EQ(write(ends[1], "seven", 5), 5);
            wire_await(ends[0], POLLIN);
            call_check(call, call_now(call, ends[0], buf, sizeof(buf)), (ssize_t)n);
            if (n)
                CHECK_EQ(memcmp(buf, "seven...", 8), 0);
            else
                CHECK_EQ(wire_drain(ends[0]), 5);
        }
        wire_close(ends);
    }
}

COIL_TEST(io, every_way_of_reading_waits_for_the_first_byte)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int ends[2];

        wire_open(wire, ends);
        for (enum call call = 0; call < CALL_READERS; call++) {
            char byte = '.';
            struct caller c = {.call = call, .fd = ends[0], .buf = &byte, .n = 1};
            struct coil_group g;

            if (wire == WIRE_PIPE && !call_is_general(call))
                continue;
            coil_group_begin(&g);
            caller_start(&g, &c);
            CHECK(!c.answered);
            CHECK_EQ(write(ends[1], "x", 1), 1);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            call_check(call, c.result, call == CALL_WAIT_READABLE ? 0 : 1);
            CHECK_EQ(wire_drain(ends[0]), call == CALL_WAIT_READABLE ? 1 : 0);
        }
        wire_close(ends);
    }
}

COIL_TEST(io, the_rest_of_a_long_message_is_there_for_the_next_read)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int ends[2];
        char buf[4];

        wire_open(wire, ends);
        CHECK_EQ(write(ends[1], "abcdefghij", 10), 10);
        wire_await(ends[0], POLLIN);
        CHECK_EQ(coil_read(ends[0], buf, 4), 4);
        CHECK_EQ(memcmp(buf, "abcd", 4), 0);
        CHECK_EQ(coil_read(ends[0], buf, 4), 4);
        CHECK_EQ(memcmp(buf, "efgh", 4), 0);
        CHECK_EQ(coil_read(ends[0], buf, 4), 2);
        CHECK_EQ(memcmp(buf, "ij", 2), 0);
        wire_close(ends);
    }
}

COIL_TEST(io, the_end_of_a_stream_is_zero_and_stays_zero)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int ends[2];
        char byte;

        wire_open(wire, ends);
        CHECK_EQ(close(ends[1]), 0);
        for (int again = 0; again < 2; again++)
            for (enum call call = 0; call < CALL_READERS; call++)
                if (wire != WIRE_PIPE || call_is_general(call))
                    call_check(call, call_now(call, ends[0], &byte, 1), 0);
        CHECK_EQ(coil_close(ends[0]), 0);
    }
}

COIL_TEST(io, a_reader_that_waits_sees_the_end)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++)
        for (enum call call = 0; call < CALL_READERS; call++) {
            char byte;
            struct caller c = {.call = call, .buf = &byte, .n = 1};
            struct coil_group g;
            int ends[2];

            if (wire == WIRE_PIPE && !call_is_general(call))
                continue;
            wire_open(wire, ends);
            c.fd = ends[0];
            coil_group_begin(&g);
            caller_start(&g, &c);
            CHECK(!c.answered);
            CHECK_EQ(close(ends[1]), 0);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            call_check(call, c.result, 0);
            CHECK_EQ(coil_close(ends[0]), 0);
        }
}

COIL_TEST(io, bytes_that_came_together_with_the_end_are_read_before_it)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++)
        for (int waits = 0; waits < 2; waits++) {
            char buf[64];
            struct caller c = {.call = CALL_READ, .buf = buf, .n = sizeof(buf)};
            struct coil_group g;
            int ends[2];

            wire_open(wire, ends);
            c.fd = ends[0];
            coil_group_begin(&g);
            if (waits)
                caller_start(&g, &c);
            CHECK_EQ(write(ends[1], "the last", 8), 8);
            CHECK_EQ(close(ends[1]), 0);
            if (!waits)
                caller_start(&g, &c);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            CHECK_EQ(c.result, 8); /* short of 64, and yet the next must not wait */
            CHECK_EQ(coil_read(ends[0], buf, sizeof(buf)), 0);
            CHECK_EQ(coil_close(ends[0]), 0);
        }
}

COIL_TEST(io, the_end_after_a_short_read_is_seen)
{
    char buf[64];
    int ends[2];

    wire_open(WIRE_TCP, ends);
    CHECK_EQ(write(ends[1], "abc", 3), 3);
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 3);
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
}

/* A message and the end of it, over and over, on connections that have already been read from:
 * whatever a backend concludes from a short count has to hold here too. */
COIL_TEST(io, bytes_and_the_end_after_a_read_that_was_short)
{
    for (int i = 0; i < 100; i++) {
        char buf[64];
        struct caller c = {.call = CALL_RECV, .buf = buf, .n = sizeof(buf)};
        struct coil_group g;
        int ends[2];

        wire_open(WIRE_TCP, ends);
        c.fd = ends[0];
        coil_group_begin(&g);
        caller_start(&g, &c);
        CHECK_EQ(write(ends[1], "one", 3), 3);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(c.result, 3);
        CHECK_EQ(write(ends[1], "two", 3), 3);
        CHECK_EQ(close(ends[1]), 0);
        CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 3);
        CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 0);
        CHECK_EQ(coil_close(ends[0]), 0);
    }
}

/* When the news of the end came with the bytes, epoll has nothing more to tell. */
COIL_TEST(io, the_end_after_a_short_read_is_known_and_not_waited_for)
{
    char buf[64];
    struct caller c = {.call = CALL_RECV, .buf = buf, .n = sizeof(buf)};
    struct coil_group g;
    uint64_t switches;
    int ends[2];

    wire_open(WIRE_TCP, ends);
    c.fd = ends[0];
    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK_EQ(write(ends[1], "one", 3), 3);
    CHECK_EQ(close(ends[1]), 0);
    wire_await(ends[0], POLLRDHUP);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 3);
    switches = coil__here.loop->switches;
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 0);
    if (harness_on("epoll"))
        CHECK_EQ(coil__here.loop->switches, switches);
    CHECK_EQ(coil_close(ends[0]), 0);
}

/* The byte behind which there is no memory: a call that is given more stops there, or before. */
static char *edge_of_memory(size_t before)
{
    char *p = mmap(NULL, before + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    CHECK_EQ(mprotect(p + before, 4096, PROT_NONE), 0);
    return p + before;
}

/* Makes fd one that has been waited for. */
static void wait_once(int fd, int peer)
{
    char byte;
    struct caller c = {.call = CALL_RECV, .fd = fd, .buf = &byte, .n = 1};
    struct coil_group g;

    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK_EQ(write(peer, "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 1);
}

static int give_way(void *arg)
{
    const bool *done = arg;

    while (!*done)
        coil_yield_shielded();
    return 0;
}

/* A receive also ends short where the buffer does, and that says nothing of what is left. */
static void receive_badly_and_well(char *edge)
{
    const size_t piece = 40000;
    ssize_t r;
    int ends[2];

    wire_open(WIRE_TCP, ends);
    wait_once(ends[0], ends[1]);
    for (size_t there = piece; there <= 3 * piece; there += piece) {
        const int least = (int)there;

        CHECK_EQ(setsockopt(ends[0], SOL_SOCKET, SO_RCVLOWAT, &least, sizeof(least)), 0);
        CHECK_EQ(write(ends[1], big, piece), piece);
        wire_await(ends[0], POLLIN);
    }
    CHECK_EQ(setsockopt(ends[0], SOL_SOCKET, SO_RCVLOWAT, &(int){1}, sizeof(int)), 0);
    r = coil_recv(ends[0], edge - 70000, 74096, 0);
    CHECK(r == -EFAULT || (r > 0 && r <= 70000)); /* by how the kernel has cut them */
    for (size_t sum = r > 0 ? (size_t)r : 0; sum < 3 * piece; sum += (size_t)r) {
        r = coil_recv(ends[0], big, sizeof(big), 0);
        CHECK(r > 0);
    }
    wire_close(ends);
}

COIL_TEST(io, bytes_behind_a_bad_buffer_are_there_for_the_next_receive)
{
    receive_badly_and_well(edge_of_memory(1 << 20));
}

COIL_TEST(io, bytes_behind_a_bad_buffer_are_there_also_when_the_loop_never_sleeps)
{
    struct coil_group g;
    bool done = false;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, give_way, &done), 0);
    receive_badly_and_well(edge_of_memory(1 << 20));
    done = true;
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static void send_badly_and_well(char *edge)
{
    ssize_t r;
    int ends[2];

    wire_open(WIRE_TCP, ends);
    wait_once(ends[0], ends[1]);
    r = coil_send(ends[0], edge - 100000, 104096, 0);
    CHECK(r == -EFAULT || (r > 0 && r <= 100000));
    CHECK_EQ(coil_send(ends[0], "x", 1, 0), 1);
    wire_close(ends);
}

COIL_TEST(io, room_behind_a_bad_buffer_is_there_for_the_next_send)
{
    send_badly_and_well(edge_of_memory(1 << 20));
}

COIL_TEST(io, room_behind_a_bad_buffer_is_there_also_when_the_loop_never_sleeps)
{
    struct coil_group g;
    bool done = false;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, give_way, &done), 0);
    send_badly_and_well(edge_of_memory(1 << 20));
    done = true;
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* What a backend notes of a receive that waits after a short one does not outlive it. */
COIL_TEST(io, a_receive_after_a_short_one_is_cancelled_without_a_trace)
{
    struct coil_scope s;
    char buf[64];
    int ends[2];

    wire_open(WIRE_TCP, ends);
    wait_once(ends[0], ends[1]);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(write(ends[1], "abc", 3), 3);
        wire_await(ends[0], POLLIN);
        CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 3);
        coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
        CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        CHECK_EQ(coil_sleep(20 * COIL_MILLISECOND), 0);
    }
    wire_close(ends);
}

COIL_TEST(io, reading_nothing_answers_zero_at_once)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        struct coil_scope s;
        int ends[2];
        char byte;

        wire_open(wire, ends);
        coil_scope_begin(&s, coil_now() + PATIENCE_NS);
        CHECK_EQ(coil_read(ends[0], &byte, 0), 0);
        CHECK_EQ(coil_readv(ends[0], NULL, 0), 0);
        if (wire != WIRE_PIPE)
            CHECK_EQ(coil_recv(ends[0], &byte, 0, 0), 0);
        CHECK_EQ(coil_scope_end(&s, 0), 0);
        wire_close(ends);
    }
}

COIL_TEST(io, writing_nothing_answers_zero_at_once)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int ends[2];
        int end = wire == WIRE_PIPE ? 1 : 0;

        wire_open(wire, ends);
        CHECK_EQ(coil_write(ends[end], "", 0), 0);
        CHECK_EQ(coil_writev(ends[end], NULL, 0), 0);
        if (wire != WIRE_PIPE) {
            CHECK_EQ(coil_send(ends[end], "", 0, 0), 0);
            CHECK_EQ(coil_send_all(ends[end], "", 0, 0, NULL), 0);
        }
        CHECK_EQ(wire_drain(ends[1 - end]), 0);
        CHECK_EQ(coil_close(ends[end]), 0);
        CHECK_EQ(close(ends[1 - end]), 0);
    }
}

/* As write and writev have it: the one sends an empty datagram, the other does not. */
COIL_TEST(io, gathering_nothing_sends_no_datagram)
{
    char byte = 'x';
    struct iovec nothing[2] = {{&byte, 0}, {&byte, 0}};
    int ends[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
    for (int count = 0; count < 3; count++)
        CHECK_EQ(coil_writev(ends[0], nothing, count), 0);
    CHECK_EQ(recv(ends[1], &byte, 1, MSG_DONTWAIT), -1);
    CHECK_EQ(coil_write(ends[0], &byte, 0), 0);
    CHECK_EQ(recv(ends[1], &byte, 1, MSG_DONTWAIT), 0);
    wire_close(ends);
}

COIL_TEST(io, a_reset_is_told_by_its_name)
{
    for (int waits = 0; waits < 2; waits++) {
        char byte;
        struct caller c = {.call = CALL_RECV, .buf = &byte, .n = 1};
        struct coil_group g;
        int ends[2];

        wire_open(WIRE_TCP, ends);
        c.fd = ends[0];
        coil_group_begin(&g);
        if (waits)
            caller_start(&g, &c);
        wire_reset(ends[1]);
        wire_await(ends[0], POLLERR);
        if (!waits)
            caller_start(&g, &c);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(c.result, -ECONNRESET);
        CHECK_EQ(coil_close(ends[0]), 0);
    }
}

COIL_TEST(io, bytes_that_were_only_peeked_at_stay)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        char buf[16];
        int ends[2];

        wire_open(wire, ends);
        CHECK_EQ(write(ends[1], "peek", 4), 4);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), MSG_PEEK), 4);
        CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 4);
        CHECK_EQ(memcmp(buf, "peek", 4), 0);
        wire_close(ends);
    }
}

struct all_of {
    int fd;
    char buf[6];
    char *buf_at; /* NULL: buf */
    ssize_t result;
};

static int receive_all_of(void *arg)
{
    struct all_of *a = arg;

    a->result = coil_recv(a->fd, a->buf_at ? a->buf_at : a->buf, sizeof(a->buf), MSG_WAITALL);
    CHECK(a->result < 0 || !coil_task_self()->told_to_stop);
    return 0;
}

COIL_TEST(io, a_receive_that_wants_all_gets_all)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        struct all_of a = {.result = 0};
        struct coil_group g;
        int ends[2];

        wire_open(wire, ends);
        a.fd = ends[0];
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, receive_all_of, &a), 0);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(write(ends[1], &"abcdef"[2 * i], 2), 2);
            wire_await(ends[1], POLLOUT);
            for (int k = 0; k < 4; k++)
                coil_yield_shielded();
        }
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(a.result, 6);
        CHECK_EQ(memcmp(a.buf, "abcdef", 6), 0);
        wire_close(ends);
    }
}

struct patient {
    struct coil_scope scope;
    struct all_of all;
    int next; /* what the checkpoint after it said */
};

static int receive_all_in_a_scope(void *arg)
{
    struct patient *p = arg;

    coil_scope_begin_prepared(&p->scope, COIL_FOREVER);
    (void)receive_all_of(&p->all);
    p->next = coil_checkpoint();
    return coil_scope_end(&p->scope, p->next);
}

/* What has come is the answer, and the cancellation is met at the next checkpoint. */
COIL_TEST(io, a_receive_that_wants_all_and_is_cancelled_counts_what_came)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++)
        for (size_t came = 0; came <= 3; came += 3) {
            struct patient p = {.all = {.result = 0}};
            struct coil_group g;
            char buf[8];
            int ends[2];

            wire_open(wire, ends);
            p.all.fd = ends[0];
            coil_scope_prepare(&p.scope);
            CHECK_EQ(write(ends[1], "abc", came), came);
            if (came)
                wire_await(ends[0], POLLIN);
            coil_group_begin(&g);
            CHECK_EQ(coil_group_spawn(&g, receive_all_in_a_scope, &p), 0);
            do
                coil_yield_shielded();
            while (came && p.all.buf[2] != 'c');
            CHECK_EQ(p.all.result, 0); /* it waits for the rest */
            coil_scope_cancel(&p.scope, NULL);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            CHECK_EQ(p.all.result, came ? (ssize_t)came : -ECANCELED);
            CHECK_EQ(p.next, -ECANCELED);
            CHECK_EQ(write(ends[1], "def", 3), 3);
            CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 3);
            CHECK_EQ(memcmp(buf, "def", 3), 0);
            wire_close(ends);
        }
}

COIL_TEST(io, a_receive_that_wants_all_gets_what_there_was_before_the_end)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        struct all_of a = {.result = 0};
        struct coil_group g;
        int ends[2];

        wire_open(wire, ends);
        a.fd = ends[0];
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, receive_all_of, &a), 0);
        CHECK_EQ(write(ends[1], "abc", 3), 3);
        for (int k = 0; k < 4; k++)
            coil_yield_shielded();
        CHECK_EQ(close(ends[1]), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(a.result, 3);
        CHECK_EQ(coil_close(ends[0]), 0);
    }
}

COIL_TEST(io, a_reset_amid_a_receive_that_wants_all_is_not_taken_for_the_end)
{
    struct all_of a = {.result = 0};
    struct coil_group g;
    int ends[2];

    wire_open(WIRE_TCP, ends);
    a.fd = ends[0];
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, receive_all_of, &a), 0);
    CHECK_EQ(write(ends[1], "abc", 3), 3);
    wire_await(ends[0], POLLIN);
    for (int k = 0; k < 4; k++)
        coil_yield_shielded();
    wire_reset(ends[1]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(a.result, 3);
    CHECK_EQ(coil_recv(ends[0], a.buf, 0, 0), 0); /* these two receive nothing of the stream */
    CHECK_EQ(coil_recv(ends[0], a.buf, 1, MSG_OOB), -EINVAL);
    CHECK_EQ(coil_recv(ends[0], a.buf, sizeof(a.buf), 0), -ECONNRESET);
    CHECK_EQ(coil_close(ends[0]), 0);
}

/* Is a buffer of 6 bytes filled as far as it goes, though only 3 of them are there? */
static bool buffers_may_end_early(char *buf)
{
    int ends[2];
    ssize_t r;

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    CHECK_EQ(write(ends[1], "abc", 3), 3);
    r = recv(ends[0], buf, 6, 0);
    wire_close(ends);
    return r == 3;
}

/* The system would say it of the call that had it, and not of the next. */
COIL_TEST_NOT_ON_SIM(io,
                     a_buffer_that_ends_amid_a_receive_that_wants_all_is_not_the_next_ones_fault,
                     "where a receive is cut is its own choice")
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(two != MAP_FAILED);
    CHECK_EQ(munmap(two + page, page), 0);
    if (!buffers_may_end_early(two + page - 3))
        SKIP("no part of a buffer that ends early is filled here (qemu-user)");
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        struct all_of a = {.result = 0};
        struct coil_group g;
        int ends[2];

        wire_open(wire, ends);
        a.fd = ends[0];
        a.buf_at = two + page - 3;
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, receive_all_of, &a), 0);
        CHECK_EQ(write(ends[1], "abc", 3), 3);
        wire_await(ends[0], POLLIN);
        for (int k = 0; k < 4; k++)
            coil_yield_shielded();
        CHECK_EQ(write(ends[1], "def", 3), 3);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(a.result, 3);
        CHECK_EQ(coil_recv(ends[0], a.buf, sizeof(a.buf), 0), 3);
        CHECK_EQ(memcmp(a.buf, "def", 3), 0);
        wire_close(ends);
    }
    CHECK_EQ(munmap(two, page), 0);
}

COIL_TEST(io, urgent_data_is_one_byte_also_for_who_wants_all)
{
    char buf[16];
    int ends[2];

    wire_open(WIRE_TCP, ends);
    CHECK_EQ(send(ends[1], "!", 1, MSG_OOB), 1);
    wire_await(ends[0], POLLPRI);
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), MSG_OOB | MSG_WAITALL), 1);
    CHECK_EQ(send(ends[1], "in line", 7, 0), 7);
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 7);
    wire_close(ends);
}

COIL_TEST_WITH_(io, s4_2_a_receive_that_wants_all_and_is_cancelled_keeps_what_it_has,
                harness_not_late("it cancels when the bytes should have come"))
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        struct all_of a = {.result = 0};
        struct coil_group g;
        int ends[2];

        wire_open(wire, ends);
        a.fd = ends[0];
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, receive_all_of, &a), 0);
        CHECK_EQ(write(ends[1], "abc", 3), 3);
        wire_await(ends[0], POLLIN);
        for (int k = 0; k < 4; k++)
            coil_yield_shielded();
        coil_scope_cancel(coil_group_scope(&g), NULL);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(a.result, 3);
        CHECK_EQ(memcmp(a.buf, "abc", 3), 0);
        wire_close(ends);
    }
}

/* "Never -EAGAIN" holds for those who ask for it, too. */
COIL_TEST(io, a_receive_that_says_dontwait_waits)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        struct coil_scope s;
        int ends[2];
        char byte;

        wire_open(wire, ends);
        coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
        CHECK_EQ(coil_recv(ends[0], &byte, 1, MSG_DONTWAIT), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        wire_close(ends);
    }
}

COIL_TEST(io, urgent_data_stops_a_receive_but_only_once)
{
    char buf[16];
    int ends[2];

    wire_open(WIRE_TCP, ends);
    CHECK_EQ(send(ends[1], "before", 6, 0), 6);
    CHECK_EQ(send(ends[1], "!", 1, MSG_OOB), 1);
    CHECK_EQ(send(ends[1], "after", 5, 0), 5);
    wire_await(ends[0], POLLPRI);
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0),
             6); /* up to the mark, and that proves nothing */
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), MSG_OOB), 1);
    CHECK_EQ(buf[0], '!');
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 5);
    CHECK_EQ(memcmp(buf, "after", 5), 0);
    wire_close(ends);
}

/* Waits until all that was sent has come to the other side's kernel. */
static void await_arrival(int fd)
{
    int64_t until_ns = coil_now() + PATIENCE_NS;
    int left = 1;

    while (left && coil_now() < until_ns) {
        CHECK_EQ(ioctl(fd, SIOCOUTQ, &left), 0);
        sched_yield();
    }
    CHECK_EQ(left, 0);
}

COIL_TEST(io, urgent_data_that_comes_while_one_waits_is_no_end)
{
    char buf[16];
    struct caller c = {.call = CALL_RECV, .buf = buf, .n = sizeof(buf)};
    struct coil_group g;
    int ends[2];

    wire_open(WIRE_TCP, ends);
    c.fd = ends[0];
    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK_EQ(send(ends[1], "!", 1, MSG_OOB), 1);
    await_arrival(ends[1]);
    for (int i = 0; i < 4; i++)
        coil_yield_shielded();
    CHECK(!c.answered); /* nothing in line to receive */
    CHECK_EQ(send(ends[1], "in line", 7, 0), 7);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 7);
    wire_close(ends);
}

COIL_TEST(io, asking_for_urgent_data_where_there_is_none_does_not_wait)
{
    struct coil_scope s;
    char buf[16];
    int ends[2];

    wire_open(WIRE_TCP, ends);
    coil_scope_begin(&s, coil_now() + PATIENCE_NS);
    CHECK_EQ(coil_recv(ends[0], buf, 1, MSG_OOB), -EINVAL);
    CHECK_EQ(send(ends[1], "x", 1, 0), 1);
    CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 1); /* and now it is known to be empty */
    CHECK_EQ(coil_recv(ends[0], buf, 1, MSG_OOB), -EINVAL);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    wire_close(ends);
}

COIL_TEST(io, a_read_is_scattered_and_a_write_is_gathered)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        char text[] = "abcdefgh";
        char a[2], b[3], c[9];
        struct iovec out[] = {{text, 2}, {text, 0}, {text + 2, 6}};
        struct iovec in[] = {{a, 2}, {b, 3}, {c, 9}};
        int ends[2];
        int from = wire == WIRE_PIPE ? 1 : 0;

        wire_open(wire, ends);
        CHECK_EQ(coil_writev(ends[from], out, 3), 8);
        CHECK_EQ(coil_readv(ends[1 - from], in, 3), 8);
        CHECK_EQ(memcmp(a, "ab", 2), 0);
        CHECK_EQ(memcmp(b, "cde", 3), 0);
        CHECK_EQ(memcmp(c, "fgh", 3), 0);
        CHECK_EQ(coil_close(ends[0]), 0);
        CHECK_EQ(coil_close(ends[1]), 0);
    }
}

/* --- Lengths, flags, and what is not there ---------------------------------------------------- */

COIL_TEST(io, a_length_beyond_ssize_max_is_refused)
{
    const size_t beyond = (size_t)SSIZE_MAX + 1;
    size_t sent = 7;
    int ends[2];
    char byte = 'x';

    wire_open(WIRE_UNIX, ends);
    CHECK_EQ(coil_read(ends[0], &byte, beyond), -EINVAL);
    CHECK_EQ(coil_recv(ends[0], &byte, beyond, 0), -EINVAL);
    CHECK_EQ(coil_recvfrom(ends[0], &byte, beyond, 0, NULL, NULL), -EINVAL);
    CHECK_EQ(coil_pread(ends[0], &byte, beyond, 0), -EINVAL);
    CHECK_EQ(coil_write(ends[0], &byte, beyond), -EINVAL);
    CHECK_EQ(coil_send(ends[0], &byte, beyond, 0), -EINVAL);
    CHECK_EQ(coil_sendto(ends[0], &byte, beyond, 0, NULL, 0), -EINVAL);
    CHECK_EQ(coil_pwrite(ends[0], &byte, beyond, 0), -EINVAL);
    CHECK_EQ(coil_send_all(ends[0], &byte, beyond, 0, &sent), -EINVAL);
    CHECK_EQ(sent, 0);
    wire_close(ends);
}

COIL_TEST(io, a_vector_that_is_too_long_is_refused)
{
    static struct iovec many[1025];
    struct iovec huge[] = {{big, SSIZE_MAX}, {big, 1}};
    int ends[2];

    wire_open(WIRE_PIPE, ends);
    for (int i = 0; i < 1025; i++)
        many[i] = (struct iovec){big + i, 1};
    CHECK_EQ(coil_readv(ends[0], many, 1025), -EINVAL);
    CHECK_EQ(coil_writev(ends[1], many, 1025), -EINVAL);
    CHECK_EQ(coil_readv(ends[0], many, -1), -EINVAL);
    CHECK_EQ(coil_writev(ends[1], many, -1), -EINVAL);
    CHECK_EQ(coil_readv(ends[0], huge, 2), -EINVAL);
    CHECK_EQ(coil_writev(ends[1], huge, 2), -EINVAL);
    CHECK_EQ(coil_writev(ends[1], many, 1024), 1024);
    CHECK_EQ(coil_readv(ends[0], many, 1024), 1024);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
}

COIL_TEST(io, a_message_of_too_many_parts_is_refused_alike)
{
    static struct iovec many[1025];
    struct msghdr msg = {.msg_iov = many, .msg_iovlen = 1025};
    int ends[2];

    wire_open(WIRE_UNIX, ends);
    for (int i = 0; i < 1025; i++)
        many[i] = (struct iovec){big + i, 1};
    CHECK_EQ(coil_sendmsg(ends[0], &msg, 0), -EMSGSIZE); /* as the system calls it */
    CHECK_EQ(coil_recvmsg(ends[0], &msg, 0), -EMSGSIZE);
    wire_close(ends);
}

/* read(2) stops at 0x7ffff000 bytes, and an io_uring entry has but 32 bits for a length. */
COIL_TEST(io, a_length_of_gigabytes_is_cut_and_not_refused)
{
    const size_t size = UINT64_C(5) << 30;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int ends[2];

    CHECK(memory != MAP_FAILED);
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        wire_open(wire, ends);
        CHECK_EQ(write(ends[1], "abc", 3), 3);
        CHECK_EQ(coil_read(ends[0], memory, size), 3);
        if (wire != WIRE_PIPE) {
            CHECK_EQ(write(ends[1], "abc", 3), 3);
            CHECK_EQ(coil_recvfrom(ends[0], memory, size, 0, NULL, NULL), 3);
        }
        wire_close(ends);
    }
    munmap(memory, size);
}

COIL_TEST(io, a_descriptor_that_is_not_open_is_ebadf_for_every_call)
{
    int ends[2];
    char byte = 0;
    int gone[] = {-1, INT_MIN, 0, INT_MAX};

    CHECK_EQ(pipe(ends), 0);
    close(ends[0]);
    close(ends[1]);
    gone[2] = ends[1];
    for (size_t i = 0; i < 4; i++) {
        struct sockaddr_in addr = {.sin_family = AF_INET};

        for (enum call call = 0; call < CALL_COUNT; call++)
            call_check(call, call_now(call, gone[i], &byte, 1), -EBADF);
        CHECK_EQ(coil_pread(gone[i], &byte, 1, 0), -EBADF);
        CHECK_EQ(coil_pwrite(gone[i], &byte, 1, 0), -EBADF);
        CHECK_EQ(coil_connect(gone[i], (struct sockaddr *)&addr, sizeof(addr)), -EBADF);
        CHECK_EQ(coil_bind(gone[i], (struct sockaddr *)&addr, sizeof(addr)), -EBADF);
        CHECK_EQ(coil_listen(gone[i], 1), -EBADF);
        CHECK_EQ(coil_shutdown(gone[i], SHUT_RD), -EBADF);
        CHECK_EQ(coil_close(gone[i]), -EBADF);
    }
}

COIL_TEST(io, the_wrong_end_of_a_pipe_is_ebadf)
{
    int ends[2];
    char byte = 0;

    wire_open(WIRE_PIPE, ends);
    CHECK_EQ(coil_read(ends[1], &byte, 1), -EBADF);
    CHECK_EQ(coil_write(ends[0], &byte, 1), -EBADF);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
}

COIL_TEST(io, a_socket_call_on_no_socket_is_enotsock)
{
    int ends[2];
    char byte = 0;
    struct sockaddr_in addr = {.sin_family = AF_INET};

    wire_open(WIRE_PIPE, ends);
    CHECK_EQ(coil_recv(ends[0], &byte, 1, 0), -ENOTSOCK);
    CHECK_EQ(coil_recvfrom(ends[0], &byte, 1, 0, NULL, NULL), -ENOTSOCK);
    CHECK_EQ(coil_accept(ends[0], NULL, NULL), -ENOTSOCK);
    CHECK_EQ(coil_send(ends[1], &byte, 1, 0), -ENOTSOCK);
    CHECK_EQ(coil_sendto(ends[1], &byte, 1, 0, NULL, 0), -ENOTSOCK);
    CHECK_EQ(coil_connect(ends[1], (struct sockaddr *)&addr, sizeof(addr)), -ENOTSOCK);
    CHECK_EQ(coil_shutdown(ends[0], SHUT_RD), -ENOTSOCK);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
}

COIL_TEST(io, a_buffer_that_is_nowhere_is_efault)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int ends[2];
        int end = wire == WIRE_PIPE ? 1 : 0;

        wire_open(wire, ends);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        wire_await(ends[0], POLLIN);
        CHECK_EQ(coil_read(ends[0], NULL, 1), -EFAULT);
        CHECK_EQ(coil_write(ends[end], NULL, 1), -EFAULT);
        CHECK_EQ(wire_drain(ends[0]), 1);
        CHECK_EQ(coil_close(ends[end]), 0);
        if (end)
            CHECK_EQ(coil_close(ends[0]), 0);
        else
            close(ends[1]);
    }
}

COIL_TEST(io, an_offset_where_there_is_no_position_is_espipe)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        struct coil_scope s;
        int ends[2];
        int end = wire == WIRE_PIPE ? 1 : 0;
        char byte = 'x';

        wire_open(wire, ends);
        coil_scope_begin(&s, coil_now() + PATIENCE_NS);
        CHECK_EQ(coil_pread(ends[0], &byte, 1, 0), -ESPIPE);
        CHECK_EQ(coil_pwrite(ends[end], &byte, 1, 0), -ESPIPE);
        CHECK_EQ(write(ends[1], "y", 1), 1);
        wire_await(ends[0], POLLIN);
        CHECK_EQ(coil_pread(ends[0], &byte, 1, 0), -ESPIPE);
        CHECK_EQ(coil_scope_end(&s, 0), 0);
        CHECK_EQ(wire_drain(ends[0]), 1); /* the one we wrote, and no other */
        CHECK_EQ(coil_close(ends[0]), 0);
        CHECK_EQ(coil_forget(ends[1]), 0);
        close(ends[1]);
    }
}

/* --- Writing ---------------------------------------------------------------------------------- */

COIL_TEST(io, every_way_of_writing_arrives)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int ends[2];
        int from = wire == WIRE_PIPE ? 1 : 0;

        wire_open(wire, ends);
        for (enum call call = CALL_ACCEPT + 1; call < CALL_COUNT; call++) {
            char out[] = "text";
            char in[8];

            if (wire == WIRE_PIPE && !call_is_general(call))
                continue;
            call_check(call, call_now(call, ends[from], out, 4),
                       call == CALL_SEND_ALL || call == CALL_WAIT_WRITABLE ? 0 : 4);
            if (call == CALL_WAIT_WRITABLE)
                continue;
            CHECK_EQ(read(ends[1 - from], in, sizeof(in)), 4);
            CHECK_EQ(memcmp(in, "text", 4), 0);
        }
        CHECK_EQ(coil_close(ends[from]), 0);
        close(ends[1 - from]);
    }
}

COIL_TEST(io, every_way_of_writing_waits_for_room)
{
    for (enum wire wire = WIRE_PIPE; wire <= WIRE_UNIX; wire++)
        for (enum call call = CALL_ACCEPT + 1; call < CALL_COUNT; call++) {
            char byte = 'x';
            struct caller c = {.call = call, .buf = &byte, .n = 1};
            struct coil_group g;
            int ends[2];
            int from = wire == WIRE_PIPE ? 1 : 0;
            size_t sum;
            size_t drained;

            if (wire == WIRE_PIPE && !call_is_general(call))
                continue;
            wire_open(wire, ends);
            sum = wire_fill(ends[from]);
            c.fd = ends[from];
            coil_group_begin(&g);
            caller_start(&g, &c);
            CHECK(!c.answered);
            drained = wire_drain(ends[1 - from]);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            call_check(call, c.result, call == CALL_SEND_ALL || call == CALL_WAIT_WRITABLE ? 0 : 1);
            drained += wire_drain(ends[1 - from]);
            CHECK_EQ(drained, sum + (call == CALL_WAIT_WRITABLE ? 0 : 1));
            CHECK_EQ(coil_close(ends[from]), 0);
            close(ends[1 - from]);
        }
}

COIL_TEST(io, a_write_into_little_room_is_short)
{
    for (enum wire wire = WIRE_PIPE; wire <= WIRE_UNIX; wire++) {
        int ends[2];
        int from = wire == WIRE_PIPE ? 1 : 0;
        ssize_t n;

        wire_open(wire, ends);
        n = coil_write(ends[from], big, sizeof(big));
        CHECK(n > 0);
        CHECK(n < (ssize_t)sizeof(big));
        CHECK_EQ(wire_drain(ends[1 - from]), n);
        CHECK_EQ(coil_close(ends[from]), 0);
        close(ends[1 - from]);
    }
}

static bool sigpipe_is_pending(void)
{
    sigset_t pending;

    CHECK_EQ(sigpending(&pending), 0);
    return sigismember(&pending, SIGPIPE);
}

/* The disposition of SIGPIPE is to die, here as everywhere: that this test ends at all is part of
 * it. */
COIL_TEST(io, writing_to_nobody_is_epipe_and_no_signal)
{
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++)
        for (enum call call = CALL_ACCEPT + 1; call < CALL_WAIT_WRITABLE; call++) {
            int ends[2];
            int from = wire == WIRE_PIPE ? 1 : 0;
            char byte = 'x';

            if (wire == WIRE_PIPE && !call_is_general(call))
                continue;
            wire_open(wire, ends);
            if (wire ==
                WIRE_TCP) { /* the first write after a reset tells of it; the next is EPIPE */
                wire_reset(ends[1]);
                wire_await(ends[0], POLLERR);
                call_check(call, call_now(call, ends[0], &byte, 1), -ECONNRESET);
            } else {
                close(ends[1 - from]);
            }
            call_check(call, call_now(call, ends[from], &byte, 1), -EPIPE);
            CHECK(!sigpipe_is_pending());
            CHECK_EQ(coil_close(ends[from]), 0);
        }
    CHECK(signal(SIGPIPE, SIG_DFL) == SIG_DFL);
}

COIL_TEST(io, a_writer_that_waits_for_room_learns_that_nobody_reads_any_more)
{
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    for (enum wire wire = WIRE_PIPE; wire <= WIRE_UNIX; wire++)
        for (enum call call = CALL_ACCEPT + 1; call < CALL_COUNT; call++) {
            char byte = 'x';
            struct caller c = {.call = call, .buf = &byte, .n = 1};
            struct coil_group g;
            int ends[2];
            int from = wire == WIRE_PIPE ? 1 : 0;

            if (wire == WIRE_PIPE && !call_is_general(call))
                continue;
            wire_open(wire, ends);
            wire_fill(ends[from]);
            c.fd = ends[from];
            coil_group_begin(&g);
            caller_start(&g, &c);
            CHECK(!c.answered);
            close(ends[1 - from]);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            /* A Unix socket whose peer left bytes unread says so first, as send(2) has it. */
            if (c.result != -ECONNRESET || wire == WIRE_PIPE)
                call_check(call, c.result, call == CALL_WAIT_WRITABLE ? 0 : -EPIPE);
            CHECK(!sigpipe_is_pending());
            CHECK_EQ(coil_close(ends[from]), 0);
        }
}

COIL_TEST(io, a_pending_sigpipe_of_the_callers_own_stays_pending)
{
    sigset_t only;
    sigset_t before;
    int ends[2];

    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &only, &before), 0);
    CHECK_EQ(raise(SIGPIPE), 0);
    wire_open(WIRE_PIPE, ends);
    close(ends[0]);
    CHECK_EQ(coil_write(ends[1], "x", 1), -EPIPE);
    CHECK(sigpipe_is_pending());
    CHECK_EQ(coil_close(ends[1]), 0);
    CHECK_EQ(sigwaitinfo(&only, NULL), SIGPIPE);
    CHECK(!sigpipe_is_pending());
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

COIL_TEST(io, send_all_sends_all_in_however_many_pieces)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        struct caller c = {.call = CALL_SEND_ALL, .buf = big, .n = sizeof(big)};
        struct coil_group g;
        size_t sum = 0;
        int ends[2];

        wire_open(wire, ends);
        for (size_t i = 0; i < sizeof(big); i++)
            big[i] = (char)(i * 31);
        c.fd = ends[0];
        coil_group_begin(&g);
        caller_start(&g, &c);
        CHECK(!c.answered || wire == WIRE_TCP);
        while (sum < sizeof(big)) {
            static char in[30000];
            ssize_t n = coil_read(ends[1], in, sizeof(in));

            CHECK(n > 0);
            CHECK_EQ(memcmp(in, big + sum, (size_t)n), 0);
            sum += (size_t)n;
        }
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(c.result, 0);
        CHECK_EQ(coil_close(ends[1]), 0);
        CHECK_EQ(coil_close(ends[0]), 0);
    }
}

static int close_after_some(void *arg)
{
    const int *fd = arg;

    CHECK_EQ(coil_read(*fd, big, 100), 100);
    return coil_close(*fd);
}

COIL_TEST(io, send_all_says_how_much_went_before_it_failed)
{
    struct coil_group g;
    size_t sent = 0;
    size_t least;
    int ends[2];

    wire_open(WIRE_UNIX, ends);
    least = wire_fill(ends[0]);
    CHECK_EQ(wire_drain(ends[1]), least);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, close_after_some, &ends[1]), 0);
    CHECK(coil_send_all(ends[0], big, sizeof(big), 0, &sent) < 0);
    CHECK(sent >= 100);
    CHECK(sent < sizeof(big));
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
}

/* --- One reader, one writer ------------------------------------------------------------------- */

COIL_TEST(io, a_second_reader_is_told_that_it_is_busy)
{
    for (enum call first = 0; first < CALL_READERS; first++)
        for (enum call second = 0; second < CALL_READERS; second++) {
            char byte = '.';
            struct caller c = {.call = first, .buf = &byte, .n = 1};
            struct coil_group g;
            int ends[2];
            char other;

            wire_open(WIRE_UNIX, ends);
            c.fd = ends[0];
            coil_group_begin(&g);
            caller_start(&g, &c);
            call_check(second, call_now(second, ends[0], &other, 1), -EBUSY);
            CHECK_EQ(write(ends[1], "xy", 2), 2);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            call_check(first, c.result, first == CALL_WAIT_READABLE ? 0 : 1);
            call_check(second, call_now(second, ends[0], &other, 1),
                       second == CALL_WAIT_READABLE ? 0 : 1);
            wire_close(ends);
        }
}

COIL_TEST(io, a_second_writer_is_told_that_it_is_busy)
{
    for (enum call first = CALL_ACCEPT + 1; first < CALL_COUNT; first++)
        for (enum call second = CALL_ACCEPT + 1; second < CALL_COUNT; second++) {
            char byte = 'x';
            struct caller c = {.call = first, .buf = &byte, .n = 1};
            struct coil_group g;
            int ends[2];

            wire_open(WIRE_UNIX, ends);
            wire_fill(ends[0]);
            c.fd = ends[0];
            coil_group_begin(&g);
            caller_start(&g, &c);
            call_check(second, call_now(second, ends[0], &byte, 1), -EBUSY);
            wire_drain(ends[1]);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            CHECK(c.result >= 0);
            wire_close(ends);
        }
}

COIL_TEST(io, a_second_acceptor_is_told_that_it_is_busy)
{
    struct sockaddr_in addr;
    int listener = wire_listen(4, &addr);
    struct caller c = {.call = CALL_ACCEPT, .fd = listener};
    struct coil_group g;
    int client;

    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK_EQ(coil_accept(listener, NULL, NULL), -EBUSY);
    CHECK_EQ(coil_wait_readable(listener), -EBUSY);
    client = wire_connect(&addr);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(c.result >= 0);
    CHECK_EQ(coil_close((int)c.result), 0);
    close(client);
    CHECK_EQ(coil_close(listener), 0);
}

COIL_TEST(io, a_reader_and_a_writer_are_not_in_each_others_way)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        char in = '.';
        char out = 'x';
        struct caller reader = {.call = CALL_RECV, .buf = &in, .n = 1};
        struct caller writer = {.call = CALL_WRITE, .buf = &out, .n = 1};
        struct coil_group g;
        int ends[2];

        wire_open(wire, ends);
        reader.fd = writer.fd = ends[0];
        wire_fill(ends[0]);
        coil_group_begin(&g);
        caller_start(&g, &reader);
        caller_start(&g, &writer);
        CHECK_EQ(write(ends[1], "y", 1), 1);
        wire_drain(ends[1]);
        wire_await(ends[0], POLLOUT);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(reader.result, 1);
        CHECK_EQ(in, 'y');
        CHECK_EQ(writer.result, 1);
        wire_close(ends);
    }
}

COIL_TEST(io, who_was_busy_and_gave_up_leaves_the_side_free)
{
    struct coil_scope s;
    int ends[2];
    char byte;

    wire_open(WIRE_UNIX, ends);
    coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_read(ends[0], &byte, 1), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(coil_read(ends[0], &byte, 1), 1);
    wire_close(ends);
}

/* A call of many rounds, and one who tries to get in between whenever there is a chance. */
struct intrusion {
    int fd;
    size_t n;     /* bytes in all */
    int before;   /* calls that answer at once, to be at another point of a turn each time */
    size_t tries; /* to get in between */
    bool begun;
    bool answered;
    ssize_t result;
};

static int receive_all_amid_others(void *arg)
{
    struct intrusion *i = arg;

    i->begun = true;
    i->result = coil_recv(i->fd, big, i->n, MSG_WAITALL);
    i->answered = true;
    return 0;
}

static int send_all_amid_others(void *arg)
{
    struct intrusion *i = arg;
    char byte;

    for (int k = 0; k < i->before; k++)
        CHECK_EQ(coil_recv(i->fd, &byte, 0, 0), 0);
    i->begun = true;
    i->result = coil_send_all(i->fd, big, i->n, 0, NULL);
    i->answered = true;
    return 0;
}

static int try_to_receive(void *arg)
{
    struct intrusion *i = arg;
    char byte;

    for (; !i->answered; coil_yield_shielded(), i->tries++)
        CHECK_EQ(coil_recv(i->fd, &byte, 1, 0), -EBUSY);
    return 0;
}

static int try_to_send(void *arg)
{
    struct intrusion *i = arg;

    for (; !i->answered; coil_yield_shielded(), i->tries += i->begun)
        if (i->begun)
            CHECK_EQ(coil_send(i->fd, "x", 1, 0), -EBUSY);
    return 0;
}

/* Descriptors that come along end each receive, so it takes one round a byte. */
COIL_TEST_IN_ORDER(io, between_the_rounds_of_a_receive_that_wants_all_nobody_gets_in)
{
    struct intrusion i = {.n = 101};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {.iov_base = big, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct coil_group g;
    int ends[2];

    *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    wire_open(WIRE_UNIX, ends);
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &ends[1], sizeof(int));
    for (int k = 0; k < 100; k++)
        CHECK_EQ(sendmsg(ends[1], &msg, 0), 1);
    i.fd = ends[0];
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, receive_all_amid_others, &i), 0);
    CHECK_EQ(coil_group_spawn(&g, try_to_receive, &i), 0);
    while (wire_ready(ends[0], POLLIN))
        coil_yield_shielded();
    CHECK(!i.answered);
    CHECK_EQ(write(ends[1], "y", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(i.result, 101);
    CHECK_EQ(big[100], 'y');
    CHECK(i.tries > 0);
    wire_close(ends);
}

COIL_TEST(io, between_the_rounds_of_a_send_all_nobody_gets_in)
{
    for (int before = 0; before < 64; before++) {
        struct intrusion i = {.n = 1 << 19, .before = before};
        struct coil_group g;
        size_t sum = 0;
        int ends[2];

        wire_open(WIRE_UNIX, ends);
        i.fd = ends[0];
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, send_all_amid_others, &i), 0);
        CHECK_EQ(coil_group_spawn(&g, try_to_send, &i), 0);
        while (sum < i.n) {
            coil_yield_shielded();
            sum += wire_drain(ends[1]);
        }
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(i.result, 0);
        CHECK_EQ(sum, i.n);
        CHECK(i.tries > 0);
        wire_close(ends);
    }
}

/* --- Readiness -------------------------------------------------------------------------------- */

COIL_TEST(io, waiting_for_readiness_takes_nothing_and_answers_as_often_as_asked)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        int ends[2];

        wire_open(wire, ends);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(coil_wait_readable(ends[0]), 0);
        CHECK_EQ(wire_drain(ends[0]), 1);
        if (wire != WIRE_PIPE)
            for (int i = 0; i < 3; i++)
                CHECK_EQ(coil_wait_writable(ends[0]), 0);
        wire_close(ends);
    }
}

/* What other code has read is no longer there: a stale "ready" is not to be believed. */
COIL_TEST(io, waiting_for_readiness_waits_again_after_others_have_read)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        struct caller c = {.call = CALL_WAIT_READABLE};
        struct coil_group g;
        int ends[2];

        wire_open(wire, ends);
        c.fd = ends[0];
        for (int i = 0; i < 3; i++) {
            c.answered = false;
            coil_group_begin(&g);
            caller_start(&g, &c);
            CHECK(!c.answered);
            CHECK_EQ(write(ends[1], "x", 1), 1);
            CHECK_EQ(coil_group_end(&g, 0), 0);
            CHECK_EQ(c.result, 0);
            CHECK_EQ(wire_drain(ends[0]), 1);
        }
        wire_close(ends);
    }
}

COIL_TEST(io, waiting_for_readiness_ends_with_a_reset)
{
    struct caller c = {.call = CALL_WAIT_READABLE};
    struct coil_group g;
    int ends[2];
    char byte;

    wire_open(WIRE_TCP, ends);
    c.fd = ends[0];
    coil_group_begin(&g);
    caller_start(&g, &c);
    wire_reset(ends[1]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 0);
    CHECK_EQ(coil_wait_writable(ends[0]), 0);
    CHECK_EQ(coil_recv(ends[0], &byte, 1, 0), -ECONNRESET);
    CHECK_EQ(coil_close(ends[0]), 0);
}

COIL_TEST(io, a_listener_is_readable_when_somebody_has_come)
{
    struct sockaddr_in addr;
    int listener = wire_listen(4, &addr);
    struct caller c = {.call = CALL_WAIT_READABLE, .fd = listener};
    struct coil_group g;
    int client;
    int fd;

    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK(!c.answered);
    client = wire_connect(&addr);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 0);
    fd = coil_accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(coil_close(fd), 0);
    close(client);
    CHECK_EQ(coil_close(listener), 0);
}

COIL_TEST(io, what_never_waits_is_always_ready)
{
    const char *const paths[] = {"/dev/null", "/dev/zero", "/proc/self/exe"};

    for (size_t i = 0; i < 3; i++) {
        int fd = open(paths[i], O_RDONLY);

        CHECK(fd >= 0);
        CHECK_EQ(coil_wait_readable(fd), 0);
        CHECK_EQ(coil_wait_writable(fd), 0);
        CHECK_EQ(coil_close(fd), 0);
    }
}

/* --- Datagrams -------------------------------------------------------------------------------- */

static int udp_socket(struct sockaddr_in *ret)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(*ret);
    int fd = coil_socket(AF_INET, SOCK_DGRAM, 0);

    CHECK(fd >= 0);
    CHECK_EQ(coil_bind(fd, (struct sockaddr *)&here, sizeof(here)), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

COIL_TEST(io, datagrams_keep_their_bounds_and_say_from_whom)
{
    struct sockaddr_in a, b, from;
    socklen_t len = sizeof(from);
    int left = udp_socket(&a);
    int right = udp_socket(&b);
    char buf[16];

    CHECK_EQ(coil_sendto(left, "one", 3, 0, (struct sockaddr *)&b, sizeof(b)), 3);
    CHECK_EQ(coil_sendto(left, "", 0, 0, (struct sockaddr *)&b, sizeof(b)), 0);
    CHECK_EQ(coil_sendto(left, "three", 5, 0, (struct sockaddr *)&b, sizeof(b)), 5);
    CHECK_EQ(coil_recvfrom(right, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 3);
    CHECK_EQ(len, sizeof(from));
    CHECK_EQ(from.sin_port, a.sin_port);
    CHECK_EQ(coil_recv(right, buf, sizeof(buf), 0), 0); /* empty, not the end */
    CHECK_EQ(coil_recvfrom(right, buf, 2, MSG_PEEK | MSG_TRUNC, NULL, NULL), 5);
    CHECK_EQ(coil_recvfrom(right, buf, 2, 0, NULL, NULL), 2); /* and the rest of it is gone */
    CHECK(!wire_ready(right, POLLIN));
    CHECK_EQ(coil_close(left), 0);
    CHECK_EQ(coil_close(right), 0);
}

COIL_TEST(io, a_datagram_that_nobody_hears_is_refused)
{
    struct sockaddr_in a, b;
    int left = udp_socket(&a);
    int right = udp_socket(&b);
    char buf[4];

    CHECK_EQ(coil_close(right), 0);
    CHECK_EQ(coil_connect(left, (struct sockaddr *)&b, sizeof(b)), 0);
    CHECK_EQ(coil_send(left, "x", 1, 0), 1);
    CHECK_EQ(coil_recv(left, buf, sizeof(buf), 0), -ECONNREFUSED);
    CHECK_EQ(coil_close(left), 0);
}

COIL_TEST(io, a_failed_receive_leaves_the_address_alone)
{
    struct sockaddr_in a, from = {.sin_port = 7};
    socklen_t len = 3;
    struct coil_scope s;
    int fd = udp_socket(&a);
    char buf[4];

    coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_recvfrom(fd, buf, 4, 0, (struct sockaddr *)&from, &len), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(from.sin_port, 7);
    CHECK_EQ(len, 3);
    CHECK_EQ(coil_close(fd), 0);
}

/* A Unix datagram socket is writable as long as its own buffer has room, though its peer's queue be
 * full: without a connection, readiness says nothing. And io_uring (Linux 6.18) that waits for it
 * with a connection then sends an empty datagram. */
struct letters {
    int sender;
    int receiver;
    bool connected;
    struct sockaddr_un addr;
    socklen_t len;
    ssize_t result;
    int waiting; /* in the queue, from the beginning */
};

static ssize_t post(struct letters *l, const char *text)
{
    return l->connected ? coil_send(l->sender, text, strlen(text), 0)
                        : coil_sendto(l->sender, text, strlen(text), 0,
                                      (const struct sockaddr *)&l->addr, l->len);
}

static int post_one(void *arg)
{
    struct letters *l = arg;

    l->result = post(l, "letter");
    return 0;
}

static void letters_open(struct letters *l, bool connected)
{
    *l = (struct letters){.connected = connected, .addr = {.sun_family = AF_UNIX}};
    l->len = sizeof(l->addr);
    l->receiver = socket(AF_UNIX, SOCK_DGRAM, 0);
    l->sender = coil_socket(AF_UNIX, SOCK_DGRAM, 0);
    wire_limit(l->receiver);
    CHECK_EQ(bind(l->receiver, (struct sockaddr *)&l->addr, sizeof(l->addr.sun_family)), 0);
    CHECK_EQ(getsockname(l->receiver, (struct sockaddr *)&l->addr, &l->len), 0);
    if (connected)
        CHECK_EQ(coil_connect(l->sender, (struct sockaddr *)&l->addr, l->len), 0);
    while (sendto(l->sender, "x", 1, 0, connected ? NULL : (struct sockaddr *)&l->addr,
                  connected ? 0 : l->len) == 1)
        l->waiting++;
    CHECK_EQ(errno, EAGAIN);
}

static void letters_close(struct letters *l)
{
    CHECK_EQ(coil_close(l->sender), 0);
    close(l->receiver);
}

static void receive_letter(struct letters *l, const char *expected)
{
    char text[16] = "";

    CHECK_EQ(recv(l->receiver, text, sizeof(text), 0), strlen(expected));
    CHECK_EQ(memcmp(text, expected, strlen(expected)), 0);
}

COIL_TEST(io, a_datagram_for_a_full_unix_queue_goes_whole_when_there_is_room)
{
    for (int connected = 0; connected < 2; connected++) {
        struct letters l;
        struct coil_group g;

        letters_open(&l, connected);
        coil_group_begin(&g);
        coil_scope_set_deadline(coil_group_scope(&g), coil_now() + PATIENCE_NS);
        CHECK_EQ(coil_group_spawn(&g, post_one, &l), 0);
        for (int i = 0; i < 8; i++)
            coil_yield_shielded();
        receive_letter(&l, "x");
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(l.result, 6);
        for (int i = 1; i < l.waiting; i++)
            receive_letter(&l, "x");
        receive_letter(&l, "letter");
        letters_close(&l);
    }
}

static int64_t cpu_ns(void)
{
    struct timespec t;

    CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return t.tv_sec * COIL_SECOND + t.tv_nsec;
}

COIL_TEST(io, a_datagram_for_a_full_unix_queue_waits_and_does_not_spin)
{
    for (int connected = 0; connected < 2; connected++) {
        struct letters l;
        struct coil_scope s;
        int64_t before_ns;
        char byte;

        letters_open(&l, connected);
        before_ns = cpu_ns();
        coil_scope_begin(&s, coil_now() + 200 * COIL_MILLISECOND);
        CHECK_EQ(post(&l, "letter"), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        CHECK(cpu_ns() - before_ns < 50 * COIL_MILLISECOND);
        for (int i = 0; i < l.waiting; i++)
            receive_letter(&l, "x");
        CHECK_EQ(recv(l.receiver, &byte, 1, MSG_DONTWAIT), -1); /* the cancelled one did not go */
        letters_close(&l);
    }
}

/* --- Messages --------------------------------------------------------------------------------- */

union control {
    char buf[CMSG_SPACE(2 * sizeof(int))];
    struct cmsghdr align;
};

static ssize_t send_descriptors(int over, const int *fds, int count)
{
    union control control = {{0}};
    char byte = 'f';
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.buf,
        .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)count);
    return coil_sendmsg(over, &msg, 0);
}

COIL_TEST(io, descriptors_that_come_with_a_message_are_close_on_exec)
{
    union control control;
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.buf,
        .msg_controllen = sizeof(control.buf),
    };
    const struct cmsghdr *c;
    int ends[2];
    int gift[2];
    int got[2];

    wire_open(WIRE_UNIX, ends);
    wire_open(WIRE_PIPE, gift);
    CHECK_EQ(send_descriptors(ends[1], gift, 2), 1);
    CHECK_EQ(coil_recvmsg(ends[0], &msg, 0), 1);
    c = CMSG_FIRSTHDR(&msg);
    CHECK(c);
    CHECK_EQ(c->cmsg_type, SCM_RIGHTS);
    CHECK_EQ(c->cmsg_len, CMSG_LEN(2 * sizeof(int)));
    CHECK_EQ(msg.msg_flags & MSG_CTRUNC, 0);
    memcpy(got, CMSG_DATA(c), sizeof(got));
    CHECK_EQ(fcntl(got[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(got[1], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(coil_write(got[1], "x", 1), 1);
    CHECK_EQ(coil_read(gift[0], &byte, 1), 1);
    CHECK_EQ(coil_close(got[0]), 0);
    CHECK_EQ(coil_close(got[1]), 0);
    CHECK_EQ(coil_close(gift[0]), 0);
    CHECK_EQ(close(gift[1]), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
}

COIL_TEST(io, a_message_that_was_cut_says_so)
{
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct sockaddr_in a, b;
    int left = udp_socket(&a);
    int right = udp_socket(&b);
    int ends[2];

    CHECK_EQ(coil_sendto(left, "abc", 3, 0, (struct sockaddr *)&b, sizeof(b)), 3);
    CHECK_EQ(coil_recvmsg(right, &msg, 0), 1);
    CHECK_EQ(msg.msg_flags & MSG_TRUNC, MSG_TRUNC);

    wire_open(WIRE_UNIX, ends);
    CHECK_EQ(send_descriptors(ends[1], ends, 1), 1);
    msg = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
    CHECK_EQ(coil_recvmsg(ends[0], &msg, 0), 1);
    CHECK_EQ(msg.msg_flags & MSG_CTRUNC, MSG_CTRUNC);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
    CHECK_EQ(coil_close(left), 0);
    CHECK_EQ(coil_close(right), 0);
}

/* --- Accepting and connecting ----------------------------------------------------------------- */

static void check_flags(int fd)
{
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
}

COIL_TEST(io, every_new_socket_is_close_on_exec_and_non_blocking)
{
    struct sockaddr_in addr;
    struct sockaddr_un name;
    socklen_t len;
    int listener = wire_listen(4, &addr);
    int unix_listener = wire_listen_unix(4, &name, &len);
    int client = coil_socket(AF_INET, SOCK_STREAM, 0);
    int unix_client = coil_socket(AF_UNIX, SOCK_STREAM, 0);
    int fd;

    check_flags(client);
    check_flags(unix_client);
    CHECK_EQ(coil_connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
    CHECK_EQ(coil_connect(unix_client, (struct sockaddr *)&name, len), 0);
    fd = coil_accept(listener, NULL, NULL);
    check_flags(fd);
    CHECK_EQ(coil_close(fd), 0);
    fd = coil_accept(unix_listener, NULL, NULL);
    check_flags(fd);
    CHECK_EQ(coil_close(fd), 0);
    CHECK_EQ(coil_close(client), 0);
    CHECK_EQ(coil_close(unix_client), 0);
    CHECK_EQ(coil_close(listener), 0);
    CHECK_EQ(coil_close(unix_listener), 0);
}

COIL_TEST(io, a_descriptor_from_elsewhere_becomes_non_blocking_but_a_file_stays_as_it_is)
{
    int ends[2];
    int file = open("/proc/self/exe", O_RDONLY);
    char byte;

    wire_open(WIRE_PIPE, ends);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(coil_read(ends[0], &byte, 1), 1);
    CHECK_EQ(fcntl(ends[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_EQ(coil_read(file, &byte, 1), 1);
    CHECK_EQ(fcntl(file, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(coil_close(file), 0);
    wire_close(ends);
}

COIL_TEST(io, accept_takes_those_who_came_in_their_order_and_says_who)
{
    struct sockaddr_in addr;
    int listener = wire_listen(8, &addr);
    int clients[5];

    for (int i = 0; i < 5; i++)
        clients[i] = wire_connect(&addr);
    for (int i = 0; i < 5; i++) {
        struct sockaddr_in peer, own;
        socklen_t peer_len = sizeof(peer);
        socklen_t own_len = sizeof(own);
        int fd = coil_accept(listener, (struct sockaddr *)&peer, &peer_len);

        CHECK(fd >= 0);
        CHECK_EQ(getsockname(clients[i], (struct sockaddr *)&own, &own_len), 0);
        CHECK_EQ(peer_len, sizeof(peer));
        CHECK_EQ(peer.sin_port, own.sin_port);
        CHECK_EQ(coil_close(fd), 0);
        close(clients[i]);
    }
    CHECK_EQ(coil_close(listener), 0);
}

COIL_TEST(io, a_cancelled_accept_leaves_the_address_alone)
{
    struct sockaddr_in addr, peer = {.sin_port = 7};
    socklen_t len = 3;
    struct coil_scope s;
    int listener = wire_listen(4, &addr);

    coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_accept(listener, (struct sockaddr *)&peer, &len), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(peer.sin_port, 7);
    CHECK_EQ(len, 3);
    CHECK_EQ(coil_close(listener), 0);
}

COIL_TEST(io, accepting_on_what_does_not_listen_is_einval)
{
    int fd = coil_socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr;
    int listener = wire_listen(4, &addr);
    struct caller c = {.call = CALL_ACCEPT, .fd = listener};
    struct coil_group g;

    CHECK_EQ(coil_accept(fd, NULL, NULL), -EINVAL);
    CHECK_EQ(coil_close(fd), 0);

    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK(!c.answered);
    CHECK_EQ(coil_shutdown(listener, SHUT_RDWR), 0); /* it does not listen any more */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, -EINVAL);
    CHECK_EQ(coil_close(listener), 0);
}

COIL_TEST(io, an_accept_without_a_number_to_give_leaves_the_connection_where_it_is)
{
    struct sockaddr_in addr;
    struct rlimit before, tight;
    int listener = wire_listen(4, &addr);
    int client = wire_connect(&addr);
    int fd;

    CHECK_EQ(coil_wait_readable(listener), 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)dup(client); /* the lowest free number */
    close((int)tight.rlim_cur);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coil_accept(listener, NULL, NULL), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    fd = coil_accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(coil_close(fd), 0);
    close(client);
    CHECK_EQ(coil_close(listener), 0);
}

COIL_TEST(io, a_connection_that_nobody_takes_is_refused)
{
    struct sockaddr_in addr;
    struct sockaddr_un name;
    socklen_t len;
    int fd;

    close(wire_listen(1, &addr));
    fd = coil_socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -ECONNREFUSED);
    CHECK_EQ(coil_close(fd), 0);

    close(wire_listen_unix(1, &name, &len));
    fd = coil_socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&name, len), -ECONNREFUSED);
    CHECK_EQ(coil_close(fd), 0);
}

COIL_TEST(io, a_socket_that_was_refused_is_as_good_as_new)
{
    for (enum call call = CALL_READ; call < CALL_WAIT_READABLE; call++) {
        struct sockaddr_in addr;
        int listener = wire_listen(1, &addr);
        int fd = coil_socket(AF_INET, SOCK_STREAM, 0);
        char byte = 'x';

        close(listener);
        CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -ECONNREFUSED);
        call_check(call, call_now(call, fd, &byte, 1), -ENOTCONN);
        call_check(CALL_SEND, call_now(CALL_SEND, fd, &byte, 1), -EPIPE);
        CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -ECONNREFUSED);
        listener = wire_listen(1, &addr);
        CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        call_check(CALL_SEND, call_now(CALL_SEND, fd, &byte, 1), 1);
        CHECK_EQ(coil_close(fd), 0);
        close(listener);
    }
}

COIL_TEST(io, connecting_twice_is_eisconn)
{
    struct sockaddr_in addr;
    int listener = wire_listen(4, &addr);
    int fd = coil_socket(AF_INET, SOCK_STREAM, 0);

    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -EISCONN);
    CHECK_EQ(coil_close(fd), 0);
    close(listener);
}

COIL_TEST(io, connecting_twice_is_eisconn_though_there_is_no_room_to_write)
{
    static char more_than_fits[32 << 20];
    struct sockaddr_in addr;
    struct coil_scope s;
    int listener = wire_listen(4, &addr);
    int fd = wire_connect(&addr);

    coil_scope_begin(&s, coil_now() + 10 * COIL_MILLISECOND);
    CHECK_EQ(coil_send_all(fd, more_than_fits, sizeof(more_than_fits), 0, NULL), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    coil_scope_begin(&s, coil_now() + 100 * COIL_MILLISECOND);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -EISCONN);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_close(fd), 0);
    close(listener);
}

COIL_TEST(io, accepting_on_what_does_not_listen_is_einval_though_there_is_nothing_to_read)
{
    struct coil_scope s;
    char byte;
    int ends[2];

    wire_open(WIRE_TCP, ends);
    coil_scope_begin(&s, coil_now() + 10 * COIL_MILLISECOND);
    CHECK_EQ(coil_recv(ends[0], &byte, 1, 0), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    coil_scope_begin(&s, coil_now() + 100 * COIL_MILLISECOND);
    CHECK_EQ(coil_accept(ends[0], NULL, NULL), -EINVAL);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    wire_close(ends);
}

COIL_TEST(io, an_address_that_is_none_is_refused)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int fd = coil_socket(AF_INET, SOCK_STREAM, 0);

    CHECK_EQ(coil_connect(fd, NULL, sizeof(addr)), -EINVAL);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, 0), -EINVAL);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, 4), -EINVAL);
    CHECK_EQ(coil_bind(fd, (struct sockaddr *)&addr, 4), -EINVAL);
    CHECK_EQ(coil_socket(AF_INET, -1, 0), -EINVAL);
    CHECK_EQ(coil_close(fd), 0);
}

struct dialling {
    int fd;
    const void *addr;
    socklen_t len;
    int result;
    bool answered;
};

static int dial(void *arg)
{
    struct dialling *d = arg;

    d->result = coil_connect(d->fd, d->addr, d->len);
    d->answered = true;
    return 0;
}

COIL_TEST_NOT_ON_SIM(io, a_connect_waits_until_the_listener_has_room,
                     "the kernel tries again after a second of its own")
{
    struct sockaddr_in addr;
    int listener = wire_listen(0, &addr);
    int first = wire_connect(&addr); /* the whole backlog */
    struct dialling d = {.addr = &addr, .len = sizeof(addr)};
    struct coil_group g;

    d.fd = coil_socket(AF_INET, SOCK_STREAM, 0);
    wire_await(listener, POLLIN);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, dial, &d), 0);
    for (int i = 0; i < 8; i++)
        coil_yield_shielded();
    CHECK(!d.answered);
    CHECK_EQ(coil_send(d.fd, "x", 1, 0), -EBUSY); /* connecting counts as writing */
    close(accept(listener, NULL, NULL));
    CHECK_EQ(coil_group_end(&g, 0), 0); /* the kernel tries again after a second */
    CHECK_EQ(d.result, 0);
    CHECK_EQ(coil_close(d.fd), 0);
    close(first);
    close(listener);
}

COIL_TEST(io, a_connect_to_a_full_unix_backlog_goes_through_when_there_is_room)
{
    struct sockaddr_un addr;
    struct dialling d = {.addr = &addr};
    int listener = wire_listen_unix(0, &addr, &d.len);
    int first = socket(AF_UNIX, SOCK_STREAM, 0);
    struct coil_group g;

    CHECK_EQ(connect(first, (struct sockaddr *)&addr, d.len), 0); /* the whole backlog */
    d.fd = coil_socket(AF_UNIX, SOCK_STREAM, 0);
    coil_group_begin(&g);
    coil_scope_set_deadline(coil_group_scope(&g), coil_now() + PATIENCE_NS);
    CHECK_EQ(coil_group_spawn(&g, dial, &d), 0);
    for (int i = 0; i < 8; i++)
        coil_yield_shielded();
    CHECK(!d.answered);
    close(accept(listener, NULL, NULL));
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(d.result, 0);
    CHECK_EQ(coil_close(d.fd), 0);
    close(first);
    close(listener);
}

COIL_TEST(io, a_connect_to_a_full_unix_backlog_waits_and_does_not_spin)
{
    struct sockaddr_un addr;
    socklen_t len;
    int listener = wire_listen_unix(0, &addr, &len);
    int first = socket(AF_UNIX, SOCK_STREAM, 0);
    int fd = coil_socket(AF_UNIX, SOCK_STREAM, 0);
    struct coil_scope s;
    int64_t before_ns;

    CHECK_EQ(connect(first, (struct sockaddr *)&addr, len), 0);
    before_ns = cpu_ns();
    coil_scope_begin(&s, coil_now() + 200 * COIL_MILLISECOND);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, len), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK(cpu_ns() - before_ns < 50 * COIL_MILLISECOND);
    CHECK_EQ(coil_close(fd), 0);
    close(accept(listener, NULL, NULL));
    CHECK(!wire_ready(listener, POLLIN)); /* the cancelled one never came */
    close(first);
    close(listener);
}

/* --- Half of a connection --------------------------------------------------------------------- */

COIL_TEST(io, a_side_that_is_done_writing_still_reads)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        int ends[2];
        char buf[8];

        wire_open(wire, ends);
        CHECK_EQ(coil_send(ends[0], "ask", 3, 0), 3);
        CHECK_EQ(coil_shutdown(ends[0], SHUT_WR), 0);
        CHECK_EQ(coil_send(ends[0], "x", 1, 0), -EPIPE);
        CHECK_EQ(recv(ends[1], buf, sizeof(buf), 0), 3);
        CHECK_EQ(recv(ends[1], buf, sizeof(buf), 0), 0);
        CHECK_EQ(send(ends[1], "answer", 6, 0), 6);
        CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 6);
        wire_close(ends);
    }
}

COIL_TEST(io, a_peer_that_is_done_writing_still_reads)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        int ends[2];
        char buf[8];

        wire_open(wire, ends);
        CHECK_EQ(shutdown(ends[1], SHUT_WR), 0);
        CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 0);
        CHECK_EQ(coil_send(ends[0], "more", 4, 0), 4);
        CHECK_EQ(recv(ends[1], buf, sizeof(buf), 0), 4);
        CHECK_EQ(coil_recv(ends[0], buf, sizeof(buf), 0), 0);
        wire_close(ends);
    }
}

COIL_TEST(io, shutdown_wakes_those_who_wait)
{
    for (enum wire wire = WIRE_UNIX; wire < WIRE_COUNT; wire++) {
        char in;
        char out = 'x';
        struct caller reader = {.call = CALL_RECV, .buf = &in, .n = 1};
        struct caller writer = {.call = CALL_SEND, .buf = &out, .n = 1};
        struct coil_group g;
        int ends[2];

        wire_open(wire, ends);
        reader.fd = writer.fd = ends[0];
        wire_fill(ends[0]);
        coil_group_begin(&g);
        caller_start(&g, &reader);
        caller_start(&g, &writer);
        CHECK_EQ(coil_shutdown(ends[0], SHUT_RDWR), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(reader.result, 0);
        CHECK(writer.result == -EPIPE || (wire == WIRE_TCP && writer.result == 1));
        wire_close(ends);
    }
}

/* --- Files by position ------------------------------------------------------------------------ */

static int temporary_file(void)
{
    char path[] = "/tmp/coil-io-XXXXXX";
    int fd = mkstemp(path);

    CHECK(fd >= 0);
    CHECK_EQ(unlink(path), 0);
    return fd;
}

COIL_TEST(io, an_offset_neither_uses_nor_moves_the_position)
{
    int fd = temporary_file();
    char buf[8];

    CHECK_EQ(coil_write(fd, "0123456789", 10), 10);
    CHECK_EQ(coil_pwrite(fd, "ab", 2, 3), 2);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
    CHECK_EQ(coil_pread(fd, buf, 4, 2), 4);
    CHECK_EQ(memcmp(buf, "2ab5", 4), 0);
    CHECK_EQ(coil_pread(fd, buf, 8, 8), 2);
    CHECK_EQ(coil_pread(fd, buf, 8, 10), 0);
    CHECK_EQ(coil_pread(fd, buf, 8, 1 << 30), 0);
    CHECK_EQ(coil_pread(fd, buf, 1, -1), -EINVAL);
    CHECK_EQ(coil_pwrite(fd, buf, 1, -1), -EINVAL);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
    CHECK_EQ(coil_close(fd), 0);
}

COIL_TEST(io, reading_and_writing_a_file_moves_the_position)
{
    int fd = temporary_file();
    char text[] = "abcdefg";
    struct iovec out[] = {{text, 3}, {text + 3, 4}};
    char a[2], b[8];
    struct iovec in[] = {{a, 2}, {b, 8}};

    CHECK_EQ(coil_writev(fd, out, 2), 7);
    CHECK_EQ(coil_write(fd, "h", 1), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(coil_read(fd, a, 1), 1);
    CHECK_EQ(coil_readv(fd, in, 2), 7);
    CHECK_EQ(memcmp(a, "bc", 2), 0);
    CHECK_EQ(memcmp(b, "defgh", 5), 0);
    CHECK_EQ(coil_read(fd, b, 8), 0);
    CHECK_EQ(coil_close(fd), 0);
}

struct part {
    int fd;
    int index;
};

static int write_part(void *arg)
{
    const struct part *p = arg;

    CHECK_EQ(coil_pwrite(p->fd, &p->index, sizeof(p->index), p->index * (off_t)sizeof(p->index)),
             sizeof(p->index));
    return 0;
}

COIL_TEST(io, any_number_of_tasks_write_at_their_offsets_at_once)
{
    static struct part parts[200];
    struct coil_group g;
    int fd = temporary_file();

    coil_group_begin(&g);
    for (int i = 0; i < 200; i++) {
        parts[i] = (struct part){fd, i};
        CHECK_EQ(coil_group_spawn(&g, write_part, &parts[i]), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 200; i++) {
        int value = -1;

        CHECK_EQ(coil_pread(fd, &value, sizeof(value), i * (off_t)sizeof(value)), sizeof(value));
        CHECK_EQ(value, i);
    }
    CHECK_EQ(coil_close(fd), 0);
}

COIL_TEST(io, an_offset_in_a_file_that_was_opened_nonblocking_is_read)
{
    struct coil_scope s;
    char buf[64] = "";
    int fd = open("/proc/self/status", O_RDONLY | O_NONBLOCK);

    CHECK(fd >= 0);
    coil_scope_begin(&s, coil_now() + WIRE_PATIENCE_S * COIL_SECOND);
    CHECK_EQ(coil_pread(fd, buf, sizeof(buf), 0), sizeof(buf));
    CHECK_EQ(memcmp(buf, "Name:", 5), 0);
    CHECK_EQ(coil_pread(fd, buf, 5, 1), 5);
    CHECK_EQ(memcmp(buf, "ame:", 4), 0);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_close(fd), 0);
}

COIL_TEST(io, a_directory_is_not_read_and_a_full_disk_is_told)
{
    int directory = open("/tmp", O_RDONLY | O_DIRECTORY);
    int full = open("/dev/full", O_RDWR);
    int path = open("/tmp", O_PATH);
    char buf[4];

    CHECK_EQ(coil_read(directory, buf, 4), -EISDIR);
    CHECK_EQ(coil_write(directory, buf, 4), -EBADF);
    CHECK_EQ(coil_write(full, buf, 4), -ENOSPC);
    CHECK_EQ(coil_read(full, buf, 4), 4);
    CHECK_EQ(coil_read(path, buf, 4), -EBADF);
    CHECK_EQ(coil_close(directory), 0);
    CHECK_EQ(coil_close(full), 0);
    CHECK_EQ(coil_close(path), 0);
}

/* --- What is neither file nor socket ---------------------------------------------------------- */

COIL_TEST(io, null_takes_everything_and_zero_gives_everything)
{
    int null = open("/dev/null", O_RDWR);
    int zero = open("/dev/zero", O_RDWR);
    char buf[64] = "not zero";

    CHECK_EQ(coil_write(null, buf, sizeof(buf)), sizeof(buf));
    CHECK_EQ(coil_read(null, buf, sizeof(buf)), 0);
    CHECK_EQ(coil_read(zero, buf, sizeof(buf)), sizeof(buf));
    for (size_t i = 0; i < sizeof(buf); i++)
        CHECK_EQ(buf[i], 0);
    CHECK_EQ(coil_write(zero, buf, sizeof(buf)), sizeof(buf));
    CHECK_EQ(coil_close(null), 0);
    CHECK_EQ(coil_close(zero), 0);
}

COIL_TEST(io, an_eventfd_counts_and_both_sides_wait)
{
    int fd = eventfd(0, 0);
    uint64_t in = 0;
    uint64_t out = UINT64_MAX - 1;
    struct caller reader = {.call = CALL_READ, .fd = fd, .buf = &in, .n = sizeof(in)};
    struct caller writer = {.call = CALL_WRITE, .fd = fd, .buf = &out, .n = sizeof(out)};
    struct coil_group g;

    coil_group_begin(&g);
    caller_start(&g, &reader);
    CHECK(!reader.answered);
    CHECK_EQ(coil_write(fd, &(uint64_t){3}, sizeof(uint64_t)), 8);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(reader.result, 8);
    CHECK_EQ(in, 3);

    CHECK_EQ(coil_write(fd, &(uint64_t){1}, sizeof(uint64_t)), 8);
    coil_group_begin(&g);
    caller_start(&g, &writer); /* the counter would overflow */
    CHECK(!writer.answered);
    CHECK_EQ(coil_read(fd, &in, sizeof(in)), 8);
    CHECK_EQ(in, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(writer.result, 8);
    CHECK_EQ(coil_read(fd, &in, 4), -EINVAL);
    CHECK_EQ(coil_close(fd), 0);
}

COIL_TEST(io, an_eventfd_that_has_room_but_not_for_so_much_is_waited_for_and_does_not_spin)
{
    int fd = eventfd(0, 0);
    uint64_t in = UINT64_MAX - 3;
    uint64_t out = 5;
    struct caller writer = {.call = CALL_WRITE, .fd = fd, .buf = &out, .n = sizeof(out)};
    struct coil_stats before, after;
    struct coil_group g;

    CHECK_EQ(coil_write(fd, &in, sizeof(in)), 8);
    coil_group_begin(&g);
    caller_start(&g, &writer);
    CHECK(!writer.answered);
    CHECK_EQ(coil_loop_stats(&before), 0);
    CHECK_EQ(coil_sleep(100 * COIL_MILLISECOND), 0);
    CHECK_EQ(coil_loop_stats(&after), 0);
    CHECK(after.turns - before.turns < 100);
    CHECK_EQ(coil_read(fd, &in, sizeof(in)), 8);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(writer.result, 8);
    coil_group_begin(&g);
    in = UINT64_MAX - 6;
    CHECK_EQ(coil_write(fd, &in, sizeof(in)), 8);
    writer.answered = false;
    caller_start(&g, &writer);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(writer.result, -ECANCELED);
    CHECK_EQ(coil_close(fd), 0);
}

/* As the system calls have it, where a ring left to itself would answer otherwise, or wait. */
COIL_TEST(io, what_has_no_way_to_be_read_or_written_says_so_at_once)
{
    char byte = 'x';
    struct iovec nothing = {.iov_base = &byte, .iov_len = 0};
    struct iovec something = {.iov_base = &byte, .iov_len = 1};
    int event = eventfd(0, 0);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    int process = (int)syscall(SYS_pidfd_open, getpid(), 0);
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() + PATIENCE_NS);
    CHECK_EQ(coil_write(event, &byte, 0), -EINVAL);
    CHECK_EQ(coil_writev(event, &nothing, 1), 0); /* a vector of nothing never gets there */
    CHECK_EQ(coil_readv(event, &nothing, 1), 0);
    CHECK_EQ(coil_write(timer, &byte, 1), -EINVAL);
    CHECK_EQ(coil_write(timer, &byte, 0), -EINVAL);
    CHECK_EQ(coil_readv(timer, &nothing, 1), 0);
    if (process >= 0) { /* Linux 5.3 */
        CHECK_EQ(coil_write(process, &byte, 1), -EINVAL);
        CHECK_EQ(coil_writev(process, &something, 1), -EINVAL);
        CHECK_EQ(coil_write(process, &byte, 0), -EINVAL);
        CHECK_EQ(coil_read(process, &byte, 1), -EINVAL);
        CHECK_EQ(coil_readv(process, &something, 1), -EINVAL);
        CHECK_EQ(coil_pwrite(process, &byte, 1, 0), pwrite(process, &byte, 1, 0) < 0 ? -errno : 1);
        CHECK_EQ(coil_close(process), 0);
    }
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    CHECK_EQ(coil_close(event), 0);
    CHECK_EQ(coil_close(timer), 0);
}

COIL_TEST(io, a_file_is_asked_also_about_no_bytes)
{
    int dir = open("/", O_RDONLY | O_DIRECTORY);
    int score = open("/proc/self/oom_score_adj", O_RDWR);
    int file = open("/proc/self/status", O_RDONLY);
    char byte = 'x';

    CHECK_EQ(coil_pread(dir, &byte, 0, 0), -EISDIR);
    CHECK_EQ(coil_pwrite(score, &byte, 0, 0), -EINVAL);
    CHECK_EQ(coil_pread(file, &byte, 0, 0), 0);
    CHECK_EQ(coil_close(dir), 0);
    CHECK_EQ(coil_close(score), 0);
    CHECK_EQ(coil_close(file), 0);
}

COIL_TEST(io, a_timerfd_is_read_when_it_is_time)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec at = {.it_value = {.tv_nsec = 1000000}};
    uint64_t expirations = 0;

    CHECK_EQ(timerfd_settime(fd, 0, &at, NULL), 0);
    CHECK_EQ(coil_read(fd, &expirations, sizeof(expirations)), 8);
    CHECK_EQ(expirations, 1);
    CHECK_EQ(coil_close(fd), 0);
}

static ssize_t fail_as_a_timerfd(struct op *op)
{
    (void)op;
    errno = ECANCELED;
    return -1;
}

/* A timerfd says it when somebody sets the clock, which a test had better not. */
COIL_TEST(io, what_the_system_calls_cancelled_is_not_what_we_call_so)
{
    struct op op = {.kind = OP_CALL, .call = fail_as_a_timerfd};

    CHECK_EQ(coil__op_perform(&op), -EIO);
}

COIL_TEST(io, a_terminal_is_read_line_by_line_until_it_hangs_up)
{
    char buf[16];
    struct caller c = {.call = CALL_READ, .buf = buf, .n = sizeof(buf)};
    struct coil_group g;
    int master;
    int slave;
    ssize_t n;

    CHECK_EQ(openpty(&master, &slave, NULL, NULL, NULL), 0);
    c.fd = slave;
    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK_EQ(coil_write(master, "half", 4), 4);
    for (int i = 0; i < 4; i++)
        coil_yield_shielded();
    CHECK(!c.answered); /* a line has an end */
    CHECK_EQ(coil_write(master, " whole\n", 7), 7);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 11);
    CHECK_EQ(memcmp(buf, "half whole\n", 11), 0);

    for (ssize_t echoed = 0; echoed < 12; echoed += n) { /* the kernel echoes when it likes */
        n = coil_read(master, buf, sizeof(buf));
        CHECK(n > 0);
    }
    c = (struct caller){.call = CALL_READ, .fd = master, .buf = buf, .n = sizeof(buf)};
    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK(!c.answered);
    CHECK_EQ(coil_close(slave), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, -EIO);
    CHECK_EQ(coil_close(master), 0);
}

/* --- Checkpoints, turns, signals -------------------------------------------------------------- */

COIL_TEST(io, s4_1_a_call_in_a_cancelled_scope_did_not_happen_though_it_could_at_once)
{
    for (enum call call = 0; call < CALL_COUNT; call++) {
        struct coil_scope s;
        int ends[2];
        char byte = 'x';

        if (call == CALL_ACCEPT)
            continue;
        wire_open(WIRE_UNIX, ends);
        CHECK_EQ(write(ends[1], "y", 1), 1);
        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_cancel(&s, NULL);
        call_check(call, call_now(call, ends[0], &byte, 1), -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
        CHECK_EQ(wire_drain(ends[0]), 1);
        CHECK_EQ(wire_drain(ends[1]), 0);
        wire_close(ends);
    }
}

/* Also where the system call is coil's own to make on every backend, and would not have waited. */
COIL_TEST(io, s4_1_a_deadline_already_past_acts_though_the_call_could_finish_at_once)
{
    for (int i = 0; i < 4; i++) {
        struct sockaddr_un addr;
        struct coil_scope s;
        socklen_t len;
        uint64_t count = 0;
        int listener = wire_listen_unix(4, &addr, &len);
        int fd = i == 2 ? coil_socket(AF_UNIX, SOCK_STREAM, 0) : eventfd(1, 0);
        int ends[2];
        int r;

        wire_open(WIRE_PIPE, ends);
        coil_scope_begin(&s, coil_now() - 1);
        if (i == 0)
            r = (int)coil_write(ends[1], "x", 1);
        else if (i == 1)
            r = (int)coil_read(fd, &count, sizeof(count));
        else if (i == 2)
            r = coil_connect(fd, (struct sockaddr *)&addr, len);
        else
            r = (int)coil_pread(fd, &count, sizeof(count), 0);
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(coil_scope_end(&s, r), 0);
        CHECK(!wire_ready(ends[0], POLLIN));
        CHECK(!wire_ready(listener, POLLIN));
        CHECK_EQ(count, 0);
        CHECK_EQ(coil_close(fd), 0);
        CHECK_EQ(coil_close(ends[1]), 0);
        close(ends[0]);
        close(listener);
    }
}

COIL_TEST(io, s4_1_a_deadline_that_passes_while_a_task_computes_acts_at_its_next_call)
{
    struct coil_scope s;
    char byte = '.';
    int ends[2];

    wire_open(WIRE_PIPE, ends);
    CHECK_EQ(coil_write(ends[1], "x", 1), 1);
    coil_scope_begin(&s, coil_now() - 1);
    inside_deadlines_were_to_come();
    CHECK_EQ(coil_read(ends[0], &byte, 1), -ECANCELED);
    CHECK_EQ(byte, '.');
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_read(ends[0], &byte, 1), 1);

    coil_scope_begin(&s, coil_now() - 1);
    inside_deadlines_were_to_come();
    CHECK_EQ(coil_write(ends[1], "y", 1), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(wire_drain(ends[0]), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
}

/* What is answered on the spot on every backend, though the ring does most of its kind. */
enum spot {
    SPOT_CONNECT_UNIX,
    SPOT_SEND_DATAGRAM,
    SPOT_READ_FILE,
    SPOT_PREAD_DEVICE,
    SPOT_READ_NOTHING,
    SPOT_WRITE_NOTHING,
    SPOT_COUNT,
};

struct spots {
    struct sockaddr_un addr;
    socklen_t len;
    int listener;
    int datagrams[2];
    int stream[2];
    int fds[SPOT_COUNT];
};

static void spots_open(struct spots *s)
{
    char path[] = "/tmp/coil-test-XXXXXX";

    s->listener = wire_listen_unix(4, &s->addr, &s->len);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, s->datagrams), 0);
    wire_open(WIRE_UNIX, s->stream);
    s->fds[SPOT_CONNECT_UNIX] = coil_socket(AF_UNIX, SOCK_STREAM, 0);
    s->fds[SPOT_SEND_DATAGRAM] = s->datagrams[0];
    s->fds[SPOT_READ_FILE] = mkstemp(path);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(pwrite(s->fds[SPOT_READ_FILE], "x", 1, 0), 1);
    s->fds[SPOT_PREAD_DEVICE] = open("/dev/zero", O_RDONLY);
    s->fds[SPOT_READ_NOTHING] = s->stream[0];
    s->fds[SPOT_WRITE_NOTHING] = s->stream[0];
}

static void spots_close(struct spots *s)
{
    close(s->listener);
    close(s->datagrams[1]);
    close(s->stream[1]);
    for (enum spot spot = 0; spot < SPOT_WRITE_NOTHING; spot++)
        CHECK_EQ(coil_close(s->fds[spot]), 0);
}

static ssize_t spot_call(const struct spots *s, enum spot spot)
{
    char byte = '.';

    switch (spot) {
    case SPOT_CONNECT_UNIX:
        return coil_connect(s->fds[spot], (const struct sockaddr *)&s->addr, s->len);
    case SPOT_SEND_DATAGRAM:
        return coil_send(s->fds[spot], "x", 1, 0);
    case SPOT_READ_FILE:
        return coil_read(s->fds[spot], &byte, 1);
    case SPOT_PREAD_DEVICE:
        return coil_pread(s->fds[spot], &byte, 1, 0);
    case SPOT_READ_NOTHING:
        return coil_read(s->fds[spot], &byte, 0);
    case SPOT_WRITE_NOTHING:
        return coil_writev(s->fds[spot], NULL, 0);
    case SPOT_COUNT:
        break;
    }
    abort();
}

COIL_TEST(io, s4_1_a_deadline_that_passes_while_a_task_computes_acts_where_no_turn_is_needed)
{
    struct spots s;

    spots_open(&s);
    for (enum spot spot = 0; spot < SPOT_COUNT; spot++) {
        struct coil_scope scope;
        char words[32];
        ssize_t r;

        coil_scope_begin(&scope, coil_now() - 1);
        inside_deadlines_were_to_come();
        r = spot_call(&s, spot);
        snprintf(words, sizeof(words), "call %d says %zd", (int)spot, r);
        if (r != -ECANCELED)
            harness_fail(__FILE__, __LINE__, words);
        CHECK_EQ(coil_scope_end(&scope, -ECANCELED), 0);
    }
    CHECK(!wire_ready(s.listener, POLLIN));
    CHECK(!wire_ready(s.datagrams[1], POLLIN));
    spots_close(&s);
}

static int read_past_a_deadline(void *arg)
{
    struct caller *c = arg;
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() - 1);
    inside_deadlines_were_to_come();
    (void)caller_run(c);
    return coil_scope_end(&s, (int)c->result);
}

/* A ring that is full is handed over before the turn's end. */
COIL_TEST_WITH_(io, s4_1_a_deadline_that_passes_while_a_task_computes_acts_whoever_calls_after_it,
                options_.sq_entries = 2;
                options_.shuffle_seed = 0)
{
    struct caller callers[6];
    struct coil_group g;
    char bytes[6];
    int ends[6][2];

    coil_group_begin(&g);
    for (int i = 0; i < 6; i++) {
        wire_open(WIRE_UNIX, ends[i]);
        callers[i] = (struct caller){CALL_READ, ends[i][0], &bytes[i], 1, 0, false};
        CHECK_EQ(coil_group_spawn(&g, i ? caller_run : read_past_a_deadline, &callers[i]), 0);
    }
    CHECK_EQ(write(ends[0][1], "x", 1), 1);
    coil_yield_shielded();
    for (int i = 1; i < 6; i++)
        CHECK_EQ(write(ends[i][1], "y", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(callers[0].result, -ECANCELED);
    CHECK_EQ(wire_drain(ends[0][0]), 1);
    for (int i = 0; i < 6; i++)
        wire_close(ends[i]);
}

COIL_TEST(io, s4_1_connect_and_offsets_and_nothing_at_all_are_checkpoints_too)
{
    struct sockaddr_in addr;
    int listener = wire_listen(4, &addr);
    int client = wire_connect(&addr);
    int fd = coil_socket(AF_INET, SOCK_STREAM, 0);
    int file = temporary_file();
    struct coil_scope s;
    char byte = 'x';

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_accept(listener, NULL, NULL), -ECANCELED);
    CHECK_EQ(coil_connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -ECANCELED);
    CHECK_EQ(coil_pwrite(file, &byte, 1, 0), -ECANCELED);
    CHECK_EQ(coil_pread(file, &byte, 1, 0), -ECANCELED);
    CHECK_EQ(coil_write(file, &byte, 1), -ECANCELED);
    CHECK_EQ(coil_read(file, &byte, 0), -ECANCELED);
    CHECK_EQ(coil_send_all(fd, &byte, 0, 0, NULL), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);

    CHECK_EQ(lseek(file, 0, SEEK_END), 0);
    close(accept(listener, NULL, NULL));
    CHECK(!wire_ready(listener, POLLIN));
    CHECK_EQ(coil_close(file), 0);
    CHECK_EQ(coil_close(fd), 0);
    close(client);
    close(listener);
}

struct busy_body {
    int read_fd;
    int write_fd;
    int rounds;
};

static int never_waits(void *arg)
{
    struct busy_body *b = arg;
    char byte;

    for (; b->rounds < 2000; b->rounds++) {
        CHECK_EQ(coil_write(b->write_fd, "x", 1), 1);
        CHECK_EQ(coil_read(b->read_fd, &byte, 1), 1);
    }
    return 0;
}

static void check_fairness(struct busy_body *b)
{
    struct coil_group g;
    int turns = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, never_waits, b), 0);
    while (b->rounds < 2000) {
        CHECK_EQ(coil_checkpoint(), 0);
        turns++;
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(turns >= 2000 * 2 / 64);
}

COIL_TEST(io, s4_1_a_task_whose_calls_never_wait_leaves_turns_to_others)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        struct busy_body b = {.rounds = 0};
        int ends[2];

        wire_open(wire, ends);
        b.read_fd = ends[0];
        b.write_fd = ends[1];
        check_fairness(&b);
        CHECK_EQ(coil_close(ends[0]), 0);
        CHECK_EQ(coil_close(ends[1]), 0);
    }
}

static int write_on_and_on(void *arg)
{
    struct busy_body *b = arg;

    for (; b->rounds < 2000; b->rounds++)
        CHECK_EQ(coil_write(b->write_fd, "x", 1), 1);
    return 0;
}

COIL_TEST(io, s4_1_a_task_that_only_writes_to_a_pipe_leaves_turns_to_others)
{
    struct busy_body b = {.rounds = 0};
    struct coil_group g;
    int turns = 0;
    int ends[2];

    wire_open(WIRE_PIPE, ends);
    b.write_fd = ends[1];
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, write_on_and_on, &b), 0);
    while (b.rounds < 2000) {
        CHECK_EQ(coil_checkpoint(), 0);
        turns++;
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(turns >= 2000 / 64);
    CHECK_EQ(coil_close(ends[1]), 0);
    close(ends[0]);
}

static int read_at_offset_on_and_on(void *arg)
{
    struct busy_body *b = arg;
    char byte;

    for (; b->rounds < 2000; b->rounds++)
        CHECK_EQ(coil_pread(b->read_fd, &byte, 1, 0), 1);
    return 0;
}

COIL_TEST(io, s4_1_a_task_that_only_reads_at_an_offset_leaves_turns_to_others)
{
    struct busy_body b = {.read_fd = open("/dev/zero", O_RDONLY)};
    struct coil_group g;
    int turns = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, read_at_offset_on_and_on, &b), 0);
    while (b.rounds < 2000) {
        CHECK_EQ(coil_checkpoint(), 0);
        turns++;
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(turns >= 2000 / 64);
    CHECK_EQ(coil_close(b.read_fd), 0);
}

static volatile sig_atomic_t ticks;

static void tick(int signal_number)
{
    (void)signal_number;
    ticks++;
}

COIL_TEST(io, a_signal_is_no_answer)
{
    const struct itimerval often = {{0, 200}, {0, 200}};
    const struct itimerval never = {{0, 0}, {0, 0}};
    struct sigaction sa = {.sa_handler = tick}; /* no SA_RESTART */
    char byte = '.';
    struct caller c = {.call = CALL_READ, .buf = &byte, .n = 1};
    struct coil_group g;
    int ends[2];

    wire_open(WIRE_PIPE, ends);
    c.fd = ends[0];
    CHECK_EQ(sigaction(SIGALRM, &sa, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    coil_group_begin(&g);
    caller_start(&g, &c);
    while (ticks < 50)
        CHECK_EQ(coil_sleep(COIL_MILLISECOND), 0);
    CHECK(!c.answered);
    CHECK_EQ(coil_write(ends[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_EQ(c.result, 1);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
}
