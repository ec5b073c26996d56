/* coil/loop.h - running: one loop in this thread, or one on each core. */
#ifndef COIL_LOOP_H
#define COIL_LOOP_H

#include "common.h"
#include "group.h"
#include "instrument.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- One loop -----------------------------------------------------------------------------------
 *
 * A loop lives in the thread that calls coil_run and ends with the call. It starts no thread (but
 * for the blocking pool, at the first call that needs it), installs no signal handler, and shares
 * nothing with other loops.
 *
 * The child of a fork(3) has no loop, wherever it was made. In one made by a task, calls that need
 * a task abort with a line, as does returning from the task's function; cancelling does nothing. A
 * coil_run anew works, on that task's stack. The parent notices nothing. coil hears of forks by a
 * pthread_atfork handler, from the first coil_run on, so after clone(2), or _Fork(3), in a task
 * nothing of coil may be called: exec or _exit. */

/* How to run. Zeroed, it asks for the defaults; NULL does too. Copied, not kept. */
struct coil_loop_options {
    /* "io_uring" or "epoll": that one, or the call fails. NULL: what the environment variable
     * COIL_BACKEND names, by the same rule; else io_uring, or epoll where that is not to be had. */
    const char *backend;

    unsigned int sq_entries; /* io_uring's submission queue. 0: 256 */
    unsigned int cq_entries; /* io_uring's completion queue. 0: 4096 */
    size_t stack_size;       /* of a task, bytes, 16 KiB to 1 GiB. 0: 64 KiB */

    unsigned int blocking_threads; /* at the most, for file calls (file.h). 0: 4 */

    uint64_t shuffle_seed; /* for tests: not 0 runs ready tasks in an order drawn from
                            * the seed, so that one that gives way may be the next to run */

    /* Where memory comes from, if not malloc: as realloc, size 0 frees and returns NULL. Called on
     * the loop's thread only. Stacks, the loop's own record and what coil_read_file returns do not
     * come from here. */
    void *(*allocate)(void *ctx, void *ptr, size_t size);
    void *allocate_ctx;

    const struct coil_instrument *instrument; /* told from the start; see instrument.h. Kept */
};

/* Runs main_fn(arg) as the first task, "main", of a new loop in the calling thread, until it has
 * returned. Other tasks live in groups that it begins, so none outlives it. In C, options can be
 * written in the call: coil_run(&(struct coil_loop_options){.backend = "epoll"}, main_fn, arg).
 * What main_fn returned (0 if that is -ECANCELED because a shutdown cancelled it), or:
 *
 *   -EBUSY   this thread is running a loop already
 *   -EINVAL  main_fn is NULL, or an option is wrong
 *   -ENOMEM  no memory for a loop
 *
 * or, with a backend named, the code it failed with: -ENOSYS or -EPERM if the kernel refuses
 * io_uring, -EOPNOTSUPP if it was left out of the build. */
#define coil_run(options, ...) /* (options, main_fn, arg) */                                       \
    coil_run_at(options, __VA_ARGS__, "main", COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_run_at(const struct coil_loop_options *options,
                                         coil_task_fn *main_fn, void *arg, const char *name,
                                         const char *site);

/* Which backend the calling task's loop runs on ("io_uring", "epoll") and why that one, in words
 * for an operator: "io_uring_setup: EPERM, likely seccomp". NULL outside of a task. */
COIL_API const char *coil_backend_name(void);
COIL_API const char *coil_backend_reason(void);

/* The reason of the calling thread's last coil_run that failed to open a backend; "" if none
 * did. */
COIL_API const char *coil_run_error(void);

/* Counters of this thread's loop. Not for other threads: they ask for a JSON dump, which has them
 * (coil_dumper, debug.h). Of buffers there is nothing to count: an operation reads into its task's
 * own memory, and the library lends none. What a channel holds, coil_sender_stats says. */
struct coil_stats {
    size_t tasks;             /* not ended, dormant ones too */
    size_t ready;             /* of these, ready to run */
    size_t timers;            /* armed */
    size_t operations;        /* submitted and not complete */
    size_t descriptors;       /* known to the loop: used here and not closed */
    size_t stacks;            /* mapped, in use or not */
    size_t blocking;          /* calls in the blocking pool, queued or running */
    uint64_t turns;           /* of the loop */
    uint64_t switches;        /* times a task was resumed */
    uint64_t cancels;         /* operations that were asked to stop */
    uint64_t late_results;    /* of these, completed with a result all the same; it was delivered */
    int64_t next_deadline_ns; /* the soonest timer is not before this; COIL_FOREVER if none */
};

/* 0.  -EINVAL: this thread runs no loop. */
COIL_API int coil_loop_stats(struct coil_stats *ret);

/* --- One loop per core ----------------------------------------------------------------------- */

/* How to run on every core. Zeroed, it asks for the defaults; NULL does too. */
struct coil_runtime_options {
    /* How many loops. 0: one per core of the calling thread's affinity mask, no more than a
     * container's CPU quota allows (cpu.max, of cgroup v2, of its group and those around it). */
    unsigned int loops;
    int unpinned; /* not 0: do not pin each loop to its core */
    struct coil_loop_options loop;
};

/* Starts the loops, each in a thread of its own, runs main_fn(arg) on each, and waits for all. A
 * failure on one shuts the others down.
 * 0, or the first loop's failure (a negative result, or why it could not start).
 * -EAGAIN: a thread could not be started; what had started was shut down. */
#define coil_runtime_run(options, ...) /* (options, main_fn, arg) */                               \
    coil_runtime_run_at(options, __VA_ARGS__, "main", COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_runtime_run_at(const struct coil_runtime_options *options,
                                                 coil_task_fn *main_fn, void *arg, const char *name,
                                                 const char *site);

/* Which loop this is (from 0), and of how many; 0 and 1 in a coil_run. */
COIL_API unsigned int coil_loop_index(void);
COIL_API unsigned int coil_loop_count(void);

/* Cancels the main task of every loop of the runtime (of this loop, in a coil_run), in the order of
 * their numbers, with cause COIL_CAUSE_SHUTDOWN. reason must outlive the runtime.
 * 0.  -EINVAL: not in a task. */
COIL_API int coil_shutdown_loops(const char *reason);

#ifdef __cplusplus
}
#endif

#endif
