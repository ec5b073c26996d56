/* group.h - tasks that end before the one that began their group goes on. */
#ifndef CORE_SCHED_GROUP_H
#define CORE_SCHED_GROUP_H

#include "../../include/coil/group.h"
#include "errors.h"
#include "scope.h"
#include "task.h"

enum group_state {
    GROUP_ACTIVE = 0x6709a001,
    GROUP_ENDED,
};

struct group {
    struct scope scope;  /* around the host's code and all tasks */
    uint32_t state;      /* enum group_state */
    int first_error;     /* 0, or the code of the first failure */
    bool waiting;        /* the host is parked in the end */
    bool task_gave_in;   /* a task returned -ECANCELED that was not its own affair */
    struct list dormant; /* tasks without a stack; not a list before the first */
    size_t dormant_count;
    struct list telling; /* on a canceller's list, between its marking and its telling them */
    struct coil_task *host;
    size_t count;           /* tasks that have not ended, or are being started */
    size_t services;        /* of these */
    struct errors *errors;  /* the group's while it is active; then the host's */
    uint64_t errors_serial; /* whose they are cannot be told from an address that is used again */
    size_t dropped;
};

/* A task between its start and its coil_started lives in a group of its own, which the starter
 * ends: so it sees the starter's scopes, and its failure stays there. Then it is moved. */
struct start {
    struct group before;
    struct group *group; /* it goes there, and is counted there throughout */
    intptr_t value;
    bool service; /* it will be one */
    bool said;    /* coil_started has been called */
    bool moved;   /* ... and the task is in its group */
};

/* A task, also after it has ended. */
struct handle {
    struct coil_task *task;  /* NULL once it has ended, and as long as it is: */
    struct dormant *dormant; /* without a stack */
    int result;
    bool cancelled; /* it gave in to a cancellation */
    bool started;   /* it has said start_value */
    uint8_t cause;  /* enum coil_cause: why it was cancelled, if it was, and is no task any more */
    intptr_t start_value;
    const char *name;
    const char *parent;
    struct list waiters;
    const char *reason; /* these with cause */
    const char *canceller;
    const char *cancel_site;
};

/* Notes why the task was cancelled, unless that is noted already. */
void coil__handle_note(struct handle *h, const struct coil_cancellation *why);

/* Makes h the handle of a task that never came to be, and counts as cancelled. */
void coil__handle_never(struct handle *h, const char *name, const char *parent);

/* Makes h the handle of a task of g that has no stack, nor anything else yet. */
void coil__handle_begin(struct handle *h, const char *name, const struct group *g);

/* May a task run fn in g? *ret: on a stack of which class. */
int coil__group_check(const struct group *g, coil_task_fn *fn,
                      const struct coil_spawn_options *options, const char *site,
                      unsigned int *ret);

/* A task of g that has no stack, and perhaps a handle, has ended with code, which is negative.
 * gave_in: it was cancelled with its group. */
void coil__group_lost(struct group *g, struct handle *h, const struct error_record *e,
                      bool gave_in);

/* Whose end t, which is parked, waits for; NULL: something else. */
const struct handle *coil__handle_waited_for(const struct coil_task *t);

/* A task of a group has returned result; that is rc, its own scope's cancellations caught. */
void coil__group_task_ended(struct coil_task *t, int result, int rc, bool was_cancelled);

#endif
