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
};

/* An operation under way. */
struct entry {
    struct op *op;
    enum phase phase;
    bool tried;              /* poll does not tell of calls that fail */
    unsigned int looks_left; /* it is due after so many, or */
    int64_t due_ns;          /* ... at this time, whatever comes first */
    ssize_t result;          /* HAS_DONE */
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
    int64_t now_ns;
    uint64_t chance;
    uint64_t history;
    int wake_fd;
    unsigned int calls[OP_CALL + 1]; /* of each kind, so far */
    bool deadlocked;
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

/* Descriptors are numbered by the process, and so are no part of the history. */
static void remember_result(struct backend *b, const struct op *op, ssize_t result)
{
    remember(b, coil__op_names[op->kind], op_task(op) ? op->task->name : "nobody",
             op->kind == OP_ACCEPT && result > 0 ? 0 : result);
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
    b->entries[b->count++] = (struct entry){.op = op, .phase = WAITS};
    return 0;
}

static void forget(struct backend *b, struct entry *e)
{
    struct entry *last = &b->entries[--b->count];

    *e = *last;
    e->op->slot = (uint32_t)(e - b->entries);
}

static void complete(struct backend *b, struct entry *e, ssize_t result)
{
    struct op *op = e->op;

    forget(b, e);
    remember_result(b, op, result);
    coil__op_complete(op, result);
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
    ssize_t r = coil__op_perform(e->op);

    if (r == -EAGAIN)
        return false;
    e->result = r;
    delay(b, e, HAS_DONE);
    return true;
}

static bool sim_cancel(struct backend *b, struct op *op)
{
    const struct coil_testing_options *o = &b->world->options;
    struct entry *e = entry_of(b, op);

    if (e->phase == HAS_DONE || e->phase == IS_ASKED)
        return false;
    if (happens(b, o->lost_percent) && do_silently(b, e)) {
        b->world->report->lost++;
        return false;
    }
    if (o->seed && draw(b, 2)) {
        delay(b, e, IS_ASKED);
        return false;
    }
    remember_result(b, op, -ECANCELED);
    forget(b, e);
    return true;
}

/* --- Faults ---------------------------------------------------------------------------------- */

static int planned_failure(struct backend *b, const struct op *op)
{
    const struct coil_testing_options *o = &b->world->options;
    const char *name = coil__op_names[op->kind];

    for (size_t i = 0; i < o->fault_count; i++) {
        const struct coil_fault *f = &o->faults[i];
        unsigned int nth = f->call ? b->calls[op->kind] : b->world->report->operations;

        if ((!f->call || strcmp(f->call, name) == 0) && (!f->nth || f->nth == nth))
            return f->error;
    }
    return 0;
}

/* Of a stream, and of what is ours to change: a message that is cut is another message. */
static bool may_be_cut(const struct op *op)
{
    const struct descriptor *d = op->descriptor;

    if (op->kind == OP_CALL || op->len < 2 || op->flags & MSG_WAITALL)
        return false;
    if (d->kind != FD_TCP && d->kind != FD_STREAM && d->kind != FD_PIPE)
        return false;
    return op->kind == OP_READ || op->kind == OP_WRITE || op->kind == OP_RECV ||
           op->kind == OP_SEND;
}

static int sim_meddle(struct backend *b, struct op *op)
{
    struct coil_testing_report *report = b->world->report;
    int error;

    b->calls[op->kind]++;
    report->operations++;
    error = planned_failure(b, op);
    if (error < 0) {
        report->failed++;
        remember(b, "fails", coil__op_names[op->kind], error);
        return error;
    }
    if (may_be_cut(op) && happens(b, b->world->options.short_percent)) {
        op->len = 1 + draw(b, op->len - 1);
        report->shortened++;
    }
    return 0;
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
            .fd = e->phase == WAITS ? e->op->fd : -1,
            .events = readiness_of(e->op),
        };
    }
    b->polled[count] = (struct pollfd){.fd = b->wake_fd, .events = POLLIN};
    if (ppoll(b->polled, count + 1, patience_ns == COIL_FOREVER ? NULL : &patience, NULL) <= 0)
        memset(b->polled, 0, (count + 1) * sizeof(b->polled[0]));
    if (b->polled[count].revents) {
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
    r = coil__op_perform(e->op);
    if (r == -EAGAIN)
        return false;
    complete(b, e, r);
    return true;
}

/* Its time has come. False: it has to wait once more. */
static bool conclude(struct backend *b, struct entry *e)
{
    ssize_t r = e->phase == HAS_DONE ? e->result : -ECANCELED;

    if (e->phase == WILL_DO) {
        r = coil__op_perform(e->op);
        if (r == -EAGAIN) {
            e->phase = WAITS;
            return false;
        }
    }
    complete(b, e, r);
    return true;
}

static bool is_due(const struct backend *b, const struct entry *e)
{
    return e->phase != WAITS && (!e->looks_left || e->due_ns <= b->now_ns);
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

/* From the last to the first, since what completes is replaced by the last. True: something has
 * got on. */
static bool look(struct backend *b, int64_t patience_ns)
{
    bool any = false;

    poll_for(b, patience_ns);
    shuffle(b);
    for (size_t i = b->count; i-- > 0;) {
        struct entry *e = &b->entries[i];

        if (e->phase != WAITS && e->looks_left)
            e->looks_left--;
        if (is_due(b, e))
            any |= conclude(b, e);
        else if (e->phase == WAITS && (b->polled[i].revents || !e->tried))
            any |= get_on_with(b, e, b->polled[i].revents);
    }
    return any;
}

/* --- When nothing is ready -------------------------------------------------------------------- */

static int64_t soonest_due(const struct backend *b)
{
    int64_t soonest_ns = COIL_FOREVER;

    for (size_t i = 0; i < b->count; i++)
        if (b->entries[i].phase != WAITS && b->entries[i].due_ns < soonest_ns)
            soonest_ns = b->entries[i].due_ns;
    return soonest_ns;
}

static bool has_network(const struct backend *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct descriptor *d = b->entries[i].op->descriptor;

        if (b->entries[i].phase == WAITS && (d->kind == FD_TCP || d->kind == FD_DATAGRAM))
            return true;
    }
    return false;
}

/* How long, in real time, those may take that are not of this loop. */
static int64_t patience(const struct backend *b, int64_t next_ns)
{
    const bool threads_act = b->loop->pool.pending || b->loop->runtime;
    int64_t ns = b->world->options.outside_ns;

    if (next_ns == COIL_FOREVER) /* a deadlock is for good, a jump need not be */
        ns = threads_act || ns > COIL_FOREVER / 10 ? COIL_FOREVER : ns * 10;
    if (threads_act && ns < THREADS_PATIENCE_NS)
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

static void deadlock(struct backend *b)
{
    struct loop *loop = b->loop;

    if (!b->deadlocked) {
        b->deadlocked = true;
        loop->failure = -EDEADLK;
        remember(b, "deadlock", "", 0);
        coil__testing_say(b->world->report, "deadlock: nothing can ever happen");
        coil__testing_describe_blocked(loop, b->world->report, fd_of_task, b);
        coil__scope_cancel(&loop->root, COIL_CAUSE_SHUTDOWN, "deadlock", NULL, NULL);
        if (loop->ready_count || b->count)
            return;
    }
    coil__testing_say(b->world->report, "not even after a cancel of all: tasks are left behind");
    abandon(b);
}

/* A look may have taken the wake already, so that the mail itself is what counts. */
static bool is_idle(struct loop *loop)
{
    return !loop->ready_count && !loop->main_ended && mailbox_empty(&loop->mailbox);
}

/* Does something, or lets time pass until there is something to do. */
static void pass_time(struct backend *b, int64_t deadline_ns)
{
    int64_t due_ns = soonest_due(b);
    int64_t next_ns = due_ns < deadline_ns ? due_ns : deadline_ns;
    int64_t patience_ns = patience(b, next_ns);

    if (patience_ns && (look(b, patience_ns) || !is_idle(b->loop)))
        return;
    if (next_ns == COIL_FOREVER) {
        deadlock(b);
    } else if (next_ns > b->now_ns) {
        b->now_ns = next_ns;
        b->world->report->jumps++;
        remember(b, "jump", "", next_ns - EPOCH_NS);
    }
}

static void cancel_at_its_step(struct backend *b, bool late)
{
    const struct world *w = b->world;

    if (w->scope && w->options.cancel_at == w->report->steps && late == !!w->options.cancel_late)
        coil_scope_cancel(w->scope, "cancelled by the test");
}

static void sim_wait(struct backend *b, int64_t deadline_ns)
{
    if (b->world->scope)
        b->world->report->steps++;
    cancel_at_its_step(b, false);
    (void)look(b, 0);
    while (is_idle(b->loop) && deadline_ns > b->now_ns) {
        pass_time(b, deadline_ns);
        (void)look(b, 0);
    }
    cancel_at_its_step(b, true);
    remember_ready(b);
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
    .submit = sim_submit,
    .cancel = sim_cancel,
    .wait = sim_wait,
    .wake = sim_wake,
    .meddle = sim_meddle,
};
