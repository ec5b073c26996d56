"""Pipelined requests: echo under redis-benchmark, whose commands are valid replies when echoed.

Nobody else here pipelines; echo.py has a client of our own for all else. redis-benchmark parses what
comes back and does not compare it: so before and after, our client has long messages echoed on many
connections, and compares every byte.
"""

import csv
import resource
import subprocess
import time

import contestants
import echo
import process
import rows
import servers

NAME = "pipeline"
TITLE = "Echo under redis-benchmark"
SHAPES = [(connections, pipeline) for connections in (50, 500) for pipeline in (1, 16)]
RATIO_MAX = 1.10
CLIENT_BUSY_MAX = 0.90
BURST_LIMIT_S = 20


def name_of(shape):
    return f"{shape[0]} connections, pipeline {shape[1]}"


def burst_s(context):
    return 0.12 if context.quick else 0.3


def round_count(context):
    return 6 if context.quick else 12


def rounds_of(contestant, context):
    return round_count(context) if not context.quick or contestant.kind in ("coil", "raw") else 4


def shapes(context):
    return SHAPES[::3] if context.quick else SHAPES


def plan(context):
    return [(NAME, name_of(shape)) for shape in shapes(context)]


def estimate_s(context):
    turns = sum(rounds_of(c, context) + 1.5 for c in contestants.echo_servers(context, 1)
                if c.needs.exists())
    return len(shapes(context)) * turns * (burst_s(context) + 0.03)


# --- The client ----------------------------------------------------------------------------------

class Client:
    """redis-benchmark on a core of its own, kept from sleeping while it connects (no_sleep.c)."""

    def __init__(self, core, no_sleep):
        self.prefix = process.pinned(core) + ["env", f"LD_PRELOAD={no_sleep}"]

    def command(self, port, shape, request_count):
        return self.prefix + [
            "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", str(shape[0]),
            "-P", str(shape[1]), "-n", str(request_count), "-t", "ping_mbulk", "--csv",
        ]

    def run(self, port, shape, request_count):
        """(requests per second, the part of the time that the client ran)"""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        done = subprocess.run(self.command(port, shape, request_count), check=True, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=BURST_LIMIT_S)
        wall_s = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = list(csv.DictReader(done.stdout.splitlines()))
        if len(found) != 1 or found[0]["test"] != "PING_MBULK":
            raise process.WrongAnswer(f"redis-benchmark: {(done.stdout + done.stderr).strip()[:200]}")
        spent_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return float(found[0]["rps"]), spent_s / wall_s


def burst(server, client, shape, request_count):
    """One burst's figures, the opening and closing of its connections included."""
    before_ns = server.process.cpu_ns()
    rate, busy = client.run(server.port, shape, request_count)
    return {"cpu_ns": (server.process.cpu_ns() - before_ns) / request_count, "rate": rate,
            "busy": busy}


def calibrate(server, client, shape, seconds):
    """The request count that lasts so long; a multiple of what is in flight at once."""
    in_flight = shape[0] * shape[1]
    count = in_flight * max(2, 2000 // in_flight)
    for part in (0.25, 1.0):
        rate = min(client.run(server.port, shape, count)[0], 5e6)  # "inf": too short to be timed
        count = max(2, round(rate * seconds * part / in_flight)) * in_flight
    return count


def request_counts(those_up, client, context):
    """Those that are compared get the same count: a burst also opens and closes its connections."""
    counts = {}
    for shape in shapes(context):
        for server in sorted(those_up, key=lambda server: server.contestant.reference is not None):
            same = counts.get((server.contestant.reference, shape))
            if server.up:
                counts[server.name, shape] = same or server.attempt(
                    calibrate, client, shape, burst_s(context))
    return counts


# --- The rounds, and what comes of them ----------------------------------------------------------

def go_round(those_up, client, counts, context):
    rounds = round_count(context)
    for round_index in range(rounds):
        for shape in shapes(context):
            context.progress(f"{name_of(shape)}: round {round_index + 1} of {rounds}")
            for server in servers.in_turn(those_up, round_index):
                if servers.takes_part(rounds_of(server.contestant, context), round_index, rounds):
                    figures = server.attempt(burst, client, shape, counts[server.name, shape])
                    if figures:
                        server.bursts.setdefault(shape, []).append(dict(figures, round=round_index))


def row(server, shape):
    bursts = server.bursts.get(shape)
    if server.trouble or not bursts:
        return rows.troubled(NAME, name_of(shape), server.name, server.trouble or "had no turn",
                             server.failed)
    bound = sum(x["busy"] > CLIENT_BUSY_MAX for x in bursts)
    return rows.measured(
        NAME, name_of(shape), server.name, "ns CPU/request",
        [{"round": x["round"], "value": x["cpu_ns"]} for x in bursts],
        {"requests/s": sorted(x["rate"] for x in bursts)[len(bursts) // 2]},
        [f"client-bound {bound}/{len(bursts)}"] if bound else [])


def run(context):
    server_core, client_core = process.two_cores()
    client = Client(client_core, context.build / "bench/no_sleep.so")
    with servers.all_up(contestants.echo_servers(context, 1), server_core, context) as those_up:
        echo.verify_all(those_up, context, client_core)
        counts = request_counts(those_up, client, context)
        go_round(those_up, client, counts, context)
        echo.verify_all(those_up, context, client_core)
    found = [row(server, shape) for shape in shapes(context) for server in those_up]
    servers.hold_against(those_up, found, RATIO_MAX)
    return found
