/* testing.h - what only tests of this backend may do. */
#ifndef URING_TESTING_H
#define URING_TESTING_H

struct backend;

/* One more enter, nothing reaped. With deferred task work it is what lets an operation happen
 * between the moment its task is woken for another reason and the moment it is cancelled. */
void coil__uring_enter_only(struct backend *b);

#endif
