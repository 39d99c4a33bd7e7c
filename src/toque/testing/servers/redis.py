"""A private Redis or Valkey server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toque.testing.servers.server import Server, program

__all__ = ["RedisServer"]


class RedisServer(Server):
    """Appends each write to a file before it answers, so that it survives a kill; without snapshots."""

    MESSAGE_BYTES_MAX = 1024 * 1024

    def __init__(self) -> None:
        try:
            self._program = program("valkey-server", "Debian's valkey-server")
        except FileNotFoundError:
            self._program = program("redis-server", "Debian's redis-server or valkey-server")
        super().__init__()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            # With "everysec" a write waits for a sync that takes long, and is confirmed before it is written.
            "appendfsync": "always",
            "maxmemory": "100mb",
            "maxmemory-policy": "noeviction",
            # The least that it can be set to.
            "proto-max-bulk-len": str(self.MESSAGE_BYTES_MAX),
        }
        return [self._program, *(part for name, value in options.items() for part in (f"--{name}", value))]
