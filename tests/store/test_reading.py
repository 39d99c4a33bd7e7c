"""Statements in, views out: which columns are read, and what each method promises."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from kitchen_models import Course, Dish, Item, Order, Tag
from sqlalchemy import bindparam, func, insert, select, text, union_all

from toque.contract.errors import NotFound
from toque.store import Store


class DishView(msgspec.Struct):
    name: str
    price: Decimal


class KeywordView(msgspec.Struct, kw_only=True, rename="camel"):
    name: str
    price: Decimal


@dataclass
class DishData:
    name: str
    price: Decimal


@attrs.define
class DishAttrs:
    name: str
    price: Decimal


class DishDict(TypedDict):
    name: str
    price: Decimal


class DishModel(pydantic.BaseModel):
    name: str
    price: Decimal = pydantic.Field(alias="cost")


SOUP = select(Dish).where(Dish.name == "soup")


@pytest.mark.parametrize("view", [DishView, KeywordView, DishData, DishAttrs, DishModel])
async def test_every_kind_of_view_is_read(kitchen: Store, view: Any) -> None:
    soup = await kitchen.query(lambda db: db.one(view, SOUP))

    assert type(soup) is view
    assert (soup.name, soup.price) == ("soup", Decimal("1.00"))


async def test_a_typed_dict_is_read_as_a_dict(kitchen: Store) -> None:
    soup = await kitchen.query(lambda db: db.one(DishDict, SOUP))

    assert soup == {"name": "soup", "price": Decimal("1.00")}


async def test_only_the_columns_of_the_view_are_read(observed: tuple[Store, list[str]]) -> None:
    store, statements = observed

    await store.query(lambda db: db.one(DishView, SOUP))

    columns = statements[0].partition("FROM")[0]
    assert "name" in columns
    assert "price" in columns
    assert "recipe" not in columns


async def test_an_attribute_with_another_column_name_is_found_by_its_own(kitchen: Store) -> None:
    class OrderView(msgspec.Struct):
        table_no: int

    orders = await kitchen.query(lambda db: db.all(OrderView, select(Order).order_by(Order.table_no)))

    assert [order.table_no for order in orders] == [4, 5]


async def test_labels_and_columns_answer_before_the_entity(kitchen: Store) -> None:
    class Loud(msgspec.Struct):
        name: str
        price: Decimal
        letters: int

    statement = select(Dish, func.upper(Dish.name).label("name"), func.length(Dish.name).label("letters"))
    dishes = await kitchen.query(lambda db: db.all(Loud, statement.order_by(Dish.id).limit(1)))

    assert dishes == [Loud("SOUP", Decimal("1.00"), 4)]


async def test_a_field_without_a_column_is_named_with_the_nearest(kitchen: Store) -> None:
    class Misspelt(msgspec.Struct):
        nmae: str

    with pytest.raises(TypeError, match=r"Misspelt\.nmae has no column in the statement; did you mean 'name'"):
        await kitchen.query(lambda db: db.all(Misspelt, select(Dish)))


@pytest.mark.parametrize(("statement", "came"), [("SELECT 1", "str"), (Dish, "Dish"), (None, "NoneType")])
async def test_what_is_no_statement_is_told(kitchen: Store, statement: Any, came: str) -> None:
    with pytest.raises(TypeError, match=rf"built with select\(\), insert\(\) and their like, got {came}"):
        await kitchen.query(lambda db: db.all(int, statement))
    with pytest.raises(TypeError, match=rf"got {came}"):
        await kitchen.command(lambda db: db.execute(statement, {"id": 1}))


async def test_a_field_that_two_entities_have_must_be_labelled(kitchen: Store) -> None:
    class Both(msgspec.Struct):
        id: int

    with pytest.raises(TypeError, match="label"):
        await kitchen.query(lambda db: db.all(Both, select(Dish, Tag)))


async def test_narrowing_keeps_the_joins(kitchen: Store) -> None:
    class Quantity(msgspec.Struct):
        quantity: int

    statement = select(Dish, Item).join(Item, Item.dish_id == Dish.id).where(Dish.name == "fish")
    items = await kitchen.query(lambda db: db.all(Quantity, statement))

    assert [item.quantity for item in items] == [2, 2]


async def test_distinct_and_union_keep_their_meaning(kitchen: Store) -> None:
    class Named(msgspec.Struct):
        name: str

    distinct = select(Dish.course, Dish.name).distinct().order_by(Dish.name)
    both = union_all(select(Dish.name), select(Tag.word.label("name")))

    assert len(await kitchen.query(lambda db: db.all(Named, distinct))) == 3
    assert len(await kitchen.query(lambda db: db.all(Named, both))) == 5


async def test_one_wants_exactly_one(kitchen: Store) -> None:
    with pytest.raises(NotFound, match="DishView"):
        await kitchen.query(lambda db: db.one(DishView, select(Dish).where(Dish.id == 99)))
    with pytest.raises(ValueError, match="expected one row"):
        await kitchen.query(lambda db: db.one(DishView, select(Dish)))


async def test_first_all_and_scalar(kitchen: Store) -> None:
    by_id = select(Dish).order_by(Dish.id)

    assert (await kitchen.query(lambda db: db.first(DishView, by_id))) == DishView("soup", Decimal("1.00"))
    assert await kitchen.query(lambda db: db.first(DishView, by_id.where(Dish.id > 9))) is None
    assert len(await kitchen.query(lambda db: db.all(DishView, by_id))) == 3
    assert await kitchen.query(lambda db: db.all(str, select(Dish.name).order_by(Dish.id))) == [
        "soup",
        "fish",
        "cake",
    ]
    assert await kitchen.query(lambda db: db.scalar(select(func.count()).select_from(Dish))) == 3
    assert await kitchen.query(lambda db: db.scalar(select(Dish.name).where(Dish.id == 99))) is None


async def test_a_prepared_statement_takes_its_values_by_name(kitchen: Store) -> None:
    by_id = select(Dish).where(Dish.id == bindparam("id"))

    names = [(await kitchen.query(lambda db, i=i: db.one(DishView, by_id, {"id": i}))).name for i in (1, 2)]

    assert names == ["soup", "fish"]
    with pytest.raises(TypeError, match="needs a value for 'id'"):
        await kitchen.query(lambda db: db.one(DishView, by_id))
    with pytest.raises(TypeError, match="no parameter 'idd'; did you mean 'id'"):
        await kitchen.query(lambda db: db.one(DishView, by_id, {"idd": 1}))


async def test_equal_statements_with_other_values_read_other_rows(kitchen: Store) -> None:
    for name in ("soup", "fish", "cake"):
        dish = await kitchen.query(lambda db, n=name: db.one(DishView, select(Dish).where(Dish.name == n)))
        assert dish.name == name


@pytest.mark.parametrize("ids", [[], [1], [1, 2], [3, 2, 1], [1, 99]])
async def test_in_takes_lists_of_any_length(kitchen: Store, ids: list[int]) -> None:
    found = await kitchen.query(lambda db: db.all(int, select(Dish.id).where(Dish.id.in_(ids)).order_by(Dish.id)))
    others = await kitchen.query(lambda db: db.all(int, select(Dish.id).where(Dish.id.not_in(ids))))

    assert found == sorted({*ids} & {1, 2, 3})
    assert {*found} | {*others} == {1, 2, 3}


async def test_text_works(kitchen: Store) -> None:
    statement = text("SELECT name, price FROM dish WHERE id = :id").bindparams(id=1)

    assert (await kitchen.query(lambda db: db.one(DishView, statement))) == DishView("soup", Decimal("1"))


async def test_a_stream_yields_every_row_in_order(kitchen: Store) -> None:
    async def fill(db: Any) -> None:
        await db.execute(insert(Tag), [{"word": f"w{i}"} for i in range(1000)])

    async def read(db: Any) -> list[int]:
        return [id async for id in db.stream(int, select(Tag.id).order_by(Tag.id))]

    await kitchen.command(fill)

    assert await kitchen.query(read) == list(range(1, 1003))


async def test_a_value_is_converted_to_the_type_of_its_field(kitchen: Store) -> None:
    class Wire(msgspec.Struct):
        price: float
        course: str

    class Typed(msgspec.Struct):
        course: Course

    assert await kitchen.query(lambda db: db.one(Wire, SOUP)) == Wire(1.0, "main")
    assert await kitchen.query(lambda db: db.one(Typed, SOUP)) == Typed(Course.MAIN)
