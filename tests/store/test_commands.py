"""Writing: one transaction per command, and what the caller hears when it fails."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from kitchen_models import Account, Dish, Item, Order, Tag
from sqlalchemy import bindparam, delete, func, insert, select, text, update

from toque.contract.errors import Conflict, Invalid
from toque.store import Store


class DishView(msgspec.Struct):
    id: int
    name: str


async def count(store: Store, entity: Any) -> int:
    return await store.query(lambda db: db.scalar(select(func.count()).select_from(entity)))


async def test_rows_affected_are_counted(kitchen: Store) -> None:
    async def change(db: Any) -> list[int]:
        return [
            await db.execute(insert(Account), [{"id": i, "balance": 0} for i in range(5)]),
            await db.execute(insert(Account).values(id=9, balance=9)),
            await db.execute(update(Account).where(Account.id < 3).values(balance=1)),
            await db.execute(
                update(Account).where(Account.id == bindparam("which")),
                [{"which": 1, "balance": 5}, {"which": 2, "balance": 6}, {"which": 77, "balance": 7}],
            ),
            await db.execute(delete(Account).where(Account.id == 0)),
            await db.execute(delete(Account).where(Account.id == 0)),
            await db.execute(insert(Account), []),
        ]

    assert await kitchen.command(change) == [5, 1, 3, 2, 1, 0, 0]
    assert await kitchen.query(lambda db: db.scalar(select(Account.balance).where(Account.id == 2))) == 6


async def test_returning_is_read_into_a_view(kitchen: Store) -> None:
    created = insert(Dish).values(name="tea", price=Decimal(2)).returning(Dish)
    changed = update(Dish).where(Dish.name == "tea").values(name="chai").returning(Dish.name, Dish.id)

    async def both(db: Any) -> tuple[DishView, DishView]:
        return await db.one(DishView, created), await db.one(DishView, changed)

    assert await kitchen.command(both) == (DishView(4, "tea"), DishView(4, "chai"))


async def test_values_may_come_as_parameters_by_attribute_name(kitchen: Store) -> None:
    statement = insert(Order).returning(Order.table_no)

    assert await kitchen.command(lambda db: db.scalar(statement, {"table_no": 12})) == 12
    assert await kitchen.command(lambda db: db.execute(insert(Order), {"table_no": 13})) == 1


async def test_a_multi_row_insert_fills_python_defaults_per_row(kitchen: Store) -> None:
    statement = insert(Order).values([{"table_no": 1}, {"table_no": 2}]).returning(Order.id)

    assert len(set(await kitchen.command(lambda db: db.all(object, statement)))) == 2


async def test_a_command_that_fails_leaves_nothing(kitchen: Store) -> None:
    async def fail(db: Any) -> None:
        await db.execute(insert(Tag).values(word="gone"))
        raise LookupError("changed my mind")

    with pytest.raises(LookupError):
        await kitchen.command(fail)

    assert await count(kitchen, Tag) == 2


async def test_a_command_sees_its_own_changes(kitchen: Store) -> None:
    async def change(db: Any) -> int:
        await db.execute(insert(Tag).values(word="new"))
        return await db.scalar(select(func.count()).select_from(Tag))

    assert await kitchen.command(change) == 3


async def test_a_command_without_statements_needs_no_database(store: Store) -> None:
    async def nothing(db: Any) -> str:
        return "done"

    assert await store.command(nothing) == "done"


async def test_a_query_may_not_write(kitchen: Store) -> None:
    with pytest.raises(PermissionError, match="make the operation a command"):
        await kitchen.query(lambda db: db.execute(insert(Tag).values(word="no")))
    with pytest.raises(PermissionError):
        await kitchen.query(lambda db: db.execute(text("DELETE FROM item")))

    assert await count(kitchen, Tag) == 2


async def test_a_query_may_not_write_after_its_first_statement_either(kitchen: Store) -> None:
    async def read_then_write(db: Any) -> None:
        await db.all(str, select(Tag.word))
        await db.execute(insert(Tag).values(word="no"))

    with pytest.raises(PermissionError):
        await kitchen.query(read_then_write)


async def test_a_broken_unique_constraint_is_named(kitchen: Store) -> None:
    with pytest.raises(Conflict) as caught:
        await kitchen.command(lambda db: db.execute(insert(Dish).values(name="soup", price=1)))

    assert caught.value.extra == {"constraint": "uq_dish_name"}
    assert "soup" not in caught.value.detail


async def test_a_broken_check_is_named(kitchen: Store) -> None:
    with pytest.raises(Conflict) as caught:
        await kitchen.command(lambda db: db.execute(insert(Dish).values(name="x", price=-1)))

    assert caught.value.extra == {"constraint": "ck_dish_price"}


async def test_a_broken_primary_key_is_named(kitchen: Store) -> None:
    with pytest.raises(Conflict) as caught:
        await kitchen.command(lambda db: db.execute(insert(Dish).values(id=1, name="x", price=1)))

    assert caught.value.extra == {"constraint": "pk_dish"}


async def test_a_reference_to_nothing_and_a_missing_value_are_conflicts(kitchen: Store) -> None:
    with pytest.raises(Conflict):
        await kitchen.command(lambda db: db.execute(delete(Dish).where(Dish.id == 1)))
    with pytest.raises(Conflict, match="name may not be empty"):
        await kitchen.command(lambda db: db.execute(update(Dish).where(Dish.id == 1).values(name=None)))


async def test_a_swallowed_error_does_not_commit_half_a_command(kitchen: Store) -> None:
    async def swallow(db: Any) -> None:
        await db.execute(insert(Tag).values(word="half"))
        with pytest.raises(Conflict):
            await db.execute(insert(Tag).values(word="hot"))

    with pytest.raises(RuntimeError, match="undoes the command as a whole"):
        await kitchen.command(swallow)

    assert await count(kitchen, Tag) == 2


async def test_a_database_ends_with_its_call(kitchen: Store) -> None:
    kept: list[Any] = []

    async def keep(db: Any) -> None:
        kept.append(db)
        await db.all(str, select(Tag.word))

    await kitchen.query(keep)
    await kitchen.command(keep)

    for db in kept:
        with pytest.raises(RuntimeError, match="has ended"):
            await db.all(str, select(Tag.word))


HOSTILE_NUMBERS = [99999999999999999999, -(2**63) - 1, 2**200]


@pytest.mark.parametrize("number", HOSTILE_NUMBERS)
async def test_a_number_out_of_range_is_the_callers_fault(kitchen: Store, number: int) -> None:
    with pytest.raises(Invalid):
        await kitchen.query(lambda db: db.one(DishView, select(Dish).where(Dish.id == number)))
    with pytest.raises(Invalid):
        await kitchen.command(lambda db: db.execute(insert(Account).values(id=1, balance=number)))


@pytest.mark.parametrize("word", ["\x00", "a\x00b", "\ud800", "'; DROP TABLE dish; --", "%s ? $1 :x", "\uffff" * 1000])
async def test_hostile_text_is_stored_as_it_is_or_refused(kitchen: Store, word: str) -> None:
    async def store_and_read(db: Any) -> str:
        await db.execute(insert(Tag).values(word=word))
        return await db.scalar(select(Tag.word).where(Tag.word == word))

    is_impossible = "\ud800" in word or ("\x00" in word and kitchen.dialect_name == "postgresql")
    if is_impossible:
        with pytest.raises(Invalid) as caught:
            await kitchen.command(store_and_read)
        assert word not in caught.value.detail
    else:
        assert await kitchen.command(store_and_read) == word

    assert await count(kitchen, Dish) == 3


@pytest.mark.parametrize("value", ["no-uuid", [], {}])
async def test_a_value_of_the_wrong_type_is_the_callers_fault(kitchen: Store, value: Any) -> None:
    with pytest.raises(Invalid):
        await kitchen.query(lambda db: db.all(object, select(Order.id).where(Order.id == value)))


@pytest.mark.parametrize("price", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e30")])
async def test_a_decimal_that_no_column_holds_is_the_callers_fault(kitchen: Store, price: Decimal) -> None:
    with pytest.raises((Invalid, Conflict)):
        await kitchen.command(lambda db: db.execute(insert(Dish).values(name="x", price=price)))


async def test_the_store_goes_on_after_every_failure(kitchen: Store) -> None:
    for _ in range(30):
        with pytest.raises(Conflict):
            await kitchen.command(lambda db: db.execute(insert(Item).values(order_id=None, dish_id=1, quantity=1)))
        with pytest.raises(Invalid):
            await kitchen.query(lambda db: db.one(DishView, select(Dish).where(Dish.id == 2**99)))

    assert await count(kitchen, Dish) == 3
