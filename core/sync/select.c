/* select.c - waiting for the first of several things. */
#include "select.h"

#include "../op.h"
#include "barrier.h"
#include "broadcast.h"
#include "channel.h"
#include "event.h"
#include "future.h"
#include "limiter.h"
#include "lock.h"
#include "lot.h"
#include "rwlock.h"
#include "semaphore.h"

/* --- What can be waited for ------------------------------------------------------------------ */

/* Adding a kind: its number and its macro in coil/select.h; here its functions, and a line of the
 * table. */
struct kind {
    const char *name; /* for a dump */
    /* Has c happen if it can without waiting: true, and *ret is what its call would return. */
    bool (*try)(const struct coil_case *c, int *ret);
    /* Where to wait for it; whoever wakes us there has it happen. NULL: a descriptor. */
    struct lot *(*lot)(const struct coil_case *c);
    bool takes_item;
    /* Before w stands in the lot: 0, or why it may not. NULL: there is nothing to do. */
    int (*stand)(const struct coil_case *c, struct waiter *w);
};

static bool unless_again(int r, int *ret)
{
    *ret = r;
    return r != -EAGAIN;
}

static bool try_receive(const struct coil_case *c, int *ret)
{
    return unless_again(channel_try_receive(receiver_of(c->on), c->item), ret);
}

static struct lot *lot_of_receivers(const struct coil_case *c)
{
    return &receiver_of(c->on)->channel->receivers;
}

static bool try_send(const struct coil_case *c, int *ret)
{
    return unless_again(channel_try_send(sender_of(c->on), c->item), ret);
}

static struct lot *lot_of_senders(const struct coil_case *c)
{
    return &sender_of(c->on)->channel->senders;
}

static bool try_broadcast(const struct coil_case *c, int *ret)
{
    return unless_again(coil__broadcast_try_receive(broadcast_receiver_of(c->on), c->item), ret);
}

static struct lot *lot_of_broadcast(const struct coil_case *c)
{
    return &broadcast_receiver_of(c->on)->lot;
}

static bool try_event(const struct coil_case *c, int *ret)
{
    *ret = 0;
    return event_ready(event_of(c->on));
}

static struct lot *lot_of_event(const struct coil_case *c)
{
    return &event_of(c->on)->lot;
}

static bool try_watch(const struct coil_case *c, int *ret)
{
    uint64_t generation = watch_of(c->on)->generation;
    uint64_t *seen = c->item;

    if (generation == *seen)
        return false;
    *seen = generation;
    *ret = 0;
    return true;
}

static struct lot *lot_of_watch(const struct coil_case *c)
{
    return &watch_of(c->on)->lot;
}

static bool try_future(const struct coil_case *c, int *ret)
{
    if (!future_ready(future_of(c->on)))
        return false;
    *ret = coil_future_result(c->on, c->item);
    return true;
}

static struct lot *lot_of_future(const struct coil_case *c)
{
    return &future_of(c->on)->lot;
}

static bool try_lock(const struct coil_case *c, int *ret)
{
    return unless_again(coil_lock_acquire_nowait(c->on), ret);
}

static struct lot *lot_of_lock(const struct coil_case *c)
{
    return &lock_of(c->on)->lot;
}

static enum wish wish_of(const struct coil_case *c)
{
    return c->kind == COIL_CASE_KIND_WRITE_LOCK ? TO_WRITE : TO_READ;
}

static bool try_rwlock(const struct coil_case *c, int *ret)
{
    struct coil_task *self = coil__sync_self("a select over a read-write lock");

    return unless_again(coil__rwlock_acquire_nowait(rwlock_of(c->on), self, wish_of(c)), ret);
}

static struct lot *lot_of_rwlock(const struct coil_case *c)
{
    return &rwlock_of(c->on)->lot;
}

static int stand_for_rwlock(const struct coil_case *c, struct waiter *w)
{
    w->count = wish_of(c);
    w->left = coil__rwlock_left;
    return 0;
}

static bool try_semaphore(const struct coil_case *c, int *ret)
{
    return unless_again(coil_semaphore_acquire_nowait(c->on), ret);
}

static struct lot *lot_of_semaphore(const struct coil_case *c)
{
    return &semaphore_of(c->on)->lot;
}

static bool try_limiter(const struct coil_case *c, int *ret)
{
    return unless_again(coil_limiter_acquire_nowait(c->on, c->item), ret);
}

static struct lot *lot_of_limiter(const struct coil_case *c)
{
    return &limiter_of(c->on)->lot;
}

static int stand_for_limiter(const struct coil_case *c, struct waiter *w)
{
    int r = coil__limiter_ask(limiter_of(c->on), c->item, w->task, w->task);

    w->left = coil__limiter_left;
    return r == -EAGAIN ? 0 : r;
}

static bool try_barrier(const struct coil_case *c, int *ret)
{
    return unless_again(coil__barrier_come(barrier_of(c->on)), ret);
}

static struct lot *lot_of_barrier(const struct coil_case *c)
{
    return &barrier_of(c->on)->lot;
}

/* Nobody comes to a barrier twice. */
static int stand_for_barrier(const struct coil_case *c, struct waiter *w)
{
    for (unsigned int i = 0; &w->others[i] != w; i++)
        if (w->others[i].lot == &barrier_of(c->on)->lot)
            return -EDEADLK;
    return 0;
}

static bool try_lot(const struct coil_case *c, int *ret)
{
    *ret = -EOWNERDEAD;
    return lot_of(c->on)->broken;
}

static struct lot *lot_of_lot(const struct coil_case *c)
{
    return lot_of(c->on);
}

static struct op op_of(const struct coil_case *c)
{
    return coil__op_poll(c->fd, c->kind == COIL_CASE_KIND_WRITABLE);
}

static bool try_descriptor(const struct coil_case *c, int *ret)
{
    struct op op = op_of(c);

    return unless_again(coil__op_look(&op), ret);
}

static const struct kind kinds[] = {
    [COIL_CASE_KIND_RECEIVE] = {"receive", try_receive, lot_of_receivers, true},
    [COIL_CASE_KIND_SEND] = {"send", try_send, lot_of_senders, true},
    [COIL_CASE_KIND_BROADCAST] = {"broadcast", try_broadcast, lot_of_broadcast, true},
    [COIL_CASE_KIND_LATEST] = {"latest value", try_broadcast, lot_of_broadcast, true},
    [COIL_CASE_KIND_EVENT] = {"event", try_event, lot_of_event, false},
    [COIL_CASE_KIND_WATCH] = {"watch", try_watch, lot_of_watch, true},
    [COIL_CASE_KIND_FUTURE] = {"future", try_future, lot_of_future, false},
    [COIL_CASE_KIND_LOCK] = {"lock", try_lock, lot_of_lock, false},
    [COIL_CASE_KIND_READ_LOCK] = {"read lock", try_rwlock, lot_of_rwlock, false, stand_for_rwlock},
    [COIL_CASE_KIND_WRITE_LOCK] = {"write lock", try_rwlock, lot_of_rwlock, false,
                                   stand_for_rwlock},
    [COIL_CASE_KIND_SEMAPHORE] = {"semaphore", try_semaphore, lot_of_semaphore, false},
    [COIL_CASE_KIND_LIMITER] = {"limiter", try_limiter, lot_of_limiter, true, stand_for_limiter},
    [COIL_CASE_KIND_BARRIER] = {"barrier", try_barrier, lot_of_barrier, false, stand_for_barrier},
    [COIL_CASE_KIND_LOT] = {"lot", try_lot, lot_of_lot, false},
    [COIL_CASE_KIND_READABLE] = {"readable", try_descriptor, NULL, false},
    [COIL_CASE_KIND_WRITABLE] = {"writable", try_descriptor, NULL, false},
};

static const struct kind *kind_of(const struct coil_case *c)
{
    return &kinds[c->kind];
}

static bool is_descriptor(const struct coil_case *c)
{
    return !kind_of(c)->lot;
}

static bool is_right(const struct coil_case *c)
{
    if (c->kind < 1 || (size_t)c->kind >= count_of(kinds))
        return false;
    return is_descriptor(c) || (c->on && (c->item || !kind_of(c)->takes_item));
}

/* How many of the cases are descriptors, or -EINVAL. */
static int check(const struct coil_case *cases, size_t count)
{
    int descriptors = 0;

    if (!cases || !count || count > COIL_SELECT_MOST)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (unlikely(!is_right(&cases[i])))
            return -EINVAL;
        handicap(cases, 30);
        descriptors += is_descriptor(&cases[i]);
    }
    return descriptors;
}

/* The index of the first that could happen, and did. -EAGAIN: none. */
static int try_each(struct coil_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int result;

        if (!kind_of(&cases[i])->try(&cases[i], &result))
            continue;
        cases[i].result = result;
        return (int)i;
    }
    return -EAGAIN;
}

/* --- Waiting --------------------------------------------------------------------------------- */

/* A descriptor among the cases. */
struct look {
    struct op op;
    struct selection *selection;
    size_t index; /* of its case */
};

/* One wait; on the stack of the task, like all it points to. */
struct selection {
    struct coil_task *task;
    const struct coil_case *cases;
    struct waiter *waiters; /* one for each case; that of a descriptor is in no lot */
    size_t count;
    struct look *looks; /* those that have begun */
    size_t look_count;
    size_t pending; /* looks that are not over */
    bool draining;  /* something happened; now only for the looks to be over */
};

static enum coil_abort leave(void *ctx)
{
    struct selection *s = ctx;

    return coil__lot_leave(s->waiters);
}

/* Instead of waking the task: it may have been woken by something else this very turn. */
static void look_done(struct op *op)
{
    struct selection *s = container_of(op, struct look, op)->selection;

    s->pending--;
    if (s->task->state != TASK_PARKED || (s->draining && s->pending))
        return;
    if (!s->draining)
        (void)leave(s);
    unpark(s->task, 0);
}

static int stand(const struct coil_case *c, struct waiter *w)
{
    int r = kind_of(c)->stand ? kind_of(c)->stand(c, w) : 0;

    if (r >= 0)
        coil__lot_add(kind_of(c)->lot(c), w);
    return r;
}

/* -EAGAIN: stands in all of them. Or the index of a case that does not, and its result is why. */
static int stand_in_lots(struct selection *s, struct coil_case *cases)
{
    for (size_t i = 0; i < s->count; i++)
        s->waiters[i] = (struct waiter){
            .task = s->task,
            .item = cases[i].item,
            .handle = cases[i].on,
            .others = s->waiters,
            .others_count = (unsigned int)s->count,
        };
    for (size_t i = 0; i < s->count; i++) {
        int r = is_descriptor(&cases[i]) ? 0 : stand(&cases[i], &s->waiters[i]);

        if (r < 0) {
            cases[i].result = r;
            return (int)i;
        }
    }
    return -EAGAIN;
}

/* -EAGAIN: all have begun. Or the index of one that could not, and its result is why. */
static int begin_looks(struct selection *s, struct coil_case *cases)
{
    for (size_t i = 0; i < s->count; i++) {
        struct look *l = &s->looks[s->look_count];
        int r;

        if (!is_descriptor(&cases[i]))
            continue;
        *l = (struct look){.op = op_of(&cases[i]), .selection = s, .index = i};
        op_then(&l->op, look_done);
        r = coil__op_begin(&l->op);
        if (r < 0) {
            cases[i].result = r;
            return (int)i;
        }
        s->look_count++;
        s->pending++;
    }
    return -EAGAIN;
}

/* Which case happened, r being what park said. Of several descriptors, the first in the array. */
static int which(const struct selection *s, struct coil_case *cases, int r)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->waiters[i].woken) {
            cases[i].result = r;
            return (int)i;
        }
    }
    for (size_t i = 0; r >= 0 && i < s->look_count; i++)
        if (s->looks[i].op.state == OP_DONE)
            return (int)s->looks[i].index;
    assert(r == -ECANCELED);

    return r;
}

/* None may be under way when we return: they are on our stack. */
static void end_looks(struct selection *s, struct coil_case *cases, int happened)
{
    for (size_t i = 0; i < s->look_count; i++) {
        struct op *op = &s->looks[i].op;

        if (op->state == OP_PENDING && coil__op_stop(op))
            s->pending--;
    }
    s->draining = true;
    if (s->pending)
        (void)park(s->task, NULL, NULL, "select, its descriptors");
    for (size_t i = 0; i < s->look_count; i++) {
        int result = coil__op_end(&s->looks[i].op);

        if ((int)s->looks[i].index == happened)
            cases[happened].result = result;
    }
}

static const char select_words[] = "select";

const struct coil_case *coil__select_waited_for(const struct coil_task *t, size_t *ret_count)
{
    const struct selection *s = t->abort_ctx;

    if (t->waits_for != select_words)
        return NULL;
    *ret_count = s->count;
    return s->cases;
}

const char *coil__case_name(const struct coil_case *c)
{
    return c->kind >= 1 && (size_t)c->kind < count_of(kinds) ? kind_of(c)->name : "nothing";
}

static int wait_for_one(struct coil_task *self, struct coil_case *cases, size_t count,
                        size_t descriptors)
{
    struct waiter waiters[count];
    struct look looks[descriptors + 1];
    struct selection s = {
        .task = self, .cases = cases, .waiters = waiters, .count = count, .looks = looks};
    int r;

    r = stand_in_lots(&s, cases);
    if (r == -EAGAIN)
        r = begin_looks(&s, cases);
    if (r == -EAGAIN)
        r = which(&s, cases, park(self, leave, &s, select_words));
    else
        (void)leave(&s);
    end_looks(&s, cases, r);
    return r;
}

/* --- The public side ------------------------------------------------------------------------- */

int coil_select(struct coil_case *cases, size_t count)
{
    struct coil_task *self = coil__sync_self("coil_select");
    int descriptors = check(cases, count);
    int r;

    if (descriptors < 0)
        return descriptors;
    if (descriptors)
        coil__meet_deadlines(self->loop); /* may succeed without a turn, and a deadline be past */
    r = task_checkpoint(self);
    if (r < 0)
        return r;
    r = try_each(cases, count);
    if (r == -EAGAIN)
        return wait_for_one(self, cases, count, (size_t)descriptors);
    return sync_answer(self, r);
}

int coil_select_nowait(struct coil_case *cases, size_t count)
{
    int r = check(cases, count);

    return r < 0 ? r : try_each(cases, count);
}
