#!/usr/bin/env python3
"""Tasks: the same work by coil, by the Python libraries, by Go, tokio and libuv. CPU for each.

Each contestant is a program that is asked (asked.py), all are up at once, on one core, and their
bursts go round. What each bench does is in README.md; what must come of it is said here.

    tasks.py --build DIR --python PYTHON [--quick] [--only BENCH,...] [--peers NAME,...]
"""

import argparse
import dataclasses
import json
import random
import statistics
import sys
import time
import types
from pathlib import Path

import rows as rowmaker
import stats
from asked import HasNone, Program
from process import Unavailable, WrongAnswer, two_cores

NAME = "tasks"
TITLE = "Tasks"

HERE = Path(__file__).resolve().parent
PEERS_FOLDER = HERE.parent / "peers"
LIMIT_S = 20          # for one answer
GREAT_LIMIT_S = 120   # for a million tasks
GREAT_MEMORY_KIB = 6 << 20  # what a million tasks with stacks want, and somewhat more

COIL = {"coil-io_uring": "io_uring", "coil-io_uring-again": "io_uring",
        "coil-epoll": "epoll", "coil-epoll-again": "epoll"}
TWINS = {"coil-io_uring": "coil-io_uring-again", "coil-epoll": "coil-epoll-again"}
PYTHON = {"asyncio": ["asyncio_tasks.py"], "uvloop": ["asyncio_tasks.py", "--uvloop"],
          "trio": ["trio_tasks.py"], "anyio": ["anyio_tasks.py"]}
COMPILED = {"go": "peers/go/tasks", "tokio": "peers/tokio/release/tasks",
            "libuv": "bench/libuv_tasks"}
# In the order of a round: others stand between two that are held against each other.
ORDER = ["coil-io_uring", "go", "coil-epoll", "tokio", "coil-io_uring-again", "libuv",
         "coil-epoll-again", "asyncio", "uvloop", "trio", "anyio"]


def all_of_them(count):
    return count


def sum_below(count):
    return count * (count - 1) // 2


def one_of_a_hundred(count):
    return count // 100


@dataclasses.dataclass(frozen=True)
class Bench:
    """COUNT is chosen for each contestant, a part of a burst, unless something is said here. Of a
    great bench the Python libraries do a tenth."""

    name: str
    limit: float = None       # what coil may cost, where just this is what was promised
    right: callable = all_of_them
    at_once: int = None       # COUNT: so many tasks at once
    great: int = None         # COUNT: a great one, a tenth of it when it is quick
    peer_limit: float = None  # what coil may cost of the fastest Python library
    ahead: float = None       # so many times ahead of Go and tokio is wanted


BENCHES = [
    Bench("yield", 15, peer_limit=1 / 50, ahead=1),
    Bench("spawn_join", 80, peer_limit=1 / 50, ahead=2),
    Bench("channel_round_trip", 60, ahead=2),
    Bench("lock", 5),
    Bench("lock_hand_over", 40),
    Bench("event_set", at_once=1000),  # promised without the end of the task
    Bench("select_ready", 80, sum_below),
    Bench("timers", right=one_of_a_hundred, great=1_000_000),  # ... without reading the clock
    Bench("timeout_scope", 40, peer_limit=1 / 50, ahead=1),
    Bench("cancel_join", 200, at_once=1000, peer_limit=1 / 50, ahead=2),
    Bench("pool_call"),
    # Last, since they leave their stacks in a strange order.
    Bench("skynet", right=sum_below, great=100_000),
    Bench("cancel_tree", 250, great=100_000),
]
# These answer twice: when all are asleep, and when all have ended. Their figure is memory.
SLEEPERS = [Bench("sleepers", 4400, great=1_000_000), Bench("sleepers_later", 170, great=1_000_000)]
COUNT_MOST = 100_000_000
STEP = 1000  # COUNT is a multiple: pairs, groups and hundreds come out even
PARTS = 4    # a burst asks for COUNT about so many times, where COUNT may be chosen
LONG_S = 0.5  # a burst that takes longer, since it cannot be shorter, says so


@dataclasses.dataclass(frozen=True)
class Pace:
    burst_s: float
    rounds: int
    slow_rounds: int    # of the great benches, and of the Python libraries

    @classmethod
    def of(cls, context):
        return cls(0.012, 10, 4) if context.quick else cls(0.2, 10, 10)


def shape_of(bench, context):
    return f"{great_count(bench, context):,}" if bench.great else ""


def great_count(bench, context):
    return bench.great // (10 if context.quick else 1)


def count_for(bench, name, context):
    """COUNT where it is not to be found by trying."""
    if bench.at_once:
        return bench.at_once
    if bench.great:
        return great_count(bench, context) // (10 if name in PYTHON else 1)
    return None


# --- The contestants ---------------------------------------------------------------------------


def command(name, context):
    if name in COIL:
        return [context.build / "bench/tasks_coil", "--backend", COIL[name]]
    if name in PYTHON:
        return [context.python, PEERS_FOLDER / "python" / PYTHON[name][0]] + PYTHON[name][1:]
    return [context.build / COMPILED[name]]


def contestants(context):
    return [name for name in ORDER
            if name in COIL or context.peers is None or name in context.peers]


def program(name, context, limit_s=LIMIT_S):
    if not Path(command(name, context)[0]).exists():
        raise Unavailable("not built")
    words = [str(word) for word in command(name, context)]
    context.commands.setdefault(f"tasks, {name}", " ".join(words))
    limit_s = min(limit_s, getattr(context, "limit_s", limit_s))
    return Program(name, command(name, context), two_cores()[0], context.log_folder, limit_s)


# --- Bursts ------------------------------------------------------------------------------------


class Entry:
    """One contestant in one bench: how much it is asked for, what it took, why it is out."""

    def __init__(self, bench, name, source, context):
        self.bench, self.name, self.program = bench, name, source
        self.pace = Pace.of(context)
        self.count, self.times = count_for(bench, name, context), 1
        self.bursts = []
        self.out = None  # the row that says why

    def fail(self, shape, error):
        failed = isinstance(error, WrongAnswer)
        self.out = rowmaker.troubled(self.bench.name, shape, self.name, str(error), failed)

    def ask(self, count, times=1):
        """(count, CPU, time) of the timed part"""
        said = [self.program.ask(self.bench.name, count, self.bench.right(count))
                for _ in range(times)]
        return (count * times, sum(x["cpu_ns"] for x in said), sum(x["wall_ns"] for x in said))

    def cpu_s_of(self, count, times):
        """What it burns for that in all: unlike the time it takes, nobody else has a part in it."""
        before_ns = self.program.cpu_ns()
        self.ask(count, times)
        return (self.program.cpu_ns() - before_ns) * 1e-9

    def find_count(self):
        """How much is a burst: COUNT, so many times. Asks for more until it takes long enough to
        tell; each twice, for the first time it may have to ask the kernel for memory."""
        count, times = self.count or STEP, 1
        while True:
            took_s = min(self.cpu_s_of(count, times), self.cpu_s_of(count, times))
            if took_s > self.pace.burst_s / 4 or count * times > COUNT_MOST:
                break
            count, times = (count, times * 4) if self.count else (count * 4, times)
        whole = count * times * self.pace.burst_s / max(took_s, 1e-9)
        if self.count is None:
            self.count = max(STEP, round(whole / PARTS / STEP) * STEP)
        self.times = max(1, round(whole / self.count))

    def takes_part(self, index):
        """The slow may take part in fewer rounds, evenly spread."""
        pace = self.pace
        mine = pace.slow_rounds if self.bench.great or self.name in PYTHON else pace.rounds
        return index * mine % pace.rounds < mine

    def burst(self, index):
        """Asks until its time is over. A count found beforehand would make it too short or too
        long, for the machine may have been twice as slow at that moment."""
        total, begun, took_s = [0, 0, 0], time.monotonic(), 0
        while took_s < self.pace.burst_s:
            total = [sum(pair) for pair in zip(total, self.ask(self.count))]
            took_s = time.monotonic() - begun
        count, cpu_ns, wall_ns = total
        self.bursts.append({"round": index, "value": cpu_ns / count, "wall": wall_ns / count,
                            "took_s": took_s})

    def row(self, shape):
        if self.out:
            return self.out
        samples = [{"round": b["round"], "value": b["value"]} for b in self.bursts]
        wall_ns = stats.percentile_20([b["wall"] for b in self.bursts])
        notes = []
        if self.bench.great and f"{self.count:,}" != shape:
            notes.append(f"{self.count:,} of them")
        took_s = statistics.median(b["took_s"] for b in self.bursts)
        if took_s > LONG_S:
            notes.append(f"bursts of {took_s:.1f} s")
        return rowmaker.measured(self.bench.name, shape, self.name, "ns CPU/op", samples,
                                 {"ns elapsed/op": wall_ns}, notes)


def go_round(entries, shape, context):
    """Finds the counts, then lets bursts go round, the order reversed in every other round."""
    for entry in entries:
        attempt(entry, shape, context, "warming up", entry.find_count)
    for index in range(Pace.of(context).rounds):
        for entry in entries[::-1] if index % 2 else entries:
            if entry.takes_part(index):
                attempt(entry, shape, context, f"round {index + 1}", entry.burst, index)


def attempt(entry, shape, context, words, do, *args):
    if entry.out:
        return
    context.progress(f"{entry.bench.name}, {words}: {entry.name}")
    try:
        do(*args)
    except (Unavailable, WrongAnswer, HasNone) as e:
        entry.fail(shape, e)


def measure(bench, programs, context):
    shape = shape_of(bench, context)
    entries = [Entry(bench, name, source, context) for name, source in programs.items()]
    for entry in entries:
        if isinstance(entry.program, Unavailable):
            entry.fail(shape, entry.program)
    go_round(entries, shape, context)
    return [entry.row(shape) for entry in entries]


# --- Sleepers ----------------------------------------------------------------------------------


def memory_available_kib():
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    return 0


def sleep_and_wake(bench, name, count, context):
    """(bytes a task, CPU a task to spawn, CPU a task to end), of a process of its own."""
    source = program(name, context, GREAT_LIMIT_S)
    try:
        source.start()
        before_kib = source.process.memory_kib()
        asleep = source.ask(bench.name, count, count)
        grown_kib = source.process.memory_kib() - before_kib
        woken = source.ask("wake", 0, count)
    finally:
        source.stop()
    return [x / count for x in (grown_kib * 1024, asleep["cpu_ns"], woken["cpu_ns"])]


def sleepers_row(bench, name, shape, context):
    """The Python libraries sleep by a tenth of that, which takes them long enough; but one does it
    all, for who doubts that the figure is the same."""
    count = int(shape.replace(",", ""))
    if name in PYTHON and (name != "asyncio" or context.quick):
        count //= 10
    notes = [] if f"{count:,}" == shape else [f"{count:,} of them"]
    context.progress(f"{bench.name}: {name}")
    try:
        size, spawn_ns, end_ns = sleep_and_wake(bench, name, count, context)
    except (Unavailable, HasNone) as e:
        return rowmaker.troubled(bench.name, shape, name, str(e))
    except WrongAnswer as e:
        return rowmaker.troubled(bench.name, shape, name, str(e), failed=True)
    also = {"ns CPU/task to spawn": spawn_ns, "ns CPU/task to end": end_ns}
    return rowmaker.measured(bench.name, shape, name, "bytes/task", [{"round": 0, "value": size}],
                             also, notes)


def measure_sleepers(bench, context):
    """One after the other, since each may want gigabytes, and once: a million tasks take seconds,
    and memory hardly changes from one time to the next. It needs no second process either."""
    shape = shape_of(bench, context)
    if not context.quick and memory_available_kib() < GREAT_MEMORY_KIB:
        shape = f"{bench.great // 10:,}"
    return [sleepers_row(bench, name, shape, context) for name in contestants(context)
            if name not in TWINS.values()]


# --- Judgement ---------------------------------------------------------------------------------


def note_times(row, words, other):
    """How many times less the row costs than the other."""
    if row["value"] > 0:
        row["also"][f"x {words}"] = other["value"] / row["value"]


def is_behind(row, other, factor):
    """Less than so many times ahead, for sure."""
    compared = stats.compared(row["samples"], other["samples"])
    return compared is not None and all(compared[key] > 1 / factor for key in ("p20", "low"))


def hold_against_compiled(row, bench, made):
    for name in COMPILED:
        other = rowmaker.find(made, bench.name, row["shape"], name)
        if not other:
            continue
        note_times(row, name, other)
        if is_behind(row, other, 1):
            row["notes"].append(f"behind {name}")
        elif bench.ahead and name != "libuv" and is_behind(row, other, bench.ahead):
            row["notes"].append(f"less than {bench.ahead} times ahead of {name}")


def judge(bench, made):
    """Puts into coil's rows what they are held against: the fastest Python library, the others."""
    python = [row for row in made if row["contestant"] in PYTHON and row["samples"]]
    fastest = min(python, key=lambda row: row["value"], default=None)
    if fastest:
        references = dict.fromkeys(COIL, fastest["contestant"])
        rowmaker.hold_against(made, references, TWINS, bench.peer_limit)
    for row in made:
        if row["contestant"] in COIL and row["samples"]:
            row["limit_value"] = bench.limit
            if fastest:
                note_times(row, "fastest Python", fastest)
                if is_behind(row, fastest, 1):
                    row["notes"].append(f"behind {fastest['contestant']}")
            hold_against_compiled(row, bench, made)


def hold_against_sleepers(made):
    """Coil's tasks without a stack, beside the others' way to sleep by the million: with one."""
    for row in made:
        if row["bench"] == "sleepers_later" and row["contestant"] in COIL and row["samples"]:
            for name in ["asyncio", *COMPILED]:
                other = rowmaker.find(made, "sleepers", row["shape"], name)
                if other:
                    note_times(row, f"{name} sleepers", other)


# --- A module of the run -----------------------------------------------------------------------


def wanted(context):
    only = getattr(context, "benches", None)
    return [bench for bench in BENCHES + SLEEPERS if not only or bench.name in only]


def plan(context):
    return [(bench.name, shape_of(bench, context)) for bench in wanted(context)]


def estimate_s(context):
    """As measured: so much for each contestant, of which not all have every bench."""
    each_s, great_s, sleep_s = (0.2, 0.25, 0.2) if context.quick else (2.3, 4.2, 3.2)
    of_bench = [sleep_s if bench in SLEEPERS else great_s if bench.great else each_s
                for bench in wanted(context)]
    return len(contestants(context)) * sum(of_bench)


def run(context):
    made = []
    programs = {}
    for name in contestants(context):
        try:
            programs[name] = program(name, context)
        except Unavailable as e:
            programs[name] = e
    try:
        for bench in wanted(context):
            if bench not in SLEEPERS:
                made += measure(bench, programs, context)
    finally:
        for source in programs.values():
            if isinstance(source, Program):
                source.stop()
    for bench in wanted(context):
        if bench in SLEEPERS:
            made += measure_sleepers(bench, context)
    for bench in wanted(context):
        judge(bench, [row for row in made if row["bench"] == bench.name])
    hold_against_sleepers(made)
    return made


# --- By itself ---------------------------------------------------------------------------------


def printed(row):
    value = "" if row["value"] is None else f"{row['value']:,.1f} {row['unit']}"
    also = [f"{key} {x:,.1f}" for key, x in row["also"].items()]
    if row["aa"]:
        also.append(f"A/A {row['aa']['p20']:.2f} {row['aa']['neighbours']:.2f}")
    words = [f"{row['bench']:19}", f"{row['shape']:10}", f"{row['contestant']:20}", f"{value:>20}",
             rowmaker.verdict(row), ", ".join(also + row["notes"])]
    return "  ".join(words).rstrip()


def arguments():
    def names(text):
        return set(text.split(","))

    parser = argparse.ArgumentParser(description="The tasks benches by themselves.")
    parser.add_argument("--build", type=Path, required=True, help="what meson built")
    parser.add_argument("--python", default=sys.executable, help="one that has the peers")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=names, dest="benches", help="these benches")
    parser.add_argument("--peers", type=names, help="these peers")
    parser.add_argument("--out", type=Path, help="write the rows to this file, as JSON")
    parser.add_argument("--limit-s", type=float, default=GREAT_LIMIT_S, help="for one answer")
    return parser.parse_args()


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main():
    options = arguments()
    context = types.SimpleNamespace(
        commands={}, configs={},
        **vars(options), rng=random.Random(1), log_folder=options.build / "logs", progress=progress)
    made = run(context)
    progress("")
    print(*map(printed, made), sep="\n")
    if options.out:
        options.out.write_text(json.dumps(made, indent=1), encoding="utf-8")
    return 1 if any(row["failed"] for row in made) else 0


if __name__ == "__main__":
    sys.exit(main())
