/* world.h - one run of a test: what was asked for, and what is written down about it. */
#ifndef TESTING_WORLD_H
#define TESTING_WORLD_H

#include "../../core/sched/loop.h"
#include "../../include/coil/testing.h"

struct world {
    struct coil_testing_options options;
    struct coil_testing_report *report;
    struct coil_scope *scope; /* to be cancelled at options.cancel_at; NULL: not now */
    size_t unsaid;            /* lines about what is wrong for which the report has no room */
    long live;                /* pieces of memory that came from the hook and did not go back */
    coil_task_fn *main_fn;
    void *arg;
};

/* Of the run that the calling thread is about to begin; NULL: somebody's plain coil_run. */
extern __thread struct world *coil__testing_world;

/* Adds a line to what is wrong, or counts it, and tells it to whoever hears of all. */
void coil__testing_say(struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Adds a last line. There is room for two. */
void coil__testing_add(struct coil_testing_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Writes down who waits for what. */
void coil__testing_describe_blocked(struct loop *loop, struct world *w,
                                    int (*fd_of)(void *ctx, const struct coil_task *t), void *ctx);

/* As coil_testing_run_at, without the seed in the text. */
int coil__testing_run(const struct coil_testing_options *options, coil_task_fn *main_fn, void *arg,
                      struct coil_testing_report *report, const char *site);

#endif
