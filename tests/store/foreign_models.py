"""Schemas that were not made for us: what SQLAlchemy can declare and a migration must not lose."""

from __future__ import annotations

import enum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB, TSTZRANGE


class Mood(enum.Enum):
    happy = 1
    sad = 2


def portable() -> MetaData:
    """Self references, cycles, composite keys, enums, documents, generated columns, all kinds of indexes; no name
    is by convention."""
    metadata = MetaData()
    Table(
        "employee",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("boss_id", ForeignKey("employee.id", name="boss", ondelete="SET NULL")),
        Column("name", String(80), nullable=False, server_default="nobody"),
        Column("mood", Enum(Mood, name="mood"), nullable=False, server_default="happy"),
        Column("grade", Enum("a", "b", name="grade", native_enum=False, create_constraint=True), nullable=False),
        Column("notes", JSON, server_default=text("'{}'")),
        Column("pay", Numeric(8, 2), nullable=False, server_default=text("0")),
        Column("yearly", Numeric(10, 2), Computed("pay * 12", persisted=True)),
        CheckConstraint("pay >= 0", name="paid"),
        Index("employee_by_name", func.lower(text("name"))),
        Index("rich", "pay", sqlite_where=text("pay > 100"), postgresql_where=text("pay > 100")),
    )
    Table(
        "Order Line",
        metadata,
        Column("order", Integer),
        Column("line", Integer),
        Column("who", Integer, ForeignKey("employee.id", name="who"), index=True),
        Column("quantity", Integer, nullable=False),
        PrimaryKeyConstraint("order", "line", name="line_key"),
        UniqueConstraint("who", "line", name="one_each"),
    )
    Table(
        "return",
        metadata,
        Column("order", Integer, primary_key=True),
        Column("line", Integer, primary_key=True),
        Column("why", String),
        ForeignKeyConstraint(["order", "line"], ["Order Line.order", "Order Line.line"], name="returned_line"),
    )
    return metadata


def of_postgresql() -> MetaData:
    """The same, and what PostgreSQL alone has: schemas, arrays, ranges, identities, GIN and INCLUDE."""
    metadata = portable()
    Table(
        "invoice",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("tags", ARRAY(String), nullable=False, server_default=text("'{}'")),
        Column("moods", ARRAY(Enum(Mood, name="mood"))),
        Column("document", JSONB),
        Column("open", TSTZRANGE),
        Column("address", INET),
        Column("key", Uuid, server_default=text("gen_random_uuid()")),
        Column("who", ForeignKey("employee.id", name="invoiced")),
        Index("by_document", "document", postgresql_using="gin"),
        Index("covering", "who", postgresql_include=["key"]),
        UniqueConstraint("key", name="keyed", postgresql_nulls_not_distinct=True),
        schema="sales",
    )
    Table(
        "visit",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("invoice_id", ForeignKey("sales.invoice.id", name="visited", deferrable=True, initially="DEFERRED")),
        Column("state", Enum("new", "old", name="state", schema="sales")),
        schema="sales",
    )
    return metadata


def models(database_url: str) -> MetaData:
    return portable() if database_url.startswith("sqlite") else of_postgresql()


def grown(metadata: MetaData, **more: list[Any]) -> MetaData:
    """*metadata* with more columns, constraints and indexes, by table."""
    for name, items in more.items():
        for item in items:
            if isinstance(item, Column):
                metadata.tables[name].append_column(item)
            elif isinstance(item, Index):
                item._set_parent(metadata.tables[name])
            else:
                metadata.tables[name].append_constraint(item)
    return metadata
