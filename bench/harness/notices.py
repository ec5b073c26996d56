"""What must not be overlooked: it stands on top of the page."""

import statistics

import figures
import findings
from markup import element, folded


def tile(figure, text, kind=None):
    return element("li", element("strong", figure, class_=kind), text)


def tiles(result):
    figures_count = sum(row["value"] is not None for row in findings.all_rows(result))
    failed, off = len(findings.failures(result)), findings.aa_spreads(result)
    behind = len(findings.losses_by_row(result, findings.is_peer))
    over = len(findings.over_limit(result))
    spread = figures.percent(statistics.median(off)) if off else "none"
    most = f", {figures.percent(max(off))} at most" if off else ""
    return element("ul", [
        tile(figures_count, "figures, every answer behind them verified"),
        tile(failed, "failed: a wrong answer, a crash or a hang", "bad" if failed else None),
        tile(behind, "of coil's figures behind another runtime or server",
             "warn" if behind else None),
        tile(over, "of coil's figures over their limit", "warn" if over else None),
        tile(spread, f"A/A: coil off itself, in the middle of {len(off)} pairs{most}"),
    ], class_="tiles")


def notice(kind, heading, lines):
    return element("section", element("h2", heading),
                   element("ul", [element("li", line) for line in lines]) if lines else None,
                   class_=f"notice {kind}")


def skipped_words(skipped):
    """A line for each trouble, whoever had it and wherever."""
    by_trouble = {}
    for row in skipped:
        names, places = by_trouble.setdefault(row["trouble"], ({}, {}))
        names[row["contestant"]] = places[findings.place(row)] = True
    lines = []
    for trouble, (names, places) in by_trouble.items():
        where = "; ".join(places) if len(places) < 4 else f"{len(places)} benches"
        lines.append(f"{', '.join(names)} in {where}: {trouble}")
    return lines


def section(result):
    failed = [f"{findings.place(row)}, {row['contestant']}: {row['trouble']}"
              for row in findings.failures(result)]
    without = [f"Missing: {text}" for text in result["missing"]]
    skipped = findings.skipped(result)
    without += skipped_words([row for row in skipped if not findings.has_none(row)])
    has_none = skipped_words([row for row in skipped if findings.has_none(row)])
    parts = []
    if result["quick"]:
        parts.append(notice("warn", "A quick run: fewer and shorter bursts, wider intervals", []))
    if failed:
        who = "1 contestant" if len(failed) == 1 else f"{len(failed)} times a contestant"
        parts.append(notice("bad", f"FAILED: {who} answered wrongly, crashed or hung", failed))
    else:
        parts.append(notice("good", "Nothing failed: all answers were right", []))
    if without:
        parts.append(notice("warn", "What this run went without", without))
    if has_none:
        parts.append(folded("What some contestants do not offer, and so do not take part in",
                            element("ul", [element("li", line) for line in has_none])))
    return parts
