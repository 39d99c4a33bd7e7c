"""`python -m bench.overload`: more arrives than ten connections can do, from clients that leave after a second.

The load is open (see flood.c), so these figures are no part of `python -m bench`, whose load adapts to the server. Per
contender, on a fresh server each: three and ten times the capacity, what comes after that, and one tenant that asks for
three times the capacity beside five small ones. Goodput is what was answered with success within the clients' second.

Capacity is ten connections that sleep 20 ms each: 500 requests a second, which nobody can reach quite, for the round
trips take time too. A machine that is too slow or too busy to refuse ten times as much a second measures its
processor; `--connections 2` asks the same question with a fifth of the requests.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.machine import Cores, cpu_seconds, description, memory_mb, on_core, tree
from bench.postgres import Postgres, postgres
from bench.requests import Exchange, request
from bench.server import Server, prove, served
from bench.works import ALCHEMY_ON_POSTGRES, TOQUE, TOQUE_ON_POSTGRES, UVICORN, Contender

WORK_S = 0.02
DEADLINE_S = 1.0
CALM = 0.6  # of the capacity
WARM_UP_S = 2.0  # an unbounded queue takes a second to fill to where nobody in it is served in time
SMALL_SHARE = 0.016  # of the capacity, for each small tenant: well below anybody's fair share
SEED = 20_251_124  # the same arrivals for everybody

# Toque believes tokens of this key only; who has it is who wrote this file.
KEY = "a-shared-secret-of-this-benchmark-only"
TENANTS = ("hog", *(f"small{number}" for number in range(1, 6)))

CONTENDERS = (
    Contender(
        "toque",
        TOQUE,
        "toque_overload.py",
        (
            *TOQUE_ON_POSTGRES,
            ("TOQUE_DATABASE_POOL_SIZE", "{connections}"),
            ("TOQUE_AUTH_KEY", KEY),
            ("TOQUE_AUTH_AUDIENCE", "bench"),
        ),
    ),
    Contender(
        "fastapi",
        UVICORN,
        "fastapi_overload:app",
        (*ALCHEMY_ON_POSTGRES, ("BENCH_CONNECTIONS", "{connections}")),
    ),
)
WORK = Exchange((request("GET", "/work"),), 1)


@dataclass(frozen=True)
class Flow:
    """Clients that all send one request, so many a second."""

    name: str
    per_s: float
    request: bytes


@dataclass(frozen=True)
class Found:
    """What became of the clients of one flow, or of several together."""

    name: str
    offered: int
    served: int
    refused: int
    other: int
    broken: int
    left: int
    unsent: int
    served_p50_ms: float
    served_p99_ms: float
    refused_p99_ms: float
    late_p99_ms: float


@dataclass(frozen=True)
class Row:
    """One contender in one situation."""

    situation: str
    contender: str
    seconds: float
    capacity_per_s: float
    flows: tuple[Found, ...]
    cpu_us_per_arrival: float
    memory_mb: float

    @property
    def goodput_per_s(self) -> float:
        return sum(flow.served for flow in self.flows) / self.seconds


def main() -> int:
    options = parser().parse_args()
    cores = Cores.of_this_machine()
    compiled()
    with on_core(cores.load), postgres(cores.database) as database:
        rig = Rig(cores, database, options.connections, options.seconds)
        chosen = [each for each in CONTENDERS if each.name in options.contender.split(",")]
        rows = [
            row
            for situation in options.situation.split(",")
            for contender in chosen
            for row in SITUATIONS[situation](rig, contender)
        ]
    show(rows)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([as_json(row) for row in rows], indent=2) + "\n")
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m bench.overload", description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--seconds", type=seconds, default=5.0, help="length of each measurement (default 5)")
    made.add_argument("--situation", default=",".join(SITUATIONS), help=f"default {','.join(SITUATIONS)}")
    made.add_argument("--contender", default="toque,fastapi", help="default toque,fastapi")
    made.add_argument(
        "--connections", type=int, default=10, help="of the pool: a fiftieth of the capacity (default 10)"
    )
    made.add_argument("--json", type=Path, default=load.BUILD / "overload.json", help="default build/overload.json")
    return made


def seconds(value: str) -> float:
    if not 0 < float(value) <= 60:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most 60, got {value}")
    return float(value)


@dataclass(frozen=True)
class Rig:
    """What all measurements of a run share."""

    cores: Cores
    database: Postgres
    connections: int
    seconds: float

    @property
    def capacity_per_s(self) -> float:
        return self.connections / WORK_S

    def serving(self, contender: Contender) -> AbstractContextManager[Server]:
        places = {
            "postgres_url": self.database.url,
            "postgres_address": self.database.address,
            "connections": str(self.connections),
        }
        return served(contender, WORK, self.cores.server, places)


Turn = Callable[[Rig, Contender], Iterator[Row]]


def overload(times: float) -> Turn:
    """Calm, then *times* the capacity, then calm again from two seconds after that."""

    def turn(rig: Rig, contender: Contender) -> Iterator[Row]:
        with rig.serving(contender) as server:
            prove(server, WORK)
            for name, load_times in (("calm", CALM), (f"{times:g} x", times), (f"2 s after {times:g} x", CALM)):
                flow = Flow("all", load_times * rig.capacity_per_s, WORK.requests[0])
                yield flood(rig, name, contender, [flow], server)

    return turn


def beside_a_hog(rig: Rig, contender: Contender) -> Iterator[Row]:
    with rig.serving(contender) as server:
        yield flood(rig, "tenants", contender, tenants(rig.capacity_per_s), server)


SITUATIONS: dict[str, Turn] = {"3x": overload(3), "10x": overload(10), "tenants": beside_a_hog}


def tenants(capacity_per_s: float) -> list[Flow]:
    def flow(name: str, per_s: float) -> Flow:
        head = request("GET", "/tenants/work").removesuffix(b"\r\n")
        return Flow(name, per_s, head + f"Authorization: Bearer {token(name)}\r\n\r\n".encode())

    return [flow(name, 3 * capacity_per_s if name == "hog" else SMALL_SHARE * capacity_per_s) for name in TENANTS]


def token(tenant: str) -> str:
    from time import time

    from joserfc import jwt
    from joserfc.jwk import OctKey

    claims = {"sub": tenant, "tenant": tenant, "aud": "bench", "iat": int(time()), "exp": int(time()) + 3600}
    return jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, OctKey.import_key(KEY))


def flood(rig: Rig, situation: str, contender: Contender, flows: Sequence[Flow], server: Server) -> Row:
    """Let *flows* arrive at *server* and see what becomes of them after the first WARM_UP_S."""
    print(f"{situation}: {contender.name}", file=sys.stderr)
    before: list[float] = []
    output = load.output_of(
        compiled(),
        server.port,
        (WARM_UP_S, rig.seconds, DEADLINE_S, SEED),
        b"".join(b"%b %f %d\n%b" % (f.name.encode(), f.per_s, len(f.request), f.request) for f in flows),
        seconds_max=WARM_UP_S + rig.seconds + 2 * DEADLINE_S,
        on_measuring=lambda: before.append(cpu_seconds(server.pid)),
    )
    used_s = cpu_seconds(server.pid) - before[0]
    found = tuple(Found(**json.loads(line)) for line in output.splitlines())
    arrivals = sum(flow.offered for flow in found)
    memory = sum(map(memory_mb, tree(server.pid)))
    return Row(situation, contender.name, rig.seconds, rig.capacity_per_s, found, used_s / arrivals * 1e6, memory)


def compiled() -> Path:
    return load.compiled(Path(__file__).with_name("flood.c"), "-lm")


HEAD = (
    "situation", "contender", "flow", "offered/s", "served/s", "of capacity", "of offered", "refused/s", "left/s",
    "failed", "served p50", "served p99 ms", "refused p99 ms", "CPU us", "memory MB", "lateness ms",
)  # fmt: skip


def show(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console = console if console.is_terminal else Console(width=190)
    table = Table()
    for number, column in enumerate(HEAD):
        table.add_column(column, justify="left" if number < 3 else "right")
    for row in rows:
        for cells in cells_of(row):
            table.add_row(*cells)
    console.print(table)
    console.print(f"{description()}. Clients leave after {DEADLINE_S:g} s.")


def cells_of(row: Row) -> Iterator[tuple[str, ...]]:
    for flow in row.flows:
        rates = [count / row.seconds for count in (flow.offered, flow.served, flow.refused, flow.left)]
        yield (
            row.situation, row.contender, flow.name, f"{rates[0]:,.0f}", f"{rates[1]:,.0f}",
            f"{rates[1] / row.capacity_per_s:.1%}", f"{flow.served / max(flow.offered, 1):.1%}",
            f"{rates[2]:,.0f}", f"{rates[3]:,.0f}", str(flow.other + flow.broken + flow.unsent),
            f"{flow.served_p50_ms:.0f}", f"{flow.served_p99_ms:.0f}", f"{flow.refused_p99_ms:.0f}",
            f"{row.cpu_us_per_arrival:.0f}", f"{row.memory_mb:.0f}", f"{flow.late_p99_ms:.1f}",
        )  # fmt: skip


def as_json(row: Row) -> dict[str, object]:
    return {
        "situation": row.situation,
        "contender": row.contender,
        "goodput_per_s": row.goodput_per_s,
        "share_of_capacity": row.goodput_per_s / row.capacity_per_s,
        "cpu_us_per_arrival": row.cpu_us_per_arrival,
        "memory_mb": row.memory_mb,
        "flows": [{name: getattr(flow, name) for name in Found.__annotations__} for flow in row.flows],
    }


if __name__ == "__main__":
    sys.exit(main())
