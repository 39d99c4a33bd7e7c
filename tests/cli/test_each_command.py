"""check, explain, call, token, settings and export: what they print, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Toque, process, write

from toque.security.credentials import Verifier
from toque.settings import load

PRODUCTION = {"TOQUE_APP_ENVIRONMENT": "production", "TOQUE_HTTP_HOSTS": "shop.example"}


def in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)


# check


def test_check_lists_all_that_is_wrong_and_fails(toque: Toque, tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "bad.py": """
            from toque import App, public

            app = App("bad")

            @app.query("/a")
            async def first(what) -> int: ...

            @app.query("/a", allow=public, page="none.html")
            async def second() -> object: ...
            """
        },
    )

    said = toque("check", "bad.py")

    assert said.code == 1
    assert said.out == ""
    assert "The app cannot start: 5 problems." in said.err
    assert said.err.count("    -> ") == 5


def test_check_counts_one_operation_as_one(toque: Toque, tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "one.py": """
            from toque import App, public

            app = App("one")

            @app.query(allow=public)
            async def only() -> int: ...
            """
        },
    )

    assert toque("check", "one.py").out.endswith(": 1 operation, nothing wrong\n")


def test_a_wrong_setting_fails_with_the_nearest(toque: Toque, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOQUE_HTTP_PROT", "80")
    monkeypatch.setenv("TOQUE_HTTP_WORKERS", "many")

    said = toque("check", "shop")

    assert said.code == 1
    assert "did you mean TOQUE_HTTP_PORT?" in said.err
    assert "TOQUE_HTTP_WORKERS: expected a whole number from 1, received 'many'" in said.err


# explain


def test_explain_prints_the_plan_and_where_each_part_came_from(
    toque: Toque, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOQUE_HTTP_BODY_BYTES_MAX", "5000")

    said = toque("explain", "make_cup", "--app", "shop")

    rows = {}
    for line in said.out.splitlines():
        if line.startswith("│"):
            what, value, source = (cell.strip() for cell in line.strip("│").split("│"))
            rows[what if what != "body" else value] = (value, source)
    assert said.code == 0
    assert said.out.startswith("shop.make_cup (command)")
    assert rows["HTTP"][0] == "POST /cups"
    assert rows["JSON-RPC"][0] == "POST /rpc and WebSocket /ws: shop.make_cup"
    assert rows["access"] == ("role potter", "allow=")
    assert rows["input new"] == ("NewCup, required", "body: new")
    assert "application/json" in rows["takes"][0]
    assert "application/x-www-form-urlencoded" in rows["takes"][0]
    assert "application/msgpack" in rows["gives"][0]
    assert [rows[f"policy {number}"][0] for number in range(1, 5)] == [
        "observe, admit", "authenticate", "authorise", "receive",
    ]  # fmt: skip
    assert rows["error"] == ("shop_sold_out (HTTP 409)", "errors=")
    assert rows["deadline"] == ("3 s", "its declaration")
    assert rows["calls at once"] == ("1000 a worker", "calls.in_flight_max, default")
    assert rows["at most 5,000 bytes"][1] == "http.body_bytes_max, TOQUE_HTTP_BODY_BYTES_MAX"
    assert rows["function"][1].startswith("shop/app.py:")


def test_explain_says_what_cannot_be_called_by_name(toque: Toque, shop: Path) -> None:
    said = toque("explain", "picture", "--app", "shop")

    assert "shop.picture answers bytes, which no JSON-RPC message carries" in said.out


def test_explain_shows_types_in_full(toque: Toque, shop: Path) -> None:
    said = toque("explain", "double", "--app", "shop")

    assert "list[str], default []" in said.out
    assert "list[int | str]" in said.out
    assert "40 a worker" in said.out, "a plain function runs on threads"


ARCHIVE = """
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from toque import AllRows, App, Database, Model, public

app = App("archive")

class Leaf(Model, tenant="house"):
    id: Mapped[int] = mapped_column(primary_key=True)
    house: Mapped[str]

class Scrap(Model, owner="keeper"):
    id: Mapped[int] = mapped_column(primary_key=True)
    keeper: Mapped[str]

@app.query("/leaves", allow=public)
async def list_leaves(db: Database) -> list[int]:
    return await db.all(int, select(Leaf.id))

@app.query("/any", allow=public)
async def list_any(name: str, db: Database) -> list[int]:
    return await db.all(int, select(globals()[name].id))

@app.query("/all", allow=public)
async def list_all(db: AllRows) -> list[int]:
    return await db.all(int, select(Leaf.id))
"""


@pytest.mark.parametrize(
    ("name", "rows", "why"),
    [
        ("list_leaves", "the caller's, as leaf says", "the models that its code names"),
        ("list_any", "the caller's, as leaf, scrap say", "the models; any, because it uses globals"),
        ("list_all", "all of them, past every rule", "it asks for AllRows"),
    ],
)
def test_explain_names_the_rules_that_an_operation_can_meet(tmp_path: Path, name: str, rows: str, why: str) -> None:
    write(tmp_path, {"archive.py": ARCHIVE})

    # A process of its own: models register themselves in one place.
    said = process("explain", name, "--app", "archive.py", cwd=tmp_path)

    (line,) = [line for line in said.out.splitlines() if line.startswith("│ rows ")]
    _, value, source = (cell.strip() for cell in line.strip("│").split("│"))
    assert value == rows
    assert source.startswith(why)


@pytest.mark.parametrize("name", ["mak_cup", "shop.makecup"])
def test_an_unknown_operation_is_used_wrongly_and_hears_the_nearest(toque: Toque, shop: Path, name: str) -> None:
    said = toque("explain", name, "--app", "shop")

    assert said.code == 2
    assert f"the app has no operation {name!r}; did you mean" in said.err
    assert "make_cup" in said.err


# call


def test_call_takes_text_as_what_the_input_declares(toque: Toque, shop: Path) -> None:
    said = toque("call", "double", "size=21", 'colours=["red"]', "--app", "shop")

    assert (said.code, json.loads(said.out)) == (0, [42, "red"])


def test_call_is_made_by_whom_you_say(toque: Toque, shop: Path) -> None:
    words = ["call", "shop.make_cup", 'new={"size": 3}', "--app", "shop"]

    made = toque(*words, "--sub", "ana", "--role", "potter")
    refused = toque(*words, "--sub", "ana", "--role", "cook")
    nobody = toque(*words)

    assert json.loads(made.out) == {"size": 3, "colour": "white", "owner": "ana"}
    assert (refused.code, json.loads(refused.err)["code"]) == (1, "forbidden")
    assert (nobody.code, json.loads(nobody.err)["code"]) == (1, "unauthenticated")


def test_a_stream_is_printed_a_line_an_item(toque: Toque, shop: Path) -> None:
    assert process("call", "numbers", "until=3", "--app", "shop", cwd=shop.parent).out == "0\n1\n2\n"


def test_bytes_are_printed_as_they_are(toque: Toque, shop: Path) -> None:
    assert process("call", "picture", "--app", "shop", cwd=shop.parent).out == "GIF89a"


def test_a_refusal_is_a_problem_document(toque: Toque, shop: Path) -> None:
    said = toque("call", "broken", "--app", "shop")

    assert said.code == 1
    assert json.loads(said.err)["code"] == "shop_sold_out"
    assert json.loads(said.err)["detail"] == "no more cups"


def test_a_wrong_input_says_where(toque: Toque, shop: Path) -> None:
    said = toque("call", "double", "size=large", "--app", "shop")

    assert said.code == 1
    assert json.loads(said.err)["faults"][0]["path"] == "$.size"


def test_a_word_means_what_it_does_in_a_query_string(toque: Toque, tmp_path: Path) -> None:
    """Text that was taken laxly: a number for a time, `nan`, and the last of several."""
    write(
        tmp_path,
        {
            "clock.py": """
            from datetime import datetime

            from toque import App, Struct, public

            app = App("clock")

            class Alarm(Struct):
                at: datetime
                tone_hz: float = 440.0

            @app.query(allow=public)
            async def ring(at: datetime, tone_hz: float = 440.0) -> str:
                return f"{at:%H:%M} {tone_hz}"

            @app.command(allow=public)
            async def set_alarm(new: Alarm) -> str:
                return f"{new.at:%H:%M} {new.tone_hz}"
            """
        },
    )

    for operation in ("ring", "set_alarm"):
        said = toque("call", operation, "at=2026-12-01T07:30:00", "tone_hz=88.5", "--app", "clock.py")
        assert (said.code, json.loads(said.out)) == (0, "07:30 88.5")
        for word, path in (("at=5", "$.at"), ("tone_hz=nan", "$.tone_hz")):
            words = [word] if path == "$.at" else [word, "at=2026-12-01T07:30:00"]
            wrong = toque("call", operation, *words, "--app", "clock.py")
            assert (wrong.code, json.loads(wrong.err)["faults"][0]["path"]) == (1, path)
        assert (
            toque("call", operation, "at=2026-12-01T07:30:00", "at=2026-12-01T08:00:00", "--app", "clock.py").code == 2
        )


def test_an_unknown_input_names_the_known(toque: Toque, shop: Path) -> None:
    said = toque("call", "double", "siz=1", "--app", "shop")

    assert said.code == 1
    assert "it takes: size, colours" in json.loads(said.err)["detail"]


@pytest.mark.parametrize("word", ["size", "=3", "colours=[1,"])
def test_a_word_that_is_no_input_is_used_wrongly(toque: Toque, shop: Path, word: str) -> None:
    assert toque("call", "double", word, "--app", "shop").code == 2


def test_a_bug_of_the_app_s_own_is_shown_from_its_own_line(toque: Toque, shop: Path) -> None:
    said = toque("call", "buggy", "--app", "shop")

    assert said.code == 1
    assert said.err.rstrip().endswith("LookupError: a bug of the shop's own")
    assert "observation.py" not in said.err


def test_fields_of_an_object_are_given_like_inputs(toque: Toque, shop: Path) -> None:
    words = ["--app", "shop", "--sub", "ana", "--role", "potter"]

    said = toque("call", "make_cup", "size=3", "colour=blue", *words)
    wrong = toque("call", "make_cup", "size=3", "color=blue", *words)

    assert json.loads(said.out) == {"size": 3, "colour": "blue", "owner": "ana"}
    assert (wrong.code, json.loads(wrong.err)["code"]) == (1, "invalid")


# token


def test_a_token_opens_the_app_that_it_was_made_for(toque: Toque, shop: Path) -> None:
    said = toque("token", "shop", "--sub", "ana", "--role", "potter", "--role", "cook", "--scope", "a", "--tenant", "t")

    assert said.code == 0
    principal = Verifier(load(shop, {}, {})).verify(said.out.strip())
    assert principal.subject == "ana"
    assert principal.roles == {"potter", "cook"}
    assert (principal.scopes, principal.tenant) == ({"a"}, "t")


def test_production_hands_out_no_tokens(toque: Toque, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_production(monkeypatch)

    said = toque("token", "shop", "--sub", "ana")

    assert (said.code, said.out) == (1, "")
    assert "this is production; ask the issuer" in said.err


def test_a_token_is_somebody_s(toque: Toque, shop: Path) -> None:
    said = toque("token", "shop")

    assert said.code == 2
    assert "--sub" in said.err


def test_a_token_of_nobody_is_refused_with_what_to_say(toque: Toque, shop: Path) -> None:
    said = toque("token", "shop", "--sub", "")

    assert (said.code, said.out) == (2, "")
    assert "name a caller, as in --sub ana" in said.err


# settings


def test_settings_says_where_each_value_comes_from_and_hides_secrets(
    toque: Toque, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(shop, {"toque.toml": "[http]\nport = 9000\nhosts = ['[::1]']\n"})
    monkeypatch.setenv("TOQUE_DATABASE_URL", "postgresql://ana:hunter2@db.example/shop")
    monkeypatch.setenv("TOQUE_AUTH_KEY", "hunter2" * 8)

    said = toque("settings", "shop")

    assert said.code == 0
    lines = {line.split("│")[1].strip(): line for line in said.out.splitlines() if line.startswith("│")}
    assert "9000" in lines["http.port"]
    assert "toque.toml" in lines["http.port"]
    assert "[::1]" in lines["http.hosts"]
    assert "TOQUE_DATABASE_URL" in lines["database.url"]
    assert "db.example" in lines["database.url"]
    assert "default" in lines["http.workers"]
    assert "hunter2" not in said.out


# export


def test_export_writes_documents(toque: Toque, shop: Path, tmp_path: Path) -> None:
    toque("export", "openapi", "shop", "--out", "openapi.json")
    toque("export", "manifest", "shop", "--out", "manifest.json")

    openapi = json.loads((tmp_path / "openapi.json").read_text())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert openapi["openapi"].startswith("3.1")
    assert openapi["info"]["version"] == "1.2.3"
    assert "/cups" in openapi["paths"]
    assert any("make_cup" in str(operation) for operation in manifest["operations"])


def test_export_prints_where_no_file_is_given(shop: Path) -> None:
    said = process("export", "openapi", "shop", cwd=shop.parent)

    assert json.loads(said.out)["info"]["title"] == "shop"


def test_export_says_when_it_cannot_write(toque: Toque, shop: Path) -> None:
    said = toque("export", "openapi", "shop", "--out", "no/such/folder.json")

    assert said.code == 1
    assert said.err.startswith("cannot write no/such/folder.json: ")


def test_export_knows_two_documents(toque: Toque, shop: Path) -> None:
    said = toque("export", "openap", "shop")

    assert said.code == 2
    assert "openapi" in said.err


# whoever reads


@pytest.mark.parametrize("words", [("explain", "make_cup", "--format", "json"), ("token", "--sub", "ana")])
def test_a_reader_who_has_heard_enough_is_no_failure_to_complain_of(shop: Path, words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # As `head` does, when it has its lines.

    command = [sys.executable, "-m", "toque", *words]
    said = subprocess.run(command, check=False, cwd=shop, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)

    assert (said.returncode, said.stderr) == (1, "")
