"""`backup` and `restore`: one state while others write, put back wholly or not at all."""

from __future__ import annotations

import asyncio
import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from moving_models import Base, Order, Person, Team, Thing, log, modes_of_triggers, things, with_triggers
from sqlalchemy import delete, func, insert, select, text, update

from toque.store import Database, Store, open_store
from toque.store.moving.archive import Manifest
from toque.store.moving.backup import backup, restore, verify
from toque.store.moving.site import MovingError
from toque.testing.postgres import PrivatePostgres

GIVE_UP_S = 30.0
ACCOUNTS = 50
TOTAL = ACCOUNTS * 100


@pytest.fixture
def metadata() -> Any:
    return Base.metadata


@pytest.fixture
async def full(store: Store) -> Store:
    """A database with every type, references in a circle, and accounts (a thing's number) of 100 each."""

    async def fill(db: Database) -> None:
        await db.execute(insert(Person), [{"id": n, "name": f"p{n}"} for n in (1, 2, 3)])
        await db.execute(insert(Team), [{"id": 1, "lead_id": 3}])
        await db.execute(update(Person).where(Person.id == 1).values(boss_id=3, team_id=1))
        await db.execute(insert(Thing), [{**row, "number": 100} for row in things(ACCOUNTS)])
        await db.execute(insert(Order), [{"group": "a"}, {"group": "b"}])
        await db.execute(delete(Order).where(Order.group == "b"))

    await store.command(fill)
    return store


@pytest.fixture
def elsewhere(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of the same kind."""
    if store.dialect_name == "sqlite":
        yield f"sqlite:///{tmp_path / 'elsewhere.db'}"
        return
    server: PrivatePostgres = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


async def backed_up(store: Store, file: Path) -> Manifest:
    return await backup(store.url, file, app="bank", app_version="1.0")


async def ask(url: str, *statements: Any) -> list[Any]:
    store = open_store(url)
    await store.start()
    try:
        return [await store.command(lambda db, s=s: db.scalar(s)) for s in statements]
    finally:
        await store.stop()


SUM = select(func.sum(Thing.number))
MOVES = select(func.sum(log.c.number))
COUNT = select(func.count()).select_from(log)


async def transfer(store: Store, step: int) -> None:
    """Move one from an account to another, and log it: the sum stays, and the log knows how much was moved."""

    async def run(db: Database) -> None:
        source, target = (things(ACCOUNTS)[place % ACCOUNTS]["id"] for place in (step, step * 7 + 1))
        await db.execute(update(Thing).where(Thing.id == source).values(number=Thing.number - 1))
        await db.execute(update(Thing).where(Thing.id == target).values(number=Thing.number + 1))
        await db.execute(insert(log).values(line="moved", number=step))

    await store.command(run)


async def test_a_backup_is_one_state_while_others_write(full: Store, elsewhere: str, tmp_path: Path) -> None:
    done = 0
    is_over = False

    async def write() -> None:
        nonlocal done
        while not is_over:
            await transfer(full, done)
            done += 1

    writer = asyncio.create_task(write())
    while done < 20:
        await asyncio.sleep(0.01)
    before = done
    # In a thread, as the command is a process of its own: writes go on between its steps.
    manifests = [
        await asyncio.to_thread(asyncio.run, backed_up(full, tmp_path / f"{number}.zip")) for number in range(3)
    ]
    after = done
    is_over = True
    await writer

    assert after > before, "nothing was written while the backups were made"
    counts = []
    for number, manifest in enumerate(manifests):
        await restore(elsewhere, tmp_path / f"{number}.zip", Base.metadata, tmp_path, replace=number > 0)
        total, moves, count = await ask(elsewhere, SUM, MOVES, COUNT)
        assert total == TOTAL
        assert moves == count * (count - 1) // 2, "the log has a gap"
        assert count == manifest.tables["log"]
        counts.append(count)
    assert before <= counts[0] <= counts[1] <= counts[2] <= after + 1


async def test_what_is_restored_is_what_was_kept(full: Store, elsewhere: str, tmp_path: Path) -> None:
    manifest = await backed_up(full, tmp_path / "kept.zip")
    restored = await restore(elsewhere, tmp_path / "kept.zip", Base.metadata, tmp_path)

    assert (manifest.app, manifest.revision, manifest.database) == ("bank", None, full.dialect_name)
    assert restored.tables == {"person": 3, "team": 1, "thing": ACCOUNTS, "order": 1, "log": 0}
    for expected in things(12):
        columns = {name: value for name, value in expected.items() if name != "number"}
        found = await ask(elsewhere, *(select(getattr(Thing, c)).where(Thing.id == expected["id"]) for c in columns))
        assert found == list(columns.values())
    if full.dialect_name == "postgresql":
        assert await ask(elsewhere, insert(Order).values(group="c").returning(Order.id)) == [3]
    with pytest.raises(Exception, match=r"(?i)boss_id|refers"):
        await ask(elsewhere, insert(Person).values(id=50, name="x", boss_id=99).returning(Person.id))


async def test_a_database_with_rows_is_replaced_only_when_told(full: Store, tmp_path: Path) -> None:
    file = tmp_path / "kept.zip"
    await backed_up(full, file)
    await transfer(full, 1)

    with pytest.raises(MovingError, match=r"rows, in .*--replace"):
        await restore(full.url, file, Base.metadata, tmp_path)
    assert await ask(full.url, COUNT) == [1]
    await restore(full.url, file, Base.metadata, tmp_path, replace=True)
    # The app had it open all the while.
    assert await full.query(lambda db: db.scalar(COUNT)) == 0
    await transfer(full, 2)
    assert await full.query(lambda db: db.scalar(SUM)) == TOTAL


async def test_triggers_are_afterwards_as_they_were(full: Store, tmp_path: Path) -> None:
    """What tells the cache of changes fires always, and somebody's own may be off."""
    if full.dialect_name == "sqlite":
        pytest.skip("SQLite has no modes of triggers")
    had = await with_triggers(full, Person.__table__.name)
    await backed_up(full, tmp_path / "kept.zip")

    await restore(full.url, tmp_path / "kept.zip", Base.metadata, tmp_path, replace=True)

    assert await modes_of_triggers(full) == had


def bent(source: Path, target: Path, **changed: bytes) -> Path:
    """A copy of the archive with other bytes in some parts, whose own ZIP checksums are right."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w") as write:
        for name in read.namelist():
            write.writestr(name, changed.get(name.rpartition("/")[2].partition(".")[0], read.read(name)))
    return target


def with_other_sums(file: Path) -> bytes:
    with zipfile.ZipFile(file) as archive:
        return re.sub(rb'"sha256": "[0-9a-f]+"', b'"sha256": "%s"' % (b"0" * 64), archive.read("manifest.json"))


async def test_a_damaged_backup_touches_nothing(full: Store, elsewhere: str, tmp_path: Path) -> None:
    file = tmp_path / "kept.zip"
    await backed_up(full, file)
    part = "database" if full.dialect_name == "sqlite" else "thing"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(data)
    (tmp_path / "short.zip").write_bytes(file.read_bytes()[:-100])
    (tmp_path / "none.zip").write_bytes(b"nothing")
    damaged = [
        tmp_path / "flipped.zip",
        tmp_path / "short.zip",
        tmp_path / "none.zip",
        tmp_path / "absent.zip",
        bent(file, tmp_path / "bent.zip", **{part: b"other"}),
        bent(file, tmp_path / "bare.zip", manifest=b"{}"),
        # Sound in itself, and not what its manifest says.
        bent(file, tmp_path / "sum.zip", manifest=with_other_sums(file)),
    ]

    for each in damaged:
        with pytest.raises(MovingError):
            verify(each)
        with pytest.raises(MovingError):
            await restore(full.url, each, Base.metadata, tmp_path, replace=True)
    assert await full.query(lambda db: db.scalar(SUM)) == TOTAL
    assert verify(file).tables["thing"] == ACCOUNTS


async def test_a_restore_that_fails_in_the_middle_leaves_all_as_it_was(full: Store, tmp_path: Path) -> None:
    if full.dialect_name == "sqlite":
        pytest.skip("SQLite's backup is one transaction of the file: there is no middle that SQL could reach")
    file = tmp_path / "kept.zip"
    await backed_up(full, file)
    await transfer(full, 1)
    # What the backup has does not fit any more: its last table breaks a rule that came since.
    await full.command(
        lambda db: db.execute(text("ALTER TABLE thing ADD CONSTRAINT few CHECK (number <> 100) NOT VALID"))
    )

    with pytest.raises(MovingError, match="as it was"):
        await restore(full.url, file, Base.metadata, tmp_path, replace=True)

    assert await full.query(lambda db: db.scalar(COUNT)) == 1
    assert await full.query(lambda db: db.scalar(select(func.count()).select_from(Person))) == 3


async def test_a_restore_gets_through_beside_those_who_take_tables_in_any_order(full: Store, tmp_path: Path) -> None:
    """One table after the other, it deadlocked with the app, and whichever of the two PostgreSQL chose had failed."""
    if full.dialect_name == "sqlite":
        pytest.skip("SQLite locks the file and not its tables")
    file = tmp_path / "kept.zip"
    await backed_up(full, file)
    is_restored, turns = False, 0

    async def write(statements: Sequence[str]) -> None:
        nonlocal turns
        while not is_restored:
            async with asyncio.timeout(GIVE_UP_S):
                await full.command(lambda db: _in_turn(db, statements))
            turns += 1

    # No rows, so that they are in nobody's way but ours.
    steps = ["UPDATE person SET name = 'x' WHERE id = -1", "UPDATE thing SET number = 7 WHERE number = -1"]
    writers = [asyncio.create_task(write(order)) for order in (steps, list(reversed(steps))) for _ in range(3)]
    try:
        await asyncio.sleep(0.2)
        await restore(full.url, file, Base.metadata, tmp_path, replace=True)
    finally:
        is_restored = True
        await asyncio.gather(*writers)

    assert turns > len(writers)


async def _in_turn(db: Database, statements: Sequence[str]) -> None:
    for statement in statements:
        await db.execute(text(statement))
        await asyncio.sleep(0.01)


async def test_a_backup_replaces_no_file_and_is_its_owners_alone(full: Store, tmp_path: Path) -> None:
    file = tmp_path / "kept.zip"
    await backed_up(full, file)
    before = file.read_bytes()

    with pytest.raises(MovingError, match="there is a file"):
        await backed_up(full, file)

    assert file.read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith(".")] == []


async def test_a_backup_goes_to_its_own_kind_of_database(
    full: Store, tmp_path: Path, postgres: PrivatePostgres
) -> None:
    file = tmp_path / "kept.zip"
    await backed_up(full, file)
    other = postgres.url() if full.dialect_name == "sqlite" else f"sqlite:///{tmp_path / 'other.db'}"

    with pytest.raises(MovingError, match="toque db copy"):
        await restore(other, file, Base.metadata, tmp_path)
