/* local.c - semantics.md 8.5: slots of tasks, inherited at spawn, and of loops. */
#include <stdlib.h>
#include <unistd.h>

#include "parker.h"

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

static struct coil_local plain = COIL_LOCAL_INIT;
static struct coil_local other = COIL_LOCAL_INIT;

/* A value that knows how often it was destroyed. */
struct value {
    int destroyed;
};

static void destroy(void *value)
{
    CHECK(coil_task_self() == NULL);
    ((struct value *)value)->destroyed++;
}

static struct coil_local counted = {destroy};

static char a, b, c;

COIL_TEST(local, s8_5_a_slot_is_empty_until_it_is_set)
{
    CHECK(coil_local_get(&plain) == NULL);
    CHECK_EQ(coil_local_set(&plain, &a), 0);
    CHECK(coil_local_get(&plain) == &a);
    CHECK(coil_local_get(&other) == NULL);
    CHECK_EQ(coil_local_set(&other, &b), 0);
    CHECK_EQ(coil_local_set(&plain, &c), 0);
    CHECK(coil_local_get(&plain) == &c);
    CHECK(coil_local_get(&other) == &b);
    CHECK_EQ(coil_local_set(&plain, NULL), 0);
    CHECK_EQ(coil_local_set(&plain, NULL), 0);
    CHECK(coil_local_get(&plain) == NULL);
    CHECK(coil_local_get(&other) == &b);
    CHECK_EQ(coil_local_set(NULL, &a), -EINVAL);
    CHECK(coil_local_get(NULL) == NULL);
}

/* A child that looks, sets, and looks again when it is told. */
struct child {
    void *inherited;
    void *kept;
    void *to_set;
    struct parker parker;
};

static int run_child(void *arg)
{
    struct child *k = arg;

    k->inherited = coil_local_get(&plain);
    CHECK_EQ(coil_local_set(&plain, k->to_set), 0);
    (void)parker_park(&k->parker);
    k->kept = coil_local_get(&plain);
    return 0;
}

COIL_TEST_IN_ORDER(local, s8_5_a_child_has_what_its_spawner_had_at_that_moment)
{
    struct child k[3] = {{.to_set = &b}, {.to_set = NULL}, {.to_set = &c}};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, run_child, &k[0]);
    CHECK_EQ(coil_local_set(&plain, &a), 0);
    SPAWN(&g, run_child, &k[1]);
    SPAWN(&g, run_child, &k[2]);
    CHECK_EQ(coil_local_set(&plain, &b), 0);
    for (int i = 0; i < 3; i++)
        parker_await(&k[i].parker);
    CHECK(k[0].inherited == NULL);
    CHECK(k[1].inherited == &a);
    CHECK(k[2].inherited == &a);
    CHECK(coil_local_get(&plain) == &b); /* whatever they did */
    CHECK(coil_local_of(k[2].parker.task, &plain) == &c);
    for (int i = 0; i < 3; i++)
        parker_unpark(&k[i].parker, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 3; i++)
        CHECK(k[i].kept == k[i].to_set);
}

static int look_only(void *arg)
{
    *(void **)arg = coil_local_get(&plain);
    return 0;
}

COIL_TEST(local, s8_5_one_that_had_no_stack_has_nothing_of_who_runs_when_it_begins)
{
    void *inherited = NULL;
    struct coil_group g;

    CHECK_EQ(coil_local_set(&plain, &a), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later(&g, coil_now() - 1, look_only, &inherited), 0);
    CHECK_EQ(coil_local_set(&plain, &b), 0);
    CHECK_EQ(coil_checkpoint_if_cancelled(), 0); /* looks at the clock, so it begins now */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(inherited == &a);
}

struct family {
    struct value *own; /* to be set, if not NULL */
    struct value *expected;
    int generations;
};

static int run_family(void *arg)
{
    struct family f = *(struct family *)arg;
    struct coil_group g;

    CHECK(coil_local_get(&counted) == f.expected);
    if (!f.generations--)
        return 0;
    coil_group_begin(&g);
    for (int i = 0; i < 3; i++)
        SPAWN(&g, run_family, &f);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(f.expected->destroyed, 0);
    return 0;
}

COIL_TEST(local, s8_5_a_value_is_destroyed_once_when_the_last_that_has_it_lets_go)
{
    struct value first = {0};
    struct value second = {0};
    struct family f = {.expected = &first, .generations = 3};
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;

    CHECK_EQ(coil_local_set(&counted, &first), 0);
    CHECK_EQ(coil_local_set(&counted, &first), 0); /* changes nothing */
    CHECK_EQ(run_family(&f), 0);
    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p);
    parker_await(&p);
    CHECK_EQ(coil_local_set(&counted, &second), 0);
    CHECK_EQ(first.destroyed, 0); /* the child has it */
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(first.destroyed, 1);
    CHECK_EQ(coil_local_set(&plain, &a), 0);
    CHECK_EQ(coil_local_set(&counted, NULL), 0);
    CHECK_EQ(second.destroyed, 1);
    CHECK_EQ(first.destroyed, 1);
}

static int set_and_end(void *arg)
{
    CHECK_EQ(coil_local_set(&counted, arg), 0);
    return 0;
}

COIL_TEST(local, s8_5_a_task_that_ends_lets_go_before_its_group_ends)
{
    struct value v[2] = {{0}, {0}};
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, set_and_end, &v[0]);
    SPAWN(&g, set_and_end, &v[1]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(v[0].destroyed, 1);
    CHECK_EQ(v[1].destroyed, 1);
}

static int set_many(void *arg)
{
    static struct coil_local keys[100];
    static struct value values[100];

    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 100; i++) {
            keys[i].destroy = destroy;
            CHECK_EQ(coil_local_set(&keys[i], &values[(i + round) % 100]), 0);
        }
    for (int i = 0; i < 100; i++)
        CHECK(coil_local_get(&keys[i]) == &values[(i + 2) % 100]);
    for (int i = 0; i < 100; i += 2)
        CHECK_EQ(coil_local_set(&keys[i], NULL), 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(coil_local_get(&keys[i]) != NULL, i % 2);
    *(struct value **)arg = values;
    return 0;
}

COIL_TEST(local, s8_5_there_is_no_limit_to_keys)
{
    struct value *values = NULL;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, set_many, &values);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(values[i].destroyed, 3);
}

/* --- Memory ---------------------------------------------------------------------------------- */

/* Gives memory so many times, and counts what is out. */
struct ration {
    int left;
    int out;
};

static void *allocate_rationed(void *ctx, void *ptr, size_t size)
{
    struct ration *r = ctx;
    void *new;

    if (!size) {
        r->out -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (r->left-- <= 0)
        return NULL;
    new = realloc(ptr, size);
    r->out += new && !ptr;
    return new;
}

static struct ration ration = {.left = 1 << 30};

#define RATIONED_TEST(name)                                                                        \
    COIL_TEST_WITH_(local, name,                                                                   \
                    (options_.allocate = allocate_rationed, options_.allocate_ctx = &ration))

RATIONED_TEST(s8_5_without_memory_the_old_value_stands)
{
    struct value v[2] = {{0}, {0}};
    struct parker p = {.answer = COIL_ABORT_DONE};
    struct coil_group g;
    int r = -ENOMEM;

    CHECK_EQ(coil_local_set(&counted, &v[0]), 0);
    CHECK_EQ(coil_local_set(&plain, &a), 0);
    coil_group_begin(&g);
    SPAWN(&g, parker_run, &p); /* which shares them, so that a set copies */
    parker_await(&p);
    for (int given = 0; given < 2; given++) {
        ration.left = given;
        CHECK_EQ(coil_local_set(&counted, &v[1]), -ENOMEM);
        ration.left = given;
        CHECK_EQ(coil_local_set(&other, &b), -ENOMEM);
        ration.left = 0;
        CHECK_EQ(coil_local_set(&plain, NULL), -ENOMEM);
        CHECK(coil_local_get(&counted) == &v[0]);
        CHECK(coil_local_get(&plain) == &a);
        CHECK(coil_local_get(&other) == NULL);
    }
    CHECK_EQ(v[0].destroyed + v[1].destroyed, 0);
    ration.left = 2;
    r = coil_local_set(&counted, &v[1]);
    ration.left = 1 << 30;
    CHECK_EQ(r, 0);
    CHECK(coil_local_of(p.task, &counted) == &v[0]);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(v[0].destroyed, 1);
    CHECK_EQ(coil_local_set(&counted, NULL), 0);
    CHECK_EQ(v[1].destroyed, 1);
}

/* As a server does that names each request before it spawns, while earlier ones go on. */
RATIONED_TEST(s8_5_setting_anew_before_each_spawn_keeps_nothing)
{
    struct parker p[2] = {{.answer = COIL_ABORT_DONE}, {.answer = COIL_ABORT_DONE}};
    struct value v[200] = {{0}};
    struct coil_group g;
    int out = 0;

    coil_group_begin(&g);
    CHECK_EQ(coil_local_set(&counted, &v[0]), 0);
    SPAWN(&g, parker_run, &p[0]);
    parker_await(&p[0]);
    for (int i = 1; i < 200; i++) {
        CHECK_EQ(coil_local_set(&counted, &v[i]), 0);
        p[i % 2] = (struct parker){.answer = COIL_ABORT_DONE};
        SPAWN(&g, parker_run, &p[i % 2]);
        parker_await(&p[i % 2]);
        parker_unpark(&p[(i + 1) % 2], 0);
        give_way();
        CHECK_EQ(v[i - 1].destroyed, 1);
        if (i == 10)
            out = ration.out;
    }
    CHECK_EQ(ration.out, out);
    parker_unpark(&p[199 % 2], 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_local_set(&counted, NULL), 0);
    CHECK_EQ(v[199].destroyed, 1);
}

RATIONED_TEST(s8_5_a_spawn_that_inherits_allocates_nothing)
{
    struct coil_group g;
    struct family f = {.generations = 0};

    CHECK_EQ(coil_local_set(&plain, &a), 0);
    coil_group_begin(&g);
    SPAWN(&g, run_family, &f); /* its stack is warm from here on */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    coil_group_begin(&g);
    ration.left = 0;
    SPAWN(&g, run_family, &f);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    ration.left = 1 << 30;
}

/* --- Tasks without a stack -------------------------------------------------------------------- */

/* A task that begins later, or again and again, and looks at its slot each time. */
struct late {
    struct value *own; /* to be set in the first round, if not NULL */
    void *seen[3];
    int rounds;
    int fd; /* to wait for between the rounds; < 0: for a while */
};

static int look_late(void *arg)
{
    struct late *l = arg;

    l->seen[l->rounds] = coil_local_get(&counted);
    if (l->rounds++ == 2)
        return 0;
    if (l->own)
        CHECK_EQ(coil_local_set(&counted, l->own), 0);
    return l->fd < 0 ? coil_again_later(coil_now()) : coil_again_readable(l->fd);
}

COIL_TEST(local, s8_5_a_task_that_begins_later_has_what_its_spawner_had_at_the_spawn)
{
    struct value v[2] = {{0}, {0}};
    struct late l[2] = {{.fd = -1, .rounds = 2}, {.rounds = 2}};
    struct coil_group g;
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_local_set(&counted, &v[0]), 0);
    CHECK_EQ(coil_group_spawn_later(&g, coil_now() + COIL_MILLISECOND, look_late, &l[0]), 0);
    CHECK_EQ(coil_group_spawn_readable(&g, ends[0], look_late, &l[1]), 0);
    CHECK_EQ(coil_local_set(&counted, &v[1]), 0);
    CHECK_EQ(v[0].destroyed, 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(l[0].seen[2] == &v[0]);
    CHECK(l[1].seen[2] == &v[0]);
    CHECK_EQ(v[0].destroyed, 1);
    CHECK_EQ(v[1].destroyed, 0);
    CHECK_EQ(coil_local_set(&counted, NULL), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

COIL_TEST(local, s8_5_a_task_that_goes_back_to_sleep_keeps_its_slots)
{
    struct value v[3] = {{0}, {0}, {0}};
    struct late l[2] = {{.fd = -1, .own = &v[1]}, {.own = &v[2]}};
    struct coil_group g;
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    l[1].fd = ends[0];
    CHECK_EQ(coil_local_set(&counted, &v[0]), 0);
    coil_group_begin(&g);
    for (int i = 0; i < 2; i++)
        SPAWN(&g, look_late, &l[i]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 2; i++) {
        CHECK(l[i].seen[0] == &v[0]);
        CHECK(l[i].seen[1] == &v[1 + i]);
        CHECK(l[i].seen[2] == &v[1 + i]);
        CHECK_EQ(v[1 + i].destroyed, 1);
    }
    CHECK_EQ(v[0].destroyed, 0);
    CHECK_EQ(coil_local_set(&counted, NULL), 0);
    CHECK_EQ(v[0].destroyed, 1);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

static int again_on_nothing(void *arg)
{
    (void)arg;
    return coil_again_readable(-1);
}

COIL_TEST(local, s8_5_a_task_that_never_begins_lets_go_before_its_group_ends)
{
    struct value v = {0};
    struct coil_handle h;
    const struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(coil_local_set(&counted, &v), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable(&g, ends[0], look_late, NULL), 0);
    CHECK_EQ(coil_group_spawn_readable(&g, ends[0], look_late, NULL), -EBUSY);
    CHECK_EQ(coil_group_spawn_later_with(&g, COIL_FOREVER, look_late, NULL, &options), 0);
    CHECK_EQ(coil_group_spawn_later(&g, COIL_FOREVER, look_late, NULL), 0);
    CHECK_EQ(coil_local_set(&counted, NULL), 0);
    CHECK_EQ(v.destroyed, 0);
    coil_task_cancel(&h, NULL);
    CHECK_EQ(v.destroyed, 0);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(v.destroyed, 1);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

COIL_TEST(local, s8_5_a_task_that_cannot_go_back_to_sleep_lets_go_too)
{
    struct value v = {0};
    struct coil_group g;

    CHECK_EQ(coil_local_set(&counted, &v), 0);
    coil_group_begin(&g);
    SPAWN(&g, again_on_nothing, NULL);
    CHECK_EQ(coil_local_set(&counted, NULL), 0);
    CHECK_EQ(v.destroyed, 0);
    CHECK_EQ(coil_group_end(&g, 0), -EBADF);
    CHECK_EQ(v.destroyed, 1);
}

/* It may cancel its own task, and the group of it. */
static struct coil_handle *doomed;

static void cancel_the_doomed(void *group)
{
    coil_task_cancel(doomed, "a slot");
    coil_scope_cancel(coil_group_scope(group), "a slot");
}

static struct coil_local cancelling = {cancel_the_doomed};

COIL_TEST(local, s8_5_a_destructor_may_cancel_the_task_that_never_began)
{
    struct coil_handle h;
    const struct coil_spawn_options options = {.handle = &h};
    struct coil_group g;

    doomed = &h;
    coil_group_begin(&g);
    CHECK_EQ(coil_local_set(&cancelling, &g), 0);
    CHECK_EQ(coil_group_spawn_later_with(&g, COIL_FOREVER, look_late, NULL, &options), 0);
    CHECK_EQ(coil_local_set(&cancelling, NULL), 0);
    coil_task_cancel(&h, "first");
    CHECK_EQ(coil_checkpoint(), -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_task_status(&h), COIL_STATUS_CANCELLED);
}

/* --- Of a loop ------------------------------------------------------------------------------- */

static int set_for_the_loop(void *arg)
{
    CHECK(coil_loop_local_get(&counted) == NULL);
    CHECK_EQ(coil_loop_local_set(&counted, arg), 0);
    return 0;
}

static int use_the_loops(void *arg)
{
    struct value *v = arg;
    struct coil_group g;

    coil_group_begin(&g);
    SPAWN(&g, set_for_the_loop, &v[0]);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK(coil_loop_local_get(&counted) == &v[0]);
    CHECK(coil_local_get(&counted) == NULL);
    CHECK_EQ(coil_loop_local_set(&counted, &v[1]), 0);
    CHECK_EQ(v[0].destroyed, 1);
    CHECK_EQ(v[1].destroyed, 0);
    return 0;
}

Test(local, s8_5_a_loops_slot_is_for_all_its_tasks_and_ends_with_it)
{
    struct coil_loop_options options = harness_options();

    harness_need_backend();
    for (int i = 0; i < 2; i++) {
        struct value v[2] = {{0}, {0}};

        CHECK_EQ(coil_run(&options, use_the_loops, v), 0);
        CHECK_EQ(v[0].destroyed, 1);
        CHECK_EQ(v[1].destroyed, 1);
    }
}

Test(local, s8_5_outside_of_a_task_there_are_no_slots)
{
    CHECK(coil_local_get(&plain) == NULL);
    CHECK_EQ(coil_local_set(&plain, &a), -EINVAL);
    CHECK(coil_loop_local_get(&plain) == NULL);
    CHECK_EQ(coil_loop_local_set(&plain, &a), -EINVAL);
}

static void wait_in_destroy(void *value)
{
    (void)value;
    (void)!coil_sleep(1);
}

static struct coil_local waiting = {wait_in_destroy};

static int set_what_waits(void *arg)
{
    return coil_local_set(&waiting, arg);
}

static void run_what_waits(void)
{
    (void)!coil_run(NULL, set_what_waits, &a);
}

Test(local, s8_5_a_destructor_that_waits_aborts_with_a_line)
{
    harness_need_backend();
    CHECK(strstr(harness_abort_line(run_what_waits),
                 "coil: a sleep in the destructor of a slot: it must not wait\n"));
}
