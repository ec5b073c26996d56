#!/usr/bin/env python3
"""readme_numbers.py - README's numbers are what bench/harness/readme.py writes from the result it names. TAP."""
import sys

import made_up
import readme
import results

README = made_up.ROOT / 'README.md'
HISTORY = made_up.ROOT / 'bench' / 'history'


def in_a_document(folder):
    """A README, and a result in its history to write into it."""
    document, kept = folder / 'README.md', folder / results.history_name(made_up.result())
    results.save(results.small(made_up.result()), kept)
    document.write_text(f'before\n\n{readme.block("")}\n\nafter\n', encoding='utf-8')
    return document, kept


def the_block_is_replaced_and_nothing_else(folder):
    document, kept = in_a_document(folder)
    readme.rewrite(document, kept)
    once = document.read_text(encoding='utf-8')
    readme.rewrite(document, kept)
    assert document.read_text(encoding='utf-8') == once
    assert once.startswith('before\n\n<!-- ') and once.endswith(' -->\n\nafter\n')


def the_block_tells_figures_losses_and_failures(folder):
    document, kept = in_a_document(folder)
    readme.rewrite(document, kept)
    text = ' '.join(document.read_text(encoding='utf-8').split())
    shown = results.load(kept)['modules'][0]['rows'][0]
    for wanted in (f'{shown["value"]:,.0f}', '1a2b3c4', 'A/A', 'Where coil loses', 'libuv 4,', 'FAILED: Echo',
                   'wrk could not be installed', 'asyncio Python 3', kept.name):
        assert wanted in text, wanted


def an_edited_figure_is_noticed(folder):
    document, kept = in_a_document(folder)
    readme.rewrite(document, kept)
    text = document.read_text(encoding='utf-8')
    assert readme.is_as_written(text, folder)
    for figure in ('libuv 4,', '1a2b3c4,', '(1.03'):
        assert figure in text, figure
        assert not readme.is_as_written(text.replace(figure, figure[:-1] + '9', 1), folder), figure


def a_document_without_a_place_for_them_is_refused(folder):
    document, kept = in_a_document(folder)
    document.write_text('no block\n', encoding='utf-8')
    try:
        readme.rewrite(document, kept)
    except ValueError:
        return
    raise AssertionError('it was written')


def readmes_own_numbers_are_as_written(_):
    text = README.read_text(encoding='utf-8')
    assert readme.found_block(text), 'README.md has no block of numbers'
    if not any(HISTORY.glob('*.json')):
        return 'no result is recorded in bench/history yet'
    assert readme.is_as_written(text, HISTORY), 'it is not: bench/run --readme writes it'


TESTS = [the_block_is_replaced_and_nothing_else, the_block_tells_figures_losses_and_failures,
         an_edited_figure_is_noticed, a_document_without_a_place_for_them_is_refused,
         readmes_own_numbers_are_as_written]


if __name__ == '__main__':
    sys.exit(made_up.tap(TESTS))
