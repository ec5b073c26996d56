/* scope.c - the tree of scopes. The only file that decides cancellation.
 *
 * What a checkpoint needs to know stands in each scope, in `seen`, and is kept true eagerly: a
 * change walks down the part of the tree that it changes. So a check is one load at any depth, and
 * a task that is cancelled but shielded costs nothing while it waits. */
#include "scope.h"

#include <errno.h>

#include "../sync/rwlock.h"
#include "../thread/futex.h"
#include "dormant.h"
#include "group.h"
#include "park.h"

_Static_assert(sizeof(struct scope) <= sizeof(struct coil_scope), "coil_scope is too small");

static uint8_t sees(const struct scope *s)
{
    return s->asked | (s->parent ? scope_lets_through(s, s->parent->seen) : 0);
}

/* The next in a walk of the tree under top, with all below s left out. NULL: that was the last. */
static struct scope *walk_past(struct scope *s, const struct scope *top)
{
    while (s != top && s->siblings.next == &s->parent->children)
        s = s->parent;
    return s == top ? NULL : container_of(s->siblings.next, struct scope, siblings);
}

static struct scope *walk_into(struct scope *s, const struct scope *top)
{
    return list_empty(&s->children) ? walk_past(s, top)
                                    : container_of(s->children.next, struct scope, siblings);
}

const struct scope *coil__scope_walk(const struct scope *s, const struct scope *top)
{
    return walk_into((struct scope *)(uintptr_t)s, top);
}

/* Has s, where before was seen, a task right inside that it stops? */
static bool newly_stopped(const struct scope *s, uint8_t before)
{
    return s->seen & ~before & ASK_STOP && s->task && s->task->scope == s;
}

/* Tasks without a stack have no scope: they see what their group's sees. */
static bool has_dormants(const struct scope *s)
{
    return s->of_group && container_of(s, struct group, scope)->dormant_count;
}

static void invite_task(struct audience *a, struct coil_task *t)
{
    if (!t->abort || t->to_abort)
        return;
    t->to_abort = true;
    list_push_back(t->open_park ? &a->users : &a->ours, &t->aborting);
}

static void invite_group(struct audience *a, struct scope *s)
{
    struct group *g = container_of(s, struct group, scope);

    if (!list_linked(&g->telling))
        list_push_back(&a->groups, &g->telling);
}

/* Brings `seen` up to date in s and below, and collects who has to be told. */
static void mark(struct scope *top, struct audience *a)
{
    struct scope *s = top;
    uintptr_t last = 0;

    while (s) {
        uint8_t before = s->seen;

        task_prefetch(container_of(s, struct coil_task, own), &last, 1, 7);
        s->seen = sees(s);
        if (newly_stopped(s, before))
            invite_task(a, s->task);
        if (s->seen & ~before && has_dormants(s))
            invite_group(a, s);
        s = s->seen != before ? walk_into(s, top) : walk_past(s, top);
    }
}

/* Tells a parked task of its cancellation, if it has not been told and is still cancelled. */
static void tell(struct coil_task *t)
{
    if (!t->abort || !task_cancelled(t) || !coil__abort(t))
        return;
    t->told_to_stop = true;
    unpark(t, -ECANCELED);
}

static void tell_dormants(struct list *groups)
{
    struct list *n;

    while ((n = list_pop_front(groups)))
        coil__dormants_tell(container_of(n, struct group, telling));
}

static void tell_all(struct list *to_abort)
{
    uintptr_t last = 0;
    struct list *n;

    while ((n = list_pop_front(to_abort))) {
        struct coil_task *t = container_of(n, struct coil_task, aborting);

        task_prefetch(t, &last, -2, 2);
        t->to_abort = false;
        tell(t); /* unless an earlier one unparked or shielded it */
    }
}

static void audience_init(struct audience *a)
{
    list_init(&a->ours);
    list_init(&a->groups);
    list_init(&a->users);
}

/* Marks the whole subtree first: an abort function must not meet a tree of which half is cancelled,
 * nor a queue in which somebody stands who is cancelled already, since what it hands over is for
 * the next. So users' come last, and to let somebody in waits until ours are through: who leaves a
 * read-write lock makes way for the next, who may be about to leave as well. Who waits for a task
 * without a stack, and is cancelled with it, is told before that one ends: as if it had a stack,
 * and would end later. */
static out_of_line void update_tree(struct scope *s)
{
    struct loop *loop = s->loop;
    struct audience a;
    bool held;

    audience_init(&a);
    loop->audience = &a;
    mark(s, &a);
    held = coil__rwlocks_hold();
    tell_all(&a.ours);
    coil__rwlocks_release(held);
    loop->audience = NULL;
    tell_dormants(&a.groups);
    tell_all(&a.users);
}

/* Another change is under way, and its users have not been told: a hook has cancelled, say. Its
 * users are told with theirs. Now, they would meet that change half made; and what they free may
 * be a lock that waits to let somebody in. */
static void join(struct scope *s, struct audience *a)
{
    mark(s, a);
    tell_all(&a->ours);
}

/* Something about s changed. */
static void update(struct scope *s)
{
    uint8_t before = s->seen;

    if (unlikely(s->loop->audience)) {
        join(s, s->loop->audience);
        return;
    }
    if (!list_empty(&s->children) || has_dormants(s)) {
        update_tree(s);
        return;
    }
    s->seen = sees(s);
    if (newly_stopped(s, before))
        tell(s->task);
}

static void disarm(struct scope *s)
{
    if (timer_armed(&s->timer))
        coil__timer_remove(&s->loop->timers, &s->timer);
}

static int64_t due_ns(const struct scope *s)
{
    return s->asked & ASK_FINISH && s->grace_end_ns < s->deadline_ns ? s->grace_end_ns
                                                                     : s->deadline_ns;
}

static void timer_fired(struct timer *t);

/* Notes that s, which is not over, has been cancelled, and why. True: others have to be told. */
static bool note_cancel(struct scope *s, enum coil_cause cause, const char *reason,
                        const char *canceller, const char *site)
{
    if (s->asked & ASK_STOP || s->state == SCOPE_ENDED)
        return false;
    handicap(s, 300);
    s->asked |= ASK_STOP;
    s->cause = (uint8_t)cause;
    s->reason = reason;
    s->canceller = canceller;
    s->cancel_site = site;
    if (s->state != SCOPE_ACTIVE)
        return false; /* its begin will see */
    disarm(s);
    return true;
}

/* A timer that is armed already is not moved back: most deadlines are moved later, over and over,
 * and that then touches nothing but the scope. It is armed again when it fires too soon. One that
 * is not needed any more goes at once. */
static void arm(struct scope *s)
{
    int64_t at_ns = due_ns(s);

    if (timer_armed(&s->timer)) {
        if (at_ns >= s->timer.deadline_ns && at_ns != COIL_FOREVER)
            return;
        disarm(s);
    }
    if (at_ns == COIL_FOREVER || s->asked & ASK_STOP)
        return;
    s->timer.fire = timer_fired;
    s->loop->deadline_unseen = true;
    coil__timer_add(&s->loop->timers, &s->timer, at_ns > 0 ? at_ns : 0);
}

/* All that pass at this time have been seen. */
static void all_passed(struct timer *t)
{
    struct passing *p = container_of(t, struct passing, timer);

    coil__rwlocks_release(false);
    container_of(p, struct loop, passing)->audience = NULL;
    tell_dormants(&p->audience.groups);
    tell_all(&p->audience.users);
}

/* As coil__scope_cancel, but only who is parked in a call of ours hears of it at once. Other
 * deadlines may pass at this very time, armed before or after, and are all seen before the rest
 * comes, as if all their scopes were one tree: so a timer of this time is put behind theirs. */
static void pass(struct scope *s, enum coil_cause cause, const char *reason, const char *canceller,
                 const char *site)
{
    struct timers *timers = &s->loop->timers;
    struct passing *p = &s->loop->passing;

    if (!note_cancel(s, cause, reason, canceller, site))
        return;
    if (!timer_armed(&p->timer)) {
        bool held = coil__rwlocks_hold();

        assert(!held); /* nobody looks at the clock in the midst of a change */
        (void)held;
        s->loop->audience = &p->audience;
        p->timer.fire = all_passed;
        coil__timer_add(timers, &p->timer, timers->base_ns);
    }
    join(s, &p->audience);
}

static void timer_fired(struct timer *t)
{
    struct scope *s = container_of(t, struct scope, timer);

    if (due_ns(s) > s->loop->timers.base_ns) /* moved, and not due by now */
        arm(s);
    else if (due_ns(s) == s->deadline_ns)
        pass(s, COIL_CAUSE_DEADLINE, NULL, NULL, NULL);
    else /* the end of the grace; the request said why */
        pass(s, COIL_CAUSE_EXPLICIT, s->reason, s->canceller, s->cancel_site);
}

void coil__scope_cancel(struct scope *s, enum coil_cause cause, const char *reason,
                        const char *canceller, const char *site)
{
    if (note_cancel(s, cause, reason, canceller, site))
        update(s);
}

void coil__scope_tell(struct scope *s)
{
    assert(list_empty(&s->children));

    s->asked |= ASK_TELL;
    s->seen |= ASK_TELL;
}

void coil__scope_move(struct scope *s, struct scope *parent)
{
    list_remove(&s->siblings);
    s->parent = parent;
    list_push_back(&parent->children, &s->siblings);
    update(s);
}

void coil__scope_root(struct scope *s, struct loop *loop, const char *site)
{
    scope_clear(s, loop, STAGE_BEGUN);
    audience_init(&loop->passing.audience);
    s->parent = NULL;
    s->task = NULL;
    s->site = site;
    s->state = SCOPE_ACTIVE;
    list_init(&s->children);
    list_init(&s->siblings);
}

/* A cancel from another thread may lie in the mailbox, or its sender be about to put it there. */
static out_of_line void take_mail(struct scope *s)
{
    struct coil_task *self = nobody_begin();

    coil__mailbox_deliver(&s->loop->mailbox);
    nobody_end(self);
    if (__atomic_load_n(&s->mailed, __ATOMIC_ACQUIRE))
        coil__mailbox_await_posters(&s->loop->mailbox);
}

int coil__scope_leave(struct scope *s, int rc)
{
    bool outer;

    disarm(s);
    while (unlikely(__atomic_load_n(&s->mailed, __ATOMIC_ACQUIRE)))
        take_mail(s);
    outer = !s->shielded && s->parent && s->parent->seen & ASK_STOP;
    list_remove(&s->siblings);
    s->state = SCOPE_ENDED;
    if (s->task && s->asked & ASK_STOP && !outer)
        s->task->told_to_stop = s->told_outside; /* what s told ends here, caught or not */

    if (rc != -ECANCELED || !(s->asked & ASK_STOP) || outer)
        return rc;
    s->caught = true;
    return s->fails && s->cause == COIL_CAUSE_DEADLINE ? -ETIME : 0;
}

/* --- The public side ------------------------------------------------------------------------- */

void coil__scope_must_not_be_open(const struct scope *s, const char *site)
{
    const struct scope *root = &coil__here.loop->root;

    for (const struct scope *open = root; open; open = coil__scope_walk(open, root))
        if (open == s)
            coil__die("what was begun at %s is begun again at %s while it is open", s->site, site);
}

static inline void enter(struct scope *s, struct coil_task *self, int64_t deadline_ns,
                         const char *site)
{
    scope_enter(s, self, site);
    if (deadline_ns == COIL_FOREVER)
        return;
    s->deadline_ns = deadline_ns;
    arm(s);
}

void coil_scope_begin_at(struct coil_scope *public, int64_t deadline_ns, const char *site)
{
    struct scope *s = scope_of(public);
    struct coil_task *self = scope_beginner(s, site);

    scope_clear(s, self->loop, STAGE_BEGUN);
    enter(s, self, deadline_ns, site);
}

void coil_timeout_begin_at(struct coil_scope *public, int64_t deadline_ns, const char *site)
{
    struct scope *s = scope_of(public);
    struct coil_task *self = scope_beginner(s, site);

    scope_clear(s, self->loop, STAGE_BEGUN);
    s->fails = true;
    enter(s, self, deadline_ns, site);
}

void coil_shield_begin_at(struct coil_scope *public, int64_t limit_ns, const char *site)
{
    struct scope *s = scope_of(public);
    struct coil_task *self = scope_beginner(s, site);

    scope_clear(s, self->loop, STAGE_BEGUN);
    s->shielded = true;
    enter(s, self, limit_ns == COIL_FOREVER ? COIL_FOREVER : coil__deadline_after(limit_ns), site);
}

void coil_scope_prepare(struct coil_scope *s)
{
    if (here_task() && scope_looks_open(scope_of(s)))
        coil__scope_must_not_be_open(scope_of(s), "coil_scope_prepare");
    scope_clear(scope_of(s), NULL, STAGE_OPEN);
}

_Noreturn void coil__scope_no_end(const struct scope *s, bool of_group, const char *site)
{
    const char *what = of_group ? "group" : "scope";
    const struct coil_task *self = need_task("a scope ended", site);

    if (s->state != SCOPE_ACTIVE)
        coil__die("the %s ended at %s is not open: never begun, or ended before", what, site);
    if (s->task != self)
        coil__die("the %s begun at %s by another task is ended at %s", what, s->site, site);
    if (s->of_group != of_group)
        coil__die("the %s ended at %s is of a group, begun at %s: coil_group_end ends it", what,
                  site, s->site);
    coil__die("the %s begun at %s is ended at %s while the one begun at %s is open inside it", what,
              s->site, site, self->scope->site);
}

int coil_scope_end_at(struct coil_scope *public, int rc, const char *site)
{
    struct scope *s = scope_of(public);
    struct coil_task *self = scope_ender(s, false, site);

    self->scope = s->parent;
    return scope_leave(s, rc);
}

static void cancel_arrived(struct mail *m)
{
    struct scope *s = container_of(m, struct scope, mail);
    const char *reason = s->mail_reason;
    const char *site = s->mail_site;

    __atomic_store_n(&s->mailed, false, __ATOMIC_RELEASE);
    coil__scope_cancel(s, COIL_CAUSE_EXPLICIT, reason, NULL, site);
}

static void cancel_by_mail(struct scope *s, const char *reason, const char *site)
{
    struct loop *loop = s->loop;

    coil__mailbox_enter(&loop->mailbox);
    /* At most one message a scope: whoever is second wants the same. */
    if (!__atomic_exchange_n(&s->mailed, true, __ATOMIC_ACQ_REL)) {
        s->mail.deliver = cancel_arrived;
        s->mail_reason = reason;
        s->mail_site = site;
        coil__loop_post(loop, &s->mail);
    }
    coil__mailbox_leave(&loop->mailbox);
}

/* Leaves a cancel for the begin to find. False: it has begun. */
static bool cancel_before_begin(struct scope *s, const char *reason, const char *task,
                                const char *site)
{
    uint32_t stage = STAGE_OPEN;

    if (!__atomic_compare_exchange_n(&s->stage, &stage, STAGE_CANCELLING, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        return stage != STAGE_BEGUN;
    s->mail_reason = reason;
    s->mail_task = task;
    s->mail_site = site;
    if (__atomic_exchange_n(&s->stage, STAGE_CANCELLED, __ATOMIC_ACQ_REL) == STAGE_AWAITED)
        futex_wake(&s->stage);
    return true;
}

void coil_scope_cancel_at(struct coil_scope *public, const char *reason, const char *site)
{
    struct scope *s = scope_of(public);
    const char *task = here_name();

    if (__atomic_load_n(&s->stage, __ATOMIC_ACQUIRE) != STAGE_BEGUN &&
        cancel_before_begin(s, reason, task, site))
        return;
    if (s->loop == coil__here.loop)
        coil__scope_cancel(s, COIL_CAUSE_EXPLICIT, reason, task, site);
    else
        cancel_by_mail(s, reason, site);
}

/* From here on s is the loop's, and others send mail. */
static void leave_prepared(struct scope *s, struct loop *loop)
{
    uint32_t stage = STAGE_OPEN;

    s->loop = loop;
    if (__atomic_compare_exchange_n(&s->stage, &stage, STAGE_BEGUN, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return;
    stage = STAGE_CANCELLING;
    __atomic_compare_exchange_n(&s->stage, &stage, STAGE_AWAITED, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
    while (__atomic_load_n(&s->stage, __ATOMIC_ACQUIRE) != STAGE_CANCELLED)
        futex_wait(&s->stage, STAGE_AWAITED);
    coil__scope_cancel(s, COIL_CAUSE_EXPLICIT, s->mail_reason, s->mail_task, s->mail_site);
    __atomic_store_n(&s->stage, STAGE_BEGUN, __ATOMIC_RELEASE);
}

void coil_scope_begin_prepared_at(struct coil_scope *s, int64_t deadline_ns, const char *site)
{
    struct coil_task *self = need_task("a scope begun", site);

    if (scope_of(s)->state != SCOPE_PREPARED)
        coil__die("the scope begun at %s was not prepared, or is used twice", site);
    leave_prepared(scope_of(s), self->loop);
    enter(scope_of(s), self, deadline_ns, site);
}

/* Of all that touches a scope, only a cancel may come from another thread. */
static void must_be_ours(const struct scope *s, const char *what, const char *site)
{
    if (unlikely(s->loop && s->loop != coil__here.loop))
        coil__die("the scope begun at %s is %s from outside its loop, at %s", s->site, what, site);
}

void coil_scope_request_at(struct coil_scope *public, int64_t grace_ns, const char *reason,
                           const char *site)
{
    struct scope *s = scope_of(public);

    must_be_ours(s, "asked to finish", site);
    if (s->asked || s->state != SCOPE_ACTIVE)
        return;
    s->asked |= ASK_FINISH;
    s->reason = reason;
    s->canceller = here_name();
    s->cancel_site = site;
    s->grace_end_ns = coil__deadline_after(grace_ns);
    arm(s);
    update(s);
}

void coil_scope_set_deadline(struct coil_scope *public, int64_t deadline_ns)
{
    struct scope *s = scope_of(public);

    must_be_ours(s, "given a deadline", "coil_scope_set_deadline");
    if (s->state != SCOPE_ACTIVE || s->asked & ASK_STOP)
        return;
    s->deadline_ns = deadline_ns;
    arm(s);
}

int64_t coil_scope_deadline(const struct coil_scope *s)
{
    return scope_of(s)->deadline_ns;
}

void coil_scope_set_shield(struct coil_scope *public, int shielded)
{
    struct scope *s = scope_of(public);

    must_be_ours(s, "shielded", "coil_scope_set_shield");
    s->shielded = shielded;
    if (s->state == SCOPE_ACTIVE)
        update(s);
}

int coil_scope_cancelled(const struct coil_scope *s)
{
    return scope_of(s)->asked & ASK_STOP ||
           __atomic_load_n(&scope_of(s)->stage, __ATOMIC_ACQUIRE) == STAGE_CANCELLED;
}

int coil_scope_caught(const struct coil_scope *s)
{
    return scope_of(s)->caught;
}

void coil__scope_describe(const struct scope *s, struct coil_cancellation *ret)
{
    *ret = (struct coil_cancellation){.cause = (enum coil_cause)s->cause};
    if (s->asked & ASK_STOP) {
        ret->reason = s->reason;
        ret->task = s->canceller;
        ret->site = s->cancel_site;
    } else if (__atomic_load_n(&s->stage, __ATOMIC_ACQUIRE) == STAGE_CANCELLED) {
        ret->cause = COIL_CAUSE_EXPLICIT;
        ret->reason = s->mail_reason;
        ret->task = s->mail_task;
        ret->site = s->mail_site;
    }
}

void coil_scope_cancellation(const struct coil_scope *s, struct coil_cancellation *ret)
{
    coil__scope_describe(scope_of(s), ret);
}

/* The outermost that s can see, s included, and that was asked. NULL: none was. */
static const struct scope *who_asks(const struct scope *s, uint8_t ask)
{
    const struct scope *asked = NULL;

    if (!(s->seen & ask))
        return NULL;
    for (;; s = s->parent) {
        if (s->asked & ask)
            asked = s;
        if (s->shielded || !s->parent || !(s->parent->seen & ask))
            return asked;
    }
}

const struct scope *coil__scope_responsible(const struct scope *s)
{
    return who_asks(s, ASK_STOP);
}

bool coil__scope_told_from_above(const struct coil_task *t)
{
    if (!t->told_to_stop)
        return false;
    for (const struct scope *s = t->scope; s->task == t; s = s->parent)
        if (s->asked & ASK_STOP && !s->told_outside)
            return false;
    return true;
}

bool coil__scope_why(const struct scope *s, struct coil_cancellation *ret)
{
    const struct scope *stops = who_asks(s, ASK_STOP);
    const struct scope *finishes = stops ? NULL : who_asks(s, ASK_FINISH);

    if (stops)
        coil__scope_describe(stops, ret);
    else if (finishes)
        *ret = (struct coil_cancellation){COIL_CAUSE_EXPLICIT, finishes->reason,
                                          finishes->canceller, finishes->cancel_site};
    return stops || finishes;
}

int coil_why_cancelled(struct coil_cancellation *ret)
{
    const struct scope *s = need_task("coil_why_cancelled", NULL)->scope;

    return s->seen & ASK_STOP && coil__scope_why(s, ret);
}

int coil_checkpoint_if_cancelled(void)
{
    struct coil_task *self = need_task("coil_checkpoint_if_cancelled", NULL);

    coil__meet_deadlines(self->loop); /* a task that only computes meets its deadline here */
    if (!task_must_stop(self))
        return 0;
    self->told_to_stop = true;
    return -ECANCELED;
}

int coil_checkpoint(void)
{
    struct coil_task *self = need_task("coil_checkpoint", NULL);

    yield(self);
    return task_must_stop(self) ? task_refuse(self) : 0;
}

void coil_yield_shielded(void)
{
    yield(need_task("coil_yield_shielded", NULL));
}

int coil_cancel_requested(void)
{
    return scope_is_asked(need_task("coil_cancel_requested", NULL)->scope);
}

int64_t coil__scope_effective_deadline(const struct scope *s)
{
    int64_t soonest = COIL_FOREVER;

    if (s->seen & ASK_STOP)
        return INT64_MIN;
    for (; s; s = s->shielded ? NULL : s->parent)
        if (due_ns(s) < soonest)
            soonest = due_ns(s);
    return soonest;
}

int64_t coil_effective_deadline(void)
{
    return coil__scope_effective_deadline(need_task("coil_effective_deadline", NULL)->scope);
}
