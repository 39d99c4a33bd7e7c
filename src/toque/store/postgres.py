"""PostgreSQL: asyncpg straight into views, a snapshot for a query that needs one, a transaction for a
command."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from toque.call.context import UNCALLED, Context
from toque.store.dialects import postgresql
from toque.store.observed import database
from toque.store.plans import Plans
from toque.store.pool import Pool
from toque.store.postgres_connection import Connection, connect
from toque.store.postgres_transaction import COMMAND, SINGLE, SNAPSHOT, PostgresTransaction
from toque.store.snapshot import Snapshots
from toque.store.store import Run, StatementObserver

__all__ = ["PostgresStore", "open_store"]

T = TypeVar("T")


def open_store(url: str, *, slots: int, waiting_max: int, observer: StatementObserver | None) -> PostgresStore:
    return PostgresStore(url, slots=slots, waiting_max=waiting_max, observer=observer)


class PostgresStore:
    """One PostgreSQL database.

    Args:
        url: `postgresql://user:password@host:port/name`; a folder of a Unix socket as `?host=/folder`.
        slots: how many connections at most.
        waiting_max: how many calls may wait for one.
    """

    dialect_name = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        slots: int = 10,
        waiting_max: int = 1000,
        observer: StatementObserver | None = None,
    ) -> None:
        self.url = url
        self._observer = observer
        self._plans = Plans(postgresql())
        self.pool: Pool[Connection] = Pool(partial(connect, url), slots, waiting_max)
        self._snapshots = Snapshots(self._reading, observer)

    async def start(self) -> None:
        # One connection now, so that a wrong address is found before the first call; the others when they are
        # needed.
        await self.ping()

    async def stop(self) -> None:
        await self.pool.close()

    async def query(self, run: Run[T], context: Context = UNCALLED) -> T:
        return await self._snapshots.query(run, context)

    async def command(self, run: Run[T], context: Context = UNCALLED) -> T:
        writing = PostgresTransaction(self.pool, self._plans, context, COMMAND)
        try:
            result = await run(database(writing, self._observer))
            await writing.commit()
        except BaseException as error:
            await writing.close(error)
            raise
        return result

    async def ping(self) -> None:
        reading = self._reading(UNCALLED, False)
        try:
            await reading.ping()
        finally:
            await reading.close(None)

    def _reading(self, context: Context, needs_snapshot: bool) -> PostgresTransaction:
        return PostgresTransaction(self.pool, self._plans, context, SNAPSHOT if needs_snapshot else SINGLE)
