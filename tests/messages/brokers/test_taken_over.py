"""Two connections that have one name throw each other out: not without pause, and somebody is told."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest

from toque.contract.errors import Unavailable
from toque.messages.brokers.broker import Message, Subscription, open_broker
from toque.testing.servers import Server

SECONDS = 3.0


@pytest.mark.xdist_group("mqtt")
async def test_two_members_of_one_name_pause_between_their_tries(
    mqtt: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "toque.brokers")
    one, other = open_broker(mqtt.url), open_broker(mqtt.url)
    await one.connect()
    await other.connect()
    members = [await broker.subscribe(["twins"], "twins", member="same") for broker in (one, other)]

    await asyncio.sleep(SECONDS)

    losses = [record for record in caplog.records if "its client id, 'twins.same'" in record.getMessage()]
    told = [record for record in losses if record.levelno >= logging.WARNING]
    assert 1 <= len(told) <= len(members)
    # Pauses of 0.05 s, 0.1 s, 0.2 s and so on as a mean: some eight for each. Without them there are hundreds.
    assert len(losses) <= 40

    await members.pop().close()
    await one.publish([Message(id="1", topic="twins", key="", headers={}, body=b"for one of them")])
    assert await _received(members[0]) == ["1"]
    await members[0].close()
    await one.close()
    await other.close()


async def _received(member: Subscription) -> list[str]:
    async with asyncio.timeout(20):
        while True:
            # It may still be between two connections.
            with suppress(Unavailable):
                if found := await member.receive(1, 1.0):
                    return [each.message.id for each in found]
