/* echo.cc - does the echo path allocate? A request under its idle time-out, there and back, in one
 * loop. */

#include "bench.h"

#include <sys/socket.h>
#include <unistd.h>

namespace
{

enum { WARM_COUNT = 1000, MESSAGE_SIZE = 64 };

/* One request under its idle time-out. 1: served, 0: end of stream. */
int serve_one(int fd)
{
    struct coil_scope s;
    char buf[1024];

    coil_timeout_begin(&s, coil_now() + 60 * COIL_SECOND);
    int rc = static_cast<int>(coil_recv(fd, buf, sizeof(buf), 0));
    if (rc > 0) {
        rc = coil_send_all(fd, buf, static_cast<size_t>(rc), 0, NULL);
        rc = rc < 0 ? rc : 1;
    }
    return coil_scope_end(&s, rc);
}

int serve(void *arg)
{
    int fd = *static_cast<int *>(arg), rc;

    do
        rc = serve_one(fd);
    while (rc > 0);
    CHECK(coil_close(fd) == 0);
    return rc;
}

void round_trip(int fd)
{
    static char message[MESSAGE_SIZE];
    char buf[MESSAGE_SIZE];

    message[0]++;
    CHECK(coil_send_all(fd, message, MESSAGE_SIZE, 0, NULL) == 0);
    CHECK(coil_recv(fd, buf, MESSAGE_SIZE, MSG_WAITALL) == MESSAGE_SIZE);
    CHECK(buf[0] == message[0]);
}

void echo_round_trip(benchmark::State &state)
{
    struct coil_group g;
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    coil_group_begin(&g);
    CHECK(coil_group_spawn(&g, serve, &fds[1]) == 0);
    for (int i = 0; i < WARM_COUNT; i++)
        round_trip(fds[0]);
    {
        bench_allocations counted(state);

        for (auto _ : state)
            round_trip(fds[0]);
    }
    CHECK(!state.counters.count("allocated_bytes_per_op") ||
          state.counters["allocated_bytes_per_op"] == 0);
    CHECK(coil_close(fds[0]) == 0);
    CHECK(coil_group_end(&g, 0) == 0);
}

/* The same four transfers by the system's own calls, nobody else in between. */
void round_trip_raw(benchmark::State &state)
{
    char message[MESSAGE_SIZE] = {}, buf[MESSAGE_SIZE];
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    for (auto _ : state) {
        message[0]++;
        CHECK(send(fds[0], message, MESSAGE_SIZE, 0) == MESSAGE_SIZE);
        CHECK(recv(fds[1], buf, MESSAGE_SIZE, 0) == MESSAGE_SIZE);
        CHECK(send(fds[1], buf, MESSAGE_SIZE, 0) == MESSAGE_SIZE);
        CHECK(recv(fds[0], buf, MESSAGE_SIZE, 0) == MESSAGE_SIZE);
        CHECK(buf[0] == message[0]);
    }
    close(fds[0]);
    close(fds[1]);
}
BENCHMARK(round_trip_raw)->Name("echo_round_trip/raw_calls");

const bool registered = bench_register("echo_round_trip", echo_round_trip);

} // namespace
