/* coil/group.h - tasks, and the groups that no task outlives. */
#ifndef COIL_GROUP_H
#define COIL_GROUP_H

#include "common.h"
#include "scope.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Groups -------------------------------------------------------------------------------------
 *
 * A task is a function with a stack of its own. Every task lives in a group, and a group does not
 * end before its tasks have.
 *
 *      struct coil_group g;
 *
 *      coil_group_begin(&g);
 *      rc = coil_group_spawn(&g, fetch, &left);
 *      if (rc >= 0)
 *          rc = coil_group_spawn(&g, fetch, &right);
 *      rc = coil_group_end(&g, rc);            // both are over, whatever happened
 *
 * When a task fails, its group is cancelled and the rest are awaited. Arguments may live on the
 * stack of the function that ends the group. */
struct coil_group {
    uint64_t opaque_[48];
};

/* What a task runs. 0 or more is success. -ECANCELED from a cancelled task is no failure. Any other
 * negative value fails its group. -ECANCELED from one that was not cancelled is taken for -EPROTO:
 * it is nobody's but who was asked to stop. */
typedef int coil_task_fn(void *arg);

/* A task, seen from outside; see below. */
struct coil_handle {
    uint64_t opaque_[12];
};

/* How to spawn. Zeroed, it asks for the defaults. */
struct coil_spawn_options {
    const char *name; /* for people; must live as long as a record of the task can be read. Default:
                       * fn's name */
    size_t stack_size; /* bytes, 16 KiB to 1 GiB, rounded up to a power of two. 0: 64 KiB */
    struct coil_handle *handle; /* filled in if not NULL */
    int service;                /* not 0: see below */
    int64_t deadline_ns; /* coil_now's clock: when it passes, just this task is cancelled, as by
                          * coil_task_cancel, and its group does not notice. 0: none */
};

/* Begins g, and with it a scope (coil_group_scope) around the calling task's code until
 * coil_group_end and around every task in g. The rules of scopes hold: one use, strict nesting,
 * ended by the task that began it. Does not wait, cannot fail. (trio: open_nursery) */
#define coil_group_begin(g) coil_group_begin_at((g), COIL_HERE)
COIL_API void coil_group_begin_at(struct coil_group *g, const char *site);

/* Starts fn(arg) in g. It first runs when the caller next waits, and it does run, up to its first
 * checkpoint at least, also in a cancelled group. Any task of the loop may spawn, the group's own
 * included, until g has ended. Not a checkpoint. options may be NULL, and is not kept.
 * 0.  -EINVAL: fn is NULL, or the stack size is out of range.
 * -ESHUTDOWN: g has ended, or not begun.  -ENOMEM: no memory for a stack. */
#define coil_group_spawn(g, fn, ...) /* (g, fn, arg) */                                            \
    coil_group_spawn_at(g, fn, __VA_ARGS__, NULL, #fn, COIL_HERE)
#define coil_group_spawn_with(g, fn, ...) /* (g, fn, arg, options) */                              \
    coil_group_spawn_at(g, fn, __VA_ARGS__, #fn, COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_group_spawn_at(struct coil_group *g, coil_task_fn *fn, void *arg,
                                                 const struct coil_spawn_options *options,
                                                 const char *name, const char *site);

/* Starts fn(arg) in g and waits until it has said coil_started(value): it listens, it is connected,
 * it can be used. *ret (unless ret is NULL) is then the value. Until then the task is the caller's
 * affair: it sees the caller's scopes, their deadlines, cancels and shields, and its failure comes
 * out here and not in g; cancelled, the call waits for the task, which is cancelled too. From then
 * on it is a task of g like any other. g does not end meanwhile, and counts it. (trio:
 * nursery.start)
 *
 *      coil_group_begin(&g);
 *      rc = coil_group_start(&g, serve, &config, &port);   // serve says coil_started(port)
 *      if (rc >= 0)
 *          rc = use(port);
 *
 * 0.  -ECANCELED: asked to stop; the task has ended.  -EPROTO: it ended without coil_started, and
 * without a failure.  What it returned, if it failed before.  -EINVAL, -ESHUTDOWN, -ENOMEM: as
 * coil_group_spawn; fn did not run. A task that fails by a failed start has its record as a
 * sub-list. */
#define coil_group_start(g, fn, ...) /* (g, fn, arg, ret) */                                       \
    coil_group_start_at(g, fn, __VA_ARGS__, NULL, #fn, COIL_HERE)
#define coil_group_start_with(g, fn, ...) /* (g, fn, arg, ret, options) */                         \
    coil_group_start_at(g, fn, __VA_ARGS__, #fn, COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_group_start_at(struct coil_group *g, coil_task_fn *fn, void *arg,
                                                 intptr_t *ret,
                                                 const struct coil_spawn_options *options,
                                                 const char *name, const char *site);

/* Said by a task that was started: goes over to its group, and lets coil_group_start return. What
 * it has begun goes with it. If the group is cancelled, that acts at once. If the start is
 * cancelled, or was when it told the task to stop, nothing changes: the task stays with it, and has
 * to end. Said by a task that was spawned, it does nothing, so one function serves both. Not a
 * checkpoint.
 * 0.  -EALREADY: it has been said. */
COIL_API int coil_started(intptr_t value);

/* Ends g, given the result of the code inside: waits for every task, whatever happens, also when
 * the caller is cancelled (then they are too). A negative rc fails the group first. 0: all went
 * well, or the cancellation was g's own and ends here.  The first failure's code, if there was one.
 * -ECANCELED: for a scope further up. The wait itself never adds a cancellation, and the call
 * always gives others a turn. */
#define coil_group_end(g, rc) coil_group_end_at((g), (rc), COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_group_end_at(struct coil_group *g, int rc, const char *site);

/* --- Services -----------------------------------------------------------------------------------
 *
 * A task that others lean on, and that would never end: a logger, a pool of connections, a
 * heartbeat. Spawned with `.service = 1`, it is not waited for. While anything else of its group
 * goes on, the code up to coil_group_end included, no cancellation from outside reaches it, not
 * even the group's. Once only services are left they are cancelled one after the other, the newest
 * first, each when the one before has ended; the cause is COIL_CAUSE_SHUTDOWN. So a service may use
 * those that were spawned before it, to its very end. A service that fails, fails its group; one
 * that returns is gone. */

/* --- Tasks without a stack ----------------------------------------------------------------------
 *
 * What waits for the time, or for a peer to say something, need not hold a stack meanwhile. These
 * tasks of g are made when it is time: until then each is 200 bytes (256 with what the loop knows
 * of its descriptor), so a million connections that say nothing fit where ten thousand sleeping
 * tasks would.
 *
 *      static int serve(void *arg)                 // one request
 *      {
 *          struct client *c = arg;
 *          int rc = coil_cancel_requested() ? say_goodbye(c) : answer(c);
 *
 *          if (rc < 0 || coil_cancel_requested())  // to finish, or it said nothing for a minute
 *              return leave(c, rc);
 *          return coil_again_readable_until(c->fd, coil_now() + 60 * COIL_SECOND);
 *      }
 *      rc = coil_group_spawn_readable(&g, c->fd, serve, c);
 *
 * They are tasks of their group all the while: it waits for them, counts them, and their handle
 * works. Before its time such a task meets what others meet while they wait:
 *
 *      Cancelled, with its group or by its handle, it ends without having run, -ECANCELED: the one
 *      exception to the rule that a spawned task runs to its first checkpoint. So whoever cancels
 *      sees to what arg holds.
 *      Its own deadline passes, when nobody is there to see to that: it begins, cancelled, and its
 *      first checkpoint says so.
 *      Softly asked to finish (coil_scope_request), one that waits for a descriptor begins at once:
 *      there need not be anything to read, coil_cancel_requested says why, and it can say goodbye.
 *      It is told once: if it goes back to sleep, it sleeps, until the grace ends.
 *      One that waits for its time ends as if cancelled: it has no part in what goes on.
 *
 * When there is no memory for its stack, it fails with -ENOMEM, or, if its deadline has passed,
 * ends with -ECANCELED. It cannot be a service. */

/* fn(arg) begins when_ns (coil_now's clock) or later; COIL_FOREVER never. Not a checkpoint.
 * 0.  -EINVAL: options say it is a service.  As coil_group_spawn. */
#define coil_group_spawn_later(g, when_ns, fn, ...) /* (g, when_ns, fn, arg) */                    \
    coil_group_spawn_later_at(g, when_ns, fn, __VA_ARGS__, NULL, #fn, COIL_HERE)
#define coil_group_spawn_later_with(g, when_ns, fn, ...) /* (g, when_ns, fn, arg, options) */      \
    coil_group_spawn_later_at(g, when_ns, fn, __VA_ARGS__, #fn, COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_group_spawn_later_at(struct coil_group *g, int64_t when_ns,
                                                       coil_task_fn *fn, void *arg,
                                                       const struct coil_spawn_options *options,
                                                       const char *name, const char *site);

/* fn(arg) begins when a read from fd would not wait, or has an error or an end to tell of. Until
 * then this is fd's reader. Closed by coil_close meanwhile, the task fails with -EBADF. Not a
 * checkpoint.
 * 0.  -EBADF: fd is not open.  -EBUSY: it has a reader.  As coil_group_spawn_later. */
#define coil_group_spawn_readable(g, fd, fn, ...) /* (g, fd, fn, arg) */                           \
    coil_group_spawn_readable_at(g, fd, fn, __VA_ARGS__, NULL, #fn, COIL_HERE)
#define coil_group_spawn_readable_with(g, fd, fn, ...) /* (g, fd, fn, arg, options) */             \
    coil_group_spawn_readable_at(g, fd, fn, __VA_ARGS__, #fn, COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_group_spawn_readable_at(struct coil_group *g, int fd,
                                                          coil_task_fn *fn, void *arg,
                                                          const struct coil_spawn_options *options,
                                                          const char *name, const char *site);

/* For the calling task, of whatever kind, to go back to that: `return coil_again_later(when_ns);`.
 * When it has returned, with 0 or more, its stack is given back; its handle, its name, its deadline
 * and its place in the group stay, and so does a cancel of it. Its function then begins anew, with
 * the same arg. A negative result ends it as ever, and so does -EBADF or -EBUSY about fd then.
 * until_ns is a deadline for the waiting alone: when it passes, the function begins, cancelled;
 * when there is something to read before, it counts no more.
 * 0.  -ENOMEM: what was said before stands.  -EINVAL: for the main task, for services, before
 * coil_started, and in a call of coil/gather.h. */
COIL_API COIL_MUST_CHECK int coil_again_later(int64_t when_ns);
COIL_API COIL_MUST_CHECK int coil_again_readable(int fd);
COIL_API COIL_MUST_CHECK int coil_again_readable_until(int fd, int64_t until_ns);

/* The scope around g's tasks: to cancel them, to give them a deadline, to ask why. */
COIL_API struct coil_scope *coil_group_scope(struct coil_group *g);

/* How many tasks of g have not ended; those that are being started, and services, included. */
COIL_API size_t coil_group_count(const struct coil_group *g);

/* One failure. The strings are those of the spawn. */
struct coil_error {
    int code;            /* the negative errno */
    const char *task;    /* the failed task's name */
    const char *site;    /* where it was spawned */
    const char *message; /* what coil_fail said; NULL if nothing */
    size_t count;        /* failures of a group inside the task that led to this one; 0 if none */
    const void *inner;   /* for coil_error_inner */
};

/* The failures of g, in the order in which they happened; cancellations are not failures. Readable
 * by any task while g is active; after coil_group_end by the task that ended it, until it ends
 * another group that failed. coil_group_error: 0.  -ENOENT: there is no failure number i (or its
 * record is gone). */
COIL_API size_t coil_group_error_count(const struct coil_group *g);
COIL_API int coil_group_error(const struct coil_group *g, size_t i, struct coil_error *ret);
COIL_API int coil_error_inner(const struct coil_error *e, size_t i, struct coil_error *ret);

/* How many records were lost because memory ran out. The failure itself never is. */
COIL_API size_t coil_group_error_dropped(const struct coil_group *g);

/* Leaves a message for the record of the calling task's failure, and returns code:
 * `return coil_fail(-EPROTO, "no greeting");`. The message must be static. */
COIL_API int coil_fail(int code, const char *message);

/* --- One task, from outside ---------------------------------------------------------------------
 *
 * The handle is the caller's memory, filled in by a spawn that succeeded, and must live until the
 * group has ended. Everything here is for tasks of the same loop. */

enum coil_status {
    COIL_STATUS_RUNNING,   /* not ended; ready, running or waiting */
    COIL_STATUS_STOPPING,  /* cancelled, not ended yet */
    COIL_STATUS_FINISHED,  /* returned 0 or more */
    COIL_STATUS_FAILED,    /* returned a negative value */
    COIL_STATUS_CANCELLED, /* returned -ECANCELED because it was cancelled */
};

/* Cancels just this task; its group does not notice. Nothing happens if it has ended. */
#define coil_task_cancel(h, reason) coil_task_cancel_at((h), (reason), COIL_HERE)
COIL_API void coil_task_cancel_at(struct coil_handle *h, const char *reason, const char *site);

/* Waits until the task has ended, however. Any number of tasks may wait.
 * 0.  -ECANCELED: asked to stop.  -EDEADLK: it is the calling task. */
COIL_API COIL_MUST_CHECK int coil_task_wait(struct coil_handle *h);

/* What the task returned (-EPROTO for a -ECANCELED that it was not due). -EAGAIN: it has not
 * ended. */
COIL_API int coil_task_result(const struct coil_handle *h);
COIL_API enum coil_status coil_task_status(const struct coil_handle *h);
COIL_API const char *coil_task_name(const struct coil_handle *h);

/* Why the task is cancelled, or was when it ended: the record of the outermost scope that it saw
 * and that was, its own (coil_task_cancel, its deadline) included.
 * 1.  0: it is not, or was not; ret is untouched. */
COIL_API int coil_task_why_cancelled(const struct coil_handle *h, struct coil_cancellation *ret);

/* What the task said by coil_started.
 * 0.  -EAGAIN: it has said nothing, or was not started but spawned; *ret is untouched. */
COIL_API int coil_task_start_value(const struct coil_handle *h, intptr_t *ret);

/* The name of the task that owns the group it was spawned into; of the one that starts it, until it
 * has started. */
COIL_API const char *coil_task_parent(const struct coil_handle *h);

#ifdef __cplusplus
}
#endif

#endif
