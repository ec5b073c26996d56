#!/usr/bin/env python3
"""Echo under load: all servers up, short bursts that go round them in turn, the answers checked.

Measures and writes JSON; report.py makes the table. README.md says why it is done this way.
"""

import argparse
import csv
import json
import os
import random
import resource
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHAPES = [(connections, pipeline) for connections in (50, 500) for pipeline in (1, 16)]
AA_SPREAD_MAX = 0.10
CLIENT_BUSY_MAX = 0.90
START_LIMIT_S = 15
BURST_LIMIT_S = 20
STOP_LIMIT_S = 5


class Unavailable(Exception):
    """This contestant cannot run here; the text says why."""


class WrongAnswer(Exception):
    """What came back is not what was sent."""


class Server:
    """A contestant: one process, one port, one core."""

    def __init__(self, name, argv, needs, reference=None, twin_of=None, peer=False):
        self.name = name
        self.argv = [str(word) for word in argv]
        self.needs = Path(needs)
        self.reference = reference
        self.twin_of = twin_of
        self.peer = peer
        self.process = None
        self.line = None
        self.trouble = None         # why it was skipped or failed
        self.failed = False
        self.bursts = {shape: [] for shape in SHAPES}

    @property
    def up(self):
        return self.process is not None and self.trouble is None

    def start(self, core, log_folder):
        if not self.needs.exists():
            raise Unavailable(f"{self.needs.name} was not built or installed")
        self.port = free_port()
        self.argv += ["--port", str(self.port)]
        log = open(log_folder / f"{self.name}.log", "w+")
        self.process = subprocess.Popen(
            pinned(core) + self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
        self.line = first_line(self.process.stdout, START_LIMIT_S)
        if not self.line.startswith("listening"):
            self.stop()
            log.seek(0)
            words = log.read().strip().splitlines() or [f"said {self.line!r}"]
            raise Unavailable(f"did not start, status {self.process.returncode}: {words[-1]}")

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_LIMIT_S)

    def cpu_ns(self):
        """What all its threads have run, once at rest: a running thread's figure lags."""
        before = -1
        for _ in range(200):
            total = 0
            for task in Path(f"/proc/{self.process.pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
            if total == before:
                break
            before = total
            time.sleep(0.002)
        return total


def pinned(core):
    """On that core, and gone when we are, however we went."""
    end_with_us = ["setpriv", "--pdeathsig", "TERM"]
    return end_with_us + (["taskset", "-c", str(core)] if core is not None else [])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def first_line(pipe, limit_s):
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return pipe.readline().decode().strip() if selector.select(limit_s) else ""


def contestants(build, python):
    """In the order of the round: a reference stands between the two that are compared with it."""
    echo, servers, peers = build / "examples/echo", build / "bench", HERE / "peers"

    def coil(backend, again=False):
        name = f"coil-{backend}"
        return Server(
            name + "-again" if again else name, [echo, "--backend", backend, "--loops", 1], echo,
            reference="raw_uring" if backend == "io_uring" else "raw_epoll",
            twin_of=name if again else None,
        )

    def raw(name):
        return Server(name, [servers / name], servers / name)

    def peer(name):
        return Server(name, [python, peers / f"{name}_echo.py"], python, peer=True)

    return [
        coil("io_uring"), raw("raw_uring"), coil("io_uring", again=True),
        coil("epoll"), raw("raw_epoll"), coil("epoll", again=True),
        peer("asyncio"), peer("uvloop"), peer("trio"), peer("anyio"),
    ]


def verify(server, rng):
    """Random bytes of random lengths over several connections, compared as they come back.

    redis-benchmark only parses replies; a server that mixed up two connections would pass."""
    pending = {}
    with selectors.DefaultSelector() as selector:
        for _ in range(16):
            s = socket.create_connection(("127.0.0.1", server.port), timeout=START_LIMIT_S)
            s.setblocking(False)
            payload = rng.randbytes(rng.choice([1, 14, 1000, 16384, 16385, 300_000]))
            pending[s] = [payload, payload]     # still to send, still to come back
            selector.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE)
        try:
            limit = time.monotonic() + BURST_LIMIT_S
            while pending:
                ready = selector.select(1)
                if time.monotonic() > limit:
                    raise WrongAnswer(f"{len(pending)} of 16 connections still wait for their echo")
                for key, events in ready:
                    verify_step(selector, pending, key.fileobj, events)
        finally:
            for s in pending:
                s.close()


def verify_step(selector, pending, s, events):
    to_send, to_come = pending[s]
    if events & selectors.EVENT_WRITE and to_send:
        to_send = to_send[s.send(to_send[:65536]):]
        if not to_send:
            selector.modify(s, selectors.EVENT_READ)
    if events & selectors.EVENT_READ:
        got = s.recv(65536)
        if not got or not to_come.startswith(got):
            raise WrongAnswer(f"{len(got)} bytes came back that are not the next ones sent")
        to_come = to_come[len(got):]
    pending[s] = [to_send, to_come]
    if not to_come:
        selector.unregister(s)
        del pending[s]
        s.close()


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


def burst(server, shape, request_count, client):
    server_before_ns = server.cpu_ns()
    client_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    done = subprocess.run(
        client.command(server.port, shape, request_count),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BURST_LIMIT_S, check=True,
    )
    wall_s = time.perf_counter() - begun
    client_after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    if len(rows) != 1 or rows[0]["test"] != "PING_MBULK":
        raise WrongAnswer(f"redis-benchmark: {(done.stdout + done.stderr).strip()[:200]}")
    client_s = (client_after.ru_utime - client_before.ru_utime
                + client_after.ru_stime - client_before.ru_stime)
    return {
        "requests": request_count,
        "requests_per_s": float(rows[0]["rps"]),
        "cpu_ns_per_request": (server.cpu_ns() - server_before_ns) / request_count,
        "client_busy": client_s / wall_s,
        "at_s": begun,
    }


def calibrate(server, shape, burst_s, client):
    """The request count that lasts about burst_s; a multiple of what is in flight at once."""
    in_flight = shape[0] * shape[1]
    count = in_flight * max(2, 2000 // in_flight)
    for part in (0.25, 1.0):
        rate = burst(server, shape, count, client)["requests_per_s"]
        rate = min(rate, 5e6)       # too short to be timed: "inf"
        count = max(2, round(rate * burst_s * part / in_flight)) * in_flight
    return count


def request_counts(servers, burst_s, client):
    """Those that are compared get the same count: a burst also opens and closes its connections."""
    counts = {}
    for shape in SHAPES:
        for server in sorted(servers, key=lambda server: server.reference is not None):
            if server.up:
                counts[server.name, shape] = (
                    counts.get((server.reference, shape))
                    or guarded(server, calibrate, shape, burst_s, client))
    return counts


def takes_part(server, round_index, options):
    """Peers may run fewer rounds; those are spread over the run."""
    if not server.peer:
        return True
    part = options.peer_rounds / options.rounds
    return int((round_index + 1) * part) > int(round_index * part)


def guarded(server, what, *arguments):
    """Runs one step for one server; a failure takes that server out of the run and is kept."""
    try:
        return what(server, *arguments)
    except Unavailable as e:
        server.trouble = str(e)
    except subprocess.TimeoutExpired as e:
        server.trouble, server.failed = f"no end of a burst within {e.timeout:g} s", True
    except (WrongAnswer, OSError, subprocess.SubprocessError) as e:
        server.trouble, server.failed = f"{type(e).__name__}: {e}"[:120], True
    print(f"  {server.name}: {server.trouble}", file=sys.stderr)
    return None


def run_rounds(servers, counts, options, client):
    for round_index in range(options.rounds):
        order = servers if round_index % 2 == 0 else servers[::-1]
        for shape in SHAPES:
            for server in order:
                if not server.up or not takes_part(server, round_index, options):
                    continue
                figures = guarded(server, burst, shape, counts[server.name, shape], client)
                if figures:
                    server.bursts[shape].append(dict(figures, round=round_index))
        print(f"  round {round_index + 1} of {options.rounds}", file=sys.stderr)


def percentile_20(values):
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=5, method="inclusive")[0]


def compared(a, b):
    """a over b: of the 20th percentiles, and the median over bursts that were neighbours."""
    b_of_round = {burst["round"]: burst["cpu_ns_per_request"] for burst in b}
    pairs = [burst["cpu_ns_per_request"] / b_of_round[burst["round"]]
             for burst in a if burst["round"] in b_of_round]
    if not pairs:
        return None
    return {
        "of_percentiles_20": percentile_20([x["cpu_ns_per_request"] for x in a])
                             / percentile_20([x["cpu_ns_per_request"] for x in b]),
        "median_of_neighbours": statistics.median(pairs),
        "pairs": len(pairs),
    }


def summary(server, by_name, shape):
    bursts = server.bursts[shape]
    row = {"contestant": server.name, "connections": shape[0], "pipeline": shape[1]}
    if server.trouble:
        return dict(row, failed=server.failed, trouble=server.trouble)
    cpu = [x["cpu_ns_per_request"] for x in bursts]
    row.update(
        requests_per_s=statistics.median(x["requests_per_s"] for x in bursts),
        cpu_ns_p20=percentile_20(cpu), cpu_ns_median=statistics.median(cpu),
        client_bound=sum(x["client_busy"] > CLIENT_BUSY_MAX for x in bursts),
        bursts=bursts,
    )
    if server.reference:
        row["reference"] = server.reference
        row["ratio"] = compared(bursts, by_name[server.reference].bursts[shape])
        aa = aa_of(server, by_name, shape)
        row["aa"] = aa
        row["says_nothing"] = aa is None or any(
            abs(aa[key] - 1) > AA_SPREAD_MAX
            for key in ("of_percentiles_20", "median_of_neighbours"))
    return row


def aa_of(server, by_name, shape):
    """The second process of the same program over the first: what this run can tell apart."""
    first = by_name[server.twin_of or server.name]
    second = next(s for s in by_name.values() if s.twin_of == first.name)
    return compared(second.bursts[shape], first.bursts[shape])


def fail_silent_coil(by_name):
    """A coil server that does not start has failed, unless its reference cannot run here either."""
    for server in by_name.values():
        if server.reference and server.trouble and not by_name[server.reference].trouble:
            server.failed = True


def measure(servers, options, cores):
    server_core, client_core = cores
    by_name = {server.name: server for server in servers}
    client = Client(client_core, options.build / "bench/no_sleep.so")
    rng = random.Random(options.seed)
    log_folder = options.build / "bench/logs"
    log_folder.mkdir(parents=True, exist_ok=True)
    try:
        for server in servers:
            guarded(server, Server.start, server_core, log_folder)
        for server in servers:
            if server.up:
                guarded(server, verify, rng)
        counts = request_counts(servers, options.burst_s, client)
        run_rounds(servers, counts, options, client)
        for server in servers:
            if server.up:
                guarded(server, verify, rng)
    finally:
        for server in servers:
            server.stop()
    fail_silent_coil(by_name)
    return {
        "options": {"rounds": options.rounds, "peer_rounds": options.peer_rounds,
                    "burst_s": options.burst_s, "seed": options.seed,
                    "server_core": server_core, "client_core": client_core},
        "servers": [{"name": s.name, "command": s.argv, "line": s.line, "failed": s.failed,
                     "trouble": s.trouble} for s in servers],
        "client": client.command("PORT", ("CONNECTIONS", "PIPELINE"), "REQUESTS"),
        "results": [summary(s, by_name, shape) for shape in SHAPES for s in servers],
    }


def two_cores():
    """One for the servers, one for the client; none on a machine with a single core."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=Path("."), help="the meson build directory")
    parser.add_argument("--python", type=Path, default=Path(sys.executable),
                        help="the interpreter that has the peers")
    parser.add_argument("--out", type=Path, default=Path("echo.json"), help="the file to write")
    parser.add_argument("--list", action="store_true", help="name contestants and shapes, and stop")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peer-rounds", type=int, default=10)
    parser.add_argument("--burst-s", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    options.build = options.build.resolve()
    return options


def main():
    options = arguments()
    if options.list:
        shapes = ", ".join(f"{connections}x{pipeline}" for connections, pipeline in SHAPES)
        print(f"echo, connections x pipeline: {shapes}")
        print("  " + " ".join(s.name for s in contestants(options.build, options.python)))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that `finally` is run
    result = measure(contestants(options.build, options.python), options, two_cores())
    options.out.write_text(json.dumps(result, indent=1))
    return 1 if any(server["failed"] for server in result["servers"]) else 0


if __name__ == "__main__":
    sys.exit(main())
