"""Something done to the archive by somebody, and undone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import archive_models as models

from toque.call.context import Context
from toque.contract.principal import Principal
from toque.store import AllRows, Database, Store


class Undo(Exception):
    """Ends a test's command, so that the archive stays as it was."""


class Outcome:
    """What came of something that was done, and what the database holds then."""

    result: Any = None
    error: BaseException | None = None
    before: dict[str, dict[Any, Any]]
    after: dict[str, dict[Any, Any]]


async def attempt(store: Store, act: Any, principal: Principal = models.ANN) -> Outcome:
    """Let *principal* do *act* in a command, look at all tables before and after, and undo it."""
    outcome = Outcome()

    async def run(db: Database) -> None:
        outcome.before = outcome.after = await everything(db)
        try:
            outcome.result = await act(db)
        except Exception as error:
            outcome.error = error
        else:
            outcome.after = await everything(db)
        raise Undo

    context = Context.within("test", 60, principal)
    with suppress(Undo):
        await store.command(run, context)
    return outcome


async def everything(db: Database) -> dict[str, dict[Any, Any]]:
    """Every row of every table, by its first column, past all rules."""
    raw = AllRows.of(db)
    found = {}
    for table in models.Base.metadata.sorted_tables:
        rows = await rows_of(raw, table.select().order_by(*table.primary_key.columns))
        found[table.name] = {row[0]: row for row in rows}
    return found


async def rows_of(db: Database, statement: Any, parameters: Any = None) -> list[tuple[Any, ...]]:
    """The rows of *statement* as the driver gives them."""
    plan, binds = db._plans.plan(statement, None, parameters or ())
    transaction = db._transaction
    prepared, arguments = plan.arguments(binds, parameters, transaction.context.caller)
    return [tuple(row) for row in await transaction.fetch(prepared, arguments, 0, list)]


def foreign(result: Any) -> list[Any]:
    """What came back that Ann may never see."""
    rows: Iterable[Any] = result if isinstance(result, list) else []
    values = [
        value for row in rows for value in (row if isinstance(row, Sequence) and not isinstance(row, str) else (row,))
    ]
    return [value for value in values if models.FOREIGN in str(value) or models.HIDDEN in str(value)]


def touched(outcome: Outcome) -> dict[str, Any]:
    """The rows that were changed and are not Ann's to change, and those that were put under another's name."""
    found = {}
    for table, before in outcome.before.items():
        after = outcome.after[table]
        lost = {key for key, row in before.items() if after.get(key) != row} - models.WRITABLE[table]
        new = [row for key, row in after.items() if key not in before]
        forged = [row for row in new if table in ("note", "member") and "acme" not in row]
        forged += [row for row in new if table in ("note", "diary") and "ann" not in row]
        if lost or forged:
            found[table] = (lost, forged)
    return found
