/* task.cc - what does a task cost: to spawn and join, and to cancel while it sleeps and join? */

#include "bench.h"

#include <vector>

namespace
{

enum { MANY = 1000 };

int nothing(void *arg)
{
    ++*static_cast<uint64_t *>(arg);
    return 0;
}

void spawn_join_in_groups_of(benchmark::State &state, int size)
{
    uint64_t run_count = 0, group_count = 0;

    bench_allocations counted(state);

    while (state.KeepRunningBatch(size)) {
        struct coil_group g;

        coil_group_begin(&g);
        for (int i = 0; i < size; i++)
            CHECK(coil_group_spawn(&g, nothing, &run_count) == 0);
        CHECK(coil_group_end(&g, 0) == 0);
        group_count++;
    }
    CHECK(run_count == group_count * static_cast<uint64_t>(size));
}

void spawn_join(benchmark::State &state)
{
    spawn_join_in_groups_of(state, MANY);
}

void spawn_join_one(benchmark::State &state)
{
    spawn_join_in_groups_of(state, 1);
}

int sleep_long(void *)
{
    return coil_sleep(3600 * COIL_SECOND);
}

void spawn_sleepers(struct coil_group *g, std::vector<struct coil_handle> *handles)
{
    for (struct coil_handle &handle : *handles) {
        struct coil_spawn_options options = {};

        options.handle = &handle;
        CHECK(coil_group_spawn_with(g, sleep_long, NULL, &options) == 0);
    }
    CHECK(coil_checkpoint() == 0);
    struct coil_stats stats;
    CHECK(coil_loop_stats(&stats) == 0);
    CHECK(stats.timers == handles->size());
}

/* Cancels all, then waits for each, as the peers do. */
void cancel_then_join(std::vector<struct coil_handle> *handles)
{
    for (struct coil_handle &handle : *handles)
        coil_task_cancel(&handle, NULL);
    for (struct coil_handle &handle : *handles)
        CHECK(coil_task_wait(&handle) == 0);
}

/* Cancels one and waits for it before the next. */
void cancel_and_join(std::vector<struct coil_handle> *handles)
{
    for (struct coil_handle &handle : *handles) {
        coil_task_cancel(&handle, NULL);
        CHECK(coil_task_wait(&handle) == 0);
    }
}

void time_cancel(benchmark::State &state, void (*cancel)(std::vector<struct coil_handle> *))
{
    std::vector<struct coil_handle> handles(MANY);
    bench_watch watch;

    bench_allocations counted(state);

    while (state.KeepRunningBatch(MANY)) {
        struct coil_group g;

        coil_group_begin(&g);
        spawn_sleepers(&g, &handles);
        watch.start();
        cancel(&handles);
        state.SetIterationTime(watch.stop_s());
        for (const struct coil_handle &handle : handles)
            CHECK(coil_task_status(&handle) == COIL_STATUS_CANCELLED);
        CHECK(coil_group_end(&g, 0) == 0);
    }
}

void cancel_join(benchmark::State &state)
{
    time_cancel(state, cancel_then_join);
}

void cancel_join_one(benchmark::State &state)
{
    time_cancel(state, cancel_and_join);
}

const bool registered = bench_register("spawn_join", spawn_join) &&
                        bench_register("spawn_join_one", spawn_join_one) &&
                        bench_register("cancel_join", cancel_join, BENCH_MANUAL_TIME) &&
                        bench_register("cancel_join_one", cancel_join_one, BENCH_MANUAL_TIME);

} // namespace
