"""Views inside views: one more statement per level, however many rows there are.

The related rows of all parents are read with `WHERE key IN (...)` and dealt out to their parents by that key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select, tuple_
from sqlalchemy.orm import aliased

from toque.store.selection import Nested, plain_pair
from toque.store.transaction import ALL, Transaction

if TYPE_CHECKING:
    from toque.store.plans import Plan, Plans

__all__ = ["Relation", "read"]

# SQLite takes 32 766 parameters in one statement (https://www.sqlite.org/limits.html), asyncpg 32 767; a key
# may have several columns.
KEYS_MAX = 8192


async def read(transaction: Transaction, plan: Plan, binds: Sequence[Any], parameters: Any, rows_max: int) -> list[Any]:
    """The views of a plan that has nested views."""
    transaction.announce_more()
    rows = await _rows(transaction, plan, binds, parameters, rows_max)
    return plan.finish(rows)


async def _rows(
    transaction: Transaction, plan: Plan, binds: Sequence[Any], parameters: Any, rows_max: int
) -> list[list[Any]]:
    context = transaction.context
    prepared, arguments = plan.arguments(binds, parameters, context.caller)
    if context.reads is not None:
        context.reads.statement(plan, binds, parameters)
    rows: list[list[Any]] = await transaction.fetch(prepared, arguments, rows_max, plan.arrange)
    for relation in plan.relations:
        await relation.fill(transaction, rows)
    return rows


class Relation:
    """One nested field, and the statement that reads it for many parents."""

    def __init__(self, plans: Plans, nested: Nested) -> None:
        self._plans = plans
        self._nested = nested
        self._statement, self._extra = _related(nested)

    async def fill(self, transaction: Transaction, rows: Sequence[list[Any]]) -> None:
        """Put the related views into their place in each of *rows*."""
        place, is_list = self._nested.place, self._nested.is_list
        owners = [_key(row, self._nested.keys) for row in rows]
        related: dict[Any, list[Any]] = {}
        wanted = list(dict.fromkeys(key for key in owners if key is not None))
        for start in range(0, len(wanted), KEYS_MAX):
            await self._read(transaction, wanted[start : start + KEYS_MAX], related)
        for row, owner in zip(rows, owners, strict=True):
            found = related.get(owner, ())
            row[place] = list(found) if is_list else next(iter(found), None)

    async def _read(self, transaction: Transaction, keys: list[Any], related: dict[Any, list[Any]]) -> None:
        plan, binds = self._plans.plan(self._statement, self._nested.view, extra=self._extra)
        rows = await _rows(transaction, plan, binds, {"keys": _padded(keys)}, ALL)
        behind = range(-len(self._extra), 0)
        for row, view in zip(rows, plan.finish(rows), strict=True):
            related.setdefault(_key(row, behind), []).append(view)


def _related(nested: Nested) -> tuple[Any, tuple[Any, ...]]:
    """The statement that reads the related rows of many parents, and the columns that say whose each row
    is."""
    relationship = nested.relationship
    target = relationship.mapper.class_
    keys: Any = bindparam("keys", expanding=True)
    pair = plain_pair(relationship)
    if pair is not None:
        remote = getattr(target, relationship.mapper.get_property_by_column(pair[1]).key)
        statement, extra = select(target).where(remote.in_(keys)), (remote,)
    else:
        parent = aliased(relationship.parent.class_)
        mapper = relationship.parent
        extra = tuple(getattr(parent, mapper.get_property_by_column(c).key) for c in mapper.primary_key)
        owner = extra[0] if len(extra) == 1 else tuple_(*extra)
        through = getattr(parent, relationship.key)
        statement = select(target).select_from(parent).join(through).where(owner.in_(keys))
    if relationship.order_by:
        statement = statement.order_by(*relationship.order_by)
    return statement, extra


def _key(row: Sequence[Any], places: Sequence[int]) -> Any:
    """What finds a row's relatives: None when it has none, because a NULL refers to nothing."""
    key = tuple(row[place] for place in places)
    if None in key:
        return None
    return key[0] if len(key) == 1 else key


def _padded(keys: list[Any]) -> list[Any]:
    """*keys* with the last repeated up to a power of two, so that few texts are made for many lengths."""
    return keys + keys[-1:] * ((1 << (len(keys) - 1).bit_length()) - len(keys))
