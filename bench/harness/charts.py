"""Charts as inline SVG: bars for one bench with all contestants, lines for one figure over commits.

The drawings have no text but numbers at the axis, and no size: they fill their place, and their
letters stay as large as the page's.
"""

import math

import figures
import findings
from markup import element, join

LOG_RATIO = 20                      # beyond this, the small bars would all look alike
HEIGHT = 20                         # of a bar's row
HISTORY_SPAN_LEAST = 0.10           # a chart that is narrower would draw noise as mountains


def kind(name):
    """The class that gives a contestant its colour."""
    if findings.is_coil(name):
        return "uring" if "io_uring" in name else "epoll"
    return "peer" if findings.is_peer(name) else "floor"


def nice_step(most):
    """1, 2 or 5 times a power of ten: three to five of them make `most`."""
    power = 10 ** math.floor(math.log10(most / 4)) if most > 0 else 1
    return next(power * times for times in (1, 2, 5, 10) if most / (power * times) <= 5)


class Axis:
    """Where a value lies, in percent of the width. Logarithmic where bars would hide the small."""

    def __init__(self, values, marks=()):
        positive = [value for value in values if value > 0] or [1]
        self.most = max([*positive, *(mark for mark in marks if mark < 1.3 * max(positive))]) * 1.02
        self.least = min(positive)
        self.logarithmic = max(positive) / self.least > LOG_RATIO
        if self.logarithmic:
            self.least /= 2

    def at(self, value):
        if not self.logarithmic:
            part = value / self.most
        elif value <= self.least:
            part = 0
        else:
            part = math.log(value / self.least) / math.log(self.most / self.least)
        return f"{100 * part:.2f}%"

    def holds(self, value):
        return value is not None and value <= self.most

    def ticks(self):
        if self.logarithmic:
            first, last = (math.floor(math.log10(end)) for end in (self.least, self.most))
            powers = range(first, last + 1)
            ticks = [10.0 ** power for power in powers if 10.0 ** power >= self.least]
            if len(ticks) > 2:
                return ticks
            ticks = [times * 10.0 ** power for power in powers for times in (1, 3)]
            return [tick for tick in ticks if self.least <= tick <= self.most]
        step = nice_step(self.most)
        return [step * index for index in range(int(self.most / step) + 1)]


def end_of(row):
    """How far its range reaches: to the upper end of the median's interval."""
    return max(x for x in (row["value"], row["median"], row["high"]) if x is not None)


def marks(row, reference):
    """(reference's value, the limit): where the one this row is held against stands, and how far
    the row may go."""
    beside = reference["value"] if reference else None
    limits = [row["limit_value"]] + [beside * row["limit"] if beside and row["limit"] else None]
    return beside, min((limit for limit in limits if limit), default=None)


def axis_of(members):
    """For the rows of one bench that have figures."""
    of = {row["contestant"]: row for row in members}
    wanted = [limit for row in members for limit in marks(row, of.get(row["reference"])) if limit]
    return Axis([end_of(row) for row in members] + [row["value"] for row in members], wanted)


def vertical(x, class_, top=0, bottom=HEIGHT):
    return element("line", x1=x, x2=x, y1=top, y2=bottom, class_=class_)


def bar(row, reference, axis):
    """One contestant's. On a logarithmic axis a bar's length would mean nothing: it is a point."""
    middle, end, name = HEIGHT / 2, axis.at(row["value"]), kind(row["contestant"])
    parts = [vertical(axis.at(tick), "grid") for tick in axis.ticks()]
    if axis.logarithmic:
        parts.append(element("line", x1=0, x2=end, y1=middle, y2=middle, class_="stem"))
    else:
        parts.append(element("rect", x=0, y=middle - 6, width=end, height=12, class_=f"bar {name}"))
    beside, limit = marks(row, reference)
    if axis.holds(beside):
        parts.append(vertical(axis.at(beside), "reference"))
    if axis.holds(limit):
        parts.append(vertical(axis.at(limit), "limit"))
    parts.append(element("line", x1=end, x2=axis.at(end_of(row)), y1=middle, y2=middle,
                         class_="range"))
    parts.append(vertical(axis.at(row["median"]), "median", middle - 4, middle + 4))
    if axis.logarithmic:
        parts.append(element("circle", cx=end, cy=middle, r=5, class_=f"bar {name}"))
    return element("svg", parts, height=HEIGHT, aria_hidden="true")


def scale(axis):
    """The numbers below the bars."""
    ticks, parts = axis.ticks(), []
    for index, tick in enumerate(ticks):
        x = float(axis.at(tick).rstrip("%"))
        anchor = "start" if x < 6 else "end" if x > 94 else "middle"
        parts.append(element("text", short(tick), x=f"{x:.2f}%", y=13, text_anchor=anchor,
                             class_="narrow" if len(ticks) > 4 and index % 2 else None))
    return element("svg", parts, height=16, class_="scale", aria_hidden="true")


def short(value):
    """20k and 1M: an axis has no room for more."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


# --- Lines over commits --------------------------------------------------------------------------


def span(points):
    """(low, high) of what is drawn, with some air."""
    low = min(point["low"] for point in points)
    high = max(point["high"] for point in points)
    air = max(0, HISTORY_SPAN_LEAST * (high + low) / 2 - (high - low)) / 2 + 0.04 * (high - low)
    return low - air, high + air


def polyline(points, place, name):
    """A line with a dot at each figure and its interval as a bar; they keep their widths however
    the drawing is stretched."""
    path = " ".join(f"{x:.2f},{y:.2f}" for x, y in
                    (place(point["index"], point["value"]) for point in points))
    parts = [element("polyline", points=path, class_=f"line {name}")]
    for point in points:
        x, y = place(point["index"], point["value"])
        top, bottom = place(0, point["high"])[1], place(0, point["low"])[1]
        parts.append(element("path", d=f"M{x:.2f} {top:.2f}V{bottom:.2f}",
                             class_=f"interval {name}"))
        dot = element("path", d=f"M{x:.2f} {y:.2f}h0", class_=f"dot {name}")
        parts.append(element("g", element("title", point["label"]), dot))
    return parts


def lines(series, count, breaks=(), limit=None):
    """series: {contestant: [{"index", "value", "low", "high", "label"}]}; breaks: the indices
    before which the machine changed. Returns the drawing, with the numbers at its ends."""
    low, high = span([point for points in series.values() for point in points])

    def place(index, value):
        x = 50 if count == 1 else 3 + 94 * index / (count - 1)
        return x, 100 * (high - value) / (high - low)

    parts = []
    for index in breaks:
        x = (place(index, low)[0] + place(index - 1, low)[0]) / 2
        parts.append(element("path", d=f"M{x:.2f} 0V100", class_="break"))
    if limit and low < limit < high:
        parts.append(element("path", d=f"M0 {place(0, limit)[1]:.2f}H100", class_="limit"))
    for name, points in series.items():
        parts += polyline(points, place, kind(name))
    drawing = element("svg", parts, viewBox="0 0 100 100", preserveAspectRatio="none",
                      class_="history", role="img", aria_label=spoken(series))
    written = figures.number if high >= 10 else figures.ratio
    return join(element("span", written(high), class_="end"), drawing,
                element("span", written(low), class_="end"))


def spoken(series):
    """For who cannot see the drawing."""
    return "; ".join(f"{name}: " + ", ".join(point["label"] for point in points)
                     for name, points in series.items())
