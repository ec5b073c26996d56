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
 * negative value fails its group. */
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

/* Ends g, given the result of the code inside: waits for every task, whatever happens, also when
 * the caller is cancelled (then they are too). A negative rc fails the group first. 0: all went
 * well, or the cancellation was g's own and ends here.  The first failure's code, if there was one.
 * -ECANCELED: for a scope further up. The wait itself never adds a cancellation, and the call
 * always gives others a turn. */
#define coil_group_end(g, rc) coil_group_end_at((g), (rc), COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_group_end_at(struct coil_group *g, int rc, const char *site);

/* The scope around g's tasks: to cancel them, to give them a deadline, to ask why. */
COIL_API struct coil_scope *coil_group_scope(struct coil_group *g);

/* How many tasks of g have not ended. */
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

/* What the task returned. -EAGAIN: it has not ended. */
COIL_API int coil_task_result(const struct coil_handle *h);
COIL_API enum coil_status coil_task_status(const struct coil_handle *h);
COIL_API const char *coil_task_name(const struct coil_handle *h);

/* The name of the task that owns the group it was spawned into. */
COIL_API const char *coil_task_parent(const struct coil_handle *h);

#ifdef __cplusplus
}
#endif

#endif
