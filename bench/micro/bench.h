/* bench.h - one way to measure a call: as the main task of a loop, on each backend, its answers
 * checked. */

#ifndef BENCH_H
#define BENCH_H

#include <benchmark/benchmark.h>
#include <coil.h>

#include <cstdio>
#include <cstdlib>

/* A figure for a wrong answer is worse than none. */
#define CHECK(claim)                                                                               \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

using bench_body = void(benchmark::State &state);

/* With BENCH_MANUAL_TIME the body says how long each of its batches took (struct bench_watch). */
enum bench_clock { BENCH_CPU_TIME, BENCH_MANUAL_TIME };

/* Registers body as NAME/io_uring and NAME/epoll. A backend that this machine lacks is skipped, and
 * says why. Names are NAME/CONTESTANT throughout: micro.py tells them apart by that. */
bool bench_register(const char *name, bench_body *body, bench_clock clock = BENCH_CPU_TIME);

/* Times a part of a batch, in CPU time of this thread, for work that needs preparing. */
class bench_watch
{
  public:
    void start()
    {
        begun_ns_ = now_ns();
    }
    double stop_s() const
    {
        return 1e-9 * static_cast<double>(now_ns() - begun_ns_);
    }

  private:
    static int64_t now_ns();
    int64_t begun_ns_ = 0;
};

/* Counts what this thread allocates per operation, from here to the end of the block, as jemalloc
 * says; nothing without jemalloc. What is allocated once shows less the longer it runs. */
class bench_allocations
{
  public:
    explicit bench_allocations(benchmark::State &state);
    ~bench_allocations();

  private:
    benchmark::State &state_;
    const uint64_t *bytes_; /* that this thread has ever allocated; NULL: nobody counts */
    uint64_t before_;
};

#endif
