"""From a change to the entries that it may have changed, in time that depends on the number of schemes alone.

A *scheme* is a tuple of columns of one table by which some entries have read it. An image is looked up once in each
scheme of its table, however many entries there are (cacheops' idea).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from toque.cache.change import ANY_TABLE, Change, Scalar
from toque.cache.predicates import Predicate

__all__ = ["SCHEMES_MAX", "Index"]

E = TypeVar("E")

SCHEMES_MAX = 16
"""Schemes of one table, besides that of all rows. A predicate of one more is filed under a scheme with fewer of its
columns, or as reading all rows: its entry then falls more often, and a change costs no more."""

_ABSENT = object()


class Index(Generic[E]):
    """Which entries have read what."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table[E]] = {}

    def add(self, entry: E, predicates: Iterable[Predicate]) -> tuple[Predicate, ...]:
        """Note that *entry* has read *predicates*: what `remove` must be given."""
        return tuple(dict.fromkeys(self._add(entry, predicate) for predicate in predicates))

    def remove(self, entry: E, filed: Iterable[Predicate]) -> None:
        for predicate in filed:
            table = self._tables[predicate.table]
            table.remove(entry, predicate)
            if table.is_empty:
                del self._tables[predicate.table]

    def matches(self, change: Change) -> set[E]:
        """The entries that *change* may have changed."""
        if change.table == ANY_TABLE:
            return {entry for table in self._tables.values() for entry in table.all()}
        table = self._tables.get(change.table)
        if table is None:
            return set()
        return set(table.all()) if change.images is None else table.matches(change)

    def _add(self, entry: E, predicate: Predicate) -> Predicate:
        table = self._tables.get(predicate.table)
        if table is None:
            table = self._tables[predicate.table] = _Table()
        return table.add(entry, predicate)


class _Table(Generic[E]):
    """Who has read one table, and by which columns."""

    def __init__(self) -> None:
        self.whole: set[E] = set()
        self.schemes: dict[tuple[str, ...], dict[tuple[Scalar, ...], set[E]]] = {}

    @property
    def is_empty(self) -> bool:
        return not self.whole and not self.schemes

    def add(self, entry: E, predicate: Predicate) -> Predicate:
        filed = self._filed(predicate)
        if not filed.columns:
            self.whole.add(entry)
        else:
            self.schemes.setdefault(filed.columns, {}).setdefault(filed.values, set()).add(entry)
        return filed

    def remove(self, entry: E, filed: Predicate) -> None:
        if not filed.columns:
            self.whole.discard(entry)
            return
        by_values = self.schemes[filed.columns]
        entries = by_values[filed.values]
        entries.discard(entry)
        if not entries:
            del by_values[filed.values]
        if not by_values:
            del self.schemes[filed.columns]

    def all(self) -> Iterator[E]:
        yield from self.whole
        for by_values in self.schemes.values():
            for entries in by_values.values():
                yield from entries

    def matches(self, change: Change) -> set[E]:
        found = set(self.whole)
        for columns, by_values in self.schemes.items():
            for image in change.images or ():
                values = tuple([image.get(column, _ABSENT) for column in columns])
                if _ABSENT in values:
                    # Another release has captured it, without this column: it may be any value.
                    found.update(*by_values.values())
                    break
                entries = by_values.get(values)  # type: ignore[arg-type]
                if entries is not None:
                    found |= entries
        return found

    def _filed(self, predicate: Predicate) -> Predicate:
        """*predicate*, by fewer columns where there are schemes enough."""
        if not predicate.columns or predicate.columns in self.schemes or len(self.schemes) < SCHEMES_MAX:
            return predicate
        values = dict(zip(predicate.columns, predicate.values, strict=True))
        fitting = (columns for columns in self.schemes if values.keys() >= set(columns))
        columns = max(fitting, key=len, default=())
        return Predicate(predicate.table, columns, tuple(values[column] for column in columns))
