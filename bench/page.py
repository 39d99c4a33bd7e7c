"""docs/benchmarks.md, written from a run: machine, date, versions, goals, and where we lose."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.goals import losses, verdicts
from bench.measure import Effort, Result
from bench.report import FIGURES_HEAD, GOALS_HEAD, Row, conditions, figures_rows, goals_rows

FILE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

PACKAGES = (
    "granian",
    "uvicorn",
    "uvloop",
    "httptools",
    "msgspec",
    "sqlalchemy",
    "asyncpg",
    "aiosqlite",
    "fastapi",
    "pydantic",
    "litestar",
    "blacksheep",
    "procrastinate",
    "celery",
    "redis",
    "dbos",
    "cashews",
    "aiocache",
    "dogpile.cache",
    "django-cacheops",
)

PAGE = """# Benchmarks

Toque beside its peers, in one run on one machine. `python -m bench --write-docs` writes this page; change its
text in `bench/page.py`.

{date}. {conditions}

{versions}.

## Goals

{goals}

## Where we lose

{losses}

## Figures

{figures}

## How it is measured

- Each contender runs one worker on a core of its own, in its fastest documented set-up (below). The load
  generator, `bench/load.c`, runs on another core, and so does PostgreSQL; of two cores, these two share one.
- The load is a closed loop over connections that are kept open. It checks status and framing of every answer;
  errors are counted.
- Contenders take turns (A B C A B C ...), each with a fresh server. A figure is the median of its rounds.
- Before each turn the contender proves that it does the work: its first answer is compared with the expected
  one, and where the work validates, bad requests must be refused.
- Works on messages are about what is safe: PostgreSQL with fsync on, in a database that is new for each turn; what
  is counted ("a second", "CPU us each") are jobs, steps and events. Except `publish`, which is a command under load
  as above, each is done by a program of the contender's (`bench/messages/`), which calls its library in memory: a
  turn that cannot show in the database what it claims to have done has errors. Celery's broker is Redis, which
  appends each write to a file and flushes that once a second; it acknowledges late. The latency is that of events
  at random gaps of 20 ms on average, from the commit to the handler's first line.
- CPU is user and system time of the server's whole process tree in the measured window, per request.
  The database's or broker's is in a column of its own and not counted. Where database and load share a core, requests/s
  depends on that core too: CPU is the figure to trust. Beside each goal for a rate stands what the same
  comparison gives by CPU; on a quiet machine the two agree.
- Works on answers from memory: `hit` asks for a thousand rows that are all in memory by then (raw has their bytes in a
  dict, nothing more), `not_modified` for ten kilobytes, of which toque-run makes each answer anew. Three processes
  read and write 24 rows in `stale` and `stale_strict`, with delays between a query and keeping its answer (to 50 ms)
  and between a commit and telling others (up to 20 ms); an answer is stale if it misses a commit that was acknowledged
  before it was asked for: in `stale` for more than a second, in `stale_strict` at all. The peers keep answers in Redis
  and delete them after the commit, as their documentation advises, with their locks on. `strict_join`, `capture`,
  `tracking` and `eviction` are programs in `bench/cache/`.
- `live_one` and `live_many`: ten thousand clients (`bench/cache/followers.c`) follow one row, or a row each of ten
  thousand, as server-sent events on connections of their own. A command of the app changes a row; the next follows when
  all who follow that row have its state. A delay runs from the commit, as the store tells it, to the client that has
  read the state; "queries" are those that `/metrics` counts, for each change; "all ms" is the time until the last of
  its followers has it; memory is what all ten thousand take together, connections and all.
- p99 runs from sending a request to having its whole answer, with all connections busy.
- What a commit costs is the disk's business. `python -m bench.slow_disk 1 bench.commits` measures SQLite's group
  commit on a disk whose syncs take 1 ms longer, as network storage's do.
- First answer is the time from starting the command to its first 200; memory is the PSS of the server's whole
  process tree after it, with one worker.

{set_ups}
"""


def write(results: list[Result], effort: Effort) -> None:
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(
        PAGE.format(
            date=datetime.now(UTC).date(),
            conditions=conditions(effort),
            versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
            goals=markdown(GOALS_HEAD, goals_rows(verdicts(results))),
            losses=bullets(losses(results)) or "- nowhere in this run",
            figures=markdown(FIGURES_HEAD, figures_rows(results)),
            set_ups=bullets(set_ups(results)),
        )
    )
    print(f"wrote {FILE}")


def set_ups(results: list[Result]) -> list[str]:
    """Each contender's command line, once."""
    servers = dict.fromkeys((each.contender.name, each.contender.server) for each in results)
    return [f"{name}: `{' '.join(words).format(port='PORT', target='APP')}`" for name, words in servers]


def bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def markdown(head: Row, rows: list[Row]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
