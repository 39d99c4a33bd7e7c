"""A stream of events to one client, who may stop reading at any time and stay.

granian's `response_stream` takes whatever it is given and never waits (`paced.py`). A pipe, as other streams have,
holds a thread of granian's while it is silent, and events are silent most of the time, for thousands of clients. So the
kernel is asked: it knows how many bytes of a connection its client has not acknowledged. A client who has some left is
given nothing more until there are none; the newest state waits meanwhile, in the place of those before it.

Source: proc_pid_net(5), `/proc/net/tcp`: the columns rem_address and tx_queue.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from toque.call.observation import CallerLeft

__all__ = ["Spent", "backlog_of", "is_gone", "open_events"]

FREE_BYTES = 64 * 1024
"""What is sent before the kernel is asked: it takes that much for most clients at once, and asking has a price."""

SPENT_BYTES = 1024 * 1024
"""What is sent where nobody can say what was read (HTTP/2, other systems than Linux): then the client is to come back,
and a client who does has read it."""

LOOK_S = 0.05
COST_SHARE = 20
"""How often the kernel is asked at most, and that asking takes no more than one of so many parts of the time."""

TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
ESTABLISHED = "01"


class Spent(Exception):
    """The client is to come back on a new connection, to show that it has read this one."""


def open_events(scope: Any, proto: Any, headers: Any, stalled_s: float) -> Any:
    """Begin to answer; returns what has `send_bytes`, which waits for the client, `send_at_once`, and `close`.

    `send_at_once` says whether it has sent; that a client is gone is for others to find out. `send_bytes` raises
    CallerLeft, for a client too that takes nothing for *stalled_s* seconds, and Spent.
    """
    stream = proto.response_stream(200, headers)
    if not type(scope).__module__.startswith("granian"):
        return _Waiting(stream, stalled_s)
    return _Asking(stream, stalled_s, scope.client if scope.http_version.startswith("1") else "")


class _Waiting:
    """A stream that waits for its client by itself."""

    __slots__ = ("_stalled_s", "_stream")

    def __init__(self, stream: Any, stalled_s: float) -> None:
        self._stream: Any = stream
        self._stalled_s = stalled_s

    def send_at_once(self, data: bytes) -> bool:
        return False

    async def send_bytes(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._stalled_s):
                await self._stream.send_bytes(data)
        except TimeoutError:
            raise CallerLeft from None

    def close(self) -> None:
        self._stream = None


class _Asking:
    """A stream whose client is asked for at the kernel."""

    __slots__ = ("_client", "_sent", "_stalled_s", "_stream")

    def __init__(self, stream: Any, stalled_s: float, client: str) -> None:
        self._stream: Any = stream
        self._stalled_s = stalled_s
        self._client = client
        self._sent = 0

    def send_at_once(self, data: bytes) -> bool:
        if self._stream is None or self._sent > FREE_BYTES:
            return False
        # It is sent when it is called, and not when it is awaited (granian 2.8: `rsgi/io.rs`).
        self._stream.send_bytes(data)
        self._sent += len(data)
        return True

    async def send_bytes(self, data: bytes) -> None:
        if self._sent > FREE_BYTES:
            await self._catch_up()
        try:
            await self._stream.send_bytes(data)
        except Exception:
            # granian has one error for everything: nobody reads any more.
            raise CallerLeft from None
        self._sent += len(data)

    async def _catch_up(self) -> None:
        until = monotonic() + self._stalled_s
        while backlog := backlog_of(self._client):
            if monotonic() > until:
                raise CallerLeft
            await asyncio.sleep(LOOK_S)
        if backlog is not None:
            self._sent = 0
        elif self._sent > SPENT_BYTES:
            raise Spent

    def close(self) -> None:
        # granian ends the answer when nobody holds the stream any more.
        self._stream = None


def backlog_of(client: str) -> int | None:
    """The bytes that the kernel holds for *client* (`address:port`), as of a moment ago; None where it does not say."""
    global _looked_at, _look_s, _backlogs
    now = monotonic()
    if now - _looked_at > _look_s:
        _backlogs = _read()
        _looked_at = monotonic()
        _look_s = max(LOOK_S, (_looked_at - now) * COST_SHARE)
    return _backlogs.get(_kernel_name(client))


def is_gone(client: str, since: float) -> bool:
    """Whether the connection of *client*, which was there at the moment *since*, has ended, as far as the kernel says:
    some sandboxes show tables that are empty, so that is believed of none until it has named one."""
    global _names
    backlog = backlog_of(client)
    _names = _names or backlog is not None
    return backlog is None and _names and _looked_at > since


_names = False
_backlogs: dict[str, int] = {}
_looked_at = 0.0
_look_s = 0.0


def _read() -> dict[str, int]:
    found: dict[str, int] = {}
    for table in TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, _, remote, state, queues, *_ = line.split(None, 5)
            if state == ESTABLISHED:
                found[remote] = max(int(queues.partition(":")[0], 16), found.get(remote, 0))
    return found


def _kernel_name(client: str) -> str:
    """`127.0.0.1:8000` as the kernel writes it: `0100007F:1F40`, words of four bytes in the machine's own order."""
    host, _, port = client.rpartition(":")
    host = host.strip("[]")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
        return "".join(f"{word:08X}" for word in words) + f":{int(port):04X}"
    except (OSError, ValueError):
        return ""
