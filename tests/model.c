/* model.c - random trees of scopes, groups and tasks against a slow and obvious model of
 * semantics.md 2.3 (what is cancelled), 2.4 (the effective deadline), 2.5 (who catches), 2.6
 * (why), 2.10 (no residue), 3.2, 3.3 (failures) and 3.6 (started).
 *
 * Every task draws what to do next from one stream of random numbers, tells the model, does it, and
 * then all that can be asked of the library is compared with the model. On sim each seed is a world
 * of its own, in which time passes, and the laws are more: a sleeper wakes exactly when it is time,
 * what went into a pipe comes out once. COIL_MODEL_SEED runs one seed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"

#ifdef __SANITIZE_ADDRESS__
#define SIM_SEEDS 100 /* in each of ten parts */
#else
#define SIM_SEEDS 1000
#endif
#define SEEDS       150
#define STEPS       400
#define ACTORS_MAX  40
#define NODES_MAX   400
#define DEPTH_MAX   6
#define ERRORS_MAX  64
#define NUMBERS_MAX 4096

/* A scope, a group with its scope, or a task's own scope. */
struct node {
    struct node *parent;
    bool shielded;
    bool cancelled;
    bool requested;
    bool fails;
    bool caught;
    enum coil_cause cause;
    const char *reason;
    int64_t deadline_ns;
    uint64_t
        deadline_since; /* the turn in which it was set: if it was past then, a later one acts */

    struct coil_scope storage;
    struct coil_scope *scope; /* NULL: a task's own, which cannot be named */

    bool is_group;
    struct coil_group group;
    int children;
    bool gave_in;
    int errors[ERRORS_MAX];
    int error_count;
};

struct actor {
    struct node own;
    struct node *inner; /* the scope it is in */
    struct node *group;
    bool living;
    int result;
    bool gave_in;
    struct coil_task *task;
    struct coil_handle handle;

    struct node *target; /* the group it is started into; NULL: it was spawned */
    bool said;           /* that it has started */
    bool moved;
    int start_rc; /* what comes out of the start if it has not moved */

    bool parked;
    bool can_abort;
    enum coil_abort answer;
    int aborts;
    int woken_with;
    bool told; /* it was cancelled while it waited, though by now a shield may be up */
};

static struct {
    uint64_t seed;
    uint64_t state;
    int steps;
    struct actor *actors[ACTORS_MAX];
    int actor_count;
    struct node *nodes[NODES_MAX];
    int node_count;

    bool timed;   /* on sim: time passes, and exactly */
    int pipe[2];  /* what goes in comes out, once */
    long written; /* bytes */
    long read;
    int readers; /* that wait */

    struct coil_sender tx; /* the same of a channel: each number is sent once */
    struct coil_receiver rx;
    int numbers;
    uint8_t fate[NUMBERS_MAX]; /* of each number: SENT, RECEIVED bits */
    int receivers, senders;    /* that wait */

    struct coil_lock lock; /* one at a time has it */
    bool locked;
} world;

#define HOLDS(claim)                                                                               \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            fprintf(stderr, "COIL_MODEL_SEED=%llu: ", (unsigned long long)world.seed);             \
            CHECK(claim);                                                                          \
        }                                                                                          \
    } while (0)

static unsigned int draw(unsigned int below)
{
    uint64_t z = world.state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (unsigned int)((z ^ z >> 31) >> 33) % below;
}

static bool chance(unsigned int one_in)
{
    return draw(one_in) == 0;
}

static uint64_t turn_now(void)
{
    struct coil_stats stats;

    HOLDS(coil_loop_stats(&stats) == 0);
    return stats.turns;
}

/* --- The model ------------------------------------------------------------------------------- */

static bool is_cancelled(const struct node *n)
{
    return n && (n->cancelled || (!n->shielded && is_cancelled(n->parent)));
}

static bool is_requested(const struct node *n)
{
    return n && (n->cancelled || n->requested || (!n->shielded && is_requested(n->parent)));
}

static int64_t effective_deadline(const struct node *n)
{
    int64_t outside_ns;

    if (is_cancelled(n))
        return INT64_MIN;
    if (!n)
        return COIL_FOREVER;
    outside_ns = n->shielded ? COIL_FOREVER : effective_deadline(n->parent);
    return n->deadline_ns < outside_ns ? n->deadline_ns : outside_ns;
}

/* The outermost cancelled scope that one can see from n. */
static const struct node *responsible(const struct node *n)
{
    const struct node *further = n && !n->shielded ? responsible(n->parent) : NULL;

    return further ? further : n && n->cancelled ? n : NULL;
}

static void model_cancel(struct node *n, enum coil_cause cause, const char *reason)
{
    if (n->cancelled)
        return;
    n->cancelled = true;
    n->cause = cause;
    n->reason = reason;
}

static int model_end(struct node *n, int rc)
{
    if (rc != -ECANCELED || !n->cancelled || (!n->shielded && is_cancelled(n->parent)))
        return rc;
    n->caught = true;
    return n->fails && n->cause == COIL_CAUSE_DEADLINE ? -ETIME : 0;
}

static void model_fail(struct node *group, int code)
{
    HOLDS(group->error_count < ERRORS_MAX);
    group->errors[group->error_count++] = code;
    model_cancel(group, COIL_CAUSE_GROUP_ERROR, NULL);
}

static void model_task_ended(struct actor *a, int rc)
{
    a->living = false;
    a->result = rc;
    a->gave_in = rc == -ECANCELED && is_cancelled(&a->own);
    rc = model_end(&a->own, rc);
    if (rc == -ECANCELED)
        a->group->gave_in = true;
    else if (rc < 0)
        model_fail(a->group, rc);
    a->group->children--;
}

/* It has ended where it was started. */
static void model_starting_ended(struct actor *a, int rc)
{
    a->living = false;
    a->result = rc;
    a->gave_in = rc == -ECANCELED && is_cancelled(&a->own);
    a->start_rc = model_end(&a->own, rc);
}

static void model_started(struct actor *a)
{
    a->said = true;
    if (is_cancelled(a->own.parent))
        return;
    a->moved = true;
    a->own.parent = a->target;
    a->group = a->target;
}

/* Deadlines that were set in the past act at the next turn at the latest. */
static void model_catch_up(void)
{
    const uint64_t turn = turn_now();

    for (int i = 0; i < world.node_count; i++) {
        struct node *n = world.nodes[i];

        if (n->deadline_ns <= coil_now() &&
            (n->deadline_since < turn || coil_scope_cancelled(n->scope)))
            model_cancel(n, COIL_CAUSE_DEADLINE, NULL);
    }
}

static void model_deadline(struct node *n, int64_t deadline_ns)
{
    n->deadline_ns = deadline_ns;
    n->deadline_since = turn_now();
}

/* --- All that can be asked ------------------------------------------------------------------- */

static void compare_cancellation(const struct node *n)
{
    struct coil_cancellation c;

    coil_scope_cancellation(n->scope, &c);
    HOLDS(coil_scope_cancelled(n->scope) == n->cancelled);
    HOLDS(c.cause == n->cause);
    HOLDS(c.reason == n->reason);
    HOLDS(coil_scope_caught(n->scope) == n->caught);
}

static void compare_actor(const struct actor *a)
{
    const enum coil_status status = coil_task_status(&a->handle);

    if (a->living) {
        HOLDS(status == (is_cancelled(&a->own) ? COIL_STATUS_STOPPING : COIL_STATUS_RUNNING));
        HOLDS(!a->parked || !a->can_abort || a->aborts || !is_cancelled(a->inner));
    } else {
        HOLDS(coil_task_result(&a->handle) == a->result);
        HOLDS(status == (a->gave_in      ? COIL_STATUS_CANCELLED
                         : a->result < 0 ? COIL_STATUS_FAILED
                                         : COIL_STATUS_FINISHED));
    }
}

static void compare_why(const struct node *inner)
{
    const struct node *n = responsible(inner);
    struct coil_cancellation c;

    HOLDS(coil_why_cancelled(&c) == (n != NULL));
    HOLDS(!n || (c.cause == n->cause && c.reason == n->reason));
}

static void compare(const struct actor *self)
{
    const int check = coil_checkpoint_if_cancelled();

    model_catch_up();
    HOLDS(check == (is_cancelled(self->inner) ? -ECANCELED : 0));
    for (int i = 0; i < world.node_count; i++) {
        const struct node *n = world.nodes[i];

        compare_cancellation(n);
        HOLDS(coil_scope_deadline(n->scope) == n->deadline_ns);
        if (n->is_group) {
            HOLDS(coil_group_count(&n->group) == (size_t)n->children);
            HOLDS(coil_group_error_count(&n->group) == (size_t)n->error_count);
        }
    }
    for (int i = 1; i < world.actor_count; i++) /* the first is the main task: no handle */
        compare_actor(world.actors[i]);
    compare_why(self->inner);
    HOLDS(coil_cancel_requested() == is_requested(self->inner));
    HOLDS(coil_effective_deadline() == effective_deadline(self->inner));
}

/* --- What a task may do ---------------------------------------------------------------------- */

static int act(struct actor *a, int depth);

static struct node *node_new(struct actor *a)
{
    struct node *n = calloc(1, sizeof(*n));

    HOLDS(n);
    n->parent = a->inner;
    n->deadline_ns = COIL_FOREVER;
    n->scope = &n->storage;
    return n;
}

static void enter(struct actor *a, struct node *n)
{
    HOLDS(world.node_count < NODES_MAX);
    world.nodes[world.node_count++] = n;
    a->inner = n;
}

/* The memory goes at once: nobody may look at an ended scope any more. */
static void leave(struct actor *a, struct node *n)
{
    int i = 0;

    while (world.nodes[i] != n)
        i++;
    world.nodes[i] = world.nodes[--world.node_count];
    a->inner = n->parent;
    compare_cancellation(n);
    free(n);
}

static struct node *any_node(void)
{
    return world.node_count ? world.nodes[draw((unsigned int)world.node_count)] : NULL;
}

static const char *any_reason(void)
{
    static const char *const reasons[] = {NULL, "one", "two", "three"};

    return reasons[draw(4)];
}

static int64_t any_deadline(void)
{
    switch (draw(world.timed ? 9 : 6)) {
    case 0:
        return coil_now() - draw(1000);
    case 6:
    case 7:
    case 8:
        return coil_now() + draw(30) * COIL_MILLISECOND;
    case 1:
    case 2:
        return coil_now() + (1000 + draw(1000)) * COIL_SECOND;
    default:
        return COIL_FOREVER;
    }
}

static void begin_any_kind(struct node *n)
{
    int64_t deadline_ns = any_deadline();

    switch (draw(4)) {
    case 0:
        coil_scope_begin(n->scope, deadline_ns);
        break;
    case 1:
        n->fails = true;
        coil_timeout_begin(n->scope, deadline_ns);
        break;
    case 2:
        n->shielded = true;
        coil_shield_begin(n->scope, chance(4)                  ? -1
                                    : world.timed && chance(2) ? draw(30) * COIL_MILLISECOND
                                                               : COIL_FOREVER);
        deadline_ns = coil_scope_deadline(n->scope);
        break;
    case 3:
        coil_scope_prepare(n->scope);
        if (chance(3)) {
            model_cancel(n, COIL_CAUSE_EXPLICIT, any_reason());
            coil_scope_cancel(n->scope, n->reason);
        }
        coil_scope_begin_prepared(n->scope, deadline_ns);
        break;
    }
    model_deadline(n, deadline_ns);
}

static int work_in_a_scope(struct actor *a, int depth)
{
    static const int results[] = {0, 3, -EIO, -ECANCELED};
    struct node *n = node_new(a);
    int rc;

    begin_any_kind(n);
    enter(a, n);
    compare(a);
    rc = act(a, depth + 1);
    if (chance(6))
        rc = results[draw(4)];
    model_catch_up();
    HOLDS(coil_scope_end(n->scope, rc) == model_end(n, rc));
    rc = n->caught ? 0 : rc;
    leave(a, n);
    return rc;
}

/* What a task or a group's body returns. Only a cancelled one says so; else see group.c. */
static int any_result(const struct node *inner, int rc)
{
    if (chance(12))
        rc = chance(2) ? -EIO : -EPIPE;
    model_catch_up();
    return rc == -ECANCELED && !is_cancelled(inner) ? 0 : rc;
}

static void say_started(struct actor *a)
{
    const bool again = a->target && a->said;

    model_catch_up();
    if (a->target && !again)
        model_started(a);
    HOLDS(coil_started(1) == (again ? -EALREADY : 0));
}

static int actor_main(void *arg)
{
    struct actor *a = arg;
    int rc;

    a->task = coil_task_self();
    compare(a);
    if (a->target && chance(3))
        say_started(a);
    rc = any_result(&a->own, act(a, 0));
    if (a->target && !a->moved)
        model_starting_ended(a, rc);
    else
        model_task_ended(a, rc);
    return rc;
}

static struct actor *actor_new(struct node *parent)
{
    struct actor *a = calloc(1, sizeof(*a));

    HOLDS(a);
    world.actors[world.actor_count++] = a;
    a->own.parent = parent;
    a->own.deadline_ns = COIL_FOREVER;
    a->inner = &a->own;
    a->living = true;
    return a;
}

static void spawn_into(struct node *group)
{
    struct actor *a;
    struct coil_spawn_options options = {.name = "an actor"};

    if (world.actor_count == ACTORS_MAX)
        return;
    a = actor_new(group);
    a->group = group;
    group->children++;
    options.handle = &a->handle;
    HOLDS(coil_group_spawn_with(&group->group, actor_main, a, &options) == 0);
}

static int model_group_end(struct node *n, int rc)
{
    rc = model_end(n, rc == -ECANCELED || n->gave_in ? -ECANCELED : 0);
    return n->error_count ? n->errors[0] : rc;
}

static int work_in_a_group(struct actor *a, int depth)
{
    struct node *n = node_new(a);
    int rc;

    coil_group_begin(&n->group);
    n->is_group = true;
    n->scope = coil_group_scope(&n->group);
    enter(a, n);
    for (unsigned int count = draw(4); count; count--)
        spawn_into(n);
    rc = any_result(n, act(a, depth + 1));
    if (rc < 0 && rc != -ECANCELED)
        model_fail(n, rc);
    {
        const int got = coil_group_end(&n->group, rc);

        model_catch_up();
        HOLDS(n->children == 0);
        rc = model_group_end(n, rc);
        HOLDS(got == rc);
    }
    HOLDS(coil_group_error_count(&n->group) == (size_t)n->error_count);
    for (int i = 0; i < n->error_count; i++) {
        struct coil_error e;

        HOLDS(coil_group_error(&n->group, (size_t)i, &e) == 0);
        HOLDS(e.code == n->errors[i]);
    }
    leave(a, n);
    return rc;
}

static enum coil_abort leave_the_park(void *ctx)
{
    struct actor *a = ctx;

    model_catch_up();
    HOLDS(a->parked);
    HOLDS(is_cancelled(a->inner));
    a->aborts++;
    if (a->answer == COIL_ABORT_DONE) {
        a->parked = false;
        a->woken_with = -ECANCELED;
    }
    return a->answer;
}

static int park(struct actor *a)
{
    int rc;

    a->parked = true;
    a->can_abort = !chance(4);
    a->answer = chance(2) ? COIL_ABORT_DONE : COIL_ABORT_LATER;
    a->aborts = 0;
    rc = coil_park(a->can_abort ? leave_the_park : NULL, a, "the model");
    HOLDS(!a->parked);
    HOLDS(a->aborts <= 1);
    HOLDS(rc == a->woken_with);
    return rc == -ECANCELED ? rc : 0;
}

static void unpark_any(void)
{
    struct actor *a = world.actors[draw((unsigned int)world.actor_count)];

    if (!a->parked)
        return;
    a->parked = false;
    a->woken_with = (int)draw(100);
    coil_unpark(a->task, a->woken_with);
}

static void cancel_any_node(void)
{
    struct node *n = any_node();
    const char *reason = any_reason();

    if (!n)
        return;
    model_cancel(n, COIL_CAUSE_EXPLICIT, reason);
    coil_scope_cancel(n->scope, reason);
}

static void cancel_any_actor(void)
{
    struct actor *a = world.actors[draw((unsigned int)world.actor_count)];
    const char *reason = any_reason();

    if (a == world.actors[0])
        return;
    if (a->living)
        model_cancel(&a->own, COIL_CAUSE_EXPLICIT, reason);
    coil_task_cancel(&a->handle, reason);
}

static void move_any_deadline(void)
{
    struct node *n = any_node();
    const int64_t deadline_ns = any_deadline();

    if (!n)
        return;
    if (!n->cancelled)
        model_deadline(n, deadline_ns);
    coil_scope_set_deadline(n->scope, deadline_ns);
}

static void shield_any(void)
{
    struct node *n = any_node();

    if (!n)
        return;
    for (int i = 0; i < world.actor_count; i++)
        world.actors[i]->told |= world.actors[i]->living && is_cancelled(world.actors[i]->inner);
    n->shielded = chance(2);
    coil_scope_set_shield(n->scope, n->shielded);
}

static void request_any(void)
{
    struct node *n = any_node();

    if (!n)
        return;
    n->requested = true;
    coil_scope_request(n->scope, COIL_FOREVER, NULL);
}

static void spawn_anywhere(void)
{
    struct node *n = any_node();

    if (n && n->is_group)
        spawn_into(n);
}

static int start_anywhere(struct actor *a)
{
    struct node *n = any_node();
    struct coil_spawn_options options = {.name = "a started actor"};
    struct actor *child;
    int rc;

    if (!n || !n->is_group || world.actor_count == ACTORS_MAX)
        return 0;
    child = actor_new(a->inner);
    child->target = n;
    n->children++;
    options.handle = &child->handle;
    rc = coil_group_start_with(&n->group, actor_main, child, NULL, &options);
    model_catch_up();
    if (child->moved) {
        HOLDS(rc == 0);
        return 0;
    }
    n->children--;
    HOLDS(rc == (child->start_rc < 0 ? child->start_rc : child->said ? 0 : -EPROTO));
    return rc == -ECANCELED ? rc : 0;
}

static uint64_t switches_now(void)
{
    struct coil_stats stats;

    HOLDS(coil_loop_stats(&stats) == 0);
    return stats.switches;
}

/* Nobody is starved: whoever gives way is resumed in the next round, and a round is each task that
 * was ready, once. */
static int checkpoint(const struct actor *a)
{
    const uint64_t before = switches_now();
    int rc = chance(2) ? coil_checkpoint() : coil_sleep(0);

    HOLDS(switches_now() - before <= 2 * (uint64_t)(world.actor_count + 2));
    model_catch_up();
    HOLDS(rc == (is_cancelled(a->inner) ? -ECANCELED : 0));
    return rc;
}

static bool was_told(const struct actor *a)
{
    return a->told || is_cancelled(a->inner);
}

/* Wakes when it is time, or because it is cancelled, and for no other reason. */
static int sleep_a_while(struct actor *a)
{
    const int64_t until_ns = coil_now() + (1 + draw(20)) * COIL_MILLISECOND;
    int rc;

    a->told = false;
    rc = coil_sleep_until(until_ns);
    model_catch_up();
    if (rc == 0)
        HOLDS(coil_now() == until_ns);
    else
        HOLDS(rc == -ECANCELED && was_told(a) && coil_now() <= until_ns);
    return rc;
}

/* --- What tasks share: a pipe -------------------------------------------------------------------
 *
 * Each such thing has its actions and a law about what is left in the end. */

static int write_some(struct actor *a)
{
    static const char bytes[8];
    ssize_t n;

    a->told = false;
    n = coil_write(world.pipe[1], bytes, 1 + draw(sizeof(bytes)));
    if (n > 0)
        world.written += n;
    model_catch_up();
    HOLDS(n > 0 || n == -EBUSY || (n == -ECANCELED && was_told(a)));
    return n == -ECANCELED ? -ECANCELED : 0;
}

static int read_some(struct actor *a)
{
    char bytes[8];
    ssize_t n;

    a->told = false;
    world.readers++;
    n = coil_read(world.pipe[0], bytes, 1 + draw(sizeof(bytes)));
    world.readers--;
    if (n > 0)
        world.read += n;
    model_catch_up();
    HOLDS(n > 0 || n == -EBUSY || (n == -ECANCELED && was_told(a)));
    return n == -ECANCELED ? -ECANCELED : 0;
}

/* Somebody waits for what nobody may bring. */
static void feed_readers(void)
{
    if (!world.readers)
        return;
    HOLDS(write(world.pipe[1], "x", 1) == 1);
    world.written++;
}

static void pipe_open(void)
{
    HOLDS(pipe2(world.pipe, O_CLOEXEC) == 0);
}

/* Nothing is lost, and nothing is there twice. */
static void pipe_close(void)
{
    int left;

    HOLDS(ioctl(world.pipe[0], FIONREAD, &left) == 0);
    HOLDS(world.written == world.read + left);
    HOLDS(coil_close(world.pipe[0]) == 0);
    HOLDS(coil_close(world.pipe[1]) == 0);
}

/* --- What tasks share: a channel -------------------------------------------------------------- */

enum {
    SENT = 1,
    RECEIVED = 2,
};

static int next_number(void)
{
    HOLDS(world.numbers < NUMBERS_MAX);
    return world.numbers++;
}

static void receive_number(int number)
{
    HOLDS(number >= 0 && number < world.numbers);
    HOLDS(!(world.fate[number] & RECEIVED));
    world.fate[number] |= RECEIVED;
}

static int send_one(struct actor *a)
{
    const int number = next_number();
    int rc;

    a->told = false;
    world.senders++;
    rc = coil_channel_send(&world.tx, &number);
    world.senders--;
    if (rc == 0)
        world.fate[number] |= SENT;
    model_catch_up();
    HOLDS(rc == 0 || (rc == -ECANCELED && was_told(a)));
    return rc;
}

static int receive_one(struct actor *a)
{
    int number = -1;
    int rc;

    a->told = false;
    world.receivers++;
    rc = coil_channel_receive(&world.rx, &number);
    world.receivers--;
    if (rc == 1)
        receive_number(number);
    model_catch_up();
    HOLDS(rc == 1 || (rc == -ECANCELED && was_told(a) && number == -1));
    return rc < 0 ? rc : 0;
}

/* Somebody waits for whom nobody may come. */
static void serve_channel(void)
{
    int number;

    if (world.senders && coil_channel_receive_nowait(&world.rx, &number) == 1)
        receive_number(number);
    if (world.receivers) {
        number = next_number();
        if (coil_channel_send_nowait(&world.tx, &number) == 0)
            world.fate[number] |= SENT;
    }
}

static void channel_open(void)
{
    const struct coil_channel_options options = {.item_size = sizeof(int), .capacity = draw(3)};

    HOLDS(coil_channel_open(&world.tx, &world.rx, &options) == 0);
}

/* What was sent was received, once; what was not was not. */
static void channel_close(void)
{
    int number;

    while (coil_channel_receive_nowait(&world.rx, &number) == 1)
        receive_number(number);
    for (int i = 0; i < world.numbers; i++)
        HOLDS(world.fate[i] == 0 || world.fate[i] == (SENT | RECEIVED));
    coil_sender_close(&world.tx);
    coil_receiver_close(&world.rx);
}

/* --- What tasks share: a lock ----------------------------------------------------------------- */

static int lock_a_while(struct actor *a)
{
    int rc;

    a->told = false;
    rc = coil_lock_acquire(&world.lock);
    model_catch_up();
    HOLDS(rc == 0 || (rc == -ECANCELED && was_told(a)));
    if (rc < 0)
        return rc;
    HOLDS(!world.locked);
    world.locked = true;
    for (unsigned int n = draw(4); n; n--)
        coil_yield_shielded();
    world.locked = false;
    HOLDS(coil_lock_release(&world.lock) == 0);
    model_catch_up();
    return 0;
}

/* --- A task's doings -------------------------------------------------------------------------- */

static int do_something(struct actor *a, int depth)
{
    switch (draw(world.timed ? 26 : 18)) {
    case 18:
    case 19:
        return sleep_a_while(a);
    case 20:
        return write_some(a);
    case 21:
        return read_some(a);
    case 22:
    case 23:
        return send_one(a);
    case 24:
        return receive_one(a);
    case 25:
        return lock_a_while(a);
    case 0:
    case 1:
    case 2:
        return depth < DEPTH_MAX ? work_in_a_scope(a, depth) : 0;
    case 3:
    case 4:
        return depth < DEPTH_MAX ? work_in_a_group(a, depth) : 0;
    case 5:
        return park(a);
    case 6:
        unpark_any();
        return 0;
    case 7:
        cancel_any_node();
        return 0;
    case 8:
        cancel_any_actor();
        return 0;
    case 9:
        move_any_deadline();
        return 0;
    case 10:
        shield_any();
        return 0;
    case 11:
        request_any();
        return 0;
    case 12:
        spawn_anywhere();
        return 0;
    case 13:
        coil_yield_shielded();
        return 0;
    case 14:
        return start_anywhere(a);
    case 15:
        say_started(a);
        return 0;
    default:
        return checkpoint(a);
    }
}

/* Goes on until it has had enough, or is told to stop and gives in. */
static int act(struct actor *a, int depth)
{
    while (world.steps > 0 && !chance(10)) {
        int rc;

        world.steps--;
        rc = do_something(a, depth);
        compare(a);
        if (rc < 0 && chance(2))
            return rc;
    }
    return 0;
}

/* Wakes, in the end, whom nobody else does. */
static int janitor(void *arg)
{
    const bool *over = arg;

    while (!*over) {
        if (world.timed)
            HOLDS(coil_sleep(5 * COIL_MILLISECOND) == 0);
        else
            coil_yield_shielded();
        model_catch_up();
        unpark_any();
        feed_readers();
        serve_channel();
    }
    return 0;
}

static void run_world(uint64_t seed)
{
    struct actor *first = calloc(1, sizeof(*first));
    struct coil_group g;
    bool over = false;

    memset(&world, 0, sizeof(world));
    world.seed = seed;
    world.state = seed;
    world.steps = STEPS;
    world.timed = harness_on("sim");
    if (world.timed) {
        pipe_open();
        channel_open();
    }
    HOLDS(first);
    world.actors[world.actor_count++] = first;
    first->task = coil_task_self();
    first->living = true;

    coil_group_begin(&g);
    HOLDS(coil_group_spawn(&g, janitor, &over) == 0);
    first->inner = NULL;
    for (int i = 0; i < 3; i++) {
        (void)work_in_a_group(first, 0);
        HOLDS(world.node_count == 0);
        HOLDS(coil_checkpoint() == 0);
        HOLDS(coil_effective_deadline() == COIL_FOREVER);
    }
    over = true;
    HOLDS(coil_group_end(&g, 0) == 0);
    if (world.timed) {
        pipe_close();
        channel_close();
    }
    for (int i = 0; i < world.actor_count; i++)
        free(world.actors[i]);
}

static int run_one(void *arg)
{
    run_world(*(uint64_t *)arg);
    return 0;
}

static void run_on_sim(uint64_t first, uint64_t count)
{
    static struct coil_testing_report report;

    for (uint64_t seed = first; seed < first + count; seed++) {
        struct coil_testing_options o = coil_testing_seeded(seed);

        harness_seed = seed;
        if (coil_testing_run(&o, run_one, &seed, &report) < 0)
            harness_fail(__FILE__, __LINE__, report.text);
    }
}

static unsigned int part;

static void run_in_one_loop(void)
{
    for (uint64_t seed = 1 + part * SEEDS; seed <= (part + 1) * SEEDS; seed++)
        run_world(seed);
}

static bool on_sim(void)
{
    const char *backend = getenv("COIL_BACKEND");

    return backend && strcmp(backend, "sim") == 0;
}

static void run_part(void)
{
    const char *only = getenv("COIL_MODEL_SEED");
    struct coil_loop_options options = harness_options();

    if (only)
        run_on_sim(strtoull(only, NULL, 0), 1);
    else if (on_sim())
        run_on_sim(1 + part * SIM_SEEDS, SIM_SEEDS);
    else
        harness_run(&options, run_in_one_loop);
}

/* In ten parts, which run side by side. */
#define MODEL_TEST(part_)                                                                          \
    Test(model, s2_trees_of_scopes_and_tasks_do_as_the_model_says_part_##part_)                    \
    {                                                                                              \
        part = part_;                                                                              \
        run_part();                                                                                \
    }

MODEL_TEST(0)
MODEL_TEST(1)
MODEL_TEST(2)
MODEL_TEST(3)
MODEL_TEST(4)
MODEL_TEST(5)
MODEL_TEST(6)
MODEL_TEST(7)
MODEL_TEST(8)
MODEL_TEST(9)
