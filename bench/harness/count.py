#!/usr/bin/env python3
"""How many instructions coil spends on an operation, and whether that has become more.

Valgrind counts them, so the figure does not depend on the machine's mood: the same program gives
the same count. Each bench runs twice, and the difference, (I(many) - I(few)) / (many - few), has no
start and no end of a program in it. What the kernel does is not counted.

    count.py [--base REV]   fails if a bench takes 3 % more than at REV
                            REV..REV: of two; handicap: of this tree, built slower on purpose

Without --base: the last release, or the first commit of this commit's day. A rise on purpose is
accepted by a line in the message of a commit since then, which may name the benches it is about:

    bench: accept
    bench: accept spawn_join, skynet

Exit status: 0, 1 if there is more, 77 if there is nothing to compare with.
"""

import argparse
import collections
import concurrent.futures
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

import process
import revision

SKIPPED = 77
LIMIT = 0.03                        # more than that is too much
SOURCE = "bench/tasks/coil.c"
BACKENDS = ("epoll", "io_uring")
RUN_LIMIT_S = 60
LOOKS = 4                           # the least of so many counts, where one is in doubt
FEW, MANY = 2000, 4000
# (few, many), where others are wanted. pool_call is not among them: valgrind lets one thread run at
# a time, and not while another waits for the ring.
BENCHES = {
    "yield": None, "spawn_join": None, "channel_round_trip": None, "lock": None,
    "lock_hand_over": None, "event_set": None, "select_ready": None, "timers": None,
    "timeout_scope": None, "cancel_join": None, "cancel_tree": None, "skynet": (1000, 10000),
    "echo_round_trip": None, "file_read": None,
}


VERDICTS = ("MORE", "more, and accepted", "FAILED", "skipped")


class NoCount(Exception):
    """The bench did not run; the text says why."""


# --- Counting ------------------------------------------------------------------------------------

@functools.cache
def prefix():
    """Callgrind, in a world that is the same each time: no environment, and addresses in order."""
    still = ["setarch", "-R"]
    allowed = shutil.which("setarch") and subprocess.run(
        still + ["true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        stdout=subprocess.DEVNULL).returncode == 0
    return process.pinned(None) + (still if allowed else []) + [
        "valgrind", "--tool=callgrind", "--command-line-only=yes",
        "--callgrind-out-file=/dev/null"]


def run(words):
    """(exit status, what it wrote)"""
    try:
        done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                              timeout=RUN_LIMIT_S, check=False, env={"PATH": os.defpath})
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired:
        return None, f"no end within {RUN_LIMIT_S} s"


def instructions(program, backend, bench, count):
    """All that one run of the program executes, its start and end with it."""
    status, text = run([*prefix(), program, "--backend", backend, "--run", bench, count])
    collected = re.search(r"Collected : (\d+)", text)
    if status == 0 and collected:
        return int(collected[1])
    own = [line for line in text.splitlines() if line.strip() and not line.startswith(("==", "--"))]
    raise NoCount(own[-1] if own else f"status {status}: {text.strip().splitlines()[-1:]}")


def counts_of(bench):
    return BENCHES[bench] or (FEW, MANY)


@dataclass
class Bench:
    """One bench of one program on one backend."""

    program: str
    backend: str
    name: str
    trouble: str = None

    def __post_init__(self):
        self.least = {}             # by how often the operation was done
        self.exact = True           # every look saw the same

    def look(self):
        try:
            for count in counts_of(self.name):
                found = instructions(self.program, self.backend, self.name, count)
                self.exact &= found == self.least.get(count, found)
                self.least[count] = min(found, self.least.get(count, found))
        except NoCount as e:
            self.trouble = str(e)

    @property
    def value(self):
        few, many = counts_of(self.name)
        return (self.least[many] - self.least[few]) / (many - few)


def look_at(benches):
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(Bench.look, benches))


# --- Two of them ---------------------------------------------------------------------------------

@dataclass
class Row:
    old: Bench
    new: Bench

    @property
    def change(self):
        """None: there are no two figures."""
        if self.old.trouble or self.new.trouble:
            return None
        return self.new.value / self.old.value - 1

    @property
    def is_more(self):
        return self.change is not None and self.change > LIMIT


def compared(old, new, backends, benches):
    """A row for each bench on each backend, of two programs.

    Nearly all counts are exact. Where threads have a part in it, or the time at which completions
    come, there is a least count, which is often reached; before a rise is believed, everything is
    counted again, and what was not exact several times."""
    rows = [Row(Bench(old, backend, name), Bench(new, backend, name))
            for backend in backends for name in benches]
    look_at([bench for row in rows for bench in (row.old, row.new)])
    for looks in range(1, LOOKS):
        look_at([bench for row in rows if row.is_more for bench in (row.old, row.new)
                 if looks == 1 or not bench.exact])
    return rows


def running(program):
    """({backend: why not}, the others)"""
    told = {}
    for backend in BACKENDS:
        one_lock = ["--backend", backend, "--run", "lock", 1]
        for before, where in (([], "here"), (prefix(), "under valgrind")):
            status, text = run([*before, program, *one_lock])
            if status != 0:
                told[backend] = f"does not run {where}: {''.join(text.splitlines()[-1:])}"
                break
    return told, [backend for backend in BACKENDS if backend not in told]


# --- What it is compared with --------------------------------------------------------------------

def is_shallow(root):
    return revision.git("rev-parse", "--is-shallow-repository", root=root) == "true"


def last_release(root):
    """The newest tag v... before this commit; None."""
    for start in ("HEAD", "HEAD^"):         # a release is held against the one before it
        try:
            tag = revision.git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", start,
                               root=root)
        except revision.Unavailable:
            return None
        if revision.git("rev-list", "-1", tag, root=root) != revision.git("rev-parse", "HEAD",
                                                                          root=root):
            return tag
    return None


def first_of_the_day(root):
    """The first commit on the day of this one, in UTC, of those that it follows by first parents;
    or its first parent, if that is this one."""
    log = revision.git("log", "--first-parent", "--format=%H %ct", root=root)
    commits = [(sha, int(seconds) // 86400) for sha, seconds in map(str.split, log.splitlines())]
    that_day = [sha for sha, day in commits if day == commits[0][1]]
    if len(that_day) > 1:
        return that_day[-1]
    if len(commits) > 1:
        return commits[1][0]
    raise revision.Unavailable("this is the first commit there is"
                               + (", the clone being shallow" if is_shallow(root) else ""))


def default_base(root=revision.ROOT):
    return last_release(root) or first_of_the_day(root)


# --- Rises on purpose ----------------------------------------------------------------------------

def accepted(messages):
    """The benches whose rise these commit messages accept. A line that goes on with anything but
    names of benches is no such line: it may be a commit's first, which looks alike."""
    found = set()
    for line in re.findall(r"^\s*bench: accept\b:?(.*)$", messages, re.M):
        names = set(re.split(r"[,\s]+", line.strip())) - {""}
        if names <= set(BENCHES):
            found |= names or set(BENCHES)
    return found


def accepted_since(old, new="HEAD", root=revision.ROOT):
    return accepted(revision.git("log", "--format=%B", f"{old}..{new}", root=root))


# --- In words ------------------------------------------------------------------------------------

def verdict(row, on_purpose):
    if row.new.trouble:
        return f"FAILED: {row.new.trouble}"
    if row.old.trouble:
        return f"skipped: the base does not run it: {row.old.trouble}"
    if row.is_more:
        return "more, and accepted" if row.new.name in on_purpose else "MORE"
    return "less" if row.change < -LIMIT else ""


def table(rows, on_purpose):
    lines = [f"{'instructions an operation':25} {'backend':9} {'base':>10} {'now':>10} {'change':>8}"]
    for row in rows:
        values = [f"{bench.value:10,.1f}" if not bench.trouble else f"{'-':>10}"
                  for bench in (row.old, row.new)]
        change = f"{row.change * 100:+7.1f}%" if row.change is not None else f"{'-':>8}"
        line = f"{row.new.name:25} {row.new.backend:9} {' '.join(values)} {change}"
        lines.append(f"{line}  {verdict(row, on_purpose)}".rstrip())
    return "\n".join(lines)


def status_of(rows, on_purpose):
    """1: some bench takes more than it may, or does not run any more."""
    return int(any(row.new.trouble or (row.is_more and row.new.name not in on_purpose)
                   for row in rows))


def pronounce(rows, on_purpose):
    print(table(rows, on_purpose))
    counts = collections.Counter(verdict(row, on_purpose).split(":")[0] for row in rows)
    told = [f"{counts[word]} {word}" for word in VERDICTS if counts[word]]
    print(f"{len(rows)} counts, over {LIMIT * 100:g} % more: " + (", ".join(told) or "none"))
    if status_of(rows, on_purpose):
        print("A rise that is meant is accepted by a line `bench: accept`, perhaps with names of "
              "benches after it, in the commit's message.")
    return status_of(rows, on_purpose)


# --- The whole -----------------------------------------------------------------------------------

def built(one):
    print(f"count: building {one.name}", file=sys.stderr, flush=True)
    revision.build(one)
    program, whose = revision.program(one, SOURCE)
    if whose != "this tree's":
        print(f"{one.name} cannot do all that this tree's {SOURCE} asks; its own is counted")
    return program


def held_against(old, new, old_program):
    new_program = built(new)
    print(f"{old.name} -> {new.name}")
    told, backends = running(new_program)
    for backend, why in told.items():
        print(f"skipped {backend}: it {why}")
    if not backends:
        return SKIPPED
    on_purpose = accepted_since(old.commit, new.commit or "HEAD") if old.commit else set()
    return pronounce(compared(old_program, new_program, backends, BENCHES), on_purpose)


def count(rev):
    """Counts, compares, and says so. The exit status."""
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed")
        return SKIPPED
    try:
        old, new = revision.pair(rev or default_base())
        old_program = built(old)
    except revision.Unavailable as e:
        if rev:
            raise
        print(f"skipped, there is nothing to compare with: {e}")
        return SKIPPED
    return held_against(old, new, old_program)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", help="the revision to compare with")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that children are ended
    try:
        return count(options.base)
    except revision.Unavailable as e:
        print(f"FAILED: {e}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
