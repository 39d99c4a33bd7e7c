"""What an app offers: an operation, as its author declared it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, StrEnum
from typing import Any, Literal

import msgspec
from msgspec import Struct

from toque.contract.access import Access
from toque.contract.errors import Error
from toque.contract.event import Event
from toque.contract.job import JobRules

__all__ = [
    "ATTEMPTS_MAX",
    "FRESHNESS",
    "ISOLATIONS",
    "PRIORITIES",
    "FreshnessWord",
    "Header",
    "InBody",
    "InQuery",
    "Isolation",
    "Kind",
    "Operation",
    "Priority",
]

FreshnessWord = Literal["own-writes", "strict"]
"""How fresh an answer from memory is: it never misses its caller's own commits, or nobody's."""

FRESHNESS: tuple[FreshnessWord, ...] = ("own-writes", "strict")

Isolation = Literal["read committed", "repeatable read", "serializable"]
"""How much of others' work a transaction may see: the SQL standard's names, those that PostgreSQL tells apart."""


class Kind(StrEnum):
    """What an operation does to the data, and so what may be done with the operation."""

    QUERY = "query"
    """Only reads: cacheable, retryable, may be run again for one consistent snapshot."""
    COMMAND = "command"
    """Writes: one transaction, committed before the answer leaves."""
    HANDLER = "handler"
    """A command that an event starts, once an event and handler."""
    JOB = "job"
    """A command that is started later, or on a schedule."""

    @property
    def writes(self) -> bool:
        return self is not Kind.QUERY


ISOLATIONS: Mapping[Kind, tuple[Isolation, ...]] = {
    Kind.QUERY: ("repeatable read", "serializable"),
    **dict.fromkeys((Kind.COMMAND, Kind.HANDLER, Kind.JOB), ("read committed", "repeatable read", "serializable")),
}
"""What an operation may ask for; the first is what it has without asking. A query reads one state of the database, so
less than one snapshot is not to be had."""


ATTEMPTS_MAX = 15
"""How often a handler's event is tried. The pauses in between add up to half an hour on average and an hour at most:
a service that is down until somebody has been woken is waited for; what is wrong with the event is known by then."""


class Priority(IntEnum):
    """Who goes first, and who is refused first, where there is too much to do. The smaller the more important."""

    CRITICAL = 0
    """The app fails its purpose without it: goes first everywhere."""
    NORMAL = 1
    SHEDDABLE = 2
    """Nobody is hurt when it has to come again later: refused first."""


PRIORITIES = {priority.name.lower(): priority for priority in Priority}
"""The words that an author declares and a caller asks with."""


class Header(Struct, frozen=True):
    """Marks an input that comes from an HTTP header: `Annotated[str, Header("x-station")]`."""

    name: str


class InQuery(Struct, frozen=True):
    """Marks an input of a command that comes from the query string: `Annotated[bool, InQuery()]`."""


class InBody(Struct, frozen=True):
    """Marks an input of a query that comes from the body: `Annotated[Search, InBody()]`."""


class Operation(Struct, frozen=True, eq=False):
    """A typed function with a name, a kind, an access rule and, for HTTP, a path.

    Plain data: it is resolved against an app's resources and compiled to a plan when the app starts.
    """

    name: str
    kind: Kind
    function: Callable[..., Any]
    allow: Access | None
    path: str | None = None
    method: str = "GET"
    status: int = 200
    location: str | None = None
    page: str | None = None
    media_type: str | None = None
    errors: tuple[type[Error], ...] = ()
    deadline_s: float | None = None
    priority: str = "normal"
    """A word of `PRIORITIES`."""
    body_bytes_max: int | None = None
    isolation: Isolation | None = None
    freshness: FreshnessWord | float | None = None
    """How fresh a query's answer must be; None where nobody said."""
    is_cached: bool = True
    """Whether a query may be answered from memory at all."""
    stale_while_revalidate_s: float | None = None
    stale_if_error_s: float | None = None
    """For how long after it must be asked for again a cache may give an answer, meanwhile, and where that fails."""
    reads: tuple[Any, ...] | None = None
    """The models on whose tables alone a query's answer depends, by its author's word."""
    is_idempotent: bool = False
    has_outside_effects: bool = False
    event: type[Event] | None = None
    """What starts it, of a handler."""
    on_failure: Literal["park", "skip"] = "park"
    """What becomes of a key whose event a handler could not handle in all its attempts."""
    attempts_max: int = ATTEMPTS_MAX
    job: JobRules | None = None
    """Its queue and its retries, of a job."""
    tags: tuple[str, ...] = ()
    is_deprecated: bool = False
    namespace: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """The local names around a nested function, so that its annotations can be read."""

    @property
    def summary(self) -> str:
        """The first line of the function's docstring, or its name as words."""
        first, _, _ = (self.function.__doc__ or "").strip().partition("\n")
        return first.rstrip(".") or self.function.__name__.replace("_", " ").capitalize()

    @property
    def description(self) -> str:
        """The docstring after its first line."""
        _, _, rest = (self.function.__doc__ or "").strip().partition("\n")
        return "\n".join(line.strip() for line in rest.strip().splitlines())

    @property
    def where(self) -> str:
        """`file.py:12`, where the function stands."""
        code = getattr(self.function, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(self.function)
