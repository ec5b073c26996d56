"""What is said of a result, by table, page and README alike: who is who, who lost, what failed."""

import math

import rows
import stats

# The order in which contestants are named wherever it is not that of their figures.
COIL = ["coil-io_uring", "coil-epoll"]
PEERS = ["go", "tokio", "libuv", "nginx", "asyncio", "uvloop", "trio", "anyio"]
RAW = ["raw_uring", "raw_epoll"]
AGAIN = "-again"                    # the second process of the same program, for A/A
ROUNDS_LEAST = 10                   # of a full run, behind each figure


def all_rows(result):
    """With the module's title in them: two modules may have a bench of the same name."""
    return [{**row, "module": module["title"]} for module in result["modules"]
            for row in module["rows"]]


def place(row):
    """What a row of all_rows() is a figure of: "Echo, 64 connections, 1 KiB", "Tasks, yield"."""
    words = [row["module"], row["bench"], row["shape"]]
    if row["module"].lower() == row["bench"].lower():
        del words[1]
    return ", ".join(word for word in words if word)


def groups(rows):
    """[(bench, shape, rows)]: those to be compared with each other, in the order of the run."""
    found = {}
    for row in rows:
        found.setdefault((row["bench"], row["shape"]), []).append(row)
    return [(bench, shape, members) for (bench, shape), members in found.items()]


def is_coil(name):
    return name.startswith("coil-")


def is_again(name):
    return name.endswith(AGAIN)


def is_peer(name):
    """Another runtime or server. What is neither coil nor a peer is a floor: the bare work."""
    return name in PEERS


def rank(name):
    """For sorting by who it is: coil, the floors, the peers."""
    order = COIL + [name + AGAIN for name in COIL]
    if name in order:
        return order.index(name), name
    if is_peer(name):
        return 50 + PEERS.index(name), name
    return (20 + RAW.index(name), name) if name in RAW else (30, name)


def failures(result):
    return [row for row in all_rows(result) if row["failed"]]


def skipped(result):
    return [row for row in all_rows(result) if row["trouble"] and not row["failed"]]


def has_none(row):
    """Does it not take part because it offers no such thing? That is no lack of this machine's."""
    return bool(row["trouble"]) and row["trouble"].startswith("has none")


def aa_spreads(result):
    """How far coil was off itself, row by row, by its median of neighbours."""
    return [abs(row["aa"]["neighbours"] - 1) for row in all_rows(result)
            if row["aa"] and not is_again(row["contestant"])]


def tells_apart(row, ratio):
    """Is that ratio further off 1 than coil was off itself in the same bursts?"""
    if not row["aa"]:
        return True
    return abs(ratio - 1) > max(abs(row["aa"][key] - 1) for key in ("p20", "neighbours"))


def losses(result):
    """[{"row", "other", "ratio", "certain"}]: every row of coil's in which another contestant has
    the better figure, the worst first. Certain: the difference is more than coil's to itself."""
    found = []
    by_place = {}
    for row in all_rows(result):
        by_place.setdefault(place(row), []).append(row)
    for members in by_place.values():
        figures = [row for row in members if row["value"] is not None]
        for row in figures:
            if not is_coil(row["contestant"]) or is_again(row["contestant"]):
                continue
            for other in figures:
                if is_coil(other["contestant"]) or other["unit"] != row["unit"]:
                    continue
                if other["value"] < row["value"]:
                    ratio = row["value"] / other["value"] if other["value"] else math.inf
                    found.append({"row": row, "other": other, "ratio": ratio,
                                  "certain": tells_apart(row, ratio)})
    return sorted(found, key=lambda loss: -loss["ratio"])


def losses_by_row(result, to=lambda name: True):
    """[(row, losses)]: those to contestants of which `to` is true, by coil's row, worst first."""
    found = {}
    for loss in losses(result):
        if not to(loss["other"]["contestant"]):
            continue
        key = place(loss["row"]), loss["row"]["contestant"]
        found.setdefault(key, (loss["row"], []))[1].append(loss)
    return list(found.values())


def says_nothing(row):
    """Was coil too far off itself in these bursts?"""
    return row["aa"] is not None and not stats.is_steady(row["aa"])


FEW_ROUNDS = {
    "memory": "Memory is taken once, for it hardly changes from one time to the next, and so many "
              "tasks take long",
    "quick": "A quick run has fewer",
    "turns": "Not all turns gave a figure",
}


def few_rounds(result):
    """{why, of FEW_ROUNDS: ["Tasks, sleepers 1"]}: where figures have fewer rounds than a full run
    promises. A result kept from before rounds were counted says nothing of them: None."""
    counted = [row for row in all_rows(result) if row["rounds"]]
    found = {}
    for row in counted:
        if row["rounds"] < ROUNDS_LEAST:
            why = "memory" if row["unit"].startswith("bytes") else \
                "quick" if result["quick"] else "turns"
            found.setdefault(why, {}).setdefault(row["module"], []).append(row)
    return {why: [few_words(module, few, counted) for module, few in of_module.items()]
            for why, of_module in found.items()} if counted else None


def few_words(module, few, counted):
    """"Tasks, sleepers 1", "Echo 4 to 6", "Tasks 4, in 80 of 160 figures"."""
    whole = [row for row in counted if row["module"] == module]
    benches = dict.fromkeys(row["bench"] for row in few)
    least, most = min(row["rounds"] for row in few), max(row["rounds"] for row in few)
    words = f" {least} to {most}" if least < most else f" {least}"
    if len(benches) <= 2 and len(few) < len(whole):
        return module + "".join(f", {bench}" for bench in benches) + words
    return module + words + (f", in {len(few)} of {len(whole)} figures" if few != whole else "")


def rounds_words(result):
    """How many rounds are behind a figure, and which have fewer and why; "" if nobody counted."""
    found = few_rounds(result)
    if not found:
        return "" if found is None else f"Every figure is of at least {ROUNDS_LEAST} rounds."
    return f"A figure is of at least {ROUNDS_LEAST} rounds, but for these. " + " ".join(
        f"{FEW_ROUNDS[why]}: {'; '.join(lines)}." for why, lines in found.items())


def over_limit(result):
    """Coil's figures that are past a limit, by one of the two ratios or by both."""
    return [row for row in all_rows(result)
            if row["contestant"] in COIL and rows.verdict(row) in ("over", "one over")]
