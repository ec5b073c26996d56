"""HTML, written so that no text can become markup: what is not a Markup is escaped."""

import html


class Markup(str):
    """Text that is HTML already."""


EMPTY = {"meta", "br", "rect", "line", "circle", "path", "polyline", "link"}


def escaped(child):
    return child if isinstance(child, Markup) else html.escape(str(child))


def inside(children):
    """Lists are opened, None is nothing."""
    for child in children:
        if isinstance(child, (list, tuple)):
            yield from inside(child)
        elif child is not None:
            yield escaped(child)


def element(name, /, *children, **attributes):
    """element("a", "here", href="#x"). A name that Python keeps for itself ends in _, and _ is for
    -; an attribute that is None is left out."""
    words = [name] + [f'{key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
                      for key, value in attributes.items() if value is not None]
    if name in EMPTY:
        return Markup(f"<{' '.join(words)}/>")
    return Markup(f"<{' '.join(words)}>{''.join(inside(children))}</{name}>")


def join(*children):
    return Markup("".join(inside(children)))


def table(heading, lines, class_=None):
    """A real table in a frame that scrolls by itself where it is too wide. The first cell of a line
    is its heading; a line may be (cells, class). Of class stacked, it needs no width: page.css puts
    the cells below each other on a phone, with their columns' names, which they bring along; a
    heading may be (name, a shorter one for that)."""
    pairs = [(cell, cell) if isinstance(cell, str) else cell for cell in heading]
    head = element("tr", [element("th", name, scope="col") for name, _ in pairs])
    labels = [f"{short}: " if short and "stacked" in (class_ or "") else None
              for _, short in pairs[1:]]
    body = []
    for line in lines:
        cells, kind = line if isinstance(line, tuple) else (line, None)
        body.append(element("tr", element("th", cells[0], scope="row"),
                            [element("td", cell, data_label=label)
                             for cell, label in zip(cells[1:], labels)], class_=kind))
    whole = element("table", element("thead", head), element("tbody", body), class_=class_)
    return element("div", whole, class_="frame", tabindex="0")


def folded(summary, *children, open_=False, **attributes):
    return element("details", element("summary", summary), *children, open="" if open_ else None,
                   **attributes)
