/* sync.cc - what does a primitive cost: nobody in the way, from one task to the next, a thousand at
 * once? */

#include "bench.h"

#include <vector>

namespace
{

enum { MANY = 1000, TURNS = 10000 };

/* Acquired and released, with nobody else about. */
void lock(benchmark::State &state)
{
    struct coil_lock l = COIL_LOCK_INIT;

    bench_allocations counted(state);

    for (auto _ : state) {
        CHECK(coil_lock_acquire(&l) == 0);
        CHECK(coil_lock_release(&l) == 0);
    }
}

void semaphore(benchmark::State &state)
{
    struct coil_semaphore s = COIL_SEMAPHORE_INIT(1, 1);

    bench_allocations counted(state);

    for (auto _ : state) {
        CHECK(coil_semaphore_acquire(&s) == 0);
        CHECK(coil_semaphore_release(&s) == 0);
    }
}

struct shared {
    struct coil_lock lock;
    uint64_t count;
};

uint64_t switch_count()
{
    struct coil_stats stats;

    CHECK(coil_loop_stats(&stats) == 0);
    return stats.switches;
}

int pass_it_on(void *arg)
{
    struct shared *shared = static_cast<struct shared *>(arg);

    for (int i = 0; i < TURNS; i++) {
        CHECK(coil_lock_acquire(&shared->lock) == 0);
        shared->count++;
        CHECK(coil_lock_release(&shared->lock) == 0);
    }
    return 0;
}

/* Two tasks, and the lock always goes to the other: a release that hands over, an acquire that
 * waits, and the switch between them. */
void lock_hand_over(benchmark::State &state)
{
    struct shared shared = {};
    uint64_t expected = 0;
    const uint64_t switches_before = switch_count();

    bench_allocations counted(state);

    while (state.KeepRunningBatch(2 * TURNS)) {
        struct coil_group g;

        coil_group_begin(&g);
        CHECK(coil_lock_acquire(&shared.lock) == 0); /* both wait */
        CHECK(coil_group_spawn(&g, pass_it_on, &shared) == 0);
        CHECK(coil_group_spawn(&g, pass_it_on, &shared) == 0);
        CHECK(coil_checkpoint() == 0);
        CHECK(coil_lock_release(&shared.lock) == 0);
        CHECK(coil_group_end(&g, 0) == 0);
        expected += 2 * TURNS;
    }
    CHECK(shared.count == expected);
    CHECK(switch_count() - switches_before >= expected); /* it was handed over each time */
}

struct series {
    struct coil_event events[2];
    uint64_t woken;
    bool stop;
};

/* Waits for one event after the other. */
int follow(void *arg)
{
    struct series *s = static_cast<struct series *>(arg);

    for (int i = 0; !s->stop; i ^= 1) {
        CHECK(coil_event_wait(&s->events[i]) == 0);
        s->woken++;
    }
    return 0;
}

/* From the set until the last of a thousand tasks has gone on, to wait for the next event. */
void event_set(benchmark::State &state)
{
    struct series s = {};
    struct coil_group g;
    uint64_t expected = 0;
    bench_watch watch;
    int i = 0;

    coil_group_begin(&g);
    for (int k = 0; k < MANY; k++)
        CHECK(coil_group_spawn(&g, follow, &s) == 0);
    CHECK(coil_checkpoint() == 0);
    bench_allocations counted(state);

    while (state.KeepRunningBatch(MANY)) {
        watch.start();
        coil_event_set(&s.events[i]);
        CHECK(coil_checkpoint() == 0);
        state.SetIterationTime(watch.stop_s());
        expected += MANY;
        CHECK(s.woken == expected);
        s.events[i] = {};
        i ^= 1;
    }
    s.stop = true;
    coil_event_set(&s.events[i]);
    CHECK(coil_group_end(&g, 0) == 0);
}

const bool registered = bench_register("lock", lock) && bench_register("semaphore", semaphore) &&
                        bench_register("lock_hand_over", lock_hand_over) &&
                        bench_register("event_set", event_set, BENCH_MANUAL_TIME);

} // namespace
