"""Servers that are up together and take turns: each a contestant's process, or the reason why not."""

import contextlib
import resource
import subprocess

import contestants
import process
import rows

DESCRIPTORS = 16384


class Server:
    """A contestant that is up, or the reason why it is not."""

    def __init__(self, contestant):
        self.contestant = contestant
        self.name = contestant.name
        self.process = None
        self.trouble = None         # why it was skipped or failed
        self.failed = False
        self.bursts = {}            # by shape
        self.calls = {}             # system calls per request, by shape

    @property
    def up(self):
        return self.process is not None and self.trouble is None

    def start(self, core, context):
        if not self.contestant.needs.exists():
            raise process.Unavailable(f"{self.contestant.needs.name} was not built or installed")
        self.port = process.free_port()
        self.process = process.Process(
            self.name, [*self.contestant.argv, "--port", self.port], core, context.log_folder,
            "listening")
        words = [str(word) for word in self.contestant.argv]
        context.commands.setdefault(self.name, " ".join([*words, "--port PORT"]))

    def stop(self):
        if self.process:
            self.process.stop()

    def attempt(self, step, *arguments):
        """Runs one step; a failure takes this server out of the run and is kept."""
        try:
            return step(self, *arguments)
        except process.Unavailable as e:
            self.trouble = str(e)
        except subprocess.TimeoutExpired as e:
            self.trouble, self.failed = f"no end of a burst within {e.timeout:g} s", True
        except (process.WrongAnswer, OSError, ValueError, subprocess.SubprocessError) as e:
            self.trouble, self.failed = f"{type(e).__name__}: {e}"[:200], True
        return None


def allow_descriptors():
    """A thousand connections, while the thousand of the last burst may still be closing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


@contextlib.contextmanager
def all_up(of_them, core, context):
    """These contestants as servers, started on that core (None: on any); down again afterwards."""
    allow_descriptors()
    context.log_folder.mkdir(parents=True, exist_ok=True)
    servers = [Server(contestant) for contestant in of_them]
    try:
        for server in servers:
            context.progress(f"starting {server.name}")
            server.attempt(Server.start, core, context)
        yield servers
    finally:
        for server in servers:
            server.stop()
    fail_silent_coil(servers)


def fail_silent_coil(servers):
    """A coil server that does not start has failed, unless its reference cannot run here either."""
    by_name = {server.name: server for server in servers}
    for server in servers:
        reference = by_name.get(server.contestant.reference)
        if reference and server.trouble and not reference.trouble:
            server.failed = True


def takes_part(count, round_index, rounds):
    """Who has fewer rounds than there are has them spread over the run, the first among them."""
    return -(-count * (round_index + 1) // rounds) > -(-count * round_index // rounds)


def in_turn(servers, round_index):
    """Those that are up, the order reversed in every other round."""
    return [server for server in (servers if round_index % 2 == 0 else servers[::-1]) if server.up]


def hold_against(servers, found, limit=None):
    """Puts into the rows how each compares with its reference, and with its own second process."""
    who = [server.contestant for server in servers]
    rows.hold_against(found, contestants.references(who), contestants.twins(who), limit)
