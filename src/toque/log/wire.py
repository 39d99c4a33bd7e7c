"""The port: a process's own line to its database, beside those of its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from toque.log.probe import Probe

__all__ = ["Wire", "wire_to"]


class Wire(Protocol):
    """Sees what is new, is heard by the wires of other processes, and holds names that nobody else can hold."""

    def __init__(self, url: str, probes: Sequence[Probe], on_heard: Callable[[], None]) -> None: ...

    async def open(self) -> None:
        """Connect. Raises: Unavailable."""

    async def close(self) -> None:
        """Let go of everything that is held."""

    async def look(self) -> Sequence[float | None]:
        """What each probe says. Raises: Unavailable when the line is broken: nothing is held any more then."""
        ...

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[Sequence[Any]]:
        """The rows of *sql*, on the same line. Raises: Unavailable, as `look` does, whatever was wrong."""
        ...

    async def ring(self) -> None:
        """Have the other processes look. Raises: Unavailable."""

    async def claim(self, name: str) -> bool:
        """Hold *name*, unless somebody else does; it ends with this process, however that ends. Raises: Unavailable."""
        ...

    async def release(self, name: str) -> None:
        """Let go of *name*. Raises: Unavailable."""


def wire_to(url: str, probes: Sequence[Probe], on_heard: Callable[[], None]) -> Wire:
    """A wire to the database at *url*, not open yet."""
    if url.startswith("sqlite"):
        from toque.log.sqlite_wire import SqliteWire

        return SqliteWire(url, probes, on_heard)
    from toque.log.postgres_wire import PostgresWire

    return PostgresWire(url, probes, on_heard)
