"""`toque db advise` and `toque db status`: what a database says, for people and for programs."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
from shell import Toque, write
from sqlalchemy import text
from test_db import APP, MODELS

from toque.store.insight.blocking import waits
from toque.store.schema import with_connection
from toque.testing.postgres import PrivatePostgres

BOWLS = (
    MODELS
    + """

from sqlalchemy import ForeignKey


class Bowl(Base):
    __tablename__ = "bowl"
    id: Mapped[int] = mapped_column(primary_key=True)
    pot_id: Mapped[int] = mapped_column(ForeignKey("pot.id"))
"""
)


@pytest.fixture
def pottery(toque: Toque, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write(tmp_path, {"app.py": APP, "models.py": BOWLS})
    monkeypatch.setenv("TOQUE_DATABASE_URL", database_url)
    assert toque("call", "count").code == 0
    return folder


def test_advice_is_a_table_and_for_programs_json(toque: Toque, pottery: Path) -> None:
    told = toque("db", "advise")
    listed = toque("db", "advise", "--format", "json")

    assert (told.code, told.err, listed.code) == (0, "", 0)
    assert "1 statements known (recorded statements)" in told.out
    assert "ix_bowl_pot_id ON bowl (pot_id)" in told.out
    (one,) = json.loads(listed.out)["advice"]
    assert (one["act"], one["table"], one["columns"]) == ("create", "bowl", ["pot_id"])


def test_a_database_that_is_not_there_is_named(toque: Toque, pottery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOQUE_DATABASE_URL", f"sqlite:///{pottery / 'none.db'}")

    said = toque("db", "advise")

    assert (said.code, "Traceback" in said.err) == (1, False)
    assert "there is no database" in said.err
    assert not (pottery / "none.db").exists()


def test_the_status_is_a_table_and_for_programs_json(toque: Toque, pottery: Path) -> None:
    told = toque("db", "status")
    listed = toque("db", "status", "--format", "json")

    assert (told.code, told.err, listed.code) == (0, "", 0)
    assert "size_bytes" in told.out
    assert any(one["name"] == "size_bytes" and one["value"] > 0 for one in json.loads(listed.out))


def test_the_status_cuts_no_name_on_eighty_columns(
    toque: Toque, pottery: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = text("CREATE TABLE pots_of_the_potter_from_the_other_town (id int PRIMARY KEY)")
    with_connection(database_url, lambda connection: connection.execute(table))

    told, listed = toque("db", "status"), toque("db", "status", "--format", "json")

    assert max(map(len, told.out.splitlines())) <= 80
    assert [one["name"] for one in json.loads(listed.out) if one["name"] not in told.out] == []


def test_the_status_names_who_waits_for_whom(toque: Toque, pottery: Path, postgres: PrivatePostgres) -> None:
    url = postgres.create_database()

    async def look() -> str:
        holder, waiting = [await asyncpg.connect(url, server_settings={"application_name": n}) for n in ("han", "wim")]
        await holder.execute("CREATE TABLE jar (id int)")
        await holder.execute("BEGIN; LOCK TABLE jar")
        reading = asyncio.create_task(waiting.fetch("SELECT id FROM jar"))
        while not (said := await waits(url)):
            await asyncio.sleep(0.02)
        told = await asyncio.to_thread(toque, "db", "status")
        await holder.execute("ROLLBACK")
        await reading
        await holder.close()
        await waiting.close()
        return said[0] + told.out

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOQUE_DATABASE_URL", url)
        told = asyncio.run(look())
    postgres.drop_database(url)

    line = r"process \d+ \(wim, active for \d+ s\) waits for process \d+ \(han, idle in transaction for \d+ s\)"
    assert len(re.findall(line, told)) == 2
