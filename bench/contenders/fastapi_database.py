"""FastAPI with SQLAlchemy's async ORM, as their tutorials join them: one session a request.

BENCH_SQLALCHEMY_URL chooses asyncpg or aiosqlite.
"""

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

app = FastAPI()
engine = create_async_engine(os.environ["BENCH_SQLALCHEMY_URL"], pool_size=16, max_overflow=0)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class World(Base):
    __tablename__ = "world"
    id: Mapped[int] = mapped_column(primary_key=True)
    random_number: Mapped[int]


class Fortune(Base):
    __tablename__ = "fortune"
    id: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[str]


class WorldView(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    random_number: int


class FortuneView(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    message: str


async def session() -> AsyncIterator[AsyncSession]:
    async with new_session() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/world/{id}", response_model=WorldView)
async def world(id: int, session: Session):
    return await session.get_one(World, id)


@app.get("/worlds/{first}", response_model=list[WorldView])
async def worlds(first: int, session: Session):
    return [await session.get_one(World, id) for id in range(first, first + 20)]


@app.get("/fortunes", response_model=list[FortuneView])
async def fortunes(session: Session):
    return (await session.scalars(select(Fortune).order_by(Fortune.message))).all()


@app.post("/renewals/{first}/{number}", response_model=list[WorldView])
async def renew(first: int, number: int, session: Session):
    async with session.begin():
        found = [await session.get_one(World, id) for id in range(first, first + 5)]
        for each in found:
            each.random_number = number
    return found
