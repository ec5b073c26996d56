/* storm.cc - what does it cost to do a thing a very great many times at once: to arm and disarm a
 * million timers, to cancel a tree of a hundred thousand tasks?
 */

#include "bench.h"

#include <algorithm>
#include <random>
#include <sys/resource.h>
#include <sys/socket.h>
#include <vector>

namespace
{

constexpr int64_t HOUR = 3600 * COIL_SECOND;

/* --- Timers ---------------------------------------------------------------------------------- */

enum { TIMER_COUNT = 1000000, FIRING_COUNT = TIMER_COUNT / 100 };

size_t timers_armed()
{
    struct coil_stats stats;

    CHECK(coil_loop_stats(&stats) == 0);
    return stats.timers;
}

/* All are armed, 99 of 100 are disarmed, the others fire. */
void arm_all_and_disarm_most(std::vector<struct coil_scope> *scopes, bench_watch *watch,
                             benchmark::State &state)
{
    const int64_t soon_ns = coil_now() + 200 * COIL_MILLISECOND;
    std::mt19937_64 random(1);
    std::vector<int64_t> deadlines(TIMER_COUNT);
    int rc;

    for (int i = 0; i < TIMER_COUNT; i++)
        deadlines[i] = soon_ns + (i < FIRING_COUNT ? 0 : HOUR) +
                       static_cast<int64_t>(random() % HOUR) % (i < FIRING_COUNT ? 1000 : HOUR);
    watch->start();
    for (int i = 0; i < TIMER_COUNT; i++)
        coil_scope_begin(&(*scopes)[i], deadlines[i]);
    for (int i = TIMER_COUNT; i-- > FIRING_COUNT;)
        CHECK(coil_scope_end(&(*scopes)[i], 0) == 0);
    state.SetIterationTime(watch->stop_s());

    CHECK(timers_armed() == FIRING_COUNT);
    rc = coil_sleep(COIL_FOREVER);
    CHECK(rc == -ECANCELED);
    for (int i = FIRING_COUNT; i-- > 0;)
        rc = coil_scope_end(&(*scopes)[i], rc);
    CHECK(rc == 0);
    CHECK(timers_armed() == 0);
}

void timers(benchmark::State &state)
{
    std::vector<struct coil_scope> scopes(TIMER_COUNT);
    bench_watch watch;

    bench_allocations counted(state);

    while (state.KeepRunningBatch(TIMER_COUNT))
        arm_all_and_disarm_most(&scopes, &watch, state);
}

/* --- A tree of tasks ------------------------------------------------------------------------- */

enum { BRANCH_COUNT = 100, LEAF_COUNT = 1000 };

/* Of the leaves, one of three sleeps, one waits for a channel, one receives; of descriptors there
 * may be fewer than that, and then more sleep. */
struct tree {
    struct coil_receiver channel;
    std::vector<int> fds;
    size_t fds_used;
    size_t receiver_count;
    size_t cancelled_count;
};

int sleep_leaf(void *arg)
{
    int rc = coil_sleep(HOUR);

    static_cast<struct tree *>(arg)->cancelled_count += rc == -ECANCELED;
    return rc;
}

int receive_leaf(void *arg)
{
    struct tree *tree = static_cast<struct tree *>(arg);
    char byte;
    int rc = static_cast<int>(coil_recv(tree->fds[tree->fds_used++], &byte, 1, 0));

    tree->cancelled_count += rc == -ECANCELED;
    return rc;
}

int channel_leaf(void *arg)
{
    struct tree *tree = static_cast<struct tree *>(arg);
    int item;
    int rc = coil_channel_receive(&tree->channel, &item);

    tree->cancelled_count += rc == -ECANCELED;
    return rc;
}

coil_task_fn *leaf_of(struct tree *tree, int i)
{
    if (i % 3 == 0 || (i % 3 == 1 && tree->receiver_count == tree->fds.size()))
        return sleep_leaf;
    if (i % 3 == 2)
        return channel_leaf;
    tree->receiver_count++;
    return receive_leaf;
}

int grow_branch(void *arg)
{
    struct tree *tree = static_cast<struct tree *>(arg);
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < LEAF_COUNT; i++)
        CHECK(coil_group_spawn(&g, leaf_of(tree, i), tree) == 0);
    return coil_group_end(&g, 0);
}

void fell(struct tree *tree, bench_watch *watch, benchmark::State &state)
{
    struct coil_group g;
    struct coil_stats stats;

    tree->fds_used = tree->receiver_count = tree->cancelled_count = 0;
    coil_group_begin(&g);
    for (int i = 0; i < BRANCH_COUNT; i++)
        CHECK(coil_group_spawn(&g, grow_branch, tree) == 0);
    CHECK(coil_sleep(COIL_MILLISECOND) == 0);
    CHECK(coil_loop_stats(&stats) == 0 && stats.tasks == 1 + BRANCH_COUNT * (1 + LEAF_COUNT));
    CHECK(stats.ready == 0);

    watch->start();
    coil_scope_cancel(coil_group_scope(&g), "felled");
    CHECK(coil_group_end(&g, 0) == 0);
    state.SetIterationTime(watch->stop_s());
    CHECK(tree->cancelled_count == BRANCH_COUNT * LEAF_COUNT);
}

/* As many connected sockets as the limit has room for, and no more than wanted. */
void open_sockets(struct tree *tree, size_t wanted)
{
    struct rlimit limit;
    int ends[2];

    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while (tree->fds.size() < wanted && socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0)
        tree->fds.insert(tree->fds.end(), ends, ends + 2);
}

void cancel_tree(benchmark::State &state)
{
    struct tree tree = {};
    const struct coil_channel_options options = {sizeof(int), 0, NULL, NULL};
    struct coil_sender sender;
    bench_watch watch;

    CHECK(coil_channel_open(&sender, &tree.channel, &options) == 0);
    open_sockets(&tree, BRANCH_COUNT * LEAF_COUNT / 3);
    bench_allocations counted(state);

    while (state.KeepRunningBatch(BRANCH_COUNT * LEAF_COUNT))
        fell(&tree, &watch, state);
    state.SetLabel(std::to_string(tree.receiver_count) + " receive");
    for (int fd : tree.fds)
        CHECK(coil_close(fd) == 0);
    coil_sender_close(&sender);
    coil_receiver_close(&tree.channel);
}

/* --- Tasks without a stack -------------------------------------------------------------------- */

int never(void *)
{
    CHECK(false);
    return 0;
}

/* Spawned for later, and cancelled before it is time. */
void spawn_later(benchmark::State &state)
{
    enum { COUNT = 100000 };
    const int64_t later_ns = coil_now() + HOUR;

    bench_allocations counted(state);

    while (state.KeepRunningBatch(COUNT)) {
        struct coil_group g;

        coil_group_begin(&g);
        for (int i = 0; i < COUNT; i++)
            CHECK(coil_group_spawn_later(&g, later_ns + i, never, NULL) == 0);
        coil_scope_cancel(coil_group_scope(&g), "measured");
        CHECK(coil_group_end(&g, 0) == 0);
    }
}

const bool registered = bench_register("timers", timers, BENCH_MANUAL_TIME) &&
                        bench_register("cancel_tree", cancel_tree, BENCH_MANUAL_TIME) &&
                        bench_register("spawn_later", spawn_later);

} // namespace
