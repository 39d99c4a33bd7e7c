"""A statement about many rows asks the rules of each as all rows stood before it, whichever it changes first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import vault_models as models
from sqlalchemy import insert, select, update
from vault import calling, note
from vault_models import Note, State

from toque.contract.errors import Forbidden
from toque.store import Store, open_store
from toque.store.guard import guard_of
from toque.store.sql import Sql

BEN = calling("ben", "north", roles=frozenset({"editor"}))
PAIR = Note.id.in_((11, 12))

in_both_orders = pytest.mark.parametrize(("parent", "child"), [(11, 12), (12, 11)])


@pytest.fixture
async def compiler(vault_url: str) -> AsyncIterator[Store]:
    """The vault behind the guarded compiler alone: on PostgreSQL as a superuser."""
    store = open_store(vault_url, guard=guard_of(models.VaultModel.metadata, Sql(), []))
    await store.start()
    yield store
    await store.stop()


async def add(raw: Store, *rows: Any) -> None:
    await raw.command(lambda db: db.execute(insert(Note), rows))


async def author_of(raw: Store, number: int) -> Any:
    return await raw.query(lambda db: db.scalar(select(Note.author).where(Note.id == number)))


async def by_session(db: Any) -> Any:
    async with db.session() as session:
        statement = update(Note).where(PAIR).values(author="ben")
        return await session.execute(statement, execution_options={"synchronize_session": False})


def by_condition() -> Any:
    other = Note.__table__.alias()
    of_mine = select(other.c.id).where(other.c.id == Note.parent_id, other.c.author == "ben").exists()
    return update(Note).where(PAIR, (Note.state == State.SHOWN) | of_mine).values(author="ben")


FORMS: dict[str, Any] = {
    "plain": lambda db: db.execute(update(Note).where(PAIR).values(author="ben")),
    "returning": lambda db: db.all(int, update(Note).where(PAIR).values(author="ben").returning(Note.id)),
    "parameters": lambda db: db.execute(update(Note).where(PAIR), {"author": "ben"}),
    "session": by_session,
    "condition": lambda db: db.execute(by_condition()),
}


@in_both_orders
@pytest.mark.parametrize("walls", ["compiler", "both"])
async def test_a_row_that_comes_into_sight_by_the_statement_itself_is_not_changed(
    raw: Store, compiler: Store, both: Store, walls: str, parent: int, child: int
) -> None:
    store = {"compiler": compiler, "both": both}[walls]
    await add(raw, note(parent, "north", "ana", state=State.SHOWN), note(child, "north", "ana", parent_id=parent))

    for name, form in FORMS.items():
        # Ben reads the child once the parent is his, which it was not.
        await store.command(form, BEN)
        assert [await author_of(raw, number) for number in (parent, child)] == ["ben", "ana"], name
        await raw.command(lambda db: db.execute(update(Note).where(PAIR).values(author="ana")))


@in_both_orders
async def test_a_row_that_goes_out_of_sight_by_the_statement_itself_is_changed(
    raw: Store, compiler: Store, parent: int, child: int
) -> None:
    await add(raw, note(parent, "north", "ben"), note(child, "north", "ana", parent_id=parent))

    assert await compiler.command(lambda db: db.execute(update(Note).where(PAIR).values(author="eva")), BEN) == 2


@in_both_orders
async def test_both_walls_do_all_of_a_statement_or_none(raw: Store, both: Store, parent: int, child: int) -> None:
    """SQLite's own wall looks at each row as it is changed, so it may stop what the compiler let through."""
    await add(raw, note(parent, "north", "ben"), note(child, "north", "ana", parent_id=parent))

    # As PostgreSQL's does where the changed row is one that its author cannot read any more.
    with suppress(Forbidden):
        await both.command(lambda db: db.execute(update(Note).where(PAIR).values(author="eva")), BEN)

    authors = [await author_of(raw, number) for number in (parent, child)]
    assert authors in (["ben", "ana"], ["eva", "eva"])
