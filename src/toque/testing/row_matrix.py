"""The rows' half of the access matrix: each action on a table, by its owner and by everybody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Table, and_, delete, func, insert, select, update
from sqlalchemy.sql.visitors import iterate

from toque.call.context import Context
from toque.contract.errors import Conflict, Error, Invalid
from toque.contract.principal import ANONYMOUS, Principal
from toque.store.database import AllRows, Database
from toque.store.facts import About, Fact
from toque.store.guard import Refused
from toque.store.rows import Guarded, declared
from toque.testing.harness import Harness
from toque.testing.samples import value_of

__all__ = ["plant", "rows_of"]

CALL_S = 10.0
"""How long an action may take: far longer than one row needs, so that only what hangs fails."""

CALLERS: Mapping[str, Principal] = {
    "its owner": Principal(subject="matrix-owner", tenant="matrix-home"),
    "another owner": Principal(subject="matrix-guest", tenant="matrix-home"),
    "another tenant": Principal(subject="matrix-owner", tenant="matrix-away"),
    "nobody": ANONYMOUS,
}
OWNER = CALLERS["its owner"]
WITH = " with roles"
"""Who has all roles and scopes that a table's rules name."""
FIRST = 900_000_001
"""The number of the rows that are made: above those that an app's seeds have, within an INTEGER of PostgreSQL."""

MARK = "matrix-mark-of-somebody-"
"""What the text of a row begins with that has an owner."""

Rows = Mapping[type | str, Mapping[str, Any]]
Act = Callable[[Database, AllRows, "Subject"], Awaitable[bool]]


@dataclass(frozen=True)
class Subject:
    """The table that is tried, and the row in it that belongs to OWNER."""

    table: Table
    guard: Guarded
    row: Mapping[str, Any]
    other: Mapping[str, Any]
    """A row that is not there yet."""

    @property
    def is_the_row(self) -> Any:
        """The condition that finds the row by its key."""
        return self._is(self.row)

    @property
    def is_other(self) -> Any:
        return self._is(self.other)

    def _is(self, row: Mapping[str, Any]) -> Any:
        return and_(*(column == row[column.key] for column in self.table.primary_key.columns))

    def stamped(self, about: About) -> list[str]:
        """The columns that hold that fact about a row's owner."""
        return [name for name, fact in self.guard.stamp.items() if fact.about == about]


async def plant(harness: Harness, rows: Rows) -> list[bytes]:
    """Put a row of somebody else into every guarded table: the text that no caller may be shown."""
    stranger = Principal(subject="planted-subject", tenant="planted-tenant")
    metadata, store = harness.serving.app.metadata, harness.serving.system.store
    if metadata is None or store is None:
        return []
    guards = {table: declared(table) for table in metadata.sorted_tables}
    owned = {table: guard for table, guard in guards.items() if isinstance(guard, Guarded)}

    async def put(db: Database) -> None:
        for table in metadata.sorted_tables if owned else ():
            await _put(db, table, _row(table, owned.get(table), stranger, FIRST + 9, rows))

    await store.command(put)
    # A table that belongs to nobody by its columns may be shown: its rule says to whom.
    return [MARK.encode()] if any(guard.stamp for guard in owned.values()) else []


async def _put(db: Database, table: Table, row: Mapping[str, Any]) -> None:
    try:
        await AllRows.of(db).execute(insert(table).values(row))
    except (Conflict, Invalid) as error:
        raise AssertionError(
            f"no row of {table.name} can be made: {error.detail} Say what its rows need: "
            f"access_matrix(app, rows={{{table.name!r}: {{...}}}})"
        ) from error


async def rows_of(harness: Harness, name: str, may: Mapping[type | str, Collection[str]], rows: Rows) -> list[str]:
    """What the rules of table *name* let through that nobody declared."""
    metadata, store = harness.serving.app.metadata, harness.serving.system.store
    assert metadata is not None
    if store is None:
        return []
    table = metadata.tables[name]
    guard = declared(table)
    assert isinstance(guard, Guarded)
    made = {number: _row(table, guard, OWNER, number, rows) for number in (FIRST, FIRST + 1)}
    subject = Subject(table, guard, made[FIRST], made[FIRST + 1])

    async def put(db: Database) -> None:
        tables = metadata.sorted_tables
        for place, one in enumerate(tables):
            rules = declared(one)
            owned = rules if isinstance(rules, Guarded) else None
            # What the row that is not there yet refers to is there already.
            for number in (FIRST, FIRST + 1)[: 2 if place < tables.index(table) else 1]:
                await _put(db, one, _row(one, owned, OWNER, number, rows))

    await store.command(put)
    allowed = set(_by_columns(subject)) | {word for model, words in may.items() if _is(model, table) for word in words}
    wrong = []
    for action, act in ACTIONS.items():
        for who, principal in _callers(guard).items():
            if f"{action} by {who}" not in allowed and await _succeeds(store, act, subject, principal):
                wrong.append(f"  {action} by {who} is let through; declare it in may= if that is meant")
    return wrong


def _callers(guard: Guarded) -> dict[str, Principal]:
    """Everybody as they are, and again with every role and scope that the rules name."""
    named: dict[str, set[str]] = {"role": set(), "scope": set()}
    for rule in (guard.read, guard.insert, guard.change, guard.delete):
        for element in iterate(rule):
            if isinstance(element, Fact) and element.about in named:
                named[element.about] |= set(element.names)
    if not any(named.values()):
        return dict(CALLERS)
    facts = {"roles": frozenset(named["role"]), "scopes": frozenset(named["scope"])}
    grown = {f"{who}{WITH}": replace(one, **facts) for who, one in CALLERS.items() if one.is_authenticated}
    return {**CALLERS, **grown}


def _by_columns(subject: Subject) -> Iterator[str]:
    """What a table's columns of tenant and owner say by themselves."""
    if not subject.stamped("tenant") and not subject.stamped("subject"):
        return
    who = ["its owner"]
    if not subject.stamped("subject"):
        who.append("another owner")
    if not subject.stamped("tenant"):
        # The same person is the same person, whatever tenant the token names.
        who.append("another tenant")
    actions = (action for action in ACTIONS if action != "give away")
    yield from (f"{action} by {one}{with_}" for action in actions for one in who for with_ in ("", WITH))


class _Undone(Exception):
    """Takes back what an action did."""


async def _succeeds(store: Any, act: Act, subject: Subject, principal: Principal) -> bool:
    outcome = []

    async def run(db: Database) -> None:
        outcome.append(await act(db, AllRows.of(db), subject))
        raise _Undone

    try:
        await store.command(run, Context.within("access matrix", CALL_S, principal))
    except (_Undone, Error, Refused):
        return any(outcome)
    return False


# The actions: each tells whether it met the owner's row.


async def _get(db: Database, _: AllRows, on: Subject) -> bool:
    return await db.first(object, select(_key(on)).where(on.is_the_row)) is not None


async def _list(db: Database, _: AllRows, on: Subject) -> bool:
    return on.row[_key(on).key] in await db.all(object, select(_key(on)))


async def _count(db: Database, _: AllRows, on: Subject) -> bool:
    return bool(await db.scalar(select(func.count()).select_from(on.table).where(on.is_the_row)))


async def _aggregate(db: Database, _: AllRows, on: Subject) -> bool:
    return await db.scalar(select(func.min(_key(on))).where(on.is_the_row)) is not None


async def _insert(db: Database, raw: AllRows, on: Subject) -> bool:
    await db.execute(insert(on.table).values(dict(on.other)))
    return await _belongs_to_owner(raw, on, on.is_other)


async def _change(db: Database, _: AllRows, on: Subject) -> bool:
    plain = [column for column in on.table.c if not column.primary_key and column.key not in on.guard.stamp]
    column = plain[0] if plain else _key(on)
    return bool(await db.execute(update(on.table).where(on.is_the_row).values({column.key: on.row[column.key]})))


async def _delete(db: Database, _: AllRows, on: Subject) -> bool:
    return bool(await db.execute(delete(on.table).where(on.is_the_row)))


async def _give_away(db: Database, raw: AllRows, on: Subject) -> bool:
    moved = dict.fromkeys(on.stamped("subject"), "matrix-thief") | dict.fromkeys(on.stamped("tenant"), "matrix-thief")
    if not moved:
        return False
    await db.execute(update(on.table).where(on.is_the_row).values(moved))
    return not await _belongs_to_owner(raw, on, on.is_the_row)


ACTIONS: Mapping[str, Act] = {
    "read": _get,
    "list": _list,
    "count": _count,
    "aggregate": _aggregate,
    "insert": _insert,
    "change": _change,
    "delete": _delete,
    "give away": _give_away,
}


async def _belongs_to_owner(raw: AllRows, on: Subject, condition: Any) -> bool:
    """Whether the row is there, with the owner's name in the columns that say whose it is."""
    owned = [on.table.c[name] == fact.of(OWNER) for name, fact in on.guard.stamp.items()]
    return bool(await raw.scalar(select(func.count()).select_from(on.table).where(condition, *owned)))


def _key(on: Subject) -> Any:
    return next(iter(on.table.primary_key.columns))


def _row(table: Table, guard: Guarded | None, owner: Principal, number: int, rows: Rows) -> dict[str, Any]:
    """A row that belongs to *owner*; what it refers to has the same number."""
    row = {}
    for column in table.c:
        refers = next(iter(column.foreign_keys), None)
        if column.computed is None:
            row[column.key] = value_of(
                refers.column if refers else column, number, MARK if guard is not None and guard.stamp else "matrix-"
            )
    for model, values in rows.items():
        row.update(values if _is(model, table) else {})
    if guard is not None:
        row.update({name: fact.of(owner) for name, fact in guard.stamp.items()})
    return row


def _is(model: type | str, table: Table) -> bool:
    return model == table.name or getattr(model, "__table__", None) is table
