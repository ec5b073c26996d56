/* lot.h - queues of waiting tasks, first come, first served: what all primitives are made of.
 *
 * A task waits in one lot, or, to select, in several at once. Whoever wakes it takes it out of all
 * of them at once, so a task that stands in a lot can always be handed something. */
#ifndef CORE_SYNC_LOT_H
#define CORE_SYNC_LOT_H

#include "../../include/coil/lowlevel.h"
#include "../sched/park.h"

struct lot;

/* A task's place in a lot; lives on the stack of that task. */
struct waiter {
    struct waiter *next;
    struct waiter *prev;
    struct lot *lot; /* NULL: in none */
    struct coil_task *task;
    void *item; /* what is to be filled in or taken; the lot's owner knows */
    union {
        size_t count;       /* how much is wanted; likewise */
        const void *handle; /* through which one it waits, if there are several; likewise */
    };
    struct waiter
        *others; /* of a select: its waiters, all in one array. NULL: there is just this */
    /* Called when it has left without being woken: has those go on in whose way it stood. May wake
     * others. NULL: it was in nobody's. */
    void (*left)(struct waiter *w, struct lot *lot);
    unsigned int others_count;
    bool woken; /* by whoever took it out, not by a cancel */
};

/* Zeroed, it is empty. Its owner may be gone once it has woken the last: a task that was woken, or
 * has left, touches nothing but its own waiter. */
struct lot {
    struct waiter *first;
    struct waiter *last;
    size_t count;
    bool broken;
};

/* Breaks a lot when a task ends. */
struct breaker {
    struct hold hold;
    struct lot *lot;
};

static inline struct lot *lot_of(const struct coil_lot *l)
{
    return (struct lot *)(uintptr_t)l;
}

/* Puts w at the end of lot. */
static inline void coil__lot_add(struct lot *lot, struct waiter *w)
{
    w->lot = lot;
    w->next = NULL;
    w->prev = lot->last;
    if (lot->last)
        lot->last->next = w;
    else
        lot->first = w;
    lot->last = w;
    lot->count++;
}

/* Takes w out of its lot, if it is in one. */
void coil__lot_remove(struct waiter *w);

/* An abort function: takes a waiter out of all lots it waits in. DONE. */
enum coil_abort coil__lot_leave(void *waiter);

/* Waits in lot, with w, of which item, count, handle and left are the caller's. 0 or more: the
 * result given to lot_wake. -ECANCELED: w is out of the lot. In either case the lot may be gone. No
 * checkpoint before: for that see task_checkpoint. */
static inline int coil__lot_wait(struct lot *lot, struct waiter *w, const char *what)
{
    coil__lot_add(lot, w);
    return park(w->task, coil__lot_leave, w, what);
}

/* The same for who has an item at the most. The waiter is made here, not before it is known that
 * one is needed: to make one takes longer than a whole acquire that need not wait. */
static inline int lot_wait(struct lot *lot, struct coil_task *self, void *item, const char *what)
{
    struct waiter w = {.task = self, .item = item};

    return coil__lot_wait(lot, &w, what);
}

/* Takes w out of its lot, and out of all others it waits in, and makes its task ready. */
void coil__lot_wake(struct waiter *w, int result);

/* Dies: the tasks in a lot are woken from another thread. */
_Noreturn void coil__lot_not_ours(const struct coil_task *t);

/* Wakes the first. False: there is none. */
static inline bool lot_wake_first(struct lot *lot, int result)
{
    struct waiter *w = lot->first;

    if (!w)
        return false;
    if (unlikely(w->task->loop != coil__here.loop))
        coil__lot_not_ours(w->task);
    if (unlikely(w->others)) {
        coil__lot_wake(w, result);
        return true;
    }
    lot->first = w->next;
    if (w->next)
        w->next->prev = NULL;
    else
        lot->last = NULL;
    lot->count--;
    w->lot = NULL;
    w->woken = true;
    unpark(w->task, result);
    return true;
}

static inline void lot_wake_all(struct lot *lot, int result)
{
    while (lot_wake_first(lot, result))
        continue;
}

/* The calling task; dies outside of one. what: "coil_event_wait". */
static inline struct coil_task *coil__sync_self(const char *what)
{
    return need_task(what, NULL);
}

/* What a call answers that need not wait, though it might have had to. */
static inline int sync_answer(struct coil_task *self, int result)
{
    task_charge(self);
    return result;
}

#endif
