"""A multipart body is read as it arrives, however it is cut, and costs no more memory than its limits."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from toque.codecs.file import File
from toque.codecs.multipart import MultipartLimits, multipart_reader
from toque.contract.errors import Error, Invalid, Malformed, TooLarge
from toque.contract.json_schema import json_schema
from toque.contract.nodes import unserialisable

CONTENT_TYPE = 'multipart/form-data; boundary="XX"'


class Line(Struct):
    dish_id: int
    quantity: int = 1


class Photo(Struct):
    title: str
    picture: File
    more: list[File] = []
    lines: list[Line] = []
    tags: list[str] = []
    stars: int | None = None


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def part(name: str, value: bytes, filename: str | None = None, header: bytes = b"") -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{named}\r\n'.encode()
    return head + header + b"\r\n" + value + b"\r\n"


async def cut(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def repeated(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def read(
    chunks: AsyncIterator[bytes], content_type: str = CONTENT_TYPE, limits: MultipartLimits | None = None
) -> Photo:
    reader = multipart_reader(Photo, limits)
    assert reader is not None
    photo: Photo = await reader(chunks, content_type)
    return photo


BODY = (
    part("title", "Gemüse".encode())
    + part("picture", b"\x00\r\n--X\r\n" * 9, "../../etc/pass wd", b"Content-Type: image/png\r\n")
    + part("more", b"one", "1.txt")
    + part("more", b"", "2.txt")
    + part("lines.0.dish_id", b"4")
    + part("lines.1.dish_id", b"5")
    + part("lines.1.quantity", b"2")
    + part("tags", b"a")
    + part("tags", b"b")
    + part("stars", b"")
    + b"--XX--\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
async def test_a_body_reads_the_same_however_it_is_cut(size: int) -> None:
    photo = await read(cut(BODY, size))

    assert photo.title == "Gemüse"
    assert photo.picture.filename == "../../etc/pass wd"
    assert photo.picture.media_type == "image/png"
    assert await photo.picture.read() == b"\x00\r\n--X\r\n" * 9
    assert [await one.read() for one in photo.more] == [b"one", b""]
    assert photo.lines == [Line(4), Line(5, 2)]
    assert (photo.tags, photo.stars) == (["a", "b"], None)


@given(data=st.binary(max_size=300), size=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
async def test_any_bytes_of_a_file_come_back(data: bytes, size: int) -> None:
    if b"--XX" in data:
        return
    body = part("title", b"x") + part("picture", data, "f") + b"--XX--"

    photo = await read(cut(body, size))

    assert b"".join(photo.picture) == data
    assert b"".join([chunk async for chunk in photo.picture]) == data
    assert photo.picture.open().read() == data


async def test_a_file_that_nobody_chose_is_none() -> None:
    """A browser sends a part for each file that its form asks for, also where none was chosen: without a name and
    without a byte. It was a file of the app's, and one that need not come seemed to have come."""
    nothing = b"Content-Type: application/octet-stream\r\n"
    title, more = part("title", b"soup"), part("more", b"", "", nothing)
    picture = part("picture", b"x", "x.png")

    photo = await read(cut(title + picture + more + b"--XX--", 1))

    assert photo.more == []
    with pytest.raises(Invalid, match=r"got nothing at \$\.picture"):
        await read(cut(title + part("picture", b"", "", nothing) + b"--XX--", 1))
    assert (await read(cut(title + part("picture", b"x", "") + b"--XX--", 1))).picture.size_bytes == 1


async def test_a_large_file_goes_to_disk_in_constant_memory() -> None:
    chunk = b"x" * 65_536
    chunks = [part("title", b"x"), part("picture", b"", "big")[:-2], *[chunk] * 320, b"\r\n--XX--"]
    tracemalloc.start()

    photo = await read(repeated(chunks))
    size = sum([len(piece) async for piece in photo.picture])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size == photo.picture.size_bytes == 320 * 65_536
    assert peak < 2_000_000


async def test_a_closed_file_is_gone() -> None:
    photo = await read(cut(BODY, 100))

    photo.picture.close()

    with pytest.raises(ValueError, match="closed"):
        await photo.picture.read()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", Malformed),
        (b"--XX", Malformed),
        (b"junk", Malformed),
        (BODY[:-20], Malformed),
        (part("title", b"x") + b"--XX--", Invalid),
        (part("title", b"\xff") + part("picture", b"", "f") + b"--XX--", Malformed),
        (part("title", b"x", "f") + part("picture", b"", "f") + b"--XX--", Invalid),
        (part("title", b"x") + part("picture", b"x") + b"--XX--", Invalid),
        (part("title", b"x") + part("title", b"y") + part("picture", b"", "f") + b"--XX--", Invalid),
        (b"--XX\r\nContent-Type: text/plain\r\n\r\nx\r\n--XX--", Malformed),
        (b'--XX\r\nContent-Disposition: form-data; name="a\xff"\r\n\r\nx\r\n--XX--', Malformed),
        (part("a", b"") * 1_001 + b"--XX--", TooLarge),
        (part("title", b"x", header=b"X-Long: " + b"y" * 16_384 + b"\r\n"), TooLarge),
        (b"--XX\r\n" + b"X-Endless: " + b"y" * 16_384, TooLarge),
        (part("title", b"x", header=b"X-Many: 1\r\n" * 20), TooLarge),
        (part("title", b"x" * 2_000_000) + b"--XX--", TooLarge),
        (part("lines.0.dish_id", b"x") + b"--XX--", Invalid),
        (part("lines.a.dish_id", b"1") + b"--XX--", Invalid),
        (part("lines", b"1") + b"--XX--", Invalid),
        (part("more.x", b"1") + part("more", b"1", "f") + b"--XX--", Invalid),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_hostile_parts_are_refused(body: bytes, error: type[Error]) -> None:
    for size in (13, 1_000_000):
        with pytest.raises(error):
            await read(cut(body, size))


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 71}",
        "text/plain",
        "",
    ],
)
async def test_a_boundary_that_makes_no_sense_is_refused(content_type: str) -> None:
    with pytest.raises(Malformed):
        await read(cut(BODY, 100), content_type)


async def test_a_file_beyond_its_limit_is_too_large() -> None:
    with pytest.raises(TooLarge):
        await read(cut(BODY, 9), limits=MultipartLimits(file_bytes_max=10))


def test_a_type_that_has_no_fields_is_not_taken() -> None:
    assert multipart_reader(list[int]) is None


def test_a_file_is_described_as_binary() -> None:
    assert unserialisable(Photo) is None

    _, components = json_schema([Photo])

    assert components["Photo"]["properties"]["picture"]["format"] == "binary"
