/* start.c - semantics.md 3.6 and 3.8: a task that says when it has started, and services. */
#include "parker.h"
#include "scarce.h"

#include <stdlib.h>

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

static bool same(const char *left, const char *right)
{
    return left && right && strcmp(left, right) == 0;
}

/* A task to be started: what it does before it says so, and after. */
struct child {
    struct parker before; /* it parks there if before.answer is not PARKS_NOT */
    struct parker after;
    bool parks_before;
    bool parks_after;
    bool says_nothing;
    intptr_t value;
    int result; /* returned if nobody cancels */
    int said;   /* what coil_started answered */
    int again;  /* ... the second time */
    bool over;
};

static int run_child(void *arg)
{
    struct child *c = arg;
    int rc = 0;

    c->said = 1;
    if (c->parks_before)
        rc = parker_park(&c->before);
    if (rc >= 0 && !c->says_nothing) {
        c->said = coil_started(c->value);
        c->again = coil_started(c->value + 1);
    }
    if (rc >= 0 && c->parks_after)
        rc = parker_park(&c->after);
    c->over = true;
    return rc < 0 ? rc : c->result;
}

/* A start in a task of its own. */
struct starter {
    struct coil_group *group;
    struct child *child;
    struct coil_handle handle; /* of the child */
    struct coil_scope scope;   /* around the start */
    bool shielded;
    int64_t deadline_ns; /* 0: none */
    intptr_t value;
    int result;
    int scope_result;
    bool over;
};

static int run_starter(void *arg)
{
    struct starter *s = arg;
    struct coil_spawn_options options = {.name = "the child", .handle = &s->handle};

    if (s->shielded)
        coil_shield_begin(&s->scope, COIL_FOREVER);
    else
        coil_scope_begin(&s->scope, s->deadline_ns ? s->deadline_ns : COIL_FOREVER);
    s->result = coil_group_start_with(s->group, run_child, s->child, &s->value, &options);
    s->scope_result = coil_scope_end(&s->scope, s->result);
    s->over = true;
    return 0;
}

static void await(const bool *flag)
{
    while (!*flag)
        coil_yield_shielded();
}

/* --- 3.6: start waits for started ------------------------------------------------------------ */

COIL_TEST(start, s3_6_start_returns_when_the_child_has_started_and_the_child_goes_on)
{
    struct child c = {.value = 8080, .parks_after = true, .after.answer = COIL_ABORT_DONE};
    struct coil_group g;
    intptr_t value = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, run_child, &c, &value), 0);
    CHECK_EQ(value, 8080);
    CHECK_EQ(c.said, 0);
    CHECK(!c.over);
    CHECK_EQ(coil_group_count(&g), 1);
    parker_await(&c.after);
    parker_unpark(&c.after, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(c.over);
}

COIL_TEST(start, s3_6_the_value_may_be_of_no_interest)
{
    struct child c = {.value = 1};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, run_child, &c, NULL), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_start_waits_as_long_as_it_takes)
{
    struct child c = {.parks_before = true, .value = 3};
    struct coil_group g;
    struct starter s = {.group = &g, .child = &c};

    coil_group_begin(&g);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    give_way();
    CHECK(!s.over);
    parker_unpark(&c.before, 0);
    await(&s.over);
    CHECK_EQ(s.result, 0);
    CHECK_EQ(s.value, 3);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* trio #2611 */
COIL_TEST(start, s3_6_an_error_before_started_comes_out_of_start_and_leaves_the_group_healthy)
{
    struct child c = {.says_nothing = true, .result = -EADDRINUSE};
    struct child sibling = {.parks_after = true, .after.answer = COIL_ABORT_DONE};
    struct coil_group g;
    intptr_t value = 7;

    coil_group_begin(&g);
    SPAWN(&g, run_child, &sibling);
    CHECK_EQ(coil_group_start(&g, run_child, &c, &value), -EADDRINUSE);
    CHECK_EQ(value, 7);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
    CHECK_EQ(coil_group_count(&g), 1);
    CHECK_EQ(coil_checkpoint(), 0);
    parker_await(&sibling.after);
    CHECK_EQ(sibling.after.aborts, 0);
    parker_unpark(&sibling.after, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_returning_without_started_is_a_protocol_error)
{
    struct child c = {.says_nothing = true, .result = 5};
    struct coil_group g;
    intptr_t value = 7;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, run_child, &c, &value), -EPROTO);
    CHECK_EQ(value, 7);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_a_child_cancelled_by_its_handle_before_it_started_is_one_too)
{
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_DONE};
    struct coil_group g;
    struct starter s = {.group = &g, .child = &c};

    coil_group_begin(&g);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    coil_task_cancel(&s.handle, NULL);
    await(&s.over);
    CHECK_EQ(s.result, -EPROTO);
    CHECK_EQ(coil_task_status(&s.handle), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_started_twice_is_told_and_changes_nothing)
{
    struct child c = {.value = 4};
    struct coil_group g;
    intptr_t value;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, run_child, &c, &value), 0);
    CHECK_EQ(value, 4);
    CHECK_EQ(c.said, 0);
    CHECK_EQ(c.again, -EALREADY);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_said_by_a_task_that_was_spawned_it_does_nothing)
{
    struct child c = {.value = 4};
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;
    intptr_t value = 7;

    CHECK_EQ(coil_started(1), 0); /* nor by the main task */
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, run_child, &c, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.said, 0);
    CHECK_EQ(c.again, 0);
    CHECK_EQ(coil_task_start_value(&h, &value), -EAGAIN);
    CHECK_EQ(value, 7);
}

COIL_TEST(start, s3_6_an_error_after_started_is_the_groups)
{
    struct child c = {.result = -EIO};
    struct coil_group g;
    struct coil_error e;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, run_child, &c, NULL), 0);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(coil_group_error_count(&g), 1);
    CHECK_EQ(coil_group_error(&g, 0, &e), 0);
    CHECK(same(e.task, "run_child"));
    CHECK(strstr(e.site, "start.c:"));
}

static int fail_with_words(void *arg)
{
    (void)arg;
    return coil_fail(-EADDRINUSE, "somebody listens there");
}

static int pass_on_a_failed_start(void *arg)
{
    return coil_group_start(arg, fail_with_words, NULL, NULL);
}

COIL_TEST(start, s3_6_whoever_fails_by_a_failed_start_hands_its_record_up)
{
    struct coil_group outer;
    struct coil_group target;
    struct coil_error e;
    struct coil_error inner;

    coil_group_begin(&target);
    coil_group_begin(&outer);
    SPAWN(&outer, pass_on_a_failed_start, &target);
    CHECK_EQ(coil_group_end(&outer, 0), -EADDRINUSE);
    CHECK_EQ(coil_group_error(&outer, 0, &e), 0);
    CHECK(same(e.task, "pass_on_a_failed_start"));
    CHECK_EQ(e.count, 1);
    CHECK_EQ(coil_error_inner(&e, 0, &inner), 0);
    CHECK(same(inner.task, "fail_with_words"));
    CHECK(same(inner.message, "somebody listens there"));
    CHECK_EQ(coil_group_end(&target, 0), 0);
}

/* --- 3.6: cancelled -------------------------------------------------------------------------- */

COIL_TEST(start, s3_6_cancelled_the_child_is_cancelled_and_awaited_first)
{
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_LATER};
    struct coil_group g;
    struct starter s = {.group = &g, .child = &c};

    coil_group_begin(&g);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    coil_scope_cancel(&s.scope, NULL);
    CHECK_EQ(c.before.aborts, 1);
    give_way();
    CHECK(!s.over); /* the child takes its time */
    parker_unpark(&c.before, -ECANCELED);
    await(&s.over);
    CHECK(c.over);
    CHECK_EQ(s.result, -ECANCELED);
    CHECK_EQ(s.scope_result, 0);
    CHECK_EQ(coil_scope_caught(&s.scope), 1);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_in_a_cancelled_task_the_child_runs_to_its_first_checkpoint)
{
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_DONE};
    struct coil_scope outer;
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_begin(&outer, COIL_FOREVER);
    coil_scope_cancel(&outer, NULL);
    CHECK_EQ(coil_group_start(&g, run_child, &c, NULL), -ECANCELED);
    CHECK_EQ(c.before.aborts, 1);
    CHECK_EQ(coil_scope_end(&outer, -ECANCELED), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* trio #1431 */
COIL_TEST(start, s3_6_before_started_the_child_sees_the_starters_deadline)
{
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_DONE};
    struct coil_group g;
    struct starter s = {.group = &g, .child = &c};

    s.deadline_ns = coil_now() + COIL_MILLISECOND;
    coil_group_begin(&g);
    SPAWN(&g, run_starter, &s);
    await(&s.over);
    CHECK_EQ(c.before.result, -ECANCELED);
    CHECK_EQ(s.result, -ECANCELED);
    CHECK_EQ(s.scope_result, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* What a child sees of deadlines, before and after. */
struct view {
    int64_t before_ns;
    int64_t after_ns;
};

static int look(void *arg)
{
    struct view *v = arg;

    v->before_ns = coil_effective_deadline();
    CHECK_EQ(coil_started(0), 0);
    v->after_ns = coil_effective_deadline();
    return 0;
}

COIL_TEST(start, s3_6_afterwards_it_sees_the_groups)
{
    const int64_t soon_ns = coil_now() + 1000 * COIL_SECOND;
    const int64_t late_ns = coil_now() + 2000 * COIL_SECOND;
    struct coil_scope mine;
    struct coil_group g;
    struct view v;

    coil_group_begin(&g);
    coil_scope_set_deadline(coil_group_scope(&g), late_ns);
    coil_scope_begin(&mine, soon_ns);
    CHECK_EQ(coil_group_start(&g, look, &v, NULL), 0);
    CHECK_EQ(v.before_ns, soon_ns);
    CHECK_EQ(v.after_ns, late_ns);
    CHECK_EQ(coil_scope_end(&mine, 0), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_a_cancel_of_the_group_does_not_reach_a_start_from_elsewhere)
{
    struct child c = {.parks_before = true,
                      .parks_after = true,
                      .before.answer = COIL_ABORT_DONE,
                      .after.answer = COIL_ABORT_DONE};
    struct coil_group target;
    struct coil_group g;
    struct starter s = {.group = &target, .child = &c};

    coil_group_begin(&g);
    coil_group_begin(&target);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    coil_scope_cancel(coil_group_scope(&target), NULL);
    CHECK_EQ(c.before.aborts, 0);
    parker_unpark(&c.before, 0);
    await(&s.over);
    CHECK_EQ(s.result, 0); /* it has started, */
    CHECK_EQ(coil_group_end(&target, 0), 0);
    CHECK_EQ(c.after.result, -ECANCELED); /* and met the group's cancel at once */
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_the_starters_shield_covers_the_child_until_it_has_started)
{
    struct child c = {.parks_before = true,
                      .parks_after = true,
                      .before.answer = COIL_ABORT_DONE,
                      .after.answer = COIL_ABORT_DONE};
    struct coil_group g;
    struct starter s = {.group = &g, .child = &c, .shielded = true};

    coil_group_begin(&g);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(c.before.aborts, 0);
    parker_unpark(&c.before, 0);
    await(&s.over);
    CHECK_EQ(s.result, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.after.result, -ECANCELED);
}

/* A child with tasks of its own when it says that it has started. */
struct family {
    struct parker grandchild;
    struct parker shielded;
    int seen_at_once;
    int requested_before;
    int requested_after;
};

static int park_under_a_shield(void *arg)
{
    struct coil_scope s;
    int rc;

    coil_shield_begin(&s, COIL_FOREVER);
    rc = parker_park(arg);
    return coil_scope_end(&s, rc);
}

static int start_with_a_family(void *arg)
{
    struct family *f = arg;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, parker_run, &f->grandchild);
    SPAWN(&g, park_under_a_shield, &f->shielded);
    parker_await(&f->grandchild);
    parker_await(&f->shielded);
    f->requested_before = coil_cancel_requested();
    CHECK_EQ(coil_started(0), 0);
    f->requested_after = coil_cancel_requested();
    f->seen_at_once = f->grandchild.aborts;
    if (f->shielded.task)
        parker_unpark(&f->shielded, 0);
    return coil_group_end(&g, 0);
}

COIL_TEST(start, s3_6_a_pending_cancel_of_the_group_reaches_all_that_the_child_has_begun_at_once)
{
    struct family f = {.grandchild.answer = COIL_ABORT_DONE, .shielded.answer = COIL_ABORT_DONE};
    struct coil_scope shield;
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    coil_shield_begin(&shield, COIL_FOREVER);
    CHECK_EQ(coil_group_start(&g, start_with_a_family, &f, NULL), 0);
    CHECK_EQ(f.seen_at_once, 1);
    CHECK_EQ(f.shielded.aborts, 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(f.grandchild.result, -ECANCELED);
    CHECK_EQ(f.shielded.result, 0);
}

COIL_TEST(start, s3_6_a_request_to_the_starter_is_left_behind)
{
    struct family f = {.grandchild.answer = COIL_ABORT_DONE, .shielded.answer = COIL_ABORT_DONE};
    struct coil_scope mine;
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_begin(&mine, COIL_FOREVER);
    coil_scope_request(&mine, COIL_FOREVER, NULL);
    CHECK_EQ(coil_group_start(&g, start_with_a_family, &f, NULL), 0);
    CHECK_EQ(f.requested_before, 1);
    CHECK_EQ(f.requested_after, 0);
    CHECK_EQ(coil_scope_end(&mine, 0), 0);
    parker_unpark(&f.grandchild, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_and_so_is_a_cancel_that_comes_later)
{
    struct child c = {.parks_after = true, .after.answer = COIL_ABORT_DONE};
    struct coil_scope mine;
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_begin(&mine, COIL_FOREVER);
    CHECK_EQ(coil_group_start(&g, run_child, &c, NULL), 0);
    parker_await(&c.after);
    coil_scope_cancel(&mine, NULL);
    CHECK_EQ(c.after.aborts, 0);
    CHECK_EQ(coil_scope_end(&mine, 0), 0);
    parker_unpark(&c.after, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_started_in_a_cancelled_start_is_a_no_op)
{
    struct child c = {.parks_before = true, /* it does not give in, */
                      .parks_after = true,
                      .after.answer = COIL_ABORT_DONE,
                      .before.answer = COIL_ABORT_LATER};
    struct coil_group target;
    struct coil_group g;
    struct starter s = {.group = &target, .child = &c};

    coil_group_begin(&g);
    coil_group_begin(&target);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    coil_scope_cancel(&s.scope, NULL);
    parker_unpark(&c.before, 0); /* and says that it has started */
    await(&s.over);
    CHECK_EQ(c.said, 0);
    CHECK_EQ(c.again, -EALREADY);
    CHECK_EQ(c.after.result, -ECANCELED); /* it stayed where it was */
    CHECK_EQ(s.result, -ECANCELED);
    CHECK_EQ(coil_group_count(&target), 0);
    CHECK_EQ(coil_group_end(&target, 0), 0);
    CHECK_EQ(coil_group_error_count(&target), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* A start behind a shield that goes up when the child has been told to stop. */
struct late_shield {
    struct coil_group *target;
    struct coil_scope outer;
    struct coil_scope shield;
    int said;
    int result;
};

static int start_too_late(void *arg)
{
    struct late_shield *s = arg;
    int rc = coil_sleep(COIL_FOREVER);

    coil_scope_set_shield(&s->shield, 1);
    s->said = coil_started(1);
    return rc;
}

static int start_behind_a_shield(void *arg)
{
    struct late_shield *s = arg;

    coil_scope_begin(&s->outer, COIL_FOREVER);
    coil_scope_begin(&s->shield, COIL_FOREVER);
    s->result = coil_group_start(s->target, start_too_late, s, NULL);
    return coil_scope_end(&s->outer, coil_scope_end(&s->shield, s->result));
}

/* Nobody in the other group, nor above it, would catch what the child has been told. */
COIL_TEST(start, s3_6_who_was_told_to_stop_with_its_start_stays_there_though_a_shield_went_up)
{
    struct late_shield s = {.said = 1};
    struct coil_group target;
    struct coil_group g;

    coil_group_begin(&g);
    coil_group_begin(&target);
    s.target = &target;
    SPAWN(&g, start_behind_a_shield, &s);
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    coil_scope_cancel(&s.outer, NULL);
    CHECK_EQ(coil_group_end(&target, 0), 0);
    CHECK_EQ(s.said, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s.result, -ECANCELED);
}

COIL_TEST(start, s3_6_later_errors_come_out_of_such_a_start)
{
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_LATER, .result = -EIO};
    struct coil_group target;
    struct coil_group g;
    struct starter s = {.group = &target, .child = &c};

    coil_group_begin(&g);
    coil_group_begin(&target);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    coil_scope_cancel(&s.scope, NULL);
    parker_unpark(&c.before, 0);
    await(&s.over);
    CHECK_EQ(s.result, -EIO);
    CHECK_EQ(coil_group_end(&target, 0), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_a_child_that_ends_well_in_a_cancelled_start_has_started)
{
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_LATER, .value = 9};
    struct coil_group g;
    struct starter s = {.group = &g, .child = &c};

    coil_group_begin(&g);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    coil_scope_cancel(&s.scope, NULL);
    parker_unpark(&c.before, 0);
    await(&s.over);
    CHECK_EQ(s.result, 0);
    CHECK_EQ(s.value, 9);
    CHECK_EQ(coil_scope_caught(&s.scope), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* anyio #685, #710 */
COIL_TEST(start, s3_6_a_cancelled_start_leaves_the_groups_other_tasks_alone)
{
    struct parker sibling = {.answer = COIL_ABORT_DONE};
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_DONE};
    struct coil_group g;
    struct starter s = {.group = &g, .child = &c};

    coil_group_begin(&g);
    SPAWN(&g, parker_run, &sibling);
    SPAWN(&g, run_starter, &s);
    parker_await(&sibling);
    parker_await(&c.before);
    coil_scope_cancel(&s.scope, NULL);
    await(&s.over);
    CHECK_EQ(s.result, -ECANCELED);
    CHECK_EQ(sibling.aborts, 0);
    CHECK_EQ(coil_checkpoint(), 0);
    parker_unpark(&sibling, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
}

/* anyio #706 */
COIL_TEST(start, s3_6_cancelled_between_started_and_its_first_checkpoint_it_has_started_once)
{
    struct child c = {.parks_after = true, .after.answer = COIL_ABORT_DONE, .value = 5};
    struct coil_group target;
    struct coil_group g;
    struct starter s = {.group = &target, .child = &c, .shielded = true};

    coil_group_begin(&g);
    coil_group_begin(&target);
    coil_scope_cancel(coil_group_scope(&target), NULL);
    SPAWN(&g, run_starter, &s); /* it says so, and its next call is cancelled */
    await(&s.over);
    CHECK_EQ(s.result, 0);
    CHECK_EQ(s.value, 5);
    CHECK_EQ(c.said, 0);
    CHECK_EQ(c.after.result, -ECANCELED);
    CHECK_EQ(coil_group_end(&target, 0), 0);
    CHECK_EQ(coil_group_error_count(&target), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int fail_by_a_group_inside(void *arg)
{
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, fail_with_words, arg);
    return coil_group_end(&g, 0);
}

static int start_what_fails_inside(void *arg)
{
    return coil_group_start(arg, fail_by_a_group_inside, NULL, NULL);
}

/* trio #3261 */
COIL_TEST(start, s3_6_what_led_to_the_failure_of_a_start_is_kept)
{
    struct coil_group target;
    struct coil_group g;
    struct coil_error e[3];

    coil_group_begin(&target);
    coil_group_begin(&g);
    SPAWN(&g, start_what_fails_inside, &target);
    CHECK_EQ(coil_group_end(&g, 0), -EADDRINUSE);
    CHECK_EQ(coil_group_error(&g, 0, &e[0]), 0);
    CHECK_EQ(coil_error_inner(&e[0], 0, &e[1]), 0);
    CHECK_EQ(coil_error_inner(&e[1], 0, &e[2]), 0);
    CHECK(same(e[1].task, "fail_by_a_group_inside"));
    CHECK(same(e[2].task, "fail_with_words"));
    CHECK(same(e[2].message, "somebody listens there"));
    CHECK_EQ(coil_group_end(&target, 0), 0);
}

/* A child that says so behind a shield of its own, and meets the cancel only after that. */
struct shielded_start {
    struct coil_group *group;
    struct coil_scope scope; /* around the start */
    struct parker inside;
    int said;
    int after;
    int result;
    bool over;
};

static int shield_then_start(void *arg)
{
    struct shielded_start *s = arg;
    struct coil_scope shield;

    coil_shield_begin(&shield, COIL_FOREVER);
    CHECK_EQ(parker_park(&s->inside), 0);
    s->said = coil_started(3);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_scope_end(&shield, 0), 0);
    s->after = coil_checkpoint();
    return s->after;
}

static int start_the_shielded(void *arg)
{
    struct shielded_start *s = arg;

    coil_scope_begin(&s->scope, COIL_FOREVER);
    s->result = coil_group_start(s->group, shield_then_start, s, NULL);
    s->over = true;
    return coil_scope_end(&s->scope, s->result);
}

/* anyio #837 */
COIL_TEST(start, s3_6_a_childs_own_shield_holds_in_a_cancelled_start)
{
    struct coil_group target;
    struct coil_group g;
    struct shielded_start s = {.group = &target, .inside.answer = COIL_ABORT_DONE, .said = 1};

    coil_group_begin(&target);
    coil_group_begin(&g);
    SPAWN(&g, start_the_shielded, &s);
    parker_await(&s.inside);
    coil_scope_cancel(&s.scope, NULL);
    give_way();
    CHECK_EQ(s.inside.aborts, 0);
    CHECK(!s.over); /* it is awaited */
    parker_unpark(&s.inside, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s.said, 0);
    CHECK_EQ(s.after, -ECANCELED);
    CHECK_EQ(s.result, -ECANCELED);
    CHECK_EQ(coil_group_end(&target, 0), 0);
    CHECK_EQ(coil_group_error_count(&target), 0);
}

/* anyio #517 */
COIL_TEST(start, s3_6_the_failure_of_a_sibling_of_the_starter_cancels_its_start)
{
    struct child failing = {.says_nothing = true, .parks_before = true, .result = -EIO};
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_DONE};
    struct coil_group target;
    struct coil_group g;
    struct starter s = {.group = &target, .child = &c};

    coil_group_begin(&target);
    coil_group_begin(&g);
    SPAWN(&g, run_child, &failing);
    SPAWN(&g, run_starter, &s);
    parker_await(&failing.before);
    parker_await(&c.before);
    parker_unpark(&failing.before, 0);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(s.result, -ECANCELED);
    CHECK_EQ(c.before.result, -ECANCELED);
    CHECK_EQ(coil_group_end(&target, 0), 0);
}

/* --- 3.6: the group -------------------------------------------------------------------------- */

struct ender {
    struct coil_group group;
    struct parker body;
    bool over;
};

static int end_a_group(void *arg)
{
    struct ender *e = arg;
    int rc;

    coil_group_begin(&e->group);
    rc = parker_park(&e->body);
    rc = coil_group_end(&e->group, rc);
    e->over = true;
    return rc;
}

COIL_TEST(start, s3_6_an_unfinished_start_keeps_the_group_open)
{
    struct child c = {.parks_before = true, .parks_after = true};
    struct ender e = {.over = false};
    struct starter s = {.group = &e.group, .child = &c};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, end_a_group, &e);
    parker_await(&e.body);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    CHECK_EQ(coil_group_count(&e.group), 1);
    parker_unpark(&e.body, 0);
    give_way();
    CHECK(!e.over);
    parker_unpark(&c.before, 0);
    await(&s.over);
    give_way();
    CHECK(!e.over); /* now it is the child that it waits for */
    parker_unpark(&c.after, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(e.over);
}

COIL_TEST(start, s3_6_a_start_that_fails_lets_the_group_end)
{
    struct child c = {.parks_before = true, .says_nothing = true, .result = -EIO};
    struct ender e = {.over = false};
    struct starter s = {.group = &e.group, .child = &c};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, end_a_group, &e);
    parker_await(&e.body);
    SPAWN(&g, run_starter, &s);
    parker_await(&c.before);
    parker_unpark(&e.body, 0);
    give_way();
    parker_unpark(&c.before, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s.result, -EIO);
    CHECK(e.over);
}

COIL_TEST(start, s3_6_an_ended_group_starts_no_task)
{
    struct child c = {.value = 1};
    struct coil_group g;
    intptr_t value = 7;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_start(&g, run_child, &c, &value), -ESHUTDOWN);
    CHECK_EQ(value, 7);
    CHECK_EQ(c.said, 0);
}

static int start_a_sibling(void *arg)
{
    static struct child c = {.value = 2};
    intptr_t value;
    int rc = coil_group_start(arg, run_child, &c, &value);

    return rc < 0 ? rc : coil_started(value + 1);
}

COIL_TEST(start, s3_6_a_child_may_start_another_before_it_has_started)
{
    struct coil_group g;
    intptr_t value = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, start_a_sibling, &g, &value), 0);
    CHECK_EQ(value, 3);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static int start_deeper(void *arg)
{
    struct coil_group g;
    int depth = *(const int *)arg - 1;
    intptr_t value = 0;
    int rc = 0;

    coil_group_begin(&g);
    if (depth)
        rc = coil_group_start(&g, start_deeper, &depth, &value);
    if (rc >= 0)
        rc = coil_started(value + 1);
    return coil_group_end(&g, rc);
}

COIL_TEST(start, s3_6_starts_nest)
{
    struct coil_group g;
    int depth = 50;
    intptr_t value = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, start_deeper, &depth, &value), 0);
    CHECK_EQ(value, 50);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_the_site_of_a_failure_after_started_and_the_cancels_cause_are_the_groups)
{
    struct child c = {.parks_after = true, .after.answer = COIL_ABORT_DONE};
    struct coil_cancellation why;
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, run_child, &c, NULL), 0);
    parker_await(&c.after);
    c.result = -EPIPE;
    parker_unpark(&c.after, 0);
    while (coil_checkpoint() == 0)
        continue;
    CHECK_EQ(coil_why_cancelled(&why), 1);
    CHECK_EQ(why.cause, COIL_CAUSE_GROUP_ERROR);
    CHECK(same(why.task, "run_child"));
    CHECK_EQ(coil_group_end(&g, -ECANCELED), -EPIPE);
}

/* --- 3.6: bad input, no memory --------------------------------------------------------------- */

COIL_TEST(start, s3_6_no_function_or_no_such_stack_is_refused_at_once)
{
    struct coil_spawn_options options = {.stack_size = 1};
    struct child c = {.value = 1};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start(&g, NULL, &c, NULL), -EINVAL);
    CHECK_EQ(coil_group_start_with(&g, run_child, &c, NULL, &options), -EINVAL);
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

COIL_TEST(start, s3_6_without_memory_for_a_stack_nothing_has_happened)
{
    struct coil_handle h = {{0}};
    struct coil_spawn_options options = {.stack_size = 256 << 20, .handle = &h};
    struct child c = {.value = 1};
    struct coil_group g;
    int r;

    coil_group_begin(&g);
    scarce_begin();
    r = coil_group_start_with(&g, run_child, &c, NULL, &options);
    scarce_end();
    CHECK_EQ(r, -ENOMEM);
    CHECK_EQ(h.opaque_[0], 0);
    CHECK_EQ(c.said, 0);
    CHECK_EQ(coil_group_count(&g), 0);
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ(coil_group_start(&g, run_child, &c, NULL), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static bool refuse;

static void *allocate_unless_told(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (size)
        return refuse ? NULL : realloc(ptr, size);
    free(ptr);
    return NULL;
}

static void start_without_memory(void)
{
    struct child c = {.says_nothing = true, .result = -EIO};
    struct coil_group g;

    coil_group_begin(&g);
    refuse = true;
    CHECK_EQ(coil_group_start(&g, run_child, &c, NULL), -EIO);
    c = (struct child){.value = 1};
    CHECK_EQ(coil_group_start(&g, run_child, &c, NULL), 0);
    refuse = false;
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

Test(start, s3_6_without_memory_for_a_record_its_failure_comes_out_all_the_same)
{
    struct coil_loop_options options = harness_options();

    options.allocate = allocate_unless_told;
    harness_run(&options, start_without_memory);
}

/* --- 3.7: the handle of a task that is being started ----------------------------------------- */

COIL_TEST(start, s3_7_the_parent_is_the_starter_until_the_task_has_started)
{
    struct child c = {.parks_before = true, .parks_after = true, .value = 6};
    struct coil_spawn_options options = {.name = "the starter"};
    struct coil_group g;
    struct starter s = {.group = &g, .child = &c};
    intptr_t value = 7;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, run_starter, &s, &options), 0);
    parker_await(&c.before);
    CHECK(same(coil_task_name(&s.handle), "the child"));
    CHECK(same(coil_task_parent(&s.handle), "the starter"));
    CHECK_EQ(coil_task_start_value(&s.handle, &value), -EAGAIN);
    CHECK_EQ(value, 7);
    parker_unpark(&c.before, 0);
    await(&s.over);
    CHECK(same(coil_task_parent(&s.handle), "main"));
    CHECK_EQ(coil_task_start_value(&s.handle, &value), 0);
    CHECK_EQ(value, 6);
    CHECK_EQ(coil_task_status(&s.handle), COIL_STATUS_RUNNING);
    parker_await(&c.after);
    parker_unpark(&c.after, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_start_value(&s.handle, &value), 0);
}

COIL_TEST(start, s3_7_a_cancel_by_the_handle_after_started_is_that_tasks_affair)
{
    struct child c = {.parks_after = true, .after.answer = COIL_ABORT_DONE};
    struct coil_group g;
    struct coil_handle h;
    struct coil_spawn_options options = {.handle = &h};

    coil_group_begin(&g);
    CHECK_EQ(coil_group_start_with(&g, run_child, &c, NULL, &options), 0);
    parker_await(&c.after);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(coil_task_wait(&h), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- 3.8: services --------------------------------------------------------------------------- */

/* A service, and when it was asked to stop and when it ended, by a clock of events. */
struct service {
    struct parker parker;
    int *clock;
    int asked_at;
    int ended_at;
    int slow; /* how often it gives way on its way out */
    int result;
    struct coil_cancellation why;
    struct coil_handle handle;
};

static int run_service(void *arg)
{
    struct service *s = arg;
    int rc;

    s->parker.answer = COIL_ABORT_DONE;
    rc = parker_park(&s->parker);
    s->asked_at = ++*s->clock;
    (void)coil_why_cancelled(&s->why);
    for (int i = 0; i < s->slow; i++)
        coil_yield_shielded();
    s->ended_at = ++*s->clock;
    return s->result ? s->result : rc;
}

static void spawn_service(struct coil_group *g, struct service *s)
{
    struct coil_spawn_options options = {.service = 1, .handle = &s->handle};

    CHECK_EQ(coil_group_spawn_with(g, run_service, s, &options), 0);
}

COIL_TEST(start, s3_8_a_service_is_not_waited_for_but_cancelled)
{
    int clock = 0;
    struct service s = {.clock = &clock};
    struct coil_group g;

    coil_group_begin_at(&g, "the-begin");
    spawn_service(&g, &s);
    CHECK_EQ(coil_group_count(&g), 1);
    parker_await(&s.parker);
    CHECK_EQ(coil_group_end_at(&g, 0, "the-end"), 0);
    CHECK_EQ(s.ended_at, 2);
    CHECK_EQ(s.why.cause, COIL_CAUSE_SHUTDOWN);
    CHECK(same(s.why.task, "main"));
    CHECK(same(s.why.site, "the-end"));
    CHECK_EQ(coil_task_status(&s.handle), COIL_STATUS_CANCELLED);
    CHECK_EQ(coil_scope_cancelled(coil_group_scope(&g)), 0);
    CHECK_EQ(coil_group_error_count(&g), 0);
}

COIL_TEST(start, s3_8_a_service_spawned_just_before_the_end_runs_to_its_first_checkpoint)
{
    int clock = 0;
    struct service s = {.clock = &clock};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_service(&g, &s);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s.parker.aborts, 1);
}

COIL_TEST(start, s3_8_it_lives_as_long_as_anything_else_of_the_group)
{
    int clock = 0;
    struct service s = {.clock = &clock};
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct ender e = {.over = false};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, end_a_group, &e);
    parker_await(&e.body);
    spawn_service(&e.group, &s);
    SPAWN(&e.group, parker_run, &p);
    parker_await(&p);
    parker_await(&s.parker);
    parker_unpark(&e.body, 0);
    give_way();
    CHECK_EQ(s.parker.aborts, 0);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s.parker.aborts, 1);
}

COIL_TEST(start, s3_8_services_end_in_reverse_order_one_after_the_other)
{
    int clock = 0;
    struct service s[5] = {{.slow = 3}, {.slow = 0}, {.slow = 7}, {.slow = 1}, {.slow = 9}};
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 5; i++) {
        s[i].clock = &clock;
        spawn_service(&g, &s[i]);
    }
    for (int i = 0; i < 5; i++)
        parker_await(&s[i].parker);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 5; i++) { /* the last one first, and over before the next was asked */
        CHECK_EQ(s[4 - i].asked_at, 2 * i + 1);
        CHECK_EQ(s[4 - i].ended_at, 2 * i + 2);
    }
}

COIL_TEST(start, s3_8_also_when_the_group_is_cancelled_they_outlive_the_others)
{
    int clock = 0;
    struct service s[2] = {{.clock = &clock}, {.clock = &clock}};
    struct parker p = {.answer = COIL_ABORT_LATER};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_service(&g, &s[0]);
    SPAWN(&g, parker_run, &p);
    spawn_service(&g, &s[1]);
    parker_await(&p);
    parker_await(&s[0].parker);
    parker_await(&s[1].parker);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(p.aborts, 1);
    give_way();
    CHECK_EQ(clock, 0);
    parker_unpark(&p, -ECANCELED);
    give_way();
    CHECK_EQ(clock, 0); /* the body, too, is something else */
    CHECK_EQ(coil_group_end(&g, coil_checkpoint()), 0);
    CHECK_EQ(s[1].ended_at, 2);
    CHECK_EQ(s[0].asked_at, 3);
}

COIL_TEST(start, s3_8_a_deadline_around_the_group_ends_it_services_and_all)
{
    int clock = 0;
    struct service s = {.clock = &clock};
    struct coil_scope outer;
    struct coil_group g;
    int rc;

    coil_timeout_begin(&outer, coil_now() + COIL_MILLISECOND);
    coil_group_begin(&g);
    spawn_service(&g, &s);
    rc = coil_group_end(&g, coil_sleep(COIL_FOREVER));
    CHECK_EQ(rc, -ECANCELED);
    CHECK_EQ(coil_scope_end(&outer, rc), -ETIME);
    CHECK_EQ(s.ended_at, 2);
}

COIL_TEST(start, s3_8_a_service_that_fails_fails_its_group)
{
    int clock = 0;
    struct service s = {.clock = &clock, .result = -EIO};
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_service(&g, &s);
    SPAWN(&g, parker_run, &p);
    parker_await(&s.parker);
    parker_await(&p);
    parker_unpark(&s.parker, 0);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(p.result, -ECANCELED);
}

COIL_TEST(start, s3_8_so_does_one_that_fails_on_its_way_out)
{
    int clock = 0;
    struct service s[2] = {{.clock = &clock}, {.clock = &clock, .result = -EIO}};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_service(&g, &s[0]);
    spawn_service(&g, &s[1]);
    CHECK_EQ(coil_group_end(&g, 0), -EIO);
    CHECK_EQ(coil_group_error_count(&g), 1);
    CHECK_EQ(s[0].ended_at, 4);
    CHECK_EQ(coil_task_status(&s[0].handle), COIL_STATUS_CANCELLED);
}

COIL_TEST(start, s3_8_one_that_returns_is_gone)
{
    int clock = 0;
    struct service s[2] = {{.clock = &clock}, {.clock = &clock}};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_service(&g, &s[0]);
    spawn_service(&g, &s[1]);
    parker_await(&s[1].parker);
    parker_unpark(&s[1].parker, 0);
    CHECK_EQ(coil_task_wait(&s[1].handle), 0);
    CHECK_EQ(coil_group_count(&g), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(s[0].parker.result, -ECANCELED);
    CHECK_EQ(s[1].parker.result, 0);
}

COIL_TEST(start, s3_8_one_may_be_cancelled_by_its_handle)
{
    int clock = 0;
    struct service s = {.clock = &clock};
    struct coil_group g;

    coil_group_begin(&g);
    spawn_service(&g, &s);
    parker_await(&s.parker);
    coil_task_cancel(&s.handle, NULL);
    CHECK_EQ(coil_task_wait(&s.handle), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* A service that spawns a task and another service when it is asked to stop. */
struct last_word {
    struct coil_group *group;
    struct service late;
    int *clock;
    int task_ended_at;
};

static int take_a_while(void *arg)
{
    struct last_word *w = arg;

    give_way();
    w->task_ended_at = ++*w->clock;
    return 0;
}

static int have_the_last_word(void *arg)
{
    struct last_word *w = arg;

    CHECK_EQ(coil_sleep(COIL_FOREVER), -ECANCELED);
    SPAWN(w->group, take_a_while, w);
    spawn_service(w->group, &w->late);
    return 0;
}

COIL_TEST(start, s3_8_what_a_service_spawns_on_its_way_out_comes_before_the_next_service)
{
    int clock = 0;
    struct service first = {.clock = &clock};
    struct coil_group g;
    struct last_word w = {.group = &g, .clock = &clock, .late.clock = &clock};
    struct coil_spawn_options options = {.service = 1};

    coil_group_begin(&g);
    spawn_service(&g, &first);
    CHECK_EQ(coil_group_spawn_with(&g, have_the_last_word, &w, &options), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(w.task_ended_at, 1);
    CHECK_EQ(w.late.asked_at, 2);
    CHECK_EQ(first.asked_at, 4);
}

COIL_TEST(start, s3_8_a_task_may_be_started_as_a_service)
{
    int clock = 0;
    struct child c = {.parks_before = true,
                      .parks_after = true,
                      .before.answer = COIL_ABORT_DONE,
                      .after.answer = COIL_ABORT_DONE};
    struct coil_spawn_options options = {.service = 1};
    struct coil_group g;
    struct service s = {.clock = &clock};

    coil_group_begin(&g);
    spawn_service(&g, &s);
    c.parks_before = false;
    CHECK_EQ(coil_group_start_with(&g, run_child, &c, NULL, &options), 0);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    parker_await(&c.after);
    CHECK_EQ(c.after.aborts, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.after.result, -ECANCELED);
}

COIL_TEST(start, s3_8_until_it_has_started_a_service_sees_the_starters_scopes)
{
    struct child c = {.parks_before = true, .before.answer = COIL_ABORT_DONE};
    struct coil_spawn_options options = {.service = 1};
    struct coil_scope mine;
    struct coil_group g;

    coil_group_begin(&g);
    coil_scope_begin(&mine, coil_now() + COIL_MILLISECOND);
    CHECK_EQ(coil_group_start_with(&g, run_child, &c, NULL, &options), -ECANCELED);
    CHECK_EQ(coil_scope_end(&mine, -ECANCELED), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

static struct coil_group *elsewhere;

static int start_late(void *arg)
{
    int rc = coil_sleep(COIL_MILLISECOND);

    (void)arg;
    if (rc >= 0)
        rc = coil_started(1);
    return rc < 0 ? rc : coil_sleep(COIL_FOREVER);
}

static int start_service_elsewhere(void *arg)
{
    const struct coil_spawn_options options = {.service = 1};

    (void)arg;
    return coil_group_start_with(elsewhere, start_late, NULL, NULL, &options);
}

/* Its group ends as soon as there is nothing in it but that service. */
COIL_TEST(start, s3_8_a_service_started_from_outside_does_not_keep_the_group)
{
    struct coil_group outer;
    struct coil_group g;

    coil_group_begin(&outer);
    coil_group_begin(&g);
    elsewhere = &g;
    CHECK_EQ(coil_group_spawn(&outer, start_service_elsewhere, NULL), 0);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_group_end(&outer, 0), 0);
}
