/* uring.c - the seam over a ring.
 *
 * An op that the kernel has is known to it by a slot and a generation, never by an address, so a
 * completion that comes late, or twice, meets a number that is not in use. A task wakes on its op's
 * own last completion and on nothing else: what a cancel answers is not evidence of anything (it
 * says 0 and the op then succeeds in part, or ENOENT and the op then completes), so cancels report
 * to nobody. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../core/io/descriptor.h"
#include "ring.h"

#define REAP_MOST        512 /* completions a turn: tasks must get their share */
#define ASK_MOST         256 /* cancels a turn */
#define SLOTS_FIRST      64
#define NO_SLOT          UINT32_MAX
#define ASK_AGAIN_NS     1000000 /* the first time; then ten times as long, up to: */
#define MEMORY_AGAIN_NS  5000000
#define ASK_AGAIN_MAX_NS 1000000000

/* user_data of what is not an op. Those of ops are beyond 32 bits: generations begin at 1. */
enum {
    TO_NOBODY = 0,
    TO_WAKE = 1,
};

/* op->phase */
enum {
    WAITS_FOR_ROOM, /* on b->waiting */
    ON_RING,        /* queued, or the kernel's */
    POLLS,          /* the same; the kernel said EAGAIN, and now waits for readiness first */
};

struct slot {
    struct op *op; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct backend {
    struct ring ring;
    struct slot *slots;
    uint32_t slot_count;
    uint32_t free_slot;  /* NO_SLOT: none */
    struct list waiting; /* ops for which there was no room */
    struct list to_ask;  /* ops in the kernel that shall stop, newest first */
    struct list asking;  /* the same, taken from there: before any newer ones */
    struct list asked;   /* the same, asked to: until they do */
    int64_t ask_again_at_ns; /* the alarm */
    int64_t ask_again_in_ns; /* after that; 0: there are some for whom no alarm was set yet */
    bool ask_now;            /* a cancel found no room */
    int wake_fd;
    uint64_t wake_count;
    bool wake_armed;
    void *(*allocate)(void *ctx, void *ptr, size_t size);
    void *allocate_ctx;
};

/* --- Slots ----------------------------------------------------------------------------------- */

static bool add_slots(struct backend *b)
{
    uint32_t count = b->slot_count ? b->slot_count + b->slot_count / 8 : SLOTS_FIRST;
    struct slot *slots = b->allocate(b->allocate_ctx, b->slots, count * sizeof(*slots));

    if (!slots)
        return false;
    for (uint32_t i = count; i-- > b->slot_count;) {
        slots[i] = (struct slot){.generation = 1, .next_free = b->free_slot};
        b->free_slot = i;
    }
    b->slots = slots;
    b->slot_count = count;
    return true;
}

static void slot_take(struct backend *b, struct op *op)
{
    struct slot *s = &b->slots[b->free_slot];

    op->slot = b->free_slot;
    b->free_slot = s->next_free;
    s->op = op;
}

static void slot_free(struct backend *b, uint32_t i)
{
    struct slot *s = &b->slots[i];

    s->op = NULL;
    if (!++s->generation)
        s->generation = 1;
    s->next_free = b->free_slot;
    b->free_slot = i;
}

static uint64_t name_of(const struct backend *b, const struct op *op)
{
    return (uint64_t)b->slots[op->slot].generation << 32 | op->slot;
}

/* NULL: nobody any more. */
static struct op *op_named(const struct backend *b, uint64_t user_data)
{
    uint32_t i = (uint32_t)user_data;

    if (i >= b->slot_count || b->slots[i].generation != user_data >> 32)
        return NULL;
    return b->slots[i].op;
}

/* --- Submitting ------------------------------------------------------------------------------ */

static void prepare(struct io_uring_sqe *sqe, const struct op *op)
{
    const struct msghdr *msg = op->ptr;
    const uint64_t offset = (uint64_t)op->offset; /* -1: the descriptor's own position */
    const unsigned int len = (unsigned int)op->len;
    const int flags = (int)op->flags;

    switch ((enum op_kind)op->kind) {
    case OP_READ:
        io_uring_prep_read(sqe, op->fd, op->ptr, len, offset);
        break;
    case OP_WRITE:
        io_uring_prep_write(sqe, op->fd, op->ptr, len, offset);
        break;
    case OP_READV:
        io_uring_prep_readv(sqe, op->fd, msg->msg_iov, (unsigned int)msg->msg_iovlen, offset);
        break;
    case OP_WRITEV:
        io_uring_prep_writev(sqe, op->fd, msg->msg_iov, (unsigned int)msg->msg_iovlen, offset);
        break;
    case OP_RECV:
        io_uring_prep_recv(sqe, op->fd, op->ptr, op->len, flags);
        if (op->descriptor->drained && !op_is_out_of_band(op))
            sqe->ioprio |= IORING_RECVSEND_POLL_FIRST; /* trying would be in vain */
        break;
    case OP_SEND:
        io_uring_prep_send(sqe, op->fd, op->ptr, op->len, flags);
        break;
    case OP_RECVMSG:
        io_uring_prep_recvmsg(sqe, op->fd, op->ptr, op->flags);
        break;
    case OP_SENDMSG:
        io_uring_prep_sendmsg(sqe, op->fd, op->ptr, op->flags);
        break;
    case OP_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, op->ptr, op->addrlen, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (op->descriptor->drained)
            sqe->ioprio |= IORING_ACCEPT_POLL_FIRST; /* to try makes a socket, in vain */
        break;
    case OP_POLL:
        io_uring_prep_poll_add(sqe, op->fd, op->flags);
        break;
    case OP_CONNECT: /* the core's */
    case OP_PAUSE:   /* the same */
    case OP_CALL:    /* the pool's */
        assert(false);
        io_uring_prep_nop(sqe);
        break;
    }
}

static unsigned int readiness_of(const struct op *op)
{
    if (op_is_out_of_band(op))
        return op->flags & MSG_OOB ? POLLPRI : 0; /* errors are always told */
    return op->writes ? POLLOUT : POLLIN;
}

/* False: no room. */
static bool push(struct backend *b, struct op *op)
{
    struct io_uring_sqe *sqe;

    if (op->slot == NO_SLOT && b->free_slot == NO_SLOT && !add_slots(b))
        return false;
    sqe = coil__ring_sqe(&b->ring);
    if (!sqe)
        return false;
    if (op->slot == NO_SLOT)
        slot_take(b, op);
    if (op->phase == POLLS) {
        io_uring_prep_poll_add(sqe, op->fd, readiness_of(op));
    } else {
        prepare(sqe, op);
        op->phase = ON_RING;
    }
    op->sq_position = b->ring.uring.sq.sqe_tail - 1;
    sqe->user_data = name_of(b, op);
    return true;
}

static void push_or_wait(struct backend *b, struct op *op)
{
    if (push(b, op))
        return;
    op->phase = WAITS_FOR_ROOM;
    list_push_back(&b->waiting, &op->link);
}

static int uring_submit(struct backend *b, struct op *op)
{
    op->slot = NO_SLOT;
    op->phase = WAITS_FOR_ROOM;
    op->link.next = NULL;
    /* Those that wait for room already go first: one direction of one descriptor is one op at a
     * time, so order among ops is not a promise, but nobody shall starve. */
    if (unlikely(!list_empty(&b->waiting)))
        list_push_back(&b->waiting, &op->link);
    else
        push_or_wait(b, op);
    return 0;
}

/* --- Cancelling ------------------------------------------------------------------------------ */

static void push_cancel(struct backend *b, struct op *op)
{
    struct io_uring_sqe *sqe = coil__ring_sqe(&b->ring);

    if (!sqe) {
        b->ask_now = true;
        return;
    }
    io_uring_prep_cancel64(sqe, name_of(b, op), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = TO_NOBODY;
}

/* The kernel has not seen op yet: the entry becomes a no-op that reports to nobody. */
static bool take_back(struct backend *b, struct op *op)
{
    struct io_uring_sq *sq = &b->ring.uring.sq;
    unsigned int head = io_uring_smp_load_acquire(sq->khead);
    struct io_uring_sqe *sqe = &sq->sqes[op->sq_position & *sq->kring_mask];

    /* By its name as well: positions come round again, and an op may wait for long. */
    if (op->sq_position - head >= sq->sqe_tail - head || sqe->user_data != name_of(b, op))
        return false;
    io_uring_prep_nop(sqe);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = TO_NOBODY;
    return true;
}

static bool uring_cancel(struct backend *b, struct op *op)
{
    if (op->phase == WAITS_FOR_ROOM) {
        list_remove(&op->link);
    } else {
        if (list_linked(&op->link))
            return false; /* asked already */
        if (!take_back(b, op)) {
            list_push_front(&b->to_ask, &op->link);
            return false;
        }
    }
    if (op->slot != NO_SLOT)
        slot_free(b, op->slot);
    return true;
}

/* The kernel finds an op by a chain of those whose names hash alike, newest first, and one that was
 * cancelled stays in it until its completion is fetched. With tens of thousands that is a long way;
 * there is none if the newest is asked first, and some at a time. Returns how many were asked. */
static unsigned int ask(struct backend *b)
{
    unsigned int count = 0;
    struct list *n;

    if (likely(list_empty(&b->asking))) {
        if (likely(list_empty(&b->to_ask)))
            return 0;
        list_take(&b->asking, &b->to_ask);
    }
    if (list_empty(&b->asked))
        b->ask_again_at_ns = INT64_MAX;
    b->ask_again_in_ns = 0; /* the alarm is set when it turns out to be needed */
    while (count < ASK_MOST && (n = list_pop_front(&b->asking))) {
        list_push_back(&b->asked, n);
        push_cancel(b, container_of(n, struct op, link));
        count++;
    }
    return count;
}

/* A cancel can miss: its target may stand where the kernel does not look (being handed to a worker,
 * say). So whoever stays silent is asked again, less and less often. Others who are asked meanwhile
 * may set the alarm sooner, never later. */
static void ask_again(struct backend *b)
{
    int64_t now_ns;

    if (likely(list_empty(&b->asked))) {
        b->ask_now = false; /* whom it was for has ended */
        return;
    }
    now_ns = coil__clock_now();
    if (!b->ask_again_in_ns) { /* asked a moment ago, and silent still */
        b->ask_again_in_ns = ASK_AGAIN_NS;
        if (now_ns + ASK_AGAIN_NS < b->ask_again_at_ns)
            b->ask_again_at_ns = now_ns + ASK_AGAIN_NS;
    }
    if (!b->ask_now && now_ns < b->ask_again_at_ns)
        return;
    b->ask_now = false;
    list_for_each(n, &b->asked)
        push_cancel(b, container_of(n, struct op, link));
    if (b->ask_again_in_ns < ASK_AGAIN_MAX_NS)
        b->ask_again_in_ns *= 10;
    b->ask_again_at_ns = now_ns + b->ask_again_in_ns;
}

/* --- Completing ------------------------------------------------------------------------------ */

static void finish(struct backend *b, struct op *op, ssize_t result)
{
    if (list_linked(&op->link))
        list_remove(&op->link); /* from b->to_ask, asking, asked */
    slot_free(b, op->slot);
    coil__op_complete(op, result);
}

static bool is_interruption(int result)
{
    return result == -EINTR || (result <= -KERNEL_RESTART_FIRST && result >= -KERNEL_RESTART_LAST);
}

/* Is there nothing to wait for? Of a file poll says that it is ready, whatever the file says. */
static bool is_final(const struct op *op, int result)
{
    if (op->phase == POLLS)
        return result < 0 && !is_interruption(result);
    return result == -EAGAIN && op->descriptor->kind == FD_FILE;
}

/* Puts op back, to try once more. */
static void once_more(struct backend *b, struct op *op, uint8_t phase)
{
    op->phase = phase;
    push_or_wait(b, op);
}

static bool tells_what_is_left(const struct backend *b, const struct op *op)
{
    if (op->kind == OP_RECV)
        return b->ring.poll_first && op->descriptor->kind == FD_TCP;
    return op->kind == OP_ACCEPT && b->ring.accept_poll_first && op->descriptor->kind == FD_TCP;
}

static void op_answered(struct backend *b, struct op *op, int result, unsigned int flags)
{
    if (unlikely(is_interruption(result) || result == -EAGAIN || op->phase == POLLS)) {
        if (op->asked) { /* nothing has happened yet, and nothing shall */
            finish(b, op, -ECANCELED);
            return;
        }
        if (is_final(op, result)) {
            finish(b, op, result);
            return;
        }
        op->descriptor->drained = false; /* what it says of the socket led to this */
        once_more(b, op, result == -EAGAIN ? POLLS : ON_RING);
        return;
    }
    if (tells_what_is_left(b, op))
        op->descriptor->drained = result > 0 && !(flags & IORING_CQE_F_SOCK_NONEMPTY);
    if (op->kind == OP_POLL && result > 0)
        result = 0;
    finish(b, op, result);
}

static void arm_wake(struct backend *b)
{
    struct io_uring_sqe *sqe = coil__ring_sqe(&b->ring);

    b->wake_armed = sqe;
    if (!sqe)
        return;
    io_uring_prep_read(sqe, b->wake_fd, &b->wake_count, sizeof(b->wake_count), 0);
    sqe->user_data = TO_WAKE;
}

/* The ops of completions to come, and then their tasks: with hundreds of them, none is in the
 * cache. */
#define OPS_AHEAD   8
#define TASKS_AHEAD 4

static inline const struct op *op_of(const struct backend *b, unsigned int at)
{
    const struct io_uring_cq *cq = &b->ring.uring.cq;

    return op_named(b, cq->cqes[at & *cq->kring_mask].user_data);
}

prefetching void prefetch_ahead(const struct backend *b, unsigned int head, unsigned int tail)
{
    const struct op *op;

    if (tail - head > OPS_AHEAD && (op = op_of(b, head + OPS_AHEAD)))
        prefetch_lines(op, 2);
    if (tail - head > TASKS_AHEAD && (op = op_of(b, head + TASKS_AHEAD)) && op_task(op))
        prefetch_lines(op_task(op), 2);
}

static unsigned int reap(struct backend *b)
{
    struct io_uring_cq *cq = &b->ring.uring.cq;
    unsigned int head = *cq->khead;
    unsigned int first = head;
    unsigned int tail = io_uring_smp_load_acquire(cq->ktail);

    for (; head != tail && head - first < REAP_MOST; head++) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & *cq->kring_mask];
        const uint64_t user_data = cqe->user_data;
        const unsigned int flags = cqe->flags;
        const int result = cqe->res;
        struct op *op;

        prefetch_ahead(b, head, tail);
        if (user_data == TO_NOBODY)
            continue;
        if (user_data == TO_WAKE)
            b->wake_armed = false;
        else if ((op = op_named(b, user_data)))
            op_answered(b, op, result, flags);
    }
    io_uring_smp_store_release(cq->khead, head);
    return head - first;
}

static void submit_waiting(struct backend *b)
{
    struct list *n;

    while (unlikely((n = list_pop_front(&b->waiting)))) {
        if (!push(b, container_of(n, struct op, link))) {
            list_push_front(&b->waiting, n);
            return;
        }
    }
}

/* When to be back though nothing has happened: to ask again those that were asked to stop and stay
 * silent; to look for memory again when there was none for a slot. */
static int64_t next_alarm(struct backend *b)
{
    if (unlikely(!list_empty(&b->waiting)))
        return coil__clock_now() + MEMORY_AGAIN_NS;
    return list_empty(&b->asked) ? INT64_MAX : b->ask_again_at_ns;
}

/* One system call, at the most. Deferred completions of which it runs only some (about twenty) are
 * the next turn's: looking for more right here would keep those waiting that are ready already. */
static void uring_wait(struct backend *b, int64_t deadline_ns)
{
    unsigned int asked;
    bool any;

    ask_again(b); /* first: who is asked for the first time is not silent yet */
    asked = ask(b);
    submit_waiting(b);
    if (unlikely(!b->wake_armed))
        arm_wake(b);
    /* What found no room is no reason to sleep: the kernel may have made some. Nor is a cancel that
     * goes in only now: mostly it is answered at once, and spares us setting an alarm. */
    any = reap(b) || b->ask_now || asked || !b->wake_armed ||
          (!list_empty(&b->waiting) && b->free_slot != NO_SLOT);
    if (!any && deadline_ns) {
        int64_t alarm_ns = next_alarm(b);

        coil__ring_wait(&b->ring, alarm_ns < deadline_ns ? alarm_ns : deadline_ns);
    } else if (asked || coil__ring_has_events(&b->ring)) {
        coil__ring_get_events(&b->ring, asked);
    } else if (coil__ring_queued(&b->ring)) {
        coil__ring_submit(&b->ring);
    } else {
        return;
    }
    reap(b);
}

static void uring_wake(struct backend *b)
{
    const uint64_t one = 1;
    ssize_t ignored = write(b->wake_fd, &one, sizeof(one));

    (void)ignored; /* a full counter wakes as well */
}

/* --- Opening and closing --------------------------------------------------------------------- */

static int uring_open(struct backend **ret, const struct backend_config *config,
                      struct backend_reason *why)
{
    struct backend *b = config->allocate(config->allocate_ctx, NULL, sizeof(*b));
    int r = -ENOMEM;

    snprintf(why->text, sizeof(why->text), "io_uring: out of memory");
    if (!b)
        return r;
    memset(b, 0, sizeof(*b));
    list_init(&b->waiting);
    list_init(&b->to_ask);
    list_init(&b->asking);
    list_init(&b->asked);
    b->free_slot = NO_SLOT;
    b->allocate = config->allocate;
    b->allocate_ctx = config->allocate_ctx;
    if (!add_slots(b))
        goto fail_slots;
    b->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (b->wake_fd < 0) {
        r = -errno;
        snprintf(why->text, sizeof(why->text), "io_uring: eventfd: %s", strerror(errno));
        goto fail_eventfd;
    }
    r = coil__ring_open(&b->ring, config, why);
    if (r < 0)
        goto fail_ring;
    *ret = b;
    return 0;

fail_ring:
    close(b->wake_fd);
fail_eventfd:
    b->allocate(b->allocate_ctx, b->slots, 0);
fail_slots:
    config->allocate(config->allocate_ctx, b, 0);
    return r;
}

/* The read of the eventfd is the last operation: it must end before its buffer goes. */
static void retire_wake(struct backend *b)
{
    uring_wake(b);
    while (b->wake_armed) {
        coil__ring_wait(&b->ring, INT64_MAX);
        reap(b);
    }
}

static void uring_close(struct backend *b)
{
    assert(list_empty(&b->waiting));
    assert(list_empty(&b->to_ask));
    assert(list_empty(&b->asking));
    assert(list_empty(&b->asked));

    if (b->wake_armed)
        retire_wake(b);
    coil__ring_close(&b->ring);
    close(b->wake_fd);
    b->allocate(b->allocate_ctx, b->slots, 0);
    b->allocate(b->allocate_ctx, b, 0);
}

const struct coil__backend_ops coil__uring_ops = {
    .name = "io_uring",
    .readiness = false,
    .open = uring_open,
    .close = uring_close,
    .now = backend_real_now,
    .tick = backend_real_tick,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .wait = uring_wait,
    .wake = uring_wake,
};
