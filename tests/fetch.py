#!/usr/bin/env python3
"""fetch.py - bench/run has nginx from its package where there is none, or says why it has not. TAP.

It is run in a folder of its own, with stand-ins for all that installs, builds and measures.
"""
import pathlib
import shutil
import subprocess
import sys

import made_up

PATIENCE_S = 60
REAL = ('bash', 'cat', 'chmod', 'cmp', 'cp', 'dirname', 'env', 'grep', 'mkdir', 'mv', 'rm', 'tail', 'timeout', 'touch')
NOTHING = ('apt', 'c++', 'cargo', 'cc', 'git', 'go', 'h2load', 'meson', 'ninja', 'pkg-config', 'redis-benchmark',
           'setpriv', 'strace', 'taskset', 'wrk')
FOUND = 'for x; do [ "$x" != download ] || touch nginx_1_amd64.deb; done'
NOT_FOUND = 'for x; do [ "$x" != download ] || { echo "E: Unable to locate package nginx" >&2; exit 100; }; done'
FOUND_ONCE_UPDATED = f'''
for x; do [ "$x" != update ] || touch "$0.updated"; done
[ -e "$0.updated" ] || {{ {NOT_FOUND}; }}
{FOUND}'''
UNPACKS = 'mkdir -p usr/sbin; echo whole >usr/sbin/nginx; chmod +x usr/sbin/nginx'
DIES = f'{UNPACKS}; echo half >usr/sbin/nginx; exit 2'
ELSEWHERE = [place for place in ('/usr/sbin/nginx', '/usr/local/sbin/nginx') if pathlib.Path(place).exists()]


def stand_in(folder, name, text='exit 0'):
    file = folder / 'bin' / name
    file.write_text(f'#!{shutil.which("bash")}\n{text}\n', encoding='utf-8')
    file.chmod(0o755)


def clone(folder):
    """bench/run and what it sources, and a PATH in which there is no nginx."""
    for name in ('bench/run', 'tests/packages.sh', 'bench/peers/python/requirements.txt'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made_up.ROOT / name, folder / name)
    (folder / 'bin').mkdir()
    for name in REAL:
        (folder / 'bin' / name).symlink_to(shutil.which(name))
    for name in NOTHING:
        stand_in(folder, name)
    stand_in(folder, 'id', 'echo 0')
    stand_in(folder, 'python3', 'echo "measured with $*"')
    stand_in(folder, 'ldd', 'echo "libc.so.6 => /lib/libc.so.6"')


def run(folder, apt_get=FOUND, dpkg=UNPACKS):
    """What is measured with."""
    stand_in(folder, 'apt-get', apt_get)
    stand_in(folder, 'dpkg', dpkg)
    done = subprocess.run(
        ['bash', folder / 'bench/run', '--list'], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False, env={'PATH': str(folder / 'bin'), 'HOME': str(folder)})
    assert 'measured with' in done.stdout, done.stdout + done.stderr
    return done.stdout


def program(folder):
    file = folder / 'build/bench/nginx/usr/sbin/nginx'
    return file.read_text(encoding='utf-8').strip() if file.exists() else None


def it_is_fetched_where_there_is_none(folder):
    clone(folder)
    assert 'nginx' not in run(folder)
    assert program(folder) == 'whole'
    assert 'nginx' not in run(folder, NOT_FOUND), 'what is there is not fetched again'


def what_is_installed_is_enough(folder):
    clone(folder)
    stand_in(folder, 'nginx')
    assert 'nginx' not in run(folder, NOT_FOUND)
    assert program(folder) is None


def an_index_too_old_is_renewed(folder):
    clone(folder)
    assert 'nginx' not in run(folder, FOUND_ONCE_UPDATED)
    assert program(folder) == 'whole'


def why_it_could_not_be_had_is_told(folder):
    clone(folder)
    said = run(folder, NOT_FOUND)
    assert 'nginx: could not be fetched' in said and 'Unable to locate package nginx' in said, said
    stand_in(folder, 'ldd', 'echo "libpcre2-8.so.0 => not found"')
    said = run(folder)
    assert 'libpcre2-8.so.0 => not found' in said, said
    assert program(folder) is None


def half_of_it_is_no_program(folder):
    clone(folder)
    assert 'nginx: could not be fetched' in run(folder, dpkg=DIES)
    assert program(folder) is None
    assert 'nginx' not in run(folder)
    assert program(folder) == 'whole'


def unless_installed(test):
    def skipped(folder):
        return f'{ELSEWHERE[0]} is installed' if ELSEWHERE else test(folder)
    skipped.__name__ = test.__name__
    return skipped


TESTS = [unless_installed(test) for test in (
    it_is_fetched_where_there_is_none, what_is_installed_is_enough, an_index_too_old_is_renewed,
    why_it_could_not_be_had_is_told, half_of_it_is_no_program)]


if __name__ == '__main__':
    sys.exit(made_up.tap(TESTS))
