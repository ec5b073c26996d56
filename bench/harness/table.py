#!/usr/bin/env python3
"""The result as text: the table on the terminal.

    table.py RESULT                     prints it
    table.py --readme README.md RESULT  writes README's numbers anew, from a file of bench/history/
"""

import argparse
import sys
import textwrap
from pathlib import Path

import figures
import findings
import readme
import results
import rows

WIDTH = 140
NOTE_LEAST = 21
GAP = "  "
LEFT = {"contestant", "against", "note"}


def cells_of(row):
    """What is shown of a row, by column."""
    notes = [rows.verdict(row)] + row["notes"]
    cells = {"contestant": row["contestant"], "p20": figures.number(row["value"]),
             "median": figures.number(row["median"]), "n": str(row["rounds"] or "")}
    if row["ratio"]:
        cells.update({"against": row["reference"], "ratio": figures.ratio(row["ratio"]["p20"]),
                      "neighbours": figures.interval(row["ratio"])})
    if row["aa"]:
        cells["A/A"] = " ".join(figures.ratio(row["aa"][key]) for key in ("p20", "neighbours"))
    limits = [figures.limit(row[key]) for key in ("limit", "limit_value")]
    cells["limit"] = ", ".join(limit for limit in limits if limit)
    cells.update({key: value if isinstance(value, str) else figures.number(value)
                  for key, value in row["also"].items()})
    return {**cells, "note": ", ".join(note for note in notes if note)}


def columns(lines):
    """Those in which any of these cells has something, the note last and not among them."""
    first = ("contestant", "p20", "median", "n", "against", "ratio", "neighbours", "A/A", "limit")
    names = dict.fromkeys(name for cells in lines for name, text in cells.items() if text)
    names.pop("note", None)
    return [name for name in first if name in names] + [x for x in names if x not in first]


def widths_of(lines):
    """({column: width}, the columns that found no room)."""
    widths, left, without_room = {}, WIDTH - NOTE_LEAST - 2 * len(GAP), []
    for name in columns(lines):
        width = max(len(name), *(len(cells.get(name, "")) for cells in lines))
        if width + len(GAP) > left:
            without_room.append(name)
        else:
            widths[name] = width
            left -= width + len(GAP)
    return widths, without_room


def drawn(cells, widths):
    """One row, and more lines below it if the note is long."""
    line = GAP + GAP.join(cells.get(name, "").ljust(width) if name in LEFT
                          else cells.get(name, "").rjust(width) for name, width in widths.items())
    if not cells["note"]:
        return [line.rstrip()]
    if not any(cells.get(name) for name in widths if name != "contestant"):
        line = GAP + cells["contestant"].ljust(widths["contestant"])    # a trouble has all the room
    indent = len(line + GAP)
    notes = textwrap.wrap(cells["note"], max(WIDTH - indent, NOTE_LEAST)) or [""]
    return [line + GAP + notes[0]] + [" " * indent + note for note in notes[1:]]


def module_text(module):
    """A table for each module, a heading in it for each bench and shape."""
    lines = [f"{module['title']} {'=' * (WIDTH - len(module['title']) - 1)}"]
    widths, without_room = widths_of([cells_of(row) for row in module["rows"]])
    if "p20" in widths:
        lines.append(drawn({name: name for name in widths} | {"note": "note"}, widths)[0])
    for bench, shape, members in findings.groups(module["rows"]):
        units = dict.fromkeys(row["unit"] for row in members if row["unit"])
        lines.append(f"{figures.title(bench, shape)}{': ' if units else ''}{', '.join(units)}")
        for row in members:
            lines += drawn(cells_of(row), widths)
    if without_room:
        lines += textwrap.wrap(f"No room here, but on the page: {', '.join(without_room)}.", WIDTH)
    return "\n".join(lines)


def wrapped(lines):
    return "\n".join(part for line in lines
                     for part in textwrap.wrap(line, WIDTH, subsequent_indent="  "))


def machine_text(result):
    where = result["machine"]
    told = {"governor": where["governor"], "turbo": where["turbo"], "SMT": where["smt"],
            "virtual": where["virtual"], "load before": where["load_before"]}
    named = ", ".join(f"{name} {text or 'missing'}" for name, text in result["versions"].items())
    mitigations = "; ".join(f"{name}: {text}" for name, text in where["mitigations"].items())
    lines = [
        f"machine: {where['cpu']}, {where['cores']} cores, {figures.gib(where['memory_kib'])}, "
        f"{where['system']}, Linux {where['kernel']} {where['architecture']}; "
        + ", ".join(f"{name}: {'not readable' if text is None else text}"
                    for name, text in told.items()),
        f"mitigations: {mitigations or 'none'}",
        f"versions: {named}",
        "flags: " + ", ".join(f"{key}={value}" for key, value in sorted(result["flags"].items())),
    ]
    return wrapped(lines)


LEGEND = """\
Less is better. p20: the 20th percentile of the bursts. n: how many they are, one a round; in "One
call at a time", which does not go round, repetitions, shorter ones, shuffled. ratio: of the 20th
percentiles, to `against`; neighbours: the median of the ratios of bursts that were neighbours in
time, with its 95 % confidence interval. A/A: a second process of the same program, in the same two
ways; where it is over 10 % off, the row says nothing. limit: of the ratio, or of p20. over: past it
by both ratios."""


def losses_text(result):
    lines = []
    for row, others in findings.losses_by_row(result, findings.is_peer):
        name = f"{findings.place(row)}: {row['contestant']} "
        better = ", ".join(figures.loss(loss) for loss in others)
        line = f"{name}{figures.number(row['value'])} {row['unit']}; {better}"
        lines += textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="      ")
    if not lines:
        return "No other runtime or server was ahead of coil."
    return "\n".join(["Where coil loses to another runtime or server, and by how much:"] + lines)


def end_text(result):
    """What must not be overlooked comes last, where the eye is."""
    failed = findings.failures(result)
    skipped = [row for row in findings.skipped(result) if not findings.has_none(row)]

    def named(row):
        return f"{findings.place(row)}, {row['contestant']}: {row['trouble']}"

    lines = [f"missing: {text}" for text in result["missing"]]
    lines += [f"skipped: {text}" for text in dict.fromkeys(
        f"{row['contestant']}: {row['trouble']}" for row in skipped)]
    lines += [f"FAILED: {named(row)}" for row in failed]
    return wrapped(lines)


def terminal(result):
    """The whole result, in 140 columns."""
    parts = [machine_text(result), textwrap.fill(LEGEND, WIDTH),
             textwrap.fill(findings.rounds_words(result), WIDTH)]
    parts += [module_text(module) for module in result["modules"]]
    parts += [losses_text(result), end_text(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--readme", type=Path)
    options = parser.parse_args()
    if options.readme:
        readme.rewrite(options.readme, options.result)
    else:
        print(terminal(results.load(options.result)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
