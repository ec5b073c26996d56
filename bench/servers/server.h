/* server.h - what the two raw servers share and what is not measured: arguments, threads, the
 * listener, the end. */

#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SERVER_BUFFER_SIZE = 16 * 1024, SERVER_BACKLOG = 1024 };

static inline _Noreturn void server_die(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

struct server {
    const char *name;
    void (*serve)(struct server *); /* one loop: listens, announces itself, never returns */
    int port;
    int loops;
    atomic_int starting; /* loops that do not listen yet */
};

static inline void server_usage(const char *program)
{
    fprintf(stderr, "usage: %s --port PORT [--loops N]\n", program);
    exit(2);
}

static inline void server_arguments(struct server *s, int argc, char **argv)
{
    s->loops = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0)
            s->port = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--loops") == 0)
            s->loops = atoi(argv[i + 1]);
        else
            server_usage(argv[0]);
    }
    if (argc % 2 == 0 || s->port <= 0 || s->port > 65535 || s->loops <= 0 || s->loops > 1024)
        server_usage(argv[0]);
    s->starting = s->loops;
}

static inline void server_set_nodelay(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

/* IPv6 that takes IPv4 too, as coil's echo listens, so that both walk the same way through the
 * kernel. */
static inline int server_listen(const struct server *s, int flags)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)s->port)};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
    if (fd < 0)
        server_die("socket", errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (s->loops > 1)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        server_die("bind", errno);
    if (listen(fd, SERVER_BACKLOG) < 0)
        server_die("listen", errno);
    return fd;
}

static inline void server_end(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

/* Each loop says it when it accepts; the last one tells the world. */
static inline void server_announce(struct server *s)
{
    if (atomic_fetch_sub(&s->starting, 1) > 1)
        return;
    printf("listening on 127.0.0.1:%d, %s, loops %d\n", s->port, s->name, s->loops);
    fflush(stdout);
}

/* The CPU of the mask that a loop is for, as coil deals them: the nth loop gets the nth. */
static inline int server_cpu(const cpu_set_t *mask, int index)
{
    index %= CPU_COUNT(mask);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, mask) && index-- == 0)
            return cpu;
    return 0;
}

static inline void server_pin(pthread_t thread, int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)pthread_setaffinity_np(thread, sizeof(one), &one); /* if refused, it works unpinned */
}

static inline void *server_thread(void *arg)
{
    struct server *s = arg;

    s->serve(s);
    return NULL;
}

/* A thread a loop. SIGTERM ends the process with 0; the kernel gives back all it holds. */
static inline _Noreturn void server_run(struct server *s)
{
    cpu_set_t mask;

    signal(SIGTERM, server_end);
    if (s->loops > 1 && sched_getaffinity(0, sizeof(mask), &mask) < 0)
        server_die("sched_getaffinity", errno);
    for (int i = 1; i < s->loops; i++) {
        pthread_t thread;
        int r = pthread_create(&thread, NULL, server_thread, s);

        if (r)
            server_die("pthread_create", r);
        server_pin(thread, server_cpu(&mask, i));
    }
    if (s->loops > 1)
        server_pin(pthread_self(), server_cpu(&mask, 0));
    s->serve(s);
    abort();
}

#endif
