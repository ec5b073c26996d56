"""What can be said of figures taken in bursts that went round all contestants.

A sample is {"round": i, "value": v}. Two contestants are compared by the samples of the same round:
these were neighbours in time, and met the same weather.
"""

import random
import statistics

AA_SPREAD_MAX = 0.10
RESAMPLES = 2000


def percentile_20(values):
    """The quiet moments."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=5, method="inclusive")[0]


def percentile(values, part):
    """The smallest value that at least this part of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def confidence(ratios, level=0.95, seed=1):
    """(low, high) of the median, by resampling; the same for the same ratios."""
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios)))
                     for _ in range(RESAMPLES))
    outside = int(RESAMPLES * (1 - level) / 2)
    return medians[outside], medians[-1 - outside]


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
