"""The page's end: how it was measured, on what, with what, and how to do it again."""

import figures
import findings
from markup import element, folded, join, table as drawn

# A paragraph each; its first sentence is its name.
METHOD = """\
All at once, in short bursts. All contestants are up at the same time. A burst of a fraction of a
second goes to one, then to the next, in reversed order every other time. The cost of a request
flips by a factor of two in spells of seconds, on a virtual machine above all; this way everyone
meets the same weather. One call at a time does not go round: in each of two processes its
repetitions, shorter ones, are shuffled.

Ten rounds. A full run goes round everyone at least ten times, in bursts of 0.2 s or a little more;
one great operation may take longer, and its row says so. A quick run has fewer and shorter bursts,
and the memory of so many sleepers is taken once. Column n of the tables tells them. {rounds}

Server and client apart. Each has a core of its own where the machine has two. A client that is
over 90 % busy measures itself; such bursts are marked client-bound.

CPU, not only speed. What the contestant burnt, by the kernel's count (schedstat), system calls
and the work in them included. On loopback all good servers show the same speed, for the client is
the slower half; they differ in what they burn.

Quiet moments and neighbours. The figure is the 20th percentile of the bursts. The ratio is taken
twice: of these percentiles, and as the median over bursts that were neighbours in time, with a
95 % confidence interval by resampling. A reference stands between the two that are held against it.

A/A. Coil runs twice, in two processes of the same program. Their ratio should be 1. Where it is
more than 10 % off, the run could not tell things apart: the row says nothing, and says so.

No coordinated omission. Latency at a fixed rate counts from the moment a request was due, not
from when it was sent: a server that stalls cannot hide the requests it kept waiting.

Right answers. Every answer is compared with what it must be. A wrong one puts the contestant out
and fails the run.

Each at its best. The peers' programs are short, written in the best way of each library, pinned
by version, and in the repository under bench/peers/. They answer the same question; they are not
the same program."""
LIMITS = """\
What this page does not say: how it is on other machines, over real networks, with many cores, or
under your load. Loopback and a virtual machine's clock flatter and blame everyone alike; believe
ratios rather than figures."""


def method(result):
    text = METHOD.replace("{rounds}", findings.rounds_words(result)).replace("\n", " ")
    parted = [paragraph.split(". ", 1) for paragraph in text.split("  ") if paragraph]
    points = [element("li", element("strong", f"{name}."), " ", text) for name, text in parted]
    return join(element("h2", "Method", id="method"), element("ul", points, class_="plain"),
                element("p", LIMITS))


def told(value):
    return "not readable" if value is None else "none" if value in ({}, "") else str(value)


def machine(result):
    where = result["machine"]
    names = [("processor", where["cpu"]), ("cores", where["cores"]),
             ("architecture", where["architecture"]), ("memory", figures.gib(where["memory_kib"])),
             ("system", where["system"]),
             ("kernel", where["kernel"]), ("virtual machine", where["virtual"]),
             ("frequency governor", where["governor"]), ("turbo", where["turbo"]),
             ("SMT", where["smt"]), ("loopback MTU", where["loopback_mtu"]),
             ("load before the run", where["load_before"])]
    lines = [[name, told(value)] for name, value in names]
    lines += [[f"mitigation: {name.replace('_', ' ')}", state]
              for name, state in where["mitigations"].items()]
    return drawn(["", "what the run was made on"], lines)


def versions(result):
    lines = [[name, version or "not installed"] for name, version in result["versions"].items()]
    return drawn(["", "version"], lines)


def commands(result):
    if not result["commands"]:
        return element("p", "No command lines were recorded.")
    lines = [[name, element("code", text)] for name, text in result["commands"].items()]
    heading = ["contestant", ("its command line, from the repository's root", "")]
    return drawn(heading, lines, "stacked")


def section(result):
    flags = ", ".join(f"{name}={value}" for name, value in sorted(result["flags"].items()))
    configs = [folded(name, element("pre", text), open_=True)
               for name, text in result["configs"].items()]
    return join(
        element("h2", "Machine and versions", id="setting"), machine(result),
        element("h3", "Versions"), versions(result),
        element("p", "coil's build: ", element("code", flags or "options not recorded")),
        element("h3", "Command lines"), commands(result),
        join(element("h3", "Configurations"), *configs) if configs else None)


def again(result):
    commit = (result["versions"]["coil"] or "COMMIT").split()[0]
    lines = (f"git checkout {commit}\n"
             f"bench/run{' --quick' if result['quick'] else ''}        # all of this page\n"
             "bench/run --only echo       # one part\n"
             "bench/run --list            # what there is\n"
             "bench/run --compare REV     # this tree beside another revision, in one go\n")
    return join(element("h2", "Do it yourself", id="again"),
                element("p", "On Debian 12 or Ubuntu, from a clone. It installs what is missing, "
                        "builds, measures, and writes this page. What cannot be had is named and "
                        "left out."),
                element("pre", lines))
