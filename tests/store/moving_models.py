"""An app's tables that are hard to move: every type, circles of references, numbers given by the database."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Column, Computed, ForeignKey, Integer, MetaData, Numeric, String, Table, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque.store import Database, Store
from toque.store.models import NAMES, Conventions
from toque.store.rows import SHARED, declare


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Person(Base, shared=True):
    """Refers to itself, and to a team that refers back."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    team_id: Mapped[int | None] = mapped_column(ForeignKey("team.id", use_alter=True))


class Team(Base, shared=True):
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
    lead_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


class Thing(Base, shared=True):
    id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    text: Mapped[str]
    number: Mapped[int]
    doubled: Mapped[int] = mapped_column(Computed("number * 2", persisted=True))
    ratio: Mapped[float]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 3))
    free: Mapped[Decimal]
    is_open: Mapped[bool]
    at: Mapped[datetime]
    day: Mapped[date]
    hour: Mapped[time]
    lasts: Mapped[timedelta]
    mood: Mapped[Mood]
    data: Mapped[bytes]
    document: Mapped[dict[str, Any]]
    words: Mapped[list[str] | None]
    anything: Mapped[Any] = mapped_column(JSON)


class Order(Base, shared=True):
    """Named like a word of SQL."""

    __tablename__ = "order"

    id: Mapped[int] = mapped_column(primary_key=True)
    group: Mapped[str] = mapped_column("select", String(20))


log = Table("log", Base.metadata, Column("line", String), Column("number", Integer))
"""A table without a key, which may hold equal rows."""

declare(log, SHARED)


def things(count: int) -> list[dict[str, Any]]:
    """Rows that differ in everything that a database could bend."""
    return [
        {
            "id": UUID(int=n * 2**64 + n),
            "person_id": n % 3 + 1,
            "text": ("", "Zoë", "Ω\n\t\\N", "'; --", "a" * 300)[n % 5],
            "number": (0, -1, 10**9, 17)[n % 4],
            "ratio": (0.1, -1e300, 3.0, 1e-9)[n % 4],
            "price": Decimal(n) / 8,
            "free": Decimal("1.10") + n,
            "is_open": n % 2 == 0,
            "at": datetime(2024, 2, 29, 23, 59, 59, n % 1000, UTC) + timedelta(hours=n),
            "day": date(2024, 2, 29) + timedelta(days=n),
            "hour": time(23, 59, 59, n % 1000),
            "lasts": timedelta(days=n, microseconds=n),
            "mood": Mood.GOOD if n % 2 else Mood.BAD,
            "data": bytes([n % 256, 0, 255]),
            "document": {"b": [1, 2.5, None], "a": {"ü": n}, "x": 1.0},
            "words": None if n % 2 else ["a", "b"],
            "anything": (None, 1, "text", [1])[n % 4],
        }
        for n in range(count)
    ]


async def with_triggers(store: Store, table: str) -> list[tuple[str, str]]:
    """Have triggers of all modes on *table* of a PostgreSQL: their names and modes."""

    async def make(db: Database) -> None:
        nothing = "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
        await db.execute(text(nothing))
        for mode in ("always", "replica", "off", "plain"):
            made = f'CREATE TRIGGER "{mode} one" AFTER INSERT ON "{table}" FOR EACH ROW EXECUTE FUNCTION nothing()'
            await db.execute(text(made))
        for mode, how in (("always", "ENABLE ALWAYS"), ("replica", "ENABLE REPLICA"), ("off", "DISABLE")):
            await db.execute(text(f'ALTER TABLE "{table}" {how} TRIGGER "{mode} one"'))

    await store.command(make)
    return await modes_of_triggers(store)


async def modes_of_triggers(store: Store) -> list[tuple[str, str]]:
    names = (
        "SELECT string_agg(tgname || tgenabled::text, ',' ORDER BY tgname) FROM pg_trigger WHERE tgname LIKE '% one'"
    )
    found: str = await store.query(lambda db: db.scalar(text(names)))
    return [(each[:-1], each[-1]) for each in found.split(",")]
