/* op.h - running one operation for the calling task. */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "backend.h"

#define OP_LEN_MOST 0x7ffff000 /* what read(2) and write(2) do at the most */

struct coil_task;
struct loop;

/* Runs op and returns its result once whoever does it is done with it. op has its kind and
 * arguments. -EBADF, -EBUSY, -ENOMEM, -ECANCELED before it starts; see coil/io.h. */
ssize_t coil__op_run(struct op *op, int fd, bool writes);

/* The same in rounds, until all of op->len is through or something ends it; of messages, one.
 * *ret_done: how many bytes, always. The answer is the last round's. What ended a receive that had
 * bytes to deliver is said again by the next one, since the system says it once. */
ssize_t coil__op_run_all(struct op *op, int fd, bool writes, size_t *ret_done);

/* Runs op->call in the blocking pool. The descriptors it uses (< 0: none) are not closed under
 * it. */
ssize_t coil__op_run_blocking(struct op *op, int fd, int other_fd);

/* The same for what must be done, cancelled or not. -EAGAIN, -ENOMEM: it was not; there is no
 * thread. */
ssize_t coil__op_run_shielded(struct op *op);

/* One that only looks whether fd could be read, or written. */
struct op coil__op_poll(int fd, bool writes);

/* For who waits for several things at once, and says so in op->done: it is called, inside wait, in
 * the place of waking the task. op is from coil__op_poll.
 *
 * look: 0 if it is ready, -EAGAIN if not; -EBADF, -EBUSY, -ENOMEM. Also outside of a loop.
 * begin: 0, and op->done will be called; or -EBADF, -EBUSY, -ENOMEM, and it is over.
 * begin_ready: the same for one that is ready: it is over, and op->done will not be called.
 * stop: asks a pending op to hurry. True: it is over, and done will not be called.
 * end: once it is over, lets go of the descriptor. 0, or what became of it. */
int coil__op_look(struct op *op);
int coil__op_begin(struct op *op);
int coil__op_begin_ready(struct op *op);
bool coil__op_stop(struct op *op);
int coil__op_end(struct op *op);

/* Asks every operation on d, the entry of fd, to hurry, and waits, shielded, until there is
 * none. */
void coil__op_drain(struct loop *loop, int fd, struct descriptor *d);

/* Is t, which is parked, parked for one of these? On which descriptor (< 0: none)? */
bool coil__op_waited_for(const struct coil_task *t, int *ret_fd);

#endif
