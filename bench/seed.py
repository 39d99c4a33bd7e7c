"""The rows every database work reads, as one SQL script that PostgreSQL and SQLite both take.

`world` and `fortune` are shaped after TechEmpower's Framework Benchmarks; the random numbers are not random
here, so an answer can be checked. The five tables of `start_models` hold one row each.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

WORLDS = 10_000
RESOURCES = ("dishes", "tables", "orders", "stations", "waiters")

FORTUNES = tuple(
    enumerate(
        (
            "fortune: No such file or directory",
            "A computer scientist is someone who fixes things that aren't broken.",
            "After enough decimal places, nobody gives a damn.",
            "A bad random number generator: 1, 1, 1, 1, 1, 4.33e+67, 1, 1, 1",
            "A computer program does what you tell it to do, not what you want it to do.",
            "Emacs is a nice operating system, but I prefer UNIX. - Tom Christiansen",
            "Any program that runs right is obsolete.",
            "A list is only as strong as its weakest link. - Donald Knuth",
            "Feature: A bug with seniority.",
            "Computers make very fast, very accurate mistakes.",
            "<script>alert('This should not be displayed in a browser alert box.');</script>",
            "フレームワークのベンチマーク",
        ),
        start=1,
    )
)


def number_of(id: int) -> int:
    """The number that row *id* of `world` starts with."""
    return 1 + id * 7919 % WORLDS


def script() -> str:
    worlds = ", ".join(f"({id}, {number_of(id)})" for id in range(1, WORLDS + 1))
    fortunes = ", ".join(f"({id}, '{message.replace(chr(39), chr(39) * 2)}')" for id, message in FORTUNES)
    tables = [
        "CREATE TABLE world (id INTEGER NOT NULL PRIMARY KEY, random_number INTEGER NOT NULL)",
        "CREATE TABLE fortune (id INTEGER NOT NULL PRIMARY KEY, message VARCHAR NOT NULL)",
        f"INSERT INTO world VALUES {worlds}",
        f"INSERT INTO fortune VALUES {fortunes}",
    ]
    for name in RESOURCES:
        columns = "id INTEGER NOT NULL PRIMARY KEY, name VARCHAR NOT NULL, price_cents INTEGER NOT NULL"
        tables += [f"CREATE TABLE {name} ({columns})", f"INSERT INTO {name} VALUES (1, '{name}', 100)"]
    return ";\n".join([*tables, "ANALYZE", ""])


def seed_sqlite(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(script())
    connection.close()
