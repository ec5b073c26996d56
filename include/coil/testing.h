/* coil/testing.h - for tests: a world made of a seed, a ledger after each run, and trouble at every
 * turn.
 *
 * A program of tests links coil-testing instead of coil (pkg-config --libs coil-testing). That is
 * all of coil, object by object the same, with what is declared here; and a third backend, "sim".
 * Nothing here prints. */
#ifndef COIL_TESTING_H
#define COIL_TESTING_H

#include "common.h"
#include "loop.h"
#include "scope.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- The simulated world ------------------------------------------------------------------------
 *
 * On "sim", tasks, groups and scopes are coil's own, and bytes go through real descriptors; what is
 * not real is time and chance.
 *
 * Time stands still while tasks run. When no task is ready and nothing under way can complete, the
 * clock jumps to the next deadline: a test that sleeps an hour takes none.
 *
 * Chance comes from the seed: the order in which ready tasks run, short reads and writes,
 * operations that complete late and in another order, cancels that lose their race. One seed, one
 * history: with the same seed the same run happens again, as report.history shows.
 *
 * A deadlock is an error: when no task is ready, no deadline is ahead and nothing under way can
 * ever complete, the run fails with -EDEADLK, and report.text names the blocked tasks, those that
 * have no stack included, what each waits for and where it was spawned; of those that find no room
 * it says how many, and options.complain is told of every one. All tasks are cancelled then, with
 * cause COIL_CAUSE_SHUTDOWN; those that wait on in spite of it are left where they are, with what
 * they hold. On the other backends no deadlock is ever certain, since another thread can always
 * send a cancel, or write to a descriptor that was handed to it.
 *
 *      struct coil_testing_options o = coil_testing_seeded(seed);
 *      struct coil_testing_report report;
 *
 *      if (coil_testing_run(&o, scenario, &state, &report) < 0)
 *          fail("seed %llu: %s", seed, report.text);
 *
 * A call that blocks, and for which there is the blocking pool, is made between two steps, at a
 * moment that the seed chooses, in no time, and may be late like any operation. One that waits for
 * somebody else, such as opening a FIFO that nobody has opened, occupies one of the threads that
 * the pool may have, and ends when it ends; should it never, that is a deadlock, and it is broken
 * off.
 *
 * What is outside of the loop is outside of the history: threads, processes, and, strictly, the
 * kernel's own network, and the moment when a call ends that has waited for somebody else. Before
 * the clock jumps, sim waits a while for such calls and for sockets of IP; for others as long as
 * outside_ns says. */

/* A failure by plan: the nth operation called so answers error instead of being done. But a close
 * is done, as Linux has it, and answers error. */
struct coil_fault {
    const char *call; /* "recv", "accept", "poll", "openat", "fsync", "close" ...: what a task is
                       * said to wait for when it is in such a call; "blocking call": any of those
                       * on files and paths, a close included. To wait for readiness is a "poll", in
                       * a select too, and for a task without a stack. NULL: any */
    unsigned int nth; /* counted from 1. 0: every one */
    int error;        /* negative */
};

/* When a call, of those that can wait, is met by a cancel. */
enum coil_testing_when {
    COIL_TESTING_BEFORE, /* when it begins. One that cannot refuse, such as the end of a group, or a
                          * coil_park: when it waits */
    COIL_TESTING_WHILE,  /* while its task waits, if it comes to that */
    COIL_TESTING_AFTER,  /* when it is done and its task does not run yet, if it comes to that */
};

/* How to run. Zeroed, it asks for a world without chance. */
struct coil_testing_options {
    struct coil_loop_options loop; /* backend NULL: what COIL_BACKEND names, else "sim" */

    /* On any backend. */
    unsigned int fail_allocation; /* which call of the allocate hook finds no memory, from 1; on
                                   * "sim" the stacks of tasks are counted among these. 0: none.
                                   * The loop itself, and what lies outside of any, are malloc's */

    /* On "sim". */
    uint64_t seed;              /* 0: no chance; first come, first served, whatever follows. Also
                                 * that of loop.shuffle_seed, if that is 0 */
    unsigned int short_percent; /* of reads and writes of streams and files, moved only in part */
    unsigned int late_percent;  /* of operations, completed late_ns later at the most; meanwhile
                                 * others come first, or a cancel does */
    unsigned int lost_percent;  /* of cancels that come when the operation could be done: it is */
    int64_t late_ns;
    int64_t tick_ns;    /* how far each look at the clock moves it: for code that spins. 0: not */
    int64_t outside_ns; /* how long, in real time, threads and processes have to act before the
                         * clock jumps; ten times as long before a deadlock is found */
    int threads;        /* not 0: what blocks goes to the pool's threads, as on the other backends,
                         * and is no part of the history. For tests that look at the pool */
    const struct coil_fault *faults;
    size_t fault_count;
    unsigned int cancel_at; /* at which call main_fn is cancelled, from 1; 0: it is not. All calls
                             * count that can wait, of whatever task, if they have to or not */
    enum coil_testing_when cancel_when;
    int cancel_caller; /* not 0: not main_fn, but just the task that makes the call */

    /* What is wrong, a line each, also those for which report.text has no room; only what was done
     * to a scenario that failed is not among them. May be NULL. */
    void (*complain)(void *ctx, const char *line);
    void *complain_ctx;

    /* What happens, a line each, as it does. May be NULL. */
    void (*trace)(void *ctx, const char *line);
    void *trace_ctx;
};

/* A world in which all that chance can do happens now and then. */
COIL_API struct coil_testing_options coil_testing_seeded(uint64_t seed);

/* What happened. text says in words what was wrong, a line each, and at its end under which seed;
 * "" if nothing. */
struct coil_testing_report {
    const char *backend; /* static; NULL: none was opened */
    uint64_t seed;
    uint64_t history;       /* the same for the same history. 0: not on "sim" */
    int64_t elapsed_ns;     /* of coil_now's clock */
    unsigned int calls;     /* that can wait, if there is a cancel_at. These on "sim" only */
    unsigned int cancelled; /* 1: it came to that */
    unsigned int operations;
    unsigned int jumps;  /* of the clock */
    unsigned int failed; /* operations, by plan */
    unsigned int shortened;
    unsigned int late;
    unsigned int lost;        /* cancels */
    unsigned int allocations; /* calls of the allocate hook that asked for memory, and on "sim"
                               * stacks of tasks */
    char text[4096];
};

/* Runs main_fn(arg) as coil_run does, and keeps a ledger: when main_fn has returned no task,
 * operation, timer or call may be left and no descriptor known; afterwards the process has the
 * descriptors it had before (of the first 65536), and all memory that went through the allocate
 * hook is back. Buffers are no item of their own: every one that coil reads or writes is its
 * caller's, and while one is in use so is an operation. ret may be NULL.
 * What main_fn returned.  What coil_run fails with.  -EDEADLK: nothing could ever happen; see
 * above.  -EUCLEAN: the ledger does not balance. */
#define coil_testing_run(options, main_fn, ...) /* (options, main_fn, arg, report) */              \
    coil_testing_run_at(options, main_fn, __VA_ARGS__, COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_testing_run_at(const struct coil_testing_options *options,
                                                 coil_task_fn *main_fn, void *arg,
                                                 struct coil_testing_report *ret, const char *site);

/* The same on io_uring, epoll and sim, one after the other; a backend this machine lacks is left
 * out. What the last one answered; or the first negative answer, and no further: so ret is of the
 * run that failed, and its backend says where. */
#define coil_testing_run_each(options, main_fn, ...) /* (options, main_fn, arg, report) */         \
    coil_testing_run_each_at(options, main_fn, __VA_ARGS__, COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_testing_run_each_at(const struct coil_testing_options *options,
                                                      coil_task_fn *main_fn, void *arg,
                                                      struct coil_testing_report *ret,
                                                      const char *site);

/* --- Trouble at every turn ----------------------------------------------------------------------
 *
 * Runs a scenario on sim again and again: once undisturbed; then cancelled before its first call
 * that can wait, its second, and so on to its last; then so while it waits in each, and with each
 * done and its task not resumed; then with its first operation failing, its second ...; then with
 * its first allocation. Each run must leave nothing behind, and answer what the undisturbed one
 * did, or what its trouble explains. */
struct coil_everywhere {
    coil_task_fn *scenario;          /* leaves nothing behind, whatever happens */
    void *arg;                       /* for all three */
    int each_task;                   /* not 0: all that is cancelled is cancelled once more, just
                                      * the task that makes the call, and the others are left */
    void (*before)(void *arg);       /* each run; may be NULL */
    int (*after)(void *arg, int rc); /* each run, which answered rc. Negative: something is wrong.
                                      * May be NULL */
    int operation_error;             /* what operations fail with. 0: -EIO */
    const int *allowed;              /* what the scenario may answer besides: its own result; 0 and
                                 * -ECANCELED if cancelled; operation_error; -ENOMEM */
    size_t allowed_count;
};

/* options may be NULL; what it says of cancels and fail_allocation does not count.
 * How many runs there were.  -EDEADLK, -EUCLEAN, or, for an answer that is not allowed, -EPROTO;
 * or what the undisturbed run failed with. ret is of the run that failed, and its text begins with
 * what was done to it. */
#define coil_testing_everywhere(options, ...) /* (options, e, report) */                           \
    coil_testing_everywhere_at(options, __VA_ARGS__, COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_testing_everywhere_at(const struct coil_testing_options *options,
                                                        const struct coil_everywhere *e,
                                                        struct coil_testing_report *ret,
                                                        const char *site);

/* --- Waiting until nothing happens --------------------------------------------------------------
 *
 * Returns when every other task of the loop waits, none is ready, and it has been so for cushion_ns
 * (of coil_now's clock; 0: right now). Waiters of one cushion return together, those of a smaller
 * one first; to each other they count as waiting, until they return. Exact as to tasks; a call in
 * the blocking pool waits. On sim the clock does not jump as long as somebody waits here with no
 * cushion. (trio: wait_all_tasks_blocked)
 * 0.  -ECANCELED: asked to stop. */
COIL_API COIL_MUST_CHECK int coil_wait_all_blocked(int64_t cushion_ns);

/* --- Taking turns -------------------------------------------------------------------------------
 *
 * Tasks that do things in an order that the test lays down:
 *
 *      struct coil_sequencer s = {0};
 *
 *      rc = coil_sequencer_begin(&s, 3);       // waits until 0, 1 and 2 have had their turns
 *      if (rc == 0) {
 *          ...
 *          coil_sequencer_end(&s);
 *      }
 *
 * For tasks of one loop. A turn that is cancelled while it is awaited breaks the sequence: nobody
 * comes after it. */
struct coil_sequencer {
    unsigned int next;
    int broken;
    int taken; /* a turn has begun and not ended */
    struct coil_turn *waiting;
};

/* 0.  -ECANCELED: asked to stop; the sequence is broken.  -EPIPE: somebody broke it.
 * -EALREADY: that turn has been had, or is awaited by another task. */
COIL_API COIL_MUST_CHECK int coil_sequencer_begin(struct coil_sequencer *s, unsigned int number);
COIL_API void coil_sequencer_end(struct coil_sequencer *s);

/* --- What a call is -----------------------------------------------------------------------------
 *
 * Did what was called between begin and end give others a turn? Did it answer a cancellation?
 *
 *      struct coil_probe p;
 *
 *      coil_probe_begin(&p, 1);                // as if cancelled
 *      rc = coil_recv(fd, buf, n, 0);
 *      coil_probe_end(&p);
 *      assert(p.met_cancellation && !p.gave_way);
 *
 * Calls that do not wait give way within a budget only, so not each time. */
struct coil_probe {
    int gave_way;
    int met_cancellation; /* with cancelled: something answered -ECANCELED. Else 0 */
    uint64_t opaque_[1];
    struct coil_scope scope;
};

#define coil_probe_begin(p, cancelled) coil_probe_begin_at((p), (cancelled), COIL_HERE)
COIL_API void coil_probe_begin_at(struct coil_probe *p, int cancelled, const char *site);
#define coil_probe_end(p) coil_probe_end_at((p), COIL_HERE)
COIL_API void coil_probe_end_at(struct coil_probe *p, const char *site);

#ifdef __cplusplus
}
#endif

#endif
