/* scarce.h - no address space for another stack: what is mapped stays, and no slab can be. */
#ifndef TESTS_SCARCE_H
#define TESTS_SCARCE_H

#include <sys/resource.h>

#include "../core/sched/context.h"
#include "harness.h"

static struct rlimit scarce_before;

/* Skips the test where the address space cannot be limited. */
static inline void scarce_begin(void)
{
    struct rlimit tight;

#if defined(CONTEXT_ASAN) || defined(CONTEXT_TSAN)
    SKIP("a sanitizer that is refused memory gives up");
#endif
    CHECK_EQ(getrlimit(RLIMIT_AS, &scarce_before), 0);
    tight = scarce_before;
    tight.rlim_cur = 1 << 20;
    CHECK_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    CHECK_EQ(getrlimit(RLIMIT_AS, &tight), 0);
    if (tight.rlim_cur != 1 << 20)
        SKIP("the address space cannot be limited here (qemu-user)");
}

static inline void scarce_end(void)
{
    CHECK_EQ(setrlimit(RLIMIT_AS, &scarce_before), 0);
}

#endif
