/* coil.c - coil's tasks program: what each of its calls costs, asked line by line.
 *
 *      tasks_coil [--backend io_uring|epoll]
 *      tasks_coil [--backend io_uring|epoll] --run BENCH COUNT
 *
 * The first says "ready ..." and answers each line `BENCH COUNT` with a line of JSON; its peers in
 * bench/peers do the same in their own words. The second runs one bench once, and exits with 0 if
 * the answer was right: for whoever counts instructions. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <coil.h>

#define HOUR (3600 * COIL_SECOND)

enum { GROUP_SIZE = 1000, CHOICES = 8, CHILDREN = 10, MESSAGE_SIZE = 64, FILE_SIZE = 1024 };

/* --- The clock ----------------------------------------------------------------------------------
 *
 * Runs from the start of a bench to its end. One that has something to prepare, or to clear away,
 * starts it again, or stops it earlier. */
static struct {
    int64_t cpu_ns;
    int64_t wall_ns;
    bool runs;
} timed;

static int64_t read_clock(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * COIL_SECOND + ts.tv_nsec;
}

static void clock_start(void)
{
    timed.runs = true;
    timed.wall_ns = -read_clock(CLOCK_MONOTONIC);
    timed.cpu_ns = -read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static void clock_stop(void)
{
    if (!timed.runs)
        return;
    timed.cpu_ns += read_clock(CLOCK_PROCESS_CPUTIME_ID);
    timed.wall_ns += read_clock(CLOCK_MONOTONIC);
    timed.runs = false;
}

/* --- Tasks --------------------------------------------------------------------------------------
 *
 * Each bench does a thing count times, and answers with what came of it, or a negative errno. */

struct turns {
    int64_t each;
    int64_t made;
};

static int take_turns(void *arg)
{
    struct turns *t = arg;

    for (int64_t i = 0; i < t->each; i++) {
        int rc = coil_checkpoint();

        if (rc < 0)
            return rc;
        t->made++;
    }
    return 0;
}

static int64_t yield(int64_t count)
{
    struct turns turns = {.each = count / 2};
    struct coil_group g;
    int rc;

    coil_group_begin(&g);
    rc = coil_group_spawn(&g, take_turns, &turns);
    if (rc >= 0)
        rc = coil_group_spawn(&g, take_turns, &turns);
    rc = coil_group_end(&g, rc);
    return rc < 0 ? rc : turns.made;
}

static int add_one(void *arg)
{
    ++*(int64_t *)arg;
    return 0;
}

static int spawn_and_join(int64_t count, int64_t *ran)
{
    struct coil_group g;
    int rc = 0;

    coil_group_begin(&g);
    for (int64_t i = 0; i < count && rc >= 0; i++)
        rc = coil_group_spawn(&g, add_one, ran);
    return coil_group_end(&g, rc);
}

static int64_t spawn_join(int64_t count)
{
    int64_t ran = 0;
    int rc = 0;

    for (int64_t left = count; left > 0 && rc >= 0; left -= GROUP_SIZE)
        rc = spawn_and_join(left < GROUP_SIZE ? left : GROUP_SIZE, &ran);
    return rc < 0 ? rc : ran;
}

struct node {
    int64_t first; /* the ordinal of its first leaf */
    int64_t leaves;
    int64_t sum;
};

static int grow(void *arg)
{
    struct node *n = arg, children[CHILDREN];
    struct coil_group g;
    int rc = 0;

    if (n->leaves == 1) {
        n->sum = n->first;
        return 0;
    }
    coil_group_begin(&g);
    for (int i = 0; i < CHILDREN && rc >= 0; i++) {
        int64_t leaves = n->leaves / CHILDREN;

        children[i] = (struct node){n->first + i * leaves, leaves, 0};
        rc = coil_group_spawn(&g, grow, &children[i]);
    }
    rc = coil_group_end(&g, rc);
    for (int i = 0; i < CHILDREN && rc >= 0; i++)
        n->sum += children[i].sum;
    return rc;
}

static int64_t skynet(int64_t count)
{
    struct node root = {.leaves = count};
    int rc = grow(&root);

    return rc < 0 ? rc : root.sum;
}

/* --- What they say to each other ------------------------------------------------------------- */

struct channel {
    struct coil_sender tx;
    struct coil_receiver rx;
};

static int channel_open(struct channel *c, int64_t capacity)
{
    const struct coil_channel_options options = {.item_size = sizeof(int64_t),
                                                 .capacity = capacity};

    return coil_channel_open(&c->tx, &c->rx, &options);
}

static void channel_close(struct channel *c)
{
    coil_sender_close(&c->tx);
    coil_receiver_close(&c->rx);
}

struct table {
    struct channel there;
    struct channel back;
};

static int return_balls(void *arg)
{
    struct table *t = arg;
    int64_t ball;
    int rc;

    while ((rc = coil_channel_receive(&t->there.rx, &ball)) > 0) {
        ball++;
        rc = coil_channel_send(&t->back.tx, &ball);
        if (rc < 0)
            break;
    }
    return rc;
}

static int play(struct table *t, int64_t count, int64_t *ball)
{
    for (int64_t i = 0; i < count; i++) {
        int rc = coil_channel_send(&t->there.tx, ball);

        if (rc >= 0)
            rc = coil_channel_receive(&t->back.rx, ball);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int64_t channel_round_trip(int64_t count)
{
    struct table table = {0};
    struct coil_group g;
    int64_t ball = 0;
    int rc;

    coil_group_begin(&g);
    rc = channel_open(&table.there, 0);
    if (rc >= 0)
        rc = channel_open(&table.back, 0);
    if (rc >= 0)
        rc = coil_group_spawn(&g, return_balls, &table);
    if (rc >= 0)
        rc = play(&table, count, &ball);
    coil_sender_close(&table.there.tx);
    rc = coil_group_end(&g, rc);
    channel_close(&table.there);
    channel_close(&table.back);
    return rc < 0 ? rc : ball;
}

static int choose(struct channel *channels, int64_t count, int64_t *sum)
{
    struct coil_case cases[CHOICES];
    int64_t item = 0;

    for (int i = 0; i < CHOICES; i++)
        cases[i] = COIL_CASE_RECEIVE(&channels[i].rx, &item);
    for (int64_t i = 0; i < count; i++) {
        int rc = coil_channel_send(&channels[i % CHOICES].tx, &i);

        if (rc >= 0)
            rc = coil_select(cases, CHOICES);
        if (rc < 0)
            return rc;
        *sum += item;
    }
    return 0;
}

static int64_t select_ready(int64_t count)
{
    struct channel channels[CHOICES] = {0};
    int64_t sum = 0;
    int rc = 0;

    for (int i = 0; i < CHOICES && rc >= 0; i++)
        rc = channel_open(&channels[i], 1);
    if (rc >= 0)
        rc = choose(channels, count, &sum);
    for (int i = 0; i < CHOICES; i++)
        channel_close(&channels[i]);
    return rc < 0 ? rc : sum;
}

static int64_t lock(int64_t count)
{
    struct coil_lock l = COIL_LOCK_INIT;
    int64_t held = 0;

    for (int64_t i = 0; i < count; i++) {
        int rc = coil_lock_acquire(&l);

        if (rc < 0)
            return rc;
        held++;
        (void)coil_lock_release(&l);
    }
    return held;
}

struct baton {
    struct coil_lock lock;
    int64_t each;
    int64_t passed; /* from another */
    const void *holder;
};

static int run_with(void *arg)
{
    struct baton *b = arg;
    int64_t me;

    for (me = 0; me < b->each; me++) {
        int rc = coil_lock_acquire(&b->lock);

        if (rc < 0)
            return rc;
        b->passed += b->holder != &me;
        b->holder = &me;
        (void)coil_lock_release(&b->lock);
    }
    return 0;
}

static int64_t lock_hand_over(int64_t count)
{
    struct baton baton = {.lock = COIL_LOCK_INIT, .each = count / 2};
    struct coil_group g;
    int rc;

    coil_group_begin(&g);
    rc = coil_lock_acquire(&baton.lock); /* so that both wait */
    for (int i = 0; i < 2 && rc >= 0; i++)
        rc = coil_group_spawn(&g, run_with, &baton);
    if (rc >= 0)
        rc = coil_checkpoint();
    (void)coil_lock_release(&baton.lock);
    rc = coil_group_end(&g, rc);
    return rc < 0 ? rc : baton.passed;
}

struct race {
    struct coil_event start;
    int64_t ran;
};

static int wait_for_the_start(void *arg)
{
    struct race *r = arg;
    int rc = coil_event_wait(&r->start);

    r->ran += rc == 0;
    return rc;
}

static int64_t event_set(int64_t count)
{
    struct race race = {.start = COIL_EVENT_INIT};
    struct coil_group g;
    int rc = 0;

    coil_group_begin(&g);
    for (int64_t i = 0; i < count && rc >= 0; i++)
        rc = coil_group_spawn(&g, wait_for_the_start, &race);
    if (rc >= 0)
        rc = coil_checkpoint(); /* now all wait */
    clock_start();
    coil_event_set(&race.start);
    rc = coil_group_end(&g, rc);
    return rc < 0 ? rc : race.ran;
}

/* --- Deadlines and cancels ------------------------------------------------------------------- */

static int64_t timers_left(void)
{
    struct coil_stats stats;
    int r = coil_loop_stats(&stats);

    return r < 0 ? r : (int64_t)stats.timers;
}

/* A task can have any number: a scope inside a scope inside a scope. */
static int64_t timers(int64_t count)
{
    struct coil_scope *scopes = malloc((size_t)count * sizeof(*scopes));
    int64_t left;
    int rc = 0;

    if (!scopes)
        return -ENOMEM;
    memset(scopes, 1, (size_t)count * sizeof(*scopes)); /* the first touch is the kernel's work */
    clock_start();
    for (int64_t i = 0; i < count; i++)
        coil_scope_begin(&scopes[i], coil_now_coarse() + HOUR);
    for (int64_t i = count; i-- > count / 100;)
        rc = coil_scope_end(&scopes[i], rc);
    clock_stop();
    left = timers_left();
    for (int64_t i = count / 100; i-- > 0;)
        rc = coil_scope_end(&scopes[i], rc);
    free(scopes);
    return rc < 0 ? rc : left;
}

static int64_t timeout_scope(int64_t count)
{
    int64_t ended = 0;

    for (int64_t i = 0; i < count; i++) {
        struct coil_scope s;

        coil_timeout_begin(&s, coil_now_coarse() + HOUR);
        ended += coil_scope_end(&s, 0) == 0;
    }
    return ended;
}

/* For any number of tasks: notes that it was cancelled. */
static int sleep_long(void *arg)
{
    int rc = coil_sleep(HOUR);

    *(int64_t *)arg += rc == -ECANCELED;
    return rc;
}

static int64_t cancel_join(int64_t count)
{
    struct coil_handle *handles = malloc((size_t)count * sizeof(*handles));
    struct coil_group g;
    int64_t spawned, seen = 0;
    int rc = 0;

    if (!handles)
        return -ENOMEM;
    coil_group_begin(&g);
    for (spawned = 0; spawned < count && rc >= 0; spawned++) {
        struct coil_spawn_options options = {.handle = &handles[spawned]};

        rc = coil_group_spawn_with(&g, sleep_long, &seen, &options);
    }
    if (rc >= 0)
        rc = coil_checkpoint(); /* now all sleep */
    clock_start();
    for (int64_t i = 0; i < spawned && rc >= 0; i++)
        coil_task_cancel(&handles[i], NULL);
    rc = coil_group_end(&g, rc);
    clock_stop();
    free(handles);
    return rc < 0 ? rc : seen;
}

/* Of the leaves one of three sleeps, one waits for its branch's channel, one receives; where there
 * are no descriptors for that, more sleep. */
struct tree {
    int *fds;
    int64_t fd_count;
    int64_t fds_used;
    int64_t seen; /* leaves that were cancelled */
};

struct branch {
    struct tree *tree;
    struct coil_receiver *rx;
};

static int sleep_leaf(void *arg)
{
    return sleep_long(&((struct branch *)arg)->tree->seen);
}

static int channel_leaf(void *arg)
{
    struct branch *b = arg;
    int64_t item;
    int rc = coil_channel_receive(b->rx, &item);

    b->tree->seen += rc == -ECANCELED;
    return rc;
}

static int socket_leaf(void *arg)
{
    struct tree *t = ((struct branch *)arg)->tree;
    char byte;
    int rc;

    if (t->fds_used == t->fd_count)
        return sleep_leaf(arg);
    rc = (int)coil_recv(t->fds[t->fds_used++], &byte, 1, 0);
    t->seen += rc == -ECANCELED;
    return rc;
}

static int grow_branch(void *arg)
{
    static coil_task_fn *const leaves[] = {sleep_leaf, channel_leaf, socket_leaf};
    struct channel channel;
    struct branch branch = {arg, &channel.rx};
    struct coil_group g;
    int rc = channel_open(&channel, 0);

    if (rc < 0)
        return rc;
    coil_group_begin(&g);
    for (int i = 0; i < GROUP_SIZE && rc >= 0; i++)
        rc = coil_group_spawn(&g, leaves[i % 3], &branch);
    rc = coil_group_end(&g, rc);
    channel_close(&channel);
    return rc;
}

static int fell(struct tree *t, int64_t branches)
{
    struct coil_group g;
    int rc = 0;

    coil_group_begin(&g);
    for (int64_t i = 0; i < branches && rc >= 0; i++)
        rc = coil_group_spawn(&g, grow_branch, t);
    /* Branches run, leaves run, and the backend hears of what they wait for. */
    for (int turn = 0; turn < 3 && rc >= 0; turn++)
        rc = coil_checkpoint();
    clock_start();
    coil_scope_cancel(coil_group_scope(&g), "felled");
    rc = coil_group_end(&g, rc);
    clock_stop();
    return rc;
}

/* As many connected sockets as there may be, and no more than wanted. */
static int open_sockets(struct tree *t, int64_t wanted)
{
    struct rlimit limit;
    int64_t room = wanted + 2;

    t->fds = malloc((size_t)room * sizeof(*t->fds));
    if (!t->fds)
        return -ENOMEM;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    while (t->fd_count < wanted &&
           socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, &t->fds[t->fd_count]) == 0)
        t->fd_count += 2;
    return 0;
}

static int64_t cancel_tree(int64_t count)
{
    struct tree tree = {0};
    int rc = open_sockets(&tree, count / 3);

    if (rc >= 0)
        rc = fell(&tree, count / GROUP_SIZE);
    while (tree.fd_count > 0)
        (void)coil_close(tree.fds[--tree.fd_count]);
    free(tree.fds);
    return rc < 0 ? rc : tree.seen;
}

/* --- Outside --------------------------------------------------------------------------------- */

static int64_t pool_call(int64_t count)
{
    struct statx root;
    int64_t done = 0;

    for (int64_t i = 0; i < count; i++)
        done += coil_statx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, &root) == 0;
    return done;
}

/* One request under its idle time-out. 1: served.  0: end of stream. */
static int serve_one(int fd)
{
    struct coil_scope s;
    char buf[1024];
    int rc;

    coil_timeout_begin(&s, coil_now_coarse() + 60 * COIL_SECOND);
    rc = (int)coil_recv(fd, buf, sizeof(buf), 0);
    if (rc > 0) {
        rc = coil_send_all(fd, buf, (size_t)rc, 0, NULL);
        rc = rc < 0 ? rc : 1;
    }
    return coil_scope_end(&s, rc);
}

static int serve(void *arg)
{
    int fd = *(int *)arg;
    int rc;

    do
        rc = serve_one(fd);
    while (rc > 0);
    return rc;
}

static int ask(int fd, int64_t count, int64_t *right)
{
    for (int64_t i = 0; i < count; i++) {
        char message[MESSAGE_SIZE] = {(char)i}, answer[MESSAGE_SIZE];
        int rc = coil_send_all(fd, message, sizeof(message), 0, NULL);

        if (rc >= 0)
            rc = (int)coil_recv(fd, answer, sizeof(answer), MSG_WAITALL);
        if (rc < 0)
            return rc;
        *right += rc == MESSAGE_SIZE && memcmp(message, answer, sizeof(message)) == 0;
    }
    return coil_shutdown(fd, SHUT_WR);
}

static int64_t echo_round_trip(int64_t count)
{
    struct coil_group g;
    int64_t right = 0;
    int fds[2];
    int rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    coil_group_begin(&g);
    rc = coil_group_spawn(&g, serve, &fds[1]);
    if (rc >= 0)
        rc = ask(fds[0], count, &right);
    rc = coil_group_end(&g, rc);
    (void)coil_close(fds[0]);
    (void)coil_close(fds[1]);
    return rc < 0 ? rc : right;
}

static int64_t file_read(int64_t count)
{
    char written[FILE_SIZE], read[FILE_SIZE];
    FILE *file = tmpfile();
    int64_t right = 0;
    int fd;

    if (!file)
        return -errno;
    fd = fileno(file);
    memset(written, 'c', sizeof(written));
    if (coil_pwrite(fd, written, sizeof(written), 0) == FILE_SIZE) {
        clock_start();
        for (int64_t i = 0; i < count; i++)
            right += coil_pread(fd, read, sizeof(read), 0) == FILE_SIZE;
        clock_stop();
    }
    (void)coil_forget(fd);
    (void)fclose(file);
    return memcmp(written, read, sizeof(read)) == 0 ? right : -EIO;
}

/* --- Asleep -------------------------------------------------------------------------------------
 *
 * These answer when all are asleep, and keep them until they are woken. */
static struct {
    struct coil_group group;
    bool open;
    int64_t cancelled;
} dormitory;

static int never(void *arg)
{
    return coil_fail(-EIO, "it ran");
}

static int64_t fall_asleep(int64_t count, bool with_stacks)
{
    int64_t later_ns = coil_now() + HOUR;
    int rc = 0;

    if (dormitory.open)
        return -EBUSY;
    dormitory.open = true;
    coil_group_begin(&dormitory.group);
    for (int64_t i = 0; i < count && rc >= 0; i++)
        rc = with_stacks ? coil_group_spawn(&dormitory.group, sleep_long, &dormitory.cancelled)
                         : coil_group_spawn_later(&dormitory.group, later_ns, never, NULL);
    if (rc >= 0)
        rc = coil_checkpoint();
    return rc < 0 ? rc : timers_left();
}

static int64_t sleepers(int64_t count)
{
    return fall_asleep(count, true);
}

static int64_t sleepers_later(int64_t count)
{
    return fall_asleep(count, false);
}

/* Answers with how many have ended. */
static int64_t wake(int64_t count)
{
    int64_t ended;
    int rc;

    if (!dormitory.open)
        return -EINVAL;
    ended = (int64_t)coil_group_count(&dormitory.group);
    coil_scope_cancel(coil_group_scope(&dormitory.group), "woken");
    rc = coil_group_end(&dormitory.group, 0);
    dormitory.open = false;
    return rc < 0 ? rc : ended - (int64_t)coil_group_count(&dormitory.group);
}

/* --- The answers ----------------------------------------------------------------------------- */

static int64_t all(int64_t count)
{
    return count;
}

static int64_t one_of_a_hundred(int64_t count)
{
    return count / 100;
}

static int64_t sum_below(int64_t count)
{
    return count * (count - 1) / 2;
}

static const struct bench {
    const char *name;
    int64_t (*run)(int64_t count);
    int64_t (*answer)(int64_t count); /* the right one */
} benches[] = {
    {"yield", yield, all},
    {"spawn_join", spawn_join, all},
    {"channel_round_trip", channel_round_trip, all},
    {"lock", lock, all},
    {"lock_hand_over", lock_hand_over, all},
    {"event_set", event_set, all},
    {"select_ready", select_ready, sum_below},
    {"timers", timers, one_of_a_hundred},
    {"timeout_scope", timeout_scope, all},
    {"cancel_join", cancel_join, all},
    {"cancel_tree", cancel_tree, all},
    {"skynet", skynet, sum_below},
    {"pool_call", pool_call, all},
    {"sleepers", sleepers, all},
    {"sleepers_later", sleepers_later, all},
    {"wake", wake, all},
    {"echo_round_trip", echo_round_trip, all},
    {"file_read", file_read, all},
};

static const struct bench *find(const char *name)
{
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
        if (strcmp(benches[i].name, name) == 0)
            return &benches[i];
    return NULL;
}

static int64_t run(const struct bench *b, int64_t count)
{
    int64_t answer;

    clock_start();
    answer = b->run(count);
    clock_stop();
    return answer;
}

static void reply(const char *name, int64_t count)
{
    const struct bench *b = find(name);
    int64_t answer;

    if (!b) {
        printf("{\"bench\": \"%s\", \"error\": \"has none: no bench of that name\"}\n", name);
    } else {
        answer = run(b, count);
        printf("{\"bench\": \"%s\", \"count\": %" PRId64 ", \"cpu_ns\": %" PRId64
               ", \"wall_ns\": %" PRId64 ", \"answer\": %" PRId64 "}\n",
               name, count, timed.cpu_ns, timed.wall_ns, answer);
    }
    fflush(stdout);
}

/* Waits for lines as any program does: nothing else has to go on meanwhile. */
static int reply_to_all(void *arg)
{
    char line[128], name[32];
    int64_t count;

    printf("ready coil %d.%d.%d, %s\n", COIL_VERSION_MAJOR, COIL_VERSION_MINOR, COIL_VERSION_PATCH,
           coil_backend_name());
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%31[a-z_] %" SCNd64, name, &count) != 2 || count < 0) {
            fprintf(stderr, "not a bench and a count: %s", line);
            return -EINVAL;
        }
        reply(name, count);
    }
    if (dormitory.open)
        (void)wake(0);
    return 0;
}

struct errand {
    const struct bench *bench;
    int64_t count;
};

static int run_one(void *arg)
{
    struct errand *e = arg;
    int64_t answer = run(e->bench, e->count), right = e->bench->answer(e->count);

    if (dormitory.open && wake(0) != answer)
        answer = -EIO;
    if (answer == right)
        return 0;
    fprintf(stderr, "%s %" PRId64 ": the answer is %" PRId64 ", and ought to be %" PRId64 "\n",
            e->bench->name, e->count, answer, right);
    return -EIO;
}

static int usage(void)
{
    fprintf(stderr, "usage: tasks_coil [--backend io_uring|epoll] [--run BENCH COUNT]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct coil_loop_options options = {0};
    struct errand errand = {0};
    int i = 1;
    int rc;

    if (i + 1 < argc && strcmp(argv[i], "--backend") == 0) {
        options.backend = argv[i + 1];
        i += 2;
    }
    if (i + 2 < argc && strcmp(argv[i], "--run") == 0) {
        errand = (struct errand){find(argv[i + 1]), strtoll(argv[i + 2], NULL, 10)};
        if (!errand.bench || errand.count < 1)
            return usage();
        i += 3;
    }
    if (i != argc)
        return usage();
    rc = errand.bench ? coil_run(&options, run_one, &errand)
                      : coil_run(&options, reply_to_all, NULL);
    if (rc < 0)
        fprintf(stderr, "tasks_coil: %s %s\n", strerror(-rc), coil_run_error());
    return rc < 0;
}
