/* loop.c - the turn, and the life of a loop. */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#include "../choose.h"
#include "../debug/dump.h"
#include "../debug/layout.h"
#include "../thread/runtime.h"
#include "errors.h"
#include "park.h"

#define STACK_SIZE_DEFAULT       (64 * 1024)
#define BLOCKING_THREADS_DEFAULT 4
#define TRIM_EVERY_NS            (5 * COIL_SECOND)
#define TRIM_SOON_NS             (5 * COIL_MILLISECOND)

__thread struct here coil__here __attribute__((tls_model("initial-exec")));

void coil__bury(struct loop *loop)
{
    struct coil_task *t = loop->corpse;

    if (!t)
        return;
    loop->corpse = NULL;
    coil__context_retire(&t->context);
    stack_return(&loop->stacks, t->stack_class, t);
}

struct departure coil__leave_for_good(struct coil_task *self)
{
    struct loop *loop = self->loop;

    coil__bury(loop);
    loop->corpse = self;
    loop->living--;
    return context_leave(pop_next(loop), loop->starter);
}

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* For tests: puts the ready tasks into an order drawn from the seed. Each pass deals them on two
 * heaps by the toss of a coin; log2(n) passes, and two, make every order about as likely. */
static void shuffle(struct loop *loop)
{
    for (size_t n = loop->ready_count * 4; n > 1; n /= 2) {
        struct coil_task *heads[2] = {NULL, NULL};
        struct coil_task **tails[2] = {&heads[0], &heads[1]};

        for (struct coil_task *t = loop->ready_head; t; t = t->next_ready) {
            unsigned int side = draw(&loop->shuffle_state) >> 63;

            *tails[side] = t;
            tails[side] = &t->next_ready;
        }
        *tails[1] = NULL;
        *tails[0] = heads[1];
        loop->ready_head = heads[0];
        loop->ready_tail = heads[1] ? tails[1] : tails[0];
    }
    if (!loop->ready_head)
        loop->ready_tail = &loop->ready_head;
}

/* As run_ready, but each step comes back here, to be told. Also when the last who wanted to hear
 * of steps is removed by one of them. */
static void run_ready_and_report(struct loop *loop, size_t steps)
{
    loop->instruments.stepping = true;
    for (; steps; steps--) {
        struct coil_task *t;

        loop->steps_left = 1;
        t = pop_ready(loop);
        coil__instruments_begin_step(loop, t);
        (void)switch_to(loop, &loop->context, &t->context);
        coil__instruments_end_step(loop, t); /* it may have ended, but is not buried */
        coil__bury(loop);
    }
    loop->instruments.stepping = false;
    coil__instruments_update(loop);
}

/* Runs each task that is ready now, once. Tasks hand over to each other; we are back when the last
 * one of the turn has given way. */
static void run_ready(struct loop *loop)
{
    size_t steps;

    if (!loop->round_left) {
        if (unlikely(loop->shuffle_state))
            shuffle(loop);
        loop->round_left = loop->ready_count;
    }
    steps = loop->stepwise && loop->round_left ? 1 : loop->round_left;
    loop->round_left -= steps;
    if (unlikely(loop->hooks & HOOKS_BY_STEP)) {
        run_ready_and_report(loop, steps);
        return;
    }
    loop->steps_left = steps;
    if (loop->steps_left)
        (void)switch_to(loop, &loop->context, &pop_ready(loop)->context);
    coil__bury(loop);
}

/* --- The turn -------------------------------------------------------------------------------- */

static void deliver_mail(struct loop *loop)
{
    if (unlikely(!mailbox_empty(&loop->mailbox)))
        coil__mailbox_deliver(&loop->mailbox);
}

/* Stack pages that nobody needed for a while go back, when there is nothing else to do. Returns
 * when to be back for more. */
static int64_t trim(struct loop *loop)
{
    int64_t now_ns;

    if (!coil__stacks_trimmable(&loop->stacks))
        return INT64_MAX;
    now_ns = loop_now(loop);
    if (now_ns >= loop->trim_at_ns) {
        bool more = loop->trim_at_ns && coil__stacks_trim(&loop->stacks);

        loop->trim_at_ns = now_ns + (more ? TRIM_SOON_NS : TRIM_EVERY_NS);
    }
    return coil__stacks_trimmable(&loop->stacks) ? loop->trim_at_ns : INT64_MAX;
}

/* Has the backend wait while somebody wants to be told who becomes ready. Hooks are users' code,
 * which may cancel, and in its wait a backend is in the midst of its lists: so they are called
 * afterwards, of those that have joined the queue. */
static void wait_and_report(struct loop *loop, int64_t deadline_ns)
{
    struct coil_task *const *joined = loop->ready_tail;
    size_t before = loop->ready_count;
    struct coil_task *t;

    loop->hooks &= (uint16_t)~HOOK_BIT(HOOK_SCHEDULED);
    loop->ops->wait(loop->backend, deadline_ns);
    coil__instruments_update(loop);
    t = *joined;
    for (size_t left = loop->ready_count - before; left; left--, t = t->next_ready)
        report(loop, HOOK_SCHEDULED, t);
}

static void wait_in_backend(struct loop *loop, int64_t deadline_ns)
{
    if (unlikely(loop->hooks & HOOK_BIT(HOOK_SCHEDULED)))
        wait_and_report(loop, deadline_ns);
    else
        loop->ops->wait(loop->backend, deadline_ns);
}

/* Waits for whatever comes first. Whoever posts from now on wakes us; what came before is seen
 * here. */
static void sleep_until_something(struct loop *loop)
{
    int64_t deadline_ns = timers_soonest(&loop->timers);
    int64_t trim_at_ns = trim(loop);

    if (trim_at_ns < deadline_ns)
        deadline_ns = trim_at_ns;
    atomic_store_explicit(&loop->mailbox.sleeping, true, memory_order_seq_cst);
    if (atomic_load_explicit(&loop->mailbox.newest, memory_order_seq_cst))
        deadline_ns = 0;
    wait_in_backend(loop, deadline_ns);
    atomic_store_explicit(&loop->mailbox.sleeping, false, memory_order_relaxed);
}

void coil__loop_look(struct loop *loop)
{
    loop_now(loop);
}

void coil__meet_deadlines(struct loop *loop)
{
    loop->deadline_unseen = false;
    if (!loop->timers.count)
        return;
    if (timers_soonest(&loop->timers) - loop->ops->tick(loop->backend) < TICK_MOST_NS) {
        struct coil_task *self = nobody_begin();

        fire_timers(loop);
        nobody_end(self);
    }
}

static void look_around(struct loop *loop)
{
    fire_timers(loop);
    deliver_mail(loop);
}

static void report_wait(struct loop *loop)
{
    int64_t deadline_ns = loop->ready_count ? 0 : timers_soonest(&loop->timers);

    if (loop->hooks & HOOK_BIT(HOOK_BEFORE_WAIT) && !loop->main_ended)
        coil__instruments_report(loop, HOOK_BEFORE_WAIT, NULL, deadline_ns);
}

static void step_is_over(struct loop *loop)
{
    if (unlikely(loop->stepwise))
        loop->ops->between_steps(loop->backend);
}

static void turn(struct loop *loop)
{
    count_turn(loop);
    run_ready(loop);
    look_around(loop);
    if (unlikely(loop->hooks))
        report_wait(loop);
    step_is_over(loop); /* either may make somebody ready */
    if (loop->ready_count) {
        wait_in_backend(loop, 0);
    } else if (!loop->main_ended) {
        sleep_until_something(loop);
        if (!loop->timers.count) /* they read the clock */
            loop_now(loop);
        look_around(loop);
    } else {
        return;
    }
    step_is_over(loop);
    report(loop, HOOK_AFTER_WAIT, NULL);
}

void coil__loop_post(struct loop *loop, struct mail *m)
{
    coil__mailbox_enter(&loop->mailbox);
    if (coil__mailbox_post(&loop->mailbox, m))
        loop->ops->wake(loop->backend);
    coil__mailbox_leave(&loop->mailbox);
}

/* --- Its life -------------------------------------------------------------------------------- */

static void *from_malloc(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (!size) {
        free(ptr);
        return NULL;
    }
    return realloc(ptr, size);
}

struct memory coil__memory_here(void)
{
    const struct loop *loop = coil__here.loop;

    return loop ? (struct memory){loop->allocate, loop->allocate_ctx}
                : (struct memory){from_malloc, NULL};
}

static int check(const struct coil_loop_options *o)
{
    if (o->stack_size && !coil__stack_class(o->stack_size))
        return -EINVAL;
    if (o->sq_entries > 32768 || o->cq_entries > 65536)
        return -EINVAL;
    return o->blocking_threads > 1024 ? -EINVAL : 0;
}

static int open_loop(struct loop *loop, const struct coil_loop_options *o)
{
    struct backend_config config = {
        .descriptors = &loop->descriptors,
        .sq_entries = o->sq_entries,
        .cq_entries = o->cq_entries,
    };
    size_t stack_size = o->stack_size ? o->stack_size : STACK_SIZE_DEFAULT;
    int r;

    loop->ready_tail = &loop->ready_head;
    loop->stack_class = coil__stack_class(stack_size);
    loop->shuffle_state = o->shuffle_seed;
    loop->looks_each_turn = o->shuffle_seed != 0;
    loop->allocate = o->allocate ? o->allocate : from_malloc;
    loop->allocate_ctx = o->allocate_ctx;
    config.allocate = loop->allocate;
    config.allocate_ctx = loop->allocate_ctx;
    coil__mailbox_init(&loop->mailbox);
    list_init(&loop->dumpers);
    coil__stacks_init(&loop->stacks, TASK_BLOCK_SIZE);
    coil__dormant_pool_open(loop);
    r = coil__pool_init(&loop->pool,
                        o->blocking_threads ? o->blocking_threads : BLOCKING_THREADS_DEFAULT);
    if (r < 0)
        return r;
    r = coil__choose_backend(loop, o->backend, &config);
    if (r < 0)
        goto fail_pool;
    coil__timers_init(&loop->timers, loop_now(loop));
    coil__scope_root(&loop->root, loop, "the loop");
    coil__context_adopt(&loop->context);
    return 0;

fail_pool:
    coil__pool_close(loop);
    return r;
}

static void close_loop(struct loop *loop)
{
    assert(!loop->living);
    assert(!loop->operations);

    if (loop->runtime)
        coil__runtime_left(loop->runtime, loop);
    coil__dumpers_close(loop);
    while (loop->locals) /* a destructor may set one anew */
        coil__locals_drop(loop, &loop->locals);
    (void)scope_leave(&loop->root, 0);
    coil__pool_close(loop);
    /* A message may have been the reason to end, while its sender is still about to wake us. */
    coil__mailbox_await_posters(&loop->mailbox);
    loop->ops->close(loop->backend);
    coil__descriptors_close(loop);
    coil__stacks_close(&loop->stacks);
    coil__dormant_pool_close(loop);
}

void coil__main_ended(struct coil_task *t, int rc)
{
    struct loop *loop = t->loop;

    if (rc == -ECANCELED && loop->root.asked & ASK_STOP)
        rc = 0;
    coil__errors_free(loop, t->errors);
    loop->main_result = rc;
    loop->main_ended = true;
}

static int run(struct loop *loop, coil_task_fn *main_fn, void *arg, const char *name,
               const char *site)
{
    struct coil_task *t;

    report(loop, HOOK_BEFORE_RUN, NULL);
    t = coil__task_new(loop, &loop->root, main_fn, arg, loop->stack_class, name, site);
    if (!t)
        return -ENOMEM;
    report_new(t);
    if (loop->runtime)
        coil__runtime_entered(loop->runtime, loop);
    while (!loop->main_ended)
        turn(loop);
    report(loop, HOOK_AFTER_RUN, NULL);
    return loop->failure ? loop->failure : loop->main_result;
}

/* In the child of a fork. The ring's memory is not there, an epoll or a timer changed here would
 * change in the parent, the pool's threads do not exist, and the other tasks are copies that would
 * do everything twice. So there is no loop here: whatever needs one dies or answers accordingly. */
static void forget_loop(void)
{
    coil__here = (struct here){.forked = coil__here.loop || coil__here.forked};
}

static int forget_error;

static void forget_loops_in_children(void)
{
    forget_error = -pthread_atfork(NULL, NULL, forget_loop);
}

int coil__loop_run(const struct coil_loop_options *options, struct runtime *runtime,
                   unsigned int index, coil_task_fn *main_fn, void *arg, const char *name,
                   const char *site)
{
    static const struct coil_loop_options defaults;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct here before = coil__here;
    struct loop *loop;
    int r;

    if (!options)
        options = &defaults;
    if (!main_fn)
        return -EINVAL;
    if (before.loop)
        return -EBUSY;
    r = check(options);
    if (r < 0)
        return r;
    pthread_once(&once, forget_loops_in_children);
    if (forget_error < 0)
        return forget_error;
    loop = aligned_alloc(64, (sizeof(*loop) + 63) & ~(size_t)63);
    if (!loop)
        return -ENOMEM;
    memset(loop, 0, sizeof(*loop));
    loop->layout = coil__layout;
    loop->runtime = runtime;
    loop->index = index;

    r = open_loop(loop, options);
    if (r < 0)
        goto fail_open;
    coil__here = (struct here){.loop = loop, .scope_mask = RUNNING_ON_VALGRIND ? 0 : UINT32_MAX};
    if (options->instrument)
        coil__instruments_push(loop, options->instrument);
    r = run(loop, main_fn, arg, name, site);
    close_loop(loop);
    coil__here = before;

fail_open:
    free(loop);
    return r;
}

int coil_run_at(const struct coil_loop_options *options, coil_task_fn *main_fn, void *arg,
                const char *name, const char *site)
{
    return coil__loop_run(options, NULL, 0, main_fn, arg, name, site);
}

const char *coil_backend_name(void)
{
    return coil__here.task ? coil__here.loop->ops->name : NULL;
}

const char *coil_backend_reason(void)
{
    return coil__here.task ? coil__here.loop->reason.text : NULL;
}

int coil_loop_stats(struct coil_stats *ret)
{
    const struct loop *loop = coil__here.loop;

    if (!loop)
        return -EINVAL;
    *ret = (struct coil_stats){
        .tasks = loop->living,
        .ready = loop->ready_count,
        .timers = loop_timers(loop),
        .operations = loop->operations,
        .descriptors = loop->descriptors.known,
        .stacks = coil__stacks_mapped(&loop->stacks),
        .blocking = loop->pool.pending,
        .turns = loop->turns,
        .switches = loop->switches,
        .cancels = loop->cancels,
        .late_results = loop->late_results,
        .next_deadline_ns = loop_next_deadline(loop),
    };
    return 0;
}
