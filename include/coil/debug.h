/* coil/debug.h - looking: what each task waits for, since when, until when, and who began it. */
#ifndef COIL_DEBUG_H
#define COIL_DEBUG_H

#include "common.h"
#include "lowlevel.h"
#include "scope.h"
#include "select.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- The tree -----------------------------------------------------------------------------------
 *
 * All that lives in this thread's loop, parents before their children, oldest first:
 *
 *      struct coil_node n;
 *      struct coil_task_info t;
 *
 *      for (int more = coil_tree_first(&n); more; more = coil_tree_next(&n)) {
 *          if (!coil_node_look(&n, &t))            // not a task
 *              continue;
 *          ...
 *      }
 *
 * Nothing is allocated, and any depth is fine. What was found holds until the calling task waits,
 * or anything in the tree begins, ends or is cancelled; a walk must not go on after that. */
enum coil_node_kind {
    COIL_NODE_LOOP, /* the root */
    COIL_NODE_TASK,
    COIL_NODE_SCOPE,
    COIL_NODE_GROUP,
    COIL_NODE_DORMANT, /* a task without a stack (group.h); it comes right after its group */
};

struct coil_node {
    enum coil_node_kind kind;
    int depth; /* the root's is 0 */
    const struct coil_task
        *task;            /* the task; of a scope, who began it; NULL: the root, or dormant */
    const char *site;     /* file:line of the spawn, or the begin */
    size_t task_count;    /* of a group: how many have not ended; */
    size_t dormant_count; /* of these, how many are dormant */
    int64_t deadline_ns;  /* its own; COIL_FOREVER if none */
    int shielded;
    int requested;                /* asked to finish, softly */
    int cancelled;                /* asked to stop: itself, not an ancestor */
    struct coil_cancellation why; /* if cancelled */
    const void *opaque_[2];
};

/* 1: *ret is the root.  0: this thread runs no loop. */
COIL_API int coil_tree_first(struct coil_node *ret);

/* 1: *n is the next.  0: it was the last. */
COIL_API int coil_tree_next(struct coil_node *n);

enum coil_task_state {
    COIL_TASK_READY,
    COIL_TASK_RUNNING, /* looking at itself, or busy with what led here */
    COIL_TASK_WAITING,
    COIL_TASK_ENDED,
};

/* A task as it stands. The strings are those that were passed in, and may be NULL. */
struct coil_task_info {
    const char *name;
    const char *site;   /* of the spawn */
    const char *parent; /* the name of the task that owns its group; NULL: the main task's */
    enum coil_task_state state;
    int dormant; /* it has no stack, and no scope but its group's */

    /* While it waits. */
    const char *waits_for;         /* "recv", "sleep", "group end", or what coil_park was told */
    const char *whose;             /* the task's name, if it waits for the end of one; else NULL */
    int fd;                        /* the descriptor, if it waits for one; else -1 */
    const struct coil_case *cases; /* what it selects from, in its own array; NULL: it does not */
    size_t case_count;
    int64_t begins_ns; /* when, if it is dormant and waits for its time; else COIL_FOREVER */
    /* By the loop's own clock, which is read when it wakes, when a timer may be due, and every 256
     * turns: early by that much, never late. */
    int64_t since_ns;

    const char *scope_site; /* where the innermost scope around it was begun */
    int64_t deadline_ns;    /* the soonest that reaches it; COIL_FOREVER if none, INT64_MIN once it
                             * is cancelled */
    int requested;          /* somebody asked that it finish, softly or not */
    int cancelled;          /* its checkpoints fail */
    struct coil_cancellation why;
};

/* Describes a task of this thread's loop. */
COIL_API void coil_task_look(const struct coil_task *t, struct coil_task_info *ret);

/* Describes the task that a node is, dormant or not.
 * 1.  0: it is no task. */
COIL_API int coil_node_look(const struct coil_node *n, struct coil_task_info *ret);

/* --- The dump -----------------------------------------------------------------------------------
 *
 * The whole tree, written for somebody who is woken at night, or for a program. Text has a line for
 * each task and each scope, indented; of a group's dormant tasks, for the 1,000 that have waited
 * longest, and then for how many more there are. JSON has all. It is one object: `nodes` are in the
 * order of
 * coil_tree_next, each with its `depth`, so a node's parent is the last one before it with a
 * smaller depth; times are nanoseconds, null where there is none. */
enum coil_dump_format {
    COIL_DUMP_TEXT,
    COIL_DUMP_JSON,
};

/* Is given a dump in pieces of a few hundred bytes. Negative: enough. It runs as no task
 * (coil_task_self is NULL), and must not change the tree. */
typedef int coil_dump_fn(void *ctx, const char *text, size_t len);

/* Writes a dump of this thread's loop through write(ctx, ...). Does not wait, and allocates
 * nothing: it works in any task, in an instrument's hook or an abort function, and when there is no
 * memory left.
 * 0.  -EINVAL: this thread runs no loop, or there is no such format.  What write returned, if that
 * was negative; the dump ends there. */
COIL_API int coil_dump(enum coil_dump_format format, coil_dump_fn *write, void *ctx);

/* The same to a descriptor, without a turn of the loop, which it holds up until it is done. It
 * waits for room there, a second in all, also if the descriptor blocks; that is left as it is.
 * (Somebody else who writes to the same FIFO or terminal in that very moment may take the room that
 * was seen, and then it does block.) To a terminal it goes byte by byte. Raises no SIGPIPE.
 * 0.  -EINVAL, as above.  -EAGAIN: no room; a part is written.  What write(2) said. */
COIL_API int coil_dump_fd(enum coil_dump_format format, int fd);

/* A dump of a loop on request by other threads and signal handlers: the loop writes it, between two
 * tasks. A loop that one task holds does not answer; a debugger does (coil-gdb.py).
 *
 *      static struct coil_dumper dumper;
 *
 *      static void on_usr1(int number) { (void)coil_dumper_ask(&dumper); }
 *      ...
 *      coil_dumper_begin(&dumper, COIL_DUMP_TEXT, to_stderr, NULL);    // in a task of the loop
 *
 * Zeroed memory, and it stays: a handler may look at it after the end as well. */
struct coil_dumper {
    uint64_t opaque_[10];
};

/* Has d ask this thread's loop, until coil_dumper_end or the loop's end.
 * 0.  -EINVAL: this thread runs no loop, no such format.  -EBUSY: begun already. */
COIL_API COIL_MUST_CHECK int coil_dumper_begin(struct coil_dumper *d, enum coil_dump_format format,
                                               coil_dump_fn *write, void *ctx);

/* Asks for a dump, from anywhere. Returns before it is written; asked again before then, it is
 * written once.
 * 0.  -ESHUTDOWN: d has ended, or not begun. */
COIL_API int coil_dumper_ask(struct coil_dumper *d);

/* Ends d, on its loop's thread. What was asked for is written first, and write is not called any
 * more; from within write, the dump ends there. Nothing happens if it has ended, or not begun. */
COIL_API void coil_dumper_end(struct coil_dumper *d);

#ifdef __cplusplus
}
#endif

#endif
