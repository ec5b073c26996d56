/* dormant.h - a task that has no stack until it is time. */
#ifndef CORE_SCHED_DORMANT_H
#define CORE_SCHED_DORMANT_H

#include "../../include/coil/group.h"
#include "../backend.h"
#include "timer.h"

struct coil_cancellation;
struct coil_task;
struct dormant_chunk;
struct group;
struct handle;
struct locals;
struct loop;

/* What becomes of one that waits no longer. While the backend has not let go of its op yet, a later
 * decision may only be a graver one. */
enum fate {
    FATE_BEGIN,
    FATE_BEGIN_LATE, /* cancelled by its deadline, to meet that at its first checkpoint */
    FATE_END,        /* without having run */
};

/* One of a million, so it has only what it needs for what it waits for: see below. */
struct dormant {
    struct list link; /* in its group; in the pool if it is free */
    struct group *group;
    union {
        struct handle *handle; /* has_handle: it knows the name */
        const char *name;
    };
    coil_task_fn *fn;
    void *arg;
    const char *site;
    int64_t deadline_ns; /* the task's own; COIL_FOREVER: none */
    uint8_t stack_class;
    uint8_t role; /* of the task that it was */
    uint8_t fate; /* enum fate */
    bool has_handle;
    bool watches;       /* it is a dormant_watcher, else a dormant_sleeper */
    bool gave_in;       /* it ends with its group */
    bool is_deadline;   /* timer is for its deadline, and not for its time */
    struct timer timer; /* its deadline_ns, before it sleeps: its time; watching, its limit */
};

/* One that waits for its time. */
struct dormant_sleeper {
    struct dormant dormant;
    struct locals *locals;
    int64_t since_ns; /* when it fell asleep, by the loop's clock */
};

/* One that waits for a descriptor. Its op is the backend's, or over, with its mail on the way to
 * us. A poll moves no bytes, so two words of it are ours: ptr is its slots, offset since when. */
struct dormant_watcher {
    struct dormant dormant;
    struct op op; /* its fd, before it sleeps */
};

/* Those of one size. */
struct dormant_shelf {
    struct list free; /* they have been returned */
    char *rest;       /* of the newest chunk: nobody has touched it yet */
    char *end;
};

/* They come in chunks, which stay until the loop ends. */
struct dormant_pool {
    struct dormant_shelf shelves[2]; /* sleepers; watchers */
    struct dormant_chunk *chunks;
};

void coil__dormant_pool_open(struct loop *loop);
void coil__dormant_pool_close(struct loop *loop); /* all have been returned */

/* By its handle, which it has. */
void coil__dormant_cancel(struct dormant *d, const struct coil_cancellation *why);
bool coil__dormant_cancelled(const struct dormant *d);

/* All of a group, which is cancelled now, or asked to finish. Of the user's it runs at most an
 * instrument's hook, for who waited for one of them. */
void coil__dormants_tell(struct group *g);

/* For who looks on: the next of g's after d, oldest first; the first after NULL. NULL: none. */
const struct dormant *coil__dormant_next(const struct group *g, const struct dormant *d);

const char *coil__dormant_name(const struct dormant *d);

/* What d, which watches, waits for. */
static inline const struct op *dormant_op(const struct dormant *d)
{
    assert(d->watches);

    return &container_of(d, const struct dormant_watcher, dormant)->op;
}

static inline int64_t dormant_since_ns(const struct dormant *d)
{
    return d->watches ? dormant_op(d)->offset
                      : container_of(d, const struct dormant_sleeper, dormant)->since_ns;
}

/* The calling task has said that it goes back to sleep, and its function has returned *result.
 * True: so it is, and the task is no more; else it ends, with what *result is then. */
bool coil__dormant_again(struct coil_task *self, int *result);

#endif
