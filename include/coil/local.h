/* coil/local.h - slots: a value for each task, handed on to the tasks it spawns, or for a loop. */
#ifndef COIL_LOCAL_H
#define COIL_LOCAL_H

#include "common.h"
#include "lowlevel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Slots --------------------------------------------------------------------------------------
 *
 * What every function would otherwise pass on: a request's number, a trace, who is logged in.
 *
 *      static struct coil_local request = COIL_LOCAL_INIT;
 *
 *      r = coil_local_set(&request, id);       // seen from here on, and by what is spawned here
 *      ...
 *      log_line(coil_local_get(&request), "...");
 *
 * A task begins with what its spawner had at that moment (with nothing, if spawned by an abort
 * function or a hook), also if it has no stack until it begins; one that goes back to sleep
 * (coil_again_later) keeps what it has. Setting a slot changes it for the calling task only. A key
 * is known by its address, and serves any number of tasks, loops and threads; there may be any
 * number of keys, a few in each task. Spawning copies one pointer. (Python: contextvars; trio:
 * RunVar for a loop) */
struct coil_local {
    /* What becomes of a value once no task (or the loop) has it any more; NULL: nothing. It runs on
     * the loop's thread as no task, and must not wait. */
    void (*destroy)(void *value);
};
/* clang-format off */
#define COIL_LOCAL_INIT {0} /* {free}, say, with a destructor */
/* clang-format on */

/* The calling task's value. NULL: none was set, or not in a task. */
COIL_API void *coil_local_get(const struct coil_local *key);

/* Sets it; NULL takes it away. The value is coil's until destroy, or, without, the caller's, and
 * must live as long as the task and all it spawns.
 * 0.  -EINVAL: key is NULL, or not in a task.  -ENOMEM: the old value stands, and the new one is
 * the caller's. */
COIL_API COIL_MUST_CHECK int coil_local_set(const struct coil_local *key, void *value);

/* Another task's, of the same loop: for instruments, say. */
COIL_API void *coil_local_of(const struct coil_task *t, const struct coil_local *key);

/* The same for the loop of this thread, all of whose tasks share the value; coil_run destroys what
 * is left. */
COIL_API void *coil_loop_local_get(const struct coil_local *key);
COIL_API COIL_MUST_CHECK int coil_loop_local_set(const struct coil_local *key, void *value);

#ifdef __cplusplus
}
#endif

#endif
