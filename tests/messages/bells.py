"""An app whose handlers write down what they heard, in the transaction in which they heard it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select

from toque import App, Database, Event, Outbox, public
from toque.contract.errors import Error
from toque.messages.dialects import both
from toque.store.database import transaction_of
from toque.store.rows import SHARED, declare
from toque.store.store import Store
from toque.testing import Harness

metadata = MetaData()
HEARD = Table(
    "heard",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("who", String),
    Column("bell", String),
    Column("number", Integer),
)
declare(HEARD, SHARED)


class Rung(Event):
    number: int
    bell: str = ""


class Broken(Error, code="broken", http=422):
    """What a handler raises here on purpose."""


Hear = Callable[[Rung], Any]


def bells(hear: Hear | None = None, **options: Any) -> App:
    """An app with one handler, `bells.hear`, which calls *hear* before it writes down what it heard."""
    app = App("bells", metadata=metadata)

    @app.command(allow=public)
    async def ring(numbers: list[int], outbox: Outbox, bell: str = "") -> None:
        for number in numbers:
            outbox.publish(Rung(number, bell), key=bell)

    @app.command(allow=public)
    async def ring_each(bells: list[tuple[str, int]], outbox: Outbox) -> None:
        for bell, number in bells:
            outbox.publish(Rung(number, bell), key=bell)

    if hear is not None:
        app.on(Rung, **options)(hearing(hear))
    return app


def hearing(act: Hear, who: str = "hear") -> Callable[..., Any]:
    async def hear(event: Rung, db: Database) -> None:
        result = act(event)
        if asyncio.iscoroutine(result):
            await result
        await db.execute(insert(HEARD), {"who": who, "bell": event.bell, "number": event.number})

    hear.__name__ = who
    return hear


def silent(event: Rung) -> None:
    """Hears without a word."""


def store_of(harness: Harness) -> Store:
    store = harness.serving.system.store
    assert store is not None
    return store


async def heard(store: Store, who: str = "hear") -> list[int]:
    """The numbers in the order in which they were written down."""
    return await store.query(
        lambda db: db.all(int, select(HEARD.c.number).where(HEARD.c.who == who).order_by(HEARD.c.id))
    )


async def heard_by_bell(store: Store) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}

    async def run(db: Database) -> None:
        for bell, number in await transaction_of(db).fetch(_BY_BELL[store.dialect_name], (), 0, list):
            found.setdefault(bell, []).append(number)

    await store.query(run)
    return found


async def parked(store: Store) -> list[tuple[str, int, int, int, str]]:
    """State, the event's number, attempts, crashes and reason of what is parked, in its order."""
    import msgspec

    rows = await rows_of(store, "SELECT state, data, attempt, crashes, reason FROM toque.parked ORDER BY place")
    return [(row[0], msgspec.json.decode(row[1])["number"], *row[2:]) for row in rows]


async def rows_of(store: Store, sql: str) -> list[Any]:
    async def run(db: Database) -> list[Any]:
        rows: list[Any] = await transaction_of(db).fetch(both(sql)[store.dialect_name], (), 0, list)
        return [tuple(row) for row in rows]

    return await store.query(run)


async def until(true: Callable[[], Any]) -> None:
    """Come back when *true* is."""
    async with asyncio.timeout(20):
        while not (await found if asyncio.iscoroutine(found := true()) else found):
            await asyncio.sleep(0.02)


_BY_BELL = both("SELECT bell, number FROM heard ORDER BY id")
