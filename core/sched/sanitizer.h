/* sanitizer.h - which one watches, if any: those that must be told of each switch of stacks. Also
 * for assembly. */
#ifndef CORE_SCHED_SANITIZER_H
#define CORE_SCHED_SANITIZER_H

#if defined(__SANITIZE_ADDRESS__)
#define CONTEXT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONTEXT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CONTEXT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONTEXT_TSAN 1
#endif
#endif
#if defined(CONTEXT_ASAN) || defined(CONTEXT_TSAN)
#define CONTEXT_WATCHED 1
#endif

#endif
