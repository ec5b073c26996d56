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

struct coil_task;

struct context {
    void *sp; /* everything else is on the stack it points into. NULL: has not begun */
#ifdef CONTEXT_ASAN
    void *fake_stack;
    const void *stack_bottom;
    size_t stack_size;
#endif
#ifdef CONTEXT_TSAN
    void *fiber;
#endif
};

/* For a thread's own stack, before the first switch away from it. */
void coil__context_adopt(struct context *c);

/* In switch_*.S. The first two save the calling context's stack pointer in *save; the others leave
 * it for good, and are not marked so: a call that returns nowhere is not made a jump. */
void coil__switch(void **save, void *load); /* goes on where load was saved */
void coil__start(void **save, struct coil_task *t);
void coil__resume(void *load);            /* ... in whoever was left by coil__start, */
void coil__resume_unforeseen(void *load); /* ... in anybody else */
void coil__begin(struct coil_task *t);
extern const char
    coil__switch_parked[]; /* the pc at which a parked context's registers are all saved */

/* Where a task begins. It ends with context_leave. */
void coil__task_main(struct coil_task *self);

#if defined(CONTEXT_ASAN) || defined(CONTEXT_TSAN)
/* The context of a task, of which it is the first member: the task is the top of the stack. */
void coil__context_make(struct context *c, void *stack_bottom);

/* Before its stack is used for something else. */
void coil__context_retire(struct context *c);

/* Around a switch. from is NULL where there is no way back, or where there was nothing before. */
void coil__context_announce(struct context *from, struct context *to);
void coil__context_arrived(struct context *from);
#else
static inline void coil__context_make(struct context *c, void *stack_bottom)
{
    (void)stack_bottom;
    c->sp = NULL;
}

static inline void coil__context_retire(struct context *c)
{
    (void)c;
}

static inline void coil__context_announce(struct context *from, struct context *to)
{
    (void)from;
    (void)to;
}

static inline void coil__context_arrived(struct context *from)
{
    (void)from;
}
#endif

/* Rests in from, and goes on in to, or begins it. */
static inline void context_switch(struct context *from, struct context *to)
{
    coil__context_announce(from, to);
    if (to->sp)
        coil__switch(&from->sp, to->sp);
    else
        coil__start(&from->sp, (struct coil_task *)to);
    coil__context_arrived(from);
}

/* The same from where nobody will come back to. Nothing may follow it. starter is who last
 * switched, if it began a task by that: all since then have begun and ended by jumps, but for one
 * that was resumed by one, and ended; then the return is predicted wrongly, and no worse. */
static inline void context_leave(struct context *to, const struct context *starter)
{
    coil__context_announce(NULL, to);
    if (!to->sp)
        coil__begin((struct coil_task *)to);
    else if (to == starter)
        coil__resume(to->sp);
    else
        coil__resume_unforeseen(to->sp);
}

#endif
