/* op.h - running one operation for the calling task. */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "backend.h"

#define OP_LEN_MOST 0x7ffff000 /* what read(2) and write(2) do at the most */

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

/* Watches fd for no task: op is a poll, and its done will be called when there is something to
 * read. Until coil__op_forget it is fd's reader.
 * 0.  1: there is, and done will not be called.  -EBADF, -EBUSY, -ENOMEM: nothing has begun. */
int coil__op_watch(struct loop *loop, struct op *op, int fd);

/* Asks for the end of a watch that is pending. True: it has ended. False: done will be called. */
bool coil__op_unwatch(struct loop *loop, struct op *op);

/* op, a watch, is over. */
void coil__op_forget(struct op *op);

/* Asks every operation on d to hurry, and waits, shielded, until there is none. */
void coil__op_drain(struct loop *loop, struct descriptor *d);

#endif
