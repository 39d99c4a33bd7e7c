from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from toque.messages.tables import lay_out
from toque.store import Store, open_store


@pytest.fixture
def metadata() -> Any:
    return None


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A started store with Toque's own tables: the same test runs on both databases."""
    await lay_out(database_url)
    store = open_store(database_url)
    await store.start()
    yield store
    await store.stop()
