"""What is sent, and what has to come back, for each work.

The load walks `requests`, so that keys vary. Before it starts, each contender shows that it does the work:
its answer to the first request must be `answer`, and to each of `refused`, if any, a 4xx.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.seed import FORTUNES as SEEDED_FORTUNES
from bench.seed import WORLDS, number_of
from toque.cache.tags import tag

VARIED = 1000  # distinct requests of a work: more than any cache line, pool or statement cache here has places


@dataclass(frozen=True)
class Exchange:
    requests: tuple[bytes, ...]
    answer: Any
    refused: tuple[bytes, ...] = ()


NOTHING = Exchange((), None)
"""Of a work that asks no server."""


def request(method: str, path: str, body: Any = None) -> bytes:
    """A raw HTTP/1.1 request with the headers that any JSON client sends."""
    headers = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "User-Agent: bench",
        "Accept: application/json",
    ]
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    if body is not None:
        headers.append("Content-Type: application/json")
    if method != "GET":
        headers.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*headers, "", ""]).encode() + content


def with_header(request: bytes, header: str) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    return head + f"\r\n{header}\r\n\r\n".encode() + body


def order(number: int) -> dict[str, Any]:
    """An order of about 1 KB of JSON."""
    lines = [
        {
            "sku": f"DISH-{number:04}-{line:02}",
            "quantity": line + 1,
            "price_cents": 1250 + line,
            "note": "no onions, well done",
        }
        for line in range(10)
    ]
    return {
        "id": number,
        "customer": "Ana Pereira de Sousa",
        "email": "ana.pereira@example.org",
        "tags": ["terrace", "birthday", "regular"],
        "lines": lines,
    }


def world(id: int, number: int | None = None) -> dict[str, int]:
    return {"id": id, "random_number": number_of(id) if number is None else number}


def without_lines(value: dict[str, Any]) -> dict[str, Any]:
    return {name: member for name, member in value.items() if name != "lines"}


HELLO = Exchange((request("GET", "/hello"),), {"message": "Hello, World!"})

PARAMETERS = Exchange(
    tuple(request("GET", f"/items/{id}?page={1 + id % 9}&size=20&tag=tag{id}") for id in range(VARIED)),
    {"id": 0, "page": 1, "size": 20, "tag": "tag0"},
    (
        request("GET", "/items/1?page=0&size=20&tag=x"),
        request("GET", "/items/1?page=one&size=20&tag=x"),
        request("GET", "/items/1?page=1&size=20"),
    ),
)

BODY = Exchange(
    tuple(request("POST", "/orders", order(number)) for number in range(100)),
    order(0),
    (
        request("POST", "/orders", without_lines(order(1))),
        request("POST", "/orders", order(1) | {"customer": ""}),
        request(
            "POST",
            "/orders",
            order(1) | {"lines": [{"sku": "x", "quantity": 0, "price_cents": 1, "note": ""}]},
        ),
    ),
)

# 7919 is prime to the number of rows: consecutive requests fall on distant pages of the table.
ROW = Exchange(tuple(request("GET", f"/world/{1 + i * 7919 % WORLDS}") for i in range(VARIED)), world(1))

TWENTY_ROWS = Exchange(
    tuple(request("GET", f"/worlds/{1 + i * 20 % (WORLDS - 20)}") for i in range(VARIED)),
    [world(id) for id in range(1, 21)],
)

FORTUNES = Exchange(
    (request("GET", "/fortunes"),),
    sorted(({"id": id, "message": message} for id, message in SEEDED_FORTUNES), key=lambda each: each["message"]),
)

# Windows of five rows that do not overlap: nobody waits for a lock of his neighbour's.
FIVE_UPDATES = Exchange(
    tuple(request("POST", f"/renewals/{1 + i * 5}/{7000 + i}") for i in range(VARIED)),
    [world(id, 7000) for id in range(1, 6)],
)

PAGE_ROWS, PAGES = 300, 20
PAGE_WORLDS = [world(id) for id in range(1, PAGE_ROWS + 1)]
PAGE = Exchange(tuple(request("GET", f"/page/{1 + page}") for page in range(PAGES)), PAGE_WORLDS)
PAGE_ANEW = tuple(with_header(each, "Cache-Control: no-store") for each in PAGE.requests)
"""Each is answered as if nothing were kept."""
PAGE_IF_NEWS = tuple(
    with_header(each, f"If-None-Match: {tag(msgspec.json.encode([world(1 + page + row) for row in range(PAGE_ROWS)]))}")
    for page, each in enumerate(PAGE.requests)
)
"""Each by somebody who has that page."""

START = Exchange((request("GET", "/resource0/1"),), {"id": 1, "name": "resource0", "price_cents": 100})
START_MODELS = Exchange((request("GET", "/dishes/1"),), {"id": 1, "name": "dishes", "price_cents": 100})
NOTE = Exchange(tuple(request("POST", f"/notes/{number}") for number in range(VARIED)), 0)
