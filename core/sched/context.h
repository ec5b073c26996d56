/* context.h - where a flow of control rests while it does not run, and how to go from one to
 * another.
 *
 * The switch saves what the ABI says a call preserves. The floating-point modes (MXCSR, FPCR)
 * belong to the thread, as everywhere in C: a task that changes rounding puts it back before it
 * waits. */
#ifndef CORE_SCHED_CONTEXT_H
#define CORE_SCHED_CONTEXT_H

#include "../base.h"

#if defined(__SANITIZE_ADDRESS__)
#define CONTEXT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONTEXT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CONTEXT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONTEXT_TSAN 1
#endif
#endif

struct context {
    void *sp; /* everything else is on the stack it points into */
#ifdef CONTEXT_ASAN
    void *fake_stack;
    const void *stack_bottom;
    size_t stack_size;
#endif
#ifdef CONTEXT_TSAN
    void *fiber;
#endif
};

/* Lays out a stack so that the first switch to c calls entry(arg), which must not return. stack_top
 * is 16 byte aligned and grows down to stack_bottom. */
void coil__context_make(struct context *c, void *stack_bottom, void *stack_top,
                        void (*entry)(void *arg), void *arg);

/* For a thread's own stack, before the first switch away from it. */
void coil__context_adopt(struct context *c);

/* Before a made context's stack is used for something else. */
void coil__context_retire(struct context *c);

/* In switch_*.S: saves the calling context's stack pointer in *save and goes on where load was
 * saved. */
void coil__switch(void **save, void *load);
extern const char
    coil__switch_parked[]; /* the pc at which a parked context's registers are all saved */

#if defined(CONTEXT_ASAN) || defined(CONTEXT_TSAN)
void coil__context_switch(struct context *from, struct context *to);
void coil__context_leave(struct context *from, struct context *to); /* from will not be resumed */
void coil__context_arrived(void); /* first thing on a made context */
#else
static inline void coil__context_switch(struct context *from, struct context *to)
{
    coil__switch(&from->sp, to->sp);
}

static inline void coil__context_leave(struct context *from, struct context *to)
{
    coil__switch(&from->sp, to->sp);
}

static inline void coil__context_arrived(void)
{
}
#endif

#endif
