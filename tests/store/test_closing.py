"""What is attached to a command goes out with its COMMIT: no round trip more, and no value that becomes SQL."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import column, insert, table, text

from toque.contract.errors import Conflict, Error
from toque.store import Store
from toque.store.closing import Insert, Session, literal
from toque.store.database import Database, transaction_of
from toque.store.postgres import PostgresStore

NOTE = Insert(
    ("INSERT INTO note (body, size, at, raw, id, gone)", "($1, $2, $3, $4, $5, $6)"),
    "text, bigint, float8, bytea, uuid, boolean",
    "INSERT INTO note (body, size, at, raw, id, gone) VALUES (?, ?, ?, ?, ?, ?)",
)
NOTHING: tuple[Any, ...] = ("", 0, 0.0, b"", None, None)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
rows = st.tuples(
    st.one_of(texts, st.sampled_from(["'); DROP TABLE note; --", "\\'", "$1", "a'b", "E'\\x27'", "%s", ":n"])),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=True).map(lambda number: number or 0.0),
    st.binary(),
    st.one_of(st.none(), st.uuids()),
    st.one_of(st.none(), st.booleans()),
)


@pytest.fixture
def metadata() -> Any:
    return None


@pytest.fixture
async def notes(store: Store) -> Store:
    raw, id = ("bytea", "uuid") if store.dialect_name == "postgresql" else ("BLOB", "TEXT")

    async def make(database: Database) -> None:
        await database.execute(
            text(
                f"CREATE TABLE note (body text, size bigint, at double precision, raw {raw}, id {id} UNIQUE, gone boolean)"
            )
        )

    await store.command(make)
    return store


async def attach(store: Store, *found: Any, fails: bool = False, reads: bool = False) -> None:
    async def run(database: Database) -> None:
        if reads:
            await database.scalar(text("SELECT 1"))
        for row in found:
            transaction_of(database).attached.append((NOTE, row))
        if fails:
            raise Conflict("no")

    await store.command(run)


async def kept(store: Store) -> list[Any]:
    from toque.store.prepared import Prepared

    async def run(database: Database) -> list[Any]:
        found: list[Any] = await transaction_of(database).fetch(
            Prepared("SELECT body, size, at, raw, id, gone FROM note"), (), 0, list
        )
        return [tuple(row) for row in found]

    return await store.query(run)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(rows, min_size=1, max_size=5, unique_by=lambda row: row[4] or object()))
async def test_values_arrive_as_they_were(notes: Store, found: list[Any]) -> None:
    await notes.command(lambda database: database.execute(text("DELETE FROM note")))

    await attach(notes, *found)

    there = [
        (*row[:4], UUID(str(row[4])) if row[4] else None, row[5] if row[5] is None else bool(row[5]))
        for row in await kept(notes)
    ]
    assert sorted(map(repr, there)) == sorted(map(repr, found))


async def test_it_is_kept_if_the_command_is(notes: Store) -> None:
    with pytest.raises(Conflict):
        await attach(notes, NOTHING, fails=True)
    assert await kept(notes) == []

    await attach(notes, ("a", *NOTHING[1:]), reads=True)

    assert [row[0] for row in await kept(notes)] == ["a"]


async def test_what_cannot_be_kept_fails_the_command(notes: Store) -> None:
    id = UUID(int=7)
    await attach(notes, ("a", 0, 0.0, b"", id, None))

    with pytest.raises(Conflict):
        await attach(notes, ("b", 0, 0.0, b"", None, None), ("c", 0, 0.0, b"", id, None))

    assert [row[0] for row in await kept(notes)] == ["a"]
    await attach(notes, ("d", *NOTHING[1:]))
    assert len(await kept(notes)) == 2


async def test_it_costs_no_round_trip(notes: Store) -> None:
    if not isinstance(notes, PostgresStore):
        pytest.skip("SQLite has no server")
    connection = await notes.pool.take()
    messages: list[str] = []
    connection.add_query_logger(lambda record: messages.append(record.query))
    notes.pool.give(connection)

    async def write(*found: Any) -> list[str]:
        async def run(database: Database) -> None:
            await database.execute(insert(table("note", column("body"))), {"body": "x"})
            transaction_of(database).attached.extend((NOTE, row) for row in found)

        messages.clear()
        await notes.command(run)
        await asyncio.sleep(0)  # asyncpg tells its loggers in the loop's next turn.
        return list(messages)

    plain, attached = await write(), await write(*[NOTHING] * 20)

    assert len(attached) == len(plain) == 3
    assert attached[-1].startswith("INSERT INTO note")
    assert attached[-1].endswith(";COMMIT")


async def test_a_session_is_told_once(notes: Store) -> None:
    if not isinstance(notes, PostgresStore):
        pytest.skip("SQLite has no server")
    said: list[str] = []
    connection = await notes.pool.take()
    connection.add_query_logger(lambda record: said.append(record.query))
    notes.pool.give(connection)

    for body in "abc":
        await attach(notes, (body, *NOTHING[1:]), reads=True)
    await asyncio.sleep(0)

    closings = [text for text in said if text.endswith(";COMMIT")]
    assert [text.startswith("PREPARE toque_1 (text, bigint,") for text in closings] == [True, False, False]
    assert [text.count("EXECUTE toque_1(") for text in closings] == [1, 1, 1]
    assert [row[0] for row in await kept(notes)] == ["a", "b", "c"]


async def test_a_session_is_told_again_what_failed(notes: Store) -> None:
    id = UUID(int=7)
    await attach(notes, ("a", *NOTHING[1:4], id, None), NOTHING)

    with pytest.raises(Conflict):
        await attach(notes, ("b", *NOTHING[1:4], id, None), reads=True)  # Prepared, then refused.
    await attach(notes, ("c", *NOTHING[1:]), reads=True)
    await attach(notes, ("d", *NOTHING[1:]), reads=True)

    assert sorted(row[0] for row in await kept(notes)) == ["", "a", "c", "d"]


async def test_a_session_hears_of_another_table(notes: Store) -> None:
    await attach(notes, ("a", *NOTHING[1:]), reads=True)
    raw = "bytea" if notes.dialect_name == "postgresql" else "BLOB"

    async def remake(database: Database) -> None:
        await database.execute(text("DROP TABLE note"))
        columns = f"id text, gone boolean, at double precision, body text, size text, raw {raw}"
        await database.execute(text(f"CREATE TABLE note ({columns})"))

    await notes.command(remake)
    with suppress(Error):  # An id is a text now, and the statement may say uuid.
        await attach(notes, ("b", *NOTHING[1:]), reads=True)

    await attach(notes, ("c", *NOTHING[1:]), reads=True)

    assert [row[0] for row in await kept(notes)][-1] == "c"


def test_where_nothing_is_kept_all_is_said() -> None:
    rows = [("it's", 1, 0.5, b"", None, True)]

    assert NOTE.sql(rows, Session(keeps=False)) == (
        "INSERT INTO note (body, size, at, raw, id, gone) VALUES "
        "(convert_from(decode('69742773', 'hex'), 'UTF8'), (1), '0.5'::float8, decode('', 'hex'), NULL, TRUE)"
    )


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}])
def test_a_value_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="plain value"):
        literal(value)


def test_a_literal_holds_nothing_that_ends_one() -> None:
    assert literal("a'b\\") == "convert_from(decode('6127625c', 'hex'), 'UTF8')"
    assert literal("plain words") == "'plain words'"
    assert literal(math.inf) == "'inf'::float8"
    assert literal(-1) == "(-1)"
