"""A transaction that tells an observer of every statement. Without an observer there is no such transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from time import time_ns
from typing import Any

from toque.store.database import Database
from toque.store.prepared import Prepared
from toque.store.store import StatementObserver
from toque.store.transaction import Build, Transaction

__all__ = ["database"]


def database(transaction: Transaction, observer: StatementObserver | None) -> Database:
    """What an operation gets: *transaction*, observed if anybody wants to."""
    return Database(transaction if observer is None else _Observed(transaction, observer))


class _Observed:
    def __init__(self, transaction: Transaction, observer: StatementObserver) -> None:
        self.plans = transaction.plans
        self.announce_more = transaction.announce_more
        self._transaction = transaction
        self._observer = observer

    async def fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        started, rows = time_ns(), ()
        try:
            rows = await self._transaction.fetch(prepared, arguments, rows_max, build)
            return rows
        finally:
            self._observer(prepared.sql, started, time_ns(), len(rows))

    async def execute(self, prepared: Prepared, arguments: Sequence[Any]) -> int:
        started, rows = time_ns(), 0
        try:
            rows = await self._transaction.execute(prepared, arguments)
            return rows
        finally:
            self._observer(prepared.sql, started, time_ns(), rows)

    async def execute_many(self, prepared: Prepared, rows: Sequence[Sequence[Any]]) -> int:
        started, affected = time_ns(), 0
        try:
            affected = await self._transaction.execute_many(prepared, rows)
            return affected
        finally:
            self._observer(prepared.sql, started, time_ns(), affected)

    async def stream(
        self, prepared: Prepared, arguments: Sequence[Any], build: Build
    ) -> AsyncIterator[Any]:
        started, rows = time_ns(), 0
        try:
            async for chunk in self._transaction.stream(prepared, arguments, build):
                rows += len(chunk)
                yield chunk
        finally:
            self._observer(prepared.sql, started, time_ns(), rows)
