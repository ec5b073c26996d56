/* latest.c - a value that is replaced: a broadcast that keeps one item, and does not count. */
#include "broadcast.h"

_Static_assert(sizeof(struct broadcast_sender) <= sizeof(struct coil_latest),
               "coil_latest is too small");
_Static_assert(sizeof(struct broadcast_receiver) <= sizeof(struct coil_latest_receiver),
               "coil_latest_receiver is too small");

static struct broadcast_sender *sender_of(const struct coil_latest *l)
{
    return (struct broadcast_sender *)(uintptr_t)l;
}

int coil_latest_open(struct coil_latest *l, size_t item_size)
{
    return coil__broadcast_open(sender_of(l), item_size, true);
}

int coil_latest_subscribe(struct coil_latest *l, struct coil_latest_receiver *r)
{
    return coil__broadcast_subscribe(sender_of(l), broadcast_receiver_of(r), 1);
}

int coil_latest_send(struct coil_latest *l, const void *item)
{
    return coil__broadcast_send(sender_of(l), item);
}

int coil_latest_receive(struct coil_latest_receiver *r, void *item)
{
    return coil__broadcast_receive(broadcast_receiver_of(r), item, "coil_latest_receive");
}

int coil_latest_receive_nowait(struct coil_latest_receiver *r, void *item)
{
    return coil__broadcast_try_receive(broadcast_receiver_of(r), item);
}

void coil_latest_close(struct coil_latest *l)
{
    coil__broadcast_close(sender_of(l));
}

void coil_latest_receiver_close(struct coil_latest_receiver *r)
{
    coil__broadcast_leave(broadcast_receiver_of(r));
}

int coil_latest_stats(const struct coil_latest *l, struct coil_broadcast_stats *ret)
{
    return coil__broadcast_stats(sender_of(l), ret);
}

int coil_latest_receiver_stats(const struct coil_latest_receiver *public,
                               struct coil_latest_receiver_stats *ret)
{
    const struct broadcast_receiver *r = broadcast_receiver_of(public);

    if (!r->broadcast)
        return -EBADF;
    *ret = (struct coil_latest_receiver_stats){
        .unseen = r->next != r->broadcast->sent,
        .waiting = r->lot.count,
    };
    return 0;
}
