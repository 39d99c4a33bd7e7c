"""Statements within limits: what they may wait and take, set before them and visible in the script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.operations import Operations

from toque.store.migrations.phases import Limits

__all__ = ["limited"]


@contextmanager
def limited(operations: Operations, limits: Limits) -> Iterator[None]:
    """Within it a statement waits and works no longer than *limits*; afterwards, as long as before.

    SQLite knows no such limits: there, one writer waits for the other (`busy_timeout`), and a reader for nobody.
    """
    if operations.impl.dialect.name != "postgresql":
        yield
        return
    before: Limits | None = getattr(operations.migration_context, "toque_limits", None)
    _set(operations, limits)
    yield
    if before is not None:
        _set(operations, before)


def _set(operations: Operations, limits: Limits) -> None:
    operations.migration_context.toque_limits = limits  # type: ignore[attr-defined]
    operations.execute(f"SET lock_timeout = '{limits.lock_timeout_ms}ms'")
    operations.execute(f"SET statement_timeout = '{limits.statement_timeout_ms // 1000}s'")
