/* gather.c - coil/gather.h: groups that begin and end in one call. */
#include "../../include/coil/gather.h"

#include <errno.h>

#include "group.h"
#include "park.h"

/* A call, as its task sees it. */
struct call {
    struct list link;   /* among those that have completed */
    struct gather *all; /* what it is one of */
};

/* Around a group: what becomes of a call that has returned. */
struct gather {
    struct coil_group group;
    void (*completed)(struct gather *all, struct coil_call *c, int result);
};

struct first {
    struct gather gather;
    struct coil_call *winner; /* NULL until there is one */
    const char *site;
};

struct completions {
    struct gather gather;
    struct list finished; /* and not handed out */
    size_t left;          /* calls that are not handed out */
    struct taker *taker;  /* who waits for the next, or has it and has not run since */
};

/* Lies on its task's stack. */
struct taker {
    struct completions *set; /* NULL: it has ended */
    struct coil_task *task;
    struct coil_call *call; /* what it was handed */
};

_Static_assert(sizeof(struct call) <= sizeof(((struct coil_call *)0)->opaque_),
               "coil_call is too small");
_Static_assert(sizeof(struct completions) <= sizeof(struct coil_completions),
               "coil_completions is too small");

static struct call *call_of(struct coil_call *c)
{
    return (struct call *)c->opaque_;
}

static int check(struct coil_call *calls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!calls[i].fn)
            return -EINVAL;
    return 0;
}

static int make_call(void *arg)
{
    struct coil_call *c = arg;
    struct gather *all = call_of(c)->all;
    int result;

    here_task()->role |= ROLE_ONCE;
    result = c->fn(c->arg);

    if (all->completed)
        all->completed(all, c, result);
    return result;
}

/* Spawns them all. Those that do not come to be say so. */
static int make_calls(struct gather *all, struct coil_call *calls, size_t count, const char *site)
{
    int r = 0;

    for (size_t i = 0; i < count; i++) {
        struct coil_call *c = &calls[i];
        struct coil_spawn_options options = {.name = c->name ? c->name : "a call",
                                             .handle = &c->handle};

        call_of(c)->all = all;
        if (r >= 0)
            r = coil_group_spawn_at(&all->group, make_call, c, &options, NULL, site);
        if (r < 0)
            coil__handle_never((struct handle *)&c->handle, options.name, here_name());
    }
    return r;
}

int coil_all_of_at(struct coil_call *calls, size_t count, const char *site)
{
    struct gather all = {.completed = NULL};
    int r = check(calls, count);

    if (r < 0)
        return r;
    coil_group_begin_at(&all.group, site);
    r = make_calls(&all, calls, count, site);
    return coil_group_end_at(&all.group, r, site);
}

/* --- The first of them ----------------------------------------------------------------------- */

static void first_completed(struct gather *all, struct coil_call *c, int result)
{
    struct first *f = container_of(all, struct first, gather);

    if (result < 0 || f->winner)
        return;
    f->winner = c;
    coil_scope_cancel_at(coil_group_scope(&all->group), "another was first", f->site);
}

static void dispose_of(const struct coil_call *calls, size_t count, const struct coil_call *but,
                       coil_dispose_result_fn *dispose)
{
    for (size_t i = 0; dispose && i < count; i++) {
        int result = coil_task_result(&calls[i].handle);

        if (result >= 0 && &calls[i] != but)
            dispose(calls[i].arg, result);
    }
}

int coil_first_of_at(struct coil_call *calls, size_t count, coil_dispose_result_fn *dispose,
                     size_t *ret_index, const char *site)
{
    struct first f = {.gather.completed = first_completed, .site = site};
    const struct group *g = (const struct group *)&f.gather.group;
    int r = count ? check(calls, count) : -EINVAL;

    if (r < 0)
        return r;
    coil_group_begin_at(&f.gather.group, site);
    r = make_calls(&f.gather, calls, count, site);
    r = coil_group_end_at(&f.gather.group, r, site);
    if (g->first_error)
        f.winner = NULL;
    dispose_of(calls, count, f.winner, dispose);
    if (!f.winner)
        return r < 0 ? r : -ENOENT;
    if (ret_index)
        *ret_index = (size_t)(f.winner - calls);
    return coil_task_result(&f.winner->handle);
}

/* --- Each of many, some at a time ------------------------------------------------------------ */

struct map {
    coil_task_fn *fn;
    char *items;
    size_t size;
    size_t left;
};

/* Takes one item after the other. In between it gives way, since an item need not. */
static int work(void *arg)
{
    struct map *m = arg;

    here_task()->role |= ROLE_ONCE;
    while (m->left) {
        char *item = m->items;
        int r = coil_checkpoint_if_cancelled();

        if (r < 0)
            return r;
        m->items += m->size;
        m->left--;
        r = m->fn(item);
        if (r < 0)
            return r;
        if (m->left)
            coil_yield_shielded();
    }
    return 0;
}

int coil_map_at(coil_task_fn *fn, void *items, size_t count, size_t size, size_t limit,
                const char *name, const char *site)
{
    struct map m = {.fn = fn, .items = items, .size = size, .left = count};
    size_t workers = limit < count ? limit : count;
    struct coil_group g;
    int r = 0;

    if (!fn || !limit)
        return -EINVAL;
    coil_group_begin_at(&g, site);
    while (r >= 0 && coil_group_count(&g) < workers)
        r = coil_group_spawn_at(&g, work, &m, NULL, name, site);
    return coil_group_end_at(&g, coil_group_count(&g) ? 0 : r, site);
}

/* --- As completed ---------------------------------------------------------------------------- */

static void one_completed(struct gather *all, struct coil_call *c, int result)
{
    struct completions *set = container_of(all, struct completions, gather);
    struct taker *taker = set->taker;

    (void)result;
    if (!taker || taker->call) {
        list_push_back(&set->finished, &call_of(c)->link);
        return;
    }
    set->left--;
    taker->call = c;
    unpark(taker->task, 1); /* it runs when our task has ended */
}

int coil_completions_begin_at(struct coil_completions *public, struct coil_call *calls,
                              size_t count, const char *site)
{
    struct completions *set = (struct completions *)public;
    int r = check(calls, count);

    if (r < 0)
        return r;
    coil_group_begin_at(&set->gather.group, site); /* first: it dies if this one is open */
    set->gather.completed = one_completed;
    set->left = count;
    set->taker = NULL;
    list_init(&set->finished);
    r = make_calls(&set->gather, calls, count, site);
    return r < 0 ? coil_group_end_at(&set->gather.group, r, site) : 0;
}

/* 1, or 0: all have been handed out. */
static int take_finished(struct completions *set, struct coil_call **ret)
{
    struct list *n;

    if (list_empty(&set->finished))
        return 0;
    n = list_pop_front(&set->finished);
    set->left--;
    *ret = (struct coil_call *)((char *)n - offsetof(struct coil_call, opaque_));
    return 1;
}

static enum coil_abort stop_waiting(void *ctx)
{
    ((struct taker *)ctx)->set->taker = NULL;
    return COIL_ABORT_DONE;
}

/* A call that completes is handed to the one who waits, so that nobody gets in between. */
static int wait_for_next(struct completions *set, struct coil_task *self, struct coil_call **ret)
{
    struct taker taker = {.set = set, .task = self};
    int r;

    set->taker = &taker;
    r = park(self, stop_waiting, &taker, "a call to complete");
    if (r < 0)
        return r;
    if (taker.set)
        set->taker = NULL;
    *ret = taker.call;
    return r;
}

int coil_completions_next(struct coil_completions *public, struct coil_call **ret)
{
    struct completions *set = (struct completions *)public;
    struct coil_task *self = need_task("coil_completions_next", NULL);
    int r = task_checkpoint(self);

    if (r < 0)
        return r;
    if (set->taker)
        return -EBUSY;
    if (set->left && list_empty(&set->finished))
        return wait_for_next(set, self, ret);
    task_charge(self);
    return take_finished(set, ret);
}

int coil_completions_end_at(struct coil_completions *public, int rc, const char *site)
{
    struct completions *set = (struct completions *)public;
    struct coil_group *g = &set->gather.group;

    if (coil_group_count(g))
        coil_scope_cancel_at(coil_group_scope(g), "nobody waits for it any more", site);
    rc = coil_group_end_at(g, rc, site);
    if (set->taker)
        set->taker->set = NULL;
    return rc;
}
