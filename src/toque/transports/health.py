"""Liveness and readiness, for whoever starts, balances and stops the app.

Alive means that the event loop turns. Ready means that new calls are welcome. What the app depends on is in neither:
a database that is down is no reason to restart every worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toque.transports.replies import DATA_HEADERS
from toque.transports.router import Endpoint

__all__ = ["Health"]

_HEADERS = [("content-type", "application/json"), ("cache-control", "no-store"), *DATA_HEADERS]


class Health:
    """Answers `/healthz` and `/readyz`."""

    def __init__(self, is_stopping: Callable[[], bool], is_full: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._is_full = is_full

    def endpoints(self) -> dict[str, Endpoint]:
        return {"/healthz": self.alive, "/readyz": self.ready}

    async def alive(self, scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> None:
        proto.response_bytes(200, _HEADERS, b'{"status":"alive"}')

    async def ready(self, scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> None:
        if self._is_stopping():
            proto.response_bytes(503, _HEADERS, b'{"status":"stopping"}')
        elif self._is_full():
            proto.response_bytes(503, _HEADERS, b'{"status":"full"}')
        else:
            proto.response_bytes(200, _HEADERS, b'{"status":"ready"}')
