"""PostgreSQL's wall: the role, the settings that end with the transaction, and what revisions carry."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, func, insert, select, text, update
from vault import calling, owned
from vault_models import Note, State, Topic, VaultModel

from toque.call.context import UNCALLED, Context, Mark
from toque.contract.complaints import SetupError
from toque.contract.errors import Error
from toque.store import AllRows, Database, Store, migrations, open_store
from toque.store.facts import Me
from toque.store.migrations import Steps, Way
from toque.store.migrations.checking import findings
from toque.store.migrations.questions import Questions
from toque.store.migrations.running import sql_of
from toque.store.preparation import check, prepare
from toque.store.prepared import Prepared
from toque.store.row_security import enforced
from toque.store.row_security_check import complaints
from toque.store.rows import Rows, declare
from toque.store.schema import with_connection
from toque.testing.postgres import PrivatePostgres

on_postgres = pytest.mark.parametrize("vault_url", ["postgresql"], indirect=True)

ANA = calling("ana", "north")


async def visible(db: Any) -> list[int]:
    return sorted(await db.all(int, select(Note.id)))


async def found(url: str, metadata: MetaData = VaultModel.metadata) -> list[str]:
    return await asyncio.to_thread(with_connection, url, lambda at: [str(one) for one in complaints(at, metadata)])


async def run_sql(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


# The role.


@on_postgres
async def test_production_refuses_a_role_that_the_rules_do_not_hold(
    vault_url: str, app_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await check(app_url, VaultModel.metadata, tmp_path)
    with pytest.raises(SetupError, match="'postgres' is a superuser") as caught:
        await check(vault_url, VaultModel.metadata, tmp_path)
    assert "CREATE ROLE app LOGIN" in str(caught.value)

    await prepare(vault_url, VaultModel.metadata, tmp_path)

    assert "is a superuser" in caplog.text


@on_postgres
@pytest.mark.parametrize(
    ("reason", "may", "undo"),
    [
        ("has BYPASSRLS", "ALTER ROLE toque_app BYPASSRLS", "ALTER ROLE toque_app NOBYPASSRLS"),
        ("owns note", "ALTER TABLE note OWNER TO toque_app", ""),
        ("is a superuser", "GRANT postgres TO toque_app", "REVOKE postgres FROM toque_app"),
    ],
)
async def test_every_way_past_the_rules_is_seen(vault_url: str, app_url: str, reason: str, may: str, undo: str) -> None:
    assert await found(app_url) == []
    await run_sql(vault_url, may)
    try:
        assert reason in "".join(await found(app_url))
    finally:
        await run_sql(vault_url, *filter(None, [undo]))


@on_postgres
@pytest.mark.parametrize(
    "change",
    [
        "DROP POLICY toque_delete ON note",
        "CREATE POLICY more ON note USING (true)",
        "ALTER TABLE note DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE note NO FORCE ROW LEVEL SECURITY",
        "COMMENT ON POLICY toque_read ON note IS 'older'",
    ],
)
async def test_a_database_that_keeps_other_rules_is_seen(vault_url: str, app_url: str, change: str) -> None:
    await run_sql(vault_url, change)

    assert "table note: the database does not enforce its rules" in "".join(await found(app_url))


# The settings.


@on_postgres
async def test_nothing_of_a_caller_stays_on_a_connection(app_url: str) -> None:
    store: Any = open_store(app_url, slots=1)
    store.enforce(VaultModel.metadata)
    await store.start()

    async def stolen(db: Any) -> Any:
        return await db.all(int, select(Topic.id).where(func.length(func.current_setting("toque.caller", True)) > 0))

    assert await store.query(visible, ANA) == [1, 3, 4, 5]
    assert await store.command(visible, ANA) == [1, 3, 4, 5]
    # A lone read of a table that is not sensitive has no transaction, and finds nothing of the call before.
    assert await store.query(stolen, ANA) == []
    await store.stop()


@on_postgres
async def test_a_rule_that_reads_sensitive_tables_leaves_no_switch_on(app_url: str) -> None:
    store: Any = open_store(app_url, slots=1)
    store.enforce(VaultModel.metadata)
    await store.start()

    async def switched(db: Any) -> Any:
        assert await visible(db) == [1, 3, 4, 5]
        return await db.all(int, select(Topic.id).where(func.current_setting("toque.system", True) == "on"))

    assert await store.command(switched, ANA) == []
    assert await store.query(switched, ANA) == []
    await store.stop()


# Where calls may go.


@on_postgres
async def test_a_replica_keeps_the_rules_too(vault_url: str, postgres: PrivatePostgres) -> None:
    replica = postgres.replica()
    replica.start()
    name = vault_url.partition("?")[0].rpartition("/")[2]
    url, copied = (one.replace("postgres@", "toque_app@") for one in (vault_url, replica.url(name)))
    store: Any = open_store(url, replicas=[copied])
    store.enforce(VaultModel.metadata)
    await store.start()

    async def look(db: Any) -> Any:
        return await db.scalar(text("SELECT pg_is_in_recovery()")), await visible(db)

    try:
        async with asyncio.timeout(30):
            while not (seen := await store.query(look, marked(ANA)))[0]:
                await asyncio.sleep(0.01)
        assert seen == (True, [1, 3, 4, 5])
        assert await store.query(look, marked(calling("eva", "south"))) == (True, [6, 8])
    finally:
        await store.stop()
        replica.stop()


@on_postgres
@pytest.mark.parametrize("pooler", ["toque_app"], indirect=True)
async def test_behind_a_pooler_every_transaction_says_who_is_calling(pooler: Path, app_url: str) -> None:
    """Two sessions of the server for ten connections: whoever has one next finds nothing of the call before."""
    name = app_url.partition("?")[0].rpartition("/")[2]
    store: Any = open_store(f"postgresql://toque_app@/{name}?host={pooler}&port=6432", is_pooled=True)
    store.enforce(VaultModel.metadata)
    await store.start()

    async def call(number: int) -> None:
        act = store.command if number % 3 else store.query
        assert await act(visible, CALLERS[number % len(CALLERS)]) == SEES[number % len(CALLERS)]

    for start in range(0, 200, 20):
        await asyncio.gather(*map(call, range(start, start + 20)))
    await store.stop()


@on_postgres
@pytest.mark.parametrize("pooler", ["toque_app"], indirect=True)
async def test_whoever_has_a_poolers_session_next_is_nobody(pooler: Path, app_url: str) -> None:
    """Another program, after calls that ended well, failed, and were cancelled, on each of the server's two sessions."""
    name = app_url.partition("?")[0].rpartition("/")[2]
    store: Any = open_store(f"postgresql://toque_app@/{name}?host={pooler}&port=6432", is_pooled=True)
    store.enforce(VaultModel.metadata)
    await store.start()

    async def fail(db: Any) -> None:
        await visible(db)
        raise LookupError

    async def stay(db: Any) -> None:
        await visible(db)
        await db.scalar(text("SELECT 1 FROM pg_sleep(60)"))

    async def call(number: int) -> None:
        act = store.command if number % 2 else store.query
        if number % 5 == 0:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await act(stay, ANA)
        elif number % 5 == 1:
            with pytest.raises(LookupError):
                await act(fail, ANA)
        else:
            assert await act(visible, ANA) == [1, 3, 4, 5]

    await asyncio.gather(*map(call, range(20)))
    await store.stop()

    others = [await asyncpg.connect(user="toque_app", database=name, host=str(pooler), port=6432) for _ in "12"]
    try:
        sessions = set()
        for other in others:
            # Held until all have one, so that they have different ones.
            await other.execute("BEGIN")
            sessions.add(await other.fetchval("SELECT pg_backend_pid()"))
            told = await other.fetchrow(
                "SELECT current_setting('toque.caller', true), current_setting('toque.system', true)"
            )
            assert [value or None for value in told] == [None, None]
            assert await other.fetch("SELECT id FROM note") == []
        assert len(sessions) == 2
    finally:
        for other in others:
            await other.close()


def marked(context: Context) -> Context:
    """As a caller who knows of no commit: any replica is fresh enough for him."""
    context.mark = Mark()
    return context


@on_postgres
async def test_only_what_concerns_a_sensitive_table_costs_a_transaction(app_url: str) -> None:
    store: Any = open_store(app_url, slots=1)
    store.enforce(VaultModel.metadata)
    await store.start()
    begun = []

    def seen(model: Any) -> Any:
        async def run(db: Any) -> None:
            await db.all(int, select(model.id))
            begun.append(db._transaction._connection.is_in_transaction())

        return run

    await store.query(seen(Topic), ANA)
    await store.query(seen(Note), ANA)

    assert begun == [False, True]
    await store.stop()


async def test_the_apps_own_work_sees_all_and_leaves_nothing_open(both: Store) -> None:
    everything = [1, 2, 3, 4, 5, 6, 7, 8]

    async def look(db: Database) -> Any:
        everyones = AllRows.of(db)
        own = await visible(everyones), [one async for one in everyones.stream(int, select(Note.id).order_by(Note.id))]
        return *own, await visible(db), await visible(everyones)

    for _ in range(2):
        assert await both.command(look, ANA) == (everything, everything, [1, 3, 4, 5], everything)
        assert await both.query(look, ANA) == (everything, everything, [1, 3, 4, 5], everything)
    assert await both.query(visible, UNCALLED) == []


async def test_the_apps_own_session_sees_all(both: Store) -> None:
    async def look(db: Database) -> Any:
        found = []
        for one in (db, AllRows.of(db)):
            async with one.session() as session:
                found.append(len((await session.scalars(select(Note))).all()))
        return found

    assert await both.command(look, ANA) == [4, 8]


async def test_the_apps_own_work_writes_any_row(both: Store, raw: Store) -> None:
    async def write(db: Database) -> Any:
        return await AllRows.of(db).execute(update(Note).values(author="zoe", tenant="west"))

    assert await both.command(write, ANA) == 8
    assert await both.query(visible, ANA) == []


@on_postgres
async def test_a_failed_statement_of_the_apps_own_leaves_nothing_open(both: Store) -> None:
    """A value that asyncpg refuses ends no transaction on the server, so the switch must be turned back."""

    async def fail(db: Database) -> Any:
        with pytest.raises(Error):
            await AllRows.of(db).all(int, select(Note.id).where(Note.id == 10**30))
        return await AllRows.of(db)._transaction.fetch(Prepared("SELECT id FROM note ORDER BY id"), (), 0, list)

    assert [row[0] for row in await both.query(fail, ANA)] == [1, 3, 4, 5]


# T-AC-08.

CALLERS = [ANA, calling("ben", "north"), calling("eva", "south"), calling("ana", "south"), calling()]
SEES = [[1, 3, 4, 5], [2, 3, 4], [6, 8], [6, 7, 8], []]


@on_postgres
@pytest.mark.parametrize("calls", [2_000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_interleaved_callers_with_kills_and_cancellations_never_meet(
    app_url: str, vault_url: str, calls: int
) -> None:
    """T-AC-08: calls of five callers on four connections, which are killed and whose calls are called off."""
    store: Any = open_store(app_url, slots=4, waiting_max=10_000)
    store.enforce(VaultModel.metadata)
    await store.start()
    chance = random.Random(8)
    outcomes = {"right": 0, "failed": 0, "called off": 0}
    killed = 0

    async def call(number: int) -> None:
        who = number % len(CALLERS)

        async def run(db: Any) -> list[int]:
            seen = await visible(db)
            if number % 3 == 0:
                await db.execute(update(Note).values(level=Note.level))
                assert await visible(db) == seen
            return seen

        task = asyncio.ensure_future((store.query if number % 3 else store.command)(run, CALLERS[who]))
        if number % 11 == 0:
            asyncio.get_running_loop().call_later(chance.random() / 50, task.cancel)
        try:
            seen = await task
        except asyncio.CancelledError:
            outcomes["called off"] += 1
        except (Error, asyncpg.PostgresError, asyncpg.InternalClientError, ConnectionError):
            outcomes["failed"] += 1
        else:
            assert seen == SEES[who]
            outcomes["right"] += 1

    async def kill() -> None:
        nonlocal killed
        own = await asyncpg.connect(vault_url)
        try:
            while True:
                killed += await own.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity "
                    "WHERE usename = 'toque_app' AND datname = current_database() ORDER BY random() LIMIT 1) AS one"
                )
                await asyncio.sleep(0.05)
        finally:
            own.terminate()

    killing = asyncio.ensure_future(kill())
    for start in range(0, calls, 100):
        await asyncio.gather(*(call(number) for number in range(start, start + 100)))
    killing.cancel()
    await asyncio.wait([killing])
    await store.stop()
    assert sum(outcomes.values()) == calls
    assert outcomes["right"] > calls // 2
    # Most calls that lose their session are run again, and nobody hears of it.
    assert killed > 0
    assert outcomes["called off"] > 0


# Revisions.


def shelf(*, rule: str = "", columns: tuple[str, ...] = ("owner", "title"), name: str = "shelf") -> MetaData:
    """A model's table as it may be declared from one release to the next."""
    metadata = MetaData()
    table = Table(name, metadata, Column("id", Integer, primary_key=True), *(Column(one, String) for one in columns))

    def rows(me: Me) -> Rows:
        mine = table.c[rule] == me.subject
        return Rows(read=mine, write=mine)

    if rule:
        declare(table, rows, sensitive=True)
    return metadata


RELEASES = [shelf(), shelf(rule="owner"), shelf(rule="keeper", columns=("keeper", "title")), shelf(columns=("keeper",))]


@pytest.mark.parametrize("written_on", ["sqlite", "postgresql"])
@pytest.mark.parametrize("is_renamed", [False, True])
async def test_revisions_carry_the_rules_from_release_to_release(
    written_on: str, is_renamed: bool, postgres: PrivatePostgres, tmp_path: Path
) -> None:
    """Written on either database, they lead PostgreSQL to each release's rules, and back."""
    home = f"sqlite:///{tmp_path / 'dev.db'}" if written_on == "sqlite" else postgres.create_database()
    target = postgres.create_database()
    renames = ["shelf.owner=keeper"] if is_renamed else []
    heads = []
    for number, release in enumerate(RELEASES):
        named = renames if number == 2 else []
        await migrations.revision(home, release, tmp_path, "next", Questions(named, nothing_renamed=not named))
        assert await migrations.revision(home, release, tmp_path, "nothing") == []
        await migrations.upgrade(target, release, tmp_path)
        assert await unenforced(target, release) == []
        assert await policies(target) == 4 * len(enforced(release))
        heads.append(await migrations.current(target))

    for number in (2, 1, 0):
        await migrations.downgrade(target, RELEASES[number], tmp_path, str(heads[number]), Way(may_lose=True))
        assert await unenforced(target, RELEASES[number]) == []
        assert await policies(target) == 4 * len(enforced(RELEASES[number]))


async def unenforced(url: str, metadata: MetaData) -> list[str]:
    return [one for one in await found(url, metadata) if "enforce" in one]


def library(*, kind: Any = String, has_spare: bool = True) -> MetaData:
    """Two tables of which one's rule reads the other, and itself: a rule that holds on to all of both."""
    metadata = MetaData()
    book = Table(
        "book", metadata, Column("id", Integer, primary_key=True), Column("owner", kind), Column("of", Integer)
    )
    loan = Table("loan", metadata, Column("book_id", Integer, primary_key=True), Column("reader", kind))
    if has_spare:
        book.append_column(Column("spare", Integer))
    series = book.alias()
    lent = select(loan.c.book_id).where(loan.c.book_id == book.c.id, loan.c.reader == claim()).exists()
    of_mine = select(series.c.id).where(series.c.id == book.c.of, series.c.owner == claim()).exists()
    declare(book, lambda me: Rows(read=(book.c.owner == claim()) | lent | of_mine), sensitive=True)
    declare(loan, lambda me: Rows(read=loan.c.reader == claim()), sensitive=True)
    return metadata


def claim() -> Any:
    return func.coalesce(Me().claim("who"), "")


@pytest.mark.parametrize(
    "next_release",
    [{"has_spare": False}, {"kind": String(40)}, {"kind": Text}],
    ids=["a dropped column", "a narrower type", "a wider type"],
)
async def test_rules_step_aside_while_columns_go_or_change(
    next_release: dict[str, Any], postgres: PrivatePostgres, tmp_path: Path
) -> None:
    target = postgres.create_database()
    first, second = library(kind=String(20)), library(**{"kind": String(20), **next_release})
    await migrations.revision(target, first, tmp_path, "first")
    await migrations.upgrade(target, first, tmp_path)
    began = str(await migrations.current(target))

    await migrations.revision(target, second, tmp_path, "second", Questions(nothing_renamed=True))
    await migrations.upgrade(target, second, tmp_path)

    assert await unenforced(target, second) == []
    await migrations.downgrade(target, second, tmp_path, began, Way(may_lose=True))
    assert await unenforced(target, first) == []


async def test_the_check_of_migrations_has_nothing_against_rules(database_url: str, tmp_path: Path) -> None:
    await migrations.revision(database_url, VaultModel.metadata, tmp_path, "first")

    assert await findings(database_url, VaultModel.metadata, tmp_path, is_all=True) == []
    assert "CREATE POLICY toque_read ON note" in sql_of(VaultModel.metadata, Steps(tmp_path).all[0])


async def test_rules_follow_a_table_to_its_new_name_and_back(postgres: PrivatePostgres, tmp_path: Path) -> None:
    target = postgres.create_database()
    first, second = shelf(rule="owner"), shelf(rule="owner", name="rack")
    await migrations.revision(target, first, tmp_path, "first")
    await migrations.upgrade(target, first, tmp_path)
    await migrations.revision(target, second, tmp_path, "renamed", Questions(["shelf=rack"]))

    await migrations.upgrade(target, second, tmp_path)

    assert await unenforced(target, second) == []
    last, middle, began = (step.revision for step in Steps(tmp_path).all[::-1])
    await migrations.downgrade(target, second, tmp_path, middle, Way(may_lose=True))
    # Between two files nobody sees the table, under whichever name.
    assert await policies(target) == 0
    assert await asked(target, "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'rack'")
    await migrations.downgrade(target, second, tmp_path, began, Way(may_lose=True))
    assert last != began
    assert await unenforced(target, first) == []


async def test_a_table_that_goes_keeps_its_rules_until_then(postgres: PrivatePostgres, tmp_path: Path) -> None:
    target = postgres.create_database()
    await migrations.revision(target, library(), tmp_path, "first")
    await migrations.upgrade(target, library(), tmp_path)
    await migrations.revision(target, MetaData(), tmp_path, "gone", Questions(nothing_renamed=True))

    await migrations.upgrade(target, MetaData(), tmp_path)

    assert await policies(target) == 0
    await migrations.downgrade(target, MetaData(), tmp_path, "-1", Way(may_lose=True))
    assert await unenforced(target, library()) == []


async def test_the_owner_upgrades_and_fills_rows_that_he_does_not_see(
    tmp_path: Path, postgres: PrivatePostgres
) -> None:
    """No superuser, and FORCE holds him too: a backfill in batches, and a statement outside of any transaction."""
    target = postgres.create_database()
    owner = await owned(target)
    await migrations.revision(target, library(), tmp_path, "first")
    await migrations.upgrade(owner, library(), tmp_path)
    await run_sql(target, "INSERT INTO book (id) SELECT generate_series(1, 2500)")
    head = str(await migrations.current(target))
    (tmp_path / "versions" / "30000101000000_fill.py").write_text(FILL.format(head=head), encoding="utf-8")

    await migrations.upgrade(owner, library(), tmp_path)

    connection = await asyncpg.connect(target)
    filled = await connection.fetchrow("SELECT count(*), sum(spare), count(owner) FROM book")
    await connection.close()
    assert tuple(filled) == (2500, 2500 * 7, 2500)


FILL = """\"\"\"fill\"\"\"
from alembic import op

revision = "30000101000000"
down_revision = "{head}"
phase = "backfill"
is_transactional = False


def upgrade() -> None:
    op.backfill("book", {{"spare": "7"}})
    op.execute("UPDATE book SET owner = 'ana'")
"""


async def policies(url: str) -> int:
    return await asked(url, "SELECT count(*) FROM pg_policies")


async def asked(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_a_rule_with_a_value_that_has_no_literal_is_refused() -> None:
    metadata = MetaData()
    table = Table("odd", metadata, Column("id", Integer, primary_key=True))
    from sqlalchemy import bindparam

    declare(table, lambda _me: Rows(read=table.c.id == bindparam("which", type_=Integer)), sensitive=True)

    with pytest.raises(TypeError, match="a rule of table 'odd' cannot be kept by the database"):
        enforced(metadata)


@on_postgres
async def test_the_owner_at_work_fills_a_table_that_its_rules_close(vault_url: str) -> None:
    """FORCE holds the owner too; what a migration runs in says that it is the app's own work."""

    def fill(connection: Any) -> int:
        connection.exec_driver_sql("SET LOCAL ROLE toque_app")
        connection.execute(insert(Note.__table__).values(id=50, tenant="west", author="zoe", state=State.DRAFT))
        return connection.exec_driver_sql("SELECT count(*) FROM note").scalar()

    assert await asyncio.to_thread(with_connection, vault_url, fill) == 9
