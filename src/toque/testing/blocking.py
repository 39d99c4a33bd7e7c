"""The harness for tests that are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from toque.app import App
from toque.contract.principal import ANONYMOUS, Principal
from toque.testing.harness import Harness, running
from toque.testing.memory import Answer

__all__ = ["Client", "client"]


class Client:
    """A running app, called from plain functions; each call runs the app until the answer is here."""

    def __init__(self, runner: asyncio.Runner, harness: Harness) -> None:
        self._runner = runner
        self.harness = harness

    def call(
        self,
        operation: str,
        /,
        *,
        principal: Principal = ANONYMOUS,
        idempotency_key: str | None = None,
        **inputs: Any,
    ) -> Any:
        """As `Harness.call`."""
        call = self.harness.call(operation, principal=principal, idempotency_key=idempotency_key, **inputs)
        return self._runner.run(call)

    def request(self, method: str, target: str, **options: Any) -> Answer:
        """As `Harness.request`."""
        return self._runner.run(self.harness.request(method, target, **options))

    def get(self, target: str, **options: Any) -> Answer:
        """`request("GET", ...)`."""
        return self.request("GET", target, **options)

    def post(self, target: str, **options: Any) -> Answer:
        """`request("POST", ...)`."""
        return self.request("POST", target, **options)


@contextmanager
def client(app: App, **options: Any) -> Iterator[Client]:
    """*app*, started in memory with a fresh database; takes what `running` takes."""
    with asyncio.Runner() as runner:
        around = running(app, **options)
        harness = runner.run(around.__aenter__())
        try:
            yield Client(runner, harness)
        finally:
            runner.run(around.__aexit__(None, None, None))
