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

/* Ends all that goes on with fd. 0, or -EBADF if that is under way already. */
static int end_uses(struct loop *loop, int fd)
{
    struct descriptor *d = descriptor_known(&loop->descriptors, fd);

    if (!d)
        return 0;
    if (d->closing)
        return -EBADF;
    d->closing = true;
    coil__op_drain(loop, fd, d);
    if (loop->ops->forget)
        loop->ops->forget(loop->backend, fd, d);
    reset(loop, d, FD_UNKNOWN);
    return 0;
}

static struct loop *here_loop(const char *what)
{
    if (unlikely(!here_task()))
        coil__die_outside(what, NULL);
    return coil__here.loop;
}

static ssize_t do_close(struct op *op)
{
    /* Linux has let go of the number also when it says EINTR. */
    return close(op->fd) < 0 && errno != EINTR ? -1 : 0;
}

/* A file may have to be written out, and a socket told to linger does so, non-blocking or not. */
static bool close_may_block(int fd, enum descriptor_kind kind)
{
    struct linger linger = {.l_onoff = 0};
    socklen_t len = sizeof(linger);

    if (kind == FD_FILE)
        return true;
    return kind == FD_TCP && getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) == 0 &&
           linger.l_onoff && linger.l_linger;
}

int coil_close(int fd)
{
    struct loop *loop = here_loop("coil_close");
    const struct descriptor *d = descriptor_known(&loop->descriptors, fd);
    enum descriptor_kind kind = d ? (enum descriptor_kind)d->kind : FD_UNKNOWN;
    struct op op = {.call = do_close, .fd = fd};
    int r = end_uses(loop, fd);

    if (r < 0)
        return r;
    /* Behind calls that may never end it would wait for ever, and most closes are quick after all.
     */
    if (close_may_block(fd, kind) && coil__pool_has_room(&loop->pool)) {
        r = (int)coil__op_run_shielded(&op);
        if (r != -EAGAIN && r != -ENOMEM)
            return r;
    }
    return do_close(&op) < 0 ? -errno : 0;
}

int coil_forget(int fd)
{
    return end_uses(here_loop("coil_forget"), fd);
}
