/* context.c - a thread's own context, and what the sanitizers want to be told. */
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

#if !defined(__x86_64__) && !defined(__aarch64__)
#error "coil: no context switch for this processor yet; see core/sched/switch_*.S"
#endif

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

#ifdef CONTEXT_WATCHED
void coil__context_make(struct context *c, void *stack_bottom)
{
    c->sp = NULL;
    (void)stack_bottom;
#ifdef CONTEXT_ASAN
    c->fake_stack = NULL;
    c->stack_bottom = stack_bottom;
    c->stack_size = (size_t)((char *)c - (char *)stack_bottom);
#endif
#ifdef CONTEXT_TSAN
    c->fiber = __tsan_create_fiber(0);
#endif
}

void coil__context_retire(struct context *c)
{
#ifdef CONTEXT_ASAN
    __asan_unpoison_memory_region(c->stack_bottom, c->stack_size);
#endif
#ifdef CONTEXT_TSAN
    __tsan_destroy_fiber(c->fiber);
    c->fiber = NULL;
#endif
}

void coil__context_announce(struct context *from, struct context *to)
{
    (void)from;
#ifdef CONTEXT_ASAN
    /* No place to save: the fake stack goes too. */
    __sanitizer_start_switch_fiber(from ? &from->fake_stack : NULL, to->stack_bottom,
                                   to->stack_size);
#endif
#ifdef CONTEXT_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
}

void coil__context_arrived(struct context *from)
{
    (void)from;
#ifdef CONTEXT_ASAN
    __sanitizer_finish_switch_fiber(from ? from->fake_stack : NULL, NULL, NULL);
#endif
}
#endif
