"""An archive of notes: two tenants, several authors, rules of every kind, and what one of them may see of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, MetaData, String, Table, exists, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from toque.contract.principal import Principal
from toque.store.facts import Me
from toque.store.models import NAMES, Conventions
from toque.store.rows import SHARED, Rows, declare


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Topic(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Member(Base, tenant="tenant"):
    """Who may read the notes of a project. Only chiefs write it."""

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    person: Mapped[str]
    project: Mapped[int]

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(read=cls.person == me.subject, write=me.has_role("chief"))


class Note(Base, tenant="tenant"):
    """Its author, and the members of its project, read it; only its author writes it, while its level is below 5."""

    __table_args__ = (CheckConstraint("level >= 0", name="level"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    author: Mapped[str]
    project: Mapped[int]
    slug: Mapped[str] = mapped_column(unique=True)
    text: Mapped[str] = mapped_column(default="empty")
    secret: Mapped[str | None]
    level: Mapped[int] = mapped_column(server_default="1")
    topic_id: Mapped[int | None] = mapped_column(ForeignKey("topic.id"))
    topic: Mapped[Topic | None] = relationship()

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        mine = cls.author == me.subject
        joined = exists().where(Member.project == cls.project, Member.person == me.subject)
        return Rows(
            read=mine | joined,
            write=mine & (cls.level < 5),
            hidden={"secret": mine},
            stamp={"author": me.subject},
        )


class Diary(Base, owner="keeper"):
    """Only its keeper sees it."""

    id: Mapped[int] = mapped_column(primary_key=True)
    keeper: Mapped[str]
    page: Mapped[str]


label = Table(
    "label",
    Base.metadata,
    Column("note_id", Integer, primary_key=True),
    Column("word", String, primary_key=True),
)
declare(label, SHARED)

ANN = Principal(subject="ann", tenant="acme")
BOB = Principal(subject="bob", tenant="acme")
ZOE = Principal(subject="zoe", tenant="zeta")
CHIEF = Principal(subject="cleo", tenant="acme", roles=frozenset({"chief"}))

FOREIGN, HIDDEN = "FOREIGN", "HIDDEN"
"""What Ann may never see is marked by one of these."""

_NAMES = ("id", "tenant", "author", "project", "slug", "text", "secret", "level", "topic_id")
_NOTES = (
    (1, "acme", "ann", 1, "first", "mine", "my secret", 1, 1),
    (2, "acme", "bob", 1, "second", "shared with ann", f"{HIDDEN} of bob", 1, 1),
    (3, "acme", "bob", 2, f"{FOREIGN} third", f"{FOREIGN} of bob", f"{HIDDEN} {FOREIGN}", 2, None),
    (4, "zeta", "zoe", 1, f"{FOREIGN} fourth", f"{FOREIGN} of zoe", f"{HIDDEN} {FOREIGN}", 3, 2),
    (5, "acme", "ann", 3, "fifth", "mine, closed", "my old secret", 5, 2),
    (6, "zeta", "ann", 3, f"{FOREIGN} sixth", f"{FOREIGN}: another ann", f"{HIDDEN} {FOREIGN}", 1, 2),
)
SEEN = [1, 2, 5]
"""The notes that Ann sees. Of these she may change 1."""

# Without their keys, which count from 1: PostgreSQL would not count what it is given.
DATA: Sequence[tuple[Any, Sequence[dict[str, Any]]]] = (
    (insert(Topic), [{"name": "cooking"}, {"name": "wine"}]),
    (
        insert(Member),
        [
            {"tenant": "acme", "person": "ann", "project": 1},
            {"tenant": "acme", "person": f"{FOREIGN} dan", "project": 2},
            {"tenant": "zeta", "person": "zoe", "project": 1},
        ],
    ),
    (insert(Note), [dict(zip(_NAMES[1:], note[1:], strict=True)) for note in _NOTES]),
    (
        insert(Diary),
        [{"keeper": "ann", "page": "dear"}, {"keeper": "bob", "page": f"{FOREIGN} page"}],
    ),
    (insert(label), [{"note_id": 1, "word": "red"}, {"note_id": 3, "word": "blue"}]),
)

WRITABLE = {"note": {1}, "diary": {1}, "member": set(), "topic": {1, 2}, "label": {1, 3}}
"""For each table, the rows that Ann may change or delete, by the first column."""
