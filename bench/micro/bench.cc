/* bench.cc - runs a body inside a loop on a named backend. */

#include "bench.h"

#include <cstring>
#include <ctime>
#include <dlfcn.h>
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

static const uint64_t *allocated_bytes()
{
    using mallctl_fn = int(const char *, void *, size_t *, void *, size_t);
    mallctl_fn *mallctl = reinterpret_cast<mallctl_fn *>(dlsym(RTLD_DEFAULT, "mallctl"));
    uint64_t *bytes = NULL;
    size_t size = sizeof(bytes);

    if (!mallctl || mallctl("thread.allocatedp", &bytes, &size, NULL, 0) != 0)
        return NULL;
    return bytes;
}

bench_allocations::bench_allocations(benchmark::State &state)
    : state_(state), bytes_(allocated_bytes()), before_(bytes_ ? *bytes_ : 0)
{
}

bench_allocations::~bench_allocations()
{
    if (bytes_)
        state_.counters["allocated_bytes_per_op"] =
            static_cast<double>(*bytes_ - before_) / static_cast<double>(state_.iterations());
}

BENCHMARK_MAIN();
