"""The benches, for the page: a chart of each, what it is worth, and all its figures in a table."""

import charts
import figures
import findings
import rows
import standing
import table
from markup import element, folded, join, table as drawn


def bar_line(row, members, axis, least):
    name = row["contestant"]
    if row["trouble"]:
        word = element("strong", "FAILED: ", class_="bad") if row["failed"] else \
            None if findings.has_none(row) else "skipped: "
        return element("li", element("span", name, class_="who"),
                       element("span", word, row["trouble"], class_="trouble"))
    reference = next((x for x in members if x["contestant"] == row["reference"]), None)
    kinds = [word for word, is_so in (("coil", findings.is_coil(name)),
                                      ("nothing", findings.says_nothing(row))) if is_so]
    times = f"{figures.times(row['value'] / least)}" if least else ""
    return element("li", element("span", name, class_="who"), charts.bar(row, reference, axis),
                   element("span", figures.number(row["value"]), class_="value"),
                   element("span", times, class_="times"), class_=" ".join(kinds) or None)


def remarks(members):
    """What each of coil's rows is worth, and what was noted of anyone's."""
    lines, by_note = [], {}
    for row in members:
        verdict = rows.verdict(row)
        if row["trouble"]:
            continue
        if row["ratio"]:
            aa = row["aa"] and [figures.ratio(row["aa"][key]) for key in ("p20", "neighbours")]
            beside = f"; A/A {aa[0]}, {aa[1]}" if aa else None
            lines.append(element("li", f"{row['contestant']} ÷ {row['reference']}: ",
                                 standing.ratio_words(row), beside,
                                 join(": ", element("strong", verdict)) if verdict else None))
        if row["limit_value"]:
            lines.append(element("li", f"{row['contestant']}: {standing.value_words(row)}",
                                 join(": ", element("strong", verdict))
                                 if verdict and not row["ratio"] else None))
        for note in row["notes"]:
            by_note.setdefault(note, []).append(row["contestant"])
    lines += [element("li", element("strong", note), f": {', '.join(names)}")
              for note, names in by_note.items()]
    return element("ul", lines, class_="remarks bars-remarks") if lines else None


def full_table(members):
    lines = [table.cells_of(row) for row in members]
    for cells, row in zip(lines, members):
        if row["low"] is not None:
            low, high = figures.number(row["low"]), figures.number(row["high"])
            cells["median"] += f" ({low} to {high})"
    names = table.columns(lines) + ["note"]

    def cell_line(cells, row):
        kind = "failed" if row["failed"] else "nothing" if findings.says_nothing(row) else None
        return [cells.get(name, "") for name in names], kind

    return drawn(names, [cell_line(*pair) for pair in zip(lines, members)], "figures")


def bench(name, shape, members):
    shown = [row for row in members if row["failed"] or not findings.is_again(row["contestant"])]
    measured = sorted((row for row in shown if row["value"] is not None),
                      key=lambda row: row["value"])
    troubled = [row for row in shown if row["trouble"]]
    units = ", ".join(dict.fromkeys(row["unit"] for row in measured))
    axis = charts.axis_of(measured) if measured else None
    least = measured[0]["value"] if measured else None
    how = f"{units}; less is better" if units else "no figure"
    if axis and axis.logarithmic:
        how += "; logarithmic scale"
    lines = [bar_line(row, members, axis, least) for row in measured + troubled]
    if axis:
        lines.append(element("li", element("span"), charts.scale(axis), aria_hidden="true"))
    return element(
        "figure",
        element("figcaption", element("h3", figures.title(name, shape)), element("p", how)),
        element("ul", lines, class_="bars"), remarks(shown),
        folded("All figures", full_table(members)))


def sample(name, *parts):
    """A piece of the charts, for the key."""
    return element("li", element("svg", parts, height=20, aria_hidden="true"), name)


def key():
    def swatch(kind):
        return element("rect", x=0, y=4, width=34, height=12, class_=f"bar {kind}")

    ranged = [element("line", x1=0, x2=34, y1=10, y2=10, class_="range"),
              charts.vertical(14, "median", 6, 14)]
    return element("ul", [
        sample("coil on io_uring", swatch("uring")), sample("coil on epoll", swatch("epoll")),
        sample("another runtime or server", swatch("peer")),
        sample("hand-written, the bare work", swatch("floor")),
        sample("from the 20th percentile over the median to its interval's end", *ranged),
        sample("what this row is held against", charts.vertical(17, "reference")),
        sample("this row's limit", charts.vertical(17, "limit")),
    ], class_="key")


KEY_WORDS = """\
The best is on top. The bar ends at the 20th percentile of the bursts; behind the figure stands
how many times the least of the chart it is. Coil's second processes, which are there for A/A, are
in the tables only. A row in italics with a dashed bar says nothing: coil was more than 10 % off
itself there. Client-bound 3/10: in three of ten bursts the client was over 90 % busy, and its
speed was measured rather than the server's; CPU per request still holds."""


def section(result):
    parts = [element("h2", "How to read the charts", id="key"), element("p", KEY_WORDS), key()]
    for module in result["modules"]:
        benches = [bench(*group) for group in findings.groups(module["rows"])]
        parts += [element("h2", module["title"], id=f"module-{module['name']}"),
                  element("div", benches, class_="benches") if benches
                  else element("p", "Nothing was measured.")]
    return parts
