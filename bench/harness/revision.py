"""Coil of some revision, and this tree's programs over it: what count.py and compare.py hold
against each other.

A program is always this tree's, linked with the revision's library by its public headers, so that
both sides do the same work. Where it does not compile, since the revision has no such call yet, the
revision's own is taken; if it has none, there is nothing to compare.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import machine

ROOT = machine.ROOT
BUILDS = ROOT / "build/revisions"
HANDICAP = "handicap"               # in place of a revision: this tree, slower on purpose
HANDICAP_PERCENT = 10
# Wanted of each revision, as far as it has such an option.
OPTIONS = {"buildtype": "release", "examples": "false", "testing": "false"}
FLAGS = ["-std=gnu11", "-O3", "-DNDEBUG"]
LIMIT_S = 600


class Unavailable(Exception):
    """There is no such revision here, or it cannot be built; the text says why."""


@dataclass(frozen=True)
class Revision:
    name: str                       # for people
    source: Path
    folder: Path                    # of its build
    options: tuple = ()
    commit: str | None = None       # None: a tree as it stands


def why(text):
    """The line that says it, of what a compiler, or another command, had to say."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no word"]
    errors = [line for line in lines if re.search("error:|undefined reference", line)]
    return errors[0] if errors else lines[-1]


def output_of(words):
    """What a command prints; Unavailable where it fails."""
    words = [str(word) for word in words]
    try:
        return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=LIMIT_S, check=True, errors="replace").stdout
    except subprocess.CalledProcessError as e:
        raise Unavailable(f"{words[0]}: {why(e.stderr + e.stdout)}") from e
    except (OSError, subprocess.SubprocessError) as e:
        raise Unavailable(str(e)) from e


def git(*words, root=ROOT):
    return output_of(["git", "-C", root, *words]).strip()


# --- Where it comes from -------------------------------------------------------------------------

def compiler():
    return shlex.split(os.environ.get("CC", "cc"))


def folder_of(name, options):
    """A build's own, and another one when the compiler is."""
    made_by = output_of([*compiler(), "--version"])
    digest = hashlib.sha256(repr((options, FLAGS, made_by)).encode()).hexdigest()[:8]
    return BUILDS / f"{name}-{digest}"


def this_tree(*options, source=ROOT):
    """As it stands, with what is not committed."""
    place = "tree" if source == ROOT else hashlib.sha256(str(source).encode()).hexdigest()[:12]
    name = "this tree" if source == ROOT else str(source)
    return Revision(" ".join([name, *options]), source, folder_of(place, options), options)


def committed(rev):
    """What git has by that name, copied when it is built."""
    sha = git("rev-parse", "--verify", "--quiet", "--end-of-options", rev + "^{commit}")
    short = sha[:12]
    name = short if sha.startswith(rev) else f"{rev} ({short})"
    return Revision(name, BUILDS / "sources" / short, folder_of(short, ()), commit=sha)


def one(rev):
    """A revision by what git calls it, or the tree in a folder."""
    there = Path(rev)
    if there.is_absolute() and (there / "meson.build").exists():
        return this_tree(source=there)
    try:
        return committed(rev)
    except Unavailable as e:
        raise Unavailable(f"git knows no revision {rev} here") from e


def pair(rev):
    """(old, new): of REV, REV..REV or `handicap`."""
    if rev == HANDICAP:
        return this_tree(), this_tree(f"-Dhandicap={HANDICAP_PERCENT}")
    old, dots, new = rev.partition("..")
    return one(old), one(new) if dots else this_tree()


# --- Building ------------------------------------------------------------------------------------

@contextlib.contextmanager
def alone():
    """One at a time builds here."""
    BUILDS.mkdir(parents=True, exist_ok=True)
    with open(BUILDS / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_out(revision):
    """Copies its sources, in one step, so that nobody finds half of them."""
    if not revision.commit or revision.source.exists():
        return
    revision.source.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=revision.source.parent) as half:
        packed = Path(half) / "packed.tar"
        git("archive", "--output", packed, revision.commit)
        tree = Path(half) / "tree"
        tree.mkdir()
        output_of(["tar", "-xf", packed, "-C", tree])
        tree.rename(revision.source)


def has_option(revision, name):
    for file in ("meson_options.txt", "meson.options"):
        text = machine.text_of(revision.source / file) or ""
        if re.search(rf"option\(\s*'{name}'", text):
            return True
    return name == "buildtype"


def build(revision):
    """Its library; an earlier build is gone on with."""
    with alone():
        check_out(revision)
        if not (revision.folder / "build.ninja").exists():
            shutil.rmtree(revision.folder, ignore_errors=True)
            wanted = [f"-D{name}={value}" for name, value in OPTIONS.items()
                      if has_option(revision, name)]
            output_of(["meson", "setup", revision.folder, revision.source, *wanted,
                     *revision.options])
        output_of(["ninja", "-C", revision.folder])


def libraries(revision):
    """What its own library is linked with."""
    found = json.loads(output_of(["meson", "introspect", "--dependencies", revision.folder]))
    return [word for each in found for word in each["link_args"]] + ["-pthread"]


def program(revision, *sources):
    """(executable, whose source it is) of this tree's files, such as "bench/tasks/coil.c", the first
    of which gives it its name. The library is there already."""
    made = revision.folder / sources[0].replace("/", "_").removesuffix(".c")
    trouble = None
    for whose, root in (("this tree's", ROOT), ("its own", revision.source)):
        there = [root / source for source in sources if (root / source).exists()]
        if root / sources[0] not in there:
            continue
        try:
            output_of([*compiler(), *FLAGS, f"-I{revision.source / 'include'}", "-o", made, *there,
                       revision.folder / "libcoil.a", *libraries(revision)])
            return made, whose
        except Unavailable as e:
            trouble = trouble or e
    raise trouble or Unavailable(f"there is no {sources[0]}")


def plain(source, made):
    """Of a program that is not coil's."""
    made.parent.mkdir(parents=True, exist_ok=True)
    output_of([*compiler(), *FLAGS, "-o", made, ROOT / source])
