"""The tables: which works are done, by whom, and what Toque promises to reach beside the others.

To add a work, write its handler in the files of `contenders/` and one `Work` here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench import requests
from bench.requests import NOTHING, Exchange

Metric = Literal[
    "requests_per_s",
    "cpu_us_per_request",
    "p50_ms",
    "p99_ms",
    "first_answer_s",
    "memory_mb",
    "stale_reads",
    "queries",
    "last_ms",
]
Compare = Literal["times", "times less", "share", "more", "fewer", "alone"]


@dataclass(frozen=True)
class Contender:
    """Who does a work: a server's command line, with {target} and {port}, and the environment it wants.

    A work that is `measured` by the contender itself has a program instead, which serves nobody.
    """

    name: str
    server: tuple[str, ...]
    target: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    prepared_by: tuple[str, ...] = ()
    """A program that is run before each turn, in the same environment."""
    asks: tuple[bytes, ...] = ()
    """What the load sends to it alone, where that differs from the work's requests."""
    status: int = 0
    """The status of the answer to that."""

    def wants(self, place: str) -> bool:
        """Whether its environment speaks of *place*."""
        return any(f"{{{place}}}" in value for _, value in self.environment)


@dataclass(frozen=True)
class Goal:
    """What Toque's figure has to be, compared with another contender's (see `report.COMPARISONS`)."""

    metric: Metric
    compare: Compare
    bound: float
    against: str = ""


@dataclass(frozen=True)
class Work:
    name: str
    title: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...]
    exchange: Exchange = NOTHING
    connections: int = 64
    measured: Literal["under load", "at start", "by itself", "followed"] = "under load"
    unit: str = "request"
    """What is counted."""
    keys: int = 0
    """How many rows are followed."""

    def wants(self, place: str) -> bool:
        """Whether any contender does."""
        return any(each.wants(place) for each in self.contenders)


# ------------------------------------------------- servers, each in its fastest documented set-up

# granian's README: the HTTP version fixed, WebSockets off, uvloop. Its other runtime and task options made no
# difference that stood out from the noise here.
GRANIAN = (
    "granian",
    "--http",
    "1",
    "--no-ws",
    "--loop",
    "uvloop",
    "--log-level",
    "error",
    "--port",
    "{port}",
    "{target}",
)
RSGI = (*GRANIAN, "--interface", "rsgi")
ASGI = (*GRANIAN, "--interface", "asgi")
# uvicorn's settings page: uvloop and httptools are the fast ones, and the access log costs.
UVICORN = (
    "uvicorn",
    "--loop",
    "uvloop",
    "--http",
    "httptools",
    "--no-access-log",
    "--log-level",
    "error",
    "--port",
    "{port}",
    "{target}",
)
TOQUE = ("toque", "run", "{target}", "--port", "{port}", "--workers", "1")

PRODUCTION = (("TOQUE_APP_ENVIRONMENT", "production"), ("TOQUE_HTTP_HOSTS", "127.0.0.1"))
# What these works measure is the way to the database and back; those on answers from memory are in `cache/works.py`.
UNKEPT = ("TOQUE_CACHE_BYTES_MAX", "0")
TOQUE_ON_POSTGRES = (*PRODUCTION, UNKEPT, ("TOQUE_DATABASE_URL", "{postgres_url}"))
SQLITE = ("TOQUE_DATABASE_URL", "sqlite:///{sqlite_file}")
TOQUE_ON_SQLITE = (*PRODUCTION, UNKEPT, SQLITE)
ALCHEMY_ON_POSTGRES = (("BENCH_SQLALCHEMY_URL", "postgresql+asyncpg://{postgres_address}"),)
ALCHEMY_ON_SQLITE = (("BENCH_SQLALCHEMY_URL", "sqlite+aiosqlite:///{sqlite_file}"),)


TOQUE_ON_DURABLE = (
    *PRODUCTION,
    ("TOQUE_DATABASE_URL", "{durable_url}"),
    ("TOQUE_DATABASE_POOL_SIZE", "16"),
    ("PYTHONPATH", "."),
)
DURABLE = (("BENCH_POSTGRES_URL", "{durable_url}"),)


def program(name: str, module: str, *words: str, environment: tuple[tuple[str, str], ...] = DURABLE) -> Contender:
    """A contender that does one turn by itself and reports it (see `messages/turn.py`)."""
    return Contender(name, ("python", "-m", f"bench.messages.{module}", *words), environment=environment)


def resources(count: int) -> tuple[tuple[str, str], ...]:
    """Two operations a resource, so ten operations are five resources."""
    return (("BENCH_RESOURCES", str(count)),)


# ---------------------------------------------------------------- contenders

TOQUE_PLAIN = Contender("toque", TOQUE, "toque_plain.py", PRODUCTION)
RAW_PLAIN = Contender("raw", RSGI, "raw_plain:app")
FASTAPI_PLAIN = Contender("fastapi", UVICORN, "fastapi_plain:app")
LITESTAR_PLAIN = Contender("litestar", UVICORN, "litestar_plain:app")
BLACKSHEEP_PLAIN = Contender("blacksheep", ASGI, "blacksheep_plain:app", (("BENCH_JSON", "msgspec"),))
BLACKSHEEP_STOCK = Contender("blacksheep-stock", ASGI, "blacksheep_plain:app")

PLAIN = (RAW_PLAIN, TOQUE_PLAIN, FASTAPI_PLAIN, LITESTAR_PLAIN)
ON_POSTGRES = (
    Contender("raw", RSGI, "raw_postgres:app", (("BENCH_POSTGRES_URL", "{postgres_url}"),)),
    Contender("toque", TOQUE, "toque_database.py", TOQUE_ON_POSTGRES),
    Contender("fastapi", UVICORN, "fastapi_database:app", ALCHEMY_ON_POSTGRES),
)
ON_SQLITE = (
    Contender("raw", RSGI, "raw_sqlite:app", (("BENCH_SQLITE_FILE", "{sqlite_file}"),)),
    Contender("toque", TOQUE, "toque_database.py", TOQUE_ON_SQLITE),
    Contender("fastapi", UVICORN, "fastapi_database:app", ALCHEMY_ON_SQLITE),
)

PUBLISH_TABLES = ("python", "toque_publish.py")
PUBLISHES = ("BENCH_PUBLISH", "1")
RAW_ON_DURABLE = (("BENCH_POSTGRES_URL", "{durable_url}"), ("TOQUE_DATABASE_URL", "{durable_url}"))

# ---------------------------------------------------------------- goals

VALIDATED = (
    Goal("requests_per_s", "times", 5, "fastapi"),
    Goal("requests_per_s", "times", 2, "litestar"),
)
MANY_STATEMENTS = (
    Goal("cpu_us_per_request", "share", 1.5, "raw"),
    Goal("cpu_us_per_request", "times less", 6, "fastapi"),
)

# ---------------------------------------------------------------- works

WORKS = (
    Work(
        "hello",
        "JSON hello",
        (*PLAIN, BLACKSHEEP_PLAIN, BLACKSHEEP_STOCK),
        (
            Goal("requests_per_s", "times", 0.85, "raw"),
            Goal("requests_per_s", "times", 4, "fastapi"),
            Goal("requests_per_s", "times", 3, "litestar"),
            Goal("requests_per_s", "times", 1.2, "blacksheep"),
            Goal("requests_per_s", "times", 1.2, "blacksheep-stock"),
        ),
        requests.HELLO,
    ),
    Work("parameters", "path and query parameters, validated", PLAIN, VALIDATED, requests.PARAMETERS),
    Work("body", "POST of 1 KB JSON, validated and echoed", PLAIN, VALIDATED, requests.BODY),
    Work(
        "row_postgres",
        "one row by key, PostgreSQL",
        ON_POSTGRES,
        (
            Goal("cpu_us_per_request", "share", 1.7, "raw"),
            Goal("cpu_us_per_request", "times less", 8, "fastapi"),
        ),
        requests.ROW,
        connections=32,
    ),
    Work(
        "twenty_rows",
        "twenty rows by key, PostgreSQL",
        ON_POSTGRES,
        MANY_STATEMENTS,
        requests.TWENTY_ROWS,
        32,
    ),
    Work("fortunes", "fortunes as JSON, PostgreSQL", ON_POSTGRES, MANY_STATEMENTS, requests.FORTUNES, 32),
    Work(
        "five_updates",
        "five reads and updates, PostgreSQL",
        ON_POSTGRES,
        MANY_STATEMENTS,
        requests.FIVE_UPDATES,
        32,
    ),
    Work(
        "row_sqlite",
        "one row by key, SQLite",
        ON_SQLITE,
        (Goal("requests_per_s", "times", 10, "fastapi"),),
        requests.ROW,
        connections=32,
    ),
    Work(
        "start",
        "first answer, 10 operations",
        (
            Contender("raw", RSGI, "raw_start:app"),
            Contender("toque", TOQUE, "toque_start.py", (*PRODUCTION, *resources(5))),
            Contender("fastapi", UVICORN, "fastapi_start:app", resources(5)),
        ),
        (Goal("first_answer_s", "share", 2, "raw"), Goal("memory_mb", "alone", 60)),
        requests.START,
        measured="at start",
    ),
    Work(
        "start_models",
        "first answer, 10 operations with models",
        (
            # As its users start it: with a memory.
            Contender("toque", TOQUE, "toque_start_models.py", (*PRODUCTION, SQLITE)),
            Contender("fastapi", UVICORN, "fastapi_start_models:app", ALCHEMY_ON_SQLITE),
        ),
        (Goal("first_answer_s", "share", 0.8, "fastapi"), Goal("memory_mb", "alone", 85)),
        requests.START_MODELS,
        measured="at start",
    ),
    Work(
        "start_1000",
        "first answer, 1 000 operations",
        (
            Contender("toque", TOQUE, "toque_start.py", (*PRODUCTION, *resources(500))),
            Contender("toque-10", TOQUE, "toque_start.py", (*PRODUCTION, *resources(5))),
            Contender("fastapi", UVICORN, "fastapi_start:app", resources(500)),
        ),
        (Goal("first_answer_s", "more", 1, "toque-10"),),
        requests.START,
        measured="at start",
    ),
    Work(
        "publish",
        "a command that publishes an event, fsync on",
        (
            Contender("toque", TOQUE, "toque_publish.py", (*TOQUE_ON_DURABLE, PUBLISHES), PUBLISH_TABLES),
            Contender("toque-silent", TOQUE, "toque_publish.py", TOQUE_ON_DURABLE, PUBLISH_TABLES),
            # What of it is PostgreSQL's own.
            Contender("raw", RSGI, "raw_publish:app", (*RAW_ON_DURABLE, PUBLISHES), PUBLISH_TABLES),
            Contender("raw-silent", RSGI, "raw_publish:app", RAW_ON_DURABLE, PUBLISH_TABLES),
        ),
        (Goal("requests_per_s", "times", 0.8, "toque-silent"),),
        requests.NOTE,
        connections=16,
    ),
    Work(
        "enqueue",
        "jobs enqueued by 16 at once, fsync on",
        (program("toque", "toque_jobs", "enqueue"), program("procrastinate", "procrastinate_jobs", "enqueue")),
        (Goal("requests_per_s", "times", 3, "procrastinate"),),
        measured="by itself",
        unit="job",
    ),
    Work(
        "enqueue_many",
        "jobs enqueued by 500, fsync on",
        (
            program("toque", "toque_jobs", "enqueue_many"),
            program("procrastinate", "procrastinate_jobs", "enqueue_many"),
        ),
        (Goal("requests_per_s", "times", 8, "procrastinate"),),
        measured="by itself",
        unit="job",
    ),
    Work(
        "work",
        "empty jobs worked on, 10 at once, fsync on",
        (
            program("toque", "toque_jobs", "work"),
            program("procrastinate", "procrastinate_jobs", "work"),
            program("celery", "celery_jobs", environment=(("BENCH_REDIS_URL", "{redis_url}"),)),
        ),
        (Goal("requests_per_s", "times", 15, "procrastinate"), Goal("requests_per_s", "times", 3, "celery")),
        measured="by itself",
        unit="job",
    ),
    Work(
        "limited",
        "empty jobs of queues with limits that hold nothing up, 10 at once, fsync on",
        (
            program("toque", "toque_jobs", "work", "at_once"),
            program("toque-per-key", "toque_jobs", "work", "per_key"),
            program("toque-free", "toque_jobs", "work", "free"),
        ),
        (),
        measured="by itself",
        unit="job",
    ),
    Work(
        "step",
        "durable steps of one job after the other, fsync on",
        (program("toque", "toque_jobs", "step"), program("dbos", "dbos_steps")),
        (Goal("requests_per_s", "times", 1, "dbos"), Goal("cpu_us_per_request", "share", 1, "dbos")),
        measured="by itself",
        unit="step",
    ),
    Work(
        "latency",
        "commit to handler, one process, fsync on",
        (program("toque", "toque_events", "latency"),),
        (Goal("p50_ms", "alone", 5),),
        measured="by itself",
        unit="event",
    ),
    Work(
        "latency_polling",
        "commit to handler, two processes, by polling alone",
        (program("toque", "toque_events", "latency_polling"),),
        (Goal("p99_ms", "alone", 100),),
        measured="by itself",
        unit="event",
    ),
    Work(
        "publish_sqlite",
        "events published by 64 at once, SQLite, full sync",
        (
            program("toque", "toque_events", "publish_sqlite", environment=()),
            program("alone", "sqlite_alone", environment=()),
        ),
        (Goal("requests_per_s", "times", 8, "alone"),),
        measured="by itself",
        unit="event",
    ),
)
