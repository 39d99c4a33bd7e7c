"""Row level security in a migration's files: where the rules of sensitive tables change, and where they step aside.

A rule is in force before the release that declares it starts, so it changes in the expand phase, in the transaction of
the columns that it names. A rule holds on to the columns that it names, and to all of a table that it reads as a whole
(PostgreSQL manual, "Dependency Tracking"): a file that drops or converts one takes it off first and puts it back last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from alembic.operations import MigrateOperation
from alembic.operations import ops as alembic
from sqlalchemy import Connection, MetaData

from toque.store.dialects import postgresql
from toque.store.migrations import operations as ops
from toque.store.migrations.quoting import qualified
from toque.store.migrations.stages import Draft
from toque.store.row_security import Enforced, enforced
from toque.store.row_security_steps import CloseRows, EnforceRows, FreeRows, noted

__all__ = ["contribute"]

_TRANSACTIONAL = ("expand", "switch", "contract")
"""The stages that may drop or convert a column."""

_RULES_OF_SQUAWK = (
    *("ban-alter-row-level-security", "ban-create-policy", "ban-disable-trigger", "ban-drop-function"),
    "ban-drop-policy",
)
_AS_DECLARED = "sensitive tables are kept as the models say; the release before is held to the same rules until it ends"

_DISTURBING = (alembic.DropColumnOp, alembic.AlterColumnOp, ops.FinishTypeChange)


def contribute(connection: Connection, models: MetaData, drafts: dict[str, Draft]) -> None:
    """Add what leads from the rules that *connection*'s migrations add up to, to those of *models*; and back."""
    old, new = noted(connection), enforced(models)
    kept = {_written(table.name, table.schema) for table in models.sorted_tables}
    for table in sorted(old.keys() | new.keys()):
        before, after = old.get(table), new.get(table)
        if before != after:
            _change(drafts, table, before, after, is_kept=table in kept)
    for stage in _TRANSACTIONAL:
        # Where a rule changes in the expand phase, it is off already while the columns do.
        standing = {table: rules for table, rules in new.items() if stage != "expand" or old.get(table) == rules}
        draft = drafts[stage]
        draft.up[:] = _stepping_aside(draft.up, standing)
        draft.down[:] = _stepping_aside(draft.down[::-1], standing)[::-1]
    if any(isinstance(step, (CloseRows, EnforceRows, FreeRows)) for step in drafts["expand"].up):
        drafts["expand"].allowed.update(dict.fromkeys(_RULES_OF_SQUAWK, _AS_DECLARED))


def _change(
    drafts: dict[str, Draft], table: str, before: Enforced | None, after: Enforced | None, *, is_kept: bool
) -> None:
    expand, contract = drafts["expand"], drafts["contract"]
    # What is renamed is renamed before all else, and the rules' words are about the names of then.
    first = drafts["rename"] if drafts["rename"].up else expand
    renamed = _renamed(drafts["rename"])
    if before is not None and not is_kept and table not in renamed:
        # The release before needs the table, and its rules, until it has ended.
        contract.up.insert(0, CloseRows(table))
        contract.down.insert(0, EnforceRows(table, before))
        return
    if before is not None:
        is_freed = after is None and is_kept
        first.up.insert(0, FreeRows(table) if is_freed else CloseRows(table))
        # Downgrades are written backwards: what stands first is done last.
        first.down.insert(0, EnforceRows(table, before))
    if after is not None:
        expand.up.append(EnforceRows(table, after))
        was_open = before is None and table not in renamed.values()
        expand.down.append(FreeRows(table) if was_open else CloseRows(table))


def _stepping_aside(operations: list[MigrateOperation], standing: dict[str, Enforced]) -> list[MigrateOperation]:
    """*operations* with the rules off, while they drop or convert what these may hold on to."""
    disturbed = set(_disturbed(operations))
    held = [table for table, rules in sorted(standing.items()) if _names(table, rules, disturbed)]
    return [
        *(CloseRows(table) for table in held),
        *operations,
        *(EnforceRows(table, standing[table]) for table in held),
    ]


def _names(table: str, rules: Enforced, disturbed: set[str]) -> bool:
    said = " ".join((rules.read, rules.insert, rules.change, rules.delete))
    return table in disturbed or any(name in said for name in disturbed)


def _disturbed(operations: Iterable[MigrateOperation]) -> Iterator[str]:
    """The tables of which a column that a rule may hold on to is dropped or converted."""
    for found in operations:
        if isinstance(found, alembic.ModifyTableOps):
            yield from _disturbed(found.ops)
        elif isinstance(found, _DISTURBING):
            step: Any = found
            yield _written(getattr(step, "table_name", None) or step.table, step.schema)


def _renamed(draft: Draft) -> dict[str, str]:
    """The tables that get another name, and that."""
    renames = [step for step in draft.up if isinstance(step, alembic.RenameTableOp)]
    return {_written(one.table_name, one.schema): _written(one.new_table_name, one.schema) for one in renames}


def _written(name: str, schema: str | None) -> str:
    quote = postgresql().identifier_preparer.quote
    return qualified(quote, name, schema)
