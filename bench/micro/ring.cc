/* ring.cc - the same receive taken back on a bare ring: what the kernel itself costs. */

#include "bench.h"

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace
{

/* user_data of the two; 0 is nobody's. */
enum { RECEIVE = 1, CANCEL = 2 };

int ring_open(struct io_uring *ring)
{
    struct io_uring_params params = {};

    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
    params.cq_entries = 4096;
    int r = io_uring_queue_init_params(256, ring, &params);
    if (r < 0)
        return r;
    CHECK(io_uring_register_ring_fd(ring) == 1);
    return 0;
}

void submit_receive(struct io_uring *ring, int fd, char *byte)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    io_uring_prep_recv(sqe, fd, byte, 1, 0);
    sqe->user_data = RECEIVE;
    CHECK(io_uring_submit(ring) == 1);
}

void submit_cancel_and_wait(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    io_uring_prep_cancel64(sqe, RECEIVE, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = CANCEL;
    CHECK(io_uring_submit_and_wait(ring, 1) == 1);
}

void reap_receive(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;

    CHECK(io_uring_peek_cqe(ring, &cqe) == 0);
    CHECK(cqe->user_data == RECEIVE && cqe->res == -ECANCELED);
    io_uring_cqe_seen(ring, cqe);
}

void receive_cancel_raw(benchmark::State &state)
{
    struct io_uring ring;
    char byte;
    int fds[2];

    if (ring_open(&ring) < 0) {
        state.SkipWithError("skipped: no io_uring here");
        return;
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    for (auto _ : state) {
        submit_receive(&ring, fds[0], &byte);
        submit_cancel_and_wait(&ring);
        reap_receive(&ring);
    }
    io_uring_queue_exit(&ring);
    close(fds[0]);
    close(fds[1]);
}
BENCHMARK(receive_cancel_raw)->Name("receive_cancel/raw_uring");

/* The least there is, asked and answered in one call: a wait for what is ready already. */
void nop_op_raw(benchmark::State &state)
{
    struct io_uring ring;
    struct io_uring_cqe *cqe;
    int fds[2];

    if (ring_open(&ring) < 0) {
        state.SkipWithError("skipped: no io_uring here");
        return;
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    for (auto _ : state) {
        io_uring_prep_poll_add(io_uring_get_sqe(&ring), fds[0], POLLOUT);
        CHECK(io_uring_submit_and_wait(&ring, 1) == 1);
        CHECK(io_uring_peek_cqe(&ring, &cqe) == 0 && cqe->res == POLLOUT);
        io_uring_cqe_seen(&ring, cqe);
    }
    io_uring_queue_exit(&ring);
    close(fds[0]);
    close(fds[1]);
}
BENCHMARK(nop_op_raw)->Name("nop_op/raw_uring");

} // namespace
