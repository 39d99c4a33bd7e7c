"""How messages are, as a scrape sees it: true, cheap, and without a write."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from bells import Broken, Rung, bells, store_of, until
from prometheus_client.parser import text_string_to_metric_families as parse

from toque import App, Jobs, public
from toque.log.append import append
from toque.log.cursor import Cursor
from toque.log.reader import reader_of
from toque.messages import measures
from toque.messages.jobs.desk import Desk
from toque.messages.lag import LAGS, Lag, Place, lags_in, written
from toque.messages.measures import measure
from toque.messages.tables import lay_out
from toque.settings import Messages, Settings
from toque.store import Store
from toque.store.database import Database, transaction_of
from toque.store.insight.measures import Measure
from toque.store.own import look
from toque.store.prepared import Prepared
from toque.testing import running

IDLE = Settings(messages=Messages(work=False))


class Figures(dict[tuple[str, ...], float]):
    """Values by name and labels."""

    def __init__(self, found: list[Measure]) -> None:
        super().__init__({(one.name, *one.labels.values()): one.value for one in found})
        assert len(self) == len(found), "each figure once"


@pytest.fixture
def store(log_store: Store) -> Store:
    return log_store


async def do(store: Store, *statements: str) -> None:
    """Change something from outside, written as for PostgreSQL."""

    async def run(database: Database) -> None:
        for each in statements:
            text = each if store.dialect_name == "postgresql" else each.replace("toque.", "toque_")
            await transaction_of(database).execute(Prepared(text, True), ())

    await store.command(run)


async def seen(store: Store, **handled: str) -> Figures:
    names = {name.replace("_", "."): type for name, type in handled.items()}
    return Figures(await measure(store.url, names, ["Sent"]))


async def publish(store: Store, *types: str) -> None:
    async def run(database: Database) -> None:
        for type in types:
            append(transaction_of(database), type, 1, key="", headers={}, data=b"{}")

    await store.command(run)


# Who follows the log.


async def test_an_app_that_has_done_nothing_has_figures_of_nothing(store: Store) -> None:
    assert await seen(store) == {}


async def test_a_consumer_is_behind_by_the_events_of_its_type(database_url: str) -> None:
    async with running(bells(lambda event: None), settings=IDLE, database_url=database_url) as harness:
        store = store_of(harness)
        assert (await seen(store, bells_hear="Rung"))["consumer_lag_events", "bells.hear"] == 0
        await harness.call("bells.ring", numbers=[1, 2, 3])
        await publish(store, "Other", "Other")

        found = await seen(store, bells_hear="Rung")
        unknown = await seen(store)

    assert found["consumer_lag_events", "bells.hear"] == 3
    assert found["consumer_lag_seconds", "bells.hear"] > 0
    assert found["consumer_running", "bells.hear"] == 0, "nobody works here"
    assert unknown["consumer_lag_events", "bells.hear"] == 5, "of whom nobody knows what it hears, everything counts"


async def test_a_consumer_that_is_through_is_not_behind_and_what_it_could_not_do_is_parked(database_url: str) -> None:
    def hear(event: Rung) -> None:
        if event.number == 1:
            raise Broken("not that one")

    async with running(bells(hear, attempts_max=1), database_url=database_url) as harness:
        await harness.call("bells.ring", numbers=[1, 2, 3], bell="door")
        await harness.settle()
        store = store_of(harness)

        async def found() -> Figures | None:
            figures = await seen(store, bells_hear="Rung")
            return figures if figures["consumer_lag_events", "bells.hear"] == 0 else None

        # How far it has come is written down once a second.
        await until(found)
        figures = await seen(store, bells_hear="Rung")
        shown = (await harness.get("/metrics")).text

    assert figures["consumer_lag_seconds", "bells.hear"] == 0
    assert figures["consumer_running", "bells.hear"] == 1
    parked = {key[2]: value for key, value in figures.items() if key[0] == "consumer_parked"}
    assert parked == {"dead": 1, "behind": 2, "waiting": 0, "started": 0}
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parse(shown)
        for sample in family.samples
    }
    assert samples["toque_consumer_events_total", "bells.hear", "dead"] == 1
    assert samples["toque_consumer_events_total", "bells.hear", "handled"] == 0
    assert samples["toque_consumer_parked", "bells.hear", "dead"] == 1
    assert samples["toque_consumer_lag_events", "bells.hear"] == 0


async def test_relays_and_webhooks_are_behind_as_consumers_are(store: Store) -> None:
    await publish(store, "Sent", "Other")
    place = json.dumps({"at": 0})
    await do(
        store,
        f"INSERT INTO toque.relay (name, fence, cursor) VALUES ('relay nats://queue:4222', 1, '{place}')",
        f"INSERT INTO toque.webhook_place (name, cursor) VALUES ('deliveries', '{place}')",
    )

    found = await seen(store)

    assert found["relay_lag_events", "nats://queue:4222"] == 2
    assert found["webhook_lag_events",] == 1
    assert found["relay_lag_seconds", "nats://queue:4222"] > 0


async def test_what_is_committed_late_is_not_left_out(store: Store) -> None:
    if store.dialect_name == "sqlite":
        pytest.skip("SQLite has one writer")
    reader, begun, go_on = reader_of(store), asyncio.Event(), asyncio.Event()

    async def slow(database: Database) -> None:
        # It has its number now, and its event only at its end.
        await transaction_of(database).fetch(Prepared("SELECT pg_current_xact_id()"), (), 0, list)
        append(transaction_of(database), "Rung", 1, key="", headers={}, data=b"{}")
        begun.set()
        await go_on.wait()

    late = asyncio.create_task(store.command(slow))
    await begun.wait()
    await publish(store, "Rung")
    place = Place(name="all", cursor=await reader.now())
    await publish(store, "Rung")
    assert await _lag(store, place) == 1
    go_on.set()
    await late

    assert await _lag(store, place) == 2


async def _lag(store: Store, place: Place) -> int:
    found = lags_in(await look(store, LAGS[store.dialect_name], written([place])))
    assert isinstance(found[place.name], Lag)
    return found[place.name].events


async def test_numbers_of_another_cluster_are_not_those_of_this_one(store: Store) -> None:
    """A backup was restored into another cluster, which has begun to count its transactions anew."""
    if store.dialect_name != "postgresql":
        pytest.skip("SQLite counts none")
    await lay_out(store.url)
    await reader_of(store).begin()
    for _ in range(5):
        await publish(store, "Rung")
    far = "5000000000:5000000000:"
    await do(
        store,
        "UPDATE toque.event SET xid = '4000000000'::xid8",
        "UPDATE toque.event SET xid = '6000000000'::xid8 WHERE pos > 3",
        "UPDATE toque.epoch SET system = 'the one before'",
    )
    reader = reader_of(store)
    place = await reader.now()
    for _ in range(3):
        await publish(store, "Rung")
    places = {"old": Cursor(seen=far), "new": place, "end": await reader.now()}

    found = lags_in(
        await look(store, LAGS["postgresql"], written([Place(name=name, cursor=each) for name, each in places.items()]))
    )

    assert {name: lag.events for name, lag in found.items()} == {"old": 2 + 3, "new": 3, "end": 0}
    for name, each in places.items():
        entries, _ = await reader.read(each)
        if name == "old":
            assert len(entries) == 2, "those of its own epoch first"
        else:
            assert len(entries) == found[name].events


async def test_a_replay_is_behind_by_what_it_is_to_handle_again(store: Store) -> None:
    begin = await reader_of(store).since(0)
    await publish(store, "Rung", "Rung")
    (first,), _ = await reader_of(store).read(begin, 1)

    assert await _lag(store, Place(name="again", cursor=begin, before=first.at + 3600)) == 2
    assert await _lag(store, Place(name="again", cursor=begin, before=first.at)) == 0


async def test_what_a_reader_in_the_middle_of_a_page_has_passed_is_not_counted(store: Store) -> None:
    begin = await reader_of(store).since(0)
    await publish(store, *["Rung"] * 9)
    entries, _ = await reader_of(store).read(begin, 9)
    middle = await reader_of(store).at(entries[5].pos)
    text = LAGS[store.dialect_name].sql.replace("10000", "2")

    found = lags_in(await look(store, Prepared(text), written([Place(name="middle", cursor=middle)])))

    assert await _lag(store, Place(name="middle", cursor=middle)) == 4
    assert found["middle"].events == 2, "counted from there on, up to the limit"
    await publish(store, "Rung", "Rung")
    assert await _lag(store, Place(name="middle", cursor=middle)) == 6


# Jobs.


def post() -> App:
    app = App("post")

    @app.job(queue="mail")
    async def send(number: int) -> None:
        if number == 13:
            raise ValueError("thirteen")

    @app.job(queue="mail", priority=5)
    async def hurry() -> None: ...

    @app.job(queue="slow", retries=1)
    async def fail() -> None:
        raise ValueError("always")

    @app.command(allow=public)
    async def fill(jobs: Jobs) -> None:
        jobs.enqueue(send, 1)
        jobs.enqueue(send, 2)
        jobs.enqueue(send, 3, delay=3600)
        jobs.enqueue(hurry)
        jobs.enqueue(fail)

    return app


def jobs_in(found: Figures, queue: str) -> dict[str, float]:
    return {key[2]: value for key, value in found.items() if key[:2] == ("jobs", queue)}


async def test_jobs_are_counted_by_queue_and_state(database_url: str) -> None:
    async with running(post(), settings=IDLE, database_url=database_url) as harness:
        await harness.call("post.fill")
        store = store_of(harness)
        await store.command(lambda db: Desk(transaction_of(db), store.dialect_name).pause("slow", is_paused=True))

        found = await seen(store)

    assert jobs_in(found, "mail") == {"waiting": 3, "running": 0, "later": 1, "dead": 0}
    assert jobs_in(found, "slow") == {"waiting": 1, "running": 0, "later": 0, "dead": 0}
    assert found["jobs_oldest_seconds", "mail"] > 0
    assert (found["jobs_paused", "mail"], found["jobs_paused", "slow"]) == (0, 1)


async def test_the_oldest_is_found_behind_those_that_go_first(store: Store) -> None:
    await lay_out(store.url)
    hour = {"postgresql": "now() - interval '1 hour'", "sqlite": "(julianday('now') - 2440587.5) * 86400.0 - 3600"}
    due, now = hour[store.dialect_name], hour[store.dialect_name].split(" - ")[0]
    if store.dialect_name == "sqlite":
        now = "(julianday('now') - 2440587.5) * 86400.0"
    ids = iter("0123456789")

    def job(queue: str, priority: int, when: str) -> str:
        id = f"00000000-0000-0000-0000-00000000000{next(ids)}"
        return (
            "INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data) "
            f"VALUES ('{id}', '{queue}', 'a.b', 0, {priority}, {when}, '', '{{}}', '{{}}')"
        )

    await do(store, job("a", 9, now), job("a", 9, now), job("a", -3, due), job("b", 0, now))

    found = await seen(store)

    assert 3599 < found["jobs_oldest_seconds", "a"] < 7200
    assert found["jobs_oldest_seconds", "b"] < 3599
    assert jobs_in(found, "a")["waiting"] == 3


async def test_what_became_of_jobs_is_counted(database_url: str) -> None:
    async with running(post(), database_url=database_url) as harness:
        await harness.call("post.fill")
        store = store_of(harness)

        async def is_over() -> bool:
            found = await seen(store)
            return jobs_in(found, "slow").get("dead") == 1 and jobs_in(found, "mail")["waiting"] == 0

        await until(is_over)
        shown = (await harness.get("/metrics")).text

    assert 'toque_jobs_ended_total{outcome="done",queue="mail"} 3.0' in shown
    assert 'toque_jobs_ended_total{outcome="dead",queue="slow"} 1.0' in shown
    assert 'toque_jobs{queue="slow",state="dead"} 1.0' in shown


# What it costs.


async def test_a_look_at_a_million_is_a_look_at_some(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of a hundred and 20,000 of each, rows that are looked at are some hundreds."""
    many = 20_000
    series = {
        "postgresql": f"generate_series(1, {many}) AS n (value)",
        "sqlite": f"(WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {many}) "
        "SELECT value FROM n) AS n",
    }[store.dialect_name]
    is_sqlite = store.dialect_name == "sqlite"
    id = "printf('%032d', value + {})" if is_sqlite else "lpad((value + {})::text, 32, '0')::uuid"
    now = "0" if is_sqlite else "now()"
    old = "0" if is_sqlite else "now() - interval '1 day'"
    slot = "" if is_sqlite else "slot, "
    first = "" if is_sqlite else "0, "
    await do(
        store,
        "INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data) "
        f"SELECT {id.format(0)}, 'q', 'a.b', 0, value % 3, {now}, '', '', '' FROM {series}",
        "INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data) "
        f"SELECT {id.format(10**6)}, 'later', 'a.b', 2, 0, {now}, '', '', '' FROM {series}",
        "INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data) "
        f"SELECT {id.format(2 * 10**6)}, 'behind', 'a.b', CASE value WHEN 1 THEN 0 ELSE 3 END, 0, {now}, 'k', '', '' "
        f"FROM {series}",
        "INSERT INTO toque.job_dead "
        "(id, queue, name, priority, key, headers, data, attempt, crashes, reason, errors, at, died) "
        f"VALUES ({id.format(10**6).replace('value', '0')}, 'quiet', 'a.b', 0, '', '', '', 1, 0, '', '', {now}, {old})",
        "INSERT INTO toque.job_result (id, name, outcome, headers, at, until) "
        f"SELECT {id.format(0)}, 'a.b', 'done', '', {now}, {now} FROM {series}",
        "INSERT INTO toque.job_dead "
        "(id, queue, name, priority, key, headers, data, attempt, crashes, reason, errors, at) "
        f"SELECT {id.format(0)}, 'q', 'a.b', 0, '', '', '', 1, 0, '', '', {now} FROM {series}",
        "INSERT INTO toque.consumer (name, handler, cursor, state, began, moved) "
        "VALUES ('m.hear', 'm.hear', '{}', 'running', 0, 0)",
        "INSERT INTO toque.parked (consumer, event, pos, type, version, key, headers, data, at, state, holds, "
        f"attempt, reason, errors, since) SELECT 1, {id.format(0)}, value, 'Rung', 1, 'k', '', '', 0, 'behind', "
        f"true, 0, '', '', 0 FROM {series}",
        f"INSERT INTO toque.event ({slot}id, type, version, key, headers, data) "
        f"SELECT {first}{id.format(0)}, 'Rung', 1, '', '', '' FROM {series}",
        "INSERT INTO toque.webhook_delivery (endpoint, message, type, body, state, due, made_at) "
        f"SELECT 'e', CAST(value AS text), 'Rung', '', 'waiting', 0, value FROM {series}",
    )
    place = written([Place(name="m.hear", cursor=await reader_of(store).since(0), types=("Rung",))])
    state, lags = measures.STATES[store.dialect_name].sql, LAGS[store.dialect_name].sql
    state, lags = (text.replace("10000", "100") for text in (state, lags))

    if is_sqlite:
        steps = _steps_on_sqlite(store.url, state, ()) + _steps_on_sqlite(store.url, lags, (place,))
        assert steps < 100_000, "of the virtual machine: some tens for each row"
    else:
        rows = await _rows_on_postgresql(store.url, state) + await _rows_on_postgresql(store.url, lags, place)
        assert rows < 4_000

    found = await seen(store, m_hear="Rung")
    assert jobs_in(found, "q")["waiting"] == many, "three priorities, each below what is counted"
    assert jobs_in(found, "behind")["waiting"] == 10_001, "one that may begin, and those behind it"
    assert (jobs_in(found, "q")["dead"], jobs_in(found, "quiet")["dead"]) == (10_000, 1), "each queue by itself"
    assert jobs_in(found, "later")["later"] == 10_000
    assert found["consumer_lag_events", "m.hear"] == 10_000
    assert found["consumer_parked", "m.hear", "behind"] == 10_000


def _steps_on_sqlite(url: str, text: str, arguments: tuple[str, ...]) -> int:
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.set_progress_handler(count, 100)
        assert connection.execute(text, arguments).fetchall()
    return steps * 100


async def _rows_on_postgresql(url: str, text: str, *arguments: str) -> int:
    """How many rows all scans of the plan have looked at."""
    from toque.store.postgres_connection import connect_to_move

    connection = await connect_to_move(url)
    try:
        await connection.execute("ANALYZE")
        found = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {text}", *arguments)
    finally:
        await connection.close()

    def looked_at(node: dict[str, Any]) -> float:
        own = 0.0
        if "Scan" in node["Node Type"] and "Relation Name" in node:
            own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return own + sum(looked_at(each) for each in node.get("Plans", ()))

    return int(looked_at(json.loads(found)[0]["Plan"]))


async def test_many_scrapes_are_one_look(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    async def counting(url: str, *given: Any) -> list[Measure]:
        looks.append(url)
        return await measure(url, *given)

    monkeypatch.setattr("toque.messages.measures.measure", counting)
    async with running(post(), settings=IDLE, database_url=database_url) as harness:
        await harness.call("post.fill")
        answers = [await harness.get("/metrics") for _ in range(5)]

    assert len(looks) == 1
    assert all('toque_jobs{queue="mail",state="waiting"} 3.0' in answer.text for answer in answers)


async def test_a_look_writes_nothing(store: Store) -> None:
    if store.dialect_name == "postgresql":
        pytest.skip("its transaction is read-only there, so it would have failed in every test")
    with closing(sqlite3.connect(store.url.removeprefix("sqlite:///"))) as other:
        before = other.execute("PRAGMA data_version").fetchone()
        await seen(store)

        assert other.execute("PRAGMA data_version").fetchone() == before
        await publish(store, "Rung")
        assert other.execute("PRAGMA data_version").fetchone() != before


async def test_tables_that_are_not_there_fail_no_scrape(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running(post(), settings=IDLE, database_url=database_url) as harness:
        await do(store_of(harness), "ALTER TABLE toque.job_dead RENAME TO elsewhere")

        answer = await harness.get("/metrics")

    assert answer.status == 200
    assert "toque_jobs{" not in answer.text
    assert "toque_database_up 1.0" in answer.text
    assert "messages cannot be measured" in caplog.text


async def test_an_app_without_messages_looks_for_none(database_url: str) -> None:
    app = App("plain")

    @app.query("/x", allow=public)
    async def x() -> int:
        return 1

    async with running(app, database_url=database_url) as harness:
        assert "toque_jobs" not in (await harness.get("/metrics")).text
        assert harness.serving._measuring() == {}
