"""A private RabbitMQ: one node, with an Erlang port mapper of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from toque.testing.servers.server import Server, free_port, program

__all__ = ["RabbitServer"]


class RabbitServer(Server):
    """A node that keeps its queues in its folder."""

    SKIPS: ClassVar[Mapping[str, str]] = {
        "a_crash_loses_nothing_that_was_confirmed": "after a kill, quorum queues of RabbitMQ 3.10 often have no leader"
    }

    def __init__(self) -> None:
        # Debian's program of that name changes the user; this is what it calls.
        self._program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        if not self._program.exists():
            self._program = program("rabbitmq-server", "Debian's rabbitmq-server")
        self._mapper = program("epmd", "Debian's rabbitmq-server")
        super().__init__()
        self._mapper_port = free_port()
        self._node_port = free_port()
        self._mapping: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def command(self) -> Sequence[str | Path]:
        (self.folder / "rabbit.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"max_message_size = {self.MESSAGE_BYTES_MAX}\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        return [self._program]

    def environment(self) -> Mapping[str, str]:
        return {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"toque{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbit.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            # The script becomes the node then, instead of waiting for it as its parent.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +S 1:1 +sbwt none",
        }

    def start(self) -> None:
        if self._mapping is None:
            # In the foreground: the node would start one that outlives it.
            self._mapping = subprocess.Popen(  # noqa: S603 - Erlang's own program
                [self._mapper, "-port", str(self._mapper_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._mapping is not None:
            self._mapping.kill()
            self._mapping.wait()
