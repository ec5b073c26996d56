/* base.h - the few words that every file uses. */
#ifndef CORE_BASE_H
#define CORE_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handicap.h"

#define likely(x)                       __builtin_expect(!!(x), 1)
#define unlikely(x)                     __builtin_expect(!!(x), 0)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define count_of(array)                 (sizeof(array) / sizeof((array)[0]))

/* Inlined, it would have what happens more often save registers for it. */
#define out_of_line __attribute__((noinline))

#define CACHE_LINE  64

/* Of a function that only prefetches gcc 12 finds that it does nothing, and leaves out the call. */
#define prefetching static inline __attribute__((always_inline))

/* Has so many lines of the cache come, to be written. Wherever at points, that does no harm. */
prefetching void prefetch_lines(const void *at, int count)
{
    for (int i = 0; i < count; i++)
        __builtin_prefetch((const char *)at + i * CACHE_LINE, 1);
}

/* Misuse that has corrupted, or would corrupt, the task tree: one line on stderr, then abort. The
 * only thing the library ever prints. */
_Noreturn void coil__die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
