/* stack.h - stacks for tasks: mapped in slabs, guarded, kept warm, given back when long unused. */
#ifndef CORE_SCHED_STACK_H
#define CORE_SCHED_STACK_H

#include "../list.h"
#include "context.h"

#if defined(CONTEXT_ASAN) || defined(CONTEXT_TSAN)
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

/* One size of stack. A free stack keeps its links in the block at its own top, where a task's
 * control block goes: that page is warm or cold as a whole. */
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
    size_t page_size;
    bool no_guard_install; /* the kernel has no MADV_GUARD_INSTALL: use mprotect */
};

/* The class that holds size bytes. 0: out of range. */
unsigned int coil__stack_class(size_t size);

void coil__stacks_init(struct stacks *all);
void coil__stacks_close(struct stacks *all); /* every stack has been returned */

/* Lends a stack of 2^class bytes and returns its top block: block_size bytes (the same in all
 * calls, the last 8 are ours), 64 byte aligned. The stack grows down from it. NULL: the kernel gave
 * none (out of memory, or, with mprotect guards, out of mappings: vm.max_map_count). */
void *coil__stack_lend(struct stacks *all, unsigned int class, size_t block_size);
void coil__stack_return(struct stacks *all, unsigned int class, void *block, size_t block_size);

/* The lowest usable address of the stack that block is the top of. */
void *coil__stack_bottom(const struct stacks *all, unsigned int class, void *block);

/* Is there anything that trimming would give back? */
bool coil__stacks_trimmable(const struct stacks *all);

/* Gives pages of stacks that were not needed since the last call back to the kernel: half of them,
 * and a bounded number. True: there were more. */
bool coil__stacks_trim(struct stacks *all, size_t block_size);

size_t coil__stacks_mapped(const struct stacks *all);

#endif
