#!/usr/bin/env python3
"""Did coil become slower? Two revisions side by side, in one go: the tasks and echo, CPU for each.

    compare.py REV          this tree against REV
    compare.py REV..REV     the second against the first
    compare.py handicap     this tree built 10 % slower on purpose, against itself: will it notice?

Old, new, and the new one once more (A/A) are up at once and take turns in short bursts, the order
reversed in every other round. Each round has new processes: two processes of one program differ by
where their memory lies, and a difference that comes and goes with the process must not look like
one of the program.

A change is called only where the 95 % confidence interval of the median ratio of neighbours leaves
1 out, and the ratio is further from 1 than that of the A/A pair. One in twenty intervals leaves 1
out by chance: so the last line says of how many A/A pairs that was true.

Exit status: 0; with --strict 1 if something is slower; always 1 if an answer was wrong.
"""

import argparse
import random
import signal
import shutil
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import contestants
import echo
import process
import revision
import rows
import servers
import stats
import tasks
from asked import HasNone, Program

BACKENDS = ("io_uring", "epoll")
SIDES = ("new", "old", "again")     # in the order of a round: the old one between the two new ones
PROGRAMS = {"tasks": ["bench/tasks/coil.c"], "echo": ["examples/echo.c", "examples/server.c"]}
ROUNDS = 20
SHAPES = [echo.Shape("echo", connections, 64) for connections in (1, 64)]
ANSWER_LIMIT_S = 20


@dataclass(frozen=True)
class Subject:
    """A program of one side on one backend."""

    side: str
    backend: str
    program: Path

    @property
    def name(self):
        return f"{self.side}-{self.backend}"

    @property
    def argv(self):
        return (self.program, "--backend", self.backend)


class Figures:
    """What was found, by (bench, shape, backend) and side; and what went wrong."""

    def __init__(self):
        self.samples = {}
        self.troubles = {}          # (bench, shape, backend): (why, is it a failure?)

    def add(self, place, side, sample):
        self.samples.setdefault(place, {}).setdefault(side, []).append(sample)

    def fail(self, place, side, why, failed=True):
        self.samples.setdefault(place, {})
        self.troubles.setdefault(place, (f"{side}: {why}", failed))


def in_turn(of_them, round_index):
    return of_them if round_index % 2 == 0 else of_them[::-1]


# --- The tasks -----------------------------------------------------------------------------------

def tasks_program(subject, context):
    return Program(subject.name, subject.argv, process.two_cores()[0], context.log_folder,
                   ANSWER_LIMIT_S)


def calibrated(subject, context):
    """{bench's name: (count, times)} for a burst of the right length."""
    found = {}
    source = tasks_program(subject, context)
    for bench in tasks.BENCHES:
        entry = tasks.Entry(bench, subject.name, source, context)
        context.progress(f"{subject.backend}: how long does {bench.name} take?")
        try:
            entry.find_count()
            found[bench.name] = entry.count, entry.times
        except (process.WrongAnswer, HasNone) as e:
            found[bench.name] = e
    source.stop()
    return found


def task_burst(bench, subject, source, count, context):
    """CPU per operation. The first time a process does a thing it asks the kernel for memory."""
    if isinstance(count, Exception):
        raise count
    entry = tasks.Entry(bench, subject.name, source, context)
    entry.ask(*count)
    done, cpu_ns, _ = entry.ask(*count)
    return cpu_ns / done


def task_turns(bench, sources, counts, index, figures, context):
    for subject in in_turn(list(sources), index):
        place = (bench.name, "", subject.backend)
        if place in figures.troubles:
            continue
        try:
            value = task_burst(bench, subject, sources[subject],
                               counts[subject.backend][bench.name], context)
            figures.add(place, subject.side, {"round": index, "value": value})
        except HasNone as e:
            figures.fail(place, subject.side, e, failed=False)
        except (process.WrongAnswer, process.Unavailable) as e:
            figures.fail(place, subject.side, e)


def task_round(index, subjects, counts, figures, context):
    sources = {subject: tasks_program(subject, context) for subject in subjects}
    try:
        for bench in tasks.BENCHES:
            context.progress(f"tasks, round {index + 1} of {context.rounds}: {bench.name}")
            task_turns(bench, sources, counts, index, figures, context)
    finally:
        for source in sources.values():
            source.stop()


# --- Echo ----------------------------------------------------------------------------------------

def echo_contestants(subjects):
    return [contestants.Contestant(subject.name, subject.argv, subject.program, "coil", "coil")
            for subject in subjects]


def echo_round(index, subjects, figures, context):
    server_core, client_core = process.two_cores()
    subject_of = {subject.name: subject for subject in subjects}
    with servers.all_up(echo_contestants(subjects), server_core, context) as those_up:
        for shape in SHAPES:
            context.progress(f"echo, round {index + 1} of {context.rounds}: {shape.name}")
            for server in in_turn(those_up, index):
                subject = subject_of[server.name]
                place = (shape.bench, shape.name, subject.backend)
                if place in figures.troubles:
                    continue
                found = server.up and server.attempt(echo.burst, shape, context, client_core)
                if found:
                    figures.add(place, subject.side, {"round": index, "value": found["cpu_ns"]})
                else:
                    figures.fail(place, subject.side, server.trouble)


# --- Both ----------------------------------------------------------------------------------------

def subjects_of(programs, backends):
    """The two new ones are one program."""
    return [Subject(side, backend, programs["old" if side == "old" else "new"])
            for backend in backends for side in SIDES]


def usable_backends(program):
    """Those that run here."""
    return [backend for backend in BACKENDS
            if process.runs([program, "--backend", backend, "--run", "lock", 1])]


def measure(programs, context):
    """programs: {"tasks": {"old": path, "new": path}, "echo": the same}"""
    figures = Figures()
    backends = usable_backends(programs["tasks"]["new"])
    if not backends:
        raise revision.Unavailable("neither backend runs here")
    subjects = {what: subjects_of(pair, backends) for what, pair in programs.items()}
    counts = {subject.backend: calibrated(subject, context) for subject in subjects["tasks"]
              if subject.side == "new"}
    for index in range(context.rounds):
        task_round(index, subjects["tasks"], counts, figures, context)
        echo_round(index, subjects["echo"], figures, context)
    return figures


# --- In words ------------------------------------------------------------------------------------

@dataclass
class Row:
    place: tuple
    ratio: dict = None              # new over old, as of stats.compared
    aa: dict = None                 # new again over new
    trouble: str = None
    failed: bool = False

    @property
    def verdict(self):
        if self.trouble:
            return f"{'FAILED' if self.failed else 'skipped'}: {self.trouble}"
        return stats.change(self.ratio, self.aa) or "no change seen"


def row(place, sides, trouble):
    if trouble:
        return Row(place, trouble=trouble[0], failed=trouble[1])
    return Row(place, stats.compared(sides["new"], sides["old"]),
               stats.compared(sides["again"], sides["new"]))


def rows_of(figures):
    return [row(place, sides, figures.troubles.get(place))
            for place, sides in figures.samples.items()]


def interval(compared):
    return f"{compared['neighbours']:.3f} ({compared['low']:.3f}-{compared['high']:.3f})"


def table(found):
    lines = [f"{'CPU, new over old':24} {'backend':9} {'ratio (95 %)':21} {'A/A':21} verdict"]
    for one in found:
        bench, shape, backend = one.place
        figures = [interval(each) if each else "" for each in (one.ratio, one.aa)]
        name = f"{bench} {shape.split(',')[0]}".strip()
        lines.append(f"{name:24} {backend:9} {figures[0]:21} {figures[1]:21} {one.verdict}")
    return "\n".join(lines)


def summary(found):
    pairs = [one.aa for one in found if one.aa]
    chance = sum(stats.change(aa) is not None for aa in pairs)
    counts = {word: sum(one.verdict == word for one in found)
              for word in ("slower", "faster", "no change seen")}
    return (", ".join(f"{count} {word}" for word, count in counts.items())
            + f". Of {len(pairs)} A/A pairs the intervals of {chance} leave 1 out, "
            "where there is nothing to see.")


# --- The whole -----------------------------------------------------------------------------------

def built(old, new):
    """{"tasks": {"old": path, "new": path}, "echo": ...}"""
    made = {}
    for side, one in (("old", old), ("new", new)):
        print(f"compare: building {one.name}", file=sys.stderr, flush=True)
        revision.build(one)
        for what, sources in PROGRAMS.items():
            program, whose = revision.program(one, *sources)
            if whose != "this tree's":
                print(f"compare: {one.name} cannot do all that this tree's {what} program asks; "
                      "its own takes part")
            made.setdefault(what, {})[side] = program
    return made


def progress(text):
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{text[:width]}", end="", file=sys.stderr, flush=True)


def compare(rev, rounds, strict):
    old, new = revision.pair(rev)
    programs = built(old, new)
    context = types.SimpleNamespace(
        build=revision.BUILDS, quick=True, rounds=rounds, rng=random.Random(1), peers=None,
        log_folder=revision.BUILDS / "logs", commands={}, progress=progress)
    revision.plain("bench/client/load.c", revision.BUILDS / "bench/load")
    found = rows_of(measure(programs, context))
    progress("")
    print(f"compare: {old.name} -> {new.name}, {rounds} rounds")
    print(table(found))
    print(summary(found))
    if any(one.failed for one in found):
        return 1
    return int(strict and any(one.verdict == "slower" for one in found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rev", help="REV, REV..REV, or handicap")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--strict", action="store_true", help="fail if something is slower")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that `finally` is run
    try:
        return compare(options.rev, options.rounds, options.strict)
    except revision.Unavailable as e:
        print(f"compare: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
