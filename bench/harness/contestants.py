"""Who takes part: command lines, who is held against whom, and which are the same program."""

from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / "peers"
PYTHON_PEERS = ("asyncio", "uvloop", "trio", "anyio")


@dataclass(frozen=True)
class Contestant:
    name: str
    argv: tuple
    needs: Path                     # the file without which it was not built or installed
    family: str                     # by which --peers names it
    kind: str                       # coil, raw (the floor), compiled, python
    reference: str | None = None    # whom it is held against
    twin_of: str | None = None      # it is the second process of that one's program


def coil(program, backend, *options, again=False):
    name = f"coil-{backend}"
    return Contestant(
        name + "-again" if again else name, (program, "--backend", backend, *options), program,
        family="coil", kind="coil",
        reference="raw_uring" if backend == "io_uring" else "raw_epoll",
        twin_of=name if again else None)


def raw(program, *options):
    return Contestant(program.name, (program, *options), program, family="raw", kind="raw")


def compiled(name, program, *options):
    return Contestant(name, (program, *options), program, family=name, kind="compiled")


def python(name, interpreter, script):
    return Contestant(name, (interpreter, script), interpreter, family=name, kind="python")


def wanted(context, contestants):
    """Those that --peers asks for; coil and its floor always are."""
    return [c for c in contestants
            if context.peers is None or c.kind in ("coil", "raw") or c.family in context.peers]


def echo_servers(context, loops):
    """The echo servers that run so many loops, in the order of a round: a reference stands between
    the two that are held against it. The Python peers have one loop, and are left out of more."""
    echo, bench = context.build / "examples/echo", context.build / "bench"
    peers = context.build / "peers"
    of_loops = ("--loops", loops)
    alike = (*of_loops, "--idle", 0)  # nobody else's has an idle time-out
    contestants = [
        coil(echo, "io_uring", *alike), raw(bench / "raw_uring", *of_loops),
        coil(echo, "io_uring", *alike, again=True),
        coil(echo, "epoll", *alike), raw(bench / "raw_epoll", *of_loops),
        coil(echo, "epoll", *alike, again=True),
        compiled("libuv", bench / "libuv_echo", *of_loops),
        compiled("tokio", peers / "tokio/release/echo", *of_loops),
        compiled("go", peers / "go/echo", *of_loops),
    ]
    if loops == 1:
        contestants += [python(name, context.python, PEERS / "python" / f"{name}_echo.py")
                        for name in PYTHON_PEERS]
    return wanted(context, contestants)


def references(contestants):
    """{name: the reference's}, as rows.hold_against wants it."""
    return {c.name: c.reference for c in contestants if c.reference}


def twins(contestants):
    """{the first process's name: the second's}, as rows.hold_against wants it."""
    return {c.twin_of: c.name for c in contestants if c.twin_of}
