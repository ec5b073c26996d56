"""program.py - a server of examples/ as its clients and its operator see it, and the frame of a test in TAP."""
import contextlib
import ctypes
import errno
import os
import platform
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PATIENCE_S = 30  # for anything that must happen; nothing waits that long when all is well
SYSTEM_CALLS = {'x86_64': {'socket': 41, 'statx': 332, 'openat2': 437},
                'aarch64': {'socket': 198, 'statx': 291, 'openat2': 437}}


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


def refuse(call, error, first=None):
    """Has a system call of this process fail so, or only with that first argument. A seccomp filter."""
    number = SYSTEM_CALLS[platform.machine()][call]
    load, jump_if_equal, answer = 0x20, 0x15, 0x06
    fail, allow = 0x00050000 | error, 0x7fff0000
    argument = [(load, 0, 0, 16), (jump_if_equal, 0, 1, first)] if first is not None else []
    program = b''.join(struct.pack('=HBBI', *line) for line in (
        (load, 0, 0, 0), (jump_if_equal, 0, 1 + len(argument), number), *argument,
        (answer, 0, 0, fail), (answer, 0, 0, allow)))
    lines = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack('@HP', len(program) // 8, ctypes.addressof(lines))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4]
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filter_, 0, 0):  # NO_NEW_PRIVS, SECCOMP: MODE_FILTER
        raise OSError(ctypes.get_errno(), 'seccomp')


class Server:
    """One run of a program, from the line it prints when it listens to its ledger.

    files is its limit of descriptors, prepare is called in its process before it begins."""

    def __init__(self, program, backend, *options, files=None, prepare=None):
        self.holder = hold_port()  # keeps it ours
        self.port = self.holder.getsockname()[1]

        def begin():
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            if prepare:
                prepare()

        self.process = subprocess.Popen([program, '--port', str(self.port), '--backend', backend, *options],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, preexec_fn=begin)
        self.alarm = threading.Timer(2 * PATIENCE_S, self.process.kill)
        self.alarm.start()
        self.hello = self.process.stdout.readline()
        if not self.hello.startswith('listening'):
            _, err = self.process.communicate()
            self.__exit__()
            if re.search('Operation not (permitted|supported)|not implemented', err):
                raise Skip(f'no {backend} here: {err.strip()}')
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
        found = re.search(r'^ledger: (.*)$', out, re.M)
        assert self.process.returncode == 0, f'exit code {self.process.returncode}: {out}{err}'
        assert found, f'no ledger: {out}{err}'
        assert not err, err
        ledger = {name: int(count) for name, count in (entry.rsplit(' ', 1) for entry in found[1].split(', '))}
        assert ledger['still open'] == 0 and ledger['fds leaked'] == 0, out
        assert ledger['accepted'] == sum(ledger[n] for n in ('served', 'timed out', 'failed', 'cut off')), out
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


def run_tests(module):
    """Every function of the module that is called test_; answers in TAP. The exit code."""
    tests = [(name[5:], test) for name, test in module.items() if name.startswith('test_')]
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
