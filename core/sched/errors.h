/* errors.h - the failures of a group, in the order in which they happened. */
#ifndef CORE_SCHED_ERRORS_H
#define CORE_SCHED_ERRORS_H

#include "../base.h"

struct errors;
struct loop;

struct error_record {
    int code;
    const char *task;
    const char *site;
    const char *message;
    struct errors *inner; /* of the group in the task whose end led to this one; may be NULL */
};

/* Adds to *list, which may be NULL. inner changes hands. False: no memory; inner is freed. */
bool coil__errors_add(struct loop *loop, struct errors **list, const struct error_record *e);
uint64_t coil__errors_serial(const struct errors *list);
void coil__errors_free(struct loop *loop, struct errors *list);

#endif
