/* perform.c - each operation as the system call it stands for: one attempt. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../backend.h"
#include "descriptor.h"
#include "quiet.h"

static ssize_t write_any(const struct op *op)
{
    const struct msghdr *msg = op->ptr;

    if (op->kind == OP_WRITEV)
        return writev(op->fd, msg->msg_iov, (int)msg->msg_iovlen);
    return op->offset < 0 ? write(op->fd, op->ptr, op->len)
                          : pwrite(op->fd, op->ptr, op->len, op->offset);
}

static ssize_t write_quietly(const struct op *op)
{
    struct quiet q;
    ssize_t r;

    quiet_begin(&q);
    r = write_any(op);
    quiet_end(&q, r < 0 && errno == EPIPE);
    return r;
}

static ssize_t try_connect(struct op *op)
{
    int r = connect(op->fd, op->ptr, (socklen_t)op->len);

    if (r == 0 || (op->started && errno == EISCONN))
        return 0;
    if (errno == EINPROGRESS || (op->started && errno == EALREADY)) {
        op->started = true;
        errno = EAGAIN;
    }
    return -1;
}

static ssize_t try_poll(const struct op *op)
{
    struct pollfd p = {.fd = op->fd, .events = (short)op->flags};
    int r = poll(&p, 1, 0);

    if (r == 0)
        errno = EAGAIN;
    if (r > 0 && p.revents & POLLNVAL) {
        errno = EBADF;
        r = -1;
    }
    return r > 0 ? 0 : -1;
}

/* recv and send go past libc: there they are points of thread cancellation, which costs four locked
 * instructions a request, and nobody may cancel a loop's thread. */
static ssize_t call(struct op *op)
{
    const struct msghdr *msg = op->ptr;
    int flags = (int)op->flags;

    switch ((enum op_kind)op->kind) {
    case OP_READ:
        return op->offset < 0 ? read(op->fd, op->ptr, op->len)
                              : pread(op->fd, op->ptr, op->len, op->offset);
    case OP_READV:
        return readv(op->fd, msg->msg_iov, (int)msg->msg_iovlen);
    case OP_WRITE:
    case OP_WRITEV:
        return op->descriptor->kind == FD_PIPE ? write_quietly(op) : write_any(op);
    case OP_RECV:
        return syscall(SYS_recvfrom, op->fd, op->ptr, op->len, flags | MSG_DONTWAIT, NULL, NULL);
    case OP_SEND:
        return syscall(SYS_sendto, op->fd, op->ptr, op->len, flags | MSG_DONTWAIT, NULL, 0);
    case OP_RECVMSG:
        return recvmsg(op->fd, op->ptr, flags | MSG_DONTWAIT);
    case OP_SENDMSG:
        return sendmsg(op->fd, op->ptr, flags | MSG_DONTWAIT);
    case OP_ACCEPT:
        return accept4(op->fd, op->ptr, op->addrlen, SOCK_CLOEXEC | SOCK_NONBLOCK);
    case OP_CONNECT:
        return try_connect(op);
    case OP_POLL:
        return try_poll(op);
    case OP_PAUSE:
    case OP_CALL:
        break;
    }
    return op->call(op);
}

/* A short count on a TCP socket says that it is empty (or full) now, and that the next edge will
 * come; not so after a hang-up or urgent data, and not when the bytes stay where they are. It is
 * wrong where the buffer ended before its length did, or a layer above TCP (TLS in the kernel, a
 * sockmap) hands out less than it has: so it is a guess, and whoever waits by it looks again. */
static bool suggests_not_ready(const struct op *op, ssize_t r)
{
    const struct descriptor *d = op->descriptor;

    return (op->kind == OP_RECV || op->kind == OP_SEND) && d->kind == FD_TCP && r > 0 &&
           (size_t)r < op->len && !(d->sticky & side_of(op->writes)) && !(op->flags & MSG_PEEK);
}

/* What the answer says of the descriptor. */
static void learn(const struct op *op, ssize_t r)
{
    struct descriptor *d = op->descriptor;
    uint8_t side = side_of(op->writes);

    if (r == -EAGAIN) {
        d->ready &= (uint8_t)~side;
        d->guessed &= (uint8_t)~side;
    } else if (suggests_not_ready(op, r)) {
        d->ready &= (uint8_t)~side;
        d->guessed |= side;
    }
}

ssize_t coil__op_perform(struct op *op)
{
    ssize_t r;

    do {
        r = call(op);
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        r = errno == ECANCELED ? -EIO : -errno; /* a timerfd's word for a clock that was set */
    if (op->route == ROUTE_BACKEND && op_speaks_for_its_side(op))
        learn(op, r);
    return r;
}
