#!/usr/bin/env python3
"""tracking.py - a change is called where there is one and hardly ever where there is none, and what a run found is
kept. TAP. Made-up samples throughout: nothing is measured."""
import random
import subprocess
import sys

import made_up
import compare
import history
import past
import readme
import results
import stats

ROUNDS = compare.ROUNDS
RUNS = 100
NOISE = .05  # of one sample; with spells in which everything takes twice as long


def samples(rng, ns):
    return [{'round': index, 'value': ns * spell * rng.lognormvariate(0, NOISE)}
            for index, spell in enumerate(rng.spells)]


def called(seed, effect):
    """What is said of a program whose time is `effect` times that of the old one."""
    rng = random.Random(seed)
    rng.spells = [rng.choice((1, 1, 2)) for _ in range(ROUNDS)]
    sides = {side: samples(rng, 100 * factor) for side, factor in (('old', 1), ('new', effect), ('again', effect))}
    return compare.row(('made up', '', 'none'), sides, None).verdict


def ten_percent_are_called_in_95_of_100_runs(_):
    for effect, verdict in ((1.1, 'slower'), (1 / 1.1, 'faster')):
        found = [called(seed, effect) for seed in range(RUNS)]
        assert found.count(verdict) >= .95 * RUNS, found.count(verdict)
        assert set(found) <= {verdict, 'no change seen'}


def nothing_is_called_in_95_of_100_runs(_):
    found = [called(seed, 1) for seed in range(RUNS)]
    assert found.count('no change seen') >= .95 * RUNS, found.count('no change seen')


def an_effect_smaller_than_that_of_two_processes_is_not_called(_):
    ratio = {'neighbours': 1.04, 'low': 1.02, 'high': 1.06}
    assert stats.change(ratio) == 'slower'
    assert stats.change(ratio, {'neighbours': 1.03, 'low': 1, 'high': 1.05}) == 'slower'
    assert stats.change(ratio, {'neighbours': .95, 'low': .9, 'high': 1.01}) is None
    assert stats.change({'neighbours': 1.04, 'low': .99, 'high': 1.06}) is None


def a_bench_with_trouble_is_told(_):
    found = compare.Figures()
    found.add(('lock', '', 'epoll'), 'new', {'round': 0, 'value': 1})
    found.fail(('lock', '', 'epoll'), 'old', 'a wrong answer')
    found.fail(('timers', '', 'epoll'), 'old', 'has none', failed=False)
    rows = compare.rows_of(found)
    assert [row.failed for row in rows] == [True, False]
    assert 'FAILED: old: a wrong answer' in compare.table(rows) and 'skipped: old: has none' in compare.table(rows)


def what_is_kept_is_small_and_is_drawn(folder):
    document = folder / 'README.md'
    document.write_text(f'before\n\n{readme.block("")}\n\nafter\n', encoding='utf-8')
    for commit, day in (('aaaaaaa', 24), ('bbbbbbb', 25)):
        kept = history.keep(made_up.result(commit, f'2026-11-{day}T00:00:00+00:00'), folder, document)
        assert kept.name == f'2026-11-{day}-{commit}.json'
        assert '"samples"' not in kept.read_text(encoding='utf-8')
        assert commit in document.read_text(encoding='utf-8')
        assert readme.is_as_written(document.read_text(encoding='utf-8'), folder)
    drawn = past.section(past.with_result(results.load_history(folder), made_up.result()))
    for commit in ('aaaaaaa', 'bbbbbbb', '1a2b3c4'):
        assert commit in str(drawn), commit


def what_is_not_committed_is_not_kept(folder):
    def git(*words):
        subprocess.run(['git', '-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b', *words], check=True,
                       capture_output=True, stdin=subprocess.DEVNULL)

    git('init', '--quiet')
    (folder / 'core').mkdir()
    for name in ('README.md', 'core/loop.c'):
        (folder / name).write_text('as it was\n', encoding='utf-8')
    git('add', '.')
    git('commit', '--quiet', '--message', 'all')
    assert history.obstacle(folder) is None
    (folder / 'README.md').write_text('of another run\n', encoding='utf-8')
    assert history.obstacle(folder) is None
    (folder / 'core/loop.c').write_text('faster\n', encoding='utf-8')
    assert 'core/loop.c' in history.obstacle(folder)


if __name__ == '__main__':
    sys.exit(made_up.tap([
        ten_percent_are_called_in_95_of_100_runs,
        nothing_is_called_in_95_of_100_runs,
        an_effect_smaller_than_that_of_two_processes_is_not_called,
        a_bench_with_trouble_is_told,
        what_is_kept_is_small_and_is_drawn,
        what_is_not_committed_is_not_kept,
    ]))
