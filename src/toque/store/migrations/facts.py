"""What a database says of its tables beyond what Alembic compares: defaults, checks, generated columns, enum types.

Read from two databases of one kind, the same thing has the same text: the database has written both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ARRAY, Connection, Enum, Inspector, MetaData, inspect
from sqlalchemy.types import TypeEngine

from toque.store.migrations.backfill import PROGRESS_TABLE
from toque.store.migrations.definitions import definitions
from toque.store.migrations.session import is_sqlite
from toque.store.migrations.sqlite_declared import Indexed, declared, generated_as, indexed
from toque.store.schema import VERSION_TABLE

__all__ = [
    "EnumKey",
    "Facts",
    "Key",
    "TableFacts",
    "enums_of",
    "facts",
    "is_ours",
    "named",
    "native_enum",
]

Key = tuple[str | None, str]
"""A table: its schema, None for the default one, and its name."""
EnumKey = tuple[str | None, str]


@dataclass
class TableFacts:
    """One table, as its database writes it."""

    defaults: dict[str, str | None] = field(default_factory=dict)
    computed: dict[str, str] = field(default_factory=dict)
    identities: dict[str, bool] = field(default_factory=dict)
    """Columns that PostgreSQL numbers as an identity, and whether always."""
    types: dict[str, str] = field(default_factory=dict)
    """Each with its collation, where it is not the usual one."""
    nullable: dict[str, bool] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    """Of its constraints and indexes."""
    indexes: set[str] = field(default_factory=set)
    indexed: dict[str, Indexed] = field(default_factory=dict)
    """On SQLite, its indexes as their own text tells of them."""
    definitions: dict[str, str] = field(default_factory=dict)
    """What Alembic does not compare of its keys and indexes (`definitions`)."""
    keyed: set[str] = field(default_factory=set)
    """Columns that keys, checks or indexes are on: what would go along if another column took the place of one."""


@dataclass
class Facts:
    """One database."""

    tables: dict[Key, TableFacts]
    enums: dict[EnumKey, list[str]]


def facts(connection: Connection, schemas: Sequence[str | None]) -> Facts:
    """What *connection*'s database says of the tables in *schemas*."""
    inspector = inspect(connection)
    there = {None, *inspector.get_schema_names()}
    tables = {
        (schema, name): _table(inspector, name, schema)
        for schema in schemas
        if schema in there
        for name in inspector.get_table_names(schema=schema)
        if is_ours(name)
    }
    return Facts(tables, _enums(connection, [schema for schema in schemas if schema in there]))


def is_ours(table: str) -> bool:
    """Whether it is the app's, and not a note of the migrations."""
    return table not in (VERSION_TABLE, PROGRESS_TABLE)


def enums_of(metadata: MetaData) -> dict[EnumKey, list[str]]:
    """The named types that *metadata*'s columns need on PostgreSQL, with their values."""
    found = (native_enum(column.type) for table in metadata.sorted_tables for column in table.columns)
    return {(kind.schema or metadata.schema, str(kind.name)): list(kind.enums) for kind in found if kind is not None}


def native_enum(kind: TypeEngine[Any]) -> Enum | None:
    """The named type behind a column's type, which may be an array of it; None where there is none."""
    kind = kind._variant_mapping.get("postgresql", kind)
    if isinstance(kind, ARRAY):
        return native_enum(kind.item_type)
    return kind if isinstance(kind, Enum) and kind.native_enum and kind.name else None


def _enums(connection: Connection, schemas: Sequence[str | None]) -> dict[EnumKey, list[str]]:
    if is_sqlite(connection):
        # It has no types. What the migrations said that there is, is what there is.
        noted: dict[EnumKey, list[str]] = connection.info.get("toque_enums", {})
        return {key: list(values) for key, values in noted.items()}
    inspector = inspect(connection)
    return {
        (schema, found["name"]): list(found["labels"])
        for schema in schemas
        for found in inspector.get_enums(schema=schema)  # type: ignore[attr-defined]
    }


def _table(inspector: Inspector, name: str, schema: str | None) -> TableFacts:
    found = TableFacts()
    for column in inspector.get_columns(name, schema=schema):
        found.defaults[column["name"]] = None if "computed" in column else column.get("default")
        found.types[column["name"]] = str(column["type"])
        found.nullable[column["name"]] = column["nullable"]
        if "identity" in column:
            found.identities[column["name"]] = column["identity"]["always"]
        if "computed" in column:
            found.computed[column["name"]] = column["computed"]["sqltext"] or generated_as(
                _connection(inspector), name, column["name"]
            )
    for check in inspector.get_check_constraints(name, schema=schema):
        if check["name"]:
            found.checks[check["name"]] = check["sqltext"]
    if inspector.dialect.name == "sqlite":
        found.indexed = indexed(_connection(inspector), name)
        for of, collation in declared(_connection(inspector), name).collations.items():
            found.types[of] += f' COLLATE "{collation}"'
    found.indexes = set(found.indexed) | {str(index["name"]) for index in inspector.get_indexes(name, schema=schema)}
    found.names = set(_names(inspector, name, schema)) | set(found.checks)
    found.definitions = definitions(inspector, name, schema)
    found.keyed = set(_keyed(inspector, name, schema))
    found.keyed |= named(found.types, _conditions(inspector, name, schema, found))
    return found


def _connection(inspector: Inspector) -> Connection:
    assert isinstance(inspector.bind, Connection)
    return inspector.bind


def _names(inspector: Inspector, name: str, schema: str | None) -> Iterator[str]:
    for found in (
        inspector.get_pk_constraint(name, schema=schema),
        *inspector.get_unique_constraints(name, schema=schema),
        *inspector.get_foreign_keys(name, schema=schema),
    ):
        if found.get("name"):
            yield str(found["name"])


def _conditions(inspector: Inspector, name: str, schema: str | None, found: TableFacts) -> Iterator[str]:
    """The texts of checks, of indexes on expressions, and of partial ones."""
    yield from found.checks.values()
    yield from (index.terms for index in found.indexed.values())
    for index in inspector.get_indexes(name, schema=schema):
        yield from index.get("expressions", ())
        yield str(index.get("dialect_options", {}).get(f"{inspector.dialect.name}_where", ""))


def named(columns: Iterable[str], texts: Iterable[str]) -> set[str]:
    """Those of *columns* that *texts* name; a word that is the same by chance counts too."""
    bare = (re.sub(r"'(?:[^']|'')*'", "", text) for text in texts)
    words = {word for text in bare for word in re.findall(r'[^\W"]+|(?<=")[^"]+(?=")', text)}
    return {column for column in columns if column in words}


def _keyed(inspector: Inspector, name: str, schema: str | None) -> Iterator[str]:
    yield from inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
    for key in inspector.get_foreign_keys(name, schema=schema):
        yield from key["constrained_columns"]
    for index in inspector.get_indexes(name, schema=schema):
        yield from (column for column in index["column_names"] if column)
    for unique in inspector.get_unique_constraints(name, schema=schema):
        yield from unique["column_names"]
