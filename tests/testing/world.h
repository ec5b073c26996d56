/* world.h - one run of a test: what was asked for, and what is written down about it. */
#ifndef TESTING_WORLD_H
#define TESTING_WORLD_H

#include "../../core/sched/loop.h"
#include "../../include/coil/testing.h"

struct world {
    struct coil_testing_options options;
    struct coil_testing_report *report;
    struct coil_scope *scope; /* to be cancelled at options.cancel_at; NULL: not now */
    long live;                /* pieces of memory that came from the hook and did not go back */
    coil_task_fn *main_fn;
    void *arg;
};

/* Of the run that the calling thread is about to begin; NULL: somebody's plain coil_run. */
extern __thread struct world *coil__testing_world;

/* Adds a line to what is wrong. */
void coil__testing_say(struct coil_testing_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Writes down who waits for what. */
void coil__testing_describe_blocked(struct loop *loop, struct coil_testing_report *report,
                                    int (*fd_of)(void *ctx, const struct coil_task *t), void *ctx);

#endif
