/* ring.c - io_uring at its worst: no room, cancels that miss, completions for nobody. What a kernel
 * does once in a million, done here on demand, by standing between the library and its system
 * call. */
#define _GNU_SOURCE
#include "inside.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../core/op.h"
#include "../uring/ring.h"
#include "supply.h"

static int refusals; /* so many calls to come are refused, */
static int refuse_with = -EBUSY;
static int misses;       /* so many cancels to come are lost in the kernel, */
static uint64_t missed;  /* the last of them was for this one, */
static int asked_again;  /* which has been asked again so many times, */
static int spoils;       /* so many reads to come do nothing, */
static int spoil_with;   /* and answer this, */
static int holds;        /* so many reads to come wait for this descriptor instead, */
static int hold_fd;
static int cancel_with;      /* and who is cancelled says this, if not 0 */
static uint64_t spoilt;      /* the name of a read that was */
static int poll_firsts;      /* so many receives, or accepts, were to wait before they try */
static atomic_bool to_sleep; /* a call was to wait for something to happen */

static struct ring *our_ring(void)
{
    return (struct ring *)coil__here.loop->backend; /* its first member */
}

static void hold(struct io_uring_sqe *sqe)
{
    const uint64_t user_data = sqe->user_data;

    io_uring_prep_poll_add(sqe, hold_fd, POLLIN);
    sqe->user_data = user_data;
    holds--;
}

static void meddle(struct io_uring_sqe *sqe)
{
    const bool is_op = sqe->user_data >> 32;
    const bool reads = sqe->opcode == IORING_OP_RECV || sqe->opcode == IORING_OP_READ;

    poll_firsts += (sqe->opcode == IORING_OP_RECV && sqe->ioprio & IORING_RECVSEND_POLL_FIRST) ||
                   (sqe->opcode == IORING_OP_ACCEPT && sqe->ioprio & IORING_ACCEPT_POLL_FIRST);
    if (sqe->opcode == IORING_OP_ASYNC_CANCEL && misses) {
        sqe->opcode = IORING_OP_NOP;
        missed = sqe->addr;
        misses--;
    } else if (sqe->opcode == IORING_OP_ASYNC_CANCEL && sqe->addr == missed) {
        asked_again++;
    } else if (is_op && reads && holds) {
        hold(sqe);
    } else if (is_op && reads && spoils && !spoilt) {
        sqe->opcode = IORING_OP_NOP;
        spoilt = sqe->user_data;
        spoils--;
    }
}

static void meddle_with_entries(void)
{
    struct io_uring_sq *sq = &our_ring()->uring.sq;

    for (unsigned int i = *sq->khead; i != *sq->ktail; i++)
        meddle(&sq->sqes[i & *sq->kring_mask]);
}

static void meddle_with_answers(void)
{
    struct io_uring_cq *cq = &our_ring()->uring.cq;

    for (unsigned int i = *cq->khead; i != *cq->ktail; i++) {
        struct io_uring_cqe *cqe = &cq->cqes[i & *cq->kring_mask];

        if (spoilt && cqe->user_data == spoilt) {
            cqe->res = spoil_with;
            spoilt = 0;
        } else if (cqe->user_data >> 32 && cqe->res == -ECANCELED && cancel_with) {
            cqe->res = cancel_with;
        }
    }
}

/* In liburing's stead. */
int io_uring_enter2(unsigned int fd, unsigned int to_submit, unsigned int min_complete,
                    unsigned int flags, sigset_t *sig, size_t size)
{
    long r;

    if (refusals) {
        refusals--;
        return refuse_with;
    }
    if (coil__here.loop && coil__here.loop->backend)
        meddle_with_entries();
    if (min_complete)
        atomic_store(&to_sleep, true);
    r = syscall(SYS_io_uring_enter, fd, to_submit, min_complete, flags, sig, size);
    if (r < 0)
        r = -errno;
    if (coil__here.loop && coil__here.loop->backend)
        meddle_with_answers();
    return (int)r;
}

struct receiver {
    struct coil_handle handle;
    int fd;
    int result;
    char byte;
};

static int receive_one(void *arg)
{
    struct receiver *r = arg;

    r->result = (int)coil_recv(r->fd, &r->byte, 1, 0);
    return r->result;
}

static void spawn_receiver(struct coil_group *g, struct receiver *r, int fd)
{
    const struct coil_spawn_options options = {.handle = &r->handle};

    *r = (struct receiver){.fd = fd, .result = 1};
    CHECK_EQ(coil_group_spawn_with(g, receive_one, r, &options), 0);
}

static void need_ring(void)
{
    const char *backend = getenv("COIL_BACKEND");

    if (!backend || strcmp(backend, "io_uring") != 0)
        SKIP("io_uring's own");
}

/* With a queue that is soon full. */
#define RING_TEST(name_)                                                                           \
    COIL_TEST_WITH_(ring, name_, need_ring(); options_.sq_entries = 4; options_.cq_entries = 8;    \
                    options_.shuffle_seed = 0)

RING_TEST(a_cancel_that_finds_no_room_is_sent_later)
{
    struct receiver receivers[6];
    struct coil_group g;
    int ends[6][2];

    for (int i = 0; i < 6; i++)
        wire_open(WIRE_UNIX, ends[i]);
    coil_group_begin(&g);
    spawn_receiver(&g, &receivers[0], ends[0][0]);
    CHECK_EQ(coil_checkpoint(), 0);
    inside_look(); /* the kernel has it */
    for (int i = 1; i < 6; i++)
        spawn_receiver(&g, &receivers[i], ends[i][0]);
    refusals = 1000;
    coil_yield_shielded(); /* the queue is full now, and stays so */
    CHECK_EQ(coil__ring_queued(our_ring()), 4);
    coil_task_cancel(&receivers[0].handle, NULL);
    inside_look();
    CHECK(refusals < 1000);
    refusals = 0;
    CHECK_EQ(coil_task_wait(&receivers[0].handle), 0);
    CHECK_EQ(receivers[0].result, -ECANCELED);
    for (int i = 1; i < 6; i++)
        CHECK_EQ(write(ends[i][1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 6; i++) {
        if (i)
            CHECK_EQ(receivers[i].result, 1);
        wire_close(ends[i]);
    }
}

RING_TEST(whoever_stays_silent_is_asked_again)
{
    struct receiver r;
    struct coil_group g;
    int ends[2];

    wire_open(WIRE_UNIX, ends);
    coil_group_begin(&g);
    spawn_receiver(&g, &r, ends[0]);
    CHECK_EQ(coil_checkpoint(), 0);
    inside_look();
    misses = 2;
    coil_task_cancel(&r.handle, NULL);
    CHECK_EQ(coil_task_wait(&r.handle), 0);
    CHECK_EQ(misses, 0);
    CHECK_EQ(r.result, -ECANCELED);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    wire_close(ends);
}

/* In each turn somebody else is asked for the first time. */
RING_TEST(whoever_stays_silent_is_asked_again_though_there_is_always_somebody_new_to_ask)
{
    struct loop *loop = coil__here.loop;
    struct receiver r[8];
    struct coil_group g;
    int ends[8][2];

    coil_group_begin(&g);
    for (int i = 0; i < 8; i++) {
        wire_open(WIRE_UNIX, ends[i]);
        spawn_receiver(&g, &r[i], ends[i][0]);
        CHECK_EQ(coil_checkpoint(), 0);
        inside_look();
    }
    misses = 1;
    for (int i = 0; i < 8; i++) {
        const int64_t until_ns = coil_now() + COIL_MILLISECOND; /* the time after which it is */

        coil_task_cancel(&r[i].handle, NULL);
        loop->ops->wait(loop->backend, 0);
        while (coil_now() < until_ns)
            sched_yield();
    }
    CHECK_EQ(misses, 0);
    CHECK(asked_again);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(r[i].result, -ECANCELED);
        wire_close(ends[i]);
    }
}

/* What the kernel knows the op by that is on its way as the last entry of the queue. */
static uint64_t last_name(void)
{
    struct io_uring_sq *sq = &our_ring()->uring.sq;

    return sq->sqes[(sq->sqe_tail - 1) & *sq->kring_mask].user_data;
}

RING_TEST(a_completion_for_who_has_gone_is_nobody_elses)
{
    struct receiver r;
    struct coil_group g;
    struct io_uring_sqe *sqe;
    uint64_t name;
    int ends[2];

    wire_open(WIRE_UNIX, ends);
    coil_group_begin(&g);
    spawn_receiver(&g, &r, ends[0]);
    coil__here.loop->ops->wait(coil__here.loop->backend, 0); /* the queue is empty */
    CHECK_EQ(coil_checkpoint(), 0);
    name = last_name();
    CHECK_EQ(write(ends[1], "a", 1), 1);
    CHECK_EQ(coil_task_wait(&r.handle), 0);
    CHECK_EQ(r.byte, 'a');

    spawn_receiver(&g, &r, ends[0]); /* in the same slot */
    CHECK_EQ(coil_checkpoint(), 0);
    CHECK_EQ((uint32_t)last_name(), (uint32_t)name);
    sqe = coil__ring_sqe(our_ring());
    io_uring_prep_nop(sqe);
    sqe->user_data = name;
    inside_look();
    coil_yield_shielded();
    CHECK_EQ(r.result, 1);
    CHECK_EQ(coil_task_status(&r.handle), COIL_STATUS_RUNNING);
    CHECK_EQ(write(ends[1], "b", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r.result, 1);
    CHECK_EQ(r.byte, 'b');
    wire_close(ends);
}

/* Of two positions it says which came first only if they are near each other. The op is made to
 * look as old as it would be after 2^31 others. */
RING_TEST(who_waited_while_billions_of_others_went_is_cancelled_all_the_same)
{
    struct receiver r;
    struct coil_group g;
    struct descriptor *d;
    int ends[2];

    wire_open(WIRE_UNIX, ends);
    coil_group_begin(&g);
    spawn_receiver(&g, &r, ends[0]);
    CHECK_EQ(coil_checkpoint(), 0);
    inside_look(); /* the kernel has it */
    d = descriptor_known(&coil__here.loop->descriptors, ends[0]);
    CHECK(d && d->ops && d->ops->state == OP_PENDING);
    d->ops->sq_position -= 0x80000100u;
    coil_task_cancel(&r.handle, NULL);
    CHECK_EQ(coil__here.loop->operations, 1); /* the kernel is asked, and has not answered */
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r.result, -ECANCELED);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    inside_look();
    CHECK_EQ(recv(ends[0], &r.byte, 1, MSG_DONTWAIT), 1); /* nothing was lost */
    wire_close(ends);
}

/* A cancel that found no room, even in the next turn, and then was not needed any more. */
RING_TEST(a_loop_sleeps_after_a_cancel_that_found_no_room_was_overtaken)
{
    struct receiver receivers[6];
    struct coil_stats before, after;
    struct coil_group g;
    int ends[6][2];

    for (int i = 0; i < 6; i++)
        wire_open(WIRE_UNIX, ends[i]);
    coil_group_begin(&g);
    spawn_receiver(&g, &receivers[0], ends[0][0]);
    CHECK_EQ(coil_checkpoint(), 0);
    inside_look(); /* the kernel has it */
    for (int i = 1; i < 6; i++)
        spawn_receiver(&g, &receivers[i], ends[i][0]);
    refusals = 1000;
    coil_yield_shielded(); /* the queue is full now, and stays so */
    CHECK_EQ(write(ends[0][1], "x", 1), 1);
    coil_task_cancel(&receivers[0].handle, NULL);
    refusals = 1; /* the cancel's own */
    inside_enter();
    CHECK_EQ(coil_task_wait(&receivers[0].handle), 0);
    CHECK_EQ(receivers[0].result, 1);
    refusals = 0;
    CHECK_EQ(coil_sleep(COIL_MILLISECOND), 0);
    CHECK_EQ(coil_loop_stats(&before), 0);
    CHECK_EQ(coil_sleep(20 * COIL_MILLISECOND), 0);
    CHECK_EQ(coil_loop_stats(&after), 0);
    CHECK(after.turns - before.turns < 20);
    for (int i = 1; i < 6; i++)
        CHECK_EQ(write(ends[i][1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 6; i++)
        wire_close(ends[i]);
}

/* Poll says of it that it is ready. Blocking or not, as it was opened: one more attempt. */
RING_TEST(a_file_that_says_eagain_is_read_by_a_thread)
{
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        struct coil_stats before, after;
        char buf[5] = "";
        int fd = open("/proc/self/status", O_RDONLY | flags);

        CHECK(fd >= 0);
        spoils = 1000000;
        spoil_with = -EAGAIN;
        CHECK_EQ(coil_loop_stats(&before), 0);
        CHECK_EQ(coil_pread(fd, buf, sizeof(buf), 0), sizeof(buf));
        CHECK_EQ(coil_loop_stats(&after), 0);
        CHECK_EQ(memcmp(buf, "Name:", 5), 0);
        CHECK_EQ(spoils, 1000000 - 1);
        CHECK(after.turns - before.turns < 100);
        spoils = 0;
        CHECK_EQ(coil_close(fd), 0);
    }
}

static void receive_twice(void)
{
    struct receiver r;
    struct coil_group g;
    int ends[2];

    wire_open(WIRE_TCP, ends);
    for (int i = 0; i < 2; i++) {
        coil_group_begin(&g);
        spawn_receiver(&g, &r, ends[0]);
        CHECK_EQ(coil_checkpoint(), 0);
        inside_look();
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(r.result, 1);
    }
    wire_close(ends);
}

RING_TEST(a_socket_that_was_emptied_is_waited_for_before_it_is_tried)
{
    receive_twice();
    CHECK_EQ(poll_firsts, harness_kernel_before(5, 19) ? 0 : 1);
}

/* Which refuses such an entry. */
COIL_TEST_WITH_(ring, a_kernel_before_5_19_is_not_asked_to_wait_before_it_tries, need_ring();
                setenv("COIL_TEST_KERNEL", "5.18", 1))
{
    receive_twice();
    CHECK_EQ(poll_firsts, 0);
}

static void accept_one(int listener)
{
    int fd = coil_accept(listener, NULL, NULL);

    CHECK(fd >= 0);
    CHECK_EQ(coil_close(fd), 0);
}

/* Who comes in between is there when the wait begins. */
RING_TEST(a_listener_that_was_emptied_is_waited_for_before_it_is_tried)
{
    const int emptied = harness_kernel_before(6, 10) ? 0 : 1;
    struct sockaddr_in addr;
    int listener = wire_listen(4, &addr);
    int clients[4];

    clients[0] = wire_connect(&addr);
    clients[1] = wire_connect(&addr);
    accept_one(listener);
    accept_one(listener); /* there was one left, as the kernel said */
    CHECK_EQ(poll_firsts, 0);
    for (int i = 2; i < 4; i++) {
        clients[i] = wire_connect(&addr);
        accept_one(listener);
        CHECK_EQ(poll_firsts, (i - 1) * emptied);
    }
    for (int i = 0; i < 4; i++)
        close(clients[i]);
    CHECK_EQ(coil_close(listener), 0);
}

/* --- Interrupted: the kernel's own affair ----------------------------------------------------- */

static const int interruptions[] = {-EINTR, -KERNEL_RESTART_FIRST, -KERNEL_RESTART_LAST};

RING_TEST(who_was_interrupted_in_the_kernel_begins_anew)
{
    for (size_t i = 0; i < count_of(interruptions); i++) {
        struct receiver r;
        struct coil_group g;
        int ends[2];

        wire_open(WIRE_UNIX, ends);
        spoils = 2;
        spoil_with = interruptions[i];
        coil_group_begin(&g);
        spawn_receiver(&g, &r, ends[0]);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(spoils, 0);
        CHECK_EQ(r.result, 1);
        wire_close(ends);
    }
}

RING_TEST(who_was_interrupted_by_a_cancel_was_cancelled)
{
    for (size_t i = 0; i < count_of(interruptions); i++) {
        struct receiver r;
        struct coil_group g;
        int ends[2];

        wire_open(WIRE_UNIX, ends);
        cancel_with = interruptions[i];
        coil_group_begin(&g);
        spawn_receiver(&g, &r, ends[0]);
        CHECK_EQ(coil_checkpoint(), 0);
        inside_look(); /* the kernel has it */
        coil_task_cancel(&r.handle, NULL);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(r.result, -ECANCELED);
        wire_close(ends);
    }
}

/* --- Reads of files, cancelled ---------------------------------------------------------------- */

struct file_reader {
    struct coil_handle handle;
    int fd;
    int result;
    char buf[8];
};

static int read_some(void *arg)
{
    struct file_reader *r = arg;

    r->result = (int)coil_pread(r->fd, r->buf, sizeof(r->buf), 2);
    return 0;
}

static void spawn_file_reader(struct coil_group *g, struct file_reader *r)
{
    const struct coil_spawn_options options = {.handle = &r->handle};

    *r = (struct file_reader){.fd = memfd_create("ten", 0), .buf = "untouch"};
    CHECK(r->fd >= 0);
    CHECK_EQ(write(r->fd, "0123456789", 10), 10);
    CHECK_EQ(coil_group_spawn_with(g, read_some, r, &options), 0);
    CHECK_EQ(coil_checkpoint(), 0);
}

/* As one of a slow disk is. */
RING_TEST(a_read_at_an_offset_that_the_kernel_is_at_is_cancelled)
{
    for (int lost = 0; lost < 3; lost++) {
        struct file_reader r;
        struct coil_group g;
        int ends[2];

        wire_open(WIRE_PIPE, ends);
        hold_fd = ends[0];
        holds = 1;
        coil_group_begin(&g);
        spawn_file_reader(&g, &r);
        inside_look(); /* the kernel has it */
        CHECK_EQ(holds, 0);
        misses = lost;
        coil_task_cancel(&r.handle, NULL);
        CHECK_EQ(coil__here.loop->operations, 1);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        CHECK_EQ(misses, 0);
        CHECK_EQ(r.result, -ECANCELED);
        CHECK_EQ(memcmp(r.buf, "untouch", 8), 0);
        CHECK_EQ(coil_close(r.fd), 0);
        close(ends[0]);
        close(ends[1]);
    }
}

/* The kernel says ENOENT to the cancel, and that is not evidence of anything. */
RING_TEST(a_read_at_an_offset_that_the_kernel_has_done_is_read_though_a_cancel_came)
{
    struct coil_stats before, after;
    struct file_reader r;
    struct coil_group g;

    CHECK_EQ(coil_loop_stats(&before), 0);
    coil_group_begin(&g);
    spawn_file_reader(&g, &r);
    coil__ring_submit(our_ring());
    while (!io_uring_cq_ready(&our_ring()->uring))
        inside_enter(); /* a worker may be at it */
    coil_task_cancel(&r.handle, NULL);
    CHECK_EQ(coil__here.loop->operations, 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r.result, 8);
    CHECK_EQ(memcmp(r.buf, "23456789", 8), 0);
    CHECK_EQ(coil_loop_stats(&after), 0);
    CHECK_EQ(after.late_results - before.late_results, 1);
    CHECK_EQ(coil_close(r.fd), 0);
}

/* --- No room ---------------------------------------------------------------------------------- */

static void fill_the_queue(struct coil_group *g, struct receiver receivers[4], int ends[4][2])
{
    for (int i = 0; i < 4; i++)
        spawn_receiver(g, &receivers[i], ends[i][0]);
    refusals = 1000;
    coil_yield_shielded();
    CHECK_EQ(coil__ring_queued(our_ring()), 4);
}

/* Positions are counted in 32 bits. The op is made to look as old as it would be after 2^32 others,
 * of which the newest is in the queue. */
RING_TEST(who_waited_until_its_place_came_round_takes_back_nobody_elses)
{
    struct receiver receivers[2];
    struct descriptor *d[2];
    struct coil_group g;
    int ends[2][2];

    coil_group_begin(&g);
    for (int i = 0; i < 2; i++) {
        wire_open(WIRE_UNIX, ends[i]);
        spawn_receiver(&g, &receivers[i], ends[i][0]);
        refusals = i ? 1000 : 0;
        coil_yield_shielded();
        inside_look(); /* the kernel has the first, and not the second */
        d[i] = descriptor_known(&coil__here.loop->descriptors, ends[i][0]);
        CHECK(d[i] && d[i]->ops);
    }
    CHECK_EQ(coil__ring_queued(our_ring()), 1);
    d[0]->ops->sq_position = d[1]->ops->sq_position;
    coil_task_cancel(&receivers[0].handle, NULL);
    CHECK_EQ(coil__here.loop->operations, 2);
    refusals = 0;
    CHECK_EQ(write(ends[1][1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(receivers[0].result, -ECANCELED);
    CHECK_EQ(receivers[1].result, 1);
    for (int i = 0; i < 2; i++)
        wire_close(ends[i]);
}

static int refuse_no_more(void *arg)
{
    (void)arg;
    refusals = 0;
    return 0;
}

RING_TEST(who_comes_later_does_not_overtake_who_waits_for_room)
{
    struct receiver receivers[6];
    struct coil_group g;
    int ends[6][2];

    for (int i = 0; i < 6; i++)
        wire_open(WIRE_UNIX, ends[i]);
    coil_group_begin(&g);
    fill_the_queue(&g, receivers, ends);
    spawn_receiver(&g, &receivers[4], ends[4][0]); /* it finds no room, */
    CHECK_EQ(coil_group_spawn(&g, refuse_no_more, NULL), 0);
    spawn_receiver(&g, &receivers[5], ends[5][0]); /* and this one could make some */
    coil_yield_shielded();
    CHECK_EQ(refusals, 0);
    CHECK_EQ(coil__ring_queued(our_ring()), 4);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(write(ends[i][1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(receivers[i].result, 1);
        wire_close(ends[i]);
    }
}

static void *cancel_when_it_sleeps(void *scope)
{
    while (!atomic_load(&to_sleep))
        sched_yield();
    coil_scope_cancel(scope, NULL);
    return NULL;
}

/* Without it, no other thread could wake the loop. */
RING_TEST(a_loop_that_found_no_room_to_listen_for_wakes_does_not_sleep)
{
    struct receiver receivers[4];
    struct coil_scope s;
    struct coil_group g;
    struct loop *loop = coil__here.loop;
    pthread_t thread;
    int ends[4][2];

    for (int i = 0; i < 4; i++)
        wire_open(WIRE_UNIX, ends[i]);
    inside_look(); /* the kernel has the read that wakes us, */
    coil_scope_prepare(&s);
    coil_scope_begin_prepared(&s, COIL_FOREVER);
    coil_group_begin(&g);
    fill_the_queue(&g, receivers, ends);
    loop->ops->wake(loop->backend);
    inside_enter(); /* which is done now; */
    refusals = 2;   /* a turn to see that, and one to begin it anew */
    atomic_store(&to_sleep, false);
    CHECK_EQ(pthread_create(&thread, NULL, cancel_when_it_sleeps, &s), 0);
    CHECK_EQ(coil_group_end(&g, 0), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(refusals, 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(receivers[i].result, -ECANCELED);
        wire_close(ends[i]);
    }
}

#define SLOTS 64 /* at first */

static void *supply_when_it_sleeps(void *unused)
{
    while (!atomic_load(&to_sleep))
        sched_yield();
    __atomic_store_n(&supply.left, INT32_MAX, __ATOMIC_SEQ_CST);
    return unused;
}

COIL_TEST_WITH_(ring, who_found_no_memory_for_a_slot_has_one_when_there_is_some, need_ring();
                supply = (struct supply){.left = INT32_MAX}; options_.allocate = supply_allocate;
                options_.allocate_ctx = &supply; options_.shuffle_seed = 0)
{
    static struct receiver receivers[SLOTS + 6];
    static int ends[SLOTS + 6][2];
    const int count = (int)count_of(receivers);
    struct coil_stats before, after;
    struct coil_group g;
    pthread_t thread;

    for (int i = 0; i < count; i++) {
        wire_open(WIRE_UNIX, ends[i]);
        CHECK_EQ(coil_wait_writable(ends[i][0]), 0); /* it is known here */
    }
    coil_group_begin(&g);
    for (int i = 0; i < count; i++)
        spawn_receiver(&g, &receivers[i], ends[i][0]);
    supply.left = 0;
    CHECK_EQ(coil_loop_stats(&before), 0);
    CHECK_EQ(coil_sleep(20 * COIL_MILLISECOND), 0);
    CHECK_EQ(coil_loop_stats(&after), 0);
    CHECK(after.turns - before.turns < 20); /* it does not spin */
    CHECK_EQ(write(ends[count - 1][1], "x", 1), 1);
    CHECK_EQ(receivers[count - 1].result, 1); /* not even begun */
    atomic_store(&to_sleep, false);
    CHECK_EQ(pthread_create(&thread, NULL, supply_when_it_sleeps, NULL), 0);
    CHECK_EQ(coil_task_wait(&receivers[count - 1].handle), 0); /* and nothing else will happen */
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (int i = 0; i < count - 1; i++)
        CHECK_EQ(write(ends[i][1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(receivers[i].result, 1);
        wire_close(ends[i]);
    }
}

/* --- And else --------------------------------------------------------------------------------- */

COIL_TEST_WITH_(ring, a_turn_takes_no_more_completions_than_tasks_can_bear, need_ring();
                options_.cq_entries = 2048)
{
    struct loop *loop = coil__here.loop;
    struct io_uring *uring = &our_ring()->uring;

    inside_look();
    for (int i = 0; i < 1200; i++) {
        struct io_uring_sqe *sqe = coil__ring_sqe(our_ring());

        CHECK(sqe);
        io_uring_prep_nop(sqe);
        sqe->user_data = 0; /* nobody's */
    }
    coil__ring_get_events(our_ring(), 0);
    CHECK_EQ(io_uring_cq_ready(uring), 1200);
    loop->ops->wait(loop->backend, 0);
    CHECK(io_uring_cq_ready(uring) >= 1200 - 2 * 512); /* before the system call, and after */
    inside_look();
    CHECK_EQ(io_uring_cq_ready(uring), 0);
}

/* Else a child's copy keeps the ring, and with it the sockets it works on. */
RING_TEST(a_child_has_no_ring)
{
    void *sqes = our_ring()->uring.sq.sqes;
    unsigned char there;
    int status;
    pid_t pid;

    CHECK_EQ(mincore(sqes, 4096, &there), 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(mincore(sqes, 4096, &there) == -1 && errno == ENOMEM ? 0 : 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static int lose_one(void *arg)
{
    (void)arg;
    refuse_with = -EBADR;
    refusals = 1;
    return coil_sleep(COIL_MILLISECOND);
}

static void run_and_lose_one(void)
{
    CHECK_EQ(coil_run(NULL, lose_one, NULL), 0);
}

Test(ring, a_completion_that_the_kernel_lost_is_the_end)
{
    need_ring();
    harness_need_backend();
    CHECK(strstr(harness_abort_line(run_and_lose_one), "lost a completion"));
}
