"""The cache in front, as far as it can be told to forget: one address that takes names in a header."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from toque.contract.errors import Error, Unavailable
from toque.http_client.outgoing import Outgoing
from toque.http_client.target import Target
from toque.settings.tree import Cache, HttpClient

__all__ = ["PurgeTarget", "header_of"]

TIMEOUT_S = 10.0
"""Whoever takes longer is asked again: to forget twice does no harm."""

ANSWER_BYTES_MAX = 64 * 1024
"""Of the answer, which nobody reads."""


def header_of(text: str) -> tuple[str, str]:
    """`Name: value` as a pair. Raises: ValueError where it is none."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not value.strip():
        raise ValueError("a header is written Name: value")
    return name.strip(), value.strip()


class PurgeTarget:
    """What `settings` say. Raises: ValueError where that is no address, or no header."""

    def __init__(self, settings: Cache) -> None:
        self._target = Target.read(settings.purge_url.reveal())
        self._method = settings.purge_method
        self._headers = [header_of(text.reveal()) for text in settings.purge_headers]
        # It stands in our own network, more often than not; nothing else is reached this way.
        self._outgoing = Outgoing(HttpClient(allow=(f"{self._target.host}:{self._target.port}",)))

    async def send(self, names: Sequence[str]) -> None:
        """Have forgotten what bears one of *names*. Raises: Unavailable."""
        headers = [*self._headers, ("surrogate-key", " ".join(names)), ("user-agent", "toque-purge")]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._outgoing.wire.exchange(
                    self._method, self._target, headers, b"", bytes_max=ANSWER_BYTES_MAX, is_cut=True
                )
        except TimeoutError as error:
            raise Unavailable(f"no answer within {TIMEOUT_S:g} s") from error
        except (Error, ValueError) as error:
            raise Unavailable(str(getattr(error, "reason", error))) from error
        if not 200 <= answer.status <= 299:
            raise Unavailable(f"it answers {answer.status}")

    async def close(self) -> None:
        await self._outgoing.stop()
