/* memory.h - where a loop's memory comes from: the embedder's hook, its own jemalloc arena, or
 * malloc. */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

struct coil_loop_options;
struct loop;

/* Sets loop->allocate. 0, -ENOMEM. */
int coil__memory_open(struct loop *loop, const struct coil_loop_options *o);
void coil__memory_close(struct loop *loop);

#endif
