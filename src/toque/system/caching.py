"""Which queries are answered from memory, and why the others are not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from msgspec import inspect

from toque.call.context import Context
from toque.call.resources import Pantry
from toque.codecs.file import takes_upload
from toque.contract import schema
from toque.contract.access import Access
from toque.contract.complaints import Complaint
from toque.contract.freshness import STRICT, Freshness
from toque.contract.nodes import holds, holds_carried, nodes_of
from toque.contract.operation import Kind, Operation
from toque.contract.principal import Principal
from toque.contract.signature import Place, Signature
from toque.settings import Cache as CacheSettings
from toque.settings import Settings
from toque.store.database import AllRows, Database
from toque.system.stores import writes_statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import MetaData, Table

    from toque.cache.cache import Cache
    from toque.cache.front import Front
    from toque.cache.live import Live
    from toque.cache.policy import CachedQuery
    from toque.cache.purging import Purging
    from toque.cache.runner import Runner
    from toque.cache.shared import Shared
    from toque.log.tail import Tail
    from toque.store.store import Store

__all__ = ["cache_of", "cached_query", "captured_tables", "live_of", "problems_of_caching", "why_uncached"]

log = logging.getLogger("toque.cache")

KNOWN = frozenset({Database, Principal})
"""What an operation may ask for so that all that its answer depends on is known."""


def why_uncached(operation: Operation, signature: Signature, pantry: Pantry, settings: Settings) -> str:
    """Why *operation* always runs; empty where it is answered from memory."""
    return next(_reasons(operation, signature, pantry, settings), "")


def _reasons(operation: Operation, signature: Signature, pantry: Pantry, settings: Settings) -> Iterator[str]:
    asks_for = pantry.closure(tp for _, tp in signature.resources)
    if operation.kind is not Kind.QUERY:
        yield "it is no query"
    if not settings.cache.bytes_max:
        yield "cache.bytes_max is 0"
    if settings.database.pooler != "none" and not settings.database.direct_url:
        yield "database.direct_url is not set, and through a pooler no change is heard of"
    if not operation.is_cached:
        yield "cached=False"
    if asks_for.isdisjoint((Database, AllRows)) and operation.reads is None:
        yield "it asks for no Database"
    if signature.is_stream or takes_upload(signature):
        yield "it is a stream"
    if signature.output is None:
        yield "it answers nothing"
    elif schema.plain_type(signature.output) is bytes or holds(signature.output, inspect.RawType):
        yield "it answers bytes as they are"
    for found in signature.inputs:
        if holds_carried(found.type) or holds(found.type, inspect.AnyType, inspect.CustomType, inspect.RawType):
            yield f"its input {found.name} may be anything, so no two can be told apart"
    if operation.reads is None:
        for tp in sorted(asks_for - KNOWN, key=lambda tp: tp.__name__):
            yield f"it asks for {tp.__name__}"
        from toque.cache.purity import why_impure

        yield from filter(None, [why_impure(_code_of(operation, signature))])


def _code_of(operation: Operation, signature: Signature) -> Iterator[Any]:
    """What runs for an operation: its function, and the classes of what goes in and comes out."""
    yield operation.function
    for tp in (*(found.type for found in signature.inputs), signature.output):
        for node in nodes_of(tp, in_models=True):
            cls = getattr(node, "cls", None)
            if isinstance(cls, type):
                yield cls


def captured_tables(metadata: MetaData | None) -> Sequence[Table]:
    """The tables of an app whose changes are captured: all that are its own."""
    from toque.store.replies import TABLE

    return [] if metadata is None else [table for table in metadata.sorted_tables if table.name != TABLE]


def cache_of(
    store: Store,
    tables: Sequence[Table],
    settings: Settings,
    tail: Tail | None,
    *,
    starts_tail: bool,
    operations: Sequence[Operation],
) -> Cache:
    """The cache of *store* in this process, not started yet."""
    from toque.cache.cache import Cache

    return Cache(
        store,
        tables,
        bytes_max=settings.cache.bytes_max,
        bound_s=settings.cache.bound_s,
        verify_share=settings.cache.verify_share or 0.0,
        tail=tail,
        starts_tail=starts_tail,
        folder=settings.folder if writes_statistics(settings) else None,
        share=partial(_shared, settings, operations) if settings.cache.shared_url else None,
        purge=partial(_purging, settings, store, tables, tail, operations) if settings.cache.purge_url else None,
    )


def live_of(cache: Cache, store: Store, settings: Settings) -> Live:
    """Who follows what *cache* keeps."""
    from toque.cache.live import Live

    readers = store.waiting(Kind.QUERY)
    return Live(cache, settings.live, settings.database.pool_size if readers is None else readers.slots)


def problems_of_caching(settings: Settings, store: Store) -> Iterator[Complaint]:
    """What keeps answers from being shared, and the cache in front from being told."""
    if settings.cache.shared_url and store.dialect_name == "sqlite":
        yield Complaint(
            "cache.shared_url",
            "on SQLite no other machine has answers to share",
            "leave it out, or use PostgreSQL (database.url)",
        )
    if settings.cache.shared_url and find_spec("redis") is None:
        yield Complaint("cache.shared_url", "redis-py is not installed", "pip install 'toque[redis]'")
    if settings.cache.purge_url:
        from toque.cache.purge_target import PurgeTarget

        try:
            PurgeTarget(settings.cache)
        except ValueError as error:
            yield Complaint("cache.purge_url", str(error), "see docs/guides/caching.md")
        if find_spec("httpcore2") is None:
            yield Complaint("cache.purge_url", "httpcore2 is not installed", "pip install 'toque[http]'")


def _purging(
    settings: Settings, store: Store, tables: Sequence[Table], tail: Tail | None, operations: Sequence[Operation]
) -> Purging:
    """What tells the cache in front."""
    from toque.cache.changes import changes_of
    from toque.cache.keys import keys_of
    from toque.cache.purge_target import PurgeTarget
    from toque.cache.purging import Purging

    longest_s = max([settings.calls.deadline_s, *(each.deadline_s or 0.0 for each in operations)])
    told = {table.fullname: keys_of(table, store.dialect_name).keys() for table in tables}
    again_s = longest_s + settings.cache.bound_s
    return Purging(changes_of(store, tables), told, PurgeTarget(settings.cache), again_s, tail)


def _front(cache_settings: CacheSettings, operation: Operation) -> Front:
    from toque.cache.front import Front

    edge_s = cache_settings.edge_s if cache_settings.purge_url else None
    return Front(edge_s, operation.stale_while_revalidate_s, operation.stale_if_error_s)


def _shared(settings: Settings, operations: Sequence[Operation], runner: Runner) -> Shared | None:
    """What processes of this release share; None where nobody can tell which release it is."""
    from toque.cache.origin import Untold, release_of
    from toque.cache.shared import Shared
    from toque.cache.shared_redis import open_level

    try:
        release = release_of(operation.function for operation in operations)
    except Untold as why:
        log.warning("answers are not shared, because releases cannot be told apart: %s", why)
        return None
    return Shared(open_level(settings.cache.shared_url.reveal()), runner, release, settings.cache.shared_from_s)


def cached_query(
    cache: Cache,
    operation: Operation,
    signature: Signature,
    pantry: Pantry,
    shape: Callable[[Any], Any] | None,
    *,
    settings: CacheSettings,
) -> CachedQuery:
    """*operation* as *cache* answers it."""
    from toque.cache.front import Front
    from toque.cache.policy import CachedQuery

    asks_for = pantry.closure(tp for _, tp in signature.resources)
    # Caches on the way know a request by its URL and headers (RFC 9111, 2), and so does `transports/repeats.py`.
    has_body = bool(signature.places(Place.BODY, Place.MEMBER))
    is_open = isinstance(operation.allow, Access) and not operation.allow.needs_principal
    query = cache.queries[operation.name] = CachedQuery(
        cache,
        operation.name,
        signature.output,
        shape,
        _freshness(operation),
        inputs=[found.type for found in signature.inputs],
        # What else is asked for may know him, if the author vouches for it.
        is_about_caller=Principal in asks_for or Context in asks_for or bool(asks_for - KNOWN),
        is_public=is_open and not has_body,
        reads=None if operation.reads is None else _tables(operation.reads),
        front=Front() if has_body else _front(settings, operation),
    )
    return query


def _freshness(operation: Operation) -> Freshness:
    if operation.freshness == "strict":
        return STRICT
    return Freshness() if isinstance(operation.freshness, str | None) else Freshness(float(operation.freshness))


def _tables(models: Sequence[Any]) -> list[str]:
    return sorted({table.fullname for model in models for table in model.__mapper__.tables})
