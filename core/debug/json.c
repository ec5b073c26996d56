/* json.c - a dump for programs: one object, its nodes in a list. A list, since a tree of 5,000
 * nested scopes is more than many a parser nests. */
#include "../sched/loop.h"
#include "../sync/select.h"
#include "dump.h"

/* Each key with the comma before it, but for the first of an object. */
static void out_string(struct out *o, const char *key, const char *value)
{
    coil__out(o, key);
    coil__out_json(o, value);
}

static void out_number(struct out *o, const char *key, int64_t value)
{
    coil__out(o, key);
    coil__out_number(o, value);
}

static void out_if(struct out *o, const char *key, bool known, int64_t value)
{
    if (known)
        out_number(o, key, value);
    else
        out_string(o, key, NULL);
}

static void out_truth(struct out *o, const char *key, bool value)
{
    coil__out(o, key);
    coil__out(o, value ? "true" : "false");
}

static bool is_time(int64_t ns)
{
    return ns != COIL_FOREVER && ns != INT64_MIN;
}

static void out_why(struct out *o, const struct coil_cancellation *why)
{
    static const char *const causes[] = {
        [COIL_CAUSE_NONE] = "none",         [COIL_CAUSE_DEADLINE] = "deadline",
        [COIL_CAUSE_EXPLICIT] = "explicit", [COIL_CAUSE_GROUP_ERROR] = "group error",
        [COIL_CAUSE_SHUTDOWN] = "shutdown",
    };

    out_string(o, ",\"cause\":", causes[why->cause]);
    out_string(o, ",\"reason\":", why->reason);
    out_string(o, ",\"cancelled_by\":", why->task);
    out_string(o, ",\"cancelled_at\":", why->site);
}

static void out_cases(struct out *o, const struct coil_task_info *t)
{
    coil__out(o, ",\"cases\":[");
    for (size_t i = 0; i < t->case_count; i++) {
        out_string(o, i ? ",{\"kind\":" : "{\"kind\":", coil__case_name(&t->cases[i]));
        out_if(o, ",\"fd\":", t->cases[i].fd >= 0, t->cases[i].fd);
        coil__out(o, "}");
    }
    coil__out(o, "]");
}

static void out_task(struct out *o, const struct coil_node *n, int64_t now_ns)
{
    static const char *const states[] = {
        [COIL_TASK_READY] = "ready",
        [COIL_TASK_RUNNING] = "running",
        [COIL_TASK_WAITING] = "waiting",
        [COIL_TASK_ENDED] = "ended",
    };
    struct coil_task_info t;
    bool waits;

    (void)coil_node_look(n, &t);
    waits = t.state == COIL_TASK_WAITING;
    out_string(o, ",\"name\":", t.name);
    out_string(o, ",\"parent\":", t.parent);
    out_string(o, ",\"state\":", states[t.state]);
    out_truth(o, ",\"dormant\":", t.dormant);
    out_string(o, ",\"waits_for\":", t.waits_for);
    out_string(o, ",\"whose\":", t.whose);
    out_if(o, ",\"fd\":", t.fd >= 0, t.fd);
    if (t.cases)
        out_cases(o, &t);
    out_if(o, ",\"since_ns\":", waits, t.since_ns);
    out_if(o, ",\"waited_ns\":", waits, now_ns > t.since_ns ? now_ns - t.since_ns : 0);
    out_if(o, ",\"begins_ns\":", is_time(t.begins_ns), t.begins_ns);
    out_string(o, ",\"scope_site\":", t.scope_site);
    out_if(o, ",\"effective_deadline_ns\":", is_time(t.deadline_ns), t.deadline_ns);
    out_truth(o, ",\"effectively_cancelled\":", t.cancelled);
}

static void out_node(struct out *o, const struct coil_node *n, int64_t now_ns)
{
    static const char *const kinds[] = {
        [COIL_NODE_LOOP] = "loop",   [COIL_NODE_TASK] = "task",    [COIL_NODE_SCOPE] = "scope",
        [COIL_NODE_GROUP] = "group", [COIL_NODE_DORMANT] = "task",
    };

    out_string(o, n->depth ? ",\n{\"kind\":" : "\n{\"kind\":", kinds[n->kind]);
    out_number(o, ",\"depth\":", n->depth);
    out_string(o, ",\"site\":", n->site);
    out_if(o, ",\"deadline_ns\":", is_time(n->deadline_ns), n->deadline_ns);
    out_truth(o, ",\"shielded\":", n->shielded);
    out_truth(o, ",\"requested\":", n->requested);
    out_truth(o, ",\"cancelled\":", n->cancelled);
    if (n->cancelled)
        out_why(o, &n->why);
    if (n->kind == COIL_NODE_GROUP) {
        out_number(o, ",\"tasks\":", (int64_t)n->task_count);
        out_number(o, ",\"dormant\":", (int64_t)n->dormant_count);
    }
    if (n->kind == COIL_NODE_TASK || n->kind == COIL_NODE_DORMANT)
        out_task(o, n, now_ns);
    coil__out(o, "}");
}

static void out_stats(struct out *o)
{
    struct coil_stats s;

    (void)coil_loop_stats(&s);
    out_number(o, ",\"stats\":{\"tasks\":", (int64_t)s.tasks);
    out_number(o, ",\"ready\":", (int64_t)s.ready);
    out_number(o, ",\"timers\":", (int64_t)s.timers);
    out_number(o, ",\"operations\":", (int64_t)s.operations);
    out_number(o, ",\"descriptors\":", (int64_t)s.descriptors);
    out_number(o, ",\"stacks\":", (int64_t)s.stacks);
    out_number(o, ",\"blocking\":", (int64_t)s.blocking);
    out_number(o, ",\"turns\":", (int64_t)s.turns);
    out_number(o, ",\"switches\":", (int64_t)s.switches);
    out_number(o, ",\"cancels\":", (int64_t)s.cancels);
    out_number(o, ",\"late_results\":", (int64_t)s.late_results);
    out_if(o, ",\"next_deadline_ns\":", is_time(s.next_deadline_ns), s.next_deadline_ns);
    coil__out(o, "}");
}

void coil__dump_json(struct out *o, const struct loop *loop, int64_t now_ns)
{
    struct coil_node n;

    out_string(o, "{\"backend\":", loop->ops->name);
    out_string(o, ",\"reason\":", loop->reason.text);
    out_number(o, ",\"loop\":", loop->index);
    out_number(o, ",\"now_ns\":", now_ns);
    out_stats(o);
    coil__out(o, ",\n\"nodes\":[");
    for (int more = coil_tree_first(&n); more && o->result >= 0; more = coil_tree_next(&n))
        out_node(o, &n, now_ns);
    coil__out(o, "]}\n");
}
