/* runtime.h - what a loop tells the runtime it belongs to. */
#ifndef CORE_THREAD_RUNTIME_H
#define CORE_THREAD_RUNTIME_H

#include <pthread.h>

struct loop;
struct runtime;

/* Lets a thread use all the CPUs that the loops are spread over, not its creator's one. */
void coil__runtime_unpin(const struct runtime *r, pthread_attr_t *attr);

/* loop can be reached from now on, until it has left. A shutdown that came before reaches it
 * now. */
void coil__runtime_entered(struct runtime *r, struct loop *loop);
void coil__runtime_left(struct runtime *r, struct loop *loop);

#endif
