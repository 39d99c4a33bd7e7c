"""Views inside views: what is read, in how many statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar

import msgspec
import pytest
from kitchen_models import Dish, Item, Order
from sqlalchemy import select

from toque.store import Store

T = TypeVar("T")


class TagView(msgspec.Struct):
    word: str


class DishView(msgspec.Struct):
    name: str
    tags: list[TagView]


class ItemView(msgspec.Struct):
    quantity: int
    dish: DishView


class OrderView(msgspec.Struct):
    table_no: int
    items: list[ItemView]


async def test_one_statement_per_level_however_many_rows(observed: tuple[Store, list[str]]) -> None:
    store, statements = observed

    orders = await store.query(lambda db: db.all(OrderView, select(Order).order_by(Order.table_no)))

    soup = DishView("soup", [TagView("hot"), TagView("vegan")])
    fish = DishView("fish", [TagView("hot")])
    assert orders == [OrderView(table, [ItemView(1, soup), ItemView(2, fish)]) for table in (4, 5)]
    assert len(statements) == 4


async def test_a_row_without_relatives_has_an_empty_list(kitchen: Store) -> None:
    cake = await kitchen.query(lambda db: db.one(DishView, select(Dish).where(Dish.name == "cake")))

    assert cake == DishView("cake", [])


async def test_nothing_found_reads_nothing_more(observed: tuple[Store, list[str]]) -> None:
    store, statements = observed

    assert await store.query(lambda db: db.all(DishView, select(Dish).where(Dish.id == 99))) == []
    assert len(statements) == 1


@dataclass
class Tagged(Generic[T]):
    tags: list[T]


@dataclass
class TaggedDish(Tagged[TagView]):
    name: str


class TaggedDict(TypedDict, Generic[T]):
    tags: list[T]


async def test_what_a_generic_view_holds_is_said_where_it_is_used_or_where_it_is_a_base(kitchen: Store) -> None:
    soup = select(Dish).where(Dish.name == "soup")
    tags = [TagView("hot"), TagView("vegan")]

    assert await kitchen.query(lambda db: db.one(Tagged[TagView], soup)) == Tagged(tags)
    assert await kitchen.query(lambda db: db.one(TaggedDish, soup)) == TaggedDish(tags, "soup")
    assert await kitchen.query(lambda db: db.one(TaggedDict[TagView], soup)) == {"tags": tags}


async def test_a_relationship_wants_a_field_of_its_shape(kitchen: Store) -> None:
    class Wrong(msgspec.Struct):
        dish: list[DishView]

    with pytest.raises(TypeError, match=r"Wrong.dish names a relationship"):
        await kitchen.query(lambda db: db.all(Wrong, select(Item)))
