"""`advise`: what is missing is named and tried, what is needless too, and what is well is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from advised_models import Base, Customer, Purchase
from sqlalchemy import delete, insert, select, text

from toque.call.context import Context
from toque.store import Database, Store, open_store
from toque.store.insight import postgres_catalog
from toque.store.insight.advice import LOOKS_MIN, Advice, Report, advise
from toque.store.insight.candidates import candidates
from toque.store.insight.catalog import Table
from toque.store.insight.statistics import Statistics, recorded
from toque.store.schema import create_missing
from toque.testing.postgres import PrivatePostgres

ROWS = 5000


@pytest.fixture
def metadata() -> Any:
    return Base.metadata


async def fill(db: Database) -> None:
    await db.execute(
        insert(Customer),
        [{"id": n, "email": f"{n}@x", "city": f"c{n % 500}", "shoe_size": n % 10} for n in range(ROWS)],
    )
    await db.execute(
        insert(Purchase),
        [{"id": n, "customer_id": n, "state": "ab"[n % 2], "day": n % 365, "code": n} for n in range(ROWS)],
    )


@pytest.fixture
async def shop(store: Store) -> Store:
    await store.command(fill)
    await store.command(lambda db: db.execute(text("ANALYZE")))
    return store


def by_city(city: str) -> Any:
    return select(Customer.id).where(Customer.city == city)


def last_of(customer: int) -> Any:
    return select(Purchase.id).where(Purchase.customer_id == customer).order_by(Purchase.day.desc()).limit(3)


def by_key(key: int) -> Any:
    return select(Customer.city).where(Customer.id == key)


async def run(url: str, folder: Path, *statements: Any, times: int = 1) -> None:
    """The app, recording what it runs."""
    statistics = Statistics(folder)
    store = open_store(url, observer=statistics)
    await store.start()
    for statement in statements:
        for _ in range(times):
            await store.query(lambda db, s=statement: db.first(int | str, s), Context.within("shop.find", 5))
    await statistics.stop()
    await store.stop()


def about(report: Report, act: str, table: str) -> list[Advice]:
    return [one for one in report.advice if (one.act, one.table) == (act, table)]


async def test_an_index_that_a_statement_lacks_is_tried_and_named(shop: Store, tmp_path: Path) -> None:
    await run(shop.url, tmp_path, by_city("c1"), last_of(7), by_key(3))

    report = await advise(shop.url, tmp_path)

    (city,) = about(report, "create", "customer")
    assert (city.columns, city.is_verified) == (["city"], True)
    assert "shop.find" in city.why
    assert city.statement.replace(" CONCURRENTLY", "") == "CREATE INDEX ix_customer_city ON customer (city)"
    assert ("CONCURRENTLY" in city.statement) == (shop.dialect_name == "postgresql")
    (purchase,) = about(report, "create", "purchase")
    assert (purchase.columns, purchase.is_verified) == (["customer_id", "day"], True)
    assert (report.statements, report.source) == (3, "recorded statements")


async def test_what_was_advised_and_done_is_advised_no_more(shop: Store, tmp_path: Path) -> None:
    await run(shop.url, tmp_path, by_city("c1"), last_of(7))
    for one in (await advise(shop.url, tmp_path)).advice:
        statement = one.statement.replace(" CONCURRENTLY", "")
        await shop.command(lambda db, s=statement: db.execute(text(s)))

    assert (await advise(shop.url, tmp_path)).advice == []


async def test_a_reference_without_an_index_is_named_without_any_statement(shop: Store, tmp_path: Path) -> None:
    report = await advise(shop.url, tmp_path)

    (found,) = about(report, "create", "purchase")
    assert (found.columns, found.is_verified) == (["customer_id"], False)
    assert "a foreign key to customer" in found.why


async def test_indexes_that_another_replaces_are_to_go(shop: Store, tmp_path: Path) -> None:
    report = await advise(shop.url, tmp_path)

    dropped = sorted(one.statement.rpartition(" ")[2] for one in about(report, "drop", "purchase"))
    assert dropped == ["ix_purchase_state", "ix_purchase_state_twin"]


async def test_an_index_that_nothing_uses_is_to_go_once_there_was_occasion(shop: Store, tmp_path: Path) -> None:
    if shop.dialect_name == "sqlite":
        # PostgreSQL counts the five thousand looks of the foreign key's check, sooner or later.
        assert about(await advise(shop.url, tmp_path), "drop", "customer") == []

    await run(shop.url, tmp_path, by_key(3), times=LOOKS_MIN + 10)
    if shop.dialect_name == "postgresql":
        # What a session has counted is seen by others when it ends, or a second later.
        await shop.command(lambda db: db.execute(text("SELECT pg_stat_force_next_flush()")))

    (found,) = about(await advise(shop.url, tmp_path), "drop", "customer")
    assert found.columns == ["shoe_size"]


async def test_an_index_that_would_not_help_is_not_advised(shop: Store, tmp_path: Path) -> None:
    # Half of all rows: reading the table is as good, and there is an index by state anyway.
    half = select(Purchase.code).where(Purchase.code > 0)
    await run(shop.url, tmp_path, half, select(Customer.id).where(Customer.id == 1, Customer.city == "c1"))

    report = await advise(shop.url, tmp_path)

    assert about(report, "create", "customer") == []


async def test_a_small_table_needs_no_index(shop: Store, tmp_path: Path) -> None:
    await shop.command(lambda db: db.execute(delete(Purchase)))
    await shop.command(lambda db: db.execute(delete(Customer).where(Customer.id > 100)))
    await shop.command(lambda db: db.execute(text("ANALYZE")))
    await run(shop.url, tmp_path, by_city("c1"))

    assert about(await advise(shop.url, tmp_path), "create", "customer") == []


async def test_advising_changes_nothing(shop: Store, tmp_path: Path) -> None:
    await run(shop.url, tmp_path, by_city("c1"), last_of(7))
    query = (
        "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema ORDER BY name)"
        if shop.dialect_name == "sqlite"
        else "SELECT string_agg(indexname, ',' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'"
    )
    before = await shop.query(lambda db: db.scalar(text(query)))

    await advise(shop.url, tmp_path)

    assert await shop.query(lambda db: db.scalar(text(query))) == before


@pytest.fixture
def counting() -> Iterator[PrivatePostgres]:
    """A server that counts statements by itself. The wheel has no such extension; a distribution's server does."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/lib/pg_stat_statements.so"))
    if not found:
        pytest.skip("no PostgreSQL with pg_stat_statements is installed")
    options = {"shared_preload_libraries": "pg_stat_statements"}
    server = PrivatePostgres(programs=found[-1].parents[1] / "bin", options=options)
    server.start()
    yield server
    server.stop()


async def test_postgresql_own_statistics_come_first(counting: PrivatePostgres, tmp_path: Path) -> None:
    url = counting.create_database()
    await create_missing(url, Base.metadata)
    store = open_store(url)
    await store.start()
    await store.command(lambda db: db.execute(text("CREATE EXTENSION pg_stat_statements")))
    await store.command(fill)
    await store.command(lambda db: db.execute(text("ANALYZE")))
    for n in range(7):
        await store.query(lambda db, n=n: db.all(int, by_city(f"c{n}")))
    await store.stop()

    report = await advise(url, tmp_path)

    assert report.source == "pg_stat_statements"
    (found,) = about(report, "create", "customer")
    assert "7 runs" in found.why
    assert found.statement.startswith("CREATE INDEX")


async def test_an_extension_that_the_server_was_not_started_with_is_no_error(
    counting: PrivatePostgres, tmp_path: Path
) -> None:
    counting.terminate()
    counting._options = {}
    counting.start()
    url = counting.create_database()
    await create_missing(url, Base.metadata)
    store = open_store(url)
    await store.start()
    await store.command(lambda db: db.execute(text("CREATE EXTENSION pg_stat_statements")))
    await store.stop()

    assert (await advise(url, tmp_path)).source == "recorded statements"


async def test_what_is_recorded_has_no_values_and_adds_up_over_processes(shop: Store, tmp_path: Path) -> None:
    await run(shop.url, tmp_path, by_city("c77"), times=3)
    await run(shop.url, tmp_path, by_city("c77"), times=2)

    (cost,) = recorded(tmp_path)
    assert (cost.calls, cost.rows, cost.operations) == (5, 5, ["shop.find"])
    files = list((tmp_path / ".toque" / "statements").iterdir())
    assert len(files) == 2
    assert all(b"c77" not in file.read_bytes() for file in files)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a.x FROM a WHERE a.x = ? AND a.y > ? AND a.z = $3::INTEGER", [("a", ("x", "z", "y"))]),
        ('SELECT o.x FROM "order" AS o WHERE o."select" IN (?, ?)', [("order", ("select",))]),
        ("SELECT x FROM a WHERE x = ? ORDER BY y DESC, z LIMIT ?", [("a", ("x", "y", "z"))]),
        ("SELECT x FROM a ORDER BY a.y", [("a", ("y",))]),
        ("UPDATE a SET x=? WHERE a.y = ?", [("a", ("y",))]),
        ("DELETE FROM a WHERE a.y = ?", [("a", ("y",))]),
        ("SELECT x FROM a WHERE lower(a.x) = ?", []),
        ("SELECT a.x FROM a JOIN b ON a.x = b.x WHERE a.y = b.y", []),
        ("INSERT INTO a (x) VALUES (?)", []),
        ("SELECT 1", []),
    ],
)
def test_columns_are_read_from_the_text(sql: str, expected: list[Any]) -> None:
    tables = {
        "a": Table(name="a", rows=1, columns=["x", "y", "z"]),
        "b": Table(name="b", rows=1, columns=["x", "y"]),
        "order": Table(name="order", rows=1, columns=["x", "select"]),
    }

    assert candidates(sql, tables) == expected


async def test_a_table_that_a_trial_would_lock_for_long_is_not_tried(
    shop: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shop.dialect_name == "sqlite":
        pytest.skip("SQLite tries in an empty copy of the schema")
    monkeypatch.setattr(postgres_catalog, "TRIAL_BYTES_MAX", 1)
    await run(shop.url, tmp_path, by_city("c1"))

    (city,) = about(await advise(shop.url, tmp_path), "create", "customer")

    assert (city.is_verified, "a trial locks it" in city.why) == (False, True)
