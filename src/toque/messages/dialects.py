"""One text for both databases: Toque's own statements as PostgreSQL has them, and as SQLite does."""

from __future__ import annotations

import re
from collections.abc import Mapping

from toque.store.prepared import Prepared

__all__ = ["both"]

_CLOCK = {
    "postgresql": "extract(epoch FROM clock_timestamp())::float8",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
}
"""Seconds since 1970, by the database's clock: it alone is the same for all processes."""

_EACH = {
    "postgresql": r"(SELECT jsonb_array_elements_text(\1::text::jsonb))",
    "sqlite": r"(SELECT value FROM json_each(\1))",
}


def both(sql: str, is_write: bool = False) -> Mapping[str, Prepared]:
    """*sql* for each dialect by its name.

    Written as for PostgreSQL, with tables of the schema `toque`, values as `$1`, and casts as `::type`; `{now}` is the
    time, and `{each $1}` the texts of a JSON list.
    """
    return {name: Prepared(_written(sql, name), is_write) for name in _CLOCK}


def _written(sql: str, dialect: str) -> str:
    sql = re.sub(r"\{each (\$\d+)\}", _EACH[dialect], sql).replace("{now}", _CLOCK[dialect])
    if dialect == "postgresql":
        return sql
    sql = re.sub(r"::[a-z0-9]+(\[\])?", "", sql.replace("toque.", "toque_"))
    return re.sub(r"\$(\d+)", r"?\1", sql).replace("FOR NO KEY UPDATE", "")
