"""How figures are written: as many digits as a run can tell, and no more."""


def number(value):
    """4,230 or 26.1 or 4.92; nothing for None."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def ratio(value):
    """1.062, 0.053, 0.0042, 7.55, 812: three digits behind the point about 1, where limits lie."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 2:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"


def limit(value):
    """As it was set: 1.05, 0.5, 80."""
    return "" if value is None else f"{value:.4g}"


def interval(compared):
    """The median of neighbours with its confidence interval: 1.062 (1.041 to 1.083)."""
    low, high = ratio(compared["low"]), ratio(compared["high"])
    return f"{ratio(compared['neighbours'])} ({low} to {high})"


def times(value):
    """1.04×, 76.8×, 812×: for reading, where ratio() is for judging."""
    return f"{value:,.0f}×" if value >= 100 else f"{value:.1f}×" if value >= 10 else f"{value:.2f}×"


def loss(found):
    """One of findings.losses(): tokio 560 (7.55×)."""
    other, doubt = found["other"], "" if found["certain"] else ", less than A/A"
    return f"{other['contestant']} {number(other['value'])} ({times(found['ratio'])}{doubt})"


def gib(kib):
    return kib and f"{kib / 1024 ** 2:.1f} GiB"


def percent(part):
    return f"{100 * part:.1f} %"


def title(bench, shape):
    return f"{bench}, {shape}" if shape else bench
