/* server.h - what the two raw servers share and what is not measured: arguments, the listener, the
 * end. */

#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
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

static inline int server_arguments(int argc, char **argv)
{
    int port = argc == 3 && strcmp(argv[1], "--port") == 0 ? atoi(argv[2]) : 0;

    if (port <= 0 || port > 65535) {
        fprintf(stderr, "usage: %s --port PORT\n", argv[0]);
        exit(2);
    }
    return port;
}

static inline void server_set_nodelay(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

/* IPv6 that takes IPv4 too, as coil's echo listens, so that both walk the same way through the
 * kernel. */
static inline int server_listen(int port, int flags)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
    if (fd < 0)
        server_die("socket", errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
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

/* From here on SIGTERM ends the process with 0; the kernel gives back all it holds. */
static inline void server_announce(int port, const char *name)
{
    signal(SIGTERM, server_end);
    printf("listening on 127.0.0.1:%d, %s\n", port, name);
    fflush(stdout);
}

#endif
