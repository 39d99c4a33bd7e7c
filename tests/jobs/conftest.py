from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from toque.messages.tables import lay_out
from toque.store import Store, open_store


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Store]:
    """A second store on the test's database, for a look from outside."""
    await lay_out(database_url)
    store = open_store(database_url)
    await store.start()
    yield store
    await store.stop()
