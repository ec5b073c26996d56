#!/usr/bin/env python3
"""Echo by client/load: all servers up, short bursts that go round them, every byte compared.

Three benches. "echo" is the closed loop: each connection has one request in flight, and the figure
is the server's CPU time per request. "connect" is the same with a connection for each request.
"latency" is an open loop at a fixed rate, and its figure is the 99th percentile, counted from when
a request was due.

One loop: the server has the first core and the client the second. A loop per core: on a machine of
three cores or more the client has the last one and the servers all others. On one of two, the
servers have a loop on each, and the client runs where it finds room. It takes the servers' time
then, but not from their clocks: a request's CPU time is what it was, but for the caches. With one
connection the two may even share a core and need not wake each other's, which makes that shape far
cheaper than the same with one loop; compare it with its own reference only.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import types
from dataclasses import dataclass
from pathlib import Path

import contestants
import process
import rows
import servers
import stats

NAME = "echo"
TITLE = "Echo"
LIMIT = 1.05                    # what coil may cost, over the hand-written server
RATE = 10_000                   # a second, of the open loop: half of what the slowest peer can do
CLIENT_BUSY_MAX = 0.90
LATE_MAX = 0.01                 # of an open loop's requests
ANSWER_LIMIT_S = 25             # the client gives up before
CALLS_BURST_S = 0.05
KINDS = ("coil", "raw", "compiled", "python")


@dataclass(frozen=True)
class Shape:
    bench: str
    connections: int
    size: int
    per_core: bool = False
    rounds: tuple = tuple((kind, 10) for kind in KINDS)
    burst_s: float = 0.2

    @property
    def name(self):
        size = f"{self.size} B" if self.size < 1024 else f"{self.size // 1024} KiB"
        words = [f"{self.connections} connection{'s' if self.connections > 1 else ''}", size]
        if self.bench == "latency":
            words.append(f"{RATE:,} requests/s")
        return ", ".join(words + ["a loop per core"] * self.per_core)

    def rounds_of(self, contestant):
        return dict(self.rounds).get(contestant.kind, 0)

    def options(self):
        words = ["--connections", self.connections, "--size", self.size]
        if self.bench == "connect":
            words.append("--connect")
        return words + (["--rate", RATE] if self.bench == "latency" else [])


def shapes(context):
    if context.quick:
        few, all_kinds = (("coil", 4), ("raw", 4)), tuple(zip(KINDS, (6, 6, 4, 4)))
        return [    # a thousand connections last: what they leave behind is not the others' memory
            Shape("connect", 64, 64, rounds=few, burst_s=0.1),
            Shape("latency", 64, 1024, rounds=few, burst_s=0.15),
            Shape("echo", 64, 64, rounds=all_kinds, burst_s=0.1),
            Shape("echo", 1000, 1024, rounds=few, burst_s=0.1),
        ]
    echo = [Shape("echo", connections, size, per_core) for per_core in (False, True)
            for connections in (1, 64, 1000) for size in (64, 1024, 16384)]
    rest = [Shape("connect", 64, 64), Shape("latency", 64, 1024, burst_s=0.3)]
    return rest + echo if loops_per_core() > 1 else rest + [s for s in echo if not s.per_core]


# --- Where everybody runs ------------------------------------------------------------------------

def server_cores():
    """Of a loop per core: all but the client's, if that leaves more than one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[:-1] if len(cores) > 2 else cores


def loops_per_core():
    return len(server_cores())


def places(per_core):
    """(for taskset, the servers' and the client's); None: anywhere."""
    if not per_core:
        return process.two_cores()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) <= 2:
        return None, None
    return ",".join(map(str, server_cores())), cores[-1]


# --- What a server is asked -----------------------------------------------------------------------

class Client:
    """client/load, connected to a server and ready to begin."""

    def __init__(self, context, core, port, options, seconds):
        argv = [context.build / "bench/load", "--port", port, "--seconds", seconds,
                "--seed", context.rng.randrange(1 << 32), *options]
        self.log = context.log_folder / "load.log"
        try:
            self.process = process.Process("load", argv, core, context.log_folder, "ready",
                                           stdin=subprocess.PIPE)
        except process.Unavailable as e:
            raise process.WrongAnswer(str(e)) from e

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def run(self):
        """Its figures. Its connections are still open afterwards."""
        child = self.process.child
        child.stdin.write(b"\n")
        child.stdin.flush()
        line = process.first_line(child.stdout, ANSWER_LIMIT_S)
        if not line:
            self.process.stop()
            words = self.log.read_text(errors="replace").strip().splitlines()
            raise process.WrongAnswer(words[-1] if words else f"load: status {child.returncode}")
        return json.loads(line)

    def close(self):
        self.process.child.stdin.close()
        self.process.child.wait(process.STOP_LIMIT_S)


def burst(server, shape, context, core):
    """One burst's figures: of the requests alone, not of the connections they came on."""
    with Client(context, core, server.port, shape.options(), shape.burst_s) as client:
        cpu_ns, switches = server.process.cpu_ns(), server.process.context_switches()
        figures = client.run()
        figures["cpu_ns"] = (server.process.cpu_ns() - cpu_ns) / figures["requests"]
        figures["switches"] = (server.process.context_switches() - switches) / figures["requests"]
        figures["memory_kib"] = server.process.memory_kib()
        client.close()
    return figures


def verify(server, context, core):
    """An answer longer than anybody's buffer, on several connections at once."""
    options = ["--connections", 16, "--size", 300_001]
    with Client(context, core, server.port, options, 0.02) as client:
        client.run()
        client.close()


@contextlib.contextmanager
def traced(pid, table):
    """Counts the process's system calls into the file `table`; gives whether it may."""
    strace = subprocess.Popen(["strace", "-f", "-c", "-o", table, "-p", str(pid)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
    try:
        yield "attached" in process.first_line(strace.stderr, process.START_LIMIT_S)
    finally:
        strace.send_signal(signal.SIGINT)
        try:
            strace.wait(process.STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            strace.kill()
            strace.wait()
        strace.stderr.close()


def verify_all(those_up, context, core):
    for server in those_up:
        if server.up:
            server.attempt(verify, context, core)


def calls_per_request(server, shape, context, core):
    """System calls per request, in a burst of its own; None if nobody may count them.

    Tracing slows the server down, so that it finds more to do each time it looks: where connections
    are many, the calls that ask for work are rather too few."""
    with tempfile.NamedTemporaryFile("r") as table, \
            Client(context, core, server.port, shape.options(), CALLS_BURST_S) as client:
        with traced(server.process.pid, table.name) as attached:
            requests = client.run()["requests"]
        client.close()
        return calls_in(table.read()) / requests if attached else None


def calls_in(table):
    """The sum of the column `calls` of strace -c: % time, seconds, usecs/call, calls, ..., name."""
    lines = [line.split() for line in table.splitlines()]
    return sum(int(words[3]) for words in lines
               if len(words) >= 5 and words[0][0].isdigit() and words[-1] != "total")


# --- The rounds ----------------------------------------------------------------------------------

def go_round(those_up, all_shapes, context, core):
    rounds = max(count for shape in all_shapes for _, count in shape.rounds)
    for round_index in range(rounds):
        for shape in all_shapes:
            context.progress(f"{shape.bench}, {shape.name}: round {round_index + 1} of {rounds}")
            for server in servers.in_turn(those_up, round_index):
                if servers.takes_part(shape.rounds_of(server.contestant), round_index, rounds):
                    figures = server.attempt(burst, shape, context, core)
                    if figures:
                        figures["round"] = round_index
                        server.bursts.setdefault(shape, []).append(figures)


def count_calls(those_up, all_shapes, context, core):
    """Last, so that nobody is measured who has been traced."""
    if not shutil.which("strace"):
        return
    for shape in all_shapes:
        context.progress(f"{shape.bench}, {shape.name}: system calls")
        for server in those_up:
            if server.up and server.bursts.get(shape):
                server.calls[shape] = server.attempt(calls_per_request, shape, context, core)
                if server.up and server.calls[shape] is None:
                    return


def field(context, per_core, all_shapes):
    """All servers of so many loops: up, verified, measured, down again."""
    server_core, client_core = places(per_core)
    loops = loops_per_core() if per_core else 1
    who = [c for c in contestants.echo_servers(context, loops)
           if any(shape.rounds_of(c) for shape in all_shapes)]
    with servers.all_up(who, server_core, context) as those_up:
        verify_all(those_up, context, client_core)
        go_round(those_up, all_shapes, context, client_core)
        if not context.quick:
            closed = [shape for shape in all_shapes if shape.bench != "latency"]
            count_calls(those_up, closed, context, client_core)
    return those_up


# --- Rows ----------------------------------------------------------------------------------------

def row(server, shape):
    bursts = server.bursts.get(shape)
    if server.trouble or not bursts:
        return rows.troubled(shape.bench, shape.name, server.name,
                             server.trouble or "had no turn", server.failed)
    unit, key = ("us p99", "p99_us") if shape.bench == "latency" else ("ns CPU/request", "cpu_ns")
    samples = [{"round": x["round"], "value": x[key]} for x in bursts]
    return rows.measured(shape.bench, shape.name, server.name, unit, samples,
                         also(server, shape, bursts), notes(shape, bursts))


def also(server, shape, bursts):
    def median(key):
        return statistics.median(x[key] for x in bursts)

    found = {
        "requests/s": statistics.median(x["requests"] / x["seconds"] for x in bursts),
        "context switches/request": median("switches"),
        "p50 us": median("p50_us"), "p99 us": median("p99_us"), "p99.9 us": median("p999_us"),
        # What an earlier and larger burst left behind is not this one's.
        "memory kib": min(x["memory_kib"] for x in bursts),
    }
    if shape.bench == "latency":
        found["ns CPU/request"] = stats.percentile_20([x["cpu_ns"] for x in bursts])
    if server.calls.get(shape):
        found["system calls/request"] = server.calls[shape]
    return found


def notes(shape, bursts):
    if shape.bench == "latency":    # its client never sleeps
        count = sum(x["late"] > LATE_MAX * x["requests"] for x in bursts)
        return [f"fell behind {count}/{len(bursts)}"] if count else []
    count = sum(x["busy"] > CLIENT_BUSY_MAX for x in bursts)
    return [f"client-bound {count}/{len(bursts)}"] if count else []


# --- For main.py ---------------------------------------------------------------------------------

def plan(context):
    return [(shape.bench, shape.name) for shape in shapes(context)]


def estimate_s(context):
    total = 0
    for per_core in (False, True):
        mine = [shape for shape in shapes(context) if shape.per_core == per_core]
        for contestant in contestants.echo_servers(context, loops_per_core() if per_core else 1):
            if mine and contestant.needs.exists():
                total += 0.2 + sum(shape_s(shape, contestant, context.quick) for shape in mine)
    return total


def shape_s(shape, contestant, quick):
    """Of one contestant, beside the bursts themselves: processes, connections, a burst traced."""
    connection_s = 0.0002 if contestant.kind == "python" else 0.00006
    overhead_s = 0.015 + shape.connections * connection_s
    rounds = shape.rounds_of(contestant)
    calls_s = 0 if quick or not rounds else CALLS_BURST_S + 0.1 + overhead_s
    return rounds * (shape.burst_s + overhead_s) + calls_s


def run(context):
    result = []
    for per_core in (False, True):
        mine = [shape for shape in shapes(context) if shape.per_core == per_core]
        if not mine:
            continue
        those_up = field(context, per_core, mine)
        found = [row(server, shape) for shape in mine for server in those_up
                 if shape.rounds_of(server.contestant)]
        servers.hold_against(those_up, [r for r in found if r["bench"] != "latency"], LIMIT)
        servers.hold_against(those_up, [r for r in found if r["bench"] == "latency"])
        result += found
    return result


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path("build/bench"))
    parser.add_argument("--python", type=Path, default=Path(sys.executable),
                        help="the interpreter that has the peers")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", type=lambda text: set(text.split(",")) - {""},
                        help="names, with commas; none: coil and its floor")
    parser.add_argument("--list", action="store_true", help="name what would be measured, and stop")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--out", type=Path, help="a file for the rows, as JSON")
    return parser.parse_args()


def line_of(r):
    ratio = f"{r['ratio']['p20']:.3f} {r['ratio']['neighbours']:.3f}" if r["ratio"] else ""
    aa = f"{r['aa']['p20']:.3f} {r['aa']['neighbours']:.3f}" if r["aa"] else ""
    value = f"{r['value']:.0f}" if r["samples"] else "-"
    more = ", ".join(f"{key} {figure:.4g}" for key, figure in r["also"].items())
    return (f"  {r['contestant']:20} {value:>7} {ratio:12} {aa:12} {rows.verdict(r):8} {more} "
            f"{' '.join(r['notes'])}")


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that `finally` is run
    build = options.build.resolve()
    context = types.SimpleNamespace(
        build=build, python=options.python, quick=options.quick, peers=options.peers,
        rng=random.Random(options.seed), log_folder=build / "bench/logs", commands={},
        progress=lambda text: print(f"\r{text:70}", end="", file=sys.stderr))
    if options.list:
        print(*(f"{bench}: {shape}" for bench, shape in plan(context)), sep="\n")
        return 0
    print(f"about {estimate_s(context):.0f} s", file=sys.stderr)
    begun = time.monotonic()
    found = run(context)
    print(f"\r{time.monotonic() - begun:.0f} s{'':70}", file=sys.stderr)
    for bench, shape in plan(context):
        print(f"{bench}: {shape}")
        print(*(line_of(r) for r in found if (r["bench"], r["shape"]) == (bench, shape)), sep="\n")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))
    return 1 if any(r["failed"] for r in found) else 0


if __name__ == "__main__":
    sys.exit(main())
