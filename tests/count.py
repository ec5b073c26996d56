#!/usr/bin/env python3
"""count.py - the count of instructions is exact, notices a slower coil, and knows what to compare with. TAP.

The harness has a count.py too, which is what this is about.
"""
import functools
import os
import shutil
import subprocess
import sys

import made_up  # noqa: F401, it says where the harness is
import count
import revision

BENCHES = ('yield', 'spawn_join', 'channel_round_trip')
BACKENDS = ('epoll',)
NO_VALGRIND = 'valgrind is not installed'


@functools.cache
def programs():
    """Coil's tasks as they are, and slower on purpose."""
    return [count.built(one) for one in revision.pair(revision.HANDICAP)]


def a_count_is_the_same_twice(_):
    if not shutil.which('valgrind'):
        return NO_VALGRIND
    usual, _ = programs()
    for bench in BENCHES:
        first, second = (count.instructions(usual, 'epoll', bench, 1000) for _ in range(2))
        assert first == second, (bench, first, second)
    return None


def a_coil_that_is_slower_on_purpose_fails(_):
    if not shutil.which('valgrind'):
        return NO_VALGRIND
    rows = count.compared(*programs(), BACKENDS, BENCHES)
    print(count.table(rows, set()))
    assert all(row.is_more for row in rows)
    assert count.status_of(rows, set()) == 1
    assert count.status_of(rows, set(BENCHES[:2])) == 1, 'one was not accepted'
    assert count.status_of(rows, set(BENCHES)) == 0
    return None


def a_coil_that_is_the_same_passes(_):
    if not shutil.which('valgrind'):
        return NO_VALGRIND
    usual, _ = programs()
    rows = count.compared(usual, usual, BACKENDS, BENCHES)
    assert [row.change for row in rows] == [0] * len(BENCHES)
    assert count.status_of(rows, set()) == 0
    return None


def a_bench_that_does_not_run_any_more_fails_and_one_that_did_not_is_skipped(_):
    if not shutil.which('valgrind'):
        return NO_VALGRIND
    usual, _ = programs()
    for old, new, status in ((usual, '/bin/false', 1), ('/bin/false', usual, 0)):
        row, = count.compared(old, new, BACKENDS, ['lock'])
        assert row.change is None and count.status_of([row], set()) == status
        assert ('FAILED' if status else 'skipped') in count.verdict(row, set())
    return None


def a_rise_is_accepted_by_a_line_of_its_own(_):
    every = set(count.BENCHES)
    for message, benches in (
            ('core: more\n\nFor this and that.\n\nbench: accept\n', every),
            ('core: more\n\nbench: accept lock, skynet\n', {'lock', 'skynet'}),
            ('core: more\n\nbench: accept lock\nbench: accept timers\n', {'lock', 'timers'}),
            ('bench: accept what was given\n', set()),
            ('core: more\n\nlike `bench: accept` does\n', set()),
            ('core: more\n\nbench: acceptance\n', set()),
            ('', set())):
        assert count.accepted(message) == benches, message


class Clone:
    """A small repository of nothing but messages."""

    def __init__(self, folder):
        self.folder = folder
        self.git('init', '--quiet', '--initial-branch', 'main')

    def git(self, *words, day=1):
        when = f'2026-11-{day:02}T12:00:00+00:00'
        mine = {'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null', 'GIT_AUTHOR_DATE': when,
                'GIT_COMMITTER_DATE': when}
        who = {f'GIT_{role}_{what}': 'a@b' for role in ('AUTHOR', 'COMMITTER') for what in ('NAME', 'EMAIL')}
        return subprocess.run(['git', *words], cwd=self.folder, env={**os.environ, **mine, **who}, check=True,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()

    def commit(self, message, day):
        self.git('commit', '--quiet', '--allow-empty', '--message', message, day=day)
        return self.git('rev-parse', 'HEAD')


def it_is_compared_with_the_first_commit_of_the_day_or_the_one_before_it(folder):
    clone = Clone(folder)
    before = clone.commit('one', day=1)
    first = clone.commit('two', day=2)
    assert count.default_base(folder) == before
    clone.commit('three', day=2)
    clone.commit('four', day=2)
    assert count.default_base(folder) == first


def it_is_compared_with_the_last_release_and_a_release_with_the_one_before(folder):
    clone = Clone(folder)
    for tag in ('v0.1', 'v0.2'):
        clone.commit(tag, day=1)
        clone.git('tag', tag)
    assert count.default_base(folder) == 'v0.1'
    clone.commit('more', day=1)
    assert count.default_base(folder) == 'v0.2'


def without_a_commit_before_it_there_is_nothing_to_compare_with(folder):
    (folder / 'whole').mkdir()
    whole = Clone(folder / 'whole')
    for day in (1, 2):
        whole.commit('more', day=day)
    whole.git('clone', '--quiet', '--depth', '1', f'file://{folder}/whole', f'{folder}/shallow')
    try:
        base = count.default_base(folder / 'shallow')
    except revision.Unavailable as e:
        assert 'shallow' in str(e)
        return
    raise AssertionError(base)


def only_what_came_after_the_base_accepts(folder):
    clone = Clone(folder)
    base = clone.commit('core: one\n\nbench: accept lock', day=1)
    clone.commit('core: two\n\nbench: accept yield', day=1)
    assert count.accepted_since(base, root=folder) == {'yield'}
    assert count.accepted_since('HEAD', root=folder) == set()


if __name__ == '__main__':
    sys.exit(made_up.tap([
        a_count_is_the_same_twice,
        a_coil_that_is_slower_on_purpose_fails,
        a_coil_that_is_the_same_passes,
        a_bench_that_does_not_run_any_more_fails_and_one_that_did_not_is_skipped,
        a_rise_is_accepted_by_a_line_of_its_own,
        it_is_compared_with_the_first_commit_of_the_day_or_the_one_before_it,
        it_is_compared_with_the_last_release_and_a_release_with_the_one_before,
        without_a_commit_before_it_there_is_nothing_to_compare_with,
        only_what_came_after_the_base_accepts,
    ]))
