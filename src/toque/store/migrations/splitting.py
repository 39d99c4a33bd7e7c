"""A dangerous change as several harmless ones: what Alembic found, put into expand, backfill, switch and contract.

Each rule answers two questions: does it lock a table for as long as it has rows, and can the release before live
with it? Sources: PostgreSQL manual, ALTER TABLE and CREATE INDEX; squawk's rules, which name the same dangers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations import ops as alembic
from sqlalchemy import Computed

from toque.store.migrations.split_columns import SplitColumns
from toque.store.migrations.split_constraints import SplitConstraints

__all__ = ["Splitting"]


class Splitting(SplitColumns, SplitConstraints):
    """Takes changes, and deals them out to `drafts`."""

    def take(self, found: MigrateOperation) -> None:
        """Split one change that Alembic found."""
        self.taken.add(str(getattr(found, "constraint_name", None) or getattr(found, "index_name", None)))
        for kind, split in self._RULES.items():
            if isinstance(found, kind):
                split(self, found)
                return
        # A comment, or an operation of somebody's own: it locks nothing for long.
        self.put("expand", found, found.reverse())

    # Tables.

    def _table_modified(self, found: alembic.ModifyTableOps) -> None:
        for inner in sorted(found.ops, key=self._turn):
            self.take(inner)

    def _table_created(self, found: alembic.CreateTableOp) -> None:
        self.put("expand", found, found.reverse(), f"table {found.table_name}")

    def _table_dropped(self, found: alembic.DropTableOp) -> None:
        self.put("contract", found, found.reverse())

    def _turn(self, inner: MigrateOperation) -> int:
        """A generated column goes before what it is made of, and comes after it."""
        if isinstance(inner, alembic.DropColumnOp):
            return 0 if inner.column_name in self._there(inner).computed else 1
        return 2 if isinstance(inner, alembic.AddColumnOp) and isinstance(inner.column.server_default, Computed) else 1

    _RULES: dict[type, Callable[[Splitting, Any], None]] = {
        alembic.ModifyTableOps: _table_modified,
        alembic.CreateTableOp: _table_created,
        alembic.DropTableOp: _table_dropped,
        alembic.AddColumnOp: SplitColumns._column_added,
        alembic.DropColumnOp: SplitColumns._column_dropped,
        alembic.AlterColumnOp: SplitColumns._column_altered,
        alembic.CreateIndexOp: SplitConstraints.index_created,
        alembic.DropIndexOp: SplitConstraints.index_dropped,
        alembic.CreateUniqueConstraintOp: SplitConstraints._unique_created,
        alembic.CreateForeignKeyOp: SplitConstraints._foreign_key_created,
        alembic.DropConstraintOp: SplitConstraints._constraint_dropped,
    }
