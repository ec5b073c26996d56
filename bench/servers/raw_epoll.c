/* raw_epoll.c - the floor on epoll: a TCP echo written by hand, a thread a loop, no library.
 *
 * Each socket is registered once, edge-triggered, for both directions. A request then costs one
 * receive and one send: a short read says that the socket is empty, so nobody asks it again for
 * -EAGAIN. */

#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENT_COUNT_MAX = 512 };

struct connection {
    int fd;
    size_t len;  /* bytes in buf; 0: free for the next receive */
    size_t sent; /* of those, already sent */
    struct connection *next_free;
    char buf[SERVER_BUFFER_SIZE];
};

static _Thread_local struct connection *free_connections;

static struct connection *connection_open(int fd)
{
    struct connection *c = free_connections;

    if (c)
        free_connections = c->next_free;
    else if (!(c = malloc(sizeof(*c))))
        server_die("malloc", ENOMEM);
    c->fd = fd;
    c->len = c->sent = 0;
    return c;
}

static void connection_close(struct connection *c)
{
    close(c->fd);
    c->next_free = free_connections;
    free_connections = c;
}

/* Sends what buf still holds. 1: all gone, 0: the socket is full and will tell, -1: broken. */
static int connection_flush(struct connection *c)
{
    while (c->sent < c->len) {
        ssize_t n = send(c->fd, c->buf + c->sent, c->len - c->sent, MSG_NOSIGNAL);

        if (n >= 0)
            c->sent += (size_t)n;
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            return -1;
    }
    c->len = c->sent = 0;
    return 1;
}

/* Echoes until the socket is empty or full; false: the connection is over. */
static bool connection_run(struct connection *c, uint32_t events)
{
    /* Bytes may stand before an end or an error: then a short read is not the end of it. */
    bool read_to_end = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);

    for (;;) {
        int flushed = connection_flush(c);
        ssize_t n;

        if (flushed <= 0)
            return flushed == 0;
        n = recv(c->fd, c->buf, sizeof(c->buf), 0);
        if (n == 0)
            return false;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        c->len = (size_t)n;
        if (c->len < sizeof(c->buf) && !read_to_end)
            return connection_flush(c) >= 0;
    }
}

static void accept_all(int epoll_fd, int listen_fd)
{
    for (;;) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};

        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            server_die("accept4", errno);
        server_set_nodelay(fd);
        event.data.ptr = connection_open(fd);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            server_die("epoll_ctl", errno);
    }
}

static void serve(struct server *s)
{
    int listen_fd = server_listen(s, SOCK_NONBLOCK);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENT_COUNT_MAX], event = {.events = EPOLLIN | EPOLLET};

    if (epoll_fd < 0)
        server_die("epoll_create1", errno);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event) < 0)
        server_die("epoll_ctl", errno);
    server_announce(s);

    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENT_COUNT_MAX, -1);

        if (count < 0 && errno != EINTR)
            server_die("epoll_wait", errno);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;

            if (!c)
                accept_all(epoll_fd, listen_fd);
            else if (!connection_run(c, events[i].events))
                connection_close(c);
        }
    }
}

int main(int argc, char **argv)
{
    struct server server = {.name = "raw epoll", .serve = serve};

    server_arguments(&server, argc, argv);
    server_run(&server);
}
