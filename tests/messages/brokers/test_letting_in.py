"""A server that does not let the app in, or not do all, is told as that: at once, and with its own reason."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from toque.contract.errors import Unavailable
from toque.messages.brokers import Message, Refused, open_broker
from toque.testing.servers import Server
from toque.testing.servers.nats import NatsServer


class GuardedNats(NatsServer):
    """Lets nobody in without a password, and one only look."""

    def command(self) -> Sequence[str | Path]:
        program, flag, configuration = super().command()
        guard = """
        authorization { users = [
            { user: owner, password: right }
            { user: guest, password: right, permissions: { publish: ["$JS.API.>"], subscribe: ["_INBOX.>"] } }
        ] }
        """
        with Path(configuration).open("a") as file:
            file.write(guard)
        return [program, flag, configuration]

    def url_of(self, user: str, password: str) -> str:
        return f"nats://{user}:{password}@127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedNats]:
    server = GuardedNats()
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def test_a_wrong_password_is_a_refusal_and_is_not_told(guarded: GuardedNats) -> None:
    """It was a server that cannot be reached, after five seconds."""
    with pytest.raises(Refused, match="does not let the app in") as refused:
        await open_broker(guarded.url_of("owner", "secret")).connect()

    assert "secret" not in str(refused.value)


async def test_what_is_not_permitted_is_said(guarded: GuardedNats, caplog: pytest.LogCaptureFixture) -> None:
    """The server answers such a message with silence, and says why beside it: ten seconds, and no reason."""
    owner, guest = (open_broker(guarded.url_of(user, "right")) for user in ("owner", "guest"))
    await owner.connect()  # It makes the stream.
    await guest.connect()
    try:
        with caplog.at_level(logging.WARNING), pytest.raises(Unavailable, match="lost before the answer"):
            await guest.publish([Message("1", "menu", body=b"{}")])
    finally:
        await guest.close()
        await owner.close()

    assert "permissions violation for publish to" in caplog.text.lower()


async def test_a_user_who_may_not_write_is_told_so_and_keeps_the_connection(
    redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Each try was said to have lost the connection, which was made anew."""
    async with Redis.from_url(redis.url) as owner:
        await owner.execute_command("ACL", "SETUSER", "guest", "on", ">right", "~*", "+@all", "-xadd")
    guest = open_broker(redis.url.replace("//", "//guest:right@"))
    await guest.connect()
    try:
        with caplog.at_level(logging.INFO):
            for _ in range(3):
                with pytest.raises(Unavailable, match="no permissions to run the 'xadd' command"):
                    await guest.publish([Message("1", "menu", body=b"{}")])
        await guest.ping()
    finally:
        await guest.close()

    assert "is lost" not in caplog.text
