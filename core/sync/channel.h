/* channel.h - the queue between senders and receivers, and what of it does not wait. */
#ifndef CORE_SYNC_CHANNEL_H
#define CORE_SYNC_CHANNEL_H

#include <string.h>

#include "../../include/coil/channel.h"
#include "lot.h"

/* Lives until the last handle is closed. If senders wait, it is full; if receivers do, it is empty,
 * and no sender waits. */
struct channel {
    size_t item_size;
    size_t capacity; /* SIZE_MAX: unlimited */
    size_t room;     /* slots there are by now: fewer than the capacity if that is unlimited */
    size_t first;    /* slot of the oldest item */
    size_t count;
    size_t peak;
    char *slots;          /* a ring */
    struct lot senders;   /* item: what they send */
    struct lot receivers; /* item: where they want it */
    size_t open_senders;
    size_t open_receivers;
    size_t references; /* open handles, and closes that are under way */
    coil_dispose_fn *dispose;
    void *dispose_ctx;
    struct memory memory;
};

struct sender {
    struct channel *channel; /* NULL: closed */
};

struct receiver {
    struct channel *channel; /* NULL: closed */
};

static inline struct sender *sender_of(const struct coil_sender *s)
{
    return (struct sender *)(uintptr_t)s;
}

static inline struct receiver *receiver_of(const struct coil_receiver *r)
{
    return (struct receiver *)(uintptr_t)r;
}

/* Most items are pointers, or as small. */
static inline void copy_item(void *to, const void *from, size_t size)
{
    if (likely(size == sizeof(void *)))
        memcpy(to, from, sizeof(void *));
    else
        memcpy(to, from, size);
}

/* Makes room for one more. 0 or -ENOMEM. */
int coil__channel_grow(struct channel *c);

/* Gives back what a burst has needed. */
void coil__channel_shrink(struct channel *c);

/* More than this an empty channel does not keep. */
#define CHANNEL_KEEPS_BYTES 65536

static inline char *channel_slot(const struct channel *c, size_t i)
{
    size_t slot = c->first + i;

    return c->slots + (slot < c->room ? slot : slot - c->room) * c->item_size;
}

static inline void channel_push(struct channel *c, const void *item)
{
    copy_item(channel_slot(c, c->count), item, c->item_size);
    if (++c->count > c->peak)
        c->peak = c->count;
}

/* Takes the oldest out of the queue; it stays where it is until the next push. */
static inline char *channel_pop(struct channel *c)
{
    char *item = channel_slot(c, 0);

    if (++c->first == c->room)
        c->first = 0;
    c->count--;
    return item;
}

/* 0, or -EBADF, -EPIPE, -ENOMEM. -EAGAIN: it would have to wait. */
static inline int channel_try_send(const struct sender *s, const void *item)
{
    struct channel *c = s->channel;

    if (unlikely(!c))
        return -EBADF;
    if (unlikely(!c->open_receivers))
        return -EPIPE;
    if (c->receivers.first) {
        copy_item(c->receivers.first->item, item, c->item_size);
        lot_wake_first(&c->receivers, 1);
        return 0;
    }
    if (c->count >= c->capacity)
        return -EAGAIN;
    if (unlikely(c->count == c->room) && coil__channel_grow(c) < 0)
        return -ENOMEM;
    channel_push(c, item);
    return 0;
}

/* 1, 0 at the end, or -EBADF. -EAGAIN: it would have to wait. */
static inline int channel_try_receive(const struct receiver *r, void *item)
{
    struct channel *c = r->channel;
    struct waiter *w;

    if (unlikely(!c))
        return -EBADF;
    w = c->senders.first;
    if (c->count) {
        copy_item(item, channel_pop(c), c->item_size);
        if (w)
            channel_push(c, w->item);
        else if (!c->count && unlikely(c->room * c->item_size > CHANNEL_KEEPS_BYTES))
            coil__channel_shrink(c);
    } else if (w) {
        copy_item(item, w->item, c->item_size);
    } else {
        return c->open_senders ? -EAGAIN : 0;
    }
    if (w)
        lot_wake_first(&c->senders, 0);
    return 1;
}

#endif
