/* coil/channel.h - values from task to task: to one of several, to all, or just the newest. */
#ifndef COIL_CHANNEL_H
#define COIL_CHANNEL_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Channels -----------------------------------------------------------------------------------
 *
 * A queue of items of one size, with handles to send and handles to receive. Each item goes to one
 * receiver; who comes first is served first, and nobody overtakes.
 *
 *      struct coil_channel_options options = {.item_size = sizeof(struct job), .capacity = 16};
 *      struct coil_sender tx;
 *      struct coil_receiver rx;
 *
 *      rc = coil_channel_open(&tx, &rx, &options);
 *      ...
 *      rc = coil_channel_send(&tx, &job);      // in one task, which closes tx after the last
 *      ...
 *      while ((rc = coil_channel_receive(&rx, &job)) > 0)      // in another
 *          work_on(&job);
 *
 * A side can have any number of handles: give each task a clone of its own and have it closed
 * there, and the channel ends by itself when the last of a side is. Items are copied, straight into
 * the memory of a waiting receiver if there is one. A handle is memory of the caller's, closed
 * until it is opened (zeroed, or initialised so: calls answer -EBADF); it may be moved while nobody
 * waits on it, not copied. All handles of a channel belong to the tasks of one loop; it may be
 * opened, filled and closed without any. (anyio: create_memory_object_stream) */
struct coil_sender {
    uint64_t opaque_[2];
};
#define COIL_SENDER_INIT COIL_ZEROED_
struct coil_receiver {
    uint64_t opaque_[2];
};
#define COIL_RECEIVER_INIT COIL_ZEROED_

/* The largest item. What is larger is better sent as a pointer. */
#define COIL_ITEM_SIZE_MAX ((size_t)1 << 20)

/* Disposes of an item that will never be received. It may call anything that does not wait. */
typedef void coil_dispose_fn(void *ctx, void *item);

struct coil_channel_options {
    size_t item_size; /* bytes, 1 to COIL_ITEM_SIZE_MAX */
    int64_t capacity; /* items it can hold. 0: each sender meets its receiver. COIL_UNLIMITED: a
                       * send never waits, and what is not received stays in memory */
    coil_dispose_fn *dispose; /* NULL: there is nothing to be done */
    void *dispose_ctx;
};

/* Makes a channel and the first handle of each side. Its memory is the loop's (coil_loop_options:
 * allocate) if opened on a loop, malloc's otherwise; all of it at once, unless COIL_UNLIMITED.
 * 0.  -EINVAL: an option is wrong, or the capacity more than could be addressed.  -ENOMEM. */
COIL_API COIL_MUST_CHECK int coil_channel_open(struct coil_sender *sender,
                                               struct coil_receiver *receiver,
                                               const struct coil_channel_options *options);

/* Sends a copy of item; waits while the channel is full. A checkpoint. 0, or nothing was sent and
 * the item is still the caller's:
 *
 *   -ECANCELED  asked to stop
 *   -EBADF      this handle is closed, perhaps since we wait
 *   -EPIPE      no receiver is open any more
 *   -ENOMEM     an unlimited channel could not grow
 *   -EINVAL     item is NULL */
COIL_API COIL_MUST_CHECK int coil_channel_send(struct coil_sender *s, const void *item);

/* The same without waiting, from anywhere. -EAGAIN: it would have to; others wait already, or the
 * channel is full. Not a checkpoint. */
COIL_API COIL_MUST_CHECK int coil_channel_send_nowait(struct coil_sender *s, const void *item);

/* Waits for an item and takes it. A checkpoint.
 * 1.  0: no sender is open any more, and all has been received.  -ECANCELED: asked to stop; nothing
 * was taken.  -EBADF: this handle is closed, perhaps since we wait.  -EINVAL: item is NULL. */
COIL_API COIL_MUST_CHECK int coil_channel_receive(struct coil_receiver *r, void *item);

/* The same without waiting, from anywhere. -EAGAIN: there is nothing to be taken now. Not a
 * checkpoint. */
COIL_API COIL_MUST_CHECK int coil_channel_receive_nowait(struct coil_receiver *r, void *item);

/* Makes another handle of the same side.
 * 0.  -EBADF: from is closed.  -EINVAL: they are the same. */
COIL_API COIL_MUST_CHECK int coil_sender_clone(const struct coil_sender *from,
                                               struct coil_sender *ret);
COIL_API COIL_MUST_CHECK int coil_receiver_clone(const struct coil_receiver *from,
                                                 struct coil_receiver *ret);

/* Close a handle; closing it again does nothing. Tasks that wait on this very handle get -EBADF.
 * With the last sender, receivers take what is there and then get 0. With the last receiver,
 * waiting senders get -EPIPE, and what the channel held is disposed of before the call returns. Not
 * a checkpoint. */
COIL_API void coil_sender_close(struct coil_sender *s);
COIL_API void coil_receiver_close(struct coil_receiver *r);

struct coil_channel_stats {
    size_t used;      /* items held now */
    size_t peak;      /* the most that were */
    int64_t capacity; /* as opened */
    size_t senders;   /* handles open */
    size_t receivers;
    size_t waiting_senders; /* tasks */
    size_t waiting_receivers;
};

/* 0.  -EBADF: the handle is closed. */
COIL_API int coil_sender_stats(const struct coil_sender *s, struct coil_channel_stats *ret);
COIL_API int coil_receiver_stats(const struct coil_receiver *r, struct coil_channel_stats *ret);

/* --- Broadcast ----------------------------------------------------------------------------------
 *
 * One sends, each of many receives everything. The sender never waits: a receiver says how many
 * items it may lag behind, and one that lags more loses the oldest, and is told how many.
 *
 *      rc = coil_broadcast_subscribe(&prices, &rx, 100);
 *      ...
 *      for (;;) {
 *          rc = coil_broadcast_receive(&rx, &price);
 *          if (rc == -EOVERFLOW)
 *              note_gap(coil_broadcast_missed(&rx));           // and goes on after it
 *          else if (rc <= 0)
 *              break;
 *          ...
 *
 * The handles are memory of the caller's, closed until they are opened, as with channels. The
 * sender's may be moved; a receiver's stays where it is until it is closed. Memory, loops and
 * threads as with channels. (tokio: broadcast) */
struct coil_broadcast {
    uint64_t opaque_[2];
};
#define COIL_BROADCAST_INIT COIL_ZEROED_
struct coil_broadcast_receiver {
    uint64_t opaque_[12];
};
#define COIL_BROADCAST_RECEIVER_INIT COIL_ZEROED_

/* The longest lag. */
#define COIL_LAG_MAX (1 << 24)

/* Makes a broadcast that nobody hears yet.
 * 0.  -EINVAL: item_size is not 1 to COIL_ITEM_SIZE_MAX.  -ENOMEM. */
COIL_API COIL_MUST_CHECK int coil_broadcast_open(struct coil_broadcast *b, size_t item_size);

/* Has r receive all that is sent from now on. Room for lag_limit items is made now, and shared by
 * all receivers.
 * 0.  -EBADF: b is closed.  -EINVAL: lag_limit is not 1 to COIL_LAG_MAX.  -ENOMEM. */
COIL_API COIL_MUST_CHECK int coil_broadcast_subscribe(struct coil_broadcast *b,
                                                      struct coil_broadcast_receiver *r,
                                                      int64_t lag_limit);

/* Sends a copy of item to each receiver. Never waits, needs no memory, is no checkpoint.
 * 0.  -EBADF: b is closed.  -EINVAL: item is NULL. */
COIL_API COIL_MUST_CHECK int coil_broadcast_send(struct coil_broadcast *b, const void *item);

/* Waits for the next item and copies it. A checkpoint.
 * 1.  0: b is closed, and all has been received.  -EOVERFLOW: so many items were lost as
 * coil_broadcast_missed says; the next call goes on with the oldest that is left.
 * -ECANCELED: asked to stop; nothing was taken.  -EBADF: r is closed, perhaps since we wait.
 * -EINVAL: item is NULL. _nowait: -EAGAIN, and no checkpoint. */
COIL_API COIL_MUST_CHECK int coil_broadcast_receive(struct coil_broadcast_receiver *r, void *item);
COIL_API COIL_MUST_CHECK int coil_broadcast_receive_nowait(struct coil_broadcast_receiver *r,
                                                           void *item);

/* How many items the last -EOVERFLOW was about. */
COIL_API uint64_t coil_broadcast_missed(const struct coil_broadcast_receiver *r);

/* Close the sender, a receiver; again, it does nothing. Tasks that wait on a receiver get 0, or
 * -EBADF if it is the receiver that is closed. Not a checkpoint. */
COIL_API void coil_broadcast_close(struct coil_broadcast *b);
COIL_API void coil_broadcast_receiver_close(struct coil_broadcast_receiver *r);

struct coil_broadcast_stats {
    uint64_t sent;    /* items, ever */
    size_t receivers; /* handles open */
    size_t waiting;   /* tasks */
};
struct coil_broadcast_receiver_stats {
    int64_t lag; /* items not received yet, no more than: */
    int64_t lag_limit;
    uint64_t missed; /* items, ever, as far as it has been told */
    size_t waiting;  /* tasks */
};

/* 0.  -EBADF: the handle is closed. */
COIL_API int coil_broadcast_stats(const struct coil_broadcast *b, struct coil_broadcast_stats *ret);
COIL_API int coil_broadcast_receiver_stats(const struct coil_broadcast_receiver *r,
                                           struct coil_broadcast_receiver_stats *ret);

/* --- Latest value -------------------------------------------------------------------------------
 *
 * One sets a value, each of many receives the newest: what it did not come to see in between is
 * gone, and nobody says so. The last value is seen by all, also after the end. For a configuration,
 * a state, a count. The handles are as with broadcast. (tokio: watch; trio #987, #1744) */
struct coil_latest {
    uint64_t opaque_[2];
};
#define COIL_LATEST_INIT COIL_ZEROED_
struct coil_latest_receiver {
    uint64_t opaque_[12];
};
#define COIL_LATEST_RECEIVER_INIT COIL_ZEROED_

/* Makes one that has no value yet. Results as of coil_broadcast_open. */
COIL_API COIL_MUST_CHECK int coil_latest_open(struct coil_latest *l, size_t item_size);

/* Has r receive the value there is, and each newer one.
 * 0.  -EBADF: l is closed. */
COIL_API COIL_MUST_CHECK int coil_latest_subscribe(struct coil_latest *l,
                                                   struct coil_latest_receiver *r);

/* Replaces the value by a copy of item. Never waits, is no checkpoint.
 * 0.  -EBADF: l is closed.  -EINVAL: item is NULL. */
COIL_API COIL_MUST_CHECK int coil_latest_send(struct coil_latest *l, const void *item);

/* Waits for a value that r has not received yet, and copies it; one that waits gets the value that
 * ends the wait. A checkpoint.
 * 1.  0: l is closed, and its last value has been received.  -ECANCELED: asked to stop; the value
 * is still new.  -EBADF: r is closed, perhaps since we wait.  -EINVAL: item is NULL.
 * _nowait: -EAGAIN, and no checkpoint. */
COIL_API COIL_MUST_CHECK int coil_latest_receive(struct coil_latest_receiver *r, void *item);
COIL_API COIL_MUST_CHECK int coil_latest_receive_nowait(struct coil_latest_receiver *r, void *item);

/* Close the sender, a receiver: as with broadcast. */
COIL_API void coil_latest_close(struct coil_latest *l);
COIL_API void coil_latest_receiver_close(struct coil_latest_receiver *r);

struct coil_latest_receiver_stats {
    int unseen;     /* there is a value that it has not received */
    size_t waiting; /* tasks */
};

/* 0.  -EBADF: the handle is closed. */
COIL_API int coil_latest_stats(const struct coil_latest *l, struct coil_broadcast_stats *ret);
COIL_API int coil_latest_receiver_stats(const struct coil_latest_receiver *r,
                                        struct coil_latest_receiver_stats *ret);

#ifdef __cplusplus
}
#endif

#endif
