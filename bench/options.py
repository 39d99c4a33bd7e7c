"""The command line of `python -m bench`: its help teaches, its mistakes name what is known."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cache.works import WORKS as CACHE_WORKS
from bench.load import BUILD
from bench.measure import Effort
from bench.works import WORKS as OTHER_WORKS
from bench.works import Work

WORKS = (*OTHER_WORKS, *CACHE_WORKS)

THOROUGH = Effort(rounds=3, seconds=3.0, warm_up_s=0.5)
QUICK = Effort(rounds=1, seconds=1.0, warm_up_s=0.3)

# Twenty rounds of a minute are hours: whoever wants more has mistyped.
ROUNDS_MAX, SECONDS_MAX = 20, 60.0

ABOUT = "Measure Toque beside its peers: same machine, same run, same load, interleaved rounds."

EXAMPLES = """examples:
  python -m bench                            everything, about 17 minutes and 23 at most; writes build/bench.json
  python -m bench --quick                    everything once and briefly, about 5 minutes: for a first look
  python -m bench --work hello,body          two works only
  python -m bench --work enqueue,enqueue_many,work,step     jobs beside Procrastinate, Celery and DBOS
  python -m bench --work hit,not_modified,stale,stale_strict,strict_join,capture,tracking,eviction,eviction_psql
  python -m bench --work live_one,live_many                 10 000 who follow, on PostgreSQL and on SQLite
  python -m bench --work row_sqlite --contender toque,raw --rounds 5
  python -m bench --write-docs               everything, and renew docs/benchmarks.md
  python -m bench --list                     the works, who does them, and the goals

The server under test runs alone on the first core, the load and PostgreSQL on the others; on a busy machine
trust CPU per request rather than requests per second.

exit codes: 0 all was measured, 1 something could not be, 2 used wrongly
"""


@dataclass(frozen=True)
class Options:
    works: tuple[Work, ...]
    effort: Effort
    list: bool
    json: Path
    write_docs: bool


def read_options() -> Options:
    command = parser()
    given = command.parse_args()
    if given.write_docs and (given.work or given.contender or given.quick):
        command.error("--write-docs keeps a whole, thorough run: leave --work, --contender and --quick away")
    default = QUICK if given.quick else THOROUGH
    effort = replace(
        default,
        rounds=given.rounds or default.rounds,
        seconds=given.seconds or default.seconds,
    )
    return Options(chosen(given.work, given.contender), effort, given.list, given.json, given.write_docs)


def parser() -> argparse.ArgumentParser:
    works = [work.name for work in WORKS]
    contenders = dict.fromkeys(each.name for work in WORKS for each in work.contenders)
    made = argparse.ArgumentParser(
        "python -m bench",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--work", metavar="A,B", type=names_of(works), help=f"only these works: {', '.join(works)}")
    add("--contender", metavar="A,B", type=names_of(contenders), help=f"only these: {', '.join(contenders)}")
    add("--rounds", type=up_to(ROUNDS_MAX, int), help=f"turns of each contender (default {THOROUGH.rounds})")
    add("--seconds", type=up_to(SECONDS_MAX, float), help=f"length of a turn (default {THOROUGH.seconds:g})")
    add("--quick", action="store_true", help=f"default to {QUICK.rounds} round of {QUICK.seconds:g} s")
    add("--list", action="store_true", help="show works, contenders and goals, and measure nothing")
    add("--json", metavar="FILE", type=Path, default=BUILD / "bench.json", help="default build/bench.json")
    add("--write-docs", action="store_true", help="renew docs/benchmarks.md from this run")
    return made


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    def names(value: str) -> list[str]:
        unknown = set(value.split(",")) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return value.split(",")

    return names


def up_to(most: float, kind: type[int] | type[float]) -> Callable[[str], float]:
    def number(value: str) -> float:
        if not 0 < kind(value) <= most:
            raise argparse.ArgumentTypeError(f"expected more than 0 and at most {most:g}, got {value}")
        return kind(value)

    return number


def chosen(names: list[str] | None, contenders: list[str] | None) -> tuple[Work, ...]:
    """The works asked for, in the table's order, each with the contenders asked for."""
    works = [work for work in WORKS if names is None or work.name in names]
    if contenders is not None:
        works = [
            replace(work, contenders=tuple(each for each in work.contenders if each.name in contenders))
            for work in works
        ]
    return tuple(work for work in works if work.contenders)
