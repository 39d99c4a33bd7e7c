"""The other end of ASGI's lifespan protocol (2.0): starting and stopping an application that is not ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Lifespan"]

log = logging.getLogger("toque.mounted")


class Lifespan:
    """One application's lifespan. Each application lives in one task from its start to its end."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._living: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}
        """What the application keeps from its start on; each request gets a copy."""

    async def start(self) -> None:
        """Start the application; one that knows no lifespan needs none (ASGI lifespan 2.0, "Scope").

        Raises: RuntimeError with the application's own words where it refuses.
        """
        if self._living is not None:
            return
        self._living = asyncio.create_task(self._live())
        answer = await self._ask("lifespan.startup")
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"the mounted application cannot start: {answer.get('message') or 'it says no more'}")

    async def stop(self) -> None:
        """Stop the application and wait until it has ended."""
        if self._living is None:
            return
        if not self._living.done():
            answer = await self._ask("lifespan.shutdown")
            if answer is None or answer["type"] == "lifespan.shutdown.failed":
                log.error("the mounted application did not stop as it should: %s", answer)
        living, self._living = self._living, None
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)

    async def _ask(self, message: str) -> dict[str, Any] | None:
        """Send *message*; returns the answer, or None where the application ended without one."""
        assert self._living is not None, "only a living application is asked"
        self._told.put_nowait({"type": message})
        hearing = asyncio.create_task(self._heard.get())
        await asyncio.wait([hearing, self._living], return_when=asyncio.FIRST_COMPLETED)
        if hearing.done():
            return hearing.result()
        hearing.cancel()
        return None

    async def _live(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self._app(scope, self._told.get, self._heard.put)
