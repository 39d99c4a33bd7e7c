"""From a name to addresses that were checked: asked once, and the answer is what is dialled.

Whoever checks a name and lets a library look it up again can be given two answers (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, Protocol

from toque.http_client.addresses import Address, literal
from toque.http_client.allowance import Allowance
from toque.http_client.failures import AddressRefused, Unreachable

__all__ = ["Resolver", "SystemResolver", "checked_addresses"]

log = logging.getLogger("toque.http_client")

ADDRESSES_MAX = 16
"""A name with more is read no further: large services answer with at most eight."""


class Resolver(Protocol):
    """Knows the addresses of names."""

    async def resolve(self, host: str) -> Sequence[Address]:
        """The addresses of *host*, the best first. Raises: Unreachable where there are none."""
        ...


class SystemResolver:
    """What the machine's own resolver says, `/etc/hosts` included."""

    def __init__(self) -> None:
        # Of its own: a name server that hangs must not keep the loop's other threads. As many as a few dead zones take.
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="toque-resolver")

    async def resolve(self, host: str) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _look_up, host)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"{host} has no address: {error}") from error
        return [ip_address(entry[4][0]) for entry in found[:ADDRESSES_MAX]]


def _look_up(host: str) -> list[Any]:
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)


async def checked_addresses(host: str, port: int, resolver: Resolver, allowance: Allowance) -> Sequence[Address]:
    """The addresses of *host*, each of which may be dialled on *port*.

    Raises: AddressRefused where one of them may not: a name that leads to both was made to. Unreachable.
    """
    written = literal(host)
    addresses = await resolver.resolve(host) if written is None else [written]
    for address in addresses:
        if (why := allowance.why_refused(host, port, address)) is not None:
            log.warning(
                "a request to %s, port %s, was refused: %s (%s); http_client.allow opens addresses",
                host, port, why, address,
            )  # fmt: skip
            raise AddressRefused(host, f"{address}: {why}")
    return addresses
