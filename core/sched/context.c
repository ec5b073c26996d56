/* context.c - making contexts, and telling the sanitizers about them. */
#define _GNU_SOURCE
#include "context.h"

#include <string.h>

#ifdef CONTEXT_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CONTEXT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* In switch_*.S: takes entry and arg from the callee-saved registers and calls. */
extern void coil__context_entry(void);

#if defined(__x86_64__)
enum { SAVED_WORDS = 7, ENTRY = 3, ARG = 2, RETURN = 6 }; /* r15 r14 r13 r12 rbx rbp, pc */
#elif defined(__aarch64__)
enum { SAVED_WORDS = 20, ENTRY = 0, ARG = 1, RETURN = 11 }; /* x19..x30, d8..d15 */
#else
#error "coil: no context switch for this processor yet; see core/sched/switch_*.S"
#endif

void coil__context_make(struct context *c, void *stack_bottom, void *stack_top,
                        void (*entry)(void *arg), void *arg)
{
    uintptr_t *saved = (uintptr_t *)stack_top - SAVED_WORDS;

    memset(saved, 0, SAVED_WORDS * sizeof(*saved));
    saved[ENTRY] = (uintptr_t)entry;
    saved[ARG] = (uintptr_t)arg;
    saved[RETURN] = (uintptr_t)coil__context_entry;
    c->sp = saved;
    (void)stack_bottom;
#ifdef CONTEXT_ASAN
    c->fake_stack = NULL;
    c->stack_bottom = stack_bottom;
    c->stack_size = (size_t)((char *)stack_top - (char *)stack_bottom);
#endif
#ifdef CONTEXT_TSAN
    c->fiber = __tsan_create_fiber(0);
#endif
}

void coil__context_adopt(struct context *c)
{
    memset(c, 0, sizeof(*c));
#ifdef CONTEXT_ASAN
    pthread_attr_t attr;
    void *bottom;
    size_t size;

    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &bottom, &size);
        pthread_attr_destroy(&attr);
        c->stack_bottom = bottom;
        c->stack_size = size;
    }
#endif
#ifdef CONTEXT_TSAN
    c->fiber = __tsan_get_current_fiber();
#endif
}

void coil__context_retire(struct context *c)
{
    (void)c;
#ifdef CONTEXT_ASAN
    __asan_unpoison_memory_region(c->stack_bottom, c->stack_size);
#endif
#ifdef CONTEXT_TSAN
    __tsan_destroy_fiber(c->fiber);
    c->fiber = NULL;
#endif
}

#if defined(CONTEXT_ASAN) || defined(CONTEXT_TSAN)
static void announce(struct context *to, void **fake_stack)
{
    (void)to;
    (void)fake_stack;
#ifdef CONTEXT_ASAN
    __sanitizer_start_switch_fiber(fake_stack, to->stack_bottom, to->stack_size);
#endif
#ifdef CONTEXT_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
}

static void arrive(void *fake_stack)
{
    (void)fake_stack;
#ifdef CONTEXT_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
#endif
}

void coil__context_switch(struct context *from, struct context *to)
{
#ifdef CONTEXT_ASAN
    announce(to, &from->fake_stack);
    coil__switch(&from->sp, to->sp);
    arrive(from->fake_stack);
#else
    announce(to, NULL);
    coil__switch(&from->sp, to->sp);
    arrive(NULL);
#endif
}

void coil__context_leave(struct context *from, struct context *to)
{
    announce(to, NULL); /* no place to save: the fake stack goes too */
    coil__switch(&from->sp, to->sp);
}

void coil__context_arrived(void)
{
    arrive(NULL);
}
#endif
