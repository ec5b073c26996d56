/* bare_switch.S - the least a switch between two stacks can do: save what a call keeps.
 *
 * void bare_switch_NAME(void **save_sp, void *load_sp)
 *
 * Twice. One goes on by a jump, the fastest there is. The other returns, as a call must in the end;
 * the processor then expects the caller that is now parked. */

#if defined(__x86_64__)
    .macro bare_switch name, go_on:vararg
    .text
    .globl \name
    .hidden \name
    .type \name, @function
    .balign 64
\name:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    \go_on
    .size \name, .-\name
    .endm

    .macro jump
    popq %rcx
    jmpq *%rcx
    .endm

    bare_switch bare_switch_jump, jump
    bare_switch bare_switch_return, ret
#elif defined(__aarch64__)
    .macro bare_switch name, go_on:vararg
    .text
    .globl \name
    .hidden \name
    .type \name, %function
    .balign 64
\name:
    sub sp, sp, #160
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
    mov x9, sp
    str x9, [x0]
    mov sp, x1
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
    \go_on
    .size \name, .-\name
    .endm

    bare_switch bare_switch_jump, br x30
    bare_switch bare_switch_return, ret
#endif

    .section .note.GNU-stack, "", %progbits
