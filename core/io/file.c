/* file.c - coil/file.h: system calls that block, run in the pool. */
#define _GNU_SOURCE
#include "../../include/coil/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../op.h"
#include "../sched/loop.h"
#include "../sync/lot.h"

/* A call and its arguments. The pool thread sees only this; it lives on the caller's stack, which
 * does not return before the call has. */
struct file_call {
    struct op op;
    int fds[2];
    const char *paths[2];
    void *buf;
    size_t size;
    int64_t number;
    unsigned int flags;
    mode_t mode;
};

/* Its directories, like any descriptor, are not closed under it. AT_FDCWD is none. */
static ssize_t run(struct file_call *c, enum op_what what, ssize_t (*call)(struct op *op))
{
    c->op.what = what;
    c->op.call = call;
    return coil__op_run_blocking(&c->op, c->fds[0], c->fds[1]);
}

/* The same, on a descriptor. */
static ssize_t run_with(struct file_call *c, int fd, enum op_what what,
                        ssize_t (*call)(struct op *op))
{
    c->fds[0] = fd;
    c->fds[1] = -1;
    return fd < 0 ? -EBADF : run(c, what, call);
}

static struct file_call *of(struct op *op)
{
    return container_of(op, struct file_call, op);
}

static void note_file(int fd)
{
    if (fd >= 0)
        coil__descriptor_made(coil__here.loop, fd,
                              FD_UNKNOWN); /* a FIFO, perhaps: look when used */
}

static ssize_t do_openat(struct op *op)
{
    struct file_call *c = of(op);

    return openat(c->fds[0], c->paths[0], (int)c->flags | O_CLOEXEC, c->mode);
}

int coil_openat(int dirfd, const char *path, int flags, mode_t mode)
{
    struct file_call c = {
        .fds = {dirfd, -1}, .paths = {path}, .flags = (unsigned int)flags, .mode = mode};
    int fd = path ? (int)run(&c, CALLS_OPENAT, do_openat) : -EFAULT;

    note_file(fd);
    return fd;
}

static ssize_t do_openat2(struct op *op)
{
    struct file_call *c = of(op);

    return syscall(SYS_openat2, c->fds[0], c->paths[0], c->buf, c->size);
}

int coil_openat2(int dirfd, const char *path, const struct open_how *how, size_t size)
{
    uint64_t ours[16] = {0}; /* how, with close-on-exec: its first word is the flags */
    struct file_call c = {.fds = {dirfd, -1}, .paths = {path}, .buf = ours, .size = size};
    int fd;

    if (!path || !how)
        return -EFAULT;
    if (size < sizeof(ours[0]) || size > sizeof(ours))
        return size < sizeof(ours[0]) ? -EINVAL : -E2BIG;
    memcpy(ours, how, size);
    ours[0] |= O_CLOEXEC;
    fd = (int)run(&c, CALLS_OPENAT2, do_openat2);
    note_file(fd);
    return fd;
}

static ssize_t do_fsync(struct op *op)
{
    return fsync(of(op)->fds[0]);
}

static ssize_t do_fdatasync(struct op *op)
{
    return fdatasync(of(op)->fds[0]);
}

static ssize_t do_ftruncate(struct op *op)
{
    return ftruncate(of(op)->fds[0], of(op)->number);
}

int coil_fsync(int fd)
{
    return (int)run_with(&(struct file_call){.flags = 0}, fd, CALLS_FSYNC, do_fsync);
}

int coil_fdatasync(int fd)
{
    return (int)run_with(&(struct file_call){.flags = 0}, fd, CALLS_FDATASYNC, do_fdatasync);
}

int coil_ftruncate(int fd, off_t length)
{
    if (length < 0)
        return -EINVAL;
    return (int)run_with(&(struct file_call){.number = length}, fd, CALLS_FTRUNCATE, do_ftruncate);
}

static ssize_t do_truncate(struct op *op)
{
    return truncate(of(op)->paths[0], of(op)->number);
}

int coil_truncate(const char *path, off_t length)
{
    struct file_call c = {.fds = {-1, -1}, .paths = {path}, .number = length};

    if (length < 0)
        return -EINVAL;
    return path ? (int)run(&c, CALLS_TRUNCATE, do_truncate) : -EFAULT;
}

static ssize_t do_statx(struct op *op)
{
    struct file_call *c = of(op);

    return statx(c->fds[0], c->paths[0], (int)c->flags, (unsigned int)c->number, c->buf);
}

int coil_statx(int dirfd, const char *path, int flags, unsigned int mask, struct statx *ret)
{
    struct statx answer;
    struct file_call c = {.fds = {dirfd, -1},
                          .paths = {path},
                          .flags = (unsigned int)flags,
                          .number = mask,
                          .buf = &answer};
    int r = path && ret ? (int)run(&c, CALLS_STATX, do_statx) : -EFAULT;

    if (r >= 0)
        *ret = answer;
    return r;
}

static ssize_t do_renameat(struct op *op)
{
    struct file_call *c = of(op);

    return renameat2(c->fds[0], c->paths[0], c->fds[1], c->paths[1], c->flags);
}

int coil_renameat(int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
                  unsigned int flags)
{
    struct file_call c = {.fds = {olddirfd, newdirfd}, .paths = {oldpath, newpath}, .flags = flags};

    return oldpath && newpath ? (int)run(&c, CALLS_RENAMEAT, do_renameat) : -EFAULT;
}

static ssize_t do_unlinkat(struct op *op)
{
    return unlinkat(of(op)->fds[0], of(op)->paths[0], (int)of(op)->flags);
}

int coil_unlinkat(int dirfd, const char *path, int flags)
{
    struct file_call c = {.fds = {dirfd, -1}, .paths = {path}, .flags = (unsigned int)flags};

    return path ? (int)run(&c, CALLS_UNLINKAT, do_unlinkat) : -EFAULT;
}

static ssize_t do_mkdirat(struct op *op)
{
    return mkdirat(of(op)->fds[0], of(op)->paths[0], of(op)->mode);
}

int coil_mkdirat(int dirfd, const char *path, mode_t mode)
{
    struct file_call c = {.fds = {dirfd, -1}, .paths = {path}, .mode = mode};

    return path ? (int)run(&c, CALLS_MKDIRAT, do_mkdirat) : -EFAULT;
}

static ssize_t do_linkat(struct op *op)
{
    struct file_call *c = of(op);

    return linkat(c->fds[0], c->paths[0], c->fds[1], c->paths[1], (int)c->flags);
}

int coil_linkat(int olddirfd, const char *oldpath, int newdirfd, const char *newpath, int flags)
{
    struct file_call c = {
        .fds = {olddirfd, newdirfd}, .paths = {oldpath, newpath}, .flags = (unsigned int)flags};

    return oldpath && newpath ? (int)run(&c, CALLS_LINKAT, do_linkat) : -EFAULT;
}

static ssize_t do_symlinkat(struct op *op)
{
    return symlinkat(of(op)->paths[0], of(op)->fds[0], of(op)->paths[1]);
}

int coil_symlinkat(const char *target, int newdirfd, const char *linkpath)
{
    struct file_call c = {.fds = {newdirfd, -1}, .paths = {target, linkpath}};

    return target && linkpath ? (int)run(&c, CALLS_SYMLINKAT, do_symlinkat) : -EFAULT;
}

static ssize_t do_readlinkat(struct op *op)
{
    struct file_call *c = of(op);

    return readlinkat(c->fds[0], c->paths[0], c->buf, c->size);
}

ssize_t coil_readlinkat(int dirfd, const char *path, char *buf, size_t n)
{
    struct file_call c = {.fds = {dirfd, -1}, .paths = {path}, .buf = buf, .size = n};

    if (n > SSIZE_MAX)
        return -EINVAL;
    return path && buf ? run(&c, CALLS_READLINKAT, do_readlinkat) : -EFAULT;
}

static ssize_t do_getdents(struct op *op)
{
    struct file_call *c = of(op);

    return getdents64(c->fds[0], c->buf, c->size);
}

ssize_t coil_getdents(int fd, void *buf, size_t n)
{
    return n > INT_MAX ? -EINVAL
                       : run_with(&(struct file_call){.buf = buf, .size = n}, fd, CALLS_GETDENTS,
                                  do_getdents);
}

/* Has d an entry in its buffer: 1, 0 or an error. Also taking one from there is a checkpoint. */
static int directory_fill(struct coil_directory *d)
{
    ssize_t n;

    if (d->at_ < d->end_) {
        struct coil_task *self = coil__sync_self("coil_directory_next");
        int r = task_checkpoint(self);

        return r < 0 ? r : sync_answer(self, 1);
    }
    n = coil_getdents(d->fd, d->buf_, sizeof(d->buf_));
    if (n <= 0)
        return (int)n;
    d->at_ = 0;
    d->end_ = (unsigned int)n;
    return 1;
}

int coil_directory_next(struct coil_directory *d, struct coil_entry *ret)
{
    const struct dirent64 *e;
    int r;

    if (!d || !ret)
        return -EFAULT;
    do {
        r = directory_fill(d);
        if (r <= 0)
            return r;
        e = (const struct dirent64 *)((const char *)d->buf_ + d->at_);
        d->at_ += e->d_reclen;
    } while (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
    *ret = (struct coil_entry){.name = e->d_name, .inode = e->d_ino, .type = e->d_type};
    return 1;
}

/* On a copy: a template that did not work is to stay one. */
static ssize_t do_mkostemp(struct op *op)
{
    struct file_call *c = of(op);

    memcpy(c->buf, c->paths[0], c->size);
    return mkostemp(c->buf, (int)c->flags | O_CLOEXEC);
}

static ssize_t do_mkdtemp(struct op *op)
{
    struct file_call *c = of(op);

    memcpy(c->buf, c->paths[0], c->size);
    return mkdtemp(c->buf) ? 0 : -1;
}

static int make_temporary(char *path, int flags, enum op_what what, ssize_t (*call)(struct op *op))
{
    char copy[PATH_MAX];
    struct file_call c = {
        .fds = {-1, -1}, .paths = {path}, .buf = copy, .flags = (unsigned int)flags};
    int r;

    if (!path)
        return -EFAULT;
    c.size = strlen(path) + 1;
    if (c.size > sizeof(copy))
        return -ENAMETOOLONG;
    r = (int)run(&c, what, call);
    if (r >= 0)
        memcpy(path, copy, c.size);
    return r;
}

int coil_mkostemp(char *path, int flags)
{
    int fd = make_temporary(path, flags, CALLS_MKOSTEMP, do_mkostemp);

    note_file(fd);
    return fd;
}

int coil_mkdtemp(char *path)
{
    return make_temporary(path, 0, CALLS_MKDTEMP, do_mkdtemp);
}

/* --- Whole files: one job each, so that a cancellation finds them not begun or done ---------- */

static ssize_t close_after(int fd, ssize_t r)
{
    int error = errno;

    close(fd);
    errno = error;
    return r;
}

/* Reads fd to its end into c->buf, growing it. c->number is the most it may hold. */
static ssize_t read_to_end(int fd, struct file_call *c)
{
    const size_t most = (size_t)c->number;
    size_t room = 0;
    ssize_t r;

    c->size = 0;
    do {
        if (room - c->size < 2) { /* a byte of data, and the zero behind all of it */
            size_t larger = room ? room * 2 : 16384;

            if (larger - 2 > most)
                larger = most + 2; /* one byte more than may be: to see that there is one */
            char *buf = realloc(c->buf, larger);

            if (!buf)
                return -1;
            c->buf = buf;
            room = larger;
        }
        r = read(fd, (char *)c->buf + c->size, room - c->size - 1);
        if (r > 0)
            c->size += (size_t)r;
        if (c->size > most) {
            errno = EFBIG;
            return -1;
        }
    } while (r > 0 || (r < 0 && errno == EINTR));
    ((char *)c->buf)[c->size] = '\0';
    return r;
}

static ssize_t do_read_file(struct op *op)
{
    struct file_call *c = of(op);
    int fd = openat(c->fds[0], c->paths[0], O_RDONLY | O_CLOEXEC);
    ssize_t r;

    if (fd < 0)
        return -1;
    r = close_after(fd, read_to_end(fd, c));
    if (r < 0) {
        int error = errno;

        free(c->buf);
        c->buf = NULL;
        errno = error;
    }
    return r;
}

int coil_read_file(int dirfd, const char *path, size_t max, void **ret, size_t *ret_size)
{
    struct file_call c = {.fds = {dirfd, -1}, .paths = {path}};
    int r;

    if (!path || !ret || !ret_size)
        return -EFAULT;
    c.number = max > SSIZE_MAX ? SSIZE_MAX : (int64_t)max;
    r = (int)run(&c, CALLS_READ_FILE, do_read_file);
    if (r < 0)
        return r;
    *ret = c.buf;
    *ret_size = c.size;
    return 0;
}

static ssize_t do_write_file(struct op *op)
{
    struct file_call *c = of(op);
    int fd = openat(c->fds[0], c->paths[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, c->mode);
    ssize_t r = 0;

    if (fd < 0)
        return -1;
    for (size_t done = 0; done < c->size && (r >= 0 || errno == EINTR);) {
        r = write(fd, (const char *)c->buf + done, c->size - done);
        if (r > 0)
            done += (size_t)r;
    }
    if (r < 0)
        return close_after(fd, -1);
    return close(fd);
}

int coil_write_file(int dirfd, const char *path, const void *buf, size_t n, mode_t mode)
{
    struct file_call c = {.fds = {dirfd, -1},
                          .paths = {path},
                          .buf = (void *)(uintptr_t)buf,
                          .size = n,
                          .mode = mode};

    if (n > SSIZE_MAX)
        return -EINVAL;
    return path && (buf || !n) ? (int)run(&c, CALLS_WRITE_FILE, do_write_file) : -EFAULT;
}
