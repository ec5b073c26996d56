/* instrument.c - semantics.md 8.3: being told what the loop does. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "parker.h"

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

/* What an instrument was told, a letter each; an upper case one is about "main". */
struct tape {
    char said[256];
    size_t len;
    int steps_open;
    int waits_open;
    int64_t deadline_ns; /* of the last wait */
};

static void note(struct tape *tape, char letter)
{
    CHECK(tape->len < sizeof(tape->said) - 1);
    tape->said[tape->len++] = letter;
    CHECK(coil_task_self() == NULL);
}

static bool is_main(const struct coil_task *t)
{
    struct coil_task_info info;

    coil_task_look(t, &info);
    return strcmp(info.name, "main") == 0;
}

static void note_task(struct tape *tape, char letter, const struct coil_task *t)
{
    note(tape, is_main(t) ? (char)(letter - 'a' + 'A') : letter);
}

static void before_run(void *ctx)
{
    note(ctx, '<');
}

static void after_run(void *ctx)
{
    note(ctx, '>');
}

static void spawned(void *ctx, struct coil_task *t)
{
    note_task(ctx, 'n', t);
}

static void scheduled(void *ctx, struct coil_task *t)
{
    note_task(ctx, 's', t);
}

static void before_step(void *ctx, struct coil_task *t)
{
    CHECK_EQ(((struct tape *)ctx)->steps_open++, 0);
    note_task(ctx, 'b', t);
}

static void after_step(void *ctx, struct coil_task *t)
{
    CHECK_EQ(--((struct tape *)ctx)->steps_open, 0);
    note_task(ctx, 'a', t);
}

static void exited(void *ctx, struct coil_task *t)
{
    note_task(ctx, 'e', t);
}

static void before_wait(void *ctx, int64_t deadline_ns)
{
    struct tape *tape = ctx;

    CHECK_EQ(tape->waits_open++, 0);
    tape->deadline_ns = deadline_ns;
}

static void after_wait(void *ctx)
{
    CHECK_EQ(--((struct tape *)ctx)->waits_open, 0);
}

static struct coil_instrument everything(struct tape *tape)
{
    return (struct coil_instrument){
        .before_run = before_run,
        .after_run = after_run,
        .task_spawned = spawned,
        .task_scheduled = scheduled,
        .before_step = before_step,
        .after_step = after_step,
        .task_exited = exited,
        .before_wait = before_wait,
        .after_wait = after_wait,
        .ctx = tape,
    };
}

static void expect(const struct tape *tape, const char *said)
{
    if (strcmp(tape->said, said) != 0)
        fprintf(stderr, "said %s, not %s\n", tape->said, said);
    CHECK(strcmp(tape->said, said) == 0);
    CHECK_EQ(tape->steps_open, 0);
    CHECK_EQ(tape->waits_open, 0);
}

static int run_with(const struct coil_instrument *i, coil_task_fn *fn, void *arg)
{
    struct coil_loop_options options = harness_options();

    harness_need_backend();
    options.shuffle_seed = 0;
    options.instrument = i;
    return coil_run(&options, fn, arg);
}

static int give_way_once(void *arg)
{
    (void)arg;
    coil_yield_shielded();
    return 0;
}

static int spawn_one(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    SPAWN(&g, give_way_once, NULL);
    return coil_group_end(&g, 0);
}

Test(instrument, s8_3_every_hook_is_called_in_order)
{
    struct tape tape = {.len = 0};
    struct coil_instrument i = everything(&tape);

    CHECK_EQ(run_with(&i, spawn_one, NULL), 0);
    expect(&tape, "<NSBnsAbsabSeaBEA>");
}

static int sleep_once(void *arg)
{
    *(int64_t *)arg = coil_now() + 200 * COIL_MILLISECOND;
    return coil_sleep_until(*(int64_t *)arg);
}

static void keep_deadline(void *ctx, int64_t deadline_ns)
{
    *(int64_t *)ctx = deadline_ns;
}

Test(instrument, s8_3_a_wait_says_until_when)
{
    int64_t until_ns = 0;
    int64_t told_ns = 0;
    struct coil_instrument i = {.before_wait = keep_deadline, .ctx = &told_ns};

    CHECK_EQ(run_with(&i, sleep_once, &until_ns), 0);
    CHECK(told_ns > 0 && told_ns <= until_ns);
}

/* --- Adding and removing --------------------------------------------------------------------- */

COIL_TEST_IN_ORDER(instrument, s8_3_several_are_told_until_they_are_removed)
{
    struct tape tapes[3] = {{.len = 0}, {.len = 0}, {.len = 0}};
    struct coil_instrument all[3];

    for (int i = 0; i < 3; i++) {
        all[i] = everything(&tapes[i]);
        CHECK_EQ(coil_instrument_add(&all[i]), 0);
        CHECK_EQ(coil_instrument_add(&all[i]), 0); /* changes nothing */
    }
    coil_instrument_remove(&all[1]);
    coil_instrument_remove(&all[1]);
    CHECK_EQ(spawn_one(NULL), 0);
    coil_instrument_remove(&all[2]);
    CHECK_EQ(spawn_one(NULL), 0);
    coil_instrument_remove(&all[0]);
    CHECK_EQ(spawn_one(NULL), 0);
    expect(&tapes[1], "");
    tapes[0].steps_open--; /* they were removed within a step */
    tapes[2].steps_open--;
    expect(&tapes[2], "nsbsabSeaB");
    expect(&tapes[0], "nsbsabSeaBnsAbsabSeaB");
}

COIL_TEST(instrument, s8_3_there_is_room_for_eight)
{
    struct coil_instrument all[COIL_INSTRUMENTS_MOST + 1];

    memset(all, 0, sizeof(all));
    for (int i = 0; i < COIL_INSTRUMENTS_MOST; i++)
        CHECK_EQ(coil_instrument_add(&all[i]), 0);
    CHECK_EQ(coil_instrument_add(&all[COIL_INSTRUMENTS_MOST]), -ENOSPC);
    CHECK_EQ(coil_instrument_add(&all[0]), 0);
    coil_instrument_remove(&all[3]);
    CHECK_EQ(coil_instrument_add(&all[COIL_INSTRUMENTS_MOST]), 0);
    CHECK_EQ(spawn_one(NULL), 0);
    for (int i = 0; i <= COIL_INSTRUMENTS_MOST; i++)
        coil_instrument_remove(&all[i]);
    CHECK_EQ(coil_instrument_add(NULL), -EINVAL);
}

Test(instrument, s8_3_outside_of_a_loop_there_is_nothing_to_be_told)
{
    static const struct coil_instrument nothing;

    CHECK_EQ(coil_instrument_add(&nothing), -EINVAL);
    coil_instrument_remove(&nothing);
}

/* One that removes itself, and another, when it is told of a step. */
struct fickle {
    struct coil_instrument self;
    const struct coil_instrument *other;
    int calls;
};

static void leave(void *ctx, struct coil_task *t)
{
    struct fickle *f = ctx;

    (void)t;
    f->calls++;
    coil_instrument_remove(&f->self);
    if (f->other)
        coil_instrument_remove(f->other);
}

static void count_call(void *ctx, struct coil_task *t)
{
    (void)t;
    ++*(int *)ctx;
}

COIL_TEST(instrument, s8_3_a_hook_may_remove_its_instrument_and_others)
{
    int calls[2] = {0, 0};
    struct coil_instrument before = {.before_step = count_call, .ctx = &calls[0]};
    struct coil_instrument after = {.before_step = count_call, .ctx = &calls[1]};
    struct fickle f = {.self = {.before_step = leave, .ctx = &f}, .other = &before};

    CHECK_EQ(coil_instrument_add(&before), 0);
    CHECK_EQ(coil_instrument_add(&f.self), 0);
    CHECK_EQ(coil_instrument_add(&after), 0);
    coil_yield_shielded();
    CHECK_EQ(calls[0], 1);
    CHECK_EQ(f.calls, 1);
    CHECK_EQ(calls[1], 1);
    coil_yield_shielded();
    CHECK_EQ(calls[0], 1);
    CHECK_EQ(f.calls, 1);
    CHECK_EQ(calls[1], 2);
    coil_instrument_remove(&after);
}

/* One that, told of a step, leaves and comes back, and has another come: both are last then. */
struct returning {
    struct coil_instrument self;
    const struct coil_instrument *newcomer;
    int calls;
};

static void leave_and_come_back(void *ctx, struct coil_task *t)
{
    struct returning *r = ctx;

    (void)t;
    CHECK(r->calls++ < 3);
    coil_instrument_remove(&r->self);
    CHECK_EQ(coil_instrument_add(&r->self), 0);
    CHECK_EQ(coil_instrument_add(r->newcomer), 0);
}

COIL_TEST(instrument, s8_3_what_a_hook_adds_is_told_from_the_next_event_on)
{
    int calls[2] = {0, 0};
    struct coil_instrument there = {.before_step = count_call, .ctx = &calls[0]};
    struct coil_instrument newcomer = {.before_step = count_call, .ctx = &calls[1]};
    struct returning r = {.self = {.before_step = leave_and_come_back, .ctx = &r}};

    r.newcomer = &newcomer;
    CHECK_EQ(coil_instrument_add(&r.self), 0);
    CHECK_EQ(coil_instrument_add(&there), 0);
    for (int step = 1; step <= 3; step++) {
        coil_yield_shielded();
        CHECK_EQ(r.calls, step);
        CHECK_EQ(calls[0], step);
        CHECK_EQ(calls[1], step - 1);
    }
    coil_instrument_remove(&r.self);
    coil_instrument_remove(&there);
    coil_instrument_remove(&newcomer);
}

static int end_at_once(void *arg)
{
    ++*(int *)arg;
    return 0;
}

/* The last instrument goes in the middle of a turn; the loop's own stack has steps to come back
 * to. */
COIL_TEST(instrument, s8_3_the_last_may_be_removed_within_a_turn)
{
    struct coil_group g;
    int ended = 0;

    for (int round = 0; round < 10; round++) {
        struct fickle f = {.self = {.before_step = leave, .ctx = &f}};
        struct fickle late = {.self = {.after_step = leave, .ctx = &late}};

        coil_group_begin(&g);
        for (int i = 0; i < 100; i++)
            SPAWN(&g, i % 2 ? end_at_once : give_way_once, &ended);
        CHECK_EQ(coil_instrument_add(&f.self), 0);
        CHECK_EQ(coil_instrument_add(&late.self), 0);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(f.calls, 1);
        CHECK_EQ(late.calls, 1);
    }
    CHECK_EQ(ended, 500);
}

COIL_TEST_IN_ORDER(instrument, s8_3_who_is_watched_runs_in_the_same_order)
{
    struct tape tape = {.len = 0};
    struct coil_instrument i = everything(&tape);
    struct parker p[3] = {{.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}};
    struct coil_group g;

    p[2].answer = COIL_ABORT_DONE;
    coil_group_begin(&g);
    for (int k = 0; k < 3; k++)
        SPAWN(&g, parker_run, &p[k]);
    coil_yield_shielded();
    CHECK_EQ(coil_instrument_add(&i), 0);
    for (int k = 0; k < 3; k++)
        parker_unpark(&p[k], 0);
    coil_yield_shielded();
    coil_instrument_remove(&i);
    CHECK(p[0].over && p[1].over && p[2].over);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    tape.steps_open--;
    expect(&tape, "sssbeabeabeaB");
}

/* --- What a hook may do ---------------------------------------------------------------------- */

static int ignore(void *ctx, const char *piece, size_t len)
{
    ++*(int *)ctx;
    CHECK(len > 0 && piece);
    return 0;
}

static void dump_all(void *ctx)
{
    CHECK_EQ(coil_dump(COIL_DUMP_TEXT, ignore, ctx), 0);
    CHECK_EQ(coil_dump(COIL_DUMP_JSON, ignore, ctx), 0);
}

static void dump_task(void *ctx, struct coil_task *t)
{
    struct coil_task_info info;

    coil_task_look(t, &info);
    CHECK(info.name && info.site);
    dump_all(ctx);
}

static void dump_wait(void *ctx, int64_t deadline_ns)
{
    (void)deadline_ns;
    dump_all(ctx);
}

static int spawn_and_sleep(void *arg)
{
    CHECK_EQ(spawn_one(arg), 0);
    return coil_sleep(1);
}

Test(instrument, s8_3_every_hook_may_dump)
{
    int pieces = 0;
    struct coil_instrument i = {dump_all,  dump_all,  dump_task, dump_task, dump_task,
                                dump_task, dump_task, dump_wait, dump_all,  &pieces};

    CHECK_EQ(run_with(&i, spawn_and_sleep, NULL), 0);
    CHECK(pieces >= 2 * 17);
}

struct meddler {
    struct coil_group *group;
    struct coil_task *sleeper;
    int spawned;
    int calls;
};

/* Before the loop would sleep for good, somebody becomes ready. */
static void wake_the_sleeper(void *ctx, int64_t deadline_ns)
{
    struct meddler *m = ctx;

    m->calls++;
    if (m->sleeper && deadline_ns == COIL_FOREVER) {
        coil_unpark(m->sleeper, 5);
        m->sleeper = NULL;
    }
}

COIL_TEST(instrument, s8_3_a_hook_may_wake_whom_the_loop_would_sleep_for)
{
    struct meddler m = {.sleeper = coil_task_self()};
    struct coil_instrument i = {.before_wait = wake_the_sleeper, .ctx = &m};

    CHECK_EQ(coil_instrument_add(&i), 0);
    CHECK_EQ(coil_park(NULL, NULL, "a hook"), 5);
    CHECK(m.calls > 0);
    coil_instrument_remove(&i);
}

static void spawn_another(void *ctx, struct coil_task *t)
{
    struct meddler *m = ctx;

    (void)t;
    m->calls++;
    SPAWN(m->group, end_at_once, &m->spawned);
}

COIL_TEST(instrument, s8_3_what_a_hook_does_itself_is_not_told)
{
    struct meddler m = {.calls = 0};
    struct coil_instrument i = {.task_spawned = spawn_another, .ctx = &m};
    struct coil_group g;

    m.group = &g;
    coil_group_begin(&g);
    CHECK_EQ(coil_instrument_add(&i), 0);
    SPAWN(&g, give_way_once, NULL);
    coil_instrument_remove(&i);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(m.calls, 1);
    CHECK_EQ(m.spawned, 1);
}

static void wait_in_a_hook(void *ctx, struct coil_task *t)
{
    (void)ctx;
    (void)t;
    (void)!coil_checkpoint();
}

static void run_waiting_hook(void)
{
    static const struct coil_instrument i = {.task_spawned = wait_in_a_hook};

    (void)!run_with(&i, give_way_once, NULL);
}

Test(instrument, s8_3_a_hook_that_waits_aborts_with_a_line)
{
    harness_need_backend();
    CHECK(strstr(harness_abort_line(run_waiting_hook),
                 "coil: coil_checkpoint in an instrument: it must not wait\n"));
}

static void abort_and_note(void *ctx, struct coil_task *t)
{
    struct coil_task_info info;

    coil_task_look(t, &info);
    CHECK_EQ(info.state, COIL_TASK_READY);
    ++*(int *)ctx;
}

COIL_TEST(instrument, s8_3_a_cancel_is_seen_as_the_task_made_ready)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    int calls = 0;
    struct coil_instrument i = {.task_scheduled = abort_and_note, .ctx = &calls};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p);
    parker_await(&p);
    CHECK_EQ(coil_instrument_add(&i), 0);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(calls, 1);
    coil_instrument_remove(&i);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- Tasks that had no stack ------------------------------------------------------------------ */

static struct coil_handle woken;

static int sleep_till_cancelled(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

static void cancel_the_group(void *group, struct coil_task *t)
{
    (void)t;
    coil_scope_cancel(coil_group_scope(group), "a hook");
}

static void cancel_the_woken(void *ctx, struct coil_task *t)
{
    (void)ctx;
    (void)t;
    coil_task_cancel(&woken, "a hook");
}

COIL_TEST(instrument, a_hook_may_cancel_the_group_of_a_task_that_wakes)
{
    struct coil_group g;
    struct coil_instrument i = {.task_spawned = cancel_the_group, .ctx = &g};

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later(&g, coil_now() + COIL_MILLISECOND, sleep_till_cancelled, NULL),
             0);
    CHECK_EQ(coil_instrument_add(&i), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    coil_instrument_remove(&i);
}

COIL_TEST(instrument, a_hook_may_cancel_a_task_that_wakes_to_read)
{
    const struct coil_spawn_options options = {.handle = &woken};
    struct coil_instrument i = {.task_spawned = cancel_the_woken};
    struct coil_group g;
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable_with(&g, ends[0], sleep_till_cancelled, NULL, &options), 0);
    CHECK_EQ(coil_instrument_add(&i), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    coil_instrument_remove(&i);
    CHECK_EQ(coil_task_status(&woken), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

struct tally {
    int spawned;
    int exited;
};

static void count_spawned(void *tally, struct coil_task *t)
{
    (void)t;
    ((struct tally *)tally)->spawned++;
}

static void count_exited(void *tally, struct coil_task *t)
{
    (void)t;
    ((struct tally *)tally)->exited++;
}

static int come_twice(void *rounds)
{
    return ++*(int *)rounds == 1 ? coil_again_later(coil_now()) : 0;
}

COIL_TEST(instrument, a_task_that_goes_back_to_sleep_has_exited)
{
    struct tally tally = {0};
    struct coil_instrument i = {
        .task_spawned = count_spawned, .task_exited = count_exited, .ctx = &tally};
    struct coil_group g;
    int rounds = 0;

    CHECK_EQ(coil_instrument_add(&i), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, come_twice, &rounds), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    coil_instrument_remove(&i);
    CHECK_EQ(rounds, 2);
    CHECK_EQ(tally.spawned, 2);
    CHECK_EQ(tally.exited, 2);
}

#define READERS 40

/* Of many that read, and whose bytes are all there. */
struct readers {
    int ends[READERS][2];
    struct coil_group group;
    int got;
    int cancelled;
    bool armed;
};

struct reader {
    struct readers *all;
    int fd;
};

static int read_a_byte(void *arg)
{
    const struct reader *r = arg;
    char byte;
    int n = (int)coil_read(r->fd, &byte, 1);

    r->all->got += n == 1;
    r->all->cancelled += n == -ECANCELED;
    return n < 0 ? n : 0;
}

static void cancel_them_once(void *ctx, struct coil_task *t)
{
    struct readers *r = ctx;

    (void)t;
    if (r->armed)
        coil_scope_cancel(coil_group_scope(&r->group), "a hook");
    r->armed = false;
}

static int count_left_and_close(struct readers *r)
{
    int left = 0;
    char byte;

    for (int i = 0; i < READERS; i++) {
        left += read(r->ends[i][0], &byte, 1) == 1;
        CHECK_EQ(coil_close(r->ends[i][0]), 0);
        CHECK_EQ(close(r->ends[i][1]), 0);
    }
    return left;
}

/* The hook comes when the backend is out of its wait: what it cancels, the backend is not in the
 * midst of completing. */
COIL_TEST(instrument, a_hook_may_cancel_while_many_complete_and_no_byte_is_lost)
{
    struct readers r = {.got = 0};
    struct reader readers[READERS];
    struct coil_instrument i = {.task_scheduled = cancel_them_once, .ctx = &r};

    coil_group_begin(&r.group);
    for (int k = 0; k < READERS; k++) {
        CHECK_EQ(pipe2(r.ends[k], O_CLOEXEC | O_NONBLOCK), 0);
        readers[k] = (struct reader){&r, r.ends[k][0]};
        SPAWN(&r.group, read_a_byte, &readers[k]);
    }
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    for (int k = 0; k < READERS; k++)
        CHECK_EQ(write(r.ends[k][1], "x", 1), 1);
    CHECK_EQ(coil_instrument_add(&i), 0);
    r.armed = true;
    CHECK_EQ(coil_group_end(&r.group, 0), 0);
    coil_instrument_remove(&i);
    CHECK(!r.armed);
    CHECK_EQ(r.got + r.cancelled, READERS);
    CHECK_EQ(count_left_and_close(&r), READERS - r.got);
}

/* Whom a wait made ready, and that they are told once each, all of them ready by then. */
static void count_ready(void *ctx, struct coil_task *t)
{
    struct coil_stats stats;
    int *told = ctx;

    (void)t;
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.operations, 0);
    ++*told;
}

COIL_TEST(instrument, s8_3_whom_a_wait_makes_ready_is_told_once_after_it)
{
    struct readers r = {.got = 0};
    struct reader reader = {&r, -1};
    int told = 0;
    struct coil_instrument i = {.task_scheduled = count_ready, .ctx = &told};

    CHECK_EQ(pipe2(r.ends[0], O_CLOEXEC | O_NONBLOCK), 0);
    reader.fd = r.ends[0][0];
    coil_group_begin(&r.group);
    SPAWN(&r.group, read_a_byte, &reader);
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    CHECK_EQ(write(r.ends[0][1], "x", 1), 1);
    CHECK_EQ(coil_instrument_add(&i), 0);
    CHECK_EQ(coil_group_end(&r.group, 0), 0);
    coil_instrument_remove(&i);
    CHECK_EQ(told, 2); /* the reader, and whoever awaits it */
    CHECK_EQ(r.got, 1);
    CHECK_EQ(coil_close(r.ends[0][0]), 0);
    CHECK_EQ(close(r.ends[0][1]), 0);
}

static void look_at_timers(void *ctx, struct coil_task *t)
{
    struct coil_stats stats;

    (void)t;
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.timers, 0);
    CHECK_EQ(stats.next_deadline_ns, COIL_FOREVER);
    ++*(int *)ctx;
}

COIL_TEST(instrument, s8_2_a_timer_that_coil_needs_for_itself_is_not_counted)
{
    int told = 0;
    struct coil_instrument i = {.task_scheduled = look_at_timers, .ctx = &told};
    struct coil_scope s;

    CHECK_EQ(coil_instrument_add(&i), 0);
    coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    coil_instrument_remove(&i);
    CHECK_EQ(told, 1);
}
