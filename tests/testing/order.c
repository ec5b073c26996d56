/* order.c - tasks that take turns as a test says, and what a call is. */
#include <errno.h>

#include "world.h"

/* --- Sequencer ------------------------------------------------------------------------------- */

/* A task that waits for its turn. */
struct coil_turn {
    struct coil_turn *next;
    struct coil_sequencer *sequencer;
    struct coil_task *task;
    unsigned int number;
};

static void leave(struct coil_turn *turn)
{
    struct coil_turn **p = &turn->sequencer->waiting;

    while (*p != turn)
        p = &(*p)->next;
    *p = turn->next;
}

static void wake(struct coil_turn *turn, int result)
{
    leave(turn);
    coil_unpark(turn->task, result);
}

static void break_off(struct coil_sequencer *s)
{
    s->broken = 1;
    while (s->waiting)
        wake(s->waiting, -EPIPE);
}

static enum coil_abort give_up(void *ctx)
{
    struct coil_turn *turn = ctx;

    leave(turn);
    break_off(turn->sequencer);
    return COIL_ABORT_DONE;
}

static struct coil_turn *turn_of(const struct coil_sequencer *s, unsigned int number)
{
    struct coil_turn *turn = s->waiting;

    while (turn && turn->number != number)
        turn = turn->next;
    return turn;
}

int coil_sequencer_begin(struct coil_sequencer *s, unsigned int number)
{
    struct coil_turn turn = {.sequencer = s, .task = coil_task_self(), .number = number};
    int r;

    if (s->broken)
        return -EPIPE;
    if (number < s->next || (number == s->next && s->taken) || turn_of(s, number))
        return -EALREADY;
    if (number == s->next) {
        r = coil_checkpoint_if_cancelled();
        if (r < 0) {
            break_off(s);
            return r;
        }
        s->taken = 1;
        return 0;
    }
    turn.next = s->waiting;
    s->waiting = &turn;
    return coil_park(give_up, &turn, "its turn in a sequence");
}

void coil_sequencer_end(struct coil_sequencer *s)
{
    struct coil_turn *turn = turn_of(s, ++s->next);

    s->taken = turn != NULL;
    if (turn)
        wake(turn, 0);
}

/* --- Probe ----------------------------------------------------------------------------------- */

enum {
    PROBE_CANCELLED = 1,
    PROBE_WAS_TOLD = 2, /* told_to_stop as it was before */
};

static uint64_t switches(void)
{
    return coil__here.loop->switches;
}

void coil_probe_begin_at(struct coil_probe *p, int cancelled, const char *site)
{
    struct coil_task *self = need_task("coil_probe_begin", site);

    p->gave_way = 0;
    p->met_cancellation = 0;
    p->opaque_[0] = switches() << 2 | (uint64_t)(self->told_to_stop ? PROBE_WAS_TOLD : 0) |
                    (uint64_t)(cancelled ? PROBE_CANCELLED : 0);
    if (!cancelled)
        return;
    self->told_to_stop = false;
    coil_scope_begin_at(&p->scope, COIL_FOREVER, site);
    coil_scope_cancel_at(&p->scope, "a probe", site);
}

void coil_probe_end_at(struct coil_probe *p, const char *site)
{
    struct coil_task *self = need_task("coil_probe_end", site);

    p->gave_way = switches() != p->opaque_[0] >> 2;
    if (!(p->opaque_[0] & PROBE_CANCELLED))
        return;
    p->met_cancellation = self->told_to_stop;
    if (coil_scope_end_at(&p->scope, -ECANCELED, site) < 0)
        p->met_cancellation = 0; /* was cancelled all around, and proves nothing */
    self->told_to_stop = p->opaque_[0] & PROBE_WAS_TOLD;
}
