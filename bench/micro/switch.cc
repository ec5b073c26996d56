/* switch.cc - what does it cost to give way? Two tasks take turns; beside it, two bare stacks do.
 */

#include "bench.h"

#include <cstring>

namespace
{

enum { TURNS = 10000 };

int take_many_turns(void *arg)
{
    for (int i = 0; i < TURNS; i++) {
        ++*static_cast<uint64_t *>(arg);
        CHECK(coil_checkpoint() == 0);
    }
    return 0;
}

/* Two tasks of the same function. Each checkpoint is one switch, to the other. */
void yield(benchmark::State &state)
{
    uint64_t turn_count = 0, pair_count = 0;

    bench_allocations counted(state);

    while (state.KeepRunningBatch(2 * TURNS)) {
        struct coil_group g;

        coil_group_begin(&g);
        CHECK(coil_group_spawn(&g, take_many_turns, &turn_count) == 0);
        CHECK(coil_group_spawn(&g, take_many_turns, &turn_count) == 0);
        CHECK(coil_group_end(&g, 0) == 0);
        pair_count++;
    }
    CHECK(turn_count == pair_count * 2 * TURNS);
}

struct partner {
    uint64_t turn_count;
    bool stop;
};

int take_turns(void *arg)
{
    struct partner *partner = static_cast<struct partner *>(arg);

    while (!partner->stop) {
        partner->turn_count++;
        CHECK(coil_checkpoint() == 0);
    }
    return 0;
}

/* Two tasks of different functions: the processor, which remembers calls by their order, expects
 * each return to go where the other task came from. Each checkpoint is two switches, there and
 * back. */
void yield_apart(benchmark::State &state)
{
    struct partner partner = {};
    struct coil_group g;
    uint64_t turn_count = 0;

    coil_group_begin(&g);
    CHECK(coil_group_spawn(&g, take_turns, &partner) == 0);
    bench_allocations counted(state);

    while (state.KeepRunningBatch(2)) {
        CHECK(coil_checkpoint() == 0);
        turn_count++;
    }
    CHECK(partner.turn_count == turn_count);
    partner.stop = true;
    CHECK(coil_group_end(&g, 0) == 0);
}

/* A checkpoint with nobody else to run. */
void checkpoint_alone(benchmark::State &state)
{
    bench_allocations counted(state);

    for (auto _ : state)
        CHECK(coil_checkpoint() == 0);
}

/* The check without the switch: the least that a call into coil can cost. */
void nop(benchmark::State &state)
{
    bench_allocations counted(state);

    for (auto _ : state)
        CHECK(coil_checkpoint_if_cancelled() == 0);
}

const bool registered =
    bench_register("yield", yield) && bench_register("yield_apart", yield_apart) &&
    bench_register("checkpoint_alone", checkpoint_alone) && bench_register("nop", nop);

#if defined(__x86_64__) || defined(__aarch64__)

using bare_switch_fn = void(void **save_sp, void *load_sp);
extern "C" bare_switch_fn bare_switch_jump, bare_switch_return;

void *bench_sp, *other_sp;
uint64_t other_turn_count;

template <bare_switch_fn *bare_switch>
[[noreturn]] void other_main()
{
    for (;;) {
        other_turn_count++;
        bare_switch(&other_sp, bench_sp);
    }
}

/* A frame as a bare switch leaves it, with entry as the place to go on. */
void *first_frame(char *stack, size_t size, void (*entry)())
{
    uintptr_t top = (reinterpret_cast<uintptr_t>(stack) + size) & ~uintptr_t{63};
#if defined(__x86_64__)
    uintptr_t sp = top - 8 * sizeof(void *); /* six registers, the entry, and no return address */
    uintptr_t entry_at = sp + 6 * sizeof(void *);
#else
    uintptr_t sp = top - 160;
    uintptr_t entry_at = sp + 88;
#endif

    memcpy(reinterpret_cast<void *>(entry_at), &entry, sizeof(entry));
    return reinterpret_cast<void *>(sp);
}

template <bare_switch_fn *bare_switch>
void yield_bare(benchmark::State &state)
{
    static char stack[16 * 1024];
    uint64_t turn_count = 0;

    memset(stack, 0, sizeof(stack));
    other_sp = first_frame(stack, sizeof(stack), other_main<bare_switch>);
    other_turn_count = 0;
    while (state.KeepRunningBatch(2)) {
        bare_switch(&bench_sp, other_sp);
        turn_count++;
    }
    CHECK(other_turn_count == turn_count);
}
BENCHMARK(yield_bare<bare_switch_jump>)->Name("yield/bare_jump");
BENCHMARK(yield_bare<bare_switch_return>)->Name("yield_apart/bare_return");

#endif

} // namespace
