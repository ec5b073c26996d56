/* misuse.c - what is documented for each wrong use: a code, or one line that names the places. */
#include <pthread.h>
#include <stdlib.h>

#include "parker.h"

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

/* --- Wrong uses that end the process --------------------------------------------------------- */

static coil_task_fn *wrong;

static void run_it(void)
{
    struct coil_loop_options options = harness_options();

    (void)!coil_run_at(&options, wrong, NULL, "main task", "the-run");
}

static void check_line(const char *line, const char *const *places)
{
    const char *end = strchr(line, '\n');

    if (strncmp(line, "coil: ", 6) != 0 || !end || end[1] != '\0')
        fprintf(stderr, "the line was \"%s\"\n", line);
    CHECK_EQ(strncmp(line, "coil: ", 6), 0);
    CHECK(end);
    CHECK_EQ(end[1], '\0');
    for (; *places; places++) {
        if (!strstr(line, *places))
            fprintf(stderr, "\"%s\" is not in %s", *places, line);
        CHECK(strstr(line, *places));
    }
}

/* main_fn, as the main task, dies with one line that has all of these in it. */
#define DIES(main_fn, ...)                                                                         \
    do {                                                                                           \
        static const char *const places_[] = {__VA_ARGS__, NULL};                                  \
                                                                                                   \
        harness_need_backend();                                                                    \
        wrong = main_fn;                                                                           \
        check_line(harness_abort_line(run_it), places_);                                           \
    } while (0)

/* The same for code that runs in no task. */
#define DIES_OUTSIDE(fn, ...)                                                                      \
    do {                                                                                           \
        static const char *const places_[] = {__VA_ARGS__, NULL};                                  \
                                                                                                   \
        check_line(harness_abort_line(fn), places_);                                               \
    } while (0)

/* --- Scopes ---------------------------------------------------------------------------------- */

static int begin_one_that_is_open(void *arg)
{
    struct coil_scope x;
    struct coil_scope y;

    (void)arg;
    coil_scope_begin_at(&x, COIL_FOREVER, "first-begin");
    coil_scope_begin_at(&y, COIL_FOREVER, "between");
    coil_scope_begin_at(&x, COIL_FOREVER, "second-begin");
    return 0;
}

Test(misuse, a_scope_begun_again_while_it_is_open_is_named_at_any_depth)
{
    DIES(begin_one_that_is_open, "first-begin", "second-begin");
}

static int begin_your_parents_group(void *arg)
{
    coil_group_begin_at(arg, "second-begin");
    return 0;
}

static int have_a_child_begin_your_group(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin_at(&g, "first-begin");
    SPAWN(&g, begin_your_parents_group, &g);
    return coil_group_end(&g, 0);
}

Test(misuse, a_group_begun_again_by_its_own_child)
{
    DIES(have_a_child_begin_your_group, "first-begin", "second-begin");
}

static struct coil_scope siblings;

static int begin_and_stay(void *arg)
{
    (void)arg;
    coil_timeout_begin_at(&siblings, COIL_FOREVER, "first-begin");
    return coil_scope_end(&siblings, coil_sleep(COIL_FOREVER));
}

static int begin_your_siblings(void *arg)
{
    (void)arg;
    coil_shield_begin_at(&siblings, COIL_FOREVER, "second-begin");
    return 0;
}

static int have_siblings_begin_the_same(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    SPAWN(&g, begin_and_stay, NULL);
    give_way();
    SPAWN(&g, begin_your_siblings, NULL);
    return coil_group_end(&g, 0);
}

Test(misuse, a_scope_begun_while_it_is_open_in_another_task)
{
    DIES(have_siblings_begin_the_same, "first-begin", "second-begin");
}

static int prepare_one_that_is_open(void *arg)
{
    struct coil_scope x;

    (void)arg;
    coil_scope_begin_at(&x, COIL_FOREVER, "first-begin");
    coil_scope_prepare(&x);
    return 0;
}

Test(misuse, a_scope_prepared_while_it_is_open)
{
    DIES(prepare_one_that_is_open, "first-begin", "coil_scope_prepare");
}

static int succeed(void *arg)
{
    (void)arg;
    return 0;
}

static struct coil_completions completions;

static int end_the_completions_twice(void *arg)
{
    struct coil_call call = {succeed};
    int rc;

    (void)arg;
    CHECK_EQ(coil_completions_begin_at(&completions, &call, 1, "the-begin"), 0);
    CHECK_EQ(coil_completions_end(&completions, 0), 0);
    rc = coil_completions_end_at(&completions, 0, "the-end");
    return rc;
}

Test(misuse, completions_ended_twice)
{
    DIES(end_the_completions_twice, "the-end", "ended before");
}

static int end_them_for_another(void *arg)
{
    (void)arg;
    return coil_completions_end_at(&completions, 0, "the-end");
}

static int have_a_stranger_end_the_completions(void *arg)
{
    struct coil_call call = {end_them_for_another};

    (void)arg;
    CHECK_EQ(coil_completions_begin_at(&completions, &call, 1, "the-begin"), 0);
    return coil_completions_end(&completions, 0);
}

Test(misuse, completions_ended_by_another_task)
{
    DIES(have_a_stranger_end_the_completions, "the-begin", "another task", "the-end");
}

static int begin_the_completions_inside_themselves(void *arg)
{
    struct coil_call call = {succeed};

    (void)arg;
    CHECK_EQ(coil_completions_begin_at(&completions, &call, 1, "first-begin"), 0);
    return coil_completions_begin_at(&completions, &call, 1, "second-begin");
}

Test(misuse, completions_begun_again_while_they_are_open)
{
    DIES(begin_the_completions_inside_themselves, "first-begin", "second-begin");
}

/* Memory that was an open scope's, and no scope is there any more. */
COIL_TEST(misuse, what_only_looks_like_an_open_scope_may_be_begun)
{
    struct coil_scope x;
    struct coil_scope copy;

    coil_scope_begin(&x, COIL_FOREVER);
    copy = x;
    coil_scope_begin(&copy, COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&copy, 0), 0);
    CHECK_EQ(coil_scope_end(&x, 0), 0);
}

static int end_the_outer_first(void *arg)
{
    struct coil_scope outer;
    struct coil_scope inner;

    (void)arg;
    coil_scope_begin_at(&outer, COIL_FOREVER, "outer-begin");
    coil_scope_begin_at(&inner, COIL_FOREVER, "inner-begin");
    return coil_scope_end_at(&outer, 0, "outer-end");
}

Test(misuse, scopes_ended_out_of_order)
{
    DIES(end_the_outer_first, "outer-begin", "inner-begin", "outer-end");
}

static int end_the_outer_first_by_macro(void *arg)
{
    struct coil_scope outer;
    struct coil_scope inner;

    (void)arg;
    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_begin(&inner, COIL_FOREVER);
    return coil_scope_end(&outer, 0);
}

Test(misuse, the_places_are_files_and_lines)
{
    const char *line;

    harness_need_backend();
    wrong = end_the_outer_first_by_macro;
    line = harness_abort_line(run_it);
    for (int i = 0; i < 3; i++) {
        line = strstr(line, "misuse.c:");
        CHECK(line);
        line += strlen("misuse.c:");
        CHECK(atoi(line) > 0);
    }
}

static int end_it_elsewhere(void *arg)
{
    return coil_scope_end_at(arg, 0, "the-end");
}

static int have_a_scope_ended_by_a_task(void *arg)
{
    struct coil_group g;
    struct coil_scope s;

    (void)arg;
    coil_group_begin(&g);
    coil_scope_begin_at(&s, COIL_FOREVER, "the-begin");
    SPAWN(&g, end_it_elsewhere, &s);
    return coil_sleep(COIL_FOREVER);
}

Test(misuse, a_scope_ended_by_another_task)
{
    DIES(have_a_scope_ended_by_a_task, "another task", "the-begin", "the-end");
}

static void *end_it_in_a_thread(void *arg)
{
    (void)end_it_elsewhere(arg);
    return NULL;
}

static int have_a_scope_ended_by_a_thread(void *arg)
{
    struct coil_scope s;
    pthread_t thread;

    (void)arg;
    coil_scope_begin_at(&s, COIL_FOREVER, "the-begin");
    if (pthread_create(&thread, NULL, end_it_in_a_thread, &s))
        return -EAGAIN;
    pthread_join(thread, NULL);
    return 0;
}

Test(misuse, a_scope_ended_by_another_thread)
{
    DIES(have_a_scope_ended_by_a_thread, "the-end", "outside of any task");
}

static struct coil_scope leaked;
static struct coil_group leaked_group;

static int leave_it_open(void *arg)
{
    (void)arg;
    coil_scope_begin_at(&leaked, COIL_FOREVER, "the-begin");
    return 0;
}

static int spawn_one_that_leaves_it_open(void *arg)
{
    struct coil_spawn_options named = {.name = "forgetful"};
    struct coil_group g;
    int rc;

    (void)arg;
    coil_group_begin(&g);
    rc = coil_group_spawn_at(&g, leave_it_open, NULL, &named, "unused", "the-spawn");
    return coil_group_end(&g, rc);
}

Test(misuse, a_scope_left_open_when_its_task_ends)
{
    DIES(spawn_one_that_leaves_it_open, "forgetful", "the-spawn", "the-begin");
}

Test(misuse, a_scope_left_open_when_the_main_task_ends)
{
    DIES(leave_it_open, "main task", "the-run", "the-begin");
}

static int leave_a_group_open(void *arg)
{
    (void)arg;
    coil_group_begin_at(&leaked_group, "the-begin");
    return 0;
}

Test(misuse, a_group_left_open_when_its_task_ends)
{
    DIES(leave_a_group_open, "main task", "the-run", "the-begin");
}

static int end_a_scope_twice(void *arg)
{
    struct coil_scope s;

    (void)arg;
    coil_scope_begin(&s, COIL_FOREVER);
    if (coil_scope_end(&s, 0) < 0)
        return -EIO;
    return coil_scope_end_at(&s, 0, "second-end");
}

Test(misuse, a_scope_ended_twice)
{
    DIES(end_a_scope_twice, "second-end", "not open");
}

static int end_what_never_began(void *arg)
{
    struct coil_scope s;

    (void)arg;
    memset(&s, 0, sizeof(s));
    return coil_scope_end_at(&s, 0, "the-end");
}

Test(misuse, a_scope_ended_that_never_began)
{
    DIES(end_what_never_began, "the-end", "not open");
}

static int end_what_was_only_prepared(void *arg)
{
    struct coil_scope s;

    (void)arg;
    coil_scope_prepare(&s);
    return coil_scope_end_at(&s, 0, "the-end");
}

Test(misuse, a_scope_ended_that_was_only_prepared)
{
    DIES(end_what_was_only_prepared, "the-end", "not open");
}

static int use_a_prepared_scope_twice(void *arg)
{
    struct coil_scope s;

    (void)arg;
    coil_scope_prepare(&s);
    coil_scope_begin_prepared(&s, COIL_FOREVER);
    if (coil_scope_end(&s, 0) < 0)
        return -EIO;
    coil_scope_begin_prepared_at(&s, COIL_FOREVER, "second-begin");
    return 0;
}

/* D9 */
Test(misuse, a_prepared_scope_used_twice)
{
    DIES(use_a_prepared_scope_twice, "second-begin", "twice");
}

static int begin_a_prepared_scope_inside_itself(void *arg)
{
    struct coil_scope s;

    (void)arg;
    coil_scope_prepare(&s);
    coil_scope_begin_prepared(&s, COIL_FOREVER);
    coil_scope_begin_prepared_at(&s, COIL_FOREVER, "second-begin");
    return 0;
}

Test(misuse, a_prepared_scope_begun_inside_itself)
{
    DIES(begin_a_prepared_scope_inside_itself, "second-begin", "twice");
}

static int begin_what_was_not_prepared(void *arg)
{
    struct coil_scope s;

    (void)arg;
    memset(&s, 0, sizeof(s));
    coil_scope_begin_prepared_at(&s, COIL_FOREVER, "the-begin");
    return 0;
}

Test(misuse, a_scope_begun_as_prepared_that_was_not)
{
    DIES(begin_what_was_not_prepared, "the-begin", "not prepared");
}

static int begin_a_scope_inside_itself(void *arg)
{
    struct coil_scope s;

    (void)arg;
    coil_scope_begin_at(&s, COIL_FOREVER, "first-begin");
    coil_scope_begin_at(&s, COIL_FOREVER, "second-begin");
    return coil_scope_end(&s, coil_scope_end(&s, 0));
}

Test(misuse, a_scope_begun_inside_itself)
{
    DIES(begin_a_scope_inside_itself, "first-begin", "second-begin");
}

static void begin_a_scope_outside(void)
{
    struct coil_scope s;

    coil_scope_begin_at(&s, COIL_FOREVER, "the-begin");
}

static void begin_a_timeout_outside(void)
{
    struct coil_scope s;

    coil_timeout_begin_at(&s, COIL_FOREVER, "the-begin");
}

static void begin_a_shield_outside(void)
{
    struct coil_scope s;

    coil_shield_begin_at(&s, COIL_FOREVER, "the-begin");
}

static void begin_a_prepared_scope_outside(void)
{
    struct coil_scope s;

    coil_scope_prepare(&s);
    coil_scope_begin_prepared_at(&s, COIL_FOREVER, "the-begin");
}

static void begin_a_group_outside(void)
{
    coil_group_begin_at(&leaked_group, "the-begin");
}

Test(misuse, a_begin_outside_of_any_task)
{
    DIES_OUTSIDE(begin_a_scope_outside, "the-begin", "outside of any task");
    DIES_OUTSIDE(begin_a_timeout_outside, "the-begin", "outside of any task");
    DIES_OUTSIDE(begin_a_shield_outside, "the-begin", "outside of any task");
    DIES_OUTSIDE(begin_a_prepared_scope_outside, "the-begin", "outside of any task");
    DIES_OUTSIDE(begin_a_group_outside, "the-begin", "outside of any task");
}

static void *set_its_deadline(void *arg)
{
    coil_scope_set_deadline(arg, 0);
    return NULL;
}

static void *set_its_shield(void *arg)
{
    coil_scope_set_shield(arg, 1);
    return NULL;
}

static void *request_it(void *arg)
{
    coil_scope_request_at(arg, 0, NULL, "the-request");
    return NULL;
}

static int run_a_thread(void *(*fn)(void *arg), void *arg)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, fn, arg))
        return -EAGAIN;
    pthread_join(thread, NULL);
    return 0;
}

static int have_it_touched(void *(*fn)(void *arg))
{
    struct coil_scope s;

    coil_scope_begin_at(&s, COIL_FOREVER, "the-begin");
    return coil_scope_end(&s, run_a_thread(fn, &s));
}

static int have_a_thread_set_its_deadline(void *arg)
{
    (void)arg;
    return have_it_touched(set_its_deadline);
}

static int have_a_thread_set_its_shield(void *arg)
{
    (void)arg;
    return have_it_touched(set_its_shield);
}

static int have_a_thread_request_it(void *arg)
{
    (void)arg;
    return have_it_touched(request_it);
}

Test(misuse, a_scope_changed_from_outside_its_loop)
{
    DIES(have_a_thread_set_its_deadline, "the-begin", "coil_scope_set_deadline",
         "outside its loop");
    DIES(have_a_thread_set_its_shield, "the-begin", "coil_scope_set_shield", "outside its loop");
    DIES(have_a_thread_request_it, "the-begin", "the-request", "outside its loop");
}

/* --- Groups ---------------------------------------------------------------------------------- */

static int end_the_outer_group_first(void *arg)
{
    struct coil_group outer;
    struct coil_group inner;

    (void)arg;
    coil_group_begin_at(&outer, "outer-begin");
    coil_group_begin_at(&inner, "inner-begin");
    return coil_group_end_at(&outer, 0, "outer-end");
}

Test(misuse, groups_ended_out_of_order)
{
    DIES(end_the_outer_group_first, "group", "outer-begin", "inner-begin", "outer-end");
}

static int end_a_group_around_a_scope(void *arg)
{
    struct coil_group g;
    struct coil_scope s;

    (void)arg;
    coil_group_begin_at(&g, "group-begin");
    coil_scope_begin_at(&s, COIL_FOREVER, "scope-begin");
    return coil_group_end_at(&g, 0, "group-end");
}

Test(misuse, a_group_ended_with_a_scope_open_inside)
{
    DIES(end_a_group_around_a_scope, "group-begin", "scope-begin", "group-end");
}

static int end_a_scope_around_a_group(void *arg)
{
    struct coil_group g;
    struct coil_scope s;

    (void)arg;
    coil_scope_begin_at(&s, COIL_FOREVER, "scope-begin");
    coil_group_begin_at(&g, "group-begin");
    return coil_scope_end_at(&s, 0, "scope-end");
}

Test(misuse, a_scope_ended_with_a_group_open_inside)
{
    DIES(end_a_scope_around_a_group, "scope-begin", "group-begin", "scope-end");
}

static int end_my_group(void *arg)
{
    return coil_group_end_at(arg, 0, "the-end");
}

static int have_a_group_ended_by_its_child(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin_at(&g, "the-begin");
    SPAWN(&g, end_my_group, &g);
    return coil_group_end(&g, 0);
}

Test(misuse, a_group_ended_by_its_child)
{
    DIES(have_a_group_ended_by_its_child, "group", "another task", "the-begin", "the-end");
}

static int end_a_group_twice(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    if (coil_group_end(&g, 0) < 0)
        return -EIO;
    return coil_group_end_at(&g, 0, "second-end");
}

Test(misuse, a_group_ended_twice)
{
    DIES(end_a_group_twice, "group", "second-end", "not open");
}

static int end_a_group_that_never_began(void *arg)
{
    struct coil_group g;

    (void)arg;
    memset(&g, 0, sizeof(g));
    return coil_group_end_at(&g, 0, "the-end");
}

Test(misuse, a_group_ended_that_never_began)
{
    DIES(end_a_group_that_never_began, "group", "the-end", "not open");
}

static int end_a_groups_scope(void *arg)
{
    struct coil_group g;
    int rc;

    (void)arg;
    coil_group_begin_at(&g, "the-begin");
    rc = coil_scope_end_at(coil_group_scope(&g), 0, "the-end");
    return coil_group_end(&g, rc);
}

/* It would be ended twice over, the second time with its tasks in it. */
Test(misuse, the_scope_of_a_group_ended_by_itself)
{
    DIES(end_a_groups_scope, "the-begin", "the-end");
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void *spawn_from_a_thread(void *arg)
{
    (void)!coil_group_spawn_at(arg, nothing, NULL, NULL, "nothing", "the-spawn");
    return NULL;
}

static int spawn_from_another_loop(void *arg)
{
    (void)spawn_from_a_thread(arg);
    return 0;
}

static void *run_a_loop_that_spawns(void *arg)
{
    (void)!coil_run(NULL, spawn_from_another_loop, arg);
    return NULL;
}

static int have_a_thread_spawn(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin_at(&g, "the-begin");
    return coil_group_end(&g, run_a_thread(spawn_from_a_thread, &g));
}

static int have_another_loop_spawn(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin_at(&g, "the-begin");
    return coil_group_end(&g, run_a_thread(run_a_loop_that_spawns, &g));
}

Test(misuse, a_task_spawned_from_outside_the_groups_loop)
{
    DIES(have_a_thread_spawn, "the-spawn", "the-begin");
    DIES(have_another_loop_spawn, "the-spawn", "the-begin");
}

/* --- Park and unpark ------------------------------------------------------------------------- */

static int unpark_myself(void *arg)
{
    (void)arg;
    coil_unpark(coil_task_self(), 0);
    return 0;
}

Test(misuse, unpark_of_a_task_that_runs)
{
    DIES(unpark_myself, "main task", "the-run", "not parked");
}

static int unpark_twice(void *arg)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_spawn_options named = {.name = "the sleeper"};
    struct coil_task *t;
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_at(&g, parker_run, &p, &named, "unused", "the-spawn"), 0);
    parker_await(&p);
    t = p.task;
    coil_unpark(t, 0);
    coil_unpark(t, 0);
    return coil_group_end(&g, 0);
}

Test(misuse, unpark_twice)
{
    DIES(unpark_twice, "the sleeper", "the-spawn", "not parked");
}

static int unpark_one_that_was_aborted(void *arg)
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_task *t;
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p);
    parker_await(&p);
    t = p.task;
    coil_scope_cancel(coil_group_scope(&g), NULL);
    coil_unpark(t, 0);
    return coil_group_end(&g, 0);
}

Test(misuse, unpark_of_a_task_whose_abort_was_done)
{
    DIES(unpark_one_that_was_aborted, "parker_run", "not parked");
}

static struct coil_task *asleep;

static void await_sleep(void)
{
    for (asleep = NULL; !asleep;)
        coil_yield_shielded();
}

static enum coil_abort unpark_and_say_later(void *ctx)
{
    coil_unpark(ctx, 0);
    return COIL_ABORT_LATER;
}

/* Having parked, properly, before. */
static int sleep_and_tell(void *arg)
{
    struct coil_scope s;

    (void)arg;
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_park(unpark_and_say_later, coil_task_self(), "a test"), 0);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    asleep = coil_task_self();
    return coil_sleep(COIL_SECOND);
}

static int wait_and_tell(void *arg)
{
    asleep = coil_task_self();
    return coil_task_wait(arg);
}

static int unpark_a_sleeper(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    SPAWN(&g, sleep_and_tell, NULL);
    await_sleep();
    coil_unpark(asleep, 0);
    return coil_group_end(&g, 0);
}

/* 4.5: a sleeping task may be woken only by cancellation. Its timer would fire into a dead
 * frame. */
Test(misuse, unpark_of_a_task_that_sleeps)
{
    DIES(unpark_a_sleeper, "sleep_and_tell", "not parked");
}

static int unpark_a_waiter(void *arg)
{
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, sleep_and_tell, NULL, &options), 0);
    await_sleep();
    SPAWN(&g, wait_and_tell, &h);
    await_sleep();
    coil_unpark(asleep, 0);
    return coil_group_end(&g, 0);
}

Test(misuse, unpark_of_a_task_that_waits_in_a_call_of_the_library)
{
    DIES(unpark_a_waiter, "wait_and_tell", "not parked");
}

static enum coil_abort unpark_and_say_done(void *ctx)
{
    coil_unpark(*(struct coil_task **)ctx, 0);
    return COIL_ABORT_DONE;
}

static int park_with_a_confused_abort(void *arg)
{
    (void)arg;
    asleep = coil_task_self();
    return coil_park(unpark_and_say_done, &asleep, "a test");
}

static int cancel_one_with_a_confused_abort(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    SPAWN(&g, park_with_a_confused_abort, NULL);
    await_sleep();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    return coil_group_end(&g, 0);
}

static int spawn_one_with_a_confused_abort(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    SPAWN(&g, park_with_a_confused_abort, NULL);
    return coil_group_end(&g, 0);
}

Test(misuse, an_abort_that_unparks_and_says_done)
{
    DIES(cancel_one_with_a_confused_abort, "park_with_a_confused_abort", "misuse.c:", "done");
    DIES(spawn_one_with_a_confused_abort, "park_with_a_confused_abort", "misuse.c:", "done");
}

static void *unpark_from_a_thread(void *arg)
{
    coil_unpark(arg, 0);
    return NULL;
}

static int unpark_from_another_loop(void *arg)
{
    coil_unpark(arg, 0);
    return 0;
}

static void *run_a_loop_that_unparks(void *arg)
{
    (void)!coil_run(NULL, unpark_from_another_loop, arg);
    return NULL;
}

static int have_it_unparked(void *(*fn)(void *arg))
{
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;
    int rc;

    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p);
    parker_await(&p);
    rc = run_a_thread(fn, p.task);
    return coil_group_end(&g, rc);
}

static int have_a_thread_unpark(void *arg)
{
    (void)arg;
    return have_it_unparked(unpark_from_a_thread);
}

static int have_another_loop_unpark(void *arg)
{
    (void)arg;
    return have_it_unparked(run_a_loop_that_unparks);
}

Test(misuse, unpark_from_outside_the_tasks_loop)
{
    DIES(have_a_thread_unpark, "parker_run", "misuse.c:", "outside its loop");
    DIES(have_another_loop_unpark, "parker_run", "misuse.c:", "outside its loop");
}

/* --- Calls that need a task ------------------------------------------------------------------ */

static void checkpoint_outside(void)
{
    (void)!coil_checkpoint();
}

static void check_outside(void)
{
    (void)!coil_checkpoint_if_cancelled();
}

static void yield_outside(void)
{
    coil_yield_shielded();
}

static void ask_outside(void)
{
    (void)coil_cancel_requested();
}

static void ask_the_deadline_outside(void)
{
    (void)coil_effective_deadline();
}

static void ask_why_outside(void)
{
    struct coil_cancellation c;

    (void)coil_why_cancelled(&c);
}

static void sleep_outside(void)
{
    (void)!coil_sleep(1);
}

static void sleep_for_nothing_outside(void)
{
    (void)!coil_sleep(0);
}

static void sleep_until_outside(void)
{
    (void)!coil_sleep_until(COIL_FOREVER);
}

static void park_outside(void)
{
    (void)!coil_park(NULL, NULL, "nothing");
}

static void wait_outside(void)
{
    struct coil_handle h;

    memset(&h, 0, sizeof(h));
    (void)!coil_task_wait(&h);
}

static void start_outside(void)
{
    (void)!coil_group_start_at(&leaked_group, nothing, NULL, NULL, NULL, "a task", "the-start");
}

static void say_started_outside(void)
{
    (void)coil_started(0);
}

static void read_outside(void)
{
    char byte;

    (void)!coil_read(0, &byte, 1);
}

static void end_a_scope_outside(void)
{
    (void)!coil_scope_end_at(&leaked, 0, "the-end");
}

static void end_a_group_outside(void)
{
    (void)!coil_group_end_at(&leaked_group, 0, "the-end");
}

Test(misuse, a_call_that_can_wait_outside_of_any_task)
{
    DIES_OUTSIDE(checkpoint_outside, "coil_checkpoint", "outside of any task");
    DIES_OUTSIDE(check_outside, "coil_checkpoint_if_cancelled", "outside of any task");
    DIES_OUTSIDE(yield_outside, "coil_yield_shielded", "outside of any task");
    DIES_OUTSIDE(ask_outside, "coil_cancel_requested", "outside of any task");
    DIES_OUTSIDE(ask_the_deadline_outside, "coil_effective_deadline", "outside of any task");
    DIES_OUTSIDE(ask_why_outside, "coil_why_cancelled", "outside of any task");
    DIES_OUTSIDE(sleep_outside, "sleep", "outside of any task");
    DIES_OUTSIDE(sleep_for_nothing_outside, "outside of any task");
    DIES_OUTSIDE(sleep_until_outside, "sleep", "outside of any task");
    DIES_OUTSIDE(park_outside, "coil_park", "outside of any task");
    DIES_OUTSIDE(wait_outside, "coil_task_wait", "outside of any task");
    DIES_OUTSIDE(start_outside, "coil_group_start", "the-start", "outside of any task");
    DIES_OUTSIDE(say_started_outside, "coil_started", "outside of any task");
    DIES_OUTSIDE(read_outside, "I/O", "outside of any task");
    DIES_OUTSIDE(end_a_scope_outside, "the-end", "outside of any task");
    DIES_OUTSIDE(end_a_group_outside, "the-end", "outside of any task");
}

/* --- Abort functions that wait --------------------------------------------------------------- */

static void (*in_the_abort)(void);

static enum coil_abort do_it_and_say_done(void *ctx)
{
    (void)ctx;
    in_the_abort();
    return COIL_ABORT_DONE;
}

static int park_with_a_wrong_abort(void *arg)
{
    (void)arg;
    asleep = coil_task_self();
    return coil_park(do_it_and_say_done, NULL, "a test");
}

static int cancel_one_with_a_wrong_abort(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    SPAWN(&g, park_with_a_wrong_abort, NULL);
    await_sleep();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    return coil_group_end(&g, 0);
}

static int have_a_deadline_cancel_it(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    SPAWN(&g, park_with_a_wrong_abort, NULL);
    await_sleep();
    coil_scope_set_deadline(coil_group_scope(&g), 0);
    return coil_group_end(&g, 0);
}

static int park_it_in_a_cancelled_group(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    SPAWN(&g, park_with_a_wrong_abort, NULL);
    return coil_group_end(&g, 0);
}

static void close_outside(void)
{
    (void)!coil_close(0);
}

static void open_outside(void)
{
    (void)!coil_openat(-1, "/dev/null", 0, 0);
}

static void begin_and_end_a_group_outside(void)
{
    struct coil_group g;

    coil_group_begin(&g);
    (void)!coil_group_end(&g, 0);
}

Test(misuse, an_abort_that_waits)
{
    static void (*const calls[])(void) = {
        park_outside,
        checkpoint_outside,
        yield_outside,
        sleep_outside,
        sleep_for_nothing_outside,
        wait_outside,
        start_outside,
        say_started_outside,
        read_outside,
        open_outside,
        close_outside,
        begin_a_scope_outside,
        ask_outside,
        end_a_scope_outside,
        begin_and_end_a_group_outside,
    };
    static coil_task_fn *const ways[] = {cancel_one_with_a_wrong_abort, have_a_deadline_cancel_it,
                                         park_it_in_a_cancelled_group};

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        in_the_abort = calls[i];
        for (size_t k = 0; k < sizeof(ways) / sizeof(ways[0]); k++)
            DIES(ways[k], "abort function", "must not wait", "park_with_a_wrong_abort",
                 "misuse.c:");
    }
    in_the_abort = park_outside;
    DIES(cancel_one_with_a_wrong_abort, "coil_park in an abort function");
}

/* --- Wrong uses that are answered ------------------------------------------------------------ */

COIL_TEST(misuse, a_null_function_is_refused)
{
    struct coil_handle h = {{0}};
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, NULL, NULL), -EINVAL);
    CHECK_EQ(coil_group_spawn_with(&g, NULL, NULL, &options), -EINVAL);
    CHECK_EQ(h.opaque_[0], 0);
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

Test(misuse, a_null_main_function_is_refused)
{
    CHECK_EQ(coil_run(NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(coil_runtime_run(NULL, NULL, NULL), -EINVAL);
}

COIL_TEST(misuse, a_group_that_never_began_takes_no_task)
{
    struct coil_group g;

    memset(&g, 0, sizeof(g));
    CHECK_EQ(coil_group_spawn(&g, nothing, NULL), -ESHUTDOWN);
    CHECK_EQ(coil_group_start(&g, nothing, NULL, NULL), -ESHUTDOWN);
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_group_error_dropped(&g), 0);
    CHECK_EQ(coil_group_error(&g, 0, &(struct coil_error){.code = 0}), -ENOENT);
}

static int wait_for_myself(void *arg)
{
    CHECK_EQ(coil_task_wait(arg), -EDEADLK);
    return coil_task_result(arg) == -EAGAIN ? 5 : 0;
}

COIL_TEST(misuse, a_task_waiting_for_itself_is_told)
{
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, wait_for_myself, &h, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_result(&h), 5);
}

COIL_TEST(misuse, a_loop_inside_a_loop_is_refused)
{
    CHECK_EQ(coil_run(NULL, nothing, NULL), -EBUSY);
    CHECK_EQ(coil_runtime_run(NULL, nothing, NULL), -EBUSY);
    CHECK_EQ(coil_checkpoint(), 0);
}

Test(misuse, options_out_of_range_are_refused)
{
    static const struct coil_loop_options wrong_options[] = {
        {.stack_size = (1 << 30) + 1},    {.stack_size = SIZE_MAX},
        {.sq_entries = 1u << 20},         {.cq_entries = 1u << 20},
        {.blocking_threads = UINT32_MAX}, {.backend = "no such thing"},
    };

    for (size_t i = 0; i < sizeof(wrong_options) / sizeof(wrong_options[0]); i++)
        CHECK_EQ(coil_run(&wrong_options[i], nothing, NULL), -EINVAL);
}

Test(misuse, questions_outside_of_any_task_are_answered)
{
    struct coil_stats stats;

    CHECK(!coil_task_self());
    CHECK(!coil_backend_name());
    CHECK(!coil_backend_reason());
    CHECK_EQ(coil_loop_stats(&stats), -EINVAL);
    CHECK_EQ(coil_shutdown_loops(NULL), -EINVAL);
    CHECK_EQ(coil_loop_index(), 0);
    CHECK_EQ(coil_loop_count(), 1);
    CHECK_EQ(coil_fail(-EIO, "nobody hears"), -EIO);
}

COIL_TEST(misuse, setters_of_an_ended_scope_do_nothing)
{
    struct coil_stats stats;
    struct coil_scope s;

    coil_scope_begin(&s, COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
    coil_scope_set_deadline(&s, coil_now() - 1);
    coil_scope_set_shield(&s, 1);
    coil_scope_request(&s, 0, NULL);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_loop_stats(&stats), 0);
    CHECK_EQ(stats.timers, 0);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_scope_caught(&s), 0);
}
