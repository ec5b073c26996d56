/* scenarios.c - each primitive in a small scenario that is cancelled at each of its calls, failed
 * at each operation, starved at each allocation; and what must be true of it afterwards. */
#define _GNU_SOURCE
#include "wires.h"

#define SEEDS 3

static struct coil_testing_report report;

/* What is in the way of a claim, said as a verdict. */
#define VERDICT(claim)                                                                             \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #claim);                            \
            return -EUCLEAN;                                                                       \
        }                                                                                          \
    } while (0)

/* Under no seed and some. */
static void everywhere(const struct coil_everywhere *e)
{
    for (uint64_t seed = 0; seed <= SEEDS; seed++) {
        struct coil_testing_options o = coil_testing_seeded(seed);
        int r;

        harness_seed = seed;
        r = coil_testing_everywhere(&o, e, &report);
        if (r < 0)
            harness_fail(__FILE__, __LINE__, report.text);
    }
}

/* All of them in a group, each with arg. */
static int together(coil_task_fn *const *fns, size_t count, void *arg)
{
    struct coil_group g;
    int rc = 0;

    coil_group_begin(&g);
    for (size_t i = 0; i < count && rc >= 0; i++)
        rc = coil_group_spawn(&g, fns[i], arg);
    return coil_group_end(&g, rc);
}

#define TOGETHER(arg, ...)                                                                         \
    together((coil_task_fn *const[]){__VA_ARGS__},                                                 \
             sizeof((coil_task_fn *const[]){__VA_ARGS__}) / sizeof(coil_task_fn *), (arg))

/* --- Channel ---------------------------------------------------------------------------------- */

#define ITEMS 4

struct pipeline {
    struct coil_sender tx;
    struct coil_receiver rx;
    int sent;
    int received;
    int disposed;
};

static void pipeline_zero(void *arg)
{
    *(struct pipeline *)arg = (struct pipeline){.sent = 0};
}

static void dispose_item(void *ctx, void *item)
{
    (void)item;
    ((struct pipeline *)ctx)->disposed++;
}

static int send_items(void *arg)
{
    struct pipeline *p = arg;
    int r = 0;

    while (p->sent < ITEMS && (r = coil_channel_send(&p->tx, &p->sent)) >= 0)
        p->sent++;
    coil_sender_close(&p->tx);
    return r == -EPIPE ? 0 : r; /* the receiver had enough */
}

static int receive_items(void *arg)
{
    struct pipeline *p = arg;
    int item;
    int r;

    while ((r = coil_channel_receive(&p->rx, &item)) > 0)
        CHECK_EQ(item, p->received++);
    coil_receiver_close(&p->rx);
    return r;
}

static int channel_scenario(void *arg)
{
    struct pipeline *p = arg;
    const struct coil_channel_options options = {
        .item_size = sizeof(int), .capacity = 1, .dispose = dispose_item, .dispose_ctx = p};
    int r = coil_channel_open(&p->tx, &p->rx, &options);

    if (r < 0)
        return r;
    r = TOGETHER(p, send_items, receive_items);
    coil_sender_close(&p->tx); /* whoever was to use them may never have been spawned */
    coil_receiver_close(&p->rx);
    return r;
}

static int every_item_is_accounted_for(void *arg, int rc)
{
    const struct pipeline *p = arg;

    (void)rc;
    VERDICT(p->sent == p->received + p->disposed);
    return 0;
}

Test(scenarios, s5_6_a_channel)
{
    struct pipeline p;
    const struct coil_everywhere e = {.scenario = channel_scenario,
                                      .arg = &p,
                                      .each_task = 1,
                                      .before = pipeline_zero,
                                      .after = every_item_is_accounted_for};

    everywhere(&e);
}

/* --- What is held ----------------------------------------------------------------------------- */

struct held {
    struct coil_lock lock;
    struct coil_rwlock rwlock;
    struct coil_semaphore semaphore;
    struct coil_limiter limiter;
    int inside; /* of what only one may be in */
    int readers;
};

static void held_zero(void *arg)
{
    *(struct held *)arg = (struct held){
        .lock = COIL_LOCK_INIT,
        .rwlock = COIL_RWLOCK_INIT,
        .semaphore = COIL_SEMAPHORE_INIT(1, 1),
        .limiter = COIL_LIMITER_INIT(1),
    };
}

static int be_alone(struct held *h)
{
    int r;

    CHECK_EQ(h->inside++, 0);
    CHECK_EQ(h->readers, 0);
    r = coil_sleep(COIL_MICROSECOND);
    h->inside--;
    return r;
}

static int be_among_readers(struct held *h)
{
    int r;

    CHECK_EQ(h->inside, 0);
    h->readers++;
    r = coil_sleep(COIL_MICROSECOND);
    h->readers--;
    return r;
}

static int lock_it(void *arg)
{
    struct held *h = arg;
    int r = coil_lock_acquire(&h->lock);

    if (r < 0)
        return r;
    r = be_alone(h);
    CHECK_EQ(coil_lock_release(&h->lock), 0);
    return r;
}

static int lock_scenario(void *arg)
{
    return TOGETHER(arg, lock_it, lock_it, lock_it);
}

static int write_it(void *arg)
{
    struct held *h = arg;
    int r = coil_rwlock_acquire_write(&h->rwlock);

    if (r < 0)
        return r;
    r = be_alone(h);
    CHECK_EQ(coil_rwlock_release_write(&h->rwlock), 0);
    return r;
}

static int read_it(void *arg)
{
    struct held *h = arg;
    int r = coil_rwlock_acquire_read(&h->rwlock);

    if (r < 0)
        return r;
    r = be_among_readers(h);
    CHECK_EQ(coil_rwlock_release_read(&h->rwlock), 0);
    return r;
}

static int rwlock_scenario(void *arg)
{
    return TOGETHER(arg, read_it, read_it, write_it, read_it, write_it);
}

static int take_it(void *arg)
{
    struct held *h = arg;
    int r = coil_semaphore_acquire(&h->semaphore);

    if (r < 0)
        return r;
    r = be_alone(h);
    CHECK_EQ(coil_semaphore_release(&h->semaphore), 0);
    return r;
}

static int semaphore_scenario(void *arg)
{
    return TOGETHER(arg, take_it, take_it, take_it);
}

static int borrow_it(void *arg)
{
    struct held *h = arg;
    struct coil_token token = COIL_TOKEN_INIT;
    int r = coil_limiter_acquire(&h->limiter, &token);

    if (r < 0)
        return r;
    r = be_alone(h);
    CHECK_EQ(coil_limiter_release(&h->limiter, &token), 0);
    return r;
}

static int limiter_scenario(void *arg)
{
    return TOGETHER(arg, borrow_it, borrow_it, borrow_it);
}

static int nothing_is_held(void *arg, int rc)
{
    const struct held *h = arg;
    struct coil_lock_stats lock;
    struct coil_rwlock_stats rwlock;
    struct coil_semaphore_stats semaphore;
    struct coil_limiter_stats limiter;

    (void)rc;
    coil_lock_stats(&h->lock, &lock);
    VERDICT(!lock.owner && !lock.owner_died && !lock.waiting);
    coil_rwlock_stats(&h->rwlock, &rwlock);
    VERDICT(!rwlock.writer && !rwlock.readers && !rwlock.writer_died && !rwlock.waiting);
    coil_semaphore_stats(&h->semaphore, &semaphore);
    VERDICT(semaphore.value == 1 && !semaphore.waiting);
    coil_limiter_stats(&h->limiter, &limiter);
    VERDICT(!limiter.borrowed && !limiter.waiting);
    VERDICT(!h->inside && !h->readers);
    return 0;
}

static void everywhere_held(coil_task_fn *scenario)
{
    struct held h;
    const struct coil_everywhere e = {.scenario = scenario,
                                      .arg = &h,
                                      .each_task = 1,
                                      .before = held_zero,
                                      .after = nothing_is_held};

    everywhere(&e);
}

Test(scenarios, s5_2_a_lock)
{
    everywhere_held(lock_scenario);
}

Test(scenarios, s5_4_a_semaphore)
{
    everywhere_held(semaphore_scenario);
}

Test(scenarios, s5_4_a_read_write_lock)
{
    everywhere_held(rwlock_scenario);
}

Test(scenarios, s5_5_a_limiter)
{
    everywhere_held(limiter_scenario);
}

/* --- Condition and barrier -------------------------------------------------------------------- */

struct shelf {
    struct coil_lock lock;
    struct coil_condition filled;
    struct coil_barrier barrier;
    int items;
    int taken;
};

static void shelf_zero(void *arg)
{
    *(struct shelf *)arg = (struct shelf){
        .lock = COIL_LOCK_INIT,
        .filled = COIL_CONDITION_INIT,
        .barrier = COIL_BARRIER_INIT(2),
    };
}

static int has_items(void *shelf)
{
    return ((struct shelf *)shelf)->items > 0;
}

static int take_item(void *arg)
{
    struct shelf *s = arg;
    int r = coil_lock_acquire(&s->lock);

    if (r < 0)
        return r;
    r = coil_condition_wait_for(&s->filled, &s->lock, has_items, s);
    if (r > 0) {
        s->items--;
        s->taken++;
    }
    CHECK_EQ(coil_lock_release(&s->lock), 0); /* cancelled or not, we hold it */
    return r;
}

static int put_items(void *arg)
{
    struct shelf *s = arg;

    for (int i = 0; i < 2; i++) {
        int r = coil_lock_acquire(&s->lock);

        if (r < 0)
            return r;
        s->items++;
        (void)coil_condition_notify(&s->filled, 1);
        r = coil_checkpoint();
        CHECK_EQ(coil_lock_release(&s->lock), 0);
        if (r < 0)
            return r;
    }
    return 0;
}

static int condition_scenario(void *arg)
{
    return TOGETHER(arg, take_item, take_item, put_items);
}

static int meet_twice(void *arg)
{
    struct shelf *s = arg;
    int r = coil_barrier_wait(&s->barrier);

    return r < 0 ? r : coil_barrier_wait(&s->barrier);
}

static int barrier_scenario(void *arg)
{
    return TOGETHER(arg, meet_twice, meet_twice);
}

static int shelf_is_in_order(void *arg, int rc)
{
    const struct shelf *s = arg;
    struct coil_lock_stats lock;
    struct coil_condition_stats filled;
    struct coil_barrier_stats barrier;

    coil_lock_stats(&s->lock, &lock);
    VERDICT(!lock.owner && !lock.owner_died && !lock.waiting);
    coil_condition_stats(&s->filled, &filled);
    VERDICT(!filled.waiting);
    coil_barrier_stats(&s->barrier, &barrier);
    VERDICT(!barrier.waiting);
    VERDICT(rc < 0 || s->items == 0 || s->taken < 2);
    return 0;
}

static void everywhere_shelf(coil_task_fn *scenario)
{
    struct shelf s;
    const struct coil_everywhere e = {
        .scenario = scenario, .arg = &s, .before = shelf_zero, .after = shelf_is_in_order};

    everywhere(&e);
}

Test(scenarios, s5_3_a_condition)
{
    everywhere_shelf(condition_scenario);
}

Test(scenarios, s5_4_a_barrier)
{
    everywhere_shelf(barrier_scenario);
}

/* --- Event, watch, future --------------------------------------------------------------------- */

struct news {
    struct coil_event event;
    struct coil_watch watch;
    struct coil_future future;
    int values[2];
};

static void news_zero(void *arg)
{
    *(struct news *)arg = (struct news){
        .event = COIL_EVENT_INIT, .watch = COIL_WATCH_INIT, .future = COIL_FUTURE_INIT};
}

/* Tells the others whatever happens to itself. */
static int bring_news(void *arg)
{
    struct news *n = arg;
    int r = coil_sleep(COIL_MILLISECOND);

    coil_event_set(&n->event);
    coil_watch_notify(&n->watch);
    CHECK_EQ(coil_future_set(&n->future, 0, n->values), 0);
    return r;
}

static int await_event_and_watch(void *arg)
{
    struct news *n = arg;
    uint64_t seen = 0;
    int r = coil_event_wait(&n->event);

    if (r >= 0)
        r = coil_watch_wait(&n->watch, &seen);
    if (r >= 0)
        CHECK_EQ(seen, 1);
    return r;
}

static int await_future(void *arg)
{
    struct news *n = arg;
    void *value = NULL;
    int r = coil_future_wait(&n->future, &value);

    CHECK(value == (r < 0 ? NULL : n->values));
    return r;
}

static int news_scenario(void *arg)
{
    return TOGETHER(arg, bring_news, await_event_and_watch, await_future, await_future);
}

static int nobody_waits(void *arg, int rc)
{
    const struct news *n = arg;
    struct coil_event_stats event;
    struct coil_watch_stats watch;
    struct coil_future_stats future;

    (void)rc;
    coil_event_stats(&n->event, &event);
    coil_watch_stats(&n->watch, &watch);
    coil_future_stats(&n->future, &future);
    VERDICT(!event.waiting && !watch.waiting && !future.waiting);
    return 0;
}

Test(scenarios, s5_8_an_event_a_watch_and_a_future)
{
    struct news n;
    const struct coil_everywhere e = {.scenario = news_scenario,
                                      .arg = &n,
                                      .each_task = 1,
                                      .before = news_zero,
                                      .after = nobody_waits};

    everywhere(&e);
}

/* --- Broadcast -------------------------------------------------------------------------------- */

struct radio {
    struct coil_broadcast sender;
    struct coil_broadcast_receiver receivers[2];
    int heard[2];
};

static int send_all(void *arg)
{
    struct radio *r = arg;
    int rc = 0;

    for (int i = 0; i < ITEMS && rc >= 0; i++) {
        CHECK_EQ(coil_broadcast_send(&r->sender, &i), 0);
        rc = coil_sleep(COIL_MICROSECOND);
    }
    coil_broadcast_close(&r->sender);
    return rc;
}

static int hear(struct radio *r, int i)
{
    int item;
    int rc;

    while ((rc = coil_broadcast_receive(&r->receivers[i], &item)) > 0)
        CHECK_EQ(item, r->heard[i]++);
    return rc;
}

static int hear_first(void *arg)
{
    return hear(arg, 0);
}

static int hear_second(void *arg)
{
    return hear(arg, 1);
}

static int broadcast_scenario(void *arg)
{
    struct radio r = {.heard = {0}};
    int rc = coil_broadcast_open(&r.sender, sizeof(int));

    (void)arg;
    for (int i = 0; i < 2 && rc >= 0; i++)
        rc = coil_broadcast_subscribe(&r.sender, &r.receivers[i], ITEMS);
    if (rc >= 0)
        rc = TOGETHER(&r, send_all, hear_first, hear_second);
    coil_broadcast_close(&r.sender);
    for (int i = 0; i < 2; i++)
        coil_broadcast_receiver_close(&r.receivers[i]);
    return rc;
}

Test(scenarios, s5_7_a_broadcast)
{
    const struct coil_everywhere e = {.scenario = broadcast_scenario, .each_task = 1};

    everywhere(&e);
}

/* --- Select ----------------------------------------------------------------------------------- */

struct choice {
    struct coil_sender tx;
    struct coil_receiver rx;
    struct coil_event event;
    int ends[2];
    int sent;
    int received;
};

static int offer_all(void *arg)
{
    struct choice *c = arg;
    char byte = 'x';
    int r = coil_channel_send(&c->tx, &c->sent);

    c->sent += r >= 0;
    if (r >= 0)
        r = (int)coil_write(c->ends[1], &byte, 1);
    coil_event_set(&c->event);
    return r < 0 ? r : 0;
}

static int choose_until_event(void *arg)
{
    struct choice *c = arg;
    int item;
    char byte;

    for (;;) {
        struct coil_case cases[] = {COIL_CASE_RECEIVE(&c->rx, &item),
                                    COIL_CASE_READABLE(c->ends[0]), COIL_CASE_EVENT(&c->event)};
        int r = coil_select(cases, 3);

        c->received += r == 0 && cases[0].result == 1;
        if (r >= 0 && r < 2 && cases[r].result < 0)
            return cases[r].result;
        if (r == 1)
            r = (int)coil_read(c->ends[0], &byte, 1);
        if (r < 0 || r == 2)
            return r < 0 ? r : 0;
    }
}

static int select_scenario(void *arg)
{
    struct choice *c = arg;
    const struct coil_channel_options options = {.item_size = sizeof(int)};
    int r;

    *c = (struct choice){.event = COIL_EVENT_INIT};
    r = coil_channel_open(&c->tx, &c->rx, &options);
    if (r < 0)
        return r;
    CHECK_EQ(pipe2(c->ends, O_CLOEXEC | O_NONBLOCK), 0);
    r = TOGETHER(c, offer_all, choose_until_event);
    coil_sender_close(&c->tx);
    coil_receiver_close(&c->rx);
    (void)coil_close(c->ends[0]);
    (void)coil_close(c->ends[1]);
    return r;
}

static int what_was_sent_was_received(void *arg, int rc)
{
    const struct choice *c = arg;

    (void)rc;
    VERDICT(c->sent == c->received); /* the channel holds nothing */
    return 0;
}

Test(scenarios, s5_9_a_select_over_a_channel_a_pipe_and_an_event)
{
    struct choice c;
    const struct coil_everywhere e = {
        .scenario = select_scenario, .arg = &c, .after = what_was_sent_was_received};

    everywhere(&e);
}

/* --- Start, and tasks without a stack --------------------------------------------------------- */

static int serve_a_while(void *arg)
{
    int r = coil_sleep(COIL_MICROSECOND); /* before it has started */

    (void)arg;
    if (r < 0)
        return r;
    r = coil_started(7);
    return r < 0 ? r : coil_sleep(COIL_MICROSECOND);
}

static int start_scenario(void *arg)
{
    struct coil_group g;
    intptr_t value = 7;
    int rc;

    (void)arg;
    coil_group_begin(&g);
    rc = coil_group_start(&g, serve_a_while, NULL, &value);
    CHECK_EQ(value, 7);
    return coil_group_end(&g, rc);
}

Test(scenarios, s3_6_a_task_that_says_when_it_has_started)
{
    const struct coil_everywhere e = {.scenario = start_scenario};

    everywhere(&e);
}

struct sleepers {
    int ends[2];
    int rounds;
};

static int read_again(void *arg)
{
    struct sleepers *s = arg;
    char byte;
    int r = (int)coil_read(s->ends[0], &byte, 1);

    if (r < 0)
        return r;
    return ++s->rounds < 2 ? coil_again_readable(s->ends[0]) : 0;
}

static int write_one(void *arg)
{
    const struct sleepers *s = arg;
    int r = (int)coil_write(s->ends[1], "x", 1);

    return r < 0 ? r : 0;
}

static int dormant_scenario(void *arg)
{
    struct sleepers s = {.rounds = 0};
    struct coil_group g;
    int rc;

    (void)arg;
    CHECK_EQ(pipe2(s.ends, O_CLOEXEC | O_NONBLOCK), 0);
    coil_group_begin(&g);
    rc = coil_group_spawn_readable(&g, s.ends[0], read_again, &s);
    for (int i = 1; i <= 2 && rc >= 0; i++)
        rc = coil_group_spawn_later(&g, coil_now() + i * COIL_MILLISECOND, write_one, &s);
    rc = coil_group_end(&g, rc);
    (void)coil_close(s.ends[0]);
    (void)coil_close(s.ends[1]);
    return rc;
}

Test(scenarios, s3_7_tasks_without_a_stack)
{
    const struct coil_everywhere e = {.scenario = dormant_scenario};

    everywhere(&e);
}

/* --- What users build on parking -------------------------------------------------------------- */

/* The first breaks the sequence if it is stopped, and then the others have no turn. */
static int turn_of(struct coil_sequencer *s, unsigned int number)
{
    int r = coil_sequencer_begin(s, number);

    if (r < 0)
        return r == -EPIPE ? 0 : r;
    r = coil_sleep(COIL_MICROSECOND);
    coil_sequencer_end(s);
    return r;
}

static int turn_0(void *s)
{
    return turn_of(s, 0);
}

static int turn_1(void *s)
{
    return turn_of(s, 1);
}

static int turn_2(void *s)
{
    return turn_of(s, 2);
}

static int turns_scenario(void *arg)
{
    struct coil_sequencer s = {0};

    (void)arg;
    return TOGETHER(&s, turn_2, turn_0, turn_1);
}

Test(scenarios, s5_11_turns_that_are_made_of_parking)
{
    const struct coil_everywhere e = {.scenario = turns_scenario, .each_task = 1};

    everywhere(&e);
}

/* --- Gather ----------------------------------------------------------------------------------- */

static int open_after(void *delay)
{
    int r = coil_sleep(*(int64_t *)delay);

    return r < 0 ? r : coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);
}

static void close_result(void *arg, int fd)
{
    (void)arg;
    (void)coil_close(fd);
}

/* Whoever wins or comes late, each descriptor is closed. */
static int first_of_scenario(void *arg)
{
    static int64_t delays_ns[] = {COIL_MILLISECOND, COIL_MILLISECOND, 2 * COIL_MILLISECOND};
    struct coil_call calls[3];
    int fd;

    (void)arg;
    for (int i = 0; i < 3; i++)
        calls[i] = (struct coil_call){.fn = open_after, .arg = &delays_ns[i]};
    fd = coil_first_of(calls, 3, close_result, NULL);
    if (fd >= 0)
        (void)coil_close(fd);
    return fd < 0 ? fd : 0;
}

Test(scenarios, s3_9_the_first_of_several_and_the_late_results_of_the_others)
{
    const struct coil_everywhere e = {.scenario = first_of_scenario, .each_task = 1};

    everywhere(&e);
}

static int completions_scenario(void *arg)
{
    static int64_t delays_ns[] = {2 * COIL_MICROSECOND, COIL_MICROSECOND};
    struct coil_call calls[2];
    struct coil_completions c;
    struct coil_call *call;
    int rc;

    (void)arg;
    for (int i = 0; i < 2; i++)
        calls[i] = (struct coil_call){.fn = open_after, .arg = &delays_ns[i]};
    rc = coil_completions_begin(&c, calls, 2);
    if (rc < 0)
        return rc;
    while ((rc = coil_completions_next(&c, &call)) > 0)
        continue;
    rc = coil_completions_end(&c, rc);
    for (int i = 0; i < 2; i++)
        if (coil_task_result(&calls[i].handle) >= 0)
            (void)coil_close(coil_task_result(&calls[i].handle));
    return rc;
}

Test(scenarios, s3_9_calls_as_they_complete)
{
    const struct coil_everywhere e = {.scenario = completions_scenario, .each_task = 1};

    everywhere(&e);
}
