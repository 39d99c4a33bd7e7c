"""Values by name in Redis or Valkey, by redis-py: many in one command, because a command costs as much as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from toque.cache.shared import Lost

__all__ = ["open_level"]

CONNECT_S = 0.25
"""Within a data centre a connection takes a millisecond, with TLS some; who takes longer is as good as gone."""

SOCKETS_MAX = 2
"""One batch is under way at a time; a second is for the moment in which a broken one is let go of."""


def open_level(url: str) -> RedisLevel:
    """The server at *url* (`redis://`, `rediss://`, `valkey://`, `valkeys://`), not connected yet."""
    return RedisLevel(url.replace("valkey", "redis", 1) if url.startswith("valkey") else url)


class RedisLevel:
    """See `Level`."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.name = f"{address.hostname}:{address.port or 6379}"
        self._client = Redis.from_url(
            url,
            max_connections=SOCKETS_MAX,
            protocol=2,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=None,  # Whoever asks has the deadline.
            retry=Retry(NoBackoff(), 0),
        )

    async def get(self, names: Sequence[str]) -> Sequence[bytes | None]:
        try:
            found: Any = await self._client.mget(names)
            return list(found)
        except (RedisError, OSError) as error:
            raise Lost(str(error)) from error

    async def put(self, values: Mapping[str, bytes], seconds: int) -> None:
        try:
            pipeline: Any = self._client.pipeline(transaction=False)
            for name, value in values.items():
                pipeline.set(name, value, ex=seconds)
            # A server without room refuses what it is given and goes on to answer.
            await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise Lost(str(error)) from error

    async def reset(self) -> None:
        # A connection on which something was given up may still bring the answer to that.
        with suppress(RedisError, OSError):
            await self._client.connection_pool.disconnect()

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose()
