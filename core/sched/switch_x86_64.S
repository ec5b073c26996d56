/* switch_x86_64.S - the context switch: what a call preserves goes on the stack, the stack changes.
 *
 * The unwind tables describe each instruction, so a debugger that takes a parked task's saved stack
 * pointer and the address coil__switch_parked walks its frames like anybody's.
 *
 * The processor predicts returns from a stack of return addresses of its own, and that one does not
 * change with ours. It stays right as long as what runs between a switch and its return has called
 * as often as it has returned. So a task is begun by a jump and left by one: whoever waited for it,
 * or for a thousand such, goes on as if it had called them.
 *
 * Where that is not so, who is resumed returns by a jump, which is predicted from what went before.
 * The first functions of all tasks are called from .Lcall_first. coil__resume_unforeseen is called
 * from there too: that puts the address to which the resumed task's first function will return on
 * the processor's stack. So a task that parks in its first function goes on, returns and ends with
 * no wrong prediction. */

#include "switch.h"

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
/* int coil__switch(void **save, void *load, int answer) */
coil__switch:
    .cfi_startproc
    endbr64
    SAVE
    movl %edx, %eax
    movq %rsi, %rsp
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
/* As coil__switch, from a context that has ended. What was called to come here is not come back
 * to. */
coil__resume_unforeseen:
    .cfi_startproc
    endbr64
    movq %rsi, %rsp
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
/* int coil__start(void **save, struct context *to) */
coil__start:
    .cfi_startproc
    endbr64
    SAVE
    movq %rsi, %rbx
    .cfi_endproc
    .size coil__start, . - coil__start
    .globl coil__context_entry
    .hidden coil__context_entry
    .type coil__context_entry, @function
/* The outermost frame of a task, from its begin to its end: %rbx is its context, at which its stack
 * ends. */
coil__context_entry:
    .cfi_startproc
    .cfi_undefined rip
    movq %rbx, %rsp
    xorl %ebp, %ebp
#ifdef CONTEXT_WATCHED
    xorl %edi, %edi
    call coil__context_arrived
#endif
    movq CONTEXT_FN(%rbx), %rcx
    movq CONTEXT_ARG(%rbx), %rdi
.Lcall_first:
    call *%rcx
    movq %rbx, %rdi
    movl %eax, %esi
    call coil__task_ended
    movq %rax, %rbx
#ifdef CONTEXT_WATCHED
    movq %rdx, %r12
    xorl %edi, %edi
    movq %rbx, %rsi
    call coil__context_announce
    movq %r12, %rdx
#endif
    cmpl $WAY_SECOND, %edx
    ja coil__context_entry
    movq CONTEXT_SP(%rbx), %rsi
    movl CONTEXT_ANSWER(%rbx), %eax
    jb .Lforeseen
    leaq coil__resume_unforeseen(%rip), %rcx
    jmp .Lcall_first
.Lforeseen:
    movq %rsi, %rsp
    jmp coil__switch_parked
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
