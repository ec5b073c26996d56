/* look.c - the tree and its tasks, as users see them. Reads, and changes nothing. */
#include "../../include/coil/debug.h"

#include "../op.h"
#include "../sched/group.h"
#include "../sched/loop.h"
#include "../sync/select.h"

static enum coil_node_kind kind_of(const struct scope *s)
{
    if (!s->task)
        return COIL_NODE_LOOP;
    if (s == &s->task->own)
        return COIL_NODE_TASK;
    return s->of_group ? COIL_NODE_GROUP : COIL_NODE_SCOPE;
}

static void describe(const struct scope *s, int depth, struct coil_node *ret)
{
    *ret = (struct coil_node){
        .kind = kind_of(s),
        .depth = depth,
        .task = s->task,
        .site = s->site,
        .deadline_ns = s->deadline_ns,
        .shielded = s->shielded,
        .requested = (s->asked & ASK_FINISH) != 0,
        .cancelled = (s->asked & ASK_STOP) != 0,
        .opaque_ = {s},
    };
    coil__scope_describe(s, &ret->why);
    if (s->of_group) {
        const struct group *g = container_of(s, const struct group, scope);

        ret->task_count = g->count;
        ret->dormant_count = g->dormant_count;
    }
}

static void describe_dormant(const struct dormant *d, int depth, struct coil_node *ret)
{
    *ret = (struct coil_node){
        .kind = COIL_NODE_DORMANT,
        .depth = depth,
        .site = d->site,
        .deadline_ns = d->deadline_ns,
        .cancelled = d->fate != FATE_BEGIN && !d->gave_in,
        .opaque_ = {&d->group->scope, d},
    };
    if (d->has_handle)
        (void)coil_task_why_cancelled((const struct coil_handle *)d->handle, &ret->why);
    else if (d->fate == FATE_BEGIN_LATE)
        ret->why.cause = COIL_CAUSE_DEADLINE;
}

/* The dormant task that a node is. NULL: it is none. */
static const struct dormant *dormant_of(const struct coil_node *n)
{
    return n->opaque_[1];
}

/* The dormant task after n: a group's first, or one's next. NULL: there is none. */
static const struct dormant *next_dormant(const struct coil_node *n)
{
    const struct scope *s = n->opaque_[0];

    if (!s->of_group)
        return NULL;
    return coil__dormant_next(container_of(s, const struct group, scope), dormant_of(n));
}

int coil_tree_first(struct coil_node *ret)
{
    const struct loop *loop = coil__here.loop;

    if (!loop)
        return 0;
    describe(&loop->root, 0, ret);
    return 1;
}

int coil_tree_next(struct coil_node *n)
{
    const struct scope *s = n->opaque_[0];
    const struct dormant *d = next_dormant(n);
    const struct scope *next;
    int depth = n->depth + !dormant_of(n);

    if (d) {
        describe_dormant(d, depth, n);
        return 1;
    }
    next = coil__scope_walk(s, &s->loop->root);
    if (!next)
        return 0;
    for (; s != next->parent; s = s->parent)
        depth--;
    describe(next, depth, n);
    return 1;
}

static enum coil_task_state state_of(const struct coil_task *t)
{
    switch ((enum task_state)t->state) {
    case TASK_READY:
        return COIL_TASK_READY;
    case TASK_RUNNING:
        return COIL_TASK_RUNNING;
    case TASK_PARKED:
        return COIL_TASK_WAITING;
    case TASK_ENDED:
        break;
    }
    return COIL_TASK_ENDED;
}

static void describe_wait(const struct coil_task *t, struct coil_task_info *ret)
{
    const struct handle *h = coil__handle_waited_for(t);

    ret->waits_for = t->waits_for;
    ret->since_ns = t->since_ns;
    if (h)
        ret->whose = h->name;
    else if (!coil__op_waited_for(t, &ret->fd) || ret->fd < 0)
        ret->fd = -1;
    ret->cases = coil__select_waited_for(t, &ret->case_count);
}

void coil_task_look(const struct coil_task *t, struct coil_task_info *ret)
{
    const struct coil_task *parent = t->own.parent->task;
    const struct scope *responsible = coil__scope_responsible(t->scope);

    *ret = (struct coil_task_info){
        .name = t->name,
        .site = t->site,
        .parent = parent ? parent->name : NULL,
        .state = state_of(t),
        .fd = -1,
        .begins_ns = COIL_FOREVER,
        .scope_site = t->scope->site,
        .deadline_ns = coil__scope_effective_deadline(t->scope),
        .requested = scope_is_asked(t->scope),
        .cancelled = responsible != NULL,
    };
    if (responsible)
        coil__scope_describe(responsible, &ret->why);
    if (ret->state == COIL_TASK_WAITING)
        describe_wait(t, ret);
}

/* One that waits no longer begins, or ends, within this turn. */
static enum coil_task_state state_of_dormant(const struct dormant *d)
{
    return d->watches && dormant_op(d)->state == OP_DONE ? COIL_TASK_READY : COIL_TASK_WAITING;
}

static void describe_dormant_wait(const struct dormant *d, struct coil_task_info *ret)
{
    const int64_t armed_ns = timer_armed(&d->timer) ? d->timer.deadline_ns : COIL_FOREVER;

    ret->waits_for = d->watches ? "something to read" : "its time";
    ret->fd = d->watches ? dormant_op(d)->fd : -1;
    ret->since_ns = dormant_since_ns(d);
    if (!d->is_deadline)
        ret->begins_ns = armed_ns;
    else if (armed_ns < ret->deadline_ns)
        ret->deadline_ns = armed_ns;
}

static void look_at_dormant(const struct coil_node *n, struct coil_task_info *ret)
{
    const struct dormant *d = dormant_of(n);
    const struct scope *s = &d->group->scope;
    const struct scope *responsible = coil__scope_responsible(s);

    *ret = (struct coil_task_info){
        .name = coil__dormant_name(d),
        .site = d->site,
        .parent = d->group->host->name,
        .state = state_of_dormant(d),
        .dormant = 1,
        .fd = -1,
        .begins_ns = COIL_FOREVER,
        .scope_site = s->site,
        .deadline_ns = n->cancelled ? INT64_MIN : coil__scope_effective_deadline(s),
        .requested = n->cancelled || s->seen & ASK_EITHER,
        .cancelled = n->cancelled || responsible,
        .why = n->why,
    };
    if (responsible)
        coil__scope_describe(responsible, &ret->why);
    if (ret->state == COIL_TASK_WAITING)
        describe_dormant_wait(d, ret);
}

int coil_node_look(const struct coil_node *n, struct coil_task_info *ret)
{
    if (n->kind == COIL_NODE_TASK)
        coil_task_look(n->task, ret);
    else if (n->kind == COIL_NODE_DORMANT)
        look_at_dormant(n, ret);
    return n->kind == COIL_NODE_TASK || n->kind == COIL_NODE_DORMANT;
}
