/* quiet.h - writing to a pipe without SIGPIPE: it is blocked meanwhile, and taken back if it was we
 * who raised it. */
#ifndef CORE_IO_QUIET_H
#define CORE_IO_QUIET_H

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "../base.h"

struct quiet {
    sigset_t before; /* the thread's mask */
    bool pending;    /* somebody else has raised it */
};

static inline void quiet_begin(struct quiet *q)
{
    sigset_t set;

    sigpending(&set);
    q->pending = sigismember(&set, SIGPIPE);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &q->before);
}

/* Leaves errno alone. broke: the write said EPIPE. */
static inline void quiet_end(const struct quiet *q, bool broke)
{
    static const struct timespec at_once;
    const int error = errno;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    if (broke && !q->pending)
        sigtimedwait(&set, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &q->before, NULL);
    errno = error;
}

#endif
