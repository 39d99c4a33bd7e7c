"""PostgreSQL: asyncpg straight into views, a snapshot for a query that needs one, a transaction for a
command."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from toque.call.context import UNCALLED, Context
from toque.call.waiting import Waiting
from toque.contract.errors import Unavailable
from toque.contract.operation import Isolation, Kind
from toque.store.attempts import Attempts, OnCommit
from toque.store.dialects import postgresql
from toque.store.guard import Guard
from toque.store.plans import Plans
from toque.store.pool import Pool
from toque.store.postgres_connection import Connection, connect
from toque.store.postgres_outcome import find_out
from toque.store.postgres_transaction import COMMANDS, SINGLE, SNAPSHOTS, PostgresTransaction
from toque.store.release import Release
from toque.store.replicas import STALE_S, Replica, Replicas
from toque.store.snapshot import Snapshots
from toque.store.store import Run, StatementObserver
from toque.store.together import Together

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.store.row_security import Caller

__all__ = ["PostgresStore", "open_store"]

T = TypeVar("T")


def open_store(url: str, **options: Any) -> PostgresStore:
    return PostgresStore(url, **options)


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
        release: Release | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.url = url
        self._plans = Plans(postgresql(), guard)
        name = release.name if release is not None else "toque"
        connect_here = partial(connect, url, is_pooled=is_pooled, name=name)
        self.pool: Pool[Connection] = Pool(connect_here, slots, waiting_max)
        self._find_out = partial(find_out, connect_here)
        # A statement without a transaction is asyncpg's two messages, and a pooler may send each to another session.
        self._single = SNAPSHOTS[None] if is_pooled else SINGLE
        self._caller: Caller | None = None
        self._snapshots = Snapshots(self._reading, observer)
        self._on_replica = {
            Replica(pool): Snapshots(partial(self._reading, pool=pool), observer)
            for pool in (
                Pool(partial(connect, address, is_pooled=is_pooled, name=name), slots, waiting_max)
                for address in replicas
            )
        }
        self._replicas = Replicas(self.pool, tuple(self._on_replica), self._ask) if replicas else None
        # Each begins now: what became of a COMMIT is believed where the server has been up since then (`find_out`).
        self._together = Together(lambda: self._writing(Context("", inf), None, is_alone=True))
        self._attempts = Attempts(self._writing, observer)
        self.command = self._attempts.command

    @property
    def repeats(self) -> Counter[str]:
        return self._attempts.repeats

    @property
    def plans(self) -> Plans:
        return self._plans

    @property
    def on_commit(self) -> list[OnCommit]:
        return self._attempts.on_commit

    @property
    def has_replicas(self) -> bool:
        return self._replicas is not None

    def enforce(self, metadata: MetaData) -> None:
        from toque.store.row_security import Caller
        from toque.store.rule_sql import sensitive

        guards = sensitive(metadata)
        self._caller = Caller(guards) if guards else None

    async def start(self) -> None:
        # One connection now, so that a wrong address is found before the first call; the others when they are
        # needed.
        await self.ping()

    async def stop(self) -> None:
        if self._replicas is not None:
            await self._replicas.close()
        await self.pool.close()

    async def query(
        self,
        run: Run[T],
        context: Context = UNCALLED,
        isolation: Isolation | None = None,
        *,
        is_repeatable: bool = True,
    ) -> T:
        on_primary = partial(self._snapshots.query, run, context, isolation, is_repeatable=is_repeatable)
        # Whoever brings no mark is the app itself, which has to see what it wrote. A standby has no serializable
        # transactions (manual, 26.4.4 "Caveats").
        if self._replicas is None or context.mark is None or isolation == "serializable":
            return await on_primary()
        replica = self._replicas.choose(context.mark.position)
        if replica is None:
            return await on_primary()
        try:
            return await self._on_replica[replica].query(run, context, isolation, is_repeatable=is_repeatable)
        except Unavailable:
            replica.leave_out()
            # Nothing was written and nobody has heard anything yet, unless it was a stream.
            if not is_repeatable:
                raise
        return await on_primary()

    @property
    def lines(self) -> Sequence[Waiting[Any]]:
        return [self.pool.waiting, *(replica.pool.waiting for replica in self._on_replica)]

    def waiting(self, kind: Kind) -> Waiting[Any] | None:
        return None if kind is Kind.QUERY and self.has_replicas else self.pool.waiting

    async def ping(self) -> None:
        reading = self._reading(UNCALLED, None, False)
        try:
            await reading.ask("SELECT '1'")
        finally:
            await reading.close(None)

    def _reading(
        self,
        context: Context,
        isolation: Isolation | None,
        needs_snapshot: bool,
        pool: Pool[Connection] | None = None,
    ) -> PostgresTransaction:
        begin = SNAPSHOTS[isolation] if needs_snapshot else self._single
        return PostgresTransaction(pool or self.pool, self._plans, context, begin, caller=self._caller)

    def _writing(self, context: Context, isolation: Isolation | None, *, is_alone: bool = False) -> PostgresTransaction:
        mark = context.mark if self._replicas is not None else None
        # Who is to be told where in the log he is, or wants another isolation, is told of a transaction of his own.
        is_alone = is_alone or mark is not None or isolation is not None
        return PostgresTransaction(
            self.pool,
            self._plans,
            context,
            COMMANDS[isolation],
            find_out=self._find_out,
            mark=mark,
            caller=self._caller,
            together=None if is_alone else self._together,
        )

    async def _ask(self, pool: Pool[Connection], question: str) -> str | None:
        reading = self._reading(UNCALLED, None, False, pool)
        try:
            async with asyncio.timeout(STALE_S):
                answer: str | None = await reading.ask(question)
        except BaseException as error:
            await reading.close(error)
            raise
        await reading.close(None)
        return answer
