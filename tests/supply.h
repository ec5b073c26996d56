/* supply.h - memory that is counted, and runs out when a test says so. */
#ifndef TESTS_SUPPLY_H
#define TESTS_SUPPLY_H

#include <stdlib.h>

#include "harness.h"

struct supply {
    int left; /* allocations that will be granted */
    int held; /* of those granted, not given back */
};

static struct supply supply;

static inline void *supply_allocate(void *ctx, void *ptr, size_t size)
{
    struct supply *s = ctx;
    void *p;

    if (!size) {
        s->held -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (!s->left)
        return NULL;
    s->left--;
    p = realloc(ptr, size);
    s->held += p && !ptr;
    return p;
}

/* Runs body as the main task of a loop that has its memory from there. */
static inline void supply_run(void (*body)(void))
{
    struct coil_loop_options options = harness_options();

    supply = (struct supply){.left = INT32_MAX};
    options.allocate = supply_allocate;
    options.allocate_ctx = &supply;
    harness_run(&options, body);
}

#endif
