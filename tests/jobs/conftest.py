from __future__ import annotations

import pytest

from toque.store import Store


@pytest.fixture
def other(log_store: Store) -> Store:
    """A second store on the test's database, for a look from outside."""
    return log_store
