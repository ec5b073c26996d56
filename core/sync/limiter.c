/* limiter.c - at most so many at once, and who they are. */
#include "limiter.h"

/* A node of the limiter's tree: where to go on is decided by a bit of the borrower's hash, another
 * on each level. Any leaf below a node may take its place, so a node is taken out as easily as put
 * in. */
struct token {
    struct token *children[2];
    const void *borrower;
    struct limiter *limiter; /* NULL: not in use */
    struct hold hold;        /* of a task that borrowed as itself */
    bool lent;
};

_Static_assert(sizeof(struct limiter) <= sizeof(struct coil_limiter), "coil_limiter is too small");
_Static_assert(sizeof(struct token) <= sizeof(struct coil_token), "coil_token is too small");

static struct token *token_of(struct coil_token *t)
{
    return (struct token *)t;
}

/* --- Who has one ----------------------------------------------------------------------------- */

/* The place of a borrower's token in the tree; what is there is NULL if it has none. */
static struct token **find(struct limiter *l, const void *borrower)
{
    uint64_t hash = (uintptr_t)borrower * UINT64_C(0x9e3779b97f4a7c15);
    struct token **place = &l->borrowers;

    for (; *place && (*place)->borrower != borrower; hash <<= 1)
        place = &(*place)->children[hash >> 63];
    return place;
}

static struct token **leaf_below(struct token **place)
{
    while ((*place)->children[0] || (*place)->children[1])
        place = &(*place)->children[!(*place)->children[0]];
    return place;
}

static void forget(struct token *t)
{
    struct token **place = find(t->limiter, t->borrower);
    struct token **leaf_place = leaf_below(place);
    struct token *leaf = *leaf_place;

    *leaf_place = NULL;
    if (leaf != t) {
        leaf->children[0] = t->children[0];
        leaf->children[1] = t->children[1];
        *place = leaf;
    }
    t->limiter = NULL;
    t->lent = false;
}

/* --- Lending --------------------------------------------------------------------------------- */

static void take_back(struct token *t);

static void orphan(struct hold *h)
{
    take_back(container_of(h, struct token, hold));
}

/* Lends t, which is in the tree, to its borrower; self is the task that asked for it. */
static void lend(struct token *t, struct coil_task *self)
{
    t->limiter->borrowed++;
    t->lent = true;
    if (t->borrower == self)
        task_hold(self, &t->hold, orphan);
}

static void lend_to_waiting(struct limiter *l)
{
    while (l->lot.first && l->borrowed < l->total) {
        lend(l->lot.first->item, l->lot.first->task);
        lot_wake_first(&l->lot, 0);
    }
}

static void take_back(struct token *t)
{
    struct limiter *l = t->limiter;

    forget(t);
    l->borrowed--;
    lend_to_waiting(l);
}

void coil__limiter_left(struct waiter *w, struct lot *lot)
{
    (void)lot;
    forget(w->item);
}

static bool sound(const struct limiter *l, struct coil_token *t, const void *borrower)
{
    return t && borrower && !token_of(t)->limiter && l->total >= 0;
}

int coil__limiter_ask(struct limiter *l, struct coil_token *public, const void *borrower,
                      struct coil_task *self)
{
    struct token **place = find(l, borrower);
    struct token *t = token_of(public);

    if (t->limiter)
        return -EINVAL;
    if (*place)
        return -EDEADLK;
    *t = (struct token){.borrower = borrower, .limiter = l};
    *place = t;
    if (l->borrowed >= l->total)
        return -EAGAIN;
    lend(t, self);
    return 0;
}

static int wait_for(struct limiter *l, struct coil_token *t, struct coil_task *self)
{
    struct waiter w = {.task = self, .item = t, .left = coil__limiter_left};

    return coil__lot_wait(&l->lot, &w, "limiter");
}

static int acquire(struct limiter *l, struct coil_token *t, const void *borrower,
                   struct coil_task *self)
{
    int r;

    if (!sound(l, t, borrower))
        return -EINVAL;
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    r = coil__limiter_ask(l, t, borrower, self);
    return r == -EAGAIN ? wait_for(l, t, self) : sync_answer(self, r);
}

int coil__limiter_acquire_nowait(struct limiter *l, struct coil_token *t, const void *borrower)
{
    int r;

    if (!sound(l, t, borrower))
        return -EINVAL;
    r = coil__limiter_ask(l, t, borrower, here_task());
    if (r == -EAGAIN)
        forget(token_of(t));
    return r;
}

int coil_limiter_acquire(struct coil_limiter *l, struct coil_token *t)
{
    struct coil_task *self = coil__sync_self("coil_limiter_acquire");

    return acquire(limiter_of(l), t, self, self);
}

int coil_limiter_acquire_for(struct coil_limiter *l, struct coil_token *t, const void *borrower)
{
    struct coil_task *self = coil__sync_self("coil_limiter_acquire_for");

    return acquire(limiter_of(l), t, borrower, self);
}

int coil_limiter_acquire_nowait(struct coil_limiter *l, struct coil_token *t)
{
    return coil__limiter_acquire_nowait(limiter_of(l), t,
                                        coil__sync_self("coil_limiter_acquire_nowait"));
}

int coil_limiter_acquire_nowait_for(struct coil_limiter *l, struct coil_token *t,
                                    const void *borrower)
{
    return coil__limiter_acquire_nowait(limiter_of(l), t, borrower);
}

int coil_limiter_release(struct coil_limiter *l, struct coil_token *t)
{
    return coil_limiter_release_for(l, t, here_task());
}

int coil_limiter_release_for(struct coil_limiter *l, struct coil_token *public,
                             const void *borrower)
{
    struct token *t = token_of(public);

    if (!t)
        return -EINVAL;
    if (t->limiter != limiter_of(l) || t->borrower != borrower || !t->lent)
        return -EPERM;
    if (t->hold.task)
        hold_remove(&t->hold);
    take_back(t);
    return 0;
}

int coil_limiter_set_total(struct coil_limiter *public, int64_t total)
{
    struct limiter *l = limiter_of(public);

    if (total < 0)
        return -EINVAL;
    l->total = total;
    lend_to_waiting(l);
    return 0;
}

static int64_t available(const struct limiter *l)
{
    if (l->total == COIL_UNLIMITED)
        return COIL_UNLIMITED;
    return l->borrowed < l->total ? l->total - l->borrowed : 0;
}

void coil_limiter_stats(const struct coil_limiter *public, struct coil_limiter_stats *ret)
{
    const struct limiter *l = limiter_of(public);

    ret->total = l->total;
    ret->borrowed = l->borrowed;
    ret->available = available(l);
    ret->waiting = l->lot.count;
}
