"""A statement is compiled once for each view, however it is told from others."""

from __future__ import annotations

import gc
import weakref

import pytest
from kitchen_models import Dish
from sqlalchemy import Select, bindparam, insert, select, text

from toque.store import plans as module
from toque.store.dialects import sqlite
from toque.store.plans import Plans


def by_id() -> Select[tuple[Dish]]:
    return select(Dish.name).where(Dish.id == bindparam("id"))


def test_a_statement_that_is_run_again_has_its_plan_at_hand() -> None:
    plans, statement = Plans(sqlite()), by_id()

    plan, binds = plans.plan(statement, str, ["id"])

    assert plans.plan(statement, str, ["id"]) == (plan, binds)
    assert plans.plan(by_id(), str, ["id"])[0] is plan


def test_each_view_and_each_set_of_columns_has_a_plan_of_its_own() -> None:
    plans, read, write = Plans(sqlite()), by_id(), insert(Dish)

    found = {
        plans.plan(read, str, ["id"])[0],
        plans.plan(read, object, ["id"])[0],
        plans.plan(write, None, ["name"])[0],
        plans.plan(write, None, ["name", "price"])[0],
    }

    assert len(found) == 4


def test_statements_come_and_go_without_filling_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan may keep the statement that it was made for."""
    monkeypatch.setattr(module, "KEPT_MAX", 8)
    plans = Plans(sqlite())
    made = []

    for number in range(60):
        statement = text(f"SELECT name FROM dish WHERE id = :id + {number}")
        made.append(weakref.ref(statement))
        plans.plan(statement, str, ["id"])
    del statement
    gc.collect()

    assert sum(one() is not None for one in made) <= 2 * 8
