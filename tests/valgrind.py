#!/usr/bin/env python3
"""valgrind.py - Valgrind is told of every stack, and finds nothing. TAP.

    valgrind.py BUILD    for BUILD's examples/primitive and tests/test_context, on both backends
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

BUILD = pathlib.Path(sys.argv[1])
PROGRAMS = ['examples/primitive', 'tests/test_context']
COMPLAINT = re.compile(r'^==\d+== \S.*', re.M)  # -q says nothing else


def complaint_of(program, backend):
    """What Valgrind has to say of a run, or of how it ended; None if nothing."""
    said = subprocess.run(['valgrind', '-q', '--trace-children=yes', '--error-exitcode=9', BUILD / program],
                          env=dict(os.environ, COIL_BACKEND=backend), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors='replace', timeout=100, check=False)
    found = COMPLAINT.search(said.stderr)
    if found:
        return found[0]
    return None if said.returncode == 0 else f'exit code {said.returncode}: {said.stderr}'


def main():
    if not shutil.which('valgrind'):
        print('valgrind is not installed')
        return 77
    runs = [(program, backend) for program in PROGRAMS for backend in ('io_uring', 'epoll')]
    failed = 0
    for number, (program, backend) in enumerate(runs, 1):
        complaint = complaint_of(program, backend)
        if complaint:
            failed += 1
            print(*(f'# {line}' for line in complaint.splitlines()), sep='\n')
            print('not ', end='')
        print(f'ok {number} - {program} on {backend}', flush=True)
    print(f'1..{len(runs)}')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
