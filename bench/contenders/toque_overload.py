"""Toque with work that takes a connection for 20 ms, for everybody and for tenants who say who they are."""

from __future__ import annotations

from sqlalchemy import text

from toque import App, Database, authenticated, public

app = App("bench")

WORK = text("SELECT 1 FROM pg_sleep(0.02)")


@app.query("/work", allow=public, deadline_s=1)
async def work(db: Database) -> int:
    return await db.scalar(WORK)


@app.query("/tenants/work", allow=authenticated, deadline_s=1)
async def tenants_work(db: Database) -> int:
    return await db.scalar(WORK)
