/* coil/lowlevel.h - the one way to block, for writing primitives of your own. */
#ifndef COIL_LOWLEVEL_H
#define COIL_LOWLEVEL_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Park and unpark ----------------------------------------------------------------------------
 *
 * trio's abort protocol. A task puts itself on some list, parks, and somebody unparks it:
 *
 *      static enum coil_abort leave(void *ctx)
 *      {
 *          unlink_waiter(ctx);
 *          return COIL_ABORT_DONE;
 *      }
 *
 *      struct waiter w = {coil_task_self()};
 *      link_waiter(&w);
 *      r = coil_park(leave, &w, "my event");   // 0 from coil_unpark(w.task, 0), or -ECANCELED
 *
 * If the task is cancelled while it is parked, the abort function is called, at most once per park,
 * in the middle of whatever cancelled: another task, a timer, this task itself. It runs as no task
 * (coil_task_self is NULL): it may unpark, cancel and spawn; a call that can wait, or that begins
 * or ends a scope, aborts with a line. */
struct coil_task;

enum coil_abort {
    COIL_ABORT_DONE,  /* nobody will unpark the task now: coil_park returns -ECANCELED */
    COIL_ABORT_LATER, /* it was asked to hurry, and coil_unpark will come, with any result */
};

typedef enum coil_abort coil_abort_fn(void *ctx);

/* The calling task; NULL outside of one. Valid until it ends. */
COIL_API struct coil_task *coil_task_self(void);

/* Waits for coil_unpark and returns its result. abort NULL: cancellation does not cut the wait
 * short. If the task is cancelled already, abort is called at once. what says in a word or two what
 * is waited for, and must be static. */
COIL_API COIL_MUST_CHECK int coil_park(coil_abort_fn *abort, void *ctx, const char *what);

/* Makes a parked task ready; its coil_park returns result. Exactly once per park, on the loop's own
 * thread; anything else aborts with a line. Does not switch. */
COIL_API void coil_unpark(struct coil_task *t, int result);

#ifdef __cplusplus
}
#endif

#endif
