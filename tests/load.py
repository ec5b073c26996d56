#!/usr/bin/env python3
"""load.py - bench/client/load.c against servers that are right, wrong, slow and dead: does it tell? TAP.

It compiles the client by itself: the benches need not be built.
"""
import json
import os
import pathlib
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE_S = 60  # for anything that must happen; nothing waits that long when all is well
SOURCE = pathlib.Path(__file__).resolve().parent.parent / 'bench/client/load.c'
STALL_S = 0.2
FOLDER = tempfile.TemporaryDirectory()  # gone when we are
PROGRAM = pathlib.Path(FOLDER.name, 'load')


class Server:
    """An echo server in a thread of its own. What it reads, it sends back as answer(data, count) would have it, where
    count is the number of reads so far; None: it sends nothing."""

    def __init__(self, answer=lambda data, count: data):
        self.answer = answer
        self.accepted = self.reads = 0
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.wake, self.end = socket.socketpair()
        self.selector.register(self.end, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wake.close()
        self.thread.join()

    def run(self):
        try:
            while True:
                for key, _ in self.selector.select():
                    if key.fileobj is self.end:
                        return
                    if key.fileobj is self.listener:
                        self.accept()
                    else:
                        self.serve(key.fileobj)
        except EOFError:  # it has been told to die
            pass
        finally:
            for key in list(self.selector.get_map().values()):
                key.fileobj.close()
            self.selector.close()

    def accept(self):
        connection, _ = self.listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted += 1
        self.selector.register(connection, selectors.EVENT_READ)

    def serve(self, connection):
        try:
            data = connection.recv(1 << 16)
            self.reads += 1
            answer = data and self.answer(data, self.reads)
            if answer:
                connection.sendall(answer)
        except OSError:  # the client has seen enough
            data = b''
        if not data:
            self.selector.unregister(connection)
            connection.close()


def load(port, *options):
    """(exit status, its JSON or None, what it said of errors)"""
    command = [PROGRAM, '--port', str(port), '--seconds', '0.3', *map(str, options)]
    said = subprocess.run(command, input='\n', capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    lines = said.stdout.splitlines()
    assert not lines or lines[0] == 'ready', said.stdout
    assert len(lines) == 2 or said.returncode != 0, said.stdout + said.stderr
    return said.returncode, json.loads(lines[1]) if len(lines) > 1 else None, said.stderr


def figures(port, *options):
    status, found, err = load(port, *options)
    assert status == 0 and not err, f'status {status}: {err}'
    assert 0 < found['p50_us'] <= found['p99_us'] <= found['p999_us'] <= found['max_us'], found
    return found


def after(count, change):
    """An answer that is right `count` times, and then the change of it."""
    return lambda data, reads: data if reads <= count else change(data)


def test_right_answers_pass_of_one_byte_and_of_many_on_one_connection_and_on_many():
    for connections, size in (1, 1), (1, 64), (64, 1000), (500, 100), (8, 1 << 20):
        with Server() as server:
            found = figures(server.port, '--connections', connections, '--size', size)
            assert found['requests'] >= connections, found
            assert server.accepted == connections, server.accepted


def test_the_latencies_are_not_longer_than_the_run_and_the_requests_one_after_another():
    with Server() as server:
        found = figures(server.port)
        assert found['seconds'] >= 0.3 and found['max_us'] <= found['seconds'] * 1e6, found
        assert found['requests'] * found['p50_us'] / 2 <= found['seconds'] * 1e6, found


def test_one_wrong_byte_ends_it_with_status_3():
    for at in 0, 40, 63:
        flip = lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        with Server(after(100, flip)) as server:
            status, found, err = load(server.port, '--connections', 4)
            assert status == 3 and found is None, (status, found)
            assert f'byte {at} of 64' in err, err


def test_an_answer_given_twice_is_a_wrong_one():
    kept = []

    def repeat(data, count):
        kept.append(data)
        return kept[max(0, count - 2)] if count > 100 else data

    with Server(repeat) as server:
        status, _, err = load(server.port)
        assert status == 3 and 'wrong answer' in err, (status, err)


def test_a_byte_too_many_is_a_wrong_answer():
    with Server(after(100, lambda data: data + b'x')) as server:
        status, _, err = load(server.port)
        assert status == 3 and 'wrong answer' in err, (status, err)


def test_in_an_open_loop_all_requests_are_made_that_were_due():
    with Server() as server:
        found = figures(server.port, '--connections', 7, '--rate', 1000)
        assert found['requests'] == 300, found


def test_a_stall_counts_for_all_that_were_due_in_it_and_not_only_for_those_that_were_sent():
    def stall(data, count):
        if count == 304:  # after as many round trips to warm up as there are connections
            time.sleep(STALL_S)  # this is the stall
        return data

    with Server(stall) as server:
        found = figures(server.port, '--connections', 4, '--rate', 1000, '--seconds', 1)
        assert found['requests'] == 1000, found
        assert found['max_us'] >= STALL_S * 1e6, found
        assert found['p99_us'] >= STALL_S * 1e6 / 2, found  # four only were sent and waited all of it
        assert found['late'] >= 50, found


def test_with_connect_each_request_has_a_connection_of_its_own():
    for more in ((), ('--rate', 500)):
        with Server() as server:
            found = figures(server.port, '--connections', 8, '--connect', *more)
        assert server.accepted == 8 + found['requests'], (server.accepted, found)


def test_a_server_that_dies_ends_it_with_an_error():
    def die(_):
        raise EOFError

    for options in (), ('--connect',), ('--rate', 2000):
        with Server(after(100, die)) as server:
            status, found, err = load(server.port, '--connections', 4, *options)
            assert status == 1 and found is None and err.startswith('load: '), (status, found, err)


def test_a_server_that_falls_silent_ends_it_with_an_error():
    for options in (), ('--connect',), ('--rate', 2000):
        with Server(after(100, lambda data: None)) as server:
            status, found, err = load(server.port, '--connections', 4, '--patience', 0.5, *options)
            assert status == 1 and found is None and 'does not answer' in err, (status, found, err)


def test_a_server_that_never_says_a_word_ends_it_with_an_error():
    with Server(lambda data, count: None) as server:
        status, found, err = load(server.port, '--patience', 0.5)
        assert status == 1 and found is None and 'does not answer' in err, (status, found, err)


def test_nobody_listening_is_an_error():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))  # ours, and nobody listens
        for options in (), ('--connect',):
            status, found, err = load(s.getsockname()[1], *options)
            assert status == 1 and found is None and 'refused' in err, (status, found, err)


def test_a_usage_it_does_not_know_is_status_2():
    for options in ('--connections', 0), ('--size', 0), ('--rate', -1), ('--port', 0), ('more',):
        status, _, err = load(1, *options)
        assert status == 2 and err.startswith(('usage: ', str(PROGRAM))), (status, err)


def main():
    tests = [(name[5:], test) for name, test in globals().items() if name.startswith('test_')]
    failed = 0
    subprocess.run([os.environ.get('CC', 'cc'), '-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-o', PROGRAM, SOURCE],
                   check=True, timeout=PATIENCE_S)
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f'ok {number} - {name}')
        except Exception as e:  # whatever it is, it is this test's failure
            failed += 1
            print(f'# {type(e).__name__}: {e}\nnot ok {number} - {name}')
        sys.stdout.flush()
    print(f'1..{len(tests)}')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
