/* call.h - a call of the blocking pool's, which may block for ever. */
#ifndef TESTING_CALL_H
#define TESTING_CALL_H

#include "../../core/backend.h"

/* One that blocks. */
struct call;

/* Makes op's call and waits for it. True: it is made, and *ret_result is what it said. False: it
 * blocks, asleep in the kernel; it goes on in *ret, and writes to the eventfd wake_fd when it
 * ends. */
bool coil__testing_call(struct op *op, int wake_fd, ssize_t *ret_result, struct call **ret);

/* True: it has ended, *ret_result is what it said, and c is gone. */
bool coil__testing_call_ended(struct call *c, ssize_t *ret_result);

/* Ends it in the midst of whatever it does, which is lost. c is gone. */
void coil__testing_call_break(struct call *c);

#endif
