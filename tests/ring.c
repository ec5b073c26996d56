/* ring.c - io_uring at its worst: no room, cancels that miss, completions for nobody. What a kernel
 * does once in a million, done here on demand, by standing between the library and its system
 * call. */
#define _GNU_SOURCE
#include "inside.h"

#include <stdlib.h>

#include "../core/op.h"
#include "../uring/ring.h"

static int refusals;    /* so many calls to come are refused, */
static int misses;      /* and so many cancels to come are lost in the kernel, */
static int agains;      /* and so many reads to come say EAGAIN, having done nothing */
static int poll_firsts; /* so many receives were to wait before they try */

static struct ring *our_ring(void)
{
    return (struct ring *)coil__here.loop->backend; /* its first member */
}

/* Makes the queued cancels into entries that do nothing. */
static void lose_cancels(void)
{
    struct io_uring_sq *sq = &our_ring()->uring.sq;

    for (unsigned int i = *sq->khead; i != *sq->ktail && misses; i++) {
        struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];

        if (sqe->opcode != IORING_OP_ASYNC_CANCEL)
            continue;
        sqe->opcode = IORING_OP_NOP;
        misses--;
    }
}

/* Makes the queued reads at an offset into entries that fail, and their answers into EAGAIN. */
static uint64_t spoilt;

static void spoil_reads(void)
{
    struct io_uring_sq *sq = &our_ring()->uring.sq;

    for (unsigned int i = *sq->khead; i != *sq->ktail && agains && !spoilt; i++) {
        struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];

        if (sqe->opcode != IORING_OP_READ || sqe->off == (uint64_t)-1)
            continue;
        sqe->opcode = IORING_OP_NOP;
        spoilt = sqe->user_data;
        agains--;
    }
}

static void spoil_answers(void)
{
    struct io_uring_cq *cq = &our_ring()->uring.cq;

    for (unsigned int i = *cq->khead; spoilt && i != *cq->ktail; i++) {
        struct io_uring_cqe *cqe = &cq->cqes[i & *cq->kring_mask];

        if (cqe->user_data != spoilt)
            continue;
        cqe->res = -EAGAIN;
        spoilt = 0;
    }
}

static void count_poll_firsts(void)
{
    struct io_uring_sq *sq = &our_ring()->uring.sq;

    for (unsigned int i = *sq->khead; i != *sq->ktail; i++) {
        const struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];

        poll_firsts += sqe->opcode == IORING_OP_RECV && sqe->ioprio & IORING_RECVSEND_POLL_FIRST;
    }
}

/* In liburing's stead. */
int io_uring_enter2(unsigned int fd, unsigned int to_submit, unsigned int min_complete,
                    unsigned int flags, sigset_t *sig, size_t size)
{
    long r;

    if (refusals) {
        refusals--;
        return -EBUSY;
    }
    if (misses)
        lose_cancels();
    if (agains)
        spoil_reads();
    if (coil__here.loop)
        count_poll_firsts();
    r = syscall(SYS_io_uring_enter, fd, to_submit, min_complete, flags, sig, size);
    if (spoilt)
        spoil_answers();
    return r < 0 ? -errno : (int)r;
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
        agains = 1000000;
        CHECK_EQ(coil_loop_stats(&before), 0);
        CHECK_EQ(coil_pread(fd, buf, sizeof(buf), 0), sizeof(buf));
        CHECK_EQ(coil_loop_stats(&after), 0);
        CHECK_EQ(memcmp(buf, "Name:", 5), 0);
        CHECK_EQ(agains, 1000000 - 1);
        CHECK(after.turns - before.turns < 100);
        agains = 0;
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
