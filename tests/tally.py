#!/usr/bin/env python3
"""tally.py - runs the jobs of a plan, as many at a time as there are cores, and counts.

A plan has one job a line, fields parted by tabs:

    suite  LABEL  LIMIT_S  COMMAND...    a test program, Criterion's or harness.c's; the limit is for each test
    tap    LABEL  LIMIT_S  COMMAND...    anything that answers in TAP, or just by its exit code (77: skipped)

A test failed if it says so, if it says nothing, if it runs over its limit, or if a sanitizer reported anything
while it ran. What failed is printed with its output. The last line is the count.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import time

SANITIZER = re.compile(r'(Address|Leak|Thread|UndefinedBehavior)Sanitizer|: runtime error: ')
TAP_LINE = re.compile(r'(not ok|ok)\b\s*\d*\s*-?\s*(.*?)(?:\s*#\s*SKIP\b\s*(.*))?$', re.I)
BEGUN = re.compile(r'\[RUN \] (\w+::\w+)')
ENDED = re.compile(r'\[(PASS|FAIL|SKIP)\] (\w+::\w+)(?:: (.*))?')
VERDICTS = {'PASS': 'passed', 'FAIL': 'failed', 'SKIP': 'skipped'}
OUTPUT_MOST = 20000  # characters of a failure that are printed: its end

Outcome = collections.namedtuple('Outcome', 'label name verdict reason output seconds')


running = set()  # process groups


def stop(_signal, _frame):
    """Ended from outside, we leave nothing running either."""
    for group in list(running):
        os.killpg(group, signal.SIGKILL)
    os._exit(130)


class Command:
    """What a command said until it ended, or until nothing that renews the limit came for limit_s. Nothing of
    it is left running."""

    def __init__(self, words, limit_s, renews=None):
        started = time.monotonic()
        self.output = ''
        self.timed_out = False
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              start_new_session=True) as child:
            running.add(child.pid)
            self.listen(child, limit_s, renews)
            running.discard(child.pid)
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.code = child.wait()
        self.seconds = time.monotonic() - started

    def listen(self, child, limit_s, renews):
        """A pipe that a grandchild keeps open does not keep us: the child's own end counts too."""
        gone = os.pidfd_open(child.pid)
        deadline = time.monotonic() + limit_s
        data = b''
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            selector.register(gone, selectors.EVENT_READ)
            while not self.timed_out:
                ready = [key.fileobj for key, _ in selector.select(max(0, deadline - time.monotonic()))]
                part = os.read(child.stdout.fileno(), 65536) if child.stdout in ready else b''
                data += part
                if not part and ready:
                    break
                if renews and renews.search(part.decode('utf-8', 'replace')):
                    deadline = time.monotonic() + limit_s
                self.timed_out = time.monotonic() >= deadline
        os.close(gone)
        self.output = data.decode('utf-8', 'replace')

    def trouble(self, limit_s):
        """Why this run counts as failed whatever its tests say; None if it does not."""
        if self.timed_out:
            return f'over its limit of {limit_s} s'
        if SANITIZER.search(self.output):
            return 'a sanitizer reported'
        if self.code:
            return f'exit code {self.code}' if self.code > 0 else signal.Signals(-self.code).name
        return None


def parse_tap(text):
    """(passed, name, reason for skipping or None) of each TAP line."""
    for line in text.splitlines():
        m = TAP_LINE.match(line)
        if m:
            yield m[1].lower() == 'ok', m[2].strip(), m[3]


def run_tap(label, limit_s, words):
    run = Command(words, limit_s)
    outcomes = [Outcome(label, name, 'failed' if not ok else 'passed' if skip is None else 'skipped', skip,
                        run.output, 0) for ok, name, skip in parse_tap(run.output)]
    last = run.output.strip().splitlines()[-1:]
    trouble = run.trouble(limit_s)
    if not outcomes and run.code == 77 and not run.timed_out:
        outcomes.append(Outcome(label, label, 'skipped', ''.join(last), run.output, 0))
    elif trouble and not any(o.verdict == 'failed' for o in outcomes):
        outcomes.append(Outcome(label, 'the whole', 'failed', trouble, run.output, 0))
    elif not outcomes:
        outcomes.append(Outcome(label, label, 'passed', None, run.output, 0))
    return [outcomes[0]._replace(seconds=run.seconds), *outcomes[1:]]


def list_tests(words):
    """The tests of a program, as SUITE::NAME: Criterion draws a tree of them."""
    said = subprocess.run(words + ['--list'], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    suite = None
    for line in said.stdout.decode('utf-8', 'replace').splitlines():
        if re.match(r'\w+: ', line):
            suite = line.split(':')[0]
        elif re.match(r'\W+ \w+$', line):
            yield f'{suite}::{line.split()[-1]}'


def verdict_of(label, name, part, over):
    """What a test's part of the output says of it."""
    ended = [m for m in map(ENDED.search, part.splitlines()) if m and m[2] == name]
    if over:
        return Outcome(label, name, 'failed', over, part, 0)
    if SANITIZER.search(part):
        return Outcome(label, name, 'failed', 'a sanitizer reported', part, 0)
    if not ended:
        return Outcome(label, name, 'failed', 'it ended without a word', part, 0)
    return Outcome(label, name, VERDICTS[ended[0][1]], ended[0][3] if ended[0][1] == 'SKIP' else None, part, 0)


def run_suite(label, limit_s, words):
    """All tests of a program, in one run if none hangs or takes the program with it; else in as many as it takes."""
    try:
        left = list(list_tests(words))
    except (OSError, subprocess.SubprocessError) as e:
        return [Outcome(label, 'the whole', 'failed', str(e), '', 0)]
    outcomes = []
    pick = []  # all; Criterion is slow at long patterns, so what the first run did not come to goes one by one
    while left:
        run = Command(words + ['--verbose', '--color=never', '-j1', *pick], limit_s, BEGUN)
        parts = re.split(r'^(?=.*\[RUN \] )', run.output, flags=re.M)
        begun = [(m[1], part) for m, part in ((BEGUN.search(part), part) for part in parts) if m and m[1] in left]
        over = run.trouble(limit_s) if run.timed_out else None
        new = [verdict_of(label, name, part, over if part is begun[-1][1] else None) for name, part in begun]
        if not new:
            new = [Outcome(label, left[0], 'failed', over or 'it never began', run.output, 0)]
        elif run.code and not over and all(o.verdict != 'failed' for o in new):
            new.append(Outcome(label, 'the whole', 'failed', run.trouble(limit_s), run.output, 0))
        new[-1] = new[-1]._replace(seconds=run.seconds)
        outcomes += new
        left = [name for name in left if name not in {o.name for o in new}]
        pick = ['--filter=' + left[0].replace('::', '/')] if left else []
    return outcomes


def calls_of(plan):
    """The plan as functions to call, each of which returns outcomes."""
    for line in plan:
        kind, label, limit_s, command = line.rstrip('\n').split('\t')
        run = {'tap': run_tap, 'suite': run_suite}[kind]
        yield lambda run=run, a=(label, int(limit_s), shlex.split(command)): run(*a)


class Tally:
    """Prints each failure when it comes, and the rest at the end."""

    def __init__(self):
        self.printed = set()
        self.all = []

    def add(self, outcomes, position):
        self.all += outcomes
        count = collections.Counter(o.verdict for o in outcomes)
        first = outcomes[0]
        print(f'{position} {first.label}: {first.name.split("::")[0]}: {count["passed"]} of {len(outcomes)} passed, '
              f'{sum(o.seconds for o in outcomes):.1f} s')
        for o in outcomes:
            if o.verdict == 'failed':
                self.print_failure(o)
        sys.stdout.flush()

    def print_failure(self, o):
        print(f'\nFAILED {o.label}: {o.name}' + (f' ({o.reason})' if o.reason else ''))
        if (o.label, o.output) in self.printed:
            return
        self.printed.add((o.label, o.output))
        for line in o.output[-OUTPUT_MOST:].splitlines():
            print('    ' + line)

    def close(self):
        labels = collections.defaultdict(collections.Counter)
        reasons = collections.Counter()
        for o in self.all:
            labels[o.label][o.verdict] += 1
            labels[o.label]['ms'] += int(o.seconds * 1000)
            if o.verdict == 'skipped':
                reasons[o.label, o.reason or 'no reason given'] += 1
        print()
        for label, n in labels.items():
            counts = ', '.join(f'{n[v]} {v}' for v in ('passed', 'failed', 'skipped') if n[v])
            print(f'{label:44} {n["ms"] / 1000:7.1f} s  {counts}')
        for (label, reason), n in reasons.items():
            print(f'skipped {n} of {label}: {reason}')
        for o in self.all:
            if o.verdict == 'failed':
                print(f'failed: {o.label}: {o.name}')
        count = collections.Counter(o.verdict for o in self.all)
        print(f'{count["passed"]} passed, {count["failed"]} failed, {count["skipped"]} skipped')
        sys.stdout.flush()
        return 1 if count['failed'] or not count['passed'] else 0


def run_plan(plan, at_a_time):
    tally = Tally()
    with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
        jobs = [pool.submit(call) for call in calls_of(plan)]
        for number, done in enumerate(concurrent.futures.as_completed(jobs), 1):
            tally.add(done.result(), f'{number}/{len(jobs)}')
    return tally


SELF_CHECK = [
    ('echo ok 1 - a; echo not ok 2 - b; echo "ok 3 - c # SKIP no d"', (1, 1, 1)),
    ('echo ok 1 - a; exit 3', (1, 1, 0)),
    ('true', (1, 0, 0)),
    ('false', (0, 1, 0)),
    ('kill -SEGV $$', (0, 1, 0)),
    ('sleep 60 & wait', (0, 1, 0)),
    ('echo nothing to see; exit 77', (0, 0, 1)),
    ('echo ok 1 - a; echo "==7==ERROR: LeakSanitizer: detected memory leaks"', (1, 1, 0)),
]


# A test program in little. With a second run only for what the first did not come to.
SUITE_CHECK = '''
case "$*" in *--list*) printf "s: 6 tests\\n├── a\\n├── b\\n├── c\\n|-- d\\n|-- e\\n\`-- f\\n"; exit;; esac
case "$*" in *=s/f*) echo "[RUN ] s::f"; echo "[PASS] s::f"; exit;; esac
echo "[RUN ] s::a"; echo "[PASS] s::a"
echo "[RUN ] s::b"; echo "it says why"; echo "[FAIL] s::b"
echo "[RUN ] s::c"; echo "[SKIP] s::c: no such thing"
echo "[RUN ] s::d"; echo "[PASS] s::d"; echo "ERROR: LeakSanitizer"
echo "[RUN ] s::e"; sleep 60
'''


def self_check():
    """A tally that cannot fail is worth nothing."""
    cases = [(run_tap, script, expected) for script, expected in SELF_CHECK] + [(run_suite, SUITE_CHECK, (2, 3, 1))]
    failed = 0
    for i, (run, script, expected) in enumerate(cases, 1):
        count = collections.Counter(o.verdict for o in run('self-check', 2, ['sh', '-c', script, 'sh']))
        found = count['passed'], count['failed'], count['skipped']
        failed += found != expected
        print(f'{"ok" if found == expected else "not ok"} {i} - what makes {expected} is counted as {found}')
    return failed != 0


def main():
    args = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    args.add_argument('--at-a-time', type=int, default=len(os.sched_getaffinity(0)))
    args.add_argument('--self-check', action='store_true')
    args.add_argument('plan', nargs='?')
    args = args.parse_args()
    if args.self_check:
        return self_check()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    sys.stdout.reconfigure(errors='replace')
    with open(args.plan, encoding='utf-8') as plan:
        return run_plan(plan, args.at_a_time).close()


if __name__ == '__main__':
    sys.exit(main())
