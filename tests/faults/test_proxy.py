"""The proxy: what goes through it, what does not, and where in PostgreSQL's protocol a COMMIT is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toque.testing.faults import PostgresProxy, Proxy, proxy_before
from toque.testing.faults.postgres_wire import CommitFinder
from toque.testing.postgres import PrivatePostgres


class Echo:
    """A server that says what it hears, in capitals, and what it heard in all."""

    def __init__(self) -> None:
        self.heard = b""
        self.has_ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.heard += data
                writer.write(data.upper())
            writer.write(b"BYE")
            await writer.drain()
        except ConnectionError:
            pass
        self.has_ended.set()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, Proxy]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    proxy = Proxy(port=server.sockets[0].getsockname()[1], finder=lambda: lambda data: b"!" in data)
    await proxy.start()
    yield echo, proxy
    await proxy.stop()
    server.close()


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def say(words: bytes, proxy: Proxy) -> bytes:
    """What comes back, until the connection ends; reset is None."""
    reader, writer = await connect(proxy)
    writer.write(words)
    try:
        return await reader.readexactly(len(words))
    finally:
        writer.close()


async def test_what_is_said_is_heard_and_answered(echo: tuple[Echo, Proxy]) -> None:
    assert await say(b"hello", echo[1]) == b"HELLO"


async def test_the_end_of_one_half_goes_through(echo: tuple[Echo, Proxy]) -> None:
    reader, writer = await connect(echo[1])
    writer.write(b"hello")
    writer.write_eof()

    assert await reader.read() == b"HELLOBYE"
    writer.close()


async def test_a_cut_is_a_reset(echo: tuple[Echo, Proxy]) -> None:
    reader, writer = await connect(echo[1])
    writer.write(b"hello")
    await reader.readexactly(5)
    echo[1].cut_all()

    with pytest.raises(ConnectionResetError):
        await reader.read()
    await echo[0].has_ended.wait()
    writer.close()


async def test_a_half_closed_connection_still_answers(echo: tuple[Echo, Proxy]) -> None:
    reader, writer = await connect(echo[1])
    writer.write(b"hello")
    await reader.readexactly(5)
    echo[1].half_close_all()
    writer.write(b"lost")

    assert await reader.read() == b"BYE"
    assert echo[0].heard == b"hello"
    writer.close()


async def test_in_the_dark_nobody_comes_in(echo: tuple[Echo, Proxy]) -> None:
    echo[1].is_dark = True

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await say(b"hello", echo[1])
    assert echo[0].heard == b""


async def test_what_is_held_comes_later(echo: tuple[Echo, Proxy]) -> None:
    echo[1].hold()
    saying = asyncio.create_task(say(b"hello", echo[1]))
    while not echo[1].connections:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)

    assert echo[0].heard == b""
    echo[1].release()
    assert await saying == b"HELLO"


async def test_only_so_many_bytes_go_through(echo: tuple[Echo, Proxy]) -> None:
    echo[1].bytes_max = 3

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await say(b"hello", echo[1])
    await echo[0].has_ended.wait()
    assert echo[0].heard == b"hel"


@pytest.mark.parametrize(("cut", "heard"), [("before", b""), ("unanswered", b"stop!"), ("answered", b"stop!")])
async def test_a_point_in_the_protocol_ends_it(echo: tuple[Echo, Proxy], cut: Any, heard: bytes) -> None:
    echo[1].cuts = iter([cut])

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await say(b"stop!", echo[1])
    await echo[0].has_ended.wait()
    assert echo[0].heard == heard
    assert echo[1].cut == 1


async def test_a_server_that_is_not_there_refuses() -> None:
    proxy = Proxy(socket_path="/nowhere/socket")
    await proxy.start()

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await say(b"hello", proxy)
    await proxy.stop()


# A COMMIT.


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


START = message(b"", b"\x00\x03\x00\x00user\x00ana\x00\x00")
ASK_FOR_TLS = message(b"", b"\x04\xd2\x16\x2f")
QUERY = message(b"Q", b"SELECT 'COMMITTED', case when true then 1 end\x00")
COMMIT = message(b"Q", b"COMMIT\x00")
WITH_MORE = message(b"Q", b"INSERT INTO toque.event VALUES (1);commit\x00")
PREPARE = message(b"P", b"s1\x00COMMIT\x00\x00\x00")
PREPARE_OTHER = message(b"P", b"s1\x00SELECT 1\x00\x00\x00")
BIND = message(b"B", b"\x00s1\x00\x00\x00\x00\x00\x00\x00")


def found(stream: bytes, ends: list[int]) -> int:
    """How many pieces of *stream*, cut at *ends*, brought a COMMIT."""
    finder = CommitFinder()
    points = sorted({0, len(stream), *(end % len(stream) for end in ends)})
    return sum(finder(stream[start:end]) for start, end in pairwise(points))


@pytest.mark.parametrize(
    ("stream", "count"),
    [
        (START + QUERY, 0),
        (START + COMMIT, 1),
        (ASK_FOR_TLS + START + COMMIT, 1),
        (START + WITH_MORE, 1),
        (START + PREPARE, 0),
        (START + PREPARE + BIND, 1),
        (START + PREPARE + PREPARE_OTHER + BIND, 0),
        (START + message(b"Q", b"BEGIN READ ONLY;\x00") + COMMIT, 0),
        (START + message(b"Q", b"BEGIN READ ONLY\x00") + message(b"Q", b"BEGIN READ WRITE; x\x00") + COMMIT, 1),
        (START + message(b"D", b"Ss1\x00"), 0),
    ],
)
@given(ends=st.lists(st.integers(0, 500), max_size=30))
def test_a_commit_is_found_in_whatever_pieces_it_comes(stream: bytes, count: int, ends: list[int]) -> None:
    assert found(stream, ends) == count


async def test_each_commit_of_a_real_driver_is_found(postgres: PrivatePostgres) -> None:
    async with proxy_before(postgres.url()) as proxy:
        seen: list[str] = []
        proxy.cuts = iter(lambda: seen.append("commit") or "none", "never")
        await _three_commits(proxy)

        assert seen == ["commit"] * 3


async def _three_commits(proxy: PostgresProxy) -> None:
    connection = await asyncpg.connect(proxy.url)
    async with connection.transaction():
        await connection.execute("CREATE TEMP TABLE t (a int)")
    await connection.execute("BEGIN; INSERT INTO t VALUES (1); COMMIT")
    await connection.execute("BEGIN")
    commit: Callable[[], Any] = (await connection.prepare("COMMIT")).fetch
    await commit()
    await connection.close()
