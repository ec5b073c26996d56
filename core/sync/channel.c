/* channel.c - channels: a queue between the handles of two sides. */
#include "channel.h"

_Static_assert(sizeof(struct sender) <= sizeof(struct coil_sender), "coil_sender is too small");
_Static_assert(sizeof(struct receiver) <= sizeof(struct coil_receiver),
               "coil_receiver is too small");

#define FIRST_BYTES 1024 /* of an unlimited channel; then twice as many */

/* --- Memory ---------------------------------------------------------------------------------- */

/* The slots are moved to the front of the new ones, in order. */
int coil__channel_grow(struct channel *c)
{
    size_t room = c->room ? 2 * c->room : 1 + FIRST_BYTES / c->item_size;
    size_t until_end = c->room - c->first;
    char *slots = NULL;

    if (room <= PTRDIFF_MAX / c->item_size)
        slots = memory_allocate(&c->memory, NULL, room * c->item_size);
    if (!slots)
        return -ENOMEM;
    if (c->room) { /* all full */
        memcpy(slots, channel_slot(c, 0), until_end * c->item_size);
        memcpy(slots + until_end * c->item_size, c->slots, c->first * c->item_size);
        memory_allocate(&c->memory, c->slots, 0);
    }
    c->slots = slots;
    c->room = room;
    c->first = 0;
    return 0;
}

void coil__channel_shrink(struct channel *c)
{
    assert(!c->count);

    if (c->capacity != SIZE_MAX)
        return;
    memory_allocate(&c->memory, c->slots, 0);
    c->slots = NULL;
    c->room = 0;
    c->first = 0;
}

static void release(struct channel *c)
{
    struct memory memory = c->memory;

    if (--c->references)
        return;
    assert(!c->count);

    if (c->capacity == SIZE_MAX && c->slots)
        memory_allocate(&memory, c->slots, 0);
    memory_allocate(&memory, c, 0);
}

static int check(const struct coil_channel_options *o)
{
    size_t slots_bytes;

    if (!o || !o->item_size || o->item_size > COIL_ITEM_SIZE_MAX || o->capacity < 0)
        return -EINVAL;
    if (o->capacity == COIL_UNLIMITED)
        return 0;
    if (__builtin_mul_overflow(o->item_size, o->capacity, &slots_bytes))
        return -EINVAL;
    return slots_bytes > PTRDIFF_MAX - sizeof(struct channel) ? -EINVAL : 0;
}

int coil_channel_open(struct coil_sender *sender, struct coil_receiver *receiver,
                      const struct coil_channel_options *options)
{
    struct memory memory = coil__memory_here();
    struct channel *c;
    size_t room;
    int r = sender && receiver ? check(options) : -EINVAL;

    if (r < 0)
        return r;
    room = options->capacity == COIL_UNLIMITED ? 0 : (size_t)options->capacity;
    c = memory_allocate(&memory, NULL, sizeof(*c) + room * options->item_size);
    if (!c)
        return -ENOMEM;
    *c = (struct channel){
        .item_size = options->item_size,
        .capacity = options->capacity == COIL_UNLIMITED ? SIZE_MAX : room,
        .room = room,
        .slots = room ? (char *)(c + 1) : NULL,
        .open_senders = 1,
        .open_receivers = 1,
        .references = 2,
        .dispose = options->dispose,
        .dispose_ctx = options->dispose_ctx,
        .memory = memory,
    };
    sender_of(sender)->channel = c;
    receiver_of(receiver)->channel = c;
    return 0;
}

/* --- Sending and receiving ------------------------------------------------------------------- */

int coil_channel_send(struct coil_sender *public, const void *item)
{
    struct coil_task *self = coil__sync_self("coil_channel_send");
    struct sender *s = sender_of(public);
    int r = task_checkpoint(self);

    if (unlikely(r < 0))
        return r;
    r = likely(item) ? channel_try_send(s, item) : -EINVAL;
    if (r == -EAGAIN) {
        struct waiter w = {.task = self, .item = (void *)(uintptr_t)item, .handle = s};

        return coil__lot_wait(&s->channel->senders, &w, "room in a channel");
    }
    return sync_answer(self, r);
}

int coil_channel_send_nowait(struct coil_sender *s, const void *item)
{
    return item ? channel_try_send(sender_of(s), item) : -EINVAL;
}

int coil_channel_receive(struct coil_receiver *public, void *item)
{
    struct coil_task *self = coil__sync_self("coil_channel_receive");
    struct receiver *r = receiver_of(public);
    int rc = task_checkpoint(self);

    if (unlikely(rc < 0))
        return rc;
    rc = likely(item) ? channel_try_receive(r, item) : -EINVAL;
    if (rc == -EAGAIN) {
        struct waiter w = {.task = self, .item = item, .handle = r};

        return coil__lot_wait(&r->channel->receivers, &w, "an item from a channel");
    }
    return sync_answer(self, rc);
}

int coil_channel_receive_nowait(struct coil_receiver *r, void *item)
{
    return item ? channel_try_receive(receiver_of(r), item) : -EINVAL;
}

/* --- Handles --------------------------------------------------------------------------------- */

int coil_sender_clone(const struct coil_sender *from, struct coil_sender *ret)
{
    struct channel *c = sender_of(from)->channel;

    if (!c)
        return -EBADF;
    if (!ret || ret == from)
        return -EINVAL;
    c->open_senders++;
    c->references++;
    sender_of(ret)->channel = c;
    return 0;
}

int coil_receiver_clone(const struct coil_receiver *from, struct coil_receiver *ret)
{
    struct channel *c = receiver_of(from)->channel;

    if (!c)
        return -EBADF;
    if (!ret || ret == from)
        return -EINVAL;
    c->open_receivers++;
    c->references++;
    receiver_of(ret)->channel = c;
    return 0;
}

/* Who waits through a handle that is being closed. A select may stand here more than once, and is
 * taken out at once. */
static void evict(struct lot *lot, const void *handle)
{
    struct waiter *w = lot->first;

    while (w) {
        struct waiter *next = w->next;

        if (w->handle == handle)
            coil__lot_wake(w, -EBADF);
        w = next && next->lot != lot ? lot->first : next;
    }
}

/* Nobody can receive any more, nor send. What dispose calls may close the other handles. */
static void dispose_of_all(struct channel *c)
{
    while (c->count) {
        char *item = channel_pop(c);

        if (c->dispose)
            c->dispose(c->dispose_ctx, item);
    }
}

void coil_sender_close(struct coil_sender *public)
{
    struct sender *s = sender_of(public);
    struct channel *c = s->channel;

    if (!c)
        return;
    s->channel = NULL;
    evict(&c->senders, s);
    if (!--c->open_senders)
        lot_wake_all(&c->receivers, 0);
    release(c);
}

void coil_receiver_close(struct coil_receiver *public)
{
    struct receiver *r = receiver_of(public);
    struct channel *c = r->channel;

    if (!c)
        return;
    r->channel = NULL;
    evict(&c->receivers, r);
    if (!--c->open_receivers) {
        lot_wake_all(&c->senders, -EPIPE);
        dispose_of_all(c);
    }
    release(c);
}

/* --- Looking --------------------------------------------------------------------------------- */

static int stats(const struct channel *c, struct coil_channel_stats *ret)
{
    if (!c)
        return -EBADF;
    *ret = (struct coil_channel_stats){
        .used = c->count,
        .peak = c->peak,
        .capacity = c->capacity == SIZE_MAX ? COIL_UNLIMITED : (int64_t)c->capacity,
        .senders = c->open_senders,
        .receivers = c->open_receivers,
        .waiting_senders = c->senders.count,
        .waiting_receivers = c->receivers.count,
    };
    return 0;
}

int coil_sender_stats(const struct coil_sender *s, struct coil_channel_stats *ret)
{
    return stats(sender_of(s)->channel, ret);
}

int coil_receiver_stats(const struct coil_receiver *r, struct coil_channel_stats *ret)
{
    return stats(receiver_of(r)->channel, ret);
}
