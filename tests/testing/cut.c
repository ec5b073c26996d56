/* cut.c - reads and writes that move only a part: of one buffer by its length, of several by a copy
 * of the list that ends sooner. The caller's own list is not ours to change. */
#define _GNU_SOURCE
#include "cut.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/io/descriptor.h"

#define PIECES_MOST 1024 /* what the kernel takes */

/* Until the loop ends: not every operation comes back to us. */
struct cut {
    struct cut *next;
    struct msghdr *original;
    struct msghdr msg; /* what the operation has instead */
    struct iovec iov[];
};

static bool has_pieces(const struct op *op)
{
    return op->kind == OP_READV || op->kind == OP_WRITEV || op->kind == OP_RECVMSG ||
           op->kind == OP_SENDMSG;
}

static bool has_one_piece(const struct op *op)
{
    return op->kind == OP_READ || op->kind == OP_WRITE || op->kind == OP_RECV ||
           op->kind == OP_SEND;
}

/* A stream, or a file. A message that is cut is another message; and a file that is read past the
 * cache wants whole blocks. */
static bool moves_any_part(const struct op *op)
{
    switch (op->descriptor->kind) {
    case FD_TCP:
    case FD_STREAM:
    case FD_PIPE:
        return true;
    case FD_FILE:
        return !(fcntl(op->fd, F_GETFL) & O_DIRECT);
    default:
        return false;
    }
}

static size_t sum_of(const struct msghdr *msg)
{
    size_t sum = 0;

    if (!msg || !msg->msg_iov || msg->msg_iovlen > PIECES_MOST)
        return 0;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        if (msg->msg_iov[i].iov_len > SIZE_MAX / PIECES_MOST)
            return 0;
        sum += msg->msg_iov[i].iov_len;
    }
    return sum;
}

size_t coil__testing_cuttable(const struct op *op)
{
    if (!has_pieces(op) && !has_one_piece(op))
        return 0;
    if (op->flags & MSG_WAITALL || !moves_any_part(op))
        return 0;
    return has_pieces(op) ? sum_of(op->ptr) : op->len;
}

static void cut_pieces(struct cut *c, size_t len)
{
    size_t i = 0;

    for (; len; i++) {
        c->iov[i] = c->original->msg_iov[i];
        if (c->iov[i].iov_len > len)
            c->iov[i].iov_len = len;
        len -= c->iov[i].iov_len;
    }
    c->msg.msg_iov = c->iov;
    c->msg.msg_iovlen = i;
}

bool coil__testing_cut(struct op *op, size_t len, struct cut **all)
{
    struct msghdr *original = op->ptr;
    struct cut *c;

    if (has_pieces(op)) {
        c = malloc(sizeof(*c) + original->msg_iovlen * sizeof(c->iov[0]));
        if (!c)
            return false;
        c->next = *all;
        *all = c;
        c->original = original;
        c->msg = *original;
        cut_pieces(c, len);
        op->ptr = &c->msg;
    }
    op->len = len; /* of a recvmsg this says that it was cut: it has none else */
    return true;
}

void coil__testing_cut_done(const struct op *op)
{
    const struct cut *c;

    if (op->kind != OP_RECVMSG || !op->len)
        return;
    c = container_of(op->ptr, struct cut, msg);
    c->original->msg_namelen = c->msg.msg_namelen;
    c->original->msg_controllen = c->msg.msg_controllen;
    c->original->msg_flags = c->msg.msg_flags;
}

void coil__testing_cuts_free(struct cut *all)
{
    while (all) {
        struct cut *next = all->next;

        free(all);
        all = next;
    }
}
