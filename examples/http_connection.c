/* http_connection.c - a conversation: requests in, answers out, each step under its deadline.
 *
 * Answers are gathered, and sent when the server would have to wait for the client or has no room:
 * so a batch of requests that came together is answered together, and a single one costs one
 * receive and one send. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "http.h"

#define LINGER_NS  COIL_SECOND
#define BODY_ROOM  4096 /* behind a head, which stays until it is answered */
#define SPARE_MOST 256  /* desks that nobody has */

static size_t in_size(const struct http_config *config)
{
    return config->head_most + BODY_ROOM;
}

/* --- Bytes ----------------------------------------------------------------------------------- */

/* Waits for bytes. > 0.  0: there will be none, or the wait was cancelled.  -ETIME: not in time. */
static int receive(struct http_connection *c, char *buf, size_t size, int64_t deadline_ns)
{
    int n;

    coil_timeout_begin(&c->waiting, deadline_ns);
    n = (int)coil_recv(c->fd, buf, size, 0);
    return coil_scope_end(&c->waiting, n);
}

/* The same in the midst of a request. 1.  408: not in time, and the client is to be told. */
static int receive_rest(struct http_connection *c, int64_t deadline_ns)
{
    struct http_desk *d = c->desk;
    int n = receive(c, d->in + d->end, in_size(c->server->config) - d->end, deadline_ns);

    if (n <= 0)
        return n == -ETIME ? 408 : n;
    d->end += (size_t)n;
    return 1;
}

/* Two buffers as one: they leave together, if the client has room. */
static int send_both(int fd, struct iovec both[2])
{
    struct msghdr msg = {.msg_iov = both, .msg_iovlen = 2};

    while (both[0].iov_len + both[1].iov_len) {
        ssize_t n = coil_sendmsg(fd, &msg, 0);

        if (n < 0)
            return (int)n;
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)n < both[i].iov_len ? (size_t)n : both[i].iov_len;

            both[i].iov_base = (char *)both[i].iov_base + part;
            both[i].iov_len -= part;
            n -= (ssize_t)part;
        }
    }
    return 0;
}

int http_send(struct http_connection *c, const char *data, size_t len)
{
    struct http_desk *d = c->desk;
    struct iovec both[2] = {{d->out, d->out_len}, {(void *)(uintptr_t)data, len}};
    int rc;

    coil_timeout_begin(&c->waiting, coil_now_coarse() + c->server->config->send_ns);
    rc = len ? send_both(c->fd, both) : coil_send_all(c->fd, d->out, d->out_len, 0, NULL);
    d->out_len = 0;
    return coil_scope_end(&c->waiting, rc);
}

static int flush(struct http_connection *c)
{
    return c->desk && c->desk->out_len ? http_send(c, NULL, 0) : 0;
}

int http_reserve(struct http_connection *c, size_t len)
{
    return c->desk->out_len + len > sizeof(c->desk->out) ? flush(c) : 0;
}

/* --- Desks ----------------------------------------------------------------------------------- */

static int take_desk(struct http_connection *c)
{
    struct http_server *s = c->server;

    c->desk = s->spare;
    if (c->desk) {
        s->spare = c->desk->next;
        s->spare_count--;
    } else {
        c->desk = malloc(sizeof(*c->desk) + in_size(s->config));
        if (!c->desk)
            return -ENOMEM;
    }
    memset(c->desk, 0, offsetof(struct http_desk, out));
    return 0;
}

static void leave_desk(struct http_connection *c)
{
    struct http_server *s = c->server;

    if (s->spare_count < SPARE_MOST) {
        c->desk->next = s->spare;
        s->spare = c->desk;
        s->spare_count++;
    } else {
        free(c->desk);
    }
    c->desk = NULL;
}

/* --- Requests -------------------------------------------------------------------------------- */

/* Moves what has come to the front of its buffer. */
static void close_ranks(struct http_desk *d)
{
    memmove(d->in, d->in + d->begin, d->end - d->begin);
    d->end -= d->begin;
    d->begin = 0;
}

/* Waits for a request to begin. A server that is about to end waits for none, but takes one that is
 * there already: to close on what was sent would reset the connection. */
static int receive_first(struct http_connection *c)
{
    int n = 0;

    if (c->desk)
        leave_desk(c);
    if (!coil_cancel_requested()) {
        c->idle = true;
        n = receive(c, c->first, sizeof(c->first), coil_now_coarse() + c->server->config->idle_ns);
        c->idle = false;
    }
    if (n <= 0 && coil_cancel_requested()) {
        n = (int)recv(c->fd, c->first, sizeof(c->first), MSG_DONTWAIT);
        if (n < 0)
            return 0; /* nothing has come */
    }
    if (n <= 0)
        return n;
    if (take_desk(c) < 0)
        return -ENOMEM;
    memcpy(c->desk->in, c->first, (size_t)n);
    c->desk->end = (size_t)n;
    return 1;
}

/* Waits for more of a head. *deadline_ns is until when, and set here the first time. */
static int receive_more(struct http_connection *c, int64_t *deadline_ns)
{
    close_ranks(c->desk);
    if (*deadline_ns == COIL_FOREVER)
        *deadline_ns = coil_now() + c->server->config->header_ns;
    return receive_rest(c, *deadline_ns);
}

/* HTTP_WHOLE, or the status to refuse with.  0: there is no further request. */
static int read_head(struct http_connection *c)
{
    int64_t deadline_ns = COIL_FOREVER;
    int rc;

    for (;;) {
        struct http_desk *d = c->desk;
        bool begun = d && d->end > d->begin;

        if (begun) {
            rc = http_parse_head(&d->parse, d->in + d->begin, d->end - d->begin,
                                 c->server->config->head_most);
            if (rc != HTTP_MORE)
                return rc;
        }
        rc = flush(c);
        if (rc < 0)
            return rc;
        rc = begun ? receive_more(c, &deadline_ns) : receive_first(c);
        if (rc != 1)
            return rc;
    }
}

/* May the body come? HTTP_WHOLE, or the status to refuse with. */
static int admit_body(struct http_connection *c)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct http_request *r = &c->desk->parse.request;
    int rc;

    if (r->body_len > c->server->config->body_most)
        return 413;
    if (!r->expects_continue)
        return HTTP_WHOLE;
    if (!r->is_get && !r->is_head)
        return 405; /* rather now than when it has come */
    rc = http_reserve(c, sizeof(go_on));
    if (rc < 0)
        return rc;
    http_put(c, go_on, sizeof(go_on) - 1);
    return HTTP_WHOLE;
}

/* Reads the body, and forgets it: nothing here wants one. The head stays where it is. As
 * read_head. */
static int read_body(struct http_connection *c)
{
    const struct http_config *config = c->server->config;
    const int64_t deadline_ns = coil_now() + config->body_ns;
    struct http_desk *d = c->desk;
    uint64_t received = 0;
    size_t used;
    int rc;

    close_ranks(d); /* so that there is room behind the head */
    http_parse_moved(&d->parse, d->in);
    for (d->begin = d->parse.request.head_len;;) {
        rc = http_parse_body(&d->parse, d->in + d->begin, d->end - d->begin, &used);
        d->begin += used;
        received += used;
        if (received > config->body_most)
            return 413;
        if (rc != HTTP_MORE)
            return rc;
        d->begin = d->end = d->parse.request.head_len;
        rc = flush(c);
        if (rc < 0)
            return rc;
        rc = receive_rest(c, deadline_ns);
        if (rc != 1)
            return rc;
    }
}

/* --- The whole of it ------------------------------------------------------------------------- */

/* HTTP_WHOLE, or the status to refuse with.  0: there is no further request. */
static int read_request(struct http_connection *c)
{
    int rc = read_head(c);

    if (rc != HTTP_WHOLE)
        return rc;
    if (c->desk->parse.request.has_body) {
        rc = admit_body(c);
        return rc == HTTP_WHOLE ? read_body(c) : rc;
    }
    c->desk->begin += c->desk->parse.request.head_len;
    return HTTP_WHOLE;
}

/* 1: and on to the next.  0: that was all. */
static int converse_once(struct http_connection *c)
{
    int rc = read_request(c);

    if (rc <= 0)
        return rc;
    rc = rc == HTTP_WHOLE ? http_answer(c) : http_refuse(c, rc);
    return rc < 0 ? rc : !c->closing;
}

/* Has the client not expected to be closed to, or has it sent what will not be read? */
static bool may_be_sending(const struct http_connection *c)
{
    const struct http_desk *d = c->desk;

    return c->closing && (c->refused || d->parse.request.keep_alive || d->end > d->begin);
}

/* Lets the client finish what it is sending. Closed with bytes unread, the connection would be
 * reset, and the reset overtake the answer. */
static void linger(struct http_connection *c)
{
    int64_t deadline_ns = coil_now() + LINGER_NS;

    if (coil_shutdown(c->fd, SHUT_WR) < 0)
        return;
    while (receive(c, c->first, sizeof(c->first), deadline_ns) > 0)
        ;
}

static int converse(struct http_connection *c)
{
    int rc;

    while ((rc = converse_once(c)) > 0)
        ;
    if (rc == 0)
        rc = flush(c);
    if (rc == 0 && may_be_sending(c))
        linger(c);
    return rc;
}

struct http_connection *http_connection_new(struct http_server *server, int fd)
{
    struct http_connection *c = malloc(sizeof(*c));

    if (!c)
        return NULL;
    memset(c, 0, offsetof(struct http_connection, first));
    c->server = server;
    c->fd = fd;
    c->next = server->all;
    c->link = &server->all;
    if (c->next)
        c->next->link = &c->next;
    server->all = c;
    return c;
}

void http_connection_free(struct http_connection *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    if (c->desk)
        leave_desk(c);
    free(c);
}

static void enter(struct http_connection *c, int rc)
{
    struct http_ledger *l = &c->server->config->ledger;

    if (rc == -ETIME || c->refused == 408)
        atomic_fetch_add(&l->timed_out, 1);
    else if (rc == -ECANCELED)
        atomic_fetch_add(&l->cut_off, 1);
    else if (rc < 0)
        atomic_fetch_add(&l->failed, 1); /* the client's affair, not the group's */
    else
        atomic_fetch_add(&l->served, 1);
}

int http_connection_serve(void *arg)
{
    struct http_connection *c = arg;

    enter(c, converse(c));
    http_server_close(c->server, c->fd);
    http_connection_free(c);
    return 0;
}
