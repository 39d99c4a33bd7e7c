"""What is known about one call. Never the client's protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from toque.call.trace import Trace
from toque.contract.operation import Priority
from toque.contract.principal import ANONYMOUS, Principal

if TYPE_CHECKING:
    from toque.call.delivery import Delivery
    from toque.contract.freshness import Freshness
    from toque.store.database import Database
    from toque.store.insight.watch import Watch
    from toque.store.reads import Reads

__all__ = ["CURRENT", "UNCALLED", "Context", "Mark", "Sink", "Token"]

Sink = Callable[[Any], Awaitable[None]]
"""Takes one item of a streamed answer, and returns when there is room for the next."""


class Token(Struct, frozen=True):
    """A caller's own commit, which no answer to him may miss."""

    epoch: str
    """The log that tells of it."""
    number: int


class Mark:
    """The last commit that a caller knows of, as a position in the store's log; all his calls may share one."""

    __slots__ = ("is_new", "needed_s", "position", "token")

    def __init__(self, position: int = 0, token: Token | None = None) -> None:
        self.position = position
        self.token = token
        """The transaction in which he last committed something, where the cache asks for that."""
        self.is_new = False
        """Whether there is anything in it that he did not bring along."""
        self.needed_s = 0.0
        """For how long somebody who does not see it may miss that."""

    def reach(self, position: int) -> None:
        """He knows of the commit at *position* too."""
        self.is_new = self.is_new or position > self.position
        self.position = max(self.position, position)

    def commit(self, epoch: str, number: int, needed_s: float) -> None:
        """He knows of the commit of transaction *number* in that log too, which may be missed for so long."""
        self.token, self.is_new, self.needed_s = Token(epoch, number), True, needed_s


class Context(Struct, eq=False):
    """What is known about one call: who, until when, under which trace.

    An operation may ask for it by type. A struct, because one is made for every call; two contexts are never equal.
    """

    operation: str
    deadline: float
    """The moment, on the monotonic clock, at which the call is stopped."""
    traceparent: str | None = None
    """The trace that the caller handed on, as it came."""
    credential: str | None = None
    """What the caller showed: the value of `Authorization`."""
    left: Callable[[], Awaitable[Any]] | None = None
    """Waits until the caller has gone; None where that cannot be known."""
    began: float = field(default_factory=monotonic)
    """The moment, on the same clock, at which the call came in."""
    principal: Principal | None = None
    """Who is calling: set by the authenticate policy, or given by a caller in this process."""
    priority: Priority = Priority.CRITICAL
    """How important it is; until the admit policy has set it, how important it may be at most."""
    sink: Sink | None = None
    """Where a streamed operation's items go."""
    database: Database | None = None
    """The snapshot or transaction, set by the transact policy."""
    mark: Mark | None = None
    """The last commit that the caller knows of, where the store asks for that."""
    idempotency_key: str | None = None
    """What the caller names this call by, so that trying it again does nothing twice (`Plan.key`)."""
    delivery: Delivery | None = None
    """The message that started it, where one did."""
    is_replayed: bool = False
    """Whether the answer is that of an earlier call with the same key, set by the deduplicate policy."""
    watch: Watch | None = None
    """Who hears of its statements, set by the watch policy."""
    reads: Reads | None = None
    """Who hears of what its statements read, set by the cache policy for a run whose answer may be kept."""
    freshness: Freshness | None = None
    """How fresh its caller wants the answer to be, beyond what the operation says."""
    takes_kept: bool = False
    """Whether its transport takes an answer as it is kept, and not only as a value."""
    cache_key: Any = None
    """Under what an answer of it is kept, set by the cache policy where the transport takes it so."""
    cache_status: str = ""
    """What became of it in the cache (RFC 9211, 2), set by the cache policy; empty where that was not asked."""
    is_receiving: bool = False
    """Whether it still waits for its caller's body, set by the receive policy."""
    receive_by: float = inf
    """The moment by which that body must be here; set by the transport that waits for it."""
    stopped: Exception | None = None
    """Why the call was cancelled, set by the admit policy."""
    known_trace: Trace | None = None

    @classmethod
    def within(cls, operation: str, seconds: float, principal: Principal | None = None) -> Context:
        """The context of a call that this process makes itself, and that has *seconds* from now on."""
        return cls(operation, monotonic() + seconds, principal=principal)

    @property
    def trace(self) -> Trace:
        """The caller's trace, continued; a new one where there is none. Most calls never look."""
        if self.known_trace is None:
            self.known_trace = Trace.incoming(self.traceparent)
        return self.known_trace

    @property
    def caller(self) -> Principal:
        """The principal, or ANONYMOUS where nobody was proven."""
        return self.principal or ANONYMOUS

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def share(self) -> str:
        """Whose call it is where callers take turns."""
        return "" if self.principal is None else self.principal.share

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - monotonic()


UNCALLED = Context("", inf)
"""Where nobody called: what the app does for itself when it starts, and what a test does to a store alone."""

CURRENT: ContextVar[Context | None] = ContextVar("toque_call", default=None)
"""The call that the running code belongs to; for logs and spans, never for passing data."""
