"""One process's cache of one database: what is captured, what looks, what is kept, and for how long it is trusted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence, Set
from functools import cached_property
from math import inf
from pathlib import Path
from random import random
from typing import TYPE_CHECKING

from toque.cache import capture
from toque.cache.changes import Images
from toque.cache.decisions import Need
from toque.cache.entries import Entries
from toque.cache.learned import Learned, Learning
from toque.cache.policy import CachedQuery
from toque.cache.read_sets import Readings
from toque.cache.runner import Looker, Runner
from toque.cache.trimming import Trimming
from toque.call.tasks import cancel
from toque.contract.errors import Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Table

    from toque.cache.purging import Purging
    from toque.cache.shared import Shared
    from toque.call.context import Context
    from toque.log.tail import Tail
    from toque.store.store import Store

__all__ = ["Cache"]

log = logging.getLogger("toque.cache")

RETRY_S = 5.0
"""One look of a millisecond in five seconds, while nothing else is asked."""

AGAIN_S = 1.0
"""How soon it is tried again to find out whose changes are told."""

REMEDY = "run `toque db upgrade`, as a role that owns the tables"


class Cache:
    """See the module. It does nothing until it is started; where nothing can be kept, it looks now and then whether it
    can by now.

    Args:
        tables: those of the app whose changes are captured.
        bytes_max: the room for all answers.
        bound_s: what an answer may miss of others' commits unless its operation says otherwise.
        verify_share: how many of the hits are found out anew and compared, from 0 to 1.
        tail: follows the database; SQLite needs none.
        starts_tail: whether nobody else starts and stops it.
        folder: where to write down what queries read; None for nowhere.
        retry_s: how soon it looks again whether answers can be kept, where they cannot.
        share: makes the second level, where there is one.
        purge: makes what tells the cache in front, where there is one.
    """

    def __init__(
        self,
        store: Store,
        tables: Sequence[Table],
        *,
        bytes_max: int,
        bound_s: float,
        verify_share: float = 0.0,
        tail: Tail | None = None,
        starts_tail: bool = False,
        folder: Path | None = None,
        retry_s: float = RETRY_S,
        share: Callable[[Runner], Shared | None] | None = None,
        purge: Callable[[], Purging] | None = None,
    ) -> None:
        self.is_on = False
        """Whether anything is answered from memory now."""
        self.why_off = "it was not started"
        self.captured: Set[str] = frozenset()
        """The tables whose changes are told, by name; another object whenever that was found out anew."""
        self.blind: dict[str, list[str]] = {}
        """Why those of the other tables are not."""
        self.bound_s = bound_s
        self._verify_share = verify_share
        self.entries = Entries(bytes_max)
        self.queries: dict[str, CachedQuery] = {}
        self._learning = None if folder is None else Learning(folder, self._learned)
        self.readings = Readings(store.plans.guarded)
        self._store = store
        self._tables = tuple(tables)
        self._tail = tail
        self._starts_tail = starts_tail
        self._retry_s = retry_s
        self.shared: Shared | None = None
        """Where answers of other processes are found; None where they are not, or nothing is kept here."""
        self.purging: Purging | None = None
        """Who tells the cache in front what has changed; None where nobody does."""
        self.counted_shared: Shared | None = None
        self.counted_purging: Purging | None = None
        """Those of the two whose counts are shown: after their end too, for a count does not fall."""
        self._share = share
        self._purge = purge
        self._looker, self._trimming = self._looking(store, tail)
        self.runner = Runner(self.entries, self._looker, self._renew, self._trim)
        if tail is not None:
            tail.on_news(self.runner.wake)
        self._checking: asyncio.Task[None] | None = None
        self._trying: asyncio.Task[None] | None = None
        self._has_begun = False

    @property
    def is_settled(self) -> bool:
        """Whether it was found out whose changes are told, or that nobody's are."""
        return bool(self.captured) or (not self.is_on and bool(self.blind))

    def is_sampled(self) -> bool:
        """Whether this hit is one that is found out anew."""
        return self._verify_share > 0 and random() < self._verify_share  # noqa: S311 - a sample

    def need(self, need: Need) -> Need:
        """*need* where looking is immediate: every answer is strict there, so nothing is left to demand."""
        return _NOTHING if self._looker.is_immediate else need

    async def start(self) -> None:
        """Begin to keep answers; the store was started before. Says in the log why it cannot yet."""
        try:
            await self._begin()
        except Exception as error:
            await self._end()
            self._be_off(f"{error}; {REMEDY}")

    async def stop(self) -> None:
        """Keep nothing any more."""
        await cancel(self._trying)
        await self._end()
        if self._learning is not None:
            await self._learning.stop()

    def learn(self) -> None:
        """More is known of a query."""
        if self._learning is not None:
            self._learning.learn()

    def _learned(self) -> dict[str, Learned]:
        return {name: query.learned for name, query in self.queries.items() if query.tables or query.why_not}

    async def _begin(self) -> None:
        if not self._looker.is_immediate:
            # Not on the tail's connection, which ends with whatever fails on it.
            await capture.first_look(self._store)
        if self._tail is not None and self._starts_tail:
            await self._tail.start()
        self._has_begun = True
        # From before the first look on: what is committed afterwards is looked for.
        self._store.on_commit.append(self._committed)
        self.runner.start()
        if not await self.runner.barrier():
            raise Unavailable("the log of changes cannot be looked into")
        await cancel(self._checking)
        await self._check_again()
        if self.is_on:
            self._trim()
        if self._share is not None:
            self.shared = self.counted_shared = self._share(self.runner)
        if self._purge is not None:
            self.purging = self.counted_purging = self._purge()
            self.purging.start()

    async def _end(self) -> None:
        self.is_on = False
        if self._committed in self._store.on_commit:
            self._store.on_commit.remove(self._committed)
        shared, self.shared = self.shared, None
        if shared is not None:
            await shared.stop()
        purging, self.purging = self.purging, None
        if purging is not None:
            await purging.stop()
        await cancel(self._checking)
        if self._trimming is not None:
            await self._trimming.stop()
        if self._has_begun:
            self._has_begun = False
            await self.runner.stop()
            if self._tail is not None and self._starts_tail:
                await self._tail.stop()

    async def _try_again(self) -> None:
        """Look now and then whether answers can be kept by now. One look tells, by its epoch."""
        while not self.is_on:
            await asyncio.sleep(self._retry_s)
            if self._has_begun:
                self.runner.wake()
            else:
                await self.start()

    def _looking(self, store: Store, tail: Tail | None) -> tuple[Looker, Trimming | None]:
        """Who looks, and who forgets what is old, where that is not the database's own doing."""
        images = Images(self._tables, store.dialect_name)
        if store.dialect_name == "sqlite":
            from toque.cache.sqlite_looker import SqliteLooker
            from toque.store.sqlite import SqliteStore

            assert isinstance(store, SqliteStore)
            return SqliteLooker(store, images), None
        from toque.cache.postgres_changes import PostgresChanges

        assert tail is not None, "PostgreSQL is followed by a tail"
        changes = PostgresChanges(store, images, tail.fetch, looks_back=self._share is not None)
        return changes, Trimming(changes, tail)

    def _committed(self, context: Context, number: int) -> None:
        """A command is committed, and nobody has heard of it yet."""
        if context.mark is not None and number:
            context.mark.commit(self.runner.epoch, number, self._longest_bound_s)
        self.runner.committed()
        if self.purging is not None:
            self.purging.wake()
        if self._tail is not None:
            self._tail.ring()

    @cached_property
    def _longest_bound_s(self) -> float:
        """For how long some process's memory may miss a commit of another one. All queries are known by the first."""
        own = (query.freshness.bound_s for query in self.queries.values())
        return max([self.bound_s, *(bound_s for bound_s in own if bound_s is not None)])

    def _trim(self) -> None:
        """There are changes that somebody will have to forget."""
        if self._trimming is not None:
            self._trimming.begin()

    def _renew(self, epoch: str) -> None:
        """The log, or the schema, is another one: until somebody has looked, nobody knows whose changes are told."""
        if not self._has_begun:
            return
        self.captured = frozenset()
        if self._checking is None or self._checking.done():
            self._checking = asyncio.get_running_loop().create_task(self._check_again())

    async def _check_again(self) -> None:
        epoch = None
        while epoch != self.runner.epoch:
            epoch = self.runner.epoch
            try:
                await self._check(epoch)
            except Exception as error:
                self._be_off(str(error))
                await asyncio.sleep(AGAIN_S)
                epoch = None

    async def _check(self, epoch: str) -> None:
        """Find out whose changes are told, as long as the schema is what it was in *epoch*."""
        blind = await capture.faults(self._store.url, self._tables)
        if epoch != self.runner.epoch:
            return
        self.blind = blind
        self.captured = frozenset(table.fullname for table in self._tables) - blind.keys()
        for query in self.queries.values():
            query.forget()
        if not self.captured:
            name, why = next(iter(blind.items()), ("the app", ["it has no tables"]))
            self._be_off(f"{name}: {why[0]}; {REMEDY}")
        else:
            self.is_on, self.why_off = True, ""

    def _be_off(self, why: str) -> None:
        if self.is_on or why != self.why_off:
            log.warning("no answer is kept in memory: %s", why)
        self.is_on, self.why_off = False, why
        if self._trying is None or self._trying.done():
            self._trying = asyncio.get_running_loop().create_task(self._try_again())


_NOTHING = Need(inf)
