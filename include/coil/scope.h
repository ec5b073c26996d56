/* coil/scope.h - cancel scopes: what may be asked to stop, and until when. */
#ifndef COIL_SCOPE_H
#define COIL_SCOPE_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Scopes -------------------------------------------------------------------------------------
 *
 * A scope covers a stretch of code. Cancelled, by its deadline or by a call, it makes every
 * checkpoint inside return -ECANCELED until it ends; the code returns, and the scope catches.
 *
 *      struct coil_scope s;
 *      int rc;
 *
 *      coil_scope_begin(&s, coil_now() + 5 * COIL_SECOND);
 *      rc = talk_to(peer);                     // whatever it does, at most five seconds
 *      rc = coil_scope_end(&s, rc);            // 0 if the time was up and talk_to gave in
 *      if (coil_scope_caught(&s))
 *          ...
 *
 * Being cancelled is a state, not an event: a call that ignores it only meets it again. A scope
 * lives in memory of the caller, usually on the stack; it is used once, nests strictly, and is
 * ended by the task that began it. Beginning one that is open, ending scopes out of order, from
 * another task, or leaving one open when its task ends would corrupt the tree: it aborts with one
 * line that names both places. Nothing here allocates. */
struct coil_scope {
    uint64_t opaque_[28];
};

/* Why a scope was cancelled. Recorded when it happens; the first cause stays. */
enum coil_cause {
    COIL_CAUSE_NONE,        /* it was not */
    COIL_CAUSE_DEADLINE,    /* its deadline passed */
    COIL_CAUSE_EXPLICIT,    /* somebody asked: coil_scope_cancel, coil_task_cancel */
    COIL_CAUSE_GROUP_ERROR, /* a task of the group failed */
    COIL_CAUSE_SHUTDOWN,    /* the loop or the runtime is ending; of a service, its group */
};

/* Who cancelled a scope, and why. The strings are the ones that were passed in. */
struct coil_cancellation {
    enum coil_cause cause;
    const char *reason; /* the caller's words; NULL if none */
    const char *task;   /* the name of the task that asked; NULL if a deadline or another thread */
    const char *site;   /* file:line of the call; NULL if a deadline */
};

/* Begins s in the calling task: everything until coil_scope_end is inside. At deadline_ns
 * (coil_now's clock; COIL_FOREVER for none) it is cancelled and coil_scope_end moves on with 0. A
 * deadline already past acts at the first checkpoint. Does not wait, cannot fail. (trio:
 * CancelScope, move_on_at) */
#define coil_scope_begin(s, deadline_ns) coil_scope_begin_at((s), (deadline_ns), COIL_HERE)
COIL_API void coil_scope_begin_at(struct coil_scope *s, int64_t deadline_ns, const char *site);

/* The same, but coil_scope_end says -ETIME if the deadline was the cause. (trio: fail_at) */
#define coil_timeout_begin(s, deadline_ns) coil_timeout_begin_at((s), (deadline_ns), COIL_HERE)
COIL_API void coil_timeout_begin_at(struct coil_scope *s, int64_t deadline_ns, const char *site);

/* Begins a scope that cancellation from outside does not reach, for clean-up that must wait. It is
 * itself cancelled limit_ns after now: no limit has to be said, with COIL_FOREVER. The shield
 * blocks ancestors only; its own limit and coil_scope_cancel still act. */
#define coil_shield_begin(s, limit_ns) coil_shield_begin_at((s), (limit_ns), COIL_HERE)
COIL_API void coil_shield_begin_at(struct coil_scope *s, int64_t limit_ns, const char *site);

/* For a scope that others may cancel before it begins, from any thread: prepare it, hand it out,
 * then begin it with coil_scope_begin_prepared. Cancelled in between, it is cancelled from its
 * start. */
COIL_API void coil_scope_prepare(struct coil_scope *s);
#define coil_scope_begin_prepared(s, deadline_ns)                                                  \
    coil_scope_begin_prepared_at((s), (deadline_ns), COIL_HERE)
COIL_API void coil_scope_begin_prepared_at(struct coil_scope *s, int64_t deadline_ns,
                                           const char *site);

/* Ends s, given the result of the code inside. If rc is -ECANCELED, s is cancelled, and no ancestor
 * that s can see is, then s was the one to stop: it catches, and the answer is 0, or -ETIME for a
 * coil_timeout_begin whose deadline passed. In every other case the answer is rc: a result is kept,
 * an error is kept, and a cancellation meant for an outer scope goes on up. Does not wait. */
#define coil_scope_end(s, rc) coil_scope_end_at((s), (rc), COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_scope_end_at(struct coil_scope *s, int rc, const char *site);

/* Cancels s: its checkpoints return -ECANCELED from now on, in every task inside. Returns before
 * they have stopped. Repeating it changes nothing; the first cause and reason are kept (reason may
 * be NULL, and must outlive s). From a task of the same loop it acts at once; from any other thread
 * it is a message to the loop, and the caller must know that s has not ended. */
#define coil_scope_cancel(s, reason) coil_scope_cancel_at((s), (reason), COIL_HERE)
COIL_API void coil_scope_cancel_at(struct coil_scope *s, const char *reason, const char *site);

/* Asks softly, a scope that has begun: coil_cancel_requested becomes true inside, checkpoints go on
 * working for grace_ns, then s is cancelled. Nothing happens if it was asked or cancelled before.
 * From the same loop only, as with all below; anything else aborts with a line. (trio #147) */
#define coil_scope_request(s, grace_ns, reason)                                                    \
    coil_scope_request_at((s), (grace_ns), (reason), COIL_HERE)
COIL_API void coil_scope_request_at(struct coil_scope *s, int64_t grace_ns, const char *reason,
                                    const char *site);

/* Moves the deadline of a scope that has begun. From any task of the loop; once s is cancelled it
 * changes nothing. A deadline in the past cancels at the loop's next turn. */
COIL_API void coil_scope_set_deadline(struct coil_scope *s, int64_t deadline_ns);
COIL_API int64_t coil_scope_deadline(const struct coil_scope *s);

/* Raises or lowers the shield of a scope that has begun. Lowering it delivers a cancellation that
 * waited outside at once. */
COIL_API void coil_scope_set_shield(struct coil_scope *s, int shielded);

/* Has s itself been cancelled (1) or not (0)? An ancestor's cancellation does not count. */
COIL_API int coil_scope_cancelled(const struct coil_scope *s);

/* Did s swallow a cancellation when it ended? Cancelled without a later checkpoint, it did not. */
COIL_API int coil_scope_caught(const struct coil_scope *s);

/* Why s was cancelled. Readable also after its end, which ends the record too. */
COIL_API void coil_scope_cancellation(const struct coil_scope *s, struct coil_cancellation *ret);

/* Why the calling task is cancelled: the record of the outermost scope that it can see and that
 * was.
 * 1.  0: it is not cancelled; ret is untouched. */
COIL_API int coil_why_cancelled(struct coil_cancellation *ret);

/* --- Checkpoints --------------------------------------------------------------------------------
 *
 * Every call that can wait is one; these do nothing else. */

/* Lets every other ready task run once, then answers 0, or -ECANCELED. */
COIL_API COIL_MUST_CHECK int coil_checkpoint(void);

/* Answers 0 or -ECANCELED without giving way. */
COIL_API COIL_MUST_CHECK int coil_checkpoint_if_cancelled(void);

/* Gives way without asking. */
COIL_API void coil_yield_shielded(void);

/* Has anybody asked, softly or not, that this task finish? */
COIL_API int coil_cancel_requested(void);

/* The soonest deadline that can reach the calling task: COIL_FOREVER if none, INT64_MIN once it is
 * cancelled. */
COIL_API int64_t coil_effective_deadline(void);

/* --- Time ------------------------------------------------------------------------------------ */

/* Now, in nanoseconds of CLOCK_MONOTONIC. Callable anywhere. */
COIL_API int64_t coil_now(void);

/* The same as of when this thread's loop last read its clock, which costs next to nothing: a
 * time-out of seconds, set anew for each request, need not be exact. Never ahead; behind by what
 * the tasks have done since, for a loop reads its clock after each sleep and at least once in 256
 * turns, but not while one task computes. Callable anywhere. (libuv: uv_now; nginx:
 * ngx_current_msec) */
COIL_API int64_t coil_now_coarse(void);

/* Sleeps for duration_ns; 0 or less is a checkpoint. Never wakes early.
 * 0.  -ECANCELED: asked to stop. */
COIL_API COIL_MUST_CHECK int coil_sleep(int64_t duration_ns);
COIL_API COIL_MUST_CHECK int coil_sleep_until(int64_t deadline_ns);

#ifdef __cplusplus
}
#endif

#endif
