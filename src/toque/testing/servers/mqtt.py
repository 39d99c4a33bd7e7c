"""A private Mosquitto."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from toque.testing.servers.server import Server, program

__all__ = ["MosquittoServer"]


class MosquittoServer(Server):
    """Writes its sessions to a file when it ends in order, and now and then."""

    SURVIVES_KILL: ClassVar[bool] = False

    def __init__(self) -> None:
        self._program = program("mosquitto", "Debian's mosquitto")
        super().__init__()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(
            f"listener {self.port} 127.0.0.1\n"
            "allow_anonymous true\n"
            "user root\n"
            "persistence true\n"
            f"persistence_location {self.folder}/\n"
            f"max_packet_size {self.MESSAGE_BYTES_MAX}\n"
            "max_queued_messages 0\n"
        )
        return [self._program, "-c", configuration]
