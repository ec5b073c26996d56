/* sink.h - a descriptor that a dump goes to, without waiting for room there for ever. */
#ifndef CORE_DEBUG_SINK_H
#define CORE_DEBUG_SINK_H

#include "../base.h"

enum sink_kind {
    SINK_FILE, /* always has room, or says that it has none */
    SINK_SOCKET,
    SINK_PIPE,
    SINK_TERMINAL,
};

struct sink {
    int fd;
    enum sink_kind kind;
    int64_t patience_ns; /* so long may it still wait for room */
};

/* What writing to fd takes. -EBADF. */
int coil__sink_open(struct sink *s, int fd);

/* A coil_dump_fn. -EAGAIN: there was no room, and no patience is left. */
int coil__sink_write(void *sink, const char *text, size_t len);

#endif
