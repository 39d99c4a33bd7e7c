"""A broken constraint as the caller hears of it: by its name in the schema, never by the values that broke
it."""

from __future__ import annotations

from typing import Any

from toque.contract.errors import Conflict, Forbidden

__all__ = ["FORBIDDEN_SETTING", "broken", "forbidden", "unique_name"]

FORBIDDEN_SETTING = "toque.forbidden"
"""A setting that PostgreSQL does not know: a guarded statement asks for it where a rule refuses a row."""


def broken(constraint: str) -> Conflict:
    """The change breaks the rule called *constraint* (empty: the database did not tell which)."""
    if not constraint:
        return Conflict("The change breaks a rule of the data, or something else still refers to it.")
    return Conflict(f"The change breaks the rule {constraint!r}.", constraint=constraint)


def forbidden() -> Forbidden:
    """What a row rule did not let the caller write."""
    return Forbidden("A rule of the data does not let you write this.")


def unique_name(columns: str, tables: tuple[Any, ...]) -> str:
    """The name of the unique constraint over *columns*, which SQLite tells as `table.a, table.b`."""
    names = {part.rpartition(".")[2] for part in columns.split(", ")}
    for table in tables:
        for rule in (table.primary_key, *table.constraints, *table.indexes):
            if _is_unique(rule) and {column.name for column in rule.columns} == names:
                return _name(rule) or columns
    return columns


def _is_unique(rule: Any) -> bool:
    return rule.__visit_name__ in ("primary_key_constraint", "unique_constraint") or bool(
        getattr(rule, "unique", False)
    )


def _name(rule: Any) -> str:
    if rule.name is None:  # A table of the app's own, without a naming convention: the name is the database's secret.
        return ""
    from toque.store.dialects import sqlite

    prepare = sqlite().identifier_preparer
    is_index = rule.__visit_name__ == "index"
    name = prepare.format_index(rule) if is_index else prepare.format_constraint(rule)
    return str(name or "").strip('"')
