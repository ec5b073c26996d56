/* scope.cc - what does a time-out cost, opened and closed while 100,000 other timers are pending?
 */

#include "bench.h"

#include <ctime>
#include <random>
#include <vector>

namespace
{

enum { TIMER_COUNT = 100000, DEADLINE_COUNT = 1024 };

constexpr int64_t HOUR = 3600 * COIL_SECOND;

struct holder {
    std::vector<struct coil_scope> scopes;
    int64_t base_ns;
    struct coil_scope until; /* cancelled when the others may end */
};

/* One task can hold any number of timers: a scope inside a scope inside a scope. */
int hold_timers(void *arg)
{
    struct holder *holder = static_cast<struct holder *>(arg);
    std::mt19937_64 random(1);
    int rc;

    coil_scope_begin_prepared(&holder->until, COIL_FOREVER);
    for (struct coil_scope &scope : holder->scopes)
        coil_scope_begin(&scope, holder->base_ns + static_cast<int64_t>(random() % HOUR));
    rc = coil_sleep(3 * HOUR);
    for (size_t i = holder->scopes.size(); i-- > 0;)
        rc = coil_scope_end(&holder->scopes[i], rc);
    return coil_scope_end(&holder->until, rc);
}

void open_and_close(benchmark::State &state, const std::vector<int64_t> &deadlines)
{
    uint64_t index = 0;

    bench_allocations counted(state);

    for (auto _ : state) {
        struct coil_scope s;

        coil_scope_begin(&s, deadlines[index++ % DEADLINE_COUNT]);
        CHECK(coil_scope_end(&s, 0) == 0);
    }
}

void among_timers(benchmark::State &state, const std::vector<int64_t> &deadlines, int64_t base_ns)
{
    struct holder holder = {};
    struct coil_group g;
    struct coil_stats stats;

    holder.scopes.resize(TIMER_COUNT);
    holder.base_ns = base_ns;
    coil_scope_prepare(&holder.until);
    coil_group_begin(&g);
    CHECK(coil_group_spawn(&g, hold_timers, &holder) == 0);
    CHECK(coil_checkpoint() == 0);
    CHECK(coil_loop_stats(&stats) == 0 && stats.timers >= TIMER_COUNT);
    open_and_close(state, deadlines);
    CHECK(coil_loop_stats(&stats) == 0 && stats.timers >= TIMER_COUNT);
    coil_scope_cancel(&holder.until, "measured");
    CHECK(coil_group_end(&g, 0) == 0);
}

/* Deadlines from the same hour as all the others. */
void timeout_scope(benchmark::State &state)
{
    const int64_t base_ns = coil_now() + HOUR;
    std::mt19937_64 random(2);
    std::vector<int64_t> deadlines(DEADLINE_COUNT);

    for (int64_t &deadline_ns : deadlines)
        deadline_ns = base_ns + static_cast<int64_t>(random() % HOUR);
    among_timers(state, deadlines, base_ns);
}

/* Each sooner than all others: the worst case of a heap. */
void timeout_scope_soonest(benchmark::State &state)
{
    const int64_t base_ns = coil_now() + HOUR;

    among_timers(state, std::vector<int64_t>(DEADLINE_COUNT, base_ns - COIL_SECOND), base_ns);
}

/* What "in five seconds" adds: reading the clock. */
void now(benchmark::State &state)
{
    int64_t last_ns = 0;

    bench_allocations counted(state);

    for (auto _ : state) {
        int64_t now_ns = coil_now();

        CHECK(now_ns >= last_ns);
        last_ns = now_ns;
    }
}

void now_raw(benchmark::State &state)
{
    struct timespec ts = {};

    for (auto _ : state) {
        clock_gettime(CLOCK_MONOTONIC, &ts);
        benchmark::DoNotOptimize(ts);
    }
}
BENCHMARK(now_raw)->Name("now/clock_gettime");

const bool registered = bench_register("timeout_scope", timeout_scope) &&
                        bench_register("timeout_scope_soonest", timeout_scope_soonest) &&
                        bench_register("now", now);

} // namespace
