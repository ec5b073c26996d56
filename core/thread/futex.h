/* futex.h - sleeping until another thread has changed a word. For what is a few instructions away,
 * unless that thread was preempted in the middle of them: then it needs the processor, not we. */
#ifndef CORE_THREAD_FUTEX_H
#define CORE_THREAD_FUTEX_H

#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sleeps while *word is value; may return all the same. */
static inline void futex_wait(const void *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL);
}

/* Wakes the one that sleeps on word. Its memory may be gone: the kernel takes the address for a
 * name. */
static inline void futex_wake(const void *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

#endif
