/* coil/instrument.h - being told what a loop does: for tracing, profiling, watchdogs. */
#ifndef COIL_INSTRUMENT_H
#define COIL_INSTRUMENT_H

#include "common.h"
#include "lowlevel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Instruments --------------------------------------------------------------------------------
 *
 * Functions that a loop calls as it goes. Those that are NULL cost nothing:
 *
 *      static void note(void *ctx, struct coil_task *t) { ... }
 *      static const struct coil_instrument slow = {.before_step = note, .after_step = check};
 *
 *      r = coil_instrument_add(&slow);         // or, from the start, in coil_loop_options
 *
 * A hook runs as no task (coil_task_self is NULL). It may look at anything (coil_task_look,
 * coil_dump), cancel, spawn, unpark, and add and remove instruments; what it does itself is told to
 * no hook. A call that can wait, or that begins or ends a scope, aborts with a line. Hooks about
 * steps and waits run on the thread's own stack, the others on that of whatever led to them. An
 * instrument must live until it is removed or the loop has ended, and may serve any number of
 * loops, whose threads then call it. (trio: Instrument) */
struct coil_instrument {
    /* Of the one in coil_loop_options: before the main task is made. */
    void (*before_run)(void *ctx);
    /* The main task has returned, and with it all others. */
    void (*after_run)(void *ctx);

    void (*task_spawned)(void *ctx, struct coil_task *t);
    /* It has become ready to run. */
    void (*task_scheduled)(void *ctx, struct coil_task *t);
    /* It is about to run; it has waited, given way, or ended. */
    void (*before_step)(void *ctx, struct coil_task *t);
    void (*after_step)(void *ctx, struct coil_task *t);
    /* It has returned. Its last step ends after this, and that is the last of it. */
    void (*task_exited)(void *ctx, struct coil_task *t);

    /* Around each look at the world outside. It lasts until something happens, or deadline_ns; 0:
     * somebody is ready, it will not wait. */
    void (*before_wait)(void *ctx, int64_t deadline_ns);
    void (*after_wait)(void *ctx);

    void *ctx;
};

#define COIL_INSTRUMENTS_MOST 8

/* Has i told what this thread's loop does from now on (of the step under way, not how it ends),
 * after those that are there. One that a hook adds is told from the next event on. Adding one again
 * changes nothing.
 * 0.  -EINVAL: i is NULL, or this thread runs no loop.  -ENOSPC: there are as many as there may
 * be. */
COIL_API COIL_MUST_CHECK int coil_instrument_add(const struct coil_instrument *i);

/* i is told nothing more. Nothing happens if it was not added. */
COIL_API void coil_instrument_remove(const struct coil_instrument *i);

#ifdef __cplusplus
}
#endif

#endif
