/* channel.cc - what does it cost to send a value to another task and have one back? */

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

    for (auto _ : state) {
        item++;
        CHECK(coil_channel_send(&c.tx, &item) == 0);
        CHECK(coil_channel_receive(&c.rx, &item) == 1);
        count++;
    }
    CHECK(item == count);
}

const bool registered =
    bench_register("channel_round_trip", channel_round_trip) &&
    bench_register("channel_round_trip_buffered", channel_round_trip_buffered) &&
    bench_register("channel_send_receive", channel_send_receive);

} // namespace
