#!/usr/bin/env python3
"""echo.py - examples/echo under real clients: right answers, an orderly end, and what a server must survive. TAP.

    echo.py PROGRAM BACKEND
"""
import contextlib
import ctypes
import errno
import os
import platform
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PATIENCE_S = 30  # for anything that must happen; nothing waits that long when all is well
PROGRAM, BACKEND = sys.argv[1:3]
LEDGER = re.compile(r'^ledger: accepted (\d+), served (\d+), timed out (\d+), failed (\d+), cut off (\d+), '
                    r'still open (-?\d+), accept pauses (\d+), late results delivered (\d+), fds leaked (-?\d+)$', re.M)


class Skip(Exception):
    """This machine lacks what the test is about."""


def hold_port():
    """A socket on a port of its own, in the family that a server of this machine will choose."""
    for family, host in (socket.AF_INET6, '::'), (socket.AF_INET, '0.0.0.0'):
        with contextlib.suppress(OSError):
            holder = socket.socket(family)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind((host, 0))
            return holder
    raise Skip('no port to be had')


def forget_ipv6():
    """Has socket(AF_INET6, ...) of this process say EAFNOSUPPORT, as a kernel without IPv6 does. A seccomp filter."""
    number = {'x86_64': 41, 'aarch64': 198}[platform.machine()]  # of socket(2)
    load, jump_if_equal, answer = 0x20, 0x15, 0x06
    fail, allow = 0x00050000 | errno.EAFNOSUPPORT, 0x7fff0000
    program = b''.join(struct.pack('=HBBI', *line) for line in (
        (load, 0, 0, 0), (jump_if_equal, 0, 3, number), (load, 0, 0, 16),  # its first argument
        (jump_if_equal, 0, 1, socket.AF_INET6), (answer, 0, 0, fail), (answer, 0, 0, allow)))
    lines = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack('@HP', len(program) // 8, ctypes.addressof(lines))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4]
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filter_, 0, 0):  # NO_NEW_PRIVS, SECCOMP: MODE_FILTER
        raise OSError(ctypes.get_errno(), 'seccomp')


class Server:
    """One run of the program, from the line it prints when it listens to its ledger."""

    def __init__(self, *options, files=None, ipv6=True):
        self.holder = hold_port()  # keeps it ours
        self.port = self.holder.getsockname()[1]

        def limit():
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            if not ipv6:
                forget_ipv6()

        self.process = subprocess.Popen([PROGRAM, '--port', str(self.port), '--backend', BACKEND, *options],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, preexec_fn=limit)
        self.alarm = threading.Timer(2 * PATIENCE_S, self.process.kill)
        self.alarm.start()
        self.hello = self.process.stdout.readline()
        if not self.hello.startswith('listening'):
            _, err = self.process.communicate()
            self.__exit__()
            if re.search('Operation not (permitted|supported)|not implemented', err):
                raise Skip(f'no {BACKEND} here: {err.strip()}')
            raise AssertionError(f'it does not listen: {self.hello}{err}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        self.alarm.cancel()
        self.holder.close()

    def connect(self):
        client = socket.create_connection(('127.0.0.1', self.port), PATIENCE_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def listens(self):
        """By what the kernel says of listening sockets (state 0A) on its port."""
        for table in '/proc/net/tcp', '/proc/net/tcp6':
            with contextlib.suppress(FileNotFoundError), open(table, encoding='ascii') as lines:
                if any(re.match(rf'\s*\d+: [0-9A-F]+:{self.port:04X} [0-9A-F:]+ 0A ', line) for line in lines):
                    return True
        return False

    def await_no_listener(self):
        end = time.monotonic() + PATIENCE_S
        while self.listens():
            assert time.monotonic() < end, 'it goes on listening'
            time.sleep(0.001)

    def ledger(self):
        """Its end: the code must be 0, the books must balance, nothing may be open or leaked."""
        out, err = self.process.communicate(timeout=2 * PATIENCE_S)
        found = LEDGER.search(out)
        assert self.process.returncode == 0, f'exit code {self.process.returncode}: {out}{err}'
        assert found, f'no ledger: {out}{err}'
        assert not err, err
        names = ('accepted', 'served', 'timed_out', 'failed', 'cut_off', 'open', 'pauses', 'late', 'leaked')
        ledger = dict(zip(names, map(int, found.groups())))
        assert ledger['open'] == 0 and ledger['leaked'] == 0, out
        assert ledger['accepted'] == sum(ledger[n] for n in ('served', 'timed_out', 'failed', 'cut_off')), out
        return ledger

    def cpu_s(self):
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as stat:
            fields = stat.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def resident_bytes(self):
        with open(f'/proc/{self.process.pid}/statm', encoding='ascii') as statm:
            return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def receive(client, count):
    data = bytearray()
    while len(data) < count:
        part = client.recv(count - len(data))
        assert part, f'closed after {len(data)} of {count} bytes'
        data += part
    return bytes(data)


def ask(client, payload):
    """Sends and receives at once, since the server does not hold what it cannot send."""
    sender = threading.Thread(target=client.sendall, args=(payload,))
    sender.start()
    answer = receive(client, len(payload))
    sender.join()
    assert answer == payload, 'what came back is not what was sent'


def in_threads(count, work):
    """Runs work(i) in so many threads; the first failure of any is ours."""
    failures = []

    def guarded(i):
        try:
            work(i)
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_its_first_line_says_where_and_on_what_it_listens():
    with Server('--loops', '1') as server:
        expected = rf'listening on \S+:{server.port}, backend {BACKEND} \(.+\), loops 1\n'
        assert re.fullmatch(expected, server.hello), server.hello
        server.terminate()
        assert server.ledger()['accepted'] == 0


def test_without_ipv6_it_listens_on_ipv4():
    with Server(ipv6=False) as server:
        assert server.hello.startswith(f'listening on 0.0.0.0:{server.port}, '), server.hello
        with server.connect() as c:
            ask(c, b'hello')
        server.terminate()
        assert server.ledger()['accepted'] == 1


def test_random_payloads_of_many_clients_come_back_as_they_were():
    seed = random.randrange(1 << 32)
    with Server('--loops', '2') as server:
        def client(i):
            chance = random.Random(seed + i)
            with server.connect() as c:
                for _ in range(10):
                    ask(c, chance.randbytes(int(10 ** chance.uniform(0, 5.5))))

        try:
            in_threads(16, client)
        except Exception as e:
            raise AssertionError(f'seed {seed}: {e}') from e
        server.terminate()
        ledger = server.ledger()
        assert ledger['accepted'] == ledger['served'] == 16, ledger


def test_a_client_that_closes_its_half_gets_all_the_rest_and_then_the_end():
    payload = bytes(range(256)) * 1000
    with Server() as server, server.connect() as c:
        sender = threading.Thread(target=lambda: (c.sendall(payload), c.shutdown(socket.SHUT_WR)))
        sender.start()
        assert receive(c, len(payload)) == payload
        assert c.recv(1) == b''
        sender.join()
        server.terminate()
        assert server.ledger()['served'] == 1


def test_clients_that_reset_their_connections_harm_nobody():
    with Server() as server:
        for _ in range(50):
            with server.connect() as c:
                c.sendall(b'x' * 1000)
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        with server.connect() as c:
            ask(c, b'still there?')
        server.terminate()
        ledger = server.ledger()
        assert ledger['served'] >= 1 and ledger['accepted'] <= 51, ledger


def test_SIGTERM_lets_a_conversation_go_on_to_its_end():
    with Server('--drain', str(PATIENCE_S * 1000)) as server, server.connect() as c:
        ask(c, b'before')
        server.terminate()
        for i in range(20):
            ask(c, b'after %d' % i)
        c.shutdown(socket.SHUT_WR)
        assert c.recv(1) == b''
        ledger = server.ledger()
        assert ledger['served'] == 1 and ledger['cut_off'] == 0, ledger


def test_SIGTERM_cuts_off_whoever_stays_beyond_the_drain():
    with Server('--drain', '50') as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(10)]
        for c in clients:
            ask(c, b'hello')
        server.terminate()
        for c in clients:
            assert c.recv(1) == b''
        ledger = server.ledger()
        assert ledger['cut_off'] == 10, ledger


def test_whoever_comes_during_the_drain_is_refused_and_not_left_to_hang():
    with Server('--drain', str(PATIENCE_S * 1000)) as server, server.connect() as c:
        ask(c, b'before')
        server.terminate()
        server.await_no_listener()
        try:
            server.connect().close()
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError('it was let into a backlog that nobody looks at')
        ask(c, b'after')
        c.close()
        assert server.ledger()['served'] == 1


def test_whoever_was_in_the_backlog_at_SIGTERM_is_served():
    count = 500
    with Server('--loops', '1', '--drain', str(PATIENCE_S * 1000)) as server, contextlib.ExitStack() as stack:
        server.process.send_signal(signal.SIGSTOP)
        clients = [stack.enter_context(server.connect()) for _ in range(count)]
        server.terminate()
        server.process.send_signal(signal.SIGCONT)
        for c in clients:
            ask(c, b'hello')
            c.close()
        ledger = server.ledger()
        assert ledger['accepted'] == ledger['served'] == count, ledger


def test_a_client_that_says_nothing_is_closed_at_its_deadline_and_not_before():
    with Server('--idle', '300') as server, server.connect() as c:
        begun = time.monotonic()
        assert c.recv(1) == b''
        assert time.monotonic() - begun >= 0.29
        server.terminate()
        assert server.ledger()['timed_out'] == 1


def test_a_client_that_talks_is_not_closed_though_all_of_it_lasts_longer_than_the_deadline():
    with Server('--idle', '1000') as server, server.connect() as c:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            ask(c, b'tick')
        c.shutdown(socket.SHUT_WR)
        assert c.recv(1) == b''
        server.terminate()
        assert server.ledger()['served'] == 1


def test_without_descriptors_it_pauses_does_not_spin_and_recovers():
    count = 100
    with Server('--loops', '1', files=40) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(count)]
        for c in clients:
            c.sendall(b'hello')
        receive(clients[0], 5)
        before = server.cpu_s()
        threading.Event().wait(1)  # the stretch over which its CPU time is taken
        spent = server.cpu_s() - before
        assert spent < 0.2, f'{spent} s of CPU in one second of nothing to do'
        for c in clients[1:]:  # in the order in which they connected: each makes room for another
            clients[0].close()
            clients.pop(0)
            receive(c, 5)
        clients[0].close()
        server.terminate()
        ledger = server.ledger()
        assert ledger['pauses'] > 0 and ledger['served'] == ledger['accepted'] == count, ledger


def test_a_client_that_never_reads_costs_bounded_memory_and_delays_nobody():
    most = 64 << 20
    with Server('--loops', '1') as server, server.connect() as c, server.connect() as other:
        ask(other, b'hello')
        ask(c, b'hello')
        before = server.resident_bytes()
        sent = 0
        c.settimeout(1)  # no room for a second: the server has stopped reading
        with contextlib.suppress(TimeoutError):
            while sent < most:
                sent += c.send(b'x' * 65536)
        assert sent < most, f'it swallowed {sent} bytes'
        grown = server.resident_bytes() - before
        assert grown < 1 << 20, f'it grew by {grown} bytes'
        ask(other, b'still there?')
        server.terminate()
        c.close()
        other.close()
        server.ledger()


def test_redis_benchmark_takes_it_for_a_redis():
    if not shutil.which('redis-benchmark'):
        raise Skip('redis-benchmark is not installed')
    with Server() as server:
        said = subprocess.run(['redis-benchmark', '-p', str(server.port), '-t', 'ping_mbulk', '-n', '20000', '-c', '50',
                               '-P', '4', '-q'], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=2 * PATIENCE_S, check=False)
        assert said.returncode == 0 and 'PING_MBULK: ' in said.stdout, said.stdout + said.stderr
        server.terminate()
        ledger = server.ledger()
        assert ledger['accepted'] >= 50 and ledger['timed_out'] == 0, ledger


def main():
    tests = [(name[5:], test) for name, test in globals().items() if name.startswith('test_')]
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f'ok {number} - {name}')
        except Skip as e:
            print(f'ok {number} - {name} # SKIP {e}')
        except Exception as e:  # whatever it is, it is this test's failure
            failed += 1
            print(f'# {type(e).__name__}: {e}\nnot ok {number} - {name}')
        sys.stdout.flush()
    print(f'1..{len(tests)}')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
