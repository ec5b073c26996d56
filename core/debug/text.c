/* text.c - a dump for people: a line a task, a line a scope, indented. */
#include "../sched/loop.h"
#include "../sync/select.h"
#include "dump.h"

#define INDENT_MOST  32   /* levels; below that they are numbered */
#define DORMANT_MOST 1000 /* of a group */

static void out_indent(struct out *o, int depth)
{
    for (int i = 0; i < depth && i < INDENT_MOST; i++)
        coil__out(o, "  ");
    if (depth > INDENT_MOST) {
        coil__out(o, "(");
        coil__out_number(o, depth);
        coil__out(o, ") ");
    }
}

static void out_count(struct out *o, size_t count, const char *one, const char *many)
{
    coil__out_number(o, (int64_t)count);
    coil__out(o, count == 1 ? one : many);
}

static void out_deadline(struct out *o, int64_t deadline_ns, int64_t now_ns)
{
    if (deadline_ns == COIL_FOREVER || deadline_ns == INT64_MIN)
        return;
    coil__out(o, deadline_ns > now_ns ? ", deadline in " : ", deadline passed ");
    coil__out_duration(o, deadline_ns > now_ns ? deadline_ns - now_ns : now_ns - deadline_ns);
    if (deadline_ns <= now_ns)
        coil__out(o, " ago");
}

static void out_why(struct out *o, const struct coil_cancellation *why)
{
    static const char *const causes[] = {
        [COIL_CAUSE_NONE] = "",
        [COIL_CAUSE_DEADLINE] = " by its deadline",
        [COIL_CAUSE_EXPLICIT] = "",
        [COIL_CAUSE_GROUP_ERROR] = " by a failure",
        [COIL_CAUSE_SHUTDOWN] = " by a shutdown",
    };

    coil__out(o, ", cancelled");
    coil__out(o, causes[why->cause]);
    if (why->task) {
        coil__out(o, why->cause == COIL_CAUSE_GROUP_ERROR ? " of task " : " by task ");
        coil__out_words(o, why->task, "");
    }
    if (why->site) {
        coil__out(o, " at ");
        coil__out_words(o, why->site, "");
    }
    if (why->reason) {
        coil__out(o, ": ");
        coil__out_words(o, why->reason, "");
    }
}

static void out_cases(struct out *o, const struct coil_task_info *t)
{
    for (size_t i = 0; i < t->case_count; i++) {
        coil__out(o, i ? ", " : " (");
        coil__out(o, coil__case_name(&t->cases[i]));
        if (t->cases[i].fd >= 0) {
            coil__out(o, " fd ");
            coil__out_number(o, t->cases[i].fd);
        }
    }
    coil__out(o, ")");
}

static void out_wait(struct out *o, const struct coil_task_info *t, int64_t now_ns)
{
    coil__out(o, "waits ");
    coil__out_duration(o, now_ns - t->since_ns);
    coil__out(o, " for ");
    coil__out_words(o, t->whose ? "the end of task " : t->waits_for, "something");
    coil__out_words(o, t->whose, "");
    if (t->fd >= 0) {
        coil__out(o, " on fd ");
        coil__out_number(o, t->fd);
    }
    if (t->cases)
        out_cases(o, t);
    if (t->begins_ns != COIL_FOREVER) {
        coil__out(o, " in ");
        coil__out_duration(o, t->begins_ns - now_ns);
    }
}

static void out_task(struct out *o, const struct coil_node *n, int64_t now_ns)
{
    static const char *const states[] = {
        [COIL_TASK_READY] = "ready",
        [COIL_TASK_RUNNING] = "running",
        [COIL_TASK_ENDED] = "ended",
    };
    struct coil_task_info t;

    (void)coil_node_look(n, &t);
    coil__out(o, "task ");
    coil__out_words(o, t.name, "(no name)");
    coil__out(o, ": ");
    if (t.state == COIL_TASK_WAITING)
        out_wait(o, &t, now_ns);
    else
        coil__out(o, states[t.state]);
    if (t.dormant)
        coil__out(o, ", dormant");
    out_deadline(o, t.deadline_ns, now_ns);
    if (t.cancelled && !n->cancelled)
        coil__out(o, ", cancelled from above");
}

static void out_scope(struct out *o, const struct coil_node *n, int64_t now_ns)
{
    if (n->kind == COIL_NODE_GROUP) {
        coil__out(o, "group of ");
        out_count(o, n->task_count, " task", " tasks");
        if (n->dormant_count) {
            coil__out(o, ", of which ");
            out_count(o, n->dormant_count, " is dormant", " are dormant");
        }
    } else {
        coil__out(o, n->shielded ? "shield" : "scope");
    }
    out_deadline(o, n->deadline_ns, now_ns);
}

static void out_loop(struct out *o, const struct loop *loop, int64_t now_ns)
{
    coil__out(o, "loop on ");
    coil__out(o, loop->ops->name);
    coil__out(o, loop->reason.text[0] ? " (" : "");
    coil__out_words(o, loop->reason.text, "");
    coil__out(o, loop->reason.text[0] ? "): " : ": ");
    out_count(o, loop->living, " task, ", " tasks, ");
    out_count(o, loop->ready_count, " ready, ", " ready, ");
    out_count(o, loop->operations, " operation, ", " operations, ");
    out_count(o, loop_timers(loop), " timer", " timers");
    if (loop_timers(loop) && !timer_armed(&loop->passing.timer)) {
        coil__out(o, ", the soonest in ");
        coil__out_duration(o, loop_next_deadline(loop) - now_ns);
    }
    coil__out(o, ", turn ");
    coil__out_number(o, (int64_t)loop->turns);
}

static bool is_task(const struct coil_node *n)
{
    return n->kind == COIL_NODE_TASK || n->kind == COIL_NODE_DORMANT;
}

static void out_node(struct out *o, const struct coil_node *n, const struct loop *loop,
                     int64_t now_ns)
{
    out_indent(o, n->depth);
    if (n->kind == COIL_NODE_LOOP)
        out_loop(o, loop, now_ns);
    else if (is_task(n))
        out_task(o, n, now_ns);
    else
        out_scope(o, n, now_ns);
    if (n->shielded && n->kind != COIL_NODE_SCOPE)
        coil__out(o, ", shielded");
    if (n->requested && !n->cancelled)
        coil__out(o, ", asked to finish");
    if (n->cancelled)
        out_why(o, &n->why);
    if (n->kind != COIL_NODE_LOOP) {
        coil__out(o, is_task(n) ? ", spawned at " : ", begun at ");
        coil__out_words(o, n->site, "(unknown)");
    }
    coil__out(o, "\n");
}

/* Who is woken at night looks for what is stuck, among a million connections that say nothing. */
static void out_more(struct out *o, const struct coil_node *n, size_t count)
{
    out_indent(o, n->depth);
    coil__out(o, "and ");
    coil__out_number(o, (int64_t)count);
    coil__out(o, " more, dormant\n");
}

void coil__dump_text(struct out *o, const struct loop *loop, int64_t now_ns)
{
    struct coil_node n;
    size_t dormant_count = 0; /* of the last group */
    size_t dormant = 0;       /* of these, seen */

    for (int more = coil_tree_first(&n); more && o->result >= 0; more = coil_tree_next(&n)) {
        if (n.kind == COIL_NODE_GROUP) {
            dormant_count = n.dormant_count;
            dormant = 0;
        }
        if (n.kind != COIL_NODE_DORMANT || dormant++ < DORMANT_MOST)
            out_node(o, &n, loop, now_ns);
        else if (dormant == DORMANT_MOST + 1)
            out_more(o, &n, dormant_count - DORMANT_MOST);
    }
}
