/* descriptor.h - what a loop knows about a descriptor: who waits on it, and what epoll said of
 * it. */
#ifndef CORE_IO_DESCRIPTOR_H
#define CORE_IO_DESCRIPTOR_H

#include "../base.h"

struct loop;
struct op;
struct coil_task;

enum descriptor_kind {
    FD_UNKNOWN,       /* not used here yet */
    FD_TCP,           /* a short read or write says, mostly: empty, or full */
    FD_STREAM,        /* any other socket of bytes */
    FD_DATAGRAM,      /* a socket of messages */
    FD_UNIX_DATAGRAM, /* the same; a full queue at the peer cannot be waited for */
    FD_PIPE,          /* writing may raise SIGPIPE */
    FD_OTHER,         /* can be waited for: terminals, eventfds and the like */
    FD_FILE,          /* always ready, and blocks all the same */
};

enum {
    SIDE_READ = 1,
    SIDE_WRITE = 2,
};

static inline uint8_t side_of(bool writes)
{
    return writes ? SIDE_WRITE : SIDE_READ;
}

struct descriptor {
    struct op *ops; /* in flight */
    union {
        struct coil_task *closer; /* waits for them to end */
        uint64_t inode;           /* of one that a thread closes: what it was. 0: nobody knows */
    };
    uint32_t generation; /* one more after each close: an event for an earlier one is not ours */
    uint8_t kind;        /* enum descriptor_kind */
    uint8_t busy;        /* SIDE_ bits: a reader, a writer */
    uint8_t ready;       /* SIDE_ bits: worth trying. Readiness backends only, as the next four */
    uint8_t guessed;     /* SIDE_ bits: not ready, by a short count and no more */
    uint8_t sticky;      /* SIDE_ bits: stays ready (hang-up, urgent data): a short count is none */
    bool registered;     /* with the readiness backend */
    bool closing;
    bool given_away;    /* ... in a thread; the number may be another's already */
    bool drained;       /* io_uring said of the last receive or accept: it took all there was */
    int16_t late_error; /* ended a receive that had bytes to deliver: the next one says it */
};

#define DESCRIPTOR_CHUNK  1024
#define DESCRIPTOR_CHUNKS 16384

/* Indexed by fd, in chunks that are allocated when first needed and never move. */
struct descriptors {
    struct descriptor *chunks[DESCRIPTOR_CHUNKS];
    size_t known;
};

void coil__descriptors_close(struct loop *loop);

/* Looks at a descriptor that is new here, and makes its entry. -EBADF, -ENOMEM. */
int coil__descriptor_meet(struct loop *loop, int fd, struct descriptor **ret);

/* The same for one that is being closed: the number may be another's by now. -EBADF: it is not. */
int coil__descriptor_meet_next(struct loop *loop, int fd, struct descriptor **ret);

/* Notes a descriptor that coil made itself, so that its first use need not look. */
void coil__descriptor_made(struct loop *loop, int fd, enum descriptor_kind kind);

/* The entry of fd if its chunk is there. */
static inline struct descriptor *descriptor_peek(const struct descriptors *all, int fd)
{
    unsigned int chunk = (unsigned int)fd / DESCRIPTOR_CHUNK;

    if (chunk >= DESCRIPTOR_CHUNKS || !all->chunks[chunk])
        return NULL;
    return &all->chunks[chunk][(unsigned int)fd % DESCRIPTOR_CHUNK];
}

/* The entry of fd if it is known here. */
static inline struct descriptor *descriptor_known(const struct descriptors *all, int fd)
{
    struct descriptor *d = descriptor_peek(all, fd);

    return likely(d && d->kind != FD_UNKNOWN) ? d : NULL;
}

static inline bool descriptor_is_socket(const struct descriptor *d)
{
    return d->kind >= FD_TCP && d->kind <= FD_UNIX_DATAGRAM;
}

#endif
