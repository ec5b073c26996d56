/* choose.c - the backends in order of preference, and the fall from one to the next. */
#include "choose.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/loop.h"

/* The one door for tests: whoever links coil-testing has it, and elsewhere it is NULL. It is taken
 * when it is named, and never otherwise. */
#pragma weak coil__testing_ops

static const struct coil__backend_ops *const backends[] = {
#ifdef HAVE_URING
    &coil__uring_ops,
#endif
    &coil__epoll_ops,
    &coil__testing_ops,
};

#define REAL_COUNT (count_of(backends) - 1)

static __thread struct backend_reason run_error;

struct backend_reason *coil__run_error(void)
{
    return &run_error;
}

const char *coil_run_error(void)
{
    return run_error.text;
}

static int try(struct loop *loop, const struct coil__backend_ops *ops,
               const struct backend_config *config)
{
    int r = ops->open(&loop->backend, config, &loop->reason);

    if (r < 0)
        run_error = loop->reason;
    else
        loop->ops = ops;
    return r;
}

static int open_named(struct loop *loop, const char *name, const char *who,
                      const struct backend_config *config)
{
    for (size_t i = 0; i < count_of(backends); i++) {
        if (backends[i] && strcmp(backends[i]->name, name) == 0) {
            int r = try(loop, backends[i], config);

            if (r >= 0)
                snprintf(loop->reason.text, sizeof(loop->reason.text), "asked for by %s", who);
            return r;
        }
    }
    if (strcmp(name, "io_uring") == 0) {
        snprintf(run_error.text, sizeof(run_error.text), "io_uring: left out of this build");
        return -EOPNOTSUPP;
    }
    snprintf(run_error.text, sizeof(run_error.text), "%.60s: no such backend", name);
    return -EINVAL;
}

/* "Not to be had here", as against "something is wrong". */
static bool may_fall_through(int r)
{
    return r == -ENOSYS || r == -EPERM || r == -ENOMEM || r == -EACCES || r == -EOPNOTSUPP;
}

int coil__choose_backend(struct loop *loop, const char *name, struct backend_config *config)
{
    const char *from_environment = getenv("COIL_BACKEND");
    int r = -ENOSYS;

    run_error.text[0] = '\0';
    if (name)
        return open_named(loop, name, "option", config);
    if (from_environment && *from_environment)
        return open_named(loop, from_environment, "COIL_BACKEND", config);

    for (size_t i = 0; i < REAL_COUNT; i++) {
        r = try(loop, backends[i], config);
        if (r >= 0) {
            /* Why not an earlier one is the interesting part, if there was one. */
            if (run_error.text[0])
                loop->reason = run_error;
            else if (REAL_COUNT == 1)
                snprintf(loop->reason.text, sizeof(loop->reason.text),
                         "io_uring: left out of this build");
            return 0;
        }
        if (!may_fall_through(r))
            return r;
    }
    return r;
}
