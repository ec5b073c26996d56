"""The micro benches: one call each, in Google Benchmark over the public API (../micro/).

The binary runs twice in turn: its second process is the A/A of the first. In each process the
repetitions of all benches are shuffled among each other.
"""

import json
import os
import subprocess

import process
import rows

NAME = "micro"
TITLE = "One call at a time"
UNIT = "ns CPU/operation"
LIMIT_S = 600
AGAIN = "-again"


def both(reference, limit=None):
    return {"coil-io_uring": (reference, limit), "coil-epoll": (reference, limit)}


# What each may cost: so many ns, or so many times its reference, which stands in the same bench.
BENCHES = {
    "yield": {"limit_ns": 15, "references": both("bare_jump", 3.0)},
    "yield_apart": {"limit_ns": 15, "references": both("bare_return", 3.0)},
    "spawn_join": {"limit_ns": 80},
    "spawn_join_one": {"limit_ns": 80},
    "cancel_join": {"limit_ns": 200},
    "cancel_join_one": {"limit_ns": 200},
    "timeout_scope": {"limit_ns": 40},
    "timeout_scope_soonest": {"limit_ns": 40},
    "timers": {"limit_ns": 60},
    "cancel_tree": {"limit_ns": 250},
    "spawn_later": {},
    "channel_round_trip": {"limit_ns": 60},
    "channel_round_trip_buffered": {"limit_ns": 60},
    "channel_send_receive": {},
    "select_of_8_ready": {"limit_ns": 80},
    "select_last_of_8": {},
    "select_round_trip": {},
    "lock": {"limit_ns": 5},
    "lock_hand_over": {"limit_ns": 40},
    "event_set": {"limit_ns": 30},
    "semaphore": {},
    "receive_cancel": {
        "references": {"coil-io_uring": ("raw_uring", 1.3), "coil-epoll": ("raw_recv", None)},
    },
    "nop_op": {
        "references": {"coil-io_uring": ("raw_uring", None), "coil-epoll": ("raw_poll", None)},
    },
    "echo_round_trip": {"references": both("raw_calls")},
    "pool_call": {"references": both("bare_call")},
    "checkpoint_alone": {},
    "nop": {},
    "now": {"references": both("clock_gettime")},
}


def repetitions(context):
    return 3 if context.quick else 10


def plan(context):
    return [(bench, "") for bench in BENCHES]


def estimate_s(context):
    return 19 if context.quick else 130


def command(context):
    return process.pinned(process.two_cores()[0]) + [
        str(context.build / "bench/micro"), "--benchmark_format=json",
        f"--benchmark_repetitions={repetitions(context)}",
        f"--benchmark_min_time={0.005 if context.quick else 0.05}",
        "--benchmark_enable_random_interleaving=true",
    ]


def run_binary(context):
    """(what it measured, None), or (None, what went wrong)."""
    try:
        done = subprocess.run(command(context), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return None, f"no end within {LIMIT_S} s"
    if done.returncode != 0:
        last_words = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return None, f"status {done.returncode}: {last_words}"
    return json.loads(done.stdout)["benchmarks"], None


def contestant_name(name):
    return f"coil-{name}" if name in ("io_uring", "epoll") else name


def by_contestant(runs):
    """{(bench, contestant): its repetitions}, from Google Benchmark's entry per repetition."""
    found = {}
    for one in runs:
        if one["run_type"] == "iteration":
            bench, contestant = one["run_name"].split("/")[:2]
            found.setdefault((bench, contestant_name(contestant)), []).append(one)
    return found


def nanoseconds(one):
    return one["real_time" if "manual_time" in one["name"] else "cpu_time"]


def row(bench, contestant, repeated):
    troubles = [one["error_message"] for one in repeated if one.get("error_occurred")]
    if troubles:
        return rows.troubled(bench, "", contestant, troubles[0])
    samples = [{"round": i, "value": nanoseconds(one)} for i, one in enumerate(repeated)]
    also = {}
    if "allocated_bytes_per_op" in repeated[0]:
        also["bytes allocated"] = max(one["allocated_bytes_per_op"] for one in repeated)
    label = repeated[0].get("label")
    return rows.measured(bench, "", contestant, UNIT, samples, also, [label] if label else [])


def judge(found):
    for bench, rule in BENCHES.items():
        mine = [r for r in found if r["bench"] == bench]
        for name in ("coil-io_uring", "coil-epoll"):
            reference, limit = rule.get("references", {}).get(name, (None, None))
            twins = {name: name + AGAIN}
            of_name = [r for r in mine if r["contestant"] in (name, name + AGAIN, reference)]
            rows.hold_against(of_name, {name: reference} if reference else {}, twins, limit)
            for r in of_name:
                if r["contestant"] == name:
                    r["limit_value"] = rule.get("limit_ns")
                    rows.add_aa(of_name, r, name + AGAIN)


def in_order(found):
    benches, first = list(BENCHES), ["coil-io_uring", "coil-epoll"]
    return sorted(found, key=lambda r: (
        benches.index(r["bench"]),
        first.index(r["contestant"]) if r["contestant"] in first else len(first)))


def failed(trouble):
    return [rows.troubled(NAME, "", "coil", trouble, failed=True)]


def run(context):
    if not (context.build / "bench/micro").exists():
        return [rows.troubled(NAME, "", "coil", "not built: no Google Benchmark, or no C++ compiler")]
    context.commands["micro"] = os.fspath(context.build / "bench/micro")
    found = []
    for again in (False, True):
        context.progress("second process" if again else "first process")
        runs, trouble = run_binary(context)
        if trouble:
            return failed(trouble)
        for (bench, contestant), repeated in by_contestant(runs).items():
            if not again:
                found.append(row(bench, contestant, repeated))
            elif contestant.startswith("coil-"):
                found.append(row(bench, contestant + AGAIN, repeated))
    unknown = {r["bench"] for r in found} - set(BENCHES)
    if unknown:
        return failed(f"no rule for {', '.join(sorted(unknown))}")
    judge(found)
    return in_order(found)
