/* layout.c - where things are in a loop: coil-gdb.py works without debugging information. */
#include "../op.h"
#include "../sched/group.h"
#include "../sched/loop.h"
#include "layout.h"

/* In the order of the script's names. */
const uint32_t coil__layout[] = {
    LAYOUT_MAGIC,
    offsetof(struct loop, root),
    offsetof(struct loop, living),
    offsetof(struct loop, now_ns),
    offsetof(struct scope, parent),
    offsetof(struct scope, siblings),
    offsetof(struct scope, children),
    offsetof(struct scope, task),
    offsetof(struct scope, site),
    offsetof(struct scope, deadline_ns),
    offsetof(struct scope, asked),
    offsetof(struct scope, shielded),
    offsetof(struct scope, of_group),
    offsetof(struct group, count),
    offsetof(struct group, dormant),
    offsetof(struct group, dormant_count),
    offsetof(struct dormant, link),
    offsetof(struct dormant, handle),
    offsetof(struct dormant, has_handle),
    offsetof(struct dormant, site),
    offsetof(struct dormant, watches),
    offsetof(struct dormant, is_deadline),
    offsetof(struct dormant, timer.link.next),
    offsetof(struct dormant, timer.deadline_ns),
    offsetof(struct dormant_sleeper, since_ns),
    offsetof(struct dormant_watcher, op.fd),
    offsetof(struct dormant_watcher, op.offset),
    offsetof(struct handle, name),
    offsetof(struct coil_task, own),
    offsetof(struct coil_task, context.sp),
    offsetof(struct coil_task, state),
    offsetof(struct coil_task, name),
    offsetof(struct coil_task, waits_for),
    offsetof(struct coil_task, since_ns),
    offsetof(struct here, loop),
    offsetof(struct here, task),
};

_Static_assert(TASK_READY == 0 && TASK_RUNNING == 1 && TASK_PARKED == 2, "the script says so");
