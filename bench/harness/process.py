"""A contestant's process: on a core of its own, watched by what the kernel counts, gone when we are."""

import os
import selectors
import signal
import socket
import subprocess
import time
from pathlib import Path

START_LIMIT_S = 15
STOP_LIMIT_S = 5


class Unavailable(Exception):
    """This contestant cannot run here; the text says why."""


class WrongAnswer(Exception):
    """What came back is not what was asked for."""


def two_cores():
    """One for the contestant, one for the client; none on a machine with a single core."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def pinned(core):
    """On that core (None: on any), and gone when we are, however we went."""
    end_with_us = ["setpriv", "--pdeathsig", "TERM"]
    return end_with_us + (["taskset", "-c", str(core)] if core is not None else [])


def runs(words, limit_s=START_LIMIT_S):
    """Does this command end well here?"""
    try:
        return subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=limit_s, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def first_line(pipe, limit_s):
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return pipe.readline().decode().strip() if selector.select(limit_s) else ""


class Process:
    """Started with a line on its standard output that begins with `greeting`."""

    def __init__(self, name, argv, core, log_folder, greeting, stdin=subprocess.DEVNULL):
        log_folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.argv = [str(word) for word in argv]
        with open(log_folder / f"{name}.log", "w+", encoding="utf-8", errors="replace") as log:
            try:
                self.child = subprocess.Popen(pinned(core) + self.argv, stdin=stdin,
                                              stdout=subprocess.PIPE, stderr=log)
            except OSError as e:
                raise Unavailable(str(e)) from e
            self.line = first_line(self.child.stdout, START_LIMIT_S)
            if not self.line.startswith(greeting):
                self.stop()
                log.seek(0)
                words = log.read().strip().splitlines() or [f"said {self.line!r}"]
                raise Unavailable(f"did not start, status {self.child.returncode}: {words[-1]}")

    @property
    def pid(self):
        return self.child.pid

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(STOP_LIMIT_S)
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe:
                pipe.close()

    def tasks(self):
        return list(Path(f"/proc/{self.pid}/task").iterdir())

    def cpu_ns(self):
        """What all its threads have run, once at rest: a running thread's figure lags."""
        before = -1
        for _ in range(200):
            total = sum(int((task / "schedstat").read_text().split()[0]) for task in self.tasks())
            if total == before:
                break
            before = total
            time.sleep(0.002)
        return total

    def status(self, *names):
        """The sum of these lines of /proc/PID/status (kB for memory), over no threads but the whole."""
        wanted = {name + ":" for name in names}
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.split()[0] in wanted)

    def memory_kib(self):
        """What it has in memory, page tables counted."""
        return self.status("VmRSS", "VmPTE")

    def context_switches(self):
        """Of all its threads, voluntary or not."""
        return sum(int(line.split()[1]) for task in self.tasks()
                   for line in (task / "status").read_text().splitlines()
                   if "ctxt_switches" in line)
