"""A session is SQLAlchemy's own, over the call's transaction."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from kitchen_models import Dish, Item, Order, Sample, Tag
from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.orm import selectinload
from test_types import SampleView, samples

from toque.contract.errors import Conflict, Invalid, NotFound
from toque.store import Store


async def test_objects_are_loaded_changed_and_flushed(kitchen: Store) -> None:
    async def change(db: Any) -> None:
        async with db.session() as session:
            dish = await session.get(Dish, 1)
            dish.price = Decimal("7.50")
            session.add(Dish(name="tea", price=Decimal("2.00")))

    await kitchen.command(change)

    rows = await kitchen.query(lambda db: db.all(Decimal, select(Dish.price).order_by(Dish.id)))
    assert rows[0] == Decimal("7.50")
    assert rows[-1] == Decimal("2.00")


async def test_related_objects_are_loaded_in_a_query(kitchen: Store) -> None:
    async def read(db: Any) -> list[tuple[int, int]]:
        async with db.session() as session:
            orders = (
                await session.scalars(select(Order).options(selectinload(Order.items)).order_by(Order.table_no))
            ).all()
            return [(order.table_no, len(order.items)) for order in orders]

    assert await kitchen.query(read) == [(4, 2), (5, 2)]


async def test_a_session_shares_the_transaction_of_its_call(kitchen: Store) -> None:
    async def both(db: Any) -> int:
        await db.execute(update(Dish).where(Dish.id == 1).values(name="broth"))
        async with db.session() as session:
            session.add(Order(table_no=9))
            name = await session.scalar(select(Dish.name).where(Dish.id == 1))
        assert name == "broth"
        raise LookupError

    with pytest.raises(LookupError):
        await kitchen.command(both)

    assert await kitchen.query(lambda db: db.scalar(select(func.count()).select_from(Order))) == 2


async def test_a_query_that_has_begun_restarts_in_a_snapshot_for_its_session(kitchen: Store) -> None:
    async def read(db: Any) -> int:
        await db.scalar(select(Dish.name).where(Dish.id == 1))
        async with db.session() as session:
            return await session.scalar(select(func.count()).select_from(Dish))

    assert await kitchen.query(read) == 3


async def test_a_query_cannot_write_by_a_session(kitchen: Store) -> None:
    async def write(db: Any) -> None:
        async with db.session() as session:
            session.add(Tag(word="new"))

    with pytest.raises(PermissionError):
        await kitchen.query(write)


async def test_what_a_constraint_refuses_is_the_callers_conflict(kitchen: Store) -> None:
    async def write(db: Any) -> None:
        async with db.session() as session:
            session.add(Dish(id=1, name="again", price=Decimal(1)))

    with pytest.raises(Conflict):
        await kitchen.command(write)


async def test_many_objects_are_inserted_and_know_their_keys(kitchen: Store) -> None:
    async def write(db: Any) -> list[int]:
        async with db.session() as session:
            order = Order(table_no=7, items=[Item(dish_id=1, quantity=n) for n in range(1, 40)])
            session.add(order)
            await session.flush()
            return [item.id for item in order.items]

    keys = await kitchen.command(write)

    assert len(set(keys)) == 39


@given(sample=samples)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_an_object_comes_back_as_it_was_flushed(store: Store, sample: SampleView) -> None:
    values = {**msgspec.structs.asdict(sample), "id": uuid4()}

    async def write_and_read(db: Any) -> tuple[Any, SampleView]:
        async with db.session() as session:
            session.add(Sample(**values))
            await session.flush()
            session.expunge_all()
            found = await session.get(Sample, values["id"])
            mine = {name: getattr(found, name) for name in values}
        return mine, await db.one(SampleView, select(Sample).where(Sample.id == values["id"]))

    mine, view = await store.command(write_and_read)

    assert mine == values == msgspec.structs.asdict(view)


async def test_a_value_that_no_column_takes_is_the_callers_fault(kitchen: Store) -> None:
    async def read(db: Any) -> None:
        async with db.session() as session:
            await session.scalars(select(Sample).where(Sample.at == datetime(2026, 1, 1)))

    with pytest.raises(Invalid, match="expected a time with its zone"):
        await kitchen.query(read)


async def test_objects_are_deleted_with_their_links(kitchen: Store) -> None:
    async def remove(db: Any) -> None:
        async with db.session() as session:
            dish = (await session.scalars(select(Dish).options(selectinload(Dish.tags)).where(Dish.id == 2))).one()
            dish.tags.clear()
            await session.flush()
            for item in await session.scalars(select(Item).where(Item.dish_id == 2)):
                await session.delete(item)
            await session.delete(dish)

    await kitchen.command(remove)

    assert await kitchen.query(lambda db: db.scalar(select(func.count()).select_from(Dish))) == 2


async def test_a_session_that_nobody_waits_for_stops_and_frees_its_connection(kitchen: Store) -> None:
    counting = select(literal(1).label("i")).cte("counting", recursive=True)
    endless = select(func.count()).select_from(counting.union_all(select(counting.c.i + 1)))

    async def read(db: Any) -> None:
        async with db.session() as session:
            await session.scalar(endless)

    for _ in range(12):
        task = asyncio.ensure_future(kitchen.query(read))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    # More were stopped than there are connections: each of them came back.
    assert (
        await asyncio.gather(*[kitchen.query(lambda db: db.scalar(select(literal(1)))) for _ in range(12)]) == [1] * 12
    )


async def test_a_row_that_is_not_there_is_not_found_and_one_that_went_is_a_conflict(kitchen: Store) -> None:
    async def miss(db: Any) -> None:
        async with db.session() as session:
            await session.get_one(Dish, 99)

    async def lose(db: Any) -> None:
        async with db.session() as session:
            item = (await session.scalars(select(Item).order_by(Item.id))).first()
            await db.execute(delete(Item).where(Item.id == item.id))
            item.quantity = 9

    with pytest.raises(NotFound):
        await kitchen.query(miss)
    with pytest.raises(Conflict):
        await kitchen.command(lose)


async def test_a_session_takes_back_what_it_did_itself_and_the_command_goes_on(kitchen: Store) -> None:
    async def change(db: Any) -> str:
        await db.execute(insert(Tag).values(word="before"))
        async with db.session() as session:
            session.add(Tag(word="kept"))
            await session.commit()
            session.add(Tag(word="hot"))
            with pytest.raises(Conflict):
                await session.flush()
            await session.rollback()
            session.add(Tag(word="after"))
            async with session.begin_nested():
                session.add(Tag(word="nested"))
        return "went on"

    assert await kitchen.command(change) == "went on"

    words = await kitchen.query(lambda db: db.all(str, select(Tag.word).order_by(Tag.id)))
    assert words == ["hot", "vegan", "before", "kept", "after", "nested"]


async def test_a_session_that_fails_in_a_savepoint_undoes_no_more(kitchen: Store) -> None:
    async def change(db: Any) -> None:
        await db.execute(insert(Tag).values(word="before"))
        with pytest.raises(Conflict):
            async with db.savepoint(), db.session() as session:
                session.add_all([Tag(word="inside"), Tag(word="hot")])
        await db.execute(insert(Tag).values(word="after"))

    await kitchen.command(change)

    words = await kitchen.query(lambda db: db.all(str, select(Tag.word).order_by(Tag.id)))
    assert words == ["hot", "vegan", "before", "after"]


async def test_a_session_s_failure_that_is_swallowed_keeps_the_rest_of_the_command(kitchen: Store) -> None:
    async def change(db: Any) -> None:
        await db.execute(insert(Tag).values(word="before"))
        with pytest.raises(Conflict):
            async with db.session() as session:
                session.add(Tag(word="hot"))

    await kitchen.command(change)

    words = await kitchen.query(lambda db: db.all(str, select(Tag.word).order_by(Tag.id)))
    assert words == ["hot", "vegan", "before"]
