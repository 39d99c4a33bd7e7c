"""Running migrations: short locks, one migrator, releases that are alive, a way back that is honest, and SIGKILL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import CHAR, Column, Integer, MetaData, Numeric, String, Table, UniqueConstraint, text

from toque.store import open_store
from toque.store.migrations import (
    Outcome,
    Patience,
    Refused,
    Reports,
    Steps,
    Way,
    current,
    downgrade,
    revision,
    upgrade,
)
from toque.store.migrations.dry_run import sql
from toque.store.migrations.phases import LOCK_TIMEOUT_MS
from toque.store.migrations.questions import Questions
from toque.store.migrations.session import in_session
from toque.store.preparation import check, head
from toque.store.release import Release
from toque.testing.postgres import PrivatePostgres

QUICK = Patience(tries_max=30, backoff_s=0.05, backoff_max_s=0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


@pytest.fixture
def postgres_url(postgres: PrivatePostgres) -> Iterator[str]:
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


def models(*columns: Column[Any], unique: bool = False) -> MetaData:
    metadata = MetaData()
    table = Table("orders", metadata, Column("id", Integer, primary_key=True), Column("note", String), *columns)
    if unique:
        table.append_constraint(UniqueConstraint("note", name="one_note"))
    return metadata


def ranked() -> MetaData:
    return models(Column("rank", Integer, nullable=False))


def without_note() -> MetaData:
    metadata = MetaData()
    Table("orders", metadata, Column("id", Integer, primary_key=True))
    return metadata


async def execute(url: str, *statements: str) -> Any:
    def act(connection: Any) -> Any:
        with connection.begin():
            done = [connection.execute(text(statement)) for statement in statements]
            return done[-1].all() if done[-1].returns_rows else None

    return await in_session(url, act)


async def fill(url: str, rows: int) -> None:
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
    await execute(
        url,
        f"INSERT INTO orders (id, note) {numbers} SELECT i, 'x' FROM n"
        if "sqlite" in url
        else f"INSERT INTO orders (id, note) SELECT i, 'x' FROM generate_series(1, {rows}) AS i",
    )


async def begun(url: str, folder: Path, metadata: MetaData, then: MetaData, **answers: Any) -> list[str]:
    """A database at *metadata*, and the revisions that lead to *then*, not run."""
    await revision(url, metadata, folder, "first")
    await upgrade(url, metadata, folder)
    await revision(url, then, folder, "then", Questions(**answers))
    return Steps(folder).revisions[1:]


class Counting(Reports):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.rows: list[int] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def fills(self, table: str, done: int, total: int) -> None:
        self.rows.append(done)


# Locks.


async def test_readers_do_not_wait_behind_an_alter_that_waits(postgres_url: str, folder: Path) -> None:
    """An idle transaction holds the table. The ALTER that cannot have it must let the other readers pass."""
    await begun(postgres_url, folder, models(), models(Column("more", Integer)))
    holder = await asyncpg.connect(postgres_url)
    watcher = await asyncpg.connect(postgres_url)
    reader = await asyncpg.connect(postgres_url)
    # A reader that waited longer than an ALTER may wait would be cancelled by the server, and fail the test.
    await reader.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS * 3}")
    await holder.execute("BEGIN; SELECT * FROM orders")
    counting = Counting()
    way = Way(reports=counting, patience=QUICK)
    migrating = asyncio.create_task(upgrade(postgres_url, models(Column("more", Integer)), folder, way=way))

    blocked: set[str] = set()

    async def watch() -> None:
        # Beside the reader: while the ALTER waits, a reader waits behind it, as PostgreSQL's queue has it.
        while not migrating.done():
            waiting = await watcher.fetch("SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            blocked.update(row["query"].split()[0] for row in waiting)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    reads = 0
    while len(counting.said) < 3:
        await reader.fetch("SELECT count(*) FROM orders")
        reads += 1
    await holder.execute("COMMIT")
    outcome = await migrating
    await watching

    assert len(outcome.ran) == 1
    assert reads >= 3
    assert "ALTER" in blocked
    assert blocked <= {"ALTER", "SELECT"}
    for connection in (holder, watcher, reader):
        await connection.close()


async def test_a_lock_that_never_comes_names_who_holds_it(database_url: str, folder: Path) -> None:
    await begun(database_url, folder, models(), models(Column("more", Integer)))
    way = Way(patience=Patience(tries_max=2, backoff_s=0.01))

    with open_transaction(database_url):
        expected = (
            "no lock in 2 tries.*another process is writing" if "sqlite" in database_url else "in 2 tries.*process"
        )
        with pytest.raises(Refused, match=expected):
            await upgrade(database_url, models(Column("more", Integer)), folder, way=way)

    assert len((await upgrade(database_url, models(Column("more", Integer)), folder)).ran) == 1


HOLD = """
import asyncio, sqlite3, sys
url = sys.argv[1]
async def hold():
    import asyncpg
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN; SELECT * FROM orders")
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.read)
if url.startswith("sqlite"):
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    sys.stdin.read()
else:
    asyncio.run(hold())
"""


@contextmanager
def open_transaction(url: str) -> Iterator[None]:
    """Another process with an open transaction on the table."""
    command = [sys.executable, "-c", HOLD, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield
        finally:
            other.kill()


async def test_an_interrupted_index_is_built_again(postgres_url: str, folder: Path) -> None:
    """A CONCURRENTLY that failed leaves an index that is kept up and never used."""
    await begun(postgres_url, folder, models(), models(unique=True))
    await execute(postgres_url, "INSERT INTO orders (id, note) VALUES (1, 'same'), (2, 'same')")

    with pytest.raises(Exception, match="could not create unique index"):
        await upgrade(postgres_url, models(unique=True), folder)
    assert await execute(postgres_url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)]

    await execute(postgres_url, "UPDATE orders SET note = 'other' WHERE id = 2")
    assert len((await upgrade(postgres_url, models(unique=True), folder)).ran) == 1
    assert await execute(postgres_url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert await execute(postgres_url, "SELECT count(*) FROM pg_constraint WHERE conname = 'one_note'") == [(1,)]


async def test_one_migrator_works_at_a_time(database_url: str, folder: Path) -> None:
    await revision(database_url, models(), folder, "first")
    one_waits = threading.Event()

    class Meeting(Reports):
        def begins(self, name: str, phase: str) -> None:
            """Whoever is first goes on when another one is known to wait for it."""
            assert one_waits.wait(60)

        def say(self, sentence: str) -> None:
            assert "another migrator" in sentence
            one_waits.set()

    ways = [Way(reports=Meeting()) for _ in range(3)]
    outcomes = await asyncio.gather(*(upgrade(database_url, models(), folder, way=way) for way in ways))

    assert sorted(len(outcome.ran) for outcome in outcomes) == [0, 0, 1]
    assert one_waits.is_set()


@pytest.mark.parametrize("keys", [[CHAR(6)], [Integer, String(4)], [CHAR(8), Numeric]])
async def test_a_backfill_goes_along_keys_of_every_type(database_url: str, folder: Path, keys: list[Any]) -> None:
    """A key of CHAR(6) was cut to its first letter, and its batch began again and again."""

    def keyed(*more: Column[Any]) -> MetaData:
        metadata = MetaData()
        columns = [Column(f"k{i}", kind, primary_key=True) for i, kind in enumerate(keys)]
        Table("orders", metadata, *columns, Column("n", Integer), *more)
        return metadata

    numbered = keyed(Column("rank", Integer, nullable=False))
    await begun(database_url, folder, keyed(), numbered, values=["orders.rank=n * 2"])
    rows = (f"({', '.join(repr(str(100 + i // 50**at)) for at in range(len(keys)))}, {i})" for i in range(1500))
    names = ", ".join(f"k{i}" for i in range(len(keys)))
    await execute(database_url, f"INSERT INTO orders ({names}, n) VALUES {', '.join(rows)}")

    class Bounded(Reports):
        looks = 0

        def fills(self, table: str, done: int, total: int) -> None:
            self.looks += 1
            assert self.looks < 20

    await upgrade(database_url, numbered, folder, way=Way(reports=Bounded()))

    assert await execute(database_url, "SELECT count(*) FROM orders WHERE rank = n * 2") == [(1500,)]


# SIGKILL.

MIGRATE = """
import asyncio, os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_migrating import *
KILL_AFTER = int(sys.argv[3])
class Killing(Reports):
    seen = 0
    def fills(self, table, done, total):
        Killing.seen += 1
        print(done, flush=True)
        if Killing.seen > KILL_AFTER: os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(upgrade(sys.argv[1], ranked(), Path(sys.argv[2]), way=Way(reports=Killing())))
"""


@pytest.mark.parametrize("rows", [50_000])
async def test_a_backfill_that_was_killed_goes_on_where_it_was(database_url: str, folder: Path, rows: int) -> None:
    await begun(database_url, folder, models(), ranked(), values=["orders.rank=id * 2"])
    await fill(database_url, rows)

    killed = await migrate(database_url, folder, kill_after=20)
    assert killed.returncode == -9, killed.stderr
    done = int(killed.stdout.split()[-1])
    assert 0 < done < rows
    (filled,) = (await execute(database_url, "SELECT count(*) FROM orders WHERE rank IS NOT NULL"))[0]
    assert filled == done

    counting = Counting()
    outcome = await upgrade(database_url, ranked(), folder, way=Way(reports=counting))
    assert counting.rows[0] == done
    assert len(outcome.ran) >= 2
    assert await execute(database_url, "SELECT count(*) FROM orders WHERE rank = id * 2") == [(rows,)]
    assert await execute(database_url, "SELECT count(*) FROM toque_backfill") == [(0,)]


async def migrate(url: str, folder: Path, *, kill_after: int) -> subprocess.CompletedProcess[str]:
    program = MIGRATE.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", program, url, str(folder), str(kill_after)]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


REBUILD = """
import asyncio, os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from test_migrating import *
@event.listens_for(Engine, "before_cursor_execute")
def _kill(conn, cursor, statement, parameters, context, many):
    if statement.startswith("ALTER TABLE _alembic_tmp_orders RENAME"):
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(upgrade(sys.argv[1], without_note(), Path(sys.argv[2])))
"""


async def test_a_rebuild_that_was_killed_leaves_the_old_table(tmp_path: Path, folder: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    await begun(url, folder, models(), without_note())
    await fill(url, 100)
    program = REBUILD.format(tests=str(Path(__file__).parent))

    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, url, str(folder)], capture_output=True, check=False
    )

    assert killed.returncode == -9
    assert await execute(url, "SELECT count(*) FROM orders WHERE note = 'x'") == [(100,)]
    await upgrade(url, without_note(), folder)
    assert await execute(url, "SELECT count(*) FROM orders") == [(100,)]


async def test_a_rebuild_does_not_delete_what_refers_to_the_table(tmp_path: Path, folder: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    await begun(url, folder, models(), without_note())
    await execute(
        url,
        "CREATE TABLE line (id INTEGER PRIMARY KEY, of INTEGER REFERENCES orders (id) ON DELETE CASCADE)",
        "INSERT INTO orders (id) VALUES (1)",
        "INSERT INTO line VALUES (1, 1)",
    )

    await upgrade(url, without_note(), folder)

    assert await execute(url, "SELECT count(*) FROM line") == [(1,)]


async def test_rows_without_what_they_refer_to_stop_a_step(tmp_path: Path, folder: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    await begun(url, folder, models(), without_note())
    await execute(
        url,
        "CREATE TABLE line (id INTEGER PRIMARY KEY, of INTEGER REFERENCES orders (id))",
        "INSERT INTO orders (id) VALUES (1)",
        "INSERT INTO line VALUES (1, 1)",
    )
    contract = Steps(folder).all[-1].path
    contract.write_text(
        contract.read_text().replace(
            "def upgrade() -> None:", "def upgrade() -> None:\n    op.execute('DELETE FROM orders')"
        )
    )

    with pytest.raises(Refused, match="1 rows of line would refer"):
        await upgrade(url, without_note(), folder)
    assert await execute(url, "SELECT count(*) FROM orders") == [(1,)]


# Releases.


@pytest.fixture
async def released(database_url: str) -> AsyncIterator[Callable[[str, str], Any]]:
    """Begins to serve a release."""
    stores: list[Any] = []

    async def serve(version: str, knows: str) -> Any:
        store = open_store(database_url, release=Release("shop", version, knows))
        await store.start()
        stores.append(store)
        return store

    yield serve
    for store in stores:
        await store.stop()


async def test_contract_waits_for_the_release_before(database_url: str, folder: Path, released: Any) -> None:
    steps = await begun(database_url, folder, models(), without_note())
    first = Steps(folder).revisions[0]
    old = await released("1.0", first)
    way = Way("shop")

    stopped = await upgrade(database_url, without_note(), folder, way=way)
    assert stopped.waits is not None
    assert stopped.waits.phase == "contract"
    assert {release.version for release in stopped.alive} == {"1.0"}
    assert f"shop 1.0 (knows {first})" in stopped.advice
    assert stopped.ran == steps[:-1]

    # What production asks before it starts: the contraction may wait.
    await check(database_url, MetaData(), folder.parent)
    await released("2.0", steps[-1])
    assert (await upgrade(database_url, without_note(), folder, way=way)).waits is not None

    await old.stop()
    done = await upgrade(database_url, without_note(), folder, way=way)
    assert (done.waits, done.ran) == (None, steps[-1:])


async def test_force_does_not_wait(database_url: str, folder: Path, released: Any) -> None:
    steps = await begun(database_url, folder, models(), without_note())
    await released("1.0", "")

    outcome = await upgrade(database_url, without_note(), folder, way=Way("shop", is_forced=True))

    assert outcome.ran == steps


async def test_another_app_on_the_database_is_not_waited_for(database_url: str, folder: Path, released: Any) -> None:
    await begun(database_url, folder, models(), without_note())
    await released("1.0", "")

    assert (await upgrade(database_url, without_note(), folder, way=Way("office"))).waits is None


async def test_a_rename_waits_and_the_next_release_waits_for_it(database_url: str, folder: Path, released: Any) -> None:
    metadata = MetaData()
    Table("orders", metadata, Column("id", Integer, primary_key=True), Column("remark", String))
    await begun(database_url, folder, models(), metadata, renames=["orders.note=remark"])
    await released("1.0", "")

    stopped = await upgrade(database_url, metadata, folder, way=Way("shop"))

    assert stopped.waits is not None
    assert stopped.waits.phase == "switch"
    with pytest.raises(Exception, match="1 migrations wait"):
        await check(database_url, MetaData(), folder.parent)


def test_a_process_that_was_killed_is_not_alive(tmp_path: Path) -> None:
    from toque.store.sqlite_presence import present

    database = tmp_path / "app.db"
    program = """
        import os, signal, sys
        from pathlib import Path
        from toque.store.release import Release
        from toque.store.sqlite_presence import Presence, present
        ours = Presence(Path(sys.argv[1]), Release("shop", "1.0", "1"))
        ours.begin()
        print(len(present(Path(sys.argv[1]))), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(database)], capture_output=True, text=True, check=False
    )

    assert done.stdout == "1\n"
    assert present(database) == []


async def test_a_role_without_rights_sees_who_is_alive(postgres_url: str, folder: Path) -> None:
    from toque.store.migrations.alive import behind

    await begun(postgres_url, folder, models(), without_note())
    await execute(postgres_url, "DROP ROLE IF EXISTS modest", "CREATE ROLE modest LOGIN")
    store = open_store(postgres_url, release=Release("shop", "1.0", ""))
    await store.start()
    steps = Steps(folder)

    modest = postgres_url.replace("postgres@", "modest@")
    seen = await in_session(modest, lambda connection: behind(connection, "shop", steps, steps.all[-1]))

    assert [release.version for release in seen] == ["1.0"]
    await store.stop()


@pytest.mark.parametrize(
    "app", ["shop", "a/b", "a very long name of an app that nobody would give to an app at all", "büro"]
)
def test_a_release_survives_its_name(app: str) -> None:
    release = Release(app, "1.2.3", "20260101000000")
    assert len(release.name.encode()) <= 63

    read = Release.parse(release.name)

    assert read is not None
    assert (read.version, read.revision) == ("1.2.3", "20260101000000")
    assert read.is_of(app)
    assert not read.is_of("another")


async def test_a_served_process_knows_its_last_migration(database_url: str, folder: Path) -> None:
    assert head(folder.parent) == ""
    await begun(database_url, folder, models(), without_note())

    assert head(folder.parent) == Steps(folder).head


# Back.


async def test_a_downgrade_that_loses_data_says_so_first(database_url: str, folder: Path) -> None:
    await begun(database_url, folder, models(), models(Column("more", Integer)))
    await upgrade(database_url, models(Column("more", Integer)), folder)
    at = await current(database_url)

    with pytest.raises(Refused, match=r"loses column orders\.more.*--lose-data"):
        await downgrade(database_url, models(), folder)
    assert await current(database_url) == at

    assert await downgrade(database_url, models(), folder, way=Way(may_lose=True)) == [at]
    assert await execute(database_url, "SELECT * FROM orders") == []


async def test_what_has_no_way_back_says_why_before_anything_is_changed(database_url: str, folder: Path) -> None:
    metadata = MetaData()
    Table("orders", metadata, Column("id", Integer, primary_key=True), Column("note", Integer))
    await begun(database_url, folder, models(), metadata)
    await upgrade(database_url, metadata, folder)
    at = await current(database_url)

    with pytest.raises(Refused, match=r"cannot be taken back: the old values of orders\.note are gone"):
        await downgrade(database_url, models(), folder, "base", Way(may_lose=True))
    assert await current(database_url) == at


async def test_a_downgrade_waits_for_the_release_that_needs_the_step(
    database_url: str, folder: Path, released: Any
) -> None:
    steps = await begun(database_url, folder, models(), models(Column("more", Integer)))
    await upgrade(database_url, models(Column("more", Integer)), folder)
    await released("2.0", steps[-1])

    with pytest.raises(Refused, match=r"alive that need.*shop 2\.0"):
        await downgrade(database_url, models(), folder, way=Way("shop", may_lose=True))


async def test_a_database_that_a_newer_release_moved_is_left_alone(database_url: str, folder: Path) -> None:
    await begun(database_url, folder, models(), models(Column("more", Integer)))
    await upgrade(database_url, models(Column("more", Integer)), folder)
    Steps(folder).all[-1].path.unlink()

    with pytest.raises(Refused, match="not among the migrations here"):
        await upgrade(database_url, models(), folder)


# Dry.


async def test_a_dry_run_prints_the_sql_and_changes_nothing(database_url: str, folder: Path) -> None:
    steps = await begun(database_url, folder, models(), ranked(), values=["orders.rank=id"])
    before: Outcome | str | None = await current(database_url)

    script = await sql(database_url, ranked(), folder)

    assert all(step in script for step in steps)
    assert "rank" in script
    assert ("SET lock_timeout = '500ms'" in script) == database_url.startswith("postgresql")
    assert await current(database_url) == before


@pytest.mark.soak
async def test_a_million_rows_are_filled_while_traffic_runs(database_url: str, folder: Path) -> None:
    rows = 1_000_000
    await begun(database_url, folder, models(), ranked(), values=["orders.rank=id * 2"])
    await fill(database_url, rows)
    store = open_store(database_url)
    await store.start()
    migrating = asyncio.create_task(upgrade(database_url, ranked(), folder, Steps(folder).revisions[-2]))

    written = 0
    while not migrating.done():
        number = rows + written + 1
        await store.command(
            lambda db, n=number: db.execute(text("INSERT INTO orders (id, note) VALUES (:n, 'new')"), {"n": n})
        )  # type: ignore[misc]
        written += 1
        await asyncio.sleep(0.005)
    await migrating
    await store.stop()
    await upgrade(database_url, ranked(), folder)

    assert written > 100
    assert await execute(database_url, "SELECT count(*) FROM orders WHERE rank = id * 2") == [(rows + written,)]
