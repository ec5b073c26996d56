/* list.h - the intrusive doubly linked list that everything else hangs on. */
#ifndef CORE_LIST_H
#define CORE_LIST_H

#include "base.h"

/* A list is a node that belongs to nobody. A node on no list has next == NULL. */
struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline bool list_linked(const struct list *n)
{
    return n->next != NULL;
}

static inline void list_push_back(struct list *l, struct list *n)
{
    n->next = l;
    n->prev = l->prev;
    l->prev->next = n;
    l->prev = n;
}

static inline void list_push_front(struct list *l, struct list *n)
{
    n->next = l->next;
    n->prev = l;
    l->next->prev = n;
    l->next = n;
}

static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = NULL;
}

static inline struct list *list_pop_front(struct list *l)
{
    struct list *n = l->next;

    if (n == l)
        return NULL;
    list_remove(n);
    return n;
}

/* Moves everything from one list to another, which was not initialised. */
static inline void list_take(struct list *to, struct list *from)
{
    list_init(to);
    if (list_empty(from))
        return;
    to->next = from->next;
    to->prev = from->prev;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

#define list_for_each(n, l) for (struct list *n = (l)->next; n != (l); n = n->next)

#endif
