#!/usr/bin/env python3
"""unwind.py - a debugger sees where a parked task is, and who is behind a switch. TAP.

    unwind.py BUILD...    for BUILD/tests/unwind, on both backends

All it takes is the task's saved stack pointer, which is the first word of the task, and the address
coil__switch_parked: with these for sp and pc, a backtrace shows the task's own frames.

And on x86-64, where a task goes on after another has ended, the registers of the function behind the
switch are the same at each of its instructions.
"""
import os
import platform
import re
import shutil
import subprocess
import sys

SCRIPT = [
    'set pagination off',
    'set confirm off',
    'set disable-randomization off',
    'break all_are_parked',
    'run',
    'printf "sleeper\\n"',
    'set $sp_of_sleeper = *(long *)sleeper',
    'set $sp_of_reader = *(long *)reader',
    'set var $sp = $sp_of_sleeper',
    'set var $pc = (long)&coil__switch_parked',
    'backtrace 30',
    'printf "reader\\n"',
    'set var $sp = $sp_of_reader',
    'set var $pc = (long)&coil__switch_parked',
    'backtrace 30',
    'printf "end\\n"',
    'kill',
]
SWITCH_SCRIPT = [
    *SCRIPT[:5],
    'break *coil__resume_unforeseen',
    'continue',
    'stepi',  # onto the new stack
    *(['frame 1', 'printf "registers %lx %lx %lx %lx %lx %lx %lx\\n", $rbp, $rbx, $r12, $r13, $r14, $r15, $sp',
       'frame 0', 'stepi'] * 8),
    'kill',
]
EXPECTED = {  # innermost first; others may stand between
    'sleeper': ['coil_sleep_until', 'sleep_inside', 'sleep_outside', 'coil__context_entry'],
    'reader': ['coil_read', 'read_inside', 'read_outside', 'coil__context_entry'],
}


def ask_gdb(program, backend, script):
    words = ['gdb', '-nx', '-batch', *(w for command in script for w in ('-ex', command)), program]
    run = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=60, check=False, env=dict(os.environ, COIL_BACKEND=backend))
    return run.stdout


def frames_of(said, who):
    """The functions of the backtrace that follows a line of that name, and that backtrace."""
    part = said.split(f'\n{who}\n')[-1].split('\nreader\n')[0].split('\nend\n')[0]
    names = [m[1] for m in re.finditer(r'^#\d+\s+(?:0x[0-9a-f]+ in )?([\w.]+)', part, re.M)]
    # Without debugging information gdb takes two underscores for Ada's dot.
    return [re.sub(r'\.(part|isra|constprop|cold)\b.*', '', name).replace('.', '__') for name in names], part


def in_order(expected, frames):
    left = iter(frames)
    return all(any(f == name for f in left) for name in expected)


def check(program, backend, number):
    said = ask_gdb(program, backend, SCRIPT)
    if re.search(r'Could not trace|ptrace: Operation not permitted', said):
        return [f'ok {number} - backtraces # SKIP this system does not let gdb trace'], False
    if 'Breakpoint 1, ' not in said:
        skip = re.search(r'.*(io_uring_setup|left out of this build).*', said)
        if skip:
            return [f'ok {number} - backtraces # SKIP {skip[0]}'], False
    lines = []
    failed = False
    for who, expected in EXPECTED.items():
        frames, part = frames_of(said, who)
        good = in_order(expected, frames) and frames[-1:] == expected[-1:] and 'Backtrace stopped' not in part
        failed |= not good
        if not good:
            lines.append(said)
        name = f'the backtrace of a parked {who} shows its functions, {backend}, {os.path.basename(program)}'
        lines.append(f'{"ok" if good else "not ok"} {number} - {name}')
        number += 1
    if platform.machine() == 'x86_64':
        said = ask_gdb(program, backend, SWITCH_SCRIPT)
        behind = re.findall(r'^registers .*', said, re.M)
        good = len(behind) == 8 and len(set(behind)) == 1
        failed |= not good
        if not good:
            lines.append(said)
        name = f'the registers behind a switch stay what they are, {backend}, {os.path.basename(program)}'
        lines.append(f'{"ok" if good else "not ok"} {number} - {name}')
    return lines, failed


def main():
    if not shutil.which('gdb'):
        print('gdb is not installed')
        return 77
    number = 1
    failed = False
    for build in sys.argv[1:]:
        for backend in ('io_uring', 'epoll'):
            lines, bad = check(f'{build}/tests/unwind', backend, number)
            number += sum(line.startswith(('ok', 'not ok')) for line in lines)
            failed |= bad
            print(*lines, sep='\n')
    print(f'1..{number - 1}')
    return failed


if __name__ == '__main__':
    sys.exit(main())
