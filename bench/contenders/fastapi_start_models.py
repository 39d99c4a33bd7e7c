"""FastAPI with SQLAlchemy's ORM, async: two operations for each of five models."""

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

app = FastAPI()
engine = create_async_engine(os.environ["BENCH_SQLALCHEMY_URL"])
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


async def session() -> AsyncIterator[AsyncSession]:
    async with new_session() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


class Priced:
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]


class Dish(Priced, Base):
    __tablename__ = "dishes"


class Table(Priced, Base):
    __tablename__ = "tables"


class Order(Priced, Base):
    __tablename__ = "orders"


class Station(Priced, Base):
    __tablename__ = "stations"


class Waiter(Priced, Base):
    __tablename__ = "waiters"


def add_resource(row: type[Dish | Table | Order | Station | Waiter]) -> None:
    table = row.__tablename__

    class View(BaseModel):
        model_config = ConfigDict(from_attributes=True)
        id: int
        name: str
        price_cents: int

    class New(BaseModel):
        name: Annotated[str, Field(min_length=1)]
        price_cents: int

    @app.get(f"/{table}/{{id}}", response_model=View)
    async def read(id: int, session: Session):
        return await session.get_one(row, id)

    @app.post(f"/{table}", response_model=View)
    async def create(new: New, session: Session):
        async with session.begin():
            made = row(name=new.name, price_cents=new.price_cents)
            session.add(made)
        return made


for row in (Dish, Table, Order, Station, Waiter):
    add_resource(row)
