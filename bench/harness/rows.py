"""The row: one figure of one contestant, and all that is needed to judge it.

Everything measured becomes rows, and the table, the page, the README and the history read nothing
else. A row is a dict:

    bench       "echo": what is done
    shape       "64 connections, 1 KiB": how much of it; bench, shape and contestant name the row
    contestant  "coil-io_uring"
    unit        "ns CPU/request"; less is better
    value       the 20th percentile of the samples
    median
    samples     [{"round": i, "value": v}], in the order they were taken
    reference   whom it is held against, by name; None
    ratio       stats.compared with the reference's samples; None
    aa          the same of the contestant's second process over its first; None: there is no second
    limit       what ratio may be; None
    limit_value what value may be; None
    also        {"requests/s": ...}: further figures, for reading
    notes       ["client-bound 3/10"]: what to know before believing it
    trouble     why there is no figure; None
    failed      the trouble is a wrong answer, a crash, a hang: the run has failed

Without samples there is a trouble.
"""

import statistics

import stats


def measured(bench, shape, contestant, unit, samples, also=None, notes=()):
    values = [sample["value"] for sample in samples]
    return {
        "bench": bench, "shape": shape, "contestant": contestant, "unit": unit,
        "value": stats.percentile_20(values), "median": statistics.median(values),
        "samples": samples, "reference": None, "ratio": None, "aa": None, "limit": None,
        "limit_value": None, "also": dict(also or {}), "notes": list(notes), "trouble": None,
        "failed": False,
    }


def troubled(bench, shape, contestant, trouble, failed=False):
    return {
        "bench": bench, "shape": shape, "contestant": contestant, "unit": "", "value": None,
        "median": None, "samples": [], "reference": None, "ratio": None, "aa": None, "limit": None,
        "limit_value": None, "also": {}, "notes": [], "trouble": trouble, "failed": failed,
    }


def find(rows, bench, shape, contestant):
    """The row of that name, if it has a figure."""
    for row in rows:
        if (row["bench"], row["shape"], row["contestant"]) == (bench, shape, contestant):
            return row if row["samples"] else None
    return None


def hold_against(rows, references, twins, limit=None):
    """Puts ratio, A/A and limit into the rows of the contestants in `references` ({name: reference}).
    `twins` has the second process of a program: {first: second}."""
    for row in rows:
        name = row["contestant"]
        reference = references.get(name) and find(rows, row["bench"], row["shape"], references[name])
        if not row["samples"] or not reference:
            continue
        first = next((a for a, b in twins.items() if name in (a, b)), name)
        pair = [find(rows, row["bench"], row["shape"], x) for x in (twins.get(first), first)]
        row["reference"] = references[name]
        row["ratio"] = stats.compared(row["samples"], reference["samples"])
        row["aa"] = stats.compared(pair[0]["samples"], pair[1]["samples"]) if all(pair) else None
        row["limit"] = limit


def add_aa(rows, row, twin):
    """Puts A/A into a row that is held against nobody."""
    second = find(rows, row["bench"], row["shape"], twin)
    if second and row["samples"]:
        row["aa"] = stats.compared(second["samples"], row["samples"])


def verdict(row):
    """In words: FAILED, skipped, says nothing, over, one over; or nothing at all."""
    if row["trouble"]:
        return f"{'FAILED' if row['failed'] else 'skipped'}: {row['trouble']}"
    if row["aa"] and not stats.is_steady(row["aa"]):
        return "says nothing: A/A is off"
    over = []
    if row["limit"] and row["ratio"]:
        over += [row["ratio"][key] > row["limit"] for key in ("p20", "neighbours")]
    if row["limit_value"]:
        over.append(row["value"] > row["limit_value"])
    return "over" if over and all(over) else "one over" if any(over) else ""
