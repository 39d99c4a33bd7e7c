"""Inputs from the path, the query string and headers: what is plain is read fast, and all of it alike."""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import quote_plus

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import granian_serving, uvicorn_serving

from toque.app import App
from toque.contract.access import public
from toque.contract.errors import BadRequest, Invalid
from toque.contract.module import Module
from toque.contract.operation import Header
from toque.contract.signature import read_signature
from toque.settings import Settings
from toque.testing import running
from toque.transports.arguments import QUERY_FIELDS_MAX, PlainReader, plain_reader

module = Module("shop")
Page = Annotated[int, msgspec.Meta(ge=1, le=100)]


@module.query("/items/{id}", allow=public)
async def item(id: int, page: Page, tag: str = "any", size: int = 20) -> str:
    return ""


@module.query("/exact/{id}", allow=public)
async def exact(
    id: int, page: Page, tag: str = "any", size: int = 20, *, lang: Annotated[str, Header("accept-language")] = "en"
) -> str:
    """The same inputs and one in a header: the reader for what is plain stands back."""
    return ""


def reader_of(name: str) -> PlainReader:
    operation = next(found for found in module.operations if found.name == f"shop.{name}")
    return plain_reader(read_signature(operation, frozenset()), operation.path)


plain, thorough = reader_of("item"), reader_of("exact")


def read(reader: PlainReader, id: str, query: str) -> Any:
    """The first four inputs, or everything that is wrong."""
    try:
        return reader(SimpleNamespace(query_string=query, headers={}), (id,))[:4]
    except Invalid as error:
        return {(fault.path, fault.place, fault.message) for fault in error.faults}
    except BadRequest as error:
        return error.detail


def test_what_is_plain_is_read_and_what_is_not_there_has_its_default() -> None:
    assert read(plain, "7", "page=2&tag=hot&size=5") == [7, 2, "hot", 5]
    assert read(plain, "7", "size=5&page=2") == [7, 2, "any", 5]


def test_encoded_text_is_decoded_and_unknown_fields_are_left_alone() -> None:
    assert read(plain, "7", "page=%32&tag=%26") == [7, 2, "&", 20]
    assert read(plain, "7", "page=2&tag=a+b") == [7, 2, "a b", 20]
    assert read(plain, "7", "utm=x&page=2&&=3&flag") == [7, 2, "any", 20]


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = read(plain, "x", "page=0&size=1&size=2")

    assert [(path, place) for path, place, _ in sorted(found)] == [
        ("$.id", "path"),
        ("$.page", "query"),
        ("$.size", "query"),
    ]


def test_what_stands_for_one_value_comes_once() -> None:
    assert read(plain, "7", "page=2&tag=a&tag=b") == {("$.tag", "query", "Expected one value, got 2 values")}


async def test_a_header_with_bytes_of_no_known_meaning_is_refused_and_not_called_missing() -> None:
    """On uvicorn, which hands them out; on granian, which does not: tests/served/test_edge.py."""
    app = App("shop", settings=Settings())

    @app.query("/named", allow=public)
    async def named(name: Annotated[str, Header("x-name")]) -> str:
        return name

    @app.query("/perhaps", allow=public)
    async def perhaps(name: Annotated[str, Header("x-name")] = "nobody") -> str:
        return name

    async with uvicorn_serving(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        for path in ("/named", "/perhaps"):
            reply = await client.get(path, headers={"x-name": "café".encode()})

            assert reply.status_code == 422
            assert reply.json()["faults"][0]["message"] == "Expected ASCII, got other bytes"
        assert (await client.get("/perhaps")).json() == "nobody"


@pytest.mark.parametrize(
    ("lines", "tags", "station"),
    [
        (["hot, spicy"], ["hot", "spicy"], "hot, spicy"),
        (["hot", "spicy"], ["hot", "spicy"], "hot, spicy"),
        (["hot,, spicy ,", ""], ["hot", "spicy"], "hot,, spicy ,, "),
        ([""], [], ""),
        ([], [], "none"),
    ],
)
async def test_lines_of_one_header_are_one_list(lines: list[str], tags: list[str], station: str) -> None:
    """As RFC 9110, 5.3 says, and as the OpenAPI document does: an array in a header has commas (its style is `simple`).
    All but the first line was passed over, and its commas were part of one text."""
    app = App("shop", settings=Settings())

    @app.query("/listed", allow=public)
    async def listed(tags: Annotated[list[str], Header("x-tags")] = []) -> list[str]:  # noqa: B006
        return tags

    @app.query("/single", allow=public)
    async def single(station: Annotated[str, Header("x-tags")] = "none") -> str:
        return station

    @app.query("/numbered", allow=public)
    async def numbered(tags: Annotated[int, Header("x-tags")] = 0) -> int:
        return tags

    fields = [("x-tags", line) for line in lines]
    async with (
        running(app) as harness,
        granian_serving(harness.serving.edge) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        assert (await client.get("/listed", headers=fields)).json() == tags
        assert (await client.get("/single", headers=fields)).json().rstrip() == station.rstrip()
        assert (await client.get("/numbered", headers=fields)).status_code == (422 if lines else 200)


def test_what_is_missing_is_named() -> None:
    assert read(plain, "7", "tag=hot") == {("$.page", "query", "page is missing")}
    assert read(plain, "7", "") == {("$.page", "query", "page is missing")}


@pytest.mark.parametrize("empty", ["&", "a&", "page=1&"])
def test_no_query_has_more_fields_than_it_may(empty: str) -> None:
    query = "page=1&" + empty * QUERY_FIELDS_MAX

    assert "more than" in read(plain, "7", query)


TEXTS = st.sampled_from(
    ["1", "7", "007", "-3", "101", "0", "", "x", "1.0", "٣", "1" * 20, "1" * 21, "a b", "ä", "%", "+"]
)
FIELDS = st.tuples(st.sampled_from(["page", "size", "tag", "id", "other", "", "p%61ge"]), TEXTS)
ENDS = st.sampled_from(["page=1", "page=1&size=2", ""])
QUERIES = st.lists(
    FIELDS.flatmap(lambda one: st.sampled_from([f"{one[0]}={quote_plus(one[1])}", f"{one[0]}", "%FF=1"]))
)


@given(TEXTS, QUERIES, ENDS)
def test_the_fast_way_reads_as_the_thorough_one_does(id: str, fields: list[str], end: str) -> None:
    query = "&".join([*fields, end])

    assert read(plain, id, query) == read(thorough, id, query)


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Wanted(msgspec.Struct):
    level: Level
    others: list[Level] = []


@pytest.mark.parametrize(
    ("method", "target", "content_type", "body"),
    [
        ("GET", "/path/2", "", b""),
        ("GET", "/query?level=2", "", b""),
        ("GET", "/fields?level=2&others=2", "", b""),
        ("POST", "/body", "application/json", b'{"level":2}'),
        ("POST", "/body", "application/x-www-form-urlencoded", b"level=2&others=2"),
        (
            "POST",
            "/body",
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="level"\r\n\r\n2\r\n--x--',
        ),
    ],
)
async def test_a_member_of_an_enum_of_numbers_is_read_from_everywhere(
    method: str, target: str, content_type: str, body: bytes
) -> None:
    # Text was read as the member, which msgspec then refused to take for its own Enum.
    app = App("shop", settings=Settings())

    @app.query("/path/{level}", allow=public)
    async def in_path(level: Level) -> str:
        return level.name

    @app.query("/query", allow=public)
    async def in_query(level: Annotated[Level, msgspec.Meta(title="how high")]) -> str:
        return level.name

    @app.query("/fields", allow=public)
    async def in_fields(wanted: Wanted) -> str:
        return wanted.level.name

    @app.command("/body", allow=public)
    async def in_body(wanted: Wanted) -> str:
        return wanted.level.name

    async with running(app) as shop:
        headers = {"content-type": content_type} if content_type else {}
        answer = await shop.request(method, target, content=body, headers=headers)

        assert answer.json() == "HIGH"
        assert await shop.call("shop.in_query", level=Level.HIGH) == "HIGH"


async def test_a_path_in_memory_is_decoded_as_the_server_decodes_it() -> None:
    app = App("shop", settings=Settings())

    @app.query("/items/{name}", allow=public)
    async def item(name: str) -> str:
        return name

    async with running(app) as shop:
        assert (await shop.get("/items/cr%C3%A8me%20br%C3%BBl%C3%A9e")).json() == "crème brûlée"
        assert (await shop.get("/items/a%2Fb")).status == 404
        assert (await shop.get("/items/%FF")).status == 400
