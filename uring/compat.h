/* compat.h - what newer kernels know and liburing 2.3 does not name, each with its kernel
 * version. */
#ifndef URING_COMPAT_H
#define URING_COMPAT_H

#include <liburing.h>

#ifndef IORING_ACCEPT_POLL_FIRST
#define IORING_ACCEPT_POLL_FIRST (1U << 2) /* Linux 6.10 */
#endif
#ifndef IORING_ENTER_ABS_TIMER
#define IORING_ENTER_ABS_TIMER (1U << 5) /* Linux 6.12 */
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7) /* Linux 6.15 */
#endif
#ifndef IORING_FEAT_RECVSEND_BUNDLE
#define IORING_FEAT_RECVSEND_BUNDLE (1U << 14) /* Linux 6.10: came with ACCEPT_POLL_FIRST */
#endif
#ifndef IORING_FEAT_MIN_TIMEOUT
#define IORING_FEAT_MIN_TIMEOUT (1U << 15) /* Linux 6.12: came together with ABS_TIMER */
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17) /* Linux 6.15 */
#endif

/* The kernel's own ERESTARTSYS and kin. A cancelled operation of a worker thread answers with
 * them. */
#define KERNEL_RESTART_FIRST 512
#define KERNEL_RESTART_LAST  516

#endif
