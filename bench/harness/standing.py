"""Where coil stands, for the page: at a glance, where it loses, which limits it did not keep."""

import statistics

import figures
import findings
import rows
from markup import element, join, table as drawn


def standing(module, name):
    """How coil on one backend stands to the best of the other runtimes: how often ahead, how often
    behind, and the ratios of the best other to coil."""
    ratios = []
    for _, _, members in findings.groups(module["rows"]):
        own = next((row for row in members if row["contestant"] == name and row["value"]), None)
        others = [row["value"] for row in members if findings.is_peer(row["contestant"])
                  and own and row["value"] is not None and row["unit"] == own["unit"]]
        if others:
            ratios.append(min(others) / own["value"])
    return ratios


def glance_line(module, name):
    ratios = standing(module, name)
    if not ratios:
        return None
    behind = sum(ratio < 1 for ratio in ratios)
    return [f"{module['title']}, {name}", f"{len(ratios) - behind} of {len(ratios)}",
            element("strong", behind, class_="warn") if behind else "none",
            *(figures.times(of(ratios)) for of in (min, statistics.median, max))]


def glance(result):
    lines = [line for module in result["modules"] for name in findings.COIL
             if (line := glance_line(module, name))]
    if not lines:
        return None
    heading = ["", "ahead of all in", "behind in",
               ("the best other takes: least", "best other, least"), "middle", "most"]
    return join(
        element("h2", "At a glance", id="glance"),
        element("p", "Each bench once: coil beside the best of the other runtimes and servers in "
                "it. Hand-written servers and bare loops, which do the same work and nothing else, "
                "are not counted here; they are in the charts, and in the list below."),
        drawn(heading, lines, "glance stacked"))


def loss_line(row, losses):
    ahead = [element("span", figures.loss(loss), class_="name") for loss in losses]
    separated = [join("; " if index else "", text) for index, text in enumerate(ahead)]
    takes = f"{figures.number(row['value'])} {row['unit']}"
    return [findings.place(row), element("span", row["contestant"], class_="name"),
            element("span", takes, class_="name"), join(separated)]


def losses(result):
    """As large as all else on the page."""
    heading = ["where", "", "takes", ("ahead, and how many times as much coil takes", "ahead")]
    peers = findings.losses_by_row(result, findings.is_peer)
    floors = findings.losses_by_row(result, lambda name: not findings.is_peer(name))
    parts = [element("h2", "Where coil loses", id="losses")]
    if peers:
        parts += [element("p", "Every figure of coil's that another runtime or server beats, the "
                          "worst first."),
                  drawn(heading, [loss_line(*loss) for loss in peers], "glance stacked")]
    else:
        parts.append(element("p", "No other runtime or server was ahead of coil in this run."))
    if floors:
        parts += [element("h3", "To hand-written servers and bare loops"),
                  element("p", "They do the same work without tasks, deadlines and cancellation: "
                          "this is what coil adds."),
                  drawn(heading, [loss_line(*loss) for loss in floors], "glance stacked")]
    return join(*parts, over_limit(result))


def over_limit(result):
    found = findings.over_limit(result)
    if not found:
        return None
    heading = ["where", "", ("figure and limit", ""), ""]
    return join(element("h3", "Limits that were not kept"),
                element("p", "Limits are set before the run. One over: of the two ratios only one "
                        "is past the limit."),
                drawn(heading, [limit_line(row) for row in found], "glance stacked"))


def ratio_words(row):
    return (f"{figures.interval(row['ratio'])}, p20 {figures.ratio(row['ratio']['p20'])}"
            + (f"; limit {figures.limit(row['limit'])}" if row["limit"] else ""))


def value_words(row):
    limit = figures.limit(row["limit_value"])
    return f"{figures.number(row['value'])}; limit {limit} {row['unit']}"


def limit_line(row):
    words = []
    if row["limit"] and row["ratio"]:
        words.append(f"to {row['reference']} {ratio_words(row)}")
    if row["limit_value"]:
        words.append(value_words(row))
    return [findings.place(row), element("span", row["contestant"], class_="name"),
            "; ".join(words), element("strong", rows.verdict(row), class_="warn name")]
