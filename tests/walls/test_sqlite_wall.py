"""SQLite's wall against whoever may write any SQL, in one statement after the other."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from vault import calling
from vault_models import Diary, Note, State, Topic

import toque.store.sqlite_wall as wall
from toque.contract.errors import Conflict, Forbidden
from toque.store import Store

pytestmark = pytest.mark.parametrize("vault_url", ["sqlite"], indirect=True)

ANA = calling("ana", "north")

REFUSED = [
    "SELECT id FROM main.note",
    "SELECT id FROM MAIN . note",
    'SELECT id FROM "main"."note"',
    "SELECT id FROM [main].note",
    "SELECT id FROM `main`.note",
    "SELECT id FROM 'main'.'note'",
    "SELECT id FROM main/* . */./**/note",
    "SELECT id FROM main--\n.note",
    "WITH note AS (SELECT * FROM main.note) SELECT id FROM note",
    "SELECT sql FROM sqlite_master",
    "SELECT sql FROM sqlite_schema",
    "SELECT sql FROM sqlite_temp_schema",
    "SELECT sql FROM temp.sqlite_master",
    "SELECT name FROM pragma_table_info('note')",
    "PRAGMA recursive_triggers = OFF",
    "PRAGMA writable_schema = ON",
    "ATTACH DATABASE ':memory:' AS other",
    "ATTACH DATABASE '' AS note",
    "VACUUM INTO '/tmp/never-written.db'",
    "CREATE TEMP VIEW spy AS SELECT * FROM note",
    "CREATE TEMP TABLE topic AS SELECT * FROM note",
    "CREATE TEMP TRIGGER spy AFTER INSERT ON note BEGIN SELECT 1; END",
    "CREATE TEMP TRIGGER spy AFTER INSERT ON topic BEGIN SELECT 1; END",
    "CREATE TABLE stolen AS SELECT * FROM note",
    "CREATE VIRTUAL TABLE spy USING dbstat",
    "DROP VIEW note",
    "DROP VIEW temp.note",
    "DROP TABLE note",
    "ALTER TABLE note RENAME TO other",
    "ALTER TABLE topic RENAME TO other",
    "ANALYZE",
    "REINDEX",
    "SELECT load_extension('x')",
]
PAST_THE_TEXT = [
    *(sql for sql in REFUSED if "main" in sql.lower()),
    "WITH sqlite_returning AS (SELECT * FROM main.note) SELECT id FROM sqlite_returning",
    "WITH a AS (SELECT 1), note AS (SELECT * FROM main.note) SELECT id FROM note",
    "SELECT (SELECT max(text) FROM main.note)",
    "SELECT count(*) FROM main.note",
    "SELECT 1 FROM topic WHERE EXISTS (SELECT 1 FROM main.note)",
    "SELECT id FROM note UNION ALL SELECT id FROM main.note",
]


async def attempt(store: Store, sql: str, *, is_command: bool) -> Any:
    async def run(db: Any) -> Any:
        return await db.all(object, text(sql))

    return await (store.command if is_command else store.query)(run, ANA)


@pytest.mark.parametrize("is_command", [False, True])
async def test_what_reaches_past_the_rules_is_refused(walled: Store, is_command: bool) -> None:
    for sql in REFUSED:
        # SQLite itself has words for some of them.
        with pytest.raises((PermissionError, sqlite3.OperationalError)):
            await attempt(walled, sql, is_command=is_command)
        assert await attempt(walled, "SELECT id FROM note", is_command=is_command) == [1, 3, 4, 5]


@pytest.mark.parametrize("is_command", [False, True])
async def test_the_authorizer_holds_where_the_text_says_nothing(
    walled: Store, is_command: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A common table expression that bears the view's name once read everything: SQLite gives its name as the
    reader's."""
    monkeypatch.setattr(wall, "_MAIN", re.compile("(?!)"))
    for sql in PAST_THE_TEXT:
        with pytest.raises(PermissionError):
            await attempt(walled, sql, is_command=is_command)


async def test_a_cte_that_bears_a_tables_name_shows_nothing(walled: Store) -> None:
    with pytest.raises(sqlite3.OperationalError, match="circular"):
        await attempt(walled, "WITH note AS (SELECT * FROM note) SELECT id FROM note", is_command=False)


SUBQUERIES = {
    "set": "UPDATE topic SET title = (SELECT group_concat(id) FROM note)",
    "where": "UPDATE topic SET title = 'hit' WHERE (SELECT count(*) FROM note WHERE tenant = 'south') > 0",
    "from": "UPDATE topic SET title = n.tenant FROM note AS n WHERE n.tenant = 'south'",
    "insert": "INSERT INTO topic (id, title) SELECT id + 100, tenant FROM note WHERE tenant = 'south'",
    "cte": "WITH n AS (SELECT * FROM note) INSERT INTO topic (id, title) SELECT id + 100, tenant FROM n WHERE tenant = 'south'",
    "delete": "DELETE FROM topic WHERE EXISTS (SELECT 1 FROM note WHERE tenant = 'south')",
    "returning": "UPDATE topic SET title = title RETURNING (SELECT count(*) FROM note WHERE tenant = 'south')",
    "own": "UPDATE note SET text = (SELECT coalesce(max(n.text), 'none') FROM note AS n WHERE n.tenant = 'south') WHERE id = 1",
    "own by name": "UPDATE note SET text = (SELECT coalesce(max(text), 'none') FROM note WHERE tenant = 'south') WHERE id = 1",
    "upsert": "INSERT INTO topic (id, title) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET title = (SELECT coalesce(max(tenant), 'none') FROM note WHERE tenant = 'south')",
}


@pytest.mark.parametrize("form", SUBQUERIES)
async def test_a_subquery_of_a_write_sees_the_callers_rows(raw: Store, walled: Store, form: str) -> None:
    answer = await attempt(walled, SUBQUERIES[form], is_command=True)

    async def read(db: Any) -> Any:
        return await db.all(object, select(Topic.title)), await db.scalar(select(Note.text).where(Note.id == 1))

    titles, own = await raw.query(read)
    expected = {"set": ["1,3,4,5"], "upsert": ["none"]}.get(form, ["soup"])
    assert (titles, own) == (expected, "none" if form.startswith("own") else "x")
    assert form != "returning" or answer == [0]


HOSTILE_WRITES: dict[str, tuple[type[Exception], ...]] = {
    "REPLACE INTO diary (id, owner, page) VALUES (2, 'ana', 'stolen')": (Forbidden, Conflict),
    "INSERT OR REPLACE INTO diary (id, owner, page) VALUES (2, 'ana', 'stolen')": (Forbidden, Conflict),
    "UPDATE OR REPLACE diary SET id = 2 WHERE id = 1": (Forbidden, Conflict),
    "UPDATE OR IGNORE diary SET owner = 'ben' WHERE id = 1": (Forbidden,),
    "INSERT OR IGNORE INTO diary (id, owner, page) VALUES (9, 'ben', 'x')": (Forbidden,),
    "UPDATE diary SET owner = 'ana'": (),
    "DELETE FROM diary WHERE id = 2 RETURNING page": (),
    "UPDATE diary SET page = page WHERE id = 2 RETURNING page": (),
    "UPDATE diary SET page = 'x' FROM note WHERE diary.id = 2": (),
    "UPDATE diary AS d SET page = 'x' WHERE d.id = 2": (),
}


@pytest.mark.parametrize("sql", HOSTILE_WRITES)
async def test_no_way_of_writing_takes_or_shows_anothers_row(raw: Store, walled: Store, sql: str) -> None:
    if refused := HOSTILE_WRITES[sql]:
        with pytest.raises(refused):
            await attempt(walled, sql, is_command=True)
    else:
        assert await attempt(walled, sql, is_command=True) == []

    async def read(db: Any) -> Any:
        return await db.scalar(select(Diary.owner).where(Diary.id == 2)), await db.all(str, select(Diary.page))

    assert await raw.query(read) == ("ben", ["dear", "dear"])


async def test_a_key_of_a_sensitive_table_can_be_referred_to(walled: Store) -> None:
    async def write(db: Any) -> Any:
        await db.execute(insert(Diary).values(id=9, owner="ana", page="about 1", note_id=1))
        return await db.all(int, text("UPDATE note SET text = 'new' WHERE id = 1 RETURNING id"))

    assert await walled.command(write, ANA) == [1]

    async def break_it(db: Any) -> Any:
        await db.execute(insert(Diary).values(id=10, owner="ana", page="about nothing", note_id=999))

    with pytest.raises(Conflict):
        await walled.command(break_it, ANA)


async def test_a_read_by_key_still_runs_in_the_loop(walled: Store) -> None:
    from toque.store.sqlite_plan import IN_LOOP

    lanes = []

    async def read(db: Any) -> Any:
        plan, binds = db._transaction.plans.plan(select(Diary.page).where(Diary.id == 1), str)
        prepared, arguments = plan.arguments(binds, None)
        rows = await db._transaction.fetch(prepared, arguments, 0, list)
        lanes.append(prepared.lane)
        return rows

    assert await walled.query(read, ANA) == [("dear",)]
    assert lanes == [IN_LOOP]


async def test_commands_of_one_batch_are_told_apart(raw: Store, walled: Store) -> None:
    """Each statement in the writer's thread is run for the command that has the turn, also when a batch is run again."""

    async def write(subject: str, number: int) -> int:
        async def run(db: Any) -> Any:
            await db.execute(insert(Note).values(id=number, tenant="north", author=subject, state=State.DRAFT))
            if number % 7 == 0:
                # Fails with its whole statement; the others of the batch stay.
                await db.execute(update(Note).where(Note.author == subject).values(tenant="south"))
            return await db.execute(update(Note).values(level=number))

        try:
            return await walled.command(run, calling(subject, "north"))
        except Forbidden:
            return -1

    people = [f"p{n}" for n in range(10)]
    done = await asyncio.gather(*(write(people[n % 10], 100 + n) for n in range(100)))

    async def read(db: Any) -> Any:
        return await db.all(str, select(Note.author).where(Note.id >= 100))

    assert len(await raw.query(read)) == sum(count > 0 for count in done)
    assert -1 in done

    async def levels(db: Any) -> Any:
        return await db.all(int, select(Note.level).where(Note.id < 100))

    assert set(await raw.query(levels)) == {0, 3}
