/* epoll.c - the seam over readiness.
 *
 * Each descriptor is registered once, for both directions, edge-triggered. The core has tried the
 * system call before it submits, so what arrives here waits for an edge; when one comes the call is
 * made again, in wait. The kernel never owns a buffer, and the descriptor lists who waits, so there
 * is nothing to cancel.
 *
 * After a short count the core does not try: that saves a system call a request. But the guess may
 * be wrong, and then no edge comes. So whoever waits by it is tried once, when nothing has happened
 * for a while or much has: late, for what should not be, and at no cost for what is. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "../core/backend.h"
#include "../core/io/descriptor.h"

#define EVENTS_MOST 64 /* a look: more, and the first are out of the cache when their tasks run */
#define SKIPS_MOST  32 /* looks at the kernel in a row that a loop with ready tasks may leave out */
#define GUESS_LOOKS 1024 /* a guess is good for so many looks, */
#define GUESS_MS    10   /* or for so long a silence */
#define GUESS_NS    (GUESS_MS * (int64_t)1000000)

/* data of what is not a descriptor. Those of descriptors carry a generation above the number. */
#define TO_WAKE  UINT64_MAX
#define TO_TIMER (UINT64_MAX - 1)

struct backend {
    int epoll_fd;
    int wake_fd;
    int timer_fd; /* -1: epoll_pwait2 is there, Linux 5.11 */
    struct descriptors *descriptors;
    struct list guesses; /* ops that wait by one, oldest first */
    uint32_t looks;
    unsigned int skips;
    int64_t looked_at_tick;
    void *(*allocate)(void *ctx, void *ptr, size_t size);
    void *allocate_ctx;
    struct epoll_event events[EVENTS_MOST];
};

static int watch(struct backend *b, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event e = {.events = events, .data.u64 = data};

    if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0)
        return 0;
    if (errno == EEXIST && epoll_ctl(b->epoll_fd, EPOLL_CTL_MOD, fd, &e) == 0)
        return 0; /* a leftover of somebody's dup; now it is ours */
    return -errno;
}

static int watch_descriptor(struct backend *b, int fd, struct descriptor *d)
{
    int r = watch(b, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
                  (uint64_t)d->generation << 32 | (unsigned int)fd);

    d->registered = r == 0;
    return r;
}

static int epoll_submit(struct backend *b, struct op *op)
{
    struct descriptor *d = op->descriptor;

    op->link.next = NULL;
    if (!d->registered)
        return watch_descriptor(b, op->fd, d); /* and hear at once how it is */
    if (d->guessed & side_of(op->writes) && op_speaks_for_its_side(op)) {
        op->sq_position = b->looks;
        list_push_back(&b->guesses, &op->link);
    }
    return 0;
}

static void forget_guess(struct op *op)
{
    if (list_linked(&op->link))
        list_remove(&op->link);
}

static bool epoll_cancel(struct backend *b, struct op *op)
{
    (void)b;
    forget_guess(op);
    return true;
}

static bool side_ready(const struct op *op)
{
    return op->descriptor->ready & side_of(op->writes) || op_is_out_of_band(op);
}

static void try_again(struct op *op)
{
    ssize_t r;

    forget_guess(op); /* now it will be known */
    r = coil__op_perform(op);
    if (r != -EAGAIN)
        coil__op_complete(op, r);
}

/* Tries those that wait by a guess: of this age, and no more than a batch. */
static void check_guesses(struct backend *b, uint32_t least_looks)
{
    for (int i = 0; i < EVENTS_MOST && !list_empty(&b->guesses); i++) {
        struct op *op = container_of(b->guesses.next, struct op, link);

        if (b->looks - op->sq_position < least_looks)
            return;
        try_again(op);
    }
}

static void edge(struct backend *b, const struct epoll_event *e)
{
    int fd = (int)(uint32_t)e->data.u64;
    struct descriptor *d = descriptor_peek(b->descriptors, fd);
    struct op *next;

    /* One of this batch may have closed it, or a dup may still fire for it. */
    if (!d || d->generation != e->data.u64 >> 32 || !d->registered)
        return;
    if (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        d->ready |= SIDE_READ;
    if (e->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        d->ready |= SIDE_WRITE;
    if (e->events & (EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        d->sticky |= SIDE_READ;
    if (e->events & (EPOLLHUP | EPOLLERR))
        d->sticky |= SIDE_WRITE;

    for (struct op *op = d->ops; op; op = next) {
        next = op->next_on_descriptor;
        if (op->state == OP_PENDING && op->route == ROUTE_BACKEND && side_ready(op))
            try_again(op);
    }
}

static inline const struct descriptor *descriptor_of(const struct backend *b, int i, int count)
{
    return i < count ? descriptor_peek(b->descriptors, (int)(uint32_t)b->events[i].data.u64) : NULL;
}

/* What the events to come are about: their descriptors, then the ops, then the tasks. With hundreds
 * of them, none is in the cache. */
prefetching void prefetch_ahead(const struct backend *b, int i, int count)
{
    const struct descriptor *d = descriptor_of(b, i + 3, count);

    if (d)
        prefetch_lines(d, 1);
    d = descriptor_of(b, i + 2, count);
    if (d && d->ops)
        prefetch_lines(d->ops, 2);
    d = descriptor_of(b, i + 1, count);
    if (d && d->ops && op_task(d->ops))
        prefetch_lines(op_task(d->ops), 2);
}

static void dispatch(struct backend *b, int count)
{
    for (int i = 0; i < count; i++) {
        uint64_t spent;
        ssize_t ignored = 0;

        prefetch_ahead(b, i, count);

        if (b->events[i].data.u64 == TO_WAKE)
            ignored = read(b->wake_fd, &spent, sizeof(spent));
        else if (b->events[i].data.u64 == TO_TIMER)
            ignored = read(b->timer_fd, &spent, sizeof(spent));
        else
            edge(b, &b->events[i]);
        (void)ignored;
    }
}

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static int look(struct backend *b)
{
    return epoll_wait(b->epoll_fd, b->events, EVENTS_MOST, 0);
}

static int sleep_until(struct backend *b, int64_t deadline_ns)
{
    const int patience_ms = list_empty(&b->guesses) ? -1 : GUESS_MS;
    struct timespec duration;
    int64_t ns;

    if (deadline_ns == INT64_MAX)
        return epoll_wait(b->epoll_fd, b->events, EVENTS_MOST, patience_ms);
    if (b->timer_fd >= 0) {
        struct itimerspec at = {.it_value = timespec_of(deadline_ns)};

        timerfd_settime(b->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
        return epoll_wait(b->epoll_fd, b->events, EVENTS_MOST, patience_ms);
    }
    ns = deadline_ns - coil__clock_now();
    if (patience_ms > 0 && ns > GUESS_NS)
        ns = GUESS_NS;
    duration = timespec_of(ns > 0 ? ns : 0);
    return epoll_pwait2(b->epoll_fd, b->events, EVENTS_MOST, &duration, NULL);
}

/* With tasks ready there is no need to ask the kernel every turn: a turn can be a few nanoseconds,
 * a system call is hundreds. Now and then, and whenever the clock has ticked, is enough. */
static bool may_skip(struct backend *b)
{
    int64_t tick = coil__clock_tick();

    if (++b->skips < SKIPS_MOST && tick == b->looked_at_tick)
        return true;
    b->skips = 0;
    b->looked_at_tick = tick;
    return false;
}

static void epoll_wait_ops(struct backend *b, int64_t deadline_ns)
{
    int count;

    if (!deadline_ns && may_skip(b))
        return;
    if (deadline_ns)
        b->skips = 0;
    count = deadline_ns ? sleep_until(b, deadline_ns) : look(b);
    dispatch(b, count);
    b->looks++;
    if (!list_empty(&b->guesses))
        check_guesses(b, deadline_ns && count <= 0 ? 0 : GUESS_LOOKS);
}

static void epoll_wake(struct backend *b)
{
    const uint64_t one = 1;
    ssize_t ignored = write(b->wake_fd, &one, sizeof(one));

    (void)ignored; /* a full counter wakes as well */
}

static void epoll_forget(struct backend *b, int fd, struct descriptor *d)
{
    if (d->registered) /* a dup of it may outlive our close, and would go on firing */
        epoll_ctl(b->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    d->registered = false;
}

/* A timerfd, where epoll_wait counts in milliseconds only. */
static int open_timer(struct backend *b)
{
    const struct timespec at_once = {0};

    b->timer_fd = -1;
    if (epoll_pwait2(b->epoll_fd, b->events, 1, &at_once, NULL) >= 0 || errno != ENOSYS)
        return 0;
    b->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (b->timer_fd < 0)
        return -errno;
    return watch(b, b->timer_fd, EPOLLIN, TO_TIMER);
}

static int epoll_open(struct backend **ret, const struct backend_config *config,
                      struct backend_reason *why)
{
    struct backend *b = config->allocate(config->allocate_ctx, NULL, sizeof(*b));
    int r = -ENOMEM;

    snprintf(why->text, sizeof(why->text), "epoll");
    if (!b)
        return r;
    memset(b, 0, sizeof(*b));
    b->descriptors = config->descriptors;
    b->allocate = config->allocate;
    b->allocate_ctx = config->allocate_ctx;
    b->timer_fd = -1;
    list_init(&b->guesses);
    b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (b->epoll_fd < 0) {
        r = -errno;
        goto fail_epoll;
    }
    b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->wake_fd < 0) {
        r = -errno;
        goto fail_eventfd;
    }
    r = watch(b, b->wake_fd, EPOLLIN, TO_WAKE);
    if (r >= 0)
        r = open_timer(b);
    if (r < 0)
        goto fail_timer;
    *ret = b;
    return 0;

fail_timer:
    if (b->timer_fd >= 0)
        close(b->timer_fd);
    close(b->wake_fd);
fail_eventfd:
    close(b->epoll_fd);
fail_epoll:
    snprintf(why->text, sizeof(why->text), "epoll: %s", strerror(-r));
    config->allocate(config->allocate_ctx, b, 0);
    return r;
}

static void epoll_close(struct backend *b)
{
    if (b->timer_fd >= 0)
        close(b->timer_fd);
    close(b->wake_fd);
    close(b->epoll_fd);
    b->allocate(b->allocate_ctx, b, 0);
}

const struct coil__backend_ops coil__epoll_ops = {
    .name = "epoll",
    .readiness = true,
    .open = epoll_open,
    .close = epoll_close,
    .now = backend_real_now,
    .tick = backend_real_tick,
    .submit = epoll_submit,
    .cancel = epoll_cancel,
    .wait = epoll_wait_ops,
    .wake = epoll_wake,
    .forget = epoll_forget,
};
