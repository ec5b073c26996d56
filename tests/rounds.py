#!/usr/bin/env python3
"""rounds.py - a full bench/run goes round everybody ten times, in bursts of 0.2 s; and where a figure has fewer
rounds, the table, the page and README say so. TAP. Nothing is measured."""
import pathlib
import sys
import types
from unittest import mock

import made_up
import contestants
import echo
import findings
import micro
import pipeline
import readme
import setting
import table
import tasks
import web

ROUNDS_LEAST = 10
BURST_LEAST_S = 0.2
FULL_MOST_S = 28 * 60
QUICK_MOST_S = 2 * 60
FULL, QUICK = (types.SimpleNamespace(quick=quick, peers=None, build=pathlib.Path('/'), python=pathlib.Path('/'))
               for quick in (False, True))


def turns_of(name, bench):
    """In how many of a full run's rounds it takes part."""
    entry = tasks.Entry(bench, name, None, FULL)
    return sum(entry.takes_part(index) for index in range(tasks.Pace.of(FULL).rounds))


def everybody_has_ten_rounds_of_every_bench(_):
    for shape in echo.shapes(FULL):
        assert shape.burst_s >= BURST_LEAST_S, shape
        for who in contestants.echo_servers(FULL, 1):
            assert shape.rounds_of(who) >= ROUNDS_LEAST, (shape, who.name)
    assert pipeline.burst_s(FULL) >= BURST_LEAST_S
    for who in contestants.echo_servers(FULL, 1):
        assert pipeline.rounds_of(who, FULL) >= ROUNDS_LEAST, who.name
    rounds, burst_s = web.size_of(FULL)
    assert rounds >= ROUNDS_LEAST and burst_s >= BURST_LEAST_S
    assert tasks.Pace.of(FULL).burst_s >= BURST_LEAST_S
    for bench in tasks.BENCHES:
        for name in tasks.ORDER:
            assert turns_of(name, bench) >= ROUNDS_LEAST, (bench.name, name)


def a_run_takes_as_long_as_was_promised(_):
    with mock.patch.object(pathlib.Path, 'exists', lambda path: True):  # everybody was built
        for context, most_s in ((FULL, FULL_MOST_S), (QUICK, QUICK_MOST_S)):
            total_s = sum(module.estimate_s(context) for module in (pipeline, echo, web, tasks, micro))
            assert total_s <= most_s, total_s


def the_burst_of_a_machine_that_became_fast_is_not_short(_):
    """However long the count took that was found beforehand."""
    clock = types.SimpleNamespace(now_s=0.0, each_s=1e-6)

    def ask(bench, count, right):
        clock.now_s += count * clock.each_s
        return {'cpu_ns': count * clock.each_s * 1e9, 'wall_ns': count * clock.each_s * 1e9}

    program = types.SimpleNamespace(ask=ask, cpu_ns=lambda: round(clock.now_s * 1e9))
    with mock.patch.object(tasks.time, 'monotonic', lambda: clock.now_s):
        for bench in tasks.BENCHES:
            clock.each_s = 1e-6
            entry = tasks.Entry(bench, 'coil-epoll', program, FULL)
            entry.find_count()
            for each_s in (1e-6, 1e-7, 3e-6):
                clock.each_s = each_s
                entry.burst(0)
                assert entry.bursts[-1]['took_s'] >= BURST_LEAST_S, (bench.name, each_s, entry.bursts)
                assert abs(entry.bursts[-1]['value'] - each_s * 1e9) < 1, entry.bursts


def a_figures_rounds_are_in_the_table(_):
    result = made_up.result()
    for module in result['modules']:
        for row in module['rows']:
            cells = table.cells_of(row)
            assert cells['n'] == str(len(row['samples']) or ''), cells
    assert '  n  ' in table.terminal(result)


def fewer_rounds_are_told_and_why(_):
    text = findings.rounds_words(made_up.result())
    assert 'Memory is taken once' in text and 'Tasks, sleepers 1.' in text and 'Echo' not in text, text
    for told in (table.terminal(made_up.result()), readme.text(made_up.result(), 'name'),
                 setting.method(made_up.result())):
        assert 'sleepers 1.' in ' '.join(told.split()), told


def a_quick_runs_fewer_rounds_are_told(_):
    whole = made_up.result()
    modules = [{**module, 'rows': [{**row, 'rounds': row['rounds'] and min(row['rounds'], 4)}
                                   for row in module['rows']]} for module in whole['modules']]
    text = findings.rounds_words({**whole, 'quick': True, 'modules': modules})
    assert 'A quick run has fewer: Echo 4; Tasks, spawn_join 4.' in text, text


def a_result_from_before_rounds_were_counted_says_nothing_of_them(_):
    whole = made_up.result()
    modules = [{**module, 'rows': [{**row, 'rounds': None} for row in module['rows']]} for module in whole['modules']]
    assert findings.rounds_words({**whole, 'modules': modules}) == ''


TESTS = [everybody_has_ten_rounds_of_every_bench, a_run_takes_as_long_as_was_promised,
         the_burst_of_a_machine_that_became_fast_is_not_short, a_figures_rounds_are_in_the_table,
         fewer_rounds_are_told_and_why, a_quick_runs_fewer_rounds_are_told,
         a_result_from_before_rounds_were_counted_says_nothing_of_them]


if __name__ == '__main__':
    sys.exit(made_up.tap(TESTS))
