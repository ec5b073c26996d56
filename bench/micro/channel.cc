/* channel.cc - what does it cost to send a value to another task and have one back? And to wait for
 * the first of eight? */

#include "bench.h"

namespace
{

struct channel {
    struct coil_sender tx;
    struct coil_receiver rx;

    explicit channel(int64_t capacity)
    {
        struct coil_channel_options options = {sizeof(uint64_t), capacity, NULL, NULL};

        CHECK(coil_channel_open(&tx, &rx, &options) == 0);
    }
    ~channel()
    {
        coil_sender_close(&tx);
        coil_receiver_close(&rx);
    }
};

struct table {
    struct channel there;
    struct channel back;
};

/* The other player: what comes goes back, and one more. */
int return_balls(void *arg)
{
    struct table *table = static_cast<struct table *>(arg);
    uint64_t ball;
    int rc;

    while ((rc = coil_channel_receive(&table->there.rx, &ball)) > 0) {
        ball++;
        CHECK(coil_channel_send(&table->back.tx, &ball) == 0);
    }
    return rc;
}

void play(benchmark::State &state, int64_t capacity)
{
    struct table table = {channel(capacity), channel(capacity)};
    struct coil_group g;
    uint64_t ball = 0, count = 0;

    coil_group_begin(&g);
    CHECK(coil_group_spawn(&g, return_balls, &table) == 0);
    bench_allocations counted(state);

    for (auto _ : state) {
        CHECK(coil_channel_send(&table.there.tx, &ball) == 0);
        CHECK(coil_channel_receive(&table.back.rx, &ball) == 1);
        count++;
    }
    CHECK(ball == count);
    coil_sender_close(&table.there.tx);
    CHECK(coil_group_end(&g, 0) == 0);
}

void channel_round_trip(benchmark::State &state)
{
    play(state, 0);
}

void channel_round_trip_buffered(benchmark::State &state)
{
    play(state, 1);
}

/* Into the queue and out of it again, without anybody waiting. */
void channel_send_receive(benchmark::State &state)
{
    struct channel c(16);
    uint64_t item = 0, count = 0;

    bench_allocations counted(state);

    for (auto _ : state) {
        item++;
        CHECK(coil_channel_send(&c.tx, &item) == 0);
        CHECK(coil_channel_receive(&c.rx, &item) == 1);
        count++;
    }
    CHECK(item == count);
}

enum { CHOICES = 8 };

/* Eight channels with something in them: the first of them is taken from. */
void select_of_8_ready(benchmark::State &state)
{
    channel channels[CHOICES] = {channel(1), channel(1), channel(1), channel(1),
                                 channel(1), channel(1), channel(1), channel(1)};
    uint64_t items[CHOICES] = {}, count = 0;

    for (channel &c : channels)
        CHECK(coil_channel_send(&c.tx, &count) == 0);
    bench_allocations counted(state);

    for (auto _ : state) {
        struct coil_case cases[CHOICES];

        for (int i = 0; i < CHOICES; i++)
            cases[i] = COIL_CASE_RECEIVE(&channels[i].rx, &items[i]);
        CHECK(coil_select(cases, CHOICES) == 0 && cases[0].result == 1);
        CHECK(items[0] == count);
        count++;
        CHECK(coil_channel_send_nowait(&channels[0].tx, &count) == 0);
    }
}

/* The same, and it is the last of them that has something. */
void select_last_of_8(benchmark::State &state)
{
    channel channels[CHOICES] = {channel(1), channel(1), channel(1), channel(1),
                                 channel(1), channel(1), channel(1), channel(1)};
    uint64_t items[CHOICES] = {}, count = 0;
    struct coil_case cases[CHOICES];

    for (int i = 0; i < CHOICES; i++)
        cases[i] = COIL_CASE_RECEIVE(&channels[i].rx, &items[i]);
    bench_allocations counted(state);

    for (auto _ : state) {
        count++;
        CHECK(coil_channel_send_nowait(&channels[CHOICES - 1].tx, &count) == 0);
        CHECK(coil_select(cases, CHOICES) == CHOICES - 1);
        CHECK(items[CHOICES - 1] == count);
    }
}

struct choice {
    channel *channels;
    struct coil_sender *back;
};

/* Waits on all eight each time, and answers. */
int answer_choices(void *arg)
{
    struct choice *choice = static_cast<struct choice *>(arg);
    struct coil_case cases[CHOICES];
    uint64_t item = 0;
    int i;

    for (int k = 0; k < CHOICES; k++)
        cases[k] = COIL_CASE_RECEIVE(&choice->channels[k].rx, &item);
    while ((i = coil_select(cases, CHOICES)) >= 0 && cases[i].result == 1) {
        item++;
        CHECK(coil_channel_send(choice->back, &item) == 0);
    }
    return i < 0 ? i : cases[i].result;
}

void select_round_trip(benchmark::State &state)
{
    channel channels[CHOICES] = {channel(0), channel(0), channel(0), channel(0),
                                 channel(0), channel(0), channel(0), channel(0)};
    channel back(0);
    struct choice choice = {channels, &back.tx};
    struct coil_group g;
    uint64_t item = 0, count = 0;

    coil_group_begin(&g);
    CHECK(coil_group_spawn(&g, answer_choices, &choice) == 0);
    bench_allocations counted(state);

    for (auto _ : state) {
        CHECK(coil_channel_send(&channels[count % CHOICES].tx, &item) == 0);
        CHECK(coil_channel_receive(&back.rx, &item) == 1);
        count++;
    }
    CHECK(item == count);
    coil_sender_close(&channels[0].tx);
    CHECK(coil_group_end(&g, 0) == 0);
}

const bool registered =
    bench_register("channel_round_trip", channel_round_trip) &&
    bench_register("channel_round_trip_buffered", channel_round_trip_buffered) &&
    bench_register("channel_send_receive", channel_send_receive) &&
    bench_register("select_of_8_ready", select_of_8_ready) &&
    bench_register("select_last_of_8", select_last_of_8) &&
    bench_register("select_round_trip", select_round_trip);

} // namespace
