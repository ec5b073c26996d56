/* layout.h - the table that coil-gdb.py reads. */
#ifndef CORE_DEBUG_LAYOUT_H
#define CORE_DEBUG_LAYOUT_H

#include <stdint.h>

#define LAYOUT_MAGIC 0xc0110003 /* the last digits count its changes */

/* Each loop points to it, which also keeps it in a program that links the static library. */
extern const uint32_t coil__layout[];

#endif
