"""Rounds: every contender of a work in turn, again and again, so that a neighbour's burst hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from shutil import copyfile
from statistics import median
from tempfile import TemporaryDirectory

from bench import load, program
from bench.cache import following
from bench.machine import Cores, cpu_seconds, memory_mb, tree
from bench.messages.turn import delays
from bench.postgres import DURABLE, Postgres, postgres
from bench.redis import Broker, redis
from bench.seed import script, seed_sqlite
from bench.server import Server, Unfit, prove, prove_asked, served
from bench.works import Contender, Work

SHARED = ("postgres_url", "postgres_address", "kept_url", "kept_address")
"""Places on the server whose fsync is off."""


@dataclass(frozen=True)
class Effort:
    """How long and how often."""

    rounds: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True)
class Figures:
    """What one contender showed at one work; None where it does not apply."""

    requests_per_s: float | None = None
    cpu_us_per_request: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    database_cpu_us_per_request: float | None = None
    first_answer_s: float | None = None
    memory_mb: float | None = None
    stale_reads: float | None = None
    queries: float | None = None
    last_ms: float | None = None
    errors: int | None = None


@dataclass(frozen=True)
class Result:
    """The medians of a contender's rounds at a work, or why there are none."""

    work: Work
    contender: Contender
    figures: Figures
    failure: str = ""


@dataclass(frozen=True)
class Kitchen:
    """What the contenders work with: cores, databases and a broker, each where a work wants it."""

    cores: Cores
    sqlite_file: Path
    postgres: Postgres | None
    durable: Postgres | None
    broker: Broker | None

    @contextmanager
    def places(self, contender: Contender) -> Iterator[dict[str, str]]:
        """Where *contender* finds them. What is durable is empty at first, and gone afterwards."""
        places = {"sqlite_file": str(self.sqlite_file)}
        if self.postgres is not None:
            places |= {"postgres_url": self.postgres.url, "postgres_address": self.postgres.address}
        with ExitStack() as stack:
            if contender.wants("durable_url"):
                assert self.durable is not None, "its work wants it"
                places["durable_url"] = stack.enter_context(self.durable.database("turn"))
            if contender.wants("kept_url") or contender.wants("kept_address"):
                assert self.postgres is not None, "its work wants it"
                places["kept_url"] = stack.enter_context(self.postgres.database("kept"))
                places["kept_address"] = places["kept_url"].removeprefix("postgresql://")
                self.postgres.execute(script(), "kept")
            if contender.wants("kept_file"):
                folder = stack.enter_context(TemporaryDirectory(prefix="toque-bench-kept-"))
                places["kept_file"] = copyfile(self.sqlite_file, str(Path(folder) / "kept.db"))
            if contender.wants("redis_url"):
                if self.broker is None:
                    raise Unfit("no redis-server or valkey-server to start: install Debian's redis-server")
                self.broker.empty()
                places["redis_url"] = self.broker.url
            yield places

    def helpers(self, contender: Contender) -> list[int]:
        """The processes whose CPU is the database's or the broker's."""
        known = {
            "postgres_url": self.postgres,
            "postgres_address": self.postgres,
            "kept_url": self.postgres,
            "kept_address": self.postgres,
            "durable_url": self.durable,
            "redis_url": self.broker,
        }
        return [server.pid for place, server in known.items() if server is not None and contender.wants(place)]


@contextmanager
def kitchen(works: tuple[Work, ...], cores: Cores) -> Iterator[Kitchen]:
    """Seed the databases that *works* need, and take them away at the end."""
    with ExitStack() as stack:
        sqlite_file = Path(stack.enter_context(TemporaryDirectory(prefix="toque-bench-sqlite-"))) / "bench.db"
        seed_sqlite(sqlite_file)
        server = durable = broker = None
        if any(work.wants(place) for work in works for place in SHARED):
            server = stack.enter_context(postgres(cores.database))
            server.execute(script())
        if any(work.wants("durable_url") for work in works):
            durable = stack.enter_context(postgres(cores.database, DURABLE))
        if any(work.wants("redis_url") for work in works):
            with suppress(FileNotFoundError):  # the one contender who wants it says so
                broker = stack.enter_context(redis(cores.database))
        yield Kitchen(cores, sqlite_file, server, durable, broker)


def measure(work: Work, effort: Effort, kitchen: Kitchen, on_turn: Callable[[str, str, int], None]) -> list[Result]:
    """Run all rounds of *work*; *on_turn* hears of each contender's turn before it begins."""
    seen: dict[str, list[Figures]] = {contender.name: [] for contender in work.contenders}
    failures: dict[str, str] = {}
    for number in range(1, effort.rounds + 1):
        for contender in work.contenders:
            on_turn(work.name, contender.name, number)
            if contender.name in failures:
                continue
            try:
                seen[contender.name].append(turn(work, contender, effort, kitchen))
            except Unfit as error:
                failures[contender.name] = str(error)
    return [
        Result(work, contender, merged(seen[contender.name]), failures.get(contender.name, ""))
        for contender in work.contenders
    ]


def turn(work: Work, contender: Contender, effort: Effort, kitchen: Kitchen) -> Figures:
    """Start the contender, see that it does the work, measure it, end it."""
    with kitchen.places(contender) as places:
        if work.measured == "by itself":
            return by_itself(contender, effort, kitchen, places)
        with served(contender, work.exchange, kitchen.cores.server, places) as server:
            if work.measured == "at start":
                figures = at_start(server)
                prove(server, work.exchange)
                return figures
            prove(server, work.exchange)
            prove_asked(server, contender)
            if work.measured == "followed":
                return followed(server, work, contender, effort, kitchen)
            return under_load(server, work, contender, effort, kitchen)


def by_itself(contender: Contender, effort: Effort, kitchen: Kitchen, places: dict[str, str]) -> Figures:
    helpers = kitchen.helpers(contender)
    before: list[float] = []
    after: list[float] = []

    def note(into: list[float]) -> Callable[[int], None]:
        return lambda pid: into.extend(cpu_seconds(each) for each in (pid, *helpers))

    found = program.run(
        contender,
        kitchen.cores.server,
        places,
        warm_up_s=effort.warm_up_s,
        seconds=effort.seconds,
        on_measuring=note(before),
        on_measured=note(after),
    )
    if found.done == 0:
        raise Unfit("nothing was done in the measured time")
    used = [(end - start) / found.done * 1e6 for end, start in zip(after, before, strict=True)]
    return Figures(
        requests_per_s=found.done / found.seconds,
        cpu_us_per_request=used[0],
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        stale_reads=found.stale_reads,
        database_cpu_us_per_request=sum(used[1:]) if helpers else None,
        errors=found.errors,
    )


def at_start(server: Server) -> Figures:
    """The memory is the whole tree's: a worker that was forked shares its pages with the process above it."""
    return Figures(first_answer_s=server.first_answer_s, memory_mb=sum(map(memory_mb, tree(server.pid))))


def under_load(server: Server, work: Work, contender: Contender, effort: Effort, kitchen: Kitchen) -> Figures:
    before: list[float] = []
    watched = [server.pid, *kitchen.helpers(contender)]

    def cpu_now() -> list[float]:
        return [cpu_seconds(pid) for pid in watched]

    found = load.run(
        server.port,
        contender.asks or work.exchange.requests,
        connections=work.connections,
        warm_up_s=effort.warm_up_s,
        seconds=effort.seconds,
        on_measuring=lambda: before.extend(cpu_now()),
    )
    if found.requests == 0:
        raise Unfit(f"no request succeeded under load: {found}")
    used = [(after - start) / found.requests * 1e6 for after, start in zip(cpu_now(), before, strict=True)]
    return Figures(
        requests_per_s=found.requests / found.seconds,
        cpu_us_per_request=used[0],
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        database_cpu_us_per_request=used[1] if len(used) > 1 else None,
        errors=found.errors,
    )


def followed(server: Server, work: Work, contender: Contender, effort: Effort, kitchen: Kitchen) -> Figures:
    """The memory is what the followers take together; what is counted are the states that they were sent."""
    watched = [server.pid, *kitchen.helpers(contender)]
    before: list[float] = []

    def used_mb() -> float:
        return sum(map(memory_mb, tree(server.pid)))

    alone_mb, with_all_mb = used_mb(), [0.0]
    found = following.run(
        server.port,
        work.keys,
        warm_up_s=effort.warm_up_s,
        seconds=effort.seconds,
        on_ready=lambda: with_all_mb.append(used_mb()),
        on_measuring=lambda: before.extend(map(cpu_seconds, watched)),
    )
    states = len(found.delays_s)
    used = [(cpu_seconds(pid) - start) / states * 1e6 for pid, start in zip(watched, before, strict=True)]
    return Figures(
        requests_per_s=states / found.seconds,
        cpu_us_per_request=used[0],
        **delays(found.delays_s),
        database_cpu_us_per_request=used[1] if len(used) > 1 else None,
        memory_mb=with_all_mb[-1] - alone_mb,
        queries=found.queries / found.changes,
        last_ms=median(found.last_s) * 1000,
        errors=0,
    )


WORST = ("errors", "stale_reads", "queries")


def merged(rounds: list[Figures]) -> Figures:
    """The median of each figure; of errors and stale reads the most, since a single one asks for an explanation."""
    columns = {field.name: [getattr(each, field.name) for each in rounds] for field in fields(Figures)}
    known = {name: values for name, values in columns.items() if values and None not in values}
    return Figures(**{name: (max if name in WORST else median)(values) for name, values in known.items()})
