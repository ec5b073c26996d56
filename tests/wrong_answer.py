#!/usr/bin/env python3
"""wrong_answer.py - a contestant that lies, dies or hangs makes the benches' run fail, and the others go on. TAP.

The contestants are stand-ins, in the places where the built ones would be.
"""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HARNESS = pathlib.Path(__file__).resolve().parent.parent / 'bench' / 'harness' / 'tasks.py'
PATIENCE_S = 60
LIMIT_S = 1  # for a hanging contestant
PLACES = {'coil': 'bench/tasks_coil', 'go': 'peers/go/tasks', 'tokio': 'peers/tokio/release/tasks', 'python': 'python'}
STAND_IN = '''#!{python}
import json, os, sys, time

with open({pids!r}, 'a') as pids:
    print(os.getpid(), file=pids)
asleep = 0
print('ready to stand in', flush=True)
for line in sys.stdin:
    bench, count = line.split()[0], int(line.split()[1])
    answer = {{'timers': count // 100, 'select_ready': count * (count - 1) // 2, 'wake': asleep}}.get(bench, count)
    said = {{'bench': bench, 'count': count, 'cpu_ns': 1 + 10 * count, 'wall_ns': 1 + 20 * count, 'answer': answer}}
    asleep = count
{fault}
    print(json.dumps(said), flush=True)
'''
HONEST = '    pass'
LIES = "    said['answer'] += bench == 'lock'"
DIES = "    if bench == 'lock': sys.exit('out of luck')"
HANGS = "    if bench == 'lock': time.sleep(3600)"
BABBLES = "    if bench == 'lock': said = 'fine, thank you'"
ANSWERS_ANOTHER = "    if bench == 'lock': said['bench'] = 'yield'"
HAS_NONE = "    if bench == 'lock': said = {'bench': bench, 'error': 'has none: no locks here'}"
LOSES_A_SLEEPER = "    said['answer'] -= bench == 'wake'"


class Skip(Exception):
    """This machine lacks what the test is about."""


class Result:
    def __init__(self, status, said, rows, pids):
        self.status, self.said, self.pids = status, said, pids
        self.rows = {(row['bench'], row['contestant']): row for row in rows}

    def row(self, bench, contestant):
        return self.rows[bench, contestant]

    def others_have_figures(self, *without):
        for (bench, contestant), row in self.rows.items():
            if (bench, contestant) not in without:
                assert row['samples'], row


def run(only='yield,lock', peers='go,tokio', **faults):
    """Runs the harness among stand-ins, honest but for those named, e.g. go=LIES; None: not there."""
    with tempfile.TemporaryDirectory() as folder:
        build = pathlib.Path(folder)
        pids = build / 'pids'
        for name, place in PLACES.items():
            fault = faults.get(name, HONEST)
            if fault is not None:
                file = build / place
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(STAND_IN.format(python=sys.executable, pids=str(pids), fault=fault), encoding='utf-8')
                file.chmod(0o755)
        out = build / 'rows.json'
        done = subprocess.run(
            [sys.executable, HARNESS, '--build', build, '--python', build / PLACES['python'], '--quick', '--only', only,
             '--peers', peers, '--limit-s', str(LIMIT_S), '--out', out],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert out.exists(), done.stderr
        return Result(done.returncode, done.stdout, json.loads(out.read_text(encoding='utf-8')),
                      [int(pid) for pid in pids.read_text(encoding='utf-8').split()])


def failed_line(result, bench, contestant):
    """What is printed of it."""
    return next(line for line in result.said.splitlines()
                if line.split()[0] == bench and contestant in line.split() and 'FAILED' in line)


def fails(fault, word, **more):
    result = run(go=fault, **more)
    row = result.row('lock', 'go')
    assert result.status == 1, f'status {result.status}: {result.said}'
    assert row['failed'] and word in row['trouble'], row
    assert row['value'] is None and not row['samples'], row
    assert word in failed_line(result, 'lock', 'go')
    result.others_have_figures(('lock', 'go'))
    return result


def test_right_answers_are_a_run_that_did_not_fail():
    result = run()
    assert result.status == 0, result.said
    assert len(result.rows) == 2 * 6, result.rows.keys()
    result.others_have_figures()
    assert 'FAILED' not in result.said


def test_a_peer_that_lies_fails_the_run():
    fails(LIES, 'ought to be')


def test_a_peer_that_dies_fails_the_run_and_its_last_words_are_told():
    fails(DIES, 'ended, status 1: out of luck')


def test_a_peer_that_hangs_fails_the_run_in_bounded_time_and_is_gone():
    result = fails(HANGS, 'hung')
    for pid in result.pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            raise AssertionError(f'process {pid} is left')


def test_a_peer_that_answers_no_json_fails_the_run():
    fails(BABBLES, 'not an answer')


def test_a_peer_that_answers_something_else_fails_the_run():
    fails(ANSWERS_ANOTHER, 'not an answer to lock')


def test_a_lie_in_python_fails_the_run():
    result = run(python=LIES, peers='asyncio,trio')
    assert result.status == 1
    assert all(result.row('lock', name)['failed'] for name in ('asyncio', 'trio'))
    result.others_have_figures(('lock', 'asyncio'), ('lock', 'trio'))


def test_a_lie_of_coils_own_fails_the_run():
    result = run(coil=LIES)
    assert result.status == 1
    assert result.row('lock', 'coil-epoll')['failed'] and result.row('lock', 'coil-io_uring-again')['failed']
    assert result.row('lock', 'go')['samples'] and result.row('yield', 'coil-epoll')['samples']


def test_a_sleeper_that_is_lost_fails_the_run():
    result = run(only='sleepers', go=LOSES_A_SLEEPER)
    assert result.status == 1
    assert result.row('sleepers', 'go')['failed']
    result.others_have_figures(('sleepers', 'go'))


def test_what_a_peer_has_not_and_a_peer_that_is_not_there_are_skipped():
    result = run(go=HAS_NONE, tokio=None)
    assert result.status == 0, result.said
    assert result.row('lock', 'go')['trouble'] == 'has none: no locks here'
    assert result.row('yield', 'tokio')['trouble'] == 'not built'
    result.others_have_figures(('lock', 'go'), ('lock', 'tokio'), ('yield', 'tokio'))


def test_who_is_behind_is_told_so():
    slow = "    said['cpu_ns'] *= 3"
    result = run(only='yield', coil=slow, python=HONEST, peers='go,asyncio')
    row = result.row('yield', 'coil-epoll')
    assert 'behind go' in row['notes'] and 'behind asyncio' in row['notes'], row
    assert 0.3 < row['also']['x go'] < 0.4, row['also']
    assert row['ratio']['p20'] > row['limit'], row


def main():
    tests = [(name[5:], test) for name, test in globals().items() if name.startswith('test_')]
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        try:
            if not shutil.which('setpriv') or not shutil.which('taskset'):
                raise Skip('setpriv or taskset is not installed')
            test()
            print(f'ok {number} - {name}')
        except Skip as e:
            print(f'ok {number} - {name} # SKIP {e}')
        except Exception as e:  # whatever it is, it is this test's failure
            failed += 1
            print(f'# {type(e).__name__}: {e}\nnot ok {number} - {name}')
        sys.stdout.flush()
    print(f'1..{len(tests)}')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
