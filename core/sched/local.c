/* local.c - getting and setting slots. A spawn copies a pointer; a set copies what it shares. */
#include "local.h"

#include <errno.h>
#include <string.h>

#include "loop.h"

static void local_release(struct loop *loop, struct local *v)
{
    struct here before;

    if (--v->users)
        return;
    before = coil__callback_begin("the destructor of a slot");
    if (v->key->destroy)
        v->key->destroy(v->value);
    coil__callback_end(&before);
    loop_allocate(loop, v, 0);
}

void coil__locals_drop(struct loop *loop, struct locals **l)
{
    struct locals *old = *l;

    *l = NULL;
    if (!old || --old->users)
        return;
    while (old->count)
        local_release(loop, old->all[--old->count]);
    loop_allocate(loop, old, 0);
}

static size_t find(const struct locals *l, const struct coil_local *key)
{
    size_t at = 0;

    while (at < l->count && l->all[at]->key != key)
        at++;
    return at;
}

static void *get(const struct locals *l, const struct coil_local *key)
{
    size_t at;

    if (!l)
        return NULL;
    at = find(l, key);
    return at < l->count ? l->all[at]->value : NULL;
}

/* Makes *l ours alone, with room for so many. */
static int make_own(struct loop *loop, struct locals **l, size_t room)
{
    struct locals *old = *l;
    bool shared = old && old->users > 1;
    struct locals *own =
        loop_allocate(loop, shared ? NULL : old, sizeof(*own) + room * sizeof(own->all[0]));

    if (!own)
        return -ENOMEM;
    if (!old || shared) {
        own->users = 1;
        own->count = shared ? old->count : 0;
    }
    if (shared) {
        memcpy(own->all, old->all, old->count * sizeof(old->all[0]));
        for (size_t i = 0; i < own->count; i++)
            own->all[i]->users++;
        old->users--;
    }
    *l = own;
    return 0;
}

static int unset(struct loop *loop, struct locals **l, const struct coil_local *key)
{
    size_t at = *l ? find(*l, key) : 0;
    struct local *old;
    int r;

    if (!*l || at == (*l)->count)
        return 0;
    if ((*l)->count == 1) {
        coil__locals_drop(loop, l);
        return 0;
    }
    r = (*l)->users > 1 ? make_own(loop, l, (*l)->count) : 0;
    if (r < 0)
        return r;
    old = (*l)->all[at];
    (*l)->count--;
    memmove(&(*l)->all[at], &(*l)->all[at + 1], ((*l)->count - at) * sizeof((*l)->all[0]));
    local_release(loop, old);
    return 0;
}

static int set(struct loop *loop, struct locals **l, const struct coil_local *key, void *value)
{
    size_t count = *l ? (*l)->count : 0;
    size_t at = *l ? find(*l, key) : 0;
    struct local *old = at < count ? (*l)->all[at] : NULL;
    struct local *new;
    int r;

    if (!key)
        return -EINVAL;
    if (!value)
        return unset(loop, l, key);
    if (old && old->value == value)
        return 0;
    new = loop_allocate(loop, NULL, sizeof(*new));
    if (!new)
        return -ENOMEM;
    *new = (struct local){.key = key, .value = value, .users = 1};
    r = old && (*l)->users == 1 ? 0 : make_own(loop, l, count + !old);
    if (r < 0) {
        loop_allocate(loop, new, 0);
        return r;
    }
    (*l)->all[at] = new;
    if (old)
        local_release(loop, old);
    else
        (*l)->count++;
    return 0;
}

void *coil_local_get(const struct coil_local *key)
{
    const struct coil_task *self = here_task();

    return self ? get(self->locals, key) : NULL;
}

int coil_local_set(const struct coil_local *key, void *value)
{
    struct coil_task *self = here_task();

    return self ? set(self->loop, &self->locals, key, value) : -EINVAL;
}

void *coil_local_of(const struct coil_task *t, const struct coil_local *key)
{
    return get(t->locals, key);
}

void *coil_loop_local_get(const struct coil_local *key)
{
    const struct loop *loop = coil__here.loop;

    return loop ? get(loop->locals, key) : NULL;
}

int coil_loop_local_set(const struct coil_local *key, void *value)
{
    struct loop *loop = coil__here.loop;

    return loop ? set(loop, &loop->locals, key, value) : -EINVAL;
}
