/* primitive.c - a primitive of one's own, made of nothing but a parking lot.
 *
 *      primitive
 *
 * A gate lets a bounded number of tasks through, those that come first, and as many more each time
 * it is opened further. Ten visitors come; the gate is opened for three, then for two, then closing
 * time passes. COIL_BACKEND chooses the backend. Exits with 0 if every visitor met the right fate.
 *  */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <coil.h>
#include <coil/lowlevel.h>

/* Zeroed, it is closed. */
struct gate {
    struct coil_lot outside;
    unsigned int room; /* for who comes; 0 while somebody waits outside */
};

/* Goes through, or waits until the gate is opened far enough.
 * 0.  -ECANCELED: asked to stop, and did not go through. */
static int gate_pass(struct gate *g)
{
    int r;

    if (!g->room)
        return coil_lot_park(&g->outside, "gate");
    r = coil_checkpoint(); /* all that may wait is a checkpoint, also when it need not */
    if (r < 0)
        return r;
    if (!g->room) /* taken while the others had their turn */
        return coil_lot_park(&g->outside, "gate");
    g->room--;
    return 0;
}

/* Opens the gate for so many more. Those who wait go first, and nobody can overtake them: their
 * room is never there to be taken. */
static void gate_open(struct gate *g, unsigned int room)
{
    g->room += room - (unsigned int)coil_lot_unpark(&g->outside, room, 0);
}

struct visitor {
    struct gate *gate;
    int result;
};

static int visit(void *arg)
{
    struct visitor *v = arg;

    v->result = gate_pass(v->gate);
    return v->result;
}

static int count(const struct visitor *visitors, int result)
{
    int n = 0;

    for (int i = 0; i < 10; i++)
        n += visitors[i].result == result;
    return n;
}

static int run(void *arg)
{
    struct visitor visitors[10];
    struct gate gate = {.outside = COIL_LOT_INIT};
    struct coil_group g;
    int rc = 0;

    (void)arg;
    coil_group_begin(&g);
    gate_open(&gate, 3);
    for (int i = 0; i < 10 && rc >= 0; i++) {
        visitors[i] = (struct visitor){&gate, 1};
        rc = coil_group_spawn(&g, visit, &visitors[i]);
    }
    while (rc >= 0 && coil_lot_count(&gate.outside) < 7)
        rc = coil_checkpoint();
    gate_open(&gate, 2);
    coil_scope_set_deadline(coil_group_scope(&g), coil_now() + COIL_MILLISECOND);
    rc = coil_group_end(&g, rc);
    if (rc < 0)
        return rc;
    printf("%s: %d passed, %d went home\n", coil_backend_name(), count(visitors, 0),
           count(visitors, -ECANCELED));
    return count(visitors, 0) == 5 && count(visitors, -ECANCELED) == 5 ? 0 : -EPROTO;
}

int main(void)
{
    int rc = coil_run(NULL, run, NULL);

    if (rc == -ENOSYS || rc == -EPERM || rc == -EOPNOTSUPP)
        return 77; /* this machine lacks the backend: tests skip */
    if (rc < 0)
        fprintf(stderr, "primitive: %s %s\n", strerror(-rc), coil_run_error());
    return rc < 0;
}
