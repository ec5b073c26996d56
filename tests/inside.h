/* inside.h - reaching into the calling task's loop, to make a race happen exactly when a test wants
 * it.
 *
 * A backend's wait makes tasks ready and runs none, so a task may call it: that is "the loop
 * looks", between two steps of its own. */
#ifndef TESTS_INSIDE_H
#define TESTS_INSIDE_H

#include "wires.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include "../core/sched/loop.h"
#ifdef HAVE_URING
#include "../uring/ring.h"
#endif

#define PATIENCE_NS (WIRE_PATIENCE_S * COIL_SECOND)

/* Has the backend submit what it has, and see what has come. It may leave out some looks in a
 * row. */
static WIRE_UNUSED void inside_look(void)
{
    struct loop *loop = coil__here.loop;

    for (int i = 0; i < 40; i++)
        loop->ops->wait(loop->backend, 0);
}

/* The one ring of this process, by what /proc says of its descriptors. */
static WIRE_UNUSED int inside_ring_fd(void)
{
    DIR *all = opendir("/proc/self/fd");
    struct dirent *entry;
    int fd = -1;

    CHECK(all);
    while (fd < 0 && (entry = readdir(all))) {
        char what[32] = "";

        if (readlinkat(dirfd(all), entry->d_name, what, sizeof(what) - 1) > 0 &&
            strcmp(what, "anon_inode:[io_uring]") == 0)
            fd = atoi(entry->d_name);
    }
    closedir(all);
    CHECK(fd >= 0);
    return fd;
}

/* One more enter: what the ring has been given may happen, and nothing is reaped. With deferred
 * task work that is what lets an operation happen between the moment its task is woken for another
 * reason and the moment it is cancelled. With epoll there is nothing to do. */
static WIRE_UNUSED void inside_enter(void)
{
    const unsigned int get_events = 1; /* IORING_ENTER_GETEVENTS */

    if (harness_on("io_uring"))
        CHECK_EQ(syscall(SYS_io_uring_enter, inside_ring_fd(), 0, 0, get_events, NULL, 0), 0);
}

/* Does what the kernel was given happen as soon as it can, with nobody entering the ring? So it is
 * without DEFER_TASKRUN: a receive takes its bytes before the call that sent them returns. */
static WIRE_UNUSED bool inside_ring_is_eager(void)
{
#ifdef HAVE_URING
    if (harness_on("io_uring"))
        return !(((const struct ring *)coil__here.loop->backend)->setup &
                 IORING_SETUP_DEFER_TASKRUN);
#endif
    return false;
}

/* Waits until such a ring has done something, and leaves it there. */
static WIRE_UNUSED void inside_await_done(void)
{
#ifdef HAVE_URING
    const struct io_uring_cq *cq = &((const struct ring *)coil__here.loop->backend)->uring.cq;
    int64_t until_ns = coil_now() + PATIENCE_NS;

    while (*cq->khead == io_uring_smp_load_acquire(cq->ktail) && coil_now() < until_ns)
        sched_yield();
    CHECK(*cq->khead != *cq->ktail);
#endif
}

/* Has the backend look until so many more tasks are ready. */
static WIRE_UNUSED void inside_reap(size_t count)
{
    struct loop *loop = coil__here.loop;
    size_t before = loop->ready_count;

    for (int i = 0; i < 10000 && loop->ready_count < before + count; i++)
        loop->ops->wait(loop->backend, 0);
    CHECK_EQ(loop->ready_count, before + count);
}

/* Tasks run in the order in which they became ready, also under a seed. */
static WIRE_UNUSED void inside_in_order(void)
{
    coil__here.loop->shuffle_state = 0;
}

/* As if the deadlines that are past had been looked at when they were to come, and had passed while
 * the task computed. */
static WIRE_UNUSED void inside_deadlines_were_to_come(void)
{
    coil__here.loop->deadline_unseen = false;
}

/* Waits until the pool's threads have taken up all that is queued. */
static WIRE_UNUSED void inside_await_taken_up(void)
{
    struct pool *pool = &coil__here.loop->pool;
    int64_t until_ns = coil_now() + PATIENCE_NS;
    bool empty = false;

    while (!empty && coil_now() < until_ns) {
        sched_yield();
        pthread_mutex_lock(&pool->lock);
        empty = list_empty(&pool->queue);
        pthread_mutex_unlock(&pool->lock);
    }
    CHECK(empty);
}

/* Waits until a thread of the pool has something for us, and leaves it where it is. */
static WIRE_UNUSED void inside_await_mail(void)
{
    int64_t until_ns = coil_now() + PATIENCE_NS;

    while (mailbox_empty(&coil__here.loop->mailbox) && coil_now() < until_ns)
        sched_yield();
    CHECK(!mailbox_empty(&coil__here.loop->mailbox));
}

/* --- Things that keep a pool thread busy: a folder with a FIFO that nobody opens ---------------*/

struct folder {
    char path[32];
    char fifo[48];
    char file[48];
    int fd;
};

static WIRE_UNUSED void folder_open(struct folder *f)
{
    strcpy(f->path, "/tmp/coil-test-XXXXXX");
    CHECK(mkdtemp(f->path));
    snprintf(f->fifo, sizeof(f->fifo), "%s/fifo", f->path);
    snprintf(f->file, sizeof(f->file), "%s/file", f->path);
    CHECK_EQ(mkfifo(f->fifo, 0600), 0);
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(f->fd >= 0);
}

static WIRE_UNUSED void folder_close(struct folder *f)
{
    CHECK_EQ(unlink(f->fifo), 0);
    CHECK(unlink(f->file) == 0 || errno == ENOENT);
    CHECK_EQ(rmdir(f->path), 0);
    if (f->fd >= 0)
        CHECK_EQ(coil_close(f->fd), 0);
}

/* Opens the other side of the FIFO as soon as there is one to open. */
static WIRE_UNUSED void folder_release(const struct folder *f)
{
    int64_t until_ns = coil_now() + PATIENCE_NS;
    int fd;

    while ((fd = open(f->fifo, O_WRONLY | O_NONBLOCK)) < 0 && coil_now() < until_ns)
        sched_yield();
    CHECK(fd >= 0);
    close(fd);
}

/* An open in a task of its own. */
struct opening {
    int dirfd;
    const char *path;
    int flags;
    int result;
    int next; /* what the checkpoint after it said */
    bool answered;
};

static WIRE_UNUSED int opening_run(void *arg)
{
    struct opening *o = arg;

    o->result = coil_openat(o->dirfd, o->path, o->flags, 0600);
    o->answered = true;
    o->next = coil_checkpoint();
    return 0;
}

#endif
