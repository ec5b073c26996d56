/* group.h - tasks that end before the one that began their group goes on. */
#ifndef CORE_SCHED_GROUP_H
#define CORE_SCHED_GROUP_H

#include "../../include/coil/group.h"
#include "scope.h"
#include "task.h"

struct errors;

enum group_state {
    GROUP_ACTIVE = 0x6709a001,
    GROUP_ENDED,
};

struct group {
    struct scope scope; /* around the host's code and all tasks */
    uint32_t state;     /* enum group_state */
    int first_error;    /* 0, or the code of the first failure */
    bool waiting;       /* the host is parked in the end */
    bool task_gave_in;  /* a task returned -ECANCELED that was not its own affair */
    struct coil_task *host;
    size_t count;           /* tasks that have not ended */
    struct errors *errors;  /* the group's while it is active; then the host's */
    uint64_t errors_serial; /* whose they are cannot be told from an address that is used again */
    size_t dropped;
};

/* What a handle knows after its task has ended. */
struct handle {
    struct coil_task *task; /* NULL once it has ended */
    int result;
    bool cancelled; /* it gave in to a cancellation */
    const char *name;
    const char *parent;
    struct list waiters;
};

/* Whose end t, which is parked, waits for; NULL: something else. */
const struct handle *coil__handle_waited_for(const struct coil_task *t);

/* A task of a group has returned result; that is rc, its own scope's cancellations caught. */
void coil__group_task_ended(struct coil_task *t, int result, int rc, bool was_cancelled);

#endif
