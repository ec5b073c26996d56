/* limiter.h - a capacity limiter as select sees it. */
#ifndef CORE_SYNC_LIMITER_H
#define CORE_SYNC_LIMITER_H

#include "../../include/coil/sync.h"
#include "lot.h"

struct limiter {
    struct lot lot; /* a waiter's item is its token. Empty if there are tokens to be had */
    int64_t total;
    int64_t borrowed;
    struct token *borrowers; /* who has a token or waits for one, as a tree */
};

static inline struct limiter *limiter_of(const struct coil_limiter *l)
{
    return (struct limiter *)(uintptr_t)l;
}

/* 0: lent. -EINVAL, -EDEADLK. -EAGAIN: it would have to wait. */
int coil__limiter_acquire_nowait(struct limiter *l, struct coil_token *t, const void *borrower);

/* The same, but after -EAGAIN the limiter knows of the token, and self has to wait in lot until it
 * is lent. -EDEADLK; -EINVAL: it is in use. */
int coil__limiter_ask(struct limiter *l, struct coil_token *t, const void *borrower,
                      struct coil_task *self);

/* What a waiter in lot has for `left`. */
void coil__limiter_left(struct waiter *w, struct lot *lot);

#endif
