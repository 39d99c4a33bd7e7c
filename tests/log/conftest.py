from __future__ import annotations

import pytest

from toque.store import Store


@pytest.fixture
def store(log_store: Store) -> Store:
    return log_store
