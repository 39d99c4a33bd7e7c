"""An app whose queries ask who calls in some cases only: which case it is depends on what is in the database."""

from __future__ import annotations

from sqlalchemy import MetaData, delete, func, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import AllRows, App, Database, Me, NotFound, Principal, Rows, Struct, public
from toque.store.models import NAMES, Conventions

__all__ = ["make_app"]

MODES = 6


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Mode(Base, shared=True):
    """What the queries look for, and thereby whether they ask who calls."""

    id: Mapped[int] = mapped_column(primary_key=True)
    mode: Mapped[int]


class Poster(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Letter(Base, tenant="tenant"):
    """Its tenant's; the clerk's remark is seen by clerks and by its owner."""

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    owner: Mapped[str] = mapped_column(index=True)
    remark: Mapped[str | None]

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        mine = cls.owner == me.subject
        return Rows(read=(cls.owner != "nobody") | me.has_role("clerk"), hidden={"remark": mine | me.has_role("clerk")})


class Diary(Base):
    """Its owner's."""

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    text: Mapped[str]

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(read=(cls.owner == me.subject) | me.has_role("confessor"))


class PosterView(Struct):
    id: int
    text: str


class LetterView(Struct):
    id: int
    owner: str
    remark: str | None


class Answer(Struct):
    mode: int
    posters: list[PosterView] = []
    letters: list[LetterView] = []
    diary: list[str] = []
    count: int = 0


def make_app() -> App:
    app = App("branches", metadata=Base.metadata)

    @app.seed
    async def fill(db: Database) -> None:
        await db.execute(insert(Mode), [{"id": id, "mode": 0} for id in range(2)])
        await db.execute(insert(Poster), [{"id": id, "text": f"poster {id}"} for id in range(2)])

    async def mode_of(id: int, db: Database) -> int:
        mode: int = await db.scalar(select(Mode.mode).where(Mode.id == id))
        return mode

    @app.query("/look/{id}", allow=public)
    async def look(id: int, db: Database) -> Answer:
        answer = Answer(await mode_of(id, db))
        if answer.mode == 0:
            answer.posters = await db.all(PosterView, select(Poster).order_by(Poster.id))
        elif answer.mode == 1:
            answer.letters = await db.all(LetterView, select(Letter).order_by(Letter.id))
        elif answer.mode == 2:
            answer.diary = await db.all(str, select(Diary.text).order_by(Diary.id))
        elif answer.mode == 3:
            answer.count = await db.scalar(select(func.count()).where(Letter.remark.is_not(None)))
        elif answer.mode == 4:
            answer.count = await db.scalar(select(func.count()).select_from(Diary))
            if answer.count > 1:
                answer.letters = await db.all(LetterView, select(Letter).order_by(Letter.id))
        return answer

    @app.query("/letters/{id}", allow=public)
    async def get_letter(id: int, db: Database) -> LetterView:
        """Who may not see it is told that there is none; so is everybody, where the mode is odd."""
        if await mode_of(0, db) % 2:
            raise NotFound("Nobody gets letters today.")
        return await db.one(LetterView, select(Letter).where(Letter.id == id))

    @app.query("/joined", allow=public)
    async def joined(db: Database) -> list[str]:
        both = select(Poster.text, Letter.owner).outerjoin(Letter, Letter.id == Poster.id).order_by(Poster.id)
        return [f"{row.text} {row.owner}" for row in await db.all(Pair, both)]

    @app.query("/me", allow=public)
    async def me(caller: Principal, db: Database) -> str:
        return f"{caller.subject} {caller.tenant} {sorted(caller.roles)} {await mode_of(0, db)}"

    @app.command("/set/{table}/{id}", allow=public)
    async def put(table: str, id: int, row: dict[str, str | int | None], db: AllRows) -> None:
        model = {model.__tablename__: model for model in (Mode, Poster, Letter, Diary)}[table]
        await db.execute(delete(model).where(model.id == id))
        if row:
            await db.execute(insert(model).values(id=id, **row))

    return app


class Pair(Struct):
    text: str
    owner: str | None
