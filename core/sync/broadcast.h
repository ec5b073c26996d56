/* broadcast.h - what one sends and each of many receives; a latest value is one that keeps one. */
#ifndef CORE_SYNC_BROADCAST_H
#define CORE_SYNC_BROADCAST_H

#include "../../include/coil/channel.h"
#include "lot.h"

/* Lives until the last handle is closed. Items have numbers; the last `room` of them are kept. */
struct broadcast {
    size_t item_size;
    size_t room; /* a power of two, at least every receiver's lag limit; 0: nobody came yet */
    char *slots; /* a ring: item n is in slot n % room */
    uint64_t sent;
    struct list receivers;
    size_t receiver_count;
    size_t references; /* open handles */
    bool open;         /* the sender is */
    bool forgets;      /* it is a latest value: what was missed is not spoken of */
    struct memory memory;
};

struct broadcast_sender {
    struct broadcast *broadcast; /* NULL: closed */
};

struct broadcast_receiver {
    struct broadcast *broadcast; /* NULL: closed */
    struct list link;
    struct lot lot; /* item: where it is wanted. If somebody waits, next == sent */
    uint64_t next;  /* number of the item to be received */
    uint64_t lag_limit;
    uint64_t missed; /* told by the last -EOVERFLOW */
    uint64_t missed_ever;
};

int coil__broadcast_open(struct broadcast_sender *s, size_t item_size, bool forgets);
int coil__broadcast_subscribe(struct broadcast_sender *s, struct broadcast_receiver *r,
                              uint64_t lag_limit);
int coil__broadcast_send(struct broadcast_sender *s, const void *item);
int coil__broadcast_stats(const struct broadcast_sender *s, struct coil_broadcast_stats *ret);
void coil__broadcast_close(struct broadcast_sender *s);
void coil__broadcast_leave(struct broadcast_receiver *r);

/* caller: the public call's name. */
int coil__broadcast_receive(struct broadcast_receiver *r, void *item, const char *caller);

/* 1, 0 at the end, -EOVERFLOW or -EBADF. -EAGAIN: it would have to wait. */
int coil__broadcast_try_receive(struct broadcast_receiver *r, void *item);

static inline struct broadcast_receiver *broadcast_receiver_of(const void *r)
{
    return (struct broadcast_receiver *)(uintptr_t)r;
}

#endif
