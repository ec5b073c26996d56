/* stack.h - stacks for tasks: mapped in slabs, guarded, kept warm, given back when long unused. */
#ifndef CORE_SCHED_STACK_H
#define CORE_SCHED_STACK_H

#include "../list.h"
#include "context.h"

#ifdef CONTEXT_WATCHED
#define STACK_CLASS_SCALE 2 /* frames under a sanitizer are several times as large */
#else
#define STACK_CLASS_SCALE 0
#endif

#define STACK_CLASS_MIN 14 /* log2 of the size: 16 KiB */
#define STACK_CLASS_MAX (30 + STACK_CLASS_SCALE)
#define STACK_SIZE_MIN  (UINT64_C(1) << STACK_CLASS_MIN) /* what may be asked for */
#define STACK_SIZE_MAX  (UINT64_C(1) << 30)
#define STACK_CLASSES   (STACK_CLASS_MAX - STACK_CLASS_MIN + 1)

struct slab;

/* One size of stack. A free stack is on a list by the first words of the block at its top, where a
 * task's control block goes: that page is warm or cold as a whole. */
struct stack_pool {
    struct list warm; /* free, pages kept: last in, first out */
    struct list cold; /* free, pages given back */
    size_t warm_count;
    size_t warm_idle;   /* how many of the warm ones nobody needed since the last trim */
    struct slab *slabs; /* newest first; the first may have room */
    size_t mapped;      /* stacks carved so far */
};

struct stacks {
    struct stack_pool pools[STACK_CLASSES];
    size_t block_size; /* of the block at the top of each; the last 8 bytes are ours */
    size_t page_size;
    bool no_guard_install; /* the kernel has no MADV_GUARD_INSTALL: use mprotect */
};

/* The class that holds size bytes. 0: out of range. */
unsigned int coil__stack_class(size_t size);

void coil__stacks_init(struct stacks *all, size_t block_size);
void coil__stacks_close(struct stacks *all); /* every stack has been returned */

static inline struct stack_pool *stack_pool_of(struct stacks *all, unsigned int class)
{
    assert(class >= STACK_CLASS_MIN);
    assert(class <= STACK_CLASS_MAX);
    return &all->pools[class - STACK_CLASS_MIN];
}

/* stack_lend when no warm one is left. */
void *coil__stack_lend_cold(struct stacks *all, unsigned int class);

/* Lends a stack of 2^class bytes and returns its top block, 64 byte aligned. The stack grows down
 * from it. NULL: the kernel gave none (out of memory, or, with mprotect guards, out of mappings:
 * vm.max_map_count). */
static inline void *stack_lend(struct stacks *all, unsigned int class)
{
    struct stack_pool *pool = stack_pool_of(all, class);
    struct list *newest = pool->warm.prev;

    if (unlikely(list_empty(&pool->warm)))
        return coil__stack_lend_cold(all, class);
    list_remove(newest);
    if (pool->warm_idle > --pool->warm_count)
        pool->warm_idle = pool->warm_count;
    return newest;
}

static inline void stack_return(struct stacks *all, unsigned int class, void *block)
{
    struct stack_pool *pool = stack_pool_of(all, class);

    list_push_back(&pool->warm, block);
    pool->warm_count++;
}

/* The lowest usable address of the stack that block is the top of. */
__attribute__((pure)) void *coil__stack_bottom(const struct stacks *all, unsigned int class,
                                               const void *block);

/* Is there anything that trimming would give back? */
bool coil__stacks_trimmable(const struct stacks *all);

/* Gives pages of stacks that were not needed since the last call back to the kernel: half of them,
 * and a bounded number. True: there were more. */
bool coil__stacks_trim(struct stacks *all);

size_t coil__stacks_mapped(const struct stacks *all);

#endif
