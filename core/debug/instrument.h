/* instrument.h - who is told what the loop does. */
#ifndef CORE_DEBUG_INSTRUMENT_H
#define CORE_DEBUG_INSTRUMENT_H

#include "../../include/coil/instrument.h"
#include "../base.h"

struct loop;

/* In the order of struct coil_instrument. */
enum hook {
    HOOK_BEFORE_RUN,
    HOOK_AFTER_RUN,
    HOOK_SPAWNED,
    HOOK_SCHEDULED,
    HOOK_BEFORE_STEP,
    HOOK_AFTER_STEP,
    HOOK_EXITED,
    HOOK_BEFORE_WAIT,
    HOOK_AFTER_WAIT,
};

#define HOOK_BIT(hook) (1u << (hook))

/* With one of these, each step begins and ends in the loop. HOOK_SCHEDULED is among them so that a
 * yield need not ask: the loop sees who comes back ready. */
#define HOOKS_BY_STEP                                                                              \
    (HOOK_BIT(HOOK_BEFORE_STEP) | HOOK_BIT(HOOK_AFTER_STEP) | HOOK_BIT(HOOK_SCHEDULED))

struct instruments {
    const struct coil_instrument *all[COIL_INSTRUMENTS_MOST];
    int count;
    int at;                       /* whose hook runs */
    int end;                      /* behind the last who is told: those after it came meanwhile */
    bool telling;                 /* a hook runs: what it does itself is not told */
    bool stepping;                /* the loop reports steps, until the end of the turn */
    const struct coil_task *runs; /* whose step it is, unless it has been reported as ready again */
};

/* Adds i, for which there must be room. */
void coil__instruments_push(struct loop *loop, const struct coil_instrument *i);

/* Brings loop->hooks up to date. */
void coil__instruments_update(struct loop *loop);

/* Of t, which is new and ready. */
void coil__instruments_report_spawn(struct loop *loop, struct coil_task *t);

/* Around each step while loop->instruments.stepping. */
void coil__instruments_begin_step(struct loop *loop, struct coil_task *t);
void coil__instruments_end_step(struct loop *loop, struct coil_task *t);

/* Calls that hook of all. deadline_ns is for HOOK_BEFORE_WAIT, t for those about a task. */
void coil__instruments_report(struct loop *loop, enum hook hook, struct coil_task *t,
                              int64_t deadline_ns);

#endif
