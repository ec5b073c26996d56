"""The page's history: each of coil's figures by commit, from the files of bench/history/.

Where a figure has a reference, the ratio to it is drawn, which outlives a change of the machine;
else the figure itself. Both with their confidence intervals.
"""

import charts
import figures
import findings
from markup import element, folded, join, table as drawn


# What changed in what is measured, by the commit of the first run of which it is true.
CHANGES = {
    "73cb39c": "coil's echo server without an idle time-out, which nobody else's has either",
}


def with_result(history, result):
    """All of it in the order of time, the present result among it, once."""
    known = {(old["when"], old["versions"]["coil"]) for old in history}
    present = [] if (result["when"], result["versions"]["coil"]) in known else [result]
    return sorted([*history, *present], key=lambda one: one["when"])


def commit(result):
    return result["versions"]["coil"] or result["when"][:10]


def quantity(row):
    """(what it is, value, low, high)."""
    if row["ratio"]:
        ratio = row["ratio"]
        return f"ratio to {row['reference']}", ratio["neighbours"], ratio["low"], ratio["high"]
    low, high = row["low"] or row["value"], row["high"] or row["value"]
    return row["unit"], row["median"], low, high


def series_of(history):
    """{(module, bench, shape): {contestant: points}}, a point for each result that has it."""
    found = {}
    for index, result in enumerate(history):
        for module in result["modules"]:
            for row in module["rows"]:
                if row["contestant"] not in findings.COIL or row["value"] is None:
                    continue
                what, value, low, high = quantity(row)
                place = found.setdefault((module["name"], row["bench"], row["shape"]), {})
                text = figures.ratio(value) if row["ratio"] else figures.number(value)
                place.setdefault(row["contestant"], []).append(
                    {"index": index, "value": value, "low": low, "high": high, "text": text,
                     "label": f"{commit(result)}: {text} {what}", "what": what,
                     "limit": row["limit"] if row["ratio"] else row["limit_value"]})
    return found


def same_quantity(series):
    """A bench that was held against nobody at first, and later was, is drawn from then on."""
    kept = {}
    for name, points in series.items():
        last = points[-1]["what"]
        kept[name] = [point for point in points if point["what"] == last]
    return kept


def new_machines(history):
    """The indices of results that another machine or kernel made than the one before."""
    made_on = [(result["machine"]["cpu"], result["machine"]["kernel"]) for result in history]
    return [index for index in range(1, len(made_on)) if made_on[index] != made_on[index - 1]]


def chart(title, series, history, breaks):
    points = [point for each in series.values() for point in each]
    limits = {each[-1]["limit"] for each in series.values()}
    limit = limits.pop() if len(limits) == 1 else None
    first, last = history[min(p["index"] for p in points)], history[max(p["index"] for p in points)]
    what = ", ".join(dict.fromkeys(each[-1]["what"] for each in series.values()))
    return element(
        "figure", element("figcaption", element("h3", title), element("p", what)),
        charts.lines(series, len(history), breaks, limit),
        element("p", element("span", commit(first)), element("span", commit(last)),
                class_="commits"))


def values_table(all_series, history):
    heading = ["", ""] + [f"{commit(result)}, {result['when'][:10]}" for result in history]
    lines = []
    for (_, bench, shape), series in all_series.items():
        for name, points in series.items():
            of = {point["index"]: point["text"] for point in points}
            lines.append([figures.title(bench, shape), f"{name}, {points[-1]['what']}"]
                         + [of.get(index, "") for index in range(len(history))])
    return folded("All of it as a table", drawn(heading, lines, "figures"))


def section(history):
    """None while there is nothing to compare with."""
    all_series = {key: same_quantity(series) for key, series in series_of(history).items()}
    all_series = {key: series for key, series in all_series.items()
                  if any(len(points) > 1 for points in series.values())}
    if not all_series:
        return None
    breaks = new_machines(history)
    parts = []
    for module in history[-1]["modules"]:
        drawings = [chart(figures.title(bench, shape), series, history, breaks)
                    for (name, bench, shape), series in all_series.items()
                    if name == module["name"]]
        if drawings:
            parts.append(folded(element("strong", f"{module['title']}, {len(drawings)} figures"),
                                element("div", drawings, class_="past"), open_=not parts))
    words = ("Coil's figures by commit, with their 95 % confidence intervals; less is better. "
             "Where a bench has a reference in the same run, the ratio to it is drawn. Each point "
             "is a run of its own, in the weather of its day. ")
    words += "A dotted line: another machine or kernel from there on. " if breaks else ""
    words += "".join(f"From {commit(result)} on: {CHANGES[commit(result)]}. "
                     for result in history if commit(result) in CHANGES)
    return join(element("h2", f"History: {len(history)} runs", id="past"),
                element("p", words, "Whether coil changed between two commits is told by ",
                        element("code", "bench/run --compare REV"),
                        ", which runs both side by side."),
                element("p", "The full line is coil on io_uring, the dashed one coil on epoll."),
                *parts, values_table(all_series, history))
