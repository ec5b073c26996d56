/* cut.h - reads and writes that move only a part of what they were asked to. */
#ifndef TESTING_CUT_H
#define TESTING_CUT_H

#include "../../core/backend.h"

struct cut;

/* How many bytes op is to move, if it may move fewer; else 0. */
size_t coil__testing_cuttable(const struct op *op);

/* Has op move len bytes at the most. What it takes to say so is kept in *all. False: there is no
 * memory, and it moves all. */
bool coil__testing_cut(struct op *op, size_t len, struct cut **all);

/* op has been done: its caller is told what a recvmsg said besides, if op is one that was cut. */
void coil__testing_cut_done(const struct op *op);

void coil__testing_cuts_free(struct cut *all);

#endif
