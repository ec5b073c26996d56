/* coil/common.h - what every other header needs. */
#ifndef COIL_COMMON_H
#define COIL_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COIL_VERSION_MAJOR 0
#define COIL_VERSION_MINOR 1
#define COIL_VERSION_PATCH 0

#define COIL_API           __attribute__((visibility("default")))
#define COIL_MUST_CHECK    __attribute__((warn_unused_result))

/* A deadline that never comes, and a limit that is none. Times are nanoseconds of
 * CLOCK_MONOTONIC. */
#define COIL_FOREVER INT64_MAX

/* A capacity that is never reached. */
#define COIL_UNLIMITED   INT64_MAX

#define COIL_MICROSECOND INT64_C(1000)
#define COIL_MILLISECOND INT64_C(1000000)
#define COIL_SECOND      INT64_C(1000000000)

/* What static initialisers are made of. */
/* clang-format off */
#define COIL_ZEROED_          {{0}}
#define COIL_AFTER_LOT_(...)  {{0, 0, 0, 0, __VA_ARGS__}}
#define COIL_AFTER_HOLD_(...) {{0}, __VA_ARGS__}
/* clang-format on */

/* Where a call stands in the source: remembered by scopes and tasks, shown in diagnostics. */
#define COIL_STRING_(x) #x
#define COIL_STRING(x)  COIL_STRING_(x)
#define COIL_HERE       __FILE__ ":" COIL_STRING(__LINE__)

#endif
