"""Slow statements, logged with their plan.

The plan is asked for afterwards, on a connection of its own, one at a time and seldom: a database that is slow
because it has too much to do must not get more to do from those who watch it. Nothing is ever run again (no ANALYZE).
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from toque.store.insight.explaining import explain
from toque.store.statement import Statement

if TYPE_CHECKING:
    from toque.call.context import Context

__all__ = ["SlowStatements"]

log = logging.getLogger("toque.statements")

# One line a minute for each text says as much as a thousand: the count comes with the next one.
AGAIN_S = 60.0
# Slow texts are few. An app that makes texts up without end must not fill the memory.
TEXTS_MAX = 256
# An EXPLAIN that takes longer has met a lock; its own limits are shorter (`explaining`).
EXPLAIN_TIMEOUT_S = 5.0


class SlowStatements:
    """An observer of one store's statements.

    Args:
        url: the store's address.
        slow_ms: what takes this long, waiting for a connection included, is slow.
        with_values: whether values may stand in the log.
    """

    def __init__(self, url: str, slow_ms: float, *, with_values: bool = False) -> None:
        self._url = url
        self._slow_ns = slow_ms * 1e6
        self._with_values = with_values
        self._seen: dict[str, _Seen] = {}
        self._telling: asyncio.Task[None] | None = None

    def __call__(self, statement: Statement) -> None:
        if statement.ended_ns - statement.started_ns < self._slow_ns:
            return
        seen = self._seen.get(statement.sql)
        if seen is None:
            if len(self._seen) >= TEXTS_MAX:
                self._seen.clear()
            seen = self._seen[statement.sql] = _Seen()
        seen.times += 1
        now = monotonic()
        if now < seen.again or (self._telling is not None and not self._telling.done()):
            return
        seen.again = now + AGAIN_S
        times, seen.times = seen.times, 0
        self._telling = asyncio.get_running_loop().create_task(self._tell(statement, times))

    async def stop(self) -> None:
        """Give up what is being explained."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _tell(self, statement: Statement, times: int) -> None:
        plan = await self._plan(statement)
        values: dict[str, Any] = {"values": repr(_values(statement))} if self._with_values else {}
        context: Context = statement.context
        milliseconds = round(statement.seconds * 1000, 1)
        log.warning(
            "slow statement: %s",
            " ".join(statement.sql.split()),
            extra={
                "call": context,
                "duration_ms": milliseconds,
                "rows": statement.rows,
                "times": times,
                "plan": " | ".join(plan),
                **values,
            },
        )

    async def _plan(self, statement: Statement) -> list[str]:
        try:
            async with asyncio.timeout(EXPLAIN_TIMEOUT_S):
                return await explain(self._url, statement.sql, _values(statement), with_values=self._with_values)
        except Exception as error:
            # A message of the database may hold values; its kind does not.
            return [f"unknown: {type(error).__name__}"]


class _Seen:
    """One slow text."""

    __slots__ = ("again", "times")

    def __init__(self) -> None:
        self.again = 0.0
        self.times = 0


def _values(statement: Statement) -> Any:
    """The values of one run: where it was run once per row, of the first."""
    values = statement.arguments
    return values[0] if values and isinstance(values[0], list | tuple) else values
