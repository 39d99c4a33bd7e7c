"""The oracle: whenever a write changes a select's answer, what the select has read overlaps what was captured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from library import PEOPLE, TABLES, metadata, row_for
from random_sql import Selects, write
from sqlalchemy import insert

from toque.cache.changes import changes_of
from toque.cache.read_sets import Readings
from toque.contract.errors import Error
from toque.contract.principal import Principal
from toque.store import Store
from toque.store.database import Database, transaction_of
from toque.store.guard import guard_of
from toque.store.plans import Plans
from toque.store.sql import Sql

CASES = 400
TOGETHER = 12
"""Selects that are watched at a time."""
WRITES = 8


class Watched:
    """A select, its caller, and what it answered last."""

    def __init__(self, statement: Any, principal: Principal, plans: Plans, readings: Readings) -> None:
        self.statement = statement
        self.principal = principal
        self.plan, self.binds = plans.plan(statement, None)
        self.reading = readings.of(self.plan)
        self.read_set = self.reading.read_set(self.binds, None, principal)
        self.answer: list[Any] = []

    async def ask(self, db: Database) -> list[Any]:
        prepared, arguments = self.plan.arguments(self.binds, None, self.principal)
        rows = await transaction_of(db).fetch(prepared, arguments, 0, list)
        return sorted((tuple(row) for row in rows), key=repr)


class Tally:
    """How often a read set said that an answer might have changed, and how often it had."""

    def __init__(self) -> None:
        self.changed = self.dropped = self.by_table = self.asked = 0

    @property
    def precision(self) -> float:
        return self.changed / max(self.dropped, 1)

    @property
    def precision_by_table(self) -> float:
        return self.changed / max(self.by_table, 1)


async def watch(store: Store, choose: Any, cases: int) -> Tally:
    """Watch *cases* random selects through random writes. Fails where an answer changed unnoticed."""
    tally = Tally()
    plans = Plans(store._plans.dialect, guard_of(metadata, Sql(), []))
    readings = {id(kind): Readings(kind) for kind in (plans, plans.guarded)}
    for table in TABLES:
        for _ in range(20):
            values = {**row_for(table, choose), **({"boss_id": None} if table.name == "author" else {})}
            await _try(store, insert(table).values(**values))
    for _ in range(cases // TOGETHER):
        watched = []
        for _ in range(TOGETHER):
            kind = plans if choose(3) == 0 else plans.guarded
            watched.append(Watched(Selects(choose).one(), PEOPLE[choose(len(PEOPLE))], kind, readings[id(kind)]))
        await _watch_together(store, watched, choose, tally)
    return tally


async def _watch_together(store: Store, watched: Sequence[Watched], choose: Any, tally: Tally) -> None:
    async def look(db: Database) -> list[Any]:
        return [await each.ask(db) for each in watched]

    log = changes_of(store, TABLES)
    seen, answers = await log.look(None), await store.query(look)
    for _ in range(WRITES):
        for _ in range(6):
            if await _try(store, write(choose)):
                break
        known, answers = answers, await store.query(look)
        seen = await log.look(seen.snapshot)
        changes = seen.changes
        for each, old, new in zip(watched, known, answers, strict=True):
            assert each.reading.untrackable == (), each.statement
            is_dropped = any(each.read_set.overlaps(change) for change in changes)
            assert is_dropped or old == new, f"{each.statement}\n{each.read_set.predicates}\n{changes}\n{old}\n{new}"
            tally.asked += 1
            tally.changed += old != new
            tally.dropped += is_dropped
            tally.by_table += any(change.table in each.reading.tables for change in changes)


async def _try(store: Store, statement: Any) -> int:
    """Run a write, if the constraints of the tables allow it: the number of rows."""
    with suppress(Error):
        return await store.command(lambda db: db.execute(statement))
    return 0


async def test_no_answer_changes_unnoticed(library: Store) -> None:
    tally = await watch(library, Random(5).randrange, CASES)

    print(vars(tally), tally.precision, tally.precision_by_table)
    assert tally.changed > 100, "answers change at all"
    assert tally.precision > 1.2 * tally.precision_by_table


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
async def test_no_answer_changes_unnoticed_in_very_many_cases(library: Store, seed: int) -> None:
    await watch(library, Random(seed).randrange, 3000)
