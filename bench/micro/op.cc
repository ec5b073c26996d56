/* op.cc - what does the least operation cost that goes through the whole runtime: a wait for what
 * is ready already, and a call in a thread of the blocking pool?
 */

#include "bench.h"

#include <coil/file.h>

#include <chrono>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace
{

/* A socket that can be written. */
class writable
{
  public:
    writable()
    {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_) == 0);
    }
    ~writable()
    {
        close(fds_[0]);
        close(fds_[1]);
    }
    int fd() const
    {
        return fds_[0];
    }

  private:
    int fds_[2];
};

void nop_op(benchmark::State &state)
{
    writable socket;
    bench_allocations counted(state);

    for (auto _ : state)
        CHECK(coil_wait_writable(socket.fd()) == 0);
    CHECK(coil_forget(socket.fd()) == 0);
}

/* What epoll's way must cost at least: one call that looks. */
void nop_op_raw(benchmark::State &state)
{
    writable socket;
    struct pollfd p = {socket.fd(), POLLOUT, 0};

    for (auto _ : state)
        CHECK(poll(&p, 1, 0) == 1);
}
BENCHMARK(nop_op_raw)->Name("nop_op/raw_poll");

/* In real time: most of it is another thread's. */
void pool_call(benchmark::State &state)
{
    bench_allocations counted(state);
    struct statx found;

    for (auto _ : state) {
        const auto begun = std::chrono::steady_clock::now();

        CHECK(coil_statx(AT_FDCWD, "/", 0, STATX_TYPE, &found) == 0);
        state.SetIterationTime(
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
    }
    CHECK(S_ISDIR(found.stx_mode));
}

void pool_call_bare(benchmark::State &state)
{
    struct statx found;

    for (auto _ : state)
        CHECK(statx(AT_FDCWD, "/", 0, STATX_TYPE, &found) == 0);
}
BENCHMARK(pool_call_bare)->Name("pool_call/bare_call");

const bool registered =
    bench_register("nop_op", nop_op) && bench_register("pool_call", pool_call, BENCH_MANUAL_TIME);

} // namespace
