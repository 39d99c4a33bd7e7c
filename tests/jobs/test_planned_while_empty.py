"""A session keeps the plans that it made at night, when the queues were empty, and works by them in the morning."""

from __future__ import annotations

import json
from typing import Any

import pytest
from job_looks import rows

from toque.messages.jobs.floors import Floors
from toque.messages.jobs.own import prepared
from toque.messages.jobs.statements import STATEMENTS
from toque.store import Store
from toque.store.database import transaction_of
from toque.store.prepared import BY_INDEX, Prepared

FULL = 20_000
PAGES_MAX = 1500
"""Twenty rows by their ids, each written and in its indexes; all of the table and one index would be some thousands."""

ID = "00000000-0000-7000-8000-{:012}"
OUTCOME = {"fence": 1, "keep": 0, "pause": 0, "refund": 0, "crash": 0, "error": "", "reason": "tried"}
ENDED = json.dumps([{"id": ID.format(n), **OUTCOME} for n in range(20)])
PLACES = Floors(["food"]).places(["food"])
NAMES = '["kitchen.cook"]'
STATEMENT = STATEMENTS["postgresql"]
ASKED: dict[str, tuple[Prepared, tuple[Any, ...]]] = {
    "claim": (STATEMENT.claim, ("food", 20, 1, NAMES, PLACES)),
    "look": (STATEMENT.look, (PLACES, NAMES, 1, True, 0.0)),
    "done": (STATEMENT.done[0], (ENDED,)),
    "again": (STATEMENT.again[0], (ENDED,)),
    "dead": (STATEMENT.dead[0], (ENDED,)),
    "progress": (STATEMENT.progress[0], (ENDED,)),
    "forget": (STATEMENT.forget[0], (ENDED,)),
}


def only_postgresql(store: Store) -> None:
    if store.dialect_name != "postgresql":
        pytest.skip("SQLite plans anew, or goes by its indexes")


@pytest.mark.parametrize("name", ASKED)
async def test_a_full_table_is_not_read_whole(other: Store, name: str) -> None:
    only_postgresql(other)
    import asyncpg

    statement, arguments = ASKED[name]
    values = ", ".join(f"'{each}'" if isinstance(each, str) else str(each) for each in arguments)
    connection = await asyncpg.connect(other.url.replace("+asyncpg", ""))
    try:
        await connection.execute("VACUUM ANALYZE toque.job")
        for setting in BY_INDEX:
            await connection.execute(f"SET {setting} = off")
        await connection.execute(f"PREPARE asked AS {statement.sql}")
        # The server makes a plan for each of five, and then one for all that come.
        for _ in range(7):
            await connection.execute(f"EXECUTE asked({values})")
        await connection.execute(
            f"""
            INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data, fence, worker)
            SELECT lpad(n::text, 32, '0')::uuid, 'food', 'kitchen.cook', 0, 0, now(), '', '{{}}', '[]', 0, NULL
            FROM generate_series(1, {FULL}) AS n
            UNION ALL SELECT ('{ID.format(0)[:24]}' || lpad(n::text, 12, '0'))::uuid, 'food', 'kitchen.cook', 1, 0, now(),
                '', '{{}}', '[]', 1, 1 FROM generate_series(0, 19) AS n
            """
        )
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked({values})")
    finally:
        await connection.close()

    top = json.loads(explained)[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < PAGES_MAX


@pytest.mark.parametrize("is_write", [True, False])
async def test_its_statements_are_planned_so_and_no_others(other: Store, is_write: bool) -> None:
    only_postgresql(other)
    asked = prepared("SELECT current_setting('enable_seqscan')", is_write=is_write)

    async def run(database: Any) -> str:
        found: list[Any] = await transaction_of(database).fetch(asked, (), 0, list)
        return str(found[0][0])

    assert await (other.command(run) if is_write else other.query(run)) == "off"
    assert await rows(other, "SELECT current_setting('enable_seqscan')") == [("on",)]
