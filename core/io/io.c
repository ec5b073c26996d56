/* io.c - coil/io.h: each call fills in an op and runs it. */
#define _GNU_SOURCE
#include "../../include/coil/io.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>

#include "../op.h"
#include "../sched/loop.h"

#define IOV_MOST 1024
#define NOT_OURS (MSG_WAITALL | MSG_DONTWAIT) /* how to wait is not the caller's to say */

static int check_len(size_t *n)
{
    if (*n > SSIZE_MAX)
        return -EINVAL;
    if (*n > OP_LEN_MOST)
        *n = OP_LEN_MOST;
    return 0;
}

static ssize_t run_buffer(enum op_kind kind, int fd, const void *buf, size_t n, int64_t offset,
                          int flags, bool writes)
{
    struct op op = {
        .kind = (uint8_t)kind,
        .ptr = (void *)(uintptr_t)buf,
        .len = n,
        .offset = offset,
        .flags = (uint32_t)flags,
    };
    int r = check_len(&op.len);

    return r < 0 ? r : coil__op_run(&op, fd, writes);
}

/* MSG_WAITALL, done here so that it means the same on every backend: until all n bytes are there,
 * or something ends it, and then what there is counts. */
static ssize_t recv_all(int fd, void *buf, size_t n, int flags)
{
    struct op op = {.kind = OP_RECV, .ptr = buf, .len = n, .flags = (uint32_t)flags, .offset = -1};
    size_t done;
    ssize_t r;

    if (n > SSIZE_MAX)
        return -EINVAL;
    r = coil__op_run_all(&op, fd, false, &done);
    return done ? (ssize_t)done : r;
}

ssize_t coil_recv(int fd, void *buf, size_t n, int flags)
{
    if (flags & MSG_WAITALL && !(flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)))
        return recv_all(fd, buf, n, flags & ~NOT_OURS);
    return run_buffer(OP_RECV, fd, buf, n, -1, flags & ~NOT_OURS, false);
}

ssize_t coil_send(int fd, const void *buf, size_t n, int flags)
{
    return run_buffer(OP_SEND, fd, buf, n, -1, (flags | MSG_NOSIGNAL) & ~NOT_OURS, true);
}

ssize_t coil_read(int fd, void *buf, size_t n)
{
    return run_buffer(OP_READ, fd, buf, n, -1, 0, false);
}

ssize_t coil_write(int fd, const void *buf, size_t n)
{
    return run_buffer(OP_WRITE, fd, buf, n, -1, 0, true);
}

ssize_t coil_pread(int fd, void *buf, size_t n, off_t offset)
{
    return offset < 0 ? -EINVAL : run_buffer(OP_READ, fd, buf, n, offset, 0, false);
}

ssize_t coil_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    return offset < 0 ? -EINVAL : run_buffer(OP_WRITE, fd, buf, n, offset, 0, true);
}

/* How many bytes the buffers hold. */
static ssize_t sum_of(const struct iovec *iov, int count)
{
    size_t sum = 0;

    if (count < 0 || count > IOV_MOST)
        return -EINVAL;
    if (count && !iov)
        return -EFAULT;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > SSIZE_MAX - sum)
            return -EINVAL;
        sum += iov[i].iov_len;
    }
    return (ssize_t)sum;
}

static ssize_t run_vector(enum op_kind kind, int fd, const struct iovec *iov, int count,
                          bool writes)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
    struct op op = {.kind = (uint8_t)kind, .ptr = &msg, .offset = -1};
    ssize_t r = sum_of(iov, count);

    if (r < 0)
        return r;
    op.len = (size_t)r;
    return coil__op_run(&op, fd, writes);
}

ssize_t coil_readv(int fd, const struct iovec *iov, int count)
{
    return run_vector(OP_READV, fd, iov, count, false);
}

ssize_t coil_writev(int fd, const struct iovec *iov, int count)
{
    return run_vector(OP_WRITEV, fd, iov, count, true);
}

static ssize_t run_message(enum op_kind kind, int fd, const struct msghdr *msg, int flags,
                           bool writes)
{
    struct op op = {
        .kind = (uint8_t)kind,
        .ptr = (void *)(uintptr_t)msg,
        .flags = (uint32_t)flags,
        .offset = -1,
    };

    return coil__op_run(&op, fd, writes);
}

ssize_t coil_recvmsg(int fd, struct msghdr *msg, int flags)
{
    return run_message(OP_RECVMSG, fd, msg, (flags | MSG_CMSG_CLOEXEC) & ~NOT_OURS, false);
}

ssize_t coil_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return run_message(OP_SENDMSG, fd, msg, (flags | MSG_NOSIGNAL) & ~NOT_OURS, true);
}

ssize_t coil_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *addr,
                      socklen_t *addrlen)
{
    struct iovec iov = {.iov_base = buf, .iov_len = n};
    struct msghdr msg = {
        .msg_name = addr,
        .msg_namelen = addr && addrlen ? *addrlen : 0,
        .msg_iov = &iov,
        .msg_iovlen = 1,
    };
    ssize_t r = check_len(&iov.iov_len);

    if (r < 0)
        return r;
    r = coil_recvmsg(fd, &msg, flags);
    if (r >= 0 && addr && addrlen)
        *addrlen = msg.msg_namelen;
    return r;
}

ssize_t coil_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr,
                    socklen_t addrlen)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = n};
    struct msghdr msg = {
        .msg_name = (void *)(uintptr_t)addr,
        .msg_namelen = addrlen,
        .msg_iov = &iov,
        .msg_iovlen = 1,
    };
    int r = check_len(&iov.iov_len);

    return r < 0 ? r : coil_sendmsg(fd, &msg, flags);
}

int coil_send_all(int fd, const void *buf, size_t n, int flags, size_t *ret_sent)
{
    struct op op = {
        .kind = OP_SEND,
        .ptr = (void *)(uintptr_t)buf,
        .len = n,
        .flags = (uint32_t)((flags | MSG_NOSIGNAL) & ~NOT_OURS),
        .offset = -1,
    };
    size_t sent = 0;
    ssize_t r = n > SSIZE_MAX ? -EINVAL : coil__op_run_all(&op, fd, true, &sent);

    if (ret_sent)
        *ret_sent = sent;
    return r < 0 ? (int)r : 0;
}

/* --- Sockets --------------------------------------------------------------------------------- */

int coil_socket(int domain, int type, int protocol)
{
    int fd = socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

    if (fd < 0)
        return -errno;
    if (coil__here.loop)                                        /* also in an abort function */
        coil__descriptor_made(coil__here.loop, fd, FD_UNKNOWN); /* looked at when first used */
    return fd;
}

int coil_bind(int fd, const struct sockaddr *addr, socklen_t addrlen)
{
    return bind(fd, addr, addrlen) < 0 ? -errno : 0;
}

int coil_listen(int fd, int backlog)
{
    return listen(fd, backlog) < 0 ? -errno : 0;
}

int coil_shutdown(int fd, int how)
{
    return shutdown(fd, how) < 0 ? -errno : 0;
}

int coil_accept(int fd, struct sockaddr *addr, socklen_t *addrlen)
{
    struct op op = {.kind = OP_ACCEPT, .ptr = addr, .addrlen = addr ? addrlen : NULL, .offset = -1};

    return (int)coil__op_run(&op, fd, false);
}

int coil_connect(int fd, const struct sockaddr *addr, socklen_t addrlen)
{
    struct op op = {
        .kind = OP_CONNECT,
        .ptr = (void *)(uintptr_t)addr,
        .len = addrlen,
        .offset = -1,
    };

    if (!addr || addrlen < sizeof(addr->sa_family))
        return -EINVAL;
    return (int)coil__op_run(&op, fd, true);
}

/* --- Readiness ------------------------------------------------------------------------------- */

struct op coil__op_poll(int fd, bool writes)
{
    return (struct op){
        .kind = OP_POLL,
        .writes = writes,
        .flags = writes ? POLLOUT : POLLIN | POLLRDHUP,
        .fd = fd,
        .offset = -1,
    };
}

static int wait_ready(int fd, bool writes)
{
    struct op op = coil__op_poll(fd, writes);
    ssize_t r = coil__op_run(&op, fd, writes);

    return r < 0 ? (int)r : 0;
}

int coil_wait_readable(int fd)
{
    return wait_ready(fd, false);
}

int coil_wait_writable(int fd)
{
    return wait_ready(fd, true);
}
