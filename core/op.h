/* op.h - running one operation for the calling task. */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "backend.h"

struct loop;

/* Runs op and returns its result once whoever does it is done with it. op has its kind and
 * arguments. -EBADF, -EBUSY, -ENOMEM, -ECANCELED before it starts; see coil/io.h. */
ssize_t coil__op_run(struct op *op, int fd, bool writes);

/* Which use of its number fd is in; changes when it is closed here. */
uint32_t coil__op_generation(int fd);

/* Remembers what ended a receive that had bytes to deliver, for the next one. */
void coil__op_late_error(int fd, int error);

/* Runs op->call in the blocking pool. The descriptors it uses (< 0: none) are not closed under
 * it. */
ssize_t coil__op_run_blocking(struct op *op, int fd, int other_fd);

/* The same for what must be done, cancelled or not. -EAGAIN, -ENOMEM: it was not; there is no
 * thread. */
ssize_t coil__op_run_shielded(struct op *op);

/* Asks every operation on d to hurry, and waits, shielded, until there is none. */
void coil__op_drain(struct loop *loop, struct descriptor *d);

#endif
