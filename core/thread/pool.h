/* pool.h - the few threads that do what cannot be waited for. Started when first needed. */
#ifndef CORE_THREAD_POOL_H
#define CORE_THREAD_POOL_H

#include <pthread.h>
#include <sys/types.h>

#include "../list.h"

struct loop;
struct op;

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list queue; /* ops that wait for a thread */
    unsigned int threads;
    unsigned int idle;
    unsigned int most;
    bool ending;
    bool by_backend; /* it has no threads: the backend makes these calls. For tests */
    pthread_t *ids;  /* of those that were started */
    size_t pending;  /* queued, running, or done and not delivered. The loop's own */
};

int coil__pool_init(struct pool *p, unsigned int most);
void coil__pool_close(struct loop *loop); /* nothing may be pending */

/* Queues op; it completes between two turns of the loop. 0, or -EAGAIN, -ENOMEM: there is not one
 * thread, and none can be had. */
int coil__pool_submit(struct loop *loop, struct op *op);

/* Would an op be taken up at once, as far as one can tell? */
bool coil__pool_has_room(struct pool *p);

/* op, which was submitted, is done. On the loop's thread. */
void coil__pool_complete(struct loop *loop, struct op *op, ssize_t result);

/* True: no thread had taken op up, and none will. */
bool coil__pool_cancel(struct loop *loop, struct op *op);

#endif
