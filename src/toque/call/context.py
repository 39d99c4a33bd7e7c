"""What is known about one call. Never the client's protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import cached_property
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

    An operation may ask for it by type. Most of it stands at its default for most calls, so the defaults belong to
    the class and a call sets only what it has.
    """

    principal: Principal | None = None
    """Who is calling, set by the authenticate policy from `credential`, or given by a caller in this process."""
    idempotency_key: str | None = None
    sink: Sink | None = None
    """Where a streamed operation's items go."""
    database: Database | None = None
    """The snapshot or transaction, set by the transact policy."""
    stopped: Exception | None = None
    """Why the call was cancelled, set by the admit policy."""

    def __init__(
        self,
        operation: str,
        deadline: float,
        traceparent: str | None = None,
        credential: str | None = None,
        left: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        self.operation = operation
        self.deadline = deadline
        """The moment, on the monotonic clock, at which the call is stopped."""
        self.traceparent = traceparent
        """The trace that the caller handed on, as it came."""
        self.credential = credential
        """What the caller showed: the value of `Authorization`."""
        self.left = left
        """Waits until the caller has gone; None where that cannot be known."""

    @cached_property
    def trace(self) -> Trace:
        """The caller's trace, continued; a new one where there is none."""
        return Trace.incoming(self.traceparent)

    @property
    def caller(self) -> Principal:
        """The principal, or ANONYMOUS where nobody was proven."""
        return self.principal or ANONYMOUS

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - monotonic()


CURRENT: ContextVar[Context | None] = ContextVar("toque_call", default=None)
"""The call that the running code belongs to; for logs and spans, never for passing data."""
