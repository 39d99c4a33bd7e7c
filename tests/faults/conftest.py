from __future__ import annotations

from collections.abc import Iterator

import pytest

import private_servers
from toque.testing.postgres import PrivatePostgres


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """One that is killed: what it has acknowledged must be on the disk."""
    yield from private_servers.postgres(is_durable=True)
