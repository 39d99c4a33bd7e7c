"""What commands print of many things: a table that people read on eighty columns, or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any, Literal

__all__ = ["Format", "print_grid", "print_json", "print_table", "show"]

Format = Literal["table", "json"]


def show(
    format: Format, values: Any, headings: Sequence[str], rows: Sequence[Sequence[str]], *, whole: int = 0
) -> None:
    """Print *values* for programs, or *rows* of them for people (see `print_table`)."""
    if format == "json":
        print_json(values)
    else:
        print_table(headings, rows, whole=whole)


def print_json(value: Any) -> None:
    """Print *value* for programs."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, whole: int = 0) -> None:
    """Print *rows*, a line apart where a cell has several; whatever is too long for its column is folded.

    Args:
        whole: the width of the first column, where that must not be less: an id in pieces cannot be copied.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Columns are told apart by space alone: lines between them cost a quarter of eighty columns.
    has_lines = any("\n" in cell for row in rows for cell in row)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), leading=int(has_lines))
    for place, heading in enumerate(headings):
        # Of those that may wrap, the widest gives way first, and that would be the ids.
        table.add_column(heading, overflow="fold", no_wrap=whole > 0 and place == 0)
    for first, *others in rows:
        table.add_row(escape(_folded(first, whole) if whole else first), *map(escape, others))
    Console().print(table)


def print_grid(
    headings: Sequence[str], *parts: Iterable[Sequence[str]], title: str | None = None, has_lines: bool = False
) -> None:
    """Print a table with lines around its columns and between its *parts*; with *has_lines*, between all rows."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_lines=has_lines)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for part in parts:
        for row in part:
            table.add_row(*map(escape, row))
        table.add_section()
    Console().print(table)


def _folded(text: str, width: int) -> str:
    return "\n".join(part for line in text.splitlines() for part in wrap(line, width) or [""])
