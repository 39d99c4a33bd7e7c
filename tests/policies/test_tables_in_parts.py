"""Rows in two tables (joined-table inheritance), written in bulk: each table's own rules hold its part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import AllRows, App, Database, Principal, Settings, public
from toque.store.models import NAMES, Conventions
from toque.testing import Harness, running

ANN = Principal(subject="ann", tenant="acme")


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Paper(Base, tenant="tenant"):
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    kind: Mapped[str]
    text: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}


class Report(Paper):
    __tablename__ = "report"
    id: Mapped[int] = mapped_column(ForeignKey("paper.id"), primary_key=True)
    figures: Mapped[str]
    __mapper_args__ = {"polymorphic_identity": "report"}


class Sketch(Paper, shared=True):
    """Its own part is everybody's; that of a paper is not."""

    __tablename__ = "sketch"
    id: Mapped[int] = mapped_column(ForeignKey("paper.id"), primary_key=True)
    lines: Mapped[str]
    __mapper_args__ = {"polymorphic_identity": "sketch"}


ACTS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "change a foreign one": lambda session: session.execute(update(Report), [{"id": 3, "text": "stolen"}]),
    "change a foreign one by a shared part": lambda session: session.execute(
        update(Sketch), [{"id": 4, "text": "stolen"}]
    ),
    "change one's own": lambda session: session.execute(update(Report), [{"id": 1, "text": "new", "figures": "2"}]),
    "insert": lambda session: session.execute(
        insert(Report), [{"id": 9, "tenant": "zeta", "text": "forged", "figures": "9"}]
    ),
    "insert by a shared part": lambda session: session.execute(
        insert(Sketch), [{"id": 9, "tenant": "zeta", "text": "forged", "lines": "9"}]
    ),
}
AS_IT_WAS = ["1 acme old", "3 zeta old", "4 zeta old"]


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Harness]:
    app = App("desk", settings=Settings(), metadata=Base.metadata)

    @app.seed
    async def papers(db: AllRows) -> None:
        for number, tenant, part in ((1, "acme", "report"), (3, "zeta", "report"), (4, "zeta", "sketch")):
            paper: Any = Paper.__table__
            await db.execute(insert(paper).values(id=number, tenant=tenant, kind=part, text="old"))
            table = Base.metadata.tables[part]
            await db.execute(insert(table).values({"id": number, table.columns.keys()[-1]: "1"}))

    @app.command("/act", allow=public)
    async def act(name: str, db: Database) -> None:
        async with db.session() as session:
            await ACTS[name](session)

    @app.query("/papers", allow=public)
    async def papers_there(db: AllRows) -> list[str]:
        paper: Any = Paper.__table__
        columns = paper.c
        said = columns.tenant + " " + columns.text
        numbers = await db.all(int, select(columns.id).order_by(columns.id))
        texts = await db.all(str, select(said).order_by(columns.id))
        return [f"{number} {text}" for number, text in zip(numbers, texts, strict=True)]

    async with running(app, database_url=database_url) as harness:
        yield harness


@pytest.mark.parametrize(
    ("name", "status", "papers"),
    [
        ("change a foreign one", 404, AS_IT_WAS),
        ("change a foreign one by a shared part", 404, AS_IT_WAS),
        ("change one's own", 204, ["1 acme new", *AS_IT_WAS[1:]]),
        ("insert", 204, [*AS_IT_WAS, "9 acme forged"]),
        ("insert by a shared part", 204, [*AS_IT_WAS, "9 acme forged"]),
    ],
)
async def test_a_bulk_write_of_a_part_keeps_to_the_rules_of_the_whole(
    desk: Harness, name: str, status: int, papers: list[str]
) -> None:
    """A session names the last of a model's tables and writes each in turn; the rules of the last were taken for all."""
    answer = await desk.post("/act", json={"name": name}, principal=ANN)

    assert (answer.status, (await desk.get("/papers")).json()) == (status, papers)
