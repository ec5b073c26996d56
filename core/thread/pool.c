/* pool.c - blocking calls, each in one of a few threads.
 *
 * Signals are blocked in these threads: a host's handlers run where the host expects them. */
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <signal.h>

#include "../sched/loop.h"
#include "runtime.h"

int coil__pool_init(struct pool *p, unsigned int most)
{
    int r = pthread_mutex_init(&p->lock, NULL);

    if (r)
        return -r;
    r = pthread_cond_init(&p->work, NULL);
    if (r) {
        pthread_mutex_destroy(&p->lock);
        return -r;
    }
    list_init(&p->queue);
    p->most = most;
    return 0;
}

void coil__pool_close(struct loop *loop)
{
    struct pool *p = &loop->pool;

    assert(!p->pending);
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned int i = 0; i < p->threads; i++)
        pthread_join(p->ids[i], NULL);
    if (p->ids)
        loop_allocate(loop, p->ids, 0);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
}

void coil__pool_complete(struct loop *loop, struct op *op, ssize_t result)
{
    loop->pool.pending--;
    coil__op_complete(op, result);
}

/* op->phase, under the lock */
enum {
    QUEUED,
    TAKEN, /* by a thread */
};

/* Back on the loop's thread. */
static void deliver(struct mail *m)
{
    struct op *op = container_of(m, struct op, mail);

    coil__pool_complete(op->task->loop, op, op->result);
}

static void *thread_main(void *arg)
{
    struct loop *loop = arg;
    struct pool *p = &loop->pool;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct list *n = list_pop_front(&p->queue);

        if (n) {
            struct op *op = container_of(n, struct op, link);

            op->phase = TAKEN;
            pthread_mutex_unlock(&p->lock);
            op->result = coil__op_perform(op);
            op->mail.deliver = deliver;
            coil__loop_post(loop, &op->mail);
            pthread_mutex_lock(&p->lock);
        } else if (p->ending) {
            break;
        } else {
            p->idle++;
            pthread_cond_wait(&p->work, &p->lock);
            p->idle--;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* With the default stack: what is not touched costs address space only, and libc takes the
 * program's thread-local data out of it, of which we know nothing. */
static int start_thread(struct loop *loop)
{
    struct pool *p = &loop->pool;
    sigset_t all;
    sigset_t before;
    pthread_attr_t attr;
    int r;

    if (!p->ids)
        p->ids = loop_allocate(loop, NULL, p->most * sizeof(p->ids[0]));
    if (!p->ids)
        return -ENOMEM;
    r = pthread_attr_init(&attr);
    if (r)
        return -r;
    if (loop->runtime)
        coil__runtime_unpin(loop->runtime, &attr);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&p->ids[p->threads], &attr, thread_main, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (!r)
        p->threads++;
    return -r;
}

/* To a thread. */
static int submit(struct loop *loop, struct op *op)
{
    struct pool *p = &loop->pool;
    size_t waiting = 0;
    bool too_few;
    int r = 0;

    pthread_mutex_lock(&p->lock);
    op->phase = QUEUED;
    list_push_back(&p->queue, &op->link);
    list_for_each(n, &p->queue)
        if (++waiting > p->idle)
            break;
    too_few = waiting > p->idle;
    pthread_mutex_unlock(&p->lock);
    pthread_cond_signal(&p->work); /* now: woken before, a thread would have to wait for the lock */

    if (too_few && p->threads < p->most)
        r = start_thread(loop);
    if (r < 0 && !p->threads) {
        list_remove(&op->link); /* nobody else is there to have seen it */
        return r;
    }
    return 0;
}

int coil__pool_submit(struct loop *loop, struct op *op)
{
    int r = loop->pool.by_backend ? loop->ops->submit(loop->backend, op) : submit(loop, op);

    if (r >= 0)
        loop->pool.pending++;
    return r;
}

bool coil__pool_has_room(struct pool *p)
{
    bool room;

    if (p->by_backend)
        return p->pending < p->most;
    pthread_mutex_lock(&p->lock);
    room = list_empty(&p->queue) && (p->idle || p->threads < p->most);
    pthread_mutex_unlock(&p->lock);
    return room;
}

/* Takes op out of the queue. False: a thread has. */
static bool withdraw(struct pool *p, struct op *op)
{
    bool waiting;

    pthread_mutex_lock(&p->lock);
    waiting = op->phase == QUEUED;
    if (waiting)
        list_remove(&op->link);
    pthread_mutex_unlock(&p->lock);
    return waiting;
}

bool coil__pool_cancel(struct loop *loop, struct op *op)
{
    struct pool *p = &loop->pool;
    bool over = p->by_backend ? loop->ops->cancel(loop->backend, op) : withdraw(p, op);

    if (over)
        p->pending--;
    return over;
}
