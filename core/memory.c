/* memory.c - one allocation function a loop. Stacks do not come from here: sched/stack.c maps them.
 */
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sched/loop.h"

#ifdef HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>

/* The context is the mallocx flags: an arena of the loop's own, and a cache of its own in front. */
static void *from_arena(void *ctx, void *ptr, size_t size)
{
    int flags = (int)(intptr_t)ctx;

    if (!size) {
        if (ptr)
            dallocx(ptr, flags);
        return NULL;
    }
    return ptr ? rallocx(ptr, size, flags) : mallocx(size, flags);
}

static int open_arena(struct loop *loop)
{
    unsigned int arena;
    unsigned int cache;
    size_t size = sizeof(arena);

    if (mallctl("arenas.create", &arena, &size, NULL, 0))
        return -ENOMEM;
    if (mallctl("tcache.create", &cache, &size, NULL, 0)) {
        char name[48];

        snprintf(name, sizeof(name), "arena.%u.destroy", arena);
        mallctl(name, NULL, NULL, NULL, 0);
        return -ENOMEM;
    }
    loop->allocate = from_arena;
    loop->allocate_ctx = (void *)(intptr_t)(MALLOCX_ARENA(arena) | MALLOCX_TCACHE(cache));
    loop->arena = arena;
    loop->arena_cache = cache;
    loop->own_arena = true;
    return 0;
}

static void close_arena(struct loop *loop)
{
    char name[48];

    mallctl("tcache.destroy", NULL, NULL, &loop->arena_cache, sizeof(loop->arena_cache));
    snprintf(name, sizeof(name), "arena.%u.destroy", loop->arena);
    mallctl(name, NULL, NULL, NULL, 0);
}
#endif

static void *from_malloc(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (!size) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

int coil__memory_open(struct loop *loop, const struct coil_loop_options *o)
{
    if (o->allocate) {
        loop->allocate = o->allocate;
        loop->allocate_ctx = o->allocate_ctx;
        return 0;
    }
#ifdef HAVE_JEMALLOC
    return open_arena(loop);
#endif
    loop->allocate = from_malloc;
    return 0;
}

void coil__memory_close(struct loop *loop)
{
    (void)loop;
#ifdef HAVE_JEMALLOC
    if (loop->own_arena)
        close_arena(loop);
#endif
}
