"""CSV, RFC 4180: a header row of names, then a row an object. Nested objects have dotted names
(`address.city`).

An empty cell is nothing: None where that is allowed, else the default, and for a text the empty text.

A spreadsheet runs a cell that begins like a formula. So a text that begins so leaves behind an apostrophe,
which a spreadsheet hides, and which is taken off again on the way in (OWASP, CSV Injection)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from toque.codecs.flat import object_reader
from toque.codecs.leaves import Leaf, leaves_of, text_of
from toque.codecs.stream import StreamEncoder
from toque.contract.conversion import enc_hook
from toque.contract.errors import Invalid, Malformed, TooLarge
from toque.contract.faults import below, invalid, refused
from toque.contract.schema import Field, fields_of, left_fields_of, list_item

__all__ = ["COLUMNS_MAX", "CSV", "ROWS_MAX"]

COLUMNS_MAX = 1_000
"""As many as a form has fields."""
ROWS_MAX = 10_000
"""A row of 14 columns takes 45 to 70 us to read (busy machine, 2026-11), so this is some half a second of
one core."""

# OWASP's list: the signs of a formula, their full-width twins, tab and the line ends. Behind any number of
# apostrophes, so that a text which already had one comes back as it was.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


class _Csv:
    name = "csv"
    media_types: tuple[str, ...] = ("text/csv; charset=utf-8", "text/csv")
    problem_media_type = ""

    def decoder(self, tp: Any) -> Callable[[bytes], Any] | None:
        item = list_item(tp)
        row_type = tp if item is None else item
        leaves, read = _columns(row_type), object_reader(row_type, fills_text=True)
        if leaves is None or read is None:
            return None
        by_name = {leaf.name: leaf for leaf in leaves}
        if item is None:
            return lambda data: _only(list(_read_rows(data, by_name, read)))
        return lambda data: list(_read_rows(data, by_name, read))

    def encoder(self, tp: Any) -> Callable[[Any], bytes] | None:
        item = list_item(tp)
        stream = self.stream_encoder(tp if item is None else item)
        if stream is None:
            return None
        head, row = stream.head, stream.item
        if item is None:
            return lambda value: head + row(value)
        return lambda values: head + b"".join(map(row, values))

    def stream_encoder(self, item_tp: Any) -> StreamEncoder | None:
        leaves = _columns(item_tp, left_fields_of)
        if leaves is None:
            return None

        def row(value: Any) -> bytes:
            members = msgspec.to_builtins(value, enc_hook=enc_hook)
            return _line([_cell(leaf, leaf.of(members)) for leaf in leaves])

        return StreamEncoder(row, head=_line([leaf.name for leaf in leaves]))


CSV = _Csv()


def _columns(tp: Any, of: Callable[[Any], tuple[Field, ...]] = fields_of) -> tuple[Leaf, ...] | None:
    leaves = leaves_of(tp, of)
    if not leaves or any(leaf.is_list for leaf in leaves):
        return None
    return leaves


def _line(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()


def _cell(leaf: Leaf, value: Any) -> str:
    text = text_of(value)
    return "'" + text if leaf.is_free_text and _FORMULA.match(text) else text


def _text(leaf: Leaf | None, cell: str) -> str:
    is_escaped = cell[:1] == "'" and leaf is not None and leaf.is_free_text and _FORMULA.match(cell)
    return cell[1:] if is_escaped else cell


def _read_rows(data: bytes, leaves: dict[str, Leaf], read: Callable[[Any], Any]) -> Iterator[Any]:
    rows = _rows(data)
    header = next(rows, [])
    if len(header) > COLUMNS_MAX:
        raise TooLarge(f"The CSV has more than {COLUMNS_MAX} columns.")
    if len(set(header)) < len(header):
        raise Malformed("The CSV names a column twice.")
    known = [leaves.get(name) for name in header]
    # An empty cell is the empty text where the column is a text that is always there.
    keeps = [leaf is not None and leaf.may_be_empty_text and not leaf.is_nullable for leaf in known]
    for at, row in enumerate(rows):
        if at == 0:
            _check_columns(header, leaves)
        if at >= ROWS_MAX:
            raise TooLarge(f"The CSV has more than {ROWS_MAX} rows.")
        if len(row) != len(header):
            raise refused(f"$[{at}]", f"{len(header)} cells", str(len(row)))
        cells = zip(header, known, keeps, row, strict=True)
        try:
            yield read([(name, _text(leaf, cell)) for name, leaf, keep, cell in cells if cell or keep])
        except Invalid as error:
            raise invalid(*below(f"$[{at}]", error.faults)) from None


def _check_columns(header: list[str], leaves: dict[str, Leaf]) -> None:
    """Refuse a header that lacks what every row must have: an empty cell may stand for the empty text, but what is not
    there at all was misspelt, or parted by semicolons."""
    missing = [name for name, leaf in leaves.items() if leaf.is_required and name not in header]
    if missing:
        raise refused("$", f"also the columns {', '.join(missing)}", f"the columns {', '.join(header)}")


def _rows(data: bytes) -> Iterator[list[str]]:
    try:
        # Spreadsheets put a byte order mark in front.
        text = data.decode("utf-8-sig")
        yield from (row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row)
    except UnicodeDecodeError as error:
        raise Malformed(f"The CSV is not UTF-8: {error.reason}.") from error
    except csv.Error as error:
        raise Malformed(f"The body is not CSV: {error}.") from error


def _only(values: list[Any]) -> Any:
    if len(values) != 1:
        raise refused("$", "one row", str(len(values)))
    return values[0]
