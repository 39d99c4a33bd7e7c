"""The port: what an app needs of a database, and `open_store`, which picks one by its address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from toque.call.context import UNCALLED, Context
from toque.call.waiting import Waiting
from toque.contract.operation import Isolation, Kind
from toque.store.database import Database
from toque.store.release import Release
from toque.store.statement import StatementObserver

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.store.attempts import OnCommit
    from toque.store.guard import Guard
    from toque.store.plans import Plans

__all__ = ["Run", "StatementObserver", "Store", "open_store"]

T = TypeVar("T")
Run = Callable[[Database], Awaitable[T]]


class Store(Protocol):
    """One database. Every implementation passes the suite in tests/store."""

    @property
    def dialect_name(self) -> str:
        """`sqlite` or `postgresql`."""
        ...

    @property
    def url(self) -> str:
        """Its address, for migrations."""
        ...

    @property
    def has_replicas(self) -> bool:
        """Whether it wants to know of its callers' own last commits."""
        ...

    @property
    def repeats(self) -> Counter[str]:
        """How often a command was run again, by cause (`transaction.Cause`)."""
        ...

    @property
    def plans(self) -> Plans:
        """The statements that it has run."""
        ...

    @property
    def on_commit(self) -> list[OnCommit]:
        """Who hears of every command that wrote (`Attempts.on_commit`)."""
        ...

    def enforce(self, metadata: MetaData) -> None:
        """Have the database itself enforce the rules of the sensitive tables of *metadata*, before it is started.

        Raises: TypeError where a rule cannot be written for that.
        """

    async def start(self) -> None:
        """Open it. Raises Unavailable when it does not answer."""

    async def stop(self) -> None:
        """Close it; what was acknowledged stays."""

    async def query(
        self,
        run: Run[T],
        context: Context = UNCALLED,
        isolation: Isolation | None = None,
        *,
        is_repeatable: bool = True,
    ) -> T:
        """Run it on one snapshot, read-only. It may run more than once: see RestartInSnapshot.

        Args:
            context: the call that it is run for: an operation that needed a snapshot once begins with one.
            isolation: None for the usual one.
            is_repeatable: False where something leaves *run* before it ends; it begins with a snapshot then.
        """
        ...

    async def command(
        self,
        run: Run[T],
        context: Context = UNCALLED,
        isolation: Isolation | None = None,
        *,
        is_repeatable: bool = True,
    ) -> T:
        """Run it in one transaction: committed when this returns, rolled back on any error or cancellation.

        Where it met another transaction, or the schema changed under it, it is run again in a new one, a bounded
        number of times and within the call's deadline, unless *is_repeatable* is False.

        Raises: OutcomeUnknown when the database was lost while it committed, and cannot be asked any more.
        """
        ...

    @property
    def lines(self) -> Sequence[Waiting[Any]]:
        """Everything in it that calls wait for."""
        ...

    def waiting(self, kind: Kind) -> Waiting[Any] | None:
        """Where an operation of *kind* will wait if it has to; None where that is decided for each call."""
        ...

    async def ping(self) -> None:
        """Come back when the database answers. Raises Unavailable when it does not."""


_BY_SCHEME = {
    "sqlite": "toque.store.sqlite",
    "postgresql": "toque.store.postgres",
    "postgres": "toque.store.postgres",
}


def open_store(
    url: str,
    *,
    slots: int = 10,
    waiting_max: int = 100,
    observer: StatementObserver | None = None,
    replicas: Sequence[str] = (),
    is_pooled: bool = False,
    release: Release | None = None,
    guard: Guard | None = None,
) -> Store:
    """The store at *url*, not started yet.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://` (in memory, gone at the end) or
            `postgresql://user:password@host/name`.
        slots: how many calls use the database at once: connections of PostgreSQL, readers of SQLite.
        waiting_max: how many more may wait for one; further ones are refused as overloaded.
        observer: hears of every statement.
        replicas: addresses of servers that follow the one at *url*; queries go to those that are fresh enough.
        is_pooled: whether a pooler such as PgBouncer stands in between, in transaction mode.
        release: what others see in the database as long as it is used: migrations wait for it.
        guard: the rules of the tables, which every Database of its keeps to; none without.
    Raises: ValueError where an address is none, or the database can have no replicas or pooler.
    """
    scheme = url.partition("://")[0]
    if scheme not in _BY_SCHEME:
        raise ValueError(f"expected a URL such as sqlite:///app.db or postgresql://host/name, got scheme {scheme!r}.")
    store: Store = import_module(_BY_SCHEME[scheme]).open_store(
        url,
        slots=slots,
        waiting_max=waiting_max,
        observer=observer,
        replicas=replicas,
        is_pooled=is_pooled,
        release=release,
        guard=guard,
    )
    return store
