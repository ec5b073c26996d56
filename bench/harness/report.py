#!/usr/bin/env python3
"""One table from what echo.py and micro.py measured, the machine above it; all of it as JSON."""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ECHO_RATIO_MAX = 1.10
HEADINGS = ["bench", "contestant", "requests/s", "ns p20", "ns median", "against", "ratio p20",
            "neighbours", "A/A", "limit", "note"]


def text_of(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def output_of(*command):
    """The first line a program says, or None where it is not to be had."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True,
                              stdin=subprocess.DEVNULL, cwd=HERE)
        return done.stdout.strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def cpu_model():
    for line in (text_of("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def mitigations():
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    states = {path.name: text_of(path) for path in names}
    return {name: state for name, state in states.items() if state and state != "Not affected"}


def machine():
    memory = (text_of("/proc/meminfo") or "").split()
    return {
        "cpu": cpu_model(), "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "memory_kib": int(memory[1]) if len(memory) > 1 else None,
        "kernel": platform.release(), "virtual": output_of("systemd-detect-virt", "--vm"),
        "governor": text_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "mitigations": mitigations(), "load_before": os.getloadavg()[0],
    }


def build_options(build):
    try:
        done = subprocess.run(["meson", "introspect", "--buildoptions", build], capture_output=True,
                              text=True, timeout=60, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return {}
    wanted = ("buildtype", "optimization", "debug", "b_lto", "b_ndebug", "c_args", "uring",
              "jemalloc")
    return {o["name"]: o["value"] for o in json.loads(done.stdout) if o["name"] in wanted}


def versions(python):
    changed = output_of("git", "status", "--porcelain", "--untracked-files=no")
    commit = output_of("git", "rev-parse", "--short", "HEAD")
    names = {"asyncio": "'Python ' + __import__('platform').python_version()"}
    for peer in ("uvloop", "trio", "anyio"):
        names[peer] = f"__import__('importlib.metadata').metadata.version('{peer}')"
    found = {
        "coil": commit and commit + (" with changes" if changed else ""),
        "compiler": output_of(os.environ.get("CC", "cc"), "--version"),
        "liburing": output_of("pkg-config", "--modversion", "liburing"),
        "jemalloc": output_of("pkg-config", "--modversion", "jemalloc"),
        "google_benchmark": output_of("pkg-config", "--modversion", "benchmark"),
        "client": output_of("redis-benchmark", "--version"),
    }
    found.update({peer: output_of(str(python), "-c", f"print({expression})")
                  for peer, expression in names.items()})
    return found


def number(value, digits=None):
    if value is None:
        return ""
    if digits is None:
        digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def ratio(value):
    return "" if value is None else f"{value:.3f}" if value >= 0.1 else f"{value:.4f}"


def verdict(values, limit):
    over = [value > limit for value in values]
    return "over" if all(over) else "one over" if any(over) else ""


def echo_row(row):
    shape = f"{row['connections']}x{row['pipeline']}"
    cells = {"bench": f"echo {shape}", "contestant": row["contestant"]}
    if row.get("trouble"):
        kind = "FAILED" if row["failed"] else "skipped"
        return dict(cells, note=f"{kind}: {row['trouble']}")
    notes = []
    cells.update({"requests/s": number(row["requests_per_s"], 0),
                  "ns p20": number(row["cpu_ns_p20"]), "ns median": number(row["cpu_ns_median"])})
    if row.get("ratio"):
        pair = row["ratio"]["of_percentiles_20"], row["ratio"]["median_of_neighbours"]
        cells.update({"against": row["reference"], "ratio p20": ratio(pair[0]),
                      "neighbours": ratio(pair[1]), "limit": f"{ECHO_RATIO_MAX:.2f}"})
        if row["aa"]:
            cells["A/A"] = " ".join(ratio(row["aa"][key])
                                    for key in ("of_percentiles_20", "median_of_neighbours"))
        notes.append("says nothing: A/A is off" if row["says_nothing"]
                     else verdict(pair, ECHO_RATIO_MAX))
    if row["client_bound"]:
        notes.append(f"client-bound {row['client_bound']}/{len(row['bursts'])}")
    return dict(cells, note=", ".join(note for note in notes if note))


def micro_rows(row):
    cells = {"bench": row["bench"], "contestant": row["contestant"]}
    if row.get("trouble"):
        return [dict(cells, note=row["trouble"])]
    notes = [row["label"]] if row.get("label") else []
    if "allocated_bytes_per_op" in row:
        notes.append(f"{row['allocated_bytes_per_op']:g} bytes allocated per op")
    cells.update({"ns p20": number(row["ns_p20"]), "ns median": number(row.get("ns_median"))})
    if "limit_ns" in row:
        cells["limit"] = f"{row['limit_ns']} ns"
        notes.append(verdict([row["ns_p20"]], row["limit_ns"]))
    result = [dict(cells, note=", ".join(note for note in notes if note))]
    for found in row.get("ratios", []):
        result.append({
            "against": found["against"], "ratio p20": ratio(found["of_percentiles_20"]),
            "limit": f"{found['limit']:.2f}" if found["limit"] else "",
            "note": verdict([found["of_percentiles_20"]], found["limit"] or float("inf")),
        })
    return result


def table(rows):
    lines = [HEADINGS] + [[row.get(heading, "") for heading in HEADINGS] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    right = {"requests/s", "ns p20", "ns median", "ratio p20", "neighbours", "limit"}

    def drawn(line):
        return "| " + " | ".join(
            cell.rjust(width) if heading in right else cell.ljust(width)
            for cell, width, heading in zip(line, widths, HEADINGS)) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if heading in right else "-")
                          for width, heading in zip(widths, HEADINGS)) + "|"
    return "\n".join([drawn(lines[0]), rule] + [drawn(line) for line in lines[1:]])


def heading(whole):
    where, what = whole["machine"], whole["versions"]
    named = ", ".join(f"{name} {version or 'missing'}" for name, version in what.items())
    flags = ", ".join(f"{name}={value}" for name, value in sorted(whole["flags"].items()))
    lines = [
        f"machine: {where['cpu']}, {where['cores']} cores, {where['architecture']}, "
        f"virtual: {where['virtual'] or 'unknown'}, "
        f"governor: {where['governor'] or 'not readable'}",
        f"kernel: {where['kernel']}; mitigations: "
        + ("; ".join(f"{name}: {text}" for name, text in where["mitigations"].items()) or "none"),
        f"versions: {named}",
        f"flags: {flags}",
    ]
    if whole["echo"]:
        o = whole["echo"]["options"]
        lines.append(
            f"echo: server on core {o['server_core']}, client on core {o['client_core']}, "
            f"{o['rounds']} rounds ({o['peer_rounds']} for the Python peers) of {o['burst_s']:g} s "
            "bursts; ns is server CPU per request, its connection's opening and closing included")
    if whole["micro"]:
        lines.append("micro: ns is CPU per operation; a Python peer shows the best of its passes; "
                     "ratio is to the bench's reference, then to the fastest peer")
    return "\n".join(lines + [f"missing: {text}" for text in whole["missing"]])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--echo", type=Path)
    parser.add_argument("--micro", type=Path)
    parser.add_argument("--missing", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main():
    options = arguments()

    def loaded(path):
        text = path and text_of(path)
        return json.loads(text) if text else None

    whole = {
        "machine": machine(), "versions": versions(options.python),
        "flags": build_options(options.build), "missing": options.missing,
        "echo": loaded(options.echo), "micro": loaded(options.micro),
    }
    rows = []
    if whole["echo"]:
        rows += [echo_row(row) for row in whole["echo"]["results"]]
    if whole["micro"]:
        if whole["micro"]["trouble"]:
            rows.append({"bench": "micro", "note": whole["micro"]["trouble"]})
        for row in whole["micro"]["results"]:
            rows += micro_rows(row)
    print(heading(whole) + "\n\n" + table(rows))
    options.out.write_text(json.dumps(whole, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
