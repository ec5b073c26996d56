#!/usr/bin/env python3
"""unwind.py - a debugger sees where a parked task is, and who is behind a switch. TAP.

    unwind.py BUILD...    for BUILD/tests/unwind, on both backends

All it takes is the task's saved stack pointer, which is the first word of the task, and the address
coil__switch_parked: with these for sp and pc, a backtrace shows the task's own frames.

And on x86-64, where a task goes on after another has ended, the registers of the function behind the
switch are the same at each of its instructions.

And core/debug/coil-gdb.py shows them all, of a live process and of a core.
"""
import os
import pathlib
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile

TOOL = pathlib.Path(__file__).resolve().parent.parent / 'core' / 'debug' / 'coil-gdb.py'

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
    'stepi', 'stepi',  # onto the new stack
    *(['frame 1', 'printf "registers %lx %lx %lx %lx %lx %lx %lx\\n", $rbp, $rbx, $r12, $r13, $r14, $r15, $sp',
       'frame 0', 'stepi'] * 8),
    'kill',
]
EXPECTED = {  # innermost first; others may stand between. A sleep leaves no frame
    'sleeper': ['sleep_inside', 'sleep_outside', 'coil__context_entry'],
    'reader': ['coil_read', 'read_inside', 'read_outside', 'coil__context_entry'],
}


LIVE = [
    'set pagination off',
    'set confirm off',
    'set disable-randomization off',
    'break all_are_parked',
    'run',
    f'source {TOOL}',
    'coil tasks',
    'printf "again\\n"',
    'coil tasks',
    'printf "frame\\n"',
    'frame',
    'continue',
]
CORE = ['set pagination off', f'source {TOOL}', 'coil tasks']
TASKS = {  # a line of each, and the functions under it
    r'task main \(0x\w+\): running, spawned at \S*unwind.c:\d+': ['all_are_parked', 'run', 'coil__context_entry'],
    r'group of 4 tasks, begun at \S*unwind.c:\d+': [],
    r'task visitor: waits [\d.]+ \w+ for something to read on fd \d+, dormant, deadline in [\d.]+ \w+, '
    r'spawned at \S*unwind.c:\d+': [],
    r'task read_outside: waits [\d.]+ \w+ for its time in [\d.]+ \w+, dormant, spawned at \S*unwind.c:\d+': [],
    r'task sleep_outside \(0x\w+\): waits [\d.]+ \w+ for sleep, spawned at \S*unwind.c:\d+': EXPECTED['sleeper'],
    r'task read_outside \(0x\w+\): waits [\d.]+ \w+ for read, spawned at \S*unwind.c:\d+': EXPECTED['reader'],
}


def ask_gdb(script, backend, *what):
    words = ['gdb', '-nx', '-batch', *(w for command in script for w in ('-ex', command)), *what]
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
    said = ask_gdb(SCRIPT, backend, program)
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
        good = (in_order(expected, frames) and frames[-1:] == expected[-1:] and 'Backtrace stopped' not in part
                and not any(name.startswith('coil_sleep') for name in frames))
        failed |= not good
        if not good:
            lines.append(said)
        name = f'the backtrace of a parked {who} shows its functions, {backend}, {os.path.basename(program)}'
        lines.append(f'{"ok" if good else "not ok"} {number} - {name}')
        number += 1
    if platform.machine() == 'x86_64':
        said = ask_gdb(SWITCH_SCRIPT, backend, program)
        behind = re.findall(r'^registers .*', said, re.M)
        good = len(behind) == 8 and len(set(behind)) == 1
        failed |= not good
        if not good:
            lines.append(said)
        name = f'the registers behind a switch stay what they are, {backend}, {os.path.basename(program)}'
        lines.append(f'{"ok" if good else "not ok"} {number} - {name}')
    return lines, failed


def shows_tasks(said):
    """Are all tasks there, each with its functions right under it?"""
    lines = [line.strip() for line in said.splitlines()]
    for line, functions in TASKS.items():
        at = next((i for i, candidate in enumerate(lines) if re.fullmatch(line, candidate)), None)
        if at is None:
            return False
        frames = []
        for frame in lines[at + 1:]:
            m = re.match(r'#\d+ ([\w.]+)', frame)
            if not m:
                break
            frames.append(re.sub(r'\.(part|isra|constprop|cold)\b.*', '', m[1]))
        if not in_order(functions, frames) or frames[-1:] != functions[-1:]:
            return False
    return bool(re.search(r'^loop 0x\w+ of thread 1: 5 tasks$', said, re.M))


def check_live(program, backend):
    said = ask_gdb(LIVE, backend, program)
    first, _, rest = said.partition('\nagain\n')
    second, _, rest = rest.partition('\nframe\n')
    good = (shows_tasks(first) and shows_tasks(second) and '#0  all_are_parked' in rest.split('exited')[0]
            and 'exited normally' in rest)
    return good, said


def check_core(program, backend):
    """None: the kernel keeps no cores where we could find them."""
    with tempfile.TemporaryDirectory() as there:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        try:
            subprocess.run([os.path.abspath(program)], cwd=there, timeout=60, check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=dict(os.environ, COIL_BACKEND=backend, UNWIND_ABORT='1'),
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, unlimited))
        except (OSError, subprocess.SubprocessError):
            return None, ''
        cores = list(pathlib.Path(there).glob('*core*'))
        if not cores:
            return None, ''
        said = ask_gdb(CORE, backend, program, str(cores[0]))
        return shows_tasks(said), said


def check_tool(program, backend, number):
    lines = []
    failed = False
    for what, check_it in (('a live process', check_live), ('a core', check_core)):
        good, said = check_it(program, backend)
        name = f'coil tasks shows the tree of {what}, {backend}, {os.path.basename(program)}'
        failed |= good is False
        if good is False:
            lines.append(said)
        skip = ' # SKIP this kernel leaves no core in the working directory' if good is None else ''
        lines.append(f'{"not ok" if good is False else "ok"} {number} - {name}{skip}')
        number += 1
    return lines, failed


def main():
    if not shutil.which('gdb'):
        print('gdb is not installed')
        return 77
    number = 1
    failed = False
    for build in sys.argv[1:]:
        for backend in ('io_uring', 'epoll'):
            for look in (check, check_tool):
                lines, bad = look(f'{build}/tests/unwind', backend, number)
                number += sum(line.startswith(('ok', 'not ok')) for line in lines)
                failed |= bad
                print(*lines, sep='\n')
                if '# SKIP' in lines[-1]:
                    break
    print(f'1..{number - 1}')
    return failed


if __name__ == '__main__':
    sys.exit(main())
