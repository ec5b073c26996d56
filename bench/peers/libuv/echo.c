/* echo.c - an echo server on libuv: a loop, or as many as asked for, each in a thread and with a
 * listener of its own. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

enum { BUFFER_SIZE = 16 * 1024, BACKLOG = 1024, LOOP_COUNT_MAX = 256 };

struct connection {
    uv_tcp_t tcp;
    uv_write_t write;
    char buf[BUFFER_SIZE];
};

struct server {
    int port;
    int loop_count;
};

static void check(int r, const char *what)
{
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(r));
        exit(1);
    }
}

static void connection_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void connection_close(struct connection *c)
{
    uv_close((uv_handle_t *)&c->tcp, connection_closed);
}

static void lend_buffer(uv_handle_t *handle, size_t suggested_size, uv_buf_t *buf)
{
    struct connection *c = handle->data;

    *buf = uv_buf_init(c->buf, sizeof(c->buf));
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf);

static void on_written(uv_write_t *write, int status)
{
    struct connection *c = write->handle->data;

    if (status == UV_ECANCELED)
        return; /* it is being closed */
    if (status < 0 || uv_read_start((uv_stream_t *)&c->tcp, lend_buffer, on_read) < 0)
        connection_close(c);
}

/* Writes at once what the socket takes. While it takes no more, nothing is read into the buffer. */
static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct connection *c = stream->data;
    uv_buf_t rest;
    int sent;

    if (len == 0)
        return;
    if (len < 0) {
        connection_close(c);
        return;
    }
    rest = uv_buf_init(buf->base, (unsigned int)len);
    sent = uv_try_write(stream, &rest, 1);
    if (sent == len)
        return;
    if (sent < 0 && sent != UV_EAGAIN) {
        connection_close(c);
        return;
    }
    if (sent > 0)
        rest = uv_buf_init(buf->base + sent, (unsigned int)(len - sent));
    uv_read_stop(stream);
    if (uv_write(&c->write, stream, &rest, 1, on_written) < 0)
        connection_close(c);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct connection *c;

    if (status < 0)
        return;
    c = malloc(sizeof(*c));
    if (!c)
        abort();
    check(uv_tcp_init(listener->loop, &c->tcp), "uv_tcp_init");
    c->tcp.data = c;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0 || uv_tcp_nodelay(&c->tcp, 1) < 0 ||
        uv_read_start((uv_stream_t *)&c->tcp, lend_buffer, on_read) < 0)
        connection_close(c);
}

/* libuv naps after each accept, for the sake of other processes, unless told not to. */
static void listen_on(uv_tcp_t *listener, uv_loop_t *loop, const struct server *server)
{
    struct sockaddr_in address;
    uv_os_fd_t fd;

    check(uv_ip4_addr("127.0.0.1", server->port, &address), "uv_ip4_addr");
    check(uv_tcp_init_ex(loop, listener, AF_INET), "uv_tcp_init_ex");
    check(uv_fileno((uv_handle_t *)listener, &fd), "uv_fileno");
    if (server->loop_count > 1)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    check(uv_tcp_bind(listener, (struct sockaddr *)&address, 0), "uv_tcp_bind");
    check(uv_listen((uv_stream_t *)listener, BACKLOG, on_connection), "uv_listen");
    check(uv_tcp_simultaneous_accepts(listener, 1), "uv_tcp_simultaneous_accepts");
}

static void serve(uv_loop_t *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
}

static void loop_thread(void *arg)
{
    serve(arg);
}

static void on_signal(uv_signal_t *signal, int number)
{
    _exit(0);
}

/* As many descriptors as the hard limit allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static struct server server_arguments(int argc, char **argv)
{
    struct server server = {.loop_count = 1};

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0)
            server.port = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--loops") == 0)
            server.loop_count = atoi(argv[i + 1]);
    }
    if (server.port <= 0 || server.loop_count < 1 || server.loop_count > LOOP_COUNT_MAX) {
        fprintf(stderr, "usage: %s --port PORT [--loops N]\n", argv[0]);
        exit(2);
    }
    return server;
}

int main(int argc, char **argv)
{
    struct server server = server_arguments(argc, argv);
    static uv_loop_t loops[LOOP_COUNT_MAX];
    static uv_tcp_t listeners[LOOP_COUNT_MAX];
    uv_signal_t end;
    uv_thread_t thread;

    raise_descriptor_limit();
    for (int i = 0; i < server.loop_count; i++) {
        check(uv_loop_init(&loops[i]), "uv_loop_init");
        listen_on(&listeners[i], &loops[i], &server);
    }
    check(uv_signal_init(&loops[0], &end), "uv_signal_init");
    check(uv_signal_start(&end, on_signal, SIGTERM), "uv_signal_start");
    for (int i = 1; i < server.loop_count; i++)
        check(uv_thread_create(&thread, loop_thread, &loops[i]), "uv_thread_create");
    printf("listening on 127.0.0.1:%d, libuv %s, loops %d\n", server.port, uv_version_string(),
           server.loop_count);
    fflush(stdout);
    serve(&loops[0]);
}
