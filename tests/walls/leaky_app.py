"""An app with holes of its author's own making, for the access matrix to find."""

from __future__ import annotations

from uuid import UUID, uuid4

from sqlalchemy import MetaData, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import AllRows, App, Database, Struct, public, role, scope
from toque.store.facts import Me
from toque.store.models import NAMES, Conventions
from toque.store.rows import Rows, everybody


class LeakyModel(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Letter(LeakyModel, tenant="tenant", owner="owner", sensitive=True):
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tenant: Mapped[str]
    owner: Mapped[str]
    text: Mapped[str]


class Parcel(LeakyModel):
    """Meant for its sender; the rule forgets to say so."""

    id: Mapped[int] = mapped_column(primary_key=True)
    sender: Mapped[str]
    content: Mapped[str]

    @classmethod
    def __rows__(cls, me: Me) -> Rows:
        return Rows(
            read=everybody, insert=cls.sender == me.subject, delete=me.is_authenticated, stamp={"sender": me.subject}
        )


app = App("leaky", metadata=LeakyModel.metadata)


class LetterView(Struct):
    id: UUID
    text: str


@app.query("/letters", allow=role("reader"))
async def list_letters(db: Database) -> list[LetterView]:
    return await db.all(LetterView, select(Letter))


@app.query("/letters/all", allow=role("reader"))
async def list_all_letters(db: AllRows) -> list[LetterView]:
    return await db.all(LetterView, select(Letter))


@app.command("/letters", allow=scope("letters:write"))
async def write_letter(text: str, db: Database) -> LetterView:
    letter = LetterView(uuid4(), text)
    await db.execute(insert(Letter).values(id=letter.id, text=text))
    return letter


@app.query("/open", allow=public)
async def count_letters(db: Database) -> int:
    return len(await db.all(UUID, select(Letter.id)))


class LetterSent(Struct):
    sent: int


@app.command(allow=role("sender") & scope("letters:write"))
async def send_letters(db: Database) -> LetterSent:
    return LetterSent(0)
