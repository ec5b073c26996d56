/* ring.c - setup with its ladder of flags and sizes, the self-test, and io_uring_enter. */
#define _GNU_SOURCE
#include "ring.h"

#include "../core/sched/context.h"

#ifdef CONTEXT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SQ_DEFAULT    256
#define CQ_DEFAULT    4096
#define SQ_LEAST      16 /* unless asked for less: every turn would be a string of flushes */
#define SELF_TEST_NS  1000000000
#define WORKERS_BOUND 4  /* io-wq threads for files */
#define WORKERS_FREE  16 /* and for what may take forever */

/* Deferred completions that an enter fetches when it need not wait for more. */
#define TASK_WORK_AN_ENTER 20

/* Each is dropped in turn when the kernel says EINVAL, as it does to flags that it does not know:
 * before Linux 5.6, to all of these. */
static const unsigned int setup_ladder[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,                                                     /* Linux 6.1 */
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL, /* 5.19 */
    IORING_SETUP_SUBMIT_ALL,                                                         /* 5.18 */
    0,
};

static const unsigned int features_needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
                                            IORING_FEAT_RW_CUR_POS | IORING_FEAT_FAST_POLL |
                                            IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;

static const uint8_t opcodes_needed[] = {
    IORING_OP_NOP,     IORING_OP_READ,   IORING_OP_WRITE,    IORING_OP_READV,
    IORING_OP_WRITEV,  IORING_OP_RECV,   IORING_OP_SEND,     IORING_OP_RECVMSG,
    IORING_OP_SENDMSG, IORING_OP_ACCEPT, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL,
};

/* liburing maps and unmaps with system calls that TSan does not see: without a word it takes the
 * memory of a new ring for that of an old one, of another thread, at the same address. The old one
 * may be of another copy of the library, so the order hangs on what all copies share. */
#ifdef CONTEXT_TSAN
#define TSAN_RING_OPENED() __tsan_acquire(&environ)
#define TSAN_RING_CLOSES() __tsan_release(&environ)
#else
#define TSAN_RING_OPENED() ((void)0)
#define TSAN_RING_CLOSES() ((void)0)
#endif

static void say(struct backend_reason *why, const char *words)
{
    snprintf(why->text, sizeof(why->text), "%s", words);
}

static int open_with(struct ring *r, unsigned int sq, unsigned int cq)
{
    int result = -EINVAL;

    for (size_t i = 0; i < count_of(setup_ladder) && result == -EINVAL; i++) {
        struct io_uring_params p = {
            .flags = setup_ladder[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = cq,
        };

        result = io_uring_queue_init_params(sq, &r->uring, &p);
        TSAN_RING_OPENED();
        r->setup = p.flags;
    }
    return result;
}

/* The kernel charges rings to RLIMIT_MEMLOCK (until 5.11, and again from 6.14), and gives back what
 * a closed ring held only some time later: halve until it fits. */
static int open_fitting(struct ring *r, unsigned int sq, unsigned int cq,
                        struct backend_reason *why)
{
    int result;

    while ((result = open_with(r, sq, cq)) == -ENOMEM && sq / 2 >= SQ_LEAST) {
        sq /= 2;
        cq /= 2;
        snprintf(why->text, sizeof(why->text),
                 "preferred, and its self-test passed; queues cut to %u and %u by RLIMIT_MEMLOCK",
                 sq, cq);
    }
    return result;
}

/* What kernel.io_uring_disabled says: 0, 1, 2; -1: no such setting (before Linux 6.6). */
static int disabled_by_sysctl(void)
{
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    char digit = '?';

    if (fd < 0)
        return -1;
    if (read(fd, &digit, 1) != 1)
        digit = '?';
    close(fd);
    return digit >= '0' && digit <= '2' ? digit - '0' : -1;
}

static void explain(int error, struct backend_reason *why)
{
    int sysctl;

    switch (error) {
    case -EPERM:
    case -EACCES:
        sysctl = disabled_by_sysctl();
        if (sysctl > 0)
            snprintf(why->text, sizeof(why->text),
                     "io_uring_setup: EPERM, kernel.io_uring_disabled is %d", sysctl);
        else
            say(why, "io_uring_setup: EPERM, likely seccomp");
        break;
    case -ENOSYS:
        say(why, "io_uring_setup: ENOSYS, not in this kernel or kept out by seccomp");
        break;
    case -EINVAL:
        say(why,
            "io_uring_setup: EINVAL, this kernel's is too old (Linux 5.17 has what is needed)");
        break;
    case -ENOMEM:
        say(why, "io_uring_setup: ENOMEM, RLIMIT_MEMLOCK is too small");
        break;
    default:
        snprintf(why->text, sizeof(why->text), "io_uring_setup: %s", strerror(-error));
    }
}

static int check_kernel(struct ring *r, struct backend_reason *why)
{
    struct io_uring_probe *probe;
    int result = 0;

    if ((r->uring.features & features_needed) != features_needed) {
        say(why, "io_uring: this kernel's is too old (Linux 5.17 has what is needed)");
        return -ENOSYS;
    }
    probe = io_uring_get_probe_ring(&r->uring);
    if (!probe) {
        say(why, "io_uring_register: refused, likely seccomp");
        return -EPERM;
    }
    for (size_t i = 0; i < count_of(opcodes_needed); i++) {
        if (!io_uring_opcode_supported(probe, opcodes_needed[i])) {
            snprintf(why->text, sizeof(why->text), "io_uring: operation %u is missing",
                     opcodes_needed[i]);
            result = -ENOSYS;
        }
    }
    io_uring_free_probe(probe);
    return result;
}

/* A no-op there and back: setup may work where entering is filtered. */
static int self_test(struct ring *r, struct backend_reason *why)
{
    struct __kernel_timespec limit = {.tv_nsec = SELF_TEST_NS - 1};
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
    struct io_uring_cqe *cqe = NULL;
    int result;

    io_uring_prep_nop(sqe);
    result = io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, &limit, NULL);
    if (result < 0 || !cqe) {
        snprintf(why->text, sizeof(why->text), "io_uring_enter: %s",
                 result < 0 ? strerror(-result) : "a no-op did not come back");
        return result < 0 && result != -ETIME ? result : -ENOSYS;
    }
    io_uring_cqe_seen(&r->uring, cqe);
    return 0;
}

int coil__ring_open(struct ring *r, const struct backend_config *config, struct backend_reason *why)
{
    unsigned int sq = config->sq_entries ? config->sq_entries : SQ_DEFAULT;
    unsigned int cq = config->cq_entries ? config->cq_entries : CQ_DEFAULT;
    unsigned int workers[2] = {WORKERS_BOUND, WORKERS_FREE};
    int result;

    say(why, "preferred, and its self-test passed");
    result = open_fitting(r, sq, cq < sq ? sq : cq, why);
    if (result < 0) {
        explain(result, why);
        return result == -EINVAL ? -ENOSYS : result; /* it knows none of our ways */
    }
    result = check_kernel(r, why);
    if (result >= 0)
        result = self_test(r, why);
    if (result < 0) {
        coil__ring_close(r);
        return result;
    }

    io_uring_ring_dontfork(&r->uring); /* a child's copy would keep our sockets alive */
    io_uring_register_iowq_max_workers(&r->uring, workers);
    r->enter = IORING_ENTER_EXT_ARG;
    r->enter_fd = r->uring.ring_fd;
    if (io_uring_register_ring_fd(&r->uring) == 1) { /* at most 16 a thread: a help, not a need */
        r->enter |= IORING_ENTER_REGISTERED_RING;
        r->enter_fd = r->uring.enter_ring_fd;
    }
    r->absolute = r->uring.features & IORING_FEAT_MIN_TIMEOUT;
    if (r->absolute)
        r->enter |= IORING_ENTER_ABS_TIMER;
    r->poll_first = r->setup & IORING_SETUP_TASKRUN_FLAG; /* it came with the same kernel */
    r->accept_poll_first = r->uring.features & IORING_FEAT_RECVSEND_BUNDLE; /* likewise */
    if (r->uring.features & IORING_FEAT_NO_IOWAIT)
        r->enter |= IORING_ENTER_NO_IOWAIT;
    return 0;
}

void coil__ring_close(struct ring *r)
{
    TSAN_RING_CLOSES();
    io_uring_queue_exit(&r->uring);
}

unsigned int coil__ring_queued(const struct ring *r)
{
    return r->uring.sq.sqe_tail - io_uring_smp_load_acquire(r->uring.sq.khead);
}

/* Makes the queued entries visible to the kernel. */
static unsigned int publish(struct ring *r)
{
    struct io_uring_sq *sq = &r->uring.sq;

    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    sq->sqe_head = sq->sqe_tail;
    return coil__ring_queued(r);
}

/* Out of memory, a full completion queue, a signal, time up: whatever did not go in or come out
 * does so next time. Only a lost completion cannot be survived, since some task waits for it with
 * its buffers lent out. */
static void enter(struct ring *r, unsigned int least, unsigned int flags, void *arg, size_t size)
{
    int result = io_uring_enter2((unsigned int)r->enter_fd, publish(r), least, flags, arg, size);

    if (unlikely(result == -EBADR))
        coil__die("io_uring_enter: EBADR, the kernel ran out of memory and lost a completion");
}

/* Without GETEVENTS: entries go in, nothing comes out, so no task work runs under our feet. */
void coil__ring_submit(struct ring *r)
{
    enter(r, 0, r->enter & IORING_ENTER_REGISTERED_RING, NULL, 0);
}

/* Fetches so many completions before the deadline, if there are that many. */
static void enter_until(struct ring *r, unsigned int least, int64_t deadline_ns)
{
    struct __kernel_timespec until;
    struct io_uring_getevents_arg arg = {.sigmask_sz = _NSIG / 8};

    if (deadline_ns != INT64_MAX) {
        int64_t ns = r->absolute ? deadline_ns : deadline_ns - coil__clock_now();

        if (ns < 0)
            ns = 0;
        until.tv_sec = ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        arg.ts = (uint64_t)(uintptr_t)&until;
    }
    enter(r, least, r->enter | IORING_ENTER_GETEVENTS, &arg, sizeof(arg));
}

void coil__ring_get_events(struct ring *r, unsigned int count)
{
    if (unlikely(count > TASK_WORK_AN_ENTER))
        enter_until(r, count, 0);
    else
        enter(r, 0, (r->enter & IORING_ENTER_REGISTERED_RING) | IORING_ENTER_GETEVENTS, NULL,
              _NSIG / 8);
}

void coil__ring_wait(struct ring *r, int64_t deadline_ns)
{
    enter_until(r, 1, deadline_ns);
}

struct io_uring_sqe *coil__ring_sqe(struct ring *r)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

    if (unlikely(!sqe)) {
        coil__ring_submit(r);
        sqe = io_uring_get_sqe(&r->uring);
    }
    return sqe;
}

bool coil__ring_has_events(const struct ring *r)
{
    unsigned int flags = IO_URING_READ_ONCE(*r->uring.sq.kflags);

    return flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW) ||
           !(r->setup & IORING_SETUP_TASKRUN_FLAG);
}
