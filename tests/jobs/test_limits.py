"""No more of a queue begins than its limits allow, in all processes together, and nobody is held up by that."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from job_looks import act, is_empty, looked_at_by, rows, until

from toque import App, Jobs, public
from toque.contract.complaints import SetupError
from toque.contract.limits import Limits, Rate
from toque.messages.jobs.floors import WHOLE, Floors
from toque.messages.jobs.limited import KEYS_MAX, Limited
from toque.messages.jobs.limited_statements import LIMITED
from toque.messages.jobs.statements import STATEMENTS
from toque.messages.jobs.table import JOBS, JobTable
from toque.settings import Messages, Settings
from toque.store import Store
from toque.testing import Harness, running

SILENT = Settings(messages=Messages(work=False))


class Seen:
    """What the jobs of all processes of a test did."""

    def __init__(self) -> None:
        self.began: list[tuple[str, float]] = []
        self.now = Counter[str]()
        self.most = Counter[str]()
        self.gate = asyncio.Event()

    async def run(self, key: str) -> None:
        self.began.append((key, asyncio.get_running_loop().time()))
        for each in (key, "all"):
            self.now[each] += 1
            self.most[each] = max(self.most[each], self.now[each])
        await self.gate.wait()
        for each in (key, "all"):
            self.now[each] -= 1


def mailer(seen: Seen, **limits: Any) -> App:
    app = App("mailer")
    if limits:
        app.queue("mail", **limits)

    @app.job(queue="mail")
    async def send(key: str) -> None:
        await seen.run(key)

    @app.job()
    async def other() -> None:
        seen.began.append(("other", 0.0))

    @app.command(allow=public)
    async def ask(keys: list[str], jobs: Jobs) -> None:
        for key in keys:
            jobs.enqueue(send, key, key=key.partition("#")[0])

    @app.command(allow=public)
    async def ask_other(times: int, jobs: Jobs) -> None:
        for _ in range(times):
            jobs.enqueue(other)

    return app


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[Any]:
    """Starts apps that work on the same database."""
    async with AsyncExitStack() as stack:

        async def start(*apps: App, **options: Any) -> list[Harness]:
            return [await stack.enter_async_context(running(app, database_url=database_url, **options)) for app in apps]

        yield start


async def test_at_once_holds_for_all_processes(processes: Any, other: Store) -> None:
    seen = Seen()
    one, two = await processes(mailer(seen, at_once=3), mailer(seen, at_once=3))
    await asyncio.gather(*(each.call("mailer.ask", keys=[f"#{n}" for n in range(20)]) for each in (one, two)))
    await until(lambda: seen.now["all"] == 3)
    looks = two.serving.system.messages.tail.looks
    await until(lambda: two.serving.system.messages.tail.looks > looks + 3)
    assert len(seen.began) == 3

    seen.gate.set()
    await until(lambda: is_empty(other))
    assert len(seen.began) == 40
    assert seen.most["all"] == 3


async def test_a_queue_at_its_limit_holds_up_no_other(processes: Any) -> None:
    seen = Seen()
    (app,) = await processes(mailer(seen, at_once=1), settings=Settings(messages=Messages(jobs_max=2)))
    await app.call("mailer.ask", keys=[f"#{n}" for n in range(200)])
    await until(lambda: seen.now["all"] == 1)

    await app.call("mailer.ask_other", times=100)
    await until(lambda: sum(name == "other" for name, _ in seen.began) == 100)
    assert seen.most["all"] == 1
    seen.gate.set()


async def test_a_long_queue_without_limits_lets_others_have_their_turn(processes: Any) -> None:
    seen = Seen()
    (idle,) = await processes(mailer(seen), settings=SILENT)
    # `default` comes first by its name.
    await idle.call("mailer.ask_other", times=3000)
    await idle.call("mailer.ask", keys=["x"])
    seen.gate.set()
    await processes(mailer(seen))
    await until(lambda: len(seen.began) == 3001)

    assert [name for name, _ in seen.began].index("x") < 1000


async def test_a_rate_holds_in_any_period_and_for_all_processes(processes: Any, other: Store) -> None:
    seen = Seen()
    seen.gate.set()
    one, _ = await processes(mailer(seen, rate="10/1s"), mailer(seen, rate="10/1s"))
    await one.call("mailer.ask", keys=[f"#{n}" for n in range(35)])
    await until(lambda: is_empty(other))

    began = deque(sorted(at for _, at in seen.began))
    assert len(began) == 35
    # Of eleven in a row the last is claimed a second after the first; the claim is not the begin, by some ms.
    assert all(began[n + 10] - began[n] > 0.7 for n in range(25))


async def test_keys_have_limits_of_their_own_and_take_turns(processes: Any, other: Store) -> None:
    seen = Seen()
    one, two = await processes(mailer(seen, at_once_per_key=2), mailer(seen, at_once_per_key=2))
    await one.call("mailer.ask", keys=["a"] * 30)
    await one.call("mailer.ask", keys=["b"] * 5 + ["c"])
    await until(lambda: (seen.now["a"], seen.now["b"], seen.now["c"]) == (2, 2, 1))
    looks = two.serving.system.messages.tail.looks
    await until(lambda: two.serving.system.messages.tail.looks > looks + 3)
    assert len(seen.began) == 5

    seen.gate.set()
    await until(lambda: is_empty(other))
    assert (seen.most["a"], seen.most["b"]) == (2, 2)
    assert Counter(key for key, _ in seen.began) == {"a": 30, "b": 5, "c": 1}


async def test_a_rate_of_a_key_is_that_keys_alone(processes: Any, other: Store) -> None:
    seen = Seen()
    seen.gate.set()
    (app,) = await processes(mailer(seen, rate_per_key="2/1h"))
    await app.call("mailer.ask", keys=["a"] * 5 + ["b"] * 3 + [""] * 4)
    await until(lambda: len(seen.began) == 8)
    looks = app.serving.system.messages.tail.looks
    await until(lambda: app.serving.system.messages.tail.looks > looks + 3)

    assert Counter(key for key, _ in seen.began) == {"a": 2, "b": 2, "": 4}
    assert await rows(other, "SELECT count(*) FROM toque.job") == [(4,)]


async def test_what_was_enqueued_before_there_were_limits_keeps_to_them(processes: Any, other: Store) -> None:
    seen = Seen()
    (idle,) = await processes(mailer(seen), settings=SILENT)
    await idle.call("mailer.ask", keys=["a"] * 6)
    seen.gate.set()
    await processes(mailer(seen, at_once_per_key=2))
    await until(lambda: is_empty(other))

    assert len(seen.began) == 6
    assert seen.most["a"] <= 2


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"rate": "fast"}, "100/1m"), ({"rate": "0/1m"}, "100/1m"), ({"at_once": 0}, "1 or more")],
)
def test_a_limit_that_lets_nothing_begin_is_refused(limits: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        App("wrong").queue("mail", **limits)


def test_limits_are_given_once_and_for_a_queue_that_is_used() -> None:
    app = mailer(Seen(), at_once=1)
    app.queue("mail", at_once=2)
    app.queue("mial", at_once=2)

    with pytest.raises(SetupError, match="given 2 times") as caught:
        app.serve()
    assert "did you mean 'mail'" in str(caught.value)


# What a claim costs.

MANY = 100_000


async def fill(store: Store, share: str, *, is_counted: bool = True) -> None:
    """So many waiting jobs of one queue, with *share* as SQL of `n`."""
    if store.dialect_name == "postgresql":
        numbers, id = f"generate_series(1, {MANY}) AS n", "gen_random_uuid()"
    else:
        numbers = f"(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {MANY}) SELECT n FROM c)"
        id = "'j' || n"
    await act(
        store,
        "INSERT INTO toque.job (id, queue, name, state, priority, due, key, headers, data, share) "
        f"SELECT {id}, 'mail', 'send', 0, 0, {'now()' if store.dialect_name == 'postgresql' else '0'}, "
        f"'', '', '', {share} FROM {numbers}",
    )
    if is_counted:
        await act(store, "ANALYZE toque.job")


NAMES = '["send"]'
KEYS = json.dumps([f"k{n:05}" for n in range(KEYS_MAX)])
ONE_KEY = '["k"]'


@pytest.mark.parametrize(
    ("share", "name", "arguments"),
    [
        ("NULL", "claim", ("mail", 10, 1, NAMES, WHOLE)),
        ("NULL", "room", ("mail", 10, 100, 1.0)),
        ("'k' || substr(CAST(100000 + n AS text), 2)", "keys", ("mail", "", KEYS_MAX)),
        ("'k' || substr(CAST(100000 + n AS text), 2)", "claim_of", ("mail", 10, 1, NAMES, KEYS, 2, 9, 1.0)),
        ("'k'", "keys", ("mail", "", KEYS_MAX)),
        ("'k'", "claim_of", ("mail", 10, 1, NAMES, ONE_KEY, 2, 9, 1.0)),
        ("'k'", "claim_of", ("mail", 10, 1, NAMES, ONE_KEY, 0, 9, 1.0)),
    ],
)  # fmt: skip
async def test_a_claim_looks_at_few_of_many(other: Store, share: str, name: str, arguments: Any) -> None:
    await fill(other, share)
    statement = getattr(LIMITED[other.dialect_name], name)

    if other.dialect_name == "sqlite" and WHOLE in arguments:
        arguments = arguments[:-1]
    assert await looked_at_by(other, statement.sql, arguments) < 5000


async def test_a_look_looks_at_few_of_many_whatever_the_server_thinks_of_them(other: Store) -> None:
    """PostgreSQL 18 takes a hash join, for which it reads the whole table, where it has not counted the rows yet; older
    ones do where they are kept from the other join."""
    await fill(other, "NULL", is_counted=False)
    look, queues = STATEMENTS[other.dialect_name].look.sql, ["a", "mail", "z"]
    arguments: tuple[Any, ...] = (json.dumps(queues), NAMES, 1)
    if other.dialect_name == "postgresql":
        arguments = (Floors(queues).places(queues), NAMES, 1, True, 0.0)
    assert await looked_at_by(other, look, arguments, without="enable_nestloop") < 5000


async def test_a_look_does_not_go_through_all_of_a_queue_that_is_paused(other: Store) -> None:
    await fill(other, "NULL")
    await act(other, "INSERT INTO toque.job_queue (name, is_paused) VALUES ('mail', true)")
    probe = JOBS.postgresql if other.dialect_name == "postgresql" else JOBS.sqlite

    assert await looked_at_by(other, f"SELECT {probe}", ()) < 5000


async def test_many_keys_that_are_used_up_do_not_keep_one_from_its_turn(other: Store) -> None:
    """Claims go on from key to key, also past more of them than one claim looks at."""
    table, limits = Limited(other), Limits(queue="mail", rate_per_key=Rate(1, 3600.0))
    await fill(other, "'k' || substr(CAST(100000 + n % 150 AS text), 2)")
    number = await JobTable(other).number()
    claimed = Counter[str]()
    while found := await table.claim(limits, 10, number, NAMES):
        claimed.update(row[3] for row in found)

    assert len(claimed) == 150
    assert set(claimed.values()) == {1}
