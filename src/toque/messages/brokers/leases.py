"""Messages that a member works on are kept from the others for as long as its process lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from toque.call.tasks import cancel
from toque.contract.errors import Error

__all__ = ["Leases"]

H = TypeVar("H")

log = logging.getLogger("toque.brokers")

RENEWALS = 3
"""So many within a lease: two may fail before it ends."""


class Leases(Generic[H]):
    """What was delivered and is not settled, renewed until it is.

    Args:
        lease_s: how long a lease lasts.
        renew: prolongs what it is given.
    """

    def __init__(self, lease_s: float, renew: Callable[[list[H]], Awaitable[None]]) -> None:
        self.held: dict[Hashable, H] = {}
        self._pause_s = lease_s / RENEWALS
        self._renew = renew
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="broker leases")

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s)
            if not self.held:
                continue
            try:
                await self._renew(list(self.held.values()))
            except Error as error:
                log.warning("%d messages may come again: their lease was not renewed: %s", len(self.held), error)
            except Exception:
                log.exception("%d messages may come again: their lease was not renewed", len(self.held))

    async def end(self) -> None:
        await cancel(self._task)
