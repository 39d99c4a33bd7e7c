"""A transaction that tells an observer of every statement. Without an observer there is no such
transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from time import time_ns
from typing import Any

from toque.store.database import Database
from toque.store.prepared import Prepared
from toque.store.store import StatementObserver
from toque.store.transaction import Build, RestartInSnapshot, Transaction

__all__ = ["database"]


def database(transaction: Transaction, observer: StatementObserver | None) -> Database:
    """What an operation gets: *transaction*, observed if anybody wants to."""
    return Database(transaction if observer is None else _Observed(transaction, observer))


class _Observed:
    def __init__(self, transaction: Transaction, observer: StatementObserver) -> None:
        self.plans = transaction.plans
        self.context = transaction.context
        self.after = transaction.after
        self.is_command = transaction.is_command
        self.announce_more = transaction.announce_more
        self.set_savepoint = transaction.set_savepoint
        self.end_savepoint = transaction.end_savepoint
        self.give_up = transaction.give_up
        self._transaction = transaction
        self._observer = observer

    @property
    def has_failed(self) -> bool:
        return self._transaction.has_failed

    async def fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        with self._heard(prepared) as heard:
            rows = await self._transaction.fetch(prepared, arguments, rows_max, build)
            heard.rows = len(rows)
        return rows

    async def execute(self, prepared: Prepared, arguments: Sequence[Any]) -> int:
        with self._heard(prepared) as heard:
            heard.rows = await self._transaction.execute(prepared, arguments)
        return heard.rows

    async def execute_many(self, prepared: Prepared, rows: Sequence[Sequence[Any]]) -> int:
        with self._heard(prepared) as heard:
            heard.rows = await self._transaction.execute_many(prepared, rows)
        return heard.rows

    async def stream(self, prepared: Prepared, arguments: Sequence[Any], build: Build) -> AsyncIterator[Any]:
        with self._heard(prepared) as heard:
            async for chunk in self._transaction.stream(prepared, arguments, build):
                heard.rows += len(chunk)
                yield chunk

    def _heard(self, prepared: Prepared) -> _Heard:
        return _Heard(self._observer, prepared.sql)


class _Heard:
    """One statement, from its start to its end, however it ends."""

    def __init__(self, observer: StatementObserver, sql: str) -> None:
        self.rows = 0
        self._observer = observer
        self._sql = sql

    def __enter__(self) -> _Heard:
        self._started = time_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A statement that only told the query to start again was never run.
        if kind is not RestartInSnapshot:
            self._observer(self._sql, self._started, time_ns(), self.rows)
