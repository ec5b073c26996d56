/* context.h - where a flow of control rests while it does not run, and how to go from one to
 * another.
 *
 * The switch saves what the ABI says a call preserves. The floating-point modes (MXCSR, FPCR)
 * belong to the thread, as everywhere in C: a task that changes rounding puts it back before it
 * waits. */
#ifndef CORE_SCHED_CONTEXT_H
#define CORE_SCHED_CONTEXT_H

#include "../../include/coil/group.h"
#include "../base.h"
#include "switch.h"

struct coil_task;

struct context {
    void *sp;         /* everything else is on the stack it points into. NULL: has not begun */
    coil_task_fn *fn; /* what it begins with */
    void *arg;
    int answer; /* what the switch in which it rests will say */
#ifdef CONTEXT_ASAN
    void *fake_stack;
    const void *stack_bottom;
    size_t stack_size;
#endif
#ifdef CONTEXT_TSAN
    void *fiber;
#endif
};

_Static_assert(offsetof(struct context, sp) == CONTEXT_SP, "switch.h");
_Static_assert(offsetof(struct context, fn) == CONTEXT_FN, "switch.h");
_Static_assert(offsetof(struct context, arg) == CONTEXT_ARG, "switch.h");
_Static_assert(offsetof(struct context, answer) == CONTEXT_ANSWER, "switch.h");

/* How to go from a context that has ended to the next; see context_leave. */
enum way {
    WAY_FORESEEN,
    WAY_UNFORESEEN = WAY_SECOND,
    WAY_BEGIN,
};

struct departure {
    struct context *to;
    enum way way;
};

/* For a thread's own stack, before the first switch away from it. */
void coil__context_adopt(struct context *c);

/* In switch_*.S. The calling context rests, *save saying where. Another goes on where load says,
 * and its switch returns answer; or it begins. */
int coil__switch(void **save, void *load, int answer);
int coil__start(void **save, struct context *to);
extern const char
    coil__switch_parked[]; /* the pc at which a parked context's registers are all saved */

/* What a context goes on with when its fn has returned result. It is the first member of the task,
 * which is the top of the stack. */
struct departure coil__task_ended(struct coil_task *self, int result);

#ifdef CONTEXT_WATCHED
/* The context of a task. */
void coil__context_make(struct context *c, void *stack_bottom);

/* Before its stack is used for something else. */
void coil__context_retire(struct context *c);

/* Around a switch, also those that switch_*.S makes by itself. from is NULL where there is no way
 * back, or where there was nothing before. */
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

/* Rests in from, and goes on in to, or begins it. Returns from->answer, as it is when somebody goes
 * back there. */
static inline int context_switch(struct context *from, struct context *to)
{
    int answer;

    coil__context_announce(from, to);
    if (to->sp)
        answer = coil__switch(&from->sp, to->sp, to->answer);
    else
        answer = coil__start(&from->sp, to);
    coil__context_arrived(from);
    return answer;
}

/* How to leave for good. starter is who last switched, if it began a task by that: all since then
 * have begun, or were resumed by the end of another, and have ended. If one of these had parked
 * deeper than in its first function, the return is predicted wrongly, and no worse. */
static inline struct departure context_leave(struct context *to, const struct context *starter)
{
    return (struct departure){
        .to = to,
        .way = !to->sp ? WAY_BEGIN : to == starter ? WAY_FORESEEN : WAY_UNFORESEEN,
    };
}

#endif
