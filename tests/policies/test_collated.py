"""Columns with a collation of their own are compared with values, and collations that nobody declared are not written."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, cast, insert, literal, select

from toque.store import open_store
from toque.store.guard import Refused, guard_of
from toque.store.rows import SHARED, declare
from toque.store.schema import create_missing
from toque.store.sql import Sql

metadata = MetaData()
word = Table(
    "word",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(20, collation="C").with_variant(String(20, collation="NOCASE"), "sqlite")),
)
declare(word, SHARED)


async def test_a_column_with_a_collation_is_compared_with_a_value(database_url: str) -> None:
    await create_missing(database_url, metadata)
    store = open_store(database_url, guard=guard_of(metadata, Sql(), []))
    await store.start()

    async def written(db: Any) -> None:
        await db.execute(insert(word).values(id=1, text="soup"))

    async def found(db: Any) -> Any:
        return await db.scalar(select(word.c.id).where(word.c.text == "soup"))

    async def cast_to(db: Any, collation: str) -> Any:
        return await db.scalar(select(cast(literal("x"), String(collation=collation))))

    try:
        await store.command(written)
        assert await store.query(found) == 1
        with pytest.raises(Refused, match="cast to String"):
            await store.query(lambda db: cast_to(db, 'C") FROM word --'))
    finally:
        await store.stop()
