/* echo.c - a complete server: a task a connection, an idle time-out, and an orderly end.
 *
 *      echo --port P [--backend io_uring|epoll] [--loops N] [--idle MS] [--drain MS]
 *
 * --idle 0: no time-out. SIGTERM or SIGINT stops listening and gives the connections that are left
 * --drain milliseconds. The ledger line at the end says that nothing was lost.
 * `redis-benchmark -p P -t ping_mbulk` can drive it: an echoed RESP command is a valid RESP reply.
 * Sockets and signals are in server.c. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coil.h>

#include "server.h"

struct ledger {
    atomic_ulong accepted;
    atomic_ulong served; /* ended because the peer was done */
    atomic_ulong timed_out;
    atomic_ulong failed;
    atomic_ulong cut_off; /* by the end of the drain */
    atomic_ulong pauses;  /* in accepting, for want of descriptors or memory */
    atomic_ulong late_results;
    atomic_uint listening;
};

struct config {
    int port;
    unsigned int loops;
    int64_t idle_ns;
    int64_t drain_ns;
    const char *backend;
    struct ledger ledger;
};

struct server {
    struct config *config;
    struct coil_group connections;
    int listener;
    const char *host; /* that it listens on */
};

struct connection {
    struct server *server;
    int fd;
};

static int64_t idle_deadline(const struct config *c)
{
    return c->idle_ns == COIL_FOREVER ? COIL_FOREVER : coil_now_coarse() + c->idle_ns;
}

/* Sends back what comes until the peer is done. Each message moves the deadline. */
static int echo(int fd, const struct config *config)
{
    struct coil_scope idle;
    char buf[16 * 1024];
    ssize_t n;
    int rc;

    coil_timeout_begin(&idle, idle_deadline(config));
    do {
        n = coil_recv(fd, buf, sizeof(buf), 0);
        rc = n > 0 ? coil_send_all(fd, buf, (size_t)n, 0, NULL) : (int)n;
        coil_scope_set_deadline(&idle, idle_deadline(config));
    } while (n > 0 && rc == 0);
    return coil_scope_end(&idle, rc);
}

static int serve(void *arg)
{
    struct connection *c = arg;
    struct ledger *ledger = &c->server->config->ledger;
    int rc = echo(c->fd, c->server->config);

    (void)coil_close(c->fd);
    if (rc == -ETIME)
        atomic_fetch_add(&ledger->timed_out, 1);
    else if (rc == -ECANCELED)
        atomic_fetch_add(&ledger->cut_off, 1);
    else if (rc < 0)
        atomic_fetch_add(&ledger->failed, 1); /* the peer's affair, not the group's */
    else
        atomic_fetch_add(&ledger->served, 1);
    free(c);
    return 0;
}

static void start_connection(struct server *s, int fd)
{
    struct connection *c = malloc(sizeof(*c));

    atomic_fetch_add(&s->config->ledger.accepted, 1);
    if (c) {
        *c = (struct connection){s, fd};
        if (coil_group_spawn(&s->connections, serve, c) == 0)
            return;
        free(c);
    }
    (void)coil_close(fd);
    atomic_fetch_add(&s->config->ledger.failed, 1);
}

static int accept_all(void *arg)
{
    struct server *s = arg;
    int fd;

    while ((fd = server_accept(s->listener, &s->config->ledger.pauses)) >= 0)
        start_connection(s, fd);
    return fd;
}

static void say_listening(struct server *s)
{
    if (atomic_fetch_add(&s->config->ledger.listening, 1) + 1 != coil_loop_count())
        return;
    printf("listening on %s:%d, backend %s (%s), loops %u\n", s->host, s->config->port,
           coil_backend_name(), coil_backend_reason(), coil_loop_count());
    fflush(stdout);
}

/* The kernel has let some in whom nobody has met yet. */
static void stop_listening(struct server *s)
{
    int fd;

    while ((fd = server_accept_last(s->listener)) >= 0)
        start_connection(s, fd);
    (void)coil_close(s->listener);
}

/* Accepts until the signal, then gives the connections that are left their time. */
static int run_server(struct server *s)
{
    struct coil_group acceptor;
    int rc;

    coil_group_begin(&acceptor);
    rc = coil_group_spawn(&acceptor, accept_all, s);
    if (rc >= 0) {
        say_listening(s);
        rc = server_wait_for_end();
    }
    coil_scope_cancel(coil_group_scope(&acceptor), "no more connections");
    rc = coil_group_end(&acceptor, rc);
    stop_listening(s);
    coil_scope_set_deadline(coil_group_scope(&s->connections), coil_now() + s->config->drain_ns);
    return rc;
}

static int loop_main(void *arg)
{
    struct server s = {.config = arg};
    struct coil_stats stats;
    int rc;

    s.listener = server_listen(s.config->port, &s.host);
    if (s.listener < 0)
        return s.listener;
    coil_group_begin(&s.connections);
    rc = run_server(&s);
    rc = coil_group_end(&s.connections, rc);
    if (coil_loop_stats(&stats) == 0)
        atomic_fetch_add(&s.config->ledger.late_results, stats.late_results);
    return rc;
}

static int parse(struct config *c, int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];

        if (strcmp(argv[i], "--port") == 0)
            c->port = atoi(value);
        else if (strcmp(argv[i], "--backend") == 0)
            c->backend = value;
        else if (strcmp(argv[i], "--loops") == 0)
            c->loops = (unsigned int)atoi(value);
        else if (strcmp(argv[i], "--idle") == 0)
            c->idle_ns = atoi(value) ? atoi(value) * COIL_MILLISECOND : COIL_FOREVER;
        else if (strcmp(argv[i], "--drain") == 0)
            c->drain_ns = atoi(value) * COIL_MILLISECOND;
        else
            return -EINVAL;
    }
    return argc % 2 && c->port > 0 && c->port < 65536 ? 0 : -EINVAL;
}

static void print_ledger(const struct ledger *l, int leaked)
{
    unsigned long open = l->accepted - l->served - l->timed_out - l->failed - l->cut_off;

    printf(
        "ledger: accepted %lu, served %lu, timed out %lu, failed %lu, cut off %lu, still open %lu, "
        "accept pauses %lu, late results delivered %lu, fds leaked %d\n",
        l->accepted, l->served, l->timed_out, l->failed, l->cut_off, open, l->pauses,
        l->late_results, leaked);
}

int main(int argc, char **argv)
{
    struct config config = {.loops = 0, .idle_ns = 60 * COIL_SECOND, .drain_ns = 5 * COIL_SECOND};
    struct coil_runtime_options options = {.loops = 0};
    int before;
    int rc;

    if (parse(&config, argc, argv) < 0) {
        fprintf(stderr, "usage: echo --port P [--backend io_uring|epoll] [--loops N] "
                        "[--idle MS] [--drain MS]\n");
        return 2;
    }
    server_block_signals();
    options.loops = config.loops;
    options.loop.backend = config.backend;
    before = server_open_descriptors();
    rc = coil_runtime_run(&options, loop_main, &config);
    print_ledger(&config.ledger, server_open_descriptors() - before);
    if (rc < 0)
        fprintf(stderr, "echo: %s %s\n", strerror(-rc), coil_run_error());
    return rc < 0;
}
