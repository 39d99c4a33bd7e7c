"""All brokers, on real servers, by the suite that third parties run on theirs."""

from __future__ import annotations

import pytest

from toque.messages.brokers import Refused, open_broker
from toque.testing import broker_suite
from toque.testing.servers import Server

# One process of pytest-xdist for each server: they take a while to start.
test_nats = pytest.mark.xdist_group("nats")(broker_suite("nats"))
test_rabbitmq = pytest.mark.xdist_group("rabbitmq")(broker_suite("rabbitmq"))
test_kafka = pytest.mark.xdist_group("kafka")(broker_suite("kafka"))
test_redis = pytest.mark.xdist_group("redis")(broker_suite("redis"))
test_mqtt = pytest.mark.xdist_group("mqtt")(broker_suite("mqtt"))


@pytest.mark.xdist_group("rabbitmq")
async def test_a_virtual_host_that_is_not_there_is_named(rabbitmq: Server) -> None:
    broker = open_broker(f"{rabbitmq.url}kitchen")
    with pytest.raises(Refused, match="virtual host 'kitchen'; see that it exists"):
        await broker.connect(10)
