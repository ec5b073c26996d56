#!/usr/bin/env python3
"""HTTP: coil's examples/http beside nginx with one worker, asked by wrk and h2load. (Not http.py:
that would hide a module of Python's.)

What nginx is told to be is CONFIG below, and stands on the page. Every connection of a burst is
opened and closed within it, and the last requests of a burst are served and not counted by wrk:
that is in the figures, for both alike.
"""

import argparse
import collections
import http.client
import json
import os
import pwd
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import machine
import process
import rows
from process import Unavailable, WrongAnswer

NAME = "http"
TITLE = "HTTP"
UNIT = "ns CPU/request"

BURST_LIMIT_S = 20
CLIENT_BUSY_MAX = 0.90
PLAINTEXT = b"Hello, World!"
FILE_SIZE = 10 * 1024
FEWER_FOR_CPU = 1 / 1.3    # at least 1.3 times as many requests per CPU-second as nginx

Shape = collections.namedtuple("Shape", "bench connections path client limit quick")
SHAPES = [
    Shape("HTTP plaintext", 1, "/plaintext", "wrk", None, False),
    Shape("HTTP plaintext", 64, "/plaintext", "wrk", FEWER_FOR_CPU, True),
    Shape("HTTP plaintext", 512, "/plaintext", "wrk", FEWER_FOR_CPU, True),
    Shape("HTTP plaintext, by h2load", 64, "/plaintext", "h2load", None, False),
    Shape("HTTP plaintext, 16 pipelined", 64, "/plaintext", "wrk pipeline", None, False),
    Shape("HTTP plaintext, a connection each", 64, "/plaintext", "wrk close", None, False),
    Shape("HTTP file of 10 KB", 1, "/file.txt", "wrk", None, False),
    Shape("HTTP file of 10 KB", 64, "/file.txt", "wrk", None, False),
    Shape("HTTP file of 10 KB", 512, "/file.txt", "wrk", None, False),
]

TWINS = {"coil-io_uring": "coil-io_uring-again", "coil-epoll": "coil-epoll-again"}
NOTES = {
    "HTTP plaintext, 16 pipelined": "coil sends the answers to a batch at once, nginx one by one",
    "HTTP file of 10 KB": "coil sends a copy in its memory, nginx by sendfile what it keeps open; "
                          "both look at the file again once a second",
}

# As good as we know how to make it: one worker, nothing logged, files kept open, no limit on the
# requests of a connection, the text answered without a file.
CONFIG = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{
    worker_connections 4096;
    multi_accept on;
}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 60s;
    keepalive_requests 1000000000;
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 1s;
    open_file_cache_min_uses 1;
    types {{ text/plain txt; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {root};
        location = /plaintext {{
            default_type text/plain;
            return 200 "Hello, World!";
        }}
    }}
}}
"""

PIPELINE_LUA = """\
init = function(args)
    local requests = {}
    for i = 1, 16 do
        requests[i] = wrk.format("GET")
    end
    batch = table.concat(requests)
end
request = function() return batch end
"""


# --- The contestants ------------------------------------------------------------------------------


class Tree(process.Process):
    """A process and its children, as one."""

    def pids(self):
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def tasks(self):
        return [task for pid in self.pids() for task in Path(f"/proc/{pid}/task").iterdir()]

    def memory_kib(self):
        lines = [line.split() for pid in self.pids()
                 for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(words[1]) for words in lines if words[0] in ("VmRSS:", "VmPTE:"))


class Contestant:
    def __init__(self, name, reference=None):
        self.name = name
        self.reference = reference
        self.process = None
        self.port = None
        self.trouble = None    # why it takes no part, or no longer
        self.failed = False
        self.samples = collections.defaultdict(list)

    @property
    def up(self):
        return self.process is not None and self.trouble is None


def coil_command(context, contestant, root):
    program = context.build / "examples/http"
    if not program.exists():
        raise Unavailable("examples/http was not built: is libhttp-parser-dev installed?")
    backend = contestant.name.removeprefix("coil-").removesuffix("-again")
    return [program, "--port", contestant.port, "--backend", backend, "--loops", 1, "--root", root]


def nginx_command(context, contestant, root):
    program = machine.nginx(context.build)
    if not program:
        raise Unavailable("it is not installed, and bench/run could not fetch it")
    folder = context.log_folder.resolve() / "nginx"
    folder.mkdir(exist_ok=True)
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};\n" if os.geteuid() == 0 else ""
    config_file = folder / "nginx.conf"
    config_file.write_text(CONFIG.format(user=user, folder=folder, port=contestant.port, root=root))
    context.configs["nginx.conf"] = CONFIG.format(user=user, folder="FOLDER", port="PORT", root="ROOT")
    # It says nothing when it listens; wait_for_port sees.
    return ["sh", "-c", 'echo listening, soon; exec "$@"', "sh", program, "-p", f"{folder}/",
            "-e", folder / "error.log", "-c", config_file]


def wait_for_port(contestant):
    limit = time.monotonic() + process.START_LIMIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", contestant.port), 1).close()
            return
        except OSError as e:
            if contestant.process.child.poll() is not None or time.monotonic() > limit:
                raise Unavailable(f"does not listen: {e}") from e
            time.sleep(0.02)


def start(contestant, context, core, root):
    contestant.port = process.free_port()
    command_of = nginx_command if contestant.name == "nginx" else coil_command
    argv = command_of(context, contestant, root)
    try:
        context.commands.setdefault(f"http, {contestant.name}", " ".join(map(str, argv)))
        contestant.process = Tree(f"http-{contestant.name}", argv, core, context.log_folder,
                                  "listening")
        wait_for_port(contestant)
    except Unavailable as e:
        if contestant.name.startswith("coil-epoll"):    # which needs nothing that a Linux may lack
            raise WrongAnswer(str(e)) from e
        raise


def wanted(context):
    """In the order of a round: nginx stands between those that are held against it."""
    reference = "nginx" if context.peers is None or "nginx" in context.peers else None
    names = ["coil-io_uring", "coil-epoll", "nginx", "coil-epoll-again", "coil-io_uring-again"]
    return [Contestant(name, reference if name != "nginx" else None) for name in names
            if name != "nginx" or reference]


# --- Are the answers right? -----------------------------------------------------------------------


def verify(contestant, content):
    """Both answers, turn by turn, over several connections, the last of each with its end."""
    expected = [("/plaintext", PLAINTEXT), ("/file.txt", content)]
    connections = [http.client.HTTPConnection("127.0.0.1", contestant.port, process.START_LIMIT_S)
                   for _ in range(4)]
    try:
        for i in range(4 * len(connections)):
            path, body = expected[(i + i // len(connections)) % 2]
            last = i >= 3 * len(connections)
            check(connections[i % len(connections)], path, body, last)
    except http.client.HTTPException as e:
        raise WrongAnswer(f"{type(e).__name__}: {e}") from e
    finally:
        for connection in connections:
            connection.close()


def check(connection, path, body, last):
    connection.request("GET", path, headers={"Connection": "close"} if last else {})
    answer = connection.getresponse()
    got = answer.read()
    if answer.status != 200:
        raise WrongAnswer(f"{path}: status {answer.status}")
    if got != body:
        raise WrongAnswer(f"{path}: {len(got)} bytes that are not the {len(body)} of the answer")
    for field in ("Server", "Date", "Content-Type"):
        if not answer.getheader(field):
            raise WrongAnswer(f"{path}: no {field}")
    if last != answer.will_close:
        raise WrongAnswer(f"{path}: the connection does not end as asked")


# --- Load -----------------------------------------------------------------------------------------


def wrk_command(shape, url, log_folder):
    command = ["wrk", "-t1", f"-c{shape.connections}", f"-d{BURST_LIMIT_S}", "--latency"]
    if shape.client == "wrk close":
        command += ["-H", "Connection: close"]
    if shape.client == "wrk pipeline":
        script = log_folder / "pipeline.lua"
        script.write_text(PIPELINE_LUA)
        command += ["-s", str(script)]
    return command + [url]


def micros(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def wrk_said(text):
    counted = re.search(r"(\d+) requests in ([\d.]+(?:us|ms|s)),", text)
    trouble = re.search(r"(Non-2xx or 3xx responses|Socket errors): .*", text)
    if not counted or trouble:
        raise WrongAnswer(f"wrk: {trouble[0] if trouble else text.strip()[-200:]}")
    latency = {f"p{part}_us": micros(value)
               for part, value in re.findall(r"^ +(50|99)% +([\d.]+(?:us|ms|s))", text, re.M)}
    return {"requests": int(counted[1]), "seconds": micros(counted[2]) / 1e6, **latency}


def wrk(command, seconds):
    """wrk counts in whole seconds, but ends early, and in good order, when it is interrupted."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as child:
        interrupt = threading.Timer(seconds, child.send_signal, [signal.SIGINT])
        interrupt.start()
        try:
            text, _ = child.communicate(timeout=BURST_LIMIT_S)
        finally:
            interrupt.cancel()
            child.kill()
    return child.returncode, text


def load_by_wrk(command, seconds):
    """On a machine with much else to do, it may not have got anywhere yet: then it gets longer."""
    for longer in (0, 1, 5):
        code, text = wrk(command, seconds + longer)
        if code == -signal.SIGINT:    # it was not ready to be interrupted
            continue
        if code != 0:
            raise WrongAnswer(f"wrk: status {code}: {text.strip()[-200:]}")
        said = wrk_said(text)
        if said["requests"]:
            return said
    raise WrongAnswer(f"wrk: no answer in {seconds + longer:g} s")


def load_by_h2load(command, seconds):
    done = subprocess.run(command + ["-D", f"{round(seconds * 1000)}ms"], capture_output=True,
                          check=True, text=True, timeout=BURST_LIMIT_S, stdin=subprocess.DEVNULL)
    taken = re.search(r"^finished in ([\d.]+(?:us|ms|s)),", done.stdout, re.M)
    counted = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", done.stdout)
    statuses = re.search(r"^status codes: (\d+) 2xx", done.stdout, re.M)
    if not (taken and counted and statuses) or counted[1] == "0" or counted[2] != counted[1] \
            or statuses[1] != counted[1] or counted[3] != "0" or counted[4] != "0":
        raise WrongAnswer(f"h2load: {(done.stdout + done.stderr).strip()[-200:]}")
    return {"requests": int(counted[1]), "seconds": micros(taken[1]) / 1e6}


def client_command(shape, url, core, log_folder):
    if shape.client == "h2load":
        words = ["h2load", "--h1", "-t1", f"-c{shape.connections}", url]
    else:
        words = wrk_command(shape, url, log_folder)
    return process.pinned(core) + words


def burst(contestant, shape, seconds, core, log_folder):
    url = f"http://127.0.0.1:{contestant.port}{shape.path}"
    command = client_command(shape, url, core, log_folder)
    load = load_by_h2load if shape.client == "h2load" else load_by_wrk
    server = contestant.process
    cpu_ns, switches = server.cpu_ns(), server.context_switches()
    used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    sample = load(command, seconds)
    wall_s, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    requests = sample["requests"]
    sample["value"] = (server.cpu_ns() - cpu_ns) / requests
    sample["switches"] = (server.context_switches() - switches) / requests
    sample["client_busy"] = (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / wall_s
    return sample


# --- The whole of it ------------------------------------------------------------------------------


def guarded(contestant, what, *arguments):
    """One step for one contestant; a failure takes it out of the run, and is kept."""
    try:
        return what(contestant, *arguments)
    except Unavailable as e:
        contestant.trouble = str(e)
    except subprocess.TimeoutExpired as e:
        contestant.trouble, contestant.failed = f"no end of a burst within {e.timeout:g} s", True
    except (WrongAnswer, OSError, subprocess.SubprocessError) as e:
        contestant.trouble, contestant.failed = f"{type(e).__name__}: {e}"[:300], True
    return None


def shapes_of(context):
    return [shape for shape in SHAPES if shape.quick or not context.quick]


def length_of(shape):
    """Many connections take a while to open, and have more under way when time is up."""
    return 2 if shape.connections > 100 else 1


def shape_name(shape):
    return f"{shape.connections} connection{'s' if shape.connections > 1 else ''}"


def tool_of(shape):
    return shape.client.split()[0]


def run_rounds(contestants, context, core):
    shapes = [shape for shape in shapes_of(context) if shutil.which(tool_of(shape))]
    rounds, burst_s = size_of(context)
    for round_index in range(rounds):
        order = contestants if round_index % 2 == 0 else contestants[::-1]
        for shape in shapes:
            context.progress(f"{shape.bench}, {shape_name(shape)}, "
                             f"round {round_index + 1} of {rounds}")
            for contestant in order:
                if contestant.up:
                    sample = guarded(contestant, burst, shape, burst_s * length_of(shape), core,
                                     context.log_folder)
                    if sample:
                        contestant.samples[shape].append({"round": round_index, **sample})


def further_figures(samples, memory_kib):
    def median(key):
        values = [sample[key] for sample in samples if key in sample]
        return statistics.median(values) if values else None

    also = {
        "requests/s": statistics.median(s["requests"] / s["seconds"] for s in samples),
        "context switches/request": median("switches"),
        "p50 us, closed loop": median("p50_us"), "p99 us, closed loop": median("p99_us"),
        "memory KiB": memory_kib,
    }
    return {name: value for name, value in also.items() if value is not None}


def row_of(contestant, shape):
    samples = contestant.samples[shape]
    if contestant.trouble:
        return rows.troubled(shape.bench, shape_name(shape), contestant.name, contestant.trouble,
                             failed=contestant.failed)
    if not samples:
        return rows.troubled(shape.bench, shape_name(shape), contestant.name,
                             f"{tool_of(shape)} is not installed")
    notes = [NOTES[shape.bench]] if shape.bench in NOTES else []
    bound = sum(sample["client_busy"] > CLIENT_BUSY_MAX for sample in samples)
    if bound:
        notes.append(f"client-bound {bound}/{len(samples)}")
    row = rows.measured(shape.bench, shape_name(shape), contestant.name, UNIT, samples,
                        also=further_figures(samples, contestant.memory_kib), notes=notes)
    return row


def rows_of(contestants, context):
    references = {c.name: c.reference for c in contestants if c.reference}
    found = []
    for shape in shapes_of(context):
        of_shape = [row_of(contestant, shape) for contestant in contestants]
        rows.hold_against(of_shape, references, TWINS, shape.limit)
        found += of_shape
    return found


def size_of(context):
    """(rounds, seconds of a burst)"""
    return (5, 0.15) if context.quick else (10, 0.2)


def plan(context):
    return [(shape.bench, shape_name(shape)) for shape in shapes_of(context)]


def estimate_s(context):
    rounds, burst_s = size_of(context)
    bursts = sum(burst_s * length_of(shape) + 0.07 for shape in shapes_of(context))
    return rounds * len(wanted(context)) * bursts


def run(context):
    server_core, client_core = process.two_cores()
    root = context.log_folder.resolve() / "http-root"
    root.mkdir(parents=True, exist_ok=True)
    content = context.rng.randbytes(FILE_SIZE // 2).hex().encode()
    (root / "file.txt").write_bytes(content)
    contestants = wanted(context)
    try:
        for contestant in contestants:
            guarded(contestant, start, context, server_core, root)
        for contestant in contestants:
            if contestant.up:
                guarded(contestant, verify, content)
        run_rounds(contestants, context, client_core)
        for contestant in contestants:
            if contestant.up:
                guarded(contestant, verify, content)
                contestant.memory_kib = contestant.process.memory_kib()
    finally:
        for contestant in contestants:
            if contestant.process:
                contestant.process.stop()
    return rows_of(contestants, context)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="the meson build directory")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", type=lambda text: set(text.split(",")))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="the file for the rows, as JSON")
    options = parser.parse_args()
    context = types.SimpleNamespace(
        commands={}, configs={},
        build=options.build.resolve(), quick=options.quick, peers=options.peers,
        rng=random.Random(options.seed), log_folder=options.build.resolve() / "bench/logs",
        progress=lambda text: print(text, file=sys.stderr))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))    # so that `finally` is run
    begun, expected = time.monotonic(), estimate_s(context)
    found = run(context)
    for row in found:
        print(row["bench"], row["shape"], row["contestant"], sep=" | ", end=" | ")
        if row["trouble"]:
            print(rows.verdict(row))
            continue
        print(f"{row['value']:.0f} ns", *(f"{key} {row['ratio'][key]:.3f}" for key in
              ("p20", "neighbours", "low", "high") if row["ratio"]),
              *(f"A/A {row['aa'][key]:.3f}" for key in ("p20", "neighbours") if row["aa"]),
              rows.verdict(row), {k: round(v, 2) for k, v in row["also"].items()}, *row["notes"])
    print(f"took {time.monotonic() - begun:.0f} s; {expected:.0f} were expected")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))
    return any(row["failed"] for row in found)


if __name__ == "__main__":
    sys.exit(main())
