/* sim.c - the seam over a world of its own: virtual time, real descriptors, and chance by seed.
 *
 * A backend by completion, so that an operation can be made to do all that one on a ring does: to
 * complete late, in another order, or in spite of a cancel. The calls themselves are the core's,
 * coil__op_perform, on the real descriptor; poll(2) says which would not wait. All of the world's
 * own memory comes from malloc: the allocate hook is coil's, and is under test. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "cut.h"
#include "world.h"

#define EPOCH_NS            (1000000 * COIL_SECOND) /* where it begins */
#define LATE_LOOKS_MOST     16 /* a late op comes after so many looks, if nobody lets time pass */
#define THREADS_PATIENCE_NS (200 * COIL_MILLISECOND)
#define NETWORK_PATIENCE_NS (2 * COIL_MILLISECOND)
#define READY_TRACED_MOST   16

enum phase {
    WAITS,    /* until its descriptor is ready */
    WILL_DO,  /* it is ready, and will be done later */
    HAS_DONE, /* it is done, and nobody knows yet */
    IS_ASKED, /* ... to stop, and will */
    BLOCKS,   /* a call of the pool's, and waits for somebody else */
};

/* An operation under way. */
struct entry {
    struct op *op;
    uint64_t number; /* in the order of being submitted */
    enum phase phase;
    bool tried;              /* poll does not tell of calls that fail */
    unsigned int looks_left; /* it is due after so many, or */
    int64_t due_ns;          /* ... at this time, whatever comes first */
    ssize_t result;          /* HAS_DONE */
    struct call *call;       /* BLOCKS */
};

struct backend {
    struct loop *loop;
    struct world *world;
    struct world own_world; /* of a plain coil_run, and its report */
    struct coil_testing_report own_report;
    struct entry *entries; /* in no order; op->slot says where */
    struct pollfd *polled; /* one for each entry, and one for wake_fd */
    size_t count;
    size_t room;
    uint64_t submitted;
    size_t blocking; /* of the entries, how many: each has one of the pool's threads */
    int64_t now_ns;
    uint64_t chance;
    uint64_t history;
    int wake_fd;
    bool woken; /* by it, in the last look */
    unsigned int calls[OP_NAME_COUNT]; /* of each name, so far */
    unsigned int blocking_calls;       /* of all names */
    struct cut *cuts;
    bool deadlocked;
    struct coil_task *caller; /* is in the call in which it is to be cancelled */
    struct mail give_up;      /* cancels all, once */
};

/* --- Chance and history ---------------------------------------------------------------------- */

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t draw(struct backend *b, uint64_t below)
{
    b->chance += UINT64_C(0x9e3779b97f4a7c15);
    return mix(b->chance) % below;
}

static bool happens(struct backend *b, unsigned int percent)
{
    return b->world->options.seed && percent && draw(b, 100) < percent;
}

static void remember(struct backend *b, const char *what, const char *who, int64_t number)
{
    const struct coil_testing_options *o = &b->world->options;

    if (!who)
        who = "?";
    for (const char *c = what; *c; c++)
        b->history = mix(b->history + (unsigned char)*c);
    for (const char *c = who; *c; c++)
        b->history = mix(b->history + (unsigned char)*c);
    b->history = mix(b->history + (uint64_t)number);
    if (o->trace) {
        char line[160];

        snprintf(line, sizeof(line), "%" PRId64 " %s %s %" PRId64, b->now_ns - EPOCH_NS, what, who,
                 number);
        o->trace(o->trace_ctx, line);
    }
}

static bool makes_descriptor(const struct op *op)
{
    return op->kind == OP_ACCEPT ||
           (op->kind == OP_CALL &&
            (op->what == CALLS_OPENAT || op->what == CALLS_OPENAT2 || op->what == CALLS_MKOSTEMP));
}

/* Descriptors are numbered by the process, and so are no part of the history. */
static void remember_result(struct backend *b, const struct op *op, ssize_t result)
{
    remember(b, coil__op_names[op_name_index(op)], op_task(op) ? op->task->name : "nobody",
             makes_descriptor(op) && result > 0 ? 0 : result);
}

static void remember_ready(struct backend *b)
{
    size_t left = READY_TRACED_MOST;

    for (const struct coil_task *t = b->loop->ready_head; t && left; t = t->next_ready, left--)
        remember(b, "ready", t->name, (int64_t)b->loop->ready_count);
}

/* --- What is under way ----------------------------------------------------------------------- */

static struct entry *entry_of(const struct backend *b, const struct op *op)
{
    assert(op->slot < b->count);
    assert(b->entries[op->slot].op == op);

    return &b->entries[op->slot];
}

static bool add_room(struct backend *b)
{
    size_t room = b->room ? b->room * 2 : 64;
    struct entry *entries = realloc(b->entries, room * sizeof(*entries));
    struct pollfd *polled;

    if (!entries)
        return false;
    b->entries = entries;
    polled = realloc(b->polled, (room + 1) * sizeof(*polled));
    if (!polled)
        return false;
    b->polled = polled;
    b->room = room;
    return true;
}

static int sim_submit(struct backend *b, struct op *op)
{
    if (b->count == b->room && !add_room(b))
        return -ENOMEM;
    op->slot = (uint32_t)b->count;
    b->entries[b->count++] = (struct entry){.op = op, .number = b->submitted++, .phase = WAITS};
    return 0;
}

static void forget(struct backend *b, struct entry *e)
{
    struct entry *last = &b->entries[--b->count];

    *e = *last;
    e->op->slot = (uint32_t)(e - b->entries);
}

static bool is_for_pool(const struct entry *e)
{
    return e->op->route == ROUTE_POOL;
}

static void complete(struct backend *b, struct entry *e, ssize_t result)
{
    struct op *op = e->op;

    forget(b, e);
    remember_result(b, op, result);
    if (op->route == ROUTE_POOL)
        coil__pool_complete(b->loop, op, result);
    else
        coil__op_complete(op, result);
}

static bool make_call(struct backend *b, struct entry *e, ssize_t *ret)
{
    if (coil__testing_call(e->op, b->wake_fd, ret, &e->call))
        return true;
    e->phase = BLOCKS;
    b->blocking++;
    remember(b, "blocks", coil__op_names[op_name_index(e->op)], 0);
    return false;
}

/* Does it now. False: it has to wait. */
static bool perform(struct backend *b, struct entry *e, ssize_t *ret)
{
    if (is_for_pool(e))
        return make_call(b, e, ret);
    *ret = coil__op_perform(e->op);
    if (*ret == -EAGAIN)
        return false;
    coil__testing_cut_done(e->op);
    return true;
}

static void delay(struct backend *b, struct entry *e, enum phase phase)
{
    int64_t most_ns = b->world->options.late_ns;

    e->phase = phase;
    e->looks_left = 1 + (unsigned int)draw(b, LATE_LOOKS_MOST);
    e->due_ns = b->now_ns + (most_ns > 0 ? (int64_t)draw(b, (uint64_t)most_ns + 1) : 0);
}

/* Takes effect now, and is heard of later. False: it would have to wait. */
static bool do_silently(struct backend *b, struct entry *e)
{
    if (!perform(b, e, &e->result))
        return false;
    delay(b, e, HAS_DONE);
    return true;
}

/* Is there a thread for it, if it needs one? */
static bool may_begin(const struct backend *b, const struct entry *e)
{
    return !is_for_pool(e) || b->blocking < b->loop->pool.most;
}

static bool sim_cancel(struct backend *b, struct op *op)
{
    const struct coil_testing_options *o = &b->world->options;
    struct entry *e = entry_of(b, op);

    if (e->phase == HAS_DONE || e->phase == IS_ASKED || e->phase == BLOCKS)
        return false;
    if (may_begin(b, e) && happens(b, o->lost_percent) && do_silently(b, e)) {
        b->world->report->lost++;
        return false;
    }
    if (e->phase == BLOCKS)
        return false;
    if (o->seed && draw(b, 2)) {
        delay(b, e, IS_ASKED);
        return false;
    }
    remember_result(b, op, -ECANCELED);
    forget(b, e);
    return true;
}

/* --- Faults ---------------------------------------------------------------------------------- */

/* As how many-eth of those that f is about op counts. 0: it is none. */
static unsigned int nth_for(const struct backend *b, const struct coil_fault *f,
                            const struct op *op)
{
    if (!f->call)
        return b->world->report->operations;
    if (strcmp(f->call, coil__op_names[op_name_index(op)]) == 0)
        return b->calls[op_name_index(op)];
    if (op->kind == OP_CALL && strcmp(f->call, coil__op_names[OP_CALL]) == 0)
        return b->blocking_calls;
    return 0;
}

static int planned_failure(const struct backend *b, const struct op *op)
{
    const struct coil_testing_options *o = &b->world->options;

    for (size_t i = 0; i < o->fault_count; i++) {
        const struct coil_fault *f = &o->faults[i];
        unsigned int nth = nth_for(b, f, op);

        if (nth && (!f->nth || f->nth == nth))
            return f->error;
    }
    return 0;
}

static int sim_meddle(struct backend *b, struct op *op)
{
    struct coil_testing_report *report = b->world->report;
    size_t len;
    int error;

    b->calls[op_name_index(op)]++;
    b->blocking_calls += op->kind == OP_CALL;
    report->operations++;
    error = planned_failure(b, op);
    if (error < 0) {
        report->failed++;
        remember(b, "fails", coil__op_names[op_name_index(op)], error);
        return error;
    }
    len = coil__testing_cuttable(op);
    if (len > 1 && happens(b, b->world->options.short_percent))
        report->shortened += coil__testing_cut(op, 1 + draw(b, len - 1), &b->cuts);
    return 0;
}

static bool sim_has_stack(struct backend *b)
{
    struct world *w = b->world;

    return ++w->report->allocations != w->options.fail_allocation;
}

/* --- Looking --------------------------------------------------------------------------------- */

static short readiness_of(const struct op *op)
{
    if (op->kind == OP_POLL)
        return (short)op->flags;
    if (op_is_out_of_band(op))
        return op->flags & MSG_OOB ? POLLPRI : 0; /* errors are always told */
    return op->writes ? POLLOUT : POLLIN | POLLRDHUP;
}

static void poll_for(struct backend *b, int64_t patience_ns)
{
    const struct timespec patience = {.tv_sec = patience_ns / COIL_SECOND,
                                      .tv_nsec = patience_ns % COIL_SECOND};
    size_t count = b->count;

    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &b->entries[i];

        b->polled[i] = (struct pollfd){
            .fd = e->phase == WAITS && !is_for_pool(e) ? e->op->fd : -1,
            .events = readiness_of(e->op),
        };
    }
    b->polled[count] = (struct pollfd){.fd = b->wake_fd, .events = POLLIN};
    if (ppoll(b->polled, count + 1, patience_ns == COIL_FOREVER ? NULL : &patience, NULL) <= 0)
        memset(b->polled, 0, (count + 1) * sizeof(b->polled[0]));
    b->woken = b->polled[count].revents;
    if (b->woken) {
        uint64_t spent;
        ssize_t ignored = read(b->wake_fd, &spent, sizeof(spent));

        (void)ignored;
    }
}

/* Its descriptor is ready, or it is new. False: nothing has come of it. */
static bool get_on_with(struct backend *b, struct entry *e, bool ready)
{
    const struct coil_testing_options *o = &b->world->options;
    ssize_t r;

    e->tried = true;
    if (ready && happens(b, o->late_percent)) {
        b->world->report->late++;
        if (draw(b, 2))
            return do_silently(b, e);
        delay(b, e, WILL_DO);
        return true;
    }
    if (!perform(b, e, &r))
        return false;
    complete(b, e, r);
    return true;
}

/* Its time has come. False: it has to wait once more. */
static bool conclude(struct backend *b, struct entry *e)
{
    ssize_t r = e->phase == HAS_DONE ? e->result : -ECANCELED;

    if (e->phase == WILL_DO) {
        e->phase = WAITS;
        if (!may_begin(b, e) || !perform(b, e, &r))
            return false;
    }
    complete(b, e, r);
    return true;
}

/* Is the call that blocks over? */
static bool has_ended(struct backend *b, struct entry *e)
{
    ssize_t r;

    if (!coil__testing_call_ended(e->call, &r))
        return false;
    b->blocking--;
    complete(b, e, r);
    return true;
}

/* Will something come of it at a time that is known? */
static bool has_time(const struct entry *e)
{
    return e->phase != WAITS && e->phase != BLOCKS;
}

static bool is_due(const struct backend *b, const struct entry *e)
{
    return has_time(e) && (!e->looks_left || e->due_ns <= b->now_ns);
}

/* Puts the entries into an order drawn from the seed, and with each what poll said of it. */
static void shuffle(struct backend *b)
{
    if (!b->world->options.seed)
        return;
    for (size_t i = b->count; i > 1; i--) {
        size_t j = draw(b, i);
        struct entry e = b->entries[i - 1];
        struct pollfd p = b->polled[i - 1];

        b->entries[i - 1] = b->entries[j];
        b->polled[i - 1] = b->polled[j];
        b->entries[j] = e;
        b->polled[j] = p;
    }
    for (size_t i = 0; i < b->count; i++)
        b->entries[i].op->slot = (uint32_t)i;
}

/* The call that is to be made next: the first in the queue; of a shuffled one, that is any. */
static struct entry *next_call(const struct backend *b)
{
    struct entry *next = NULL;

    for (size_t i = 0; i < b->count; i++) {
        struct entry *e = &b->entries[i];

        if (is_for_pool(e) && e->phase == WAITS && (!next || e->number < next->number))
            next = e;
        if (next && b->world->options.seed)
            break;
    }
    return next;
}

static bool make_calls(struct backend *b)
{
    struct entry *e;
    bool any = false;

    while ((e = next_call(b)) && may_begin(b, e))
        any |= get_on_with(b, e, true);
    return any;
}

/* From the last to the first, since what completes is replaced by the last. True: something has
 * got on. */
static bool look(struct backend *b, int64_t patience_ns)
{
    bool any = false;

    poll_for(b, patience_ns);
    shuffle(b);
    for (size_t i = b->count; i-- > 0;) {
        struct entry *e = &b->entries[i];
        bool ready = b->polled[i].revents;

        if (has_time(e) && e->looks_left)
            e->looks_left--;
        if (is_due(b, e))
            any |= conclude(b, e);
        else if (e->phase == BLOCKS)
            any |= has_ended(b, e);
        else if (e->phase == WAITS && !is_for_pool(e) && (ready || !e->tried))
            any |= get_on_with(b, e, ready);
    }
    return make_calls(b) || any;
}

/* --- When nothing is ready -------------------------------------------------------------------- */

static int64_t soonest_due(const struct backend *b)
{
    int64_t soonest_ns = COIL_FOREVER;

    for (size_t i = 0; i < b->count; i++)
        if (has_time(&b->entries[i]) && b->entries[i].due_ns < soonest_ns)
            soonest_ns = b->entries[i].due_ns;
    return soonest_ns;
}

static bool has_network(const struct backend *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct entry *e = &b->entries[i];
        const struct descriptor *d = e->op->descriptor;

        if (e->phase == WAITS && !is_for_pool(e) && (d->kind == FD_TCP || d->kind == FD_DATAGRAM))
            return true;
    }
    return false;
}

/* How long, in real time, those may take that are not of this loop. */
static int64_t patience(const struct backend *b, int64_t next_ns)
{
    const bool threads_act =
        b->loop->runtime || (b->loop->pool.pending && !b->loop->pool.by_backend);
    int64_t ns = b->world->options.outside_ns;

    if (next_ns == COIL_FOREVER) /* a deadlock is for good, a jump need not be */
        ns = threads_act || ns > COIL_FOREVER / 10 ? COIL_FOREVER : ns * 10;
    if ((threads_act || b->blocking) && ns < THREADS_PATIENCE_NS)
        ns = THREADS_PATIENCE_NS;
    if (has_network(b) && ns < NETWORK_PATIENCE_NS)
        ns = NETWORK_PATIENCE_NS;
    return ns;
}

static int fd_of_task(void *ctx, const struct coil_task *t)
{
    const struct backend *b = ctx;

    for (size_t i = 0; i < b->count; i++)
        if (op_task(b->entries[i].op) == t)
            return b->entries[i].op->fd;
    return -1;
}

/* What cancelling has not moved stays where it is; its loop goes on without it. */
static void abandon(struct backend *b)
{
    struct loop *loop = b->loop;

    b->count = 0;
    loop->operations = 0;
    loop->living = 0;
    loop->main_ended = true;
    list_init(&loop->root.children);
}

/* Out of wait, since it calls abort functions. */
static void give_up_all(struct mail *m)
{
    struct backend *b = container_of(m, struct backend, give_up);

    coil__scope_cancel(&b->loop->root, COIL_CAUSE_SHUTDOWN, "deadlock", NULL, NULL);
}

/* Nobody but we could end these. Whoever made such a call has been asked to stop, and hears that it
 * did. */
static void break_calls(struct backend *b)
{
    for (size_t i = b->count; i-- > 0;) {
        struct entry *e = &b->entries[i];

        if (e->phase != BLOCKS)
            continue;
        coil__testing_call_break(e->call);
        b->blocking--;
        complete(b, e, -ECANCELED);
    }
}

static void deadlock(struct backend *b)
{
    struct loop *loop = b->loop;

    if (b->deadlocked && b->blocking) {
        break_calls(b);
        return;
    }
    if (b->deadlocked) {
        coil__testing_say(b->world, "not even after a cancel of all: tasks are left behind");
        abandon(b);
        return;
    }
    b->deadlocked = true;
    loop->failure = -EDEADLK;
    remember(b, "deadlock", "", 0);
    coil__testing_say(b->world, "deadlock: nothing can ever happen");
    coil__testing_describe_blocked(loop, b->world, fd_of_task, b);
    b->give_up.deliver = give_up_all;
    (void)coil__mailbox_post(&loop->mailbox, &b->give_up); /* we are awake */
}

/* A look may have taken the wake already, so that the mail itself is what counts. */
static bool is_idle(struct loop *loop)
{
    return !loop->ready_count && !loop->main_ended && mailbox_empty(&loop->mailbox);
}

/* Has anything happened within that (real) time? A wake may be about what was seen to before: then
 * it was not waited for all of it, and is again. */
static bool happens_within(struct backend *b, int64_t patience_ns)
{
    do {
        if (look(b, patience_ns) || !is_idle(b->loop))
            return true;
    } while (b->woken);
    return false;
}

/* Does something, or lets time pass until there is something to do. */
static void pass_time(struct backend *b, int64_t deadline_ns)
{
    int64_t due_ns = soonest_due(b);
    int64_t next_ns = due_ns < deadline_ns ? due_ns : deadline_ns;
    int64_t patience_ns = patience(b, next_ns);

    if (patience_ns && happens_within(b, patience_ns))
        return;
    if (next_ns == COIL_FOREVER) {
        deadlock(b);
    } else if (next_ns > b->now_ns) {
        b->now_ns = next_ns;
        b->world->report->jumps++;
        remember(b, "jump", "", next_ns - EPOCH_NS);
    }
}

static void sim_wait(struct backend *b, int64_t deadline_ns)
{
    /* The loop may want to be back sooner, to give stacks back. Not for that does time pass. */
    if (deadline_ns > b->now_ns)
        deadline_ns = timers_soonest(&b->loop->timers);
    (void)look(b, 0);
    while (is_idle(b->loop) && deadline_ns > b->now_ns) {
        pass_time(b, deadline_ns);
        (void)look(b, 0);
    }
    remember_ready(b);
}

/* --- Cancelling at each call ------------------------------------------------------------------ */

static void cancel_now(struct backend *b, struct coil_task *caller)
{
    struct world *w = b->world;
    struct scope *s = w->options.cancel_caller ? &caller->own : scope_of(w->scope);

    b->caller = NULL;
    w->report->cancelled = 1;
    remember(b, "cancel", caller->name, (int64_t)w->report->calls);
    coil__scope_cancel(s, COIL_CAUSE_EXPLICIT, "cancelled by the test", NULL, NULL);
}

static void sim_call_begins(struct backend *b, struct coil_task *t, bool may_refuse)
{
    const struct world *w = b->world;

    if (b->caller == t)
        b->caller = NULL; /* it is over, and never came to where it was to be cancelled */
    if (!w->scope || ++w->report->calls != w->options.cancel_at)
        return;
    if (w->options.cancel_when == COIL_TESTING_BEFORE && may_refuse)
        cancel_now(b, t);
    else
        b->caller = t;
}

static bool is_alive(const struct backend *b, const struct coil_task *t)
{
    const struct scope *s = &b->loop->root;

    while (s && s->task != t)
        s = coil__scope_walk(s, &b->loop->root);
    return s;
}

static void sim_between_steps(struct backend *b)
{
    const struct world *w = b->world;
    const enum task_state wanted =
        w->options.cancel_when == COIL_TESTING_AFTER ? TASK_READY : TASK_PARKED;

    if (!b->caller)
        return;
    if (!w->scope || !is_alive(b, b->caller))
        b->caller = NULL;
    else if (b->caller->state == wanted)
        cancel_now(b, b->caller);
}

static int64_t sim_now(struct backend *b)
{
    b->now_ns += b->world->options.tick_ns;
    return b->now_ns;
}

static void sim_wake(struct backend *b)
{
    const uint64_t one = 1;
    ssize_t ignored = write(b->wake_fd, &one, sizeof(one));

    (void)ignored; /* a full counter wakes as well */
}

/* --- Opening and closing --------------------------------------------------------------------- */

static int sim_open(struct backend **ret, const struct backend_config *config,
                    struct backend_reason *why)
{
    struct backend *b = calloc(1, sizeof(*b));
    int r = -ENOMEM;

    snprintf(why->text, sizeof(why->text), "sim");
    if (!b)
        return r;
    b->loop = container_of(config->descriptors, struct loop, descriptors);
    b->own_world.report = &b->own_report;
    b->world = coil__testing_world ? coil__testing_world : &b->own_world;
    b->now_ns = EPOCH_NS;
    b->chance = b->world->options.seed;
    if (!add_room(b))
        goto fail;
    b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->wake_fd < 0) {
        r = -errno;
        snprintf(why->text, sizeof(why->text), "sim: eventfd: %s", strerror(errno));
        goto fail;
    }
    b->loop->looks_each_turn = true;
    b->loop->may_lack_stacks = true;
    b->loop->pool.by_backend = !b->world->options.threads;
    b->loop->stepwise = b->world->options.seed || b->world->options.cancel_at;
    *ret = b;
    return 0;

fail:
    free(b->entries);
    free(b->polled);
    free(b);
    return r;
}

static void sim_close(struct backend *b)
{
    assert(!b->count);

    b->world->report->history = b->history;
    b->world->report->elapsed_ns = b->now_ns - EPOCH_NS;
    close(b->wake_fd);
    coil__testing_cuts_free(b->cuts);
    free(b->entries);
    free(b->polled);
    free(b);
}

const struct coil__backend_ops coil__testing_ops = {
    .name = "sim",
    .readiness = false,
    .open = sim_open,
    .close = sim_close,
    .now = sim_now,
    .tick = sim_now,
    .submit = sim_submit,
    .cancel = sim_cancel,
    .wait = sim_wait,
    .wake = sim_wake,
    .meddle = sim_meddle,
    .has_stack = sim_has_stack,
    .call_begins = sim_call_begins,
    .between_steps = sim_between_steps,
};
