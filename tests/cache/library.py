"""A small library: tables with every kind of key, tables with rules of rows, and random rows for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    func,
    select,
)
from sqlalchemy import Enum as EnumType

from toque.contract.principal import Principal
from toque.store.models import NAMES as NAMES_OF_CONSTRAINTS
from toque.store.rows import SHARED, Rows, declare


class State(Enum):
    NEW = "new"
    OLD = "old"


metadata = MetaData(naming_convention=NAMES_OF_CONSTRAINTS)

author = Table(
    "author",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, index=True),
    Column("boss_id", ForeignKey("author.id", ondelete="SET NULL")),
    Column("fame", Integer),
)
book = Table(
    "book",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("author_id", ForeignKey("author.id", ondelete="CASCADE"), index=True),
    Column("shelf", Integer, index=True),
    Column("code", Uuid, index=True),
    Column("state", EnumType(State), index=True),
    Column("lent", Boolean, index=True),
    Column("printed", Date, index=True),
    Column("price", Numeric(8, 2), index=True),
    Column("note", String(40)),
)
member = Table("member", metadata, Column("id", Integer, primary_key=True), Column("subject", String(20), unique=True))
Index("member_by_lower_subject", func.lower(member.c.subject), unique=True)
loan = Table(
    "loan",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("book_id", ForeignKey("book.id", ondelete="CASCADE"), index=True),
    Column("reader", String(20), index=True),
    Column("branch", String(20), index=True),
    Column("days", Integer),
)
"""Its rows are their readers', and their branch's librarian sees them too."""
review = Table(
    "review",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("loan_id", ForeignKey("loan.id", ondelete="CASCADE"), index=True),
    Column("branch", String(20), index=True),
    Column("stars", Integer, index=True),
)
"""Its rows are its branch's; the stars are seen by members only."""

TABLES = (author, book, member, loan, review)

for shared in (author, book, member):
    declare(shared, SHARED)
declare(loan, lambda me: Rows(read=(loan.c.reader == me.subject) | me.has_role("librarian")), tenant="branch")
declare(
    review,
    lambda me: Rows(
        read=review.c.branch == me.tenant,
        hidden={"stars": select(member.c.id).where(member.c.subject == me.subject).exists()},
    ),
)

NAMES = ("ann", "bob", "cat", "Ann")
BRANCHES = ("north", "south")
UUIDS = tuple(UUID(int=n) for n in range(3))
DATES = tuple(date(2020, 1, day) for day in (1, 2, 3))
PEOPLE = (
    Principal(subject="ann", tenant="north"),
    Principal(subject="bob", tenant="south"),
    Principal(subject="cat", tenant="north", roles=frozenset({"librarian"})),
    Principal(),
)

Choose = Callable[[int], int]


def value_for(column: Column[Any], choose: Choose) -> Any:
    """A value that *column* may have: of few, so that equalities are often fulfilled."""
    kinds: dict[type, tuple[Any, ...]] = {
        Integer: tuple(range(1, 7)) if column.primary_key or column.foreign_keys else (1, 2, 3, None),
        Boolean: (True, False, None),
        Date: (*DATES, None),
        Uuid: (*UUIDS, None),
        EnumType: (State.NEW, State.OLD, None),
        Numeric: (1, 2, None),
    }
    if column.foreign_keys and choose(6) == 0:
        return None
    named = BRANCHES if column.name == "branch" else (*NAMES, None)
    values = kinds.get(type(column.type), named)
    return values[choose(len(values))]


def row_for(table: Table, choose: Choose) -> dict[str, Any]:
    """A row with one of few keys, which may be taken."""
    return {column.name: value_for(column, choose) for column in table.c}
