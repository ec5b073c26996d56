/* semantics_model.c - the model. The numbers are those of the promises: 2 scopes, 3 groups and
 * tasks, 4 checkpoints, 5 primitives. */
#include "semantics_model.h"

#include <errno.h>
#include <string.h>

static void must(struct model *m, bool holds, const char *law)
{
    if (!holds)
        m->broken(law);
}

/* --- What is in force ------------------------------------------------------------------------ */

/* The scope outside of node that node can see. 2.3: a shield blocks ancestors, and only them. */
static int outside(const struct model *m, int node)
{
    return m->nodes[node].shielded ? NOBODY : m->nodes[node].parent;
}

/* 2.3 */
bool model_cancelled(const struct model *m, int node)
{
    for (; node != NOBODY; node = outside(m, node))
        if (m->nodes[node].cancelled)
            return true;
    return false;
}

/* 2.12 */
bool model_requested(const struct model *m, int node)
{
    for (; node != NOBODY; node = outside(m, node))
        if (m->nodes[node].cancelled || m->nodes[node].requested)
            return true;
    return false;
}

/* When node will be cancelled if nobody does it before. 2.12: at the end of the grace. */
static int64_t due_ns(const struct model_node *n)
{
    if (n->requested && n->grace_end_ns < n->deadline_ns)
        return n->grace_end_ns;
    return n->deadline_ns;
}

/* 2.4 */
int64_t model_effective_deadline(const struct model *m, int node)
{
    int64_t soonest_ns = MODEL_FOREVER;

    if (model_cancelled(m, node))
        return INT64_MIN;
    for (; node != NOBODY; node = outside(m, node))
        if (due_ns(&m->nodes[node]) < soonest_ns)
            soonest_ns = due_ns(&m->nodes[node]);
    return soonest_ns;
}

/* 2.5: the outermost cancelled scope that can be seen. */
int model_responsible(const struct model *m, int node)
{
    int found = NOBODY;

    for (; node != NOBODY; node = outside(m, node))
        if (m->nodes[node].cancelled)
            found = node;
    return found;
}

/* 3.2: is -ECANCELED, said by t, an answer to somebody? */
bool model_may_say_cancelled(const struct model *m, int t)
{
    return model_cancelled(m, m->tasks[t].inner) || m->tasks[t].told;
}

/* --- Who may run ----------------------------------------------------------------------------- */

static void make_ready(struct model *m, int t)
{
    struct model_task *task = &m->tasks[t];

    task->state = MODEL_READY;
    task->ready_ns = m->now_ns;
    task->ready_act = m->acts;
    task->in_round = false;
    task->in_some_round = m->unsure;
}

static void wake(struct model *m, int t, int answer)
{
    m->tasks[t].waits = MODEL_NOTHING;
    m->tasks[t].answer = answer;
    m->tasks[t].told |= answer == -ECANCELED;
    make_ready(m, t);
}

/* 4.1, 2.2: a call in a cancelled task. */
static int refuse(struct model *m, int t)
{
    m->tasks[t].told = true;
    return -ECANCELED;
}

static int block(struct model *m, int t, enum model_wait waits, int what)
{
    m->tasks[t].state = MODEL_BLOCKED;
    m->tasks[t].waits = waits;
    m->tasks[t].what = what;
    return MODEL_WAITS;
}

static void queue_add(struct model_queue *q, int t)
{
    q->tasks[q->count++] = t;
}

static void queue_remove(struct model_queue *q, int t)
{
    int left = 0;

    for (int i = 0; i < q->count; i++)
        if (q->tasks[i] != t)
            q->tasks[left++] = q->tasks[i];
    q->count = left;
}

/* 5: first come, first served. */
static int queue_first(struct model_queue *q)
{
    int t = q->count ? q->tasks[0] : NOBODY;

    queue_remove(q, t);
    return t;
}

static void wake_all(struct model *m, struct model_queue *q, int answer)
{
    while (q->count)
        wake(m, queue_first(q), answer);
}

/* 5: a waiter that is cancelled leaves the queue at once. */
static void leave_queues(struct model *m, int t)
{
    for (int i = 0; i < MODEL_LOCKS; i++)
        queue_remove(&m->locks[i].queue, t);
    for (int i = 0; i < MODEL_CHANNELS; i++) {
        queue_remove(&m->channels[i].sending, t);
        queue_remove(&m->channels[i].receiving, t);
    }
    queue_remove(&m->semaphore_queue, t);
}

/* --- The ends of groups ---------------------------------------------------------------------- */

/* 3.1: the host goes on when there are no more children; 3.8: services do not count. */
static void tell_host(struct model *m, int group)
{
    const struct model_node *n = &m->nodes[group];
    const struct model_task *host = &m->tasks[n->host];

    if (host->state == MODEL_BLOCKED && host->waits == MODEL_END && host->what == group &&
        n->children == n->services)
        make_ready(m, n->host);
}

static void tell_waiters(struct model *m, int ended)
{
    for (int t = 0; t < m->task_count; t++)
        if (m->tasks[t].waits == MODEL_TASK && m->tasks[t].what == ended)
            wake(m, t, 0);
}

/* 3: a task without a stack ends without having run. with_group: because its group was told to. */
static void end_dormant(struct model *m, int t, bool with_group)
{
    struct model_task *task = &m->tasks[t];

    task->state = MODEL_ENDED;
    task->result = -ECANCELED;
    task->ended_cancelled = true;
    m->nodes[task->group].gave_in |= with_group && model_cancelled(m, task->group);
    tell_waiters(m, t);
    m->nodes[task->group].children--;
    tell_host(m, task->group);
}

/* --- Cancelling ------------------------------------------------------------------------------ */

static bool can_be_cancelled(const struct model_task *task)
{
    return task->state == MODEL_BLOCKED && task->waits != MODEL_END && task->waits != MODEL_START &&
           (task->waits != MODEL_PARK || task->awaits_abort);
}

/* coil/group.h: who waits for its time has no part in what goes on, 2.12: softly asked or not. */
static bool is_ending(const struct model *m, int t)
{
    return m->tasks[t].state == MODEL_DORMANT && model_requested(m, m->tasks[t].group);
}

static void tell_of_cancel(struct model *m, int t)
{
    struct model_task *task = &m->tasks[t];

    leave_queues(m, t);
    if (task->waits == MODEL_PARK) {
        task->awaits_abort = false;
        task->aborts++;
        if (!task->leaves)
            return;
    }
    wake(m, t, -ECANCELED);
}

/* 2.2, 2.8: nobody waits on who is cancelled, and could be told. Who waits for a task without a
 * stack, and is cancelled with it, is told of that, as if the other had a stack. */
static void deliver(struct model *m)
{
    for (int t = 0; t < m->task_count; t++)
        if (m->tasks[t].state == MODEL_OUTSIDE && model_cancelled(m, m->tasks[t].inner))
            m->tasks[t].may_give_up = true;
        else if (can_be_cancelled(&m->tasks[t]) && model_cancelled(m, m->tasks[t].inner))
            tell_of_cancel(m, t);
    for (int t = 0; t < m->task_count; t++)
        if (is_ending(m, t))
            end_dormant(m, t, true);
}

/* 2.6: the first cause stays. */
static void note_cancel(struct model_node *n, struct model_why why)
{
    if (n->cancelled)
        return;
    n->cancelled = true;
    n->why = why;
}

static void cancel(struct model *m, int node, struct model_why why)
{
    note_cancel(&m->nodes[node], why);
    deliver(m);
}

void model_cancel(struct model *m, int node, struct model_why why)
{
    m->acts++;
    cancel(m, node, why);
}

/* 2.12 */
void model_request(struct model *m, int node, int64_t end_ns, struct model_why why)
{
    struct model_node *n = &m->nodes[node];

    if (n->cancelled || n->requested)
        return;
    n->requested = true;
    n->request = why;
    n->grace_end_ns = end_ns;
    m->acts++;
    deliver(m);
}

/* 2.8: after the cancel it changes nothing. */
void model_set_deadline(struct model *m, int node, int64_t deadline_ns)
{
    if (!m->nodes[node].cancelled)
        m->nodes[node].deadline_ns = deadline_ns;
}

/* 2.8: lowered, what waited outside comes in at once. */
void model_set_shield(struct model *m, int node, bool shielded)
{
    m->acts++;
    m->nodes[node].shielded = shielded;
    deliver(m);
}

/* 3.7: just this task. */
void model_task_cancel(struct model *m, int t, struct model_why why)
{
    m->acts++;
    if (m->tasks[t].state == MODEL_DORMANT)
        end_dormant(m, t, false);
    else if (m->tasks[t].state != MODEL_ENDED)
        cancel(m, m->tasks[t].own, why);
}

/* --- Scopes ---------------------------------------------------------------------------------- */

/* t enters node, with what it has been told by others. */
static void own(struct model *m, int node, int t)
{
    m->nodes[node].owner = t;
    m->nodes[node].told_outside = m->tasks[t].told;
}

static int node_new(struct model *m, int parent)
{
    int node = 0;

    while (node < MODEL_NODES - 1 && m->nodes[node].used)
        node++;
    must(m, !m->nodes[node].used, "the model has room for a node");
    m->nodes[node] = (struct model_node){
        .used = true,
        .parent = parent,
        .deadline_ns = MODEL_FOREVER,
        .why.who = NOBODY,
        .host = NOBODY,
        .owner = NOBODY,
    };
    return node;
}

int model_scope_new(struct model *m)
{
    return node_new(m, NOBODY);
}

/* 2.1: strictly nested. 2.7: it may be cancelled already. */
void model_scope_enter(struct model *m, int t, int node)
{
    m->nodes[node].parent = m->tasks[t].inner;
    m->tasks[t].inner = node;
    own(m, node, t);
}

/* 2.5: who catches. 2.6: a time-out only if that was the cause. 2.10: what t was told here ends
 * here, what it was told outside does not. */
int model_scope_end(struct model *m, int t, int rc)
{
    const int node = m->tasks[t].inner;
    struct model_node *n = &m->nodes[node];
    const bool outer = outside(m, node) != NOBODY && model_cancelled(m, outside(m, node));

    m->tasks[t].inner = n->parent;
    if (!n->cancelled || outer)
        return rc;
    m->tasks[t].told = n->told_outside;
    if (rc != -ECANCELED)
        return rc;
    n->caught = true;
    return n->fails && n->why.cause == MODEL_DEADLINE ? -ETIME : 0;
}

void model_scope_free(struct model *m, int node)
{
    m->nodes[node].used = false;
}

/* --- Groups ---------------------------------------------------------------------------------- */

int model_group_begin(struct model *m, int t)
{
    int group = node_new(m, m->tasks[t].inner);

    m->nodes[group].is_group = true;
    m->nodes[group].host = t;
    m->tasks[t].inner = group;
    own(m, group, t);
    return group;
}

/* 1: nothing else is ever called -ECANCELED, so who was not cancelled fails with another name.
 * group.h: -EPROTO. */
static int failure_of(int rc)
{
    return rc == -ECANCELED ? -EPROTO : rc;
}

static const char *words_for(int rc)
{
    return rc == -ECANCELED ? "said -ECANCELED without having been cancelled" : NULL;
}

/* 3.2: the group is cancelled, and the failure is kept, in order of occurrence. */
static void fail(struct model *m, int group, int t, int rc)
{
    struct model_node *n = &m->nodes[group];

    must(m, n->error_count < MODEL_ERRORS, "the model has room for a failure");
    n->errors[n->error_count] = failure_of(rc);
    n->error_words[n->error_count] = words_for(rc);
    n->error_of[n->error_count++] = t;
    cancel(m, group, (struct model_why){MODEL_GROUP_ERROR, words_for(rc), t});
}

/* 3.8: in reverse order of spawning. */
static void cancel_newest_service(struct model *m, int group)
{
    int newest = NOBODY;

    for (int t = 0; t < m->task_count; t++)
        if (m->tasks[t].state != MODEL_ENDED && m->tasks[t].group == group &&
            (newest == NOBODY || m->tasks[t].joined > m->tasks[newest].joined))
            newest = t;
    must(m, m->tasks[newest].service, "only services are left");
    cancel(m, m->tasks[newest].own,
           (struct model_why){MODEL_SHUTDOWN, "only services are left", m->nodes[group].host});
}

/* 3.1: waits for the children; 3.8: not for services, which are told to stop. */
static void await_children(struct model *m, int t, int group)
{
    block(m, t, MODEL_END, group);
    if (m->nodes[group].children == m->nodes[group].services)
        cancel_newest_service(m, group);
}

/* 3.2: a body fails its group like a child. 3.4: always a schedule point. */
int model_group_end(struct model *m, int t, int rc)
{
    const int group = m->tasks[t].inner;
    struct model_node *n = &m->nodes[group];

    m->acts++;
    if (rc == -ECANCELED && model_may_say_cancelled(m, t))
        n->gave_in = true;
    else if (rc < 0)
        fail(m, group, t, rc);
    if (n->children) {
        await_children(m, t, group);
    } else {
        block(m, t, MODEL_END, group);
        make_ready(m, t);
    }
    return MODEL_WAITS;
}

/* 3.3: the first error; else -ECANCELED, if that is for somebody above; else 0. */
int model_group_ended(struct model *m, int t)
{
    const struct model_node *n = &m->nodes[m->tasks[t].inner];
    int rc;

    must(m, n->children == 0, "3.1: no child outlives its group");
    rc = model_scope_end(m, t, n->gave_in ? -ECANCELED : 0);
    if (n->error_count)
        return n->errors[0];
    m->tasks[t].told |= rc == -ECANCELED;
    return rc;
}

/* --- Tasks ----------------------------------------------------------------------------------- */

static int task_new(struct model *m, int parent)
{
    const int t = m->task_count++;

    must(m, t < MODEL_TASKS, "the model has room for a task");
    m->tasks[t] = (struct model_task){.group = NOBODY, .target = NOBODY, .starter = NOBODY};
    m->tasks[t].own = node_new(m, parent);
    m->tasks[t].inner = m->tasks[t].own;
    own(m, m->tasks[t].own, t);
    make_ready(m, t);
    return t;
}

/* 3.8: nothing from outside reaches a service. */
static void join(struct model *m, int t, int group, bool service)
{
    m->tasks[t].group = group;
    m->tasks[t].joined = m->joins++;
    m->tasks[t].service = service;
    m->nodes[group].services += service;
    m->nodes[m->tasks[t].own].shielded = service;
}

/* 3.5: it runs, also in a cancelled group. */
int model_spawn(struct model *m, int group, bool service)
{
    int t;

    m->acts++;
    t = task_new(m, group);
    m->nodes[group].children++;
    join(m, t, group, service);
    return t;
}

static void sleep_without_stack(struct model *m, int t, int64_t when_ns)
{
    struct model_task *task = &m->tasks[t];

    model_scope_free(m, task->own);
    task->own = NOBODY;
    task->inner = NOBODY;
    task->told = false;
    task->state = MODEL_DORMANT;
    task->until_ns = when_ns;
    deliver(m);
}

int model_spawn_later(struct model *m, int group, int64_t when_ns)
{
    const int t = model_spawn(m, group, false);

    sleep_without_stack(m, t, when_ns);
    return t;
}

static void wake_dormant(struct model *m, int t)
{
    m->tasks[t].own = node_new(m, m->tasks[t].group);
    m->tasks[t].inner = m->tasks[t].own;
    own(m, m->tasks[t].own, t);
    make_ready(m, t);
}

/* 3.6: before it has started the child sees the starter's scopes; the group stays open. */
int model_start(struct model *m, int t, int group, bool service)
{
    int child;

    m->acts++;
    child = task_new(m, m->tasks[t].inner);
    m->tasks[child].target = group;
    m->tasks[child].will_serve = service;
    m->tasks[child].starter = t;
    m->nodes[group].children++;
    block(m, t, MODEL_START, child);
    return child;
}

/* Has t been told to stop, and by no node of its own? */
static bool told_from_above(const struct model *m, int t)
{
    for (int node = m->tasks[t].inner; m->nodes[node].owner == t; node = m->nodes[node].parent)
        if (m->nodes[node].cancelled && !m->nodes[node].told_outside)
            return false;
    return m->tasks[t].told;
}

/* 3.6: afterwards the group's. In a start that is cancelled, or was when t was told: a no-op. */
int model_started(struct model *m, int t)
{
    struct model_task *task = &m->tasks[t];

    if (task->target == NOBODY)
        return 0;
    if (task->said)
        return -EALREADY;
    m->acts++;
    task->said = true;
    if (model_cancelled(m, m->nodes[task->own].parent) || told_from_above(m, t))
        return 0;
    task->moved = true;
    m->nodes[task->own].parent = task->target;
    join(m, t, task->target, task->will_serve);
    wake(m, task->starter, 0);
    tell_host(m, task->target);
    deliver(m);
    return 0;
}

/* 3.6: an error comes out of start and leaves the group healthy. */
int model_start_ended(struct model *m, int t, int child)
{
    const struct model_task *c = &m->tasks[child];

    if (c->moved)
        return 0;
    m->acts++;
    m->nodes[c->target].children--;
    tell_host(m, c->target);
    if (c->start_result == -ECANCELED && c->ended_cancelled)
        m->tasks[t].told = true;
    return c->start_result < 0 ? c->start_result : c->said ? 0 : -EPROTO;
}

/* 5.2: what it held is lost. */
static void lose_locks(struct model *m, int t)
{
    for (int i = 0; i < MODEL_LOCKS; i++)
        if (m->locks[i].owner == t) {
            m->locks[i].owner = NOBODY;
            m->locks[i].dead = true;
            wake_all(m, &m->locks[i].queue, -EOWNERDEAD);
        }
}

/* 3.2, 3.7: a failure shows on the handle and fails the group; -ECANCELED while cancelled does
 * not. */
static void task_ends(struct model *m, int t, int rc)
{
    struct model_task *task = &m->tasks[t];
    const bool may_say_cancelled = model_may_say_cancelled(m, t);

    task->result = may_say_cancelled ? rc : failure_of(rc);
    task->ended_cancelled = rc == -ECANCELED && may_say_cancelled;
    rc = model_scope_end(m, t, rc);
    model_scope_free(m, task->own);
    task->state = MODEL_ENDED;
    if (m->running == t)
        m->running = NOBODY;
    if (task->target != NOBODY && !task->moved)
        task->start_result = may_say_cancelled ? rc : failure_of(rc);
    else if (rc == -ECANCELED && may_say_cancelled)
        m->nodes[task->group].gave_in = true;
    else if (rc < 0)
        fail(m, task->group, t, rc);
    tell_waiters(m, t);
    if (task->target != NOBODY && !task->moved) {
        wake(m, task->starter, 0);
        return;
    }
    m->nodes[task->group].services -= task->service;
    m->nodes[task->group].children--;
    tell_host(m, task->group);
}

void model_task_ends(struct model *m, int t, int rc)
{
    m->acts++;
    lose_locks(m, t);
    task_ends(m, t, rc);
}

bool model_may_sleep_again(const struct model *m, int t)
{
    const struct model_task *task = &m->tasks[t];

    return task->group != NOBODY && !task->service;
}

void model_task_sleeps_again(struct model *m, int t, int rc, int64_t when_ns)
{
    m->acts++;
    lose_locks(m, t);
    if (rc >= 0 && model_cancelled(m, m->tasks[t].own))
        rc = -ECANCELED;
    if (rc < 0) {
        task_ends(m, t, rc);
        return;
    }
    m->running = NOBODY;
    sleep_without_stack(m, t, when_ns);
}

/* --- Time ------------------------------------------------------------------------------------ */

static int64_t soonest_ns(const struct model *m)
{
    int64_t soonest = MODEL_FOREVER;

    for (int i = 0; i < MODEL_NODES; i++)
        if (m->nodes[i].used && !m->nodes[i].cancelled && due_ns(&m->nodes[i]) < soonest)
            soonest = due_ns(&m->nodes[i]);
    for (int t = 0; t < m->task_count; t++)
        if ((m->tasks[t].waits == MODEL_SLEEP || m->tasks[t].state == MODEL_DORMANT) &&
            m->tasks[t].until_ns < soonest)
            soonest = m->tasks[t].until_ns;
    return soonest;
}

/* 2.12: the request said why. */
static void cancel_due(struct model_node *n)
{
    struct model_why why = {MODEL_DEADLINE, NULL, NOBODY};

    if (due_ns(n) < n->deadline_ns)
        why = n->request;
    note_cancel(n, why);
}

/* All that is due at one time. 4.5: a sleeper does not wake before. Of deadlines, all are seen
 * before anybody is told: so who waits for a task without a stack, and is cancelled by one when it
 * ends by another, hears of his own, whichever was there first. As if the task had a stack: then it
 * would only end when it runs. */
static void act_at(struct model *m, int64_t time_ns)
{
    m->acts++;
    for (int t = 0; t < m->task_count; t++)
        if (m->tasks[t].waits == MODEL_SLEEP && m->tasks[t].until_ns <= time_ns)
            wake(m, t, 0);
        else if (m->tasks[t].state == MODEL_DORMANT && m->tasks[t].until_ns <= time_ns)
            wake_dormant(m, t);
    for (int i = 0; i < MODEL_NODES; i++)
        if (m->nodes[i].used && !m->nodes[i].cancelled && due_ns(&m->nodes[i]) <= time_ns)
            cancel_due(&m->nodes[i]);
    deliver(m);
}

void model_look(struct model *m, int64_t now_ns)
{
    int64_t due;

    must(m, now_ns >= m->now_ns, "time does not go back");
    while ((due = soonest_ns(m)) <= now_ns) {
        if (due > m->now_ns)
            m->now_ns = due;
        act_at(m, m->now_ns);
    }
    m->now_ns = now_ns;
}

/* --- Whose turn it is ------------------------------------------------------------------------ */

/* 3.10: each ready task runs once a round. */
static void begin_round(struct model *m)
{
    for (int t = 0; t < m->task_count; t++)
        if (m->tasks[t].state == MODEL_READY) {
            must(m, !m->tasks[t].in_round, "3.10: nobody runs twice before each has run once");
            m->tasks[t].in_round = true;
            m->tasks[t].in_some_round = false;
        }
}

/* t, or somebody that t owes it to, came from outside, so it may be among the last of one round or
 * the first of the next. Whoever is ready by now is of the next in either case; whom t makes ready,
 * only if the next has not begun. */
static void begin_some_round(struct model *m, int t)
{
    m->unsure = true;
    for (int u = 0; u < m->task_count; u++)
        if (u != t && m->tasks[u].state == MODEL_READY && m->tasks[u].in_round) {
            m->unsure = !m->round_begun;
            return;
        }
    m->round_begun = false;
    for (int u = 0; u < m->task_count; u++)
        if (u != t && m->tasks[u].state == MODEL_READY && !m->tasks[u].in_some_round)
            m->tasks[u].in_round = true;
}

/* 3.10: FIFO. What one act has made ready may run in any order. */
static void check_order(struct model *m, int t)
{
    for (int u = 0; u < m->task_count; u++)
        must(m,
             m->tasks[u].state != MODEL_READY || !m->tasks[u].in_round ||
                 m->tasks[u].ready_act >= m->tasks[t].ready_act,
             "3.10: who was ready first runs first");
}

static void check_turn(struct model *m, int t)
{
    struct model_task *task = &m->tasks[t];

    must(m, task->state == MODEL_READY, "who runs has been made ready");
    must(m, !m->exact || task->ready_ns == m->now_ns, "who is ready runs before time passes");
    if (task->in_some_round) {
        begin_some_round(m, t);
        task->in_some_round = false;
        return;
    }
    m->unsure = false;
    m->round_begun = true;
    if (!task->in_round)
        begin_round(m);
    task->in_round = false;
    if (m->ordered)
        check_order(m, t);
}

static void give_way(struct model *m, int t)
{
    m->acts++;
    make_ready(m, t);
}

/* Has the loop looked at the clock before this step of t? It does between rounds, and if nobody is
 * ready. */
static bool looks_before(const struct model *m, int t, int64_t now_ns)
{
    return m->stepwise || (m->exact && now_ns > m->now_ns) || !m->tasks[t].in_round;
}

void model_step(struct model *m, int t, int64_t now_ns)
{
    struct model_task *task = &m->tasks[t];

    if (m->running != NOBODY && m->tasks[m->running].state == MODEL_RUNNING)
        give_way(m, m->running);
    if (looks_before(m, t, now_ns))
        model_look(m, now_ns);
    m->acts++;
    m->steps++;
    m->running = t;
    if (task->state == MODEL_OUTSIDE) {
        begin_some_round(m, t);
        return; /* it may go on waiting */
    }
    check_turn(m, t);
    task->state = MODEL_RUNNING;
    if (task->waits == MODEL_END && m->nodes[task->what].children)
        await_children(m, t, task->what);
    else if (task->waits == MODEL_CHECKPOINT)
        task->answer = model_check(m, t);
    if (task->state == MODEL_RUNNING)
        task->waits = MODEL_NOTHING;
}

/* 4.1 */
bool model_any_ready(const struct model *m)
{
    for (int t = 0; t < m->task_count; t++)
        if (m->tasks[t].state == MODEL_READY)
            return true;
    return false;
}

int model_answer(const struct model *m, int t)
{
    return m->tasks[t].answer;
}

/* --- Calls that may wait --------------------------------------------------------------------- */

/* 4.3: only checks. */
int model_check(struct model *m, int t)
{
    return model_cancelled(m, m->tasks[t].inner) ? refuse(m, t) : 0;
}

/* 4.3: yields, then checks. */
int model_checkpoint(struct model *m, int t)
{
    block(m, t, MODEL_CHECKPOINT, NOBODY);
    give_way(m, t);
    return MODEL_WAITS;
}

void model_yield(struct model *m, int t)
{
    give_way(m, t);
}

/* 4.5 */
int model_sleep(struct model *m, int t, int64_t until_ns)
{
    if (until_ns <= m->now_ns)
        return model_checkpoint(m, t);
    if (model_check(m, t) < 0)
        return -ECANCELED;
    m->tasks[t].until_ns = until_ns;
    return block(m, t, MODEL_SLEEP, NOBODY);
}

/* coil/lowlevel.h: who is cancelled is told once, and may stay. */
int model_park(struct model *m, int t, bool can_abort, bool leaves)
{
    struct model_task *task = &m->tasks[t];

    task->awaits_abort = can_abort;
    task->leaves = leaves;
    task->aborts = 0;
    block(m, t, MODEL_PARK, NOBODY);
    if (!can_abort || !model_cancelled(m, task->inner))
        return MODEL_WAITS;
    task->awaits_abort = false;
    task->aborts = 1;
    if (!leaves)
        return MODEL_WAITS;
    task->state = MODEL_RUNNING;
    task->waits = MODEL_NOTHING;
    return refuse(m, t);
}

void model_unpark(struct model *m, int t, int result)
{
    m->acts++;
    wake(m, t, result);
}

/* 3.7: any number of waiters. */
int model_wait(struct model *m, int t, int other)
{
    if (t == other)
        return -EDEADLK;
    if (model_check(m, t) < 0)
        return -ECANCELED;
    if (m->tasks[other].state == MODEL_ENDED)
        return model_checkpoint(m, t);
    return block(m, t, MODEL_TASK, other);
}

int model_outside(struct model *m, int t)
{
    if (model_check(m, t) < 0)
        return -ECANCELED;
    m->tasks[t].may_give_up = false;
    block(m, t, MODEL_NOTHING, NOBODY);
    m->tasks[t].state = MODEL_OUTSIDE;
    return MODEL_WAITS;
}

/* 4.2: only a cancelled call answers so. 4.4: it need not. */
void model_outside_ended(struct model *m, int t, bool cancelled)
{
    must(m, !cancelled || m->tasks[t].may_give_up, "4.2: -ECANCELED is for who was asked to stop");
    m->tasks[t].state = MODEL_RUNNING; /* also if it did not wait */
    m->tasks[t].told |= cancelled;
}

/* --- Lock, semaphore ------------------------------------------------------------------------- */

/* 5.2 */
int model_lock(struct model *m, int t, int lock, bool may_wait)
{
    struct model_lock *l = &m->locks[lock];

    if (may_wait && model_check(m, t) < 0)
        return -ECANCELED;
    if (l->dead)
        return -EOWNERDEAD;
    if (l->owner == t)
        return -EDEADLK;
    if (l->owner == NOBODY) {
        l->owner = t;
        return 0;
    }
    if (!may_wait)
        return -EAGAIN;
    queue_add(&l->queue, t);
    return block(m, t, MODEL_LOCK, lock);
}

/* 5: the hand-over is direct. */
int model_unlock(struct model *m, int t, int lock)
{
    struct model_lock *l = &m->locks[lock];

    if (l->owner != t)
        return -EPERM;
    m->acts++;
    l->owner = queue_first(&l->queue);
    if (l->owner != NOBODY)
        wake(m, l->owner, 0);
    return 0;
}

void model_lock_anew(struct model *m, int lock)
{
    m->locks[lock] = (struct model_lock){.owner = NOBODY};
}

/* 5.4 */
int model_acquire(struct model *m, int t, bool may_wait)
{
    if (may_wait && model_check(m, t) < 0)
        return -ECANCELED;
    if (m->semaphore) {
        m->semaphore--;
        return 0;
    }
    if (!may_wait)
        return -EAGAIN;
    queue_add(&m->semaphore_queue, t);
    return block(m, t, MODEL_SEMAPHORE, NOBODY);
}

/* 5.4: beyond the maximum there is nothing. */
int model_release(struct model *m)
{
    if (m->semaphore_queue.count)
        wake(m, queue_first(&m->semaphore_queue), 0);
    else if (m->semaphore == m->semaphore_max)
        return -EOVERFLOW;
    else
        m->semaphore++;
    return 0;
}

/* --- Channel: 5.6 ---------------------------------------------------------------------------- */

void model_channel_open(struct model *m, int c, int capacity)
{
    m->channels[c] = (struct model_channel){.open = true, .capacity = capacity};
    m->channels[c].sender[0] = true;
    m->channels[c].receiver[0] = true;
}

static bool any_open(const bool *handles)
{
    for (int i = 0; i < MODEL_HANDLES; i++)
        if (handles[i])
            return true;
    return false;
}

static void push(struct model *m, struct model_channel *c, int item)
{
    must(m, c->count < MODEL_ITEMS, "the model has room for an item");
    c->items[c->count++] = item;
    if (c->count > c->peak)
        c->peak = c->count;
}

static int pop(struct model_channel *c)
{
    const int item = c->items[0];

    c->count--;
    memmove(&c->items[0], &c->items[1], (size_t)c->count * sizeof(c->items[0]));
    return item;
}

/* 1, and item is with t. */
static int received(struct model *m, int t, int item)
{
    m->tasks[t].item = item;
    return 1;
}

int model_send(struct model *m, int t, int c, int handle, int item, bool may_wait)
{
    struct model_channel *ch = &m->channels[c];

    if (may_wait && model_check(m, t) < 0)
        return -ECANCELED;
    if (!ch->sender[handle])
        return -EBADF;
    if (!any_open(ch->receiver))
        return -EPIPE;
    m->acts++;
    if (ch->receiving.count) {
        const int receiver = queue_first(&ch->receiving);

        wake(m, receiver, received(m, receiver, item));
        return 0;
    }
    if (ch->count < ch->capacity) {
        push(m, ch, item);
        return 0;
    }
    if (!may_wait)
        return -EAGAIN;
    m->tasks[t].item = item;
    m->tasks[t].handle = handle;
    queue_add(&ch->sending, t);
    return block(m, t, MODEL_SENDING, c);
}

int model_receive(struct model *m, int t, int c, int handle, bool may_wait)
{
    struct model_channel *ch = &m->channels[c];
    int sender;

    if (may_wait && model_check(m, t) < 0)
        return -ECANCELED;
    if (!ch->receiver[handle])
        return -EBADF;
    m->acts++;
    sender = queue_first(&ch->sending);
    if (sender != NOBODY)
        wake(m, sender, 0);
    if (ch->count) {
        received(m, t, pop(ch));
        if (sender != NOBODY)
            push(m, ch, m->tasks[sender].item);
        return 1;
    }
    if (sender != NOBODY)
        return received(m, t, m->tasks[sender].item);
    if (!any_open(ch->sender))
        return 0;
    if (!may_wait)
        return -EAGAIN;
    m->tasks[t].handle = handle;
    queue_add(&ch->receiving, t);
    return block(m, t, MODEL_RECEIVING, c);
}

void model_clone(struct model *m, int c, bool sender, int handle)
{
    (sender ? m->channels[c].sender : m->channels[c].receiver)[handle] = true;
}

/* Those who wait through that handle, and only they, are told. */
static void evict(struct model *m, struct model_queue *q, int handle)
{
    const struct model_queue before = *q;

    for (int i = 0; i < before.count; i++)
        if (m->tasks[before.tasks[i]].handle == handle) {
            queue_remove(q, before.tasks[i]);
            wake(m, before.tasks[i], -EBADF);
        }
}

static void lose_items(struct model_channel *c)
{
    memcpy(c->lost, c->items, sizeof(c->lost));
    c->lost_count = c->count;
    c->count = 0;
}

void model_close(struct model *m, int c, bool sender, int handle)
{
    struct model_channel *ch = &m->channels[c];

    m->acts++;
    ch->lost_count = 0;
    (sender ? ch->sender : ch->receiver)[handle] = false;
    evict(m, sender ? &ch->sending : &ch->receiving, handle);
    if (sender && !any_open(ch->sender))
        wake_all(m, &ch->receiving, 0);
    if (!sender && !any_open(ch->receiver)) {
        wake_all(m, &ch->sending, -EPIPE);
        lose_items(ch);
    }
    ch->open = any_open(ch->sender) || any_open(ch->receiver);
}

/* --------------------------------------------------------------------------------------------- */

void model_begin(struct model *m, int64_t now_ns, void (*broken)(const char *law))
{
    memset(m, 0, sizeof(*m));
    m->broken = broken;
    m->now_ns = now_ns;
    for (int i = 0; i < MODEL_LOCKS; i++)
        model_lock_anew(m, i);
    m->running = task_new(m, NOBODY);
    m->tasks[0].state = MODEL_RUNNING;
}
