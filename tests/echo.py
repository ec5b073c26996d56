#!/usr/bin/env python3
"""echo.py - examples/echo under real clients: right answers, an orderly end, and what a server must survive. TAP.

    echo.py PROGRAM BACKEND
"""
import contextlib
import errno
import functools
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import program
from program import PATIENCE_S, Skip, in_threads, receive

PROGRAM, BACKEND = sys.argv[1:3]
Server = functools.partial(program.Server, PROGRAM, BACKEND)


def ask(client, payload):
    """Sends and receives at once, since the server does not hold what it cannot send."""
    sender = threading.Thread(target=client.sendall, args=(payload,))
    sender.start()
    answer = receive(client, len(payload))
    sender.join()
    assert answer == payload, 'what came back is not what was sent'


def test_its_first_line_says_where_and_on_what_it_listens():
    with Server('--loops', '1') as server:
        expected = rf'listening on \S+:{server.port}, backend {BACKEND} \(.+\), loops 1\n'
        assert re.fullmatch(expected, server.hello), server.hello
        server.terminate()
        assert server.ledger()['accepted'] == 0


def test_without_ipv6_it_listens_on_ipv4():
    forget_ipv6 = functools.partial(program.refuse, 'socket', errno.EAFNOSUPPORT, first=socket.AF_INET6)
    with Server(prepare=forget_ipv6) as server:
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
        assert ledger['served'] == 1 and ledger['cut off'] == 0, ledger


def test_SIGTERM_cuts_off_whoever_stays_beyond_the_drain():
    with Server('--drain', '50') as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(10)]
        for c in clients:
            ask(c, b'hello')
        server.terminate()
        for c in clients:
            assert c.recv(1) == b''
        ledger = server.ledger()
        assert ledger['cut off'] == 10, ledger


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
        assert server.ledger()['timed out'] == 1


def test_idle_0_is_no_time_out():
    with Server('--idle', '0') as server, server.connect() as c:
        threading.Event().wait(0.3)
        ask(c, b'hello')
        c.close()
        server.terminate()
        assert server.ledger()['timed out'] == 0


def test_clients_that_say_nothing_are_closed_in_the_order_of_their_deadlines():
    with Server('--loops', '1', '--idle', '500') as server, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(4):
            clients.append(stack.enter_context(server.connect()))
            ask(clients[-1], b'hello')
            threading.Event().wait(0.1)  # the distance between their deadlines
        while clients:  # whoever is next is closed no later than all that come after
            ended, _, _ = select.select(clients, [], [], PATIENCE_S)
            assert clients[0] in ended, f'{len(ended)} closed, and not the first of {len(clients)}'
            assert clients.pop(0).recv(1) == b''
        server.terminate()
        assert server.ledger()['timed out'] == 4


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
        assert ledger['accept pauses'] > 0 and ledger['served'] == ledger['accepted'] == count, ledger


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
        bound = (8 if 'TSAN_OPTIONS' in os.environ else 1) << 20  # TSan keeps notes beside all memory
        assert grown < bound, f'it grew by {grown} bytes'
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
        assert ledger['accepted'] >= 50 and ledger['timed out'] == 0, ledger


if __name__ == '__main__':
    sys.exit(program.run_tests(globals()))
