"""Where the parts of a change go: into the drafts of the phases, each with the way back."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations import ops as alembic
from sqlalchemy import MetaData

from toque.store.migrations.facts import Facts, Key, TableFacts
from toque.store.migrations.questions import Questions
from toque.store.migrations.stages import STAGES, Draft

__all__ = ["UNWRITTEN", "Dealing", "on", "on_key"]

UNWRITTEN = "the column is new: an older release does not write it"


class Dealing:
    """Deals changes out to `drafts`, knowing what was there before."""

    def __init__(self, models: MetaData, before: Facts, dialect: Any, questions: Questions) -> None:
        self.drafts = {name: Draft() for name in STAGES}
        self.taken: set[str] = set()
        """The names of constraints and indexes that were found to come or go."""
        self._models = models
        self._before = before
        self._dialect = dialect
        self._questions = questions
        self._renamed: set[str] = set()
        self._retyped: set[tuple[Key, str]] = set()
        """Columns that another one takes the place of, in the stage `switch`."""

    def put(self, stage: str, up: MigrateOperation, down: MigrateOperation | None = None, loses: str = "") -> None:
        """Let *stage* do *up*, and its downgrade *down*."""
        draft = self.drafts[stage]
        draft.up.append(up)
        if down is not None:
            draft.down.append(down)
        if loses:
            draft.loses.append(loses)

    def _is_new(self, table: str, schema: str | None) -> bool:
        return (schema, table) not in self._before.tables

    def _there(self, found: Any) -> TableFacts:
        return self._before.tables[found.schema, found.table_name]

    def _columns(self, key: Key) -> set[str]:
        """Those that the release before knows."""
        return set(self._before.tables[key].types)

    def _restricts(self, stage: str, why: str, *, is_felt: bool = False) -> None:
        """*stage* says no to writes; *is_felt* where releases that are about to end may make them."""
        if is_felt:
            self.drafts[stage].forbidden.add("ban-new-write-restriction")
        allowed = self.drafts[stage].allowed
        said = allowed.get("ban-new-write-restriction", "")
        if why not in said:
            allowed["ban-new-write-restriction"] = f"{said}; {why}" if said else why


def on(found: Any, inner: MigrateOperation) -> alembic.ModifyTableOps:
    table = getattr(found, "table_name", None) or found.source_table
    return alembic.ModifyTableOps(table, [inner], schema=getattr(found, "schema", None))


def on_key(key: Key, inner: MigrateOperation) -> alembic.ModifyTableOps:
    return alembic.ModifyTableOps(key[1], [inner], schema=key[0])
