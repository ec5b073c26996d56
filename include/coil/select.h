/* coil/select.h - waiting for the first of several things. */
#ifndef COIL_SELECT_H
#define COIL_SELECT_H

#include "channel.h"
#include "common.h"
#include "lowlevel.h"
#include "sync.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Select -------------------------------------------------------------------------------------
 *
 * Each case is a call that might wait. The first that need not happens; the others do not.
 *
 *      struct coil_case cases[] = {
 *          COIL_CASE_RECEIVE(&orders, &order),     // an order is served first
 *          COIL_CASE_RECEIVE(&jobs, &job),
 *          COIL_CASE_READABLE(fd),
 *      };
 *
 *      switch (coil_select(cases, 3)) {
 *      case 0:
 *          if (cases[0].result == 0)               // as coil_channel_receive would have said
 *              return finish();
 *          ...
 *
 * If several are ready, it is the first in the array: the order is the priority. A case that is
 * always ready keeps those behind it from being served; where that must not be, turn the array.
 * Waiting, it stands in every queue at once, as one that came just now. */
struct coil_case {
    int kind;   /* enum coil_case_kind */
    int fd;     /* of a descriptor */
    void *on;   /* the handle, or what else is waited for */
    void *item; /* what to send, or where to put what is received */
    int result; /* out, of the case that happened: what its call would have returned */
};

enum coil_case_kind {
    COIL_CASE_KIND_RECEIVE = 1,
    COIL_CASE_KIND_SEND,
    COIL_CASE_KIND_BROADCAST,
    COIL_CASE_KIND_LATEST,
    COIL_CASE_KIND_EVENT,
    COIL_CASE_KIND_WATCH,
    COIL_CASE_KIND_FUTURE,
    COIL_CASE_KIND_READABLE,
    COIL_CASE_KIND_WRITABLE,
    COIL_CASE_KIND_LOCK,
    COIL_CASE_KIND_READ_LOCK,
    COIL_CASE_KIND_WRITE_LOCK,
    COIL_CASE_KIND_SEMAPHORE,
    COIL_CASE_KIND_LIMITER,
    COIL_CASE_KIND_BARRIER,
    COIL_CASE_KIND_LOT,
};

/* The most cases. While it waits each takes 110 bytes of stack, and a descriptor 200. */
#define COIL_SELECT_MOST 64

/* Waits until one of the cases can happen and has it happen. Its index; its result is in
 * cases[index].result, the other results are untouched. A closed handle or descriptor is ready,
 * with -EBADF; so is a descriptor that another task (or another case) reads or writes, with -EBUSY.
 * A descriptor takes a system call to be looked at, each time; better have it after what is often
 * ready. coil_close does not return before a select that waits on the descriptor has let go of it.
 * A checkpoint.
 * -ECANCELED: asked to stop; no case happened.
 * -EINVAL: no cases, more than COIL_SELECT_MOST, or one that is wrong: no such kind, NULL. */
COIL_API COIL_MUST_CHECK int coil_select(struct coil_case *cases, size_t count);

/* The same without waiting. -EAGAIN: no case is ready. Not a checkpoint. Callable anywhere, also
 * outside of a loop; but a lock, a read-write lock and a limiter want a task: without one they
 * abort with a line. */
COIL_API COIL_MUST_CHECK int coil_select_nowait(struct coil_case *cases, size_t count);

/* Cases, as values: for an initialiser, for an assignment. What they are made of:
 *
 *      COIL_CASE_RECEIVE(receiver, item)       as coil_channel_receive
 *      COIL_CASE_SEND(sender, item)            as coil_channel_send
 *      COIL_CASE_BROADCAST(receiver, item)     as coil_broadcast_receive
 *      COIL_CASE_LATEST(receiver, item)        as coil_latest_receive
 *      COIL_CASE_EVENT(event)                  as coil_event_wait
 *      COIL_CASE_WATCH(watch, seen)            as coil_watch_wait
 *      COIL_CASE_FUTURE(future, value)         as coil_future_wait
 *      COIL_CASE_LOCK(lock)                    as coil_lock_acquire
 *      COIL_CASE_READ_LOCK(rwlock)             as coil_rwlock_acquire_read
 *      COIL_CASE_WRITE_LOCK(rwlock)            as coil_rwlock_acquire_write
 *      COIL_CASE_SEMAPHORE(semaphore)          as coil_semaphore_acquire
 *      COIL_CASE_LIMITER(limiter, token)       as coil_limiter_acquire
 *      COIL_CASE_BARRIER(barrier)              as coil_barrier_wait: it counts as come while it
 *                                              waits, and if another case happens, as never come
 *      COIL_CASE_LOT(lot)                      as coil_lot_park
 *      COIL_CASE_READABLE(fd)                  as coil_wait_readable
 *      COIL_CASE_WRITABLE(fd)                  as coil_wait_writable */
#define COIL_CASE_RECEIVE(...)    coil_case_receive_(__VA_ARGS__)
#define COIL_CASE_SEND(...)       coil_case_send_(__VA_ARGS__)
#define COIL_CASE_BROADCAST(...)  coil_case_broadcast_(__VA_ARGS__)
#define COIL_CASE_LATEST(...)     coil_case_latest_(__VA_ARGS__)
#define COIL_CASE_EVENT(...)      coil_case_event_(__VA_ARGS__)
#define COIL_CASE_WATCH(...)      coil_case_watch_(__VA_ARGS__)
#define COIL_CASE_FUTURE(...)     coil_case_future_(__VA_ARGS__)
#define COIL_CASE_LOCK(...)       coil_case_lock_(__VA_ARGS__)
#define COIL_CASE_READ_LOCK(...)  coil_case_rwlock_(COIL_CASE_KIND_READ_LOCK, __VA_ARGS__)
#define COIL_CASE_WRITE_LOCK(...) coil_case_rwlock_(COIL_CASE_KIND_WRITE_LOCK, __VA_ARGS__)
#define COIL_CASE_SEMAPHORE(...)  coil_case_semaphore_(__VA_ARGS__)
#define COIL_CASE_LIMITER(...)    coil_case_limiter_(__VA_ARGS__)
#define COIL_CASE_BARRIER(...)    coil_case_barrier_(__VA_ARGS__)
#define COIL_CASE_LOT(...)        coil_case_lot_(__VA_ARGS__)
#define COIL_CASE_READABLE(...)   coil_case_fd_(COIL_CASE_KIND_READABLE, __VA_ARGS__)
#define COIL_CASE_WRITABLE(...)   coil_case_fd_(COIL_CASE_KIND_WRITABLE, __VA_ARGS__)

static inline struct coil_case coil_case_(int kind, int fd, void *on, void *item)
{
    struct coil_case c;

    c.kind = kind;
    c.fd = fd;
    c.on = on;
    c.item = item;
    c.result = 0;
    return c;
}

static inline struct coil_case coil_case_receive_(struct coil_receiver *r, void *item)
{
    return coil_case_(COIL_CASE_KIND_RECEIVE, -1, r, item);
}

static inline struct coil_case coil_case_send_(struct coil_sender *s, const void *item)
{
    return coil_case_(COIL_CASE_KIND_SEND, -1, s, (void *)(uintptr_t)item);
}

static inline struct coil_case coil_case_broadcast_(struct coil_broadcast_receiver *r, void *item)
{
    return coil_case_(COIL_CASE_KIND_BROADCAST, -1, r, item);
}

static inline struct coil_case coil_case_latest_(struct coil_latest_receiver *r, void *item)
{
    return coil_case_(COIL_CASE_KIND_LATEST, -1, r, item);
}

static inline struct coil_case coil_case_event_(struct coil_event *e)
{
    return coil_case_(COIL_CASE_KIND_EVENT, -1, e, NULL);
}

static inline struct coil_case coil_case_watch_(struct coil_watch *w, uint64_t *seen)
{
    return coil_case_(COIL_CASE_KIND_WATCH, -1, w, seen);
}

static inline struct coil_case coil_case_future_(struct coil_future *f, void **value)
{
    return coil_case_(COIL_CASE_KIND_FUTURE, -1, f, value);
}

static inline struct coil_case coil_case_lock_(struct coil_lock *l)
{
    return coil_case_(COIL_CASE_KIND_LOCK, -1, l, NULL);
}

static inline struct coil_case coil_case_rwlock_(int kind, struct coil_rwlock *l)
{
    return coil_case_(kind, -1, l, NULL);
}

static inline struct coil_case coil_case_semaphore_(struct coil_semaphore *s)
{
    return coil_case_(COIL_CASE_KIND_SEMAPHORE, -1, s, NULL);
}

static inline struct coil_case coil_case_limiter_(struct coil_limiter *l, struct coil_token *t)
{
    return coil_case_(COIL_CASE_KIND_LIMITER, -1, l, t);
}

static inline struct coil_case coil_case_barrier_(struct coil_barrier *b)
{
    return coil_case_(COIL_CASE_KIND_BARRIER, -1, b, NULL);
}

static inline struct coil_case coil_case_lot_(struct coil_lot *l)
{
    return coil_case_(COIL_CASE_KIND_LOT, -1, l, NULL);
}

static inline struct coil_case coil_case_fd_(int kind, int fd)
{
    return coil_case_(kind, fd, NULL, NULL);
}

#ifdef __cplusplus
}
#endif

#endif
