/* tester.c - tests of a program outside of the tree, with coil-testing. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <coil.h>
#include <coil/testing.h>

/* Reads from a pipe for an hour at the most. tidy or not in what it leaves. */
static int scenario(void *tidy)
{
    struct coil_scope s;
    char byte;
    int fds[2];
    int rc;

    if (pipe(fds) < 0)
        return -1;
    coil_scope_begin(&s, coil_now() + 3600 * COIL_SECOND);
    rc = (int)coil_read(fds[0], &byte, 1);
    if (rc < 0 && !*(int *)tidy)
        return coil_scope_end(&s, rc);
    rc = coil_scope_end(&s, rc);
    (void)coil_close(fds[0]);
    close(fds[1]);
    return rc;
}

static int note(void *arg)
{
    *(const char **)arg = coil_backend_name();
    return 0;
}

int main(void)
{
    struct coil_testing_options o = coil_testing_seeded(1);
    struct coil_testing_report report;
    const char *backend = NULL;
    int tidy = 1;
    struct coil_everywhere e = {.scenario = scenario, .arg = &tidy};

    if (coil_testing_everywhere(&o, &e, &report) < 5) {
        fprintf(stderr, "%s\n", report.text);
        return 1;
    }
    tidy = 0;
    if (coil_testing_everywhere(&o, &e, &report) >= 0 || !strstr(report.text, "left"))
        return 1;
    if (coil_testing_run(&o, note, &backend, &report) < 0)
        return 1;
    printf("%s\n", backend);
    return 0;
}
