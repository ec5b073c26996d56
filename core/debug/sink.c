/* sink.c - writing to a descriptor that may block, when we must not: it is not ours to change.
 *
 * Each write comes after a poll that said there is room, and is of no more than there is room for
 * then: for a pipe PIPE_BUF bytes, for a terminal one. */
#define _GNU_SOURCE
#include "sink.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../../include/coil/common.h"
#include "../io/quiet.h"

#define PATIENCE_NS COIL_SECOND

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * COIL_SECOND + now.tv_nsec;
}

int coil__sink_open(struct sink *s, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    *s = (struct sink){.fd = fd, .kind = SINK_FILE, .patience_ns = PATIENCE_NS};
    if (S_ISSOCK(st.st_mode))
        s->kind = SINK_SOCKET;
    else if (S_ISFIFO(st.st_mode))
        s->kind = SINK_PIPE;
    else if (S_ISCHR(st.st_mode) && isatty(fd))
        s->kind = SINK_TERMINAL;
    return 0;
}

/* Waits until something happens on fd (< 0: nothing will), no longer than a while and what is left
 * of s's patience. */
static int wait_a_while(struct sink *s, int fd, int64_t while_ns)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int64_t begun_ns = now_ns();
    int64_t most_ns = while_ns < s->patience_ns ? while_ns : s->patience_ns;
    int r = poll(&p, 1, (int)((most_ns + COIL_MILLISECOND - 1) / COIL_MILLISECOND));

    s->patience_ns -= now_ns() - begun_ns;
    return r < 0 && errno != EINTR ? -errno : r > 0;
}

/* 0: there is room, or an error that a write will tell. */
static int wait_for_room(struct sink *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    int r = poll(&p, 1, 0);

    while (r <= 0 && s->patience_ns > 0) {
        r = wait_a_while(s, s->fd, s->patience_ns);
        if (r < 0)
            return r;
    }
    return r > 0 ? 0 : -EAGAIN;
}

/* RWF_NOWAIT is for who shares a pipe: another may have taken the room. FIFOs do not know it. */
static ssize_t write_to_pipe(int fd, const char *text, size_t len)
{
    struct iovec v = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
    struct quiet q;
    ssize_t r;

    quiet_begin(&q);
    r = pwritev2(fd, &v, 1, -1, RWF_NOWAIT);
    if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
        r = write(fd, text, len < PIPE_BUF ? len : PIPE_BUF);
    quiet_end(&q, r < 0 && errno == EPIPE);
    return r;
}

static ssize_t write_some(const struct sink *s, const char *text, size_t len)
{
    switch (s->kind) {
    case SINK_SOCKET:
        return send(s->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case SINK_PIPE:
        return write_to_pipe(s->fd, text, len);
    case SINK_TERMINAL:
        return write(s->fd, text, 1);
    case SINK_FILE:
        break;
    }
    return write(s->fd, text, len);
}

int coil__sink_write(void *sink, const char *text, size_t len)
{
    struct sink *s = sink;

    while (len) {
        int r = wait_for_room(s);
        ssize_t n;

        if (r < 0)
            return r;
        n = write_some(s, text, len);
        if (n >= 0) {
            text += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN && s->patience_ns > 0) {
            (void)wait_a_while(s, -1, COIL_MILLISECOND); /* poll does not know better */
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}
