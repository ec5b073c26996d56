/* copies.c - several copies of the library in one process, as when two plugins bring their own. */
#define _GNU_SOURCE
#include "harness.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "copy.h"

#define ROUNDS 200

struct copy {
    void *module;
    copy_play_fn *play;
    copy_in_a_task_fn *in_a_task;
};

/* The module stands beside this program. */
static struct copy load(const char *name)
{
    struct copy copy;
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 64);

    CHECK(len > 0);
    path[len] = '\0';
    snprintf(strrchr(path, '/') + 1, 64, "%s.so", name);
    copy.module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!copy.module)
        harness_fail(__FILE__, __LINE__, dlerror());
    *(void **)&copy.play = dlsym(copy.module, "copy_play");
    *(void **)&copy.in_a_task = dlsym(copy.module, "copy_in_a_task");
    CHECK(copy.play && copy.in_a_task);
    return copy;
}

struct player {
    struct copy copy;
    struct copy_game game;
};

static void *play(void *arg)
{
    struct player *p = arg;

    CHECK_EQ(p->copy.play(&p->game), 0);
    return NULL;
}

Test(copies, two_copies_run_a_loop_each_in_threads_of_one_process_and_do_not_meet)
{
    struct player players[2] = {
        {.copy = load("copy_a"), .game = {.mark = 'a', .rounds = ROUNDS}},
        {.copy = load("copy_b"), .game = {.mark = 'b', .rounds = 2 * ROUNDS}},
    };
    pthread_t threads[2];
    int before;

    harness_not_on_sim("copies of coil, not of coil-testing");
    harness_need_backend();
    CHECK(players[0].copy.play != players[1].copy.play);
    before = harness_count_fds();
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, play, &players[i]), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(players[i].game.played, players[i].game.rounds);
        CHECK_EQ(players[i].game.tasks_left, 1);
    }
    CHECK_EQ(harness_count_fds(), before);
}

/* TSan sees no order in this; the kernel does, which gives the second ring the first's place. */
struct relay {
    struct player first;
    struct player second;
    atomic_bool first_is_over;
};

static void *play_first(void *arg)
{
    struct relay *relay = arg;

    CHECK_EQ(relay->first.copy.play(&relay->first.game), 0);
    atomic_store_explicit(&relay->first_is_over, true, memory_order_relaxed);
    return NULL;
}

static void *play_second(void *arg)
{
    struct relay *relay = arg;

    while (!atomic_load_explicit(&relay->first_is_over, memory_order_relaxed))
        sched_yield();
    CHECK_EQ(relay->second.copy.play(&relay->second.game), 0);
    return NULL;
}

Test(copies, a_copy_may_have_its_ring_where_another_ones_was)
{
    struct relay relay = {
        .first = {.copy = load("copy_a"), .game = {.mark = 'a', .rounds = 3}},
        .second = {.copy = load("copy_b"), .game = {.mark = 'b', .rounds = 3}},
    };
    pthread_t threads[2];

    harness_not_on_sim("copies of coil, not of coil-testing");
    harness_need_backend();
    CHECK_EQ(pthread_create(&threads[0], NULL, play_first, &relay), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, play_second, &relay), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(relay.first.game.played + relay.second.game.played, 6);
}

/* In a task of the first copy. */
static void play_the_other(void *arg)
{
    struct player *other = arg;

    CHECK(!other->copy.in_a_task());
    CHECK(!coil_task_self());
    other->game.played = 0;
    CHECK_EQ(other->copy.play(&other->game), 0);
    CHECK_EQ(other->game.played, other->game.rounds);
}

Test(copies, a_task_of_one_copy_may_run_a_loop_of_another_in_the_same_thread)
{
    struct player inner = {.copy = load("copy_b"), .game = {.mark = 'b', .rounds = 3}};
    struct player outer = {
        .copy = load("copy_a"),
        .game = {.mark = 'a', .rounds = 5, .each_round = play_the_other, .each_round_arg = &inner},
    };

    harness_not_on_sim("copies of coil, not of coil-testing");
    harness_need_backend();
    CHECK_EQ(outer.copy.play(&outer.game), 0);
    CHECK_EQ(outer.game.played, 5);
    CHECK_EQ(strcmp(outer.game.backend, inner.game.backend), 0);
}

/* It had libc call it after a fork. */
Test(copies, a_copy_that_was_unloaded_is_not_called_by_a_fork)
{
    struct player p = {.copy = load("copy_a"), .game = {.mark = 'a', .rounds = 1}};
    Dl_info info;
    int status = -1;
    pid_t pid;

    harness_not_on_sim("copies of coil, not of coil-testing");
    harness_need_backend();
    CHECK_EQ(p.copy.play(&p.game), 0);
    CHECK(dladdr(*(void **)&p.copy.play, &info) != 0);
    CHECK_EQ(dlclose(p.copy.module), 0);
    CHECK_EQ(dladdr(*(void **)&p.copy.play, &info), 0); /* it is gone indeed */
    pid = fork();
    if (pid == 0)
        _exit(0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}
