"""What is in the vault, and who looks at it."""

from __future__ import annotations

from typing import Any

import asyncpg
import vault_models as models
from sqlalchemy import insert

from toque.call.context import Context
from toque.contract.principal import Principal

APP_ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'toque_app') THEN CREATE ROLE toque_app LOGIN; END IF;
END $$;
GRANT USAGE ON SCHEMA public TO toque_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO toque_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO toque_app;
"""


def calling(subject: str = "", tenant: str = "", **facts: Any) -> Context:
    """A call of a principal; the others of the house are `ana` and `ben` of `north`, `eva` of `south`."""
    return Context("test", 1e18, principal=Principal(subject=subject, tenant=tenant, **facts))


def note(number: int, tenant: str, author: str, **rest: Any) -> dict[str, Any]:
    row = {"state": models.State.DRAFT, "text": "x", "topic_id": None, "parent_id": None, "level": 0}
    return {"id": number, "tenant": tenant, "author": author, **row, **rest}


NOTES = [
    note(1, "north", "ana"),
    note(2, "north", "ben"),
    note(3, "north", "ben", state=models.State.SHOWN, level=3),
    note(4, "north", "ben", parent_id=1),
    note(5, "north", "cem"),
    note(6, "south", "eva", state=models.State.SHOWN),
    note(7, "south", "ana"),
    note(8, "south", "eva", parent_id=7),
]
READERS = [
    {"note_id": 5, "subject": "ana", "tenant": "north"},
    {"note_id": 8, "subject": "ana", "tenant": "south"},
    {"note_id": 2, "subject": "eva", "tenant": "south"},
]


async def fill(db: Any) -> None:
    await db.execute(insert(models.Topic), [{"id": 1, "title": "soup"}])
    await db.execute(insert(models.Note), NOTES)
    await db.execute(insert(models.Reader), READERS)
    pages = [{"id": n, "owner": owner, "page": "dear", "note_id": None} for n, owner in enumerate(("ana", "ben"), 1)]
    await db.execute(insert(models.Diary), pages)
    await db.execute(insert(models.Ledger), [{"id": 1, "amount": 10}])


OWNER = """
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'toque_owner') THEN
    CREATE ROLE toque_owner LOGIN;
END IF; END $$;
GRANT ALL ON SCHEMA public TO toque_owner;
"""
OWN = "SELECT format('ALTER TABLE %I OWNER TO toque_owner', tablename) FROM pg_tables WHERE schemaname = 'public'"


async def owned(url: str) -> str:
    """The address of the database for a role that owns its tables and is no superuser."""
    connection = await asyncpg.connect(url)
    await connection.execute(OWNER)
    for (statement,) in await connection.fetch(OWN):
        await connection.execute(statement)
    await connection.close()
    return url.replace("postgres@", "toque_owner@")
