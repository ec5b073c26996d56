/* dump.c - a loop written down: at once, to a descriptor, or when another thread asks for it. */
#include "dump.h"

#include <errno.h>

#include "../sched/loop.h"
#include "../thread/futex.h"
#include "sink.h"

static bool is_format(enum coil_dump_format format)
{
    return format == COIL_DUMP_TEXT || format == COIL_DUMP_JSON;
}

static int dump(struct loop *loop, enum coil_dump_format format, coil_dump_fn *write, void *ctx)
{
    struct out o = {.write = write, .ctx = ctx};

    (format == COIL_DUMP_TEXT ? coil__dump_text : coil__dump_json)(&o, loop, loop_now(loop));
    coil__out_flush(&o);
    return o.result < 0 ? o.result : 0;
}

int coil_dump(enum coil_dump_format format, coil_dump_fn *write, void *ctx)
{
    if (!coil__here.loop || !is_format(format) || !write)
        return -EINVAL;
    return dump(coil__here.loop, format, write, ctx);
}

/* --- To a descriptor ------------------------------------------------------------------------- */

int coil_dump_fd(enum coil_dump_format format, int fd)
{
    struct sink s;
    int r;

    if (!coil__here.loop || !is_format(format))
        return -EINVAL;
    r = coil__sink_open(&s, fd);
    return r < 0 ? r : coil_dump(format, coil__sink_write, &s);
}

/* --- When another thread asks ---------------------------------------------------------------- */

struct dumper {
    struct loop *loop; /* NULL before the begin and after the end. Atomic, as the next two */
    uint32_t askers;   /* that may have seen loop; a futex */
    bool asked;        /* and not written yet */
    uint8_t format;    /* enum coil_dump_format */
    coil_dump_fn *write;
    void *ctx;
    struct answer *answer; /* being written */
    struct mail mail;
    struct list link; /* among the loop's */
};

_Static_assert(sizeof(struct dumper) <= sizeof(struct coil_dumper), "coil_dumper is too small");

static struct dumper *dumper_of(struct coil_dumper *d)
{
    return (struct dumper *)d;
}

/* One dump that was asked for. Its dumper may end in the middle of it, and be gone. */
struct answer {
    coil_dump_fn *write;
    void *ctx;
    bool over;
};

static int write_answer(void *answer, const char *text, size_t len)
{
    struct answer *a = answer;
    int r = a->write(a->ctx, text, len);

    return a->over ? -ESHUTDOWN : r;
}

static void answer(struct dumper *d)
{
    struct answer a = {.write = d->write, .ctx = d->ctx};

    d->answer = &a;
    __atomic_store_n(&d->asked, false, __ATOMIC_SEQ_CST);
    (void)dump(coil__here.loop, (enum coil_dump_format)d->format, write_answer, &a);
    if (!a.over)
        d->answer = NULL;
}

static void question_delivered(struct mail *m)
{
    answer(container_of(m, struct dumper, mail));
}

int coil_dumper_begin(struct coil_dumper *public, enum coil_dump_format format, coil_dump_fn *write,
                      void *ctx)
{
    struct dumper *d = dumper_of(public);
    struct loop *loop = coil__here.loop;

    if (!loop || !is_format(format) || !write)
        return -EINVAL;
    if (__atomic_load_n(&d->loop, __ATOMIC_SEQ_CST))
        return -EBUSY;
    d->format = (uint8_t)format;
    d->write = write;
    d->ctx = ctx;
    d->answer = NULL;
    d->mail.deliver = question_delivered;
    list_push_back(&loop->dumpers, &d->link);
    __atomic_store_n(&d->loop, loop, __ATOMIC_SEQ_CST);
    return 0;
}

/* Nothing here takes a lock, or anything else that an interrupted thread might hold. */
int coil_dumper_ask(struct coil_dumper *public)
{
    struct dumper *d = dumper_of(public);
    const int error = errno; /* a signal handler's caller wants it back */
    struct loop *loop;

    __atomic_fetch_add(&d->askers, 1, __ATOMIC_SEQ_CST);
    loop = __atomic_load_n(&d->loop, __ATOMIC_SEQ_CST);
    if (loop && !__atomic_exchange_n(&d->asked, true, __ATOMIC_SEQ_CST))
        coil__loop_post(loop, &d->mail);
    if (__atomic_sub_fetch(&d->askers, 1, __ATOMIC_SEQ_CST) == 0)
        futex_wake(&d->askers);
    errno = error;
    return loop ? 0 : -ESHUTDOWN;
}

static void end(struct dumper *d, struct loop *loop)
{
    uint32_t askers;

    __atomic_store_n(&d->loop, NULL, __ATOMIC_SEQ_CST);
    while ((askers = __atomic_load_n(&d->askers, __ATOMIC_SEQ_CST)))
        futex_wait(&d->askers, askers);
    list_remove(&d->link);
    if (__atomic_load_n(&d->asked, __ATOMIC_SEQ_CST)) {
        coil__mailbox_withdraw(&loop->mailbox, &d->mail);
        if (!d->answer)
            answer(d);
        __atomic_store_n(&d->asked, false, __ATOMIC_SEQ_CST);
    }
    if (d->answer)
        d->answer->over = true;
}

void coil_dumper_end(struct coil_dumper *public)
{
    struct dumper *d = dumper_of(public);
    struct loop *loop = __atomic_load_n(&d->loop, __ATOMIC_SEQ_CST);

    if (!loop)
        return;
    if (unlikely(loop != coil__here.loop))
        coil__die("a dumper is ended from outside its loop");
    end(d, loop);
}

void coil__dumpers_close(struct loop *loop)
{
    while (!list_empty(&loop->dumpers))
        end(container_of(loop->dumpers.next, struct dumper, link), loop);
}
