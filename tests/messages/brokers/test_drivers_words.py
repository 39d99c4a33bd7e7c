"""What drivers say by themselves stands in the app's own log, and does not bury it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from toque.contract.errors import Unavailable
from toque.messages.brokers import open_broker


class _Records(logging.Handler):
    """What whoever reads an app's log is told. Not pytest's own, which listens to loggers that hand nothing on, too."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record)


@pytest.fixture
def records() -> Iterator[_Records]:
    records = _Records()
    logging.getLogger().addHandler(records)
    yield records
    logging.getLogger().removeHandler(records)


@pytest.mark.parametrize("scheme", ["kafka", "amqp"])
async def test_a_server_that_is_away_is_not_told_of_at_each_try(scheme: str, records: _Records) -> None:
    """Kafka's driver wrote eighty lines a second to standard error, in no form, and RabbitMQ's a traceback."""
    for _ in range(2):
        with pytest.raises(Unavailable):
            await open_broker(f"{scheme}://127.0.0.1:1").connect(2.0)

    told = [record for record in records.told if "connect" in record.getMessage().lower()]
    assert {record.name for record in told} <= {"toque.brokers"}
    assert len(told) <= 1
