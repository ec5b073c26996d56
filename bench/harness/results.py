"""The result of a run: one dict, all of it JSON, which table, page, README and history read.

    schema      1
    when        "2026-11-27T20:15:00+00:00"
    quick       was it a --quick run?
    machine     {"cpu": ..., "kernel": ..., "governor": ..., ...}; None: could not be read
    versions    {"coil": "1a2b3c4", "go": "1.19.8", ...}; None: not installed
    flags       the build's options
    missing     ["wrk could not be installed"]: what the run went without
    commands    {contestant: its command line}
    configs     {"nginx.conf": its text}
    modules     [{"name": "echo", "title": "Echo", "rows": [row, ...]}]: a row is as in rows.py
"""

import datetime
import json
import math
from pathlib import Path

import findings
import machine
import stats

SCHEMA = 1

ROW_DEFAULTS = {
    "unit": "", "value": None, "median": None, "low": None, "high": None, "samples": [],
    "reference": None, "ratio": None, "aa": None, "limit": None, "limit_value": None, "also": {},
    "notes": [], "trouble": None, "failed": False, "rounds": None,
}


def from_root(text):
    """Paths as from the clone's root, so that they hold wherever the clone is."""
    return text.replace(f"{machine.ROOT}/", "").replace(str(Path.home()) + "/", "~/")


def with_interval(row):
    """A row that also has the confidence interval of its median, low and high, and the number of
    its samples, rounds."""
    values = [sample["value"] for sample in row["samples"]]
    low, high = stats.confidence(values) if len(values) > 1 else (None, None)
    trouble = row["trouble"] and from_root(row["trouble"])
    return {**ROW_DEFAULTS, **row, "low": low, "high": high, "trouble": trouble,
            "rounds": len(values) or None}


def collect(modules, context, machine_before, missing=(), commands=None, configs=None):
    """The whole result. modules: [(module, its rows)], a module having NAME and TITLE; context: as
    the modules get it; machine_before: what machine.described() said before the run."""
    return {
        "schema": SCHEMA,
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "quick": bool(context.quick), "machine": machine_before,
        "versions": machine.versions(context.python, context.build),
        "flags": machine.build_options(context.build),
        "missing": [from_root(text) for text in missing],
        "commands": {name: from_root(text) for name, text in (commands or {}).items()},
        "configs": dict(configs or {}),
        "modules": [{"name": module.NAME, "title": module.TITLE,
                     "rows": [with_interval(row) for row in rows]} for module, rows in modules],
    }


def rounded(value):
    """To four digits, which is more than a run can tell."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if not isinstance(value, float) or value == 0 or not math.isfinite(value):
        return value
    return float(f"{value:.4g}")


def small(result):
    """What bench/history/ keeps of a result, as history_name(result): four digits, no samples, no
    command lines, no configurations, no second processes (their A/A is with the first), and of a
    row only what is not as in ROW_DEFAULTS. Some tens of kB. It is a result like any other once
    load() has read it; rounds, and low and high, the confidence interval of a row's median, stand
    in for its samples."""
    kept = {key: result[key] for key in ("schema", "when", "quick", "machine", "versions", "flags",
                                         "missing")}

    def of_row(row):
        return {key: rounded(value) for key, value in row.items()
                if key != "samples" and (key not in ROW_DEFAULTS or value != ROW_DEFAULTS[key])}

    def of_module(module):
        rows = [of_row(row) for row in module["rows"]
                if row["failed"] or not findings.is_again(row["contestant"])]
        return dict(module, rows=rows)

    return {**kept, "commands": {}, "configs": {},
            "modules": [of_module(module) for module in result["modules"]]}


def history_name(result):
    """DATE-COMMIT.json: 2026-11-27-1a2b3c4.json. Sorted by name they are sorted by day."""
    commit = (result["versions"]["coil"] or "unknown").replace(" with changes", "-changed")
    return f"{result['when'][:10]}-{commit}.json"


def text_of_result(result):
    """JSON with one row a line, so that a diff shows rows."""
    head = json.dumps({key: value for key, value in result.items() if key != "modules"}, indent=1)
    modules = []
    for module in result["modules"]:
        rows = ",\n".join("  " + json.dumps(row) for row in module["rows"])
        name, title = json.dumps(module["name"]), json.dumps(module["title"])
        modules.append(f' {{"name": {name}, "title": {title}, "rows": [\n{rows}\n ]}}')
    return head.removesuffix("\n}") + ',\n "modules": [\n' + ",\n".join(modules) + "\n ]\n}\n"


def save(result, path):
    """In one step, so that nobody finds half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".new")
    half.write_text(text_of_result(result), encoding="utf-8")
    half.replace(path)


def load(path):
    """A result as collect() makes it, from a file of save(); small or not."""
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    if result.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema {result.get('schema')}, where {SCHEMA} is understood")
    for module in result["modules"]:
        module["rows"] = [{**ROW_DEFAULTS, **row} for row in module["rows"]]
    return result


def load_history(folder):
    """All results of bench/history/, the oldest first."""
    return sorted((load(path) for path in Path(folder).glob("*.json")),
                  key=lambda result: result["when"])
