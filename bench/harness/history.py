"""What is kept of a run: a small file in bench/history/, by commit, and README's numbers, which are
those of the last run kept."""

import machine
import readme
import results

HISTORY = machine.ROOT / readme.HISTORY
README = machine.ROOT / "README.md"
# A figure is its commit's only if these are as committed.
MEASURED = ["bench", "core", "examples", "fallback", "include", "meson.build", "meson_options.txt",
            "uring"]


def obstacle(root=machine.ROOT):
    """Why a run of this tree would not be kept; None: it would."""
    changed = machine.said_by("git", "-C", root, "status", "--porcelain", "--untracked-files=no",
                              "--", *MEASURED, f":!{readme.HISTORY}")
    if changed:
        path = changed.splitlines()[0].split()[-1]
        return f"{path} is not as committed, and figures are kept by commit"
    return None


def keep(result, folder=HISTORY, document=README):
    """Keeps a result, and writes README's numbers anew from it. The file."""
    path = folder / results.history_name(result)
    results.save(results.small(result), path)
    readme.rewrite(document, path)
    return path
