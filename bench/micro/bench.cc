/* bench.cc - runs a body inside a loop on a named backend. */

#include "bench.h"

#include <cstring>
#include <ctime>
#include <string>

namespace
{

struct call {
    bench_body *body;
    benchmark::State *state;
    const char *backend;
};

int call_main(void *arg)
{
    struct call *call = static_cast<struct call *>(arg);

    CHECK(strcmp(coil_backend_name(), call->backend) == 0);
    call->body(*call->state);
    return 0;
}

void run_on(benchmark::State &state, const char *backend, bench_body *body)
{
    struct coil_loop_options options = {};
    struct call call = {body, &state, backend};

    options.backend = backend;
    int r = coil_run(&options, call_main, &call);
    if (r == -EPERM || r == -ENOSYS || r == -EOPNOTSUPP)
        state.SkipWithError((std::string("skipped: ") + coil_run_error()).c_str());
    else
        CHECK(r == 0);
}

} // namespace

bool bench_register(const char *name, bench_body *body, bench_clock clock)
{
    for (const char *backend : {"io_uring", "epoll"}) {
        std::string full_name = std::string(name) + "/" + backend;
        auto *bench = benchmark::RegisterBenchmark(
            full_name.c_str(), [=](benchmark::State &state) { run_on(state, backend, body); });

        if (clock == BENCH_MANUAL_TIME)
            bench->UseManualTime();
    }
    return true;
}

int64_t bench_watch::now_ns()
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * COIL_SECOND + ts.tv_nsec;
}

BENCHMARK_MAIN();
