/* op.c - the life of an operation, as its task sees it: begun, waited for, perhaps asked to hurry,
 * done. */
#include "op.h"

#include <errno.h>
#include <poll.h>

#include "sched/park.h"

#define PAUSE_NS      COIL_MILLISECOND /* the first; then twice as long, up to: */
#define PAUSE_MOST_NS (16 * COIL_MILLISECOND)

void coil__op_complete(struct op *op, ssize_t result)
{
    struct loop *loop = op->task->loop;

    assert(op->state == OP_PENDING);

    op->state = OP_DONE;
    op->result = result;
    loop->operations--;
    if (op->asked && result != -ECANCELED)
        loop->late_results++;
    unpark(op->task, 0);
}

/* An operation that is only a wait, for what no readiness tells of. */
struct pause {
    struct op op;
    struct timer timer;
};

static void pause_over(struct timer *t)
{
    coil__op_complete(&container_of(t, struct pause, timer)->op, 0);
}

static void pause_begin(struct loop *loop, struct op *op)
{
    struct pause *p = container_of(op, struct pause, op);

    p->timer.fire = pause_over;
    coil__timer_add(&loop->timers, &p->timer, coil__deadline_after(op->offset));
}

static bool pause_cancel(struct loop *loop, struct op *op)
{
    coil__timer_remove(&loop->timers, &container_of(op, struct pause, op)->timer);
    return true;
}

/* Cancels op on the way it went. True: it is over, and nobody will complete it. */
static bool ask(struct loop *loop, struct op *op)
{
    if (!op->asked)
        loop->cancels++;
    op->asked = true;
    switch ((enum op_route)op->route) {
    case ROUTE_POOL:
        return coil__pool_cancel(loop, op);
    case ROUTE_TIMER:
        return pause_cancel(loop, op);
    case ROUTE_BACKEND:
        break;
    }
    loop->ops->cancel(loop->backend, op);
    return false;
}

static enum coil_abort hurry(void *ctx)
{
    struct op *op = ctx;
    struct loop *loop = op->task->loop;

    if (!ask(loop, op))
        return COIL_ABORT_LATER;
    op->state = OP_DONE;
    op->result = -ECANCELED;
    loop->operations--;
    return COIL_ABORT_DONE;
}

static const char *const kind_names[] = {
    [OP_READ] = "read",          [OP_WRITE] = "write",     [OP_READV] = "readv",
    [OP_WRITEV] = "writev",      [OP_RECV] = "recv",       [OP_SEND] = "send",
    [OP_RECVMSG] = "recvmsg",    [OP_SENDMSG] = "sendmsg", [OP_ACCEPT] = "accept",
    [OP_CONNECT] = "connect",    [OP_POLL] = "poll",       [OP_PAUSE] = "room at the peer",
    [OP_CALL] = "blocking call",
};

static int submit(struct loop *loop, struct op *op)
{
    switch ((enum op_route)op->route) {
    case ROUTE_POOL:
        return coil__pool_submit(loop, op);
    case ROUTE_TIMER:
        pause_begin(loop, op);
        return 0;
    case ROUTE_BACKEND:
        break;
    }
    loop->ops->submit(loop->backend, op);
    return 0;
}

/* Hands op over and parks until it is done.
 *
 * Cancellation does not cut this short. The kernel may be writing into a buffer on this very stack,
 * so we ask the backend to hurry and still wait for the op itself. Its result is the truth: a read
 * that won the race keeps its bytes, and the caller meets the cancellation at its next
 * checkpoint. */
static ssize_t submit_and_wait(struct coil_task *self, struct op *op)
{
    struct loop *loop = self->loop;
    int r;

    assert(op->state == OP_IDLE);

    op->task = self;
    op->state = OP_PENDING;
    loop->operations++;
    r = submit(loop, op);
    if (r < 0) {
        loop->operations--;
        op->state = OP_DONE;
        return r;
    }
    (void)park(self, op->shielded ? NULL : hurry, op, kind_names[op->kind]);
    assert(op->state == OP_DONE);

    if (op->result != -ECANCELED)
        return op->result;
    if (op->closed)
        return -EBADF;
    if (!op->asked)
        return -EIO; /* the kernel's own idea: not what we call cancelled */
    self->told = true;
    return -ECANCELED;
}

static void link_to(struct op *op, struct descriptor *d)
{
    op->descriptor = d;
    op->next_on_descriptor = d->ops;
    d->ops = op;
}

static void unlink_from(struct op *op, struct descriptor *d)
{
    struct op **p = &d->ops;

    while (*p != op)
        p = &(*p)->next_on_descriptor;
    *p = op->next_on_descriptor;
    if (!d->ops && d->closer) {
        unpark(d->closer, 0);
        d->closer = NULL;
    }
}

/* Does op ourselves, again and again, and waits in between, by wait. The descriptor cannot be
 * closed under us meanwhile: wait is on its list throughout. */
static ssize_t attempt(struct coil_task *self, struct op *op, struct op *wait)
{
    struct descriptor *d = op->descriptor;
    ssize_t r;

    wait->fd = op->fd;
    link_to(wait, d);
    while ((r = coil__op_perform(op)) == -EAGAIN || r == -EINPROGRESS) {
        wait->state = OP_IDLE;
        r = submit_and_wait(self, wait);
        if (r >= 0 && d->closing)
            r = -EBADF;
        if (r < 0)
            break;
        wait->offset *= wait->offset < PAUSE_MOST_NS ? 2 : 1;
    }
    unlink_from(wait, d);
    return r;
}

/* A pipe without a reader raises SIGPIPE in whoever writes, and io_uring cannot be told not to. So
 * we write ourselves, with the signal blocked, and leave to the ring only the waiting. */
static bool is_for_us(const struct op *op, const struct descriptor *d, bool readiness)
{
    return d->kind == FD_PIPE && (op->kind == OP_WRITE || op->kind == OP_WRITEV) && !readiness;
}

/* A Unix socket cannot wait for room at its peer: when the backlog is full, connecting says EAGAIN
 * and no edge will come; when the queue is, poll says writable (and io_uring, asked to wait, sends
 * an empty datagram: seen on 6.18). All one can do is ask again. */
static bool is_for_pauses(const struct op *op, const struct descriptor *d)
{
    if (op->kind == OP_CONNECT)
        return d->kind != FD_TCP && ((const struct sockaddr *)op->ptr)->sa_family == AF_UNIX;
    return d->kind == FD_UNIX_DATAGRAM && (op->kind == OP_SEND || op->kind == OP_SENDMSG);
}

/* Files, which are always ready and yet block. A ring can do them, but not at the file's own
 * position: a write that comes up short leaves it where it was (seen on 6.18), and two at once race
 * for it. */
static bool is_for_pool(const struct op *op, const struct descriptor *d, bool readiness)
{
    return d->kind == FD_FILE && op->kind != OP_POLL && (readiness || op->offset < 0);
}

static ssize_t run_on(struct coil_task *self, struct op *op, struct descriptor *d)
{
    const struct coil__backend_ops *ops = self->loop->ops;
    ssize_t r;

    op->descriptor = d;
    if (unlikely(is_for_pauses(op, d))) {
        struct pause p = {.op = {.kind = OP_PAUSE, .route = ROUTE_TIMER, .offset = PAUSE_NS}};

        return attempt(self, op, &p.op);
    }
    if (unlikely(is_for_us(op, d, ops->readiness))) {
        struct op room = {.kind = OP_POLL, .flags = POLLOUT};

        return attempt(self, op, &room);
    }
    if (is_for_pool(op, d, ops->readiness)) {
        op->route = ROUTE_POOL;
    } else if (ops->readiness &&
               (d->ready & (op->writes ? SIDE_WRITE : SIDE_READ) || op_is_out_of_band(op))) {
        r = coil__op_perform(op);
        if (r != -EAGAIN)
            return r;
    }
    link_to(op, d);
    r = submit_and_wait(self, op);
    unlink_from(op, d);
    return r;
}

/* Reading no bytes waits for none; of messages, one is taken and cut. */
static bool reads_nothing(const struct op *op, const struct descriptor *d)
{
    return !op->len && (op->kind == OP_READ || op->kind == OP_READV ||
                        (op->kind == OP_RECV && d->kind < FD_DATAGRAM));
}

static struct coil_task *self_or_die(void)
{
    struct coil_task *self = here_task();

    if (unlikely(!self))
        coil__die("an I/O call outside of any task");
    return self;
}

/* A receive that says the error which ended the one before, or that wants nothing. */
static bool answers_at_once(const struct op *op, const struct descriptor *d)
{
    return (d->late_error && op->kind != OP_ACCEPT) || reads_nothing(op, d);
}

static int take_late_error(struct descriptor *d)
{
    int error = d->late_error;

    d->late_error = 0;
    return error;
}

/* No position to fight over, so no -EBUSY. What is not a file has no offsets: whether the ring
 * minds depends on the kind, so the system call decides. */
static ssize_t run_at_offset(struct coil_task *self, struct op *op, struct descriptor *d)
{
    ssize_t r;

    if (d->kind == FD_FILE)
        return run_on(self, op, d);
    op->descriptor = d;
    r = coil__op_perform(op);
    return r == -EAGAIN ? -ESPIPE : r;
}

ssize_t coil__op_run(struct op *op, int fd, bool writes)
{
    struct coil_task *self = self_or_die();
    uint8_t side = writes ? SIDE_WRITE : SIDE_READ;
    struct descriptor *d;
    ssize_t r;

    if (self->loop->ops->readiness)
        fire_timers(self->loop); /* we may succeed without a turn, and a deadline be past */
    if (unlikely(task_cancelled(self)))
        return task_refuse(self);
    r = descriptor_get(self->loop, fd, &d);
    if (unlikely(r < 0))
        return r;
    op->fd = fd;
    op->writes = writes;
    if (op->offset >= 0)
        return run_at_offset(self, op, d);

    if (unlikely(d->busy & side))
        return -EBUSY;
    if (unlikely(!writes && answers_at_once(op, d))) {
        r = op->kind == OP_POLL ? 0 : take_late_error(d);
    } else {
        d->busy |= side;
        r = run_on(self, op, d);
        d->busy &= (uint8_t)~side;
    }
    task_charge(self); /* last: when we are back, d may be another's */
    return r;
}

uint32_t coil__op_generation(int fd)
{
    struct descriptor *d;

    return here_task() && descriptor_get(coil__here.loop, fd, &d) >= 0 ? d->generation : 0;
}

void coil__op_late_error(int fd, int error)
{
    struct descriptor *d = descriptor_known(&coil__here.loop->descriptors, fd);

    if (d)
        d->late_error = error;
}

/* Keeps fd from being closed until released: hold is on its list, though nothing goes on. */
static int hold_descriptor(struct loop *loop, struct op *hold, int fd)
{
    struct descriptor *d;
    int r;

    if (fd < 0)
        return 0;
    r = descriptor_get(loop, fd, &d);
    if (r >= 0)
        link_to(hold, d);
    if (r == -EBADF && !descriptor_known(&loop->descriptors, fd))
        return 0; /* not open: the call itself will say so, if it minds */
    return r;
}

static void release_descriptor(struct op *hold)
{
    if (hold->descriptor)
        unlink_from(hold, hold->descriptor);
}

ssize_t coil__op_run_blocking(struct op *op, int fd, int other_fd)
{
    struct coil_task *self = self_or_die();
    struct op hold = {.state = OP_IDLE};
    ssize_t r;

    op->kind = OP_CALL;
    op->route = ROUTE_POOL;
    op->fd = fd;
    fire_timers(self->loop); /* a pool thread may be quicker than the turn */
    if (task_cancelled(self))
        return task_refuse(self);
    r = hold_descriptor(self->loop, op, fd);
    if (r < 0)
        return r;
    r = hold_descriptor(self->loop, &hold, other_fd);
    if (r >= 0)
        r = submit_and_wait(self, op);
    release_descriptor(&hold);
    release_descriptor(op);
    return r;
}

ssize_t coil__op_run_shielded(struct op *op)
{
    op->kind = OP_CALL;
    op->route = ROUTE_POOL;
    op->shielded = true;
    return submit_and_wait(self_or_die(), op);
}

void coil__op_drain(struct loop *loop, struct descriptor *d)
{
    for (struct op *op = d->ops; op; op = op->next_on_descriptor) {
        if (op->state != OP_PENDING)
            continue;
        op->closed = true;
        if (ask(loop, op))
            coil__op_complete(op, -ECANCELED);
    }
    if (d->ops) {
        d->closer = here_task();
        (void)park(d->closer, NULL, NULL, "close");
    }
}
