#!/usr/bin/env python3
"""The micro benches: coil's in Google Benchmark, the peers' in Python. Measures and writes JSON.

Each answers one question (the comment at the top of its file in micro/); report.py makes the table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY_LIMIT_S = 600
PEER_LIMIT_S = 60
PEER_RATIO_MAX = 1 / 50

def both(reference, limit=None):
    return {"coil-io_uring": (reference, limit), "coil-epoll": (reference, limit)}


# What each may cost: so many ns, or so many times its reference, which stands in the same bench.
# With "peer", it is also compared with the fastest of the peers.
BENCHES = {
    "yield": {"limit_ns": 15, "references": both("bare_jump", 3.0), "peer": True},
    "yield_apart": {"limit_ns": 15, "references": both("bare_return", 3.0)},
    "spawn_join": {"limit_ns": 80, "peer": True},
    "spawn_join_one": {"limit_ns": 80},
    "cancel_join": {"limit_ns": 200, "peer": True},
    "cancel_join_one": {"limit_ns": 200},
    "timeout_scope": {"limit_ns": 40, "peer": True},
    "timeout_scope_soonest": {"limit_ns": 40},
    "timers": {"limit_ns": 60},
    "cancel_tree": {"limit_ns": 250},
    "spawn_later": {},
    "channel_round_trip": {"limit_ns": 60, "peer": True},
    "channel_round_trip_buffered": {"limit_ns": 60},
    "channel_send_receive": {},
    "select_of_8_ready": {"limit_ns": 80},
    "select_last_of_8": {},
    "select_round_trip": {},
    # No limit against the peers: asyncio's neither checks for a cancel nor counts against a budget.
    "lock": {"limit_ns": 5, "peer": True, "peer_ratio_max": None},
    "lock_hand_over": {"limit_ns": 40, "peer": True},
    "event_set": {"limit_ns": 30, "peer": True},
    "semaphore": {},
    "receive_cancel": {
        "references": {"coil-io_uring": ("raw_uring", 1.3), "coil-epoll": ("raw_recv", None)},
    },
    "echo_round_trip": {"references": both("raw_calls")},
    "checkpoint_alone": {},
    "nop": {},
    "now": {"references": both("clock_gettime")},
}

PEERS = {
    "asyncio": ["asyncio_micro.py"],
    "uvloop": ["asyncio_micro.py", "--uvloop"],
    "trio": ["trio_micro.py"],
    "anyio": ["anyio_micro.py"],
}


def percentile_20(values):
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=5, method="inclusive")[0]


def pinned(core):
    """On that core, and gone when we are, however we went."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(core)]


def run_binary(options, core):
    binary = options.build / "bench/micro"
    command = pinned(core) + [
        str(binary), "--benchmark_format=json",
        f"--benchmark_repetitions={options.repetitions}",
        f"--benchmark_min_time={options.min_time_s}",
        "--benchmark_enable_random_interleaving=true",
    ]
    if not binary.exists():
        return command, None, "bench/micro was not built: no Google Benchmark, or no C++ compiler"
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=BINARY_LIMIT_S)
    if done.returncode != 0:
        last_words = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return command, None, f"bench/micro: status {done.returncode}: {last_words}"
    return command, json.loads(done.stdout), None


def contestant_name(name):
    return f"coil-{name}" if name in ("io_uring", "epoll") else name


def rows_of(report):
    """One row per bench and contestant, from Google Benchmark's row per repetition."""
    runs = {}
    for run in report["benchmarks"]:
        if run["run_type"] == "iteration":
            bench, contestant = run["run_name"].split("/")[:2]
            runs.setdefault((bench, contestant_name(contestant)), []).append(run)
    rows = []
    for (bench, contestant), repeated in runs.items():
        row = {"bench": bench, "contestant": contestant}
        troubles = [run["error_message"] for run in repeated if run.get("error_occurred")]
        if troubles:
            rows.append(dict(row, trouble=troubles[0]))
            continue
        manual = "manual_time" in repeated[0]["name"]
        ns = [run["real_time" if manual else "cpu_time"] for run in repeated]
        row.update(ns_p20=percentile_20(ns), ns_median=statistics.median(ns), ns=ns)
        if repeated[0].get("label"):
            row["label"] = repeated[0]["label"]
        if "allocated_bytes_per_op" in repeated[0]:
            row["allocated_bytes_per_op"] = max(x["allocated_bytes_per_op"] for x in repeated)
        rows.append(row)
    return rows


def run_peers(python, core):
    rows = []
    for name, words in PEERS.items():
        command = pinned(core) + [str(python), str(HERE / "peers" / words[0])] + words[1:]
        trouble = None
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=PEER_LIMIT_S, check=True)
            figures = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as e:
            last_line = (getattr(e, "stderr", None) or str(e)).strip().splitlines()[-1]
            figures, trouble = {}, last_line
        for bench in (bench for bench, rule in BENCHES.items() if rule.get("peer")):
            row = {"bench": bench, "contestant": name, "peer": True}
            # Its best pass, and no percentile: a peer is shown at its best.
            rows.append(dict(row, trouble=trouble) if trouble else dict(row, ns_p20=figures[bench]))
    return rows


def ratio_to(row, other, limit):
    return {"against": other["contestant"], "limit": limit,
            "of_percentiles_20": row["ns_p20"] / other["ns_p20"]}


def compare(rows):
    """Puts ratios and limits beside the figures of coil."""
    measured = [row for row in rows if "ns_p20" in row]
    by_key = {(row["bench"], row["contestant"]): row for row in measured}
    for row in measured:
        rule = BENCHES[row["bench"]]
        if not row["contestant"].startswith("coil-"):
            continue
        if "limit_ns" in rule:
            row["limit_ns"] = rule["limit_ns"]
        name, limit = rule.get("references", {}).get(row["contestant"], (None, None))
        reference = by_key.get((row["bench"], name))
        row["ratios"] = [ratio_to(row, reference, limit)] if reference else []
        peers = [x for x in measured if x["bench"] == row["bench"] and x.get("peer")]
        if peers:
            fastest = min(peers, key=lambda peer: peer["ns_p20"])
            limit = rule.get("peer_ratio_max", PEER_RATIO_MAX)
            row["ratios"].append(ratio_to(row, fastest, limit))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=Path("."), help="the meson build directory")
    parser.add_argument("--python", type=Path, default=Path(sys.executable),
                        help="the interpreter that has the peers")
    parser.add_argument("--out", type=Path, default=Path("micro.json"), help="the file to write")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--min-time-s", type=float, default=0.05)
    parser.add_argument("--list", action="store_true", help="name the benches, and stop")
    return parser.parse_args()


def main():
    options = arguments()
    if options.list:
        print("micro:\n  " + " ".join(BENCHES) + "\n  peers: " + " ".join(PEERS))
        return 0
    core = min(os.sched_getaffinity(0))
    command, report, trouble = run_binary(options, core)
    rows = rows_of(report) if report else []
    rows += run_peers(options.python, core)
    compare(rows)
    benches, first = list(BENCHES), ["coil-io_uring", "coil-epoll"]
    rows.sort(key=lambda row: (
        benches.index(row["bench"]),
        first.index(row["contestant"]) if row["contestant"] in first else len(first),
    ))
    result = {"command": command, "context": report and report["context"], "trouble": trouble,
              "failed": trouble is not None and "not built" not in trouble, "results": rows}
    options.out.write_text(json.dumps(result, indent=1))
    if trouble:
        print(f"  {trouble}", file=sys.stderr)
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
