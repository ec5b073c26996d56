/* out.h - text on its way out, in pieces that fit on a small stack. */
#ifndef CORE_DEBUG_OUT_H
#define CORE_DEBUG_OUT_H

#include "../../include/coil/debug.h"
#include "../base.h"

struct out {
    coil_dump_fn *write;
    void *ctx;
    int result; /* the first negative one of write: nothing goes out after that */
    size_t len;
    char piece[448];
};

void coil__out_bytes(struct out *o, const char *p, size_t n);
void coil__out_flush(struct out *o);

/* A literal of ours. */
void coil__out(struct out *o, const char *s);
void coil__out_number(struct out *o, int64_t number);

/* For people: "1.2 s", "3 h 5 min". */
void coil__out_duration(struct out *o, int64_t ns);

/* A caller's string, which may hold anything, on one line; what stands for it if it is NULL. */
void coil__out_words(struct out *o, const char *s, const char *none);

/* The same as JSON, in quotes: bytes that are not UTF-8 are replaced. NULL is null. */
void coil__out_json(struct out *o, const char *s);

#endif
