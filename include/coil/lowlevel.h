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
 * thread; anything else aborts with a line. Does not switch. -ECANCELED is for a task that has been
 * cancelled: to any other it is somebody else's word, and a task that returns it has failed. */
COIL_API void coil_unpark(struct coil_task *t, int result);

/* --- Parking lots -------------------------------------------------------------------------------
 *
 * A queue of parked tasks, first come, first served: what all primitives of coil are made of.
 * (trio: ParkingLot) It is zeroed memory, usable before a loop exists, by the tasks of one loop,
 * and must not go away with tasks in it. A task that is cancelled leaves it at once. */
struct coil_lot {
    uint64_t opaque_[4];
};
#define COIL_LOT_INIT COIL_ZEROED_

/* Waits in lot until unparked. what is as for coil_park. A checkpoint.
 * The result given to unpark (0 or more).  -ECANCELED: asked to stop; nobody's unpark was spent on
 * us.  -EOWNERDEAD: the lot is broken, or was meanwhile. */
COIL_API COIL_MUST_CHECK int coil_lot_park(struct coil_lot *lot, const char *what);

/* Makes up to count tasks ready, the longest waiting first; coil_lot_park returns result in each
 * (>= 0; of a negative one, nothing comes). Returns how many there were. Not a checkpoint. */
COIL_API size_t coil_lot_unpark(struct coil_lot *lot, size_t count, int result);

/* Moves up to count tasks to the end of another lot without waking them. Returns how many. */
COIL_API size_t coil_lot_repark(struct coil_lot *lot, struct coil_lot *to, size_t count);

/* Wakes all with -EOWNERDEAD; whoever parks here later gets the same at once. For good. */
COIL_API void coil_lot_break(struct coil_lot *lot);

/* How many tasks wait in lot. */
COIL_API size_t coil_lot_count(const struct coil_lot *lot);

struct coil_lot_stats {
    int broken;
    size_t waiting; /* tasks */
};
COIL_API void coil_lot_stats(const struct coil_lot *lot, struct coil_lot_stats *ret);

/* Breaks a lot when a task ends: who waits there for something that only this task can give would
 * wait for ever. (trio: add_parking_lot_breaker) It lies next to what the task holds, zeroed, and
 * must not go away while it is added. */
struct coil_breaker {
    uint64_t opaque_[5];
};
#define COIL_BREAKER_INIT COIL_ZEROED_

/* Has lot broken if t ends before coil_breaker_remove. Any number may be added for a task or a lot.
 * 0.  -EBUSY: this one is added already.  -EINVAL: t or lot is NULL. */
COIL_API COIL_MUST_CHECK int coil_breaker_add(struct coil_breaker *b, struct coil_task *t,
                                              struct coil_lot *lot);

/* Does nothing if b is not added, or has done its work. */
COIL_API void coil_breaker_remove(struct coil_breaker *b);

#ifdef __cplusplus
}
#endif

#endif
