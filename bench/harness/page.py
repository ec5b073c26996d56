#!/usr/bin/env python3
"""The page: everything a run found, in one HTML file that loads nothing from anywhere.

    page.py RESULT [--history FOLDER] [--out FILE]
"""

import argparse
import sys
from pathlib import Path

import benches
import notices
import past
import results
import setting
import standing
from markup import Markup, element

HERE = Path(__file__).resolve().parent


def navigation(result, glance, drawn_past):
    places = ([("glance", "At a glance")] if glance else []) + [("losses", "Where coil loses")]
    places += [(f"module-{module['name']}", module["title"]) for module in result["modules"]]
    places += [("past", "History")] if drawn_past else []
    places += [("method", "Method"), ("setting", "Machine and versions"),
               ("again", "Do it yourself")]
    return element("nav", [element("a", text, href=f"#{name}") for name, text in places],
                   aria_label="On this page")


def header(result, glance, drawn_past):
    where, when = result["machine"], result["when"][:16].replace("T", " ")
    return element(
        "header", element("h1", "coil, measured"),
        element("p", f"Commit {result['versions']['coil']}, {when} UTC, {where['cores']} cores of "
                f"{where['cpu']}, Linux {where['kernel']}. Structured concurrency in C over io_uring "
                "and epoll, beside hand-written servers and other runtimes, on one machine, in one "
                "run.", class_="soft"),
        navigation(result, glance, drawn_past))


def document(result, history=()):
    drawn_past, glance = past.section(past.with_result(history, result)), standing.glance(result)
    body = element("body", header(result, glance, drawn_past), element("main", [
        notices.section(result), notices.tiles(result), glance, standing.losses(result),
        benches.section(result), drawn_past,
        setting.method(result), setting.section(result), setting.again(result)]))
    head = element(
        "head", element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"coil, measured: {result['versions']['coil']}, {result['when'][:10]}"),
        element("style", style()))
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def style():
    return Markup((HERE / "page.css").read_text(encoding="utf-8"))


def write(result, history, path):
    """result: of results.collect or results.load; history: of results.load_history."""
    Path(path).write_text(document(result, history), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--history", type=Path, default=HERE.parent / "history")
    parser.add_argument("--out", type=Path, default=HERE.parent / "report.html")
    options = parser.parse_args()
    write(results.load(options.result), results.load_history(options.history), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
