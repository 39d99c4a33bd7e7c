"""An app that is changed while it is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from toque import App, Struct, public

app = App("changing")


class Said(Struct):
    text: str


@app.query("/version", allow=public)
async def version() -> Said:
    return Said("one")


@app.query("/endless", allow=public, deadline_s=3600)
async def endless() -> AsyncIterator[Said]:
    while True:
        yield Said("still here")
        await asyncio.sleep(0.1)


@app.query("/slow", allow=public, deadline_s=3600)
async def slow() -> Said:
    await asyncio.sleep(3600)
    return Said("late")
