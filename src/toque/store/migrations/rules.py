"""Dangers that SQL does not show: what a file says of itself, and what SQLite would do.

They read the file's own syntax tree: nothing is run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import NamedTuple

from toque.store.migrations.phases import is_guarded
from toque.store.migrations.steps import Step

__all__ = ["NAMES", "Broken", "broken", "line_of"]


class Broken(NamedTuple):
    """A rule that a file breaks, and where."""

    rule: str
    problem: str
    remedy: str
    line: int


class _Call(NamedTuple):
    """`op.name(...)` or `batch_op.name(...)` in `upgrade`."""

    name: str
    node: ast.Call
    table: str
    line: int


def broken(step: Step, source: str) -> list[Broken]:
    """What *step*'s file breaks."""
    tree = ast.parse(source)
    calls = list(_calls(_function(tree, "upgrade")))
    return [
        Broken(name, problem, remedy, line)
        for name, (rule, remedy) in _RULES.items()
        for problem, line in rule(step, calls, tree)
    ]


def line_of(source: str, text: str) -> int:
    """The line on which *text* first stands; the first where it does not."""
    before, found, _ = source.partition(text)
    return before.count("\n") + 1 if found else 1


Found = Iterator[tuple[str, int]]
Rule = Callable[[Step, list[_Call], ast.Module], Found]


def _renamed_by_loss(step: Step, calls: list[_Call], tree: ast.Module) -> Found:
    added = {(call.table, _kind(call)) for call in calls if call.name == "add_column"}
    tables = {table for table, _ in added}
    for call in calls:
        if call.name == "drop_column" and call.table in tables:
            yield (
                f"a column of {call.table} is dropped and another added: their data is not the same to a database",
                call.line,
            )
    if any(call.name == "create_table" for call in calls):
        for call in calls:
            if call.name == "drop_table":
                yield "a table is dropped and another created: its rows are lost", call.line


def _required_without_default(step: Step, calls: list[_Call], tree: ast.Module) -> Found:
    for call in calls:
        column = _column(call)
        if call.name == "add_column" and column is not None:
            given = {keyword.arg: keyword.value for keyword in column.keywords}
            is_required = isinstance(given.get("nullable"), ast.Constant) and given["nullable"].value is False  # type: ignore[attr-defined]
            is_computed = any(
                isinstance(arg, ast.Call) and _name(arg) in ("Computed", "Identity") for arg in column.args
            )
            if is_required and "server_default" not in given and not is_computed:
                yield (
                    f"a column of {call.table} must not be NULL and has no default: the rows that are there fail it",
                    call.line,
                )


def _enum_shrinks(step: Step, calls: list[_Call], tree: ast.Module) -> Found:
    for call in calls:
        text = " ".join(str(arg.value) for arg in ast.walk(call.node) if isinstance(arg, ast.Constant)).upper()
        if call.name in ("drop_enum", "rename_enum") and not is_guarded(step.phase):
            yield "an enum type is taken away while releases are served that use it", call.line
        if call.name == "execute" and ("PG_ENUM" in text or "DROP TYPE" in text):
            yield "an enum type is changed by hand; rows may hold what it loses", call.line


def _no_way_back(step: Step, calls: list[_Call], tree: ast.Module) -> Found:
    back = _function(tree, "downgrade")
    is_empty = back is None or all(isinstance(line, ast.Pass | ast.Expr) and not _is_call(line) for line in back.body)
    if calls and is_empty and not step.irreversible and step.phase not in ("backfill",) and _needs_way_back(calls):
        yield "downgrade does nothing, and the file does not say why", back.lineno if back else 1


# What leaves nothing to take back.
_WITHOUT_TRACE = {
    "backfill",
    "validate_constraint",
    "add_enum_value",
    "create_schema",
    "backfill_type_change",
}


def _needs_way_back(calls: list[_Call]) -> bool:
    return any(call.name not in _WITHOUT_TRACE and call.name not in ("batch_alter_table", "f") for call in calls)


def _hidden_loss(step: Step, calls: list[_Call], tree: ast.Module) -> Found:
    if step.loses or step.irreversible:
        return
    for call in _calls(_function(tree, "downgrade")):
        if call.name in ("drop_table", "drop_column"):
            yield f"downgrade drops {_first(call) or 'something'}, and the file does not say so", call.line


def _rebuilt_twice(step: Step, calls: list[_Call], tree: ast.Module) -> Found:
    seen: set[str] = set()
    for call in calls:
        if call.name == "batch_alter_table":
            if call.table in seen:
                yield f"SQLite would rebuild {call.table} more than once", call.line
            seen.add(call.table)


_ONLY_BATCHED = {
    "alter_column",
    "create_foreign_key",
    "create_check_constraint",
    "create_unique_constraint",
    "drop_constraint",
}


def _not_batched(step: Step, calls: list[_Call], tree: ast.Module) -> Found:
    for call in calls:
        owner = call.node.func.value if isinstance(call.node.func, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id == "op" and call.name in _ONLY_BATCHED:
            yield f"op.{call.name} does not work on SQLite", call.line


def _mixed(step: Step, calls: list[_Call], tree: ast.Module) -> Found:
    if step.phase == "backfill":
        for call in calls:
            if call.name not in (
                "backfill",
                "backfill_type_change",
                "set_not_null",
                "validate_constraint",
                "execute",
                "f",
            ):
                yield f"{call.name} changes the schema in a phase that fills rows for as long as it takes", call.line
    for call in calls:
        sql = _first(call).lstrip().upper()
        if call.name == "execute" and sql.startswith(("UPDATE", "DELETE")):
            yield "all rows are written in one statement: it locks each of them until it ends", call.line


_RULES: dict[str, tuple[Rule, str]] = {
    "rename-as-drop-and-add": (
        _renamed_by_loss,
        "Rename it (op.rename_column, op.rename_table), or drop in a contract file of its own.",
    ),
    "required-column-without-default": (
        _required_without_default,
        "Give it a server_default, or add it nullable, backfill it and op.set_not_null it.",
    ),
    "enum-value-removed": (_enum_shrinks, "Let `toque db revision` write it, or do it in a contract file."),
    "downgrade-missing": (_no_way_back, 'Write downgrade, or say why not: irreversible = "..."'),
    "downgrade-hides-loss": (_hidden_loss, 'Say what is lost: downgrade_loses = ("column orders.note",)'),
    "sqlite-rebuilt-twice": (_rebuilt_twice, "Put the operations on one table into one batch_alter_table."),
    "sqlite-needs-batch": (_not_batched, "with op.batch_alter_table(...) as batch_op: batch_op...."),
    "mixed-phases": (_mixed, "Fill rows with op.backfill in a file whose phase is backfill."),
}
NAMES = frozenset({*_RULES, "models-differ", "not-as-sql", "allowed-without-reason"})
"""Every rule of our own."""


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[0] if found else None


def _calls(function: ast.FunctionDef | None, table: str = "") -> Iterator[_Call]:
    for statement in function.body if function else ():
        inside = table
        if isinstance(statement, ast.With):
            inside = next((_text(item.context_expr) for item in statement.items), "")
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and (name := _operation(node)):
                yield _Call(name, node, inside or _text(node), node.lineno)


def _operation(call: ast.Call) -> str:
    """The name of an operation, `op.name` or `batch_op.name`; empty for another call."""
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.attr if function.value.id in ("op", "batch_op") else ""
    return ""


def _text(node: ast.AST) -> str:
    """The first argument of a call, where it is text."""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return ""


def _first(call: _Call) -> str:
    return _text(call.node)


def _column(call: _Call) -> ast.Call | None:
    return next((arg for arg in call.node.args if isinstance(arg, ast.Call) and _name(arg) == "Column"), None)


def _kind(call: _Call) -> str:
    column = _column(call)
    return ast.unparse(column.args[1]) if column is not None and len(column.args) > 1 else ""


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_call(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Call)
