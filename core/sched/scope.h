/* scope.h - a node of the tree of cancel scopes. scope.c is the only file that decides
 * cancellation. */
#ifndef CORE_SCHED_SCOPE_H
#define CORE_SCHED_SCOPE_H

#include "../../include/coil/scope.h"
#include "../list.h"
#include "../thread/mailbox.h"
#include "timer.h"

struct loop;
struct coil_task;

enum {
    ASK_STOP = 1,   /* cancelled: checkpoints fail */
    ASK_FINISH = 2, /* requested: checkpoints work, for a while */
    ASK_EITHER = ASK_STOP | ASK_FINISH,
    ASK_TELL = 4, /* the backend is told of each call that can wait; shields do not stop it */
};

enum scope_state {
    SCOPE_PREPARED = 0x5c09e001, /* before its begin; may be cancelled already */
    SCOPE_ACTIVE,
    SCOPE_ENDED,
};

/* Who may touch a scope that was prepared: before its begin anybody, once; then its loop. */
enum scope_stage {
    STAGE_OPEN,
    STAGE_CANCELLING, /* somebody writes down why */
    STAGE_AWAITED,    /* ... and the begin sleeps until that is done */
    STAGE_CANCELLED,
    STAGE_BEGUN,
};

/* What every scope needs comes first: beginning and ending touch two lines of the cache. */
struct scope {
    struct scope *parent; /* NULL at the loop's root */
    struct list siblings; /* among parent's children */
    struct list children;
    struct coil_task *task; /* who began it; NULL at the root */
    struct loop *loop;      /* NULL until begun */
    const char *site;       /* of the begin */
    int64_t deadline_ns;

    uint32_t state; /* enum scope_state */
    uint32_t stage; /* enum scope_stage; atomic as long as the scope is prepared; a futex */
    uint8_t asked;  /* of this scope: ASK_ bits */
    uint8_t seen;   /* here, after shields and ancestors: ASK_ bits. All a checkpoint looks at */
    uint8_t cause;  /* enum coil_cause */
    bool shielded;
    bool of_group; /* coil_group_end ends it */
    bool fails;    /* its end says -ETIME for a deadline */
    bool caught;
    bool mailed; /* atomic: a cancel from another thread is on its way, with what it has to say */
    bool told_outside; /* its task had been told to stop before it began */

    struct timer timer; /* for the sooner of its two times, or before, and then armed again */

    /* Set with asked. */
    int64_t grace_end_ns; /* of ASK_FINISH */
    const char *reason;
    const char *canceller; /* a task's name */
    const char *cancel_site;

    struct mail mail;
    const char *mail_reason; /* these also of a cancel before the begin */
    const char *mail_task;
    const char *mail_site;
};

static inline struct scope *scope_of(const struct coil_scope *s)
{
    return (struct scope *)(uintptr_t)s;
}

/* A scope that nobody has cancelled yet. */
static inline void scope_clear(struct scope *s, struct loop *loop, enum scope_stage stage)
{
    s->loop = loop;
    s->deadline_ns = COIL_FOREVER;
    s->state = SCOPE_PREPARED;
    s->asked = 0;
    s->seen = 0;
    s->cause = COIL_CAUSE_NONE;
    s->shielded = false;
    s->of_group = false;
    s->fails = false;
    s->caught = false;
    s->stage = stage;
    s->mailed = false;
    s->timer.link.next = NULL;
}

/* What s sees of what its parent sees. */
static inline uint8_t scope_lets_through(const struct scope *s, uint8_t seen)
{
    return s->shielded ? seen & ASK_TELL : seen;
}

/* Has whoever is in s been asked for something, be it only to finish? */
static inline bool scope_is_asked(const struct scope *s)
{
    return s->seen & ASK_EITHER;
}

/* Puts s, which is its loop's by now, under parent. task becomes its owner but does not enter. */
static inline void scope_join(struct scope *s, struct scope *parent, struct coil_task *task,
                              const char *site)
{
    handicap(parent, 75);
    /* First: the compiler knows s by heart until the lists are written, which might be s. */
    s->seen = s->asked | scope_lets_through(s, parent->seen);
    s->parent = parent;
    s->task = task;
    s->site = site;
    s->state = SCOPE_ACTIVE;
    list_init(&s->children);
    list_push_back(&parent->children, &s->siblings);
}

/* Who has to be told of a change. */
struct audience {
    struct list ours;   /* parked tasks */
    struct list groups; /* with tasks that have no stack */
    struct list users;  /* parked tasks with an abort function of a user's */
};

/* Deadlines that pass at one time. */
struct passing {
    struct audience audience;
    struct timer timer; /* of the same time, and fires after all of theirs */
};

/* The root of a tree. */
void coil__scope_root(struct scope *s, struct loop *loop, const char *site);

/* scope_leave where anything at all has happened to s. */
int coil__scope_leave(struct scope *s, int rc);

/* Takes s out of the tree and decides who catches rc. Its children have ended. */
static inline int scope_leave(struct scope *s, int rc)
{
    assert(list_empty(&s->children));

    if (unlikely(s->asked || timer_armed(&s->timer) ||
                 __atomic_load_n(&s->mailed, __ATOMIC_ACQUIRE)))
        return coil__scope_leave(s, rc);
    list_remove(&s->siblings);
    s->state = SCOPE_ENDED;
    return rc;
}

/* For tests: has the backend told of each call that can wait, here and in all that joins below s,
 * which has nothing in it yet. */
void coil__scope_tell(struct scope *s);

/* Moves s, which is active, with all that is in it, under another parent of the same loop. */
void coil__scope_move(struct scope *s, struct scope *parent);

/* The outermost scope that s can see, s included, and that was cancelled; NULL: none was. */
const struct scope *coil__scope_responsible(const struct scope *s);

/* Has t been told to stop, and by none of its own scopes? */
bool coil__scope_told_from_above(const struct coil_task *t);

/* Why s is to stop, or else to finish. False: nobody asked. */
bool coil__scope_why(const struct scope *s, struct coil_cancellation *ret);

/* As coil_scope_cancellation. */
void coil__scope_describe(const struct scope *s, struct coil_cancellation *ret);

/* The soonest deadline that reaches s; COIL_FOREVER if none, INT64_MIN if it is cancelled. */
int64_t coil__scope_effective_deadline(const struct scope *s);

/* The next in a walk of the tree under top, parents first, oldest first. NULL: that was the
 * last. */
const struct scope *coil__scope_walk(const struct scope *s, const struct scope *top);

/* Dies if s is open, in whatever task of the loop. Looks at all its scopes. */
void coil__scope_must_not_be_open(const struct scope *s, const char *site);

/* Dies with what is wrong about ending s here. */
_Noreturn void coil__scope_no_end(const struct scope *s, bool of_group, const char *site);

void coil__scope_cancel(struct scope *s, enum coil_cause cause, const char *reason,
                        const char *canceller, const char *site);

#endif
