/* sim.c - the simulated world: virtual time, one history a seed, deadlocks, and each kind of fault.
 */
#define _GNU_SOURCE
#include "wires.h"

#include <coil/testing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define HOUR (3600 * COIL_SECOND)

static struct coil_testing_report report;

static struct coil_testing_options on_sim(uint64_t seed)
{
    struct coil_testing_options o = coil_testing_seeded(seed);

    o.loop.backend = "sim";
    return o;
}

static struct coil_testing_options calm(void)
{
    return (struct coil_testing_options){.loop.backend = "sim"};
}

static void must_run(const struct coil_testing_options *o, coil_task_fn *fn, void *arg)
{
    int r;

    harness_seed = o->seed;
    r = coil_testing_run(o, fn, arg, &report);

    if (r < 0)
        harness_fail(__FILE__, __LINE__, report.text[0] ? report.text : strerror(-r));
}

static bool says(const char *words)
{
    return strstr(report.text, words) != NULL;
}

/* --- Time ------------------------------------------------------------------------------------ */

static int64_t real_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * COIL_SECOND + ts.tv_nsec;
}

static int sleep_an_hour(void *arg)
{
    int64_t before_ns = coil_now();

    (void)arg;
    CHECK_EQ(coil_sleep(HOUR), 0);
    CHECK_EQ(coil_now() - before_ns, HOUR);
    return 0;
}

Test(sim, a_sleep_of_an_hour_takes_an_hour_and_no_time)
{
    struct coil_testing_options o = calm();
    int64_t before_ns = real_ns();

    must_run(&o, sleep_an_hour, NULL);
    CHECK_EQ(report.elapsed_ns, HOUR);
    CHECK_EQ(report.jumps, 1);
    CHECK(real_ns() - before_ns < 10 * COIL_SECOND);
}

struct sleeper {
    int64_t for_ns;
    int64_t *woken_ns;
};

static int sleep_and_note(void *arg)
{
    struct sleeper *s = arg;
    int r = coil_sleep(s->for_ns);

    *s->woken_ns++ = coil_now();
    return r;
}

static int sleep_together(void *arg)
{
    static const int64_t spans_ns[] = {3 * HOUR, HOUR, 2 * HOUR, 1};
    struct sleeper sleepers[4];
    int64_t woken_ns[4] = {0};
    int64_t begun_ns = coil_now();
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    for (int i = 0; i < 4; i++) {
        sleepers[i] = (struct sleeper){spans_ns[i], &woken_ns[i]};
        CHECK_EQ(coil_group_spawn(&g, sleep_and_note, &sleepers[i]), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(woken_ns[i] - begun_ns, spans_ns[i]);
    return 0;
}

Test(sim, each_sleeper_wakes_exactly_when_it_is_time)
{
    struct coil_testing_options o = calm();

    must_run(&o, sleep_together, NULL);
    CHECK_EQ(report.elapsed_ns, 3 * HOUR);
    CHECK_EQ(report.jumps, 4);
}

static int return_at_once(void *arg)
{
    (void)arg;
    return 0;
}

/* Leaves so many free stacks warm that the loop would give some back every few seconds. */
static int sleep_among_stacks(void *arg)
{
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coil_group_spawn(&g, return_at_once, NULL), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    return arg ? coil_sleep(COIL_FOREVER) : sleep_an_hour(NULL);
}

Test(sim, what_the_loop_tidies_up_moves_no_time)
{
    struct coil_testing_options o = calm();
    bool for_ever = true;

    must_run(&o, sleep_among_stacks, NULL);
    CHECK_EQ(report.jumps, 1);
    CHECK_EQ(coil_testing_run(&o, sleep_among_stacks, &for_ever, &report), -EDEADLK);
    CHECK_EQ(report.elapsed_ns, 0);
}

static int spin_for_a_second(void *arg)
{
    int64_t until_ns = coil_now() + COIL_SECOND;

    (void)arg;
    while (coil_now() < until_ns)
        ;
    return 0;
}

Test(sim, code_that_spins_has_a_clock_that_ticks_when_looked_at)
{
    struct coil_testing_options o = calm();

    o.tick_ns = COIL_MILLISECOND;
    must_run(&o, spin_for_a_second, NULL);
    CHECK(report.elapsed_ns >= COIL_SECOND);
}

/* --- Bytes ----------------------------------------------------------------------------------- */

struct wire_ends {
    int fds[2];
};

#define BYTES 5000

static int send_counted(void *arg)
{
    struct wire_ends *w = arg;
    unsigned char buf[BYTES];
    size_t done = 0;

    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (unsigned char)(i * 7);
    while (done < sizeof(buf)) {
        ssize_t n = coil_write(w->fds[1], buf + done, sizeof(buf) - done);

        if (n < 0)
            return (int)n;
        done += (size_t)n;
    }
    return coil_close(w->fds[1]);
}

static int receive_counted(struct wire_ends *w)
{
    unsigned char buf[512];
    size_t done = 0;
    ssize_t n;

    while ((n = coil_read(w->fds[0], buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < n; i++, done++)
            CHECK_EQ(buf[i], (unsigned char)(done * 7));
    CHECK_EQ(done, BYTES);
    return (int)n;
}

static int carry(struct wire_ends *w)
{
    struct coil_group g;
    int rc;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, send_counted, w), 0);
    rc = receive_counted(w);
    rc = coil_group_end(&g, rc);
    CHECK_EQ(coil_close(w->fds[0]), 0);
    return rc;
}

static int carry_through_a_pipe(void *arg)
{
    struct wire_ends w;

    (void)arg;
    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    return carry(&w);
}

static int carry_through_a_socket(void *arg)
{
    struct wire_ends w;

    (void)arg;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w.fds), 0);
    return carry(&w);
}

static int carry_through_tcp(void *arg)
{
    struct wire_ends w;

    (void)arg;
    wire_open(WIRE_TCP, w.fds);
    return carry(&w);
}

Test(sim, bytes_go_through_real_descriptors_in_any_world)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct coil_testing_options o = on_sim(seed);

        must_run(&o, carry_through_a_pipe, NULL);
        must_run(&o, carry_through_a_socket, NULL);
    }
}

Test(sim, tcp_is_given_the_time_it_needs)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct coil_testing_options o = on_sim(seed);

        must_run(&o, carry_through_tcp, NULL);
    }
}

/* --- One seed, one history ------------------------------------------------------------------- */

static int yield_and_sleep(void *arg)
{
    int n = *(int *)arg;

    for (int i = 0; i < n; i++)
        if (coil_checkpoint() < 0 || coil_sleep(n * COIL_MILLISECOND) < 0)
            return -ECANCELED;
    return 0;
}

/* Something of everything: tasks in each other's way, bytes, time and cancels. */
static int busy_scenario(void *arg)
{
    static int counts[] = {1, 2, 3, 4, 5};
    struct coil_group g;
    struct coil_scope s;
    struct wire_ends w;
    char byte;
    int rc;

    CHECK_EQ(carry_through_a_socket(arg), 0);
    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    coil_group_begin(&g);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(coil_group_spawn(&g, yield_and_sleep, &counts[i]), 0);
    coil_scope_begin(&s, coil_now() + 7 * COIL_MILLISECOND);
    rc = (int)coil_read(w.fds[0], &byte, 1);
    CHECK_EQ(coil_scope_end(&s, rc), 0);
    CHECK(coil_scope_caught(&s));
    rc = coil_group_end(&g, 0);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(close(w.fds[1]), 0);
    return rc;
}

static uint64_t history_of(uint64_t seed)
{
    struct coil_testing_options o = on_sim(seed);

    must_run(&o, busy_scenario, NULL);
    CHECK(report.history);
    CHECK_EQ(report.seed, seed);
    return report.history;
}

Test(sim, the_same_seed_is_the_same_history)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        uint64_t first = history_of(seed);

        CHECK_EQ(history_of(seed), first);
        CHECK_EQ(history_of(seed), first);
    }
}

Test(sim, another_seed_is_another_history)
{
    uint64_t seen[50];

    for (uint64_t seed = 0; seed < 50; seed++) {
        seen[seed] = history_of(seed);
        for (uint64_t i = 0; i < seed; i++)
            CHECK(seen[i] != seen[seed]);
    }
}

static int yield_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++)
        if (coil_checkpoint() < 0)
            return -ECANCELED;
    return 0;
}

static int open_and_close(void *arg)
{
    for (int i = 0; i < 5; i++) {
        int fd = coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);

        if (fd < 0)
            return fd;
        CHECK_EQ(coil_close(fd), 0);
        ++*(int *)arg;
    }
    return 0;
}

/* Calls of the pool beside tasks that give way all the time. */
static int files_beside_others(void *arg)
{
    struct coil_group g;
    int opened = 0;

    (void)arg;
    coil_group_begin(&g);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coil_group_spawn(&g, yield_often, NULL), 0);
        CHECK_EQ(coil_group_spawn(&g, open_and_close, &opened), 0);
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(opened, 15);
    return 0;
}

Test(sim, the_same_seed_is_the_same_history_also_with_calls_that_block)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct coil_testing_options o = on_sim(seed);
        uint64_t first;

        must_run(&o, files_beside_others, NULL);
        first = report.history;
        for (int i = 0; i < 3; i++) {
            must_run(&o, files_beside_others, NULL);
            CHECK_EQ(report.history, first);
        }
    }
}

struct lines {
    uint64_t hash;
    unsigned int count;
};

static void count_line(void *ctx, const char *line)
{
    struct lines *l = ctx;

    l->count++;
    while (*line)
        l->hash = l->hash * 31 + (unsigned char)*line++;
}

Test(sim, the_trace_of_a_seed_is_the_same_line_by_line)
{
    struct lines first = {0};
    struct lines second = {0};
    struct coil_testing_options o = on_sim(7);

    o.trace = count_line;
    o.trace_ctx = &first;
    must_run(&o, busy_scenario, NULL);
    o.trace_ctx = &second;
    must_run(&o, busy_scenario, NULL);
    CHECK(first.count > 20);
    CHECK_EQ(first.count, second.count);
    CHECK_EQ(first.hash, second.hash);
}

/* --- Chance ---------------------------------------------------------------------------------- */

Test(sim, every_kind_of_chance_happens_in_a_few_seeds)
{
    unsigned int shortened = 0;
    unsigned int late = 0;
    unsigned int jumps = 0;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        (void)history_of(seed);
        shortened += report.shortened;
        late += report.late;
        jumps += report.jumps;
    }
    CHECK(shortened > 20);
    CHECK(late > 20);
    CHECK(jumps > 20);
}

static int write_ten(void *arg)
{
    struct wire_ends w;

    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    *(ssize_t *)arg = coil_write(w.fds[1], "0123456789", 10);
    CHECK_EQ(coil_close(w.fds[1]), 0);
    CHECK_EQ(close(w.fds[0]), 0);
    return 0;
}

static int read_ten(void *arg)
{
    struct wire_ends w;
    char buf[10];

    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    CHECK_EQ(write(w.fds[1], "0123456789", 10), 10);
    *(ssize_t *)arg = coil_read(w.fds[0], buf, 10);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(close(w.fds[1]), 0);
    return 0;
}

Test(sim, all_transfers_are_short_if_so_wished_and_none_is_empty)
{
    struct coil_testing_options o = {.loop.backend = "sim", .short_percent = 100};
    ssize_t n;

    for (o.seed = 1; o.seed <= 50; o.seed++) {
        must_run(&o, write_ten, &n);
        CHECK(n >= 1 && n <= 9);
        must_run(&o, read_ten, &n);
        CHECK(n >= 1 && n <= 9);
        CHECK_EQ(report.shortened, 1);
    }
}

/* Ten bytes in three pieces, from or to one end. */
struct pieces {
    char bytes[10];
    struct iovec iov[3];
    struct msghdr msg;
};

static void pieces_init(struct pieces *p, const char *bytes)
{
    memcpy(p->bytes, bytes, sizeof(p->bytes));
    p->iov[0] = (struct iovec){p->bytes, 3};
    p->iov[1] = (struct iovec){p->bytes + 3, 1};
    p->iov[2] = (struct iovec){p->bytes + 4, 6};
    p->msg = (struct msghdr){.msg_iov = p->iov, .msg_iovlen = 3, .msg_flags = -1};
}

static void check_untouched(const struct pieces *p)
{
    CHECK(p->msg.msg_iov == p->iov && p->msg.msg_iovlen == 3);
    CHECK(p->iov[0].iov_len == 3 && p->iov[1].iov_len == 1 && p->iov[2].iov_len == 6);
}

/* As much as was said has come, in order, and the rest of the memory is as it was. */
static void check_read(const struct pieces *p, ssize_t n)
{
    CHECK(n >= 1 && n <= 9);
    CHECK_EQ(memcmp(p->bytes, "0123456789", (size_t)n), 0);
    CHECK_EQ(memcmp(p->bytes + n, "..........", 10 - (size_t)n), 0);
    check_untouched(p);
}

static void check_written(int fd, const struct pieces *p, ssize_t n)
{
    char buf[16];

    CHECK(n >= 1 && n <= 9);
    CHECK_EQ(read(fd, buf, sizeof(buf)), n);
    CHECK_EQ(memcmp(buf, "0123456789", (size_t)n), 0);
    check_untouched(p);
}

static int move_in_pieces(void *arg)
{
    struct pieces p;
    int ends[2];

    (void)arg;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pieces_init(&p, "0123456789");
    check_written(ends[0], &p, coil_writev(ends[1], p.iov, 3));
    CHECK_EQ(write(ends[1], "0123456789", 10), 10);
    pieces_init(&p, "..........");
    check_read(&p, coil_readv(ends[0], p.iov, 3));
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pieces_init(&p, "0123456789");
    check_written(ends[0], &p, coil_writev(ends[1], p.iov, 3));
    check_written(ends[0], &p, coil_sendmsg(ends[1], &p.msg, 0));
    CHECK_EQ(write(ends[1], "0123456789", 10), 10);
    pieces_init(&p, "..........");
    check_read(&p, coil_recvmsg(ends[0], &p.msg, 0));
    CHECK_EQ(p.msg.msg_flags & ~MSG_CMSG_CLOEXEC, 0);
    CHECK_EQ(coil_close(ends[0]), 0);
    CHECK_EQ(coil_close(ends[1]), 0);
    return 0;
}

Test(sim, what_moves_in_pieces_is_short_too_and_its_pieces_are_left_alone)
{
    struct coil_testing_options o = {.loop.backend = "sim", .short_percent = 100};

    for (o.seed = 1; o.seed <= 50; o.seed++) {
        must_run(&o, move_in_pieces, NULL);
        CHECK_EQ(report.shortened, 5);
    }
}

static int move_to_a_file(void *arg)
{
    int fd = coil_openat(AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR, 0600);
    char buf[10];
    ssize_t n;

    (void)arg;
    CHECK(fd >= 0);
    n = coil_pwrite(fd, "0123456789", 10, 0);
    CHECK(n >= 1 && n <= 9);
    CHECK_EQ(pwrite(fd, "0123456789", 10, 0), 10);
    n = coil_pread(fd, buf, 10, 0);
    CHECK(n >= 1 && n <= 9);
    CHECK_EQ(memcmp(buf, "0123456789", (size_t)n), 0);
    n = coil_read(fd, buf, 10);
    CHECK(n >= 1 && n <= 9);
    return coil_close(fd);
}

Test(sim, files_are_read_and_written_in_part_too)
{
    struct coil_testing_options o = {.loop.backend = "sim", .short_percent = 100};

    for (o.seed = 1; o.seed <= 50; o.seed++) {
        must_run(&o, move_to_a_file, NULL);
        CHECK_EQ(report.shortened, 3);
    }
}

Test(sim, without_a_seed_there_is_no_chance)
{
    struct coil_testing_options o = on_sim(0);
    uint64_t history;

    must_run(&o, busy_scenario, NULL);
    CHECK_EQ(report.shortened + report.late + report.lost, 0);
    history = report.history;
    o = calm();
    must_run(&o, busy_scenario, NULL);
    CHECK_EQ(report.history, history);
}

static int cut_a_datagram(void *arg)
{
    struct wire_ends w;
    char buf[16];

    (void)arg;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, w.fds), 0);
    CHECK_EQ(coil_send(w.fds[0], "0123456789", 10, 0), 10);
    CHECK_EQ(coil_recv(w.fds[1], buf, sizeof(buf), 0), 10);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(coil_close(w.fds[1]), 0);
    return 0;
}

Test(sim, a_message_is_never_cut)
{
    struct coil_testing_options o = {.loop.backend = "sim", .short_percent = 100, .seed = 1};

    must_run(&o, cut_a_datagram, NULL);
    CHECK_EQ(report.shortened, 0);
}

struct read_under_cancel {
    struct wire_ends w;
    struct coil_scope scope;
    ssize_t result;
    int next;
};

static int read_one(void *arg)
{
    struct read_under_cancel *r = arg;
    char byte;

    coil_scope_begin_prepared(&r->scope, COIL_FOREVER);
    r->result = coil_read(r->w.fds[0], &byte, 1);
    r->next = coil_checkpoint();
    return coil_scope_end(&r->scope, r->next);
}

/* A reader waits; then its byte comes, and right behind it a cancel. */
static int cancel_behind_a_byte(void *arg)
{
    struct read_under_cancel *r = arg;
    struct coil_group g;
    char left;

    CHECK_EQ(pipe2(r->w.fds, O_CLOEXEC | O_NONBLOCK), 0);
    coil_scope_prepare(&r->scope);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, read_one, r), 0);
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    CHECK_EQ(write(r->w.fds[1], "x", 1), 1);
    coil_scope_cancel(&r->scope, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(r->next, -ECANCELED);
    CHECK(r->result == 1 || r->result == -ECANCELED);
    CHECK_EQ(read(r->w.fds[0], &left, 1), r->result == 1 ? -1 : 1); /* here or there, never lost */
    CHECK_EQ(coil_close(r->w.fds[0]), 0);
    CHECK_EQ(close(r->w.fds[1]), 0);
    return 0;
}

Test(sim, s4_4_a_cancel_that_loses_its_race_keeps_the_byte)
{
    struct coil_testing_options o = {.loop.backend = "sim", .lost_percent = 100};
    struct read_under_cancel r;

    for (o.seed = 1; o.seed <= 50; o.seed++) {
        must_run(&o, cancel_behind_a_byte, &r);
        CHECK_EQ(r.result, 1);
        CHECK_EQ(report.lost, 1);
    }
}

Test(sim, s4_2_a_cancel_that_wins_its_race_leaves_the_byte)
{
    struct coil_testing_options o = {.loop.backend = "sim"};
    struct read_under_cancel r;

    for (o.seed = 1; o.seed <= 50; o.seed++) {
        must_run(&o, cancel_behind_a_byte, &r);
        CHECK_EQ(r.result, -ECANCELED);
        CHECK_EQ(report.lost, 0);
    }
}

static int read_late(void *arg)
{
    int64_t *took_ns = arg;
    int64_t before_ns = coil_now();
    ssize_t n;

    CHECK_EQ(read_ten(&n), 0);
    CHECK_EQ(n, 10);
    *took_ns = coil_now() - before_ns;
    return 0;
}

Test(sim, a_late_operation_takes_its_time_and_no_more)
{
    struct coil_testing_options o = {.late_percent = 100, .late_ns = HOUR};
    int64_t longest_ns = 0;
    int64_t took_ns;

    o.loop.backend = "sim";
    for (o.seed = 1; o.seed <= 50; o.seed++) {
        must_run(&o, read_late, &took_ns);
        CHECK_EQ(report.late, 1);
        CHECK(took_ns >= 0 && took_ns <= HOUR);
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
    }
    CHECK(longest_ns > HOUR / 2);
}

static int open_late(void *arg)
{
    int64_t before_ns = coil_now();
    int fd = coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);

    CHECK(fd >= 0);
    *(int64_t *)arg = coil_now() - before_ns;
    return coil_close(fd);
}

Test(sim, a_call_that_blocks_may_be_late_too)
{
    struct coil_testing_options o = {.late_percent = 100, .late_ns = HOUR};
    int64_t longest_ns = 0;
    int64_t took_ns;

    o.loop.backend = "sim";
    for (o.seed = 1; o.seed <= 50; o.seed++) {
        must_run(&o, open_late, &took_ns);
        CHECK_EQ(report.late, 1);
        CHECK(took_ns >= 0 && took_ns <= HOUR);
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
    }
    CHECK(longest_ns > HOUR / 2);
}

static int try_to_make(void *path)
{
    int fd = coil_openat(AT_FDCWD, path, O_CREAT | O_RDWR, 0600);

    if (fd >= 0)
        CHECK_EQ(coil_close(fd), 0);
    return fd < 0 ? fd : 1;
}

static int cancel_while_it_opens(void *path)
{
    struct coil_handle opener;
    const struct coil_spawn_options options = {.handle = &opener};
    struct coil_group g;
    bool made;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_with(&g, try_to_make, path, &options), 0);
    coil_yield_shielded();
    coil_task_cancel(&opener, NULL);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    made = unlink(path) == 0;
    CHECK_EQ(coil_task_result(&opener), made ? 1 : -ECANCELED);
    return 0;
}

Test(sim, s7_1_a_call_that_is_cancelled_has_happened_or_it_has_not)
{
    char folder[] = "/tmp/coil-test-XXXXXX";
    char path[64];
    int lost = 0;

    CHECK(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/file", folder);
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct coil_testing_options o = on_sim(seed);

        o.late_percent = 100;
        must_run(&o, cancel_while_it_opens, path);
        lost += (int)report.lost;
    }
    CHECK(lost > 5 && lost < 45);
    CHECK_EQ(rmdir(folder), 0);
}

struct arrival {
    int fd;
    int number;
    int *order;
    int *count;
};

static int arrive(void *arg)
{
    struct arrival *a = arg;
    char byte;

    CHECK_EQ(coil_read(a->fd, &byte, 1), 1);
    a->order[(*a->count)++] = a->number;
    return 0;
}

/* Which of three readers that are served at once goes on first? */
static int race_of_three(void *arg)
{
    struct arrival arrivals[3];
    struct wire_ends w[3];
    int order[3];
    int count = 0;
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pipe2(w[i].fds, O_CLOEXEC), 0);
        arrivals[i] = (struct arrival){w[i].fds[0], i, order, &count};
        CHECK_EQ(coil_group_spawn(&g, arrive, &arrivals[i]), 0);
    }
    CHECK_EQ(coil_wait_all_blocked(0), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(write(w[i].fds[1], "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(coil_close(w[i].fds[0]), 0);
        CHECK_EQ(close(w[i].fds[1]), 0);
    }
    ((int *)arg)[order[0] * 9 + order[1] * 3 + order[2]]++;
    return 0;
}

Test(sim, completions_come_in_every_order)
{
    struct coil_testing_options o = {.loop.backend = "sim"};
    int seen[27] = {0};
    int orders = 0;

    for (o.seed = 1; o.seed <= 60; o.seed++)
        must_run(&o, race_of_three, seen);
    for (int i = 0; i < 27; i++)
        orders += seen[i] > 0;
    CHECK_EQ(orders, 6);
}

/* --- Failures by plan ------------------------------------------------------------------------ */

#define PLANS 15

struct plan {
    int results[PLANS];
};

static int three_receives(void *arg)
{
    struct plan *p = arg;
    struct wire_ends w;
    char byte;

    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w.fds), 0);
    CHECK_EQ(write(w.fds[1], "abc", 3), 3);
    for (int i = 0; i < 3; i++)
        p->results[i] = (int)coil_recv(w.fds[0], &byte, 1, 0);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(close(w.fds[1]), 0);
    return 0;
}

Test(sim, the_nth_receive_fails_as_planned_and_no_other)
{
    for (unsigned int nth = 1; nth <= 3; nth++) {
        const struct coil_fault fault = {.call = "recv", .nth = nth, .error = -ECONNRESET};
        struct coil_testing_options o = calm();
        struct plan p;

        o.faults = &fault;
        o.fault_count = 1;
        must_run(&o, three_receives, &p);
        CHECK_EQ(report.failed, 1);
        for (unsigned int i = 0; i < 3; i++)
            CHECK_EQ(p.results[i], i + 1 == nth ? -ECONNRESET : 1);
    }
}

static int read_the_byte(void *fd)
{
    char byte;

    return (int)coil_read(*(int *)fd, &byte, 1) < 0 ? -EIO : 0;
}

static int when_readable(int fd)
{
    struct coil_group g;
    int r;

    coil_group_begin(&g);
    r = coil_group_spawn_readable(&g, fd, read_the_byte, &fd);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    return r;
}

static int select_readable(int fd)
{
    struct coil_case c = COIL_CASE_READABLE(fd);

    CHECK_EQ(coil_select(&c, 1), 0);
    return c.result;
}

static void use_a_pipe(int *results)
{
    struct iovec bytes = {.iov_base = (char[2]){"xy"}, .iov_len = 2};
    struct wire_ends w;
    char byte = 'x';

    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    results[0] = (int)coil_write(w.fds[1], &byte, 1);
    results[1] = (int)coil_writev(w.fds[1], &bytes, 1);
    CHECK_EQ(write(w.fds[1], "xxxx", 4), 4);
    results[2] = coil_wait_readable(w.fds[0]);
    results[3] = select_readable(w.fds[0]);
    results[4] = (int)coil_read(w.fds[0], &byte, 1);
    results[5] = (int)coil_pread(w.fds[0], &byte, 1, 0); /* -ESPIPE, if not by plan */
    results[6] = coil_close(w.fds[0]);
    (void)coil_close(w.fds[1]);
}

static void use_a_file(int *results)
{
    int fd = coil_openat(AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR, 0600);
    struct statx stx;
    char byte;

    results[0] = fd;
    if (fd < 0)
        return;
    results[1] = coil_fsync(fd);
    results[2] = coil_ftruncate(fd, 1);
    results[3] = (int)coil_pread(fd, &byte, 1, 0);
    results[4] = (int)coil_read(fd, &byte, 1);
    results[5] = coil_statx(AT_FDCWD, "/", 0, STATX_TYPE, &stx);
    (void)coil_close(fd);
}

/* Operations of as many kinds as there are, each by its name. */
static int one_of_each(void *arg)
{
    struct plan *p = arg;
    struct sockaddr_in addr;
    int listener = wire_listen(1, &addr);
    int client = coil_socket(AF_INET, SOCK_STREAM, 0);

    *p = (struct plan){.results = {0}};
    p->results[0] = coil_connect(client, (struct sockaddr *)&addr, sizeof(addr));
    if (p->results[0] < 0)
        CHECK_EQ(connect(client, (struct sockaddr *)&addr, sizeof(addr)), -1);
    wire_await(listener, POLLIN);
    p->results[1] = coil_accept(listener, NULL, NULL);
    if (p->results[1] >= 0)
        (void)coil_close(p->results[1]);
    (void)coil_close(client);
    (void)coil_close(listener);
    use_a_pipe(&p->results[2]);
    use_a_file(&p->results[9]);
    return 0;
}

static int count_planned(const struct plan *p)
{
    int count = 0;

    for (size_t i = 0; i < PLANS; i++)
        count += p->results[i] == -EPROTO;
    return count;
}

struct place {
    const char *call;
    unsigned int nth;
    int index; /* of its result */
};

Test(sim, any_kind_of_operation_fails_as_planned)
{
    static const struct place places[] = {
        {"connect", 1, 0},    {"accept", 1, 1}, {"write", 1, 2},         {"writev", 1, 3},
        {"poll", 1, 4},       {"poll", 2, 5}, /* of the select */
        {"read", 1, 6},       {"read", 2, 7}, /* at an offset of a pipe, */
        {"read", 3, 12},                      /* of a file, and at its own */
        {"read", 4, 13},      {"close", 4, 8},  {"openat", 1, 9},        {"fsync", 1, 10},
        {"ftruncate", 1, 11}, {"statx", 1, 14}, {"blocking call", 6, 9},
    };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const struct coil_fault fault = {
            .call = places[i].call, .nth = places[i].nth, .error = -EPROTO};
        struct coil_testing_options o = calm();
        struct plan p;

        o.faults = &fault;
        o.fault_count = 1;
        must_run(&o, one_of_each, &p);
        CHECK_EQ(report.failed, 1);
        CHECK_EQ(p.results[places[i].index], -EPROTO);
        CHECK_EQ(count_planned(&p), 1);
    }
}

Test(sim, the_nth_of_all_operations_fails_as_planned)
{
    struct coil_testing_options o = calm();
    struct coil_fault fault = {.error = -EPROTO};
    unsigned int operations;
    int seen = 0;
    struct plan p;

    must_run(&o, one_of_each, &p);
    CHECK_EQ(count_planned(&p), 0);
    CHECK_EQ(p.results[7], -ESPIPE);
    operations = report.operations;
    CHECK(operations > PLANS);
    o.faults = &fault;
    o.fault_count = 1;
    for (fault.nth = 1; fault.nth <= operations; fault.nth++) {
        must_run(&o, one_of_each, &p);
        CHECK_EQ(report.failed, 1);
        seen += count_planned(&p);
    }
    CHECK_EQ(seen, PLANS);
}

static int wait_to_read_without_a_stack(void *arg)
{
    struct wire_ends w;

    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    CHECK_EQ(write(w.fds[1], "x", 1), 1);
    *(int *)arg = when_readable(w.fds[0]);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(close(w.fds[1]), 0);
    return 0;
}

Test(sim, the_wait_of_a_task_without_a_stack_fails_as_planned)
{
    const struct coil_fault fault = {.call = "poll", .nth = 1, .error = -EPROTO};
    struct coil_testing_options o = calm();
    int result;

    o.faults = &fault;
    o.fault_count = 1;
    must_run(&o, wait_to_read_without_a_stack, &result);
    CHECK_EQ(report.failed, 1);
    CHECK_EQ(result, -EPROTO);
}

static int fail_close(void *arg)
{
    int fd = coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);

    *(int *)arg = coil_close(fd);
    CHECK_EQ(fcntl(fd, F_GETFD), -1);
    return 0;
}

Test(sim, a_close_that_fails_as_planned_has_closed)
{
    const struct coil_fault fault = {.call = "close", .error = -EIO};
    struct coil_testing_options o = calm();
    int result;

    o.faults = &fault;
    o.fault_count = 1;
    must_run(&o, fail_close, &result);
    CHECK_EQ(result, -EIO);
}

static int spawn_one(void *arg)
{
    struct coil_group g;

    coil_group_begin(&g);
    *(int *)arg = coil_group_spawn(&g, spin_for_a_second, NULL);
    return coil_group_end(&g, 0);
}

Test(sim, the_nth_stack_is_one_of_the_allocations_that_fail)
{
    struct coil_testing_options o = calm();
    int result;

    o.tick_ns = COIL_MILLISECOND;
    must_run(&o, spawn_one, &result);
    CHECK_EQ(result, 0);
    CHECK_EQ(report.allocations, 2); /* main's, and the task's */
    o.fail_allocation = 2;
    must_run(&o, spawn_one, &result);
    CHECK_EQ(result, -ENOMEM);
    o.fail_allocation = 1;
    CHECK_EQ(coil_testing_run(&o, spawn_one, &result, &report), -ENOMEM);
}

static int read_of_a_new_descriptor(void *arg)
{
    struct wire_ends w;
    char byte;

    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    CHECK_EQ(write(w.fds[1], "x", 1), 1);
    *(int *)arg = (int)coil_read(w.fds[0], &byte, 1);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(close(w.fds[1]), 0);
    return 0;
}

Test(sim, the_nth_allocation_fails_as_planned)
{
    struct coil_testing_options o = calm();
    int result;

    must_run(&o, read_of_a_new_descriptor, &result);
    CHECK_EQ(result, 1);
    CHECK(report.allocations > 0);
    o.fail_allocation = report.allocations;
    must_run(&o, read_of_a_new_descriptor, &result);
    CHECK_EQ(result, -ENOMEM);
}

/* --- Deadlocks ------------------------------------------------------------------------------- */

static int wait_for_ever(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

static int read_for_ever(void *arg)
{
    char byte;

    return (int)coil_read(*(int *)arg, &byte, 1);
}

static int parked_for_ever(void *arg)
{
    (void)arg;
    return coil_park(NULL, NULL, "the end of time");
}

static int deadlocked(void *arg)
{
    struct coil_group g;
    struct wire_ends w;
    int rc;

    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, wait_for_ever, NULL), 0);
    CHECK_EQ(coil_group_spawn(&g, read_for_ever, &w.fds[0]), 0);
    rc = coil_group_end(&g, 0);
    CHECK_EQ(rc, -ECANCELED);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(close(w.fds[1]), 0);
    *(bool *)arg = true;
    return 3;
}

Test(sim, s8_2_a_deadlock_names_every_blocked_task_and_what_it_waits_for)
{
    struct coil_testing_options o = calm();
    bool cleaned_up = false;

    CHECK_EQ(coil_testing_run(&o, deadlocked, &cleaned_up, &report), -EDEADLK);
    CHECK(cleaned_up);
    CHECK(says("main, spawned at " __FILE__ ":"));
    CHECK(says("waits for: group end\n"));
    CHECK(says("wait_for_ever, spawned at " __FILE__ ":"));
    CHECK(says("waits for: sleep\n"));
    CHECK(says("read_for_ever, spawned at " __FILE__ ":"));
    CHECK(says("waits for: read of descriptor "));
    CHECK(!says("left"));
}

Test(sim, s8_2_a_deadlock_is_found_with_any_seed)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct coil_testing_options o = on_sim(seed);
        bool cleaned_up = false;

        CHECK_EQ(coil_testing_run(&o, deadlocked, &cleaned_up, &report), -EDEADLK);
        CHECK(cleaned_up);
    }
}

Test(sim, s8_2_a_task_that_nothing_wakes_is_left_behind_and_the_run_ends)
{
    struct coil_testing_options o = calm();

    CHECK_EQ(coil_testing_run(&o, parked_for_ever, NULL, &report), -EDEADLK);
    CHECK(says("waits for: the end of time"));
    CHECK(says("tasks are left behind"));
    must_run(&o, sleep_an_hour, NULL); /* and the next run is none the worse */
}

/* --- Calls that block for ever ---------------------------------------------------------------- */

struct fifo {
    char folder[32];
    char path[48];
    int flags;
};

static void fifo_make(struct fifo *f)
{
    strcpy(f->folder, "/tmp/coil-test-XXXXXX");
    CHECK(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/fifo", f->folder);
    CHECK_EQ(mkfifo(f->path, 0600), 0);
}

static void fifo_remove(struct fifo *f)
{
    CHECK_EQ(unlink(f->path), 0);
    CHECK_EQ(rmdir(f->folder), 0);
}

static int open_to_write(void *arg)
{
    int fd = coil_openat(AT_FDCWD, arg, O_WRONLY, 0);

    return fd < 0 ? fd : coil_close(fd);
}

static int open_both_ends(void *arg)
{
    struct coil_group g;
    int fd;

    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, open_to_write, arg), 0);
    fd = coil_openat(AT_FDCWD, arg, O_RDONLY, 0);
    CHECK(fd >= 0);
    CHECK_EQ(coil_close(fd), 0);
    return coil_group_end(&g, 0);
}

Test(sim, a_call_that_blocks_until_another_task_has_made_its_own_is_made)
{
    struct fifo f;

    fifo_make(&f);
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct coil_testing_options o = on_sim(seed);

        must_run(&o, open_both_ends, f.path);
    }
    fifo_remove(&f);
}

static int open_for_ever(void *arg)
{
    return coil_openat(AT_FDCWD, arg, O_RDONLY, 0);
}

Test(sim, s8_2_a_call_that_blocks_for_ever_is_a_deadlock_and_is_ended)
{
    struct fifo f;

    fifo_make(&f);
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct coil_testing_options o = on_sim(seed);

        CHECK_EQ(coil_testing_run(&o, open_for_ever, f.path, &report), -EDEADLK);
        CHECK(says("main, spawned at "));
        CHECK(!says("left behind"));
    }
    fifo_remove(&f);
}

static int wait_with_a_deadline(void *arg)
{
    struct coil_scope s;
    int rc;

    (void)arg;
    coil_timeout_begin(&s, coil_now() + HOUR);
    rc = coil_sleep(COIL_FOREVER);
    CHECK_EQ(coil_scope_end(&s, rc), -ETIME);
    return 0;
}

Test(sim, s8_2_what_has_a_deadline_is_no_deadlock)
{
    struct coil_testing_options o = calm();

    must_run(&o, wait_with_a_deadline, NULL);
    CHECK_EQ(report.elapsed_ns, HOUR);
}

static int deadlock_of_many(void *arg)
{
    struct coil_group g;

    (void)arg;
    coil_group_begin(&g);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(coil_group_spawn(&g, wait_for_ever, NULL), 0);
    return coil_group_end(&g, 0);
}

static void count_complaint(void *ctx, const char *line)
{
    ((struct lines *)ctx)->count++;
    CHECK(*line && !strchr(line, '\n'));
}

static unsigned int count_newlines(const char *text)
{
    unsigned int count = 0;

    while ((text = strchr(text, '\n'))) {
        count++;
        text++;
    }
    return count;
}

Test(sim, s8_2_of_a_deadlock_too_large_for_the_report_every_task_is_told_and_the_rest_counted)
{
    struct coil_testing_options o = on_sim(7);
    struct lines lines = {0};
    char words[64];

    o.complain = count_complaint;
    o.complain_ctx = &lines;
    CHECK_EQ(coil_testing_run(&o, deadlock_of_many, NULL, &report), -EDEADLK);
    CHECK_EQ(lines.count, 1 + 101); /* that it is one, and all in it */
    CHECK(says("main, spawned at "));
    snprintf(words, sizeof(words), "\nand %u more\nseed 7",
             lines.count - (count_newlines(report.text) - 1));
    CHECK(says(words));
    CHECK_EQ(strlen(strstr(report.text, words)), strlen(words));
}

static int deadlock_without_stacks(void *arg)
{
    struct coil_group g;
    struct wire_ends w;
    int rc;

    (void)arg;
    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn_readable(&g, w.fds[0], read_the_byte, NULL), 0);
    CHECK_EQ(coil_group_spawn_later(&g, COIL_FOREVER, sleep_an_hour, NULL), 0);
    rc = coil_group_end(&g, 0);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(close(w.fds[1]), 0);
    return rc;
}

Test(sim, s8_2_a_deadlock_names_tasks_without_a_stack_too)
{
    struct coil_testing_options o = calm();

    CHECK_EQ(coil_testing_run(&o, deadlock_without_stacks, NULL, &report), -EDEADLK);
    CHECK(says("read_the_byte, spawned at " __FILE__ ":"));
    CHECK(says("waits for: poll of descriptor "));
    CHECK(says("sleep_an_hour, spawned at " __FILE__ ":"));
    CHECK(says("waits for: its time"));
}

Test(sim, s8_4_a_run_that_failed_says_under_which_seed)
{
    struct coil_testing_options o = on_sim(4711);
    bool cleaned_up;

    CHECK_EQ(coil_testing_run(&o, deadlocked, &cleaned_up, &report), -EDEADLK);
    CHECK(says("\nseed 4711"));
    o = calm();
    CHECK_EQ(coil_testing_run(&o, deadlocked, &cleaned_up, &report), -EDEADLK);
    CHECK(!says("seed"));
}

static void *write_from_outside(void *arg)
{
    wire_await(*(int *)arg, POLLOUT);
    CHECK_EQ(write(*(int *)arg, "x", 1), 1);
    return NULL;
}

static int read_from_outside(void *arg)
{
    struct wire_ends w;
    pthread_t thread;
    char byte;

    (void)arg;
    CHECK_EQ(pipe2(w.fds, O_CLOEXEC), 0);
    CHECK_EQ(pthread_create(&thread, NULL, write_from_outside, &w.fds[1]), 0);
    CHECK_EQ(coil_read(w.fds[0], &byte, 1), 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coil_close(w.fds[0]), 0);
    CHECK_EQ(close(w.fds[1]), 0);
    return 0;
}

Test(sim, what_may_come_from_outside_is_waited_for)
{
    struct coil_testing_options o = calm();

    o.outside_ns = WIRE_PATIENCE_S * COIL_SECOND;
    must_run(&o, read_from_outside, NULL);
}

static int file_beside_a_sleeper(void *arg)
{
    struct coil_group g;
    int64_t before_ns = coil_now();
    int fd;

    (void)arg;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, wait_with_a_deadline, NULL), 0);
    fd = coil_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);
    CHECK(fd >= 0);
    CHECK_EQ(coil_now(), before_ns);
    CHECK_EQ(coil_close(fd), 0);
    return coil_group_end(&g, 0);
}

Test(sim, the_clock_does_not_jump_while_a_thread_works_for_us)
{
    struct coil_testing_options o = calm();

    must_run(&o, file_beside_a_sleeper, NULL);
}
