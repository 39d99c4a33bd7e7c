"""What is known about one call. Never the client's protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any

from toque.call.trace import Trace
from toque.contract.principal import ANONYMOUS, Principal

if TYPE_CHECKING:
    from toque.store.database import Database

__all__ = ["CURRENT", "Context", "Sink"]

Sink = Callable[[Any], Awaitable[None]]
"""Takes one item of a streamed answer, and returns when there is room for the next."""


class Context:
    """What is known about one call: who, until when, under which trace.

    An operation may ask for it by type. Its policies fill it in the order in which they run, so its fields are
    plain slots with one writer each, named beside them.
    """

    __slots__ = ("credential", "database", "deadline", "idempotency_key", "left", "operation", "principal", "sink", "trace")

    def __init__(
        self,
        operation: str,
        *,
        deadline: float,
        trace: Trace | None = None,
        credential: str | None = None,
        principal: Principal | None = None,
        idempotency_key: str | None = None,
        left: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        self.operation = operation
        self.deadline = deadline
        """The moment, on the monotonic clock, at which the call is stopped."""
        self.trace = trace or Trace.incoming(None)
        self.credential = credential
        """What the caller showed (a bearer token); the authenticate policy turns it into `principal`."""
        self.principal = principal
        self.idempotency_key = idempotency_key
        self.left = left
        """Waits until the caller has gone; None where that cannot be known."""
        self.database: Database | None = None
        self.sink: Sink | None = None

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def caller(self) -> Principal:
        """The principal, or ANONYMOUS before and without authentication."""
        return self.principal or ANONYMOUS

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - monotonic()


CURRENT: ContextVar[Context | None] = ContextVar("toque_call", default=None)
"""The call that the running code belongs to; for logs and spans, never for passing data."""
