"""An answer that is silent for long, over things that are put away when a call and when the app ends."""

import asyncio
import sys
from collections.abc import AsyncIterator

from toque import App, public

app = App("dripping")

SILENT_S = 60


class Tap: ...


class Glass: ...


@app.resource()
async def tap() -> AsyncIterator[Tap]:
    yield Tap()
    print("the tap is closed", file=sys.stderr, flush=True)


@app.resource(lifetime="call")
async def glass(tap: Tap) -> AsyncIterator[Glass]:
    try:
        yield Glass()
    finally:
        print("a glass is put away", file=sys.stderr, flush=True)


@app.query("/drops", allow=public, media_type="text/plain", deadline_s=SILENT_S * 2)
async def drops(glass: Glass) -> AsyncIterator[bytes]:
    yield b"drop\n"
    await asyncio.sleep(SILENT_S)
    yield b"drop\n"
