# ruff: noqa: PT012 - a savepoint is a block, and what fails lies in it
"""`db.savepoint()`: a part of a command that may fail by itself, on both databases alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kitchen_models import Account, Tag
from sqlalchemy import insert, select, text, update

from toque.contract.errors import Conflict, Invalid
from toque.store import Store
from toque.store.sqlite import SqliteStore


def word(text: str) -> Any:
    return insert(Tag).values(word=text)


async def words(store: Store) -> list[str]:
    return await store.query(lambda db: db.all(str, select(Tag.word).where(Tag.id > 2).order_by(Tag.word)))


async def test_an_error_inside_undoes_only_what_was_inside(kitchen: Store) -> None:
    async def add(db: Any) -> str:
        await db.execute(word("before"))
        with pytest.raises(Conflict):
            async with db.savepoint():
                await db.execute(word("inside"))
                await db.execute(word("hot"))
        await db.execute(word("after"))
        return "went on"

    assert await kitchen.command(add) == "went on"
    assert await words(kitchen) == ["after", "before"]


async def test_what_ends_well_is_kept(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        async with db.savepoint():
            await db.execute(word("inside"))

    await kitchen.command(add)

    assert await words(kitchen) == ["inside"]


async def test_an_error_of_the_function_itself_undoes_too(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        try:
            async with db.savepoint():
                await db.execute(word("inside"))
                raise LookupError
        except LookupError:
            await db.execute(word("after"))

    await kitchen.command(add)

    assert await words(kitchen) == ["after"]


async def test_a_value_that_no_column_holds_is_undone_too(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        with pytest.raises(Invalid):
            async with db.savepoint():
                await db.execute(insert(Account).values(id=1, balance=2**200))
        await db.execute(word("after"))

    await kitchen.command(add)

    assert await words(kitchen) == ["after"]


async def test_many_rows_of_which_one_fails_are_all_undone(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        with pytest.raises(Conflict):
            async with db.savepoint():
                await db.execute(insert(Tag), [{"word": "a"}, {"word": "b"}, {"word": "hot"}])
        await db.execute(word("after"))

    await kitchen.command(add)

    assert await words(kitchen) == ["after"]


async def test_savepoints_lie_inside_one_another(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        async with db.savepoint():
            await db.execute(word("outer"))
            with pytest.raises(Conflict):
                async with db.savepoint():
                    await db.execute(word("inner"))
                    await db.execute(word("hot"))
            async with db.savepoint():
                await db.execute(word("second"))
        with pytest.raises(LookupError):
            async with db.savepoint():
                async with db.savepoint():
                    await db.execute(word("kept by the inner one"))
                raise LookupError

    await kitchen.command(add)

    assert await words(kitchen) == ["outer", "second"]


async def test_outside_of_savepoints_a_failed_statement_still_dooms_the_command(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        async with db.savepoint():
            await db.execute(word("inside"))
        with pytest.raises(Conflict):
            await db.execute(word("hot"))
        async with db.savepoint():
            await db.execute(word("never"))

    with pytest.raises(RuntimeError, match="undoes the command as a whole"):
        await kitchen.command(add)

    assert await words(kitchen) == []


async def test_an_error_that_is_swallowed_inside_is_no_success(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        with pytest.raises(RuntimeError, match="did not leave it"):
            async with db.savepoint():
                await db.execute(word("inside"))
                with pytest.raises(Conflict):
                    await db.execute(word("hot"))
                with pytest.raises(RuntimeError, match="failed"):
                    await db.execute(word("refused"))
        await db.execute(word("after"))

    await kitchen.command(add)

    assert await words(kitchen) == ["after"]


async def test_a_cancellation_inside_undoes_the_command(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        await db.execute(word("before"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), db.savepoint():
                await db.execute(word("inside"))
                await asyncio.sleep(60)
        await db.execute(word("after"))

    with pytest.raises(RuntimeError, match="undoes the command as a whole"):
        await kitchen.command(add)

    assert await words(kitchen) == []


ENDLESS = {
    "sqlite": "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 3000000) SELECT count(*) FROM r",
    "postgresql": "SELECT pg_sleep(60)",
}


async def test_a_statement_that_nobody_waits_for_any_more_undoes_the_command(kitchen: Store) -> None:
    async def add(db: Any) -> None:
        await db.execute(word("before"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await db.scalar(text(ENDLESS[kitchen.dialect_name]))

    with pytest.raises(RuntimeError, match="undoes the command as a whole"):
        await kitchen.command(add)

    assert await words(kitchen) == []


async def test_savepoints_beside_each_other_are_refused(kitchen: Store) -> None:
    inside = asyncio.Event()
    release = asyncio.Event()

    async def first(db: Any) -> None:
        async with db.savepoint():
            inside.set()
            await release.wait()

    async def second(db: Any) -> None:
        await inside.wait()
        async with db.savepoint():
            release.set()
            await asyncio.sleep(0.05)

    async def both(db: Any) -> None:
        await db.execute(word("before"))
        await asyncio.gather(first(db), second(db))

    with pytest.raises(RuntimeError, match="lie inside one another"):
        await kitchen.command(both)

    assert await words(kitchen) == []


async def test_a_query_has_nothing_to_undo(kitchen: Store) -> None:
    async def read(db: Any) -> None:
        async with db.savepoint():
            pass

    with pytest.raises(PermissionError, match="only reads"):
        await kitchen.query(read)


async def test_other_commands_of_a_batch_are_not_touched(kitchen: Store) -> None:
    async def add(db: Any, name: str) -> None:
        await db.execute(word(f"{name} before"))
        with pytest.raises(Conflict):
            async with db.savepoint():
                await db.execute(word(f"{name} inside"))
                await db.execute(word("hot"))
        await db.execute(word(f"{name} after"))

    names = [f"w{i:02}" for i in range(40)]
    await asyncio.gather(*(kitchen.command(lambda db, name=name: add(db, name)) for name in names))

    assert await words(kitchen) == sorted(f"{name} {part}" for name in names for part in ("before", "after"))


async def test_a_batch_that_is_repeated_from_its_notes_repeats_savepoints(kitchen: Store) -> None:
    """A deferred constraint makes the batch's COMMIT fail: each of its commands is run again from its notes."""
    if not isinstance(kitchen, SqliteStore):
        pytest.skip("SQLite's own batch")
    deferred = "CREATE TABLE child (id INTEGER, parent INTEGER REFERENCES dish (id) DEFERRABLE INITIALLY DEFERRED)"
    await kitchen.command(lambda db: db.execute(text(deferred)))

    async def add(db: Any, name: str) -> None:
        await db.execute(word(f"{name} before"))
        with pytest.raises(Conflict):
            async with db.savepoint():
                await db.execute(word(f"{name} inside"))
                await db.execute(word("hot"))
        async with db.savepoint():
            await db.execute(word(f"{name} kept"))

    async def orphan(db: Any) -> None:
        await db.execute(text("INSERT INTO child VALUES (1, 77)"))

    results = await asyncio.gather(
        kitchen.command(lambda db: add(db, "a")),
        kitchen.command(orphan),
        kitchen.command(lambda db: add(db, "b")),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [type(None), Conflict, type(None)]
    assert await words(kitchen) == ["a before", "a kept", "b before", "b kept"]


async def test_a_command_that_dawdles_in_a_savepoint_moves_with_it(kitchen: Store) -> None:
    """The batch is committed without it, and what it did so far moves into a new transaction (`Batch.part`)."""
    if not isinstance(kitchen, SqliteStore):
        pytest.skip("SQLite's own batch")
    release = asyncio.Event()

    async def dawdle(db: Any) -> None:
        await db.execute(word("slow before"))
        with pytest.raises(Conflict):
            async with db.savepoint():
                async with db.savepoint():
                    await db.execute(word("slow inside"))
                await release.wait()
                await db.execute(word("hot"))
        await db.execute(word("slow after"))

    first = asyncio.ensure_future(kitchen.command(lambda db: db.execute(word("first"))))
    slow = asyncio.ensure_future(kitchen.command(dawdle))
    await first
    assert await words(kitchen) == ["first"]
    release.set()
    await slow

    assert await words(kitchen) == ["first", "slow after", "slow before"]


# What a tree of savepoints leaves is what a model of it says, whatever its shape.
Tree = Any
leaf = st.integers(0, 9)
trees: st.SearchStrategy[Tree] = st.recursive(
    leaf, lambda inner: st.tuples(st.booleans(), st.lists(inner, max_size=4)), max_leaves=12
)


class Undo(Exception): ...


def expected(tree: Tree) -> int:
    if isinstance(tree, int):
        return tree
    is_kept, parts = tree
    return sum(map(expected, parts)) if is_kept else 0


async def act(db: Any, tree: Tree) -> None:
    if isinstance(tree, int):
        await db.execute(update(Account).where(Account.id == 1).values(balance=Account.balance + tree))
        return
    is_kept, parts = tree
    try:
        async with db.savepoint():
            for part in parts:
                await act(db, part)
            if not is_kept:
                raise Undo
    except Undo:
        pass


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
async def test_any_tree_of_savepoints_leaves_what_was_kept(kitchen: Store, tree: Tree) -> None:
    await kitchen.command(lambda db: db.execute(text("DELETE FROM account")))

    async def run(db: Any) -> None:
        await db.execute(insert(Account).values(id=1, balance=0))
        await act(db, tree)

    await kitchen.command(run)

    assert await kitchen.query(lambda db: db.scalar(select(Account.balance))) == expected(tree)
