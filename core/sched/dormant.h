/* dormant.h - a task that has no stack until it is time. */
#ifndef CORE_SCHED_DORMANT_H
#define CORE_SCHED_DORMANT_H

#include "../list.h"

struct coil_cancellation;
struct coil_task;
struct dormant;
struct dormant_chunk;
struct group;
struct loop;

/* They come in chunks, which stay until the loop ends. */
struct dormant_pool {
    struct list free;
    struct dormant_chunk *chunks;
};

void coil__dormant_pool_close(struct loop *loop); /* all have been returned */

/* By its handle, which it has. */
void coil__dormant_cancel(struct dormant *d, const struct coil_cancellation *why);
bool coil__dormant_cancelled(const struct dormant *d);

/* All of a group, which is cancelled now, or asked to finish. Of the user's it runs at most an
 * instrument's hook, for who waited for one of them. */
void coil__dormants_tell(struct group *g);

/* The calling task has said that it goes back to sleep, and its function has returned result. Does
 * not come back if so it is; else the task ends, with what this returns. */
int coil__dormant_again(struct coil_task *self, int result);

#endif
