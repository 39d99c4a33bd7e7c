"""A request's body becomes inputs, in every format that can carry them and in none that cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from toque.app import App
from toque.codecs import compression
from toque.codecs.codec import CODECS
from toque.codecs.file import File
from toque.contract.access import public
from toque.contract.module import Module
from toque.contract.signature import read_signature
from toque.settings import Http, Settings
from toque.testing import Harness, running
from toque.testing.memory import Answer, MemoryProtocol, MemoryScope
from toque.transports.bodies import SKIPPED_BYTES_MAX, BodyLimits, late_reader

SMALL = 4_096
"""The body that `/small` takes."""
JSON = {"content-type": "application/json"}
MULTIPART = {"content-type": "multipart/form-data; boundary=XX"}


class Dish(msgspec.Struct):
    name: str
    price: int = 5


class Kept(msgspec.Struct):
    filename: str
    bytes: int
    note: str


class Received:
    """How many chunks `/upload` has seen, for whoever sends them."""

    chunks = 0


app = App("kitchen")


@app.command("/dish", allow=public)
async def dish(dish: Dish) -> Dish:
    return dish


@app.command("/dishes", allow=public)
async def dishes(dishes: list[Dish]) -> list[Dish]:
    return dishes


@app.command("/small", allow=public, body_bytes_max=SMALL)
async def small(text: str) -> int:
    return len(text)


@app.command("/perhaps", allow=public)
async def perhaps(dish: Dish | None = None) -> str:
    return "nothing" if dish is None else dish.name


@app.command("/slow", allow=public)
async def slow(dish: Dish) -> str:
    await asyncio.sleep(0.15)
    return dish.name


@app.command("/defaults", allow=public)
async def defaults(reason: str = "late", count: int = 1) -> str:
    return f"{reason} {count}"


@app.command("/photo", allow=public)
async def photo(file: File, note: str) -> Kept:
    return Kept(file.filename, len(await file.read()), note)


@app.command("/photos", allow=public)
async def photos(files: list[File]) -> list[str]:
    return [file.filename for file in files]


@app.command("/upload", allow=public, body_bytes_max=64 * 1024 * 1024)
async def upload(data: AsyncIterator[bytes]) -> int:
    size = 0
    async for chunk in data:
        Received.chunks += 1
        size += len(chunk)
    return size


@pytest.fixture
async def kitchen() -> AsyncIterator[Harness]:
    async with running(app, settings=Settings(http=Http(body_timeout_s=0.05))) as harness:
        yield harness


async def send(kitchen: Harness, target: str, protocol: MemoryProtocol, *headers: tuple[str, str]) -> Answer:
    """What no honest client sends: header fields twice, or a body that is made while it is read."""
    await kitchen.serving.edge(MemoryScope("POST", target, "", [("host", "localhost"), *headers]), protocol)
    return protocol.answer


class Lazily(Sequence[bytes]):
    """Chunks that are made when they are asked for."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def __getitem__(self, at: Any) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


class Never(MemoryProtocol):
    """A client that announces a body and sends none of it."""

    async def __call__(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield await self()


def part(name: str, value: str, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n{value}\r\n'.encode()


def taken(tp: Any) -> list[tuple[str, str]]:
    """The formats that can carry *tp*, by name, with each of their media types."""
    found = [codec for codec in CODECS.values() if codec.decoder(tp)]
    return [(codec.name, media_type) for codec in found for media_type in codec.media_types]


# Formats.


@pytest.mark.parametrize(("name", "media_type"), taken(Dish))
async def test_an_object_comes_in_every_format_that_carries_it(kitchen: Harness, name: str, media_type: str) -> None:
    encode = CODECS[name].encoder(Dish)
    assert encode is not None

    answer = await kitchen.post("/dish", content=encode(Dish("soup", 7)), headers={"content-type": media_type})

    assert (answer.status, answer.json()) == (200, {"name": "soup", "price": 7})


@pytest.mark.parametrize(("name", "media_type"), taken(list[Dish]))
async def test_a_list_comes_in_every_format_that_carries_it(kitchen: Harness, name: str, media_type: str) -> None:
    encode = CODECS[name].encoder(list[Dish])
    assert encode is not None

    answer = await kitchen.post(
        "/dishes", content=encode([Dish("soup"), Dish("stew")]), headers={"content-type": media_type}
    )

    assert [one["name"] for one in answer.json()] == ["soup", "stew"]


@pytest.mark.parametrize("media_type", ["Application/JSON", 'application/json ; charset="UTF-8"'])
async def test_the_name_of_a_format_is_read_as_the_standard_says(kitchen: Harness, media_type: str) -> None:
    answer = await kitchen.post("/dish", content=b'{"name":"x"}', headers={"content-type": media_type})

    assert answer.status == 200


@pytest.mark.parametrize(
    ("target", "listed"),
    [
        (
            "/dish",
            "application/json, application/msgpack, application/vnd.msgpack, application/x-msgpack, "
            "application/x-www-form-urlencoded, multipart/form-data, text/csv",
        ),
        (
            "/dishes",
            "application/json, application/jsonl, application/msgpack, application/ndjson, "
            "application/vnd.msgpack, application/x-msgpack, application/x-ndjson, text/csv",
        ),
        ("/photo", "multipart/form-data"),
    ],
)
@pytest.mark.parametrize("media_type", ["application/xml", "nonsense", ""])
async def test_another_format_is_refused_with_those_that_are_taken(
    kitchen: Harness, target: str, listed: str, media_type: str
) -> None:
    answer = await kitchen.post(target, content=b"<dish/>", headers={"content-type": media_type})

    assert answer.status == 415
    assert answer.json()["detail"] == f"expected a Content-Type of {listed}; received {media_type}"


@pytest.mark.parametrize("target", ["/dish", "/perhaps", "/defaults", "/photo"])
async def test_a_body_without_a_format_is_not_guessed(kitchen: Harness, target: str) -> None:
    answer = await kitchen.post(target, content=b'{"name":"x"}')

    assert answer.status == 415
    assert "received none" in answer.json()["detail"]


async def test_bytes_that_are_not_what_they_are_called_are_malformed(kitchen: Harness) -> None:
    answer = await kitchen.post("/dish", content=b"name=soup", headers=JSON)

    assert (answer.status, answer.json()["code"]) == (400, "malformed")


async def test_a_wrong_value_is_told_with_its_place(kitchen: Harness) -> None:
    answer = await kitchen.post("/dish", json={"name": "soup", "price": "x"})

    assert answer.status == 422
    assert answer.json()["faults"][0]["path"] == "$.price"


# Nothing at all.


@pytest.mark.parametrize(("target", "said"), [("/perhaps", "nothing"), ("/defaults", "late 1")])
@pytest.mark.parametrize("headers", [{}, JSON])
async def test_what_has_a_default_need_not_come(
    kitchen: Harness, target: str, said: str, headers: dict[str, str]
) -> None:
    answer = await kitchen.post(target, headers=headers)

    assert (answer.status, answer.json()) == (200, said)


async def test_a_body_that_may_be_missing_is_read_where_it_comes(kitchen: Harness) -> None:
    assert (await kitchen.post("/perhaps", json={"name": "soup"})).json() == "soup"
    assert (await kitchen.post("/defaults", json={"count": 2})).json() == "late 2"


@pytest.mark.parametrize(("headers", "status"), [({}, 415), (JSON, 400)])
async def test_a_body_that_must_come_is_missed(kitchen: Harness, headers: dict[str, str], status: int) -> None:
    assert (await kitchen.post("/dish", headers=headers)).status == status


# Files.


async def test_a_file_comes_with_what_is_said_of_it(kitchen: Harness) -> None:
    body = part("file", "x" * 100_000, "a.txt") + part("note", "ripe") + b"--XX--\r\n"

    answer = await kitchen.post("/photo", content=body, headers=MULTIPART)

    assert answer.json() == {"filename": "a.txt", "bytes": 100_000, "note": "ripe"}


async def test_files_of_one_name_come_together(kitchen: Harness) -> None:
    body = part("files", "1", "a.txt") + part("files", "2", "b.txt") + b"--XX--\r\n"

    answer = await kitchen.post("/photos", content=body, headers=MULTIPART)

    assert answer.json() == ["a.txt", "b.txt"]


@pytest.mark.parametrize("body", [part("note", "x"), part("file", "x") + part("note", "x"), part("file", "x", "f")])
async def test_a_form_with_a_file_has_all_its_parts(kitchen: Harness, body: bytes) -> None:
    assert (await kitchen.post("/photo", content=body + b"--XX--\r\n", headers=MULTIPART)).status == 422


async def test_plain_inputs_may_come_as_multipart_too(kitchen: Harness) -> None:
    body = part("name", "soup") + part("price", "7") + b"--XX--\r\n"

    answer = await kitchen.post("/dish", content=body, headers=MULTIPART)

    assert answer.json() == {"name": "soup", "price": 7}


@pytest.mark.parametrize("json", [{"file": "x", "note": "x"}, {}])
async def test_no_other_format_brings_a_file(kitchen: Harness, json: Any) -> None:
    assert (await kitchen.post("/photo", json=json)).status == 415


async def test_a_form_in_a_content_coding_is_not_taken(kitchen: Harness) -> None:
    answer = await kitchen.post("/photo", content=b"x", headers=MULTIPART | {"content-encoding": "gzip"})

    assert answer.status == 415


def test_a_body_that_no_format_carries_is_told_at_the_start() -> None:
    module = Module("kitchen")

    @module.command("/pair", allow=public)
    async def pair(files: tuple[File, str]) -> None: ...

    signature = read_signature(module.operations[0], frozenset())

    with pytest.raises(TypeError, match="no format carries"):
        late_reader(module.operations[0], signature, lambda _scope, _segments: [None], BodyLimits(10, 1.0))


# Streams.


async def test_an_upload_is_read_no_faster_than_it_is_used(kitchen: Harness) -> None:
    Received.chunks = 0
    ahead: list[int] = []

    def chunks() -> Iterator[bytes]:
        for made in range(512):
            ahead.append(made - Received.chunks)
            yield b"x" * 65_536

    answer = await send(kitchen, "/upload", MemoryProtocol(Lazily(chunks())))

    assert answer.json() == 512 * 65_536
    assert max(ahead) == 0


async def test_an_upload_has_any_format_and_a_limit(kitchen: Harness) -> None:
    assert (await kitchen.post("/upload", content=b"GIF89a", headers={"content-type": "image/gif"})).json() == 6
    assert (await kitchen.post("/upload")).json() == 0
    assert (await kitchen.post("/upload", content=[b"x" * 1024 * 1024] * 65)).status == 413


async def test_an_upload_in_a_content_coding_is_not_taken(kitchen: Harness) -> None:
    assert (await kitchen.post("/upload", content=b"x", headers={"content-encoding": "gzip"})).status == 415


# Content codings.


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_compressed_body_is_read(kitchen: Harness, coding: str) -> None:
    body = compression.compress(b'{"name":"soup"}', coding)

    answer = await kitchen.post("/dish", content=body, headers=JSON | {"content-encoding": coding})

    assert answer.json()["name"] == "soup"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize(("target", "size"), [("/small", SMALL), ("/defaults", 900_000)])
async def test_a_small_body_that_becomes_large_is_refused(
    kitchen: Harness, coding: str, target: str, size: int
) -> None:
    """Beyond the limit of the body, and below it beyond what compression makes of honest text."""
    body = compression.compress(msgspec.json.encode({"text": "x" * size}), coding)
    assert len(body) < SMALL

    answer = await kitchen.post(target, content=body, headers=JSON | {"content-encoding": coding})

    assert answer.status == 413


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_body_that_is_not_in_its_coding_is_malformed(kitchen: Harness, coding: str) -> None:
    answer = await kitchen.post("/dish", content=b'{"name":"soup"}', headers=JSON | {"content-encoding": coding})

    assert (answer.status, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip", "x"])
async def test_another_coding_is_not_taken(kitchen: Harness, coding: str) -> None:
    assert (await kitchen.post("/dish", json={"name": "x"}, headers={"content-encoding": coding})).status == 415


# Sizes, framing and time.


@pytest.mark.parametrize(("size", "status"), [(SMALL, 200), (SMALL + 1, 413)])
@pytest.mark.parametrize("chunk_size", [0, 1_000, SMALL + 1])
async def test_a_body_is_as_large_as_it_may_be_and_no_larger(
    kitchen: Harness, size: int, status: int, chunk_size: int
) -> None:
    body = b'{"text":"' + b"x" * (size - 11) + b'"}'
    chunks = [body[at : at + chunk_size] for at in range(0, size, chunk_size)] if chunk_size else body

    answer = await kitchen.post("/small", content=chunks, headers=JSON)

    assert answer.status == status


async def test_a_body_announced_far_too_large_or_asked_for_before_is_not_read(kitchen: Harness) -> None:
    def chunks() -> Iterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    far_too_large = [[("content-length", length)] for length in (str(SMALL + SKIPPED_BYTES_MAX + 1), "9" * 5_000)]
    asked_before = [("content-length", str(SMALL + 1)), ("expect", "100-continue")]
    for announced in (*far_too_large, asked_before):
        answer = await send(kitchen, "/small", MemoryProtocol(Lazily(chunks())), *JSON.items(), *announced)
        assert answer.status == 413


async def test_chunks_are_counted_as_they_come(kitchen: Harness) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * (SKIPPED_BYTES_MAX // 2)
        pytest.fail("more was read than may come")

    assert (await send(kitchen, "/small", MemoryProtocol(Lazily(chunks())), *JSON.items())).status == 413


@pytest.mark.parametrize(
    "codings",
    [("gzip, chunked",), ("identity",), ("chunked", "chunked"), ("chunked", "gzip"), ("chunked, chunked",)],
)
@pytest.mark.parametrize("target", ["/dish", "/upload", "/photo"])
async def test_only_one_transfer_coding_is_taken(kitchen: Harness, target: str, codings: tuple[str, ...]) -> None:
    headers = [*(MULTIPART if target == "/photo" else JSON).items()]
    headers += [("transfer-encoding", coding) for coding in codings]

    assert (await send(kitchen, target, MemoryProtocol([b"{}"]), *headers)).status == 400


async def test_a_body_is_either_chunked_or_has_a_length(kitchen: Harness) -> None:
    headers = [*JSON.items(), ("transfer-encoding", "Chunked")]

    fine = await send(kitchen, "/dish", MemoryProtocol([b'{"name"', b':"x"}']), *headers)
    both = await send(kitchen, "/dish", MemoryProtocol([b"{}"]), *headers, ("content-length", "2"))

    assert (fine.status, both.status) == (200, 400)


@pytest.mark.parametrize("target", ["/dish", "/upload", "/photo"])
@pytest.mark.parametrize("length", [[], [("content-length", "20")]])
async def test_a_body_that_does_not_come_is_not_waited_for(
    kitchen: Harness, target: str, length: list[tuple[str, str]]
) -> None:
    headers = (MULTIPART if target == "/photo" else JSON).items()

    answer = await send(kitchen, target, Never([]), *headers, *length)

    # Not only at the call's own deadline, which comes much later.
    assert (answer.status, "did not arrive within" in answer.json()["detail"]) == (408, True)


async def test_the_time_that_a_body_has_ends_when_it_is_here(kitchen: Harness) -> None:
    answer = await kitchen.post("/slow", content=b'{"name":"soup"}', headers=JSON)

    assert (answer.status, answer.json()) == (200, "soup")
