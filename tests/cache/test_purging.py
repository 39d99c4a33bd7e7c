"""By which names caches in front forget: those of a change are among those of each answer that it may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kitchen_of_callers import make_app
from test_cached_queries import ANN, _settle

from toque.cache.change import Change
from toque.cache.front import Front
from toque.cache.groups import GROUPS_MAX, groups_of_change, groups_of_reads, table_group
from toque.cache.predicates import Predicate
from toque.cache.purging import BATCH_MAX
from toque.messages.dialects import both
from toque.settings import Cache, Calls, Secret, Settings
from toque.store.own import execute
from toque.testing import Harness, running

COLUMNS = ("a", "b", "c")
tables = st.sampled_from(["rows", "other"])
values = st.one_of(st.none(), st.integers(0, 2), st.sampled_from(["", "0", "x"]))


@st.composite
def predicates(draw: st.DrawFn) -> Predicate:
    columns = tuple(name for name in COLUMNS if draw(st.booleans()))
    return Predicate(draw(tables), columns, tuple(draw(values) for _ in columns))


images = st.fixed_dictionaries(dict.fromkeys(COLUMNS, values))
changes = st.builds(Change, tables, st.one_of(st.none(), st.lists(images, min_size=1, max_size=2).map(tuple)))


@given(st.lists(predicates(), min_size=1, max_size=80), changes)
def test_whatever_a_change_may_have_changed_bears_one_of_its_names(read: list[Predicate], change: Change) -> None:
    named = groups_of_reads(read)

    assert len(named) <= GROUPS_MAX
    if any(predicate.matches(change) for predicate in read):
        assert groups_of_change(change, frozenset(COLUMNS)).intersection(named)


def test_a_row_is_not_called_by_the_name_of_another_one() -> None:
    named = groups_of_reads([Predicate("rows", ("a",), (1,))])

    assert not groups_of_change(Change("rows", ({"a": 2},)), {"a"}).intersection(named)
    assert groups_of_change(Change("rows", ({"a": 2},)), {"a", "b"}) == {table_group("rows")}


def test_what_has_read_too_many_tables_to_name_is_never_given_unasked() -> None:
    read = [Predicate(f"table_{n}") for n in range(GROUPS_MAX)]

    assert Front(edge_s=60).labels(read) == []
    assert len(Front(edge_s=60).labels(read[:4])) == 3
    assert Front().labels(read[:4]) == []


class Target:
    """A cache that notes what it is to forget."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.status = "204 No Content"

    @property
    def names(self) -> list[str]:
        return [name for names in self.requests for name in names]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
                lines = {name.lower(): value for name, value in lines.items()}
                assert (head[:5], lines["key"]) == (b"PURGE", "secret")
                if self.status.startswith("2"):
                    self.requests.append(lines["surrogate-key"].split())
                writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def _kitchen(database_url: str, url: str, deadline_s: float) -> AsyncIterator[Harness]:
    cache = Cache(purge_url=Secret(url), purge_method="PURGE", purge_headers=(Secret("Key: secret"),))
    settings = Settings(cache=cache, calls=Calls(deadline_s=deadline_s))
    async with running(make_app(), settings=settings, database_url=database_url) as kitchen:
        yield kitchen


@pytest.fixture
async def target() -> AsyncIterator[tuple[Target, str]]:
    found = Target()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    yield found, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/all"
    server.close()


async def _until(condition: object) -> None:
    async with asyncio.timeout(30):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def _names(kitchen: Harness, path: str) -> list[str]:
    for _ in range(3):  # The first run after a commit may not be kept.
        answer = await kitchen.get(path)
        await _settle(kitchen)
    return answer.headers["surrogate-key"].split()


async def test_each_change_is_said_twice_and_others_are_not(database_url: str, target: tuple[Target, str]) -> None:
    cache, url = target
    async with _kitchen(database_url, url, 1.0) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        await kitchen.call("kitchen.add_dish", id=2, name="pie", price=7)
        await _settle(kitchen)
        first, second = await _names(kitchen, "/dishes/1"), await _names(kitchen, "/dishes/2")
        fine, other = first[-1], second[-1]
        await _until(lambda: cache.names.count(fine) >= 2 or cache.names.count(first[0]) >= 2)
        await _until(lambda: not kitchen.serving.system.cache.purging._later)  # type: ignore[union-attr]
        cache.requests.clear()

        await kitchen.call("kitchen.set_price", id=1, price=6)

        await _until(lambda: cache.names.count(fine) == 2)
        assert other not in cache.names
        assert first[0] not in cache.names, "the whole table"
        assert all(len(names) <= BATCH_MAX for names in cache.requests)


async def test_what_could_not_be_said_is_said_later(database_url: str, target: tuple[Target, str]) -> None:
    cache, url = target
    async with _kitchen(database_url, url, 60.0) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        await _settle(kitchen)
        fine = (await _names(kitchen, "/dishes/1"))[-1]
        await _until(lambda: cache.names)  # That everything changed: from here on, what did.
        cache.status = "503 Service Unavailable"
        await kitchen.call("kitchen.set_price", id=1, price=6)
        await kitchen.call("kitchen.set_price", id=1, price=7)
        purging = kitchen.serving.system.cache.purging  # type: ignore[union-attr]
        await _until(lambda: purging.failures)  # type: ignore[union-attr]
        meanwhile = (await kitchen.get("/metrics")).text
        cache.requests.clear()
        cache.status = "204 No Content"
        await _until(lambda: fine in cache.names)
        later = (await kitchen.get("/metrics")).text

    assert "toque_cache_purge_waiting 0.0" not in meanwhile
    assert "toque_cache_purge_waiting 0.0" in later
    for name in ("purge_failures", "purged"):
        assert f"toque_cache_{name}_total 0.0" not in later
        assert f"toque_cache_{name}_total" in later


async def test_a_failure_that_nobody_expected_ends_nothing(
    database_url: str, target: tuple[Target, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toque.cache.purging.AGAIN_MAX_S", 0.01)
    cache, url = target
    async with _kitchen(database_url, url, 60.0) as kitchen:
        store, purging = kitchen.serving.system.store, kitchen.serving.system.cache.purging  # type: ignore[union-attr]
        assert store is not None
        await _until(lambda: cache.names)
        lost = "lost" if store.dialect_name == "postgresql" else "toque_lost"
        table = "change_state" if store.dialect_name == "postgresql" else "toque_change_state"

        await execute(store, both(f"ALTER TABLE toque.change_state RENAME TO {lost}", True)[store.dialect_name])
        await _until(lambda: purging.failures)  # type: ignore[union-attr]
        await execute(store, both(f"ALTER TABLE toque.lost RENAME TO {table}", True)[store.dialect_name])
        cache.requests.clear()
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)

        await _until(lambda: cache.names)


async def test_private_answers_bear_no_names(database_url: str, target: tuple[Target, str]) -> None:
    async with _kitchen(database_url, target[1], 60.0) as kitchen:
        await kitchen.call("kitchen.add_note", id=1, text="of ann", principal=ANN)
        await _settle(kitchen)
        for _ in range(3):
            answer = await kitchen.get("/notes", principal=ANN)
            assert answer.headers["cache-control"] == "private, no-cache"
            assert [answer.headers.get(name) for name in ("surrogate-key", "cache-groups", "cdn-cache-control")] == [
                None
            ] * 3


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_one_of_all_processes_says_it_and_another_when_he_ends(
    database_url: str, target: tuple[Target, str]
) -> None:
    cache, url = target
    async with AsyncExitStack() as ends:
        first_ends = await ends.enter_async_context(AsyncExitStack())
        first = await first_ends.enter_async_context(_kitchen(database_url, url, 60.0))
        await first.call("kitchen.add_dish", id=1, name="soup", price=5)
        await _settle(first)
        second = await ends.enter_async_context(_kitchen(database_url, url, 60.0))
        fine = await _names(second, "/dishes/1")
        await _until(lambda: cache.names)
        cache.requests.clear()
        await second.call("kitchen.set_price", id=1, price=6)
        await _until(lambda: fine[-1] in cache.names)
        assert second.serving.system.cache.purging.said == 0  # type: ignore[union-attr]
        cache.requests.clear()

        await first_ends.aclose()

        await _until(lambda: fine[0] in cache.names)
        # Whoever is told has heard it before whoever says it has heard so.
        await _until(lambda: second.serving.system.cache.purging.said > 0)  # type: ignore[union-attr]
