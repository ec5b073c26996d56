/* http.c - an HTTP/1.1 server: plaintext and files, with limits, deadlines and an orderly end.
 *
 *      http --port P [--backend io_uring|epoll] [--loops N] [--root DIR]
 *           [--header-timeout MS] [--body-timeout MS] [--idle-timeout MS] [--send-timeout MS]
 *           [--drain MS] [--max-header BYTES] [--max-body BYTES] [--max-connections N]
 *
 * /plaintext says "Hello, World!"; everything else is a file under --root. A task a connection
 * (http_connection.c) reads requests, has them parsed (http_parse.c) and answers them, in order.
 * SIGTERM or SIGINT stops accepting, closes the connections that are idle, and lets each of the
 * others have the answer it waits for, as its last: all within --drain milliseconds. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http.h"
#include "server.h"

#define HEAD_MOST_MOST 65535 /* the parser's own idea of an URL has 16-bit lengths */

void http_server_close(struct http_server *server, int fd)
{
    int rc;

    (void)coil_close(fd);
    rc = coil_semaphore_release(&server->room);
    assert(rc == 0);
    (void)rc;
}

static void start_connection(struct http_server *s, int fd)
{
    struct http_connection *c = http_connection_new(s, fd);

    atomic_fetch_add(&s->config->ledger.accepted, 1);
    if (c && coil_group_spawn(&s->connections, http_connection_serve, c) == 0)
        return;
    atomic_fetch_add(&s->config->ledger.failed, 1);
    http_server_close(s, fd);
    if (c)
        http_connection_free(c);
}

/* As long as there is room. Beyond that nobody is accepted, to be told so: who waits in the backlog
 * is served when another leaves. */
static int accept_all(void *arg)
{
    struct http_server *s = arg;
    int rc;

    while ((rc = coil_semaphore_acquire(&s->room)) == 0) {
        int fd = server_accept(s->listener, &s->config->ledger.pauses);

        if (fd < 0) {
            rc = coil_semaphore_release(&s->room); /* somebody may be let in yet */
            return rc < 0 ? rc : fd;
        }
        start_connection(s, fd);
    }
    return rc;
}

static void tell_time(struct http_server *s)
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    s->usual_len =
        strftime(s->usual, sizeof(s->usual), "Server: coil\r\nDate: %a, %d %b %Y %T GMT\r\n", &tm);
    s->files.tick++;
}

/* Once a second. A service: it ends when the connections have. */
static int keep_time(void *arg)
{
    struct http_server *s = arg;
    int rc;

    tell_time(s);
    coil_started(0);
    while ((rc = coil_sleep(COIL_SECOND)) == 0)
        tell_time(s);
    return rc;
}

static void say_listening(struct http_server *s)
{
    if (atomic_fetch_add(&s->config->ledger.listening, 1) + 1 != coil_loop_count())
        return;
    printf("listening on %s:%d, backend %s (%s), loops %u\n", s->host, s->config->port,
           coil_backend_name(), coil_backend_reason(), coil_loop_count());
    fflush(stdout);
}

/* The kernel has let some in whom nobody has met yet. */
static void stop_listening(struct http_server *s)
{
    int fd;

    while (coil_semaphore_acquire_nowait(&s->room) == 0 &&
           (fd = server_accept_last(s->listener)) >= 0)
        start_connection(s, fd);
    (void)coil_close(s->listener);
}

/* Asks every connection to finish what it is at, and ends those that are at nothing. */
static void drain(struct http_server *s)
{
    coil_scope_request(coil_group_scope(&s->connections), s->config->drain_ns, "shutting down");
    for (struct http_connection *c = s->all; c; c = c->next)
        if (c->idle)
            coil_scope_cancel(&c->waiting, "shutting down");
}

static int run_server(struct http_server *s)
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
    drain(s);
    return rc;
}

static int run_group(struct http_server *s)
{
    const struct coil_spawn_options service = {.service = 1};
    int rc;

    coil_group_begin(&s->connections);
    rc = coil_group_start_with(&s->connections, keep_time, s, NULL, &service);
    if (rc >= 0)
        rc = run_server(s);
    return coil_group_end(&s->connections, rc);
}

static void free_spare(struct http_server *s)
{
    while (s->spare) {
        struct http_desk *desk = s->spare;

        s->spare = desk->next;
        free(desk);
    }
}

static int loop_main(void *arg)
{
    struct http_config *config = arg;
    struct http_server s = {
        .config = config,
        .room = COIL_SEMAPHORE_INIT(config->connections_most, config->connections_most),
    };
    struct coil_stats stats;
    int rc;

    s.listener = server_listen(config->port, &s.host);
    if (s.listener < 0)
        return s.listener;
    rc = http_files_open(&s.files, config->root);
    if (rc == 0)
        rc = run_group(&s);
    free_spare(&s);
    http_files_close(&s.files);
    atomic_fetch_add(&config->ledger.requests, s.requests);
    if (coil_loop_stats(&stats) == 0)
        atomic_fetch_add(&config->ledger.late_results, stats.late_results);
    return rc;
}

/* --- The command line ------------------------------------------------------------------------ */

static int64_t milliseconds(const char *value)
{
    return atoll(value) * COIL_MILLISECOND;
}

/* Takes one option. False: there is none of that name. */
static bool take(struct http_config *c, const char *name, const char *value)
{
    if (strcmp(name, "--port") == 0)
        c->port = atoi(value);
    else if (strcmp(name, "--backend") == 0)
        c->backend = value;
    else if (strcmp(name, "--loops") == 0)
        c->loops = (unsigned int)atoi(value);
    else if (strcmp(name, "--root") == 0)
        c->root = value;
    else if (strcmp(name, "--header-timeout") == 0)
        c->header_ns = milliseconds(value);
    else if (strcmp(name, "--body-timeout") == 0)
        c->body_ns = milliseconds(value);
    else if (strcmp(name, "--idle-timeout") == 0)
        c->idle_ns = milliseconds(value);
    else if (strcmp(name, "--send-timeout") == 0)
        c->send_ns = milliseconds(value);
    else if (strcmp(name, "--drain") == 0)
        c->drain_ns = milliseconds(value);
    else if (strcmp(name, "--max-header") == 0)
        c->head_most = (size_t)atoll(value);
    else if (strcmp(name, "--max-body") == 0)
        c->body_most = (uint64_t)atoll(value);
    else if (strcmp(name, "--max-connections") == 0)
        c->connections_most = atoll(value);
    else
        return false;
    return true;
}

static bool parse(struct http_config *c, int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2)
        if (!take(c, argv[i], argv[i + 1]))
            return false;
    return argc % 2 && c->port > 0 && c->port < 65536 && c->head_most > 0 &&
           c->head_most <= HEAD_MOST_MOST && c->connections_most > 0;
}

static void print_ledger(const struct http_ledger *l, int leaked)
{
    unsigned long open = l->accepted - l->served - l->timed_out - l->failed - l->cut_off;

    printf("ledger: accepted %lu, served %lu, timed out %lu, failed %lu, cut off %lu, "
           "still open %lu, requests %lu, accept pauses %lu, late results delivered %lu, "
           "fds leaked %d\n",
           l->accepted, l->served, l->timed_out, l->failed, l->cut_off, open, l->requests,
           l->pauses, l->late_results, leaked);
}

int main(int argc, char **argv)
{
    struct http_config config = {
        .header_ns = 10 * COIL_SECOND,
        .body_ns = 30 * COIL_SECOND,
        .idle_ns = 60 * COIL_SECOND,
        .send_ns = 30 * COIL_SECOND,
        .drain_ns = 5 * COIL_SECOND,
        .head_most = 8 * 1024,
        .body_most = 1024 * 1024,
        .connections_most = 10000,
    };
    struct coil_runtime_options options = {.loops = 0};
    int before;
    int rc;

    if (!parse(&config, argc, argv)) {
        fprintf(stderr, "usage: http --port P [--backend io_uring|epoll] [--loops N] [--root DIR] "
                        "[--drain MS] [--max-connections N]\n"
                        "    [--header-timeout MS] [--body-timeout MS] [--idle-timeout MS] "
                        "[--send-timeout MS]\n"
                        "    [--max-header BYTES] [--max-body BYTES]\n");
        return 2;
    }
    server_block_signals();
    options.loops = config.loops;
    options.loop.backend = config.backend;
    before = server_open_descriptors();
    rc = coil_runtime_run(&options, loop_main, &config);
    print_ledger(&config.ledger, server_open_descriptors() - before);
    if (rc < 0)
        fprintf(stderr, "http: %s %s\n", strerror(-rc), coil_run_error());
    return rc < 0;
}
