"""The servers that tests share: one of each kind for a whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Served, serving


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """apps/kitchen with the settings it comes with."""
    with serving("kitchen", tmp_path_factory.mktemp("kitchen")) as served:
        yield served


@pytest.fixture(scope="session")
def strict_kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """apps/kitchen with little time and little room."""
    settings = {
        "http.body_timeout_s": 1,
        "http.header_timeout_s": 2,
        "http.body_bytes_max": 10_000,
        "calls.threads_max": 2,
        "calls.thread_queue_max": 2,
        "calls.in_flight_max": 20,
    }
    with serving("kitchen", tmp_path_factory.mktemp("strict"), settings=settings) as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
