"""Random statements over random tables with random rules and hidden columns, against brute force.

As in `test_oracle.py`: a guarded read answers what the same read answers on a copy that holds the caller's rows alone,
with NULL for what is hidden from him; after a guarded write only what the rules let him write may differ. There the
tables are one vault behind both walls, here the compiler is alone with tables that nobody thought of.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from random_world import CALLERS, INTEGERS, PEOPLE, TENANTS, TEXTS, WORDS, World
from sqlalchemy import (
    and_,
    case,
    create_engine,
    delete,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import StaticPool

from toque.contract.errors import Error
from toque.contract.principal import Principal
from toque.store import AllRows, Store, open_store
from toque.store.guard import Refused, guard_of
from toque.store.schema import create_missing
from toque.store.sql import Sql

STATEMENTS = 100
"""For each world: making one costs as much as thirty statements."""


class Maker:
    """Statements about the tables of a world."""

    def __init__(self, world: World, chance: random.Random, make_insert: Any) -> None:
        self.world = world
        self.chance = chance
        self.make_insert = make_insert

    def table(self) -> Any:
        return self.chance.choice(self.world.tables)

    def number(self, source: Any) -> Any:
        return source.c[self.chance.choice(INTEGERS)]

    def word(self, source: Any) -> Any:
        return source.c[self.chance.choice(TEXTS)]

    def source(self) -> Any:
        table = self.table()
        inner = select(*table.c).where(self.condition(table, 1))
        return self.chance.choice([table, table.alias(), inner.cte(), inner.subquery()])

    def value(self, name: str) -> Any:
        words = {"tenant": TENANTS, "owner": PEOPLE, "t": WORDS}
        return self.chance.choice([*words[name], None]) if name in words else self.chance.choice([None, *range(6)])

    def condition(self, source: Any, depth: int = 0) -> Any:
        chance, kind = self.chance, self.chance.randint(0, 8 if depth < 2 else 3)
        if kind == 0:
            return self.number(source) > chance.randint(0, 6)
        if kind == 1:
            return self.number(source).in_([chance.randint(0, 9) for _ in range(3)])
        if kind == 2:
            return self.word(source).in_(chance.sample([*PEOPLE, *TENANTS, *WORDS], 4))
        if kind == 3:
            return self.chance.choice([self.word(source).is_(None), self.number(source).is_not(None)])
        if kind == 4:
            return or_(self.condition(source, depth + 1), self.condition(source, depth + 1))
        if kind == 5:
            return and_(not_(self.condition(source, depth + 1)), self.condition(source, depth + 1))
        if kind == 6:
            return case((self.condition(source, depth + 1), self.number(source)), else_=literal(3)) > 2
        inner = self.table().alias()
        if kind == 7:
            return self.number(source).in_(select(self.number(inner)).where(self.condition(inner, depth + 1)))
        return select(inner.c.id).where(self.number(inner) == self.number(source)).exists()

    def read(self) -> Any:
        one, two, chance = self.source(), self.source(), self.chance
        columns = [one.c[name].label(f"c{n}") for n, name in enumerate(chance.sample(list(one.c.keys()), 3))]
        shape = chance.randint(0, 8)
        if shape == 0:
            counted = [func.count(), func.count(columns[0]), func.min(self.number(one)), func.sum(self.number(one))]
            return select(*counted).select_from(one).where(self.condition(one))
        if shape == 1:
            group = self.word(one)
            some = func.sum(self.number(one))
            return select(group, func.count(), some).where(self.condition(one)).group_by(group).having(some > 1)
        if shape == 2:
            other = two.alias()
            on = and_(self.number(one) == self.number(other), self.condition(other, 1))
            joined = one.join(other, on, isouter=chance.random() < 0.5)
            return select(*columns, self.word(other).label("c9")).select_from(joined)
        if shape == 3:
            table = self.table()
            limited = select(table.c.id, table.c.a).where(self.condition(table)).order_by(table.c.id)
            return limited.limit(chance.randint(1, 9)).offset(chance.randint(0, 3))
        if shape == 4:
            arms = [select(self.number(each), self.word(each)).where(self.condition(each)) for each in (one, two)]
            return union_all(*arms)
        if shape == 5:
            count = select(func.count(self.number(two))).select_from(two).scalar_subquery()
            return select(*columns, count.label("c9")).where(self.condition(one))
        if shape == 6:
            ranked = func.sum(one.c.id).over(partition_by=self.word(one))
            return select(columns[0], ranked.label("c9")).where(self.condition(one))
        if shape == 7:
            lateral = select(func.max(two.c.id).label("m")).where(self.condition(two, 1)).subquery()
            return select(*columns, lateral.c.m).select_from(one.join(lateral, literal(1) == 1))
        return select(*columns).where(self.condition(one)).distinct()

    def write(self) -> Any:
        table, chance = self.table(), self.chance
        shape = chance.randint(0, 8)
        if shape <= 1:
            return self._returning(delete(table).where(self.condition(table)), table)
        if shape == 2:
            return insert(table).values(self._row(table))
        if shape == 3:
            names = chance.sample(["t", "a", "b", "tenant", "owner"], 2)
            made = self.make_insert(table).values(self._row(table))
            where = self.condition(table) if chance.random() < 0.3 else None
            changes = {name: chance.choice([self.value(name), made.excluded[name]]) for name in names}
            return made.on_conflict_do_update(index_elements=["id"], set_=changes, where=where)
        if shape == 4:
            other = self.table().alias()
            on = table.c.a == self.number(other)
            return update(table).where(on, self.condition(other, 1)).values(self._changes(table))
        if shape == 5:
            source = self.table().alias()
            rows = select(source.c.id + 100, *(source.c[name] for name in ("t", "a", "owner")))
            return insert(table).from_select(["id", "t", "a", "owner"], rows.where(self.condition(source)))
        if shape == 6:
            return update(table).where(table.c.id == chance.randint(1, 9)).values(self._changes(table))
        return self._returning(update(table).where(self.condition(table)).values(self._changes(table)), table)

    def _returning(self, statement: Any, table: Any) -> Any:
        return statement.returning(*table.c) if self.chance.random() < 0.3 else statement

    def _changes(self, table: Any) -> dict[str, Any]:
        names = self.chance.sample(["t", "a", "b", "tenant", "owner"], self.chance.randint(1, 2))
        return {
            name: self.chance.choice([self.value(name), self.value(name), self._computed(table, name)])
            for name in names
        }

    def _computed(self, table: Any, name: str) -> Any:
        return self.number(table) + 1 if name in INTEGERS else self.word(table)

    def _row(self, table: Any) -> dict[str, Any]:
        row = self.world.row(self.chance.choice([100, self.chance.randint(1, 12)]))
        dropped = self.chance.sample(["t", "a", "b", "tenant", "owner"], self.chance.randint(0, 4))
        return {name: value for name, value in row.items() if name not in dropped}


class Judge:
    """A guarded store of one world, and for each caller a copy that holds his rows alone."""

    def __init__(self, runner: asyncio.Runner, store: Store, world: World) -> None:
        self.runner = runner
        self.store = store
        self.world = world
        self.copies = [_copy(world, one.caller) for one in CALLERS]

    def read(self, who: int, statement: Any) -> bool:
        seen = self.runner.run(self.store.query(lambda db: _fetch(db, statement, who), CALLERS[who]))
        expected = self.copies[who].execute(statement).all()
        assert Counter(map(tuple, seen)) == Counter(map(tuple, expected)), (CALLERS[who].caller, str(statement))
        return bool(seen)

    def write(self, who: int, statement: Any) -> bool:
        me, changed = CALLERS[who].caller, 0

        async def run(db: Any) -> None:
            nonlocal changed
            if statement._returning:
                self._judge_returned(me, statement, await _fetch(db, statement, who))
            else:
                await db.execute(statement)
            for table in self.world.tables:
                rows = await _fetch(AllRows.of(db), select(*table.c), who)
                after = {row[0]: dict(zip(table.c.keys(), row, strict=True)) for row in rows}
                changed += self._judge(table, me, after, str(statement))
            raise _Undone

        try:
            self.runner.run(self.store.command(run, CALLERS[who]))
        except (_Undone, Error, Refused):
            pass
        return changed > 0

    def _judge_returned(self, me: Principal, statement: Any, rows: Any) -> None:
        """What a write returns of rows is what their reader sees of them, before or after."""
        table = statement.table
        before = {row["id"]: row for row in self.world.data[table]}
        for row in rows:
            now = dict(zip(table.c.keys(), row, strict=True))
            assert self.world.may(table, "read", before[now["id"]], me), (me, str(statement), now)
            for name in self.world.hidden[table]:
                # Masked by the rule about the row as it was or as it is, whichever the database shows.
                states = (before[now["id"]], {**before[now["id"]], **now})
                may = any(self.world.may_set(table, name, state, me) for state in states)
                assert now[name] is None or may, (me, str(statement), name, now)

    def _judge(self, table: Any, me: Principal, after: Any, statement: str) -> int:
        """Refuse what *me* may not have changed; returns how many rows differ."""
        world, changed = self.world, 0
        old = {row["id"]: row for row in world.data[table]}
        for key in old.keys() | after.keys():
            before, now = old.get(key), after.get(key)
            if before == now:
                continue
            changed += 1
            said = (me, statement, before, now)
            assert before is None or world.may(table, "read", before, me), said
            if before is None:
                assert world.may(table, "insert", now, me), said
                set_now = [name for name in now if now[name] is not None]
                assert all(world.may_set(table, name, now, me) for name in set_now), said
            elif now is None:
                assert world.may(table, "delete", before, me), said
            else:
                assert world.may(table, "change", before, me), said
                assert world.may(table, "change", now, me), said
                names = [name for name in now if now[name] != before[name]]
                assert all(world.may_set(table, name, row, me) for name in names for row in (before, now)), said
                assert world.stamps[table].keys().isdisjoint(names), said
        return changed

    def close(self) -> None:
        for copy in self.copies:
            copy.close()
            copy.engine.dispose()


class _Undone(Exception):
    """Takes a write back."""


def _copy(world: World, me: Principal) -> Any:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    world.metadata.create_all(engine)
    connection = engine.connect()
    for table in world.tables:
        if seen := world.visible(table, me):
            connection.execute(insert(table), seen)
    return connection


async def _fetch(db: Any, statement: Any, who: int) -> Any:
    plan, binds = db._plans.plan(statement, None)
    return await db._transaction.fetch(*plan.arguments(binds, None, CALLERS[who].caller), 0, list)


@contextmanager
def judging(url: str, seed: int) -> Iterator[Judge]:
    world = World(seed, f"w{seed}")
    with asyncio.Runner() as runner:
        runner.run(create_missing(url, world.metadata))
        guard = guard_of(world.metadata, Sql(), wrong := [])
        assert not wrong
        store = open_store(url, guard=guard, slots=1)
        runner.run(store.start())
        try:
            runner.run(store.command(lambda db: _fill(AllRows.of(db), world)))
            judge = Judge(runner, store, world)
            yield judge
            judge.close()
        finally:
            runner.run(store.stop())


async def _fill(db: Any, world: World) -> None:
    for table in world.tables:
        await db.execute(insert(table), world.data[table])


@pytest.mark.parametrize("worlds", [5, pytest.param(250, marks=pytest.mark.soak)])
def test_statements_over_tables_that_nobody_thought_of(database_url: str, worlds: int) -> None:
    first = random.randrange(2**31)
    met = Counter[str]()
    for seed in range(first, first + worlds):
        with judging(database_url, seed) as judge:
            run(judge, seed, met)
        print(f"world {seed} held", flush=True)

    # What meets nothing proves nothing. Five worlds in a row may have rules that let hardly any write through.
    assert met["reads"] > worlds * STATEMENTS / 20
    assert met["writes"] > worlds / 5


def run(judge: Judge, seed: int, met: Counter[str]) -> None:
    make_insert = (sqlite if judge.store.dialect_name == "sqlite" else postgresql).insert
    for number in range(STATEMENTS):
        chance = random.Random(f"{seed}/{number}")
        who, maker = chance.randrange(len(CALLERS)), Maker(judge.world, chance, make_insert)
        try:
            if chance.random() < 0.6:
                met["reads"] += judge.read(who, maker.read())
            else:
                met["writes"] += judge.write(who, maker.write())
        except BaseException as error:
            error.add_note(f"world {seed}, statement {number}")
            raise
