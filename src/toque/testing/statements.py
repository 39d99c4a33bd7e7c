"""What an app's test may ask of its statements: how many a call ran, and that none runs once per row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from toque.store.statement import Statement
from toque.testing.blocking import Client
from toque.testing.harness import Harness

__all__ = ["counted"]


@contextmanager
def counted(app: Client | Harness) -> Iterator[list[Statement]]:
    """The statements of the calls made within, in the order in which they ended.

    A call that begins again, because a query turned out to need a snapshot, counts once.
    Raises: ValueError where statements are not watched: with `database.watch` off, or in production.
    """
    statements: list[Statement] = []
    serving = app.harness.serving if isinstance(app, Client) else app.serving
    watcher = serving.system.watcher
    if watcher is None:
        raise ValueError("expected an app whose statements are watched; set database.watch = true.")
    with watcher.listening(statements.append):
        yield statements
