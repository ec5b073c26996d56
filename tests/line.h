/* line.h - a channel of ints with one handle on each side. */
#ifndef TESTS_LINE_H
#define TESTS_LINE_H

#include "harness.h"

struct line {
    struct coil_sender tx;
    struct coil_receiver rx;
};

static inline struct line line_of(int64_t capacity)
{
    struct coil_channel_options options = {.item_size = sizeof(int), .capacity = capacity};
    struct line l;

    CHECK_EQ(coil_channel_open(&l.tx, &l.rx, &options), 0);
    return l;
}

static inline void line_close(struct line *l)
{
    coil_sender_close(&l->tx);
    coil_receiver_close(&l->rx);
}

static inline int send_now(struct coil_sender *tx, int item)
{
    return coil_channel_send_nowait(tx, &item);
}

/* The next item; what became of it if there is none. */
static inline int receive_now(struct coil_receiver *rx)
{
    int item = -1;
    int r = coil_channel_receive_nowait(rx, &item);

    CHECK_EQ(item == -1, r != 1);
    return r == 1 ? item : r;
}

static inline struct coil_channel_stats line_stats(const struct coil_sender *tx)
{
    struct coil_channel_stats stats;

    CHECK_EQ(coil_sender_stats(tx, &stats), 0);
    return stats;
}

#endif
