"""made_up.py - a small result of bench/run that nobody measured, with one of everything, for the tests of what is
made from results."""
import functools
import pathlib
import random
import sys
import tempfile
import traceback
import types

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'bench' / 'harness'))

import results  # noqa: E402
import rows  # noqa: E402

TWINS = {'coil-io_uring': 'coil-io_uring-again', 'coil-epoll': 'coil-epoll-again'}
WRONG = 'byte 7 of 64 is "<b>&" where \'x\' was sent'
MACHINE = {'cpu': 'A Processor', 'cores': 2, 'architecture': 'x86_64', 'memory_kib': 4 << 20, 'system': 'Debian',
           'kernel': '6.1.0', 'virtual': 'kvm', 'governor': None, 'smt': 'off', 'turbo': None,
           'mitigations': {'retbleed': 'Vulnerable'}, 'loopback_mtu': '65536', 'load_before': 0.1}


def samples(rng, ns, count=12):
    return [{'round': index, 'value': ns * rng.uniform(1, 1.02)} for index in range(count)]


def echo(rng, coil=1.03):
    """Coil on epoll is off itself; libuv is ahead of both; trio answers wrongly, tokio could not be built."""
    costs = {'coil-io_uring': coil, 'raw_uring': 1, 'coil-io_uring-again': coil, 'coil-epoll': coil,
             'raw_epoll': 1, 'coil-epoll-again': 1.3 * coil, 'libuv': .95, 'asyncio': 1.7}
    made = [rows.measured('echo', '64 connections, 1 KiB', name, 'ns CPU/request', samples(rng, 5000 * cost),
                          {'requests/s': 123456, 'p99.9 us': 99.5}, ['client-bound 3/12'] if name == 'libuv' else [])
            for name, cost in costs.items()]
    made += [rows.troubled('echo', '64 connections, 1 KiB', 'trio', WRONG, failed=True),
             rows.troubled('echo', '64 connections, 1 KiB', 'tokio', 'was not built')]
    rows.hold_against(made, {'coil-io_uring': 'raw_uring', 'coil-io_uring-again': 'raw_uring',
                             'coil-epoll': 'raw_epoll', 'coil-epoll-again': 'raw_epoll'}, TWINS, 1.02)
    return made


def tasks(rng):
    """So far apart that the scale must be logarithmic; a single sample; a figure of nought; none at all."""
    costs = {'coil-io_uring': 20, 'coil-io_uring-again': 20, 'coil-epoll': 21, 'coil-epoll-again': 21, 'go': 240,
             'asyncio': 6000}
    made = [rows.measured('spawn_join', '', name, 'ns CPU/op', samples(rng, ns)) for name, ns in costs.items()]
    for row in made[:4]:
        row['limit_value'] = 80
    made += [rows.measured('sleepers', '1,000,000', name, 'bytes/task', samples(rng, size, 1))
             for name, size in (('coil-io_uring', 4230), ('coil-epoll', 0), ('go', 2700))]
    made += [rows.troubled('sleepers', '1,000,000', 'libuv', 'has none: no tasks'),
             rows.troubled('timers', '', 'go', 'has none: "timers" & such')]
    return made


@functools.cache
def result(commit='1a2b3c4', when='2026-11-27T20:15:00+00:00', coil=1.03, failing=True):
    rng = random.Random(7)
    echo_rows = [row for row in echo(rng, coil) if failing or not row['failed']]
    modules = [(types.SimpleNamespace(NAME='echo', TITLE='Echo'), echo_rows),
               (types.SimpleNamespace(NAME='tasks', TITLE='Tasks'), tasks(rng))]
    context = types.SimpleNamespace(quick=False, python=sys.executable, build=ROOT / 'build' / 'none')
    made = results.collect(modules, context, MACHINE, ['wrk could not be installed'],
                           {name: f'{ROOT}/build/{name} --port PORT' for name in ('coil-io_uring', 'go')},
                           {'nginx.conf': 'worker_processes 1;\n'})
    return {**made, 'when': when, 'versions': {**made['versions'], 'coil': commit, 'nginx': None}}


def tap(tests):
    """Each in an empty folder; one that returns a text was skipped, for that reason."""
    failed = 0
    for number, test in enumerate(tests, 1):
        name = test.__name__.replace('_', ' ')
        try:
            with tempfile.TemporaryDirectory() as folder:
                skipped = test(pathlib.Path(folder))
        except Exception:  # whatever it is, the test failed
            failed += 1
            print(traceback.format_exc(), f'not ok {number} - {name}', sep='')
            continue
        print(f'ok {number} - {name}' + (f' # SKIP {skipped}' if skipped else ''))
    print(f'1..{len(tests)}')
    return failed != 0
