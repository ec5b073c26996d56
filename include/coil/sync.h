/* coil/sync.h - how tasks of one loop wait for each other. */
#ifndef COIL_SYNC_H
#define COIL_SYNC_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- What holds for all -------------------------------------------------------------------------
 *
 *      static struct coil_lock lock = COIL_LOCK_INIT;
 *
 *      r = coil_lock_acquire(&lock);
 *      if (r < 0)
 *          return r;
 *      ...                                     // may wait: only tasks of the lock's own are kept
 * out
 *      (void)coil_lock_release(&lock);
 *
 * All are plain memory of the caller, need no end, can be set up before there is a loop, and serve
 * the tasks of one loop; waking a task from another thread aborts with a line. First come, first
 * served, and what is given back is handed to the first who waits: nobody overtakes. A task that is
 * cancelled leaves the queue at once.
 *
 * Each wait is a checkpoint, also when it need not wait. -ECANCELED: the call did not happen. What
 * ends in _nowait answers -EAGAIN where it would have to wait, and like all that sets or releases
 * is no checkpoint. Memory may be used for something else once nobody waits and nobody holds it;
 * tasks that were woken and have not run yet do not count. The strings in stats live as long as the
 * task's name does. */

/* --- Event --------------------------------------------------------------------------------------
 *
 * Something that happens once. There is no way back: for the next time, take another event, or a
 * watch. (trio: Event) */
struct coil_event {
    uint64_t opaque_[5];
};
#define COIL_EVENT_INIT COIL_ZEROED_

/* Says that it has happened and wakes all who wait. Again: changes nothing. */
COIL_API void coil_event_set(struct coil_event *e);
COIL_API int coil_event_is_set(const struct coil_event *e);

/* Waits until e is set.
 * 0.  -ECANCELED: asked to stop. */
COIL_API COIL_MUST_CHECK int coil_event_wait(struct coil_event *e);

struct coil_event_stats {
    int set;
    size_t waiting; /* tasks */
};
COIL_API void coil_event_stats(const struct coil_event *e, struct coil_event_stats *ret);

/* --- Watch --------------------------------------------------------------------------------------
 *
 * Something that changes again and again. Each watcher remembers the generation it has looked at,
 * so it misses no change, however late it comes; of several it sees the last.
 *
 *      uint64_t seen = coil_watch_generation(&config.watch);
 *
 *      do
 *          use(&config);
 *      while ((r = coil_watch_wait(&config.watch, &seen)) == 0);
 */
struct coil_watch {
    uint64_t opaque_[5];
};
#define COIL_WATCH_INIT COIL_ZEROED_

/* How often it has changed. */
COIL_API uint64_t coil_watch_generation(const struct coil_watch *w);

/* Says that it has changed and wakes all who wait. */
COIL_API void coil_watch_notify(struct coil_watch *w);

/* Waits until the generation is another than *seen, and stores it there.
 * 0.  -ECANCELED: asked to stop; *seen is as it was.  -EINVAL: seen is NULL. */
COIL_API COIL_MUST_CHECK int coil_watch_wait(struct coil_watch *w, uint64_t *seen);

struct coil_watch_stats {
    uint64_t generation;
    size_t waiting;
};
COIL_API void coil_watch_stats(const struct coil_watch *w, struct coil_watch_stats *ret);

/* --- Lock ---------------------------------------------------------------------------------------
 *
 * Held by one task at a time, which may wait while it does. If it ends without releasing, what the
 * lock protects may be half done: the lock is lost, for good. (trio: Lock) */
struct coil_lock {
    uint64_t opaque_[8];
};
#define COIL_LOCK_INIT COIL_ZEROED_

/* Has the calling task hold l.
 * 0.  -ECANCELED: asked to stop.  -EDEADLK: it holds l already.
 * -EOWNERDEAD: the task that held l ended, before or meanwhile. */
COIL_API COIL_MUST_CHECK int coil_lock_acquire(struct coil_lock *l);

/* The same at once, or -EAGAIN. */
COIL_API COIL_MUST_CHECK int coil_lock_acquire_nowait(struct coil_lock *l);

/* Hands l to the first who waits.
 * 0.  -EPERM: the calling task does not hold it. */
COIL_API int coil_lock_release(struct coil_lock *l);

struct coil_lock_stats {
    const char *owner; /* the name of the task that holds it; NULL if none does */
    int owner_died;    /* the lock is lost */
    size_t waiting;
};
COIL_API void coil_lock_stats(const struct coil_lock *l, struct coil_lock_stats *ret);

/* --- Condition ----------------------------------------------------------------------------------
 *
 * For who holds a lock and finds that what it protects is not yet as it should be. (trio:
 * Condition)
 *
 *      r = coil_condition_wait_for(&filled, &lock, has_items, &queue);
 *      if (r > 0)                              // the lock is held, and has_items(&queue) is true
 *          take(&queue);
 */
struct coil_condition {
    uint64_t opaque_[4];
};
#define COIL_CONDITION_INIT COIL_ZEROED_

/* Releases l, waits for a notification, and acquires l again: whatever the answer, but for
 * -EOWNERDEAD, the calling task holds it, as before. So a task that is cancelled may still have to
 * wait for the lock. One that was notified first is not cancelled by this call.
 * 0.  -ECANCELED: asked to stop; nobody's notification was spent on us.
 * -EPERM: the calling task does not hold l.  -EINVAL: l is NULL.
 * -EOWNERDEAD: meanwhile a task has ended that held l. Who waits to be notified hears of it when
 * notified: whoever meets -EOWNERDEAD should notify all, which needs no lock. */
COIL_API COIL_MUST_CHECK int coil_condition_wait(struct coil_condition *c, struct coil_lock *l);

/* Is it as it should be? 0: no.  Above: yes.  Below: it never will be. Is called with the lock
 * held, and must not wait. */
typedef int coil_predicate_fn(void *ctx);

/* Waits, if need be several times, until predicate(ctx) is not 0, and returns that; or as
 * coil_condition_wait.  -EINVAL: predicate is NULL. */
COIL_API COIL_MUST_CHECK int coil_condition_wait_for(struct coil_condition *c, struct coil_lock *l,
                                                     coil_predicate_fn *predicate, void *ctx);

/* Lets up to count tasks go on, the longest waiting first, each as soon as it gets its lock.
 * Returns how many. The caller need not hold the lock, but usually does. */
COIL_API size_t coil_condition_notify(struct coil_condition *c, size_t count);
COIL_API size_t coil_condition_notify_all(struct coil_condition *c);

struct coil_condition_stats {
    size_t waiting; /* for a notification */
};
COIL_API void coil_condition_stats(const struct coil_condition *c,
                                   struct coil_condition_stats *ret);

/* --- Semaphore ----------------------------------------------------------------------------------
 *
 * A count of something, which any task may take from and add to. (trio: Semaphore) */
struct coil_semaphore {
    uint64_t opaque_[6];
};

/* Holds value, and never more than max (COIL_UNLIMITED: any number). Calls answer -EINVAL if value
 * is negative or above max, or max is below 1. */
#define COIL_SEMAPHORE_INIT(value, max) COIL_AFTER_LOT_((uint64_t)(value), (uint64_t)(max))

/* Takes one.
 * 0.  -ECANCELED: asked to stop.  -EINVAL: see above. */
COIL_API COIL_MUST_CHECK int coil_semaphore_acquire(struct coil_semaphore *s);
COIL_API COIL_MUST_CHECK int coil_semaphore_acquire_nowait(struct coil_semaphore *s);

/* Adds one, or hands it to the first who waits.
 * 0.  -EOVERFLOW: it holds its maximum.  -EINVAL: see above. */
COIL_API COIL_MUST_CHECK int coil_semaphore_release(struct coil_semaphore *s);

struct coil_semaphore_stats {
    int64_t value;
    int64_t max;
    size_t waiting;
};
COIL_API void coil_semaphore_stats(const struct coil_semaphore *s,
                                   struct coil_semaphore_stats *ret);

/* --- Read-write lock ----------------------------------------------------------------------------
 *
 * Held by one task that writes, or by any number that read. A reader that comes after a waiting
 * writer waits behind it, so writers are not starved; readers that wait next to each other are let
 * in together. Who writes is known, and the rules of coil_lock hold for it; readers are only
 * counted. So a task that reads must not ask again, to read or to write: nobody would notice. */
struct coil_rwlock {
    uint64_t opaque_[11];
};
#define COIL_RWLOCK_INIT COIL_ZEROED_

/* 0.  -ECANCELED: asked to stop.  -EDEADLK: the calling task holds l to write.
 * -EOWNERDEAD: a task ended that held l to write. */
COIL_API COIL_MUST_CHECK int coil_rwlock_acquire_read(struct coil_rwlock *l);
COIL_API COIL_MUST_CHECK int coil_rwlock_acquire_write(struct coil_rwlock *l);
COIL_API COIL_MUST_CHECK int coil_rwlock_acquire_read_nowait(struct coil_rwlock *l);
COIL_API COIL_MUST_CHECK int coil_rwlock_acquire_write_nowait(struct coil_rwlock *l);

/* 0.  -EPERM: nobody holds l to read; the calling task does not hold it to write. */
COIL_API int coil_rwlock_release_read(struct coil_rwlock *l);
COIL_API int coil_rwlock_release_write(struct coil_rwlock *l);

struct coil_rwlock_stats {
    size_t readers;     /* that hold it */
    const char *writer; /* the name of the task that holds it to write; NULL if none does */
    int writer_died;    /* the lock is lost */
    size_t waiting;     /* of either kind */
};
COIL_API void coil_rwlock_stats(const struct coil_rwlock *l, struct coil_rwlock_stats *ret);

/* --- Barrier ------------------------------------------------------------------------------------
 *
 * Tasks that wait here go on when there are enough of them, and the next may gather. */
struct coil_barrier {
    uint64_t opaque_[5];
};
#define COIL_BARRIER_INIT(count) COIL_AFTER_LOT_((uint64_t)(count))

/* Waits until count tasks do.
 * 1: the calling task is the last to come; the others are awake.  0: it is another.
 * -ECANCELED: asked to stop; it was never here.  -EINVAL: count is below 1. */
COIL_API COIL_MUST_CHECK int coil_barrier_wait(struct coil_barrier *b);

struct coil_barrier_stats {
    int64_t count;
    size_t waiting;
};
COIL_API void coil_barrier_stats(const struct coil_barrier *b, struct coil_barrier_stats *ret);

/* --- Capacity limiter ---------------------------------------------------------------------------
 *
 * At most so many at once, each known: a token is lent to a borrower, and only the borrower can
 * give it back. The borrower is the calling task or, with _for, whatever a pointer stands for. A
 * task that ends gives back what it had borrowed as itself. (trio: CapacityLimiter)
 *
 *      struct coil_token token = COIL_TOKEN_INIT;
 *
 *      r = coil_limiter_acquire(&downloads, &token);
 */
struct coil_limiter {
    uint64_t opaque_[7];
};
#define COIL_LIMITER_INIT(total) COIL_AFTER_LOT_((uint64_t)(total))

/* The borrower's memory, which belongs to the limiter until the token is released, or the borrowing
 * task has ended. A task must not end with one that lies on its own stack: that aborts with a line,
 * as it does with a lock. */
struct coil_token {
    uint64_t opaque_[9];
};
#define COIL_TOKEN_INIT COIL_ZEROED_

/* Borrows a token.
 * 0.  -ECANCELED: asked to stop; nothing was borrowed.
 * -EDEADLK: this borrower has one, or is waiting for one.
 * -EINVAL: t or borrower is NULL, t is in use, or the limiter's total is negative. */
COIL_API COIL_MUST_CHECK int coil_limiter_acquire(struct coil_limiter *l, struct coil_token *t);
COIL_API COIL_MUST_CHECK int coil_limiter_acquire_for(struct coil_limiter *l, struct coil_token *t,
                                                      const void *borrower);
COIL_API COIL_MUST_CHECK int coil_limiter_acquire_nowait(struct coil_limiter *l,
                                                         struct coil_token *t);
COIL_API COIL_MUST_CHECK int coil_limiter_acquire_nowait_for(struct coil_limiter *l,
                                                             struct coil_token *t,
                                                             const void *borrower);

/* Gives a token back; it is kept for the first who waits.
 * 0.  -EPERM: t is not a token of l that this borrower has.  -EINVAL: t is NULL. */
COIL_API int coil_limiter_release(struct coil_limiter *l, struct coil_token *t);
COIL_API int coil_limiter_release_for(struct coil_limiter *l, struct coil_token *t,
                                      const void *borrower);

/* Changes how many tokens there are: 0 to COIL_UNLIMITED. With more, those who wait get theirs now;
 * with fewer, no one has to give one back early.
 * 0.  -EINVAL: total is negative. */
COIL_API int coil_limiter_set_total(struct coil_limiter *l, int64_t total);

struct coil_limiter_stats {
    int64_t total;
    int64_t borrowed;  /* may be above total, once that was lowered */
    int64_t available; /* to be had now; COIL_UNLIMITED if that is the total */
    size_t waiting;
};
COIL_API void coil_limiter_stats(const struct coil_limiter *l, struct coil_limiter_stats *ret);

/* --- Future -------------------------------------------------------------------------------------
 *
 * A result that somebody will have. It is written once, and any number of tasks may wait for it. */
struct coil_future {
    uint64_t opaque_[6];
};
#define COIL_FUTURE_INIT COIL_ZEROED_

/* Writes the result and wakes all who wait. Who frees what value points to is between the tasks.
 * 0.  -EALREADY: it was written before.  -EINVAL: code is -ECANCELED, which says something else. */
COIL_API COIL_MUST_CHECK int coil_future_set(struct coil_future *f, int code, void *value);

/* Waits for the result. value may be NULL.
 * The code that was set, with the value in *value.  -ECANCELED: asked to stop. */
COIL_API COIL_MUST_CHECK int coil_future_wait(struct coil_future *f, void **value);

/* The same at once, or -EAGAIN. */
COIL_API COIL_MUST_CHECK int coil_future_result(const struct coil_future *f, void **value);
COIL_API int coil_future_is_set(const struct coil_future *f);

struct coil_future_stats {
    int set;
    size_t waiting;
};
COIL_API void coil_future_stats(const struct coil_future *f, struct coil_future_stats *ret);

/* --- Resource guard -----------------------------------------------------------------------------
 *
 * For what only one task may use at a time, and where a second is a mistake, not somebody who
 * should wait. (trio: ConflictDetector)
 *
 *      static struct coil_guard guard = COIL_GUARD_INIT("reading from");
 *
 *      if (coil_guard_enter(&guard) < 0) {
 *          coil_guard_message(&guard, words, sizeof(words));
 *          log("%s", words);   // task parse, spawned at main.c:40, is already reading from this
 *      }
 */
struct coil_guard {
    uint64_t opaque_[4];
    const char *action_; /* static */
};
#define COIL_GUARD_INIT(action) COIL_AFTER_HOLD_((action))

/* 0.  -EBUSY: a task is in. It may be the calling one. */
COIL_API COIL_MUST_CHECK int coil_guard_enter(struct coil_guard *g);

/* A task that ends has left.
 * 0.  -EPERM: the calling task is not in. */
COIL_API int coil_guard_leave(struct coil_guard *g);

/* Writes who is in the way, as snprintf would: at most size bytes, the last one 0. Returns the
 * length of the whole text; 0 if nobody is in. */
COIL_API int coil_guard_message(const struct coil_guard *g, char *buf, size_t size);

struct coil_guard_stats {
    const char *user; /* the name of the task that is in; NULL if none is */
};
COIL_API void coil_guard_stats(const struct coil_guard *g, struct coil_guard_stats *ret);

#ifdef __cplusplus
}
#endif

#endif
