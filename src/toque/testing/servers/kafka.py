"""A private Kafka, as far as there is one: librdkafka's mock cluster in a process of its own.

It speaks Kafka's protocol and keeps everything in memory. Killed, it would forget what it confirmed; so a "kill"
takes its broker down instead, which cuts all connections and refuses new ones, until it is started again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from toque.testing.servers.kafka_mock import library
from toque.testing.servers.server import Server

__all__ = ["KafkaServer"]


class KafkaServer(Server):
    """One broker of a mock cluster; a topic that is mentioned is made, with four partitions."""

    MESSAGE_BYTES_MAX = 1024 * 1024
    """Kafka's own limit, which the driver keeps to."""

    SHARES_GROUPS = False
    """The mock answers a second member's SyncGroup with InvalidRequest, where Kafka gives it its part."""

    def __init__(self) -> None:
        library()
        super().__init__()
        self._address = ""

    @property
    def url(self) -> str:
        return f"kafka://{self._address}"

    def start(self) -> None:
        if self._process is not None:
            self._tell("up")
            return
        self._process = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, str(Path(__file__).with_name("kafka_mock.py"))],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._address = self._answer()

    def kill(self) -> None:
        self._tell("down")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tell(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()
