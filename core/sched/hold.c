/* hold.c - where a task holds several. */
#include "hold.h"

void coil__hold_add_to(struct hold *h, struct hold **all)
{
    h->next = *all;
    h->next->at = &h->next;
    *all = h;
}

void coil__hold_remove_from(struct hold *h)
{
    *h->at = h->next;
    h->next->at = h->at;
}
