/* coil/gather.h - many calls for one answer: all of them, the first, each as it completes. */
#ifndef COIL_GATHER_H
#define COIL_GATHER_H

#include "common.h"
#include "group.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Gathering ----------------------------------------------------------------------------------
 *
 * Each of these is a group that begins and ends in the call, with the rules of groups: nothing
 * outlives it, a call that fails cancels the others and is what comes out, and whoever fails by it
 * has the record as a sub-list. All memory is the caller's.
 *
 *      struct coil_call calls[] = {{fetch, &left}, {fetch, &right}};
 *
 *      rc = coil_all_of(calls, 2);
 *      if (rc >= 0)
 *          use(coil_task_result(&calls[0].handle), coil_task_result(&calls[1].handle)); */
struct coil_call {
    coil_task_fn *fn;
    void *arg;
    const char *name;          /* for people. NULL: "a call" */
    struct coil_handle handle; /* of the task that makes the call. One that was not made counts as
                                * cancelled */
    uint64_t opaque_[3];
};

/* Makes all the calls at once, and waits for all. None is a success.
 * 0.  What the first that failed returned.  -ECANCELED: asked to stop.  -EINVAL: there is one
 * without a function; none was made.  -ENOMEM: not all could be made; those that could were
 * cancelled. (anyio: gather) */
#define coil_all_of(calls, count) coil_all_of_at((calls), (count), COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_all_of_at(struct coil_call *calls, size_t count,
                                            const char *site);

/* What to do with a result that nobody wants: close it, free it. In the caller's task, which may be
 * cancelled. */
typedef void coil_dispose_result_fn(void *arg, int result);

/* Makes all the calls at once, until one succeeds; the others are cancelled and awaited. One that
 * succeeds all the same has its result disposed of, and so has every one if a call fails, or fails
 * while it gives in. dispose may be NULL. *ret_index (unless ret_index is NULL) is then who was
 * first. A cancellation that comes when one has succeeded waits for the next checkpoint.
 * >= 0: what the first returned.  -ENOENT: each was cancelled by its handle.  -EINVAL: there are
 * none.  Else as coil_all_of. */
#define coil_first_of(calls, count, dispose, ret_index)                                            \
    coil_first_of_at((calls), (count), (dispose), (ret_index), COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_first_of_at(struct coil_call *calls, size_t count,
                                              coil_dispose_result_fn *dispose, size_t *ret_index,
                                              const char *site);

/* Calls fn on each of count items of size bytes each, in their order, at most limit at a time. What
 * has not begun when one fails, or when asked to stop, does not begin. A result goes into the item.
 * 0, also if there are no items.  What the first that failed returned.  -ECANCELED.  -EINVAL: fn is
 * NULL, or limit 0.  -ENOMEM: not even one task could be had; with fewer than limit it goes on. */
#define coil_map(fn, items, count, size, limit)                                                    \
    coil_map_at((fn), (items), (count), (size), (limit), #fn, COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_map_at(coil_task_fn *fn, void *items, size_t count, size_t size,
                                         size_t limit, const char *name, const char *site);

/* --- As completed -------------------------------------------------------------------------------
 *
 *      struct coil_completions c;
 *      struct coil_call *call;
 *
 *      rc = coil_completions_begin(&c, calls, 10);
 *      if (rc < 0)
 *          return rc;
 *      while ((rc = coil_completions_next(&c, &call)) > 0)
 *          use(call->arg, coil_task_result(&call->handle));
 *      return coil_completions_end(&c, rc);        // cancels what has not completed */
struct coil_completions {
    uint64_t opaque_[56];
};

/* Makes all the calls at once. What follows up to coil_completions_end is in their group: a call
 * that fails cancels it.
 * 0.  -EINVAL, -ENOMEM: as coil_all_of; there is nothing to end. */
#define coil_completions_begin(c, calls, count)                                                    \
    coil_completions_begin_at((c), (calls), (count), COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_completions_begin_at(struct coil_completions *c,
                                                       struct coil_call *calls, size_t count,
                                                       const char *site);

/* Waits for the next call to complete, in whatever way; its handle says how.
 * 1: *ret is that call.  0: there are no more.  -ECANCELED: asked to stop; nothing was taken.
 * -EBUSY: another task waits here, or has been handed a call and has not run since. */
COIL_API COIL_MUST_CHECK int coil_completions_next(struct coil_completions *c,
                                                   struct coil_call **ret);

/* Cancels the calls that go on, waits for them, and ends as coil_group_end does: twice, or by
 * another task than the one that began, it aborts with one line. */
#define coil_completions_end(c, rc) coil_completions_end_at((c), (rc), COIL_HERE)
COIL_API COIL_MUST_CHECK int coil_completions_end_at(struct coil_completions *c, int rc,
                                                     const char *site);

#ifdef __cplusplus
}
#endif

#endif
