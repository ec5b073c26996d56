/* channel.c - semantics.md 5.6: channels. */
#include <stdlib.h>

#include "line.h"
#include "parker.h"
#include "supply.h"

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

/* One send or receive in a task of its own. */
struct user {
    struct coil_sender *tx;
    struct coil_receiver *rx;
    int item;
    int result;
    int next; /* what the checkpoint after it said */
    bool over;
    struct coil_handle handle;
};

static int send_it(void *arg)
{
    struct user *u = arg;

    u->result = coil_channel_send(u->tx, &u->item);
    u->over = true;
    u->next = coil_checkpoint();
    return 0;
}

static int receive_it(void *arg)
{
    struct user *u = arg;

    u->result = coil_channel_receive(u->rx, &u->item);
    u->over = true;
    u->next = coil_checkpoint();
    return 0;
}

/* Each waits before the next is spawned: the order of the queue is theirs, shuffled or not. */
static void spawn_senders(struct coil_group *g, struct user *users, int count,
                          struct coil_sender *tx)
{
    for (int i = 0; i < count; i++) {
        struct coil_spawn_options options = {.handle = &users[i].handle};
        size_t before = line_stats(tx).waiting_senders;

        users[i].tx = tx;
        CHECK_EQ(coil_group_spawn_with(g, send_it, &users[i], &options), 0);
        while (line_stats(tx).waiting_senders == before)
            coil_yield_shielded();
    }
}

static void spawn_receivers(struct coil_group *g, struct user *users, int count, struct line *l,
                            struct coil_receiver *rx)
{
    for (int i = 0; i < count; i++) {
        struct coil_spawn_options options = {.handle = &users[i].handle};
        size_t before = line_stats(&l->tx).waiting_receivers;

        users[i].rx = rx;
        users[i].item = -1;
        CHECK_EQ(coil_group_spawn_with(g, receive_it, &users[i], &options), 0);
        while (line_stats(&l->tx).waiting_receivers == before)
            coil_yield_shielded();
    }
}

static void await(const struct user *u)
{
    while (!u->over)
        coil_yield_shielded();
}

/* What was disposed of, in order. */
struct bin {
    int items[8];
    int count;
};

static void note_disposed(void *ctx, void *item)
{
    struct bin *bin = ctx;

    CHECK(bin->count < 8);
    bin->items[bin->count++] = *(int *)item;
}

/* --- What goes in comes out ------------------------------------------------------------------ */

COIL_TEST(channel, s5_6_items_come_out_in_the_order_in_which_they_went_in)
{
    static const int64_t capacities[] = {1, 2, 3, 7, 1000, COIL_UNLIMITED};

    for (size_t c = 0; c < sizeof(capacities) / sizeof(capacities[0]); c++) {
        struct line l = line_of(capacities[c]);
        int in = 0;
        int out = 0;

        for (int round = 0; round < 50; round++) {
            for (int i = 0; i <= round % 7 && send_now(&l.tx, in) == 0; i++)
                in++;
            for (int i = 0; i <= round % 5 && out < in; i++)
                CHECK_EQ(receive_now(&l.rx), out++);
        }
        while (out < in)
            CHECK_EQ(receive_now(&l.rx), out++);
        CHECK_EQ(receive_now(&l.rx), -EAGAIN);
        line_close(&l);
    }
}

COIL_TEST(channel, s5_6_a_full_channel_takes_no_more)
{
    struct line l = line_of(3);

    for (int i = 0; i < 3; i++)
        CHECK_EQ(send_now(&l.tx, i), 0);
    CHECK_EQ(send_now(&l.tx, 3), -EAGAIN);
    CHECK_EQ(receive_now(&l.rx), 0);
    CHECK_EQ(send_now(&l.tx, 3), 0);
    for (int i = 1; i <= 3; i++)
        CHECK_EQ(receive_now(&l.rx), i);
    line_close(&l);
}

COIL_TEST(channel, s5_6_items_of_any_size_arrive_whole)
{
    static const size_t sizes[] = {1, 2, 3, 4, 7, 8, 9, 16, 24, 100, 4096, 70000};

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct coil_channel_options options = {.item_size = sizes[s], .capacity = 2};
        unsigned char *in = malloc(2 * sizes[s]);
        unsigned char *out = malloc(sizes[s] + 1);
        struct coil_sender tx;
        struct coil_receiver rx;

        CHECK(in && out);
        for (size_t i = 0; i < 2 * sizes[s]; i++)
            in[i] = (unsigned char)(i * 7 + s);
        CHECK_EQ(coil_channel_open(&tx, &rx, &options), 0);
        CHECK_EQ(coil_channel_send(&tx, in), 0);
        CHECK_EQ(coil_channel_send(&tx, in + sizes[s]), 0);
        for (int k = 0; k < 2; k++) {
            out[sizes[s]] = 99;
            CHECK_EQ(coil_channel_receive(&rx, out), 1);
            CHECK_EQ(memcmp(out, in + (size_t)k * sizes[s], sizes[s]), 0);
            CHECK_EQ(out[sizes[s]], 99);
        }
        coil_sender_close(&tx);
        coil_receiver_close(&rx);
        free(in);
        free(out);
    }
}

static int send_a_hundred(void *arg)
{
    struct coil_sender *tx = arg;
    int rc = 0;

    for (int i = 0; i < 100 && rc == 0; i++)
        rc = coil_channel_send(tx, &i);
    coil_sender_close(tx);
    return rc;
}

COIL_TEST(channel, s5_6_a_task_sends_all_and_another_receives_all_at_any_capacity)
{
    static const int64_t capacities[] = {0, 1, 3, 64, COIL_UNLIMITED};

    for (size_t c = 0; c < sizeof(capacities) / sizeof(capacities[0]); c++) {
        struct line l = line_of(capacities[c]);
        struct coil_group g;
        int next = 0;
        int item;
        int rc;

        coil_group_begin(&g);
        SPAWN(&g, send_a_hundred, &l.tx);
        while ((rc = coil_channel_receive(&l.rx, &item)) > 0)
            CHECK_EQ(item, next++);
        CHECK_EQ(coil_group_end(&g, rc), 0);
        CHECK_EQ(next, 100);
        line_close(&l);
    }
}

COIL_TEST(channel, s5_6_without_capacity_a_sender_meets_its_receiver)
{
    struct line l = line_of(0);
    struct user sender = {.item = 5};
    struct coil_group g;

    CHECK_EQ(send_now(&l.tx, 1), -EAGAIN);
    CHECK_EQ(receive_now(&l.rx), -EAGAIN);
    coil_group_begin(&g);
    spawn_senders(&g, &sender, 1, &l.tx);
    CHECK_EQ(sender.over, false);
    CHECK_EQ(line_stats(&l.tx).used, 0);
    CHECK_EQ(receive_now(&l.rx), 5);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(sender.result, 0);
    CHECK_EQ(line_stats(&l.tx).peak, 0);
    line_close(&l);
}

COIL_TEST(channel, s5_6_a_waiting_receiver_gets_the_item_into_its_own_memory)
{
    struct line l = line_of(0);
    struct user receiver = {.item = 0};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &receiver, 1, &l, &l.rx);
    CHECK_EQ(send_now(&l.tx, 42), 0);
    CHECK_EQ(receiver.item, 42); /* though it has not run */
    CHECK_EQ(receiver.over, false);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(receiver.result, 1);
    line_close(&l);
}

/* --- First come, first served ---------------------------------------------------------------- */

COIL_TEST(channel, s5_6_receivers_are_served_in_the_order_in_which_they_came)
{
    struct line l = line_of(4);
    struct user users[5] = {{.item = 0}};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, users, 5, &l, &l.rx);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(send_now(&l.tx, i), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(users[i].item, i);
    line_close(&l);
}

COIL_TEST(channel, s5_6_senders_are_served_in_the_order_in_which_they_came)
{
    struct line l = line_of(1);
    struct user users[4] = {{.item = 1}, {.item = 2}, {.item = 3}, {.item = 4}};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(send_now(&l.tx, 0), 0);
    spawn_senders(&g, users, 4, &l.tx);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(receive_now(&l.rx), i);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    line_close(&l);
}

COIL_TEST(channel, s5_6_nobody_overtakes_a_sender_that_waits)
{
    struct line l = line_of(1);
    struct user waiting = {.item = 1};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(send_now(&l.tx, 0), 0);
    spawn_senders(&g, &waiting, 1, &l.tx);
    CHECK_EQ(receive_now(&l.rx), 0);
    CHECK_EQ(send_now(&l.tx, 2), -EAGAIN); /* the place was given to the one who waits */
    CHECK_EQ(receive_now(&l.rx), 1);
    CHECK_EQ(send_now(&l.tx, 2), 0);
    CHECK_EQ(receive_now(&l.rx), 2);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    line_close(&l);
}

COIL_TEST(channel, s5_6_nobody_takes_an_item_that_was_handed_to_another)
{
    struct line l = line_of(2);
    struct user waiting = {.item = 0};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &waiting, 1, &l, &l.rx);
    CHECK_EQ(send_now(&l.tx, 7), 0);
    CHECK_EQ(receive_now(&l.rx), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(waiting.item, 7);
    line_close(&l);
}

/* --- The end --------------------------------------------------------------------------------- */

COIL_TEST(channel, s5_6_after_the_last_sender_receivers_drain_and_then_get_0)
{
    struct line l = line_of(4);
    struct coil_sender clone;

    CHECK_EQ(coil_sender_clone(&l.tx, &clone), 0);
    CHECK_EQ(send_now(&l.tx, 1), 0);
    coil_sender_close(&l.tx);
    CHECK_EQ(receive_now(&l.rx), 1);
    CHECK_EQ(receive_now(&l.rx), -EAGAIN);
    CHECK_EQ(send_now(&clone, 2), 0);
    CHECK_EQ(send_now(&clone, 3), 0);
    coil_sender_close(&clone);
    CHECK_EQ(receive_now(&l.rx), 2);
    CHECK_EQ(receive_now(&l.rx), 3);
    CHECK_EQ(receive_now(&l.rx), 0);
    CHECK_EQ(receive_now(&l.rx), 0);
    coil_receiver_close(&l.rx);
}

COIL_TEST(channel, s5_6_closing_the_last_sender_wakes_waiting_receivers_with_0)
{
    struct line l = line_of(1);
    struct user users[3] = {{.item = 0}};
    struct coil_sender clone;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_sender_clone(&l.tx, &clone), 0);
    spawn_receivers(&g, users, 3, &l, &l.rx);
    coil_sender_close(&clone);
    give_way();
    CHECK_EQ(users[0].over, false);
    coil_sender_close(&l.tx);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(users[i].result, 0);
        CHECK_EQ(users[i].item, -1);
    }
    coil_receiver_close(&l.rx);
}

COIL_TEST(channel, s5_6_after_the_last_receiver_senders_get_epipe)
{
    struct line l = line_of(4);
    struct coil_receiver clone;
    int item = 1;

    CHECK_EQ(coil_receiver_clone(&l.rx, &clone), 0);
    coil_receiver_close(&l.rx);
    CHECK_EQ(coil_channel_send(&l.tx, &item), 0);
    coil_receiver_close(&clone);
    CHECK_EQ(coil_channel_send(&l.tx, &item), -EPIPE);
    CHECK_EQ(send_now(&l.tx, 1), -EPIPE);
    coil_sender_close(&l.tx);
}

COIL_TEST(channel, s5_6_closing_the_last_receiver_wakes_waiting_senders_with_epipe)
{
    struct line l = line_of(0);
    struct user users[3] = {{.item = 1}, {.item = 2}, {.item = 3}};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_senders(&g, users, 3, &l.tx);
    coil_receiver_close(&l.rx);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(users[i].result, -EPIPE);
        CHECK_EQ(users[i].item, i + 1); /* still the caller's */
    }
    coil_sender_close(&l.tx);
}

COIL_TEST(channel, s5_6_closing_the_last_receiver_disposes_of_what_is_buffered)
{
    static const int64_t capacities[] = {3, 4, COIL_UNLIMITED};

    for (size_t c = 0; c < 3; c++) {
        struct bin bin = {.count = 0};
        struct coil_channel_options options = {
            .item_size = sizeof(int),
            .capacity = capacities[c],
            .dispose = note_disposed,
            .dispose_ctx = &bin,
        };
        struct coil_receiver clone;
        struct line l;

        CHECK_EQ(coil_channel_open(&l.tx, &l.rx, &options), 0);
        CHECK_EQ(coil_receiver_clone(&l.rx, &clone), 0);
        CHECK_EQ(send_now(&l.tx, 1), 0);
        CHECK_EQ(receive_now(&l.rx), 1); /* received: the receiver's */
        for (int i = 2; i < 5; i++)
            CHECK_EQ(send_now(&l.tx, i), 0);
        coil_receiver_close(&clone);
        CHECK_EQ(bin.count, 0);
        coil_receiver_close(&l.rx);
        CHECK_EQ(bin.count, 3);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(bin.items[i], i + 2);
        CHECK_EQ(line_stats(&l.tx).used, 0);
        CHECK_EQ(send_now(&l.tx, 9), -EPIPE); /* a failed send leaves the item with the caller */
        coil_sender_close(&l.tx);
        CHECK_EQ(bin.count, 3);
    }
}

COIL_TEST(channel, s5_6_what_is_buffered_when_the_senders_are_gone_is_disposed_of_as_well)
{
    struct bin bin = {.count = 0};
    struct coil_channel_options options = {sizeof(int), 4, note_disposed, &bin};
    struct line l;

    CHECK_EQ(coil_channel_open(&l.tx, &l.rx, &options), 0);
    CHECK_EQ(send_now(&l.tx, 1), 0);
    coil_sender_close(&l.tx);
    CHECK_EQ(bin.count, 0);
    coil_receiver_close(&l.rx);
    CHECK_EQ(bin.count, 1);
}

/* Its disposal closes the other side, looks, and tries again to send. */
struct chain {
    struct line l;
    int disposed;
    bool closes;
};

static void dispose_and_meddle(void *ctx, void *item)
{
    struct chain *c = ctx;

    c->disposed += *(int *)item;
    if (c->closes) {
        coil_receiver_close(&c->l.rx);
        coil_sender_close(&c->l.tx);
        CHECK_EQ(send_now(&c->l.tx, 1), -EBADF);
    } else {
        CHECK_EQ(send_now(&c->l.tx, 1), -EPIPE);
        CHECK_EQ(line_stats(&c->l.tx).receivers, 0);
    }
}

COIL_TEST(channel, s5_6_a_disposal_may_close_the_channel_it_happens_in)
{
    for (int closes = 0; closes < 2; closes++) {
        struct chain c = {.closes = closes};
        struct coil_channel_options options = {sizeof(int), 4, dispose_and_meddle, &c};

        CHECK_EQ(coil_channel_open(&c.l.tx, &c.l.rx, &options), 0);
        for (int i = 1; i <= 3; i++)
            CHECK_EQ(send_now(&c.l.tx, i), 0);
        coil_receiver_close(&c.l.rx);
        CHECK_EQ(c.disposed, 1 + 2 + 3);
        coil_sender_close(&c.l.tx);
    }
}

static void dispose_of_a_receiver(void *ctx, void *item)
{
    (void)ctx;
    coil_receiver_close(item);
}

COIL_TEST(channel, s5_6_handles_may_travel_in_a_channel_and_are_closed_with_it)
{
    struct coil_channel_options options = {sizeof(struct coil_receiver), 2, dispose_of_a_receiver,
                                           NULL};
    struct line inner[2] = {line_of(1), line_of(1)};
    struct coil_receiver arrived;
    struct line outer;

    CHECK_EQ(coil_channel_open(&outer.tx, &outer.rx, &options), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(coil_channel_send(&outer.tx, &inner[i].rx), 0);
    CHECK_EQ(coil_channel_receive(&outer.rx, &arrived), 1);
    CHECK_EQ(send_now(&inner[0].tx, 3), 0);
    CHECK_EQ(receive_now(&arrived), 3);
    coil_receiver_close(&arrived);
    line_close(&outer);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(send_now(&inner[i].tx, 3), -EPIPE);
        coil_sender_close(&inner[i].tx);
    }
}

/* --- Handles --------------------------------------------------------------------------------- */

COIL_TEST(channel, s5_6_a_closed_handle_says_ebadf_to_everything)
{
    struct line l = line_of(1);
    struct line other = {.tx = l.tx};
    struct coil_channel_stats stats;
    int item = 1;

    CHECK_EQ(coil_sender_clone(&l.tx, &other.tx), 0);
    CHECK_EQ(coil_receiver_clone(&l.rx, &other.rx), 0);
    line_close(&l);
    CHECK_EQ(coil_channel_send(&l.tx, &item), -EBADF);
    CHECK_EQ(coil_channel_send_nowait(&l.tx, &item), -EBADF);
    CHECK_EQ(coil_channel_receive(&l.rx, &item), -EBADF);
    CHECK_EQ(coil_channel_receive_nowait(&l.rx, &item), -EBADF);
    CHECK_EQ(coil_sender_clone(&l.tx, &other.tx), -EBADF);
    CHECK_EQ(coil_receiver_clone(&l.rx, &other.rx), -EBADF);
    CHECK_EQ(coil_sender_stats(&l.tx, &stats), -EBADF);
    CHECK_EQ(coil_receiver_stats(&l.rx, &stats), -EBADF);
    CHECK_EQ(send_now(&other.tx, 2), 0); /* the clones live on */
    CHECK_EQ(receive_now(&other.rx), 2);
    line_close(&other);
}

/* As in a program that has them at file scope. */
static struct line lasting = {.tx = COIL_SENDER_INIT, .rx = COIL_RECEIVER_INIT};

COIL_TEST(channel, s5_a_static_handle_is_closed_until_it_is_opened)
{
    const struct coil_channel_options options = {.item_size = sizeof(int), .capacity = 1};
    struct coil_channel_stats stats;
    struct line clone;

    for (int round = 0; round < 2; round++) {
        CHECK_EQ(send_now(&lasting.tx, 1), -EBADF);
        CHECK_EQ(receive_now(&lasting.rx), -EBADF);
        CHECK_EQ(coil_sender_clone(&lasting.tx, &clone.tx), -EBADF);
        CHECK_EQ(coil_receiver_clone(&lasting.rx, &clone.rx), -EBADF);
        CHECK_EQ(coil_sender_stats(&lasting.tx, &stats), -EBADF);
        CHECK_EQ(coil_receiver_stats(&lasting.rx, &stats), -EBADF);
        line_close(&lasting);
        CHECK_EQ(coil_channel_open(&lasting.tx, &lasting.rx, &options), 0);
        CHECK_EQ(send_now(&lasting.tx, 1), 0);
        CHECK_EQ(receive_now(&lasting.rx), 1);
        line_close(&lasting);
    }
}

/* anyio #671 */
COIL_TEST(channel, s5_6_closed_wins_over_broken_and_over_the_end)
{
    struct line l = line_of(1);

    coil_receiver_close(&l.rx);
    CHECK_EQ(send_now(&l.tx, 1), -EPIPE);
    coil_sender_close(&l.tx);
    CHECK_EQ(send_now(&l.tx, 1), -EBADF);
    CHECK_EQ(receive_now(&l.rx), -EBADF);
}

COIL_TEST(channel, s5_6_closing_again_does_nothing)
{
    struct line l = line_of(1);
    struct line clone;

    CHECK_EQ(coil_sender_clone(&l.tx, &clone.tx), 0);
    CHECK_EQ(coil_receiver_clone(&l.rx, &clone.rx), 0);
    for (int i = 0; i < 3; i++)
        line_close(&l);
    CHECK_EQ(line_stats(&clone.tx).senders, 1);
    CHECK_EQ(line_stats(&clone.tx).receivers, 1);
    line_close(&clone);
}

COIL_TEST(channel, s5_6_zeroed_handles_are_closed_ones)
{
    struct line l;

    memset(&l, 0, sizeof(l));
    CHECK_EQ(send_now(&l.tx, 1), -EBADF);
    CHECK_EQ(receive_now(&l.rx), -EBADF);
    line_close(&l);
}

COIL_TEST(channel, s5_6_a_handle_may_be_moved)
{
    struct line l = line_of(1);
    struct line moved = l;

    memset(&l, 0, sizeof(l));
    CHECK_EQ(send_now(&moved.tx, 1), 0);
    CHECK_EQ(receive_now(&moved.rx), 1);
    line_close(&moved);
}

/* D5: trio's way. anyio leaves them waiting. */
COIL_TEST(channel, d5_closing_a_handle_wakes_who_waits_on_that_very_handle)
{
    struct line l = line_of(0);
    struct coil_receiver clone;
    struct user there[2] = {{.item = 0}};
    struct user here = {.item = 0};
    struct coil_group g;

    CHECK_EQ(coil_receiver_clone(&l.rx, &clone), 0);
    coil_group_begin(&g);
    spawn_receivers(&g, &there[0], 1, &l, &clone);
    spawn_receivers(&g, &here, 1, &l, &l.rx);
    spawn_receivers(&g, &there[1], 1, &l, &clone);
    coil_receiver_close(&clone);
    await(&there[0]);
    await(&there[1]);
    CHECK_EQ(there[0].result, -EBADF);
    CHECK_EQ(there[1].result, -EBADF);
    CHECK_EQ(here.over, false);
    CHECK_EQ(send_now(&l.tx, 4), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(here.item, 4);
    line_close(&l);
}

COIL_TEST(channel, d5_closing_a_sender_wakes_who_sends_through_it_and_nothing_was_sent)
{
    struct line l = line_of(1);
    struct coil_sender clone;
    struct user there[2] = {{.item = 10}, {.item = 12}};
    struct user here = {.item = 11};
    struct coil_group g;

    CHECK_EQ(coil_sender_clone(&l.tx, &clone), 0);
    CHECK_EQ(send_now(&l.tx, 9), 0);
    coil_group_begin(&g);
    spawn_senders(&g, &there[0], 1, &clone);
    spawn_senders(&g, &here, 1, &l.tx);
    spawn_senders(&g, &there[1], 1, &clone);
    coil_sender_close(&clone);
    CHECK_EQ(receive_now(&l.rx), 9);
    CHECK_EQ(receive_now(&l.rx), 11);
    CHECK_EQ(receive_now(&l.rx), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(there[0].result, -EBADF);
    CHECK_EQ(there[1].result, -EBADF);
    CHECK_EQ(here.result, 0);
    line_close(&l);
}

COIL_TEST(channel, d5_closing_the_only_handle_under_a_waiting_task_is_ebadf_not_the_end)
{
    struct line l = line_of(0);
    struct user receiver = {.item = 0};
    struct user sender = {.item = 1};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &receiver, 1, &l, &l.rx);
    coil_receiver_close(&l.rx);
    coil_sender_close(&l.tx);
    await(&receiver);
    CHECK_EQ(receiver.result, -EBADF);

    l = line_of(0);
    spawn_senders(&g, &sender, 1, &l.tx);
    coil_sender_close(&l.tx);
    coil_receiver_close(&l.rx);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(sender.result, -EBADF);
}

/* D6: trio's way. anyio keeps them. */
COIL_TEST(channel, d6_the_last_receiver_leaves_no_item_counted)
{
    struct line l = line_of(4);

    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(send_now(&l.tx, 2), 0);
    coil_receiver_close(&l.rx);
    CHECK_EQ(line_stats(&l.tx).used, 0);
    CHECK_EQ(line_stats(&l.tx).peak, 2);
    coil_sender_close(&l.tx);
}

COIL_TEST(channel, s5_6_whoever_was_handed_an_item_has_it_also_if_all_is_closed_before_it_runs)
{
    struct line l = line_of(0);
    struct user receiver = {.item = 0};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &receiver, 1, &l, &l.rx);
    CHECK_EQ(send_now(&l.tx, 8), 0);
    line_close(&l);
    memset(&l, 0xff, sizeof(l));
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(receiver.result, 1);
    CHECK_EQ(receiver.item, 8);
}

/* --- Cancellation ---------------------------------------------------------------------------- */

COIL_TEST(channel, s5_6_in_a_cancelled_task_nothing_is_sent_and_nothing_taken)
{
    struct line l = line_of(2);
    struct coil_scope s;
    int item = 1;

    CHECK_EQ(send_now(&l.tx, 0), 0);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_channel_send(&l.tx, &item), -ECANCELED);
    CHECK_EQ(coil_channel_receive(&l.rx, &item), -ECANCELED);
    CHECK_EQ(item, 1);
    CHECK_EQ(line_stats(&l.tx).used, 1);
    CHECK_EQ(receive_now(&l.rx), 0); /* nowait is no checkpoint */
    CHECK_EQ(send_now(&l.tx, 0), 0);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    line_close(&l);
}

COIL_TEST(channel, s5_6_a_waiting_receiver_that_is_cancelled_takes_nothing)
{
    struct line l = line_of(0);
    struct user receiver = {.item = 0};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &receiver, 1, &l, &l.rx);
    coil_task_cancel(&receiver.handle, NULL);
    CHECK_EQ(line_stats(&l.tx).waiting_receivers, 0); /* it leaves at once */
    CHECK_EQ(send_now(&l.tx, 1), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(receiver.result, -ECANCELED);
    CHECK_EQ(receiver.item, -1);
    line_close(&l);
}

COIL_TEST(channel, s5_6_a_waiting_sender_that_is_cancelled_takes_its_item_back)
{
    struct line l = line_of(1);
    struct user sender = {.item = 2};
    struct coil_group g;

    CHECK_EQ(send_now(&l.tx, 1), 0);
    coil_group_begin(&g);
    spawn_senders(&g, &sender, 1, &l.tx);
    coil_task_cancel(&sender.handle, NULL);
    CHECK_EQ(receive_now(&l.rx), 1);
    CHECK_EQ(receive_now(&l.rx), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(sender.result, -ECANCELED);
    line_close(&l);
}

COIL_TEST(channel, s4_4_an_item_handed_over_before_the_cancel_is_received)
{
    struct line l = line_of(0);
    struct user receiver = {.item = 0};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &receiver, 1, &l, &l.rx);
    CHECK_EQ(send_now(&l.tx, 6), 0);
    coil_task_cancel(&receiver.handle, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(receiver.result, 1);
    CHECK_EQ(receiver.item, 6);
    CHECK_EQ(receiver.next, -ECANCELED);
    line_close(&l);
}

COIL_TEST(channel, s4_4_an_item_taken_before_the_cancel_was_sent)
{
    struct line l = line_of(0);
    struct user sender = {.item = 6};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_senders(&g, &sender, 1, &l.tx);
    CHECK_EQ(receive_now(&l.rx), 6);
    coil_task_cancel(&sender.handle, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(sender.result, 0);
    CHECK_EQ(sender.next, -ECANCELED);
    line_close(&l);
}

COIL_TEST(channel, s4_4_a_cancelled_receiver_is_passed_over_and_the_next_gets_the_item)
{
    struct line l = line_of(0);
    struct user users[3] = {{.item = 0}};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, users, 3, &l, &l.rx);
    coil_task_cancel(&users[0].handle, NULL);
    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(send_now(&l.tx, 2), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(users[0].result, -ECANCELED);
    CHECK_EQ(users[1].item, 1);
    CHECK_EQ(users[2].item, 2);
    line_close(&l);
}

COIL_TEST(channel, s4_4_a_task_closed_upon_and_then_cancelled_hears_of_the_close)
{
    struct line l = line_of(0);
    struct user receiver = {.item = 0};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &receiver, 1, &l, &l.rx);
    coil_receiver_close(&l.rx);
    coil_task_cancel(&receiver.handle, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(receiver.result, -EBADF);
    CHECK_EQ(receiver.next, -ECANCELED);
    coil_sender_close(&l.tx);
}

COIL_TEST(channel, s2_7_a_deadline_already_past_comes_before_an_item_that_is_there)
{
    struct line l = line_of(2);
    struct coil_scope s;
    int item = -1;

    CHECK_EQ(send_now(&l.tx, 1), 0);
    coil_scope_begin(&s, coil_now() - 1);
    CHECK_EQ(coil_channel_receive(&l.rx, &item), -ECANCELED);
    CHECK_EQ(coil_channel_send(&l.tx, &item), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(line_stats(&l.tx).used, 1);
    line_close(&l);
}

COIL_TEST(channel, s4_1_who_never_waits_still_gives_way)
{
    struct line l = line_of(1);
    struct parker p = {.answer = COIL_ABORT_DONE};
    bool other_ran = false;
    struct coil_group g;
    int item = 0;

    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p);
    for (int i = 0; i < 1000 && !other_ran; i++) {
        CHECK_EQ(coil_channel_send(&l.tx, &item), 0);
        CHECK_EQ(coil_channel_receive(&l.rx, &item), 1);
        other_ran = p.task;
    }
    CHECK(other_ran);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    line_close(&l);
}

/* --- What anyio and trio paid for ------------------------------------------------------------ */

COIL_TEST(channel, anyio_143_receiving_releases_the_sender_that_waits)
{
    struct line l = line_of(1);
    struct user sender = {.item = 2};
    struct coil_group g;

    CHECK_EQ(send_now(&l.tx, 1), 0);
    coil_group_begin(&g);
    spawn_senders(&g, &sender, 1, &l.tx);
    CHECK_EQ(receive_now(&l.rx), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0); /* the second is buffered, and nobody need take it */
    CHECK_EQ(sender.result, 0);
    CHECK_EQ(line_stats(&l.tx).used, 1);
    line_close(&l);
}

COIL_TEST(channel, anyio_146_no_item_is_lost_between_a_receiver_and_its_cancellation)
{
    struct line l = line_of(0);
    int received = 0;

    for (int i = 0; i < 4; i++) {
        struct user receiver = {.item = 0};
        bool sent;
        struct coil_group g;

        coil_group_begin(&g);
        spawn_receivers(&g, &receiver, 1, &l, &l.rx);
        if (i & 1)
            coil_task_cancel(&receiver.handle, NULL);
        sent = send_now(&l.tx, i) == 0;
        coil_task_cancel(&receiver.handle, NULL);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(receiver.result == 1, sent);
        received += receiver.result == 1;
    }
    CHECK_EQ(received, 2);
    line_close(&l);
}

COIL_TEST(channel, anyio_728_a_receiver_whose_cancel_is_pending_is_handed_nothing)
{
    struct line l = line_of(1);
    struct user receiver = {.item = 0};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &receiver, 1, &l, &l.rx);
    coil_scope_cancel(coil_group_scope(&g), NULL); /* it has not run since */
    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(coil_group_end(&g, coil_checkpoint()), 0);
    CHECK_EQ(receiver.result, -ECANCELED);
    CHECK_EQ(receive_now(&l.rx), 1);
    line_close(&l);
}

COIL_TEST(channel, anyio_731_an_item_of_zeros_is_an_item)
{
    struct line l = line_of(1);
    struct user sender = {.item = 0};
    struct user receiver = {.item = 0};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_receivers(&g, &receiver, 1, &l, &l.rx);
    CHECK_EQ(send_now(&l.tx, 0), 0);
    await(&receiver);
    CHECK_EQ(receiver.result, 1);
    CHECK_EQ(receiver.item, 0);
    CHECK_EQ(send_now(&l.tx, 0), 0);
    spawn_senders(&g, &sender, 1, &l.tx);
    coil_receiver_close(&l.rx);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(sender.result, -EPIPE);
    coil_sender_close(&l.tx);
}

/* anyio 2.1.0 */
COIL_TEST(channel, a_receiver_closed_right_after_it_took_the_item_breaks_no_send)
{
    struct line l = line_of(0);
    struct user sender = {.item = 3};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_senders(&g, &sender, 1, &l.tx);
    CHECK_EQ(receive_now(&l.rx), 3);
    coil_receiver_close(&l.rx);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(sender.result, 0);
    coil_sender_close(&l.tx);
}

COIL_TEST(channel, anyio_947_a_place_left_by_a_cancelled_sender_goes_to_the_next)
{
    struct line l = line_of(1);
    struct user users[3] = {{.item = 1}, {.item = 2}, {.item = 3}};
    struct coil_group g;

    CHECK_EQ(send_now(&l.tx, 0), 0);
    coil_group_begin(&g);
    spawn_senders(&g, users, 3, &l.tx);
    coil_task_cancel(&users[0].handle, NULL);
    CHECK_EQ(receive_now(&l.rx), 0);
    CHECK_EQ(receive_now(&l.rx), 2);
    CHECK_EQ(receive_now(&l.rx), 3);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(users[0].result, -ECANCELED);
    CHECK_EQ(users[1].result, 0);
    CHECK_EQ(users[2].result, 0);
    line_close(&l);
}

/* trio #661 was about descriptors: what is closed must not come to mean something new. */
COIL_TEST(channel, trio_661_a_closed_handle_does_not_reach_a_channel_opened_since)
{
    struct line l = line_of(1);
    struct line other;

    line_close(&l);
    other = line_of(1); /* likely at the same address */
    CHECK_EQ(send_now(&l.tx, 1), -EBADF);
    CHECK_EQ(line_stats(&other.tx).used, 0);
    line_close(&other);
}

/* --- Statistics ------------------------------------------------------------------------------ */

COIL_TEST(channel, s5_6_statistics_count_items_handles_and_who_waits)
{
    struct line l = line_of(2);
    struct coil_channel_stats stats;
    struct coil_receiver clone;
    struct user users[2] = {{.item = 1}, {.item = 2}};
    struct coil_group g;

    CHECK_EQ(coil_receiver_clone(&l.rx, &clone), 0);
    coil_group_begin(&g);
    CHECK_EQ(send_now(&l.tx, 0), 0);
    CHECK_EQ(send_now(&l.tx, 0), 0);
    spawn_senders(&g, users, 2, &l.tx);
    CHECK_EQ(coil_receiver_stats(&clone, &stats), 0);
    CHECK_EQ(stats.used, 2);
    CHECK_EQ(stats.peak, 2);
    CHECK_EQ(stats.capacity, 2);
    CHECK_EQ(stats.senders, 1);
    CHECK_EQ(stats.receivers, 2);
    CHECK_EQ(stats.waiting_senders, 2);
    CHECK_EQ(stats.waiting_receivers, 0);
    coil_receiver_close(&clone);
    for (int i = 0; i < 4; i++)
        CHECK(receive_now(&l.rx) >= 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    stats = line_stats(&l.tx);
    CHECK_EQ(stats.used, 0);
    CHECK_EQ(stats.peak, 2);
    CHECK_EQ(stats.receivers, 1);
    CHECK_EQ(stats.waiting_senders, 0);
    line_close(&l);
}

COIL_TEST(channel, s5_6_an_unlimited_channel_says_so)
{
    struct line l = line_of(COIL_UNLIMITED);

    CHECK_EQ(line_stats(&l.tx).capacity, COIL_UNLIMITED);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(send_now(&l.tx, i), 0);
    CHECK_EQ(line_stats(&l.tx).peak, 1000);
    line_close(&l);
}

/* --- Bad input ------------------------------------------------------------------------------- */

COIL_TEST(channel, items_of_no_size_or_too_large_a_size_and_absurd_capacities_are_einval)
{
    static const struct coil_channel_options wrong[] = {
        {.item_size = 0, .capacity = 1},
        {.item_size = COIL_ITEM_SIZE_MAX + 1, .capacity = 1},
        {.item_size = SIZE_MAX, .capacity = 1},
        {.item_size = 8, .capacity = -1},
        {.item_size = 8, .capacity = INT64_MIN},
        {.item_size = 8, .capacity = INT64_MAX / 8},
        {.item_size = 8, .capacity = INT64_MAX - 1},
        {.item_size = COIL_ITEM_SIZE_MAX, .capacity = INT64_MAX / 2},
    };
    struct line l;

    memset(&l, 0, sizeof(l));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK_EQ(coil_channel_open(&l.tx, &l.rx, &wrong[i]), -EINVAL);
        CHECK_EQ(send_now(&l.tx, 1), -EBADF); /* untouched */
    }
    CHECK_EQ(coil_channel_open(&l.tx, &l.rx, NULL), -EINVAL);
    CHECK_EQ(coil_channel_open(NULL, &l.rx, &(struct coil_channel_options){8, 1, NULL, NULL}),
             -EINVAL);
    CHECK_EQ(coil_channel_open(&l.tx, NULL, &(struct coil_channel_options){8, 1, NULL, NULL}),
             -EINVAL);
}

COIL_TEST(channel, no_item_is_einval_and_changes_nothing)
{
    struct line l = line_of(2);

    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(coil_channel_send(&l.tx, NULL), -EINVAL);
    CHECK_EQ(coil_channel_send_nowait(&l.tx, NULL), -EINVAL);
    CHECK_EQ(coil_channel_receive(&l.rx, NULL), -EINVAL);
    CHECK_EQ(coil_channel_receive_nowait(&l.rx, NULL), -EINVAL);
    CHECK_EQ(line_stats(&l.tx).used, 1);
    line_close(&l);
}

COIL_TEST(channel, a_clone_over_its_original_is_einval)
{
    struct line l = line_of(1);

    CHECK_EQ(coil_sender_clone(&l.tx, &l.tx), -EINVAL);
    CHECK_EQ(coil_receiver_clone(&l.rx, &l.rx), -EINVAL);
    CHECK_EQ(line_stats(&l.tx).senders, 1);
    CHECK_EQ(line_stats(&l.tx).receivers, 1);
    line_close(&l);
}

static void send_outside(void)
{
    struct line l = line_of(1);
    int item = 1;

    CHECK_EQ(coil_channel_send(&l.tx, &item), 0);
}

static void receive_outside(void)
{
    struct line l = line_of(1);
    int item;

    CHECK_EQ(coil_channel_receive(&l.rx, &item), 1);
}

Test(channel, waiting_outside_of_a_task_aborts_with_a_line)
{
    CHECK(strstr(harness_abort_line(send_outside), "coil_channel_send outside of any task"));
    CHECK(strstr(harness_abort_line(receive_outside), "coil_channel_receive outside of any task"));
}

/* --- Without a loop -------------------------------------------------------------------------- */

static int receive_two(void *arg)
{
    struct line *l = arg;
    int item;

    CHECK_EQ(coil_channel_receive(&l->rx, &item), 1);
    CHECK_EQ(item, 1);
    CHECK_EQ(coil_channel_receive(&l->rx, &item), 1);
    CHECK_EQ(item, 2);
    return send_now(&l->tx, 3);
}

Test(channel, s5_a_channel_is_usable_before_a_loop_and_after)
{
    struct coil_loop_options options = harness_options();
    struct line l = line_of(COIL_UNLIMITED);

    harness_need_backend();
    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(send_now(&l.tx, 2), 0);
    CHECK_EQ(coil_run(&options, receive_two, &l), 0);
    CHECK_EQ(receive_now(&l.rx), 3);
    line_close(&l);
}

/* --- Memory ---------------------------------------------------------------------------------- */

static void open_without_memory(void)
{
    struct coil_channel_options options = {.item_size = 8, .capacity = 4};
    int held = supply.held;
    struct line l;

    memset(&l, 0, sizeof(l));
    supply.left = 0;
    CHECK_EQ(coil_channel_open(&l.tx, &l.rx, &options), -ENOMEM);
    CHECK_EQ(send_now(&l.tx, 1), -EBADF);
    CHECK_EQ(supply.held, held);
    supply.left = INT32_MAX;
    CHECK_EQ(coil_channel_open(&l.tx, &l.rx, &options), 0);
    CHECK_EQ(supply.held, held + 1);
    line_close(&l);
    CHECK_EQ(supply.held, held);
}

Test(channel, without_memory_there_is_no_channel_and_no_leak)
{
    supply_run(open_without_memory);
    CHECK_EQ(supply.held, 0);
}

/* Sends until memory fails, and then some, with so many allocations granted. */
static void fill_with(int grants)
{
    struct line l = line_of(COIL_UNLIMITED);
    int in = 0;
    int out = 0;
    int item = -1;

    CHECK_EQ(send_now(&l.tx, in++), 0);
    CHECK_EQ(receive_now(&l.rx), out++); /* the oldest is not in the first slot */
    supply.left = grants;
    while (send_now(&l.tx, in) == 0)
        in++;
    CHECK_EQ(coil_channel_send(&l.tx, &item), -ENOMEM);
    CHECK_EQ(line_stats(&l.tx).used, in - out);
    CHECK_EQ(receive_now(&l.rx), out++);
    CHECK_EQ(send_now(&l.tx, in++), 0); /* there is room again */
    supply.left = INT32_MAX;
    CHECK_EQ(send_now(&l.tx, in++), 0);
    while (out < in)
        CHECK_EQ(receive_now(&l.rx), out++);
    line_close(&l);
}

static void fill_with_each(void)
{
    for (int grants = 0; grants < 6; grants++)
        fill_with(grants);
}

Test(channel, an_unlimited_channel_that_cannot_grow_loses_nothing)
{
    supply_run(fill_with_each);
    CHECK_EQ(supply.held, 0);
}

static void burst(void)
{
    struct coil_channel_options options = {.item_size = 1024, .capacity = COIL_UNLIMITED};
    char item[1024] = {0};
    int held = supply.held;
    struct line l;

    CHECK_EQ(coil_channel_open(&l.tx, &l.rx, &options), 0);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coil_channel_send_nowait(&l.tx, item), 0);
    CHECK_EQ(supply.held, held + 2);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coil_channel_receive_nowait(&l.rx, item), 1);
    CHECK_EQ(supply.held, held + 1);
    CHECK_EQ(coil_channel_send_nowait(&l.tx, item), 0);
    CHECK_EQ(coil_channel_receive_nowait(&l.rx, item), 1);
    line_close(&l);
    CHECK_EQ(supply.held, held);
}

Test(channel, what_a_burst_has_needed_is_given_back_when_it_is_over)
{
    supply_run(burst);
    CHECK_EQ(supply.held, 0);
}

static struct line left_behind;

static int leave_one_behind(void *arg)
{
    (void)arg;
    left_behind = line_of(COIL_UNLIMITED);
    return send_now(&left_behind.tx, 1);
}

Test(channel, a_channel_that_outlives_its_loop_gives_its_memory_back_to_where_it_came_from)
{
    struct coil_loop_options options = {.allocate = supply_allocate, .allocate_ctx = &supply};

    harness_not_on_sim("it has the loop's memory, and counts it");
    harness_need_backend();
    supply = (struct supply){.left = INT32_MAX};
    CHECK_EQ(coil_run(&options, leave_one_behind, NULL), 0);
    CHECK_EQ(supply.held, 2);
    CHECK_EQ(receive_now(&left_behind.rx), 1);
    line_close(&left_behind);
    CHECK_EQ(supply.held, 0);
}
