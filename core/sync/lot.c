/* lot.c - parking lots. */
#include "lot.h"

_Static_assert(sizeof(struct lot) <= sizeof(struct coil_lot), "coil_lot is too small");

void coil__lot_add(struct lot *lot, struct waiter *w)
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

static void remove_all_of(struct waiter *w)
{
    if (!w->others) {
        coil__lot_remove(w);
        return;
    }
    for (unsigned int i = 0; i < w->others_count; i++)
        coil__lot_remove(&w->others[i]);
}

static enum coil_abort leave(void *ctx)
{
    remove_all_of(ctx);
    return COIL_ABORT_DONE;
}

int coil__lot_wait(struct lot *lot, struct waiter *w, const char *what)
{
    coil__lot_add(lot, w);
    return park(w->task, leave, w, what);
}

int coil__lot_wait_shielded(struct lot *lot, struct waiter *w, const char *what)
{
    coil__lot_add(lot, w);
    return park(w->task, NULL, NULL, what);
}

void coil__lot_wake(struct waiter *w, int result)
{
    remove_all_of(w);
    w->woken = true;
    unpark(w->task, result);
}

struct coil_task *coil__sync_self(const char *what)
{
    struct coil_task *self = here_task();

    if (unlikely(!self))
        coil__die("%s outside of any task", what);
    return self;
}

/* --- The public side ------------------------------------------------------------------------- */

int coil_lot_park(struct coil_lot *public, const char *what)
{
    struct lot *lot = lot_of(public);
    struct coil_task *self = coil__sync_self("coil_lot_park");
    struct waiter w = {.task = self};
    int r = sync_checkpoint(self);

    if (r < 0)
        return r;
    return lot->broken ? -EOWNERDEAD : coil__lot_wait(lot, &w, what);
}

size_t coil_lot_unpark(struct coil_lot *lot, size_t count, int result)
{
    size_t woken = 0;

    while (woken < count && lot_wake_first(lot_of(lot), result))
        woken++;
    return woken;
}

size_t coil_lot_repark(struct coil_lot *lot, struct coil_lot *to, size_t count)
{
    size_t moved = 0;

    for (; moved < count && lot_of(lot)->first; moved++) {
        struct waiter *w = lot_of(lot)->first;

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
