/* file.c - coil/file.h: what the pool's threads do for us, and what they leave undone. */
#define _GNU_SOURCE
#include "inside.h"

#include <coil/file.h>
#include <dirent.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* --- Every call that changes something, by number ----------------------------------------------*/

enum deed {
    DEED_OPENAT,
    DEED_OPENAT2,
    DEED_FTRUNCATE,
    DEED_TRUNCATE,
    DEED_STATX,
    DEED_RENAMEAT,
    DEED_UNLINKAT,
    DEED_MKDIRAT,
    DEED_LINKAT,
    DEED_SYMLINKAT,
    DEED_READLINKAT,
    DEED_GETDENTS,
    DEED_DIRECTORY_NEXT,
    DEED_MKOSTEMP,
    DEED_MKDTEMP,
    DEED_READ_FILE,
    DEED_WRITE_FILE,
    DEED_COUNT,
};

/* A folder with a file of ten bytes, `kept`, and room for answers. */
struct desk {
    struct folder f;
    int kept_fd;
    char answer[512];
    char template_path[64];
};

static void desk_open(struct desk *d)
{
    memset(d, 0, sizeof(*d));
    folder_open(&d->f);
    memset(d->answer, 0x5a, sizeof(d->answer));
    snprintf(d->template_path, sizeof(d->template_path), "%s/made-XXXXXX", d->f.path);
    d->kept_fd = openat(d->f.fd, "kept", O_CREAT | O_RDWR, 0600);
    CHECK_EQ(write(d->kept_fd, "0123456789", 10), 10);
    CHECK_EQ(symlinkat("kept", d->f.fd, "link"), 0);
}

static void desk_close(struct desk *d)
{
    DIR *dir = fdopendir(dup(d->f.fd));
    const struct dirent *e;

    rewinddir(dir);
    while ((e = readdir(dir)))
        if (e->d_name[0] != '.' && strcmp(e->d_name, "fifo") && unlinkat(d->f.fd, e->d_name, 0) < 0)
            CHECK_EQ(unlinkat(d->f.fd, e->d_name, AT_REMOVEDIR), 0);
    closedir(dir);
    CHECK_EQ(coil_close(d->kept_fd), 0);
    folder_close(&d->f);
}

/* Says the same before and after if, and only if, nothing happened. */
static uint64_t look_at(struct desk *d)
{
    DIR *dir = opendir(d->f.path);
    const struct dirent *e;
    uint64_t sum = 0;

    while ((e = readdir(dir))) {
        uint64_t one = 14695981039346656037u;
        struct stat st;

        CHECK_EQ(fstatat(d->f.fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
        for (const char *c = e->d_name; *c; c++)
            one = (one ^ (uint64_t)*c) * 1099511628211u;
        sum += (one ^ (S_ISREG(st.st_mode) ? (uint64_t)st.st_size + 1 : 0)) * 1099511628211u;
    }
    closedir(dir);
    for (size_t i = 0; i < sizeof(d->answer); i++)
        sum = (sum ^ (uint64_t)d->answer[i]) * 1099511628211u;
    for (const char *c = d->template_path; *c; c++)
        sum = (sum ^ (uint64_t)*c) * 1099511628211u;
    return sum;
}

static int closed(int fd)
{
    if (fd >= 0)
        CHECK_EQ(coil_close(fd), 0);
    return fd < 0 ? fd : 0;
}

static int read_kept(struct desk *d)
{
    void *text = d;
    size_t size = 77;
    int r = coil_read_file(d->f.fd, "kept", 100, &text, &size);

    if (r < 0) {
        CHECK(text == d); /* out parameters are untouched on failure */
        CHECK_EQ(size, 77);
        return r;
    }
    CHECK_EQ(size, 10);
    memcpy(d->answer, text, size);
    free(text);
    return 0;
}

static int next_name(struct desk *d)
{
    struct coil_directory dir = {.fd = d->f.fd};
    struct coil_entry e = {.name = "untouched"};
    int r = coil_directory_next(&dir, &e);

    if (r > 0)
        strcpy(d->answer, e.name);
    else
        CHECK_EQ(strcmp(e.name, "untouched"), 0);
    return r;
}

static int do_deed(enum deed deed, struct desk *d)
{
    struct open_how how = {.flags = O_CREAT | O_RDWR, .mode = 0600};
    char path[64];
    int dir = d->f.fd;

    switch (deed) {
    case DEED_OPENAT:
        return closed(coil_openat(dir, "new", O_CREAT | O_RDWR, 0600));
    case DEED_OPENAT2:
        return closed(coil_openat2(dir, "new", &how, sizeof(how)));
    case DEED_FTRUNCATE:
        return coil_ftruncate(d->kept_fd, 3);
    case DEED_TRUNCATE:
        snprintf(path, sizeof(path), "%s/kept", d->f.path);
        return coil_truncate(path, 3);
    case DEED_STATX:
        return coil_statx(dir, "kept", 0, STATX_BASIC_STATS, (struct statx *)d->answer);
    case DEED_RENAMEAT:
        return coil_renameat(dir, "kept", dir, "moved", 0);
    case DEED_UNLINKAT:
        return coil_unlinkat(dir, "kept", 0);
    case DEED_MKDIRAT:
        return coil_mkdirat(dir, "new", 0700);
    case DEED_LINKAT:
        return coil_linkat(dir, "kept", dir, "new", 0);
    case DEED_SYMLINKAT:
        return coil_symlinkat("kept", dir, "new");
    case DEED_READLINKAT:
        return (int)coil_readlinkat(dir, "link", d->answer, sizeof(d->answer));
    case DEED_GETDENTS:
        return (int)coil_getdents(dir, d->answer, sizeof(d->answer));
    case DEED_DIRECTORY_NEXT:
        return next_name(d);
    case DEED_MKOSTEMP:
        return closed(coil_mkostemp(d->template_path, 0));
    case DEED_MKDTEMP:
        return coil_mkdtemp(d->template_path);
    case DEED_READ_FILE:
        return read_kept(d);
    case DEED_WRITE_FILE:
        return coil_write_file(dir, "kept", "abc", 3, 0600);
    case DEED_COUNT:
        break;
    }
    abort();
}

static void must(enum deed deed, bool claim, const char *words, int result)
{
    char line[128];

    if (claim)
        return;
    snprintf(line, sizeof(line), "deed %d: %s (it said %d)", (int)deed, words, result);
    harness_fail(__FILE__, __LINE__, line);
}

COIL_TEST(file, s7_6_every_call_does_what_the_system_call_does)
{
    for (enum deed deed = 0; deed < DEED_COUNT; deed++) {
        struct desk d;
        uint64_t before;
        int r;

        desk_open(&d);
        before = look_at(&d);
        r = do_deed(deed, &d);
        if (deed == DEED_READLINKAT)
            must(deed, r == 4 && memcmp(d.answer, "kept", 4) == 0, "the wrong link", r);
        else if (deed == DEED_GETDENTS || deed == DEED_DIRECTORY_NEXT)
            must(deed, r > 0, "no entries", r);
        else
            must(deed, r == 0, "failed", r);
        must(deed, look_at(&d) != before, "did nothing", r);
        desk_close(&d);
    }
}

COIL_TEST(file, s4_2_a_call_in_a_cancelled_scope_did_not_happen)
{
    for (enum deed deed = 0; deed < DEED_COUNT; deed++) {
        struct coil_scope s;
        struct desk d;
        uint64_t before;
        int r;

        desk_open(&d);
        before = look_at(&d);
        coil_scope_begin(&s, COIL_FOREVER);
        coil_scope_cancel(&s, NULL);
        r = do_deed(deed, &d);
        must(deed, r == -ECANCELED, "took no notice", r);
        must(deed, look_at(&d) == before, "happened", r);
        CHECK_EQ(coil_scope_end(&s, r), 0);
        desk_close(&d);
    }
}

struct errand {
    enum deed deed;
    struct desk *desk;
    int result;
    bool answered;
};

static int run_errand(void *arg)
{
    struct errand *e = arg;

    e->result = do_deed(e->deed, e->desk);
    e->answered = true;
    return 0;
}

/* With one pool thread, and tasks in the order in which they were spawned. */
#define POOL_TEST(name_)                                                                           \
    static void name_##_body(void);                                                                \
    Test(file, name_)                                                                              \
    {                                                                                              \
        struct coil_loop_options options = harness_options();                                      \
                                                                                                   \
        options.blocking_threads = 1;                                                              \
        options.shuffle_seed = 0;                                                                  \
        harness_run(&options, name_##_body);                                                       \
    }                                                                                              \
    static void name_##_body(void)

POOL_TEST(s7_6_a_call_cancelled_before_a_thread_took_it_up_did_not_happen)
{
    for (enum deed deed = 0; deed < DEED_COUNT; deed++) {
        struct desk d;
        struct opening busy = {.path = "fifo", .flags = O_RDONLY};
        struct errand errand = {.deed = deed, .desk = &d};
        struct coil_group g, inner;
        uint64_t before;

        desk_open(&d);
        busy.dirfd = d.f.fd;
        before = look_at(&d);
        coil_group_begin(&g);
        CHECK_EQ(coil_group_spawn(&g, opening_run, &busy), 0);
        coil_yield_shielded();
        inside_await_taken_up();
        coil_group_begin(&inner);
        CHECK_EQ(coil_group_spawn(&inner, run_errand, &errand), 0);
        for (int i = 0; i < 4; i++)
            coil_yield_shielded();
        must(deed, !errand.answered, "did not queue", errand.result);
        coil_scope_cancel(coil_group_scope(&inner), NULL);
        CHECK_EQ(coil_group_end(&inner, 0), 0);
        must(deed, errand.result == -ECANCELED, "was not cancelled", errand.result);
        CHECK(!busy.answered);
        folder_release(&d.f);
        CHECK_EQ(coil_group_end(&g, 0), 0);
        must(deed, look_at(&d) == before, "happened", errand.result);
        CHECK_EQ(coil_close(busy.result), 0);
        desk_close(&d);
    }
}

/* --- Opening -----------------------------------------------------------------------------------*/

COIL_TEST(file, what_was_opened_is_close_on_exec)
{
    struct desk d;
    struct open_how how = {.flags = O_RDONLY};
    int fd;

    desk_open(&d);
    fd = coil_openat(d.f.fd, "kept", O_RDONLY, 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(coil_close(fd), 0);
    fd = coil_openat2(d.f.fd, "kept", &how, sizeof(how));
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(how.flags, O_RDONLY);
    CHECK_EQ(coil_close(fd), 0);
    fd = coil_mkostemp(d.template_path, O_APPEND);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_APPEND, O_APPEND);
    CHECK_EQ(access(d.template_path, F_OK), 0);
    CHECK_EQ(coil_close(fd), 0);
    desk_close(&d);
}

COIL_TEST(file, what_cannot_be_opened_says_why)
{
    struct open_how beneath = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    char no_template[] = "/tmp/coil-no-template";
    char too_long[5000];
    struct desk d;

    desk_open(&d);
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    CHECK_EQ(coil_openat(d.f.fd, "nothing", O_RDONLY, 0), -ENOENT);
    CHECK_EQ(coil_openat(d.f.fd, "", O_RDONLY, 0), -ENOENT);
    CHECK_EQ(coil_openat(d.f.fd, "kept", O_CREAT | O_EXCL, 0600), -EEXIST);
    CHECK_EQ(coil_openat(d.f.fd, "kept/below", O_RDONLY, 0), -ENOTDIR);
    CHECK_EQ(coil_openat(d.f.fd, too_long, O_RDONLY, 0), -ENAMETOOLONG);
    CHECK_EQ(coil_openat(d.f.fd, NULL, O_RDONLY, 0), -EFAULT);
    CHECK_EQ(coil_openat(-7, "kept", O_RDONLY, 0), -EBADF);
    CHECK_EQ(coil_openat(1 << 29, "kept", O_RDONLY, 0), -EBADF);
    CHECK_EQ(coil_openat(d.kept_fd, "below", O_RDONLY, 0), -ENOTDIR);
    CHECK_EQ(coil_openat2(d.f.fd, "../", &beneath, sizeof(beneath)), -EXDEV);
    CHECK_EQ(coil_openat2(d.f.fd, "kept", NULL, sizeof(beneath)), -EFAULT);
    CHECK_EQ(coil_openat2(d.f.fd, "kept", &beneath, 3), -EINVAL);
    CHECK_EQ(coil_mkostemp(no_template, 0), -EINVAL);
    CHECK_EQ(coil_mkdtemp(no_template), -EINVAL);
    CHECK_EQ(strcmp(no_template, "/tmp/coil-no-template"), 0);
    CHECK_EQ(coil_mkostemp(NULL, 0), -EFAULT);
    CHECK_EQ(coil_mkdtemp(NULL), -EFAULT);
    desk_close(&d);
}

COIL_TEST(file, a_file_without_a_name_is_a_file)
{
    int fd = coil_openat(AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR, 0600);
    char byte = '.';

    CHECK(fd >= 0);
    CHECK_EQ(coil_pwrite(fd, "x", 1, 0), 1);
    CHECK_EQ(coil_pread(fd, &byte, 1, 0), 1);
    CHECK_EQ(byte, 'x');
    CHECK_EQ(coil_close(fd), 0);
}

COIL_TEST(file, an_opened_fifo_is_waited_for_and_not_blocked_in)
{
    char byte = '.';
    struct caller c = {.call = CALL_READ, .buf = &byte, .n = 1};
    struct coil_group g;
    struct desk d;
    int writer;

    desk_open(&d);
    c.fd = coil_openat(d.f.fd, "fifo", O_RDONLY | O_NONBLOCK, 0);
    CHECK(c.fd >= 0);
    writer = coil_openat(d.f.fd, "fifo", O_WRONLY, 0);
    CHECK(writer >= 0);
    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK(!c.answered);
    CHECK_EQ(coil_write(writer, "x", 1), 1);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, 1);
    CHECK_EQ(coil_close(writer), 0);
    CHECK_EQ(coil_close(c.fd), 0);
    desk_close(&d);
}

/* --- Syncing, cutting, looking -----------------------------------------------------------------*/

COIL_TEST(file, syncing_works_on_files_and_on_nothing_else)
{
    struct desk d;
    int ends[2];

    desk_open(&d);
    CHECK_EQ(coil_fsync(d.kept_fd), 0);
    CHECK_EQ(coil_fdatasync(d.kept_fd), 0);
    CHECK_EQ(coil_fsync(d.f.fd), 0);
    CHECK_EQ(coil_fsync(-1), -EBADF);
    CHECK_EQ(coil_fdatasync(1 << 29), -EBADF);
    wire_open(WIRE_PIPE, ends);
    CHECK_EQ(coil_fsync(ends[0]), -EINVAL);
    CHECK_EQ(coil_fdatasync(ends[0]), -EINVAL);
    wire_close(ends);
    desk_close(&d);
}

COIL_TEST(file, a_file_is_cut_and_stretched)
{
    struct desk d;
    struct statx stx;
    int read_only;

    desk_open(&d);
    CHECK_EQ(coil_ftruncate(d.kept_fd, 4), 0);
    CHECK_EQ(coil_statx(d.f.fd, "kept", 0, STATX_SIZE, &stx), 0);
    CHECK_EQ(stx.stx_size, 4);
    CHECK_EQ(coil_ftruncate(d.kept_fd, INT64_C(5) << 32), 0);
    CHECK_EQ(coil_statx(d.kept_fd, "", AT_EMPTY_PATH, STATX_SIZE, &stx), 0);
    CHECK_EQ(stx.stx_size, INT64_C(5) << 32);
    CHECK_EQ(coil_ftruncate(d.kept_fd, -1), -EINVAL);
    read_only = openat(d.f.fd, "kept", O_RDONLY);
    CHECK_EQ(coil_ftruncate(read_only, 1), -EINVAL);
    CHECK_EQ(coil_close(read_only), 0);
    CHECK_EQ(coil_ftruncate(-1, 1), -EBADF);
    CHECK_EQ(coil_truncate("/dev/null/none", 1), -ENOTDIR);
    CHECK_EQ(coil_truncate("/dev/null", -1), -EINVAL);
    CHECK_EQ(coil_truncate(NULL, 1), -EFAULT);
    desk_close(&d);
}

COIL_TEST(file, looking_in_vain_leaves_the_answer_alone)
{
    struct desk d;
    struct statx stx = {.stx_size = 77};

    desk_open(&d);
    CHECK_EQ(coil_statx(d.f.fd, "nothing", 0, STATX_SIZE, &stx), -ENOENT);
    CHECK_EQ(coil_statx(d.f.fd, "kept", 1 << 30, STATX_SIZE, &stx), -EINVAL);
    CHECK_EQ(coil_statx(d.f.fd, NULL, 0, STATX_SIZE, &stx), -EFAULT);
    CHECK_EQ(coil_statx(d.f.fd, "kept", 0, STATX_SIZE, NULL), -EFAULT);
    CHECK_EQ(stx.stx_size, 77);
    desk_close(&d);
}

/* --- Names -------------------------------------------------------------------------------------*/

static bool exists(const struct desk *d, const char *name)
{
    return faccessat(d->f.fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

COIL_TEST(file, a_rename_replaces_or_refuses_or_swaps)
{
    struct desk d;
    struct statx stx;

    desk_open(&d);
    CHECK_EQ(coil_write_file(d.f.fd, "other", "abc", 3, 0600), 0);
    CHECK_EQ(coil_renameat(d.f.fd, "kept", d.f.fd, "other", RENAME_NOREPLACE), -EEXIST);
    CHECK_EQ(coil_renameat(d.f.fd, "kept", d.f.fd, "other", RENAME_EXCHANGE), 0);
    CHECK_EQ(coil_statx(d.f.fd, "kept", 0, STATX_SIZE, &stx), 0);
    CHECK_EQ(stx.stx_size, 3);
    CHECK_EQ(coil_renameat(d.f.fd, "kept", d.f.fd, "other", 0), 0);
    CHECK(!exists(&d, "kept"));
    CHECK_EQ(coil_renameat(d.f.fd, "kept", d.f.fd, "other", 0), -ENOENT);
    CHECK_EQ(coil_renameat(d.f.fd, NULL, d.f.fd, "other", 0), -EFAULT);
    CHECK_EQ(coil_renameat(d.f.fd, "other", d.f.fd, NULL, 0), -EFAULT);
    CHECK_EQ(coil_mkdirat(d.f.fd, "sub", 0700), 0);
    CHECK_EQ(coil_renameat(d.f.fd, "other", 1 << 29, "other", 0), -EBADF);
    CHECK_EQ(coil_renameat(d.f.fd, "other", d.f.fd, "sub/other", 0), 0);
    CHECK_EQ(coil_unlinkat(d.f.fd, "sub", AT_REMOVEDIR), -ENOTEMPTY);
    CHECK_EQ(coil_unlinkat(d.f.fd, "sub/other", 0), 0);
    desk_close(&d);
}

COIL_TEST(file, names_are_made_and_removed)
{
    struct desk d;
    char target[16] = "................";

    desk_open(&d);
    CHECK_EQ(coil_mkdirat(d.f.fd, "sub", 0700), 0);
    CHECK_EQ(coil_mkdirat(d.f.fd, "sub", 0700), -EEXIST);
    CHECK_EQ(coil_unlinkat(d.f.fd, "sub", 0), -EISDIR);
    CHECK_EQ(coil_unlinkat(d.f.fd, "kept", AT_REMOVEDIR), -ENOTDIR);
    CHECK_EQ(coil_linkat(d.f.fd, "kept", d.f.fd, "second", 0), 0);
    CHECK_EQ(coil_linkat(d.f.fd, "kept", d.f.fd, "second", 0), -EEXIST);
    CHECK_EQ(coil_symlinkat("far/away", d.f.fd, "third"), 0);
    CHECK_EQ(coil_symlinkat("far/away", d.f.fd, "third"), -EEXIST);
    CHECK_EQ(coil_readlinkat(d.f.fd, "third", target, sizeof(target)), 8);
    CHECK_EQ(memcmp(target, "far/away........", 16), 0);
    CHECK_EQ(coil_readlinkat(d.f.fd, "third", target, 3), 3); /* cut, as readlink(2) does */
    CHECK_EQ(coil_readlinkat(d.f.fd, "third", target, 0), -EINVAL);
    CHECK_EQ(coil_readlinkat(d.f.fd, "third", target, (size_t)SSIZE_MAX + 1), -EINVAL);
    CHECK_EQ(coil_readlinkat(d.f.fd, "kept", target, 16), -EINVAL);
    CHECK_EQ(coil_readlinkat(d.f.fd, "third", NULL, 16), -EFAULT);
    CHECK_EQ(coil_mkdirat(d.f.fd, NULL, 0700), -EFAULT);
    CHECK_EQ(coil_unlinkat(d.f.fd, NULL, 0), -EFAULT);
    CHECK_EQ(coil_linkat(d.f.fd, NULL, d.f.fd, "x", 0), -EFAULT);
    CHECK_EQ(coil_linkat(d.f.fd, "kept", d.f.fd, NULL, 0), -EFAULT);
    CHECK_EQ(coil_symlinkat(NULL, d.f.fd, "x"), -EFAULT);
    CHECK_EQ(coil_symlinkat("x", d.f.fd, NULL), -EFAULT);
    desk_close(&d);
}

COIL_TEST(file, a_directory_is_read_to_its_end)
{
    struct desk d;
    char entries[1024] __attribute__((aligned(8)));
    int seen = 0;
    ssize_t n;

    desk_open(&d);
    for (int i = 0; i < 50; i++) {
        char name[16];

        snprintf(name, sizeof(name), "entry-%d", i);
        CHECK_EQ(coil_write_file(d.f.fd, name, NULL, 0, 0600), 0);
    }
    while ((n = coil_getdents(d.f.fd, entries, sizeof(entries))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *e = (const struct dirent64 *)(entries + at);

            seen += strncmp(e->d_name, "entry-", 6) == 0;
            at += e->d_reclen;
        }
    CHECK_EQ(n, 0);
    CHECK_EQ(seen, 50);
    CHECK_EQ(coil_getdents(d.f.fd, entries, sizeof(entries)), 0);
    CHECK_EQ(coil_getdents(d.kept_fd, entries, sizeof(entries)), -ENOTDIR);
    CHECK_EQ(coil_getdents(-1, entries, sizeof(entries)), -EBADF);
    CHECK_EQ(coil_getdents(d.f.fd, entries, (size_t)INT_MAX + 1), -EINVAL);
    CHECK_EQ(lseek(d.f.fd, 0, SEEK_SET), 0);
    CHECK_EQ(coil_getdents(d.f.fd, entries, 1), -EINVAL);
    desk_close(&d);
}

/* So many entries that they come in more than one piece. */
COIL_TEST(file, a_directory_is_read_name_by_name)
{
    enum { COUNT = 300 };
    static int seen[COUNT];
    struct coil_directory dir;
    struct coil_entry e;
    struct desk d;
    int others = 0;
    int r;

    memset(seen, 0, sizeof(seen));
    desk_open(&d);
    for (int i = 0; i < COUNT; i++) {
        char name[16];

        snprintf(name, sizeof(name), "entry-%d", i);
        close(openat(d.f.fd, name, O_CREAT | O_WRONLY, 0600));
    }
    dir = (struct coil_directory){.fd = d.f.fd};
    while ((r = coil_directory_next(&dir, &e)) > 0) {
        int i;
        struct stat st;

        CHECK_EQ(fstatat(d.f.fd, e.name, &st, AT_SYMLINK_NOFOLLOW), 0);
        CHECK_EQ(e.inode, st.st_ino);
        CHECK(e.type == DT_UNKNOWN || e.type == IFTODT(st.st_mode));
        if (sscanf(e.name, "entry-%d", &i) == 1)
            seen[i]++;
        else
            others++;
    }
    CHECK_EQ(r, 0);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(seen[i], 1);
    CHECK_EQ(others, 3); /* "kept", "link" and "fifo" */
    CHECK_EQ(coil_directory_next(&dir, &e), 0);
    CHECK_EQ(coil_directory_next(NULL, &e), -EFAULT);
    CHECK_EQ(coil_directory_next(&dir, NULL), -EFAULT);
    dir = (struct coil_directory){.fd = d.kept_fd};
    CHECK_EQ(coil_directory_next(&dir, &e), -ENOTDIR);
    desk_close(&d);
}

COIL_TEST(file, s4_1_a_name_that_is_at_hand_is_not_taken_by_who_is_cancelled)
{
    struct coil_directory dir;
    struct coil_entry e;
    struct coil_scope s;
    struct desk d;
    int count = 1;

    desk_open(&d);
    dir = (struct coil_directory){.fd = d.f.fd};
    CHECK_EQ(coil_directory_next(&dir, &e), 1);
    coil_scope_begin(&s, COIL_FOREVER);
    coil_scope_cancel(&s, NULL);
    CHECK_EQ(coil_directory_next(&dir, &e), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    while (coil_directory_next(&dir, &e) > 0)
        count++;
    CHECK_EQ(count, 3);
    desk_close(&d);
}

COIL_TEST(file, a_name_nobody_had_is_new_each_time)
{
    struct desk d;
    char first[64];
    struct stat st;

    desk_open(&d);
    strcpy(first, d.template_path);
    CHECK_EQ(coil_mkdtemp(first), 0);
    CHECK_EQ(coil_mkdtemp(d.template_path), 0);
    CHECK(strcmp(first, d.template_path) != 0);
    CHECK_EQ(stat(first, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0700);
    desk_close(&d);
}

/* --- Whole files -------------------------------------------------------------------------------*/

static void check_whole(int dirfd, const char *path, size_t size)
{
    char *text = NULL;
    size_t n = 0;
    char *data = malloc(size + 1);

    for (size_t i = 0; i < size; i++)
        data[i] = (char)(i * 31);
    CHECK_EQ(coil_write_file(dirfd, path, data, size, 0600), 0);
    CHECK_EQ(coil_read_file(dirfd, path, size, (void **)&text, &n), 0);
    CHECK_EQ(n, size);
    CHECK_EQ(memcmp(text, data, size), 0);
    CHECK_EQ(text[n], '\0');
    free(text);
    text = data;
    if (size > 0) {
        CHECK_EQ(coil_read_file(dirfd, path, size - 1, (void **)&text, &n), -EFBIG);
        CHECK(text == data);
        CHECK_EQ(n, size);
    }
    free(data);
}

COIL_TEST(file, a_whole_file_of_any_size_is_written_and_read_up_to_a_limit)
{
    const size_t sizes[] = {0, 1, 4095, 16382, 16383, 16384, 16385, 100000, 3 << 20};
    struct desk d;

    desk_open(&d);
    for (size_t i = 0; i < count_of(sizes); i++)
        check_whole(d.f.fd, "whole", sizes[i]);
    desk_close(&d);
}

COIL_TEST(file, a_file_that_has_no_size_is_read_whole)
{
    char *text = NULL;
    size_t n = 0;

    CHECK_EQ(coil_read_file(AT_FDCWD, "/proc/self/stat", 100000, (void **)&text, &n), 0);
    CHECK(n > 10);
    CHECK_EQ(atoi(text), getpid());
    free(text);
}

COIL_TEST(file, a_whole_file_that_fails_says_why)
{
    struct desk d;
    void *text = &d;
    size_t n = 77;
    struct stat st;

    desk_open(&d);
    CHECK_EQ(coil_read_file(d.f.fd, "nothing", 9, &text, &n), -ENOENT);
    CHECK_EQ(coil_read_file(d.f.fd, ".", 9, &text, &n), -EISDIR);
    CHECK_EQ(coil_read_file(AT_FDCWD, "/dev/zero", 1 << 20, &text, &n), -EFBIG);
    CHECK_EQ(coil_read_file(d.f.fd, NULL, 9, &text, &n), -EFAULT);
    CHECK_EQ(coil_read_file(d.f.fd, "kept", 9, NULL, &n), -EFAULT);
    CHECK_EQ(coil_read_file(d.f.fd, "kept", 9, &text, NULL), -EFAULT);
    CHECK(text == &d);
    CHECK_EQ(n, 77);
    CHECK_EQ(coil_write_file(d.f.fd, "no/where", "x", 1, 0600), -ENOENT);
    CHECK_EQ(coil_write_file(AT_FDCWD, "/dev/full", "x", 1, 0600), -ENOSPC);
    CHECK_EQ(coil_write_file(d.f.fd, "kept", NULL, 1, 0600), -EFAULT);
    CHECK_EQ(coil_write_file(d.f.fd, NULL, "x", 1, 0600), -EFAULT);
    CHECK_EQ(coil_write_file(d.f.fd, "kept", "x", (size_t)SSIZE_MAX + 1, 0600), -EINVAL);
    CHECK_EQ(fstat(d.kept_fd, &st), 0);
    CHECK_EQ(st.st_size, 10); /* refused before it was emptied */
    CHECK_EQ(coil_write_file(d.f.fd, "private", "x", 1, 0640), 0);
    CHECK_EQ(fstatat(d.f.fd, "private", &st, 0), 0);
    CHECK_EQ(st.st_mode & 0777 & ~0640, 0);
    desk_close(&d);
}

struct whole {
    int dirfd;
    char *text;
    size_t size;
    int result;
};

static int read_whole(void *arg)
{
    struct whole *w = arg;

    w->result = coil_read_file(w->dirfd, "fifo", 100, (void **)&w->text, &w->size);
    return 0;
}

COIL_TEST(file, s7_6_a_whole_file_cancelled_while_a_thread_reads_it_is_read)
{
    struct desk d;
    struct whole w = {.text = NULL};
    struct coil_group g;
    int fd;

    inside_in_order();
    desk_open(&d);
    w.dirfd = d.f.fd;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, read_whole, &w), 0);
    coil_yield_shielded();
    inside_await_taken_up();
    coil_scope_cancel(coil_group_scope(&g), NULL);
    while ((fd = open(d.f.fifo, O_WRONLY | O_NONBLOCK)) < 0)
        sched_yield();
    CHECK_EQ(write(fd, "text", 4), 4);
    close(fd);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(w.result, 0);
    CHECK_EQ(w.size, 4);
    CHECK_EQ(strcmp(w.text, "text"), 0);
    free(w.text);
    desk_close(&d);
}

struct late_sync {
    int fd;
    int result;
    bool answered;
};

static int sync_past_a_deadline(void *arg)
{
    struct late_sync *l = arg;
    struct coil_scope s;

    coil_scope_begin(&s, coil_now() - 1);
    inside_deadlines_were_to_come();
    l->result = coil_fsync(l->fd);
    l->answered = true;
    CHECK_EQ(coil_scope_end(&s, l->result), 0);
    return 0;
}

/* Were it begun, a thread would have it before the loop looks at the clock, and its result win. */
COIL_TEST(file, s4_1_a_deadline_that_passes_while_a_task_computes_acts_before_a_thread_has_its_call)
{
    struct desk d;
    struct late_sync l = {.result = 1};
    struct coil_group g;

    inside_in_order();
    desk_open(&d);
    l.fd = d.kept_fd;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, sync_past_a_deadline, &l), 0);
    coil_yield_shielded();
    if (!l.answered)
        inside_await_taken_up();
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(l.result, -ECANCELED);
    desk_close(&d);
}

/* --- The pool ----------------------------------------------------------------------------------*/

static int count_threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int count = -2; /* "." and ".." */

    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* Those in the pool run with every signal blocked. */
static int count_threads_that_take_signals(void)
{
    DIR *dir = opendir("/proc/self/task");
    const struct dirent *e;
    int count = 0;

    while ((e = readdir(dir))) {
        char path[300];
        char line[256];
        FILE *f;

        snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
        f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (f && fgets(line, sizeof(line), f))
            if (strncmp(line, "SigBlk:", 7) == 0)
                count += !(strtoull(line + 7, NULL, 16) & 1 << (SIGALRM - 1));
        if (f)
            fclose(f);
    }
    closedir(dir);
    return count;
}

#define OPENS 128

/* 128 opens of a FIFO that nobody else opens: as many run as there are threads, the rest wait. */
COIL_TEST(file, s7_6_of_128_cancelled_opens_those_that_ran_are_open_and_no_other)
{
    static struct opening all[OPENS];
    struct folder f;
    struct coil_group g;
    int threads = count_threads();
    int interruptible = count_threads_that_take_signals();
    int before;
    int open_count = 0;

    inside_in_order();
    folder_open(&f);
    before = harness_count_fds();
    coil_group_begin(&g);
    for (int i = 0; i < OPENS; i++) {
        all[i] = (struct opening){.dirfd = AT_FDCWD, .path = f.fifo, .flags = O_RDONLY | O_CREAT};
        CHECK_EQ(coil_group_spawn(&g, opening_run, &all[i]), 0);
    }
    coil_yield_shielded();
    while (coil__here.loop->pool.pending - 4 > 0) { /* until the four threads have one each */
        struct pool *pool = &coil__here.loop->pool;
        size_t queued = 0;

        pthread_mutex_lock(&pool->lock);
        list_for_each(n, &pool->queue)
            queued++;
        pthread_mutex_unlock(&pool->lock);
        if (queued == OPENS - 4)
            break;
        sched_yield();
    }
    CHECK_EQ(count_threads(), threads + 4);
    CHECK_EQ(count_threads_that_take_signals(), interruptible);
    coil_scope_cancel(coil_group_scope(&g), NULL);
    coil_yield_shielded();
    coil_yield_shielded();
    CHECK_EQ(coil_group_count(&g), 4);
    folder_release(&f);
    while (coil_group_count(&g)) { /* a thread may have come to its open after that */
        int fd = open(f.fifo, O_WRONLY | O_NONBLOCK);

        close(fd);
        coil_yield_shielded();
    }
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < OPENS; i++) {
        CHECK(all[i].result >= 0 || all[i].result == -ECANCELED);
        CHECK_EQ(all[i].next, -ECANCELED);
        open_count += all[i].result >= 0;
    }
    CHECK_EQ(open_count, 4);
    CHECK_EQ(harness_count_fds(), before + 4);
    for (int i = 0; i < OPENS; i++)
        if (all[i].result >= 0)
            CHECK_EQ(coil_close(all[i].result), 0);
    CHECK_EQ(harness_count_fds(), before);
    folder_close(&f);
}

static void start_a_few_threads(void)
{
    struct statx stx;
    int threads = count_threads();

    for (int i = 0; i < 20; i++)
        CHECK_EQ(coil_statx(AT_FDCWD, "/", 0, STATX_TYPE, &stx), 0);
    CHECK(count_threads() > threads);
    CHECK(count_threads() <= threads + 4);
}

Test(file, no_thread_is_started_before_it_is_needed_and_none_stays)
{
    struct coil_loop_options options = harness_options();
    int threads = count_threads();

    harness_run(&options, start_a_few_threads);
    CHECK_EQ(count_threads(), threads);
}

struct looking {
    int result;
    struct statx stx;
};

static int look(void *arg)
{
    struct looking *l = arg;

    l->result = coil_statx(AT_FDCWD, "/tmp", 0, STATX_TYPE, &l->stx);
    return l->result;
}

POOL_TEST(a_thousand_calls_at_once_are_all_answered_by_one_thread)
{
    static struct looking all[1000];
    struct coil_group g;

    coil_group_begin(&g);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(coil_group_spawn(&g, look, &all[i]), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(all[i].stx.stx_mode & S_IFMT, S_IFDIR);
}

struct rouser {
    const struct loop *loop;
    const char *fifo;
};

/* Wakes the loop, again and again, and has nothing to say; then opens the other end. */
static void *rouse_and_open(void *arg)
{
    const struct rouser *r = arg;
    int fd;

    for (int i = 0; i < 1000; i++) {
        r->loop->ops->wake(r->loop->backend);
        sched_yield();
    }
    fd = open(r->fifo, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(close(fd), 0);
    return NULL;
}

POOL_TEST(a_wake_with_nothing_behind_it_changes_nothing_while_a_thread_is_at_work)
{
    struct folder f;
    struct rouser r = {coil__here.loop, f.fifo};
    pthread_t thread;
    int fd;

    folder_open(&f);
    CHECK_EQ(pthread_create(&thread, NULL, rouse_and_open, &r), 0);
    fd = coil_openat(AT_FDCWD, f.fifo, O_RDONLY, 0);
    CHECK(fd >= 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(coil_close(fd), 0);
    folder_close(&f);
}

/* Whichever way a backend reads a file: cancelled, it has moved the position by what it says. */
POOL_TEST(s4_2_a_cancelled_read_of_a_file_leaves_the_position_where_it_says)
{
    struct desk d;
    struct opening busy = {.path = "fifo", .flags = O_RDONLY};
    char buf[4];
    struct caller c = {.call = CALL_READ, .buf = buf, .n = sizeof(buf)};
    struct coil_group g, inner;

    desk_open(&d);
    CHECK_EQ(lseek(d.kept_fd, 0, SEEK_SET), 0);
    c.fd = d.kept_fd;
    busy.dirfd = d.f.fd;
    coil_group_begin(&g);
    CHECK_EQ(coil_group_spawn(&g, opening_run, &busy), 0);
    coil_yield_shielded();
    inside_await_taken_up();
    coil_group_begin(&inner);
    CHECK_EQ(coil_group_spawn(&inner, caller_run, &c), 0);
    coil_yield_shielded();
    coil_scope_cancel(coil_group_scope(&inner), NULL);
    CHECK_EQ(coil_group_end(&inner, 0), 0);
    CHECK(c.result == 4 || c.result == -ECANCELED);
    CHECK_EQ(lseek(d.kept_fd, 0, SEEK_CUR), c.result == 4 ? 4 : 0);
    folder_release(&d.f);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(coil_close(busy.result), 0);
    desk_close(&d);
}

/* --- Files that say EAGAIN: /proc/kmsg, trace_pipe and the like --------------------------------*/

/* From here on, in this process, there is nothing to read from fd. */
static void dry_up(int fd)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)fd, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

COIL_TEST(file, a_file_opened_not_to_block_is_waited_for_until_cancelled_or_closed)
{
    int fd = open("/proc/self/status", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    char byte;
    struct caller c = {.call = CALL_READ, .fd = fd, .buf = &byte, .n = 1};
    struct coil_scope s;
    struct coil_stats before, after;
    struct coil_group g;

    dry_up(fd);
    CHECK_EQ(coil_loop_stats(&before), 0);
    coil_scope_begin(&s, coil_now() + 50 * COIL_MILLISECOND);
    CHECK_EQ(coil_read(fd, &byte, 1), -ECANCELED);
    CHECK_EQ(coil_scope_end(&s, -ECANCELED), 0);
    CHECK_EQ(coil_loop_stats(&after), 0);
    CHECK(after.switches - before.switches < 30); /* and not asked without a pause */

    coil_group_begin(&g);
    caller_start(&g, &c);
    CHECK_EQ(coil_read(fd, &byte, 1), -EBUSY);
    CHECK_EQ(coil_close(fd), 0);
    CHECK_EQ(coil_group_end(&g, 0), 0);
    CHECK_EQ(c.result, -EBADF);
}

/* What would have waited had it been able to, says something else by it. */
COIL_TEST(file, eagain_from_a_file_that_blocks_is_its_answer)
{
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char byte;

    dry_up(fd);
    CHECK_EQ(coil_read(fd, &byte, 1), -EAGAIN);
    CHECK_EQ(coil_close(fd), 0);
}

static void start_no_thread(void)
{
    struct statx stx = {.stx_mode = 7};
    struct rlimit before, none;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char byte;

    CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    CHECK_EQ(coil_statx(AT_FDCWD, "/", 0, STATX_TYPE, &stx), -EAGAIN);
    CHECK_EQ(coil_statx(AT_FDCWD, "/", 0, STATX_TYPE, &stx), -EAGAIN);
    CHECK_EQ(stx.stx_mode, 7);
    CHECK_EQ(coil_read(fd, &byte, 1), -ENOMEM);
    CHECK_EQ(setrlimit(RLIMIT_AS, &before), 0);
    CHECK_EQ(coil_read(fd, &byte, 1), 1);
    CHECK_EQ(coil_close(fd), 0);
    CHECK_EQ(coil_statx(AT_FDCWD, "/", 0, STATX_TYPE, &stx), 0);
}

Test(file, without_a_single_thread_a_call_is_eagain_and_with_one_again_it_works)
{
    struct coil_loop_options options = harness_options();

#ifdef __SANITIZE_ADDRESS__
    SKIP("a sanitizer needs address space of its own");
#endif
    harness_run(&options, start_no_thread);
}
