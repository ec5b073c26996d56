/* copy.h - what copies.c asks of a copy: a loop that plays a game with itself over a socket
 * pair. */
#ifndef TESTS_COPY_H
#define TESTS_COPY_H

struct copy_game {
    char mark;
    int rounds;
    void (*each_round)(void *arg); /* may be NULL */
    void *each_round_arg;

    int played;
    int tasks_left;
    char backend[16];
};

/* In a loop of its own in the calling thread, until all rounds are played. What coil_run says. */
typedef int copy_play_fn(struct copy_game *game);

/* Does this copy believe that the calling thread runs a task? */
typedef int copy_in_a_task_fn(void);

copy_play_fn copy_play;
copy_in_a_task_fn copy_in_a_task;

#endif
