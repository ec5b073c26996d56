"""What the Python tasks programs share: a line `BENCH COUNT` in, a line of JSON out, and the clock.

A bench is `async def bench(run)`. It does a thing run.count times and returns what came of it. One
that has something to prepare, or to clear away, starts the clock again, or stops it earlier.
"""

import gc
import json
import platform
import resource
import socket
import sys
import time

HOUR = 3600
GROUP_SIZE = 1000
CHOICES = 8
CHILDREN = 10


class Run:
    def __init__(self, bench, count):
        self.bench, self.count = bench, count
        self.start()

    def start(self):
        self.spent = None
        self.wall_ns = time.perf_counter_ns()
        self.cpu_ns = time.process_time_ns()

    def stop(self):
        if self.spent is None:
            cpu_ns, wall_ns = time.process_time_ns(), time.perf_counter_ns()
            self.spent = {"cpu_ns": cpu_ns - self.cpu_ns, "wall_ns": wall_ns - self.wall_ns}

    def reply(self, answer):
        self.stop()
        say(bench=self.bench, count=self.count, **self.spent, answer=answer)

    def asleep(self, answer):
        """Answers, and returns when the next line has come, which is `wake 0`: that is then what is
        being run."""
        self.reply(answer)
        self.bench, self.count = next_line() or ("wake", 0)
        self.start()


def say(**fields):
    print(json.dumps(fields), flush=True)


def next_line():
    """(bench, count); None at the end. Waits as any program does: nothing else has to go on."""
    words = sys.stdin.readline().split()
    return (words[0], int(words[1])) if words else None


async def answer_all(name, benches):
    """`benches` has a function, or why there is none, by name."""
    print(f"ready {name}, Python {platform.python_version()}", flush=True)
    while line := next_line():
        bench = benches.get(line[0], "no bench of that name")
        if isinstance(bench, str):
            say(bench=line[0], error=f"has none: {bench}")
        else:
            gc.collect()  # what the one before has left behind is not this one's
            run = Run(*line)
            run.reply(await bench(run))


def connected_sockets(wanted):
    """As many as there may be, and no more than wanted."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sockets = []
    try:
        while len(sockets) < wanted:
            sockets += socket.socketpair()
    except OSError:
        pass
    for s in sockets:
        s.setblocking(False)
    return sockets
