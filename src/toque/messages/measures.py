"""How an app's messages are, as the database knows it: who is behind, what waits, what failed.

Two statements, which only read. Everything is counted along an index and up to a limit: a million jobs that wait cost
what ten thousand do, and those that are done are in none of these tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from time import time
from typing import Any

import msgspec

from toque.log.cursor import Cursor
from toque.messages.dialects import both
from toque.messages.job_tables import BEHIND, LATER, RUNNING, WAITING
from toque.messages.lag import LAG_MAX, LAGS, Lag, Place, lags_in, written
from toque.store.insight.measures import TIMEOUT_S, Measure

__all__ = ["STATES", "measure"]

COUNTED_MAX = LAG_MAX
"""Rows of one kind that are counted at most."""

LINES_MAX = 500
"""Queues and priorities that are looked at; an app with more of them has put something into their names."""

FIRST_MAX = 100
"""Of those that wait in one line so many are asked since when: the line is in the order of being enqueued, and what was
to come later stands before what may begin since long."""

# ruff: noqa: S608 - what is put into a text is a number of ours.
# By rank, which is the priority turned round, as the index has it (`floor_tables`).
_WAITING = f"state = {WAITING} AND queue = line.queue AND 0 - priority = line.rank"
_STATE = f"""
WITH RECURSIVE waiting (queue) AS (
    SELECT min(queue) FROM toque.job WHERE state = {WAITING}
    UNION ALL
    SELECT (SELECT queue FROM toque.job WHERE state = {WAITING} AND queue > waiting.queue ORDER BY queue LIMIT 1)
    FROM waiting WHERE waiting.queue IS NOT NULL
), line (queue, rank) AS (
    SELECT queue, (SELECT 0 - priority FROM toque.job WHERE state = {WAITING} AND queue = waiting.queue
        ORDER BY 0 - priority LIMIT 1)
    FROM (SELECT queue FROM waiting WHERE queue IS NOT NULL LIMIT {LINES_MAX}) AS waiting
    UNION ALL
    SELECT line.queue, (SELECT 0 - priority FROM toque.job
        WHERE state = {WAITING} AND queue = line.queue AND 0 - priority > line.rank ORDER BY 0 - priority LIMIT 1)
    FROM line WHERE line.rank IS NOT NULL
), behind (queue) AS (
    SELECT (SELECT queue FROM toque.job WHERE state = {BEHIND} ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM toque.job WHERE state = {BEHIND} AND queue > behind.queue ORDER BY queue LIMIT 1)
    FROM behind WHERE behind.queue IS NOT NULL
), dead (queue) AS (
    SELECT (SELECT queue FROM toque.job_dead ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM toque.job_dead WHERE queue > dead.queue ORDER BY queue LIMIT 1)
    FROM dead WHERE dead.queue IS NOT NULL
)
SELECT 'job', queue, 'waiting', CAST(sum(waiting) AS bigint), max(age), '' FROM (
    SELECT queue,
        (SELECT count(*) FROM (
            SELECT 1 FROM toque.job WHERE {_WAITING} ORDER BY pos LIMIT {COUNTED_MAX}) AS few) AS waiting,
        (SELECT {{now}} - min(epoch(due)) FROM (
            SELECT due FROM toque.job WHERE {_WAITING} ORDER BY pos LIMIT {FIRST_MAX}) AS few) AS age
    FROM (SELECT queue, rank FROM line WHERE rank IS NOT NULL LIMIT {LINES_MAX}) AS line
) AS lines GROUP BY queue
UNION ALL
SELECT 'job', queue, 'running', count(*), NULL, '' FROM toque.job WHERE state = {RUNNING} GROUP BY queue
UNION ALL
SELECT 'job', queue, 'later', count(*), NULL, '' FROM (
    SELECT queue FROM toque.job WHERE state = {LATER} ORDER BY due LIMIT {COUNTED_MAX}) AS later GROUP BY queue
UNION ALL
SELECT 'job', queue, 'behind', (SELECT count(*) FROM (
    SELECT 1 FROM toque.job WHERE state = {BEHIND} AND queue = behind.queue ORDER BY pos LIMIT {COUNTED_MAX}
) AS few), NULL, ''
FROM (SELECT queue FROM behind WHERE queue IS NOT NULL LIMIT {LINES_MAX}) AS behind
UNION ALL
SELECT 'job', queue, 'dead', (SELECT count(*) FROM (
    SELECT 1 FROM toque.job_dead WHERE queue = dead.queue ORDER BY died LIMIT {COUNTED_MAX}) AS few), NULL, ''
FROM (SELECT queue FROM dead WHERE queue IS NOT NULL LIMIT {LINES_MAX}) AS dead
UNION ALL
SELECT 'queue', name, '', 1, NULL, '' FROM toque.job_queue WHERE is_paused
UNION ALL
SELECT 'consumer', name, handler, CASE WHEN state = 'running' AND is_open THEN 1 ELSE 0 END, until, cursor
FROM toque.consumer WHERE state <> 'done'
UNION ALL
SELECT 'parked', c.name, s.state, (SELECT count(*) FROM (
    SELECT state FROM toque.parked WHERE consumer = c.id ORDER BY event LIMIT {COUNTED_MAX}) AS p
    WHERE p.state = s.state), NULL, ''
FROM toque.consumer AS c CROSS JOIN (
    SELECT 'waiting' AS state UNION ALL SELECT 'started' UNION ALL SELECT 'behind' UNION ALL SELECT 'dead') AS s
WHERE c.state <> 'done'
UNION ALL
SELECT 'relay', name, '', 0, NULL, cursor FROM toque.relay
UNION ALL
SELECT 'webhooks', name, '', 0, NULL, cursor FROM toque.webhook_place
UNION ALL
SELECT 'delivery', '', state, count(*), {{now}} - min(made_at), '' FROM (
    SELECT state, made_at FROM toque.webhook_delivery ORDER BY made_at LIMIT {COUNTED_MAX}) AS d GROUP BY state
UNION ALL
SELECT 'endpoint', '', CASE WHEN state = 'enabled' AND is_failing THEN 'failing' ELSE state END, count(*), NULL, ''
FROM (SELECT state, failing_since IS NOT NULL AS is_failing FROM toque.webhook_endpoint LIMIT {COUNTED_MAX}) AS e
GROUP BY 3
"""

_EPOCH = {"postgresql": "extract(epoch FROM min(due))::float8", "sqlite": "min(due)"}
STATES = {name: both(_STATE.replace("min(epoch(due))", seconds))[name] for name, seconds in _EPOCH.items()}

Row = Sequence[Any]
"""What, of which, in which state, how many, how old, and a text."""


async def measure(url: str, handled: Mapping[str, str], sent: Sequence[str]) -> list[Measure]:
    """Look at the messages in the database at *url*. Raises: whatever the driver does where it does not answer.

    Args:
        handled: the type of the event of each handler.
        sent: the types of the events that webhooks carry out.
    """

    def places(rows: Sequence[Row]) -> str:
        return written(_places(rows, handled, sent))

    look = _sqlite if url.startswith("sqlite") else _postgres
    rows, lags = await look(url, places)
    return [*_of_consumers(rows, lags), *_of_jobs(rows), *_of_others(rows, lags)]


_Looked = tuple[Sequence[Row], Mapping[str, Lag]]
_Places = Callable[[Sequence[Row]], str]


async def _postgres(url: str, places: _Places) -> _Looked:
    from toque.store.postgres_connection import connect_to_move

    connection = await connect_to_move(url)
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(f"SET LOCAL statement_timeout = {int(TIMEOUT_S * 1000)}")
            rows = await connection.fetch(STATES["postgresql"].sql)
            return rows, lags_in(await connection.fetch(LAGS["postgresql"].sql, places(rows)))
    finally:
        await connection.close()


async def _sqlite(url: str, places: _Places) -> _Looked:
    from toque.store.sqlite import path_of
    from toque.store.sqlite_connection import open_reader

    path = path_of(url)

    def look() -> _Looked:
        if path is None:
            return (), {}
        with closing(open_reader(path)) as connection:
            rows = connection.execute(STATES["sqlite"].sql).fetchall()
            return rows, lags_in(connection.execute(LAGS["sqlite"].sql, (places(rows),)).fetchall())

    return await asyncio.to_thread(look)


def _places(rows: Sequence[Row], handled: Mapping[str, str], sent: Sequence[str]) -> Iterator[Place]:
    """Where all stand. Of a consumer whose handler this release does not know, and of a relay, every event counts."""
    for what, name, handler, _, until, cursor in rows:
        if not cursor:
            continue
        types: tuple[str, ...] | None = None
        if what == "webhooks":
            types = tuple(sent)
        elif handler in handled:
            types = (handled[handler],)
        place = msgspec.json.decode(cursor, type=Cursor)
        yield Place(name=f"{what} {name}", cursor=place, types=types, before=until)


def _of_consumers(rows: Sequence[Row], lags: Mapping[str, Lag]) -> Iterator[Measure]:
    for what, name, state, count, _, _ in rows:
        if what == "consumer":
            labels = {"consumer": name}
            yield from _lag("consumer", labels, lags[f"consumer {name}"], "that a consumer has not come to")
            yield Measure(name="consumer_running", value=count, help="Whether somebody works on it.", labels=labels)
        elif what == "parked":
            help = f"Events that could not be handled, and those of their keys behind them, of the first {COUNTED_MAX}."
            yield Measure(name="consumer_parked", value=count, help=help, labels={"consumer": name, "state": state})


def _of_jobs(rows: Sequence[Row]) -> Iterator[Measure]:
    queues = sorted({name for what, name, *_ in rows if what in ("job", "queue")})
    found = {(name, state): (count, age) for what, name, state, count, age, _ in rows if what == "job"}
    for queue in queues:
        for state in ("waiting", "running", "later", "dead"):
            count, _ = found.get((queue, state), (0, None))
            if state == "waiting":
                # Those that stand out of the way of a claim wait too.
                count += found.get((queue, "behind"), (0, None))[0]
            help = f"Jobs by state; at most {COUNTED_MAX} are counted."
            yield Measure(name="jobs", value=float(count), help=help, labels={"queue": queue, "state": state})
        _, age = found.get((queue, "waiting"), (0, None))
        yield Measure(
            name="jobs_oldest_seconds",
            value=max(age or 0.0, 0.0),
            help="For how long the first of those that wait might have begun.",
            labels={"queue": queue},
        )
        is_paused = any(what == "queue" and name == queue for what, name, *_ in rows)
        help = "Whether nothing of it may begin."
        yield Measure(name="jobs_paused", value=float(is_paused), help=help, labels={"queue": queue})


def _of_others(rows: Sequence[Row], lags: Mapping[str, Lag]) -> Iterator[Measure]:
    for what, name, state, count, age, _ in rows:
        if what == "relay":
            labels = {"broker": name.removeprefix("relay ")}
            yield from _lag("relay", labels, lags[f"relay {name}"], "that a broker has not confirmed")
        elif what == "webhooks":
            yield from _lag("webhook", {}, lags[f"webhooks {name}"], "that have not become deliveries")
        elif what == "delivery":
            labels, help = {"state": state}, f"Deliveries that wait or were given up, of the first {COUNTED_MAX}."
            yield Measure(name="webhook_deliveries", value=count, help=help, labels=labels)
            help = "Age of the first of them."
            yield Measure(name="webhook_oldest_seconds", value=max(age, 0.0), help=help, labels=labels)
        elif what == "endpoint":
            labels = {"state": state}
            yield Measure(name="webhook_endpoints", value=count, help="Endpoints, by how they are.", labels=labels)


def _lag(of: str, labels: dict[str, str], lag: Lag, words: str) -> Iterator[Measure]:
    help = f"Events {words}; at most {LAG_MAX} are counted."
    yield Measure(name=f"{of}_lag_events", value=lag.events, help=help, labels=labels)
    age = 0.0 if lag.oldest_at is None else max(time() - lag.oldest_at, 0.0)
    yield Measure(name=f"{of}_lag_seconds", value=age, help=f"Age of the first event {words}.", labels=labels)
