"""Names by which a cache in front can be told what to forget: made of what an answer has read, and of what has changed.

An answer bears, for each table that it has read, the table's name, and either that of all its rows or, for each set of
values that it asked for, that of one column's value. A change calls all rows' name and each of its images' values;
where its rows are too many to tell, the table's. So whatever a change may have changed is called, and not much else.

Source: RFC 9875 (Cache-Groups), 2: at least 32 groups are taken for a response, of at least 32 characters each.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Iterable, Set
from hashlib import blake2b

from toque.cache.change import Change, Scalar
from toque.cache.predicates import Predicate

__all__ = ["GROUPS_MAX", "groups_of_change", "groups_of_reads", "table_group"]

GROUPS_MAX = 32
"""What every cache takes (RFC 9875, 2.1). Of a table with too many values, all rows are named instead."""


def table_group(table: str) -> str:
    """The name that all answers bear that have read *table*."""
    return _name("table", table)


def groups_of_reads(predicates: Iterable[Predicate]) -> tuple[str, ...]:
    """What an answer is called that has read *predicates*; empty where it has read more tables than can be named."""
    values: dict[str, set[tuple[str, Scalar]]] = defaultdict(set)
    whole: set[str] = set()
    for table, columns, wanted in predicates:
        values[table]
        if columns:
            values[table].add((columns[0], wanted[0]))
        else:
            whole.add(table)
    while sum(1 + max(1, 0 if table in whole else len(found)) for table, found in values.items()) > GROUPS_MAX:
        fine = [table for table in values if table not in whole and len(values[table]) > 1]
        if not fine:
            return ()
        whole.add(max(fine, key=lambda table: len(values[table])))
    coarse = [table_group(table) for table in sorted(values)]
    rows = [_name("rows", table) for table in sorted(values) if table in whole]
    fine_ones = [
        _name("value", table, column, value)
        for table in sorted(values)
        if table not in whole
        for column, value in sorted(values[table], key=repr)
    ]
    return (*coarse, *rows, *fine_ones)


def groups_of_change(change: Change, columns: Set[str]) -> set[str]:
    """What everything is called that *change* may have changed.

    Args:
        columns: by which the table's rows are told apart. An image that lacks one, from another release, tells nothing.
    """
    if change.images is None or any(image.keys() != columns for image in change.images):
        return {table_group(change.table)}
    named = {_name("rows", change.table)}
    for image in change.images:
        named |= {_name("value", change.table, column, value) for column, value in image.items()}
    return named


def _name(*parts: Scalar) -> str:
    # 72 bits: whose names agree by chance are forgotten together, and that is all.
    digest = blake2b(repr(tuple(map(_plain, parts))).encode(errors="surrogatepass"), digest_size=9).digest()
    return urlsafe_b64encode(digest).decode()


def _plain(part: Scalar) -> Scalar:
    return str.__str__(part) if isinstance(part, str) else part
