"""Work that takes one of two connections for a while, for those who say who they are."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from toque import App, Database, authenticated

app = App("crowd")


async def _work(db: Database) -> int:
    found: int = await db.scalar(text("SELECT 1"))
    await asyncio.sleep(0.01)
    return found


@app.query("/work", allow=authenticated)
async def work(db: Database) -> int:
    return await _work(db)


@app.query("/sheddable", allow=authenticated, priority="sheddable")
async def sheddable(db: Database) -> int:
    return await _work(db)


@app.query("/critical", allow=authenticated, priority="critical")
async def critical(db: Database) -> int:
    return await _work(db)
