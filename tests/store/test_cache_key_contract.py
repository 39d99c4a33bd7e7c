"""What the store relies upon in SQLAlchemy and asyncpg that their documentation does not promise.

When one of these fails after an upgrade, `plans.py`, `compilation.py`, `expansion.py` or
`postgres_connection.py` needs a look before anything else.
"""

from __future__ import annotations

import inspect

import asyncpg
from kitchen_models import Dish, Order
from sqlalchemy import bindparam, insert, select, update

from toque.store.dialects import postgresql, sqlite
from toque.store.plans import Plans


def key(statement: object) -> object:
    return statement._generate_cache_key()  # type: ignore[attr-defined]


def test_equal_statements_with_other_values_have_one_key() -> None:
    first, second = (key(select(Dish).where(Dish.id == value)) for value in (1, 2))

    assert first.key == second.key
    assert hash(first.key) == hash(second.key)
    assert [bind.value for bind in first.bindparams] == [1]
    assert [bind.value for bind in second.bindparams] == [2]


def test_statements_that_differ_in_anything_but_values_have_other_keys() -> None:
    by_id = select(Dish).where(Dish.id == 1)
    others = [
        select(Dish).where(Dish.name == "1"),
        select(Dish).where(Dish.id != 1),
        select(Dish.id).where(Dish.id == 1),
        by_id.order_by(Dish.id),
        by_id.limit(1),
        by_id.where(Dish.id == 2),
        select(Dish).where(Dish.id == bindparam("id")),
        select(Order),
    ]

    assert len({key(statement).key for statement in [by_id, *others]}) == len(others) + 1


def test_the_key_is_kept_with_the_statement() -> None:
    statement = select(Dish).where(Dish.id == 1)

    assert key(statement) is key(statement)
    assert key(statement) is not key(statement.limit(1))


def test_a_plan_is_made_once_per_shape_and_view() -> None:
    for dialect in (postgresql(), sqlite()):
        plans = Plans(dialect)
        first, _ = plans.plan(select(Dish.name).where(Dish.id == 1), str)
        second, binds = plans.plan(select(Dish.name).where(Dish.id == 2), str)
        other, _ = plans.plan(select(Dish.name).where(Dish.id == 2), object)

        assert first is second
        assert first is not other
        assert second.arguments(binds, None)[1] == [2]


def test_the_columns_that_values_come_for_are_part_of_the_shape() -> None:
    plans = Plans(sqlite())
    one, _ = plans.plan(insert(Dish), None, ["name", "price"])
    two, _ = plans.plan(insert(Dish), None, ["name", "price", "recipe"])
    three, _ = plans.plan(update(Dish).where(Dish.id == bindparam("which")), None, ["which", "name"])

    assert "recipe" in one.prepared.sql
    assert one is not two
    assert three.prepared.sql.count("?") == 2


def test_asyncpg_takes_a_limit_of_rows() -> None:
    parameters = inspect.signature(asyncpg.Connection._execute).parameters

    assert list(parameters)[:5] == ["self", "query", "args", "limit", "timeout"]
    assert "return_status" in parameters
