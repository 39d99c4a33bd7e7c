"""`python -m bench.policies`: what rules cost a statement, on SQLite and on PostgreSQL.

In one process and over one connection, without HTTP: tables of the same rows without a rule (`shared`), with one by
tenant and owner (`ruled`), and with the same rule that the database keeps once more (`sensitive`). They take turns, so
that a neighbour's burst hits all alike; the figures are medians of CPU time, of this process and of the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time_ns
from typing import Any

from sqlalchemy import MetaData, bindparam, func, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.machine import PROC, description, tree
from bench.postgres import Postgres, postgres
from toque.call.context import Context
from toque.contract.principal import Principal
from toque.store import Store, open_store
from toque.store.facts import Me
from toque.store.guard import guard_of
from toque.store.models import NAMES, Conventions
from toque.store.rows import Rows
from toque.store.schema import create_missing
from toque.store.sql import Sql

ROWS = 10_000
READS = 300  # a turn: some 20 ms, which is more than the clock's grain and less than a neighbour's burst
SCANS = 1

APP_ROLE = """
CREATE ROLE toque_app LOGIN;
GRANT USAGE ON SCHEMA public TO toque_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO toque_app;
ANALYZE;
"""

CALLER = Principal(subject="ann", tenant="acme")


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class _Note:
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    author: Mapped[str]
    text: Mapped[str]


class Shared(_Note, Base, shared=True): ...


def _rows(cls: Any, me: Me) -> Rows:
    return Rows(read=cls.author == me.subject, write=cls.author == me.subject)


class Ruled(_Note, Base, tenant="tenant"):
    __rows__ = classmethod(_rows)


class Sensitive(_Note, Base, tenant="tenant", sensitive=True):
    __rows__ = classmethod(_rows)


MODELS: tuple[Any, ...] = (Shared, Ruled, Sensitive)
Run = Callable[[Any, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Work:
    """What is done with each table in turn, and how often a turn."""

    name: str
    times: int
    per: int
    """How many rows one doing is about: figures are for one."""
    statement: Callable[[Any], Any]
    parameters: Callable[[int], dict[str, Any]]


WORKS = (
    Work(
        "one row by key", READS, 1,
        lambda model: select(model.text).where(model.id == bindparam("id")),
        lambda number: {"id": 1 + number * 7919 % ROWS},
    ),
    Work("count of all rows, a row", SCANS, ROWS, lambda model: select(func.count(model.text)), lambda _: {}),
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """The medians of one work with one table, in microseconds of CPU time."""

    database: str
    work: str
    table: str
    client_us: float
    server_us: float

    @property
    def total_us(self) -> float:
        return self.client_us + self.server_us


def main() -> int:
    made = argparse.ArgumentParser("python -m bench.policies", description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--rounds", type=int, default=60, help="turns of each table (default 60)")
    rounds = made.parse_args().rounds
    print(description())
    with TemporaryDirectory(prefix="toque-bench-policies-") as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        show(asyncio.run(measure("sqlite", url, url, lambda: 0, rounds)))
    with postgres(0) as server:
        app_url = server.url.replace("postgres@", "toque_app@", 1)
        show(asyncio.run(measure("postgresql", server.url, app_url, lambda: used_ns(server), rounds, server)))
    return 0


def used_ns(server: Postgres) -> int:
    """The CPU time of the server's processes, as the scheduler counts it (proc(5), schedstat)."""
    found = 0
    for pid in tree(server.pid):
        try:
            found += int((PROC / str(pid) / "schedstat").read_text().split()[0])
        except OSError:  # it ended meanwhile
            continue
    return found


async def measure(
    name: str, owner_url: str, app_url: str, server_ns: Callable[[], int], rounds: int, server: Postgres | None = None
) -> list[Figure]:
    await create_missing(owner_url, Base.metadata)
    await fill(owner_url)
    if server is not None:
        server.execute(APP_ROLE)
    store = open_store(app_url, slots=1, guard=guard_of(Base.metadata, Sql(), []))
    store.enforce(Base.metadata)
    await store.start()
    try:
        return [figure for work in WORKS for figure in await turns(name, store, work, server_ns, rounds)]
    finally:
        await store.stop()


async def fill(url: str) -> None:
    rows = [{"id": n, "tenant": "acme", "author": "ann", "text": f"note {n}"} for n in range(1, ROWS + 1)]
    store = open_store(url)
    await store.start()
    for model in MODELS:
        await store.command(lambda db, model=model: db.execute(insert(model), rows))
    await store.stop()


async def turns(name: str, store: Store, work: Work, server_ns: Callable[[], int], rounds: int) -> list[Figure]:
    statements = {model.__name__.lower(): work.statement(model) for model in MODELS}
    seen: dict[str, list[tuple[float, float]]] = {table: [] for table in statements}
    for number in range(rounds + 1):
        for table, statement in statements.items():
            with counted(server_ns) as used:
                for time in range(work.times):
                    await read(store, statement, work.parameters(number * work.times + time))
            if number:  # the first round compiles and warms up
                seen[table].append((used[0], used[1]))
    share = work.times * work.per * 1000
    return [
        Figure(name, work.name, table, median(one for one, _ in each) / share, median(two for _, two in each) / share)
        for table, each in seen.items()
    ]


async def read(store: Store, statement: Any, parameters: dict[str, Any]) -> None:
    context = Context("bench", 1e18, principal=CALLER)
    found = await store.query(lambda db: db.scalar(statement, parameters), context)
    assert found is not None, "a read that meets nothing measures nothing"


@contextmanager
def counted(server_ns: Callable[[], int]) -> Iterator[list[int]]:
    """The CPU time of this process and of the server within, in nanoseconds."""
    used: list[int] = []
    server_before, before = server_ns(), process_time_ns()  # looking at the server takes time of ours
    yield used
    used += [process_time_ns() - before, server_ns() - server_before]


def show(figures: list[Figure]) -> None:
    first: dict[str, Figure] = {}
    for figure in figures:
        plain = first.setdefault(figure.work, figure)
        print(
            f"{figure.database:11} {figure.work:26} {figure.table:10} "
            f"{figure.client_us:9.3f} us client {figure.server_us:9.3f} us server "
            f"{figure.total_us / plain.total_us - 1:+7.1%}"
        )


if __name__ == "__main__":
    sys.exit(main())
