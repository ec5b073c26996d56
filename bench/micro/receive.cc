/* receive.cc - what does it cost to take back a receive that the kernel already waits on? */

#include "bench.h"

#include <coil/lowlevel.h>

#include <sys/socket.h>
#include <unistd.h>

namespace
{

/* Cancels *scope once per unpark, a turn after it: by then the receive is in the kernel's hands. */
struct canceller {
    struct coil_task *task;
    struct coil_scope *scope;
    bool stop;
};

int cancel_on_request(void *arg)
{
    struct canceller *canceller = static_cast<struct canceller *>(arg);

    canceller->task = coil_task_self();
    for (;;) {
        CHECK(coil_park(NULL, NULL, "request") == 0);
        if (canceller->stop)
            return 0;
        CHECK(coil_checkpoint() == 0);
        coil_scope_cancel(canceller->scope, NULL);
    }
}

void receive_and_cancel(int fd, struct canceller *canceller)
{
    struct coil_scope s;
    char byte;

    coil_scope_begin(&s, COIL_FOREVER);
    canceller->scope = &s;
    coil_unpark(canceller->task, 0);
    ssize_t n = coil_recv(fd, &byte, 1, 0);
    CHECK(n == -ECANCELED);
    CHECK(coil_scope_end(&s, static_cast<int>(n)) == 0);
}

void receive_cancel(benchmark::State &state)
{
    struct canceller canceller = {};
    struct coil_group g;
    struct coil_stats before, after;
    uint64_t count = 0;
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    coil_group_begin(&g);
    CHECK(coil_group_spawn(&g, cancel_on_request, &canceller) == 0);
    CHECK(coil_checkpoint() == 0);
    CHECK(coil_loop_stats(&before) == 0);
    bench_allocations counted(state);

    for (auto _ : state) {
        receive_and_cancel(fds[0], &canceller);
        count++;
    }
    CHECK(coil_loop_stats(&after) == 0);
    CHECK(after.cancels - before.cancels == count);
    CHECK(after.late_results == before.late_results);
    canceller.stop = true;
    coil_unpark(canceller.task, 0);
    CHECK(coil_group_end(&g, 0) == 0);
    CHECK(coil_close(fds[0]) == 0);
    close(fds[1]);
}

/* What epoll's way must cost at least: one call that finds nothing. */
void receive_nothing(benchmark::State &state)
{
    char byte;
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    for (auto _ : state)
        CHECK(recv(fds[0], &byte, 1, MSG_DONTWAIT) == -1);
    close(fds[0]);
    close(fds[1]);
}
BENCHMARK(receive_nothing)->Name("receive_cancel/raw_recv");

const bool registered = bench_register("receive_cancel", receive_cancel);

} // namespace
