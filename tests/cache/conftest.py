from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from library import TABLES, metadata

from toque.cache.capture import install
from toque.store import Store, open_store
from toque.store.schema import create_missing


@pytest.fixture
async def library(database_url: str) -> AsyncIterator[Store]:
    """The library's tables, with their changes captured."""
    await create_missing(database_url, metadata)
    await install(database_url, TABLES)
    store = open_store(database_url)
    await store.start()
    yield store
    await store.stop()
