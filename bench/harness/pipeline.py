"""Pipelined requests: echo under redis-benchmark, whose commands are valid replies when echoed.

Only this client pipelines; echo.py has one of our own for all else.
"""

import csv
import resource
import subprocess
import time

import contestants
import rounds
import rows
from process import WrongAnswer, pinned, two_cores

NAME = "pipeline"
TITLE = "Echo under redis-benchmark"
SHAPES = [(connections, pipeline) for connections in (50, 500) for pipeline in (1, 16)]
RATIO_MAX = 1.10
CLIENT_BUSY_MAX = 0.90
BURST_LIMIT_S = 20


def shape_name(shape):
    return f"{shape[0]} connections, pipeline {shape[1]}"


def burst_s(context):
    return 0.15 if context.quick else 0.3


def round_count(context):
    return 10 if context.quick else 20


def plan(context):
    return [(NAME, shape_name(shape)) for shape in SHAPES]


def estimate_s(context):
    servers = contestants.echo_servers(context)
    turns = sum(rounds.turns(server, round_count(context), context) for server in servers)
    return len(SHAPES) * turns * (burst_s(context) + 0.1) + 5


class Client:
    """redis-benchmark on a core of its own, kept from sleeping while it connects (no_sleep.c)."""

    def __init__(self, core, no_sleep):
        self.prefix = pinned(core) + ["env", f"LD_PRELOAD={no_sleep}"]

    def command(self, port, shape, request_count):
        connections, pipeline = shape
        return self.prefix + [
            "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", str(connections),
            "-P", str(pipeline), "-n", str(request_count), "-t", "ping_mbulk", "--csv",
        ]

    def burst(self, server, shape, request_count):
        server_before_ns = server.process.cpu_ns()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        done = subprocess.run(self.command(server.port, shape, request_count), check=True, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=BURST_LIMIT_S)
        wall_s = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = list(csv.DictReader(done.stdout.splitlines()))
        if len(found) != 1 or found[0]["test"] != "PING_MBULK":
            raise WrongAnswer(f"redis-benchmark: {(done.stdout + done.stderr).strip()[:200]}")
        client_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return {
            "value": (server.process.cpu_ns() - server_before_ns) / request_count,
            "requests_per_s": float(found[0]["rps"]),
            "busy": client_s / wall_s,
        }


def calibrate(client, server, shape, seconds):
    """The request count that lasts so long; a multiple of what is in flight at once."""
    in_flight = shape[0] * shape[1]
    count = in_flight * max(2, 2000 // in_flight)
    for part in (0.25, 1.0):
        rate = min(client.burst(server, shape, count)["requests_per_s"], 5e6)  # "inf": too short
        count = max(2, round(rate * seconds * part / in_flight)) * in_flight
    return count


def request_counts(client, servers, seconds):
    """Those that are compared get the same count: a burst also opens and closes its connections."""
    counts = {}
    for shape in SHAPES:
        for server in sorted(servers, key=lambda server: server.reference is not None):
            if server.up:
                counts[server.name, shape] = (
                    counts.get((server.reference, shape))
                    or rounds.guarded(server, calibrate, client, server, shape, seconds))
    return counts


def row_of(server, shape, samples):
    if server.trouble or not samples:
        return rows.troubled(NAME, shape_name(shape), server.name, server.trouble or "no burst",
                             server.failed)
    bound = sum(sample["busy"] > CLIENT_BUSY_MAX for sample in samples)
    rate = sorted(sample["requests_per_s"] for sample in samples)[len(samples) // 2]
    return rows.measured(NAME, shape_name(shape), server.name, "ns CPU/request",
                         [{"round": x["round"], "value": x["value"]} for x in samples],
                         {"requests/s": rate},
                         [f"client-bound {bound}/{len(samples)}"] if bound else [])


def run(context):
    server_core, client_core = two_cores()
    servers = contestants.echo_servers(context)
    client = Client(client_core, context.build / "bench/no_sleep.so")
    with rounds.all_up(servers, server_core, context) as all_of_them:
        contestants.verify_all(all_of_them, context)
        counts = request_counts(client, all_of_them, burst_s(context))
        taken = rounds.go_round(
            all_of_them, SHAPES, round_count(context), context,
            lambda server, shape: client.burst(server, shape, counts[server.name, shape]))
        contestants.verify_all(all_of_them, context)
    result = [row_of(server, shape, taken[server.name, shape])
              for shape in SHAPES for server in servers]
    contestants.hold_against(servers, result, RATIO_MAX)
    return result
