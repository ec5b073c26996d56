/* debug.c - semantics.md 8.1: the tree, what each task waits for, and the dump of it all. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "parker.h"

#define SPAWN(g, fn, arg) CHECK_EQ(coil_group_spawn(g, fn, arg), 0)

/* A dump in memory. */
struct text {
    char *bytes;
    size_t len;
    size_t room;
    size_t longest; /* piece */
    int calls;
    int answer; /* to the pieces */
};

static int keep(void *ctx, const char *piece, size_t len)
{
    struct text *t = ctx;

    t->calls++;
    if (len > t->longest)
        t->longest = len;
    CHECK(t->len + len < t->room);
    memcpy(t->bytes + t->len, piece, len);
    t->len += len;
    t->bytes[t->len] = '\0';
    return t->answer;
}

static struct text text_new(size_t room)
{
    struct text t = {.bytes = malloc(room), .room = room};

    CHECK(t.bytes);
    t.bytes[0] = '\0';
    return t;
}

static struct text dump(enum coil_dump_format format)
{
    struct text t = text_new(1 << 24);

    CHECK_EQ(coil_dump(format, keep, &t), 0);
    return t;
}

static size_t count_of_words(const char *text, const char *words)
{
    size_t count = 0;

    for (; (text = strstr(text, words)); text++)
        count++;
    return count;
}

static void check_has(const char *text, const char *words)
{
    if (!strstr(text, words))
        fprintf(stderr, "no \"%s\" in:\n%s\n", words, text);
    CHECK(strstr(text, words));
}

/* Does the dump have a line that begins with these words, and has these later on? */
static void check_line(const char *text, const char *begin, const char *later)
{
    const char *line = strstr(text, begin);
    const char *end = line ? strchr(line + 1, '\n') : NULL;
    const char *at = line ? strstr(line, later) : NULL;

    if (!at || at > end)
        fprintf(stderr, "no line \"%s ... %s\" in:\n%s\n", begin, later, text);
    CHECK(at && at < end);
}

static bool same(const char *left, const char *right)
{
    return left && right && strcmp(left, right) == 0;
}

static struct coil_task_info look(const struct coil_task *t)
{
    struct coil_task_info info;

    coil_task_look(t, &info);
    return info;
}

/* The task of that name. */
static const struct coil_task *find(const char *name)
{
    struct coil_node n;

    for (int more = coil_tree_first(&n); more; more = coil_tree_next(&n))
        if (n.kind == COIL_NODE_TASK && same(look(n.task).name, name))
            return n.task;
    return NULL;
}

static struct coil_task_info look_for(const char *name)
{
    const struct coil_task *t = find(name);

    if (!t)
        fprintf(stderr, "no task %s\n", name);
    CHECK(t);
    return look(t);
}

static void spawn_named(struct coil_group *g, coil_task_fn *fn, void *arg, const char *name)
{
    struct coil_spawn_options options = {.name = name};

    CHECK_EQ(coil_group_spawn_with(g, fn, arg, &options), 0);
}

static void end_cancelled(struct coil_group *g)
{
    coil_scope_cancel(coil_group_scope(g), "seen enough");
    CHECK_EQ(coil_group_end(g, 0), 0);
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

/* --- The tree -------------------------------------------------------------------------------- */

static int host(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    SPAWN(&g, sleep_for_ever, NULL);
    return coil_group_end(&g, 0);
}

COIL_TEST_IN_ORDER(debug, s8_1_the_tree_is_walked_parents_first_oldest_first)
{
    static const enum coil_node_kind kinds[] = {
        COIL_NODE_LOOP, COIL_NODE_TASK,  COIL_NODE_SCOPE, COIL_NODE_GROUP, COIL_NODE_TASK,
        COIL_NODE_TASK, COIL_NODE_GROUP, COIL_NODE_TASK,  COIL_NODE_TASK,
    };
    static const int depths[] = {0, 1, 2, 3, 4, 4, 5, 6, 6};
    struct coil_scope s;
    struct coil_group g;
    struct coil_node n;
    size_t i = 0;

    coil_scope_begin(&s, COIL_FOREVER);
    coil_group_begin(&g);
    SPAWN(&g, sleep_for_ever, NULL);
    SPAWN(&g, host, NULL);
    give_way();
    for (int more = coil_tree_first(&n); more; more = coil_tree_next(&n), i++) {
        CHECK(i < 9);
        CHECK_EQ(n.kind, kinds[i]);
        CHECK_EQ(n.depth, depths[i]);
        CHECK_EQ(!n.task, i == 0);
        if (i >= 1 && i <= 3)
            CHECK(n.task == coil_task_self());
        if (n.kind == COIL_NODE_GROUP)
            CHECK_EQ(n.task_count, 2);
    }
    CHECK_EQ(i, 9);
    end_cancelled(&g);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

static int read_one(void *arg)
{
    char byte;

    return (int)coil_read(*(int *)arg, &byte, 1);
}

/* --- Tasks without a stack -------------------------------------------------------------------- */

COIL_TEST(debug, s8_1_tasks_without_a_stack_are_counted)
{
    const int64_t later_ns = coil_now() + 3600 * COIL_SECOND;
    struct coil_group g;
    struct coil_node n;
    struct text text;

    coil_group_begin_at(&g, "here.c:1");
    SPAWN(&g, sleep_for_ever, NULL);
    CHECK_EQ(coil_group_spawn_later(&g, later_ns, sleep_for_ever, NULL), 0);
    CHECK_EQ(coil_group_spawn_later(&g, later_ns, sleep_for_ever, NULL), 0);
    for (int more = coil_tree_first(&n); more && n.kind != COIL_NODE_GROUP;)
        more = coil_tree_next(&n);
    CHECK_EQ(n.task_count, 3);
    CHECK_EQ(n.dormant_count, 2);
    text = dump(COIL_DUMP_TEXT);
    check_has(text.bytes, "group of 3 tasks, of which 2 are dormant, begun at here.c:1\n");
    free(text.bytes);
    text = dump(COIL_DUMP_JSON);
    check_has(text.bytes, "\"tasks\":3,\"dormant\":2}");
    free(text.bytes);
    end_cancelled(&g);
}

static int host_of_dormant(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later_at(&g, COIL_FOREVER, host, NULL, NULL, "inner", "x"), 0);
    return coil_group_end(&g, 0);
}

COIL_TEST_IN_ORDER(debug, s8_1_dormant_tasks_come_right_after_their_group)
{
    static const char *const names[] = {"main", "first", "second", "third",
                                        "host", "inner", "last"};
    static const int depths[] = {1, 3, 3, 3, 3, 5, 3};
    const int64_t later_ns = coil_now() + 3600 * COIL_SECOND;
    struct coil_group g;
    struct coil_task_info t;
    struct coil_node n;
    size_t i = 0;

    coil_group_begin(&g);
    SPAWN(&g, host_of_dormant, NULL);
    coil_yield_shielded();
    SPAWN(&g, sleep_for_ever, NULL);
    for (int k = 1; k <= 3; k++)
        CHECK_EQ(coil_group_spawn_later_at(&g, later_ns, sleep_for_ever, NULL, NULL, names[k], "x"),
                 0);
    for (int more = coil_tree_first(&n); more; more = coil_tree_next(&n)) {
        if (!coil_node_look(&n, &t))
            continue;
        CHECK(i < 7);
        CHECK_EQ(n.depth, depths[i]);
        CHECK_EQ(t.dormant, n.kind == COIL_NODE_DORMANT);
        CHECK_EQ(n.task == NULL, t.dormant);
        if (i == 4 || i == 6)
            CHECK(!t.dormant);
        else
            CHECK(same(t.name, names[i]));
        i++;
    }
    CHECK_EQ(i, 7);
    end_cancelled(&g);
}

/* The first dormant task there is. */
static struct coil_task_info look_for_dormant(const char *name)
{
    struct coil_task_info t;
    struct coil_node n;

    for (int more = coil_tree_first(&n); more; more = coil_tree_next(&n))
        if (n.kind == COIL_NODE_DORMANT && coil_node_look(&n, &t) && same(t.name, name))
            return t;
    CHECK(false);
    return (struct coil_task_info){0};
}

COIL_TEST_IN_ORDER(debug, s8_1_a_dormant_task_says_what_it_waits_for_since_when_and_until_when)
{
    const int64_t now_ns = coil_now();
    const int64_t later_ns = now_ns + 3600 * COIL_SECOND + COIL_SECOND / 2;
    const int64_t deadline_ns = now_ns + 90 * COIL_SECOND + COIL_SECOND / 2;
    struct coil_handle h;
    const struct coil_spawn_options options = {
        .name = "watcher", .deadline_ns = deadline_ns, .handle = &h};
    struct coil_task_info t;
    struct coil_group g;
    struct text text;
    char said[256];
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    coil_group_begin_at(&g, "tree.c:1");
    CHECK_EQ(coil_group_spawn_later_at(&g, later_ns, host, NULL, NULL, "clock", "tree.c:2"), 0);
    CHECK_EQ(coil_group_spawn_readable_at(&g, ends[0], host, NULL, &options, "x", "tree.c:3"), 0);
    CHECK_EQ(coil_group_spawn_later_at(&g, COIL_FOREVER, host, NULL, NULL, "never", "tree.c:4"), 0);

    t = look_for_dormant("clock");
    CHECK_EQ(t.state, COIL_TASK_WAITING);
    CHECK(same(t.waits_for, "its time"));
    CHECK(same(t.site, "tree.c:2"));
    CHECK(same(t.parent, "main"));
    CHECK(same(t.scope_site, "tree.c:1"));
    CHECK_EQ(t.fd, -1);
    CHECK(t.since_ns >= now_ns && t.since_ns <= coil_now());
    CHECK_EQ(t.begins_ns, later_ns);
    CHECK_EQ(t.deadline_ns, COIL_FOREVER);
    t = look_for_dormant("watcher");
    CHECK(same(t.waits_for, "something to read"));
    CHECK_EQ(t.fd, ends[0]);
    CHECK_EQ(t.begins_ns, COIL_FOREVER);
    CHECK_EQ(t.deadline_ns, deadline_ns);
    CHECK_EQ(look_for_dormant("never").begins_ns, COIL_FOREVER);

    text = dump(COIL_DUMP_TEXT);
    check_line(text.bytes, "\n      task clock: waits ",
               " for its time in 1 h, dormant, spawned at tree.c:2\n");
    snprintf(
        said, sizeof(said),
        " for something to read on fd %d, dormant, deadline in 1 min 30 s, spawned at tree.c:3",
        ends[0]);
    check_line(text.bytes, "\n      task watcher: waits ", said);
    check_line(text.bytes, "\n      task never: waits ",
               " for its time, dormant, spawned at tree.c:4");
    free(text.bytes);
    text = dump(COIL_DUMP_JSON);
    CHECK(is_json(text.bytes));
    snprintf(said, sizeof(said),
             "\"name\":\"watcher\",\"parent\":\"main\",\"state\":\"waiting\","
             "\"dormant\":true,\"waits_for\":\"something to read\",\"whose\":null,\"fd\":%d,",
             ends[0]);
    check_has(text.bytes, said);
    snprintf(said, sizeof(said), "\"begins_ns\":%lld,", (long long)later_ns);
    check_has(text.bytes, said);
    free(text.bytes);
    end_cancelled(&g);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

COIL_TEST_IN_ORDER(debug, s8_1_a_dormant_task_is_under_its_groups_deadline_and_says_what_is_soonest)
{
    const int64_t soon_ns = coil_now() + 100 * COIL_SECOND;
    const int64_t late_ns = coil_now() + 200 * COIL_SECOND;
    const struct coil_spawn_options options = {.name = "late", .deadline_ns = late_ns};
    struct coil_group g;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_later_with(&g, COIL_FOREVER, host, NULL, &options), 0);
    CHECK_EQ(look_for_dormant("late").deadline_ns, late_ns);
    coil_scope_set_deadline(coil_group_scope(&g), soon_ns);
    CHECK_EQ(look_for_dormant("late").deadline_ns, soon_ns);
    end_cancelled(&g);
}

/* As a task that wakes by its op would be seen: not waiting any more, and not there yet. */
COIL_TEST_IN_ORDER(debug, s8_1_a_dormant_task_that_is_about_to_begin_is_ready)
{
    struct coil_group g;
    struct text text;
    int ends[2];

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable(&g, ends[0], read_one, &ends[0]), 0);
    CHECK_EQ(look_for_dormant("read_one").state, COIL_TASK_READY);
    text = dump(COIL_DUMP_TEXT);
    check_has(text.bytes, "task read_one: ready, dormant, spawned at ");
    free(text.bytes);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
}

COIL_TEST(debug, s8_1_a_dump_for_people_shows_a_thousand_dormant_tasks_of_a_group_and_json_all)
{
    struct coil_group outer;
    struct coil_group g;
    struct text text;

    coil_group_begin(&outer);
    CHECK_EQ(coil_group_spawn_later(&outer, COIL_FOREVER, host, NULL), 0);
    coil_group_begin(&g);
    for (int i = 0; i < 1500; i++)
        CHECK_EQ(coil_group_spawn_later(&g, COIL_FOREVER, sleep_for_ever, NULL), 0);
    text = dump(COIL_DUMP_TEXT);
    CHECK_EQ(count_of_words(text.bytes, "task sleep_for_ever: waits "), 1000);
    CHECK_EQ(count_of_words(text.bytes, "task host: waits "), 1);
    check_has(text.bytes, "\n        and 500 more, dormant\n");
    CHECK_EQ(count_of_words(text.bytes, "\n"), 1 + 1 + 1 + 1 + 1 + 1000 + 1);
    free(text.bytes);
    text = dump(COIL_DUMP_JSON);
    CHECK(is_json(text.bytes));
    CHECK_EQ(count_of_words(text.bytes, "\"name\":\"sleep_for_ever\""), 1500);
    free(text.bytes);
    end_cancelled(&g);
    end_cancelled(&outer);
}

COIL_TEST(debug, s8_1_a_task_has_a_name_a_site_and_a_parent)
{
    struct coil_group g;
    struct coil_task_info t;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_at(&g, host, NULL, NULL, "the host", "here.c:7"), 0);
    give_way();
    t = look_for("the host");
    CHECK(same(t.site, "here.c:7"));
    CHECK(same(t.parent, "main"));
    CHECK(same(look_for("sleep_for_ever").parent, "the host"));
    CHECK(look_for("main").parent == NULL);
    CHECK_EQ(look_for("main").state, COIL_TASK_RUNNING);
    end_cancelled(&g);
}

static void nest(int depth, void (*bottom)(void))
{
    struct coil_scope *all = calloc((size_t)depth, sizeof(*all));

    CHECK(all);
    for (int i = 0; i < depth; i++)
        coil_scope_begin(&all[i], COIL_FOREVER);
    bottom();
    for (int i = depth; i-- > 0;)
        CHECK_EQ(coil_scope_end(&all[i], 0), 0);
    free(all);
}

static void see_5000_scopes(void)
{
    struct coil_node n;
    struct text text;
    int scopes = 0;

    for (int more = coil_tree_first(&n); more; more = coil_tree_next(&n)) {
        CHECK_EQ(n.depth, n.kind == COIL_NODE_SCOPE ? scopes + 2 : (int)n.kind);
        scopes += n.kind == COIL_NODE_SCOPE;
    }
    CHECK_EQ(scopes, 5000);
    text = dump(COIL_DUMP_JSON);
    CHECK(is_json(text.bytes));
    check_has(text.bytes, "\"depth\":5001,");
    free(text.bytes);
    text = dump(COIL_DUMP_TEXT);
    CHECK_EQ(count_of_words(text.bytes, "\n"), 5002);
    check_has(text.bytes, "(5001) scope");
    CHECK(text.len < 5002 * 200);
    free(text.bytes);
}

COIL_TEST(debug, s8_1_five_thousand_nested_scopes_are_walked_and_written)
{
    nest(5000, see_5000_scopes);
}

/* --- What a task waits for ------------------------------------------------------------------- */

static int receive(void *arg)
{
    char byte;

    return (int)coil_recv(*(int *)arg, &byte, 1, 0);
}

static int accept_one(void *arg)
{
    return coil_accept(*(int *)arg, NULL, NULL);
}

static int wait_for(void *arg)
{
    return coil_task_wait(arg);
}

static int park_for_nothing_said(void *arg)
{
    (void)arg;
    return coil_park(parker_leave, &(struct parker){.answer = COIL_ABORT_DONE}, NULL);
}

COIL_TEST(debug, s8_1_a_task_says_what_it_waits_for)
{
    struct coil_spawn_options options = {.name = "the long one"};
    struct coil_handle h;
    struct coil_group g;
    int pair[2];
    int ends[2];
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(bind(listener, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t)), 0);
    CHECK_EQ(listen(listener, 1), 0);
    coil_group_begin(&g);
    options.handle = &h;
    CHECK_EQ(coil_group_spawn_with(&g, sleep_for_ever, NULL, &options), 0);
    SPAWN(&g, receive, &pair[0]);
    SPAWN(&g, read_one, &ends[0]);
    SPAWN(&g, accept_one, &listener);
    SPAWN(&g, wait_for, &h);
    SPAWN(&g, host, NULL);
    SPAWN(&g, park_for_nothing_said, NULL);
    give_way();

    CHECK(same(look_for("the long one").waits_for, "sleep"));
    CHECK_EQ(look_for("the long one").fd, -1);
    CHECK_EQ(look_for("the long one").state, COIL_TASK_WAITING);
    CHECK(same(look_for("receive").waits_for, "recv"));
    CHECK_EQ(look_for("receive").fd, pair[0]);
    CHECK(look_for("receive").whose == NULL);
    CHECK(same(look_for("read_one").waits_for, "read"));
    CHECK_EQ(look_for("read_one").fd, ends[0]);
    CHECK(same(look_for("accept_one").waits_for, "accept"));
    CHECK_EQ(look_for("accept_one").fd, listener);
    CHECK(same(look_for("wait_for").waits_for, "the end of a task"));
    CHECK(same(look_for("wait_for").whose, "the long one"));
    CHECK(same(look_for("host").waits_for, "group end"));
    CHECK(look_for("park_for_nothing_said").waits_for == NULL);
    CHECK(look_for("main").waits_for == NULL);

    end_cancelled(&g);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(coil_close(pair[i]), 0);
        CHECK_EQ(coil_close(ends[i]), 0);
    }
    CHECK_EQ(coil_close(listener), 0);
}

struct choice {
    struct coil_case cases[6];
    size_t count;
};

static int choose(void *arg)
{
    struct choice *c = arg;

    return coil_select(c->cases, c->count);
}

COIL_TEST(debug, s8_1_a_select_says_what_it_is_the_first_of)
{
    struct coil_sender tx;
    struct coil_receiver rx;
    const struct coil_channel_options options = {.item_size = sizeof(int), .capacity = 1};
    struct coil_event event = COIL_EVENT_INIT;
    struct coil_lock lock = COIL_LOCK_INIT;
    struct choice c = {.count = 4};
    struct coil_task_info t;
    struct coil_group g;
    struct text text;
    char said[256];
    int ends[2];
    int item;

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(coil_channel_open(&tx, &rx, &options), 0);
    CHECK_EQ(coil_lock_acquire(&lock), 0);
    c.cases[0] = COIL_CASE_RECEIVE(&rx, &item);
    c.cases[1] = COIL_CASE_READABLE(ends[0]);
    c.cases[2] = COIL_CASE_EVENT(&event);
    c.cases[3] = COIL_CASE_LOCK(&lock);
    coil_group_begin(&g);
    SPAWN(&g, choose, &c);
    give_way();
    t = look_for("choose");
    CHECK(same(t.waits_for, "select"));
    CHECK_EQ(t.fd, -1);
    CHECK(t.cases == c.cases);
    CHECK_EQ(t.case_count, 4);
    CHECK(look_for("main").cases == NULL);
    text = dump(COIL_DUMP_TEXT);
    snprintf(said, sizeof(said), " for select (receive, readable fd %d, event, lock), spawned at ",
             ends[0]);
    check_line(text.bytes, "task choose: waits ", said);
    free(text.bytes);
    text = dump(COIL_DUMP_JSON);
    CHECK(is_json(text.bytes));
    snprintf(said, sizeof(said),
             "\"waits_for\":\"select\",\"whose\":null,\"fd\":null,\"cases\":[{\"kind\":\"receive\","
             "\"fd\":null},{\"kind\":\"readable\",\"fd\":%d},{\"kind\":\"event\",\"fd\":null},"
             "{\"kind\":\"lock\",\"fd\":null}],",
             ends[0]);
    check_has(text.bytes, said);
    free(text.bytes);
    end_cancelled(&g);
    CHECK_EQ(coil_lock_release(&lock), 0);
    coil_sender_close(&tx);
    coil_receiver_close(&rx);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
}

static int close_it(void *arg)
{
    return coil_close(*(int *)arg);
}

/* What close waits for is over by the next look, so look from the one that was cancelled by it. */
static void see_the_close(const char *name)
{
    struct coil_task_info t = look_for(name);

    if (t.state == COIL_TASK_WAITING) {
        CHECK(same(t.waits_for, "close"));
        CHECK(t.fd >= 0);
    }
}

static int receive_until_closed(void *arg)
{
    char byte;

    CHECK_EQ(coil_recv(*(int *)arg, &byte, 1, 0), -EBADF);
    return 0;
}

COIL_TEST_IN_ORDER(debug, s8_1_a_close_says_which_descriptor)
{
    struct coil_group g;
    int pair[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    coil_group_begin(&g);
    SPAWN(&g, receive_until_closed, &pair[0]);
    give_way();
    SPAWN(&g, close_it, &pair[0]);
    coil_yield_shielded();
    see_the_close("close_it");
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_close(pair[1]), 0);
}

/* --- Since when, until when ------------------------------------------------------------------ */

COIL_TEST_IN_ORDER(debug, s8_1_since_when_is_never_late_and_hardly_early)
{
    struct coil_group g;
    int64_t before_ns;
    int64_t after_ns;

    coil_group_begin(&g);
    SPAWN(&g, park_for_nothing_said, NULL);
    CHECK_EQ(coil_sleep(COIL_MILLISECOND), 0);
    before_ns = coil_now();
    spawn_named(&g, park_for_nothing_said, NULL, "second");
    coil_yield_shielded();
    coil_yield_shielded();
    after_ns = coil_now();
    CHECK(look_for("second").since_ns >= before_ns);
    CHECK(look_for("second").since_ns <= after_ns);
    CHECK(look_for("park_for_nothing_said").since_ns <= before_ns - COIL_MILLISECOND);
    end_cancelled(&g);
}

COIL_TEST_IN_ORDER(debug, s8_1_a_loop_that_only_computes_knows_the_time_all_the_same)
{
    struct coil_group g;
    struct timespec begun;
    int64_t before_ns;

    coil_group_begin(&g);
    SPAWN(&g, park_for_nothing_said, NULL);
    coil_yield_shielded();
    clock_gettime(CLOCK_MONOTONIC, &begun); /* not coil_now: that would be told the loop */
    before_ns = begun.tv_sec * COIL_SECOND + begun.tv_nsec;
    for (int i = 0; i < 300; i++)
        coil_yield_shielded();
    spawn_named(&g, park_for_nothing_said, NULL, "second");
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK(look_for("second").since_ns >= before_ns);
    end_cancelled(&g);
}

static int sleep_within(void *arg)
{
    struct coil_scope s;
    int rc;

    coil_timeout_begin_at(&s, *(int64_t *)arg, "inner.c:1");
    rc = coil_sleep(COIL_FOREVER);
    return coil_scope_end(&s, rc);
}

COIL_TEST_IN_ORDER(debug, s8_1_a_task_says_until_when_and_under_which_scope)
{
    int64_t sooner_ns = coil_now() + 100 * COIL_SECOND;
    int64_t later_ns = coil_now() + 200 * COIL_SECOND;
    struct coil_scope s;
    struct coil_group g;

    coil_scope_begin(&s, sooner_ns);
    coil_group_begin(&g);
    SPAWN(&g, sleep_within, &later_ns);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(look_for("sleep_within").deadline_ns, sooner_ns);
    CHECK(same(look_for("sleep_within").scope_site, "inner.c:1"));
    coil_scope_set_deadline(&s, COIL_FOREVER);
    CHECK_EQ(look_for("sleep_within").deadline_ns, later_ns);
    CHECK_EQ(look_for("main").deadline_ns, COIL_FOREVER);
    end_cancelled(&g);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

static int stay_when_cancelled(void *arg)
{
    int rc = parker_run(arg);

    return rc < 0 ? 0 : rc;
}

COIL_TEST(debug, s8_1_a_cancelled_task_says_why)
{
    struct parker p = {.answer = COIL_ABORT_LATER};
    struct coil_task_info t;
    struct coil_group g;
    struct text text;

    coil_group_begin(&g);
    spawn_named(&g, stay_when_cancelled, &p, "stubborn");
    parker_await(&p);
    CHECK_EQ(look_for("stubborn").cancelled, 0);
    coil_scope_request_at(coil_group_scope(&g), COIL_FOREVER, "soon", "soft.c:1");
    CHECK_EQ(look_for("stubborn").requested, 1);
    CHECK_EQ(look_for("stubborn").cancelled, 0);
    coil_scope_cancel_at(coil_group_scope(&g), "now", "hard.c:2");
    t = look_for("stubborn");
    CHECK_EQ(t.cancelled, 1);
    CHECK_EQ(t.deadline_ns, INT64_MIN);
    CHECK_EQ(t.why.cause, COIL_CAUSE_EXPLICIT);
    CHECK(same(t.why.reason, "now"));
    CHECK(same(t.why.task, "main"));
    CHECK(same(t.why.site, "hard.c:2"));

    text = dump(COIL_DUMP_TEXT);
    check_line(text.bytes, "    group of 1 task", ", cancelled by task main at hard.c:2: now");
    check_line(text.bytes, "      task stubborn: waits ", " for a parker, cancelled from above");
    free(text.bytes);
    text = dump(COIL_DUMP_JSON);
    check_has(text.bytes, "\"cause\":\"explicit\",\"reason\":\"now\",\"cancelled_by\":\"main\","
                          "\"cancelled_at\":\"hard.c:2\"");
    free(text.bytes);
    parker_unpark(&p, 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
}

/* --- The dump -------------------------------------------------------------------------------- */

COIL_TEST(debug, s8_1_the_text_has_a_line_for_each_task_and_scope)
{
    int64_t deadline_ns = coil_now() + 90 * COIL_SECOND + COIL_SECOND / 2;
    char said[256];
    struct coil_group g;
    struct text text;
    int pair[2];

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    coil_group_begin_at(&g, "tree.c:1");
    CHECK_EQ(coil_group_spawn_at(&g, receive, &pair[0], NULL, "serve", "tree.c:2"), 0);
    CHECK_EQ(coil_group_spawn_at(&g, sleep_within, &deadline_ns, NULL, "timed", "tree.c:3"), 0);
    give_way();
    text = dump(COIL_DUMP_TEXT);
    snprintf(said, sizeof(said), "loop on %s (%s): 3 tasks, 0 ready", coil_backend_name(),
             coil_backend_reason());
    CHECK(strncmp(text.bytes, said, strlen(said)) == 0);
    check_line(text.bytes, "\n  task main: running, spawned at ", ".c:");
    check_has(text.bytes, "\n    group of 2 tasks, begun at tree.c:1\n");
    snprintf(said, sizeof(said), " for recv on fd %d, spawned at tree.c:2\n", pair[0]);
    check_has(text.bytes, said);
    check_line(text.bytes, "\n      task timed: waits ",
               " for sleep, deadline in 1 min 30 s, spawned at tree.c:3");
    check_line(text.bytes, "\n        scope, deadline in 1 min 30 s", ", begun at inner.c:1");
    CHECK_EQ(count_of_words(text.bytes, "\n"), 6);
    free(text.bytes);
    end_cancelled(&g);
    CHECK_EQ(coil_close(pair[0]), 0);
    CHECK_EQ(coil_close(pair[1]), 0);
}

COIL_TEST_IN_ORDER(debug, s8_1_names_may_hold_anything_or_be_missing)
{
    static const char *const names[] = {
        "\"quoted\" \\ and\tsplit\nin \x7f two\x01",
        "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x82",            /* UTF-8 */
        "cut \xe2\x82",                                         /* at the end of a character */
        "\xff\xfe \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \x80", /* not UTF-8 at all */
        "",
        NULL,
    };
    struct coil_scope s;
    struct coil_group g;
    struct text text;

    coil_scope_begin_at(&s, COIL_FOREVER, NULL);
    coil_group_begin_at(&g, "\"\\\n");
    for (size_t i = 0; i < 6; i++)
        CHECK_EQ(coil_group_spawn_at(&g, sleep_for_ever, NULL, NULL, names[i], names[i]), 0);
    text = dump(COIL_DUMP_JSON);
    CHECK(is_json(text.bytes));
    CHECK_EQ(strlen(text.bytes), text.len);
    check_has(text.bytes, "\"name\":\"\\\"quoted\\\" \\\\ and\\u0009split\\u000ain \\u007f two");
    check_has(text.bytes, "\"name\":\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x82\"");
    check_has(text.bytes, "\"name\":\"cut \\ufffd\\ufffd\"");
    check_has(text.bytes, "\"name\":\"\"");
    check_has(text.bytes, "\"name\":null");
    check_has(text.bytes, "\"site\":null");
    free(text.bytes);
    text = dump(COIL_DUMP_TEXT);
    CHECK_EQ(count_of_words(text.bytes, "\n"), 1 + 1 + 1 + 1 + 6);
    check_has(text.bytes, "task \"quoted\" \\ and\\x09split\\x0ain \\x7f two\\x01: ready");
    check_has(text.bytes, "task (no name): ready, spawned at (unknown)\n");
    check_has(text.bytes, "scope, begun at (unknown)\n");
    free(text.bytes);
    end_cancelled(&g);
    CHECK_EQ(coil_scope_end(&s, 0), 0);
}

#ifdef __SANITIZE_THREAD__
#define MANY 1000 /* TSan takes tasks for threads, and has room for 8,128 */
#else
#define MANY 10000
#endif

COIL_TEST_IN_ORDER(debug, s8_1_ten_thousand_tasks_are_written_in_small_pieces)
{
    struct coil_group g;
    struct text text;

    coil_group_begin(&g);
    for (int i = 0; i < MANY; i++)
        SPAWN(&g, sleep_for_ever, NULL);
    coil_yield_shielded();
    text = dump(COIL_DUMP_TEXT);
    CHECK_EQ(count_of_words(text.bytes, " for sleep, "), MANY);
    CHECK(text.longest <= 512);
    free(text.bytes);
    text = dump(COIL_DUMP_JSON);
    CHECK(is_json(text.bytes));
    CHECK_EQ(count_of_words(text.bytes, "\"waits_for\":\"sleep\""), MANY);
    CHECK(text.longest <= 512);
    free(text.bytes);
    end_cancelled(&g);
}

static void *no_memory(void *ctx, void *ptr, size_t size)
{
    if (size && *(bool *)ctx)
        return NULL;
    if (!size) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

static bool exhausted;

#ifdef __SANITIZE_ADDRESS__
#define KERNEL_GIVES_NOTHING false /* a sanitizer maps memory as it pleases */
#else
#define KERNEL_GIVES_NOTHING true
#endif

COIL_TEST_WITH_(debug, s8_1_a_dump_needs_no_memory,
                (options_.allocate = no_memory, options_.allocate_ctx = &exhausted))
{
    struct rlimit before;
    struct rlimit none;
    struct coil_group g;
    struct text text = text_new(1 << 16);

    memset(text.bytes, 0, text.room);
    coil_group_begin(&g);
    SPAWN(&g, host, NULL);
    give_way();
    CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = 1;
    exhausted = true;
    if (KERNEL_GIVES_NOTHING)
        CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    CHECK_EQ(coil_dump(COIL_DUMP_TEXT, keep, &text), 0);
    CHECK_EQ(coil_dump(COIL_DUMP_JSON, keep, &text), 0);
    CHECK_EQ(setrlimit(RLIMIT_AS, &before), 0);
    exhausted = false;
    check_has(text.bytes, "task host: waits ");
    check_has(text.bytes, "\"name\":\"host\"");
    free(text.bytes);
    end_cancelled(&g);
}

COIL_TEST_IN_ORDER(debug, s8_1_a_dump_ends_when_its_writer_has_enough)
{
    struct text text = text_new(1 << 20);
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 100; i++)
        SPAWN(&g, sleep_for_ever, NULL);
    coil_yield_shielded();
    text.answer = -ENOSPC;
    CHECK_EQ(coil_dump(COIL_DUMP_TEXT, keep, &text), -ENOSPC);
    CHECK_EQ(text.calls, 1);
    CHECK_EQ(coil_dump(COIL_DUMP_JSON, keep, &text), -ENOSPC);
    CHECK_EQ(text.calls, 2);
    free(text.bytes);
    end_cancelled(&g);
}

COIL_TEST(debug, s8_1_a_dump_of_no_loop_or_no_format_says_so)
{
    struct text text = {.bytes = NULL};

    CHECK_EQ(coil_dump((enum coil_dump_format)7, keep, &text), -EINVAL);
    CHECK_EQ(coil_dump(COIL_DUMP_TEXT, NULL, NULL), -EINVAL);
    CHECK_EQ(text.calls, 0);
}

Test(debug, s8_1_outside_of_a_loop_there_is_nothing_to_see)
{
    struct text text = {.bytes = NULL};
    struct coil_dumper d = {{0}};
    struct coil_node n;

    CHECK_EQ(coil_tree_first(&n), 0);
    CHECK_EQ(coil_dump(COIL_DUMP_TEXT, keep, &text), -EINVAL);
    CHECK_EQ(coil_dumper_begin(&d, COIL_DUMP_TEXT, keep, &text), -EINVAL);
    CHECK_EQ(coil_dumper_ask(&d), -ESHUTDOWN);
    coil_dumper_end(&d);
    CHECK_EQ(text.calls, 0);
}

static int wait_in_the_writer(void *ctx, const char *piece, size_t len)
{
    (void)ctx;
    (void)piece;
    (void)len;
    CHECK(coil_task_self() == NULL);
    return coil_sleep(1);
}

static int dump_and_wait(void *arg)
{
    (void)arg;
    return coil_dump(COIL_DUMP_TEXT, wait_in_the_writer, NULL);
}

static void run_dump_and_wait(void)
{
    (void)!coil_run(NULL, dump_and_wait, NULL);
}

Test(debug, s8_1_a_writer_that_waits_aborts_with_a_line)
{
    harness_need_backend();
    check_has(harness_abort_line(run_dump_and_wait),
              "coil: a sleep in the callback of a dump: it must not wait\n");
}

/* --- To a descriptor ------------------------------------------------------------------------- */

COIL_TEST(debug, s8_1_a_dump_to_a_descriptor_is_the_same)
{
    char bytes[4096];
    int ends[2];
    ssize_t n;

    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(coil_dump_fd(COIL_DUMP_TEXT, ends[1]), 0);
    n = read(ends[0], bytes, sizeof(bytes) - 1);
    CHECK(n > 0);
    bytes[n] = '\0';
    CHECK_EQ(count_of_words(bytes, "\n"), 2);
    check_has(bytes, "\n  task main: running, spawned at ");
    close(ends[0]);
    CHECK_EQ(coil_dump_fd(COIL_DUMP_TEXT, ends[1]), -EPIPE); /* and no SIGPIPE */
    close(ends[1]);
    CHECK_EQ(coil_dump_fd(COIL_DUMP_TEXT, ends[1]), -EBADF);
}

/* Two connected descriptors each; the second is to be written to. */
static void make_pipe(int ends[2])
{
    CHECK_EQ(pipe(ends), 0);
}

static void make_fifo(int ends[2])
{
    char path[] = "/tmp/coil-fifo-XXXXXX";

    CHECK(mkdtemp(path));
    CHECK_EQ(rmdir(path), 0);
    CHECK_EQ(mkfifo(path, 0600), 0);
    ends[0] = open(path, O_RDONLY | O_NONBLOCK);
    ends[1] = open(path, O_WRONLY);
    CHECK(ends[0] >= 0 && ends[1] >= 0);
    CHECK_EQ(unlink(path), 0);
}

static void make_stream(int ends[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

/* Its poll says that there is room when its peer's queue is full. */
static void make_datagram(int ends[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
}

static void make_terminal(int ends[2])
{
    ends[0] = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(ends[0] >= 0);
    CHECK_EQ(grantpt(ends[0]), 0);
    CHECK_EQ(unlockpt(ends[0]), 0);
    ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY);
    CHECK(ends[1] >= 0);
}

static void (*const makes[])(int ends[2]) = {make_pipe, make_fifo, make_stream, make_datagram,
                                             make_terminal};

/* More than any of them has room for, with as little left before the end as there can be. */
COIL_TEST_IN_ORDER(debug, s8_1_a_dump_does_not_wait_for_room_for_ever)
{
    struct coil_group g;
    int ends[2];

    coil_group_begin(&g);
    for (int i = 0; i < 2000; i++)
        SPAWN(&g, sleep_for_ever, NULL);
    coil_yield_shielded();
    for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
        makes[i](ends);
        CHECK_EQ(coil_dump_fd(COIL_DUMP_JSON, ends[1]), -EAGAIN);
        close(ends[0]);
        close(ends[1]);
    }
    end_cancelled(&g);
}

struct reader {
    int fd;
    size_t lines_left;
};

static void *read_lines(void *arg)
{
    struct reader *r = arg;
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    char bytes[4096];

    while (r->lines_left && poll(&p, 1, -1) > 0) {
        ssize_t n = read(r->fd, bytes, sizeof(bytes));

        CHECK(n > 0);
        for (ssize_t i = 0; i < n; i++)
            r->lines_left -= bytes[i] == '\n';
    }
    return NULL;
}

COIL_TEST_IN_ORDER(debug, s8_1_a_dump_to_somebody_who_reads_is_whole)
{
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 1000; i++)
        SPAWN(&g, sleep_for_ever, NULL);
    coil_yield_shielded();
    for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++) {
        struct reader r = {.lines_left = 1003};
        pthread_t thread;
        int ends[2];

        makes[i](ends);
        r.fd = ends[0];
        CHECK_EQ(pthread_create(&thread, NULL, read_lines, &r), 0);
        CHECK_EQ(coil_dump_fd(COIL_DUMP_TEXT, ends[1]), 0);
        pthread_join(thread, NULL); /* it has seen them all */
        close(ends[0]);
        close(ends[1]);
    }
    end_cancelled(&g);
}

/* --- From another thread, and from a signal handler ------------------------------------------ */

static struct coil_dumper dumper;

struct asked {
    struct text text;
    struct coil_task *waiter; /* to be woken by the end of a dump */
    pthread_t thread;         /* that the pieces came in */
    int dumps;
};

static int keep_and_wake(void *ctx, const char *piece, size_t len)
{
    struct asked *a = ctx;

    a->thread = pthread_self();
    (void)keep(&a->text, piece, len);
    if (piece[len - 1] == '\n') {
        a->dumps++;
        if (a->waiter)
            coil_unpark(a->waiter, 0);
        a->waiter = NULL;
    }
    return 0;
}

static void *ask_from_a_thread(void *arg)
{
    (void)arg;
    errno = 77;
    CHECK_EQ(coil_dumper_ask(&dumper), 0);
    CHECK_EQ(errno, 77);
    return NULL;
}

COIL_TEST(debug, s8_1_another_thread_asks_and_the_loop_wakes_and_writes)
{
    struct asked a = {.text = text_new(1 << 16), .waiter = coil_task_self()};
    pthread_t thread;

    CHECK_EQ(coil_dumper_begin(&dumper, COIL_DUMP_TEXT, keep_and_wake, &a), 0);
    CHECK_EQ(coil_dumper_begin(&dumper, COIL_DUMP_TEXT, keep_and_wake, &a), -EBUSY);
    CHECK_EQ(pthread_create(&thread, NULL, ask_from_a_thread, NULL), 0);
    CHECK_EQ(coil_park(NULL, NULL, "the dump"), 0); /* asleep until it is written */
    pthread_join(thread, NULL);
    CHECK(pthread_equal(a.thread, pthread_self()));
    check_line(a.text.bytes, "\n  task main: waits ", " for the dump, spawned at ");
    coil_dumper_end(&dumper);
    CHECK_EQ(coil_dumper_ask(&dumper), -ESHUTDOWN);
    coil_dumper_end(&dumper);
    CHECK_EQ(a.dumps, 1);
    free(a.text.bytes);
}

static void on_signal(int number)
{
    (void)number;
    errno = 77;
    CHECK_EQ(coil_dumper_ask(&dumper), 0);
    CHECK_EQ(errno, 77);
}

COIL_TEST_IN_ORDER(debug, s8_1_a_signal_handler_asks_and_once_is_enough)
{
    struct asked a = {.text = text_new(1 << 16)};
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before;

    CHECK_EQ(sigaction(SIGUSR1, &action, &before), 0);
    CHECK_EQ(coil_dumper_begin(&dumper, COIL_DUMP_JSON, keep_and_wake, &a), 0);
    raise(SIGUSR1);
    raise(SIGUSR1);
    CHECK_EQ(a.dumps, 0);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK(is_json(a.text.bytes));
    raise(SIGUSR1);
    coil_dumper_end(&dumper); /* writes what was asked for */
    CHECK_EQ(count_of_words(a.text.bytes, "{\"backend\":"), 2);
    CHECK_EQ(sigaction(SIGUSR1, &before, NULL), 0);
    free(a.text.bytes);
}

/* A task that, cancelled by a message, ends the dumper that has one just behind it. */
struct ender {
    struct coil_scope scope;
    struct asked *asked;
    int dumps; /* written when the end returned */
};

static enum coil_abort end_the_dumper(void *ctx)
{
    struct ender *e = ctx;

    coil_dumper_end(&dumper);
    e->dumps = e->asked->dumps;
    memset(&dumper, 0x55, sizeof(dumper)); /* its memory is somebody else's from now on */
    return COIL_ABORT_DONE;
}

static int park_until_cancelled(void *ender)
{
    struct ender *e = ender;
    int rc;

    coil_scope_begin(&e->scope, COIL_FOREVER);
    rc = coil_park(end_the_dumper, e, "a message");
    return coil_scope_end(&e->scope, rc);
}

static void *cancel_and_ask(void *ender)
{
    coil_scope_cancel(&((struct ender *)ender)->scope, "a message");
    CHECK_EQ(coil_dumper_ask(&dumper), 0);
    return NULL;
}

COIL_TEST_IN_ORDER(debug, s8_1_a_dumper_that_ends_between_two_messages_has_written_before)
{
    struct asked a = {.text = text_new(1 << 16)};
    struct ender e = {.asked = &a, .dumps = -1};
    struct coil_group g;
    pthread_t thread;

    coil_group_begin(&g);
    SPAWN(&g, park_until_cancelled, &e);
    give_way();
    CHECK_EQ(coil_dumper_begin(&dumper, COIL_DUMP_TEXT, keep_and_wake, &a), 0);
    CHECK_EQ(pthread_create(&thread, NULL, cancel_and_ask, &e), 0);
    pthread_join(thread, NULL); /* both messages are there, and are delivered in one go */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(e.dumps, 1);
    CHECK_EQ(a.dumps, 1);
    memset(&dumper, 0, sizeof(dumper));
    free(a.text.bytes);
}

static int end_in_the_first_piece(void *ctx, const char *piece, size_t len)
{
    (void)piece;
    (void)len;
    ++*(int *)ctx;
    CHECK_EQ(coil_dumper_ask(&dumper), 0); /* of which nothing comes: it is being written */
    coil_dumper_end(&dumper);
    memset(&dumper, 0x55, sizeof(dumper));
    return 0;
}

COIL_TEST_IN_ORDER(debug, s8_1_a_dumper_may_end_in_its_own_writer)
{
    struct coil_group g;
    int pieces = 0;

    coil_group_begin(&g);
    for (int i = 0; i < 100; i++)
        SPAWN(&g, sleep_for_ever, NULL);
    coil_yield_shielded();
    CHECK_EQ(coil_dumper_begin(&dumper, COIL_DUMP_JSON, end_in_the_first_piece, &pieces), 0);
    CHECK_EQ(coil_dumper_ask(&dumper), 0);
    give_way();
    CHECK_EQ(pieces, 1);
    memset(&dumper, 0, sizeof(dumper));
    end_cancelled(&g);
}

static int begin_a_dumper(void *arg)
{
    CHECK_EQ(coil_dumper_begin(&dumper, COIL_DUMP_TEXT, keep_and_wake, arg), 0);
    CHECK_EQ(coil_dumper_ask(&dumper), 0);
    return 0;
}

Test(debug, s8_1_the_end_of_the_loop_ends_a_dumper_and_writes_what_was_asked)
{
    struct asked a = {.text = text_new(1 << 16)};

    harness_need_backend();
    for (int i = 1; i <= 2; i++) {
        CHECK_EQ(coil_run(NULL, begin_a_dumper, &a), 0);
        CHECK_EQ(a.dumps, i);
        CHECK_EQ(coil_dumper_ask(&dumper), -ESHUTDOWN);
    }
    free(a.text.bytes);
}

static void *ask_until_the_end(void *arg)
{
    int r;

    (void)arg;
    while ((r = coil_dumper_ask(&dumper)) == 0)
        ;
    CHECK_EQ(r, -ESHUTDOWN);
    return NULL;
}

COIL_TEST(debug, s8_1_nobody_who_asks_meets_a_loop_that_is_gone)
{
    struct asked a = {.text = text_new(1 << 26)};
    pthread_t threads[2];

    CHECK_EQ(coil_dumper_begin(&dumper, COIL_DUMP_TEXT, keep_and_wake, &a), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, ask_until_the_end, NULL), 0);
    while (a.dumps < 100) {
        a.text.len = 0;
        coil_yield_shielded();
    }
    coil_dumper_end(&dumper);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    free(a.text.bytes);
}
