#!/usr/bin/env python3
"""tidy.py - what the tree promises about itself: who includes whom, widths, lengths, first lines, symbols.

    tidy.py [BUILD]    the tree around this file, and the libraries in BUILD; answers in TAP

Each offence is printed as `file:line: what`. Every rule is first shown a small tree that offends it, since a
rule that cannot fail holds nothing.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

LIBRARY = ('include', 'core', 'uring', 'fallback')
SEES = {
    'include': {'include'},
    'core': {'core', 'include'},
    'uring': {'uring', 'core', 'include'},
    'fallback': {'fallback', 'core', 'include'},
    'examples': {'examples', 'include'},
    'bench': {'bench', 'include'},
    'tests': {'tests', 'tests/testing', 'include', 'core', 'uring', 'fallback'},
    'tests/testing': {'tests/testing', 'core', 'include'},  # coil-testing: a library too, and a backend
}
SYSTEM = {  # of the library's files, only these include it
    'liburing': 'uring/',
    'sys/epoll.h': 'fallback/',
    'sys/mman.h': 'core/sched/stack.c',
}
WIDTH = 100
FUNCTION_LINES = 70
PRINTS = re.compile(r'\b(v?printf|puts|putchar|perror|psignal)\s*\(|\bv?f(printf|puts|write)\s*\(.*\bstd(out|err)\b'
                    r'|\bSTD(OUT|ERR)_FILENO\b')
MAY_PRINT = 'core/base.c'  # the line before abort
TAKES_OVER = re.compile(r'\b(_?exit|quick_exit|signal|sigaction|atexit)\s*\(')
NAPS = re.compile(r'(?<!coil_)\b(usleep|nanosleep|sleep|clock_nanosleep)\s*\(')


class Tree:
    """The sources under a root, by path from there."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.files = {}
        for folder in sorted({folder.split('/')[0] for folder in SEES}):
            for path in sorted((self.root / folder).rglob('*')):
                if path.suffix in ('.c', '.h', '.S', '.cc') and path.is_file():
                    self.files[path.relative_to(self.root).as_posix()] = path.read_text(encoding='utf-8').splitlines()

    def lines(self, folders=tuple(SEES), suffixes=('.c', '.h', '.S', '.cc')):
        """(path, number, line) of what is under these folders."""
        for path, lines in self.files.items():
            if path.split('/')[0] in folders and path.endswith(suffixes):
                for number, line in enumerate(lines, 1):
                    yield path, number, line


def code_only(lines):
    """The lines without comments and literals, blank where nothing else was on them."""
    text = '\n'.join(lines)
    blank = lambda m: re.sub(r'[^\n]', ' ', m[0])
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(\\.|[^"\\\n])*"', blank, text, flags=re.S)
    return text.split('\n')


def includes(tree):
    for path, number, line in tree.lines():
        m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', line)
        if m:
            yield path, number, m[1] == '"', m[2]


def home(path):
    """The folder of the house that a path is in."""
    first, second = (path.split('/') + [''])[:2]
    return f'{first}/{second}' if f'{first}/{second}' in SEES else first


def folder_of(tree, path, quoted, name):
    """The folder of the tree that an include reaches; None: it is the system's."""
    if quoted:
        near = os.path.normpath(os.path.join(os.path.dirname(path), name))
        if near in tree.files or near.startswith('..') or '/' in name:
            return home(near)
    return 'include' if name == 'coil.h' or name.startswith('coil/') else None


def rule_include_directions(tree):
    """each folder includes only what it may: include <- core <- {uring, fallback, tests/testing}; examples and bench see include"""
    for path, number, quoted, name in includes(tree):
        here, there = home(path), folder_of(tree, path, quoted, name)
        if there and there not in SEES[here]:
            yield f'{path}:{number}: {here}/ includes {name}, which is in {there}/'


def rule_system_headers(tree):
    """liburing is included in uring/ only, epoll in fallback/ only, mmap in core/sched/stack.c only"""
    for path, number, _, name in includes(tree):
        for header, owner in SYSTEM.items():
            if path.split('/')[0] in LIBRARY and name.startswith(header) and not path.startswith(owner):
                yield f'{path}:{number}: <{name}> is for {owner} only'


def rule_width(tree):
    """no line is wider than 100 columns"""
    for path, number, line in tree.lines():
        if len(line.expandtabs(8)) > WIDTH:
            yield f'{path}:{number}: {len(line)} columns'


def rule_function_lines(tree):
    """no function has more than 70 lines of code"""
    for path, lines in tree.files.items():
        start = None
        for number, line in enumerate(code_only(lines), 1):
            if line == '{':
                start, count = number, 0
            elif line.startswith('}') and start:
                if count > FUNCTION_LINES:
                    yield f'{path}:{start}: {count} lines of code in one function'
                start = None
            elif start and line.strip():
                count += 1


def rule_first_line(tree):
    """the first line of every file says what it is: /* name - ..."""
    for path, lines in tree.files.items():
        names = [path.split('/', i)[-1] for i in range(path.count('/') + 1)]
        if not any((lines or [''])[0].startswith(f'/* {name} - ') for name in names):
            yield f'{path}:1: the first line is not "/* {os.path.basename(path)} - ..."'


def rule_prints(tree):
    """the library prints nothing, but for the line before abort"""
    for path, lines in tree.files.items():
        if home(path) in (*LIBRARY, 'tests/testing') and path != MAY_PRINT:
            for number, line in enumerate(code_only(lines), 1):
                if PRINTS.search(line):
                    yield f'{path}:{number}: prints'


def rule_takes_over(tree):
    """the library never exits and touches no signal handler"""
    for path, lines in tree.files.items():
        if home(path) in (*LIBRARY, 'tests/testing'):
            for number, line in enumerate(code_only(lines), 1):
                if TAKES_OVER.search(line):
                    yield f'{path}:{number}: {TAKES_OVER.search(line)[1]}'


def rule_naps(tree):
    """no test sleeps to let things settle"""
    for path, lines in tree.files.items():
        if path.startswith('tests/'):
            for number, line in enumerate(code_only(lines), 1):
                if NAPS.search(line):
                    yield f'{path}:{number}: sleeps'


def rule_installed_headers(tree):
    """every public header is installed"""
    build = tree.root / 'meson.build'
    said = build.read_text(encoding='utf-8') if build.exists() else ''
    for path in tree.files:
        if path.startswith('include/') and f"'{path}'" not in said:
            yield f'{path}:1: meson.build does not install it'


RULES = [rule for name, rule in list(globals().items()) if name.startswith('rule_')]

OFFENDERS = {  # a file that offends, for each rule
    'rule_include_directions': ('tests/testing/a.c', '/* a.c - a */\n#include "../harness.h"\n'),
    'rule_system_headers': ('core/io/a.c', '/* a.c - a */\n#include <liburing.h>\n'),
    'rule_width': ('core/a.c', '/* a.c - a */\n' + 'x' * 101 + '\n'),
    'rule_function_lines': ('core/a.c', '/* a.c - a */\nint f(void)\n{\n' + '    f();\n' * 71 + '}\n'),
    'rule_first_line': ('core/a.c', '/* b.c - a */\n'),
    'rule_prints': ('core/a.c', '/* a.c - a */\nprintf("a");\n'),
    'rule_takes_over': ('core/a.c', '/* a.c - a */\nexit(1);\n'),
    'rule_naps': ('tests/a.c', '/* a.c - a */\nusleep(1);\n'),
    'rule_installed_headers': ('include/coil/a.h', '/* coil/a.h - a */\n'),
}
INNOCENT = ('core/a.c', '/* a.c - printf("no") */\n#include <coil/io.h>\n#include "b.h"\nint f(void)\n{\n'
            + '    f(); /* usleep(1) */\n' * 70 + '    /* one\n     * more */\n\n}\nsnprintf(a, "exit(1)");\n')


def offences(rule, path, text):
    with tempfile.TemporaryDirectory() as root:
        file = pathlib.Path(root, path)
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding='utf-8')
        return list(rule(Tree(root)))


def works(rule):
    """Does it find its offender, and nothing else to say?"""
    return len(offences(rule, *OFFENDERS[rule.__name__])) == 1 and not offences(rule, *INNOCENT)


def symbols(library, *options):
    said = subprocess.run(['nm', '--defined-only', *options, library], capture_output=True, text=True, check=True)
    return {line.split()[-1] for line in said.stdout.splitlines() if len(line.split()) == 3}


LIBRARIES = ('libcoil', 'tests/testing/libcoil-testing')
FOR_TESTS = 'include/coil/testing.h'  # declares what coil-testing has, and coil has not


def check_static_symbols(tree, build):
    """every external symbol of the static libraries begins with coil_"""
    for library in LIBRARIES:
        for symbol in symbols(build / f'{library}.a', '--extern-only'):
            if not symbol.startswith('coil_'):
                yield f'{library}.a: {symbol}'


def declarations(tree, wanted):
    """What the public headers of which wanted is true declare."""
    found = set()
    for path, lines in tree.files.items():
        if path.startswith('include/') and wanted(path):
            text = ' '.join(line for line in code_only(lines) if not line.startswith('#'))
            found |= {m[1] for m in re.finditer(r'COIL_API\b[^;(]*?(\w+)\s*\(', text)}
    return found


def check_shared_symbols(tree, build):
    """the shared libraries export what their headers declare, all of it, and nothing else"""
    ours = declarations(tree, lambda path: path != FOR_TESTS)
    for library, declared in zip(LIBRARIES, (ours, ours | declarations(tree, lambda path: path == FOR_TESTS))):
        exported = symbols(build / f'{library}.so', '--dynamic')
        for symbol in sorted(exported - declared):
            yield f'{library}.so: {symbol} is exported, and in no header'
        for symbol in sorted(declared - exported):
            yield f'{library}.so: {symbol} is in a header, and not exported'
    if len(ours) < 20:
        yield f'include/coil.h:1: only {len(ours)} declarations found: is this rule blind?'


# Two lines of each op, and of each task; those of the next ready one
FETCHES_AHEAD = ('uring_uring.c.o', 'fallback_epoll.c.o', 'core_sched_loop.c.o')
FETCH = re.compile(r'\t(prefetch\w+|prfm)\b')


def check_prefetches(_, build):
    """what is fetched ahead in the source is so in the machine's code: a compiler may leave it out"""
    said = subprocess.run(['objdump', '-d', '--no-show-raw-insn', build / 'libcoil.a'], capture_output=True, text=True,
                          check=True)
    for part in re.split(r'\n(?=\S+\.o: )', said.stdout):
        name = part.split(':')[0]
        if name in FETCHES_AHEAD and len(FETCH.findall(part)) < 4:
            yield f'libcoil.a: {name} fetches hardly anything ahead'


def main():
    tree = Tree(pathlib.Path(__file__).resolve().parent.parent)
    checks = [(rule, rule(tree), works(rule)) for rule in RULES]
    if len(sys.argv) > 1:
        build = pathlib.Path(sys.argv[1])
        checks += [(check, check(tree, build), True) for check in (check_static_symbols, check_shared_symbols, check_prefetches)]
    failed = 0
    for number, (check, found, able) in enumerate(checks, 1):
        found = list(found)
        failed += bool(found) or not able
        print(*found, sep='\n', end='\n' if found else '')
        if not able:
            print(f'# {check.__name__} does not find what it is for, or finds what is fine')
        print(f'{"not ok" if found or not able else "ok"} {number} - {check.__doc__}')
    print(f'1..{len(checks)}')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
