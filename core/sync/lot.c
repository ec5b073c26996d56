/* lot.c - parking lots. */
#include "lot.h"

#include "rwlock.h"

_Static_assert(sizeof(struct lot) <= sizeof(struct coil_lot), "coil_lot is too small");
_Static_assert(sizeof(struct breaker) <= sizeof(struct coil_breaker), "coil_breaker is too small");

void coil__lot_remove(struct waiter *w)
{
    struct lot *lot = w->lot;

    if (!lot)
        return;
    if (w->prev)
        w->prev->next = w->next;
    else
        lot->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        lot->last = w->prev;
    lot->count--;
    w->lot = NULL;
}

static void give_up(struct waiter *w)
{
    struct lot *lot = w->lot;

    coil__lot_remove(w);
    if (lot && unlikely(w->left))
        w->left(w, lot);
}

/* All those of a select that are still waiting. Nobody is let in before all of them are gone: it
 * could be one of these. */
static void give_up_all(struct waiter *waiters, unsigned int count)
{
    const bool held = coil__rwlocks_hold();

    for (unsigned int i = 0; i < count; i++)
        give_up(&waiters[i]);
    coil__rwlocks_release(held);
}

enum coil_abort coil__lot_leave(void *waiter)
{
    struct waiter *w = waiter;

    if (w->others)
        give_up_all(w->others, w->others_count);
    else
        give_up(w);
    return COIL_ABORT_DONE;
}

void coil__lot_wake(struct waiter *w, int result)
{
    if (unlikely(w->task->loop != coil__here.loop))
        coil__lot_not_ours(w->task);
    coil__lot_remove(w);
    w->woken = true;
    unpark(w->task, result);
    if (w->others)
        give_up_all(w->others, w->others_count);
}

_Noreturn void coil__lot_not_ours(const struct coil_task *t)
{
    coil__die("task %s, spawned at %s, is woken from outside its loop", t->name, t->site);
}

/* --- The public side ------------------------------------------------------------------------- */

int coil_lot_park(struct coil_lot *public, const char *what)
{
    struct lot *lot = lot_of(public);
    struct coil_task *self = coil__sync_self("coil_lot_park");
    int r = task_checkpoint(self);

    if (r < 0)
        return r;
    return lot->broken ? sync_answer(self, -EOWNERDEAD) : lot_wait(lot, self, NULL, what);
}

size_t coil_lot_unpark(struct coil_lot *lot, size_t count, int result)
{
    size_t woken = 0;

    if (result < 0)
        return 0; /* -ECANCELED and -EOWNERDEAD are not the caller's to say */
    while (woken < count && lot_wake_first(lot_of(lot), result))
        woken++;
    return woken;
}

size_t coil_lot_repark(struct coil_lot *lot, struct coil_lot *to, size_t count)
{
    size_t moved = 0;

    if (count > lot_of(lot)->count)
        count = lot_of(lot)->count; /* to may be lot itself */
    for (; moved < count; moved++) {
        struct waiter *w = lot_of(lot)->first;

        if (!w) /* a select that was woken stood here more than once */
            break;
        if (lot_of(to)->broken) {
            coil__lot_wake(w, -EOWNERDEAD);
            continue;
        }
        coil__lot_remove(w);
        coil__lot_add(lot_of(to), w);
    }
    return moved;
}

void coil_lot_break(struct coil_lot *lot)
{
    lot_of(lot)->broken = true;
    lot_wake_all(lot_of(lot), -EOWNERDEAD);
}

size_t coil_lot_count(const struct coil_lot *lot)
{
    return lot_of(lot)->count;
}

void coil_lot_stats(const struct coil_lot *lot, struct coil_lot_stats *ret)
{
    *ret = (struct coil_lot_stats){.broken = lot_of(lot)->broken, .waiting = lot_of(lot)->count};
}

/* --- Breakers -------------------------------------------------------------------------------- */

static struct breaker *breaker_of(struct coil_breaker *b)
{
    return (struct breaker *)b;
}

static void break_lot(struct hold *h)
{
    struct breaker *b = container_of(h, struct breaker, hold);

    coil_lot_break((struct coil_lot *)b->lot);
}

int coil_breaker_add(struct coil_breaker *public, struct coil_task *t, struct coil_lot *lot)
{
    struct breaker *b = breaker_of(public);

    if (!t || !lot)
        return -EINVAL;
    if (b->hold.task)
        return -EBUSY;
    b->lot = lot_of(lot);
    task_hold(t, &b->hold, break_lot);
    return 0;
}

void coil_breaker_remove(struct coil_breaker *b)
{
    if (breaker_of(b)->hold.task)
        hold_remove(&breaker_of(b)->hold);
}
