/* switch.h - what switch_*.S and context.h both count on. */
#ifndef CORE_SCHED_SWITCH_H
#define CORE_SCHED_SWITCH_H

/* In struct context. */
#define CONTEXT_SP     0
#define CONTEXT_FN     8
#define CONTEXT_ARG    16
#define CONTEXT_ANSWER 24

/* Of enum way, whose members stand in this order. */
#define WAY_SECOND 1

/* Sanitizers that must be told of each switch of stacks: which one, if any. */
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
