/* wires.h - what tests plug into each other: pairs, listeners, full queues, and calls by number.
 *
 * The other end of a wire is driven by plain system calls, none of which can wait for more than
 * WIRE_PATIENCE_S. An end that coil used is closed with coil_close, the other with close. */
#ifndef TESTS_WIRES_H
#define TESTS_WIRES_H

#include "harness.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#if defined(__GNUC__)
#define WIRE_UNUSED __attribute__((unused))
#endif

#define WIRE_PATIENCE_S 20

/* --- Pairs ------------------------------------------------------------------------------------ */

enum wire {
    WIRE_PIPE, /* one way: 0 reads, 1 writes */
    WIRE_UNIX,
    WIRE_TCP,
    WIRE_COUNT,
};

/* A listener on 127.0.0.1. ret says where. */
static WIRE_UNUSED int wire_listen(int backlog, struct sockaddr_in *ret)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(*ret);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&here, sizeof(here)), 0);
    CHECK_EQ(listen(fd, backlog), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

/* The same on a Unix socket, under a name that the kernel makes up and that leaves no file. */
static WIRE_UNUSED int wire_listen_unix(int backlog, struct sockaddr_un *ret, socklen_t *ret_len)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&here, sizeof(here.sun_family)), 0);
    CHECK_EQ(listen(fd, backlog), 0);
    *ret_len = sizeof(*ret);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)ret, ret_len), 0);
    return fd;
}

/* Connects without waiting for anybody to accept; the kernel does it all. */
static WIRE_UNUSED int wire_connect(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    CHECK_EQ(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0, 0);
    return fd;
}

/* Bounds what the plain side may wait. */
static WIRE_UNUSED void wire_limit(int fd)
{
    const struct timeval limit = {.tv_sec = WIRE_PATIENCE_S};

    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
}

static WIRE_UNUSED void wire_open(enum wire wire, int ends[2])
{
    struct sockaddr_in addr;
    int listener;

    if (wire == WIRE_PIPE) {
        CHECK_EQ(pipe(ends), 0);
    } else if (wire == WIRE_UNIX) {
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        wire_limit(ends[1]);
    } else {
        listener = wire_listen(1, &addr);
        ends[1] = wire_connect(&addr);
        ends[0] = accept(listener, NULL, NULL);
        CHECK(ends[0] >= 0);
        close(listener);
        wire_limit(ends[1]);
    }
}

/* Closes 0 for coil and 1 for the plain side. */
static WIRE_UNUSED void wire_close(int ends[2])
{
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

/* Ends a TCP connection the rude way. */
static WIRE_UNUSED void wire_reset(int fd)
{
    const struct linger rude = {.l_onoff = 1};

    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &rude, sizeof(rude)), 0);
    CHECK_EQ(close(fd), 0);
}

/* --- The plain side --------------------------------------------------------------------------- */

/* Is fd ready for this, now? */
static WIRE_UNUSED bool wire_ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) == 1;
}

/* Waits until it is, since even loopback may take its time. */
static WIRE_UNUSED void wire_await(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    CHECK_EQ(poll(&p, 1, WIRE_PATIENCE_S * 1000), 1);
}

/* Writes until there is no room; how many bytes that took. */
static WIRE_UNUSED size_t wire_fill(int fd)
{
    static const char zeroes[4096];
    int flags = fcntl(fd, F_GETFL);
    size_t sum = 0;
    ssize_t r;

    CHECK_EQ(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    while ((r = write(fd, zeroes, sizeof(zeroes))) > 0 || (r = write(fd, zeroes, 1)) > 0)
        sum += (size_t)r;
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(fcntl(fd, F_SETFL, flags), 0);
    return sum;
}

/* Reads all there is; how many bytes. */
static WIRE_UNUSED size_t wire_drain(int fd)
{
    static char sink[65536];
    int flags = fcntl(fd, F_GETFL);
    size_t sum = 0;
    ssize_t r;

    CHECK_EQ(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    while ((r = read(fd, sink, sizeof(sink))) > 0)
        sum += (size_t)r;
    CHECK_EQ(fcntl(fd, F_SETFL, flags), 0);
    return sum;
}

/* --- Every call of io.h that can wait on a stream, by number ---------------------------------- */

enum call {
    CALL_READ,
    CALL_READV,
    CALL_RECV,
    CALL_RECVFROM,
    CALL_RECVMSG,
    CALL_WAIT_READABLE,
    CALL_ACCEPT,

    CALL_WRITE,
    CALL_WRITEV,
    CALL_SEND,
    CALL_SENDTO,
    CALL_SENDMSG,
    CALL_SEND_ALL,
    CALL_WAIT_WRITABLE,
    CALL_COUNT,
};

#define CALL_READERS 6 /* the first so many read, also from what is no listener */

static WIRE_UNUSED bool call_reads(enum call call)
{
    return call <= CALL_ACCEPT;
}

/* The calls that also go to what is not a socket. */
static WIRE_UNUSED bool call_is_general(enum call call)
{
    return call <= CALL_READV || call == CALL_WAIT_READABLE || call == CALL_WRITE ||
           call == CALL_WRITEV || call == CALL_WAIT_WRITABLE;
}

static WIRE_UNUSED ssize_t call_now(enum call call, int fd, void *buf, size_t n)
{
    struct iovec iov = {.iov_base = buf, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    switch (call) {
    case CALL_READ:
        return coil_read(fd, buf, n);
    case CALL_READV:
        return coil_readv(fd, &iov, 1);
    case CALL_RECV:
        return coil_recv(fd, buf, n, 0);
    case CALL_RECVFROM:
        return coil_recvfrom(fd, buf, n, 0, NULL, NULL);
    case CALL_RECVMSG:
        return coil_recvmsg(fd, &msg, 0);
    case CALL_WAIT_READABLE:
        return coil_wait_readable(fd);
    case CALL_ACCEPT:
        return coil_accept(fd, NULL, NULL);
    case CALL_WRITE:
        return coil_write(fd, buf, n);
    case CALL_WRITEV:
        return coil_writev(fd, &iov, 1);
    case CALL_SEND:
        return coil_send(fd, buf, n, 0);
    case CALL_SENDTO:
        return coil_sendto(fd, buf, n, 0, NULL, 0);
    case CALL_SENDMSG:
        return coil_sendmsg(fd, &msg, 0);
    case CALL_SEND_ALL:
        return coil_send_all(fd, buf, n, 0, NULL);
    case CALL_WAIT_WRITABLE:
        return coil_wait_writable(fd);
    case CALL_COUNT:
        break;
    }
    abort();
}

/* As CHECK_EQ, and says which call it was. */
static WIRE_UNUSED void call_check(enum call call, ssize_t result, ssize_t expected)
{
    static const char *const names[] = {
        "coil_read",     "coil_readv",   "coil_recv",  "coil_recvfrom", "coil_recvmsg",
        "wait_readable", "coil_accept",  "coil_write", "coil_writev",   "coil_send",
        "coil_sendto",   "coil_sendmsg", "send_all",   "wait_writable",
    };
    char words[128];

    if (result == expected)
        return;
    snprintf(words, sizeof(words), "%s says %zd, not %zd", names[call], result, expected);
    harness_fail(__FILE__, __LINE__, words);
}

/* A call in a task of its own. */
struct caller {
    enum call call;
    int fd;
    void *buf;
    size_t n;
    ssize_t result; /* once answered */
    bool answered;
};

static WIRE_UNUSED int caller_run(void *arg)
{
    struct caller *c = arg;

    c->result = call_now(c->call, c->fd, c->buf, c->n);
    c->answered = true;
    return 0;
}

/* Starts c in g and lets it get as far as it can: it waits, or has its answer. */
static WIRE_UNUSED void caller_start(struct coil_group *g, struct caller *c)
{
    CHECK_EQ(coil_group_spawn(g, caller_run, c), 0);
    for (int i = 0; i < 4; i++)
        coil_yield_shielded();
}

#endif
