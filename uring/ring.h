/* ring.h - a ring opened as well as this kernel allows, and one system call to drive it. */
#ifndef URING_RING_H
#define URING_RING_H

#include "../core/backend.h"
#include "compat.h"

struct ring {
    struct io_uring uring;
    unsigned int setup; /* IORING_SETUP_ flags that the kernel took */
    unsigned int enter; /* IORING_ENTER_ flags for every call */
    int enter_fd;
    bool absolute;   /* waits take a point in time, not a duration */
    bool poll_first; /* a receive can be told to wait first, and tells what it left. Linux 5.19 */
    bool accept_poll_first; /* so can an accept. Linux 6.10 */
};

/* 0, or -errno and why in words. why also tells of smaller queues than asked for. */
int coil__ring_open(struct ring *r, const struct backend_config *config,
                    struct backend_reason *why);
void coil__ring_close(struct ring *r);

/* A free submission entry, zeroed; flushes once if the queue is full. NULL: no room even so. */
struct io_uring_sqe *coil__ring_sqe(struct ring *r);

/* How many entries are queued and not submitted. */
unsigned int coil__ring_queued(const struct ring *r);

/* Do completions wait for an enter to be posted? A hint: it may say so with nothing there. */
bool coil__ring_has_events(const struct ring *r);

/* Three ways to enter, each also submitting what is queued. */
void coil__ring_submit(struct ring *r); /* no more than that: the cheapest */

/* Lets completions be posted, if there are any: some twenty at the least, or as many as said. */
void coil__ring_get_events(struct ring *r, unsigned int count);

/* Until there is one, or the deadline. */
void coil__ring_wait(struct ring *r, int64_t deadline_ns);

#endif
