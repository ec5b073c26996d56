/* coil/file.h - files and directories. Blocking by nature, so a small pool of threads does them. */
#ifndef COIL_FILE_H
#define COIL_FILE_H

#include <sys/stat.h>

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Files --------------------------------------------------------------------------------------
 *
 * The system's calls by their own names, done by the loop's blocking pool (coil_loop_options:
 * blocking_threads), on every backend alike. A call cancelled before a thread took it up did not
 * happen: -ECANCELED. Once a thread has it, it is waited for, and its result wins: opening a FIFO
 * that nobody else opens cannot be cut short (open it with O_NONBLOCK). Such a call keeps its
 * thread, and when all threads are kept so, every further call here, and of io.h those on files
 * that need a thread, waits for one, and can be cancelled while it does: where that may happen, ask
 * for more threads than calls that may hang, and watch coil_stats for `blocking` above that number.
 * Paths and buffers may be on the stack.  -ENOMEM, -EAGAIN: no thread could be had. Reading and
 * writing is in io.h. */

/* O_CLOEXEC is added. The answer is the descriptor. */
COIL_API COIL_MUST_CHECK int coil_openat(int dirfd, const char *path, int flags, mode_t mode);

struct open_how;
/* openat2(2), Linux 5.6: -ENOSYS before that. */
COIL_API COIL_MUST_CHECK int coil_openat2(int dirfd, const char *path, const struct open_how *how,
                                          size_t size);

COIL_API COIL_MUST_CHECK int coil_fsync(int fd);
COIL_API COIL_MUST_CHECK int coil_fdatasync(int fd);
COIL_API COIL_MUST_CHECK int coil_ftruncate(int fd, off_t length);
COIL_API COIL_MUST_CHECK int coil_truncate(const char *path, off_t length);

struct statx;
COIL_API COIL_MUST_CHECK int coil_statx(int dirfd, const char *path, int flags, unsigned int mask,
                                        struct statx *ret);

/* flags as for renameat2(2): 0, RENAME_NOREPLACE, RENAME_EXCHANGE. */
COIL_API COIL_MUST_CHECK int coil_renameat(int olddirfd, const char *oldpath, int newdirfd,
                                           const char *newpath, unsigned int flags);
COIL_API COIL_MUST_CHECK int coil_unlinkat(int dirfd, const char *path, int flags);
COIL_API COIL_MUST_CHECK int coil_mkdirat(int dirfd, const char *path, mode_t mode);
COIL_API COIL_MUST_CHECK int coil_linkat(int olddirfd, const char *oldpath, int newdirfd,
                                         const char *newpath, int flags);
COIL_API COIL_MUST_CHECK int coil_symlinkat(const char *target, int newdirfd, const char *linkpath);
COIL_API COIL_MUST_CHECK ssize_t coil_readlinkat(int dirfd, const char *path, char *buf, size_t n);

/* Reads directory entries (struct dirent64, as getdents64(2) lays them out) from an open directory.
 * > 0: so many bytes of them.  0: no more. */
COIL_API COIL_MUST_CHECK ssize_t coil_getdents(int fd, void *buf, size_t n);

/* The same, one by one, without "." and "..":
 *
 *      struct coil_directory d = {.fd = fd};
 *      struct coil_entry e;
 *      int r;
 *
 *      while ((r = coil_directory_next(&d, &e)) > 0)
 *          puts(e.name);
 *
 * d is the caller's, and so is fd, which it neither closes nor rewinds. */
struct coil_directory {
    int fd;
    unsigned int at_; /* coil's own, as all below */
    unsigned int end_;
    uint64_t buf_[512];
};

struct coil_entry {
    const char *name; /* in d, until the next call */
    uint64_t inode;
    unsigned char type; /* DT_REG, DT_DIR and so on (dirent.h); DT_UNKNOWN: ask coil_statx */
};

/* 1: *ret is an entry.  0: no more.  -ECANCELED: none was taken. */
COIL_API COIL_MUST_CHECK int coil_directory_next(struct coil_directory *d, struct coil_entry *ret);

/* Make a file or directory with a name nobody had; the six X at the end of path are replaced. A
 * file without a name: coil_openat with O_TMPFILE. coil_mkostemp: the descriptor.  coil_mkdtemp:
 * 0. */
COIL_API COIL_MUST_CHECK int coil_mkostemp(char *path, int flags);
COIL_API COIL_MUST_CHECK int coil_mkdtemp(char *path);

/* Reads a whole file of at most max bytes into memory from malloc, which the caller frees; a zero
 * byte follows the data. 0.  -EFBIG: it is longer than max. */
COIL_API COIL_MUST_CHECK int coil_read_file(int dirfd, const char *path, size_t max, void **ret,
                                            size_t *ret_size);

/* Writes a whole file, made or emptied first. On failure the file holds some prefix. */
COIL_API COIL_MUST_CHECK int coil_write_file(int dirfd, const char *path, const void *buf, size_t n,
                                             mode_t mode);

#ifdef __cplusplus
}
#endif

#endif
