"""A look at PostgreSQL's log, and a read of what is new, cost the same however much was published before."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import pytest

from toque.log.append import slot_of
from toque.log.postgres_reader import _FRESH
from toque.log.probe import EVENTS
from toque.messages.tables import lay_out

PUBLISHED = 20_000
PAGES_MAX = 50  # A few for each of eight parts; all of what is published are 500 and more.

PUBLISH = """
INSERT INTO toque.event (slot, id, type, version, key, headers, data)
SELECT $1::int, gen_random_uuid(), 'shop.Sold', 1, n::text, '{}', '{"number": 1}' FROM generate_series(1, $2::int) AS n
"""
# By some hundred transactions that ended long ago.
PUBLISH_BEFORE = """
INSERT INTO toque.event (slot, xid, id, type, version, key, headers, data)
SELECT $1::int, (3 + n % 500)::text::xid8, gen_random_uuid(), 'shop.Sold', 1, n::text, '{}', '{"number": 1}'
FROM generate_series(1, $2::int) AS n
"""


@pytest.fixture
async def connection(database_url: str) -> Any:
    if not database_url.startswith("postgresql"):
        pytest.skip("SQLite's log is read by position")
    await lay_out(database_url)
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def pages(connection: Any, statement: str, types: str, values: str) -> int:
    """How many pages *statement* reads with a plan for any value, which is what the server comes to keep."""
    await connection.execute("SET plan_cache_mode = force_generic_plan; DEALLOCATE ALL")
    await connection.execute(f"PREPARE asked({types}) AS {statement}")
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) EXECUTE asked({values})")
    plan = "\n".join(row[0] for row in rows).partition("Planning:")[0]
    first = re.search(r"Buffers: shared (?:hit=(\d+))?(?: ?read=(\d+))?", plan)
    assert first is not None, plan
    return sum(int(count) for count in first.groups() if count)


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_a_look_reads_few_pages(connection: Any, is_analyzed: bool) -> None:
    await connection.execute(PUBLISH_BEFORE, slot_of(0), PUBLISHED)
    if is_analyzed:
        await connection.execute("ANALYZE toque.event")
    number = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")

    look = f"SELECT ({EVENTS.postgresql})"

    assert await pages(connection, look, "text, text[]", f"'{number}', '{{}}'") < PAGES_MAX
    assert await pages(connection, look, "text, text[]", f"'{number}', '{{{number},{number}}}'") < PAGES_MAX


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_a_read_of_what_is_new_reads_few_pages(connection: Any, is_analyzed: bool) -> None:
    await connection.execute(PUBLISH_BEFORE, slot_of(0), PUBLISHED)
    if is_analyzed:
        await connection.execute("ANALYZE toque.event")
    number = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    await connection.execute(PUBLISH, slot_of(0), 3)

    read = await pages(connection, _FRESH.sql, "int, bigint, text, text[]", f"256, 0, '{number}', '{{}}'")

    assert read < PAGES_MAX


async def test_a_look_finds_what_was_under_way_and_what_came_after(connection: Any) -> None:
    look = f"SELECT ({EVENTS.postgresql})"
    await connection.execute(PUBLISH, slot_of(0), 5)
    first = str(await connection.fetchval("SELECT max(xid::text::bigint) FROM toque.event"))
    after = str(int(first) + 1)

    assert await connection.fetchval(look, after, []) is None
    assert await connection.fetchval(look, first, []) == 0
    assert await connection.fetchval(look, after, [first]) == 0
    assert await connection.fetchval(look, after, [after, str(int(first) + 7)]) is None
