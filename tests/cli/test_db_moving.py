"""`toque db copy`, `backup` and `restore`: an embedded app that moves to PostgreSQL in mid-life, and back from a file."""

from __future__ import annotations

from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path

import pytest
from shell import Toque, process, write
from test_db import APP, MODELS

from toque.testing.postgres import PrivatePostgres

WRITING = (
    APP
    + """

@app.command("/pots", allow=public)
async def make(name: str, db: Database) -> None:
    from sqlalchemy import insert

    await db.execute(insert(Pot).values(name=name))
"""
)


@pytest.fixture
def pottery(toque: Toque, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app with migrations and three pots."""
    folder = write(tmp_path, {"app.py": WRITING, "models.py": MODELS})
    monkeypatch.setenv("TOQUE_DATABASE_URL", f"sqlite:///{tmp_path / 'pots.db'}")
    for words in (["db", "revision", "-m", "pots"], ["db", "upgrade"], *[["call", "make", f"name={n}"] for n in "abc"]):
        said = toque(*words)
        assert said.code == 0, said.err
    return folder


@pytest.fixture
def other(postgres: PrivatePostgres) -> Iterator[str]:
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


def test_an_embedded_app_moves_to_postgresql_and_goes_on(
    toque: Toque, pottery: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = toque("db", "copy", "--to", other)

    assert (said.code, said.err) == (0, "")
    assert "copied and verified 3 rows of 1 tables" in said.out
    assert "next: set TOQUE_DATABASE_URL to the new address, run `toque db upgrade`" in said.out
    monkeypatch.setenv("TOQUE_DATABASE_URL", other)
    assert toque("call", "make", "name=d").code == 0
    assert toque("call", "count").out.strip() == "4"
    assert len(toque("db", "current").out.splitlines()) == 1


def test_a_second_copy_is_refused(toque: Toque, pottery: Path, other: str) -> None:
    assert toque("db", "copy", "--to", other).code == 0

    said = toque("db", "copy", "--to", other)

    assert said.code == 1
    assert "the target has rows already, in pot" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["db", "copy"], 2, "--to"),
        (["db", "copy", "--to", "mysql://x/y"], 2, "got scheme 'mysql'"),
        (["db", "copy", "--to", "postgresql://ana:hunter2@127.0.0.1:1/pots"], 1, "cannot be reached"),
        (["db", "backup", "--verify", "absent.zip"], 1, "there is no file absent.zip"),
        (["db", "restore", "app.py"], 1, "app.py is no backup"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(toque: Toque, pottery: Path, words: list[str], code: int, message: str) -> None:
    said = toque(*words)

    assert said.code == code
    assert message in said.err
    assert "Traceback" not in said.err
    assert "hunter2" not in said.err


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_is_made_verified_and_restored_elsewhere(
    toque: Toque, pottery: Path, postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    elsewhere = f"sqlite:///{pottery / 'new' / 'elsewhere.db'}"
    if kind == "postgresql":
        here = postgres.create_database()
        elsewhere = postgres.create_database()
        assert toque("db", "copy", "--to", here).code == 0
        monkeypatch.setenv("TOQUE_DATABASE_URL", here)

    made = toque("db", "backup", "pots.zip")
    verified = toque("db", "backup", "--verify", "pots.zip")
    monkeypatch.setenv("TOQUE_DATABASE_URL", elsewhere)
    restored = toque("db", "restore", "pots.zip")
    again = toque("db", "restore", "pots.zip")

    assert (made.err, verified.err, restored.err) == ("", "", "")
    assert f"4 rows of 2 tables of pottery on {kind}" in made.out
    assert ", at migration 20" in made.out
    assert verified.out.startswith("pots.zip is whole: 4 rows")
    assert restored.out.startswith("restored 4 rows")
    # `db current` says that nothing waits, and yet no answer would be kept in memory.
    assert "next: `toque db upgrade`" in restored.out
    assert toque("call", "count").out.strip() == "3"
    assert len(toque("db", "current").out.splitlines()) == 1
    assert (again.code, "--replace" in again.err) == (1, True)
    assert toque("db", "restore", "pots.zip", "--replace").code == 0


def test_the_commands_are_listed(tmp_path: Path) -> None:
    said = process("db", "--help", cwd=tmp_path)

    assert all(name in said.out for name in ("backup", "copy", "restore"))


@pytest.mark.parametrize("words", [["db", "backup", "kept.zip"], ["db", "copy", "--to", "sqlite:///copied.db"]])
def test_a_full_disk_is_told_in_a_line(
    toque: Toque, pottery: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr("toque.store.moving.backup.backup", fail)
    monkeypatch.setattr("toque.store.moving.copy.copy", fail)

    said = toque(*words)

    assert (said.code, "Traceback" in said.err, "No space left on device" in said.err) == (1, False, True)
