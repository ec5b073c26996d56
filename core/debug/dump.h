/* dump.h - the two ways to write down a loop. */
#ifndef CORE_DEBUG_DUMP_H
#define CORE_DEBUG_DUMP_H

#include "out.h"

struct loop;

void coil__dump_text(struct out *o, const struct loop *loop, int64_t now_ns);
void coil__dump_json(struct out *o, const struct loop *loop, int64_t now_ns);

/* The dumpers of a loop that is about to end. */
void coil__dumpers_close(struct loop *loop);

#endif
