/* ring.c - io_uring at its worst: no room, cancels that miss, completions for nobody. What a kernel
 * does once in a million, done here on demand, by standing between the library and its system
 * call. */
#define _GNU_SOURCE
#include "inside.h"

#include <stdlib.h>

#include "../uring/ring.h"

static int refusals; /* so many calls to come are refused, */
static int misses;   /* and so many cancels to come are lost in the kernel */

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
    r = syscall(SYS_io_uring_enter, fd, to_submit, min_complete, flags, sig, size);
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
    COIL_TEST_WITH_(ring, name_, need_ring(); options_.sq_entries = 4; options_.cq_entries = 8)

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
