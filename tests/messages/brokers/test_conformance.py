"""All brokers, on real servers, by the suite that third parties run on theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from toque.testing import broker_suite
from toque.testing.servers import Server, private_broker


def _started(name: str) -> Iterator[Server]:
    try:
        server = private_broker(name)
    except FileNotFoundError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must test on every broker: {missing}")
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def nats() -> Iterator[Server]:
    yield from _started("nats")


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[Server]:
    yield from _started("rabbitmq")


@pytest.fixture(scope="module")
def kafka() -> Iterator[Server]:
    yield from _started("kafka")


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    yield from _started("redis")


@pytest.fixture(scope="module")
def mqtt() -> Iterator[Server]:
    yield from _started("mqtt")


# One process of pytest-xdist for each server: they take a while to start.
test_nats = pytest.mark.xdist_group("nats")(broker_suite("nats"))
test_rabbitmq = pytest.mark.xdist_group("rabbitmq")(broker_suite("rabbitmq"))
test_kafka = pytest.mark.xdist_group("kafka")(broker_suite("kafka"))
test_redis = pytest.mark.xdist_group("redis")(broker_suite("redis"))
test_mqtt = pytest.mark.xdist_group("mqtt")(broker_suite("mqtt"))
