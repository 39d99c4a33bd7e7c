"""Streamed answers over HTTP: compressed for who takes it, and still read item by item."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import brotli  # type: ignore[import-untyped]
import msgspec
import pytest
import zstandard

from toque.app import App
from toque.contract.access import public
from toque.testing import Harness, running
from toque.testing.memory import MemoryProtocol, MemoryScope

READERS: dict[str | None, Callable[[], Callable[[bytes], bytes]]] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
    None: lambda: bytes,
}


class Row(msgspec.Struct):
    number: int


app = App("bistro")


@app.query("/rows", allow=public)
async def rows(count: int = 3, fails: bool = False) -> AsyncIterator[Row]:
    for number in range(count):
        yield Row(number)
    if fails:
        raise RuntimeError("the oven is out")


@app.query("/text", allow=public, media_type="text/plain; charset=utf-8")
async def text() -> AsyncIterator[bytes]:
    yield b"soup"


@app.query("/events", allow=public, media_type="text/event-stream")
async def events() -> AsyncIterator[bytes]:
    yield b"data: soup\n\n"


@app.query("/photo", allow=public, media_type="image/png")
async def photo() -> AsyncIterator[bytes]:
    yield b"\x89PNG"


class Listening(MemoryProtocol):
    """Keeps what was sent, piece by piece, as a client sees it."""

    def __init__(self) -> None:
        super().__init__([])
        self.pieces: list[bytes] = []

    async def send_bytes(self, data: bytes) -> None:
        self.pieces.append(data)
        await super().send_bytes(data)

    @property
    def coding(self) -> Any:
        return self.answer.headers.get("content-encoding")

    @property
    def vary(self) -> Sequence[str]:
        return self.answer.headers.get_all("vary")

    def read(self) -> list[bytes]:
        """What could be read when each piece had come."""
        read = READERS[self.coding]()
        return [read(piece) for piece in self.pieces]


@pytest.fixture
async def bistro() -> AsyncIterator[Harness]:
    async with running(app) as harness:
        yield harness


async def get(bistro: Harness, path: str, query: str = "", **headers: str) -> Listening:
    fields = [("host", "localhost"), *((name.replace("_", "-"), value) for name, value in headers.items())]
    listening = Listening()
    await bistro.serving.edge(MemoryScope("GET", path, query, fields), listening)
    return listening


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_each_item_can_be_read_when_it_comes(bistro: Harness, coding: str) -> None:
    heard = await get(bistro, "/rows", accept="application/x-ndjson", accept_encoding=coding)

    assert (heard.coding, "accept-encoding" in heard.vary) == (coding, True)
    assert heard.read()[:3] == [b'{"number":0}\n', b'{"number":1}\n', b'{"number":2}\n']


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "identity"])
async def test_the_whole_is_what_it_is_without_compression(bistro: Harness, coding: str) -> None:
    heard = await get(bistro, "/rows", accept_encoding=coding)

    assert b"".join(heard.read()) == b'[{"number":0},{"number":1},{"number":2}]'


async def test_the_end_is_marked(bistro: Harness) -> None:
    heard = await get(bistro, "/rows", accept_encoding="gzip")
    reader = zlib.decompressobj(31)
    reader.decompress(heard.answer.content)

    assert reader.eof


async def test_what_breaks_off_has_no_end(bistro: Harness) -> None:
    heard = await get(bistro, "/rows", "fails=true", accept_encoding="gzip")
    reader = zlib.decompressobj(31)

    assert reader.decompress(heard.answer.content) == b'[{"number":0},{"number":1},{"number":2}'
    assert not reader.eof


async def test_nothing_is_sent_as_it_is(bistro: Harness) -> None:
    heard = await get(bistro, "/rows", "count=0", accept_encoding="gzip")

    assert (heard.coding, heard.answer.content) == (None, b"[]")


async def test_who_takes_no_coding_gets_none_and_caches_are_told(bistro: Harness) -> None:
    heard = await get(bistro, "/rows")

    assert (heard.coding, "accept-encoding" in heard.vary) == (None, True)


@pytest.mark.parametrize(
    ("path", "coding"), [("/text", "gzip"), ("/events", None), ("/photo", None)], ids=["text", "events", "photo"]
)
async def test_bytes_are_compressed_where_that_helps(bistro: Harness, path: str, coding: str | None) -> None:
    heard = await get(bistro, path, accept_encoding="gzip")

    assert (heard.coding, "accept-encoding" in heard.vary) == (coding, coding is not None)
