/* coil/io.h - the system's calls on descriptors, waiting the structured way. */
#ifndef COIL_IO_H
#define COIL_IO_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Input and output ---------------------------------------------------------------------------
 *
 * The names and argument orders are the system's: porting blocking code is adding a prefix. A call
 * waits in its task, not in its thread. It answers what the system call would have, or a negative
 * errno, the same on every backend:
 *
 *   -ECANCELED  you were asked to stop, and nothing happened: no byte was read, nothing accepted.
 *               (Of a call that writes, no byte went: had any, the answer would be their count.)
 *   -EBADF      no such descriptor, or coil_close closed it, perhaps while this call waited
 *   -EBUSY      another task reads (or writes) here: one reader and one writer at a time
 *   -EINVAL     a length beyond SSIZE_MAX, more than 1024 buffers, or what the system calls so
 *   -ENOMEM     no memory to keep track of the descriptor, or no thread for a file
 *
 * and never -EINTR, nor -EAGAIN for having to wait (a file that was not opened O_NONBLOCK may mean
 * something else by it). A result that arrives in the same instant as a cancellation wins;
 * the cancellation is met at the next checkpoint. Buffers may be on the stack: a call does not
 * return while the kernel can still touch them. No call here raises SIGPIPE. Every new descriptor
 * is close-on-exec and non-blocking. A descriptor from elsewhere is set non-blocking at its first
 * use, unless it is a file; use it on one loop at a time, and close it with coil_close (or say
 * coil_forget first). */

/* Read up to n bytes. > 0: so many.  0: end of stream, or n is 0. coil_recv with MSG_WAITALL goes
 * on until all n are there or something ends it, and counts what there is; elsewhere that flag, and
 * MSG_DONTWAIT everywhere, is ignored. SO_RCVLOWAT is no substitute: a receive that has to wait is
 * woken by so many bytes, but whether it takes fewer that are there already is not promised. */
COIL_API COIL_MUST_CHECK ssize_t coil_read(int fd, void *buf, size_t n);
COIL_API COIL_MUST_CHECK ssize_t coil_readv(int fd, const struct iovec *iov, int count);
COIL_API COIL_MUST_CHECK ssize_t coil_recv(int fd, void *buf, size_t n, int flags);
COIL_API COIL_MUST_CHECK ssize_t coil_recvfrom(int fd, void *buf, size_t n, int flags,
                                               struct sockaddr *addr, socklen_t *addrlen);
/* Descriptors that arrive with the message are close-on-exec. */
COIL_API COIL_MUST_CHECK ssize_t coil_recvmsg(int fd, struct msghdr *msg, int flags);

/* Writes up to n bytes; fewer when the peer has no room for all. */
COIL_API COIL_MUST_CHECK ssize_t coil_write(int fd, const void *buf, size_t n);
COIL_API COIL_MUST_CHECK ssize_t coil_writev(int fd, const struct iovec *iov, int count);
COIL_API COIL_MUST_CHECK ssize_t coil_send(int fd, const void *buf, size_t n, int flags);
COIL_API COIL_MUST_CHECK ssize_t coil_sendto(int fd, const void *buf, size_t n, int flags,
                                             const struct sockaddr *addr, socklen_t addrlen);
COIL_API COIL_MUST_CHECK ssize_t coil_sendmsg(int fd, const struct msghdr *msg, int flags);

/* Sends all n bytes, nobody else's in between. *ret_sent (may be NULL) says how many went, always,
 * also on failure.
 * 0: all.  -ECANCELED or another error: *ret_sent bytes of them. */
COIL_API COIL_MUST_CHECK int coil_send_all(int fd, const void *buf, size_t n, int flags,
                                           size_t *ret_sent);

/* At an offset; the descriptor's own position is neither used nor moved, and any number of tasks
 * may do it at once. A file that takes no offset (some of /proc) says -ESPIPE; on io_uring, which
 * does not ask, it may take one all the same. */
COIL_API COIL_MUST_CHECK ssize_t coil_pread(int fd, void *buf, size_t n, off_t offset);
COIL_API COIL_MUST_CHECK ssize_t coil_pwrite(int fd, const void *buf, size_t n, off_t offset);

/* --- Sockets --------------------------------------------------------------------------------- */

/* These three never wait and are no checkpoints. */
COIL_API COIL_MUST_CHECK int coil_socket(int domain, int type, int protocol);
COIL_API COIL_MUST_CHECK int coil_bind(int fd, const struct sockaddr *addr, socklen_t addrlen);
COIL_API COIL_MUST_CHECK int coil_listen(int fd, int backlog);

/* Waits for a connection and takes it: the answer is its descriptor. addr and addrlen may be NULL.
 * Cancelled, it took none: whoever was about to connect is still in the backlog. */
COIL_API COIL_MUST_CHECK int coil_accept(int fd, struct sockaddr *addr, socklen_t *addrlen);

/* 0: connected.  After -ECANCELED the socket is good for coil_close only: the attempt may be on its
 * way. */
COIL_API COIL_MUST_CHECK int coil_connect(int fd, const struct sockaddr *addr, socklen_t addrlen);

/* shutdown(2). Never waits. Calls waiting on fd complete as the system says: a receive with 0. */
COIL_API int coil_shutdown(int fd, int how);

/* --- Readiness, and the end ------------------------------------------------------------------ */

/* Wait until a read (or write) would not, or until an error or hang-up is there to be met: for
 * descriptors that other code reads and writes. They count as reader and writer. 0. */
COIL_API COIL_MUST_CHECK int coil_wait_readable(int fd);
COIL_API COIL_MUST_CHECK int coil_wait_writable(int fd);

/* Closes fd. Calls waiting on it return -EBADF (or their result, if it was there already), and only
 * when the kernel has let go of their buffers is the number given back. Works in a cancelled task,
 * waits shielded. 0.  -EBADF: not open, or being closed. */
COIL_API int coil_close(int fd);

/* Ends coil's interest in fd without closing it: waiting calls return -EBADF, as above. Call it
 * before other code closes, or takes over, a descriptor that was used here. (trio:
 * notify_closing) */
COIL_API int coil_forget(int fd);

#ifdef __cplusplus
}
#endif

#endif
