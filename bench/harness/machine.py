"""What a run was made on and with: the machine, every version, the build's options.

What cannot be read or is not installed is None: it is told, not guessed.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def text_of(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def said_by(*command):
    """What a program says of itself, on either stream, whatever it ends with; None: not there."""
    try:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                              cwd=HERE, check=False)
        return done.stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def first_match(pattern, text):
    found = re.search(pattern, text or "", re.M)
    return found[1].strip() if found else None


def on_off(text, on="1"):
    return None if text is None else "on" if text == on else "off"


def turbo():
    no_turbo = on_off(text_of("/sys/devices/system/cpu/intel_pstate/no_turbo"), on="0")
    return no_turbo or on_off(text_of("/sys/devices/system/cpu/cpufreq/boost"))


def mitigations():
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    states = {path.name: text_of(path) for path in sorted(folder.glob("*"))}
    return {name: state for name, state in states.items() if state and state != "Not affected"}


def described():
    """To be called before the run, for the load is what others put on the machine."""
    memory = first_match(r"^MemTotal:\s*(\d+)", text_of("/proc/meminfo"))
    return {
        "cpu": first_match(r"^model name\s*:(.*)", text_of("/proc/cpuinfo")) or platform.machine(),
        "cores": len(os.sched_getaffinity(0)), "architecture": platform.machine(),
        "memory_kib": int(memory) if memory else None,
        "system": first_match(r'^PRETTY_NAME="?([^"\n]*)', text_of("/etc/os-release")),
        "kernel": platform.release(), "virtual": said_by("systemd-detect-virt", "--vm"),
        "governor": text_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "smt": on_off(text_of("/sys/devices/system/cpu/smt/active")), "turbo": turbo(),
        "mitigations": mitigations(), "loopback_mtu": text_of("/sys/class/net/lo/mtu"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def locked_crate(name):
    """The version of a crate that the tokio programs are built with, and no other."""
    lock = text_of(ROOT / "bench/peers/tokio/Cargo.lock")
    packages = tomllib.loads(lock).get("package", []) if lock else []
    return next((package["version"] for package in packages if package["name"] == name), None)


def python_versions(python):
    """Of the interpreter that has the peers: asyncio's version is Python's."""
    names = {"asyncio": "'Python ' + __import__('platform').python_version()"}
    for peer in ("uvloop", "trio", "anyio"):
        names[peer] = f"__import__('importlib.metadata').metadata.version('{peer}')"
    found = {peer: said_by(python, "-c", f"print({text})") for peer, text in names.items()}
    return {peer: None if text and "Error" in text else text for peer, text in found.items()}


def nginx(build):
    """The program: this machine's, or what bench/run fetched; None."""
    folders = ["/usr/sbin", "/usr/local/sbin", f"{build}/nginx/usr/sbin"]
    return shutil.which("nginx") or shutil.which("nginx", path=":".join(folders))


def versions(python, build):
    tree_is_changed = said_by("git", "status", "--porcelain", "--untracked-files=no")
    commit = first_match(r"^([0-9a-f]{7,40})$", said_by("git", "rev-parse", "--short", "HEAD"))
    crate, compiler = locked_crate("tokio"), first_match(r"^(rustc [\w.]+)", said_by("rustc", "-V"))

    def package(name):
        return first_match(r"^([\d.]+)", said_by("pkg-config", "--modversion", name))

    return {
        "coil": commit and commit + (" with changes" if tree_is_changed else ""),
        "compiler": first_match(r"^(.*)", said_by(os.environ.get("CC", "cc"), "--version")),
        "liburing": package("liburing"), "jemalloc": package("jemalloc"),
        **python_versions(python),
        "go": first_match(r"go(\d[\d.]*)", said_by("go", "version")),
        "tokio": crate and f"{crate} ({compiler or 'rustc unknown'})",
        "libuv": package("libuv"),
        "nginx": first_match(r"nginx/([\d.]+)", said_by(nginx(build) or "nginx", "-v")),
        "wrk": first_match(r"wrk (?:debian/)?(\d[\w.+-]*)", said_by("wrk", "-v")),
        "h2load": first_match(r"nghttp2/([\d.]+)", said_by("h2load", "--version")),
        "redis-benchmark": first_match(r"redis-benchmark (\S+)",
                                       said_by("redis-benchmark", "--version")),
        "google_benchmark": package("benchmark"),
    }


def build_options(build):
    try:
        done = subprocess.run(["meson", "introspect", "--buildoptions", build], capture_output=True,
                              text=True, timeout=60, check=True, stdin=subprocess.DEVNULL)
        options = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    wanted = ("buildtype", "optimization", "debug", "b_lto", "b_ndebug", "c_args", "uring",
              "jemalloc")
    return {o["name"]: o["value"] for o in options if o["name"] in wanted}
