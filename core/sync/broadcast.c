/* broadcast.c - one sends, each of many receives everything, and none holds up the others. */
#include "broadcast.h"

#include <string.h>

_Static_assert(sizeof(struct broadcast_sender) <= sizeof(struct coil_broadcast),
               "coil_broadcast is too small");
_Static_assert(sizeof(struct broadcast_receiver) <= sizeof(struct coil_broadcast_receiver),
               "coil_broadcast_receiver is too small");

static struct broadcast_sender *sender_of(const struct coil_broadcast *b)
{
    return (struct broadcast_sender *)(uintptr_t)b;
}

static char *slot_of(const struct broadcast *b, uint64_t number)
{
    return b->slots + (size_t)(number & (b->room - 1)) * b->item_size;
}

static size_t power_of_two_from(uint64_t least)
{
    size_t n = 1;

    while (n < least)
        n *= 2;
    return n;
}

/* Makes room for so many items; those there are stay. */
static int make_room(struct broadcast *b, uint64_t count)
{
    struct broadcast larger = *b;
    uint64_t kept = b->sent < b->room ? b->sent : b->room;

    if (count <= b->room)
        return 0;
    larger.room = power_of_two_from(count);
    larger.slots = memory_allocate(&b->memory, NULL, larger.room * b->item_size);
    if (!larger.slots)
        return -ENOMEM;
    for (uint64_t n = b->sent - kept; n < b->sent; n++)
        memcpy(slot_of(&larger, n), slot_of(b, n), b->item_size);
    if (b->slots)
        memory_allocate(&b->memory, b->slots, 0);
    b->slots = larger.slots;
    b->room = larger.room;
    return 0;
}

static void give_room_back(struct broadcast *b)
{
    if (b->slots)
        memory_allocate(&b->memory, b->slots, 0);
    b->slots = NULL;
    b->room = 0;
}

static void release(struct broadcast *b)
{
    struct memory memory = b->memory;

    if (--b->references)
        return;
    give_room_back(b);
    memory_allocate(&memory, b, 0);
}

/* --- The sender's side ----------------------------------------------------------------------- */

int coil__broadcast_open(struct broadcast_sender *s, size_t item_size, bool forgets)
{
    struct memory memory = coil__memory_here();
    struct broadcast *b;

    if (!s || !item_size || item_size > COIL_ITEM_SIZE_MAX)
        return -EINVAL;
    b = memory_allocate(&memory, NULL, sizeof(*b));
    if (!b)
        return -ENOMEM;
    *b = (struct broadcast){
        .item_size = item_size,
        .references = 1,
        .open = true,
        .forgets = forgets,
        .memory = memory,
    };
    list_init(&b->receivers);
    if (forgets && make_room(b, 1) < 0) { /* the value is there before anybody comes */
        release(b);
        return -ENOMEM;
    }
    s->broadcast = b;
    return 0;
}

int coil__broadcast_subscribe(struct broadcast_sender *s, struct broadcast_receiver *r,
                              uint64_t lag_limit)
{
    struct broadcast *b = s->broadcast;

    if (!b)
        return -EBADF;
    if (!r || make_room(b, lag_limit) < 0)
        return r ? -ENOMEM : -EINVAL;
    *r = (struct broadcast_receiver){
        .broadcast = b,
        .next = b->forgets && b->sent ? b->sent - 1 : b->sent,
        .lag_limit = lag_limit,
    };
    list_push_back(&b->receivers, &r->link);
    b->receiver_count++;
    b->references++;
    return 0;
}

int coil__broadcast_send(struct broadcast_sender *s, const void *item)
{
    struct broadcast *b = s->broadcast;

    if (!b)
        return -EBADF;
    if (!item)
        return -EINVAL;
    if (b->room)
        memcpy(slot_of(b, b->sent), item, b->item_size);
    b->sent++;
    list_for_each(n, &b->receivers) {
        struct broadcast_receiver *r = container_of(n, struct broadcast_receiver, link);

        if (!r->lot.first)
            continue;
        memcpy(r->lot.first->item, item, b->item_size);
        r->next = b->sent;
        lot_wake_first(&r->lot, 1);
    }
    return 0;
}

void coil__broadcast_close(struct broadcast_sender *s)
{
    struct broadcast *b = s->broadcast;

    if (!b)
        return;
    s->broadcast = NULL;
    b->open = false;
    list_for_each(n, &b->receivers)
        lot_wake_all(&container_of(n, struct broadcast_receiver, link)->lot, 0);
    release(b);
}

int coil__broadcast_stats(const struct broadcast_sender *s, struct coil_broadcast_stats *ret)
{
    const struct broadcast *b = s->broadcast;

    if (!b)
        return -EBADF;
    *ret = (struct coil_broadcast_stats){.sent = b->sent, .receivers = b->receiver_count};
    list_for_each(n, &b->receivers)
        ret->waiting += container_of(n, struct broadcast_receiver, link)->lot.count;
    return 0;
}

/* --- A receiver's side ----------------------------------------------------------------------- */

/* What has gone beyond r's limit is lost to it. */
static bool lose(struct broadcast_receiver *r)
{
    uint64_t lag = r->broadcast->sent - r->next;

    if (likely(lag <= r->lag_limit))
        return false;
    r->missed = lag - r->lag_limit;
    r->missed_ever += r->missed;
    r->next += r->missed;
    return true;
}

int coil__broadcast_try_receive(struct broadcast_receiver *r, void *item)
{
    const struct broadcast *b = r->broadcast;

    if (!b)
        return -EBADF;
    if (!item)
        return -EINVAL;
    if (lose(r) && !b->forgets)
        return -EOVERFLOW;
    if (r->next == b->sent)
        return b->open ? -EAGAIN : 0;
    memcpy(item, slot_of(b, r->next++), b->item_size);
    return 1;
}

int coil__broadcast_receive(struct broadcast_receiver *r, void *item, const char *caller)
{
    struct coil_task *self = coil__sync_self(caller);
    int rc = task_checkpoint(self);

    if (rc < 0)
        return rc;
    rc = coil__broadcast_try_receive(r, item);
    if (rc != -EAGAIN)
        return sync_answer(self, rc);
    return lot_wait(&r->lot, self, item,
                    r->broadcast->forgets ? "a newer value" : "an item of a broadcast");
}

void coil__broadcast_leave(struct broadcast_receiver *r)
{
    struct broadcast *b = r->broadcast;

    if (!b)
        return;
    r->broadcast = NULL;
    list_remove(&r->link);
    if (!--b->receiver_count && !b->forgets)
        give_room_back(b);
    lot_wake_all(&r->lot, -EBADF);
    release(b);
}

/* --- The public side ------------------------------------------------------------------------- */

int coil_broadcast_open(struct coil_broadcast *b, size_t item_size)
{
    return coil__broadcast_open(sender_of(b), item_size, false);
}

int coil_broadcast_subscribe(struct coil_broadcast *b, struct coil_broadcast_receiver *r,
                             int64_t lag_limit)
{
    if (sender_of(b)->broadcast && (lag_limit < 1 || lag_limit > COIL_LAG_MAX))
        return -EINVAL;
    return coil__broadcast_subscribe(sender_of(b), broadcast_receiver_of(r), (uint64_t)lag_limit);
}

int coil_broadcast_send(struct coil_broadcast *b, const void *item)
{
    return coil__broadcast_send(sender_of(b), item);
}

void coil_broadcast_close(struct coil_broadcast *b)
{
    coil__broadcast_close(sender_of(b));
}

int coil_broadcast_stats(const struct coil_broadcast *b, struct coil_broadcast_stats *ret)
{
    return coil__broadcast_stats(sender_of(b), ret);
}

int coil_broadcast_receive(struct coil_broadcast_receiver *r, void *item)
{
    return coil__broadcast_receive(broadcast_receiver_of(r), item, "coil_broadcast_receive");
}

int coil_broadcast_receive_nowait(struct coil_broadcast_receiver *r, void *item)
{
    return coil__broadcast_try_receive(broadcast_receiver_of(r), item);
}

uint64_t coil_broadcast_missed(const struct coil_broadcast_receiver *r)
{
    return broadcast_receiver_of(r)->missed;
}

void coil_broadcast_receiver_close(struct coil_broadcast_receiver *r)
{
    coil__broadcast_leave(broadcast_receiver_of(r));
}

int coil_broadcast_receiver_stats(const struct coil_broadcast_receiver *public,
                                  struct coil_broadcast_receiver_stats *ret)
{
    const struct broadcast_receiver *r = broadcast_receiver_of(public);
    uint64_t lag;

    if (!r->broadcast)
        return -EBADF;
    lag = r->broadcast->sent - r->next;
    *ret = (struct coil_broadcast_receiver_stats){
        .lag = (int64_t)(lag < r->lag_limit ? lag : r->lag_limit),
        .lag_limit = (int64_t)r->lag_limit,
        .missed = r->missed_ever,
        .waiting = r->lot.count,
    };
    return 0;
}
