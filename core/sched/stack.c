/* stack.c - slabs of stacks. The only file that maps memory.
 *
 * A slab is one reservation, touched only where tasks run. The lowest page of each stack is a
 * guard: with MADV_GUARD_INSTALL (Linux 6.13) that is a mark in the page table and costs no
 * mapping, so a million stacks fit; with mprotect each costs two of vm.max_map_count's 65530. */
#define _GNU_SOURCE
#include "stack.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

#ifdef HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id)       ((void)(id))
#endif

/* Together less than what a page leaves beside a block and a few frames. */
#define COLORS          16
#define COLOR_SIZE      128
#define SLAB_STACKS_MIN 16
#define SLAB_STACKS_MAX 1024
#define WARM_KEPT       256  /* free stacks that keep their pages for ever */
#define TRIM_MOST       1024 /* stacks given back in one go: a madvise each, some 300 ns */

struct slab {
    struct slab *next;
    char *base;
    size_t count;                /* stacks it has room for */
    size_t carved;               /* of these, given out at least once */
    size_t cold;                 /* of these, on the cold list */
    unsigned int valgrind_ids[]; /* one a stack, under Valgrind only */
};

/* Stands at the very end of a stack's top block, always. */
static struct slab **slab_of(const struct stacks *all, const void *block)
{
    return (struct slab **)((char *)(uintptr_t)block + all->block_size) - 1;
}

/* From one stack of a slab to the next: the stack, and the guard below it. That is no power of two,
 * and must not be: the TLB tells pages apart by the low bits of their number, and the top pages of
 * stacks that lie a power of two apart have room in a few of its sets only. */
static size_t stride_of(const struct stacks *all, unsigned int class)
{
    return (UINT64_C(1) << class) + all->page_size;
}

static char *guard_of(const struct stacks *all, const struct slab *s, size_t i, unsigned int class)
{
    return s->base + i * stride_of(all, class);
}

void *coil__stack_bottom(const struct stacks *all, unsigned int class, const void *block)
{
    const struct slab *s = *slab_of(all, block);
    size_t i = (size_t)((const char *)block - s->base) / stride_of(all, class);

    return guard_of(all, s, i, class) + all->page_size;
}

static size_t page_size(void)
{
    long size = sysconf(_SC_PAGESIZE);

    return size > 0 ? (size_t)size : 4096;
}

unsigned int coil__stack_class(size_t size)
{
    unsigned int class = STACK_CLASS_MIN;

    const uint64_t least = 4 * page_size();

    if (size < STACK_SIZE_MIN || size > STACK_SIZE_MAX)
        return 0;
    while (UINT64_C(1) << class < size || UINT64_C(1) << class < least)
        class ++;
    return class + STACK_CLASS_SCALE;
}

void coil__stacks_init(struct stacks *all, size_t block_size)
{
    assert(block_size % 64 == 0);
    assert(block_size >= sizeof(struct list) + sizeof(struct slab *));

    *all = (struct stacks){.block_size = block_size, .page_size = page_size()};
    for (size_t i = 0; i < STACK_CLASSES; i++) {
        list_init(&all->pools[i].warm);
        list_init(&all->pools[i].cold);
    }
}

void coil__stacks_close(struct stacks *all)
{
    for (unsigned int i = 0; i < STACK_CLASSES; i++) {
        struct slab *s = all->pools[i].slabs;

        while (s) {
            struct slab *next = s->next;

            for (size_t k = 0; k < s->carved; k++)
                VALGRIND_STACK_DEREGISTER(s->valgrind_ids[k]);
            munmap(s->base, s->count * stride_of(all, i + STACK_CLASS_MIN));
            free(s);
            s = next;
        }
    }
    coil__stacks_init(all, all->block_size);
}

/* Where the block of a slab's ith stack begins. Not all at the top exactly: parked tasks would lie
 * at one and the same offset from a multiple of the page, and compete for a few lines of the
 * cache. */
static void *block_of(const struct stacks *all, const struct slab *s, size_t i, unsigned int class)
{
    return guard_of(all, s, i + 1, class) - all->block_size - i % COLORS * COLOR_SIZE;
}

static struct slab *slab_map(const struct stacks *all, struct stack_pool *pool, unsigned int class)
{
    size_t count = pool->slabs ? pool->slabs->count * 2 : SLAB_STACKS_MIN;
    struct slab *s;

    if (count > SLAB_STACKS_MAX)
        count = SLAB_STACKS_MAX;
    if (class > 20)
        count = 1; /* megabytes each: no use in reserving several */

    s = malloc(sizeof(*s) + count * sizeof(s->valgrind_ids[0]));
    if (!s)
        return NULL;
    s->base = mmap(NULL, count * stride_of(all, class), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (s->base == MAP_FAILED) {
        free(s);
        return NULL;
    }
    /* A huge page under a parked task would be 2 MiB for what needs 4 KiB. */
    madvise(s->base, count * stride_of(all, class), MADV_NOHUGEPAGE);
    s->count = count;
    s->carved = 0;
    s->cold = 0;
    s->next = pool->slabs;
    pool->slabs = s;
    return s;
}

static bool guard(struct stacks *all, char *base)
{
    size_t size = all->page_size;

    if (!all->no_guard_install) {
        if (madvise(base, size, MADV_GUARD_INSTALL) == 0)
            return true;
        if (errno != EINVAL)
            return false;
        all->no_guard_install = true;
    }
    return mprotect(base, size, PROT_NONE) == 0;
}

/* Takes the next never used stack of a slab, mapping a new slab if there is none. */
static void *carve(struct stacks *all, unsigned int class)
{
    struct stack_pool *pool = stack_pool_of(all, class);
    struct slab *s = pool->slabs;
    char *base;
    void *block;

    if (!s || s->carved == s->count)
        s = slab_map(all, pool, class);
    if (!s)
        return NULL;
    base = guard_of(all, s, s->carved, class);
    if (!guard(all, base))
        return NULL;
    block = block_of(all, s, s->carved, class);
    *slab_of(all, block) = s;
    s->valgrind_ids[s->carved] = VALGRIND_STACK_REGISTER(base, base + stride_of(all, class));
    s->carved++;
    pool->mapped++;
    return block;
}

void *coil__stack_lend_cold(struct stacks *all, unsigned int class)
{
    struct list *oldest = list_pop_front(&stack_pool_of(all, class)->cold);

    if (!oldest)
        return carve(all, class);
    (*slab_of(all, oldest))->cold--;
    return oldest;
}

/* Drops all pages but the topmost. The guard survives. */
static void drop_pages(const struct stacks *all, unsigned int class, void *block)
{
    madvise(coil__stack_bottom(all, class, block), (UINT64_C(1) << class) - all->page_size,
            MADV_DONTNEED);
}

static void slab_unmap(struct stacks *all, struct stack_pool *pool, struct slab *s,
                       unsigned int class)
{
    struct slab **p = &pool->slabs;

    for (size_t i = 0; i < s->carved; i++) {
        VALGRIND_STACK_DEREGISTER(s->valgrind_ids[i]);
        list_remove(block_of(all, s, i, class));
    }
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    pool->mapped -= s->carved;
    munmap(s->base, s->count * stride_of(all, class));
    free(s);
}

/* Gives back all of a stack but the page its links are in; that goes when its whole slab is
 * cold. */
static void chill(struct stacks *all, struct stack_pool *pool, struct list *block,
                  unsigned int class)
{
    struct slab *s = *slab_of(all, block);

    drop_pages(all, class, block);
    list_push_back(&pool->cold, block);
    if (++s->cold == s->count)
        slab_unmap(all, pool, s, class);
}

static size_t spare(const struct stack_pool *pool)
{
    return pool->warm_count > WARM_KEPT ? pool->warm_count - WARM_KEPT : 0;
}

static bool trim(struct stacks *all, struct stack_pool *pool, unsigned int class)
{
    size_t idle = pool->warm_idle < spare(pool) ? pool->warm_idle : spare(pool);
    size_t half = (idle + 1) / 2;
    size_t count = half < TRIM_MOST ? half : TRIM_MOST;

    /* The far end of the warm list: these were not needed since the last time. */
    while (count--) {
        struct list *oldest = list_pop_front(&pool->warm);

        pool->warm_count--;
        chill(all, pool, oldest, class);
    }
    if (half > TRIM_MOST)
        return true; /* these were idle all the while: no need to look for half a second again */
    pool->warm_idle = pool->warm_count;
    return false;
}

bool coil__stacks_trimmable(const struct stacks *all)
{
    for (size_t i = 0; i < STACK_CLASSES; i++)
        if (spare(&all->pools[i]))
            return true;
    return false;
}

bool coil__stacks_trim(struct stacks *all)
{
    bool more = false;

    for (unsigned int i = 0; i < STACK_CLASSES; i++)
        if (all->pools[i].mapped)
            more |= trim(all, &all->pools[i], i + STACK_CLASS_MIN);
    return more;
}

size_t coil__stacks_mapped(const struct stacks *all)
{
    size_t sum = 0;

    for (size_t i = 0; i < STACK_CLASSES; i++)
        sum += all->pools[i].mapped;
    return sum;
}
