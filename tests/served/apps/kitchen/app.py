"""A way to try every edge: it echoes, waits, blocks, streams, queries, and notes what happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from sqlalchemy import text

from toque import App, Context, Database, Header, Meta, Struct, public

app = App("kitchen")
app.static("/files", "files")

EVENTS: list[str] = []
"""What happened, in order."""


class Line(Struct):
    dish: str
    quantity: int = 1


class Ticket(Struct):
    table: int
    lines: list[Line] = []
    notes: dict[str, str] = {}
    tip: float = 0.0


class Said(Struct):
    text: str


class Counted(Struct):
    count: int


@app.query("/hello", allow=public)
async def hello(name: str = "world") -> Said:
    return Said(f"hello {name}")


@app.query("/events", allow=public)
async def events() -> list[str]:
    return EVENTS


@app.query("/path/{name}", allow=public)
async def by_path(name: str) -> Said:
    return Said(name)


@app.query("/header", allow=public)
async def header(token: Annotated[str, Header("x-token")] = "") -> Said:
    return Said(token)


@app.command("/tickets", allow=public)
async def ticket(new: Ticket) -> Ticket:
    return new


@app.command("/tables", allow=public)
async def tickets(new: list[Ticket]) -> Counted:
    return Counted(len(new))


@app.command("/lines", allow=public)
async def take_lines(new: list[Line]) -> Counted:
    return Counted(len(new))


@app.command("/anything", allow=public)
async def anything(body: dict[str, Any]) -> dict[str, Any]:
    return body


@app.command("/upload", allow=public, body_bytes_max=64 * 2**20)
async def upload(chunks: AsyncIterator[bytes]) -> Counted:
    return Counted(sum([len(chunk) async for chunk in chunks]))


@app.query("/big", allow=public)
async def big(count: Annotated[int, Meta(ge=0, le=100_000)] = 1000) -> list[Line]:
    return [Line(f"dish {number}") for number in range(count)]


@app.query("/stream", allow=public, media_type="application/octet-stream", deadline_s=60)
async def stream(chunks: int = 10, size: int = 1000, pause_ms: int = 0, tag: str = "") -> AsyncIterator[bytes]:
    try:
        for number in range(chunks):
            yield b"x" * size
            EVENTS.append(f"{tag} chunk {number}")
            await asyncio.sleep(pause_ms / 1000)
        EVENTS.append(f"{tag} done")
    finally:
        EVENTS.append(f"{tag} closed")


@app.query("/lines", allow=public, deadline_s=60)
async def lines(count: int = 10, pause_ms: int = 0) -> AsyncIterator[Line]:
    for number in range(count):
        yield Line("soup", number)
        await asyncio.sleep(pause_ms / 1000)


@app.query("/wait", allow=public)
async def wait(ms: int, tag: str = "") -> Said:
    EVENTS.append(f"{tag} began")
    try:
        await asyncio.sleep(ms / 1000)
    except asyncio.CancelledError:
        EVENTS.append(f"{tag} cancelled")
        raise
    EVENTS.append(f"{tag} done")
    return Said(tag)


@app.query("/deadline", allow=public)
async def deadline(context: Context) -> Counted:
    return Counted(int((context.deadline - time.monotonic()) * 1000))


@app.query("/block", allow=public)
def block(ms: int, tag: str = "") -> Said:
    EVENTS.append(f"{tag} began")
    time.sleep(ms / 1000)
    EVENTS.append(f"{tag} done")
    return Said(tag)


ENDLESS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")


@app.query("/endless", allow=public)
async def endless(db: Database, tag: str = "") -> Counted:
    """A statement that ends only when somebody stops it."""
    EVENTS.append(f"{tag} began")
    try:
        return Counted(await db.scalar(ENDLESS))
    except asyncio.CancelledError:
        EVENTS.append(f"{tag} cancelled")
        raise


@app.query("/one", allow=public)
async def one(db: Database) -> Counted:
    return Counted(await db.scalar(text("SELECT 1")))


@app.command("/stored", allow=public)
async def stored(db: Database, number: int = 0, word: str = "") -> Counted:
    """Hand whatever is given to the database."""
    found = await db.scalar(text("SELECT :number + length(:word)"), {"number": number, "word": word})
    return Counted(found)


@app.query("/failing", allow=public)
async def failing() -> Said:
    raise RuntimeError("the kitchen is on fire")
