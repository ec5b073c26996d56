/* select.h - what a task in a select waits for. */
#ifndef CORE_SYNC_SELECT_H
#define CORE_SYNC_SELECT_H

#include "../../include/coil/select.h"

struct coil_task;

/* The cases that t, which is parked, waits for the first of. NULL: for something else. */
const struct coil_case *coil__select_waited_for(const struct coil_task *t, size_t *ret_count);

/* "receive", "readable" */
const char *coil__case_name(const struct coil_case *c);

#endif
