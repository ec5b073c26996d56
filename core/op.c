/* op.c - the life of an operation, as its task sees it: begun, waited for, perhaps asked to hurry,
 * done. */
#include "op.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "sched/park.h"

#define PAUSE_NS      COIL_MILLISECOND /* the first; then twice as long, up to: */
#define PAUSE_MOST_NS (16 * COIL_MILLISECOND)

/* What a task goes on with when it runs, a batch of completions later: the frames between where it
 * parked and its op. With hundreds of tasks they are not in the cache. */
#define FRAME_LINES 6

void coil__op_complete(struct op *op, ssize_t result)
{
    struct loop *loop = coil__here.loop;

    assert(op->state == OP_PENDING);

    op->state = OP_DONE;
    op->result = result;
    loop->operations--;
    if (op->asked && result != -ECANCELED)
        loop->late_results++;
    if (unlikely(op->is_nobodys)) {
        op->done(op);
        return;
    }
    prefetch_lines(op->task->context.sp, FRAME_LINES);
    unpark(op->task, 0);
}

/* An operation that is only a wait, for what no readiness tells of: longer each time. */
struct pause {
    struct op op;
    struct timer timer;
    int64_t next_ns;
};

static void pause_over(struct timer *t)
{
    coil__op_complete(&container_of(t, struct pause, timer)->op, 0);
}

static void pause_begin(struct loop *loop, struct op *op)
{
    struct pause *p = container_of(op, struct pause, op);

    p->timer.fire = pause_over;
    coil__timer_add(&loop->timers, &p->timer, coil__deadline_after(p->next_ns));
    if (p->next_ns < PAUSE_MOST_NS)
        p->next_ns *= 2;
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
    return loop->ops->cancel(loop->backend, op);
}

bool coil__op_stop(struct op *op)
{
    struct loop *loop = coil__here.loop;

    if (!ask(loop, op))
        return false;
    op->state = OP_DONE;
    op->result = -ECANCELED;
    loop->operations--;
    return true;
}

static enum coil_abort hurry(void *op)
{
    return coil__op_stop(op) ? COIL_ABORT_DONE : COIL_ABORT_LATER;
}

/* What a task parks for, when it parks here. An array for all, since one is told from another's
 * words, which may be the same, by its address. */
const char coil__op_names[OP_NAME_COUNT][OP_NAME_SIZE] = {
    [OP_READ] = "read",
    [OP_WRITE] = "write",
    [OP_READV] = "readv",
    [OP_WRITEV] = "writev",
    [OP_RECV] = "recv",
    [OP_SEND] = "send",
    [OP_RECVMSG] = "recvmsg",
    [OP_SENDMSG] = "sendmsg",
    [OP_ACCEPT] = "accept",
    [OP_CONNECT] = "connect",
    [OP_POLL] = "poll",
    [OP_PAUSE] = "room at the peer",
    [OP_CALL + CALLS_ANY] = "blocking call",
    [OP_CALL + CALLS_OPENAT] = "openat",
    [OP_CALL + CALLS_OPENAT2] = "openat2",
    [OP_CALL + CALLS_MKOSTEMP] = "mkostemp",
    [OP_CALL + CALLS_MKDTEMP] = "mkdtemp",
    [OP_CALL + CALLS_READ_FILE] = "read_file",
    [OP_CALL + CALLS_WRITE_FILE] = "write_file",
    [OP_CALL + CALLS_FSYNC] = "fsync",
    [OP_CALL + CALLS_FDATASYNC] = "fdatasync",
    [OP_CALL + CALLS_FTRUNCATE] = "ftruncate",
    [OP_CALL + CALLS_TRUNCATE] = "truncate",
    [OP_CALL + CALLS_STATX] = "statx",
    [OP_CALL + CALLS_RENAMEAT] = "renameat",
    [OP_CALL + CALLS_UNLINKAT] = "unlinkat",
    [OP_CALL + CALLS_MKDIRAT] = "mkdirat",
    [OP_CALL + CALLS_LINKAT] = "linkat",
    [OP_CALL + CALLS_SYMLINKAT] = "symlinkat",
    [OP_CALL + CALLS_READLINKAT] = "readlinkat",
    [OP_CALL + CALLS_GETDENTS] = "getdents",
    [OP_CALL + CALLS_CLOSE] = "close",
    [OP_CALL + CALLS_COUNT] = "close", /* while others let go of the descriptor */
};

#define CLOSE_WAIT (OP_CALL + CALLS_COUNT)

bool coil__op_waited_for(const struct coil_task *t, int *ret_fd)
{
    size_t at = (size_t)((uintptr_t)t->waits_for - (uintptr_t)coil__op_names);
    const struct op *op = t->abort_ctx;

    if (at >= sizeof(coil__op_names))
        return false;
    if (at / OP_NAME_SIZE == CLOSE_WAIT)
        *ret_fd = *(const int *)t->abort_ctx;
    else
        *ret_fd = op->fd;
    return true;
}

static int submit(struct loop *loop, struct op *op)
{
    int r;

    switch ((enum op_route)op->route) {
    case ROUTE_POOL:
        r = coil__pool_submit(loop, op); /* fails when there is no thread */
        return r < 0 && op->kind != OP_CALL ? -ENOMEM : r;
    case ROUTE_TIMER:
        pause_begin(loop, op);
        return 0;
    case ROUTE_BACKEND:
        break;
    }
    return loop->ops->submit(loop->backend, op);
}

/* Hands op over. 0, or why nobody took it. */
static int begin(struct loop *loop, struct op *op)
{
    int r;

    assert(op->state == OP_IDLE);

    op->state = OP_PENDING;
    loop->operations++;
    r = submit(loop, op);
    if (r < 0) {
        loop->operations--;
        op->state = OP_DONE;
    }
    return r;
}

/* Hands op over and parks until it is done.
 *
 * Cancellation does not cut this short. The kernel may be writing into a buffer on this very stack,
 * so we ask the backend to hurry and still wait for the op itself. Its result is the truth: a read
 * that won the race keeps its bytes, and the caller meets the cancellation at its next
 * checkpoint. */
static ssize_t submit_and_wait(struct coil_task *self, struct op *op)
{
    int r;

    op->task = self;
    r = begin(self->loop, op);

    if (r < 0)
        return r;
    (void)park(self, op->shielded ? NULL : hurry, op, coil__op_names[op_name_index(op)]);
    assert(op->state == OP_DONE);

    if (op->result != -ECANCELED)
        return op->result;
    if (op->closed)
        return -EBADF;
    if (!op->asked)
        return -EIO; /* the kernel's own idea: not what we call cancelled */
    self->told_to_stop = true;
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

static ssize_t submit_on(struct coil_task *self, struct op *op, struct descriptor *d)
{
    ssize_t r;

    link_to(op, d);
    r = submit_and_wait(self, op);
    unlink_from(op, d);
    return r;
}

static ssize_t do_once(struct coil_task *self, struct op *op)
{
    if (op->route != ROUTE_POOL)
        return coil__op_perform(op);
    op->state = OP_IDLE;
    op->asked = false;
    return submit_on(self, op, op->descriptor);
}

/* A file that blocks and says EAGAIN (memory.reclaim of a cgroup) means something else by it. */
static bool would_have_to_wait(const struct op *op, ssize_t r)
{
    if (r == -EAGAIN && op->descriptor->kind == FD_FILE)
        return fcntl(op->fd, F_GETFL) & O_NONBLOCK;
    return r == -EAGAIN;
}

/* Readiness that led to nothing (an eventfd has room, but not for so much) would lead to nothing
 * again, and at once: between two polls there is a pause. */
static void prepare_wait(struct op *wait, uint32_t poll_events)
{
    bool polls = poll_events && wait->kind != OP_POLL;

    wait->kind = polls ? OP_POLL : OP_PAUSE;
    wait->route = polls ? ROUTE_BACKEND : ROUTE_TIMER;
    wait->flags = poll_events;
    wait->state = OP_IDLE;
    wait->asked = false;
}

/* Does op without the backend, again and again, and waits in between: for these events, or, if
 * there are none, a while. The descriptor cannot be closed under us meanwhile: the wait is on its
 * list throughout. */
static ssize_t try_and_wait(struct coil_task *self, struct op *op, uint32_t poll_events)
{
    struct pause p = {.op = {.kind = OP_PAUSE, .fd = op->fd}, .next_ns = PAUSE_NS};
    struct descriptor *d = op->descriptor;
    ssize_t r;

    link_to(&p.op, d);
    while (would_have_to_wait(op, r = do_once(self, op))) {
        prepare_wait(&p.op, poll_events);
        r = d->closing ? -EBADF : submit_and_wait(self, &p.op);
        if (r >= 0 && d->closing)
            r = -EBADF;
        if (r < 0)
            break;
    }
    unlink_from(&p.op, d);
    return r;
}

/* A pipe without a reader raises SIGPIPE in whoever writes, and io_uring cannot be told not to. A
 * socket that it could not connect is left half-way, and then reads as at its end. Of what is
 * neither file nor socket it has ideas of its own: it waits for a pidfd to be written, and writes
 * nothing to an eventfd (all seen on 6.18). So we make these calls ourselves, and leave to the ring
 * only the waiting. */
static bool ring_may_only_wait(const struct op *op, const struct descriptor *d)
{
    if (op->kind == OP_CONNECT)
        return true;
    if (d->kind == FD_PIPE)
        return op->kind == OP_WRITE || op->kind == OP_WRITEV;
    return d->kind == FD_OTHER && op->kind != OP_POLL;
}

/* A Unix socket cannot wait for room at its peer: when the backlog is full, connecting says EAGAIN
 * and no edge will come; when the queue is, poll says writable (and io_uring, asked to wait, sends
 * an empty datagram: seen on 6.18). Of a file opened O_NONBLOCK, such as /proc/kmsg, it depends.
 * All one can do is ask again. */
static bool no_readiness_tells(const struct op *op, const struct descriptor *d)
{
    if (op->route == ROUTE_POOL)
        return true;
    if (op->kind == OP_CONNECT)
        return d->kind != FD_TCP && ((const struct sockaddr *)op->ptr)->sa_family == AF_UNIX;
    return d->kind == FD_UNIX_DATAGRAM && (op->kind == OP_SEND || op->kind == OP_SENDMSG);
}

/* Files, which are always ready and yet block. A ring can do them, but not at the file's own
 * position: a write that comes up short leaves it where it was (seen on 6.18), and two at once race
 * for it. Nor does it ask the file about no bytes at all. */
static bool is_for_pool(const struct op *op, const struct descriptor *d, bool readiness)
{
    return d->kind == FD_FILE && op->kind != OP_POLL && (readiness || op->offset < 0 || !op->len);
}

/* A file that a ring cannot do without waiting for it, opened as it is: a thread can. Or EAGAIN is
 * its answer, which then is so again. */
static ssize_t do_in_pool(struct coil_task *self, struct op *op)
{
    assert(op->descriptor->kind == FD_FILE);

    if (op->descriptor->closing)
        return -EBADF;
    op->route = ROUTE_POOL;
    return try_and_wait(self, op, 0);
}

/* What a test wants of op: to fail so, or 0, perhaps for less of it. */
static inline int meddle(struct loop *loop, struct op *op)
{
    return unlikely(loop->ops->meddle) ? loop->ops->meddle(loop->backend, op) : 0;
}

static ssize_t run_on(struct coil_task *self, struct op *op, struct descriptor *d)
{
    const struct coil__backend_ops *ops = self->loop->ops;
    ssize_t r;

    op->descriptor = d;
    r = meddle(self->loop, op);
    if (unlikely(r < 0))
        return r;
    if (is_for_pool(op, d, ops->readiness))
        op->route = ROUTE_POOL;
    if (unlikely(no_readiness_tells(op, d)))
        return try_and_wait(self, op, 0);
    if (!ops->readiness && unlikely(ring_may_only_wait(op, d)))
        return try_and_wait(self, op, op->writes ? POLLOUT : POLLIN);
    if (ops->readiness && (d->ready & side_of(op->writes) || !op_speaks_for_its_side(op))) {
        r = coil__op_perform(op);
        if (r != -EAGAIN)
            return r;
    }
    r = submit_on(self, op, d);
    return unlikely(r == -EAGAIN) ? do_in_pool(self, op) : r;
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
        coil__die_outside("an I/O call", NULL);
    return self;
}

/* A receive that says the error which ended the one before, or that wants nothing. */
static bool answers_at_once(const struct op *op, const struct descriptor *d)
{
    return (d->late_error && op->kind != OP_ACCEPT && !op_is_out_of_band(op)) ||
           reads_nothing(op, d);
}

/* The error only to who would have received something. */
static int answer_at_once(const struct op *op, struct descriptor *d)
{
    int error = d->late_error;

    if (op->kind == OP_POLL || reads_nothing(op, d))
        return 0;
    d->late_error = 0;
    return error;
}

/* writev(2) of no bytes does nothing, also on a socket of messages, where write(2) sends one. */
static bool gathers_nothing(const struct op *op)
{
    return op->kind == OP_WRITEV && !op->len;
}

/* Before each thing that is done with fd: has the task been asked to stop, is fd still open? */
static int may_use(struct coil_task *self, int fd, struct descriptor **ret)
{
    int r;

    handicap(self, 500);
    coil__meet_deadlines(self->loop); /* we may succeed without a turn, and a deadline be past */
    r = task_checkpoint(self);
    return likely(r >= 0) ? descriptor_get(self->loop, fd, ret) : r;
}

static int take_side_of(struct descriptor *d, const struct op *op)
{
    if (unlikely(d->busy & side_of(op->writes)))
        return -EBUSY;
    d->busy |= side_of(op->writes);
    return 0;
}

static int take_side(struct coil_task *self, const struct op *op, struct descriptor **ret)
{
    int r = may_use(self, op->fd, ret);

    return likely(r >= 0) ? take_side_of(*ret, op) : r;
}

static void give_side_back(const struct op *op, struct descriptor *d)
{
    d->busy &= (uint8_t)~side_of(op->writes);
}

/* No position to fight over, so no -EBUSY. What is not a file has no offsets: whether the ring
 * minds depends on the kind, so the system call decides. */
static ssize_t run_at_offset(struct coil_task *self, struct op *op)
{
    struct descriptor *d;
    ssize_t r = may_use(self, op->fd, &d);

    if (r < 0)
        return r;
    if (d->kind == FD_FILE)
        return run_on(self, op, d);
    op->descriptor = d;
    r = meddle(self->loop, op);
    if (r >= 0)
        r = coil__op_perform(op);
    return r == -EAGAIN ? -ESPIPE : r;
}

/* With a socket, to read is to receive, and to write is to send: that raises no SIGPIPE. */
static void speak_to_socket(struct op *op)
{
    if (op->kind == OP_READ) {
        op->kind = OP_RECV;
    } else if (op->kind == OP_WRITE || op->kind == OP_WRITEV) {
        op->kind = op->kind == OP_WRITE ? OP_SEND : OP_SENDMSG;
        op->flags = MSG_NOSIGNAL;
    }
}

static ssize_t run_with_side(struct coil_task *self, struct op *op, struct descriptor *d)
{
    ssize_t r;

    if (unlikely(!op->writes && answers_at_once(op, d)))
        return answer_at_once(op, d);
    if (descriptor_is_socket(d)) {
        if (unlikely(gathers_nothing(op)))
            return 0;
        speak_to_socket(op);
    }
    r = run_on(self, op, d);
    if (op->kind == OP_ACCEPT && r >= 0) /* what is accepted is what the listener is */
        coil__descriptor_made(self->loop, (int)r, (enum descriptor_kind)d->kind);
    return r;
}

ssize_t coil__op_run(struct op *op, int fd, bool writes)
{
    struct coil_task *self = self_or_die();
    struct descriptor *d;
    ssize_t r;

    op->fd = fd;
    op->writes = writes;
    if (op->offset >= 0) {
        r = run_at_offset(self, op);
    } else {
        r = take_side(self, op, &d);
        if (likely(r >= 0)) {
            r = run_with_side(self, op, d);
            give_side_back(op, d);
        }
    }
    task_charge(self); /* last: when we are back, d may be another's */
    return r;
}

/* What a socket says once. Of a buffer, or of memory, it would tell again. */
static bool is_said_once(ssize_t error)
{
    return error != -ECANCELED && error != -EFAULT && error != -ENOMEM;
}

static struct op round_of(const struct op *op, char *ptr, size_t len)
{
    return (struct op){
        .kind = op->kind,
        .writes = op->writes,
        .flags = op->flags,
        .fd = op->fd,
        .ptr = ptr,
        .len = len < OP_LEN_MOST ? len : OP_LEN_MOST,
        .offset = -1,
    };
}

/* What op, which is over, has left of len bytes at ptr. Nobody gets in between: the side is ours
 * throughout, and d stays, hold being on its list. */
static ssize_t run_rest(struct coil_task *self, const struct op *op, struct descriptor *d,
                        char *ptr, size_t len, size_t *done)
{
    struct op hold = {.state = OP_IDLE};
    const bool told_to_stop = self->told_to_stop;
    ssize_t r;

    link_to(&hold, d);
    do {
        struct op round = round_of(op, ptr + *done, len - *done);

        task_charge(self);
        r = may_use(self, op->fd, &d);
        if (r < 0)
            break;
        r = run_with_side(self, &round, d);
        if (r > 0)
            *done += (size_t)r;
    } while (r > 0 && *done < len);
    if (r < 0 && !op->writes) { /* the count is what the caller is told, and only that */
        self->told_to_stop = told_to_stop;
        if (is_said_once(r))
            d->late_error = (int16_t)r;
    }
    unlink_from(&hold, d);
    return r;
}

/* Mostly the first round is the last. */
static ssize_t run_rounds(struct coil_task *self, struct op *op, struct descriptor *d,
                          size_t *ret_done)
{
    const bool all_at_once = d->kind >= FD_DATAGRAM;
    const size_t len = op->len;
    char *ptr = op->ptr;
    ssize_t r;

    if (len > OP_LEN_MOST)
        op->len = OP_LEN_MOST;
    r = run_with_side(self, op, d);
    if (r <= 0)
        return r;
    *ret_done = (size_t)r;
    if (*ret_done == len || all_at_once)
        return r;
    return d->closing ? -EBADF : run_rest(self, op, d, ptr, len, ret_done);
}

ssize_t coil__op_run_all(struct op *op, int fd, bool writes, size_t *ret_done)
{
    struct coil_task *self = self_or_die();
    struct descriptor *d;
    ssize_t r;

    op->fd = fd;
    op->writes = writes;
    *ret_done = 0;
    r = take_side(self, op, &d);
    if (r >= 0) {
        r = run_rounds(self, op, d, ret_done);
        give_side_back(op, d);
    }
    task_charge(self);
    return r;
}

/* --- For select: one of several things that the task waits for ------------------------------- */

int coil__op_look(struct op *op)
{
    struct descriptor *d;
    int r;

    if (unlikely(!coil__here.loop)) /* nobody reads or closes it but the caller */
        return op->fd < 0 ? -EBADF : (int)coil__op_perform(op);
    r = descriptor_get(coil__here.loop, op->fd, &d);
    if (r < 0)
        return r;
    if (d->busy & side_of(op->writes))
        return -EBUSY;
    op->descriptor = d;
    r = meddle(coil__here.loop, op);
    if (r < 0)
        return r;
    return !op->writes && d->late_error ? 0 : (int)coil__op_perform(op);
}

static int take_side_for(struct op *op)
{
    struct descriptor *d;
    int r = descriptor_get(coil__here.loop, op->fd, &d);

    if (r >= 0)
        r = take_side_of(d, op);
    if (r >= 0)
        link_to(op, d);
    return r;
}

int coil__op_begin(struct op *op)
{
    int r = take_side_for(op);

    if (r < 0)
        return r;
    r = begin(coil__here.loop, op);
    if (r < 0)
        (void)coil__op_end(op);
    return r;
}

int coil__op_begin_ready(struct op *op)
{
    int r = take_side_for(op);

    op->state = OP_DONE;
    op->result = 0;
    return r;
}

int coil__op_end(struct op *op)
{
    assert(op->state == OP_DONE);

    give_side_back(op, op->descriptor);
    unlink_from(op, op->descriptor);
    if (op->result != -ECANCELED)
        return op->result < 0 ? (int)op->result : 0;
    return op->closed ? -EBADF : -EIO;
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
    handicap(self, 500);
    coil__meet_deadlines(self->loop); /* a pool thread may be quicker than the turn */
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    r = meddle(self->loop, op);
    if (r < 0)
        return r;
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

void coil__op_drain(struct loop *loop, int fd, struct descriptor *d)
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
        (void)park(d->closer, NULL, &fd, coil__op_names[CLOSE_WAIT]);
    }
}
