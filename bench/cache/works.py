"""The works on answers from memory."""

from __future__ import annotations

from dataclasses import replace

from bench import requests
from bench.cache import following
from bench.works import DURABLE, PRODUCTION, RSGI, TOQUE, UVICORN, Contender, Goal, Work

__all__ = ["WORKS"]

TOQUE_KEPT = Contender(
    "toque",
    TOQUE,
    "toque_kept.py",
    (*PRODUCTION, ("TOQUE_DATABASE_URL", "{kept_url}")),
    ("python", "toque_kept.py"),
)
ALCHEMY_KEPT = ("BENCH_SQLALCHEMY_URL", "postgresql+asyncpg://{kept_address}")
FOLLOWED = (
    *PRODUCTION,
    ("TOQUE_OBSERVE_METRICS", "true"),
    ("TOQUE_HTTP_CONNECTIONS_MAX", "11000"),
)
TOQUE_FOLLOWED = Contender(
    "toque",
    TOQUE,
    "toque_live.py",
    (*FOLLOWED, ("TOQUE_DATABASE_URL", "{kept_url}")),
    ("python", "toque_live.py"),
)
ON_SQLITE = (*FOLLOWED, ("TOQUE_DATABASE_URL", "sqlite:///{kept_file}"))
BOTH_FOLLOWED = (TOQUE_FOLLOWED, replace(TOQUE_FOLLOWED, name="toque-sqlite", environment=ON_SQLITE))
PEERS = ("cashews", "aiocache", "dogpile", "cacheops")


def program(name: str, module: str, *words: str, has_redis: bool = False) -> Contender:
    """A contender that does one turn by itself and reports it (see `messages/turn.py`)."""
    redis = (("BENCH_REDIS_URL", "{redis_url}"),) if has_redis else ()
    return Contender(name, ("python", "-m", f"bench.cache.{module}", *words), environment=(*DURABLE, *redis))


def stale(what: str) -> tuple[Contender, ...]:
    peers = (program(peer, "stale", f"{peer}_{what}", has_redis=True) for peer in PEERS)
    return (program("toque", "stale", f"toque_{what}"), *peers)


WORKS = (
    Work(
        "hit",
        "one row by key, from memory",
        (
            Contender("raw", RSGI, "raw_kept:app", (("BENCH_POSTGRES_URL", "{kept_url}"),)),
            TOQUE_KEPT,
            Contender("fastapi", UVICORN, "fastapi_database:app", (ALCHEMY_KEPT,)),
            Contender(
                "fastapi-redis", UVICORN, "fastapi_redis:app", (ALCHEMY_KEPT, ("BENCH_REDIS_URL", "{redis_url}"))
            ),
        ),
        (
            Goal("requests_per_s", "times", 0.8, "raw"),
            Goal("requests_per_s", "times", 25, "fastapi"),
            Goal("requests_per_s", "times", 5, "fastapi-redis"),
        ),
        requests.ROW,
        connections=32,
    ),
    Work(
        "not_modified",
        "10 KB that the client has already",
        (
            replace(TOQUE_KEPT, asks=requests.PAGE_IF_NEWS, status=304),
            replace(TOQUE_KEPT, name="toque-kept"),
            replace(TOQUE_KEPT, name="toque-run", asks=requests.PAGE_ANEW, status=200),
        ),
        (Goal("requests_per_s", "times", 5, "toque-run"),),
        requests.PAGE,
        connections=32,
    ),
    Work(
        "stale",
        "answers that miss a commit of more than a second ago, 3 processes",
        stale("bound"),
        (Goal("stale_reads", "alone", 0),),
        measured="by itself",
        unit="read",
    ),
    Work(
        "stale_strict",
        "strict answers that miss any commit, 3 processes",
        stale("strict"),
        (Goal("stale_reads", "alone", 0), *(Goal("stale_reads", "fewer", 1, peer) for peer in PEERS)),
        measured="by itself",
        unit="read",
    ),
    Work(
        "strict_join",
        "four tables joined, strict, 100 at once",
        (
            program("toque", "strict", "memory"),
            program("toque-run", "strict", "uncached"),
            program("asyncpg", "strict", "direct"),
        ),
        (Goal("requests_per_s", "times", 5, "asyncpg"),),
        measured="by itself",
        unit="call",
    ),
    Work(
        "capture",
        "rows written by 16 at once, fsync on",
        (
            program("toque", "capture", "captured"),
            program("toque-unattended", "capture", "unattended"),
            program("uncaptured", "capture", "bare"),
        ),
        (Goal("requests_per_s", "times", 0.65, "uncaptured"),),
        measured="by itself",
        unit="write",
    ),
    Work(
        "tracking",
        "noting what a statement reads, and executing it",
        (program("toque", "tracking", "tracking"), program("statement", "tracking", "statement")),
        (Goal("p50_ms", "share", 0.02, "statement"),),
        measured="by itself",
        unit="statement",
    ),
    Work(
        "eviction",
        "commit to eviction in another process",
        (program("toque", "eviction", "toque"),),
        (Goal("p99_ms", "alone", 20),),
        measured="by itself",
        unit="commit",
    ),
    Work(
        "eviction_psql",
        "commit by psql to eviction",
        (program("toque", "eviction", "psql"),),
        (Goal("p99_ms", "alone", 60),),
        measured="by itself",
        unit="commit",
    ),
    Work(
        "live_one",
        "10 000 follow one row that changes",
        BOTH_FOLLOWED,
        (Goal("queries", "alone", 1), Goal("cpu_us_per_request", "alone", 15)),
        requests.ROW,
        measured="followed",
        unit="state",
        keys=1,
    ),
    Work(
        "live_many",
        "10 000 follow a row each, one changes",
        BOTH_FOLLOWED,
        (Goal("queries", "alone", 1), Goal("p99_ms", "alone", 25)),
        requests.ROW,
        measured="followed",
        unit="state",
        keys=following.FOLLOWERS,
    ),
)
