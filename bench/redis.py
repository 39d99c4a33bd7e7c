"""A private Redis or Valkey for the length of a run, as a broker that keeps what it took: flushed once a second."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.machine import on_core
from toque.testing.servers.redis import RedisServer

OTHERWISE = {
    "--appendfsync": "everysec",  # Redis' own default, and what its documentation advises.
    "--maxmemory": "0",
}


class Broker(RedisServer):
    """The server of our tests, with the settings of production."""

    def command(self) -> Sequence[str | Path]:
        words = list(super().command())
        for name, value in OTHERWISE.items():
            words[words.index(name) + 1] = value
        return words

    def empty(self) -> None:
        """Forget everything."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(64)

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was started"
        return self._process.pid


@contextmanager
def redis(core: int) -> Iterator[Broker]:
    """Start it on *core* and stop it, with its data, at the end. Raises: FileNotFoundError where there is none."""
    broker = Broker()
    with on_core(core):
        broker.start()
    try:
        yield broker
    finally:
        broker.stop()
