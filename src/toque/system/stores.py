"""An app's store: opened as the settings say, and who hears of its statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from toque.contract.complaints import Complaint
from toque.settings import Settings
from toque.store.insight.slow import SlowStatements
from toque.store.insight.statistics import Statistics
from toque.store.sql import Sql

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.store.guard import Guard
    from toque.store.release import Release
    from toque.store.statement import Statement, StatementObserver
    from toque.store.store import Store

__all__ = ["Tables", "ears_of", "guard_of", "store_of", "writes_statistics"]

# Half of what makes a call slow (`log.slow_ms`).
SLOW_MS = 500.0


class Tables(Struct, frozen=True, eq=False):
    """What an app's statements are about, and what they may hold."""

    metadata: MetaData | None
    sql: Sql


def guard_of(tables: Tables | None, wrong: list[Complaint]) -> Guard | None:
    """The rules of *tables*; what is wrong with them joins *wrong*."""
    if tables is None or tables.metadata is None or not tables.metadata.tables:
        return None
    from toque.store import guard

    return guard.guard_of(tables.metadata, tables.sql, wrong)


def store_of(
    settings: Settings,
    url: str,
    release: Release | None,
    guard: Guard | None,
    *,
    ears: Sequence[StatementObserver],
    wrong: list[Complaint],
) -> Store | None:
    """The store at *url*, not started yet; None, and a complaint more, where it cannot be one."""
    from toque.store import open_store

    observers = list(ears)
    if settings.observe.traces:
        from toque.call.spans import statement_observer

        observers.append(statement_observer("sqlite" if url.startswith("sqlite") else "postgresql"))
    database = settings.database
    try:
        return open_store(
            url,
            slots=database.pool_size,
            waiting_max=database.waiting_max,
            observer=_all(observers),
            replicas=[replica.reveal() for replica in database.replicas],
            is_pooled=database.pooler == "transaction",
            release=release,
            guard=guard,
        )
    except ValueError as error:
        wrong.append(Complaint("database.url", str(error), "check TOQUE_DATABASE_URL"))
        return None


def _all(observers: Sequence[StatementObserver]) -> StatementObserver | None:
    """One observer for all of them; None for none, so that nothing is observed."""
    if len(observers) <= 1:
        return observers[0] if observers else None

    def hear(statement: Statement) -> None:
        for observer in observers:
            observer(statement)

    return hear


def ears_of(settings: Settings, url: str) -> Iterator[SlowStatements | Statistics]:
    """Who hears of every statement."""
    database, is_development = settings.database, not settings.is_production
    slow_ms = (SLOW_MS if is_development else 0) if database.slow_ms is None else database.slow_ms
    if slow_ms:
        yield SlowStatements(url, slow_ms, with_values=database.slow_values)
    if settings.folder and writes_statistics(settings):
        yield Statistics(settings.folder)


def writes_statistics(settings: Settings) -> bool:
    """Whether what statements cost and what queries read is kept in files beside the app."""
    wanted, is_development = settings.database.statistics, not settings.is_production
    # An app without a folder of its own is a test's; nobody will ask for advice on it.
    return bool(settings.folder) and (is_development if wanted is None else wanted)
