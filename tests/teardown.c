/* teardown.c - the end of a scope, and of a loop, with operations in flight: nothing is lost,
 * nothing is touched late. Of most use under ASan. */
#define _GNU_SOURCE
#include "harness.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY 1000

/* What a task waits in, with a buffer on its own stack. */
enum kind {
    IN_RECV,
    IN_READ,
    IN_ACCEPT,
    IN_POLL,
    IN_SEND,
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

static int open_listener(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = coil_socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    CHECK_EQ(coil_bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
    CHECK_EQ(coil_listen(fd, 1), 0);
    return fd;
}

static void set_up(struct waiter *w, enum kind kind)
{
    int ends[2] = {-1, -1};
    char junk[4096] = "";

    w->kind = kind;
    w->result = 0;
    switch (kind) {
    case IN_READ:
        CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
        break;
    case IN_ACCEPT:
        ends[0] = open_listener();
        break;
    case IN_SLEEP:
    case IN_OPEN:
        break;
    default:
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    }
    if (kind == IN_SEND)
        while (send(ends[0], junk, sizeof(junk), MSG_DONTWAIT) > 0)
            continue;
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

/* Cancels count waiters after so many turns: 0 is before they have begun. */
static void cancel_all(size_t count, int turns)
{
    struct waiter *all = calloc(count, sizeof(*all));
    struct coil_group g;

    CHECK(all);
    coil_group_begin(&g);
    for (size_t i = 0; i < count; i++) {
        set_up(&all[i], (enum kind)(i % KINDS));
        CHECK_EQ(coil_group_spawn(&g, wait_in, &all[i]), 0);
    }
    for (int i = 0; i < turns; i++)
        coil_yield_shielded();
    coil_scope_cancel(coil_group_scope(&g), "the end");
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (size_t i = 0; i < count; i++)
        tear_down(&all[i]);
    free(all);
}

COIL_TEST(teardown, a_scope_ends_with_one_operation_of_each_kind_in_flight)
{
    for (int turns = 0; turns < 4; turns++)
        cancel_all(KINDS, turns);
}

COIL_TEST(teardown, a_scope_ends_with_a_thousand_operations_in_flight)
{
    for (int turns = 0; turns < 4; turns++)
        cancel_all(MANY, turns);
}

/* All of it again, where the whole loop ends: main returns because it was told to. */
static int main_with_many(void *arg)
{
    struct waiter *all = arg;
    struct coil_group g;
    int rc = 0;

    coil_group_begin(&g);
    for (size_t i = 0; i < MANY && rc == 0; i++)
        rc = coil_group_spawn(&g, wait_in, &all[i]);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(coil_shutdown_loops("that was all"), 0);
    rc = coil_group_end(&g, rc);
    for (size_t i = 0; i < MANY; i++)
        tear_down(&all[i]);
    return rc;
}

static int set_up_all(void *arg)
{
    struct waiter *all = arg;

    for (size_t i = 0; i < MANY; i++)
        set_up(&all[i], (enum kind)(i % KINDS));
    return main_with_many(arg);
}

Test(teardown, a_loop_ends_with_a_thousand_operations_in_flight)
{
    struct coil_loop_options options = harness_options();
    struct waiter *all;
    int before;

    harness_need_backend();
    all = calloc(MANY, sizeof(*all));
    CHECK(all);
    before = harness_count_fds();
    CHECK_EQ(coil_run(&options, set_up_all, all), 0);
    CHECK_EQ(harness_count_fds(), before);
    free(all);
}

/* --- Closing with everything in flight ----------------------------------------------------------
 */

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
