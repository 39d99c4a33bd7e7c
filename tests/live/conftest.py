from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from shop import BANNED, app

from toque.testing import Harness, running


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Harness]:
    """The shop in memory, once on each database."""
    BANNED.clear()
    async with running(app, database_url="" if database_url.startswith("sqlite") else database_url) as harness:
        yield harness
