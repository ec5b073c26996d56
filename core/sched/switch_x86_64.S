/* switch_x86_64.S - the context switch: what a call preserves goes on the stack, the stack changes.
 *
 * The unwind tables describe each instruction, so a debugger that takes a parked task's saved stack
 * pointer and the address coil__switch_parked walks its frames like anybody's. */

#define PUSH(reg)               \
    pushq %reg                 ;\
    .cfi_adjust_cfa_offset 8   ;\
    .cfi_rel_offset reg, 0

#define POP(reg)                \
    popq %reg                  ;\
    .cfi_adjust_cfa_offset -8  ;\
    .cfi_restore reg

    .text
    .p2align 4
    .globl coil__switch
    .hidden coil__switch
    .type coil__switch, @function
/* void coil__switch(void **save, void *load) */
coil__switch:
    .cfi_startproc
    endbr64
    PUSH(rbp)
    PUSH(rbx)
    PUSH(r12)
    PUSH(r13)
    PUSH(r14)
    PUSH(r15)
    movq %rsp, (%rdi)
    .globl coil__switch_parked
    .hidden coil__switch_parked
coil__switch_parked:
    movq %rsi, %rsp
    POP(r15)
    POP(r14)
    POP(r13)
    POP(r12)
    POP(rbx)
    POP(rbp)
    ret
    .cfi_endproc
    .size coil__switch, . - coil__switch

    .p2align 4
    .globl coil__context_entry
    .hidden coil__context_entry
    .type coil__context_entry, @function
/* Where a made context begins: r12 is the function, r13 its argument. The outermost frame. */
coil__context_entry:
    .cfi_startproc
    .cfi_undefined rip
    endbr64
    xorl %ebp, %ebp
    movq %r13, %rdi
    callq *%r12
    ud2
    .cfi_endproc
    .size coil__context_entry, . - coil__context_entry

    .section .note.GNU-stack, "", @progbits

    /* Indirect branch tracking is kept; a shadow stack is not, and the linker may know. */
    .section .note.gnu.property, "a", @note
    .p2align 3
    .long 4
    .long 16
    .long 5
    .asciz "GNU"
    .long 0xc0000002
    .long 4
    .long 1
    .long 0
