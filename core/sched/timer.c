/* timer.c - the wheel. */
#include "timer.h"

#define DIGIT_BITS 6

static unsigned int level_of(int64_t deadline_ns, int64_t base_ns)
{
    uint64_t differs = (uint64_t)(deadline_ns ^ base_ns) | 1;

    return (63 - (unsigned int)__builtin_clzll(differs)) / DIGIT_BITS;
}

static void place(struct timers *all, struct timer *t)
{
    /* One in the past goes where the base is: it is the next to fire. */
    int64_t key = t->deadline_ns > all->base_ns ? t->deadline_ns : all->base_ns;
    unsigned int level = level_of(key, all->base_ns);
    unsigned int slot = (uint64_t)key >> (level * DIGIT_BITS) & (TIMER_SLOTS - 1);
    struct timer_slot *s = &all->slots[level][slot];

    t->level = (uint8_t)level;
    t->slot = (uint8_t)slot;
    if (list_empty(&s->timers) || key < s->soonest_ns)
        s->soonest_ns = key;
    list_push_back(&s->timers, &t->link);
    all->used[level] |= UINT64_C(1) << slot;
    all->levels |= 1u << level;
}

static void mark_empty(struct timers *all, unsigned int level, unsigned int slot)
{
    all->used[level] &= ~(UINT64_C(1) << slot);
    if (!all->used[level])
        all->levels &= ~(1u << level);
}

void coil__timers_init(struct timers *all, int64_t now_ns)
{
    *all = (struct timers){.base_ns = now_ns};
    for (unsigned int level = 0; level < TIMER_LEVELS; level++)
        for (unsigned int slot = 0; slot < TIMER_SLOTS; slot++)
            list_init(&all->slots[level][slot].timers);
}

void coil__timer_add(struct timers *all, struct timer *t, int64_t deadline_ns)
{
    assert(deadline_ns >= 0);
    assert(deadline_ns != INT64_MAX);

    handicap(t, 100);
    t->deadline_ns = deadline_ns;
    place(all, t);
    all->count++;
}

void coil__timer_remove(struct timers *all, struct timer *t)
{
    assert(timer_armed(t));

    list_remove(&t->link);
    if (list_empty(&all->slots[t->level][t->slot].timers))
        mark_empty(all, t->level, t->slot);
    all->count--;
}

/* The base has reached this slot: what is in it differs from the base only further down now. */
static void move_down(struct timers *all, unsigned int level, unsigned int slot)
{
    struct list moving;
    struct list *n;

    list_take(&moving, &all->slots[level][slot].timers);
    mark_empty(all, level, slot);
    while ((n = list_pop_front(&moving)))
        place(all, container_of(n, struct timer, link));
}

static void fire_slot(struct timers *all, unsigned int slot)
{
    struct list due;
    struct list *n;

    /* Take the list first: firing may arm and disarm others, also in this very slot. */
    list_take(&due, &all->slots[0][slot].timers);
    mark_empty(all, 0, slot);
    while ((n = list_pop_front(&due))) {
        struct timer *t = container_of(n, struct timer, link);

        all->count--;
        t->fire(t);
    }
}

void coil__timers_fire(struct timers *all, int64_t now_ns)
{
    while (all->levels) {
        unsigned int level = (unsigned int)__builtin_ctz(all->levels);
        unsigned int slot = (unsigned int)__builtin_ctzll(all->used[level]);
        unsigned int shift = level * DIGIT_BITS;
        uint64_t above = shift + DIGIT_BITS >= 64 ? 0 : ~UINT64_C(0) << (shift + DIGIT_BITS);
        int64_t start = (int64_t)(((uint64_t)all->base_ns & above) | (uint64_t)slot << shift);

        if (start > now_ns)
            break;
        all->base_ns = start;
        if (level)
            move_down(all, level, slot);
        else
            fire_slot(all, slot);
    }
    if (now_ns > all->base_ns)
        all->base_ns = now_ns;
}
