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

struct scope {
    struct scope *parent; /* NULL at the loop's root */
    struct list siblings; /* among parent's children */
    struct list children;
    struct coil_task *task; /* who began it; NULL at the root */
    struct loop *loop;      /* NULL until begun */
    struct timer timer;     /* for the sooner of the two below, or before, and then armed again */
    int64_t deadline_ns;
    int64_t grace_end_ns; /* COIL_FOREVER unless requested */
    const char *site;     /* of the begin */

    uint32_t state; /* enum scope_state */
    uint8_t asked;  /* of this scope: ASK_ bits */
    uint8_t seen;   /* here, after shields and ancestors: ASK_ bits. All a checkpoint looks at */
    uint8_t cause;  /* enum coil_cause; the three below are set with it, or by a request */
    bool shielded;
    bool of_group; /* coil_group_end ends it */
    bool fails;    /* its end says -ETIME for a deadline */
    bool caught;

    const char *reason;
    const char *canceller; /* a task's name */
    const char *cancel_site;

    uint32_t stage; /* enum scope_stage; atomic as long as the scope is prepared */
    bool mailed; /* atomic: a cancel from another thread is on its way, with what it has to say */
    struct mail mail;
    const char *mail_reason; /* these also of a cancel before the begin */
    const char *mail_task;
    const char *mail_site;
};

static inline struct scope *scope_of(const struct coil_scope *s)
{
    return (struct scope *)(uintptr_t)s;
}

/* Begins s, which is prepared, under parent. task becomes its owner but does not enter it. */
void coil__scope_begin(struct scope *s, struct scope *parent, struct coil_task *task,
                       struct loop *loop, int64_t deadline_ns, const char *site);
void coil__scope_prepare(struct scope *s);

/* Takes s out of the tree and decides who catches rc. Its children have ended. */
int coil__scope_end(struct scope *s, int rc);

/* Dies unless s is the calling task's innermost scope and, of_group, belongs to a group or does
 * not. */
void coil__scope_check_end(const struct scope *s, bool of_group, const char *site);

/* Dies if s is open in the calling task already, as its innermost scope: it would become its own
 * parent. */
void coil__scope_check_begin(const struct scope *s, const char *site);

void coil__scope_cancel(struct scope *s, enum coil_cause cause, const char *reason,
                        const char *canceller, const char *site);

#endif
