/* errors.c - the failures of a group, in the order in which they happened. */
#include "errors.h"

#include <errno.h>

#include "group.h"
#include "loop.h"

struct errors {
    uint64_t serial;     /* no other list of the loop has it */
    struct errors *next; /* to be freed */
    size_t count;
    size_t capacity;
    struct error_record records[];
};

bool coil__errors_add(struct loop *loop, struct errors **list, const struct error_record *e)
{
    struct errors *l = *list;

    if (!l || l->count == l->capacity) {
        size_t capacity = l ? l->capacity * 2 : 4;

        l = loop_allocate(loop, l, sizeof(*l) + capacity * sizeof(l->records[0]));
        if (!l) {
            coil__errors_free(loop, e->inner);
            return false;
        }
        if (!*list) {
            l->count = 0;
            l->serial = ++loop->errors_serial;
        }
        l->capacity = capacity;
        *list = l;
    }
    l->records[l->count++] = *e;
    return true;
}

uint64_t coil__errors_serial(const struct errors *list)
{
    return list->serial;
}

/* Groups nest as deep as tasks start tasks, so this does not call itself: lists found inside a list
 * are put behind it. */
void coil__errors_free(struct loop *loop, struct errors *list)
{
    struct errors *last = list;

    if (list)
        list->next = NULL;
    while (list) {
        struct errors *next;

        for (size_t i = 0; i < list->count; i++) {
            struct errors *inner = list->records[i].inner;

            if (!inner)
                continue;
            inner->next = NULL;
            last->next = inner;
            last = inner;
        }
        next = list->next;
        loop_allocate(loop, list, 0);
        list = next;
    }
}

static int show(const struct errors *l, size_t i, struct coil_error *ret)
{
    const struct error_record *r;

    if (!l || i >= l->count)
        return -ENOENT;
    r = &l->records[i];
    *ret = (struct coil_error){
        .code = r->code,
        .task = r->task,
        .site = r->site,
        .message = r->message,
        .count = r->inner ? r->inner->count : 0,
        .inner = r->inner,
    };
    return 0;
}

/* The list of an ended group is the host's, and gone once the host has a newer one. */
static const struct errors *list_of(const struct coil_group *public)
{
    const struct group *g = (const struct group *)public;
    const struct coil_task *self = here_task();

    if (g->state != GROUP_ENDED)
        return g->errors;
    if (!g->errors || !self || !self->errors || self->errors->serial != g->errors_serial)
        return NULL;
    return self->errors;
}

size_t coil_group_error_count(const struct coil_group *g)
{
    const struct errors *l = list_of(g);

    return l ? l->count : 0;
}

int coil_group_error(const struct coil_group *g, size_t i, struct coil_error *ret)
{
    return show(list_of(g), i, ret);
}

int coil_error_inner(const struct coil_error *e, size_t i, struct coil_error *ret)
{
    return show((const struct errors *)e->inner, i, ret);
}

size_t coil_group_error_dropped(const struct coil_group *g)
{
    return ((const struct group *)g)->dropped;
}

int coil_fail(int code, const char *message)
{
    struct coil_task *self = here_task();

    if (self) {
        self->message = message;
        self->message_code = code;
    }
    return code;
}
