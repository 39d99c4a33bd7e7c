"""Sensitive tables with rules of every kind: a tenant, an owner, roles, scopes, claims, a relation, oneself."""

from __future__ import annotations

import enum

from sqlalchemy import ForeignKey, MetaData, select
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from toque.store.facts import Me
from toque.store.models import NAMES, Conventions
from toque.store.rows import Rows, nobody


class VaultModel(Conventions, DeclarativeBase):
    """A base with tables of its own: several apps are tested in one process."""

    metadata = MetaData(naming_convention=NAMES)


class State(enum.Enum):
    DRAFT = "draft"
    SHOWN = "shown"


class Topic(VaultModel, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class Reader(VaultModel, tenant="tenant", sensitive=True):
    """Who may read which note, beside its author."""

    note_id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]


class Note(VaultModel, tenant="tenant", sensitive=True):
    """Everybody of the tenant reads what is shown, its author and its readers the rest; an editor changes all that he
    reads, and nobody but a cleaner removes another's."""

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    author: Mapped[str]
    state: Mapped[State] = mapped_column(default=State.DRAFT)
    text: Mapped[str] = mapped_column(default="it's 100% :private")
    topic_id: Mapped[int | None] = mapped_column(ForeignKey("topic.id"))
    parent_id: Mapped[int | None]
    level: Mapped[int] = mapped_column(default=0)

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        mine = cls.author == me.subject
        is_reader = select(Reader.note_id).where(Reader.note_id == cls.id, Reader.subject == me.subject).exists()
        parent = aliased(cls)
        of_mine = select(parent.id).where(parent.id == cls.parent_id, parent.author == me.subject).exists()
        return Rows(
            read=mine | (cls.state == State.SHOWN) | is_reader | of_mine,
            insert=mine & (cls.text != "it's :bad"),
            change=mine | me.has_role("editor", "chief editor"),
            delete=mine | (me.has_scope("clean") & (cls.level < me.claim("level", cls.level.type))),
        )


class Diary(VaultModel, owner="owner", sensitive=True):
    """Each person's own; nobody else's."""

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    page: Mapped[str]
    note_id: Mapped[int | None] = mapped_column(ForeignKey("note.id"))


class Ledger(VaultModel, sensitive=True):
    """Read by whoever is known, written by nobody."""

    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(read=me.is_authenticated, write=nobody)
