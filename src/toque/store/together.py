"""Commands that only have rows to attach share a transaction, and its one COMMIT, where they come at once.

Such a command has read nothing and locked nothing, so nobody can tell whether its rows came in a transaction of their
own: they are there as a whole or not at all. While some are on their way to the database, those that come gather, and
go next; one that comes alone goes at once. Where a transaction of several cannot be committed each is tried by itself,
so none fails because of another. On SQLite it saves each of them a turn to write, and two ways to the writer's thread
and back.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, Task
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from toque.contract.errors import DeadlineExceeded, OutcomeUnknown

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.store.closing import Attached

__all__ = ["Member", "Together"]

GATHER_S = 0.0005
"""How long the next one waits after the last: those who were answered come again at once, and go together. A tenth of
what a commit takes on a good disk."""

MEMBERS_MAX = 64
"""Commands of one transaction: as for the batches of SQLite's writer. More gain little, and all of them wait for the
last."""


class Member(Protocol):
    """A command's transaction, in which nothing has been done yet."""

    context: Context
    attached: list[Attached]

    async def commit_alone(self) -> None:
        """Commit, in a transaction of its own."""

    def join(self, whole: Any) -> None:
        """It was committed as a part of *whole*, which is of its own class."""

    async def close(self, error: BaseException | None) -> None:
        """End it, undone where it was not committed."""


class Together:
    """The commits of one store.

    Args:
        begin: a transaction of its own.
    """

    def __init__(self, begin: Callable[[], Member]) -> None:
        self._begin = begin
        self._waiting: deque[tuple[Member, Future[None]]] = deque()
        # One at a time: with two on their way half as many commands were in each, and each waited for both.
        self._flight: Task[None] | None = None

    async def commit(self, member: Member) -> None:
        """Commit what *member* has attached. Raises: as its `commit_alone` does."""
        done: Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((member, done))
        if self._flight is None:
            self._flight = asyncio.get_running_loop().create_task(self._fly())
        # Whoever is stopped meanwhile is told nothing: his rows may be on their way. If not, they never will be.
        await done

    async def _fly(self) -> None:
        try:
            await self._carry_all()
        finally:
            # Not by the task's own end, of which others hear later: whoever comes in between would wait for nobody.
            self._flight = None

    async def _carry_all(self) -> None:
        has_flown = False
        while self._waiting:
            await asyncio.sleep(GATHER_S if has_flown else 0)
            has_flown = True
            group = [self._waiting.popleft() for _ in range(min(MEMBERS_MAX, len(self._waiting)))]
            group = [(member, done) for member, done in group if not done.done()]
            if len(group) > 1 and await self._is_committed(group):
                continue
            for member, done in group:
                if not done.done():
                    await _alone(member, done)

    async def _is_committed(self, group: Sequence[tuple[Member, Future[None]]]) -> bool:
        """Commit *group* in one transaction: False where nothing of it was kept, and each may try by itself."""
        whole = self._begin()
        whole.attached = [each for member, _ in group for each in member.attached]
        error: BaseException | None = None
        left_s = max(member.context.remaining_s for member, _ in group)
        try:
            # When nobody waits any more, neither does this: the next ones would wait behind a connection that hangs.
            async with asyncio.timeout(None if left_s == inf else left_s):
                await whole.commit_alone()
        except TimeoutError:
            error = DeadlineExceeded("the call was stopped at its deadline")
        except OutcomeUnknown as unknown:
            error = unknown
        except Exception as failure:
            await whole.close(failure)
            return False
        if error is not None:
            await whole.close(error)
        for member, done in group:
            if error is None:
                member.join(whole)
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)
        return True


async def _alone(member: Member, done: Future[None]) -> None:
    try:
        await member.commit_alone()
    except Exception as error:
        if not done.done():
            done.set_exception(error)
    else:
        if not done.done():
            done.set_result(None)
