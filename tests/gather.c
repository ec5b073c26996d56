/* gather.c - semantics.md 3.9: all of n, the first of n, as completed, map with a limit. */
#include "parker.h"
#include "scarce.h"

static bool same(const char *left, const char *right)
{
    return left && right && strcmp(left, right) == 0;
}

static struct coil_stats stats_now(void)
{
    struct coil_stats stats;

    CHECK_EQ(coil_loop_stats(&stats), 0);
    return stats;
}

static int return_it(void *arg)
{
    return *(const int *)arg;
}

/* A call that waits for its turn: so many times it gives way, whatever anybody asks. */
struct slow {
    int turns;
    int result;
    int disposed; /* how often */
    int disposed_result;
};

static int run_slowly(void *arg)
{
    const struct slow *s = arg;

    for (int i = 0; i < s->turns; i++)
        coil_yield_shielded();
    return s->result;
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

static void dispose(void *arg, int result)
{
    struct slow *s = arg;

    s->disposed++;
    s->disposed_result = result;
}

static int result_of(const struct coil_call *c)
{
    return coil_task_result(&c->handle);
}

static enum coil_status status_of(const struct coil_call *c)
{
    return coil_task_status(&c->handle);
}

/* Runs what with no memory for another stack. */
static void starve(void (*what)(void))
{
    scarce_begin();
    what();
    scarce_end();
}

/* --- All of n -------------------------------------------------------------------------------- */

COIL_TEST(gather, s3_9_all_of_has_the_results_in_order)
{
    struct slow s[3] = {{.turns = 9, .result = 1}, {.turns = 0, .result = 2}, {.result = 3}};
    struct coil_call calls[3];

    for (int i = 0; i < 3; i++)
        calls[i] = (struct coil_call){run_slowly, &s[i]};
    CHECK_EQ(coil_all_of(calls, 3), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(result_of(&calls[i]), i + 1);
        CHECK_EQ(status_of(&calls[i]), COIL_STATUS_FINISHED);
    }
}

COIL_TEST(gather, s3_9_all_of_none_is_a_success)
{
    CHECK_EQ(coil_all_of(NULL, 0), 0);
}

COIL_TEST(gather, s3_9_all_of_fails_with_the_first_failure_and_the_others_are_cancelled)
{
    struct slow s = {.turns = 2, .result = -EIO};
    struct coil_call calls[] = {{sleep_for_ever}, {run_slowly, &s}, {sleep_for_ever}};

    CHECK_EQ(coil_all_of(calls, 3), -EIO);
    CHECK_EQ(status_of(&calls[0]), COIL_STATUS_CANCELLED);
    CHECK_EQ(status_of(&calls[1]), COIL_STATUS_FAILED);
    CHECK_EQ(status_of(&calls[2]), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_checkpoint(), 0);
}

COIL_TEST(gather, s3_9_all_of_is_cancelled_as_a_whole)
{
    struct coil_call calls[] = {{sleep_for_ever}, {sleep_for_ever}};
    struct coil_scope s;
    int rc;

    coil_timeout_begin(&s, coil_now() + COIL_MILLISECOND);
    rc = coil_all_of(calls, 2);
    CHECK_EQ(rc, -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, rc), -ETIME);
}

COIL_TEST(gather, s3_9_a_call_without_a_function_is_refused_and_none_is_made)
{
    static int one = 1;
    struct coil_call calls[] = {{return_it, &one}, {NULL}};
    struct coil_completions c;

    CHECK_EQ(coil_all_of(calls, 2), -EINVAL);
    CHECK_EQ(coil_first_of(calls, 2, NULL, NULL), -EINVAL);
    CHECK_EQ(coil_completions_begin(&c, calls, 2), -EINVAL);
    CHECK_EQ(calls[0].handle.opaque_[0], 0);
}

static int fetch_all(void *arg)
{
    static int failure = -EPIPE;
    struct coil_call calls[] = {{sleep_for_ever}, {return_it, &failure, "the fetch"}};

    (void)arg;
    return coil_all_of(calls, 2);
}

COIL_TEST(gather, s3_9_whoever_fails_by_it_has_the_calls_record_as_a_sub_list)
{
    struct coil_group g;
    struct coil_error e;
    struct coil_error inner;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, fetch_all, NULL), 0);
    CHECK_EQ(coil_group_end(&g, 0), -EPIPE);
    CHECK_EQ(coil_group_error(&g, 0, &e), 0);
    CHECK_EQ(coil_error_inner(&e, 0, &inner), 0);
    CHECK(same(inner.task, "the fetch"));
    CHECK(strstr(inner.site, "gather.c:"));
}

static struct coil_call many[100];

static void all_of_many(void)
{
    CHECK_EQ(coil_all_of(many, 100), -ENOMEM);
}

COIL_TEST(gather, s3_9_without_memory_those_that_could_be_made_are_cancelled)
{
    struct coil_stats before = stats_now();

    for (int i = 0; i < 100; i++)
        many[i] = (struct coil_call){sleep_for_ever};
    starve(all_of_many);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(status_of(&many[i]), COIL_STATUS_CANCELLED);
        CHECK_EQ(result_of(&many[i]), -ECANCELED);
        CHECK(same(coil_task_name(&many[i].handle), "a call"));
        coil_task_cancel(&many[i].handle, NULL);
        CHECK_EQ(coil_task_wait(&many[i].handle), 0);
    }
    CHECK_EQ(stats_now().tasks, before.tasks);
    CHECK_EQ(coil_all_of(many, 0), 0);
}

/* --- The first of n -------------------------------------------------------------------------- */

COIL_TEST(gather, s3_9_the_first_to_succeed_wins_and_the_others_are_cancelled_and_awaited)
{
    struct slow s[2] = {{.turns = 3, .result = 7}, {.turns = 20, .result = -ECANCELED}};
    struct coil_call calls[] = {{sleep_for_ever}, {run_slowly, &s[0]}, {run_slowly, &s[1]}};
    size_t index = 99;

    CHECK_EQ(coil_first_of(calls, 3, NULL, &index), 7);
    CHECK_EQ(index, 1);
    CHECK_EQ(status_of(&calls[0]), COIL_STATUS_CANCELLED);
    CHECK_EQ(status_of(&calls[2]), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_checkpoint(), 0);
}

COIL_TEST(gather, s3_9_a_losers_late_result_is_disposed_of)
{
    struct slow s[3] = {{.turns = 9, .result = 10}, {.turns = 1, .result = 11}, {.turns = 5}};
    struct coil_call calls[3];
    size_t index;

    for (int i = 0; i < 3; i++)
        calls[i] = (struct coil_call){run_slowly, &s[i]};
    CHECK_EQ(coil_first_of(calls, 3, dispose, &index), 11);
    CHECK_EQ(index, 1);
    CHECK_EQ(s[0].disposed, 1);
    CHECK_EQ(s[0].disposed_result, 10);
    CHECK_EQ(s[1].disposed, 0);
    CHECK_EQ(s[2].disposed, 1);
    CHECK_EQ(s[2].disposed_result, 0);
}

COIL_TEST(gather, s3_9_one_that_fails_makes_it_fail_and_no_result_falls_to_the_floor)
{
    struct slow s[3] = {{.turns = 1, .result = 10}, {.turns = 5, .result = -EIO}, {.turns = 9}};
    struct coil_call calls[3];
    size_t index = 99;

    for (int i = 0; i < 3; i++)
        calls[i] = (struct coil_call){run_slowly, &s[i]};
    CHECK_EQ(coil_first_of(calls, 3, dispose, &index), -EIO);
    CHECK_EQ(index, 99);
    CHECK_EQ(s[0].disposed, 1);
    CHECK_EQ(s[1].disposed, 0);
    CHECK_EQ(s[2].disposed, 1);
}

COIL_TEST(gather, s3_9_the_first_of_none_is_a_wrong_argument)
{
    CHECK_EQ(coil_first_of(NULL, 0, dispose, NULL), -EINVAL);
}

COIL_TEST(gather, s3_9_the_first_of_one_is_that_one)
{
    static int five = 5;
    struct coil_call call = {return_it, &five};

    CHECK_EQ(coil_first_of(&call, 1, dispose, NULL), 5);
}

COIL_TEST(gather, s3_9_first_of_cancelled_before_anyone_won_is_cancelled)
{
    struct coil_call calls[] = {{sleep_for_ever}, {sleep_for_ever}};
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_first_of(calls, 2, NULL, NULL), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
}

/* Cancels a scope when it has given way so often. */
struct late_cancel {
    struct coil_scope *scope;
    int turns;
};

static int cancel_late(void *arg)
{
    struct late_cancel *c = arg;

    for (int i = 0; i < c->turns; i++)
        coil_yield_shielded();
    coil_scope_cancel(c->scope, NULL);
    return 0;
}

COIL_TEST(gather, s3_9_cancelled_when_one_has_won_it_is_the_next_checkpoint_that_says_so)
{
    struct slow s[2] = {{.turns = 1, .result = 7}, {.turns = 30, .result = -ECANCELED}};
    struct coil_call calls[] = {{run_slowly, &s[0]}, {run_slowly, &s[1]}};
    struct coil_scope outer;
    struct late_cancel c = {.scope = &outer, .turns = 10};
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_begin(&outer, COIL_FOREVER);
    CHECK_EQ(coil_group_spawn(&g, cancel_late, &c), 0);
    CHECK_EQ(coil_first_of(calls, 2, dispose, NULL), 7);
    CHECK_EQ(s[0].disposed, 0);
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int cancel_both(void *arg)
{
    struct coil_call *calls = arg;

    coil_task_cancel(&calls[0].handle, NULL);
    coil_task_cancel(&calls[1].handle, NULL);
    return 0;
}

COIL_TEST(gather, s3_9_the_first_of_those_that_were_all_cancelled_one_by_one_is_not_there)
{
    struct coil_call calls[] = {{sleep_for_ever}, {sleep_for_ever}};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, cancel_both, calls), 0);
    CHECK_EQ(coil_first_of(calls, 2, NULL, NULL), -ENOENT);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- As completed ---------------------------------------------------------------------------- */

COIL_TEST(gather, s3_9_as_completed_hands_out_handles_in_the_order_of_completion)
{
    struct slow s[3] = {{.turns = 20, .result = 1}, {.turns = 1, .result = 2}, {.turns = 10}};
    struct coil_call calls[3];
    static const int order[] = {1, 2, 0};
    struct coil_completions c;
    struct coil_call *call;

    for (int i = 0; i < 3; i++)
        calls[i] = (struct coil_call){run_slowly, &s[i]};
    CHECK_EQ(coil_completions_begin(&c, calls, 3), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coil_completions_next(&c, &call), 1);
        CHECK_EQ(call - calls, order[i]);
        CHECK_EQ(status_of(call), COIL_STATUS_FINISHED);
        CHECK_EQ(result_of(call), s[order[i]].result);
    }
    call = NULL;
    CHECK_EQ(coil_completions_next(&c, &call), 0);
    CHECK_EQ(coil_completions_next(&c, &call), 0);
    CHECK(!call);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
}

struct one_taken {
    struct coil_completions *from;
    struct coil_call *call;
};

static int take_one(void *arg)
{
    struct one_taken *t = arg;

    return coil_completions_next(t->from, &t->call);
}

COIL_TEST(gather, s3_9_of_two_that_complete_before_who_waits_has_run_the_second_is_for_the_next)
{
    struct parker p[2] = {{NULL}, {NULL}};
    struct coil_call calls[] = {{parker_run, &p[0]}, {parker_run, &p[1]}};
    struct coil_completions c;
    struct one_taken first = {.from = &c};
    struct one_taken second = {.from = &c};
    struct coil_group g;

    CHECK_EQ(coil_completions_begin(&c, calls, 2), 0);
    parker_await(&p[0]);
    parker_await(&p[1]);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, take_one, &first), 0);
    give_way();
    parker_unpark(&p[0], 0);
    parker_unpark(&p[1], 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(take_one(&second), 1);
    CHECK(first.call && second.call && first.call != second.call);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
}

COIL_TEST(gather, s3_9_those_that_completed_unseen_are_still_handed_out)
{
    static int results[] = {4, 5, 6};
    struct coil_call calls[3];
    struct coil_completions c;
    struct coil_call *call;
    int sum = 0;

    for (int i = 0; i < 3; i++)
        calls[i] = (struct coil_call){return_it, &results[i]};
    CHECK_EQ(coil_completions_begin(&c, calls, 3), 0);
    give_way();
    while (coil_completions_next(&c, &call) > 0)
        sum += result_of(call);
    CHECK_EQ(sum, 15);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
}

COIL_TEST(gather, s3_9_leaving_cancels_the_rest)
{
    struct slow s = {.turns = 1, .result = 1};
    struct coil_call calls[] = {{sleep_for_ever}, {run_slowly, &s}, {sleep_for_ever}};
    struct coil_completions c;
    struct coil_call *call;

    CHECK_EQ(coil_completions_begin(&c, calls, 3), 0);
    CHECK_EQ(coil_completions_next(&c, &call), 1);
    CHECK_EQ(call - calls, 1);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
    CHECK_EQ(status_of(&calls[0]), COIL_STATUS_CANCELLED);
    CHECK_EQ(status_of(&calls[2]), COIL_STATUS_CANCELLED);
}

COIL_TEST(gather, s3_9_of_no_calls_there_is_no_next)
{
    struct coil_completions c;
    struct coil_call *call;

    CHECK_EQ(coil_completions_begin(&c, NULL, 0), 0);
    CHECK_EQ(coil_completions_next(&c, &call), 0);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
}

COIL_TEST(gather, s3_9_a_failure_is_handed_out_and_ends_the_waiting)
{
    struct slow s = {.turns = 2, .result = -EIO};
    struct coil_call calls[] = {{run_slowly, &s}, {sleep_for_ever}};
    struct coil_completions c;
    struct coil_call *call;
    int rc;

    CHECK_EQ(coil_completions_begin(&c, calls, 2), 0);
    CHECK_EQ(coil_completions_next(&c, &call), 1);
    CHECK_EQ(call - calls, 0);
    CHECK_EQ(status_of(call), COIL_STATUS_FAILED);
    rc = coil_completions_next(&c, &call);
    CHECK_EQ(rc, -ECANCELED);
    CHECK_EQ(coil_completions_end(&c, rc), -EIO);
    CHECK_EQ(status_of(&calls[1]), COIL_STATUS_CANCELLED);
}

COIL_TEST(gather, s3_9_a_cancelled_wait_for_the_next_takes_nothing)
{
    struct slow s = {.turns = 30, .result = 3};
    struct coil_call calls[] = {{run_slowly, &s}};
    struct coil_completions c;
    struct coil_call *call;
    struct coil_scope scope;
    struct late_cancel late = {.scope = &scope, .turns = 2};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_completions_begin(&c, calls, 1), 0);
    coil_scope_begin(&scope, COIL_FOREVER);
    CHECK_EQ(coil_group_spawn(&g, cancel_late, &late), 0);
    CHECK_EQ(coil_completions_next(&c, &call), -ECANCELED);
    CHECK_EQ(coil_completions_next(&c, &call), -ECANCELED);
    CHECK_EQ(coil_scope_end(&scope, -ECANCELED), 0);
    CHECK_EQ(coil_completions_next(&c, &call), 1);
    CHECK_EQ(result_of(call), 3);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int take_the_next(void *arg)
{
    struct coil_call *call;

    return coil_completions_next(arg, &call);
}

COIL_TEST(gather, s3_9_two_that_wait_for_the_next_are_one_too_many)
{
    struct slow s = {.turns = 30};
    struct coil_call calls[] = {{run_slowly, &s}};
    struct coil_completions c;
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_call *call;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_completions_begin(&c, calls, 1), 0);
    CHECK_EQ(coil_group_spawn_with(&g, take_the_next, &c, &options), 0);
    give_way();
    CHECK_EQ(coil_completions_next(&c, &call), -EBUSY);
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_task_result(&h), 1);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(gather, s3_9_the_next_that_is_there_gives_others_a_turn_within_a_budget)
{
    static int zero;
    static struct coil_call calls[1000];
    struct slow s = {.turns = 5, .result = 1};
    struct coil_spawn_options options = {.handle = NULL};
    struct coil_handle h;
    struct coil_completions c;
    struct coil_call *call;
    struct coil_group g;
    int taken = 0;

    for (int i = 0; i < 1000; i++)
        calls[i] = (struct coil_call){return_it, &zero};
    coil_group_begin(&g);
    CHECK_EQ(coil_completions_begin(&c, calls, 1000), 0);
    give_way();
    options.handle = &h;
    CHECK_EQ(coil_group_spawn_with(&g, run_slowly, &s, &options), 0);
    while (coil_task_status(&h) == COIL_STATUS_RUNNING) {
        CHECK_EQ(coil_completions_next(&c, &call), 1);
        taken++;
    }
    CHECK(taken < 1000);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(gather, s2_7_a_deadline_already_past_acts_at_the_next_that_is_there)
{
    struct slow s = {.turns = 0, .result = 1};
    struct coil_call calls[] = {{run_slowly, &s}};
    struct coil_completions c;
    struct coil_call *call = NULL;
    struct coil_scope scope;

    CHECK_EQ(coil_completions_begin(&c, calls, 1), 0);
    give_way();
    coil_scope_begin(&scope, coil_now() - 1);
    CHECK_EQ(coil_completions_next(&c, &call), -ECANCELED);
    CHECK(!call);
    CHECK_EQ(coil_scope_end(&scope, -ECANCELED), 0);
    CHECK_EQ(coil_completions_next(&c, &call), 1);
    CHECK(call == &calls[0]);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
}

/* --- Who waited first ------------------------------------------------------------------------ */

struct taker {
    struct coil_completions *from;
    struct coil_call *call;
    int result;
};

static int take_next(void *arg)
{
    struct taker *t = arg;

    t->result = coil_completions_next(t->from, &t->call);
    return 0;
}

/* One of two calls has completed, taker has it, and has not run since. */
static void complete_for(struct coil_group *g, struct taker *taker, struct parker *p,
                         struct coil_completions *c)
{
    *taker = (struct taker){.from = c};
    CHECK_EQ(coil_group_spawn(g, take_next, taker), 0);
    parker_await(p);
    give_way();
    parker_unpark(p, 1);
    coil_yield_shielded(); /* the call returns */
    CHECK(!taker->call);
}

COIL_TEST_IN_ORDER(gather, s3_9_a_call_that_completes_is_handed_to_who_waits_for_it)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_call calls[] = {{parker_run, &p}, {sleep_for_ever}};
    struct coil_completions c;
    struct coil_call *call = NULL;
    struct taker taker;
    struct coil_group g;

    CHECK_EQ(coil_completions_begin(&c, calls, 2), 0);
    coil_group_begin(&g);
    complete_for(&g, &taker, &p, &c);
    CHECK_EQ(coil_completions_next(&c, &call), -EBUSY); /* that one is not there for us */
    CHECK(!call);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(taker.result, 1);
    CHECK(taker.call == &calls[0]);
    coil_task_cancel(&calls[1].handle, NULL);
    CHECK_EQ(coil_completions_next(&c, &call), 1);
    CHECK(call == &calls[1]);
    CHECK_EQ(coil_completions_next(&c, &call), 0);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
}

COIL_TEST_IN_ORDER(gather, s4_4_who_was_handed_a_call_keeps_it_when_cancelled_before_it_runs)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_call calls[] = {{parker_run, &p}, {sleep_for_ever}};
    struct coil_completions c;
    struct taker taker;
    struct coil_group g;

    CHECK_EQ(coil_completions_begin(&c, calls, 2), 0);
    coil_group_begin(&g);
    complete_for(&g, &taker, &p, &c);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(taker.result, 1);
    CHECK(taker.call == &calls[0]);
    CHECK_EQ(coil_completions_end(&c, 0), 0);
}

static void begin_many(void)
{
    struct coil_completions c;

    CHECK_EQ(coil_completions_begin(&c, many, 100), -ENOMEM);
}

static void first_of_many(void)
{
    CHECK_EQ(coil_first_of(many, 100, NULL, NULL), -ENOMEM);
}

COIL_TEST(gather, s3_9_without_memory_there_is_nothing_to_end)
{
    struct coil_stats before = stats_now();

    for (int i = 0; i < 100; i++)
        many[i] = (struct coil_call){sleep_for_ever};
    starve(begin_many);
    starve(first_of_many);
    CHECK_EQ(stats_now().tasks, before.tasks);
    CHECK_EQ(coil_checkpoint(), 0);
}

/* --- Map ------------------------------------------------------------------------------------- */

struct item {
    int in;
    int out;
    int turns;
    int *busy;
    int *busiest;
};

static int double_it(void *arg)
{
    struct item *i = arg;

    if (++*i->busy > *i->busiest)
        *i->busiest = *i->busy;
    for (int n = 0; n < i->turns; n++)
        coil_yield_shielded();
    --*i->busy;
    if (i->in < 0)
        return i->in;
    i->out = 2 * i->in;
    return 0;
}

static int busy;
static int busiest;

static void make_items(struct item *items, int count, int turns)
{
    busy = 0;
    busiest = 0;
    for (int i = 0; i < count; i++)
        items[i] = (struct item){.in = i, .turns = turns, .busy = &busy, .busiest = &busiest};
}

COIL_TEST(gather, s3_9_map_reaches_every_item_with_at_most_the_limit_at_once)
{
    static const int limits[] = {1, 2, 7, 99, 100, 1000};
    static struct item items[100];

    for (int k = 0; k < 6; k++) {
        make_items(items, 100, 3);
        CHECK_EQ(coil_map(double_it, items, 100, sizeof(items[0]), (size_t)limits[k]), 0);
        CHECK_EQ(busiest, limits[k] < 100 ? limits[k] : 100);
        for (int i = 0; i < 100; i++)
            CHECK_EQ(items[i].out, 2 * i);
    }
}

COIL_TEST(gather, s3_9_map_of_nothing_is_a_success_and_without_a_limit_it_is_refused)
{
    struct item item = {.in = 1};

    CHECK_EQ(coil_map(double_it, NULL, 0, sizeof(item), 5), 0);
    CHECK_EQ(coil_map(double_it, &item, 1, sizeof(item), 0), -EINVAL);
    CHECK_EQ(coil_map(NULL, &item, 1, sizeof(item), 1), -EINVAL);
    CHECK_EQ(item.out, 0);
}

COIL_TEST(gather, s3_9_what_has_not_begun_when_one_fails_does_not_begin)
{
    static struct item items[100];

    make_items(items, 100, 1);
    items[10].in = -EIO;
    CHECK_EQ(coil_map(double_it, items, 100, sizeof(items[0]), 4), -EIO);
    for (int i = 14; i < 100; i++)
        CHECK_EQ(items[i].out, 0);
    CHECK_EQ(busy, 0);
}

COIL_TEST(gather, s3_9_a_map_in_a_cancelled_task_begins_nothing)
{
    static struct item items[10];
    struct coil_scope s;

    make_items(items, 10, 0);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_map(double_it, items, 10, sizeof(items[0]), 4), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(busiest, 0);
}

COIL_TEST(gather, s3_9_a_map_that_never_waits_gives_others_a_turn)
{
    static struct item items[1000];
    struct slow s = {.turns = 5};
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_scope scope;
    struct late_cancel late = {.scope = &scope, .turns = 5};
    struct coil_group g;

    make_items(items, 1000, 0);
    coil_group_begin(&g);
    coil_scope_begin(&scope, COIL_FOREVER);
    CHECK_EQ(coil_group_spawn_with(&g, run_slowly, &s, &options), 0);
    CHECK_EQ(coil_group_spawn(&g, cancel_late, &late), 0);
    CHECK_EQ(coil_map(double_it, items, 1000, sizeof(items[0]), 1), -ECANCELED);
    CHECK_EQ(coil_scope_end(&scope, -ECANCELED), 0);
    CHECK_EQ(items[999].out, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static struct item starved[100];

static void map_starved(void)
{
    CHECK_EQ(coil_map(double_it, starved, 100, sizeof(starved[0]), 100), 0);
}

COIL_TEST(gather, s3_9_a_map_makes_do_with_fewer_tasks_than_it_may_have)
{
    make_items(starved, 100, 1);
    starve(map_starved);
    CHECK(busiest < 100);
    CHECK(busiest > 0);
    CHECK_EQ(starved[99].out, 198);
}

static int ask_to_come_again(void *arg)
{
    (void)arg;
    return coil_again_later(coil_now());
}

/* Its return is what the others wait for. */
COIL_TEST(gather, a_call_does_not_come_again)
{
    struct coil_call calls[] = {{.fn = ask_to_come_again}};

    CHECK_EQ(coil_all_of(calls, 1), -EINVAL);
    CHECK_EQ(coil_first_of(calls, 1, NULL, NULL), -EINVAL);
}
