"""With replicas, the log of changes is looked into where it is: on the primary."""

from __future__ import annotations

import asyncio
from math import inf

from library import TABLES, author, metadata
from sqlalchemy import insert, text

from toque.cache.capture import install
from toque.cache.changes import changes_of
from toque.call.context import Context, Mark
from toque.store import open_store
from toque.store.schema import create_missing
from toque.testing.postgres import PrivatePostgres


async def test_looks_go_to_the_primary_while_queries_go_to_a_replica(postgres: PrivatePostgres) -> None:
    replica = postgres.replica()
    replica.start()
    url = postgres.create_database()
    await create_missing(url, metadata)
    await install(url, TABLES)
    store = open_store(url, replicas=[replica.url(url.partition("?")[0].rpartition("/")[2])])
    await store.start()
    try:
        changes = changes_of(store, TABLES)
        before = await changes.look(None)
        await store.command(lambda db: db.execute(insert(author).values(id=1, name="ann")))
        async with asyncio.timeout(30):
            while not await store.query(
                lambda db: db.scalar(text("SELECT pg_is_in_recovery()")), Context("look", inf, mark=Mark())
            ):
                await asyncio.sleep(0.01)

        assert [change.table for change in (await changes.look(before.snapshot)).changes] == ["author"]
    finally:
        await store.stop()
        replica.stop()
        postgres.drop_database(url)
