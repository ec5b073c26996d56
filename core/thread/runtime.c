/* runtime.c - one loop per core, each in a thread of its own, and their common end. */
#define _GNU_SOURCE
#include "runtime.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "../choose.h"
#include "../sched/loop.h"
#include "quota.h"

/* One loop's place in the runtime. */
struct seat {
    struct runtime *runtime;
    struct loop *loop; /* NULL before it was entered and after it was left */
    struct mail shutdown;
    bool shutdown_posted;
    pthread_t thread;
    int cpu; /* -1: not pinned */
    int result;
    struct backend_reason error; /* its thread's coil_run_error, if it could not start */
};

struct runtime {
    const struct coil_runtime_options *options;
    coil_task_fn *main_fn;
    void *arg;
    const char *name;
    const char *site;

    pthread_mutex_t lock; /* over all below, and each seat's loop and shutdown */
    bool shutting_down;
    const char *reason;
    unsigned int count;
    cpu_set_t cpus; /* the caller's */
    struct seat seats[];
};

static void shutdown_arrived(struct mail *m)
{
    struct seat *seat = container_of(m, struct seat, shutdown);

    coil__scope_cancel(&seat->loop->root, COIL_CAUSE_SHUTDOWN, seat->runtime->reason, NULL, NULL);
}

/* Under the lock. */
static void post_shutdown(struct seat *seat)
{
    if (!seat->loop || seat->shutdown_posted)
        return;
    seat->shutdown_posted = true;
    seat->shutdown.deliver = shutdown_arrived;
    coil__loop_post(seat->loop, &seat->shutdown);
}

static void shut_down(struct runtime *r, const char *reason)
{
    pthread_mutex_lock(&r->lock);
    if (!r->shutting_down) {
        r->shutting_down = true;
        r->reason = reason;
        for (unsigned int i = 0; i < r->count; i++)
            post_shutdown(&r->seats[i]);
    }
    pthread_mutex_unlock(&r->lock);
}

void coil__runtime_entered(struct runtime *r, struct loop *loop)
{
    pthread_mutex_lock(&r->lock);
    r->seats[loop->index].loop = loop;
    if (r->shutting_down)
        post_shutdown(&r->seats[loop->index]);
    pthread_mutex_unlock(&r->lock);
}

void coil__runtime_left(struct runtime *r, struct loop *loop)
{
    pthread_mutex_lock(&r->lock);
    r->seats[loop->index].loop = NULL;
    pthread_mutex_unlock(&r->lock);
}

void coil__runtime_unpin(const struct runtime *r, pthread_attr_t *attr)
{
    pthread_attr_setaffinity_np(attr, sizeof(r->cpus), &r->cpus);
}

static void *thread_main(void *arg)
{
    struct seat *seat = arg;
    struct runtime *r = seat->runtime;
    unsigned int index = (unsigned int)(seat - r->seats);

    if (seat->cpu >= 0) {
        cpu_set_t one;

        CPU_ZERO(&one);
        CPU_SET((size_t)seat->cpu, &one);
        pthread_setaffinity_np(pthread_self(), sizeof(one),
                               &one); /* if refused: unpinned, and works */
    }
    seat->result =
        coil__loop_run(&r->options->loop, r, index, r->main_fn, r->arg, r->name, r->site);
    seat->error = *coil__run_error();
    if (seat->result < 0)
        shut_down(r, "a loop failed");
    return NULL;
}

static unsigned int count_loops(const struct coil_runtime_options *o, const cpu_set_t *cpus)
{
    unsigned int count = (unsigned int)CPU_COUNT(cpus);
    unsigned int quota = coil__cpus_of_quota("/proc/self/cgroup", "/sys/fs/cgroup");

    if (o->loops)
        return o->loops;
    return quota && quota < count ? quota : count;
}

/* The nth CPU of the mask, going round. */
static int nth_cpu(const cpu_set_t *cpus, unsigned int n)
{
    n %= (unsigned int)CPU_COUNT(cpus);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, cpus) && !n--)
            return cpu;
    return -1;
}

/* Starts the loops' threads, with every signal blocked that the caller has blocked. */
static int start(struct runtime *r, const cpu_set_t *cpus, unsigned int *started)
{
    for (unsigned int i = 0; i < r->count; i++) {
        struct seat *seat = &r->seats[i];
        int error;

        seat->runtime = r;
        seat->cpu = r->options->unpinned ? -1 : nth_cpu(cpus, i);
        error = pthread_create(&seat->thread, NULL, thread_main, seat);
        if (error) {
            shut_down(r, "a thread could not be started");
            return -error;
        }
        ++*started;
    }
    return 0;
}

int coil_runtime_run_at(const struct coil_runtime_options *options, coil_task_fn *main_fn,
                        void *arg, const char *name, const char *site)
{
    static const struct coil_runtime_options defaults;
    struct runtime *r;
    cpu_set_t cpus;
    unsigned int count;
    unsigned int started = 0;
    int result;

    if (!options)
        options = &defaults;
    if (!main_fn || options->loops > CPU_SETSIZE)
        return -EINVAL;
    if (coil__here.loop)
        return -EBUSY;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        return -errno;
    count = count_loops(options, &cpus);
    r = calloc(1, sizeof(*r) + count * sizeof(r->seats[0]));
    if (!r)
        return -ENOMEM;
    r->options = options;
    r->main_fn = main_fn;
    r->arg = arg;
    r->name = name;
    r->site = site;
    r->count = count;
    r->cpus = cpus;
    pthread_mutex_init(&r->lock, NULL);

    result = start(r, &cpus, &started);
    for (unsigned int i = 0; i < started; i++) {
        pthread_join(r->seats[i].thread, NULL);
        if (result >= 0 && r->seats[i].result < 0) {
            result = r->seats[i].result;
            *coil__run_error() = r->seats[i].error;
        }
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
    return result < 0 ? result : 0;
}

unsigned int coil_loop_index(void)
{
    return coil__here.loop ? coil__here.loop->index : 0;
}

unsigned int coil_loop_count(void)
{
    const struct loop *loop = coil__here.loop;

    return loop && loop->runtime ? loop->runtime->count : 1;
}

int coil_shutdown_loops(const char *reason)
{
    struct loop *loop = coil__here.loop;

    if (!loop)
        return -EINVAL;
    if (loop->runtime)
        shut_down(loop->runtime, reason);
    else
        coil__scope_cancel(&loop->root, COIL_CAUSE_SHUTDOWN, reason, NULL, NULL);
    return 0;
}
