/* descriptor.c - the table, and the end of a descriptor. */
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../include/coil/io.h"
#include "../op.h"
#include "../sched/loop.h"

void coil__descriptors_close(struct loop *loop)
{
    for (size_t i = 0; i < DESCRIPTOR_CHUNKS; i++)
        if (loop->descriptors.chunks[i])
            loop_allocate(loop, loop->descriptors.chunks[i], 0);
}

static struct descriptor *entry(struct loop *loop, int fd)
{
    struct descriptors *all = &loop->descriptors;
    unsigned int chunk = (unsigned int)fd / DESCRIPTOR_CHUNK;
    const size_t size = DESCRIPTOR_CHUNK * sizeof(*all->chunks[0]);

    if (chunk >= DESCRIPTOR_CHUNKS)
        return NULL;
    if (!all->chunks[chunk]) {
        all->chunks[chunk] = loop_allocate(loop, NULL, size);
        if (all->chunks[chunk])
            memset(all->chunks[chunk], 0, size);
    }
    return descriptor_peek(all, fd);
}

static int socket_option(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

static enum descriptor_kind kind_of_socket(int fd)
{
    int type = socket_option(fd, SO_TYPE);

    if (type == SOCK_STREAM)
        return socket_option(fd, SO_PROTOCOL) == IPPROTO_TCP ? FD_TCP : FD_STREAM;
    if (type == SOCK_DGRAM && socket_option(fd, SO_DOMAIN) == AF_UNIX)
        return FD_UNIX_DATAGRAM;
    return FD_DATAGRAM;
}

/* Finds out what fd is. < 0: -EBADF. */
static int look(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    switch (st.st_mode & S_IFMT) {
    case S_IFSOCK:
        return kind_of_socket(fd);
    case S_IFIFO:
        return FD_PIPE;
    case S_IFREG:
    case S_IFBLK:
    case S_IFDIR:
        return FD_FILE;
    default:
        return FD_OTHER;
    }
}

static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void reset(struct loop *loop, struct descriptor *d, enum descriptor_kind kind)
{
    if (d->kind == FD_UNKNOWN && kind != FD_UNKNOWN)
        loop->descriptors.known++;
    if (d->kind != FD_UNKNOWN && kind == FD_UNKNOWN)
        loop->descriptors.known--;
    *d = (struct descriptor){
        .generation = d->generation + 1,
        .kind = (uint8_t)kind,
        .ready = SIDE_READ | SIDE_WRITE, /* unknown: worth a try */
    };
}

int coil__descriptor_meet(struct loop *loop, int fd, struct descriptor **ret)
{
    struct descriptor *d;
    int kind;

    if (fd < 0)
        return -EBADF;
    kind = look(fd);
    if (kind < 0)
        return kind;
    d = entry(loop, fd);
    if (!d)
        return -ENOMEM;
    if (kind != FD_FILE)
        set_nonblocking(fd);
    reset(loop, d, (enum descriptor_kind)kind);
    *ret = d;
    return 0;
}

/* 0: nobody knows. */
static uint64_t inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

/* The kernel gives back the number first, and writes out, or lingers, then. */
int coil__descriptor_meet_next(struct loop *loop, int fd, struct descriptor **ret)
{
    const struct descriptor *d = descriptor_known(&loop->descriptors, fd);

    if (!d->given_away || !d->inode || inode_of(fd) == d->inode)
        return -EBADF;
    return coil__descriptor_meet(loop, fd, ret);
}

void coil__descriptor_made(struct loop *loop, int fd, enum descriptor_kind kind)
{
    struct descriptor *d = entry(loop, fd);

    if (!d)
        return;
    if (unlikely(d->ops))
        coil__die(
            "descriptor %d was closed while a task waits on it: coil_close it, or coil_forget", fd);
    reset(loop, d, kind); /* whatever had this number before was closed behind our back */
}

/* Ends all that goes on with fd, and leaves it closing. 0, or -EBADF if that is under way already.
 * *ret: its entry, or NULL if it has none. */
static int end_uses(struct loop *loop, int fd, struct descriptor **ret)
{
    struct descriptor *d = descriptor_known(&loop->descriptors, fd);

    *ret = d;
    if (!d)
        return 0;
    if (d->closing && coil__descriptor_meet_next(loop, fd, ret) < 0)
        return -EBADF;
    d->closing = true;
    coil__op_drain(loop, fd, d);
    if (loop->ops->forget)
        loop->ops->forget(loop->backend, fd, d);
    return 0;
}

static struct loop *here_loop(const char *what)
{
    if (unlikely(!here_task()))
        coil__die_outside(what, NULL);
    return coil__here.loop;
}

/* It is done once, whatever it says: Linux has let go of the number by then, also with EINTR. */
static ssize_t do_close(struct op *op)
{
    int fd = op->fd;

    op->fd = -1;
    return close(fd) < 0 && errno != EINTR ? -1 : 0;
}

/* A file may have to be written out, and a socket told to linger does so, non-blocking or not. */
static bool close_may_block(int fd, const struct descriptor *d)
{
    struct linger linger = {.l_onoff = 0};
    socklen_t len = sizeof(linger);

    if (!d || d->kind == FD_FILE)
        return d;
    return d->kind == FD_TCP && getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) == 0 &&
           linger.l_onoff && linger.l_linger;
}

/* In a thread; until that is done nobody meets d again. op->fd says whether there was one. */
static int close_in_pool(struct loop *loop, struct op *op, struct descriptor *d)
{
    const uint32_t generation = d->generation;
    int r;

    d->inode = inode_of(op->fd);
    d->given_away = true;
    r = (int)coil__op_run_shielded(op);
    if (d->generation == generation) /* or the number is another's already */
        reset(loop, d, FD_UNKNOWN);
    return r;
}

static int close_and_reset(struct loop *loop, struct op *op, struct descriptor *d)
{
    const int fd = op->fd;
    int r;

    /* Behind calls that may never end it would wait for ever, and most closes are quick after all.
     */
    if (close_may_block(fd, d) && coil__pool_has_room(&loop->pool)) {
        r = close_in_pool(loop, op, d);
        if (op->fd < 0)
            return r;
    } else if (d) {
        reset(loop, d, FD_UNKNOWN);
    }
    return do_close(op) < 0 ? -errno : 0;
}

int coil_close(int fd)
{
    struct loop *loop = here_loop("coil_close");
    struct op op = {.kind = OP_CALL, .what = CALLS_CLOSE, .call = do_close, .fd = fd};
    struct descriptor *d;
    int r = end_uses(loop, fd, &d);

    if (r < 0)
        return r;
    r = close_and_reset(loop, &op, d);
    if (unlikely(loop->ops->meddle) && r >= 0)
        r = loop->ops->meddle(loop->backend, &op);
    return r;
}

int coil_forget(int fd)
{
    struct loop *loop = here_loop("coil_forget");
    struct descriptor *d;
    int r = end_uses(loop, fd, &d);

    if (r >= 0 && d)
        reset(loop, d, FD_UNKNOWN);
    return r;
}
