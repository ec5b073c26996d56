#!/usr/bin/env python3
"""web.py - examples/http under raw sockets: statuses, limits, deadlines, smuggling, files, an orderly end. TAP.

    web.py PROGRAM BACKEND
"""
import contextlib
import email.utils
import errno
import functools
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import program
from program import PATIENCE_S, Skip, in_threads

PROGRAM, BACKEND = sys.argv[1:3]
Server = functools.partial(program.Server, PROGRAM, BACKEND, '--loops', '1')

GET = b'GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n'
LAST_GET = b'GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
POST = b'POST / HTTP/1.1\r\nHost: a\r\n'
CHUNKED = b'GET /plaintext HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
HELLO = (200, b'Hello, World!')


class Client:
    """A connection, and the answers that come over it."""

    def __init__(self, server):
        self.socket = server.connect()
        self.file = self.socket.makefile('rb')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def answer(self, to_head=False):
        """The next one: its status and its body; its fields are in self.fields, their names in lower case."""
        line = self.file.readline()
        m = re.fullmatch(rb'HTTP/1\.1 (\d{3}) [^\r\n]+\r\n', line)
        assert m, f'not a status line: {line}'
        self.fields = {}
        while (line := self.file.readline()) != b'\r\n':
            name, value = line.split(b': ', 1)
            assert value.endswith(b'\r\n') and name.lower() not in self.fields, line
            self.fields[name.decode().lower()] = value[:-2].decode()
        status = int(m[1])
        if status == 100:
            return status, b''
        assert self.fields['server'] == 'coil' and email.utils.parsedate(self.fields['date']), self.fields
        if to_head or status == 304:
            return status, b''
        length = int(self.fields['content-length'])
        body = self.file.read(length)
        assert len(body) == length, f'{len(body)} of {length} bytes'
        return status, body

    def ask(self, request, **how):
        self.send(request)
        return self.answer(**how)

    def is_closed(self):
        """Nothing more comes."""
        with contextlib.suppress(ConnectionResetError):
            rest = self.file.read()
            assert rest == b'', f'more came: {rest[:200]}'

    def is_refused(self, request, status):
        """With that status, and nothing is listened to any more."""
        got, _ = self.ask(request)
        assert got == status, f'{got} for {request[:80]}'
        assert self.fields['connection'] == 'close', self.fields
        self.is_closed()


def refused(server, request, status):
    with Client(server) as c:
        c.is_refused(request, status)


def ends_well(server):
    server.terminate()
    return server.ledger()


@contextlib.contextmanager
def root(**files):
    """A directory with these files in it, and beside it one that must not be seen. A name's __ is a dot."""
    with tempfile.TemporaryDirectory() as top:
        inside = pathlib.Path(top, 'root')
        inside.mkdir()
        pathlib.Path(top, 'secret.txt').write_bytes(b'secret')
        for name, content in files.items():
            inside.joinpath(name.replace('__', '.')).write_bytes(content)
        yield inside


def get(path, *fields, method='GET'):
    lines = [f'{method} {path} HTTP/1.1', 'Host: a', *fields]
    return '\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n'


def comes(client, request, expected):
    """In the end, that is what is answered."""
    end = time.monotonic() + PATIENCE_S
    while (got := client.ask(request)) != expected:
        assert time.monotonic() < end, f'{got} and never {expected}'


# --- Requests and answers -----------------------------------------------------------------------------------

def test_plaintext_has_its_type_its_length_and_todays_date():
    with Server() as server, Client(server) as c:
        before = int(time.time())
        assert c.ask(GET) == HELLO
        assert c.fields['content-type'] == 'text/plain' and c.fields['content-length'] == '13', c.fields
        assert before - 2 <= email.utils.mktime_tz(email.utils.parsedate_tz(c.fields['date'])) <= time.time(), c.fields
        assert 'connection' not in c.fields, c.fields
        c.__exit__()
        ledger = ends_well(server)
        assert ledger['served'] == 1 and ledger['requests'] == 1, ledger


def test_the_date_goes_on():
    with Server() as server, Client(server) as c:
        c.ask(GET)
        first = c.fields['date']
        end = time.monotonic() + PATIENCE_S
        while c.fields['date'] == first:
            assert time.monotonic() < end, first
            c.ask(GET)


def test_a_connection_stays_or_closes_as_its_client_asks_and_its_version_says():
    close, stay = 'Connection: close', 'Connection: keep-alive'
    with Server() as server:
        for version, field, stays in (('1.1', '', True), ('1.1', close, False), ('1.1', stay, True), ('1.0', '', False),
                                      ('1.0', close, False), ('1.0', stay, True),
                                      ('1.1', 'Connection: x, close', False)):
            request = f'GET /plaintext HTTP/{version}\r\nHost: a\r\n{field}'.rstrip('\r\n').encode() + b'\r\n\r\n'
            with Client(server) as c:
                assert c.ask(request) == HELLO, request
                said = c.fields.get('connection')
                assert said == ({'1.0': 'keep-alive'}.get(version) if stays else 'close'), (request, c.fields)
                if stays:
                    assert c.ask(GET) == HELLO
                else:
                    c.is_closed()


def test_HEAD_gets_the_fields_of_GET_and_no_body():
    with root(a__txt=b'x' * 100) as folder, Server('--root', str(folder)) as server, Client(server) as c:
        for path in '/plaintext', '/a.txt', '/nothing':
            status, _ = c.ask(get(path))
            fields = {k: v for k, v in c.fields.items() if k != 'date'}
            assert c.ask(get(path, method='HEAD'), to_head=True)[0] == status
            assert {k: v for k, v in c.fields.items() if k != 'date'} == fields, (c.fields, fields)
        assert c.ask(GET) == HELLO


def test_other_methods_are_not_allowed_and_the_connection_stays():
    with Server() as server, Client(server) as c:
        for method in 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'PROPFIND':
            assert c.ask(get('/plaintext', method=method))[0] == 405
            assert c.fields['allow'] == 'GET, HEAD', c.fields
        assert c.ask(get('*', method='OPTIONS'))[0] == 405
        assert c.ask(b'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n')[0] == 405
        assert c.ask(GET) == HELLO


def test_an_upgrade_is_not_taken_up():
    with Server() as server, Client(server) as c:
        assert c.ask(get('/plaintext', 'Connection: Upgrade', 'Upgrade: websocket')) == HELLO
        assert c.ask(GET) == HELLO


def test_a_whole_url_is_a_target_too():
    with root(index__html=b'home') as folder, Server('--root', str(folder)) as server, Client(server) as c:
        assert c.ask(get('http://a/plaintext?x=1')) == HELLO
        assert c.ask(get('http://a')) == (200, b'home')


def test_pipelined_requests_are_answered_in_order():
    files = {f'f{i}__txt': b'%d' % i * (i * 997) for i in range(20)}
    with root(**files) as folder, Server('--root', str(folder)) as server, Client(server) as c:
        batch = b''.join(GET + get(f'/f{i}.txt') + get('/none', method='POST') for i in range(20))
        sender = threading.Thread(target=c.send, args=(batch,))
        sender.start()
        for i in range(20):
            assert c.answer() == HELLO
            assert c.answer() == (200, files[f'f{i}__txt'])
            assert c.answer()[0] == 405
        sender.join()
        c.__exit__()
        assert ends_well(server)['requests'] == 60


def test_pipelined_answers_are_gathered():
    """More answers than fit into one buffer, asked for at once: they come in few pieces."""
    with Server() as server, server.connect() as s:
        s.sendall(GET * 100)
        pieces, data = 0, b''
        while data.count(b'Hello, World!') < 100:
            data += s.recv(1 << 20)
            pieces += 1
        assert pieces <= 20, f'{pieces} pieces'


def test_nothing_behind_the_last_request_is_answered():
    with Server() as server, Client(server) as c:
        assert c.ask(GET + LAST_GET + GET + b'\x00' * 1000) == HELLO
        assert c.answer() == HELLO
        c.is_closed()


def test_requests_that_come_byte_by_byte_are_as_good():
    requests = (get('/f.txt', 'X: y') + CHUNKED + b'3;ext=1\r\nabc\r\nb\r\nhello world\r\n0\r\nTrailer: x\r\n\r\n'
                + get('/plaintext', 'Content-Length: 5') + b'hello' + get('/f.txt', method='HEAD') + LAST_GET)
    with root(f__txt=b'f') as folder, Server('--root', str(folder)) as server, Client(server) as c:
        for i in range(len(requests)):
            c.send(requests[i:i + 1])
        assert c.answer() == (200, b'f')
        assert c.answer() == HELLO
        assert c.answer() == HELLO
        assert c.answer(to_head=True) == (200, b'')
        assert c.answer() == HELLO
        c.is_closed()


def test_where_requests_are_cut_makes_no_difference():
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    batch = (GET + get('/plaintext', 'Content-Length: 3') + b'abc' + CHUNKED + b'4\r\nabcd\r\n0\r\n\r\n'
             + get('/', method='POST')) * 5
    with Server() as server, Client(server) as c:
        for _ in range(30):
            at = sorted(chance.randrange(len(batch)) for _ in range(chance.randrange(6)))
            for begin, end in zip([0, *at], [*at, len(batch)]):
                c.send(batch[begin:end])
            got = [c.answer()[0] for _ in range(20)]
            assert got == [200, 200, 200, 405] * 5, f'seed {seed}, cut at {at}: {got}'


def test_empty_lines_before_a_request_are_skipped():
    with Server() as server, Client(server) as c:
        assert c.ask(b'\r\n\r\n' + GET) == HELLO
        assert c.ask(b'\r\n' + GET) == HELLO


# --- Bodies -------------------------------------------------------------------------------------------------

def test_bodies_are_read_and_dropped():
    with Server() as server, Client(server) as c:
        for size in 0, 1, 4095, 4096, 4097, 100000, 1 << 20:
            body = random.randbytes(size)
            assert c.ask(POST + b'Content-Length: %d\r\n\r\n' % size + body)[0] == 405
            assert c.ask(get('/plaintext', f'Content-Length: {size}') + body + GET) == HELLO
            assert c.answer() == HELLO


def test_chunked_bodies_are_read_and_dropped():
    with Server() as server, Client(server) as c:
        for sizes in (), (1,), (16, 255, 4096), (70000, 3, 70000):
            chunks = b''.join(b'%x\r\n%s\r\n' % (size, random.randbytes(size)) for size in sizes)
            assert c.ask(CHUNKED + chunks + b'0\r\n\r\n' + GET) == HELLO
            assert c.answer() == HELLO
        assert c.ask(CHUNKED + b'00A;a="b"\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\n' + GET) == HELLO
        assert c.answer() == HELLO


def test_a_client_that_expects_a_go_ahead_gets_it():
    expects = 'Expect: 100-continue'
    with Server() as server, Client(server) as c:
        for _ in range(2):
            assert c.ask(get('/plaintext', 'Content-Length: 5', expects)) == (100, b'')
            assert c.ask(b'hello') == HELLO
        assert c.ask(get('/plaintext', expects)) == HELLO  # it has nothing to send
        assert c.ask(b'GET /plaintext HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n'
                     b'Expect: 100-continue\r\n\r\nx') == HELLO  # of an old one, it means nothing


def test_a_go_ahead_is_not_given_in_vain():
    with Server('--max-body', '1000') as server:
        refused(server, POST + b'Content-Length: 5\r\nExpect: 100-continue\r\n\r\n', 405)
        refused(server, get('/plaintext', 'Content-Length: 1001', 'Expect: 100-continue'), 413)
        refused(server, get('/plaintext', 'Content-Length: 5', 'Expect: wonders'), 417)


# --- Limits -------------------------------------------------------------------------------------------------

def test_a_head_is_taken_up_to_its_limit_and_not_beyond():
    with Server('--max-header', '500') as server:
        rest = len(get('/plaintext', 'X: '))
        with Client(server) as c:
            for _ in range(3):
                assert c.ask(get('/plaintext', 'X: ' + 'x' * (500 - rest))) == HELLO
        refused(server, get('/plaintext', 'X: ' + 'x' * (501 - rest)), 431)
        refused(server, get('/plaintext', 'X: ' + 'x' * 100000), 431)
        with Client(server) as c:
            assert c.ask(GET + get('/plaintext', *['X: y'] * 500)) == HELLO
            assert c.answer()[0] == 431
            c.is_closed()


def test_a_target_that_is_too_long_is_told_apart():
    with Server('--max-header', '500') as server:
        refused(server, get('/' + 'x' * 600), 414)
        refused(server, b'GET /' + b'x' * 495, 414)
        refused(server, b'GET /plaintext?' + b'x' * 100000, 414)


def test_a_body_is_taken_up_to_its_limit_and_not_beyond():
    with Server('--max-body', '1000') as server:
        with Client(server) as c:
            assert c.ask(get('/plaintext', 'Content-Length: 1000') + b'x' * 1000 + GET) == HELLO
            assert c.answer() == HELLO
            assert c.ask(CHUNKED + b'1f4\r\n' + b'x' * 500 + b'\r\n0\r\n\r\n') == HELLO
        refused(server, get('/plaintext', 'Content-Length: 1001'), 413)
        refused(server, get('/plaintext', 'Content-Length: 1001') + b'x' * 1001, 413)
        refused(server, get('/plaintext', 'Content-Length: 9999999999999999999'), 413)
        refused(server, CHUNKED + b'fffffff\r\n' + b'x' * 100000, 413)
        refused(server, CHUNKED + b'1\r\nx\r\n' * 1000, 413)
        refused(server, CHUNKED + b'1;' + b'x' * 100000, 413)


def test_beyond_the_most_connections_nobody_is_accepted_until_one_leaves():
    with Server('--max-connections', '3') as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(4)]
        for c in clients[:3]:
            assert c.ask(GET) == HELLO
        clients[3].send(GET)
        clients[3].socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f'a fourth was served: {clients[3].socket.recv(1)}')
        clients[3].socket.settimeout(PATIENCE_S)
        clients[0].__exit__()
        reader = clients[3].socket.makefile('rb')
        assert reader.readline() == b'HTTP/1.1 200 OK\r\n'
        reader.close()
        for c in clients[1:]:
            c.__exit__()
        assert ends_well(server)['accepted'] == 4


def test_without_descriptors_files_are_unavailable_and_the_rest_is_not():
    with root(a__txt=b'a') as folder, Server('--root', str(folder), files=40) as server:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(server)) for _ in range(60)]
            comes(clients[0], get('/nothing'), (503, b'503 Service Unavailable\n'))
            assert clients[0].ask(GET) == HELLO
        with Client(server) as c:
            comes(c, get('/a.txt'), (200, b'a'))
        ledger = ends_well(server)
        assert ledger['accept pauses'] > 0, ledger


# --- Bad requests, and smuggled ones ------------------------------------------------------------------------

def test_what_is_no_request_is_refused():
    with Server() as server:
        for request, status in (
                (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400),  # a TLS client
                (b'get /plaintext HTTP/1.1\r\nHost: a\r\n\r\n', 501),
                (b'FOO /plaintext HTTP/1.1\r\nHost: a\r\n\r\n', 501),
                (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 501),
                (b'GET\r\n\r\n', 400),
                (b'GET plaintext HTTP/1.1\r\nHost: a\r\n\r\n', 400),
                (b'GET /plaintext FTP/1.1\r\nHost: a\r\n\r\n', 400),
                (b'GET /plaintext HTTP/1.1 \r\nHost: a\r\n\r\n', 400),
                (b'GET /plain text HTTP/1.1\r\nHost: a\r\n\r\n', 400),
                (b'GET /plaintext HTTP/1.10\r\nHost: a\r\n\r\n', 400),
                (b'GET /plaintext HTTP/2.0\r\nHost: a\r\n\r\n', 505),
                (b'GET /plaintext HTTP/0.9\r\nHost: a\r\n\r\n', 505),
                (b'GET /plaintext HTTP/1.1\r\n\r\n', 400),  # no Host
                (b'GET /plaintext HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 400),
                (b'GET /plaintext HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n', 400),
                (get('/plaintext', 'Content-Length: x'), 400),
                (get('/plaintext', 'Content-Length: -1'), 400),
                (get('/plaintext', 'Content-Length: +1'), 400),
                (get('/plaintext', 'Content-Length: 0x1'), 400),
                (get('/plaintext', 'Content-Length: 1 1'), 400),
                (get('/plaintext', 'Content-Length:'), 400),
                (get('/plaintext', 'Content-Length: 99999999999999999999'), 400),
                (get('/plaintext', 'no colon'), 400),
                (get('/plaintext', ': no name'), 400)):
            refused(server, request, status)
        assert ends_well(server)['still open'] == 0


def test_an_old_client_need_not_name_a_host():
    with Server() as server, Client(server) as c:
        assert c.ask(b'GET /plaintext HTTP/1.0\r\n\r\n') == HELLO
        c.is_closed()


def test_nothing_is_smuggled():
    """What two servers in a row could take for different requests is one that neither gets."""
    inner = b'0\r\n\r\n' + GET
    with Server() as server:
        for fields in ('Content-Length: 5|Transfer-Encoding: chunked', 'Transfer-Encoding: chunked|Content-Length: 5',
                       'Content-Length: 5|Content-Length: 6', 'Content-Length: 5|Content-Length: 5',
                       'Content-Length: 5, 5', 'Content-Length : 5', 'Content-Length\t: 5',
                       'Transfer-Encoding : chunked',
                       'Transfer-Encoding: xchunked', 'Transfer-Encoding: chunked, identity',
                       'Transfer-Encoding: chunked|Transfer-Encoding: chunked',
                       'Transfer-Encoding: identity|Transfer-Encoding: chunked',
                       'Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: chunked|Transfer-Encoding: identity',
                       'Transfer-Encoding:\x0bchunked', 'Transfer-Encoding: "chunked"', 'Transfer_Encoding : chunked',
                       'X: y| Transfer-Encoding: chunked', 'X: y|\tContent-Length: 5', 'X:|  y', 'X: a\x00b',
                       'X: y\nTransfer-Encoding: chunked', 'X: y\rTransfer-Encoding: chunked', ' X: y', 'X y: z'):
            with Client(server) as c:
                status, _ = c.ask(get('/plaintext', *fields.split('|')) + inner)
                assert status in (400, 501), f'{status} for {fields!r}'
                assert c.fields['connection'] == 'close', c.fields
                c.is_closed()
        refused(server, b'GET /plaintext HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n' + inner, 400)
        refused(server, GET.replace(b'\r\n', b'\n'), 400)
        refused(server, GET.replace(b'\r\n\r\n', b'\n\r\n'), 400)
        refused(server, GET[:-1] + b'X' + GET, 400)


def test_no_chunk_ends_anywhere_but_where_it_ends():
    with Server() as server:
        hello = b'5\r\nhello'
        for body in (hello + b'XX0\r\n\r\n', hello + b'\n0\r\n\r\n', hello + b'\r\r0\r\n\r\n',
                     b'5\rXhello\r\n0\r\n\r\n', b'5\nhello\r\n0\r\n\r\n', b'5;a=\nb\r\nhello\r\n0\r\n\r\n',
                     hello + b'\r\n0\n\r\n',
                     hello + b'\r\n0\r\n\n', hello + b'\r\n0\r\nA: b\n\r\n', hello + b'\r\n0\r\n\rX',
                     b'0x5\r\nhello\r\n0\r\n\r\n', b'-5\r\n', b'+5\r\n', b' 5\r\n', b'\r\n', b';\r\n', b'g\r\n',
                     b'fffffffffffffffff\r\n'):
            refused(server, CHUNKED + body + GET, 400)
            with Client(server) as c:
                for i in range(len(CHUNKED)):
                    c.send(CHUNKED[i:i + 1])
                with contextlib.suppress(OSError):  # refused before it was all
                    for i in range(len(body)):
                        c.send(body[i:i + 1])
                assert c.answer()[0] == 400, body
                c.is_closed()


# --- Files --------------------------------------------------------------------------------------------------

def test_files_come_with_their_type_length_and_age():
    files = {'index__html': b'<p>', 'a__css': b'a{}', 'b__js': b'b', 'c__JPG': b'c', 'd': b'd', 'e__unknown': b'',
             'f__tar__gz': b'f'}
    with root(**files) as folder, Server('--root', str(folder)) as server, Client(server) as c:
        for path, kind in (('/', 'text/html'), ('/index.html', 'text/html'), ('/a.css?v=1', 'text/css'),
                           ('/b.js#x', 'text/javascript'), ('/c.JPG', 'image/jpeg'), ('/d', 'application/octet-stream'),
                           ('/e.unknown', 'application/octet-stream'), ('/f.tar.gz', 'application/octet-stream')):
            name = re.split('[?#]', path)[0][1:] or 'index.html'
            for _ in range(2):  # read, and kept
                assert c.ask(get(path)) == (200, files[name.replace('.', '__')]), path
                assert c.fields['content-type'] == kind, c.fields
                age = email.utils.mktime_tz(email.utils.parsedate_tz(c.fields['last-modified']))
                assert age == int(folder.joinpath(name).stat().st_mtime), c.fields


def test_files_of_all_sizes_come_as_they_are():
    sizes = 0, 1, 10240, 15 * 1024, 16 * 1024, 64 * 1024, 64 * 1024 + 1, 300_000, 5_000_000
    files = {f's{size}': random.randbytes(size) for size in sizes}
    with root(**files) as folder, Server('--root', str(folder)) as server:
        def client(i):
            with Client(server) as c:
                for name in random.Random(i).sample(sorted(files), len(files)) * 2:
                    assert c.ask(get('/' + name)) == (200, files[name]), name

        in_threads(8, client)
        assert ends_well(server)['served'] == 8


def test_a_file_is_not_sent_to_who_has_it():
    with root(a__txt=b'a') as folder, Server('--root', str(folder)) as server, Client(server) as c:
        os.utime(folder / 'a.txt', (1_000_000_000, 1_000_000_000))
        c.ask(get('/a.txt'))
        same = c.fields['last-modified']
        assert same == 'Sun, 09 Sep 2001 01:46:40 GMT', same
        for date, status in ((same, 304), ('Sun, 09 Sep 2001 01:46:41 GMT', 304),
                             ('Sun, 09 Sep 2001 01:46:39 GMT', 200), ('yesterday', 200), ('', 200),
                             (same + ' ' * 20 + 'x', 200)):
            assert c.ask(get('/a.txt', f'If-Modified-Since: {date}'))[0] == status, date
            assert status == 200 or c.fields['last-modified'] == same and 'content-length' not in c.fields, c.fields
        assert c.ask(get('/a.txt', f'If-Modified-Since: {same}', method='HEAD'), to_head=True)[0] == 304
        assert c.ask(GET) == HELLO


def test_a_file_that_changes_is_noticed():
    with root(a__txt=b'old') as folder, Server('--root', str(folder)) as server, Client(server) as c:
        assert c.ask(get('/a.txt')) == (200, b'old')
        folder.joinpath('new').write_bytes(b'new')
        folder.joinpath('new').replace(folder / 'a.txt')
        comes(c, get('/a.txt'), (200, b'new'))
        folder.joinpath('a.txt').unlink()
        comes(c, get('/a.txt'), (404, b'404 Not Found\n'))
        folder.joinpath('a.txt').write_bytes(b'again')
        comes(c, get('/a.txt'), (200, b'again'))


def test_a_directory_is_one_level_below():
    with root() as folder, Server('--root', str(folder)) as server, Client(server) as c:
        folder.joinpath('d').mkdir()
        folder.joinpath('d', 'index.html').write_bytes(b'inside')
        folder.joinpath('empty').mkdir()
        assert c.ask(get('/d/')) == (200, b'inside')
        for path in '/d', '/d?x', '//d', '///d':
            assert c.ask(get(path))[0] == 301 and c.fields['location'] == '/d/', (path, c.fields)
        assert c.ask(get('/d/index.html/'))[0] == 404
        assert c.ask(get('/empty/'))[0] == 404


def test_names_are_decoded_once():
    with root(a__txt=b'a') as folder, Server('--root', str(folder)) as server, Client(server) as c:
        folder.joinpath('two words \u00e9.txt').write_bytes(b'b')
        folder.joinpath('100%').write_bytes(b'c')
        folder.joinpath('%61').write_bytes(b'd')
        assert c.ask(get('/%61.t%78t')) == (200, b'a')
        assert c.ask(get('/two%20words%20%c3%A9.txt')) == (200, b'b')
        assert c.ask(get('/100%25')) == (200, b'c')
        assert c.ask(get('/%2561')) == (200, b'd')
        for path in '/%', '/%6', '/%zz', '/a.txt%00', '/%00', '/100%':
            assert c.ask(get(path))[0] == 400, path
        assert c.ask(get('/' + 'x' * 300))[0] == 404
        assert c.ask(get('/' + 'x/' * 1000))[0] == 404


def escapes(folder):
    """Paths that would lead to secret.txt beside the root, or to the root's parent."""
    folder.joinpath('out').symlink_to('../secret.txt')
    folder.joinpath('absolute').symlink_to(folder.parent / 'secret.txt')
    folder.joinpath('up').symlink_to('..')
    folder.joinpath('round').symlink_to('round')
    folder.joinpath('d').mkdir()
    folder.joinpath('d', 'out').symlink_to('../../secret.txt')
    return ('/../secret.txt', '/%2e%2e/secret.txt', '/%2E./secret.txt', '/d/../../secret.txt',
            '/d/%2e%2e%2f%2e%2e/secret.txt', '/..%2fsecret.txt', '/..', '/d/..', '/./../secret.txt', '//../secret.txt',
            '/out', '/absolute', '/up/secret.txt', '/d/out', '/round', '/proc/self/root/etc/passwd',
            f'/{folder.parent}/secret.txt', '/..\\secret.txt')


def test_nothing_outside_of_the_root_is_ever_opened():
    with root() as folder, Server('--root', str(folder)) as server, Client(server) as c:
        for path in escapes(folder):
            assert c.ask(get(path)) == (404, b'404 Not Found\n'), path
        assert c.ask(get('/plaintext')) == HELLO
        folder.joinpath('inside.txt').write_bytes(b'inside')
        folder.joinpath('d', 'in').symlink_to('../inside.txt')
        assert c.ask(get('/d/in')) == (200, b'inside')


def test_nor_without_openat2():
    no_openat2 = functools.partial(program.refuse, 'openat2', errno.ENOSYS)
    with root(a__txt=b'a') as folder, Server('--root', str(folder), prepare=no_openat2) as server, Client(server) as c:
        for path in escapes(folder):
            assert c.ask(get(path)) == (404, b'404 Not Found\n'), path
        folder.joinpath('d', 'b.txt').write_bytes(b'b')
        assert c.ask(get('/a.txt')) == (200, b'a')
        assert c.ask(get('/d//./b.txt')) == (200, b'b')
        assert c.ask(get('/d'))[0] == 301
        assert c.ask(get('/a.txt/b'))[0] == 404
        c.__exit__()
        ends_well(server)


def test_what_is_no_file_is_not_found():
    with root() as folder, Server('--root', str(folder)) as server, Client(server) as c:
        os.mkfifo(folder / 'fifo')
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.relpath(folder / 'socket'))
            for path in '/fifo', '/socket', '/nothing', '/nothing/':
                assert c.ask(get(path))[0] == 404, path


def test_a_file_that_nobody_may_read_is_forbidden():
    if os.geteuid() == 0:
        raise Skip('root may read everything')
    with root(a__txt=b'a') as folder, Server('--root', str(folder)) as server, Client(server) as c:
        folder.joinpath('a.txt').chmod(0)
        assert c.ask(get('/a.txt'))[0] == 403


def test_trouble_with_a_file_is_an_internal_error_and_no_more():
    no_statx = functools.partial(program.refuse, 'statx', errno.EIO)
    with root(a__txt=b'a') as folder, Server('--root', str(folder), prepare=no_statx) as server, Client(server) as c:
        assert c.ask(get('/a.txt')) == (500, b'500 Internal Server Error\n')
        assert c.ask(GET) == HELLO
        c.__exit__()
        ends_well(server)


def test_a_file_that_gets_shorter_while_it_is_sent_breaks_the_promise_visibly():
    size = 32 << 20
    with root() as folder, Server('--root', str(folder)) as server, server.connect() as s:
        with open(folder / 'large', 'wb') as large:
            large.truncate(size)
        s.sendall(get('/large') + GET)
        data = s.recv(1 << 16)
        os.truncate(folder / 'large', 1000)
        got = len(data)
        with contextlib.suppress(ConnectionResetError):
            while part := s.recv(1 << 20):
                got += len(part)
        assert data.startswith(b'HTTP/1.1 200 OK') and got < size, got
        ledger = ends_well(server)
        assert ledger['failed'] == 1, ledger


# --- Deadlines ----------------------------------------------------------------------------------------------

def test_a_client_that_asks_nothing_is_closed_in_silence():
    with Server('--idle-timeout', '300') as server:
        for first in b'', GET:
            with Client(server) as c:
                if first:
                    assert c.ask(first) == HELLO
                begun = time.monotonic()
                c.is_closed()
                assert time.monotonic() - begun >= 0.29
        ledger = ends_well(server)
        assert ledger['timed out'] == 2, ledger


def test_a_head_that_does_not_end_is_given_up_at_its_deadline():
    with Server('--header-timeout', '300') as server:
        for part in b'G', GET[:-1], GET[:-2] + b'X: ', b'\r\n':
            with Client(server) as c:
                begun = time.monotonic()
                c.is_refused(part, 408)
                assert time.monotonic() - begun >= 0.29
        ledger = ends_well(server)
        assert ledger['timed out'] == 4, ledger


def test_a_head_that_comes_ever_so_slowly_is_given_up_and_others_are_served_meanwhile():
    """Slowloris: a byte now and then holds a connection no longer than none."""
    with Server('--header-timeout', '1000') as server, Client(server) as other, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Client(server)) for _ in range(50)]
        begun = time.monotonic()
        for c in slow:
            c.send(b'GET / HTTP/1.1\r\nX: ')
        while time.monotonic() < begun + 0.9:
            for c in slow:
                c.send(b'x')
            assert other.ask(GET) == HELLO
        for c in slow:
            assert c.answer()[0] == 408
            c.is_closed()
        assert time.monotonic() - begun >= 0.99
        other.__exit__()
        ledger = ends_well(server)
        assert ledger['timed out'] == 50 and ledger['served'] == 1, ledger


def test_a_body_that_does_not_end_is_given_up_at_its_deadline():
    with Server('--body-timeout', '300') as server:
        for part in (get('/plaintext', 'Content-Length: 100'), get('/plaintext', 'Content-Length: 100') + b'x' * 99,
                     CHUNKED, CHUNKED + b'5\r\nhel', CHUNKED + b'5\r\nhello\r\n0\r\n'):
            with Client(server) as c:
                begun = time.monotonic()
                c.is_refused(part, 408)
                assert time.monotonic() - begun >= 0.29
        ledger = ends_well(server)
        assert ledger['timed out'] == 5, ledger


def test_deadlines_are_for_one_request_each():
    short = '--header-timeout', '1000', '--body-timeout', '1000', '--idle-timeout', '1000'
    with Server(*short) as server, Client(server) as c:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            c.send(GET[:20])
            assert c.ask(GET[20:]) == HELLO
            c.send(get('/plaintext', 'Content-Length: 5') + b'he')
            assert c.ask(b'llo') == HELLO


def test_a_client_that_never_reads_costs_bounded_memory_and_is_closed():
    most = 64 << 20
    with root(f__bin=b'x' * 60000) as folder, \
            Server('--root', str(folder), '--send-timeout', '1500') as server, Client(server) as other:
        for request in GET * 1000, get('/f.bin') * 10:
            with server.connect() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                assert other.ask(GET) == HELLO
                before = server.resident_bytes()
                sent = 0
                s.settimeout(0.5)  # no room for so long: the server has stopped reading
                with contextlib.suppress(TimeoutError):
                    while sent < most:
                        sent += s.send(request)
                assert sent < most, f'it swallowed {sent} bytes'
                grown = server.resident_bytes() - before
                assert grown < 4 << 20, f'it grew by {grown} bytes'
                assert other.ask(GET) == HELLO
                s.settimeout(PATIENCE_S)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it is closed, whatever we do
                    while True:
                        s.send(request)
        other.__exit__()
        ledger = ends_well(server)
        assert ledger['timed out'] == 2, ledger


# --- The end ------------------------------------------------------------------------------------------------

def test_SIGTERM_closes_who_is_idle_and_waits_for_who_is_not():
    with Server('--drain', str(PATIENCE_S * 1000)) as server, Client(server) as idle, Client(server) as silent, \
            Client(server) as busy, Client(server) as busy_with_body:
        assert idle.ask(GET) == HELLO
        busy.send(GET[:-2])
        busy_with_body.send(get('/plaintext', 'Content-Length: 5') + b'he')
        assert idle.ask(GET) == HELLO  # by now the server has seen all that was sent before
        server.terminate()
        idle.is_closed()
        silent.is_closed()
        assert busy.ask(b'\r\n') == HELLO and busy.fields['connection'] == 'close', busy.fields
        busy.is_closed()
        assert busy_with_body.ask(b'llo') == HELLO and busy_with_body.fields['connection'] == 'close'
        ledger = server.ledger()
        assert ledger['served'] == 4, ledger


def test_whoever_has_asked_before_SIGTERM_is_answered():
    count = 100
    with Server('--drain', str(PATIENCE_S * 1000)) as server, contextlib.ExitStack() as stack:
        server.process.send_signal(signal.SIGSTOP)
        clients = [stack.enter_context(Client(server)) for _ in range(count)]
        for c in clients:
            c.send(GET)
        server.terminate()
        server.process.send_signal(signal.SIGCONT)
        for c in clients:
            assert c.ask(b'') == HELLO
            c.is_closed()
        assert server.ledger()['served'] == count


def test_SIGTERM_cuts_off_whoever_stays_beyond_the_drain():
    with Server('--drain', '100') as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in range(10)]
        for c in clients:
            assert c.ask(GET) == HELLO
            c.send(GET[:-2])
        assert clients[0].ask(b'\r\n') == HELLO
        clients[0].send(GET[:-2])
        server.terminate()
        for c in clients:
            c.is_closed()
        ledger = server.ledger()
        assert ledger['cut off'] >= 9, ledger


def test_many_connections_on_two_loops_get_their_own_answers():
    files = {f'f{i}': random.randbytes(1000 + i) for i in range(50)}
    with root(**files) as folder, program.Server(PROGRAM, BACKEND, '--loops', '2', '--root', str(folder)) as server:
        def client(i):
            chance = random.Random(i)
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(server)) for _ in range(30)]
                for _ in range(5):
                    wanted = [chance.choice(sorted(files)) for _ in clients]
                    for c, name in zip(clients, wanted):
                        c.send(get('/' + name) + GET)
                    for c, name in zip(clients, wanted):
                        assert c.answer() == (200, files[name])
                        assert c.answer() == HELLO

        in_threads(8, client)
        ledger = ends_well(server)
        assert ledger['served'] == 240 and ledger['requests'] == 2400, ledger


def test_clients_that_reset_their_connections_harm_nobody():
    with root(large=bytes(4 << 20)) as folder, Server('--root', str(folder)) as server:
        for request in [GET * 10, get('/large'), GET[:9], CHUNKED + b'5\r\n'] * 10:
            with Client(server) as c:
                c.send(request)
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        with Client(server) as c:
            assert c.ask(GET) == HELLO
        ends_well(server)


WHOLE = (GET, LAST_GET, get('/a.txt', 'If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT'), get('/%61.txt'),
         get('/../a'),
         get('http://a:1/a.txt?b#c', 'Expect: 100-continue', 'Content-Length: 3') + b'abc',
         CHUNKED + b'5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n', POST + b'Content-Length: 5\r\n\r\nhello')


def mutated(chance):
    """A request that was right, before a few changes."""
    data = bytearray(chance.choice(WHOLE))
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(data) + 1)
        piece = chance.choice((bytes([chance.randrange(256)]), b'\r\n', b'\n', b':', b' ', b'\x00', b'\r\n\r\n',
                               b'9' * 30, b'GET ', b'Content-Length: 9\r\n', b'Transfer-Encoding: chunked\r\n',
                               b'x' * 5000))
        how = chance.randrange(3)
        data[at:at + (how > 0) * chance.randrange(1, 9)] = piece if how < 2 else b''
    return bytes(data)


def whatever_comes(server, data, piece):
    """All that is answered to data, sent so many bytes at a time."""
    answer = b''
    gone = ConnectionResetError, BrokenPipeError
    with server.connect() as s:
        with contextlib.suppress(*gone):  # it may have had enough of us
            for at in range(0, len(data), piece):
                s.sendall(data[at:at + piece])
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_WR)
        with contextlib.suppress(*gone):
            while part := s.recv(1 << 16):
                answer += part
    return re.sub(rb'(?m)^(Date|Last-Modified): .*$', b'', answer)


def test_noise_and_broken_requests_do_not_bring_it_down():
    seed = random.randrange(1 << 32)
    rounds = int(os.environ.get('COIL_FUZZ_ROUNDS', '1500'))
    with root(a__txt=b'a') as folder, \
            Server('--root', str(folder), '--header-timeout', '50', '--body-timeout', '50') as server:
        def client(i):
            chance = random.Random(seed + i)
            for _ in range(rounds // 8):
                if chance.random() < 0.1:
                    data = chance.randbytes(chance.randrange(1, 3000))
                else:
                    data = b''.join(mutated(chance) for _ in range(chance.randrange(1, 4)))
                whatever_comes(server, data, chance.randrange(1, len(data) + 2))

        try:
            in_threads(8, client)
            with Client(server) as c:
                assert c.ask(GET) == HELLO
            ends_well(server)
        except Exception as e:
            raise AssertionError(f'seed {seed}: {e}') from e


def test_broken_requests_get_the_same_answers_in_pieces():
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    with root(a__txt=b'a') as folder, Server('--root', str(folder)) as server:
        for _ in range(300):
            data = mutated(chance) + mutated(chance)
            whole = whatever_comes(server, data, len(data) or 1)
            pieces = whatever_comes(server, data, 1 + len(data) // 200)
            assert whole == pieces, f'seed {seed}: to {data[:500]}: {whole[:300]}, and {pieces[:300]}'


def test_curl_understands_it():
    if not shutil.which('curl'):
        raise Skip('curl is not installed')
    content = random.randbytes(200_000)
    with root(f__bin=content) as folder, Server('--root', str(folder)) as server:
        url = f'http://127.0.0.1:{server.port}'
        said = subprocess.run(['curl', '-sS', '--max-time', '30', '-G', '-d', 'x' * 5000, f'{url}/plaintext',
                               f'{url}/f.bin'],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=2 * PATIENCE_S, check=False)
        assert said.returncode == 0 and said.stdout == b'Hello, World!' + content, said.stderr


if __name__ == '__main__':
    sys.exit(program.run_tests(globals()))
