/* look.c - the tree and its tasks, as users see them. Reads, and changes nothing. */
#include "../../include/coil/debug.h"

#include "../op.h"
#include "../sched/group.h"
#include "../sched/loop.h"

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
        .opaque_ = s,
    };
    coil__scope_describe(s, &ret->why);
    if (s->of_group) {
        const struct group *g = container_of(s, const struct group, scope);

        ret->task_count = g->count;
        ret->dormant_count = g->dormant_count;
    }
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
    const struct scope *s = n->opaque_;
    const struct scope *next = coil__scope_walk(s, &s->loop->root);
    int depth = n->depth + 1;

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
