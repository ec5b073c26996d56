/* server.h - what the servers here have in common: they listen, accept with patience, end at a
 * signal, and count their descriptors. */
#ifndef SERVER_H
#define SERVER_H

#include <stdatomic.h>

/* A listener for this loop on port, in both families where the kernel has both; *ret_host is what
 * to print. Every loop has one of its own: the kernel shares the connections out. What it accepts
 * has TCP_NODELAY.
 * The descriptor, or a negative errno. */
int server_listen(int port, const char **ret_host);

/* Waits for a connection. Whoever comes when we are out of descriptors or memory waits in the
 * backlog: *pauses counts how often.
 * The descriptor; -ECANCELED, or what is wrong with the listener. */
int server_accept(int listener, atomic_ulong *pauses);

/* One who was let in already, without waiting; < 0: nobody is left, and the listener can be closed.
 * Whoever comes from then on is refused at once, or is another server's on this port. Somebody may
 * come in between, and is reset: Linux has no way to stop listening that keeps the backlog. */
int server_accept_last(int listener);

/* SIGTERM and SIGINT are to be read, by server_wait_for_end, and not to end the process. Before any
 * thread is made. */
void server_block_signals(void);

/* Waits, in every loop that asks, until one of the two has come. */
int server_wait_for_end(void);

/* How many descriptors the process has; -1 if that cannot be told. */
int server_open_descriptors(void);

#endif
