#!/usr/bin/env python3
"""A run from its beginning to its page: what is measured, in which order, and what comes of it."""

import argparse
import os
import random
import shutil
import signal
import sys
import time
import types
from pathlib import Path

import echo
import history
import machine
import micro
import page
import pipeline
import results
import table
import tasks
import web

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = [pipeline, echo, web, tasks, micro]


class Progress:
    """One line on stderr that says what goes on and how long the rest will take, about. Where there
    is no terminal: a line for each module."""

    def __init__(self, modules, context):
        self.left_s = {module: module.estimate_s(context) for module in modules}
        self.drawn = 0
        self.begun = None
        self.module = None

    def begin(self, module):
        self.module, self.begun = module, time.monotonic()
        if not sys.stderr.isatty():
            print(f"bench: {module.TITLE}, {self.time_left()}", file=sys.stderr, flush=True)

    def end(self):
        self.left_s.pop(self.module)
        self.clear()

    def time_left(self):
        spent_s = time.monotonic() - self.begun
        rest_s = sum(self.left_s.values()) - min(spent_s, self.left_s[self.module])
        return f"{rest_s // 60:.0f} min {rest_s % 60:02.0f} s left" if rest_s >= 60 \
            else f"{rest_s:.0f} s left"

    def say(self, text):
        if not sys.stderr.isatty():
            return
        width = shutil.get_terminal_size().columns - 1
        line = f"{self.time_left()}  {self.module.TITLE}: {text}"[:width]
        print("\r" + line.ljust(self.drawn), end="", file=sys.stderr, flush=True)
        self.drawn = len(line)

    def clear(self):
        if self.drawn:
            print("\r" + " " * self.drawn + "\r", end="", file=sys.stderr, flush=True)
            self.drawn = 0


def names(text):
    return {name.strip() for name in text.split(",") if name.strip()}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=names)
    parser.add_argument("--peers", type=names)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--missing", action="append", default=[])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    options.build = options.build.resolve()
    unknown = (options.only or set()) - {module.NAME for module in MODULES}
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are "
                     + ", ".join(module.NAME for module in MODULES))
    obstacle = options.record and ("--only and --peers leave something out"
                                   if options.only or options.peers else history.obstacle())
    if obstacle:
        parser.error(f"--record: {obstacle}")
    return options


def context_of(options):
    return types.SimpleNamespace(
        build=options.build, python=options.python, quick=options.quick, peers=options.peers,
        rng=random.Random(options.seed), log_folder=options.build / "bench/logs", commands={},
        configs={}, progress=lambda text: None)


def listed(modules, context):
    for module in modules:
        print(f"{module.NAME}: {module.TITLE}, about {module.estimate_s(context):.0f} s")
        for bench, shape in module.plan(context):
            print(f"  {bench}" + (f": {shape}" if shape else ""))


def measure(modules, context):
    progress = Progress(modules, context)
    context.progress = progress.say
    measured = []
    for module in modules:
        progress.begin(module)
        measured.append((module, module.run(context)))
        progress.end()
    return measured


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that `finally` is run
    context = context_of(options)
    modules = [m for m in MODULES if not options.only or m.NAME in options.only]
    if options.list:
        listed(modules, context)
        return 0
    context.log_folder.mkdir(parents=True, exist_ok=True)
    before = machine.described()
    measured = measure(modules, context)
    result = results.collect(measured, context, before, options.missing, context.commands,
                             context.configs)
    results.save(result, options.build / "results.json")
    failed = any(row["failed"] for _, found in measured for row in found)
    kept = history.keep(result) if options.record and not failed else None
    page.write(result, results.load_history(history.HISTORY), ROOT / "bench/report.html")
    print(table.terminal(result))
    if kept:
        print(f"\nKept in {os.path.relpath(kept)}; README's numbers are of this run.")
    print(f"\nThe page is {os.path.relpath(ROOT / 'bench/report.html')}, every figure is in "
          f"{os.path.relpath(options.build / 'results.json')}.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
