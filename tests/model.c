/* model.c - random trees of groups, scopes, shields, deadlines, channels and locks, in which all
 * that happens is what semantics_model.c says: who is cancelled, why and until when (semantics.md
 * 2), what comes out of groups and tasks (3), and who is woken by what, with which result, when and
 * in which order (3.10, 4, 5).
 *
 * Every task draws what to do next from one stream of random numbers, tells the model, does it,
 * compares the answers, and then all else that can be asked of the library. A seed is a world of
 * its own. By its lowest bits the ready tasks run in an order of chance, or first come, first
 * served; and the model is told of each step by an instrument, or has to find out from who comes
 * back from where. On sim time passes, and exactly: nothing may happen early or late.
 *
 * What fails says which seed it was, and so does a crash. To have just that tree again:
 *
 *      COIL_BACKEND=sim COIL_MODEL_SEED=4321 tests/test_model
 *
 * COIL_MODEL_SEEDS says how many there are to be, in each of ten parts; COIL_MODEL_TRACE=1 has each
 * thing told that is done. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "harness.h"
#include "semantics_model.h"

#ifdef __SANITIZE_ADDRESS__
#define SIM_SEEDS 100 /* in each of ten parts */
#define SEEDS     15
#else
#define SIM_SEEDS 1000
#define SEEDS     150
#endif
#define PARTS       10
#define STEPS       600
#define ACTORS_MAX  60
#define NODES_MAX   100 /* beside the tasks' own */
#define DEPTH_MAX   6
#define NUMBERS_MAX 8192
#define IDLE_MOST   10000 /* looks of the janitor, without anything getting on */
#define MILLISECOND COIL_MILLISECOND

_Static_assert((int)COIL_CAUSE_NONE == (int)MODEL_NO_CAUSE, "the same causes");
_Static_assert((int)COIL_CAUSE_DEADLINE == (int)MODEL_DEADLINE, "the same causes");
_Static_assert((int)COIL_CAUSE_EXPLICIT == (int)MODEL_EXPLICIT, "the same causes");
_Static_assert((int)COIL_CAUSE_GROUP_ERROR == (int)MODEL_GROUP_ERROR, "the same causes");
_Static_assert((int)COIL_CAUSE_SHUTDOWN == (int)MODEL_SHUTDOWN, "the same causes");
_Static_assert(COIL_FOREVER == MODEL_FOREVER, "the same end of time");

/* What the library knows of a node of the model's that is not a task's own. */
struct thing {
    int node;
    bool vague; /* its deadline is of the library's clock, a little later than ours */
    struct coil_scope *scope;
    struct coil_scope storage;
    struct coil_group group;
};

struct actor {
    int id; /* the model's */
    char name[16];
    struct coil_task *task;
    struct coil_handle handle;
    bool parked;
    int aborts;
};

/* When things are due, in nanoseconds after a millisecond: two kinds never at the same time, since
 * nothing is promised about that. */
enum kind_of_time {
    TIME_SLEEP,
    TIME_DEADLINE,
    TIME_GRACE,
    TIME_DORMANT,
    TIME_JANITOR,
};

enum fate {
    SENT = 1,
    RECEIVED = 2,
    LOST = 4,
};

static struct model model;
static struct {
    uint64_t seed;
    uint64_t state;
    bool timed;   /* on sim: time passes, and exactly */
    bool watched; /* an instrument tells the model of each step */
    bool traced;
    int steps;
    int done;        /* things */
    bool cancelling; /* somebody does, and not the time */

    struct actor *actors[MODEL_TASKS];
    struct thing *things[MODEL_NODES]; /* by the model's number */
    int nodes[NODES_MAX];              /* which of these can be chosen */
    int node_count;

    int pipe[2];  /* what goes in comes out, once */
    long written; /* bytes */
    long read;

    struct coil_lock locks[MODEL_LOCKS];
    struct coil_semaphore semaphore;
    struct coil_semaphore plenty; /* nobody ever waits for it */
    struct coil_sender tx[MODEL_CHANNELS][MODEL_HANDLES];
    struct coil_receiver rx[MODEL_CHANNELS][MODEL_HANDLES];
    int numbers;               /* each is sent once */
    uint8_t fate[NUMBERS_MAX]; /* bits */
    int closing;               /* which channel */
    int lost;                  /* items of it */
} world;

/* --- When a law is broken -------------------------------------------------------------------- */

static void replay_line(char *line, size_t size)
{
    const char *backend = getenv("COIL_BACKEND");

    snprintf(line, size, "COIL_BACKEND=%s COIL_MODEL_SEED=%llu: ", backend ? backend : "sim",
             (unsigned long long)world.seed);
}

static _Noreturn void broken_at(const char *file, int line, const char *law)
{
    char words[512];

    replay_line(words, sizeof(words));
    fputs(words, stderr);
    harness_fail(file, line, law);
}

/* For who traces: what the model thinks of each. */
static void describe_tasks(void)
{
    for (int t = 0; t < model.task_count && world.traced; t++) {
        const struct model_task *task = &model.tasks[t];

        if (task->state != MODEL_ENDED)
            fprintf(stderr, "task %d: state %d, waits %d, ready by %d%s%s\n", t, task->state,
                    task->waits, task->ready_act, task->in_round ? ", in round" : "",
                    model.running == t ? ", running" : "");
    }
}

static void broken(const char *law)
{
    describe_tasks();
    broken_at("semantics_model.c", 0, law);
}

#define HOLDS(claim)                                                                               \
    do {                                                                                           \
        if (!(claim))                                                                              \
            broken_at(__FILE__, __LINE__, #claim);                                                 \
    } while (0)

/* Which world it was; made before each, since a handler of signals may not print. */
static char last_words[128];

static void say_last_words(void)
{
    ssize_t ignored = write(STDERR_FILENO, last_words, strlen(last_words));

    (void)ignored;
}

static struct sigaction before_us[NSIG];

static void crashed(int number)
{
    say_last_words();
    sigaction(number, &before_us[number], NULL);
    raise(number);
}

#ifdef __SANITIZE_ADDRESS__
void __sanitizer_set_death_callback(void (*callback)(void));
#endif

/* On a stack apart: a task's own may be what has ended. */
static void catch_crashes(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
    static char memory[65536];
    const stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
    const struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK | SA_NODEFER};

#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_death_callback(say_last_words);
#endif
    CHECK_EQ(sigaltstack(&stack, NULL), 0);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        CHECK_EQ(sigaction(numbers[i], &action, &before_us[numbers[i]]), 0);
}

static void trace(const struct actor *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void trace(const struct actor *a, const char *format, ...)
{
    va_list args;

    if (!world.traced)
        return;
    fprintf(stderr, "%12lld %-8s ", (long long)(model.now_ns % (1000 * COIL_SECOND)), a->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* --- Chance ---------------------------------------------------------------------------------- */

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

static struct thing *any_thing(void)
{
    return world.node_count ? world.things[world.nodes[draw((unsigned int)world.node_count)]]
                            : NULL;
}

/* Not the main task, nor the janitor. NULL: there is no other. */
static struct actor *any_actor(void)
{
    return model.task_count > 2 ? world.actors[2 + draw((unsigned int)model.task_count - 2)] : NULL;
}

static const char *any_reason(void)
{
    static const char *const reasons[] = {NULL, "one", "two", "three"};

    return reasons[draw(4)];
}

static int64_t due(unsigned int milliseconds, enum kind_of_time kind)
{
    int64_t now_ns = coil_now();

    return now_ns - now_ns % MILLISECOND + (1 + milliseconds) * MILLISECOND + kind;
}

static int64_t any_deadline(void)
{
    switch (draw(world.timed ? 9 : 6)) {
    case 0:
        return coil_now() - 1 - draw(1000);
    case 1:
    case 2:
        return coil_now() + (1000 + draw(1000)) * COIL_SECOND;
    case 6:
    case 7:
    case 8:
        return due(draw(30), TIME_DEADLINE);
    default:
        return COIL_FOREVER;
    }
}

/* A duration, which may be over at once. */
static int64_t any_duration(enum kind_of_time kind)
{
    if (chance(4))
        return -1;
    return world.timed && chance(2) ? due(draw(30), kind) - coil_now() : COIL_FOREVER;
}

static int64_t end_of(int64_t duration_ns)
{
    if (duration_ns == COIL_FOREVER)
        return COIL_FOREVER;
    return coil_now() + (duration_ns > 0 ? duration_ns : 0);
}

static struct model_why explicitly(const struct actor *a)
{
    return (struct model_why){MODEL_EXPLICIT, any_reason(), a->id};
}

/* --- Who runs -------------------------------------------------------------------------------- */

/* a runs, in a step that may be a new one. */
static void back(const struct actor *a)
{
    if (world.watched) {
        HOLDS(model.running == a->id);
        return;
    }
    if (model.running != a->id || model.tasks[a->id].state != MODEL_RUNNING)
        model_step(&model, a->id, coil_now());
}

/* a's call, of which the model expects that, has answered. */
static int settle(const struct actor *a, int expected, int rc)
{
    back(a);
    if (expected == MODEL_WAITS)
        expected = model_answer(&model, a->id);
    if (rc != expected)
        fprintf(stderr, "%s: %d, and not %d: ", a->name, rc, expected);
    HOLDS(rc == expected);
    return rc;
}

static const char *name_of(int id)
{
    return id == NOBODY ? NULL : world.actors[id]->name;
}

static void step_begins(void *ctx, struct coil_task *t)
{
    struct coil_task_info info;
    int id = 0;

    (void)ctx;
    coil_task_look(t, &info);
    for (int i = 1; i < model.task_count; i++)
        if (info.name == world.actors[i]->name)
            id = i;
    model_step(&model, id, coil_now());
}

static const struct coil_instrument watcher = {.before_step = step_begins};

/* --- All that can be asked ------------------------------------------------------------------- */

static bool same_words(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_why(const struct coil_cancellation *c, const struct model_why *why)
{
    return (int)c->cause == (int)why->cause && same_words(c->reason, why->reason) &&
           same_words(c->task, name_of(why->who));
}

static void compare_scope(const struct thing *t)
{
    const struct model_node *n = &model.nodes[t->node];
    struct coil_cancellation c;

    coil_scope_cancellation(t->scope, &c);
    HOLDS(coil_scope_cancelled(t->scope) == n->cancelled);
    HOLDS(same_why(&c, &n->why));
    HOLDS(coil_scope_caught(t->scope) == n->caught);
    HOLDS(t->vague || coil_scope_deadline(t->scope) == n->deadline_ns);
}

static void compare_errors(const struct thing *t)
{
    const struct model_node *n = &model.nodes[t->node];

    HOLDS(coil_group_error_count(&t->group) == (size_t)n->error_count);
    for (int i = 0; i < n->error_count; i++) {
        struct coil_error e;

        HOLDS(coil_group_error(&t->group, (size_t)i, &e) == 0);
        HOLDS(e.code == n->errors[i]);
        HOLDS(same_words(e.message, n->error_words[i]));
        HOLDS(same_words(e.task, name_of(n->error_of[i])));
    }
}

static void compare_group(const struct thing *t)
{
    HOLDS(coil_group_count(&t->group) == (size_t)model.nodes[t->node].children);
    compare_errors(t);
}

static enum coil_status status_of(const struct model_task *t)
{
    if (t->state == MODEL_ENDED)
        return t->ended_cancelled ? COIL_STATUS_CANCELLED
               : t->result < 0    ? COIL_STATUS_FAILED
                                  : COIL_STATUS_FINISHED;
    return t->state != MODEL_DORMANT && model_cancelled(&model, t->own) ? COIL_STATUS_STOPPING
                                                                        : COIL_STATUS_RUNNING;
}

static void compare_actor(const struct actor *a)
{
    const struct model_task *t = &model.tasks[a->id];
    const bool ended = t->state == MODEL_ENDED;
    intptr_t value = -1;

    HOLDS(coil_task_result(&a->handle) == (ended ? t->result : -EAGAIN));
    HOLDS(coil_task_status(&a->handle) == status_of(t));
    HOLDS(t->target == NOBODY ||
          coil_task_start_value(&a->handle, &value) == (t->said ? 0 : -EAGAIN));
    HOLDS(value == (t->said ? a->id : -1));
    HOLDS(a->parked == (t->state == MODEL_BLOCKED && t->waits == MODEL_PARK));
    HOLDS(!a->parked || a->aborts == t->aborts);
}

static void compare_lock(int i)
{
    const struct model_lock *l = &model.locks[i];
    struct coil_lock_stats stats;

    coil_lock_stats(&world.locks[i], &stats);
    HOLDS(same_words(stats.owner, name_of(l->owner)));
    HOLDS(stats.owner_died == l->dead);
    HOLDS(stats.waiting == (size_t)l->queue.count);
}

static void compare_semaphore(void)
{
    struct coil_semaphore_stats stats;

    coil_semaphore_stats(&world.semaphore, &stats);
    HOLDS(stats.value == model.semaphore);
    HOLDS(stats.waiting == (size_t)model.semaphore_queue.count);
}

static size_t count_open(const bool *handles)
{
    size_t count = 0;

    for (int i = 0; i < MODEL_HANDLES; i++)
        count += handles[i];
    return count;
}

static void compare_channel_stats(const struct coil_channel_stats *s, const struct model_channel *c)
{
    HOLDS(s->used == (size_t)c->count);
    HOLDS(s->peak == (size_t)c->peak);
    HOLDS(s->senders == count_open(c->sender));
    HOLDS(s->receivers == count_open(c->receiver));
    HOLDS(s->waiting_senders == (size_t)c->sending.count);
    HOLDS(s->waiting_receivers == (size_t)c->receiving.count);
}

static void compare_channel(int i)
{
    struct coil_channel_stats s;

    for (int h = 0; h < MODEL_HANDLES; h++) {
        int rc = coil_sender_stats(&world.tx[i][h], &s);

        HOLDS(rc == (model.channels[i].sender[h] ? 0 : -EBADF));
        if (rc == 0)
            compare_channel_stats(&s, &model.channels[i]);
        rc = coil_receiver_stats(&world.rx[i][h], &s);
        HOLDS(rc == (model.channels[i].receiver[h] ? 0 : -EBADF));
        if (rc == 0)
            compare_channel_stats(&s, &model.channels[i]);
    }
}

static void compare_why(int inner)
{
    const int node = model_responsible(&model, inner);
    struct coil_cancellation c;

    HOLDS(coil_why_cancelled(&c) == (node != NOBODY));
    HOLDS(node == NOBODY || same_why(&c, &model.nodes[node].why));
}

/* What a sees. */
static void compare_view(const struct actor *a)
{
    const int inner = model.tasks[a->id].inner;

    compare_why(inner);
    HOLDS(coil_cancel_requested() == model_requested(&model, inner));
    HOLDS(coil_effective_deadline() == model_effective_deadline(&model, inner));
}

static void compare(const struct actor *a)
{
    for (int i = 0; i < world.node_count; i++) {
        const struct thing *t = world.things[world.nodes[i]];

        compare_scope(t);
        if (model.nodes[t->node].is_group)
            compare_group(t);
    }
    for (int i = 1; i < model.task_count; i++) /* the main task has no handle */
        compare_actor(world.actors[i]);
    for (int i = 0; i < MODEL_LOCKS; i++)
        compare_lock(i);
    for (int i = 0; i < MODEL_CHANNELS; i++)
        compare_channel(i);
    compare_semaphore();
    compare_view(a);
}

/* Looks at the clock: what is past is over from here on. */
static void look(struct actor *a)
{
    int expected;

    model_look(&model, coil_now());
    expected = model_check(&model, a->id);
    settle(a, expected, coil_checkpoint_if_cancelled());
}

static void acquire_plenty(struct actor *a)
{
    int expected;

    model_look(&model, coil_now());
    expected = model_check(&model, a->id);
    if (settle(a, expected, coil_semaphore_acquire(&world.plenty)) == 0)
        HOLDS(coil_semaphore_release(&world.plenty) == 0);
}

/* If nobody does this, the loop will, at its next turn. Not here where a step of who comes from
 * outside may be the first of a turn or not. */
static bool may_leave_it_to_the_loop(void)
{
    return !world.timed || model.stepwise;
}

/* A checkpoint that does not give way; or nothing. */
static void meet_deadlines(struct actor *a)
{
    if (may_leave_it_to_the_loop() && chance(4))
        return;
    if (chance(2))
        look(a);
    else
        acquire_plenty(a);
}

/* --- Scopes ---------------------------------------------------------------------------------- */

static int act(struct actor *a, int depth);

static struct thing *thing_new(int node)
{
    struct thing *t = calloc(1, sizeof(*t));

    HOLDS(t);
    t->node = node;
    t->scope = &t->storage;
    world.things[node] = t;
    return t;
}

/* From here on anybody may do something to it. */
static void show(const struct thing *t)
{
    HOLDS(world.node_count < NODES_MAX);
    world.nodes[world.node_count++] = t->node;
}

static void hide(const struct thing *t)
{
    int i = 0;

    while (world.nodes[i] != t->node)
        i++;
    world.nodes[i] = world.nodes[--world.node_count];
}

/* The memory goes at once: nobody may look at an ended scope any more. */
static void thing_free(struct thing *t)
{
    compare_scope(t);
    world.things[t->node] = NULL;
    model_scope_free(&model, t->node);
    free(t);
}

/* It may be cancelled before it begins. */
static void prepare_scope(struct actor *a, const struct thing *t)
{
    coil_scope_prepare(t->scope);
    if (chance(3)) {
        struct model_why why = explicitly(a);

        model_cancel(&model, t->node, why);
        coil_scope_cancel(t->scope, why.reason);
    }
    compare_scope(t);
}

static void begin_shield(struct thing *t)
{
    struct model_node *n = &model.nodes[t->node];
    int64_t limit_ns = any_duration(TIME_DEADLINE);

    n->shielded = true;
    n->deadline_ns = end_of(limit_ns);
    t->vague = !world.timed && limit_ns != COIL_FOREVER;
    coil_shield_begin(t->scope, limit_ns);
}

static struct thing *begin_any_kind(struct actor *a)
{
    struct thing *t = thing_new(model_scope_new(&model));
    struct model_node *n = &model.nodes[t->node];
    const int64_t deadline_ns = any_deadline();

    switch (draw(4)) {
    case 0:
        n->deadline_ns = deadline_ns;
        coil_scope_begin(t->scope, deadline_ns);
        break;
    case 1:
        n->deadline_ns = deadline_ns;
        n->fails = true;
        coil_timeout_begin(t->scope, deadline_ns);
        break;
    case 2:
        begin_shield(t);
        break;
    case 3:
        prepare_scope(a, t);
        n->deadline_ns = deadline_ns;
        coil_scope_begin_prepared(t->scope, deadline_ns);
        break;
    }
    model_scope_enter(&model, a->id, t->node);
    show(t);
    trace(a, "begins scope %d%s, until %lld", t->node, n->shielded ? ", shielded" : "",
          (long long)n->deadline_ns);
    return t;
}

static int work_in_a_scope(struct actor *a, int depth)
{
    static const int results[] = {0, 3, -EIO, -ECANCELED};
    struct thing *t;
    int expected;
    int rc;

    if (world.node_count == NODES_MAX)
        return 0;
    t = begin_any_kind(a);
    if (t->vague)
        look(a);
    else
        meet_deadlines(a);
    compare(a);
    rc = act(a, depth + 1);
    if (chance(6))
        rc = results[draw(4)];
    hide(t);
    expected = model_scope_end(&model, a->id, rc);
    rc = coil_scope_end(t->scope, rc);
    trace(a, "ended scope %d: %d", t->node, rc);
    HOLDS(rc == expected);
    thing_free(t);
    return rc;
}

static void cancel_node(struct actor *a, int node)
{
    struct model_why why = explicitly(a);

    trace(a, "cancels %d", node);
    model_cancel(&model, node, why);
    world.cancelling = true;
    if (world.things[node])
        coil_scope_cancel(world.things[node]->scope, why.reason);
    for (int i = 1; i < model.task_count; i++)
        if (model.tasks[i].state != MODEL_ENDED && model.tasks[i].own == node)
            coil_task_cancel(&world.actors[i]->handle, why.reason);
    world.cancelling = false;
}

static void cancel_any_node(struct actor *a)
{
    const struct thing *t = any_thing();

    if (t)
        cancel_node(a, t->node);
}

static void cancel_any_actor(struct actor *a)
{
    struct actor *b = any_actor();
    struct model_why why = explicitly(a);

    if (!b)
        return;
    trace(a, "cancels %s", b->name);
    model_task_cancel(&model, b->id, why);
    world.cancelling = true;
    coil_task_cancel(&b->handle, why.reason);
    world.cancelling = false;
}

static void move_any_deadline(struct actor *a)
{
    struct thing *t = any_thing();
    const int64_t deadline_ns = any_deadline();

    if (!t)
        return;
    trace(a, "moves the deadline of %d to %lld", t->node, (long long)deadline_ns);
    if (!model.nodes[t->node].cancelled)
        t->vague = false;
    model_set_deadline(&model, t->node, deadline_ns);
    coil_scope_set_deadline(t->scope, deadline_ns);
    meet_deadlines(a);
}

static void shield_any(struct actor *a)
{
    struct thing *t = any_thing();
    const bool shielded = chance(2);

    if (!t)
        return;
    trace(a, "%s %d", shielded ? "shields" : "exposes", t->node);
    model_set_shield(&model, t->node, shielded);
    world.cancelling = true; /* perhaps */
    coil_scope_set_shield(t->scope, shielded);
    world.cancelling = false;
}

static void request_any(struct actor *a)
{
    struct thing *t = any_thing();
    struct model_why why = explicitly(a);
    const int64_t grace_ns = any_duration(TIME_GRACE);

    if (!t)
        return;
    trace(a, "requests that %d finish, within %lld", t->node, (long long)grace_ns);
    model_request(&model, t->node, end_of(grace_ns), why);
    coil_scope_request(t->scope, grace_ns, why.reason);
    look(a);
}

/* --- Tasks ----------------------------------------------------------------------------------- */

static struct actor *actor_new(int id)
{
    struct actor *a = calloc(1, sizeof(*a));

    HOLDS(a);
    a->id = id;
    snprintf(a->name, sizeof(a->name), id == 0 ? "main" : id == 1 ? "janitor" : "actor %d", id);
    world.actors[id] = a;
    return a;
}

static bool may_say_cancelled(const struct actor *a)
{
    return model_may_say_cancelled(&model, a->id);
}

/* What a task or a group's body returns. Now and then it makes one up, also that it was cancelled:
 * which is a failure, if it was not. */
static int any_result(const struct actor *a, int rc)
{
    if (chance(12))
        return chance(2) ? -EIO : -EPIPE;
    if (chance(40) && !may_say_cancelled(a) && !model.tasks[a->id].moved)
        return -ECANCELED;
    return rc;
}

static void say_started(struct actor *a)
{
    const int expected = model_started(&model, a->id);

    trace(a, "says it has started");
    HOLDS(coil_started(a->id) == expected);
    compare(a);
}

/* When a task without a stack is to wake. */
static int64_t any_time(void)
{
    int64_t when_ns = any_deadline();

    if (when_ns > coil_now() && when_ns != COIL_FOREVER)
        when_ns += TIME_DORMANT - when_ns % MILLISECOND;
    return when_ns;
}

static int sleep_again(struct actor *a, int rc)
{
    int64_t when_ns = any_time();

    if (when_ns < coil_now()) /* it would be when somebody looks at the clock, whoever that is */
        when_ns = COIL_FOREVER;
    if (chance(4)) /* the last word counts */
        HOLDS(coil_again_later(any_time()) == 0);
    HOLDS(coil_again_later(when_ns) == 0);
    trace(a, "returns %d, and sleeps until %lld", rc, (long long)when_ns);
    model_task_sleeps_again(&model, a->id, rc, when_ns);
    return rc;
}

static int actor_main(void *arg)
{
    struct actor *a = arg;
    const struct model_task *t = &model.tasks[a->id];
    int rc;

    back(a);
    trace(a, "begins");
    a->task = coil_task_self();
    compare(a);
    if (t->target != NOBODY && chance(3))
        say_started(a);
    rc = any_result(a, act(a, 0));
    if (chance(5) && model_may_sleep_again(&model, a->id))
        return sleep_again(a, rc);
    trace(a, "returns %d", rc);
    model_task_ends(&model, a->id, rc);
    return rc;
}

/* Without an instrument the model does not hear of it when the host of a group, that was woken at
 * its end, finds that there is somebody new and waits on; nor when it cancels a service. */
static bool may_join(const struct thing *t)
{
    const struct model_task *host = &model.tasks[model.nodes[t->node].host];

    if (model.task_count == ACTORS_MAX)
        return false;
    return world.watched || host->waits != MODEL_END || host->what != t->node ||
           host->state != MODEL_READY;
}

static struct coil_spawn_options options_of(struct actor *a, bool service)
{
    return (struct coil_spawn_options){.name = a->name, .handle = &a->handle, .service = service};
}

static bool any_service(void)
{
    return world.watched && chance(6);
}

static void spawn_into(struct actor *by, struct thing *t)
{
    const bool service = any_service();
    struct coil_spawn_options options;
    struct actor *a;

    if (!may_join(t))
        return;
    a = actor_new(model_spawn(&model, t->node, service));
    options = options_of(a, service);
    trace(by, "spawns %s%s into %d", a->name, service ? ", a service," : "", t->node);
    HOLDS(coil_group_spawn_with(&t->group, actor_main, a, &options) == 0);
}

static void spawn_later_into(struct actor *by, struct thing *t)
{
    const int64_t when_ns = any_time();
    struct coil_spawn_options options;
    struct actor *a;

    if (!may_join(t))
        return;
    a = actor_new(model_spawn_later(&model, t->node, when_ns));
    options = options_of(a, false);
    trace(by, "spawns %s into %d, at %lld", a->name, t->node, (long long)when_ns);
    HOLDS(coil_group_spawn_later_with(&t->group, when_ns, actor_main, a, &options) == 0);
    look(by);
}

static void spawn_anywhere(struct actor *a)
{
    struct thing *t = any_thing();

    if (!t || !model.nodes[t->node].is_group)
        return;
    if (chance(3))
        spawn_later_into(a, t);
    else
        spawn_into(a, t);
}

static int start_anywhere(struct actor *a)
{
    struct thing *t = any_thing();
    const bool service = any_service();
    struct coil_spawn_options options;
    struct actor *child;
    intptr_t value = -1;
    int rc;

    if (!t || !model.nodes[t->node].is_group || !may_join(t))
        return 0;
    child = actor_new(model_start(&model, a->id, t->node, service));
    options = options_of(child, service);
    trace(a, "starts %s%s into %d", child->name, service ? ", a service," : "", t->node);
    rc = coil_group_start_with(&t->group, actor_main, child, &value, &options);
    trace(a, "started %s: %d", child->name, rc);
    back(a);
    HOLDS(rc == model_start_ended(&model, a->id, child->id));
    HOLDS(value == (rc == 0 ? child->id : -1));
    return rc == -ECANCELED ? rc : 0;
}

static int end_group(struct actor *a, struct thing *t, int rc)
{
    int expected;

    trace(a, "ends group %d with %d", t->node, rc);
    expected = model_group_end(&model, a->id, rc);
    HOLDS(expected == MODEL_WAITS);
    rc = coil_group_end(&t->group, rc);
    back(a);
    hide(t);
    expected = model_group_ended(&model, a->id);
    trace(a, "ended group %d: %d", t->node, rc);
    HOLDS(rc == expected);
    compare_errors(t);
    thing_free(t);
    return rc;
}

static struct thing *begin_group(struct actor *a)
{
    struct thing *t = thing_new(model_group_begin(&model, a->id));

    coil_group_begin(&t->group);
    t->scope = coil_group_scope(&t->group);
    show(t);
    trace(a, "begins group %d", t->node);
    return t;
}

static int work_in_a_group(struct actor *a, int depth)
{
    struct thing *t;

    if (world.node_count == NODES_MAX)
        return 0;
    t = begin_group(a);
    for (unsigned int count = draw(4); count; count--)
        spawn_into(a, t);
    return end_group(a, t, any_result(a, act(a, depth + 1)));
}

static int wait_for_any(struct actor *a)
{
    struct actor *b = any_actor();
    int expected;

    if (!b)
        return 0;
    trace(a, "waits for %s", b->name);
    if (b != a)
        model_look(&model, coil_now());
    expected = model_wait(&model, a->id, b->id);
    return settle(a, expected, coil_task_wait(&b->handle));
}

/* Does what need not wait, over and over: the others get their turns all the same. Not where it may
 * itself be the first of the next round, and nobody notices. */
static void hurry(struct actor *a)
{
    const bool others = model_any_ready(&model);
    const int steps = model.steps;

    if (!world.watched && !model.ordered)
        return;
    trace(a, "hurries");
    for (int i = 0; i < 100; i++)
        acquire_plenty(a);
    HOLDS(!others || model.steps > steps);
}

/* --- Waiting --------------------------------------------------------------------------------- */

static void release(const struct actor *a);

/* By then all are out of the queues who are cancelled with a, so what it hands over is for the next
 * one. If time is behind it, also those whose deadline passes at the same time; but only sim's
 * clock says which these are. */
static enum coil_abort leave_the_park(void *ctx)
{
    struct actor *a = ctx;
    const struct model_task *t = &model.tasks[a->id];
    const bool by_time = t->aborts < ++a->aborts;

    if (by_time)
        model_look(&model, coil_now());
    if ((by_time ? world.timed : world.cancelling) && chance(2))
        release(a);
    HOLDS(a->parked);
    HOLDS(a->aborts == t->aborts);
    HOLDS(model_cancelled(&model, t->inner));
    if (t->leaves)
        a->parked = false;
    return t->leaves ? COIL_ABORT_DONE : COIL_ABORT_LATER;
}

static int park(struct actor *a)
{
    const bool can_abort = !chance(4);
    int expected;
    int rc;

    trace(a, "parks");
    expected = model_park(&model, a->id, can_abort, chance(2));
    if (!model_cancelled(&model, model.tasks[a->id].inner))
        model_look(&model, coil_now()); /* a past deadline acts on who is parked by now */
    a->parked = true;
    a->aborts = 0;
    rc = coil_park(can_abort ? leave_the_park : NULL, a, "the model");
    HOLDS(!a->parked);
    settle(a, expected, rc);
    return rc == -ECANCELED ? rc : 0;
}

static void unpark(struct actor *a, struct actor *b)
{
    const int result = (int)draw(100);

    if (!b || !b->parked)
        return;
    trace(a, "unparks %s", b->name);
    b->parked = false;
    model_unpark(&model, b->id, result);
    coil_unpark(b->task, result);
}

static int checkpoint(struct actor *a)
{
    const int expected = model_checkpoint(&model, a->id);

    trace(a, "is at a checkpoint");
    switch (draw(3)) {
    case 0:
        return settle(a, expected, coil_checkpoint());
    case 1:
        return settle(a, expected, coil_sleep(-(int64_t)draw(2)));
    default:
        return settle(a, expected, coil_sleep_until(coil_now() - draw(2)));
    }
}

static void yield(struct actor *a)
{
    model_yield(&model, a->id);
    coil_yield_shielded();
    back(a);
}

static int sleep_until(struct actor *a, int64_t until_ns)
{
    int expected;

    trace(a, "sleeps until %lld", (long long)until_ns);
    model_look(&model, coil_now());
    expected = model_sleep(&model, a->id, until_ns);
    return settle(a, expected, coil_sleep_until(until_ns));
}

/* --- What tasks share: a pipe -------------------------------------------------------------------
 *
 * What comes of it is the kernel's affair and that of chance; but nothing is lost, nothing is there
 * twice, and a cancel is told only to whom it was meant for. */

static ssize_t outside_ended(struct actor *a, int expected, ssize_t n)
{
    back(a);
    if (expected == MODEL_WAITS)
        model_outside_ended(&model, a->id, n == -ECANCELED);
    HOLDS(expected == MODEL_WAITS ? n > 0 || n == -EBUSY || n == -ECANCELED : n == expected);
    return n;
}

static int write_some(struct actor *a)
{
    static const char bytes[8];
    ssize_t n;
    int expected;

    trace(a, "writes");
    model_look(&model, coil_now());
    expected = model_outside(&model, a->id);
    n = coil_write(world.pipe[1], bytes, 1 + draw(sizeof(bytes)));
    if (outside_ended(a, expected, n) > 0)
        world.written += n;
    return n == -ECANCELED ? -ECANCELED : 0;
}

static int read_some(struct actor *a)
{
    char bytes[8];
    ssize_t n;
    int expected;

    trace(a, "reads");
    model_look(&model, coil_now());
    expected = model_outside(&model, a->id);
    n = coil_read(world.pipe[0], bytes, 1 + draw(sizeof(bytes)));
    if (outside_ended(a, expected, n) > 0)
        world.read += n;
    return n == -ECANCELED ? -ECANCELED : 0;
}

/* Somebody waits for what nobody may bring. */
static void feed_reader(void)
{
    HOLDS(write(world.pipe[1], "x", 1) == 1);
    world.written++;
}

static void pipe_open(void)
{
    HOLDS(pipe2(world.pipe, O_CLOEXEC) == 0);
}

static void pipe_close(void)
{
    int left;

    HOLDS(ioctl(world.pipe[0], FIONREAD, &left) == 0);
    HOLDS(world.written == world.read + left);
    HOLDS(coil_close(world.pipe[0]) == 0);
    HOLDS(coil_close(world.pipe[1]) == 0);
}

/* --- What tasks share: channels --------------------------------------------------------------- */

static void set_fate(int number, enum fate fate)
{
    HOLDS(number >= 0 && number < world.numbers);
    HOLDS(!(world.fate[number] & fate));
    world.fate[number] |= fate;
}

/* The last receiver is gone: what nobody took is disposed of, in order. */
static void dispose(void *ctx, void *item)
{
    const struct model_channel *c = &model.channels[world.closing];

    (void)ctx;
    HOLDS(world.lost < c->lost_count);
    HOLDS(*(int *)item == c->lost[world.lost]);
    world.lost++;
    set_fate(*(int *)item, LOST);
}

static void channel_open(int c)
{
    const struct coil_channel_options options = {
        .item_size = sizeof(int),
        .capacity = chance(4) ? COIL_UNLIMITED : draw(4),
        .dispose = dispose,
    };

    model_channel_open(&model, c,
                       options.capacity == COIL_UNLIMITED ? MODEL_ITEMS : (int)options.capacity);
    HOLDS(coil_channel_open(&world.tx[c][0], &world.rx[c][0], &options) == 0);
}

static int send_one(struct actor *a)
{
    const int c = (int)draw(MODEL_CHANNELS);
    const int h = (int)draw(MODEL_HANDLES);
    const bool may_wait = !chance(4);
    int number = world.numbers;
    int expected;
    int rc;

    if (world.numbers == NUMBERS_MAX || model.channels[c].count == MODEL_ITEMS)
        return 0;
    world.numbers++;
    trace(a, "sends %d to channel %d by %d", number, c, h);
    if (may_wait)
        model_look(&model, coil_now());
    expected = model_send(&model, a->id, c, h, number, may_wait);
    rc = may_wait ? coil_channel_send(&world.tx[c][h], &number)
                  : coil_channel_send_nowait(&world.tx[c][h], &number);
    trace(a, "sent: %d", rc);
    if (settle(a, expected, rc) == 0)
        set_fate(number, SENT);
    return rc == -ECANCELED ? rc : 0;
}

static int receive_one(struct actor *a)
{
    const int c = (int)draw(MODEL_CHANNELS);
    const int h = (int)draw(MODEL_HANDLES);
    const bool may_wait = !chance(4);
    int number = -1;
    int expected;
    int rc;

    trace(a, "receives from channel %d by %d", c, h);
    if (may_wait)
        model_look(&model, coil_now());
    expected = model_receive(&model, a->id, c, h, may_wait);
    rc = may_wait ? coil_channel_receive(&world.rx[c][h], &number)
                  : coil_channel_receive_nowait(&world.rx[c][h], &number);
    trace(a, "received: %d, %d", rc, number);
    settle(a, expected, rc);
    HOLDS(number == (rc == 1 ? model.tasks[a->id].item : -1));
    if (rc == 1)
        set_fate(number, RECEIVED);
    return rc == -ECANCELED ? rc : 0;
}

static void clone_any(void)
{
    const int c = (int)draw(MODEL_CHANNELS);
    const int from = (int)draw(MODEL_HANDLES);
    const int to = (int)draw(MODEL_HANDLES);
    const bool sender = chance(2);
    const bool *open = sender ? model.channels[c].sender : model.channels[c].receiver;
    int rc;

    if (open[to])
        return;
    rc = sender ? coil_sender_clone(&world.tx[c][from], &world.tx[c][to])
                : coil_receiver_clone(&world.rx[c][from], &world.rx[c][to]);
    HOLDS(rc == (open[from] ? 0 : -EBADF));
    if (rc == 0)
        model_clone(&model, c, sender, to);
}

static void close_handle(int c, bool sender, int h)
{
    const bool *open = sender ? model.channels[c].sender : model.channels[c].receiver;

    if (!open[h])
        return;
    model_close(&model, c, sender, h);
    world.closing = c;
    world.lost = 0;
    if (sender)
        coil_sender_close(&world.tx[c][h]);
    else
        coil_receiver_close(&world.rx[c][h]);
    HOLDS(world.lost == model.channels[c].lost_count);
}

static void close_any(const struct actor *a)
{
    const int c = (int)draw(MODEL_CHANNELS);
    const int h = (int)draw(MODEL_HANDLES);
    const bool sender = chance(2);

    if (!model.channels[c].open) {
        channel_open(c);
        return;
    }
    trace(a, "closes %s %d of channel %d", sender ? "sender" : "receiver", h, c);
    close_handle(c, sender, h);
}

static void channel_close(int c)
{
    for (int h = 0; h < MODEL_HANDLES; h++) {
        close_handle(c, true, h);
        close_handle(c, false, h);
    }
}

/* What was sent was received or disposed of, once; what was not was not. */
static void check_fates(void)
{
    for (int i = 0; i < world.numbers; i++)
        HOLDS(world.fate[i] == 0 || world.fate[i] == (SENT | RECEIVED) ||
              world.fate[i] == (SENT | LOST));
}

/* --- What tasks share: locks and a semaphore -------------------------------------------------- */

static void unlock(struct actor *a, int i)
{
    const int expected = model_unlock(&model, a->id, i);
    const int rc = coil_lock_release(&world.locks[i]);

    trace(a, "unlocks %d: %d", i, rc);
    HOLDS(rc == expected);
    compare_lock(i);
}

/* Does something else meanwhile. Now and then it forgets to release. */
static int hold_a_lock(struct actor *a, int depth)
{
    const int i = (int)draw(MODEL_LOCKS);
    const bool may_wait = !chance(4);
    int expected;
    int rc;

    trace(a, "locks %d", i);
    if (may_wait)
        model_look(&model, coil_now());
    expected = model_lock(&model, a->id, i, may_wait);
    rc = may_wait ? coil_lock_acquire(&world.locks[i]) : coil_lock_acquire_nowait(&world.locks[i]);
    trace(a, "locked %d: %d", i, rc);
    if (settle(a, expected, rc) < 0)
        return rc == -ECANCELED ? rc : 0;
    compare(a);
    for (unsigned int n = draw(3); n; n--)
        yield(a);
    rc = chance(2) && depth < DEPTH_MAX ? act(a, depth + 1) : 0;
    if (a->id == 0 || !chance(20))
        unlock(a, i);
    return rc;
}

/* By somebody who may hold it, and mostly does not; or a new lock in place of one that is lost. */
static void meddle_with_a_lock(struct actor *a)
{
    const int i = (int)draw(MODEL_LOCKS);

    if (!model.locks[i].dead) {
        unlock(a, i);
        return;
    }
    model_lock_anew(&model, i);
    world.locks[i] = (struct coil_lock)COIL_LOCK_INIT;
}

static int acquire(struct actor *a)
{
    const bool may_wait = !chance(4);
    int expected;
    int rc;

    trace(a, "acquires");
    if (may_wait)
        model_look(&model, coil_now());
    expected = model_acquire(&model, a->id, may_wait);
    rc = may_wait ? coil_semaphore_acquire(&world.semaphore)
                  : coil_semaphore_acquire_nowait(&world.semaphore);
    settle(a, expected, rc);
    return rc == -ECANCELED ? rc : 0;
}

static void release(const struct actor *a)
{
    const int expected = model_release(&model);

    trace(a, "releases");
    HOLDS(coil_semaphore_release(&world.semaphore) == expected);
}

/* --- A task's doings -------------------------------------------------------------------------- */

/* What changes the tree. */
static int do_to_the_tree(struct actor *a, int depth)
{
    switch (draw(15)) {
    case 0:
    case 1:
    case 2:
        return depth < DEPTH_MAX ? work_in_a_scope(a, depth) : 0;
    case 3:
    case 4:
    case 5:
        return depth < DEPTH_MAX ? work_in_a_group(a, depth) : 0;
    case 6:
        cancel_any_node(a);
        return 0;
    case 7:
        cancel_any_actor(a);
        return 0;
    case 8:
        move_any_deadline(a);
        return 0;
    case 9:
    case 10:
        shield_any(a);
        return 0;
    case 11:
        request_any(a);
        return 0;
    case 12:
    case 13:
        spawn_anywhere(a);
        return 0;
    default:
        return start_anywhere(a);
    }
}

static int wait_for_something(struct actor *a, int depth)
{
    switch (draw(world.timed ? 13 : 8)) {
    case 0:
        return park(a);
    case 1:
        return wait_for_any(a);
    case 2:
    case 3:
        return hold_a_lock(a, depth);
    case 4:
        return acquire(a);
    case 5:
    case 6:
        return send_one(a);
    case 7:
        return receive_one(a);
    case 8:
        return write_some(a);
    case 9:
        return read_some(a);
    default:
        return sleep_until(a, due(draw(20), TIME_SLEEP));
    }
}

static void do_for_others(struct actor *a)
{
    switch (draw(10)) {
    case 9:
        hurry(a);
        break;
    case 0:
    case 1:
    case 2:
        unpark(a, any_actor());
        break;
    case 3:
        say_started(a);
        break;
    case 4:
        release(a);
        break;
    case 5:
    case 6:
        clone_any();
        break;
    case 7:
        close_any(a);
        break;
    default:
        meddle_with_a_lock(a);
    }
}

static int do_something(struct actor *a, int depth)
{
    switch (draw(10)) {
    case 0:
    case 1:
    case 2:
    case 3:
        return do_to_the_tree(a, depth);
    case 4:
    case 5:
    case 6:
        return wait_for_something(a, depth);
    case 7:
        return checkpoint(a);
    case 8:
        yield(a);
        return 0;
    default:
        do_for_others(a);
        return 0;
    }
}

/* Goes on until it has had enough, or is told to stop and gives in. */
static int act(struct actor *a, int depth)
{
    while (world.steps > 0 && !chance(12)) {
        int rc;

        world.steps--;
        world.done++;
        rc = do_something(a, depth);
        if (chance(2))
            meet_deadlines(a);
        compare(a);
        if (rc < 0 && chance(2))
            return rc;
    }
    return 0;
}

/* --- The janitor ------------------------------------------------------------------------------
 *
 * When nothing gets on, it helps one of those who wait. */

static void serve_channel(struct actor *janitor, struct actor *a)
{
    struct model_task *t = &model.tasks[a->id];
    struct model_channel *c = &model.channels[t->what];
    int number = -1;

    for (int h = 0; h < MODEL_HANDLES; h++)
        if (t->waits == MODEL_SENDING && c->receiver[h]) {
            int expected = model_receive(&model, janitor->id, t->what, h, false);

            HOLDS(coil_channel_receive_nowait(&world.rx[t->what][h], &number) == expected);
            HOLDS(number == model.tasks[janitor->id].item);
            set_fate(number, RECEIVED);
            return;
        }
    cancel_node(janitor, t->inner);
}

static bool is_stuck(const struct actor *a)
{
    const struct model_task *t = &model.tasks[a->id];

    if (t->state == MODEL_DORMANT)
        return t->until_ns > coil_now() + COIL_SECOND;
    return t->state == MODEL_OUTSIDE || (t->state == MODEL_BLOCKED && t->waits != MODEL_SLEEP &&
                                         t->waits != MODEL_END && t->waits != MODEL_START);
}

static void help(struct actor *janitor, struct actor *a)
{
    const struct model_task *t = &model.tasks[a->id];

    trace(janitor, "helps %s", a->name);
    if (t->state == MODEL_OUTSIDE) {
        feed_reader();
    } else if (t->state == MODEL_DORMANT) {
        model_task_cancel(&model, a->id, (struct model_why){MODEL_EXPLICIT, NULL, janitor->id});
        coil_task_cancel(&a->handle, NULL);
    } else if (t->waits == MODEL_PARK) {
        unpark(janitor, a);
    } else if (t->waits == MODEL_SEMAPHORE) {
        release(janitor);
    } else if (t->waits == MODEL_SENDING) {
        serve_channel(janitor, a);
    } else {
        cancel_node(janitor, t->inner);
    }
}

static void help_somebody(struct actor *janitor)
{
    const int count = model.task_count;
    const int from = (int)draw((unsigned int)count);

    for (int i = 0; i < count; i++) {
        struct actor *a = world.actors[(from + i) % count];

        if (is_stuck(a)) {
            help(janitor, a);
            return;
        }
    }
}

static int janitor_main(void *arg)
{
    const bool *over = arg;
    struct actor *a = world.actors[1];
    int done = 0;
    int idle = 0;

    back(a);
    while (!*over) {
        if (world.timed)
            HOLDS(sleep_until(a, due(6, TIME_JANITOR)) == 0);
        else
            yield(a);
        idle = world.done == done ? idle + 1 : 0;
        done = world.done;
        HOLDS(idle < IDLE_MOST);
        if (idle > 2)
            help_somebody(a);
    }
    model_task_ends(&model, a->id, 0);
    return 0;
}

/* --- A world ---------------------------------------------------------------------------------- */

static void share_things(void)
{
    model.semaphore = 1;
    model.semaphore_max = 2;
    world.semaphore = (struct coil_semaphore)COIL_SEMAPHORE_INIT(1, 2);
    world.plenty = (struct coil_semaphore)COIL_SEMAPHORE_INIT(1000, 1000);
    for (int c = 0; c < MODEL_CHANNELS; c++)
        channel_open(c);
    if (world.timed)
        pipe_open();
}

static void check_shared_things(void)
{
    for (int c = 0; c < MODEL_CHANNELS; c++)
        channel_close(c);
    check_fates();
    if (world.timed)
        pipe_close();
}

static void prepare(void)
{
    memset(&world, 0, sizeof(world));
    model_begin(&model, coil_now(), broken);
}

static void run_tree(struct actor *first, bool *over)
{
    struct thing *all = thing_new(model_group_begin(&model, first->id));
    struct actor *janitor = actor_new(model_spawn(&model, all->node, false));
    struct coil_spawn_options options = options_of(janitor, false);

    first->task = coil_task_self();
    coil_group_begin(&all->group); /* which nobody else can name */
    all->scope = coil_group_scope(&all->group);
    HOLDS(coil_group_spawn_with(&all->group, janitor_main, over, &options) == 0);
    for (int i = 0; i < 3; i++) {
        (void)work_in_a_group(first, 0);
        HOLDS(world.node_count == 0);
        HOLDS(checkpoint(first) == 0);
        HOLDS(coil_effective_deadline() == COIL_FOREVER);
    }
    *over = true;
    model_group_end(&model, first->id, 0);
    HOLDS(coil_group_end(&all->group, 0) == 0);
    back(first);
    HOLDS(model_group_ended(&model, first->id) == 0);
    thing_free(all);
}

static int run_world(void *arg)
{
    const uint64_t seed = *(const uint64_t *)arg;
    bool over = false;

    prepare();
    world.seed = seed;
    world.state = seed;
    world.steps = STEPS;
    world.timed = harness_on("sim");
    world.watched = seed / 2 % 2;
    world.traced = getenv("COIL_MODEL_TRACE");
    model.exact = world.timed;
    model.ordered = seed % 2;
    model.stepwise = world.timed && !model.ordered;
    if (world.watched)
        HOLDS(coil_instrument_add(&watcher) == 0);
    share_things();
    run_tree(actor_new(0), &over);
    check_shared_things();
    coil_instrument_remove(&watcher);
    for (int i = 0; i < model.task_count; i++)
        free(world.actors[i]);
    return 0;
}

static bool on_sim(void)
{
    const char *backend = getenv("COIL_BACKEND");

    return !backend || !*backend || strcmp(backend, "sim") == 0;
}

/* Odd: first come, first served. Even: chance, on sim in all that it has a hand in. */
static void run_seed(uint64_t seed)
{
    static struct coil_testing_report report;
    const bool by_chance = seed % 2 == 0;
    struct coil_testing_options o = {0};

    if (by_chance && on_sim())
        o = coil_testing_seeded(seed);
    o.loop = harness_options();
    o.loop.shuffle_seed = by_chance ? seed : 0;
    world.seed = seed;
    replay_line(last_words, sizeof(last_words));
    if (coil_testing_run(&o, run_world, &seed, &report) < 0)
        broken_at(report.backend ? report.backend : "no backend", 0, report.text);
}

static uint64_t seed_count(void)
{
    const char *count = getenv("COIL_MODEL_SEEDS");

    if (count)
        return strtoull(count, NULL, 0);
    return on_sim() ? SIM_SEEDS : SEEDS;
}

static void run_part(unsigned int part)
{
    const char *only = getenv("COIL_MODEL_SEED");
    const uint64_t count = seed_count();

    harness_need_backend();
    catch_crashes();
    if (only && part == 0)
        run_seed(strtoull(only, NULL, 0));
    for (uint64_t i = 1; i <= count && !only; i++)
        run_seed(part * count + i);
}

/* In ten parts, which run side by side. */
#define MODEL_TEST(part_)                                                                          \
    Test(model, s2_trees_of_scopes_and_tasks_do_as_the_model_says_part_##part_)                    \
    {                                                                                              \
        run_part(part_);                                                                           \
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
