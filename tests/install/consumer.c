/* consumer.c - a program outside of the tree: a task, a group, a time-out and a socket pair. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <coil.h>

static int answer(void *arg)
{
    char buf[16];
    ssize_t n = coil_recv(*(int *)arg, buf, sizeof(buf), 0);

    return n < 0 ? (int)n : coil_send_all(*(int *)arg, buf, (size_t)n, 0, NULL);
}

static int ask(int fd)
{
    char buf[16] = "";
    ssize_t n;
    int rc = coil_send_all(fd, "hello", 5, 0, NULL);

    if (rc < 0)
        return rc;
    n = coil_recv(fd, buf, sizeof(buf), 0);
    return n == 5 && memcmp(buf, "hello", 5) == 0 ? 0 : -EPROTO;
}

/* The peer says nothing more, so this comes back when the time is up. */
static int wait_in_vain(int fd)
{
    struct coil_scope s;
    char byte;
    int rc;

    coil_timeout_begin(&s, coil_now() + COIL_MILLISECOND);
    rc = (int)coil_recv(fd, &byte, 1, 0);
    rc = coil_scope_end(&s, rc);
    return rc == -ETIME ? 0 : -EPROTO;
}

static int run(void *arg)
{
    struct coil_group g;
    int ends[2];
    int rc;

    (void)arg;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return -errno;
    coil_group_begin(&g);
    rc = coil_group_spawn(&g, answer, &ends[1]);
    if (rc >= 0)
        rc = ask(ends[0]);
    rc = coil_group_end(&g, rc);
    if (rc >= 0)
        rc = wait_in_vain(ends[0]);
    (void)coil_close(ends[0]);
    (void)coil_close(ends[1]);
    printf("%s\n", coil_backend_name());
    return rc;
}

int main(void)
{
    int rc = coil_run(NULL, run, NULL);

    if (rc < 0)
        fprintf(stderr, "consumer: %s %s\n", strerror(-rc), coil_run_error());
    return rc == -ENOSYS || rc == -EPERM || rc == -EOPNOTSUPP ? 77 : rc < 0;
}
