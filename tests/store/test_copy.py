"""`copy`: every row, from either database to either, whatever happens on the way."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import moving_models as models
import pytest
from moving_models import Base, Order, Person, Team, Thing, log, modes_of_triggers, things, with_triggers
from sqlalchemy import delete, func, insert, select, text, update

from toque.store import Database, Store, open_store
from toque.store.moving.copy import Copied, copy
from toque.store.moving.site import STATE_TABLE, MovingError
from toque.store.schema import create_missing

REFERS = re.compile("boss_id|refers|reference", re.IGNORECASE)
COUNT = 2500
"""Rows of the largest table: more than two batches."""


@pytest.fixture
def metadata() -> Any:
    return Base.metadata


@pytest.fixture
async def source(store: Store) -> Store:
    """An app's database in mid-life, on SQLite and on PostgreSQL."""
    await store.command(fill)
    return store


async def fill(db: Database) -> None:
    await db.execute(insert(Person), [{"id": n, "name": f"p{n}"} for n in (1, 2, 3)])
    await db.execute(insert(Team), [{"id": 1, "lead_id": 3}, {"id": 9, "lead_id": None}])
    await db.execute(update(Person).where(Person.id == 1).values(boss_id=3, team_id=1))
    await db.execute(insert(Thing), things(COUNT))
    await db.execute(insert(Order), [{"group": "a"}, {"group": "b"}])
    await db.execute(insert(log), [{"line": "same", "number": None}] * 3)
    await db.execute(delete(Team).where(Team.id == 9))


async def moved(source: Store, target_url: str, tmp_path: Path, **options: Any) -> Copied:
    return await copy(source.url, target_url, Base.metadata, tmp_path, **options)


async def scalar(url: str, statement: Any) -> Any:
    store = open_store(url)
    await store.start()
    try:
        return await store.query(lambda db: db.scalar(statement))
    finally:
        await store.stop()


async def written(url: str, statement: Any) -> Any:
    store = open_store(url)
    await store.start()
    try:
        return await store.command(lambda db: db.scalar(statement))
    finally:
        await store.stop()


async def test_every_row_arrives(source: Store, target_url: str, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    result = await moved(source, target_url, tmp_path, progress=lambda *step: seen.append(step))

    assert result.rows == {"person": 3, "team": 1, "thing": COUNT, "order": 2, "log": 3}
    assert (result.behind, result.left, result.resumed) == ([], [], False)
    assert [step[1:] for step in seen if step[0] == "thing"] == [(1000, COUNT), (2000, COUNT), (COUNT, COUNT)]
    assert await scalar(target_url, select(func.count()).select_from(Thing)) == COUNT
    assert await scalar(target_url, select(func.count()).where(log.c.line == "same")) == 3


async def test_values_are_the_same_whatever_keeps_them(source: Store, target_url: str, tmp_path: Path) -> None:
    await moved(source, target_url, tmp_path)

    for expected in things(20):
        for name, value in expected.items():
            found = await scalar(target_url, select(getattr(Thing, name)).where(Thing.id == expected["id"]))
            assert (name, found) == (name, value)
            assert isinstance(found, type(value)), name
    assert await scalar(target_url, select(func.sum(Thing.doubled - 2 * Thing.number))) == 0


async def test_numbers_go_on_after_the_last_that_was_given(source: Store, target_url: str, tmp_path: Path) -> None:
    await moved(source, target_url, tmp_path)

    assert await written(target_url, insert(Order).values(group="c").returning(Order.id)) == 3
    assert await written(target_url, insert(Person).values(name="new").returning(Person.id)) == 4
    given = await written(target_url, insert(Team).values(lead_id=1).returning(Team.id))
    # PostgreSQL's own numbers were not used for the team: it was given its id, and its sequence never moved.
    assert given == (10 if source.dialect_name == "sqlite" else 2)


async def test_references_hold_again(source: Store, target_url: str, tmp_path: Path) -> None:
    await moved(source, target_url, tmp_path)

    with pytest.raises(Exception, match=REFERS):
        await written(target_url, insert(Person).values(name="x", boss_id=99).returning(Person.id))


async def test_triggers_of_the_target_are_afterwards_as_they_were(
    source: Store, target_url: str, tmp_path: Path
) -> None:
    if target_url.startswith("sqlite"):
        pytest.skip("SQLite has no modes of triggers")
    await create_missing(target_url, Base.metadata)
    target = open_store(target_url)
    await target.start()
    try:
        had = await with_triggers(target, Person.__table__.name)
        await moved(source, target_url, tmp_path)

        assert await modes_of_triggers(target) == had
    finally:
        await target.stop()


async def test_a_target_with_rows_is_refused(source: Store, target_url: str, tmp_path: Path) -> None:
    await moved(source, target_url, tmp_path)

    with pytest.raises(MovingError, match=r"the target has rows already, in .*order"):
        await moved(source, target_url, tmp_path)
    assert await scalar(target_url, select(func.count()).select_from(Thing)) == COUNT


async def test_the_same_database_is_refused(source: Store, tmp_path: Path) -> None:
    with pytest.raises(MovingError, match="the same database"):
        await moved(source, source.url, tmp_path)


async def test_a_table_that_no_model_has_is_not_lost_silently(source: Store, target_url: str, tmp_path: Path) -> None:
    await source.command(lambda db: db.execute(text("CREATE TABLE notes (line text)")))

    with pytest.raises(MovingError, match="--leave notes"):
        await moved(source, target_url, tmp_path)
    result = await moved(source, target_url, tmp_path, leave=["notes"])

    assert result.left == ["notes"]


async def test_what_is_written_meanwhile_is_told_and_comes_with_the_next_run(
    source: Store, target_url: str, tmp_path: Path
) -> None:
    pending: list[Any] = [insert(Order).values(group="late")]

    def interfere(table: str, done: int, total: int) -> None:
        # Another program, whose commit comes while the copy is in the middle of a table.
        if table == "thing" and pending:
            statement = str(pending.pop().compile(compile_kwargs={"literal_binds": True}))
            write_from_elsewhere(source.url, statement)

    first = await moved(source, target_url, tmp_path, progress=interfere)

    assert first.behind == ["order"]
    assert await scalar(target_url, select(func.count()).select_from(Order)) == 2
    second = await moved(source, target_url, tmp_path)
    assert (second.behind, second.resumed, second.rows["order"]) == ([], True, 3)
    assert await scalar(target_url, select(func.count()).select_from(Order)) == 3


def write_from_elsewhere(url: str, statement: str) -> None:
    program = (
        "import asyncio, sys\nfrom sqlalchemy import text\nfrom toque.store import open_store\n"
        "async def main():\n"
        "    store = open_store(sys.argv[1])\n    await store.start()\n"
        "    await store.command(lambda db: db.execute(text(sys.argv[2])))\n    await store.stop()\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, url, statement], check=True)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[5])
from moving_models import Base
from toque.store.moving.copy import copy

def die(table, done, total):
    if (table, done) == (sys.argv[3], int(sys.argv[4])):
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(copy(sys.argv[1], sys.argv[2], Base.metadata, Path("."), progress=die))
"""


@pytest.mark.parametrize(("table", "done"), [("thing", 1000), ("log", 3)])
async def test_a_killed_copy_goes_on(source: Store, target_url: str, tmp_path: Path, table: str, done: int) -> None:
    words = [source.url, target_url, table, str(done), str(Path(models.__file__).parent)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    loaded: list[tuple[str, int]] = []

    result = await moved(source, target_url, tmp_path, progress=lambda name, n, _: loaded.append((name, n)))

    assert (result.resumed, result.behind) == (True, [])
    assert result.rows == {"person": 3, "team": 1, "thing": COUNT, "order": 2, "log": 3}
    assert await scalar(target_url, select(func.count()).select_from(log)) == 3
    with pytest.raises(Exception, match=REFERS):
        await written(target_url, insert(Person).values(name="x", boss_id=99).returning(Person.id))


async def test_a_source_that_changed_after_a_kill_is_copied_as_it_is_now(
    source: Store, target_url: str, tmp_path: Path
) -> None:
    words = [source.url, target_url, "thing", "2000", str(Path(models.__file__).parent)]
    subprocess.run([sys.executable, "-c", KILLED, *words], cwd=tmp_path, check=False)
    first = things(1)[0]["id"]
    await source.command(lambda db: db.execute(update(Thing).where(Thing.id == first).values(text="changed")))
    await source.command(lambda db: db.execute(update(Person).where(Person.id == 2).values(name="changed")))

    result = await moved(source, target_url, tmp_path)

    assert result.behind == []
    assert await scalar(target_url, select(Thing.text).where(Thing.id == first)) == "changed"
    assert await scalar(target_url, select(Person.name).where(Person.id == 2)) == "changed"


async def test_another_source_does_not_go_on_with_a_copy(source: Store, target_url: str, tmp_path: Path) -> None:
    words = [source.url, target_url, "thing", "1000", str(Path(models.__file__).parent)]
    subprocess.run([sys.executable, "-c", KILLED, *words], cwd=tmp_path, check=False)
    stranger = f"sqlite:///{tmp_path / 'stranger.db'}"
    from toque.store.schema import create_missing

    await create_missing(stranger, Base.metadata)

    with pytest.raises(MovingError, match="a copy under way from"):
        await copy(stranger, target_url, Base.metadata, tmp_path)


async def test_the_state_is_gone_at_the_end(source: Store, target_url: str, tmp_path: Path) -> None:
    await moved(source, target_url, tmp_path)

    with pytest.raises(Exception, match=STATE_TABLE):
        await scalar(target_url, text(f"SELECT 1 FROM {STATE_TABLE}"))
