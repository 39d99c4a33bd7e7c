"""One real server of each kind, for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from private_servers import broker
from toque.testing.servers import Server


@pytest.fixture(scope="module")
def nats() -> Iterator[Server]:
    yield from broker("nats")


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[Server]:
    yield from broker("rabbitmq")


@pytest.fixture(scope="module")
def kafka() -> Iterator[Server]:
    yield from broker("kafka")


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    yield from broker("redis")


@pytest.fixture(scope="module")
def mqtt() -> Iterator[Server]:
    yield from broker("mqtt")
