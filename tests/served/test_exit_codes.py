"""Commands as a shell sees them: what they print, and 0 done, 1 failed, 2 used wrongly."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import httpx
import pytest
from running import APPS, Served, environment_of, serving, start, toque, until

pytestmark = pytest.mark.xdist_group("commands")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the sink in it, and with one app of each kind of mistake."""
    folder = tmp_path_factory.mktemp("commands")
    for name in ("kitchen", "sink"):
        shutil.copytree(APPS / name, folder / name)
    for name, text in {
        "open": 'from toque import App\napp = App("open")\n@app.query("/x")\nasync def x() -> int: return 1\n',
        "unread": "from toque import App\napp = App(\n",
        "failing": 'raise RuntimeError("the recipe is lost")\n',
        "empty": "x = 1\n",
        "two": 'from toque import App\none = App("one")\ntwo = App("two")\n',
    }.items():
        (folder / name).mkdir()
        (folder / name / "app.py").write_text(text)
    (folder / "typo").mkdir()
    (folder / "typo" / "app.py").write_text('from toque import App\napp = App("typo")\n')
    (folder / "typo" / "toque.toml").write_text("[http]\nprot = 1\n")
    return folder


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "run"),
        (["--version"], 0, "0.1.0"),
        (["check", "sink"], 0, "nothing wrong"),
        (["settings", "sink"], 0, "http.port"),
        (["explain", "sink.plant", "--app", "sink"], 0, "/trees"),
        (["call", "sink.by_int", "number=4", "--app", "sink"], 0, '"4"'),
        (["export", "manifest", "sink"], 0, "sink.plant"),
        (["token", "sink", "--sub", "ana"], 0, "."),
        (["call", "sink.by_int", "number=x", "--app", "sink"], 1, "invalid"),
        (["call", "sink.mine", "--app", "sink"], 1, "unauthenticated"),
        (["check", "open"], 1, "allow="),
        (["run", "open", "--port", "0"], 1, "allow="),
        (["check", "unread"], 1, "SyntaxError"),
        (["run", "unread", "--port", "0"], 1, "SyntaxError"),
        (["run", "failing", "--port", "0"], 1, "the recipe is lost"),
        (["run", "typo", "--port", "0"], 1, "did you mean"),
        (["check", "typo"], 1, "did you mean"),
        (["bake"], 2, "bake"),
        (["run", "sink", "--prot", "1"], 2, "--prot"),
        (["run", "sink", "--port", "x"], 2, "x"),
        (["run", "nowhere"], 2, "nowhere"),
        (["run", "nowhere.app:app"], 2, "nowhere"),
        (["run", "empty"], 2, "makes no App"),
        (["run", "two"], 2, "one, two"),
        (["run", "two:three"], 2, "three"),
        (["call", "sink.by_int", "number", "--app", "sink"], 2, "key=value"),
        (["export", "poem", "sink"], 2, "poem"),
        (["token", "sink"], 2, "sub"),
        (["new", "2 fast"], 2, "name"),
        (["run", "sink", "--host", "0.0.0.0", "--port", "0"], 2, "production"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_says_what_it_did_and_ends_with_its_code(
    folder: Path, words: list[str], code: int, said: str
) -> None:
    done = toque(*words, folder=folder)

    assert done.returncode == code, done.stdout + done.stderr
    assert said in (done.stdout + done.stderr)
    if code == 2 or (code == 1 and words[1] not in ("unread", "failing")):
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"http.prot": 1}, "TOQUE_HTTP_PROT"),
        ({"http.port": "many"}, "TOQUE_HTTP_PORT"),
        ({"http.header_timeout_s": 0}, "TOQUE_HTTP_HEADER_TIMEOUT_S"),
        ({"http.tls_certificate": "/none.pem"}, "tls"),
        ({"http.cors_origins": "*", "http.cors_credentials": "true"}, "credentials"),
        ({"database.url": "mysql://x"}, "TOQUE_DATABASE_URL"),
        ({"database.url": "postgresql://nobody@127.0.0.1:1/x"}, "TOQUE_DATABASE_URL"),
        ({"app.environment": "production"}, "TOQUE_HTTP_HOSTS"),
        (
            {"app.environment": "production", "http.hosts": "a.example", "database.url": "sqlite:////no/such.db"},
            "TOQUE_DATABASE_URL",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_its_name(
    folder: Path, settings: dict[str, object], said: str
) -> None:
    done = toque("run", "kitchen", "--port", "0", folder=folder, settings=settings)

    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_token_is_minted_in_production(folder: Path) -> None:
    settings = {"app.environment": "production", "auth.key": "k" * 40, "auth.audience": "sink"}

    done = toque("token", "sink", "--sub", "ana", folder=folder, settings=settings)

    assert done.returncode == 1
    assert "production" in done.stderr


def test_a_port_that_somebody_listens_at_is_refused(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = toque("run", "sink", "--port", str(taken.getsockname()[1]), folder=folder)

    assert done.returncode == 1
    assert "--port 0" in done.stderr


def test_a_second_server_at_a_port_is_refused(kitchen: Served, folder: Path) -> None:
    done = toque("run", "sink", "--port", str(kitchen.port), folder=folder)

    assert done.returncode == 1
    assert "cannot listen" in done.stderr


def test_production_shows_neither_documents_nor_figures(tmp_path: Path) -> None:
    settings = {
        "app.environment": "production", "http.hosts": "shop.example",
        "auth.key": "k" * 40, "auth.audience": "sink",
    }  # fmt: skip
    with serving("sink", tmp_path, settings=settings, host="shop.example") as served:
        found = {
            path: httpx.get(served.url + path, headers={"host": "shop.example"}).status_code
            for path in ("/image", "/healthz", "/readyz", "/docs", "/openapi.json", "/metrics")
        }
        stranger = httpx.get(f"{served.url}/image")

    assert served.environment == "production"
    assert list(found.values()) == [200, 200, 200, 404, 404, 404]
    assert stranger.status_code == 421


def test_a_scaffolded_app_is_served(tmp_path: Path) -> None:
    made = toque("new", "bistro", folder=tmp_path)
    served = start(["run", "bistro", "--port", "0"], tmp_path, environment_of({}))
    until(served.answers, "the first answer")
    document = httpx.get(f"{served.url}/openapi.json").json()

    assert made.returncode == 0
    assert document["info"]["title"] == "bistro"
    assert served.stop() == 0
    assert json.dumps(document)
