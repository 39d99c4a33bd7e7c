"""Caches as their documentation advises, on Redis: read through, and told of a change after the commit.

Each has its protection against many filling at once on, if it has one. Sources: cashews' README ("Simple cache",
`lock=True`), aiocache's guide ("cached"), dogpile.cache's (`get_or_create`, `distributed_lock`), and
django-cacheops' README.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

__all__ = ["PEERS", "Kept", "Read", "Source", "Write"]

TTL_S = 60
"""Longer than a turn: what a cache makes up for by forgetting is not what is measured."""

Read = Callable[[int], Awaitable[int]]
Write = Callable[[int, int], Awaitable[object]]


class Source(NamedTuple):
    """What is cached: the versions of rows."""

    database_url: str
    redis_url: str
    read: Read
    """Queries, and comes back with what it found after up to `fill_delay_s`."""
    write: Write
    """Changes a row, and comes back up to `tell_delay_s` after the commit."""
    fill_delay_s: float
    tell_delay_s: float


class Kept(NamedTuple):
    """The same, read and written through a cache."""

    read: Read
    write: Write


async def cashews(source: Source) -> Kept:
    from cashews import cache

    cache.setup(source.redis_url)

    @cache(ttl=f"{TTL_S}s", key="version:{id}", lock=True)
    async def version(id: int) -> int:
        return await source.read(id)

    return Kept(version, _deleting(source, lambda id: cache.delete(f"version:{id}")))


async def aiocache(source: Source) -> Kept:
    from aiocache import Cache, cached_stampede
    from aiocache.serializers import JsonSerializer

    where = urlsplit(source.redis_url)
    options = {"endpoint": where.hostname, "port": where.port, "serializer": JsonSerializer(), "timeout": 0}

    @cached_stampede(
        lease=1, ttl=TTL_S, cache=Cache.REDIS, key_builder=lambda _function, id: f"version:{id}", **options
    )
    async def version(id: int) -> int:
        return await source.read(id)

    cache = Cache(Cache.REDIS, **options)
    return Kept(version, _deleting(source, lambda id: cache.delete(f"version:{id}")))


async def dogpile(source: Source) -> Kept:
    """It has no asyncio: its calls run in threads, and what it reads in the loop."""
    from dogpile.cache import make_region

    region = make_region().configure(
        "dogpile.cache.redis",
        expiration_time=TTL_S,
        arguments={"url": source.redis_url, "distributed_lock": True, "thread_local_lock": False},
    )
    loop = asyncio.get_running_loop()

    def found(id: int) -> int:
        def create() -> int:
            return asyncio.run_coroutine_threadsafe(source.read(id), loop).result()

        value: int = region.get_or_create(f"version:{id}", create)
        return value

    return Kept(
        lambda id: asyncio.to_thread(found, id),
        _deleting(source, lambda id: asyncio.to_thread(region.delete, f"version:{id}")),
    )


async def cacheops(source: Source) -> Kept:
    """It keeps what Django's ORM asks for, and hears of its `save`: in threads, with the delays around statements."""
    _configure_django(source)
    from django.db import connection, models

    class Dish(models.Model):
        version = models.IntegerField()

        class Meta:
            app_label = "cache"
            managed = False
            db_table = "dish"

    def late(word: str, most_s: float) -> Callable[..., Any]:
        def run(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
            result = execute(sql, *rest)
            if sql.startswith(word):
                time.sleep(random.uniform(0, most_s))
            return result

        return run

    def found(id: int) -> int:
        with connection.execute_wrapper(late("SELECT", source.fill_delay_s)):
            version: int = Dish.objects.get(id=id).version
            return version

    def put(id: int, version: int) -> None:
        dish = Dish.objects.nocache().get(id=id)
        dish.version = version
        with connection.execute_wrapper(late("UPDATE", source.tell_delay_s)):
            dish.save(update_fields=["version"])

    return Kept(lambda id: asyncio.to_thread(found, id), lambda id, version: asyncio.to_thread(put, id, version))


def _configure_django(source: Source) -> None:
    import django
    from django.conf import settings

    where = urlsplit(source.database_url)
    words = {name: values[0] for name, values in parse_qs(where.query).items()}
    settings.configure(
        INSTALLED_APPS=["cacheops", "bench.cache"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": where.path.lstrip("/"),
                "USER": where.username or words.get("user", ""),
                "PASSWORD": where.password or "",
                "HOST": where.hostname or words.get("host", ""),
                "PORT": where.port or words.get("port", ""),
                "CONN_MAX_AGE": None,
            }
        },
        CACHEOPS_REDIS=source.redis_url,
        CACHEOPS={"cache.*": {"ops": "all", "timeout": TTL_S}},
    )
    django.setup()


def _deleting(source: Source, delete: Callable[[int], Awaitable[object]]) -> Write:
    async def write(id: int, version: int) -> None:
        await source.write(id, version)
        await delete(id)

    return write


PEERS = {"cashews": cashews, "aiocache": aiocache, "dogpile": dogpile, "cacheops": cacheops}
