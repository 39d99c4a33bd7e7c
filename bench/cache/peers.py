"""Caches as their documentation advises, on Redis: read through, and deleted after the commit.

Each has its protection against many filling at once on. Sources: cashews' README ("Simple cache", `lock=True`),
aiocache's guide ("cached"), dogpile.cache's (`get_or_create`, `distributed_lock`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["PEERS", "Kept", "Read"]

TTL_S = 60
"""Longer than a turn: what a cache makes up for by forgetting is not what is measured."""

Read = Callable[[int], Awaitable[int]]


class Kept(NamedTuple):
    """Something that is read through a cache, and how it is told of a change."""

    read: Read
    delete: Callable[[int], Awaitable[object]]


async def cashews(url: str, read: Read) -> Kept:
    from cashews import cache

    cache.setup(url)

    @cache(ttl=f"{TTL_S}s", key="version:{id}", lock=True)
    async def version(id: int) -> int:
        return await read(id)

    return Kept(version, lambda id: cache.delete(f"version:{id}"))


async def aiocache(url: str, read: Read) -> Kept:
    from aiocache import Cache, cached_stampede
    from aiocache.serializers import JsonSerializer

    where = urlsplit(url)
    options = {"endpoint": where.hostname, "port": where.port, "serializer": JsonSerializer(), "timeout": 0}

    @cached_stampede(
        lease=1, ttl=TTL_S, cache=Cache.REDIS, key_builder=lambda _function, id: f"version:{id}", **options
    )
    async def version(id: int) -> int:
        return await read(id)

    cache = Cache(Cache.REDIS, **options)
    return Kept(version, lambda id: cache.delete(f"version:{id}"))


async def dogpile(url: str, read: Read) -> Kept:
    """It has no asyncio: its calls run in threads, and what it reads in the loop."""
    from dogpile.cache import make_region

    region = make_region().configure(
        "dogpile.cache.redis",
        expiration_time=TTL_S,
        arguments={"url": url, "distributed_lock": True, "thread_local_lock": False},
    )
    loop = asyncio.get_running_loop()

    def found(id: int) -> int:
        def create() -> int:
            return asyncio.run_coroutine_threadsafe(read(id), loop).result()

        value: int = region.get_or_create(f"version:{id}", create)
        return value

    return Kept(lambda id: asyncio.to_thread(found, id), lambda id: asyncio.to_thread(region.delete, f"version:{id}"))


PEERS = {"cashews": cashews, "aiocache": aiocache, "dogpile": dogpile}
