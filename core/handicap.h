/* handicap.h - a build that is slower on purpose (meson -Dhandicap=PERCENT), to see whether the
 * benches notice.
 *
 *      handicap(t, 90);    so many percent of 90 instructions, and what needs t waits for each
 *
 * The numbers were found by trying. At 10 percent the tasks of bench/tasks take 7 to 17 % more
 * instructions and mostly 5 to 15 % more time: some instructions wait for memory meanwhile. */
#ifndef CORE_HANDICAP_H
#define CORE_HANDICAP_H

#if !defined(HANDICAP) || HANDICAP == 0
#define handicap(pointer, instructions) ((void)0)
#else
#ifdef __aarch64__
#define HANDICAP_STEP "eor %0, %0, xzr"
#else
#define HANDICAP_STEP "xor $0, %0"
#endif
#define handicap(pointer, instructions)                                                            \
    __asm__ volatile(".rept %c1\n\t" HANDICAP_STEP "\n\t.endr"                                     \
                     : "+r"(pointer)                                                               \
                     : "i"((instructions)*HANDICAP / 100)                                          \
                     : "cc")
#endif

#endif
