#!/usr/bin/env python3
"""page.py - the benchmarks' page: whole, alone, readable, and it hides nothing. TAP.

The harness has a page.py too, which is what this is about: it is loaded by its path.
"""
import html
import html.parser
import importlib.util
import json
import re
import shutil
import subprocess
import sys

import made_up
import results
import table

EMPTY = {'meta', 'br', 'rect', 'line', 'circle', 'path', 'polyline'}
LETTERS_LEAST_PX = 12
CONTRAST_LEAST = 4.5  # WCAG, for text
PHONE_PX = 360
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER_LIMIT_S = 60

HARNESS = made_up.ROOT / 'bench' / 'harness'
CSS = (HARNESS / 'page.css').read_text(encoding='utf-8')
spec = importlib.util.spec_from_file_location('the_page', HARNESS / 'page.py')
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)


class Document(html.parser.HTMLParser):
    """What is in a page, and what is wrong with it."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.loads, self.ids, self.links = [], [], [], [], []
        self.classes = {}                   # the text below elements of a class, an item for each
        self.tables = []                    # lists of lines of cells
        self.collecting = []
        self.feed(text)
        self.wrong += [f'<{tag}> is not closed' for tag in self.open]

    def handle_starttag(self, tag, attrs):
        of = dict(attrs)
        self.loads += [f'{key}={value}' for key, value in attrs if key in ('src', 'srcset', 'data', 'xlink:href')
                       or key == 'href' and not value.startswith('#')]
        self.loads += [f'<{tag}>'] if tag in ('script', 'link', 'img', 'iframe', 'object', 'base') else []
        self.ids += [of['id']] if 'id' in of else []
        self.links += [of['href'][1:]] if 'href' in of else []
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('th', 'td'):
            self.tables[-1][-1].append('')
        if tag not in EMPTY:
            self.open.append(tag)
            pieces = []
            for name in (of.get('class') or '').split():
                self.classes.setdefault(name, []).append(pieces)
            self.collecting.append(pieces)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
            self.wrong.append(f'<{tag}/>')

    def handle_endtag(self, tag):
        self.collecting.pop()
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f'</{tag}> at {self.getpos()}')

    def handle_data(self, data):
        for pieces in self.collecting:
            pieces.append(data)
        if {'th', 'td'} & set(self.open):
            self.tables[-1][-1][-1] += data

    def texts(self, name):
        return [''.join(pieces) for pieces in self.classes.get(name, [])]


def made(result=None, history=()):
    return page.document(result or made_up.result(), history)


def past():
    return [made_up.result('aaaaaaa', '2026-11-24T00:00:00+00:00', 1.1),
            made_up.result('bbbbbbb', '2026-11-25T00:00:00+00:00', 1.0)]


def the_page_is_well_formed(_):
    document = Document(made(history=past()))
    assert not document.wrong, document.wrong
    assert len(set(document.ids)) == len(document.ids)
    assert set(document.links) <= set(document.ids), 'a link to nowhere'


def the_page_loads_nothing(_):
    text = made(history=past())
    assert not Document(text).loads, Document(text).loads
    assert not re.search(r'url\(|@import|https?:|//[a-z]', text), 'an address'


def every_row_is_in_a_table(_):
    result = made_up.result()
    lines = [line for lines in Document(made(result)).tables for line in lines]
    for module in result['modules']:
        for row in module['rows']:
            cells = table.cells_of(row)
            found = [line for line in lines if line[0] == row['contestant'] and cells['note'] in line[-1]
                     and (row['trouble'] or line[1] == cells['p20'])]
            assert found, (row['bench'], row['contestant'])


def every_contestant_has_a_bar_or_a_word(_):
    drawn = Document(made()).texts('bars')
    for wanted in ('coil-io_uring', 'coil-epoll', 'raw_uring', 'libuv', 'asyncio', 'trio', 'tokio'):
        assert wanted in drawn[0], wanted
    assert 'again' not in ' '.join(drawn)


def what_failed_or_was_missing_is_told_first(_):
    text = made()
    bad, warned = Document(text).texts('bad'), ' '.join(Document(text).texts('warn'))
    assert any(piece.startswith('FAILED') and f'Echo, 64 connections, 1 KiB, trio: {made_up.WRONG}' in piece
               for piece in bad), bad
    assert 'wrk could not be installed' in warned and 'tokio in Echo, 64 connections, 1 KiB: was not built' in warned
    assert text.index('FAILED') < text.index('At a glance</h2>')
    assert 'Nothing failed' not in text
    calm = made(made_up.result(failing=False))
    assert 'FAILED' not in calm and 'Nothing failed' in calm


def a_row_that_says_nothing_is_greyed_and_says_so(_):
    grey = Document(made()).texts('nothing')
    assert any('coil-epoll' in piece for piece in grey) and not any('coil-io_uring' in piece for piece in grey)
    assert any('says nothing: A/A is off' in piece for piece in grey)


def every_loss_is_listed(_):
    text = made()
    listed = Document(text).tables
    losses = [line for lines in listed if 'ahead' in lines[0][-1] for line in lines[1:]]
    assert {(line[0], line[1]) for line in losses if 'libuv' in line[-1]} == {
        ('Echo, 64 connections, 1 KiB', 'coil-io_uring'), ('Echo, 64 connections, 1 KiB', 'coil-epoll')}
    assert {line[1] for line in losses if 'raw_epoll' in line[-1]} == {'coil-io_uring', 'coil-epoll'}
    assert [line[:2] for line in losses if line[0].startswith('Tasks')] == [
        ['Tasks, sleepers, 1,000,000', 'coil-io_uring']]
    assert 'Limits that were not kept' in text


def client_bound_bursts_are_marked(_):
    assert any('client-bound 3/12: libuv' in piece for piece in Document(made()).texts('remarks'))


def versions_commands_and_configurations_are_told(_):
    text = made()
    for wanted in ('Python 3', 'not installed', 'build/coil-io_uring --port PORT', 'worker_processes 1;',
                   'retbleed', 'not readable', 'git checkout 1a2b3c4'):
        assert wanted in text, wanted
    assert str(made_up.ROOT) not in text


def a_wide_spread_is_drawn_on_a_logarithmic_scale_that_says_so(_):
    figures = Document(made()).tables and re.findall(r'<figure.*?</figure>', made(), re.S)
    assert [('logarithmic' in figure, '<circle' in figure) for figure in figures][:2] == [(False, False), (True, True)]


def history_is_drawn_where_there_is_some(_):
    alone, among = made(), made(history=past())
    assert 'id="past"' not in alone and 'class="history"' not in alone
    assert 'History: 3 runs' in among and 'aaaaaaa: 1.1' in among
    again = made(history=[*past(), made_up.result()])
    assert 'History: 3 runs' in again, 'the present result was counted twice'


def a_file_of_the_history_is_small_and_reads_like_the_result(folder):
    whole = made_up.result()
    results.save(whole, folder / 'whole.json')
    assert results.load(folder / 'whole.json') == json.loads(json.dumps(whole))
    kept = folder / results.history_name(whole)
    results.save(results.small(whole), kept)
    assert kept.name == '2026-11-27-1a2b3c4.json'
    text = kept.read_text(encoding='utf-8')
    assert 'samples' not in text and '-again' not in text and str(made_up.ROOT) not in text
    assert len(text) < 400 * sum(len(module['rows']) for module in whole['modules'])
    assert Document(made(results.load(kept))).tables
    assert [result['when'] for result in results.load_history(folder)] == [whole['when']] * 2


def the_terminals_table_has_140_columns(_):
    text = table.terminal(made_up.result())
    assert max(map(len, text.splitlines())) <= 140
    for wanted in ('FAILED', 'skipped', 'says nothing: A/A is off', 'client-bound 3/12', 'wrk could not', 'governor'):
        assert wanted in text, wanted


def colours(theme):
    names = {}
    for block in re.findall(r':root\s*\{([^}]*)\}', CSS)[:2 if theme == 'dark' else 1]:
        names.update(re.findall(r'--([\w-]+):\s*(#[0-9a-f]{6})', block))
    return names


def luminance(colour):
    parts = [int(colour[index:index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


def letters_stand_out_in_light_and_in_dark(_):
    assert '@media (prefers-color-scheme: dark)' in CSS and CSS.count(':root') == 2
    for theme in ('light', 'dark'):
        of = colours(theme)
        for ink in ('ink', 'soft', 'uring', 'bad', 'warn'):
            for paper in ('paper', 'card'):
                high, low = sorted((luminance(of[ink]), luminance(of[paper])), reverse=True)
                ratio = (high + .05) / (low + .05)
                assert ratio >= CONTRAST_LEAST, f'{theme}: {ink} on {paper}: {ratio:.2f}'


def no_letters_are_small(_):
    for size in re.findall(r'font(?:-size)?:[^;]*?([\d.]+)px', CSS):
        assert float(size) >= LETTERS_LEAST_PX, size
    assert 'width=device-width' in made()


# In a frame of a phone's width, since a browser's window cannot be that narrow; everything unfolded.
FRAME = '''<!doctype html><iframe style="width:{width}px;height:800px;border:0" srcdoc="{page}"></iframe><script>
onload = () => {{
    const inside = document.querySelector("iframe").contentDocument, root = inside.documentElement;
    inside.querySelectorAll("details").forEach(d => d.open = true);
    const letters = [...inside.querySelectorAll("body *")].filter(e => e.textContent.trim() && !e.children.length)
        .map(e => parseFloat(getComputedStyle(e).fontSize));
    document.title = `measured ${{root.clientWidth}} ${{root.scrollWidth}} ${{Math.min(...letters)}}`;
}};
</script>'''


def a_phone_shows_it_without_scrolling_sideways(folder):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        return 'there is no Chromium'
    framed = folder / 'frame.html'
    framed.write_text(FRAME.format(width=PHONE_PX, page=html.escape(made(history=past()))), encoding='utf-8')
    done = subprocess.run(
        [browser, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync', '--hide-scrollbars',
         f'--user-data-dir={folder / "profile"}', '--virtual-time-budget=10000', '--dump-dom', framed.as_uri()],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BROWSER_LIMIT_S, check=False)
    found = re.search(r'<title>measured (\d+) (\d+) ([\d.]+)', done.stdout)
    if not found:
        return f'Chromium does not run here, status {done.returncode}'
    client, scroll, letters = map(float, found.groups())
    assert client == PHONE_PX and scroll <= client, f'{scroll} wide on {client}'
    assert letters >= LETTERS_LEAST_PX, f'letters of {letters} px'


TESTS = [the_page_is_well_formed, the_page_loads_nothing, every_row_is_in_a_table,
         every_contestant_has_a_bar_or_a_word, what_failed_or_was_missing_is_told_first,
         a_row_that_says_nothing_is_greyed_and_says_so, every_loss_is_listed, client_bound_bursts_are_marked,
         versions_commands_and_configurations_are_told, a_wide_spread_is_drawn_on_a_logarithmic_scale_that_says_so,
         history_is_drawn_where_there_is_some, a_file_of_the_history_is_small_and_reads_like_the_result,
         the_terminals_table_has_140_columns, letters_stand_out_in_light_and_in_dark, no_letters_are_small,
         a_phone_shows_it_without_scrolling_sideways]


if __name__ == '__main__':
    sys.exit(made_up.tap(TESTS))
