"""The policy that watches a call's statements, and finds those that are run once per row (N+1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from toque.store.statement import Statement, StatementObserver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toque.call.context import Context
    from toque.call.plan import Arguments, Handler

__all__ = ["REPEATS_MIN", "Repeated", "Watch", "Watcher"]

log = logging.getLogger("toque.statements")

# A call that runs one statement for five different rows has a loop. Sentry's detector of N+1 queries has the same
# threshold ("usually five spans", its documentation of performance issues).
REPEATS_MIN = 5

# As many as anybody reads; an app that makes texts up without end must not fill the memory.
WARNINGS_MAX = 1000

_READ_REMEDY = "read them at once: a nested view, WHERE ... IN (...), or a join"
_WRITE_REMEDY = "write them at once: db.execute(statement, [row, row, ...])"


class Repeated(NamedTuple):
    """A statement that one call ran again and again, each time with other values."""

    operation: str
    sql: str
    times: int
    is_write: bool

    def __str__(self) -> str:
        remedy = _WRITE_REMEDY if self.is_write else _READ_REMEDY
        sql = " ".join(self.sql.split())
        return f"{self.operation} ran one statement {self.times} times with other values: {sql}; {remedy}."


class Watch:
    """The statements of one call."""

    def __init__(self, listeners: Sequence[StatementObserver]) -> None:
        self._listeners = listeners
        self._heard: list[Statement] = []
        self._runs: dict[str, _Runs] = {}

    def begin(self) -> None:
        """Forget what was heard: the transaction begins, for the first time or again."""
        self._heard.clear()
        self._runs.clear()

    def hear(self, statement: Statement) -> None:
        runs = self._runs.get(statement.sql)
        if runs is None:
            runs = self._runs[statement.sql] = _Runs(statement)
        runs.add(statement.arguments)
        if self._listeners:
            self._heard.append(statement)

    def end(self) -> list[Repeated]:
        """Tell the listeners what was run; returns what was repeated."""
        for statement in self._heard:
            for listen in self._listeners:
                listen(statement)
        return [runs.repeated() for runs in self._runs.values() if len(runs.values) >= REPEATS_MIN]


class _Runs:
    """How often one call ran one statement."""

    def __init__(self, first: Statement) -> None:
        self.values: set[int] = set()
        """Fingerprints of the values of different runs, until they are enough to know."""
        self._first = first
        self._times = 0

    def add(self, arguments: Sequence[Any]) -> None:
        self._times += 1
        if len(self.values) < REPEATS_MIN:
            self.values.add(hash(repr(arguments)))

    def repeated(self) -> Repeated:
        first = self._first
        return Repeated(first.context.operation, first.sql, self._times, first.is_write)


class Watcher:
    """Watches the calls of one app. In development it warns; a test may ask what was run."""

    def __init__(self) -> None:
        self._listeners: list[StatementObserver] = []
        self._warned: set[tuple[str, str]] = set()
        self.on_repeated: Callable[[Repeated], None] = self._warn

    def stage(self, call: Handler) -> Handler:
        """*call*, its statements watched."""

        async def watched(context: Context, arguments: Arguments) -> Any:
            watch = context.watch = Watch(self._listeners)
            try:
                return await call(context, arguments)
            finally:
                for repeated in watch.end():
                    self.on_repeated(repeated)

        return watched

    @contextmanager
    def listening(self, listen: StatementObserver) -> Iterator[None]:
        """Tell *listen* of every statement of the calls that begin within."""
        self._listeners.append(listen)
        try:
            yield
        finally:
            self._listeners.remove(listen)

    def _warn(self, repeated: Repeated) -> None:
        # Once for each place: the next request would only say the same.
        place = (repeated.operation, repeated.sql)
        if place not in self._warned and len(self._warned) < WARNINGS_MAX:
            self._warned.add(place)
            log.warning("%s", repeated)
