/* switch_aarch64.S - the context switch; see switch_x86_64.S. */

#include "switch.h"

/* What a call preserves, onto the stack; where that is, into [x0]. */
    .macro SAVE
    sub sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    .cfi_rel_offset x19, 0
    .cfi_rel_offset x20, 8
    .cfi_rel_offset x21, 16
    .cfi_rel_offset x22, 24
    .cfi_rel_offset x23, 32
    .cfi_rel_offset x24, 40
    .cfi_rel_offset x25, 48
    .cfi_rel_offset x26, 56
    .cfi_rel_offset x27, 64
    .cfi_rel_offset x28, 72
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    mov x9, sp
    str x9, [x0]
    .endm

    .text
    .p2align 4
    .globl coil__switch
    .hidden coil__switch
    .type coil__switch, %function
/* int coil__switch(void **save, void *load, int answer) */
coil__switch:
    .cfi_startproc
    hint #34 /* bti c */
    SAVE
    mov w0, w2
    mov sp, x1
    .globl coil__switch_parked
    .hidden coil__switch_parked
coil__switch_parked:
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    .cfi_adjust_cfa_offset -160
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_endproc
    .size coil__switch, . - coil__switch

    .p2align 4
    .globl coil__start
    .hidden coil__start
    .type coil__start, %function
/* int coil__start(void **save, struct context *to) */
coil__start:
    .cfi_startproc
    hint #34 /* bti c */
    SAVE
    mov x19, x1
    .cfi_endproc
    .size coil__start, . - coil__start
    .globl coil__context_entry
    .hidden coil__context_entry
    .type coil__context_entry, %function
/* The outermost frame of a task, from its begin to its end: x19 is its context, at which its stack
 * ends. Who is resumed returns as it was called, not by a jump: that would have to meet a landing
 * pad there. So this return is predicted wrongly, and the last bl is there for it to use up. */
coil__context_entry:
    .cfi_startproc
    .cfi_undefined x30
    mov sp, x19
    mov x29, xzr
#ifdef CONTEXT_WATCHED
    mov x0, xzr
    bl coil__context_arrived
#endif
    ldr x9, [x19, #CONTEXT_FN]
    ldr x0, [x19, #CONTEXT_ARG]
.Lcall_first:
    blr x9
    mov w1, w0
    mov x0, x19
    bl coil__task_ended
    mov x19, x0
#ifdef CONTEXT_WATCHED
    mov x20, x1
    mov x0, xzr
    mov x1, x19
    bl coil__context_announce
    mov x1, x20
#endif
    cmp w1, #WAY_SECOND
    b.hi coil__context_entry
    ldr x1, [x19, #CONTEXT_SP]
    ldr w0, [x19, #CONTEXT_ANSWER]
    b.lo .Lforeseen
    adr x9, .Lunforeseen
    b .Lcall_first
.Lunforeseen:
    hint #34 /* bti c */
    mov sp, x1
    bl coil__switch_parked
.Lforeseen:
    mov sp, x1
    b coil__switch_parked
    .cfi_endproc
    .size coil__context_entry, . - coil__context_entry

    .section .note.GNU-stack, "", %progbits
