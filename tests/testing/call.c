/* call.c - calls that may block for ever, each in a thread of its own, for which we wait unless it
 * blocks.
 *
 * So a call is made in one moment of the simulated time, as if by ourselves, whatever the machine
 * is busy with; only one that waits for somebody else is not. The two are told apart by the kernel:
 * a thread that waits for a disk sleeps uninterruptibly. */
#define _GNU_SOURCE
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY_NS 1000000
#define ASLEEP_LOOKS  50 /* so many in a row that find it asleep: it blocks */

struct call {
    struct op *op;
    int wake_fd;
    pthread_t thread;
    atomic_int tid; /* 0: it has not begun */
    sem_t ended;
    ssize_t result;
};

static void *thread_main(void *arg)
{
    struct call *c = arg;
    const uint64_t one = 1;
    int ignored;
    ssize_t written;

    atomic_store(&c->tid, gettid());
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &ignored);
    c->result = coil__op_perform(c->op);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
    sem_post(&c->ended);
    written = write(c->wake_fd, &one, sizeof(one));
    (void)written; /* a full counter wakes as well */
    return NULL;
}

/* With every signal blocked, as in the pool. */
static int start(struct call *c)
{
    sigset_t all;
    sigset_t before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&c->thread, NULL, thread_main, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static bool ends_soon(struct call *c)
{
    struct timespec until;
    int r;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_EVERY_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    do {
        r = sem_timedwait(&c->ended, &until);
    } while (r < 0 && errno == EINTR);
    return r == 0;
}

/* Does it sleep for something that may never come? What we cannot see, we take to. */
static bool is_asleep(const struct call *c)
{
    char path[64];
    char line[256];
    const char *end;
    ssize_t n;
    int fd;

    if (!atomic_load(&c->tid))
        return false;
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&c->tid));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return true;
    line[n] = '\0';
    end = strrchr(line, ')'); /* of the thread's name; then its state */
    return !end || strncmp(end, ") S", 3) == 0;
}

static bool ends(struct call *c)
{
    for (int asleep = 0; asleep < ASLEEP_LOOKS;) {
        if (ends_soon(c))
            return true;
        asleep = is_asleep(c) ? asleep + 1 : 0;
    }
    return false;
}

static void release(struct call *c)
{
    pthread_join(c->thread, NULL);
    sem_destroy(&c->ended);
    free(c);
}

bool coil__testing_call(struct op *op, int wake_fd, ssize_t *ret_result, struct call **ret)
{
    struct call *c = calloc(1, sizeof(*c));

    if (c) {
        c->op = op;
        c->wake_fd = wake_fd;
        sem_init(&c->ended, 0, 0);
    }
    if (!c || start(c)) { /* then we have to, and block if it does */
        free(c);
        *ret_result = coil__op_perform(op);
        return true;
    }
    if (!ends(c)) {
        *ret = c;
        return false;
    }
    *ret_result = c->result;
    release(c);
    return true;
}

bool coil__testing_call_ended(struct call *c, ssize_t *ret_result)
{
    if (sem_trywait(&c->ended) < 0)
        return false;
    *ret_result = c->result;
    release(c);
    return true;
}

void coil__testing_call_break(struct call *c)
{
    pthread_cancel(c->thread);
    release(c);
}
