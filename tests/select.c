/* select.c - semantics.md 5.9: waiting for the first of several. */
#include "inside.h"

#include <stdlib.h>

#include "line.h"
#include "parker.h"
#include "supply.h"

/* A select in a task of its own. */
struct chooser {
    struct coil_case *cases;
    size_t count;
    int index;
    int next; /* what the checkpoint after it said */
    bool over;
    struct coil_handle handle;
};

static int choose(void *arg)
{
    struct chooser *c = arg;

    c->index = coil_select(c->cases, c->count);
    c->over = true;
    c->next = coil_checkpoint();
    return 0;
}

/* Gives way until nobody else is ready. */
static void settle(void)
{
    struct coil_stats stats;

    do {
        coil_yield_shielded();
        CHECK_EQ(coil_loop_stats(&stats), 0);
    } while (stats.ready);
}

/* Returns when it waits. */
static void spawn_chooser(struct coil_group *g, struct chooser *c)
{
    struct coil_spawn_options options = {.handle = &c->handle};

    CHECK_EQ(coil_group_spawn_with(g, choose, c, &options), 0);
    settle();
    CHECK_EQ(c->over, false);
}

static void check_nobody_waits(const struct line *lines, int count)
{
    for (int i = 0; i < count; i++) {
        CHECK_EQ(line_stats(&lines[i].tx).waiting_receivers, 0);
        CHECK_EQ(line_stats(&lines[i].tx).waiting_senders, 0);
    }
}

static void open_lines(struct line *lines, int count, int64_t capacity)
{
    for (int i = 0; i < count; i++)
        lines[i] = line_of(capacity);
}

static void close_lines(struct line *lines, int count)
{
    for (int i = 0; i < count; i++)
        line_close(&lines[i]);
}

/* --- Without waiting ------------------------------------------------------------------------- */

COIL_TEST(select, s5_9_of_several_that_are_ready_the_first_in_the_array_happens)
{
    struct line lines[4];
    int items[4] = {-1, -1, -1, -1};
    struct coil_case cases[4];

    open_lines(lines, 4, 4);
    for (int i = 0; i < 4; i++)
        cases[i] = COIL_CASE_RECEIVE(&lines[i].rx, &items[i]);
    for (int i = 1; i < 4; i++)
        for (int k = 0; k < 3; k++)
            CHECK_EQ(send_now(&lines[i].tx, 10 * i + k), 0);
    for (int i = 1; i < 4; i++) {
        for (int k = 0; k < 3; k++) {
            CHECK_EQ(coil_select(cases, 4), i);
            CHECK_EQ(cases[i].result, 1);
            CHECK_EQ(items[i], 10 * i + k);
        }
    }
    CHECK_EQ(items[0], -1);
    CHECK_EQ(coil_select_nowait(cases, 4), -EAGAIN);
    close_lines(lines, 4);
}

COIL_TEST(select, s5_9_the_cases_that_did_not_happen_are_as_they_were)
{
    struct line lines[3];
    int items[3] = {-1, -1, 7};
    struct coil_case cases[3];

    open_lines(lines, 3, 1);
    CHECK_EQ(send_now(&lines[0].tx, 1), 0);
    CHECK_EQ(send_now(&lines[1].tx, 2), 0);
    cases[0] = COIL_CASE_RECEIVE(&lines[0].rx, &items[0]);
    cases[1] = COIL_CASE_RECEIVE(&lines[1].rx, &items[1]);
    cases[2] = COIL_CASE_SEND(&lines[2].tx, &items[2]);
    cases[1].result = cases[2].result = 99;
    CHECK_EQ(coil_select(cases, 3), 0);
    CHECK_EQ(cases[1].result, 99);
    CHECK_EQ(cases[2].result, 99);
    CHECK_EQ(items[1], -1);
    CHECK_EQ(receive_now(&lines[1].rx), 2);
    CHECK_EQ(receive_now(&lines[2].rx), -EAGAIN);
    check_nobody_waits(lines, 3);
    close_lines(lines, 3);
}

COIL_TEST(select, s5_9_a_case_says_what_its_call_would_have_said)
{
    struct line ended = line_of(1);
    struct line broken = line_of(1);
    struct line closed = line_of(1);
    struct coil_broadcast b;
    struct coil_broadcast_receiver lagging;
    int item = -1;

    struct coil_case c;

    coil_sender_close(&ended.tx);
    c = COIL_CASE_RECEIVE(&ended.rx, &item);
    CHECK_EQ(coil_select(&c, 1), 0);
    CHECK_EQ(c.result, 0);

    coil_receiver_close(&broken.rx);
    c = COIL_CASE_SEND(&broken.tx, &item);
    CHECK_EQ(coil_select(&c, 1), 0);
    CHECK_EQ(c.result, -EPIPE);

    line_close(&closed);
    c = COIL_CASE_RECEIVE(&closed.rx, &item);
    CHECK_EQ(coil_select(&c, 1), 0);
    CHECK_EQ(c.result, -EBADF);
    c = COIL_CASE_SEND(&closed.tx, &item);
    CHECK_EQ(coil_select(&c, 1), 0);
    CHECK_EQ(c.result, -EBADF);

    CHECK_EQ(coil_broadcast_open(&b, sizeof(int)), 0);
    CHECK_EQ(coil_broadcast_subscribe(&b, &lagging, 1), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(coil_broadcast_send(&b, &i), 0);
    c = COIL_CASE_BROADCAST(&lagging, &item);
    CHECK_EQ(coil_select(&c, 1), 0);
    CHECK_EQ(c.result, -EOVERFLOW);
    CHECK_EQ(item, -1);
    CHECK_EQ(coil_select(&c, 1), 0);
    CHECK_EQ(c.result, 1);
    CHECK_EQ(item, 2);

    coil_broadcast_receiver_close(&lagging);
    coil_broadcast_close(&b);
    line_close(&ended);
    line_close(&broken);
}

COIL_TEST(select, s5_9_nowait_waits_for_none_and_is_no_checkpoint)
{
    struct line l = line_of(1);
    struct coil_scope s;
    int item = -1;
    struct coil_case c = COIL_CASE_RECEIVE(&l.rx, &item);

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_select_nowait(&c, 1), -EAGAIN);
    CHECK_EQ(send_now(&l.tx, 3), 0);
    CHECK_EQ(coil_select_nowait(&c, 1), 0);
    CHECK_EQ(item, 3);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    line_close(&l);
}

/* --- Waiting --------------------------------------------------------------------------------- */

COIL_TEST(select, s5_9_the_first_to_happen_is_the_one_and_the_rest_leave_no_trace)
{
    for (int first = 0; first < 3; first++) {
        struct line lines[3];
        int items[3] = {-1, -1, -1};
        struct coil_case cases[3];
        struct chooser chooser = {.cases = cases, .count = 3};
        struct coil_group g;

        open_lines(lines, 3, 0);
        for (int i = 0; i < 3; i++)
            cases[i] = COIL_CASE_RECEIVE(&lines[i].rx, &items[i]);
        coil_group_begin(&g);
        spawn_chooser(&g, &chooser);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(line_stats(&lines[i].tx).waiting_receivers, 1);
        CHECK_EQ(send_now(&lines[first].tx, 7), 0);
        check_nobody_waits(lines, 3); /* though it has not run */
        for (int i = 0; i < 3; i++)
            CHECK_EQ(send_now(&lines[i].tx, 8), -EAGAIN);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(chooser.index, first);
        CHECK_EQ(cases[first].result, 1);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(items[i], i == first ? 7 : -1);
        close_lines(lines, 3);
    }
}

COIL_TEST(select, s5_9_a_send_happens_when_somebody_receives)
{
    struct line lines[2];
    int item = 5;
    int other = -1;
    struct coil_case cases[2];
    struct chooser chooser = {.cases = cases, .count = 2};
    struct coil_group g;

    open_lines(lines, 2, 1);
    CHECK_EQ(send_now(&lines[0].tx, 4), 0); /* full */
    cases[0] = COIL_CASE_SEND(&lines[0].tx, &item);
    cases[1] = COIL_CASE_RECEIVE(&lines[1].rx, &other);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(receive_now(&lines[0].rx), 4);
    CHECK_EQ(send_now(&lines[1].tx, 9), 0); /* nobody there any more: into the buffer */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 0);
    CHECK_EQ(cases[0].result, 0);
    CHECK_EQ(other, -1);
    CHECK_EQ(receive_now(&lines[0].rx), 5);
    CHECK_EQ(receive_now(&lines[1].rx), 9);
    close_lines(lines, 2);
}

COIL_TEST(select, s5_9_it_stands_in_each_queue_as_one_that_came_just_now)
{
    struct line l = line_of(0);
    struct line other = line_of(0);
    int items[3] = {-1, -1, -1};
    int unused = -1;
    struct coil_case before[] = {COIL_CASE_RECEIVE(&l.rx, &items[0])};
    struct coil_case between[] = {
        COIL_CASE_RECEIVE(&other.rx, &unused),
        COIL_CASE_RECEIVE(&l.rx, &items[1]),
    };
    struct coil_case after[] = {COIL_CASE_RECEIVE(&l.rx, &items[2])};
    struct chooser choosers[3] = {{before, 1}, {between, 2}, {after, 1}};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 3; i++)
        spawn_chooser(&g, &choosers[i]);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(send_now(&l.tx, i), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(items[i], i);
    CHECK_EQ(choosers[1].index, 1);
    line_close(&l);
    line_close(&other);
}

COIL_TEST(select, s5_9_the_same_channel_may_stand_there_twice)
{
    struct line l = line_of(0);
    int items[2] = {-1, -1};
    struct coil_case cases[] = {
        COIL_CASE_RECEIVE(&l.rx, &items[0]),
        COIL_CASE_RECEIVE(&l.rx, &items[1]),
    };
    struct chooser chooser = {.cases = cases, .count = 2};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(send_now(&l.tx, 2), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 0);
    CHECK_EQ(items[0], 1);
    CHECK_EQ(items[1], -1);
    line_close(&l);
}

COIL_TEST(select, s5_9_sending_and_receiving_on_one_channel_does_not_meet_itself)
{
    struct line l = line_of(0);
    int in[2] = {-1, -1};
    int out[2] = {10, 11};
    struct coil_case cases[2][2];
    struct chooser chooser = {.cases = cases[0], .count = 2};
    struct coil_group g;

    for (int i = 0; i < 2; i++) {
        cases[i][0] = COIL_CASE_SEND(&l.tx, &out[i]);
        cases[i][1] = COIL_CASE_RECEIVE(&l.rx, &in[i]);
    }
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(coil_select(cases[1], 2), 0); /* but two of the kind meet each other */
    CHECK_EQ(cases[1][0].result, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 1);
    CHECK_EQ(in[0], 11);
    CHECK_EQ(in[1], -1);
    check_nobody_waits(&l, 1);
    line_close(&l);
}

COIL_TEST(select, s5_9_closing_wakes_it_with_what_the_close_means_for_that_case)
{
    static const int results[] = {0, -EBADF, -EPIPE, -EBADF};

    for (int way = 0; way < 4; way++) {
        struct line lines[2];
        int items[2] = {-1, 3};
        struct coil_case cases[3];
        struct chooser chooser = {.cases = cases, .count = 3};
        struct coil_group g;

        open_lines(lines, 2, 0);
        cases[0] = COIL_CASE_RECEIVE(&lines[0].rx, &items[0]);
        cases[1] = COIL_CASE_SEND(&lines[1].tx, &items[1]);
        cases[2] = cases[way < 2 ? 0 : 1]; /* twice the same handle: woken once */
        coil_group_begin(&g);
        spawn_chooser(&g, &chooser);
        if (way == 0)
            coil_sender_close(&lines[0].tx);
        else if (way == 1)
            coil_receiver_close(&lines[0].rx);
        else if (way == 2)
            coil_receiver_close(&lines[1].rx);
        else
            coil_sender_close(&lines[1].tx);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(chooser.index, way < 2 ? 0 : 1);
        CHECK_EQ(cases[way < 2 ? 0 : 1].result, results[way]);
        close_lines(lines, 2);
    }
}

COIL_TEST(select, d5_closing_one_handle_leaves_others_on_the_same_channel_waiting)
{
    struct line l = line_of(0);
    struct coil_receiver clone;
    int items[4] = {-1, -1, -1, -1};
    struct coil_case both[2];
    struct coil_case mine[2];
    struct chooser choosers[2] = {{both, 2}, {mine, 2}};
    struct coil_group g;

    CHECK_EQ(coil_receiver_clone(&l.rx, &clone), 0);
    both[0] = COIL_CASE_RECEIVE(&clone, &items[0]);
    both[1] = COIL_CASE_RECEIVE(&l.rx, &items[1]);
    mine[0] = COIL_CASE_RECEIVE(&l.rx, &items[2]);
    mine[1] = COIL_CASE_RECEIVE(&l.rx, &items[3]);
    coil_group_begin(&g);
    spawn_chooser(&g, &choosers[0]);
    spawn_chooser(&g, &choosers[1]);
    coil_receiver_close(&clone);
    settle();
    CHECK_EQ(choosers[0].index, 0);
    CHECK_EQ(both[0].result, -EBADF);
    CHECK_EQ(choosers[1].over, false);
    CHECK_EQ(send_now(&l.tx, 6), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(items[2], 6);
    line_close(&l);
}

COIL_TEST(select, s5_9_broadcast_and_latest_are_received_as_well)
{
    for (int way = 0; way < 2; way++) {
        struct coil_broadcast b;
        struct coil_broadcast_receiver heard[2];
        struct coil_latest l;
        struct coil_latest_receiver seen;
        int items[3] = {-1, -1, -1};
        int item = 4;
        struct coil_case cases[3];
        struct chooser chooser = {.cases = cases, .count = 3};
        struct coil_group g;

        CHECK_EQ(coil_broadcast_open(&b, sizeof(int)), 0);
        CHECK_EQ(coil_latest_open(&l, sizeof(int)), 0);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(coil_broadcast_subscribe(&b, &heard[i], 1), 0);
        CHECK_EQ(coil_latest_subscribe(&l, &seen), 0);
        cases[0] = COIL_CASE_BROADCAST(&heard[0], &items[0]);
        cases[1] = COIL_CASE_LATEST(&seen, &items[1]);
        cases[2] = COIL_CASE_BROADCAST(&heard[1], &items[2]);
        coil_group_begin(&g);
        spawn_chooser(&g, &chooser);
        if (way == 0)
            CHECK_EQ(coil_broadcast_send(&b, &item), 0);
        else
            CHECK_EQ(coil_latest_send(&l, &item), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(chooser.index, way);
        CHECK_EQ(items[way], 4);
        CHECK_EQ(items[2], -1);
        CHECK_EQ(coil_select_nowait(cases, 2), -EAGAIN);
        CHECK_EQ(coil_select_nowait(&cases[2], 1), way == 0 ? 0 : -EAGAIN); /* it was for both */
        for (int i = 0; i < 2; i++)
            coil_broadcast_receiver_close(&heard[i]);
        coil_latest_receiver_close(&seen);
        coil_broadcast_close(&b);
        coil_latest_close(&l);
    }
}

/* An event, a watch and a future, in this order. */
struct others {
    struct coil_event event;
    struct coil_watch watch;
    struct coil_future future;
    uint64_t seen;
    void *value;
    struct coil_case cases[3];
};

static void others_begin(struct others *o)
{
    memset(o, 0, sizeof(*o));
    o->cases[0] = COIL_CASE_EVENT(&o->event);
    o->cases[1] = COIL_CASE_WATCH(&o->watch, &o->seen);
    o->cases[2] = COIL_CASE_FUTURE(&o->future, &o->value);
}

static void others_fire(struct others *o, int which)
{
    if (which == 0)
        coil_event_set(&o->event);
    else if (which == 1)
        coil_watch_notify(&o->watch);
    else
        CHECK_EQ(coil_future_set(&o->future, -EAGAIN, o), 0); /* a code like any other */
}

static void others_check(const struct others *o, int fired)
{
    static const int results[] = {0, 0, -EAGAIN};

    CHECK_EQ(o->cases[fired].result, results[fired]);
    CHECK_EQ(o->seen, fired == 1);
    CHECK_EQ(o->value == o, fired == 2);
    CHECK_EQ(o->value == NULL, fired != 2);
}

static size_t others_waiting(const struct others *o)
{
    struct coil_event_stats event;
    struct coil_watch_stats watch;
    struct coil_future_stats future;

    coil_event_stats(&o->event, &event);
    coil_watch_stats(&o->watch, &watch);
    coil_future_stats(&o->future, &future);
    return event.waiting + watch.waiting + future.waiting;
}

COIL_TEST(select, s5_9_an_event_a_watch_and_a_future_are_ready_when_they_are)
{
    for (int which = 0; which < 3; which++) {
        struct others o;

        others_begin(&o);
        CHECK_EQ(coil_select_nowait(o.cases, 3), -EAGAIN);
        others_fire(&o, which);
        CHECK_EQ(coil_select(o.cases, 3), which);
        others_check(&o, which);
        CHECK_EQ(coil_select_nowait(o.cases, 3), which == 1 ? -EAGAIN : which);
    }
}

COIL_TEST(select, s5_9_an_event_a_watch_and_a_future_wake_it)
{
    for (int which = 0; which < 3; which++) {
        struct others o;
        struct chooser chooser = {.cases = o.cases, .count = 3};
        struct coil_group g;

        others_begin(&o);
        coil_group_begin(&g);
        spawn_chooser(&g, &chooser);
        CHECK_EQ(others_waiting(&o), 3);
        others_fire(&o, which);
        CHECK_EQ(others_waiting(&o), 0);
        for (int late = 0; late < 3; late++)
            if (late != which)
                others_fire(&o, late); /* it has gone by then */
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(chooser.index, which);
        others_check(&o, which);
    }
}

COIL_TEST(select, s5_9_cancelled_it_has_left_an_event_a_watch_and_a_future)
{
    struct others o;
    struct chooser chooser = {.cases = o.cases, .count = 3};
    struct coil_group g;

    others_begin(&o);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    coil_task_cancel(&chooser.handle, NULL);
    CHECK_EQ(others_waiting(&o), 0);
    for (int which = 0; which < 3; which++)
        others_fire(&o, which);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, -ECANCELED);
    CHECK_EQ(o.seen, 0);
    CHECK(!o.value);
}

COIL_TEST(select, s5_9_the_value_of_a_future_need_not_be_wanted)
{
    struct coil_future f = COIL_FUTURE_INIT;
    struct coil_case c = COIL_CASE_FUTURE(&f, NULL);
    struct chooser chooser = {.cases = &c, .count = 1};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(coil_future_set(&f, 7, &c), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 7);
    c.result = 0;
    CHECK_EQ(coil_select(&c, 1), 0);
    CHECK_EQ(c.result, 7);
}

COIL_TEST(select, s5_9_as_many_cases_as_it_may_have)
{
    struct line lines[COIL_SELECT_MOST];
    struct coil_case cases[COIL_SELECT_MOST];
    int item = -1;
    struct chooser chooser = {.cases = cases, .count = COIL_SELECT_MOST};
    struct coil_group g;

    open_lines(lines, COIL_SELECT_MOST, 0);
    for (int i = 0; i < COIL_SELECT_MOST; i++)
        cases[i] = COIL_CASE_RECEIVE(&lines[i].rx, &item);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(send_now(&lines[COIL_SELECT_MOST - 1].tx, 1), 0);
    check_nobody_waits(lines, COIL_SELECT_MOST);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, COIL_SELECT_MOST - 1);
    close_lines(lines, COIL_SELECT_MOST);
}

/* --- Cancellation ---------------------------------------------------------------------------- */

COIL_TEST(select, s5_9_in_a_cancelled_task_no_case_happens)
{
    struct line lines[2];
    int items[2] = {-1, 1};
    struct coil_case cases[2];
    struct coil_scope s;

    open_lines(lines, 2, 1);
    CHECK_EQ(send_now(&lines[0].tx, 5), 0);
    cases[0] = COIL_CASE_RECEIVE(&lines[0].rx, &items[0]);
    cases[1] = COIL_CASE_SEND(&lines[1].tx, &items[1]);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_select(cases, 2), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(items[0], -1);
    CHECK_EQ(receive_now(&lines[0].rx), 5);
    CHECK_EQ(receive_now(&lines[1].rx), -EAGAIN);
    close_lines(lines, 2);
}

COIL_TEST(select, s5_9_cancelled_while_it_waits_it_leaves_every_queue_at_once)
{
    struct line lines[3];
    int items[3] = {-1, -1, 1};
    struct coil_case cases[3];
    struct chooser chooser = {.cases = cases, .count = 3};
    struct coil_group g;

    open_lines(lines, 3, 0);
    cases[0] = COIL_CASE_RECEIVE(&lines[0].rx, &items[0]);
    cases[1] = COIL_CASE_RECEIVE(&lines[1].rx, &items[1]);
    cases[2] = COIL_CASE_SEND(&lines[2].tx, &items[2]);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    coil_task_cancel(&chooser.handle, NULL);
    check_nobody_waits(lines, 3);
    CHECK_EQ(send_now(&lines[0].tx, 1), -EAGAIN); /* cancel first, then hand-over: passed over */
    CHECK_EQ(receive_now(&lines[2].rx), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, -ECANCELED);
    close_lines(lines, 3);
}

COIL_TEST(select, s4_4_what_happened_before_the_cancel_has_happened)
{
    struct line lines[2];
    int items[2] = {-1, -1};
    struct coil_case cases[2];
    struct chooser chooser = {.cases = cases, .count = 2};
    struct coil_group g;

    open_lines(lines, 2, 0);
    for (int i = 0; i < 2; i++)
        cases[i] = COIL_CASE_RECEIVE(&lines[i].rx, &items[i]);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(send_now(&lines[1].tx, 3), 0);
    coil_task_cancel(&chooser.handle, NULL);
    close_lines(lines, 2); /* and whatever else happens before it runs */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 1);
    CHECK_EQ(cases[1].result, 1);
    CHECK_EQ(items[1], 3);
    CHECK_EQ(chooser.next, -ECANCELED);
}

COIL_TEST(select, s4_1_a_select_that_never_waits_still_gives_way)
{
    struct line l = line_of(1);
    int item = 0;
    bool other_ran = false;
    struct coil_case cases[] = {COIL_CASE_SEND(&l.tx, &item), COIL_CASE_RECEIVE(&l.rx, &item)};
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, parker_run, &p), 0);
    for (int i = 0; i < 1000 && !other_ran; i++) {
        CHECK_EQ(coil_select(cases, 2), i & 1);
        other_ran = p.task;
    }
    CHECK(other_ran);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    line_close(&l);
}

/* --- Descriptors ----------------------------------------------------------------------------- */

COIL_TEST(select, s5_9_a_descriptor_that_is_ready_has_the_place_it_has_in_the_array)
{
    struct line l = line_of(1);
    int item = -1;
    int ends[2];
    struct coil_case cases[3];

    wire_open(WIRE_UNIX, ends);
    cases[0] = COIL_CASE_READABLE(ends[0]);
    cases[1] = COIL_CASE_RECEIVE(&l.rx, &item);
    cases[2] = COIL_CASE_WRITABLE(ends[0]);
    CHECK_EQ(coil_select(cases, 3), 2);
    CHECK_EQ(cases[2].result, 0);
    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(coil_select(cases, 3), 1);
    CHECK_EQ(send_now(&l.tx, 2), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coil_select(cases, 3), 0); /* it takes nothing, so it stays */
        CHECK_EQ(cases[0].result, 0);
    }
    CHECK_EQ(wire_drain(ends[0]), 1);
    CHECK_EQ(coil_select(cases, 3), 1);
    wire_close(ends);
    line_close(&l);
}

COIL_TEST(select, s5_9_a_descriptor_that_becomes_ready_wakes_it)
{
    for (enum wire wire = 0; wire < WIRE_COUNT; wire++) {
        struct line l = line_of(0);
        int item = -1;
        int ends[2];
        struct coil_case cases[2];
        struct chooser chooser = {.cases = cases, .count = 2};
        struct coil_group g;

        wire_open(wire, ends);
        cases[0] = COIL_CASE_RECEIVE(&l.rx, &item);
        cases[1] = COIL_CASE_READABLE(ends[0]);
        coil_group_begin(&g);
        spawn_chooser(&g, &chooser);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(chooser.index, 1);
        CHECK_EQ(cases[1].result, 0);
        check_nobody_waits(&l, 1);
        CHECK_EQ(wire_drain(ends[0]), 1);
        wire_close(ends);
        line_close(&l);
    }
}

COIL_TEST(select, s5_9_a_descriptor_that_gets_room_or_a_hang_up_wakes_it)
{
    int ends[2];
    struct coil_case cases[2];
    struct chooser chooser = {.cases = cases, .count = 2};
    struct coil_group g;

    wire_open(WIRE_UNIX, ends);
    CHECK(wire_fill(ends[0]) > 0);
    cases[0] = COIL_CASE_READABLE(ends[0]); /* both sides of one descriptor */
    cases[1] = COIL_CASE_WRITABLE(ends[0]);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK(wire_drain(ends[1]) > 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 1);

    chooser = (struct chooser){.cases = cases, .count = 1};
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(close(ends[1]), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 0);
    CHECK_EQ(cases[0].result, 0);
    CHECK_EQ(coil_close(ends[0]), 0);
}

COIL_TEST(select, s5_9_when_a_channel_was_first_the_descriptors_are_free_again)
{
    struct line l = line_of(0);
    int item = -1;
    int wires[4][2];
    struct coil_case cases[5];
    struct coil_stats stats;
    char byte;

    for (int i = 0; i < 4; i++) {
        wire_open(WIRE_UNIX, wires[i]);
        cases[i] = COIL_CASE_READABLE(wires[i][0]);
    }
    cases[4] = COIL_CASE_RECEIVE(&l.rx, &item);
    for (int round = 0; round < 3; round++) {
        struct chooser chooser = {.cases = cases, .count = 5};
        struct coil_group g;

        coil_group_begin(&g);
        spawn_chooser(&g, &chooser);
        if (round)
            inside_look(); /* the kernel has them */
        CHECK_EQ(send_now(&l.tx, round), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(chooser.index, 4);
        CHECK_EQ(item, round);
        CHECK_EQ(coil_loop_stats(&stats), 0);
        CHECK_EQ(stats.operations, 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(write(wires[i][1], "y", 1), 1);
        CHECK_EQ(coil_read(wires[i][0], &byte, 1), 1); /* no -EBUSY left behind */
        wire_close(wires[i]);
    }
    line_close(&l);
}

COIL_TEST(select, s5_9_an_item_handed_over_wins_over_a_descriptor_that_is_ready_later_that_turn)
{
    struct line l = line_of(0);
    int item = -1;
    int ends[2];
    struct coil_case cases[2];
    struct chooser chooser = {.cases = cases, .count = 2};
    struct coil_group g;

    wire_open(WIRE_UNIX, ends);
    cases[0] = COIL_CASE_READABLE(ends[0]);
    cases[1] = COIL_CASE_RECEIVE(&l.rx, &item);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    inside_look();
    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    inside_look(); /* both have happened, and it has not run */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 1);
    CHECK_EQ(item, 1);
    CHECK_EQ(wire_drain(ends[0]), 1);
    wire_close(ends);
    line_close(&l);
}

COIL_TEST(select, s5_9_once_a_descriptor_was_ready_no_item_is_taken)
{
    struct line l = line_of(0);
    int item = -1;
    int ends[2];
    struct coil_case cases[2];
    struct chooser chooser = {.cases = cases, .count = 2};
    struct coil_group g;

    wire_open(WIRE_UNIX, ends);
    cases[0] = COIL_CASE_RECEIVE(&l.rx, &item);
    cases[1] = COIL_CASE_READABLE(ends[0]);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    inside_look();
    CHECK_EQ(write(ends[1], "x", 1), 1);
    inside_reap(1); /* it is ready, and has not run */
    CHECK_EQ(send_now(&l.tx, 1), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 1);
    CHECK_EQ(item, -1);
    CHECK_EQ(wire_drain(ends[0]), 1);
    wire_close(ends);
    line_close(&l);
}

COIL_TEST(select, s5_9_of_descriptors_ready_in_one_turn_it_is_the_first_in_the_array)
{
    int wires[3][2];
    struct coil_case cases[3];
    struct chooser chooser = {.cases = cases, .count = 3};
    struct coil_group g;

    for (int i = 0; i < 3; i++) {
        wire_open(WIRE_UNIX, wires[i]);
        cases[i] = COIL_CASE_READABLE(wires[i][0]);
    }
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    inside_look();
    CHECK_EQ(write(wires[2][1], "x", 1), 1);
    CHECK_EQ(write(wires[1][1], "x", 1), 1);
    inside_look();
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 1);
    for (int i = 0; i < 3; i++)
        wire_close(wires[i]);
}

COIL_TEST(select, s5_9_a_cancel_waits_for_the_descriptors_and_then_says_so)
{
    for (int way = 0; way < 3; way++) {
        int ends[2];
        struct coil_case c;
        struct chooser chooser = {.cases = &c, .count = 1};
        struct coil_group g;
        char byte;

        wire_open(WIRE_UNIX, ends);
        c = COIL_CASE_READABLE(ends[0]);
        coil_group_begin(&g);
        spawn_chooser(&g, &chooser);
        if (way)
            inside_look(); /* the kernel has it */
        coil_task_cancel(&chooser.handle, NULL);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        if (way == 2)
            inside_look(); /* cancel first, then ready: cancelled, and the byte is still there */
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(chooser.index, -ECANCELED);
        CHECK_EQ(coil_read(ends[0], &byte, 1), 1);
        wire_close(ends);
    }
}

COIL_TEST(select, s5_9_a_cancel_while_it_lets_go_of_its_descriptors_changes_nothing)
{
    struct line l = line_of(0);
    int item = -1;
    int ends[2];
    struct coil_case cases[2];
    struct chooser chooser = {.cases = cases, .count = 2};
    struct coil_group g;

    wire_open(WIRE_UNIX, ends);
    cases[0] = COIL_CASE_READABLE(ends[0]);
    cases[1] = COIL_CASE_RECEIVE(&l.rx, &item);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    inside_look();
    CHECK_EQ(send_now(&l.tx, 5), 0);
    while (!chooser.over) {
        coil_yield_shielded(); /* one step: where a cancel takes a while, it waits for that now */
        coil_task_cancel(&chooser.handle, NULL);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 1);
    CHECK_EQ(item, 5);
    CHECK_EQ(chooser.next, -ECANCELED);
    wire_close(ends);
    line_close(&l);
}

COIL_TEST(select, s4_4_a_descriptor_ready_before_the_cancel_is_ready)
{
    int ends[2];
    struct coil_case c;
    struct chooser chooser = {.cases = &c, .count = 1};
    struct coil_group g;

    wire_open(WIRE_UNIX, ends);
    c = COIL_CASE_READABLE(ends[0]);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    inside_look();
    CHECK_EQ(write(ends[1], "x", 1), 1);
    inside_reap(1);
    coil_task_cancel(&chooser.handle, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 0);
    CHECK_EQ(c.result, 0);
    CHECK_EQ(chooser.next, -ECANCELED);
    wire_close(ends);
}

COIL_TEST(select, s5_9_a_deadline_that_has_passed_comes_before_a_descriptor_that_is_ready)
{
    int ends[2];
    struct coil_scope s;
    struct coil_case c;

    wire_open(WIRE_UNIX, ends);
    c = COIL_CASE_WRITABLE(ends[0]);
    coil_scope_begin(&s, coil_now() - 1);
    CHECK_EQ(coil_select(&c, 1), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    wire_close(ends);
}

COIL_TEST(select, s5_9_coil_close_wakes_it_with_ebadf_and_waits_until_it_has_let_go)
{
    for (int kernel_has_it = 0; kernel_has_it < 2; kernel_has_it++) {
        struct line l = line_of(0);
        int item = -1;
        int ends[2];
        struct coil_case cases[3];
        struct chooser chooser = {.cases = cases, .count = 3};
        struct coil_group g;

        wire_open(WIRE_UNIX, ends);
        CHECK(wire_fill(ends[0]) > 0);
        cases[0] = COIL_CASE_RECEIVE(&l.rx, &item);
        cases[1] = COIL_CASE_READABLE(ends[0]);
        cases[2] = COIL_CASE_WRITABLE(ends[0]);
        coil_group_begin(&g);
        spawn_chooser(&g, &chooser);
        if (kernel_has_it)
            inside_look();
        CHECK_EQ(coil_close(ends[0]), 0);
        CHECK_EQ(chooser.over, true);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK(chooser.index == 1 || chooser.index == 2);
        CHECK_EQ(cases[chooser.index].result, -EBADF);
        check_nobody_waits(&l, 1);
        CHECK_EQ(close(ends[1]), 0);
        line_close(&l);
    }
}

static int close_it(void *arg)
{
    return coil_close(*(const int *)arg);
}

COIL_TEST(select, s5_9_a_close_after_another_case_has_happened_changes_nothing)
{
    struct line l = line_of(0);
    int item = -1;
    int ends[2];
    struct coil_case cases[2];
    struct chooser chooser = {.cases = cases, .count = 2};
    struct coil_group g;

    wire_open(WIRE_UNIX, ends);
    cases[0] = COIL_CASE_READABLE(ends[0]);
    cases[1] = COIL_CASE_RECEIVE(&l.rx, &item);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    inside_look();
    CHECK_EQ(send_now(&l.tx, 5), 0);
    CHECK_EQ(coil_group_spawn(&g, close_it, &ends[0]), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 1);
    CHECK_EQ(item, 5);
    CHECK_EQ(close(ends[1]), 0);
    line_close(&l);
}

COIL_TEST(select, trio_661_a_number_that_is_used_again_is_not_what_was_waited_for)
{
    int ends[2];
    int fresh[2];
    struct coil_case c;
    struct chooser chooser = {.cases = &c, .count = 1};
    struct coil_group g;

    wire_open(WIRE_UNIX, ends);
    c = COIL_CASE_READABLE(ends[0]);
    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(coil_close(ends[0]), 0);
    wire_open(WIRE_UNIX, fresh);
    CHECK_EQ(fresh[0], ends[0]);
    CHECK_EQ(write(fresh[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, -EBADF);
    CHECK_EQ(coil_select_nowait(&c, 1), 0);
    CHECK_EQ(c.result, 0);
    wire_close(fresh);
    CHECK_EQ(close(ends[1]), 0);
}

COIL_TEST(select, s5_9_a_side_that_another_task_uses_is_ebusy_both_ways)
{
    struct line l = line_of(1);
    int item = -1;
    int ends[2];
    char byte;
    struct coil_case cases[2];
    struct chooser chooser = {.cases = cases, .count = 2};
    struct caller reader = {.call = CALL_READ, .buf = &byte, .n = 1};
    struct coil_group g;

    wire_open(WIRE_UNIX, ends);
    reader.fd = ends[0];
    cases[0] = COIL_CASE_RECEIVE(&l.rx, &item);
    cases[1] = COIL_CASE_READABLE(ends[0]);
    coil_group_begin(&g);
    caller_start(&g, &reader);
    CHECK_EQ(coil_select(cases, 2), 1);
    CHECK_EQ(cases[1].result, -EBUSY);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(reader.result, 1);

    coil_group_begin(&g);
    spawn_chooser(&g, &chooser);
    CHECK_EQ(coil_read(ends[0], &byte, 1), -EBUSY);
    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(chooser.index, 0);
    wire_close(ends);
    line_close(&l);
}

COIL_TEST(select, s5_9_one_side_of_a_descriptor_twice_is_ebusy_for_the_second)
{
    struct line l = line_of(1);
    int item = -1;
    int ends[2];
    struct coil_case cases[3];

    wire_open(WIRE_UNIX, ends);
    cases[0] = COIL_CASE_RECEIVE(&l.rx, &item);
    cases[1] = COIL_CASE_READABLE(ends[0]);
    cases[2] = COIL_CASE_READABLE(ends[0]);
    CHECK_EQ(coil_select(cases, 3), 2);
    CHECK_EQ(cases[2].result, -EBUSY);
    check_nobody_waits(&l, 1);
    CHECK_EQ(send_now(&l.tx, 1), 0);
    CHECK_EQ(coil_select(cases, 3), 0);
    wire_close(ends);
    line_close(&l);
}

COIL_TEST(select, s5_9_a_descriptor_that_is_not_open_is_ready_with_ebadf)
{
    struct line l = line_of(1);
    int item = -1;
    int fds[] = {-1, 12345, INT32_MAX, INT32_MIN};

    for (int i = 0; i < 4; i++) {
        struct coil_case cases[] = {
            COIL_CASE_RECEIVE(&l.rx, &item),
            COIL_CASE_WRITABLE(fds[i]),
        };

        CHECK_EQ(coil_select(cases, 2), 1);
        CHECK_EQ(cases[1].result, -EBADF);
    }
    line_close(&l);
}

COIL_TEST(select, s5_9_a_file_is_always_ready)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct coil_case c = COIL_CASE_READABLE(fd);

    CHECK(fd >= 0);
    CHECK_EQ(coil_select(&c, 1), 0);
    CHECK_EQ(c.result, 0);
    CHECK_EQ(coil_close(fd), 0);
}

static void wait_without_memory(void)
{
    struct line l = line_of(1);
    int item = -1;
    int ends[2];
    int fd;
    struct coil_case cases[2];

    wire_open(WIRE_UNIX, ends);
    fd = fcntl(ends[0], F_DUPFD, 3 * DESCRIPTOR_CHUNK);
    CHECK(fd >= 0);
    cases[0] = COIL_CASE_RECEIVE(&l.rx, &item);
    cases[1] = COIL_CASE_WRITABLE(fd);
    supply.left = 0;
    CHECK_EQ(coil_select(cases, 2), 1);
    CHECK_EQ(cases[1].result, -ENOMEM);
    check_nobody_waits(&l, 1);
    supply.left = INT32_MAX;
    CHECK_EQ(coil_select(cases, 2), 1);
    CHECK_EQ(cases[1].result, 0);
    CHECK_EQ(coil_close(fd), 0);
    close(ends[0]);
    close(ends[1]);
    line_close(&l);
}

Test(select, a_descriptor_there_is_no_memory_for_is_ready_with_enomem)
{
    supply_run(wait_without_memory);
    CHECK_EQ(supply.held, 0);
}

/* Enough descriptors at once for a ring's table of slots to grow, which fails. */
static void submit_without_memory(void)
{
    enum { COUNT = 60, ROUNDS = 3 };
    int ends[COUNT][2];
    struct coil_case cases[ROUNDS][COUNT];
    struct chooser choosers[ROUNDS];
    struct coil_group g;

    for (int i = 0; i < COUNT; i++) {
        wire_open(WIRE_UNIX, ends[i]);
        CHECK(wire_fill(ends[i][0]) > 0);
        cases[0][i] = COIL_CASE_READABLE(ends[i][0]);
        cases[1][i] = COIL_CASE_WRITABLE(ends[i][0]);
    }
    coil_group_begin(&g);
    choosers[0] = (struct chooser){.cases = cases[0], .count = COUNT};
    spawn_chooser(&g, &choosers[0]);
    supply.left = 0;
    choosers[1] = (struct chooser){.cases = cases[1], .count = COUNT};
    CHECK_EQ(coil_group_spawn(&g, choose, &choosers[1]), 0);
    inside_look();
    settle();
    if (choosers[1].over) { /* a backend that needs memory for each */
        CHECK(choosers[1].index > 0);
        CHECK_EQ(cases[1][choosers[1].index].result, -ENOMEM);
    }
    supply.left = INT32_MAX;
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, coil_checkpoint()), 0);
    CHECK_EQ(choosers[0].index, -ECANCELED);
    for (int i = 0; i < COUNT; i++)
        wire_close(ends[i]);
}

Test(select, descriptors_that_cannot_be_waited_for_leave_nothing_under_way)
{
    supply_run(submit_without_memory);
    CHECK_EQ(supply.held, 0);
}

/* --- Bad input ------------------------------------------------------------------------------- */

COIL_TEST(select, a_select_over_nothing_is_einval)
{
    struct coil_case c = COIL_CASE_READABLE(0);

    CHECK_EQ(coil_select(&c, 0), -EINVAL);
    CHECK_EQ(coil_select(NULL, 0), -EINVAL);
    CHECK_EQ(coil_select(NULL, 1), -EINVAL);
    CHECK_EQ(coil_select_nowait(&c, 0), -EINVAL);
    CHECK_EQ(coil_select_nowait(NULL, 1), -EINVAL);
}

Test(select, s4_3_without_waiting_it_works_outside_of_a_loop)
{
    struct coil_event e = COIL_EVENT_INIT;
    struct coil_case cases[] = {COIL_CASE_EVENT(&e), COIL_CASE_READABLE(-1), COIL_CASE_EVENT(&e)};
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    cases[1].fd = ends[0];
    CHECK_EQ(coil_select_nowait(cases, 3), -EAGAIN);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(coil_select_nowait(cases, 3), 1);
    CHECK_EQ(cases[1].result, 0);
    CHECK_EQ(close(ends[0]), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(coil_select_nowait(cases, 3), 1);
        CHECK_EQ(cases[1].result, -EBADF);
        cases[1].fd = -1;
    }
    CHECK_EQ(close(ends[1]), 0);
    coil_event_set(&e);
    CHECK_EQ(coil_select_nowait(cases, 3), 0);
}

COIL_TEST(select, one_wrong_case_is_einval_and_nothing_happens)
{
    struct line l = line_of(1);
    int item = -1;
    struct coil_watch watch = COIL_WATCH_INIT;
    uint64_t seen = 0;
    struct coil_case right = COIL_CASE_RECEIVE(&l.rx, &item);
    struct coil_case wrong[] = {
        {.kind = 0, .on = &l.rx, .item = &item},
        {.kind = -1, .on = &l.rx, .item = &item},
        {.kind = 1000, .on = &l.rx, .item = &item},
        COIL_CASE_RECEIVE(NULL, &item),
        COIL_CASE_RECEIVE(&l.rx, NULL),
        COIL_CASE_SEND(NULL, &item),
        COIL_CASE_SEND(&l.tx, NULL),
        COIL_CASE_BROADCAST(NULL, &item),
        COIL_CASE_LATEST(NULL, &item),
        COIL_CASE_EVENT(NULL),
        COIL_CASE_WATCH(NULL, &seen),
        COIL_CASE_WATCH(&watch, NULL),
        COIL_CASE_FUTURE(NULL, NULL),
    };

    CHECK_EQ(send_now(&l.tx, 4), 0);
    for (size_t i = 0; i < count_of(wrong); i++) {
        struct coil_case cases[] = {right, wrong[i]};

        CHECK_EQ(coil_select(cases, 2), -EINVAL);
        CHECK_EQ(coil_select_nowait(cases, 2), -EINVAL);
    }
    CHECK_EQ(item, -1);
    CHECK_EQ(receive_now(&l.rx), 4);
    line_close(&l);
}

COIL_TEST(select, more_cases_than_it_may_have_is_einval)
{
    struct line l = line_of(1);
    struct coil_case cases[COIL_SELECT_MOST + 1];
    int item = -1;

    for (int i = 0; i <= COIL_SELECT_MOST; i++)
        cases[i] = COIL_CASE_RECEIVE(&l.rx, &item);
    CHECK_EQ(send_now(&l.tx, 4), 0);
    CHECK_EQ(coil_select(cases, COIL_SELECT_MOST + 1), -EINVAL);
    CHECK_EQ(coil_select(cases, SIZE_MAX), -EINVAL);
    CHECK_EQ(coil_select(cases, COIL_SELECT_MOST), 0);
    line_close(&l);
}

static void select_outside(void)
{
    struct line l = line_of(1);
    int item = -1;
    struct coil_case c = COIL_CASE_RECEIVE(&l.rx, &item);

    CHECK_EQ(coil_select(&c, 1), 0);
}

/* --- Locks and their like -------------------------------------------------------------------- */

static size_t lock_waiting(const struct coil_lock *l)
{
    struct coil_lock_stats stats;

    coil_lock_stats(l, &stats);
    return stats.waiting;
}

static struct coil_rwlock_stats rwlock_stats(const struct coil_rwlock *l)
{
    struct coil_rwlock_stats stats;

    coil_rwlock_stats(l, &stats);
    return stats;
}

static struct coil_limiter_stats limiter_stats(const struct coil_limiter *l)
{
    struct coil_limiter_stats stats;

    coil_limiter_stats(l, &stats);
    return stats;
}

COIL_TEST(select, s5_9_a_lock_that_is_free_is_held_afterwards)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_case cases[] = {COIL_CASE_LOCK(&l)};

    CHECK_EQ(coil_select(cases, 1), 0);
    CHECK_EQ(cases[0].result, 0);
    CHECK_EQ(coil_select_nowait(cases, 1), 0);
    CHECK_EQ(cases[0].result, -EDEADLK);
    CHECK_EQ(coil_lock_release(&l), 0);
}

/* The chooser's own task is the one that gives back what it chose. */
static int choose_and_release_lock(void *arg)
{
    struct chooser *c = arg;

    c->index = coil_select(c->cases, c->count);
    c->over = true;
    return coil_lock_release(c->cases[c->index].on);
}

COIL_TEST(select, s5_9_a_lock_is_handed_to_a_select_that_then_waits_for_nothing_else)
{
    struct coil_lock locks[2] = {COIL_LOCK_INIT, COIL_LOCK_INIT};
    struct coil_case cases[] = {COIL_CASE_LOCK(&locks[0]), COIL_CASE_LOCK(&locks[1])};
    struct chooser c = {.cases = cases, .count = 2};
    struct coil_group g;

    CHECK_EQ(coil_lock_acquire(&locks[0]), 0);
    CHECK_EQ(coil_lock_acquire(&locks[1]), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, choose_and_release_lock, &c), 0);
    settle();
    CHECK_EQ(c.over, false);
    CHECK_EQ(lock_waiting(&locks[0]), 1);
    CHECK_EQ(coil_lock_release(&locks[1]), 0);
    CHECK_EQ(coil_lock_acquire_nowait(&locks[1]), -EAGAIN); /* handed over, not free */
    CHECK_EQ(lock_waiting(&locks[0]), 0);
    CHECK_EQ(coil_lock_release(&locks[0]), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.index, 1);
    CHECK_EQ(coil_lock_acquire_nowait(&locks[0]), 0); /* it never had this one */
    CHECK_EQ(coil_lock_release(&locks[0]), 0);
}

static int end_holding(void *l)
{
    return coil_lock_acquire(l);
}

COIL_TEST(select, s5_2_a_select_hears_that_a_locks_owner_has_died)
{
    static struct coil_lock l; /* not on a stack that ends */
    struct coil_case cases[] = {COIL_CASE_LOCK(&l)};
    struct coil_group g;

    l = (struct coil_lock)COIL_LOCK_INIT;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, end_holding, &l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_select(cases, 1), 0);
    CHECK_EQ(cases[0].result, -EOWNERDEAD);
}

COIL_TEST(select, s5_9_a_semaphore_hands_one_to_a_select)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(0, 5);
    struct coil_event never = COIL_EVENT_INIT;
    struct coil_case cases[] = {COIL_CASE_EVENT(&never), COIL_CASE_SEMAPHORE(&s)};
    struct chooser c = {.cases = cases, .count = 2};
    struct coil_semaphore_stats stats;
    struct coil_group g;

    coil_group_begin(&g);
    spawn_chooser(&g, &c);
    CHECK_EQ(coil_semaphore_release(&s), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.index, 1);
    CHECK_EQ(cases[1].result, 0);
    coil_semaphore_stats(&s, &stats);
    CHECK_EQ(stats.value, 0);
    CHECK_EQ(stats.waiting, 0);
}

COIL_TEST(select, s5_9_a_token_is_lent_to_a_select_and_to_nobody_else)
{
    struct coil_limiter l = COIL_LIMITER_INIT(1);
    struct coil_token ours = COIL_TOKEN_INIT;
    static struct coil_token token;
    struct coil_event never = COIL_EVENT_INIT;
    struct coil_case cases[] = {COIL_CASE_LIMITER(&l, &token), COIL_CASE_EVENT(&never)};
    struct chooser c = {.cases = cases, .count = 2};
    struct coil_group g;

    token = (struct coil_token)COIL_TOKEN_INIT;
    CHECK_EQ(coil_limiter_acquire(&l, &ours), 0);
    coil_group_begin(&g);
    spawn_chooser(&g, &c);
    CHECK_EQ(limiter_stats(&l).waiting, 1);
    CHECK_EQ(coil_limiter_release(&l, &ours), 0);
    CHECK_EQ(coil_limiter_acquire_nowait(&l, &ours), -EAGAIN);
    CHECK_EQ(coil_group_end(&g, 0), 0); /* its end gives the token back */
    CHECK_EQ(c.index, 0);
    CHECK_EQ(cases[0].result, 0);
    CHECK_EQ(limiter_stats(&l).borrowed, 0);
}

COIL_TEST(select, s5_9_a_token_that_was_only_waited_for_is_free_again)
{
    struct coil_limiter l = COIL_LIMITER_INIT(0);
    struct coil_token token = COIL_TOKEN_INIT;
    struct coil_event e = COIL_EVENT_INIT;
    struct coil_case cases[] = {COIL_CASE_LIMITER(&l, &token), COIL_CASE_EVENT(&e)};
    struct chooser c = {.cases = cases, .count = 2};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_chooser(&g, &c);
    coil_event_set(&e);
    CHECK_EQ(limiter_stats(&l).waiting, 0);
    CHECK_EQ(coil_limiter_set_total(&l, 1), 0);
    CHECK_EQ(coil_limiter_acquire_nowait(&l, &token), 0); /* no limiter knows it any more */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.index, 1);
    CHECK_EQ(coil_limiter_release(&l, &token), 0);
}

COIL_TEST(select, s5_9_a_borrower_that_waits_twice_is_told_so)
{
    struct coil_limiter l = COIL_LIMITER_INIT(0);
    struct coil_token tokens[2] = {COIL_TOKEN_INIT, COIL_TOKEN_INIT};
    struct coil_case cases[] = {COIL_CASE_LIMITER(&l, &tokens[0]),
                                COIL_CASE_LIMITER(&l, &tokens[1])};

    CHECK_EQ(coil_select(cases, 2), 1);
    CHECK_EQ(cases[1].result, -EDEADLK);
    CHECK_EQ(limiter_stats(&l).waiting, 0);
    cases[0] = COIL_CASE_LIMITER(&l, NULL);
    CHECK_EQ(coil_select(cases, 1), -EINVAL);
}

static int read_it(void *l)
{
    int r = coil_rwlock_acquire_read(l);

    return r < 0 ? r : coil_rwlock_release_read(l);
}

COIL_TEST(select, s5_4_readers_go_on_when_a_select_that_would_write_has_left)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct coil_event e = COIL_EVENT_INIT;
    struct coil_case cases[] = {COIL_CASE_WRITE_LOCK(&l), COIL_CASE_EVENT(&e)};
    struct chooser c = {.cases = cases, .count = 2};
    struct coil_group g;

    CHECK_EQ(coil_rwlock_acquire_read(&l), 0);
    coil_group_begin(&g);
    spawn_chooser(&g, &c);
    CHECK_EQ(coil_group_spawn(&g, read_it, &l), 0);
    settle();
    CHECK_EQ(rwlock_stats(&l).waiting, 2);
    coil_event_set(&e);
    CHECK_EQ(rwlock_stats(&l).waiting, 0); /* there and then, before the select has run */
    CHECK_EQ(rwlock_stats(&l).readers, 2);
    CHECK_EQ(coil_rwlock_release_read(&l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.index, 1);
    CHECK_EQ(rwlock_stats(&l).readers, 0);
}

static int write_in_select(void *l)
{
    struct coil_case cases[] = {COIL_CASE_WRITE_LOCK(l)};

    CHECK_EQ(coil_select(cases, 1), 0);
    CHECK_EQ(cases[0].result, 0);
    CHECK_EQ(rwlock_stats(l).readers, 0);
    return coil_rwlock_release_write(l);
}

COIL_TEST(select, s5_9_a_select_may_write_when_the_last_reader_has_gone)
{
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct coil_group g;

    CHECK_EQ(coil_rwlock_acquire_read(&l), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, write_in_select, &l), 0);
    settle();
    CHECK_EQ(coil_rwlock_acquire_read_nowait(&l), -EAGAIN); /* behind a writer */
    CHECK_EQ(coil_rwlock_release_read(&l), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(rwlock_stats(&l).writer != NULL, 0);
}

/* One select lets in the next, which leaves, and lets in the next: not one inside the other. */
COIL_TEST(select, s5_4_a_long_chain_of_selects_that_let_each_other_in_fits_on_a_stack)
{
    enum { LINKS = 2000 };
    struct coil_rwlock *locks = calloc(LINKS + 1, sizeof(*locks));
    struct coil_case(*cases)[2] = calloc(LINKS, sizeof(*cases));
    struct chooser *c = calloc(LINKS, sizeof(*c));
    struct coil_group g;

    CHECK(locks && cases && c);
    coil_group_begin(&g);
    for (int i = 0; i <= LINKS; i++)
        CHECK_EQ(coil_rwlock_acquire_read(&locks[i]), 0);
    for (int i = 0; i < LINKS; i++) {
        cases[i][0] = COIL_CASE_WRITE_LOCK(&locks[i]);
        cases[i][1] = COIL_CASE_READ_LOCK(i ? &locks[i - 1] : &locks[LINKS]);
        c[i] = (struct chooser){.cases = cases[i], .count = i ? 2 : 1};
        spawn_chooser(&g, &c[i]);
    }
    coil_task_cancel(&c[0].handle, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c[0].index, -ECANCELED);
    for (int i = 1; i < LINKS; i++) {
        CHECK_EQ(c[i].index, 1);
        CHECK_EQ(rwlock_stats(&locks[i - 1]).readers, 2);
        CHECK_EQ(rwlock_stats(&locks[i]).waiting, 0);
    }
    free(c);
    free(cases);
    free(locks);
}

COIL_TEST(select, s5_9_at_a_barrier_a_select_counts_while_it_waits)
{
    struct coil_barrier b = COIL_BARRIER_INIT(2);
    struct coil_event e = COIL_EVENT_INIT;
    struct coil_case cases[2][2] = {{COIL_CASE_BARRIER(&b), COIL_CASE_EVENT(&e)},
                                    {COIL_CASE_BARRIER(&b), COIL_CASE_EVENT(&e)}};
    struct chooser c[2] = {{.cases = cases[0], .count = 2}, {.cases = cases[1], .count = 2}};
    struct coil_barrier_stats stats;
    struct coil_group g;

    coil_group_begin(&g);
    spawn_chooser(&g, &c[0]);
    CHECK_EQ(coil_barrier_wait(&b), 1);
    spawn_chooser(&g, &c[1]);
    coil_event_set(&e); /* so the second never came */
    coil_barrier_stats(&b, &stats);
    CHECK_EQ(stats.waiting, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c[0].index, 0);
    CHECK_EQ(cases[0][0].result, 0);
    CHECK_EQ(c[1].index, 1);
}

COIL_TEST(select, s5_9_nobody_comes_to_a_barrier_twice)
{
    struct coil_barrier b = COIL_BARRIER_INIT(3);
    struct coil_case cases[] = {COIL_CASE_BARRIER(&b), COIL_CASE_BARRIER(&b)};
    struct coil_barrier_stats stats;

    CHECK_EQ(coil_select(cases, 2), 1);
    CHECK_EQ(cases[1].result, -EDEADLK);
    coil_barrier_stats(&b, &stats);
    CHECK_EQ(stats.waiting, 0);
}

COIL_TEST(select, s5_11_a_primitive_of_ones_own_is_a_lot_among_the_cases)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_event never = COIL_EVENT_INIT;
    struct coil_case cases[] = {COIL_CASE_EVENT(&never), COIL_CASE_LOT(&lot)};
    struct chooser c = {.cases = cases, .count = 2};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_chooser(&g, &c);
    CHECK_EQ(coil_lot_unpark(&lot, 1, 42), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.index, 1);
    CHECK_EQ(cases[1].result, 42);
    coil_lot_break(&lot);
    CHECK_EQ(coil_select(cases, 2), 1);
    CHECK_EQ(cases[1].result, -EOWNERDEAD);
}

COIL_TEST(select, s4_2_a_select_that_was_cancelled_has_none_of_them)
{
    struct coil_lock l = COIL_LOCK_INIT;
    struct coil_rwlock rw = COIL_RWLOCK_INIT;
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(0, 1);
    struct coil_limiter limiter = COIL_LIMITER_INIT(0);
    struct coil_token token = COIL_TOKEN_INIT;
    struct coil_barrier b = COIL_BARRIER_INIT(2);
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_case cases[] = {
        COIL_CASE_LOCK(&l),
        COIL_CASE_READ_LOCK(&rw),
        COIL_CASE_WRITE_LOCK(&rw),
        COIL_CASE_SEMAPHORE(&s),
        COIL_CASE_LIMITER(&limiter, &token),
        COIL_CASE_BARRIER(&b),
        COIL_CASE_LOT(&lot),
    };
    struct chooser c = {.cases = cases, .count = sizeof(cases) / sizeof(cases[0])};
    struct coil_group g;

    CHECK_EQ(coil_lock_acquire(&l), 0);
    CHECK_EQ(coil_rwlock_acquire_write(&rw), 0);
    coil_group_begin(&g);
    spawn_chooser(&g, &c);
    coil_task_cancel(&c.handle, NULL);
    CHECK_EQ(lock_waiting(&l) + rwlock_stats(&rw).waiting + limiter_stats(&limiter).waiting, 0);
    CHECK_EQ(coil_lot_count(&lot), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.index, -ECANCELED);
    CHECK_EQ(coil_lock_release(&l), 0);
    CHECK_EQ(coil_rwlock_release_write(&rw), 0);
    CHECK_EQ(coil_semaphore_release(&s), 0);
    CHECK_EQ(coil_semaphore_acquire_nowait(&s), 0);
}

/* It is in the queue more than once, and is let in there by whoever it makes way for: itself. */
COIL_TEST(select, s5_4_a_select_that_leaves_a_lock_twice_is_let_in_by_nobody)
{
    for (int cancels = 0; cancels < 2; cancels++) {
        struct coil_rwlock l = COIL_RWLOCK_INIT;
        struct coil_event e = COIL_EVENT_INIT;
        struct coil_case first[] = {COIL_CASE_WRITE_LOCK(&l)};
        struct coil_case cases[] = {COIL_CASE_EVENT(&e), COIL_CASE_WRITE_LOCK(&l),
                                    COIL_CASE_READ_LOCK(&l)};
        struct chooser gone = {.cases = first, .count = 1};
        struct chooser c = {.cases = cases, .count = 3};
        struct coil_group g;

        CHECK_EQ(coil_rwlock_acquire_read(&l), 0);
        coil_group_begin(&g);
        spawn_chooser(&g, &gone); /* or the read would be had at once */
        spawn_chooser(&g, &c);
        coil_task_cancel(&gone.handle, NULL);
        if (cancels)
            coil_scope_cancel(coil_group_scope(&g), NULL);
        else
            coil_event_set(&e);
        CHECK_EQ(rwlock_stats(&l).readers, 1);
        CHECK_EQ(rwlock_stats(&l).waiting, 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(c.index, cancels ? -ECANCELED : 0);
        CHECK_EQ(coil_rwlock_release_read(&l), 0);
    }
}

COIL_TEST(select, s5_5_one_token_for_two_limiters_is_refused_by_the_second)
{
    struct coil_limiter l[2] = {COIL_LIMITER_INIT(0), COIL_LIMITER_INIT(0)};
    struct coil_token token = COIL_TOKEN_INIT;
    struct coil_event never = COIL_EVENT_INIT;
    struct coil_case cases[] = {COIL_CASE_EVENT(&never), COIL_CASE_LIMITER(&l[0], &token),
                                COIL_CASE_LIMITER(&l[1], &token)};

    CHECK_EQ(coil_select(cases, 3), 2);
    CHECK_EQ(cases[2].result, -EINVAL);
    CHECK_EQ(limiter_stats(&l[0]).waiting, 0);
    CHECK_EQ(coil_limiter_set_total(&l[0], 1), 0);
    CHECK_EQ(coil_limiter_acquire(&l[0], &token), 0);
    CHECK_EQ(coil_limiter_release(&l[0], &token), 0);
}

COIL_TEST(select, s5_11_a_select_that_stands_in_a_lot_twice_is_moved_to_a_broken_one_once)
{
    struct coil_lot lot = COIL_LOT_INIT;
    struct coil_lot broken = COIL_LOT_INIT;
    struct coil_case cases[] = {COIL_CASE_LOT(&lot), COIL_CASE_LOT(&lot)};
    struct chooser c = {.cases = cases, .count = 2};
    struct coil_group g;

    coil_lot_break(&broken);
    coil_group_begin(&g);
    spawn_chooser(&g, &c);
    CHECK_EQ(coil_lot_count(&lot), 2);
    CHECK_EQ(coil_lot_repark(&lot, &broken, 5), 1);
    CHECK_EQ(coil_lot_count(&lot), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(cases[c.index].result, -EOWNERDEAD);
}

/* One that the barrier wakes leaves a lock, which would let in one that the barrier is to wake. */
COIL_TEST(select, s5_4_all_who_have_come_to_a_barrier_go_on_when_it_opens)
{
    struct coil_barrier b = COIL_BARRIER_INIT(3);
    struct coil_rwlock l = COIL_RWLOCK_INIT;
    struct coil_case writes[] = {COIL_CASE_BARRIER(&b), COIL_CASE_WRITE_LOCK(&l)};
    struct coil_case reads[] = {COIL_CASE_READ_LOCK(&l), COIL_CASE_BARRIER(&b)};
    struct chooser c[] = {{.cases = writes, .count = 2}, {.cases = reads, .count = 2}};
    struct coil_group g;

    CHECK_EQ(coil_rwlock_acquire_read(&l), 0);
    coil_group_begin(&g);
    spawn_chooser(&g, &c[0]);
    spawn_chooser(&g, &c[1]);
    CHECK_EQ(coil_barrier_wait(&b), 1);
    CHECK_EQ(rwlock_stats(&l).readers, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c[0].index, 0);
    CHECK_EQ(c[1].index, 1);
    CHECK_EQ(coil_rwlock_release_read(&l), 0);
}

Test(select, waiting_outside_of_a_task_aborts_with_a_line)
{
    CHECK(strstr(harness_abort_line(select_outside), "coil_select outside of any task"));
}
