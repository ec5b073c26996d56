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
    char *mapping;
    char *base;                  /* within, aligned to the size of a stack */
    size_t count;                /* stacks it has room for */
    size_t carved;               /* of these, given out at least once */
    size_t cold;                 /* of these, on the cold list */
    unsigned int valgrind_ids[]; /* one a stack, under Valgrind only */
};

/* What a free stack's top block holds. The slab stands at the very end of the block, always. */
struct free_stack {
    struct list link;
};

static struct slab **slab_of(void *block, size_t block_size)
{
    return (struct slab **)((char *)block + block_size) - 1;
}

static struct stack_pool *pool_of(struct stacks *all, unsigned int class)
{
    assert(class >= STACK_CLASS_MIN);
    assert(class <= STACK_CLASS_MAX);
    return &all->pools[class - STACK_CLASS_MIN];
}

/* With room to align the first stack to its size, so that any address in a stack leads to its
 * base. */
static size_t mapping_size(size_t count, unsigned int class)
{
    return (count + 1) << class;
}

static size_t page_size(void)
{
    long size = sysconf(_SC_PAGESIZE);

    return size > 0 ? (size_t)size : 4096;
}

unsigned int coil__stack_class(size_t size)
{
    unsigned int class = STACK_CLASS_MIN;

    const uint64_t least = 4 * page_size(); /* one of them is the guard */

    if (size < STACK_SIZE_MIN || size > STACK_SIZE_MAX)
        return 0;
    while (UINT64_C(1) << class < size || UINT64_C(1) << class < least)
        class ++;
    return class + STACK_CLASS_SCALE;
}

void coil__stacks_init(struct stacks *all)
{
    *all = (struct stacks){.page_size = page_size()};
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
            munmap(s->mapping, mapping_size(s->count, i + STACK_CLASS_MIN));
            free(s);
            s = next;
        }
    }
    coil__stacks_init(all);
}

/* Where the block of a slab's ith stack begins. Not all at the top exactly: parked tasks would lie
 * at one and the same offset from a multiple of the page, and compete for a few lines of the
 * cache. */
static void *block_of(const struct slab *s, size_t i, unsigned int class, size_t block_size)
{
    return s->base + ((i + 1) << class) - block_size - i % COLORS * COLOR_SIZE;
}

static struct slab *slab_map(struct stack_pool *pool, unsigned int class)
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
    s->mapping = mmap(NULL, mapping_size(count, class), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (s->mapping == MAP_FAILED) {
        free(s);
        return NULL;
    }
    s->base = (char *)(((uintptr_t)s->mapping + (UINT64_C(1) << class) - 1) >> class << class);
    /* A huge page under a parked task would be 2 MiB for what needs 4 KiB. */
    madvise(s->mapping, mapping_size(count, class), MADV_NOHUGEPAGE);
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
static void *carve(struct stacks *all, unsigned int class, size_t block_size)
{
    struct stack_pool *pool = pool_of(all, class);
    struct slab *s = pool->slabs;
    char *base;
    void *block;

    if (!s || s->carved == s->count)
        s = slab_map(pool, class);
    if (!s)
        return NULL;
    base = s->base + (s->carved << class);
    if (!guard(all, base))
        return NULL;
    block = block_of(s, s->carved, class, block_size);
    *slab_of(block, block_size) = s;
    s->valgrind_ids[s->carved] = VALGRIND_STACK_REGISTER(base, base + (UINT64_C(1) << class));
    s->carved++;
    pool->mapped++;
    return block;
}

void *coil__stack_lend(struct stacks *all, unsigned int class, size_t block_size)
{
    struct stack_pool *pool = pool_of(all, class);

    assert(block_size % 64 == 0);
    assert(block_size >= sizeof(struct free_stack) + sizeof(struct slab *));
    if (!list_empty(&pool->warm)) {
        struct list *n = pool->warm.prev;

        list_remove(n);
        pool->warm_count--;
        if (pool->warm_idle > pool->warm_count)
            pool->warm_idle = pool->warm_count;
        return container_of(n, struct free_stack, link);
    }
    if (!list_empty(&pool->cold)) {
        void *block = container_of(list_pop_front(&pool->cold), struct free_stack, link);

        (*slab_of(block, block_size))->cold--;
        return block;
    }
    return carve(all, class, block_size);
}

void coil__stack_return(struct stacks *all, unsigned int class, void *block, size_t block_size)
{
    struct stack_pool *pool = pool_of(all, class);
    struct free_stack *f = block;

    (void)block_size;
    list_push_back(&pool->warm, &f->link);
    pool->warm_count++;
}

static char *base_of(const void *block, unsigned int class)
{
    return (char *)((uintptr_t)block >> class << class);
}

void *coil__stack_bottom(const struct stacks *all, unsigned int class, void *block)
{
    return base_of(block, class) + all->page_size;
}

/* Drops all pages but the topmost. The guard survives. */
static void drop_pages(const struct stacks *all, unsigned int class, struct free_stack *f)
{
    char *bottom = coil__stack_bottom(all, class, f);
    char *top = base_of(f, class) + (UINT64_C(1) << class);

    madvise(bottom, (size_t)(top - bottom) - all->page_size, MADV_DONTNEED);
}

static void slab_unmap(struct stack_pool *pool, struct slab *s, unsigned int class,
                       size_t block_size)
{
    struct slab **p = &pool->slabs;

    for (size_t i = 0; i < s->carved; i++) {
        struct free_stack *f = block_of(s, i, class, block_size);

        VALGRIND_STACK_DEREGISTER(s->valgrind_ids[i]);
        list_remove(&f->link);
    }
    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    pool->mapped -= s->carved;
    munmap(s->mapping, mapping_size(s->count, class));
    free(s);
}

/* Gives back all of a stack but the page its links are in; that goes when its whole slab is
 * cold. */
static void chill(struct stacks *all, struct stack_pool *pool, struct free_stack *f,
                  unsigned int class, size_t block_size)
{
    struct slab *s = *slab_of(f, block_size);

    drop_pages(all, class, f);
    list_push_back(&pool->cold, &f->link);
    if (++s->cold == s->count)
        slab_unmap(pool, s, class, block_size);
}

static size_t spare(const struct stack_pool *pool)
{
    return pool->warm_count > WARM_KEPT ? pool->warm_count - WARM_KEPT : 0;
}

static bool trim(struct stacks *all, struct stack_pool *pool, unsigned int class, size_t block_size)
{
    size_t idle = pool->warm_idle < spare(pool) ? pool->warm_idle : spare(pool);
    size_t half = (idle + 1) / 2;
    size_t count = half < TRIM_MOST ? half : TRIM_MOST;

    /* The far end of the warm list: these were not needed since the last time. */
    while (count--) {
        struct list *oldest = list_pop_front(&pool->warm);

        pool->warm_count--;
        chill(all, pool, container_of(oldest, struct free_stack, link), class, block_size);
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

bool coil__stacks_trim(struct stacks *all, size_t block_size)
{
    bool more = false;

    for (unsigned int i = 0; i < STACK_CLASSES; i++)
        if (all->pools[i].mapped)
            more |= trim(all, &all->pools[i], i + STACK_CLASS_MIN, block_size);
    return more;
}

size_t coil__stacks_mapped(const struct stacks *all)
{
    size_t sum = 0;

    for (size_t i = 0; i < STACK_CLASSES; i++)
        sum += all->pools[i].mapped;
    return sum;
}
