"""Writing migrations from the models: compared in scratch databases, split, written, and tried before they are kept."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from alembic.autogenerate import render_python_code
from alembic.operations.ops import CreateTableCommentOp, DropTableCommentOp, ModifyTableOps, UpgradeOps
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Enum, MetaData

from toque.store.migrations.difference import difference, schemas_of
from toque.store.migrations.facts import Facts, facts, native_enum
from toque.store.migrations.operations import BeginTypeChange, FinishTypeChange, RenameIndex
from toque.store.migrations.questions import Questions
from toque.store.migrations.refused import Refused
from toque.store.migrations.reports import Reports
from toque.store.migrations.running import options, run
from toque.store.migrations.scratch import scratch
from toque.store.migrations.session import in_session
from toque.store.migrations.stages import STAGES, Draft
from toque.store.migrations.steps import Steps

__all__ = ["differences", "revision"]

_FILE = '''"""{message}

Revision: {revision}
Revises: {down}
"""
{allowed}# mypy: disable-error-code="attr-defined"
# pyright: reportAttributeAccessIssue=false

{imports}

revision = {revision!r}
down_revision = {down!r}
branch_labels = None
depends_on = None

phase = {phase!r}
is_transactional = {is_transactional!r}
{honesty}

def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''

_IMPORTS = {
    "import sqlalchemy as sa",
    "from alembic import op",
    # Alembic writes these bare inside of other types.
    "from sqlalchemy import Text  # noqa: F401",
    "from sqlalchemy.dialects import postgresql  # noqa: F401",
}


async def revision(
    url: str, metadata: MetaData, folder: Path, message: str, questions: Questions | None = None
) -> list[Path]:
    """Write the files that lead from the last migration to the models, in their order; none when nothing changed.

    Raises: Refused with every question that is open, and where what was written would not lead to the models.
    """
    act = partial(_revise, metadata, folder, message, questions or Questions())
    async with scratch(url) as address:
        return await in_session(address, act)


async def differences(url: str, metadata: MetaData, folder: Path) -> list[str]:
    """What the models have that the migrations do not lead to, or the reverse, one sentence each."""
    async with scratch(url) as address:
        return await in_session(address, partial(_drifted, metadata, Steps(folder)))


def _made(metadata: MetaData, connection: Connection) -> Facts:
    """The facts of a database that has the models' tables; it is empty again afterwards."""
    schemas = schemas_of(metadata)
    with connection.begin() as transaction:
        for schema in schemas:
            if schema is not None:
                connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        metadata.create_all(connection, checkfirst=False)
        found = facts(connection, schemas)
        transaction.rollback()
    return found


def _revise(metadata: MetaData, folder: Path, message: str, questions: Questions, connection: Connection) -> list[Path]:
    steps = Steps(folder)
    wanted = _made(metadata, connection)
    for step in steps.all:
        run(connection, metadata, steps, step, Reports())
    drafts = difference(metadata, wanted, questions, connection)
    files = _written(steps, message, drafts, metadata, connection.dialect.name)
    try:
        _try(metadata, folder, wanted, files, connection)
    except BaseException:
        for file in files:
            file.unlink()
        raise
    return files


def _drifted(metadata: MetaData, steps: Steps, connection: Connection) -> list[str]:
    wanted = _made(metadata, connection)
    for step in steps.all:
        run(connection, metadata, steps, step, Reports())
    return _remaining(metadata, wanted, connection)


def _try(metadata: MetaData, folder: Path, wanted: Facts, files: list[Path], connection: Connection) -> None:
    """Run what was just written, and compare again."""
    steps = Steps(folder)
    names = {file.name for file in files}
    for step in steps.all:
        if step.path.name in names:
            run(connection, metadata, steps, step, Reports())
    if left := _remaining(metadata, wanted, connection):
        raise Refused(
            f"what would be written does not lead to the models: {'; '.join(left)}. Write this one by hand: "
            "an empty file with its phase in migrations/versions."
        )


def _remaining(metadata: MetaData, wanted: Facts, connection: Connection) -> list[str]:
    """What still differs, in words."""

    class Tell(Questions):
        def value(self, column: str, kind: str, example: str) -> str:
            return "NULL"

        def replaced(self, value: str, values: Any) -> str:
            return str(values[0])

    drafts = difference(metadata, wanted, Tell(nothing_renamed=True), connection)
    return [line for draft in drafts.values() for line in map(_in_words, draft.up)]


def _in_words(operation: Any) -> str:
    if hasattr(operation, "op_name"):
        parts = [str(value) for value in vars(operation).values() if isinstance(value, str) and value]
        return f"{operation.op_name.replace('_', ' ')} {' '.join(parts[:3])}"
    inner = operation.ops[0] if getattr(operation, "ops", None) else operation
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(inner).__name__.removesuffix("Op")).lower()
    table = getattr(inner, "table_name", None) or getattr(inner, "source_table", "")
    column = getattr(inner, "column_name", None) or getattr(getattr(inner, "column", None), "name", "")
    name = getattr(inner, "constraint_name", None) or getattr(inner, "index_name", None) or column
    return f"{words} {table}" + (f".{name}" if name else "")


def _written(steps: Steps, message: str, drafts: dict[str, Draft], metadata: MetaData, dialect: str) -> list[Path]:
    context = MigrationContext.configure(dialect_name=dialect, opts=options(metadata))
    down = steps.head
    files = []
    for name, draft in drafts.items():
        if not draft.up:
            continue
        stage = STAGES[name]
        title = f"{message}: {stage.title}" if stage.title else message
        revision = _next_revision(down)
        slug = re.sub(r"\W+", "_", title.lower()).strip("_")[:60]
        file = steps.folder / "versions" / f"{revision}_{slug or 'change'}.py"
        imports = set(_IMPORTS)
        text = _FILE.format(
            message=title.replace('"', "'"),
            revision=revision,
            down=down,
            phase=stage.phase,
            is_transactional=stage.is_transactional,
            honesty=_honesty(draft),
            allowed="".join(
                f"# toque: allow {rule} because {why}\n"
                for rule, why in draft.allowed.items()
                if rule not in draft.forbidden
            ),
            upgrade=_body(draft.up, context, imports),
            downgrade=_body(draft.down[::-1], context, imports),
            imports="\n".join(_sorted(imports)),
        )
        file.write_text(re.sub(r"\n{4,}", "\n\n\n", text), encoding="utf-8")
        files.append(file)
        down = revision
    return files


def _sorted(imports: set[str]) -> list[str]:
    return sorted(imports, key=lambda line: (not line.startswith("import"), line))


def _honesty(draft: Draft) -> str:
    lines = []
    if draft.loses:
        lines.append(f"downgrade_loses = {tuple(dict.fromkeys(draft.loses))!r}")
    if draft.irreversible:
        lines.append(f"irreversible = {draft.irreversible!r}")
    return "".join(f"{line}\n" for line in lines)


def _body(operations: list[Any], context: MigrationContext, imports: set[str]) -> str:
    code = render_python_code(
        UpgradeOps(_joined(operations)),
        render_as_batch=True,
        imports=cast("Any", imports),
        render_item=_render,
        migration_context=context,
    )
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("# ###")]
    return textwrap.indent(textwrap.dedent("\n".join(lines)).strip() or "pass", "    ")


def _joined(operations: list[Any]) -> list[Any]:
    """Those of one table become one, where nothing between them is in the way: SQLite rebuilds it once."""
    joined: list[Any] = []
    for operation in operations:
        place = _place_to_join(joined, operation)
        if place is None:
            joined.append(operation)
        else:
            last = joined[place]
            joined[place] = ModifyTableOps(last.table_name, [*last.ops, *operation.ops], schema=last.schema)
    return joined


# What goes on in other tables, and what stands beside the table's columns.
_IN_NO_WAY = (ModifyTableOps, BeginTypeChange, FinishTypeChange, RenameIndex, CreateTableCommentOp, DropTableCommentOp)


def _place_to_join(operations: list[Any], operation: Any) -> int | None:
    if not isinstance(operation, ModifyTableOps):
        return None
    for place in reversed(range(len(operations))):
        other = operations[place]
        if not isinstance(other, _IN_NO_WAY):
            return None
        if isinstance(other, ModifyTableOps) and (other.table_name, other.schema) == (
            operation.table_name,
            operation.schema,
        ):
            return place
    return None


def _render(kind: str, item: Any, context: Any) -> str | Literal[False]:
    """Named types are made by operations of their own, and a column only names them."""
    if kind != "type":
        return False
    if isinstance(item, Enum) and native_enum(item) is item:
        values = ", ".join(map(repr, item.enums))
        schema = f", schema={item.schema!r}" if item.schema else ""
        return f"sa.Enum({values}, name={item.name!r}{schema}, create_type=False)"
    module = type(item).__module__
    if not module.startswith("sqlalchemy"):
        context.imports.add(f"import {module}")
        return f"{module}.{item!r}"
    return False


def _next_revision(head: str | None) -> str:
    """The time, to the second, in UTC: it sorts, and two people seldom write at the same one."""
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    return str(int(head) + 1) if head is not None and head.isdigit() and head >= now else now
