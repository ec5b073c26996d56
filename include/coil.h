/* coil.h - structured concurrency for C on Linux: tasks, groups, scopes, deadlines and I/O.
 *
 *      static int serve(void *arg);            // runs on a stack of its own, reads straight down
 *
 *      int main(void) { return coil_run(NULL, serve, NULL) < 0; }
 *
 * Every call answers with a negative errno or a result; errno itself is never used. Calls that can
 * wait are checkpoints: they return -ECANCELED once the scope they run in has been cancelled. */
#ifndef COIL_H
#define COIL_H

#include "coil/common.h"
#include "coil/scope.h"
#include "coil/group.h"
#include "coil/gather.h"
#include "coil/sync.h"
#include "coil/io.h"
#include "coil/file.h"
#include "coil/channel.h"
#include "coil/select.h"
#include "coil/loop.h"
#include "coil/debug.h"
#include "coil/instrument.h"
#include "coil/local.h"

#endif
