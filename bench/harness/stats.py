"""What can be said of figures taken in bursts that went round all contestants.

A sample is {"round": i, "value": v}. Two contestants are compared by the samples of the same round:
these were neighbours in time, and met the same weather.
"""

import math
import statistics

AA_SPREAD_MAX = 0.10


def percentile_20(values):
    """The quiet moments."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=5, method="inclusive")[0]


def percentile(values, part):
    """The smallest value that at least this part of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def confidence(values, level=0.95):
    """(low, high) of the median, two of the values themselves. Whatever their distribution, each is
    below its median with the toss of a coin: so many outermost ones are left out as hardly ever all
    lie on one side. Of fewer than six, none can be."""
    count, cut, below = len(values), 0, 0.0
    while cut < (count - 1) // 2:
        below += math.comb(count, cut) / 2**count
        if 2 * below > 1 - level:
            break
        cut += 1
    ordered = sorted(values)
    return ordered[max(cut - 1, 0)], ordered[count - max(cut, 1)]


def neighbour_ratios(a, b):
    """a over b, for each round in which both have a sample."""
    b_of_round = {sample["round"]: sample["value"] for sample in b}
    return [sample["value"] / b_of_round[sample["round"]]
            for sample in a if b_of_round.get(sample["round"])]


def compared(a, b):
    """a over b: of the 20th percentiles, and the median of neighbours with its confidence interval.
    None if no round has both."""
    ratios = neighbour_ratios(a, b)
    if not ratios:
        return None
    low, high = confidence(ratios)
    return {
        "p20": percentile_20([x["value"] for x in a]) / percentile_20([x["value"] for x in b]),
        "neighbours": statistics.median(ratios), "low": low, "high": high, "pairs": len(ratios),
    }


def is_steady(aa):
    """Could the run tell two processes of the same program apart? Then it says nothing."""
    return aa is not None and all(abs(aa[key] - 1) <= AA_SPREAD_MAX
                                  for key in ("p20", "neighbours"))


def change(ratio, aa=None):
    """"slower" or "faster": what `ratio`, a comparison of new over old, says for sure; else None.
    Its interval leaves 1 out, and it is further from 1 than two processes of one program were."""
    if ratio["low"] <= 1 <= ratio["high"]:
        return None
    if aa and abs(ratio["neighbours"] - 1) <= abs(aa["neighbours"] - 1):
        return None
    return "slower" if ratio["neighbours"] > 1 else "faster"
