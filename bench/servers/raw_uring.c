/* raw_uring.c - the floor on io_uring: a TCP echo written by hand on liburing, a thread a loop,
 * no library.
 *
 * A connection has one operation in flight: receive, send, receive. That is the sequence a task
 * makes that reads and writes straight down, so the difference to coil is coil, not another way of
 * asking the kernel. */

#define _GNU_SOURCE
#include "server.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>

enum { SQ_ENTRIES = 256, CQ_ENTRIES = 4096 };

struct connection {
    int fd;
    unsigned len;  /* bytes in buf; 0: a receive is in flight, else a send */
    unsigned sent; /* of those, already sent */
    bool emptied;  /* the last receive left nothing in the socket */
    struct connection *next_free;
    char buf[SERVER_BUFFER_SIZE];
};

static _Thread_local struct io_uring ring; /* a loop's */
static _Thread_local struct connection *free_connections;

static struct io_uring_sqe *next_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (!sqe) {
        /* Full: hand over what is there. Under SUBMIT_ALL this empties the queue. */
        int r = io_uring_submit(&ring);

        if (r < 0)
            server_die("io_uring_submit", -r);
        sqe = io_uring_get_sqe(&ring);
        assert(sqe);
    }
    return sqe;
}

static void connection_receive(struct connection *c)
{
    struct io_uring_sqe *sqe = next_sqe();

    c->len = c->sent = 0;
    io_uring_prep_recv(sqe, c->fd, c->buf, sizeof(c->buf), 0);
    /* Spares the kernel an attempt that would find nothing: 2 % of a request. */
    if (c->emptied)
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    io_uring_sqe_set_data(sqe, c);
}

static void connection_send(struct connection *c)
{
    struct io_uring_sqe *sqe = next_sqe();

    io_uring_prep_send(sqe, c->fd, c->buf + c->sent, c->len - c->sent, MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, c);
}

static void connection_open(int fd)
{
    struct connection *c = free_connections;

    if (c)
        free_connections = c->next_free;
    else if (!(c = malloc(sizeof(*c))))
        server_die("malloc", ENOMEM);
    c->fd = fd;
    c->emptied = false;
    server_set_nodelay(fd);
    connection_receive(c);
}

static void connection_close(struct connection *c)
{
    close(c->fd);
    c->next_free = free_connections;
    free_connections = c;
}

static void connection_completed(struct connection *c, const struct io_uring_cqe *cqe)
{
    bool was_send = c->len > 0;

    if (cqe->res <= 0) {
        connection_close(c);
        return;
    }
    if (was_send) {
        c->sent += (unsigned)cqe->res;
    } else {
        c->len = (unsigned)cqe->res;
        c->emptied = !(cqe->flags & IORING_CQE_F_SOCK_NONEMPTY);
    }
    if (c->sent < c->len)
        connection_send(c);
    else
        connection_receive(c);
}

static void listener_arm(int listen_fd)
{
    struct io_uring_sqe *sqe = next_sqe();

    io_uring_prep_multishot_accept(sqe, listen_fd, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, NULL);
}

static void listener_completed(int listen_fd, const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0)
        connection_open(cqe->res);
    else if (cqe->res != -EINTR && cqe->res != -ECONNABORTED)
        server_die("accept", -cqe->res);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        listener_arm(listen_fd);
}

static void ring_open(void)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = CQ_ENTRIES,
    };
    int r = io_uring_queue_init_params(SQ_ENTRIES, &ring, &params);

    if (r < 0)
        server_die("io_uring_queue_init_params", -r);
    r = io_uring_register_ring_fd(&ring);
    if (r < 0)
        server_die("io_uring_register_ring_fd", -r);
}

static void serve(struct server *s)
{
    int listen_fd = server_listen(s, 0);

    ring_open();
    listener_arm(listen_fd);
    server_announce(s);

    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        int r = io_uring_submit_and_wait(&ring, 1);

        if (r < 0 && r != -EINTR)
            server_die("io_uring_submit_and_wait", -r);
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            struct connection *c = io_uring_cqe_get_data(cqe);

            if (c)
                connection_completed(c, cqe);
            else
                listener_completed(listen_fd, cqe);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}

int main(int argc, char **argv)
{
    struct server server = {.name = "raw io_uring", .serve = serve};

    server_arguments(&server, argc, argv);
    server_run(&server);
}
