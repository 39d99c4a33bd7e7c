"""Random statements against brute force: the same answer as on a database that holds the caller's rows alone.

The rules are written a second time, in Python (`ORACLE`). A guarded read is compared with the same read, unguarded, on a
copy that has only the rows that these let the caller see. After a guarded write the whole database is compared with
what it was: only rows that these let the caller write may differ, and of those that the statement names all do.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import and_, create_engine, delete, func, insert, not_, or_, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql import visitors
from vault import calling
from vault_models import Diary, Note, Reader, State, VaultModel

from toque.contract.errors import Error
from toque.contract.principal import Principal
from toque.store import AllRows, Store, open_store
from toque.store.guard import Refused, guard_of
from toque.store.sql import Sql

NOTE, READER, DIARY = (model.__table__ for model in (Note, Reader, Diary))
PEOPLE, TENANTS = ("ana", "ben", "eva"), ("north", "south")
CALLERS = [
    *(calling(person, tenant) for person in PEOPLE for tenant in TENANTS),
    calling("ben", "north", roles=frozenset({"editor"})),
    calling("eva", "south", scopes=frozenset({"clean"}), claims={"level": 2}),
    calling("ana"),
    calling(),
]
_chance = random.Random(20)
# With both walls up, what a rule's own subqueries read is held by the second (docs/guides/sensitive-tables.md), so that
# they read nothing here that their caller may not read himself: relations stay within a tenant.
HOME = {n: _chance.choice(TENANTS) for n in range(1, 41)}
DATA: dict[Any, list[dict[str, Any]]] = {
    NOTE: [
        {
            "id": n,
            "tenant": HOME[n],
            "author": _chance.choice(PEOPLE),
            "state": _chance.choice(list(State)),
            "text": f"t{n}",
            "topic_id": None,
            "level": n % 5,
            "parent_id": _chance.choice([None, *(one for one in HOME if HOME[one] == HOME[n])]),
        }
        for n in range(1, 41)
    ],
    READER: [
        {"note_id": n, "subject": person, "tenant": HOME[n]}
        for n in range(1, 41, 3)
        for person in _chance.sample(PEOPLE, 2)
    ],
    DIARY: [
        {"id": n, "owner": _chance.choice(PEOPLE), "page": f"p{n}", "note_id": _chance.randint(1, 40)}
        for n in range(1, 16)
    ],
}


# The rules once more. What a rule's subqueries read is not guarded.


def of_tenant(me: Principal, row: Any) -> bool:
    return bool(me.tenant) and row["tenant"] == me.tenant


def of_owner(me: Principal, row: Any) -> bool:
    return bool(me.subject) and row["owner"] == me.subject


def mine(me: Principal, row: Any) -> bool:
    return bool(me.subject) and row["author"] == me.subject and of_tenant(me, row)


def reads_note(me: Principal, row: Any) -> bool:
    is_reader = any((one["note_id"], one["subject"]) == (row["id"], me.subject) for one in DATA[READER])
    of_mine = any((one["id"], one["author"]) == (row["parent_id"], me.subject) for one in DATA[NOTE])
    return of_tenant(me, row) and (mine(me, row) or row["state"] is State.SHOWN or is_reader or of_mine)


def changes_note(me: Principal, row: Any) -> bool:
    return mine(me, row) or (of_tenant(me, row) and "editor" in me.roles)


def deletes_note(me: Principal, row: Any) -> bool:
    is_cleaner = "clean" in me.scopes and row["level"] < me.claims["level"]
    return mine(me, row) or (of_tenant(me, row) and is_cleaner)


Rule = Callable[[Principal, Any], bool]
ACTIONS = ("read", "insert", "change", "delete")
ORACLE: dict[Any, dict[str, Rule]] = {
    NOTE: {"read": reads_note, "insert": mine, "change": changes_note, "delete": deletes_note},
    READER: dict.fromkeys(ACTIONS, of_tenant),
    DIARY: dict.fromkeys(ACTIONS, of_owner),
}


class Maker:
    """Statements, made at random."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def pick(self, source: Any, *names: str) -> Any:
        return self.chance.choice([column for column in source.c if column.key in names])

    def source(self) -> Any:
        table = self.chance.choice([NOTE, NOTE, READER, DIARY])
        inner = select(*table.c).where(self.condition(table, 1))
        return self.chance.choice([table, table.alias(), inner.cte(), inner.subquery()])

    def condition(self, source: Any, depth: int = 0) -> Any:
        column = self.pick(source, "id", "note_id", "level")
        kind = self.chance.randint(0, 7 if depth < 2 else 2)
        if kind == 0:
            return column > self.chance.randint(0, 30)
        if kind == 1:
            return column.in_([self.chance.randint(1, 40) for _ in range(3)])
        if kind in (2, 3):
            return self.pick(source, "author", "subject", "owner", "page").in_(self.chance.sample(PEOPLE, 2))
        if kind == 4:
            return or_(self.condition(source, depth + 1), self.condition(source, depth + 1))
        if kind == 5:
            return and_(not_(self.condition(source, depth + 1)), self.condition(source, depth + 1))
        inner = self.chance.choice([NOTE, READER, DIARY]).alias()
        key = self.pick(inner, "id", "note_id")
        if kind == 6:
            return column.in_(select(key).where(self.condition(inner, depth + 1)))
        return select(key).where(key == column).exists()

    def read(self) -> Any:
        one, two = self.source(), self.source()
        columns = [one.c[name].label(f"c{n}") for n, name in enumerate(self.chance.sample(list(one.c.keys()), 2))]
        shape = self.chance.randint(0, 6)
        if shape == 0:
            return select(func.count(), func.min(columns[0])).select_from(one).where(self.condition(one))
        if shape == 1:
            group = self.pick(one, "author", "owner", "subject", "tenant")
            return select(group, func.count()).where(self.condition(one)).group_by(group)
        if shape == 2:
            other = two.alias()
            on = self.pick(one, "id", "note_id") == self.pick(other, "id", "note_id")
            joined = one.join(other, on, isouter=self.chance.random() < 0.5)
            return select(*columns, self.pick(other, "id", "note_id").label("c9")).select_from(joined)
        if shape == 3:
            key = self.chance.choice([NOTE, DIARY]).c.id
            limited = select(key).where(self.condition(key.table)).order_by(key)
            return limited.limit(self.chance.randint(1, 9)).offset(self.chance.randint(0, 3))
        if shape == 4:
            first, second = self.pick(one, "id", "note_id"), self.pick(two, "id", "note_id")
            return union_all(select(first).where(self.condition(one)), select(second))
        if shape == 5:
            count = select(func.count()).select_from(NOTE.alias()).scalar_subquery()
            return select(*columns, count.label("c9")).where(self.condition(one))
        return select(*columns).where(self.condition(one)).distinct()

    def write(self, make_insert: Any) -> Any:
        table = self.chance.choice([NOTE, NOTE, READER, DIARY])
        name = {NOTE: "level", READER: "subject", DIARY: "page"}[table]
        value: Any = self.chance.randint(0, 9) if table is NOTE else "new"
        shape = self.chance.randint(0, 5)
        if shape == 0:
            return delete(table).where(self.condition(table))
        if shape == 1:
            return insert(table).values(self.row(table))
        if shape == 2 and table is not READER:
            return (
                make_insert(table)
                .values(self.row(table))
                .on_conflict_do_update(index_elements=["id"], set_={name: value})
            )
        if shape == 3 and table is NOTE:
            return update(NOTE).where(self.condition(NOTE)).values(author=self.chance.choice(PEOPLE))
        if shape == 4 and table is NOTE:
            other = DIARY.alias()
            return update(NOTE).where(NOTE.c.id == other.c.note_id, self.condition(other)).values(level=value)
        return update(table).where(self.condition(table)).values({name: value})

    def row(self, table: Any) -> dict[str, Any]:
        row = dict(self.chance.choice(DATA[table]))
        if self.chance.random() < 0.5:
            row |= {"subject": "new"} if table is READER else {"id": 100}
        if "author" in row:
            row["author"] = self.chance.choice(PEOPLE)
        return row


class Oracle:
    """A guarded store, and for each caller a copy that holds his rows alone."""

    def __init__(self, runner: asyncio.Runner, store: Store) -> None:
        self.runner = runner
        self.store = store
        self.make_insert = (sqlite if store.dialect_name == "sqlite" else postgresql).insert
        self.copies = [_copy(one.caller) for one in CALLERS]

    def read(self, who: int, statement: Any) -> bool:
        async def run(db: Any) -> Any:
            plan, binds = db._plans.plan(statement, None)
            return await db._transaction.fetch(*plan.arguments(binds, None, CALLERS[who].caller), 0, list)

        seen = self.runner.run(self.store.query(run, CALLERS[who]))
        expected = self.copies[who].execute(statement).all()
        assert Counter(map(_plain, seen)) == Counter(map(_plain, expected)), str(statement)
        return bool(seen)

    def write(self, who: int, statement: Any) -> bool:
        changed = 0

        async def run(db: Any) -> None:
            nonlocal changed
            await db.execute(statement)
            after = {table: await _rows(db, table) for table in ORACLE}
            changed = _judge(CALLERS[who].caller, after, str(statement))
            if statement.is_update or (statement.is_delete and not self.is_done_in_part(statement)):
                self.judge_done(who, statement, after[statement.table])
            raise _Undone

        try:
            self.runner.run(self.store.command(run, CALLERS[who]))
        except (_Undone, Error, Refused):
            pass
        return changed > 0

    def is_done_in_part(self, statement: Any) -> bool:
        """Whether SQLite itself leaves rows out: up to 3.40 at least, what a DELETE reads of its own table where another
        condition has been true first is read when rows are gone already."""
        reads = visitors.iterate(and_(*statement._where_criteria))
        return self.store.dialect_name == "sqlite" and any(
            getattr(each, "element", None) is statement.table for each in reads
        )

    def judge_done(self, who: int, statement: Any, after: Any) -> None:
        """Refuse a write that left out a row which it names and the caller may write, as all stood before it."""
        me, table = CALLERS[who].caller, statement.table
        may = ORACLE[table]["delete" if statement.is_delete else "change"]
        old, new = _by_key(table, DATA[table]), _by_key(table, after)
        values = {getattr(key, "key", key): bind.value for key, bind in getattr(statement, "_values", {}).items()}
        for row in self.copies[who].execute(select(*table.primary_key.columns).where(*statement._where_criteria)):
            before = old[tuple(row)]
            is_left_out = new.get(tuple(row)) == before and not (values and values.items() <= before.items())
            assert not (may(me, before) and is_left_out), (str(statement), before)


class _Undone(Exception):
    """Takes a write back."""


def _copy(me: Principal) -> Any:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    VaultModel.metadata.create_all(engine)
    connection = engine.connect()
    for table, rows in DATA.items():
        if seen := [row for row in rows if ORACLE[table]["read"](me, row)]:
            connection.execute(insert(table), seen)
    return connection


def _plain(row: Any) -> tuple[Any, ...]:
    return tuple(value.value if isinstance(value, State) else value for value in row)


async def _rows(db: Any, table: Any) -> list[dict[str, Any]]:
    plan, binds = AllRows.of(db)._plans.plan(select(*table.c), None)
    rows = await db._transaction.fetch(*plan.arguments(binds, None), 0, list)
    found = [dict(zip(table.c.keys(), row, strict=True)) for row in rows]
    return [{**row, "state": State(row["state"])} if "state" in row else row for row in found]


def _judge(me: Principal, after: Any, statement: str) -> int:
    """Refuse what *me* may not have changed; returns how many rows differ."""
    changed = 0
    for table, may in ORACLE.items():
        old, new = _by_key(table, DATA[table]), _by_key(table, after[table])
        for key in old.keys() | new.keys():
            before, now = old.get(key), new.get(key)
            if before == now:
                continue
            changed += 1
            assert before is None or may["read"](me, before), (statement, before)
            if before is None:
                assert may["insert"](me, now), (statement, now)
            elif now is None:
                assert may["delete"](me, before), (statement, before)
            else:
                assert may["change"](me, before), (statement, before)
                assert may["change"](me, now), (statement, now)
    return changed


def _by_key(table: Any, rows: Any) -> dict[Any, Any]:
    return {tuple(row[column.key] for column in table.primary_key.columns): row for row in rows}


@pytest.fixture(params=["compiler", "both"])
def oracle(request: pytest.FixtureRequest, app_url: str, vault_url: str) -> Iterator[Oracle]:
    """The compiler alone (on PostgreSQL as a superuser, whom row level security does not hold), and both walls."""
    with asyncio.Runner() as runner:
        runner.run(_fill(vault_url))
        is_walled = request.param == "both"
        store = open_store(app_url if is_walled else vault_url, guard=guard_of(VaultModel.metadata, Sql(), []))
        if is_walled:
            store.enforce(VaultModel.metadata)
        runner.run(store.start())
        made = Oracle(runner, store)
        yield made
        for copy in made.copies:
            copy.close()
            copy.engine.dispose()
        runner.run(store.stop())


async def _fill(url: str) -> None:
    async def run(db: Any) -> None:
        for table in (DIARY, READER, NOTE):
            await db.execute(delete(table))
        for table, rows in DATA.items():
            await db.execute(insert(table), rows)

    store = open_store(url)
    await store.start()
    await store.command(run)
    await store.stop()


# 2 000 over two databases, with one wall and with both; `make soak` has 100 000 on each database.
@pytest.mark.parametrize("examples", [500, pytest.param(50_000, marks=pytest.mark.soak)])
def test_random_statements_meet_the_callers_rows_alone(oracle: Oracle, examples: int) -> None:
    met = Counter[str]()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**64 - 1))
    def compare(seed: int) -> None:
        chance = random.Random(seed)
        who, maker = chance.randrange(len(CALLERS)), Maker(chance)
        if chance.random() < 0.6:
            met["reads"] += oracle.read(who, maker.read())
        else:
            met["writes"] += oracle.write(who, maker.write(oracle.make_insert))

    compare()
    # What meets nothing proves nothing.
    assert met["reads"] > examples / 10
    assert met["writes"] > examples / 50
