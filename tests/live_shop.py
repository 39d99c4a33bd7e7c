"""A shop whose queries are followed, on either database."""

from __future__ import annotations

import asyncio

from sqlalchemy import ForeignKey, Integer, MetaData, String, cast, delete, exists, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import (
    App,
    Database,
    Me,
    NotFound,
    Principal,
    Rows,
    Struct,
    Unavailable,
    authenticated,
    predicate,
    public,
    role,
)
from toque.store.models import NAMES, Conventions
from toque.testing import Harness

BANNED: set[str] = set()
"""Whom a rule keeps out, whatever his token says."""

ANA = Principal(subject="ana", roles=frozenset({"keeper"}))
BO = Principal(subject="bo", roles=frozenset({"keeper"}))


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Jar(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf: Mapped[int] = mapped_column(index=True)
    content: Mapped[str]


class Member(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(index=True)


class Letter(Base):
    """Read by members alone."""

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    member_id: Mapped[int | None] = mapped_column(ForeignKey(Member.id))

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(read=exists().where(Member.subject == me.subject), insert=True)


class JarView(Struct):
    id: int
    content: str


class LetterView(Struct):
    text: str


app = App("shop", metadata=Base.metadata)


def is_welcome(principal: Principal) -> bool:
    return principal.subject not in BANNED


@app.query("/shelves/{shelf}", allow=public)
async def shelf(shelf: int, db: Database) -> list[JarView]:
    return await db.all(JarView, select(Jar).where(Jar.shelf == shelf).order_by(Jar.id))


@app.query("/jars/{id}", allow=public)
async def jar(id: int, db: Database) -> JarView:
    return await db.one(JarView, select(Jar).where(Jar.id == id))


@app.query("/kept/{shelf}", allow=role("keeper") & predicate(is_welcome))
async def kept(shelf: int, db: Database) -> list[JarView]:
    return await db.all(JarView, select(Jar).where(Jar.shelf == shelf).order_by(Jar.id))


@app.query("/letters", allow=authenticated)
async def letters(db: Database) -> list[LetterView]:
    return await db.all(LetterView, select(Letter).order_by(Letter.id))


@app.query("/board", allow=authenticated)
async def board(db: Database) -> list[LetterView]:
    """The letters, once there is a jar on shelf 9: only then it matters who looks."""
    if not await db.all(JarView, select(Jar).where(Jar.shelf == 9)):
        return []
    return await db.all(LetterView, select(Letter).order_by(Letter.id))


@app.query("/tested/{id}", allow=public)
async def tested(id: int, db: Database) -> JarView:
    found = await db.one(JarView, select(Jar).where(Jar.id == id))
    if found.content == "broken":
        raise Unavailable("the lid is stuck")
    return found


@app.query("/clock", allow=public)
async def ticks() -> int:
    return 1


@app.query("/whole", allow=public, cached=False)
async def whole(db: Database) -> list[JarView]:
    return await db.all(JarView, select(Jar).order_by(Jar.id))


@app.command("/jars", allow=public)
async def fill(shelf: int, content: str, db: Database) -> JarView:
    new: int = await db.scalar(insert(Jar).values(shelf=shelf, content=content).returning(Jar.id))
    return JarView(new, content)


@app.command("/jars/{id}/content", allow=public)
async def refill(id: int, content: str, db: Database) -> None:
    if not await db.execute(update(Jar).where(Jar.id == id).values(content=content)):
        raise NotFound()


@app.command("/jars/{id}/take", allow=public)
async def take(id: int, db: Database) -> None:
    await db.execute(delete(Jar).where(Jar.id == id))


@app.command("/jars/{id}/more", allow=public)
async def count(id: int, db: Database) -> None:
    """Count on what the label says."""
    await db.execute(update(Jar).where(Jar.id == id).values(content=cast(cast(Jar.content, Integer) + 1, String)))


@app.command("/jars/{id}/shelf", allow=public)
async def move(id: int, shelf: int, db: Database) -> None:
    await db.execute(update(Jar).where(Jar.id == id).values(shelf=shelf))


@app.command("/members", allow=public)
async def enrol(subject: str, db: Database) -> None:
    await db.execute(insert(Member).values(subject=subject))


@app.command("/members/{subject}/leave", allow=public)
async def expel(subject: str, db: Database) -> None:
    await db.execute(delete(Member).where(Member.subject == subject))


@app.command("/letters", allow=public)
async def write(text: str, db: Database) -> None:
    await db.execute(insert(Letter).values(text=text))


def runs(harness: Harness, operation: str) -> int:
    """How often the database was asked for the answer of *operation*."""
    cache = harness.serving.system.cache
    assert cache is not None
    return cache.queries[operation].figures.runs


async def settle(harness: Harness) -> None:
    """Come back when every commit so far was heard of, and every answer that it changed was found out."""
    cache, live = harness.serving.system.cache, harness.serving.system.live
    assert cache is not None
    assert live is not None
    assert await cache.runner.barrier()
    # What has changed is told in the loop's next round.
    await asyncio.sleep(0)
    while not live.is_idle:
        await asyncio.sleep(0.005)
