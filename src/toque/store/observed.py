"""A transaction that tells of every statement: the store's observer, and whoever watches the call. Without
either there is no such transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from time import time_ns
from typing import Any

from toque.store.database import Database
from toque.store.prepared import Prepared
from toque.store.statement import Statement, StatementObserver
from toque.store.transaction import Build, RestartInSnapshot, Transaction

__all__ = ["database"]


def database(transaction: Transaction, observer: StatementObserver | None) -> Database:
    """What an operation gets: *transaction*, observed if anybody wants to."""
    observers = [] if observer is None else [observer]
    watch = transaction.context.watch
    if watch is not None:
        watch.begin()
        observers.append(watch.hear)
    return Database(_Observed(transaction, observers) if observers else transaction)


class _Observed:
    def __init__(self, transaction: Transaction, observers: Sequence[StatementObserver]) -> None:
        self.plans = transaction.plans
        self.context = transaction.context
        self.after = transaction.after
        self.attached = transaction.attached
        self.is_command = transaction.is_command
        self.announce_more = transaction.announce_more
        self.set_savepoint = transaction.set_savepoint
        self.end_savepoint = transaction.end_savepoint
        self.give_up = transaction.give_up
        self.close = transaction.close
        self._transaction = transaction
        self._observers = observers

    @property
    def has_failed(self) -> bool:
        return self._transaction.has_failed

    async def fetch(self, prepared: Prepared, arguments: Sequence[Any], rows_max: int, build: Build) -> Any:
        # Written out, because most statements pass here: half the price of `_heard`.
        started_ns = time_ns()
        try:
            rows = await self._transaction.fetch(prepared, arguments, rows_max, build)
        except RestartInSnapshot:
            raise
        except BaseException:
            self.tell(prepared, arguments, started_ns, 0)
            raise
        self.tell(prepared, arguments, started_ns, len(rows))
        return rows

    async def execute(self, prepared: Prepared, arguments: Sequence[Any]) -> int:
        with self._heard(prepared, arguments) as heard:
            heard.rows = await self._transaction.execute(prepared, arguments)
        return heard.rows

    async def execute_many(self, prepared: Prepared, rows: Sequence[Sequence[Any]]) -> int:
        with self._heard(prepared, rows) as heard:
            heard.rows = await self._transaction.execute_many(prepared, rows)
        return heard.rows

    async def stream(self, prepared: Prepared, arguments: Sequence[Any], build: Build) -> AsyncIterator[Any]:
        with self._heard(prepared, arguments) as heard:
            async for chunk in self._transaction.stream(prepared, arguments, build):
                heard.rows += len(chunk)
                yield chunk

    def _heard(self, prepared: Prepared, arguments: Sequence[Any]) -> _Heard:
        return _Heard(self, prepared, arguments)

    def tell(self, prepared: Prepared, arguments: Sequence[Any], started_ns: int, rows: int) -> None:
        statement = Statement(prepared.sql, prepared.is_write, arguments, self.context, started_ns, time_ns(), rows)
        for hear in self._observers:
            hear(statement)


class _Heard:
    """One statement, from its start to its end, however it ends."""

    __slots__ = ("_arguments", "_prepared", "_started_ns", "_transaction", "rows")

    def __init__(self, transaction: _Observed, prepared: Prepared, arguments: Sequence[Any]) -> None:
        self.rows = 0
        self._transaction = transaction
        self._prepared = prepared
        self._arguments = arguments

    def __enter__(self) -> _Heard:
        self._started_ns = time_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A statement that only told the query to start again was never run.
        if kind is not RestartInSnapshot:
            self._transaction.tell(self._prepared, self._arguments, self._started_ns, self.rows)
