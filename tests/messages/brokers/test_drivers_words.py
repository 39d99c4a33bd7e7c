"""What drivers say by themselves stands in the app's own log, and does not bury it."""

from __future__ import annotations

import logging

import pytest

from toque.contract.errors import Unavailable
from toque.messages.brokers import open_broker


@pytest.mark.parametrize("scheme", ["kafka", "amqp"])
async def test_a_server_that_is_away_is_not_told_of_at_each_try(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    """Kafka's driver wrote eighty lines a second to standard error, in no form, and RabbitMQ's a traceback."""
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(Unavailable):
                await open_broker(f"{scheme}://127.0.0.1:1").connect(2.0)

    told = [record for record in caplog.records if "connect" in record.getMessage().lower()]
    assert {record.name for record in told} <= {"toque.brokers"}
    assert len(told) <= 1
