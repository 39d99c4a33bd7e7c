"""PostgreSQL: asyncpg straight into views, a snapshot for a query that needs one, a transaction for a
command."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from toque.call.context import UNCALLED, Context
from toque.contract.errors import Unavailable
from toque.store.dialects import postgresql
from toque.store.observed import database
from toque.store.plans import Plans
from toque.store.pool import Pool
from toque.store.postgres_connection import Connection, connect
from toque.store.postgres_transaction import COMMAND, SINGLE, SNAPSHOT, PostgresTransaction
from toque.store.replicas import STALE_S, Replica, Replicas
from toque.store.snapshot import Snapshots
from toque.store.store import Run, StatementObserver

__all__ = ["PostgresStore", "open_store"]

T = TypeVar("T")


def open_store(
    url: str,
    *,
    slots: int,
    waiting_max: int,
    observer: StatementObserver | None,
    replicas: Sequence[str],
    is_pooled: bool,
) -> PostgresStore:
    return PostgresStore(
        url, slots=slots, waiting_max=waiting_max, observer=observer, replicas=replicas, is_pooled=is_pooled
    )


class PostgresStore:
    """One PostgreSQL database.

    Args:
        url: `postgresql://user:password@host:port/name`; a folder of a Unix socket as `?host=/folder`.
        slots: how many connections at most.
        waiting_max: how many calls may wait for one.
        replicas: addresses of servers that follow this one (see `replicas`); each has *slots* connections too.
        is_pooled: whether a pooler gives each transaction another session (PgBouncer's manual, "Transaction pooling").
    """

    dialect_name = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        slots: int = 10,
        waiting_max: int = 1000,
        observer: StatementObserver | None = None,
        replicas: Sequence[str] = (),
        is_pooled: bool = False,
    ) -> None:
        self.url = url
        self._observer = observer
        self._plans = Plans(postgresql())
        self.pool: Pool[Connection] = Pool(partial(connect, url, is_pooled=is_pooled), slots, waiting_max)
        # A statement without a transaction is asyncpg's two messages, and a pooler may send each to another session.
        self._single = SNAPSHOT if is_pooled else SINGLE
        self._snapshots = Snapshots(self._reading, observer)
        self._on_replica = {
            Replica(pool): Snapshots(partial(self._reading, pool=pool), observer)
            for pool in (
                Pool(partial(connect, address, is_pooled=is_pooled), slots, waiting_max) for address in replicas
            )
        }
        self._replicas = Replicas(self.pool, tuple(self._on_replica), self._ask) if replicas else None

    @property
    def has_replicas(self) -> bool:
        return self._replicas is not None

    async def start(self) -> None:
        # One connection now, so that a wrong address is found before the first call; the others when they are
        # needed.
        await self.ping()

    async def stop(self) -> None:
        if self._replicas is not None:
            await self._replicas.close()
        await self.pool.close()

    async def query(self, run: Run[T], context: Context = UNCALLED) -> T:
        replica = (
            None if self._replicas is None else self._replicas.choose(context.mark.position if context.mark else 0)
        )
        if replica is None:
            return await self._snapshots.query(run, context)
        try:
            return await self._on_replica[replica].query(run, context)
        except Unavailable:
            replica.leave_out()
            # Nothing was written and nobody has heard anything yet, unless it was a stream.
            if context.sink is not None:
                raise
        return await self._snapshots.query(run, context)

    async def command(self, run: Run[T], context: Context = UNCALLED) -> T:
        writing = PostgresTransaction(self.pool, self._plans, context, COMMAND)
        try:
            result = await run(database(writing, self._observer))
            await writing.commit(mark=context.mark if self._replicas is not None else None)
        except BaseException as error:
            await writing.close(error)
            raise
        return result

    async def ping(self) -> None:
        reading = self._reading(UNCALLED, False)
        try:
            await reading.ask("SELECT '1'")
        finally:
            await reading.close(None)

    def _reading(
        self, context: Context, needs_snapshot: bool, pool: Pool[Connection] | None = None
    ) -> PostgresTransaction:
        return PostgresTransaction(
            pool or self.pool, self._plans, context, SNAPSHOT if needs_snapshot else self._single
        )

    async def _ask(self, pool: Pool[Connection], question: str) -> str | None:
        reading = self._reading(UNCALLED, False, pool)
        try:
            async with asyncio.timeout(STALE_S):
                answer: str | None = await reading.ask(question)
        except BaseException as error:
            await reading.close(error)
            raise
        await reading.close(None)
        return answer
