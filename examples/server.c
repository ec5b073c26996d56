/* server.c - listening, accepting, and the signal that ends it. */
#define _GNU_SOURCE
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <coil.h>

#define ACCEPT_PAUSE_NS (100 * COIL_MILLISECOND)

/* One socket for both families; a kernel without IPv6 has only the older one. */
int server_listen(int port, const char **ret_host)
{
    struct sockaddr_in6 any6 = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_any};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr *any = (struct sockaddr *)&any6;
    socklen_t len = sizeof(any6);
    const int one = 1;
    const int zero = 0;
    int fd = coil_socket(AF_INET6, SOCK_STREAM, 0);
    int r;

    *ret_host = "[::]";
    if (fd == -EAFNOSUPPORT) {
        *ret_host = "0.0.0.0";
        any = (struct sockaddr *)&any4;
        len = sizeof(any4);
        fd = coil_socket(AF_INET, SOCK_STREAM, 0);
    }
    if (fd < 0)
        return fd;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)); /* one a loop, on the same port */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* is inherited */
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    r = coil_bind(fd, any, len);
    if (r >= 0)
        r = coil_listen(fd, 4096);
    if (r < 0) {
        (void)coil_close(fd);
        return r;
    }
    return fd;
}

/* That one connection was gone, or refused, before we took it: accept(2) says to try again. */
static bool connection_failed(int r)
{
    static const int codes[] = {ECONNABORTED, EPROTO,    ENETDOWN,     ENOPROTOOPT,
                                EHOSTDOWN,    ENONET,    EHOSTUNREACH, EOPNOTSUPP,
                                ENETUNREACH,  ETIMEDOUT, ECONNRESET};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (r == -codes[i])
            return true;
    return false;
}

static bool short_of_something(int r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS;
}

int server_accept(int listener, atomic_ulong *pauses)
{
    for (;;) {
        int fd = coil_accept(listener, NULL, NULL);

        if (short_of_something(fd)) {
            atomic_fetch_add(pauses, 1);
            fd = coil_sleep(ACCEPT_PAUSE_NS);
            if (fd < 0)
                return fd;
        } else if (!connection_failed(fd)) {
            return fd;
        }
    }
}

int server_accept_last(int listener)
{
    int fd;

    do
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (fd < 0 && connection_failed(-errno));
    return fd;
}

static sigset_t end_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

void server_block_signals(void)
{
    sigset_t set = end_signals();

    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Nobody reads the signal, so every loop's signalfd stays readable once it has come. */
int server_wait_for_end(void)
{
    sigset_t set = end_signals();
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int r;

    if (fd < 0)
        return -errno;
    r = coil_wait_readable(fd);
    (void)coil_close(fd);
    return r;
}

int server_open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    if (!dir)
        return -1;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}
