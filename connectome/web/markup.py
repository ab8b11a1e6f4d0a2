"""HTML and SVG built from values: whatever is text is escaped, so nothing in a dataset becomes code."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Self

PAGE = Path(__file__).with_name("page.html")
EMPTY = frozenset({"img", "meta", "br", "input", "rect", "line", "path", "image", "use"})
"""Elements without content."""


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()

    def __add__(self, other: str) -> Self:
        """Append markup; plain text is escaped."""
        return type(self)(str.__add__(self, escape(other)))


def escape(text: object) -> Markup:
    """Return `text` as markup; markup stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text)))


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element. Children that are None are left out, as are attributes that are None.

    In attribute names an underscore stands for a hyphen; one at the end is dropped (``class_``).
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in EMPTY:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Return children one after another."""
    return Markup("".join(escape(child) for child in children if child is not None))


def page(title: str, body: Markup) -> str:
    """Return a whole page: one file, no scripts, nothing loaded."""
    return Template(PAGE.read_text(encoding="utf-8")).substitute(title=escape(title), body=body)


def section(title: str, *children: object, class_: str | None = None) -> Markup:
    """Return a section of the page under a heading."""
    return element("section", element("h2", title), *children, class_=class_)


def folded(title: str, *children: object) -> Markup:
    """Return what is read on demand."""
    return element("details", element("summary", title), *children)


def note(text: str) -> Markup:
    """Return a paragraph that says what else to know."""
    return element("p", text, class_="note")


def table(caption: str | None, titles: Sequence[str], rows: Sequence[Markup], total: Markup | None = None) -> Markup:
    """Return a table that scrolls by itself where the page is narrow."""
    head = element("thead", row(*(element("th", title, scope="col") for title in titles))) if titles else None
    return element(
        "div",
        element(
            "table",
            element("caption", caption) if caption else None,
            head,
            element("tbody", *rows),
            element("tfoot", total) if total is not None else None,
        ),
        class_="scroll",
    )


def row(*cells: Markup, class_: str | None = None) -> Markup:
    """Return a row of a table."""
    return element("tr", *cells, class_=class_)


def group_row(title: object, n_columns: int) -> Markup:
    """Return the row that names the rows below it."""
    return row(element("th", title, colspan=n_columns, scope="colgroup"), class_="group")


def head_cell(text: object) -> Markup:
    """Return the cell that names a row."""
    return element("th", text, scope="row")


def cell(content: object, class_: str | None = None) -> Markup:
    """Return a cell; `class_` is ``text`` for words, ``bar`` for a meter."""
    return element("td", content, class_=class_)
