"""The end of a task that goes on by itself."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["cancel"]


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel those of *tasks* that are there, and come back when they have ended, however they did."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
