/* choose.h - which backend a loop runs on. */
#ifndef CORE_CHOOSE_H
#define CORE_CHOOSE_H

struct backend_config;
struct backend_reason;
struct loop;

/* What coil_run_error says in this thread. */
struct backend_reason *coil__run_error(void);

/* Opens a backend for loop and says why that one in loop->reason. name: that one or none; NULL:
 * what COIL_BACKEND names, by the same rule, or the first that this machine has. */
int coil__choose_backend(struct loop *loop, const char *name, struct backend_config *config);

#endif
