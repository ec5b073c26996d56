/* backend.h - the seam: all the core asks of a way to do I/O.
 *
 *  1. Every submitted op ends exactly once: done, failed or cancelled.
 *  2. It completes inside wait, on the loop's own thread, and nowhere else, unless cancel says that
 *     it is over. submit and cancel never call back, so their callers need not be ready for it.
 *     User code never runs inside wait: a completion makes a task ready, no more, and who wants to
 *     hear of that hears it afterwards.
 *  3. cancel is a wish. Either the op is over there and then, with no effect; or it still
 *     completes, with -ECANCELED, or, if it had already happened, with its real result and all of
 *     its effect. The result wins.
 *  4. A result is what the system call would have said: a count, a descriptor, 0, or -errno.
 *     -EINTR and the kernel's internal -512..-516 never get out; -EAGAIN only for a file, which
 *     then is done otherwise.
 *  5. From submit to completion the backend owns the op and all it points to. Before and after, it
 *     does not look.
 *  6. Both backends give the same outcome for the same events: close-on-exec and non-blocking on
 *     every new descriptor, no SIGPIPE, partial counts kept, cancelled before the start has no
 *     effect.
 *
 * What a backend may count on: the descriptor stays open until the op has completed, and has at
 * most one reader and one writer (core/io/descriptor.c sees to both). */
#ifndef CORE_BACKEND_H
#define CORE_BACKEND_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "list.h"
#include "thread/mailbox.h"

struct backend;
struct descriptor;
struct descriptors;
struct op;
struct coil_task;

/* What to do. Adding one: a member here, a case in uring/, a case in core/io/perform.c. */
enum op_kind {
    OP_READ,    /* ptr, len, offset */
    OP_WRITE,   /* ptr, len, offset */
    OP_READV,   /* ptr: msghdr with an iovec and no more, len: its bytes */
    OP_WRITEV,  /* the same */
    OP_RECV,    /* ptr, len, flags */
    OP_SEND,    /* ptr, len, flags */
    OP_RECVMSG, /* ptr: msghdr, flags */
    OP_SENDMSG, /* ptr: msghdr, flags */
    OP_ACCEPT,  /* ptr: sockaddr or NULL, addrlen */
    OP_CONNECT, /* ptr: sockaddr, len: its length. The core's, or a readiness backend's */
    OP_POLL,    /* flags: POLLIN or POLLOUT */
    OP_PAUSE,   /* wait a while: for what cannot be waited for */
    OP_CALL,    /* call, what: for the blocking pool only */
};

/* Which call an OP_CALL is: for who looks on, and for tests. Adding one: a member here, its name in
 * op.c. */
enum op_what {
    CALLS_ANY,
    CALLS_OPENAT,
    CALLS_OPENAT2,
    CALLS_MKOSTEMP,
    CALLS_MKDTEMP,
    CALLS_READ_FILE,
    CALLS_WRITE_FILE,
    CALLS_FSYNC,
    CALLS_FDATASYNC,
    CALLS_FTRUNCATE,
    CALLS_TRUNCATE,
    CALLS_STATX,
    CALLS_RENAMEAT,
    CALLS_UNLINKAT,
    CALLS_MKDIRAT,
    CALLS_LINKAT,
    CALLS_SYMLINKAT,
    CALLS_READLINKAT,
    CALLS_GETDENTS,
    CALLS_CLOSE,
    CALLS_COUNT,
};

enum op_state {
    OP_IDLE,
    OP_PENDING, /* the backend's, or the pool's */
    OP_DONE,
};

enum op_route {
    ROUTE_BACKEND,
    ROUTE_POOL,
    ROUTE_TIMER,
};

/* One I/O request. It lives on the stack of the task that waits for it, which does not return
 * before it is done; or, of nobody's, in what has a million of them: so it is small. */
struct op {
    uint8_t kind;        /* enum op_kind */
    uint8_t state;       /* enum op_state: whose it is */
    uint8_t route;       /* enum op_route: a cancel goes the same way */
    uint8_t phase;       /* the backend's, or the pool's, while pending */
    bool writes;         /* which side of the descriptor */
    bool asked : 1;      /* a cancel has been wished for */
    bool closed : 1;     /* ... because of coil_close */
    bool shielded : 1;   /* cancellation does not reach it */
    bool started : 1;    /* OP_CONNECT: the attempt is on its way */
    bool is_nobodys : 1; /* done is called, no task is woken */
    uint8_t what;        /* OP_CALL: enum op_what; else 0 */
    uint32_t flags;
    int fd;
    union {
        void *ptr;
        ssize_t (*call)(struct op *op); /* OP_CALL */
    };
    union {
        size_t len;
        socklen_t *addrlen; /* OP_ACCEPT */
    };
    int64_t offset; /* -1: the descriptor's own position */
    union {
        struct coil_task *task;      /* who waits */
        void (*done)(struct op *op); /* within wait; may not call back */
    };
    struct descriptor *descriptor; /* NULL for a call without one */
    struct op *next_on_descriptor;
    union {
        struct list link; /* the backend's, or the pool's, while pending */
        struct mail mail; /* of whoever tells us that it is over */
    };
    union {
        ssize_t result; /* once it is over */
        struct {        /* the backend's, while pending */
            uint32_t slot;
            uint32_t sq_position;
        };
    };
};

/* Who waits for op. NULL: nobody. */
static inline struct coil_task *op_task(const struct op *op)
{
    return op->is_nobodys ? NULL : op->task;
}

/* Has done called when op is over. */
static inline void op_then(struct op *op, void (*done)(struct op *op))
{
    op->is_nobodys = true;
    op->done = done;
}

/* Receives what comes beside the stream, of which readiness to read says nothing. */
static inline bool op_is_out_of_band(const struct op *op)
{
    return (op->kind == OP_RECV || op->kind == OP_RECVMSG) && op->flags & (MSG_OOB | MSG_ERRQUEUE);
}

/* Would EAGAIN to this one say that any other of its side has to wait as well, and EAGAIN to
 * another that this one has to? To accept, to connect or to poll is neither to read nor to write,
 * which here may fail at once. */
static inline bool op_speaks_for_its_side(const struct op *op)
{
    return op->kind != OP_ACCEPT && op->kind != OP_CONNECT && op->kind != OP_POLL &&
           !op_is_out_of_band(op);
}

struct backend_config {
    struct descriptors *descriptors;
    unsigned int sq_entries; /* 0: the default */
    unsigned int cq_entries;
    void *(*allocate)(void *ctx, void *ptr, size_t size);
    void *allocate_ctx;
};

/* Why a backend would not open, or what to know about it now that it has. */
struct backend_reason {
    char text[128];
};

struct coil__backend_ops {
    const char *name; /* as COIL_BACKEND spells it */

    /* Works by readiness: the core tries the system call first and submits only what would wait;
     * files, which are always ready and yet block, it gives to the pool. */
    bool readiness;

    /* On the loop's own thread. 0, or -errno and *why. */
    int (*open)(struct backend **ret, const struct backend_config *config,
                struct backend_reason *why);
    void (*close)(struct backend *b); /* nothing may be pending */
    int64_t (*now)(struct backend *b);
    int64_t (*tick)(struct backend *b); /* the same, cheap, and behind by less than TICK_MOST_NS */

    /* 0, or -errno: nobody has it. No room means later, and is no failure. */
    int (*submit)(struct backend *b, struct op *op);

    /* op must be pending; more than once is fine. True: it is over, and will not complete. */
    bool (*cancel)(struct backend *b, struct op *op);

    /* Completes what has completed; waits until something has, or wake, or the deadline, if nothing
     * has. A deadline in the past: does not wait. Bounded work. */
    void (*wait)(struct backend *b, int64_t deadline_ns);
    void (*wake)(struct backend *b); /* from any thread, any time */

    /* Descriptor d is about to be closed or forgotten; nothing is pending on it. May be NULL. */
    void (*forget)(struct backend *b, int fd, struct descriptor *d);

    /* An operation is about to begin, on whatever route: may answer in its place (< 0), or shorten
     * it (0). A close is done by then, and its answer is what can be changed. For tests: NULL where
     * the world is real. */
    int (*meddle)(struct backend *b, struct op *op);

    /* Is there a stack for one more task? Asked of a loop that may_lack_stacks; likewise. */
    bool (*has_stack)(struct backend *b);

    /* t makes a call that can wait, and ASK_TELL has it told: may cancel if the call may refuse.
     * Likewise. */
    void (*call_begins)(struct backend *b, struct coil_task *t, bool may_refuse);

    /* Nobody runs, and what has completed is delivered: may cancel. Once before each wait and once
     * after, of a loop that is stepwise; likewise. */
    void (*between_steps)(struct backend *b);
};

extern const struct coil__backend_ops coil__uring_ops;
extern const struct coil__backend_ops coil__epoll_ops;

/* In the library for tests only, coil-testing; choose.c does without elsewhere. */
extern const struct coil__backend_ops coil__testing_ops;

/* What a task that waits for an op is said to wait for, by its kind plus what. */
#define OP_NAME_SIZE  20
#define OP_NAME_COUNT (OP_CALL + CALLS_COUNT + 1)
extern const char coil__op_names[OP_NAME_COUNT][OP_NAME_SIZE];

static inline unsigned int op_name_index(const struct op *op)
{
    return (unsigned int)op->kind + op->what;
}

/* The core's two upcalls. */

/* op is done: its task becomes ready, or whoever else it is for is told. A backend says so only
 * from wait. */
void coil__op_complete(struct op *op, ssize_t result);

/* One attempt that does not wait. -EAGAIN: it would have to. In a pool thread it may block. */
ssize_t coil__op_perform(struct op *op);

/* CLOCK_MONOTONIC: the time of both real backends. */
int64_t coil__clock_now(void);

/* CLOCK_MONOTONIC_COARSE, which stands still between two ticks of the kernel. Those are 1 to 10 ms
 * apart, and one may be late. A quarter of the price. */
int64_t coil__clock_tick(void);

#define TICK_MOST_NS ((int64_t)20000000)

static inline int64_t backend_real_now(struct backend *b)
{
    (void)b;
    return coil__clock_now();
}

static inline int64_t backend_real_tick(struct backend *b)
{
    (void)b;
    return coil__clock_tick();
}

#endif
