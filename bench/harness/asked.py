"""A tasks program, asked `BENCH COUNT` line by line. It answers with JSON, which must be right."""

import json
import os
import selectors
import subprocess
import time

from process import Process, WrongAnswer

STRIKES = 2  # it is started again after the first failure, and not after the second


class HasNone(Exception):
    """The program has no such bench; the text says why."""


class Program:
    """One contestant: started when it is asked, again after it failed, and then no more."""

    def __init__(self, name, argv, core, log_folder, limit_s):
        self.name, self.argv, self.core = name, argv, core
        self.log_folder, self.limit_s = log_folder, limit_s
        self.process = None
        self.strikes = 0

    def ask(self, bench, count, right):
        """What it answers, as a dict. A wrong answer, a crash or a hang is a WrongAnswer, and the
        end of this process."""
        if self.strikes >= STRIKES:
            raise WrongAnswer(f"out of the run: it has failed {STRIKES} times")
        try:
            self.start()
            return checked(self.exchange(f"{bench} {count}\n"), bench, count, right)
        except WrongAnswer:
            self.strikes += 1
            self.stop()
            raise

    def start(self):
        if self.process is None:
            self.process = Process(f"tasks-{self.name}", self.argv, self.core, self.log_folder,
                                   "ready", stdin=subprocess.PIPE)

    def stop(self):
        if self.process is not None:
            self.process.stop()
            self.process = None

    def cpu_ns(self):
        self.start()
        try:
            return self.process.cpu_ns()
        except OSError as e:
            raise WrongAnswer(self.last_words()) from e

    def exchange(self, line):
        child = self.process.child
        try:
            child.stdin.write(line.encode())
            child.stdin.flush()
        except OSError as e:
            raise WrongAnswer(self.last_words()) from e
        said, deadline = b"", time.monotonic() + self.limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if not selector.select(deadline - time.monotonic()):
                    raise WrongAnswer(f"hung: no answer to {line.strip()!r} in {self.limit_s:g} s")
                piece = os.read(child.stdout.fileno(), 65536)
                if not piece:
                    raise WrongAnswer(self.last_words())
                said += piece
        return said.decode(errors="replace")

    def last_words(self):
        """Of one that has ended."""
        self.process.stop()
        log = self.log_folder / f"tasks-{self.name}.log"
        words = log.read_text(encoding="utf-8", errors="replace").strip() or "no word"
        return f"ended, status {self.process.child.returncode}: {words.splitlines()[-1]}"


def checked(line, bench, count, right):
    try:
        said = json.loads(line)
        if "error" in said:
            raise HasNone(said["error"])
        asked = (said["bench"], said["count"])
        spent = [int(said[key]) for key in ("cpu_ns", "wall_ns")]
    except (ValueError, TypeError, KeyError) as e:
        raise WrongAnswer(f"not an answer: {line.strip()!r}") from e
    if asked != (bench, count) or min(spent) < 0:
        raise WrongAnswer(f"not an answer to {bench} {count}: {line.strip()!r}")
    if said["answer"] != right:
        raise WrongAnswer(
            f"{bench} {count}: the answer is {said['answer']}, and ought to be {right}")
    return said
