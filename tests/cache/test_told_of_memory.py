"""What an operator is told of answers from memory: figures, what queries read, and why some are not kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from kitchen_of_callers import make_app

from toque.cache.learned import FILE, Learned, Learning, learned
from toque.settings import Cache, Settings
from toque.testing import Harness, running


async def test_what_memory_did_is_counted(database_url: str) -> None:
    settings = Settings(cache=Cache(verify="all"))
    async with running(make_app(), settings=settings, database_url=database_url) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        await _settle(kitchen)
        for _ in range(3):
            await kitchen.get("/dishes")
        await kitchen.get("/dishes", headers={"cache-control": "no-store"})
        await asyncio.gather(*(kitchen.call("kitchen.get_dish", id=1) for _ in range(4)))
        told = (await kitchen.get("/metrics")).text
        await kitchen.call("kitchen.set_price", id=1, price=6)
        await _settle(kitchen)
        later = (await kitchen.get("/metrics")).text

    def calls(operation: str, outcome: str) -> str:
        return f'toque_cache_calls_total{{operation="kitchen.{operation}",outcome="{outcome}"}}'

    for line in (
        calls("list_dishes", "kept") + " 1.0",
        calls("list_dishes", "hit") + " 2.0",
        calls("list_dishes", "bypassed") + " 1.0",
        calls("get_dish", "kept") + " 1.0",
        'toque_cache_verified_total{operation="kitchen.list_dishes",outcome="right"} 2.0',
        'toque_cache_verified_total{operation="kitchen.list_dishes",outcome="wrong"} 0.0',
        "toque_cache_answers 2.0",
        "toque_cache_workers 1.0",
        'toque_cache_gone_total{reason="room"} 0.0',
    ):
        assert line in told, line
    assert _value(told, calls("get_dish", "joined")) + _value(told, calls("get_dish", "hit")) == 3
    assert _value(told, "toque_cache_bytes") > 0
    assert _value(told, "toque_cache_looks_total") > 0
    # Both have read the dish whose price changed.
    gone = 'toque_cache_gone_total{reason="changed"}'
    assert _value(later, gone) - _value(told, gone) == 2
    assert _value(later, "toque_cache_answers") == 0


async def test_what_queries_were_seen_to_read_is_written_down(database_url: str) -> None:
    async with running(make_app(), database_url=database_url) as kitchen:
        await kitchen.call("kitchen.add_dish", id=1, name="soup", price=5)
        await kitchen.call("kitchen.get_dish", id=1)
        await kitchen.call("kitchen.list_dishes")
        await kitchen.call("kitchen.by_session")
        folder = kitchen.serving.settings.folder
        assert folder is not None
        async with asyncio.timeout(30):
            while not (known := learned(folder)).get("kitchen.by_session", Learned()).why_not:
                await asyncio.sleep(0.05)

    assert known["kitchen.get_dish"].words == "dish by id"
    assert known["kitchen.list_dishes"].words == "dish as a whole"
    assert "session" in known["kitchen.by_session"].why_not


async def test_two_workers_write_what_each_knows(tmp_path: Path) -> None:
    first = Learning(tmp_path, lambda: {"a": Learned({"dish": [["id"], ["shelf", "row"]]})})
    second = Learning(tmp_path, lambda: {"b": Learned(why_not="it is too large")})
    for each in (first, second):
        each.learn()
        await each.stop()

    assert learned(tmp_path)["a"].words == "dish by id or shelf and row"
    assert learned(tmp_path)["b"].why_not == "it is too large"
    assert [file.name for file in (tmp_path / FILE).parent.iterdir()] == [FILE.name]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', msgspec.json.encode({"a": {"reads": 5}})])
async def test_a_file_of_another_version_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(content)
    assert learned(tmp_path) == {}


async def _settle(kitchen: Harness) -> None:
    cache = kitchen.serving.system.cache
    assert cache is not None
    assert await cache.runner.barrier()


def _value(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[-1])
