"""Tasks that go on by themselves: of what a task can be made, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["awaited", "cancel"]


async def awaited(begin: Callable[[], Awaitable[Any]]) -> None:
    """What *begin* gives, awaited: a server's own future is no coroutine, of which alone a task is made."""
    await begin()


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel those of *tasks* that are there, and come back when they have ended, however they did."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
