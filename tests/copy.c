/* copy.c - a module with a copy of the library of its own, for copies.c to load more than once. */
#define _GNU_SOURCE
#include "copy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <coil.h>

static int bounce(void *arg)
{
    int fd = *(int *)arg;
    char byte;
    ssize_t n;

    while ((n = coil_recv(fd, &byte, 1, 0)) > 0) {
        int rc = coil_send_all(fd, &byte, 1, 0, NULL);

        if (rc < 0)
            return rc;
    }
    return (int)n;
}

static int play(int fd, struct copy_game *game)
{
    for (int i = 0; i < game->rounds; i++) {
        char byte = game->mark;
        ssize_t n = coil_send_all(fd, &byte, 1, 0, NULL);

        if (n >= 0)
            n = coil_recv(fd, &byte, 1, 0);
        if (n < 0)
            return (int)n;
        if (n != 1 || byte != game->mark)
            return -EPROTO;
        game->played++;
        if (game->each_round)
            game->each_round(game->each_round_arg);
    }
    return coil_shutdown(fd, SHUT_WR);
}

static int run(void *arg)
{
    struct copy_game *game = arg;
    struct coil_group g;
    struct coil_stats stats;
    int ends[2];
    int rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    coil_group_begin(&g);
    rc = coil_group_spawn(&g, bounce, &ends[1]);
    if (rc >= 0)
        rc = play(ends[0], game);
    rc = coil_group_end(&g, rc);
    (void)coil_close(ends[0]);
    (void)coil_close(ends[1]);
    if (coil_loop_stats(&stats) == 0)
        game->tasks_left = (int)stats.tasks;
    snprintf(game->backend, sizeof(game->backend), "%s", coil_backend_name());
    return rc;
}

__attribute__((visibility("default"))) int copy_play(struct copy_game *game)
{
    return coil_run(NULL, run, game);
}

__attribute__((visibility("default"))) int copy_in_a_task(void)
{
    return coil_backend_name() != NULL;
}
