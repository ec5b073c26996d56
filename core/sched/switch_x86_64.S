/* switch_x86_64.S - the context switch: what a call preserves goes on the stack, the stack changes.
 *
 * The unwind tables describe each instruction, so a debugger that takes a parked task's saved stack
 * pointer and the address coil__switch_parked walks its frames like anybody's.
 *
 * The processor predicts returns from a stack of return addresses of its own, and that one does not
 * change. It stays right as long as what runs between a switch and its return has called as often
 * as it has returned. So a task is begun by a jump and ends with one: whoever waited for it, or for
 * a thousand such, goes on as if it had called them. Where that is not so, coil__resume_unforeseen
 * returns by a jump, which is predicted from what went before. */

#define PUSH(reg)               \
    pushq %reg                 ;\
    .cfi_adjust_cfa_offset 8   ;\
    .cfi_rel_offset reg, 0

/* All that a call preserves; where it is, into *rdi. */
#define SAVE                    \
    PUSH(rbp)                  ;\
    PUSH(rbx)                  ;\
    PUSH(r12)                  ;\
    PUSH(r13)                  ;\
    PUSH(r14)                  ;\
    PUSH(r15)                  ;\
    movq %rsp, (%rdi)

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
    SAVE
    movq %rsi, %rdi
    .globl coil__resume
    .hidden coil__resume
/* void coil__resume(void *load) */
coil__resume:
    movq %rdi, %rsp
    .globl coil__switch_parked
    .hidden coil__switch_parked
coil__switch_parked:
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
    .globl coil__resume_unforeseen
    .hidden coil__resume_unforeseen
    .type coil__resume_unforeseen, @function
/* void coil__resume_unforeseen(void *load) */
coil__resume_unforeseen:
    .cfi_startproc
    movq %rdi, %rsp
    .cfi_adjust_cfa_offset 48
    .cfi_rel_offset rbp, 40
    .cfi_rel_offset rbx, 32
    .cfi_rel_offset r12, 24
    .cfi_rel_offset r13, 16
    .cfi_rel_offset r14, 8
    .cfi_rel_offset r15, 0
    POP(r15)
    POP(r14)
    POP(r13)
    POP(r12)
    POP(rbx)
    POP(rbp)
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    notrack jmp *%rcx
    .cfi_endproc
    .size coil__resume_unforeseen, . - coil__resume_unforeseen

    .p2align 4
    .globl coil__start
    .hidden coil__start
    .type coil__start, @function
/* void coil__start(void **save, struct coil_task *t) */
coil__start:
    .cfi_startproc
    endbr64
    SAVE
    movq %rsi, %rdi
    .cfi_endproc
    .size coil__start, . - coil__start
    .globl coil__begin
    .hidden coil__begin
    .type coil__begin, @function
/* void coil__begin(struct coil_task *t): a task's block is the top of its stack. */
coil__begin:
    .cfi_startproc
    .cfi_undefined rip
    movq %rdi, %rsp
    leaq bottom(%rip), %rax
    pushq %rax
    xorl %ebp, %ebp
    jmp coil__task_main
    .cfi_endproc
    .size coil__begin, . - coil__begin

    .p2align 4
    .globl coil__context_entry
    .hidden coil__context_entry
    .type coil__context_entry, @function
/* Where the outermost frame of a task would return to. */
coil__context_entry:
    .cfi_startproc
    .cfi_undefined rip
    nop
bottom:
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
