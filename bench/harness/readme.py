"""README's numbers: Markdown from a result of bench/history/, between two marks, never typed.

The block names the file it was made from, and tests/readme_numbers.py makes it again from that.
"""

import re
import statistics
import textwrap
from pathlib import Path

import figures
import findings
import results
import stats

BEGIN = "<!-- numbers: written by bench/run --readme -->"
END = "<!-- end of numbers -->"
HISTORY = "bench/history"
SOURCE = re.compile(re.escape(HISTORY) + r"/([\w.-]+\.json)")
AA_UNSTEADY = "?"
WIDTH = 100

# Of each module, what is shown: its title, and how the units begin.
TABLES = [
    ("echo", "Echo, server CPU", "ns"),
    ("echo", "Echo, latency in an open loop", "us"),
    ("tasks", "Tasks, CPU", "ns"),
    ("http", "HTTP, server CPU", "ns"),
    ("tasks", "Memory of a sleeper, page tables counted", ("bytes", "KiB")),
]


def block(text):
    return f"{BEGIN}\n\n{text.strip()}\n\n{END}"


def found_block(document):
    """(before, block, after); None if the document has none."""
    begin, end = document.find(BEGIN), document.find(END)
    if begin < 0 or end < begin:
        return None
    end += len(END)
    return document[:begin], document[begin:end], document[end:]


def rewrite(readme_path, result_path):
    """Puts the numbers of a file of bench/history/ into README, in place of those there."""
    readme_path, result_path = Path(readme_path), Path(result_path)
    parts = found_block(readme_path.read_text(encoding="utf-8"))
    if not parts:
        raise ValueError(f"{readme_path} has no place for numbers: {BEGIN} ... {END}")
    written = block(text(results.load(result_path), result_path.name))
    readme_path.write_text(parts[0] + written + parts[2], encoding="utf-8")


def is_as_written(document, history):
    """Is the block what the file it names makes of it? That file is in `history`."""
    parts = found_block(document)
    named = parts and SOURCE.search(parts[1])
    kept = named and Path(history) / named[1]
    return bool(kept) and kept.exists() and parts[1] == block(text(results.load(kept), kept.name))


# --- The parts -----------------------------------------------------------------------------------


def wrapped(lines):
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ", break_long_words=False,
                                   break_on_hyphens=False) for line in lines)


def who(name):
    return name.replace("-", ", ", 1) if findings.is_coil(name) else name


def origin(result, name):
    where, what = result["machine"], result["versions"]
    virtual = f" under {where['virtual']}" if where["virtual"] not in (None, "none") else ""
    quick = " --quick" if result["quick"] else ""
    told = [text for text in (what["compiler"], what["liburing"] and f"liburing {what['liburing']}")
            if text]
    peers = [f"{key} {what[key]}" for key in findings.PEERS if what[key]]
    return (f"From `bench/run{quick}` of {result['when'][:10]} at {what['coil']}, all of it in "
            f"[{HISTORY}/{name}]({HISTORY}/{name}): {where['cores']} cores of {where['cpu']}"
            f", {figures.gib(where['memory_kib'])}{virtual}, {where['system']}, Linux {where['kernel']}, {', '.join(told)}; "
            f"{', '.join(peers)}.")


def spread(result):
    """What the run could tell apart."""
    off = findings.aa_spreads(result)
    if not off:
        return "No A/A pair was measured: nothing is known of what this run could tell apart."
    unsteady = sum(findings.says_nothing(row) for row in findings.all_rows(result)
                   if not findings.is_again(row["contestant"]))
    mark = (f" {unsteady} of them by more than {stats.AA_SPREAD_MAX * 100:.0f} %: these are marked "
            f"{AA_UNSTEADY}, and say nothing." if unsteady else "")
    return (f"A/A: coil beside a second process of itself differed by "
            f"{figures.percent(statistics.median(off))} in the middle of {len(off)} figures, "
            f"and by {figures.percent(max(off))} at most.{mark}")


def cell(row):
    if row is None:
        return ""
    if row["trouble"]:
        return "FAILED" if row["failed"] else "none" if findings.has_none(row) else "skipped"
    beside = f" ({figures.ratio(row['ratio']['neighbours'])})" if row["ratio"] else ""
    unsteady = f" {AA_UNSTEADY}" if findings.says_nothing(row) else ""
    return figures.number(row["value"]) + beside + unsteady


def column_heading(name, rows):
    references = {row["reference"] for row in rows if row["contestant"] == name and row["ratio"]}
    return who(name) + (f" (to {', '.join(sorted(references))})" if references else "")


def pivot(rows, module_name):
    """A table with a column for each contestant."""
    names = sorted({row["contestant"] for row in rows}, key=findings.rank)
    lines = [[""] + [column_heading(name, rows) for name in names], ["---"] * (len(names) + 1)]
    for bench, shape, members in findings.groups(rows):
        of = {row["contestant"]: row for row in members}
        bench = "" if bench == module_name else bench
        lines.append([", ".join(word for word in (bench, shape) if word)]
                     + [cell(of.get(name)) for name in names])
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def table(result, module_name, title, units):
    """A module's rows of these units, and the troubles beside them."""
    rows = [row for module in result["modules"] if module["name"] == module_name
            for row in module["rows"] if not findings.is_again(row["contestant"])]
    wanted = {(row["bench"], row["shape"]) for row in rows if row["unit"].startswith(units)}
    rows = [row for row in rows if (row["bench"], row["shape"]) in wanted]
    if not rows:
        return ""
    unit = ", ".join(dict.fromkeys(row["unit"] for row in rows if row["unit"]))
    return f"**{title}** ({unit})\n\n{pivot(rows, module_name)}"


def losses(result):
    """To other runtimes and servers. How far it is from the floors, the tables' brackets say."""
    lines = []
    for row, others in findings.losses_by_row(result, findings.is_peer):
        ahead = [figures.loss(loss) for loss in others]
        lines.append(f"- {findings.place(row)}: {who(row['contestant'])} "
                     f"takes {figures.number(row['value'])} {row['unit']}; {', '.join(ahead)}.")
    if not lines:
        return "No other runtime or server was ahead of coil in this run."
    return "**Where coil loses** to another runtime or server, all of it:\n\n" + wrapped(lines)


def troubles(result):
    lines = [f"- FAILED: {findings.place(row)}, {row['contestant']}: "
             f"{row['trouble']}." for row in findings.failures(result)]
    lines += [f"- The run went without: {text}." for text in result["missing"]]
    return wrapped(lines)


HOW_TO_READ = (
    "Less is better everywhere. A figure is the 20th percentile of short bursts that went round "
    "all contestants; in brackets the median of the ratios to the reference's bursts beside them. "
    "Believe ratios, not figures, and run it on your machine. ")


def text(result, name):
    """What README says of a result kept in bench/history/ under that name."""
    paragraphs = [origin(result, name), HOW_TO_READ + spread(result),
                  findings.rounds_words(result)]
    parts = [textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)
             for paragraph in paragraphs]
    parts += [table(result, *wanted) for wanted in TABLES]
    parts += [losses(result), troubles(result)]
    return "\n\n".join(part for part in parts if part)
