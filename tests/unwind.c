/* unwind.c - tasks parked in known places, for unwind.py to look at from a debugger. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil.h>
#include <coil/lowlevel.h>

#define APART __attribute__((noinline))

struct coil_task *sleeper;
struct coil_task *reader;
volatile int steps; /* written after each call, so that none is a tail call */

void all_are_parked(void);
int sleep_inside(int64_t deadline_ns);
int read_inside(int fd);
int sleep_outside(void *arg);
int read_outside(void *arg);

APART void all_are_parked(void)
{
    if (getenv("UNWIND_ABORT")) /* for a core */
        abort();
    steps++;
}

APART int sleep_inside(int64_t deadline_ns)
{
    int rc = coil_sleep_until(deadline_ns);

    steps++;
    return rc;
}

APART int read_inside(int fd)
{
    char byte;
    int rc = (int)coil_read(fd, &byte, 1);

    steps++;
    return rc;
}

APART int sleep_outside(void *arg)
{
    int rc;

    (void)arg;
    sleeper = coil_task_self();
    rc = sleep_inside(COIL_FOREVER);
    steps++;
    return rc;
}

APART int read_outside(void *arg)
{
    int rc;

    reader = coil_task_self();
    rc = read_inside(*(int *)arg);
    steps++;
    return rc;
}

static int run(void *arg)
{
    struct coil_handle handle;
    const struct coil_spawn_options visitor = {
        .name = "visitor", .handle = &handle, .deadline_ns = coil_now() + 60 * COIL_SECOND};
    struct coil_group g;
    int pair[2];
    int ends[2];
    int rc;

    (void)arg;
    if (pipe(ends) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return -1;
    coil_group_begin(&g);
    rc = coil_group_spawn(&g, sleep_outside, NULL);
    if (rc >= 0)
        rc = coil_group_spawn(&g, read_outside, &ends[0]);
    if (rc >= 0)
        rc = coil_group_spawn_readable_with(&g, pair[0], sleep_outside, NULL, &visitor);
    if (rc >= 0)
        rc = coil_group_spawn_later(&g, coil_now() + 3600 * COIL_SECOND, read_outside, NULL);
    if (rc >= 0)
        rc = coil_sleep(COIL_MILLISECOND);
    if (rc >= 0)
        all_are_parked();
    coil_scope_cancel(coil_group_scope(&g), "seen enough");
    rc = coil_group_end(&g, rc);
    (void)coil_close(ends[0]);
    (void)coil_close(ends[1]);
    (void)coil_close(pair[0]);
    (void)coil_close(pair[1]);
    return rc;
}

int main(void)
{
    int rc = coil_run(NULL, run, NULL);

    if (rc < 0)
        fprintf(stderr, "%s\n", coil_run_error());
    return rc < 0;
}
