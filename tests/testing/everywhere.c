/* everywhere.c - a scenario with trouble at each turn: cancelled, failed and starved, at its first
 * chance, its second, and so on to its last. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define RUNS_MOST 100000 /* of one kind of trouble: a scenario that never ends is none */

struct trial {
    const struct coil_testing_options *options;
    const struct coil_everywhere *e;
    struct coil_testing_report *report;
    const char *site;
    int expected; /* what the undisturbed run answered */
    unsigned int runs;
};

/* A kind of trouble. */
struct trouble {
    const char *name;
    void (*set)(struct coil_testing_options *o, struct coil_fault *f, unsigned int nth);
    unsigned int (*chances)(const struct coil_testing_report *report); /* that there were */
    bool cancels;
    int error; /* that it explains; 0: operation_error */
};

static void cancel_before(struct coil_testing_options *o, struct coil_fault *f, unsigned int nth)
{
    (void)f;
    o->cancel_at = nth;
    o->cancel_when = COIL_TESTING_BEFORE;
}

static void cancel_while(struct coil_testing_options *o, struct coil_fault *f, unsigned int nth)
{
    cancel_before(o, f, nth);
    o->cancel_when = COIL_TESTING_WHILE;
}

static void cancel_after(struct coil_testing_options *o, struct coil_fault *f, unsigned int nth)
{
    cancel_before(o, f, nth);
    o->cancel_when = COIL_TESTING_AFTER;
}

static void fail_operation(struct coil_testing_options *o, struct coil_fault *f, unsigned int nth)
{
    (void)o;
    f->nth = nth;
}

static void fail_allocation(struct coil_testing_options *o, struct coil_fault *f, unsigned int nth)
{
    (void)f;
    o->fail_allocation = nth;
}

static unsigned int calls(const struct coil_testing_report *report)
{
    return report->calls;
}

static unsigned int operations(const struct coil_testing_report *report)
{
    return report->operations;
}

static unsigned int allocations(const struct coil_testing_report *report)
{
    return report->allocations;
}

static const struct trouble troubles[] = {
    {"cancelled before call", cancel_before, calls, true, -ECANCELED},
    {"cancelled while it waits in call", cancel_while, calls, true, -ECANCELED},
    {"cancelled, with it done and nobody gone on, after call", cancel_after, calls, true,
     -ECANCELED},
    {"with a failure of operation", fail_operation, operations, false, 0},
    {"without memory for allocation", fail_allocation, allocations, false, -ENOMEM},
};

static bool may_answer(const struct trial *t, const struct trouble *trouble, int rc)
{
    int error = trouble->error;

    if (!error)
        error = t->e->operation_error ? t->e->operation_error : -EIO;
    for (size_t i = 0; i < t->e->allowed_count; i++)
        if (rc == t->e->allowed[i])
            return true;
    return rc == t->expected || rc == error || (trouble->cancels && rc == 0);
}

/* Puts what was done to it before what came of it. */
static void say_first(struct trial *t, const char *name, unsigned int nth, int cancel_caller)
{
    char words[sizeof(t->report->text)];
    int len = snprintf(words, sizeof(words), "%s%s %u, seed %llu:\n",
                       cancel_caller ? "its caller alone " : "", name, nth,
                       (unsigned long long)t->report->seed);

    snprintf(words + len, sizeof(words) - (size_t)len, "%s", t->report->text);
    memcpy(t->report->text, words, sizeof(words));
}

static int run_once(struct trial *t, const struct coil_testing_options *o, int *ret_verdict)
{
    int rc;

    t->runs++;
    if (t->e->before)
        t->e->before(t->e->arg);
    rc = coil__testing_run(o, t->e->scenario, t->e->arg, t->report, t->site);
    *ret_verdict = t->e->after ? t->e->after(t->e->arg, rc) : 0;
    return rc;
}

static int judge(struct trial *t, const struct trouble *trouble, int rc, int verdict)
{
    struct world w = {.options = *t->options, .report = t->report};

    if (t->report->text[0])
        return rc;
    if (verdict < 0) {
        coil__testing_say(&w, "afterwards something is wrong: %d", verdict);
        return verdict;
    }
    if (may_answer(t, trouble, rc))
        return 0;
    coil__testing_say(&w, "answers %d, and undisturbed %d", rc, t->expected);
    return -EPROTO;
}

/* With this trouble at its nth chance; nth 1, 2, 3 ... until there are fewer. */
static int try_all(struct trial *t, const struct trouble *trouble, struct coil_fault *faults,
                   int cancel_caller)
{
    struct coil_testing_options o = *t->options;
    unsigned int nth = 0;
    int verdict;
    int r;

    o.faults = faults;
    o.fault_count++;
    o.loop.backend = coil__testing_ops.name;
    do {
        nth++;
        o.cancel_at = 0;
        o.cancel_caller = cancel_caller;
        o.fail_allocation = 0;
        faults[o.fault_count - 1].nth = UINT32_MAX;
        trouble->set(&o, &faults[o.fault_count - 1], nth);
        r = run_once(t, &o, &verdict);
        r = judge(t, trouble, r, verdict);
        if (r < 0) {
            say_first(t, trouble->name, nth, cancel_caller);
            return r;
        }
    } while (trouble->chances(t->report) >= nth && nth < RUNS_MOST);
    return nth < RUNS_MOST ? 0 : -ELOOP;
}

static int try_undisturbed(struct trial *t)
{
    struct coil_testing_options o = *t->options;
    struct world w = {.options = o, .report = t->report};
    int verdict;

    o.cancel_at = 0;
    o.fail_allocation = 0;
    o.loop.backend = coil__testing_ops.name;
    t->expected = run_once(t, &o, &verdict);
    if (t->report->text[0])
        return t->expected;
    if (verdict < 0)
        coil__testing_say(&w, "undisturbed, and afterwards something is wrong: %d", verdict);
    return verdict;
}

/* The faults that the caller planned, and one more. */
static struct coil_fault *one_more(const struct coil_testing_options *o, int error)
{
    struct coil_fault *faults = calloc(o->fault_count + 1, sizeof(*faults));

    if (!faults)
        return NULL;
    if (o->fault_count)
        memcpy(faults, o->faults, o->fault_count * sizeof(*faults));
    faults[o->fault_count].error = error ? error : -EIO;
    return faults;
}

int coil_testing_everywhere_at(const struct coil_testing_options *options,
                               const struct coil_everywhere *e, struct coil_testing_report *ret,
                               const char *site)
{
    static const struct coil_testing_options defaults;
    struct coil_testing_report own_report;
    struct trial t = {
        .options = options ? options : &defaults,
        .e = e,
        .report = ret ? ret : &own_report,
        .site = site,
    };
    struct coil_fault *faults = one_more(t.options, e->operation_error);
    int r;

    if (!faults)
        return -ENOMEM;
    r = try_undisturbed(&t);
    for (size_t i = 0; i < count_of(troubles) && r >= 0; i++)
        r = try_all(&t, &troubles[i], faults, 0);
    for (size_t i = 0; i < count_of(troubles) && r >= 0 && e->each_task; i++)
        r = troubles[i].cancels ? try_all(&t, &troubles[i], faults, 1) : 0;
    free(faults);
    return r < 0 ? r : (int)t.runs;
}
