/* broadcast.c - semantics.md 5.7: broadcast and latest value. */
#include "parker.h"
#include "supply.h"

static struct coil_broadcast opened(void)
{
    struct coil_broadcast b;

    CHECK_EQ(coil_broadcast_open(&b, sizeof(int)), 0);
    return b;
}

static void send_ints(struct coil_broadcast *b, int from, int count)
{
    for (int i = from; i < from + count; i++)
        CHECK_EQ(coil_broadcast_send(b, &i), 0);
}

/* The next item; what became of it if there is none. */
static int receive_now(struct coil_broadcast_receiver *r)
{
    int item = -1;
    int rc = coil_broadcast_receive_nowait(r, &item);

    CHECK_EQ(item == -1, rc != 1);
    return rc == 1 ? item : rc;
}

static struct coil_broadcast_receiver_stats stats_of(const struct coil_broadcast_receiver *r)
{
    struct coil_broadcast_receiver_stats stats;

    CHECK_EQ(coil_broadcast_receiver_stats(r, &stats), 0);
    return stats;
}

/* One receive in a task of its own: of a broadcast, or of a latest value. */
struct user {
    struct coil_broadcast_receiver *r;
    struct coil_latest_receiver *latest;
    struct coil_latest *of;
    int item;
    int result;
    int next; /* what the checkpoint after it said */
    struct coil_handle handle;
};

static int receive_it(void *arg)
{
    struct user *u = arg;

    u->result =
        u->r ? coil_broadcast_receive(u->r, &u->item) : coil_latest_receive(u->latest, &u->item);
    u->next = coil_checkpoint();
    return 0;
}

static size_t waiting_with(const struct user *u)
{
    struct coil_broadcast_stats stats;

    if (u->r)
        return stats_of(u->r).waiting;
    CHECK_EQ(coil_latest_stats(u->of, &stats), 0);
    return stats.waiting;
}

/* Returns when it waits. */
static void spawn_user(struct coil_group *g, struct user *u)
{
    struct coil_spawn_options options = {.handle = &u->handle};
    size_t before = waiting_with(u);

    u->item = -1;
    CHECK_EQ(coil_group_spawn_with(g, receive_it, u, &options), 0);
    while (waiting_with(u) == before)
        coil_yield_shielded();
}

/* --- Broadcast ------------------------------------------------------------------------------- */

COIL_TEST(broadcast, s5_7_every_receiver_receives_everything)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r[3];

    for (int k = 0; k < 3; k++)
        CHECK_EQ(coil_broadcast_subscribe(&b, &r[k], 10), 0);
    for (int round = 0; round < 5; round++) {
        send_ints(&b, round * 7, 7);
        for (int k = 0; k < 3; k++)
            for (int i = 0; i < 7; i++)
                CHECK_EQ(receive_now(&r[k]), round * 7 + i);
    }
    for (int k = 0; k < 3; k++) {
        CHECK_EQ(receive_now(&r[k]), -EAGAIN);
        coil_broadcast_receiver_close(&r[k]);
    }
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, s5_7_a_receiver_hears_what_is_sent_after_it_came)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r;

    send_ints(&b, 0, 3); /* nobody hears it, and nobody minds */
    CHECK_EQ(coil_broadcast_subscribe(&b, &r, 4), 0);
    CHECK_EQ(receive_now(&r), -EAGAIN);
    send_ints(&b, 3, 1);
    CHECK_EQ(receive_now(&r), 3);
    coil_broadcast_receiver_close(&r);
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, s5_7_who_lags_too_much_is_told_once_how_much_it_missed_and_goes_on)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r;

    CHECK_EQ(coil_broadcast_subscribe(&b, &r, 3), 0);
    send_ints(&b, 0, 3);
    CHECK_EQ(receive_now(&r), 0); /* as much as it may lag is not too much */
    send_ints(&b, 3, 6);
    CHECK_EQ(stats_of(&r).lag, 3);
    CHECK_EQ(receive_now(&r), -EOVERFLOW);
    CHECK_EQ(coil_broadcast_missed(&r), 5);
    for (int i = 6; i < 9; i++)
        CHECK_EQ(receive_now(&r), i);
    CHECK_EQ(receive_now(&r), -EAGAIN);
    send_ints(&b, 9, 4);
    CHECK_EQ(receive_now(&r), -EOVERFLOW);
    CHECK_EQ(coil_broadcast_missed(&r), 1);
    CHECK_EQ(stats_of(&r).missed, 6);
    CHECK_EQ(receive_now(&r), 10);
    coil_broadcast_receiver_close(&r);
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, s5_7_each_receiver_has_a_limit_of_its_own)
{
    static const int limits[] = {1, 2, 5, 64};
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r[4];

    for (int k = 0; k < 4; k++) {
        CHECK_EQ(coil_broadcast_subscribe(&b, &r[k], limits[k]), 0);
        CHECK_EQ(stats_of(&r[k]).lag_limit, limits[k]);
    }
    send_ints(&b, 0, 100);
    for (int k = 0; k < 4; k++) {
        CHECK_EQ(receive_now(&r[k]), -EOVERFLOW);
        CHECK_EQ(coil_broadcast_missed(&r[k]), (uint64_t)(100 - limits[k]));
        for (int i = 100 - limits[k]; i < 100; i++)
            CHECK_EQ(receive_now(&r[k]), i);
        CHECK_EQ(receive_now(&r[k]), -EAGAIN);
        coil_broadcast_receiver_close(&r[k]);
    }
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, s5_7_a_newcomer_with_a_larger_limit_costs_the_others_nothing)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r[5];

    for (int k = 0; k < 5; k++) {
        CHECK_EQ(coil_broadcast_subscribe(&b, &r[k], 3 << k), 0);
        send_ints(&b, 3 * k, 3);
    }
    CHECK_EQ(receive_now(&r[0]), -EOVERFLOW);
    CHECK_EQ(coil_broadcast_missed(&r[0]), 12);
    for (int i = 12; i < 15; i++)
        CHECK_EQ(receive_now(&r[0]), i);
    for (int k = 2; k < 5; k++)
        for (int i = 3 * k; i < 15; i++)
            CHECK_EQ(receive_now(&r[k]), i);
    for (int k = 0; k < 5; k++)
        coil_broadcast_receiver_close(&r[k]);
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, s5_7_a_waiting_receiver_is_handed_the_item_and_does_not_lag)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r[2];
    struct user users[3] = {{.r = &r[0]}, {.r = &r[1]}, {.r = &r[1]}};
    struct coil_group g;

    coil_group_begin(&g);
    for (int k = 0; k < 2; k++)
        CHECK_EQ(coil_broadcast_subscribe(&b, &r[k], 1), 0);
    for (int i = 0; i < 3; i++)
        spawn_user(&g, &users[i]);
    send_ints(&b, 1, 2); /* of those who share a receiver each gets one */
    CHECK_EQ(stats_of(&r[0]).lag, 1);
    CHECK_EQ(stats_of(&r[1]).lag, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(users[0].item, 1);
    CHECK_EQ(users[1].item, 1);
    CHECK_EQ(users[2].item, 2);
    CHECK_EQ(receive_now(&r[0]), 2);
    for (int k = 0; k < 2; k++)
        coil_broadcast_receiver_close(&r[k]);
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, s5_7_after_the_close_receivers_drain_and_then_get_0)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r[2];
    struct user waiting = {.r = &r[1]};
    struct coil_group g;
    int item = 1;

    coil_group_begin(&g);
    CHECK_EQ(coil_broadcast_subscribe(&b, &r[0], 2), 0);
    send_ints(&b, 0, 3);
    CHECK_EQ(coil_broadcast_subscribe(&b, &r[1], 2), 0);
    spawn_user(&g, &waiting);
    coil_broadcast_close(&b);
    coil_broadcast_close(&b);
    CHECK_EQ(coil_broadcast_send(&b, &item), -EBADF);
    CHECK_EQ(coil_broadcast_subscribe(&b, &r[0], 2), -EBADF);
    CHECK_EQ(receive_now(&r[0]), -EOVERFLOW);
    CHECK_EQ(receive_now(&r[0]), 1);
    CHECK_EQ(coil_broadcast_receive(&r[0], &item), 1);
    CHECK_EQ(item, 2);
    CHECK_EQ(coil_broadcast_receive(&r[0], &item), 0);
    CHECK_EQ(receive_now(&r[0]), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(waiting.result, 0);
    CHECK_EQ(waiting.item, -1);
    for (int k = 0; k < 2; k++)
        coil_broadcast_receiver_close(&r[k]);
}

COIL_TEST(broadcast, s5_7_closing_a_receiver_wakes_who_waits_on_it_and_nobody_else)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r[2];
    struct user users[3] = {{.r = &r[0]}, {.r = &r[0]}, {.r = &r[1]}};
    struct coil_broadcast_stats stats;
    struct coil_group g;
    int item;

    coil_group_begin(&g);
    for (int k = 0; k < 2; k++)
        CHECK_EQ(coil_broadcast_subscribe(&b, &r[k], 2), 0);
    for (int i = 0; i < 3; i++)
        spawn_user(&g, &users[i]);
    coil_broadcast_receiver_close(&r[0]);
    coil_broadcast_receiver_close(&r[0]);
    CHECK_EQ(coil_broadcast_stats(&b, &stats), 0);
    CHECK_EQ(stats.receivers, 1);
    CHECK_EQ(stats.waiting, 1);
    CHECK_EQ(stats.sent, 0);
    CHECK_EQ(coil_broadcast_receive(&r[0], &item), -EBADF);
    send_ints(&b, 5, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(users[0].result, -EBADF);
    CHECK_EQ(users[1].result, -EBADF);
    CHECK_EQ(users[2].item, 5);
    coil_broadcast_receiver_close(&r[1]);
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, s5_7_a_cancelled_receive_takes_nothing)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r;
    struct user waiting = {.r = &r};
    struct coil_scope s;
    struct coil_group g;
    int item = -1;

    CHECK_EQ(coil_broadcast_subscribe(&b, &r, 2), 0);
    coil_group_begin(&g);
    spawn_user(&g, &waiting);
    coil_task_cancel(&waiting.handle, NULL);
    send_ints(&b, 1, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(waiting.result, -ECANCELED);

    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_broadcast_receive(&r, &item), -ECANCELED);
    CHECK_EQ(item, -1);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(receive_now(&r), 1);
    coil_broadcast_receiver_close(&r);
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, s4_4_an_item_handed_over_before_the_cancel_is_received)
{
    struct coil_broadcast b = opened();
    struct coil_broadcast_receiver r;
    struct user waiting = {.r = &r};
    struct coil_group g;

    CHECK_EQ(coil_broadcast_subscribe(&b, &r, 2), 0);
    coil_group_begin(&g);
    spawn_user(&g, &waiting);
    send_ints(&b, 1, 1);
    coil_task_cancel(&waiting.handle, NULL);
    coil_broadcast_receiver_close(&r); /* it has it all the same */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(waiting.result, 1);
    CHECK_EQ(waiting.item, 1);
    CHECK_EQ(waiting.next, -ECANCELED);
    coil_broadcast_close(&b);
}

COIL_TEST(broadcast, wrong_arguments_are_einval_and_closed_handles_ebadf)
{
    struct coil_broadcast b = {{0}};
    struct coil_broadcast_receiver r = {{0}};
    struct coil_broadcast_stats stats;
    struct coil_broadcast_receiver_stats receiver_stats;
    int item = 1;

    CHECK_EQ(coil_broadcast_open(&b, 0), -EINVAL);
    CHECK_EQ(coil_broadcast_open(&b, COIL_ITEM_SIZE_MAX + 1), -EINVAL);
    CHECK_EQ(coil_broadcast_open(NULL, 4), -EINVAL);
    CHECK_EQ(coil_broadcast_send(&b, &item), -EBADF);
    CHECK_EQ(coil_broadcast_stats(&b, &stats), -EBADF);
    CHECK_EQ(coil_broadcast_receive(&r, &item), -EBADF);
    CHECK_EQ(coil_broadcast_receiver_stats(&r, &receiver_stats), -EBADF);
    CHECK_EQ(coil_broadcast_open(&b, sizeof(int)), 0);
    CHECK_EQ(coil_broadcast_subscribe(&b, &r, 0), -EINVAL);
    CHECK_EQ(coil_broadcast_subscribe(&b, &r, -1), -EINVAL);
    CHECK_EQ(coil_broadcast_subscribe(&b, &r, COIL_LAG_MAX + 1), -EINVAL);
    CHECK_EQ(coil_broadcast_subscribe(&b, NULL, 1), -EINVAL);
    CHECK_EQ(coil_broadcast_send(&b, NULL), -EINVAL);
    CHECK_EQ(coil_broadcast_subscribe(&b, &r, 1), 0);
    CHECK_EQ(coil_broadcast_receive(&r, NULL), -EINVAL);
    CHECK_EQ(coil_broadcast_receive_nowait(&r, NULL), -EINVAL);
    coil_broadcast_receiver_close(&r);
    coil_broadcast_close(&b);
}

/* --- Latest value ---------------------------------------------------------------------------- */

static struct coil_latest latest_opened(void)
{
    struct coil_latest l;

    CHECK_EQ(coil_latest_open(&l, sizeof(int)), 0);
    return l;
}

static void set(struct coil_latest *l, int value)
{
    CHECK_EQ(coil_latest_send(l, &value), 0);
}

static int latest_now(struct coil_latest_receiver *r)
{
    int item = -1;
    int rc = coil_latest_receive_nowait(r, &item);

    CHECK_EQ(item == -1, rc != 1);
    return rc == 1 ? item : rc;
}

COIL_TEST(broadcast, s5_7_a_latest_value_is_seen_once_by_each_and_older_ones_are_gone)
{
    struct coil_latest l = latest_opened();
    struct coil_latest_receiver r[2];

    for (int k = 0; k < 2; k++)
        CHECK_EQ(coil_latest_subscribe(&l, &r[k]), 0);
    CHECK_EQ(latest_now(&r[0]), -EAGAIN);
    for (int i = 1; i <= 100; i++)
        set(&l, i);
    CHECK_EQ(latest_now(&r[0]), 100);
    CHECK_EQ(latest_now(&r[0]), -EAGAIN);
    set(&l, 101);
    CHECK_EQ(latest_now(&r[0]), 101);
    CHECK_EQ(latest_now(&r[1]), 101);
    CHECK_EQ(latest_now(&r[1]), -EAGAIN);
    for (int k = 0; k < 2; k++)
        coil_latest_receiver_close(&r[k]);
    coil_latest_close(&l);
}

COIL_TEST(broadcast, s5_7_a_newcomer_sees_the_latest_value_that_there_is)
{
    struct coil_latest l = latest_opened();
    struct coil_latest_receiver r;

    set(&l, 1);
    set(&l, 2);
    CHECK_EQ(coil_latest_subscribe(&l, &r), 0);
    CHECK_EQ(latest_now(&r), 2);
    CHECK_EQ(latest_now(&r), -EAGAIN);
    coil_latest_receiver_close(&r);
    set(&l, 3); /* with nobody there */
    CHECK_EQ(coil_latest_subscribe(&l, &r), 0);
    CHECK_EQ(latest_now(&r), 3);
    coil_latest_receiver_close(&r);
    coil_latest_close(&l);
}

COIL_TEST(broadcast, s5_7_the_last_value_is_seen_also_after_the_end)
{
    struct coil_latest l = latest_opened();
    struct coil_latest_receiver r[2];
    int item;

    for (int k = 0; k < 2; k++)
        CHECK_EQ(coil_latest_subscribe(&l, &r[k]), 0);
    set(&l, 1);
    CHECK_EQ(latest_now(&r[0]), 1);
    set(&l, 2);
    coil_latest_close(&l);
    for (int k = 0; k < 2; k++) {
        CHECK_EQ(coil_latest_receive(&r[k], &item), 1);
        CHECK_EQ(item, 2);
        CHECK_EQ(coil_latest_receive(&r[k], &item), 0);
        coil_latest_receiver_close(&r[k]);
    }
}

COIL_TEST(broadcast, trio_987_no_update_is_lost_between_being_woken_and_running)
{
    struct coil_latest l = latest_opened();
    struct coil_latest_receiver r;
    struct user waiting = {.latest = &r, .of = &l};
    struct coil_group g;

    CHECK_EQ(coil_latest_subscribe(&l, &r), 0);
    coil_group_begin(&g);
    spawn_user(&g, &waiting);
    set(&l, 1);
    set(&l, 2); /* it has not run since */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(waiting.item, 1);
    CHECK_EQ(latest_now(&r), 2);
    coil_latest_receiver_close(&r);
    coil_latest_close(&l);
}

COIL_TEST(broadcast, s5_7_a_value_that_a_cancelled_task_did_not_take_is_still_new)
{
    struct coil_latest l = latest_opened();
    struct coil_latest_receiver r;
    struct user waiting = {.latest = &r, .of = &l};
    struct coil_group g;

    CHECK_EQ(coil_latest_subscribe(&l, &r), 0);
    coil_group_begin(&g);
    spawn_user(&g, &waiting);
    coil_task_cancel(&waiting.handle, NULL);
    set(&l, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(waiting.result, -ECANCELED);
    CHECK_EQ(latest_now(&r), 1);
    coil_latest_receiver_close(&r);
    coil_latest_close(&l);
}

COIL_TEST(broadcast, s5_7_closing_a_latest_value_wakes_with_0_and_its_receiver_with_ebadf)
{
    struct coil_latest l = latest_opened();
    struct coil_latest_receiver r[2];
    struct user users[2] = {{.latest = &r[0], .of = &l}, {.latest = &r[1], .of = &l}};
    struct coil_group g;

    coil_group_begin(&g);
    for (int k = 0; k < 2; k++) {
        CHECK_EQ(coil_latest_subscribe(&l, &r[k]), 0);
        spawn_user(&g, &users[k]);
    }
    coil_latest_receiver_close(&r[0]);
    coil_latest_close(&l);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(users[0].result, -EBADF);
    CHECK_EQ(users[1].result, 0);
    coil_latest_receiver_close(&r[1]);
}

/* --- Memory ---------------------------------------------------------------------------------- */

/* Opens and subscribes with so many allocations granted; both must then work all the same. */
static void run_short_after(int grants)
{
    struct coil_broadcast b = {{0}};
    struct coil_broadcast_receiver r[2] = {{{0}}, {{0}}};
    int held = supply.held;
    int rc;

    supply.left = grants;
    rc = coil_broadcast_open(&b, sizeof(int));
    CHECK_EQ(rc, grants < 1 ? -ENOMEM : 0);
    if (rc == 0) {
        CHECK_EQ(coil_broadcast_subscribe(&b, &r[0], 2), grants < 2 ? -ENOMEM : 0);
        if (grants >= 2)
            send_ints(&b, 0, 3);
        CHECK_EQ(coil_broadcast_subscribe(&b, &r[1], 9), grants < 3 ? -ENOMEM : 0);
    }
    supply.left = INT32_MAX;
    if (grants >= 2) {
        CHECK_EQ(receive_now(&r[0]), -EOVERFLOW); /* what was there is there */
        CHECK_EQ(receive_now(&r[0]), 1);
        CHECK_EQ(receive_now(&r[0]), 2);
    }
    for (int k = 0; k < 2; k++)
        coil_broadcast_receiver_close(&r[k]);
    CHECK_EQ(supply.held, held + (grants >= 1)); /* the room went with who needed it */
    coil_broadcast_close(&b);
    CHECK_EQ(supply.held, held);
}

static void run_short(void)
{
    struct coil_latest l = {{0}};
    int held = supply.held;

    for (int grants = 0; grants <= 3; grants++)
        run_short_after(grants);
    for (int grants = 0; grants < 2; grants++) {
        supply.left = grants;
        CHECK_EQ(coil_latest_open(&l, sizeof(int)), -ENOMEM);
        CHECK_EQ(supply.held, held);
    }
    supply.left = INT32_MAX;
}

Test(broadcast, without_memory_there_is_an_error_and_nothing_is_lost)
{
    supply_run(run_short);
    CHECK_EQ(supply.held, 0);
}

/* --- Statistics, and handles at file scope ---------------------------------------------------- */

static struct coil_latest_receiver_stats latest_stats_of(const struct coil_latest_receiver *r)
{
    struct coil_latest_receiver_stats stats;

    CHECK_EQ(coil_latest_receiver_stats(r, &stats), 0);
    return stats;
}

COIL_TEST(broadcast, s5_a_latest_receivers_statistics)
{
    struct coil_latest l = latest_opened();
    struct coil_latest_receiver r;
    struct coil_latest_receiver late;
    struct user u = {.latest = &r, .of = &l};
    struct coil_group g;

    CHECK_EQ(coil_latest_subscribe(&l, &r), 0);
    CHECK_EQ(latest_stats_of(&r).unseen, 0);
    coil_group_begin(&g);
    spawn_user(&g, &u);
    CHECK_EQ(latest_stats_of(&r).waiting, 1);
    set(&l, 1); /* handed to the one who waits */
    CHECK_EQ(latest_stats_of(&r).waiting, 0);
    CHECK_EQ(latest_stats_of(&r).unseen, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    set(&l, 2);
    set(&l, 3);
    CHECK_EQ(latest_stats_of(&r).unseen, 1);
    CHECK_EQ(coil_latest_subscribe(&l, &late), 0);
    CHECK_EQ(latest_stats_of(&late).unseen, 1);
    coil_latest_close(&l);
    CHECK_EQ(latest_stats_of(&r).unseen, 1);
    CHECK_EQ(latest_now(&r), 3);
    CHECK_EQ(latest_stats_of(&r).unseen, 0);
    coil_latest_receiver_close(&r);
    coil_latest_receiver_close(&late);
    CHECK_EQ(coil_latest_receiver_stats(&r, &(struct coil_latest_receiver_stats){0}), -EBADF);
}

static struct coil_broadcast lasting = COIL_BROADCAST_INIT;
static struct coil_broadcast_receiver lasting_receiver = COIL_BROADCAST_RECEIVER_INIT;
static struct coil_latest lasting_latest = COIL_LATEST_INIT;
static struct coil_latest_receiver lasting_latest_receiver = COIL_LATEST_RECEIVER_INIT;

static void all_are_closed(void)
{
    struct coil_broadcast_receiver_stats receiver_stats;
    struct coil_latest_receiver_stats latest_receiver_stats;
    struct coil_broadcast_stats stats;
    int item = 1;

    CHECK_EQ(coil_broadcast_send(&lasting, &item), -EBADF);
    CHECK_EQ(coil_broadcast_subscribe(&lasting, &lasting_receiver, 1), -EBADF);
    CHECK_EQ(coil_broadcast_stats(&lasting, &stats), -EBADF);
    CHECK_EQ(receive_now(&lasting_receiver), -EBADF);
    CHECK_EQ(coil_broadcast_receiver_stats(&lasting_receiver, &receiver_stats), -EBADF);
    CHECK_EQ(coil_latest_send(&lasting_latest, &item), -EBADF);
    CHECK_EQ(coil_latest_subscribe(&lasting_latest, &lasting_latest_receiver), -EBADF);
    CHECK_EQ(coil_latest_stats(&lasting_latest, &stats), -EBADF);
    CHECK_EQ(latest_now(&lasting_latest_receiver), -EBADF);
    CHECK_EQ(coil_latest_receiver_stats(&lasting_latest_receiver, &latest_receiver_stats), -EBADF);
}

static void close_all(void)
{
    coil_broadcast_receiver_close(&lasting_receiver);
    coil_broadcast_close(&lasting);
    coil_latest_receiver_close(&lasting_latest_receiver);
    coil_latest_close(&lasting_latest);
}

COIL_TEST(broadcast, s5_a_static_handle_is_closed_until_it_is_opened)
{
    for (int round = 0; round < 2; round++) {
        all_are_closed();
        close_all();
        CHECK_EQ(coil_broadcast_open(&lasting, sizeof(int)), 0);
        CHECK_EQ(coil_broadcast_subscribe(&lasting, &lasting_receiver, 1), 0);
        send_ints(&lasting, 5, 1);
        CHECK_EQ(receive_now(&lasting_receiver), 5);
        CHECK_EQ(coil_latest_open(&lasting_latest, sizeof(int)), 0);
        CHECK_EQ(coil_latest_subscribe(&lasting_latest, &lasting_latest_receiver), 0);
        set(&lasting_latest, 6);
        CHECK_EQ(latest_now(&lasting_latest_receiver), 6);
        close_all();
    }
    all_are_closed();
}
