/* no_sleep.c - preloaded into redis-benchmark, which sleeps 50 ms after every 65 connections it
 * opens, before its own clock starts. With 500 connections that is longer than a whole burst of
 * ours. */

#include <unistd.h>

__attribute__((visibility("default"))) int usleep(useconds_t usec)
{
    (void)usec;
    return 0;
}
