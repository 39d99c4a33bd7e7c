"""`toque db`: a schema over time, on SQLite and on PostgreSQL; production starts on a migrated one only."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from shell import Toque, process, write
from sqlalchemy import text

from toque.store.schema import with_connection
from toque.testing.postgres import PrivatePostgres

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Pot(Base):
    __tablename__ = "pot"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
"""

APP = """
from sqlalchemy import func, select

from models import Base, Pot
from toque import App, Database, public
from toque.store.rows import SHARED, declare

for table in Base.metadata.tables.values():
    declare(table, SHARED)
app = App("pottery", metadata=Base.metadata)


@app.query("/count", allow=public)
async def count(db: Database) -> int:
    return await db.scalar(select(func.count()).select_from(Pot))
"""

PRODUCTION = {"TOQUE_APP_ENVIRONMENT": "production", "TOQUE_HTTP_HOSTS": "*"}


@pytest.fixture
def pottery(toque: Toque, tmp_path: Path) -> Path:
    return write(tmp_path, {"app.py": APP, "models.py": MODELS})


def test_a_schema_grows_by_migrations(
    toque: Toque, pottery: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOQUE_DATABASE_URL", database_url)

    def db(*words: str) -> str:
        said = toque("db", *words)
        assert (said.code, said.err) == (0, "")
        return said.out.strip()

    assert db("current") == "no migrations yet"

    first = db("revision", "-m", "pots")
    assert re.fullmatch(r"wrote .*pots.*\.py; read it before you run it", first)
    waiting = db("current").splitlines()
    assert waiting[0] == "at nothing"
    assert [line.startswith("waits ") for line in waiting[1:]] == [True]
    assert db("upgrade").startswith("ran ")
    assert db("upgrade") == "nothing waits"
    assert db("revision", "--message", "nothing") == "the migrations are like the models already"

    write(pottery, {"models.py": MODELS + "    glaze: Mapped[str | None]\n"})
    assert "glazed" in db("revision", ".", "-m", "pots are glazed")
    assert len(db("current").splitlines()) == 2
    assert db("upgrade", "app.py").startswith("ran ")
    assert len(db("current").splitlines()) == 1


def test_production_does_not_start_while_migrations_wait(
    toque: Toque, pottery: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**PRODUCTION, "TOQUE_DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)
    assert toque("db", "revision", "-m", "pots").code == 0

    refused = process("run", "--port", "0", cwd=pottery)
    uncalled = toque("call", "count")

    for said in (refused, uncalled):
        assert said.code == 1
        assert "run `toque db upgrade`" in said.err
        assert "Traceback" not in said.err
    assert toque("db", "upgrade").code == 0
    assert toque("call", "count").out.strip() == "0"


def test_production_does_not_start_without_its_tables(
    toque: Toque, pottery: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**PRODUCTION, "TOQUE_DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)

    for said in (process("run", "--port", "0", cwd=pottery), toque("call", "count")):
        assert said.code == 1
        assert "table 'pot' is missing" in said.err
        assert "`toque db revision`" in said.err
        assert "Traceback" not in said.err


@pytest.mark.parametrize("environment", [PRODUCTION, {}], ids=["production", "development"])
def test_an_app_does_not_start_while_its_models_are_ahead_of_its_migrations(
    toque: Toque, pottery: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in {**environment, "TOQUE_DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)
    assert toque("db", "revision", "-m", "pots").code == toque("db", "upgrade").code == 0
    write(pottery, {"models.py": MODELS + "    glaze: Mapped[str | None]\n"})

    said = toque("call", "count")

    assert said.code == 1
    assert "table 'pot' lacks column 'glaze'" in said.err


def test_production_takes_a_view_for_a_table(
    toque: Toque, pottery: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**PRODUCTION, "TOQUE_DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)
    view = text("CREATE VIEW pot AS SELECT 1 AS id, 'brown betty' AS name")
    with_connection(database_url, lambda connection: connection.execute(view))

    assert toque("call", "count").out.strip() == "1"


def test_a_revision_says_what_it_is_about(toque: Toque, pottery: Path) -> None:
    said = toque("db", "revision")

    assert said.code == 2
    assert "--message" in said.err


def test_there_is_nothing_to_upgrade_before_the_first_revision(toque: Toque, pottery: Path) -> None:
    said = toque("db", "upgrade")

    assert said.code == 1
    assert "toque db revision -m" in said.err


def test_a_target_that_is_no_migration_is_refused(toque: Toque, pottery: Path) -> None:
    assert toque("db", "revision", "-m", "pots").code == 0

    said = toque("db", "upgrade", "--to", "nowhere")

    assert said.code == 1
    assert "nowhere" in said.err


def test_an_app_without_tables_has_nothing_to_migrate(tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "from toque import App\n\napp = App('shop')\n"})

    said = process("db", "current", cwd=tmp_path)

    assert said.code == 1
    assert "shop has no models" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ["db", "revision", "-m", "pots"],
        ["db", "upgrade"],
        ["db", "current"],
        ["call", "count"],
        ["run", "--port", "0"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://db.example/pots", "got scheme 'mysql'"),
        ("postgresql://ana:hunter2@127.0.0.1:1/pots", "Connect call failed ('127.0.0.1', 1)"),
    ],
    ids=["another kind", "nobody there"],
)
def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    toque: Toque, pottery: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str, words: list[str]
) -> None:
    assert toque("db", "revision", "-m", "first").code == 0
    monkeypatch.setenv("TOQUE_DATABASE_URL", url)

    said = toque(*words)

    assert said.code == 1
    assert message in said.err
    assert "Traceback" not in said.err
    assert "hunter2" not in said.err


def test_a_folder_without_migrations_is_none(toque: Toque, pottery: Path) -> None:
    """`toque db check` makes one; the app went by it and said in development that its tables are missing."""
    assert toque("db", "check").code == 1
    assert (pottery / "migrations" / "versions").is_dir()

    assert toque("db", "current").out == "no migrations yet\n"
    assert toque("call", "count").code == 0


def test_a_database_that_is_not_there_is_named(
    toque: Toque, pottery: Path, postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOQUE_DATABASE_URL", postgres.url("no_such_database"))

    for words in (["db", "revision", "-m", "pots"], ["call", "count"]):
        said = toque(*words)

        assert said.code == 1
        assert 'database "no_such_database" does not exist' in said.err
        assert "Traceback" not in said.err


def test_questions_are_answered_by_flags_and_dangers_fail_the_check(
    toque: Toque, pottery: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOQUE_DATABASE_URL", database_url)
    assert toque("db", "revision", "-m", "pots").code == 0
    assert toque("db", "upgrade").code == 0
    write(pottery, {"models.py": MODELS.replace("name: Mapped", "title: Mapped")})

    unanswered = toque("db", "revision", "-m", "titles")
    assert unanswered.code == 1
    assert "--rename pot.name=title" in unanswered.err
    assert toque("db", "revision", "-m", "titles", "--rename", "pot.name=title").code == 0

    assert toque("db", "check").out == "nothing dangerous\n"
    script = toque("db", "upgrade", "--sql").out
    assert "RENAME COLUMN name TO title" in script
    (file,) = (pottery / "migrations" / "versions").glob("*titles*")
    file.write_text(file.read_text().replace("'switch'", "'expand'"))
    dangerous = toque("db", "check", "--format", "github")
    assert dangerous.code == 1
    assert re.search(r"::error file=.*titles.*,line=\d+,title=renaming-column::", dangerous.out)
    (told,) = json.loads(toque("db", "check", "--format", "json").out)
    assert told["rule"] == "renaming-column"

    assert toque("db", "upgrade").code == 0
    assert re.search(r"here +\d+ expand +titles: rename", toque("db", "history").out)
    assert toque("db", "downgrade").code == 0
    refused = toque("db", "downgrade")
    assert refused.code == 1
    assert "--lose-data" in refused.err
    assert toque("db", "downgrade", "--lose-data").code == 0
    assert toque("db", "current").out.startswith("at nothing")
