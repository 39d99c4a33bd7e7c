"""Settings: three places, one tree, every mistake at once."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import msgspec
import pytest

from toque.settings import Secret, Settings, SettingsError, describe, load, problems

SHARED = "k" * 32


def write(folder: Path, text: str) -> Path:
    (folder / "toque.toml").write_text(text)
    return folder


def complaints_of(folder: Path | None, environ: dict[str, str], flags: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(folder, environ, flags)
    assert all(str(complaint) in str(caught.value) for complaint in caught.value.complaints)
    return [str(complaint) for complaint in caught.value.complaints]


def test_an_app_without_any_setting_has_the_defaults() -> None:
    assert load(None, {}, {}) == Settings()


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, "[http]\nport = 1\nhost = 'file'\nworkers = 7")

    http = load(
        tmp_path, {"TOQUE_HTTP_PORT": "2", "TOQUE_HTTP_HOST": "environment", "PATH": "/"}, {"http.port": "3"}
    ).http

    assert (http.port, http.host, http.workers) == (3, "environment", 7)


def test_each_setting_remembers_where_it_came_from(tmp_path: Path) -> None:
    write(tmp_path, "[http]\nworkers = 7")

    settings = load(tmp_path, {"TOQUE_LOG_LEVEL": "debug"}, {"http.port": "3"})

    assert settings.sources == {
        "http.workers": "http.workers in toque.toml",
        "log.level": "TOQUE_LOG_LEVEL",
        "http.port": "flag http.port",
    }


@pytest.mark.parametrize(
    ("name", "text", "section", "field", "value"),
    [
        ("TOQUE_HTTP_HOSTS", "a.example, b.example,", "http", "hosts", ("a.example", "b.example")),
        ("TOQUE_HTTP_DOCS", "false", "http", "docs", False),
        ("TOQUE_HTTP_DOCS", "", "http", "docs", None),
        ("TOQUE_CALLS_DEADLINE_S", "0.5", "calls", "deadline_s", 0.5),
        ("TOQUE_AUTH_ALGORITHMS", "ES256,EdDSA", "auth", "algorithms", ("ES256", "EdDSA")),
    ],
)
def test_text_from_the_environment_becomes_the_settings_type(
    name: str, text: str, section: str, field: str, value: object
) -> None:
    assert getattr(getattr(load(None, {name: text}, {}), section), field) == value


def test_lists_of_the_file_are_lists(tmp_path: Path) -> None:
    write(tmp_path, "[auth]\naudience = ['shop', 'till']")

    assert load(tmp_path, {}, {}).auth.audience == ("shop", "till")


def test_relative_paths_start_at_the_apps_folder(tmp_path: Path) -> None:
    auth = load(tmp_path, {"TOQUE_AUTH_KEY_FILE": "keys/issuer.pem", "TOQUE_AUTH_JWKS_FILE": "/etc/k"}, {}).auth

    assert (auth.key_file, auth.jwks_file) == (tmp_path / "keys" / "issuer.pem", Path("/etc/k"))


@pytest.mark.parametrize(
    ("environ", "flags", "remedy"),
    [
        ({"TOQUE_DATABSE_URL": "x"}, {}, "did you mean TOQUE_DATABASE_URL?"),
        ({"TOQUE_HTTP_PRT": "1"}, {}, "did you mean TOQUE_HTTP_PORT?"),
        ({"TOQUE_PORT": "1"}, {}, "did you mean TOQUE_HTTP_PORT?"),
        ({}, {"htp.port": "1"}, "did you mean flag http.port?"),
        ({"TOQUE_ZZZ": "1"}, {}, "known sections: app, http"),
        ({"TOQUE_LOG_ZZZZZZZZ": "1"}, {}, "known there: level, format"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(
    environ: dict[str, str], flags: dict[str, str], remedy: str
) -> None:
    (complaint,) = complaints_of(None, environ, flags)

    assert remedy in complaint


def test_all_mistakes_of_all_places_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "port = 80\n[http]\nport = '80'\n[htttp]\nworkers = 1")

    told = complaints_of(tmp_path, {"TOQUE_LOG_LEVEL": "loud"}, {"http.port": "70000"})

    assert [complaint.partition("\n")[0] for complaint in told] == [
        "port in toque.toml: there is no section 'port'",
        "http.port in toque.toml: expected a whole number from 0 to 65535, received '80'",
        "htttp.workers in toque.toml: there is no section 'htttp'",
        "TOQUE_LOG_LEVEL: expected one of debug, error, info, warning, received 'loud'",
        "flag http.port: expected a whole number from 0 to 65535, received '70000'",
    ]


def test_a_section_in_the_place_of_a_setting_is_told_as_one(tmp_path: Path) -> None:
    write(tmp_path, "http = 9000")

    assert complaints_of(tmp_path, {"TOQUE_LOG": "debug"}, {}) == [
        "http in toque.toml: 'http' is a section, and no setting\n    -> write http.host in toque.toml, say",
        "TOQUE_LOG: 'log' is a section, and no setting\n    -> write TOQUE_LOG_LEVEL, say",
    ]


def test_a_file_that_is_not_toml_is_told_with_the_other_mistakes(tmp_path: Path) -> None:
    write(tmp_path, "[http\nport = 1")

    told = complaints_of(tmp_path, {"TOQUE_HTTP_PORT": "x"}, {})

    assert [complaint.partition(":")[0] for complaint in told] == ["toque.toml", "TOQUE_HTTP_PORT"]


def test_a_secret_is_never_printed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "[auth]\nkey = 'hunter2-hunter2'")

    settings = load(tmp_path, {"TOQUE_DATABASE_URL": "postgresql://ana:hunter2@db/app?password=hunter2"}, {})
    secret = settings.auth.key
    logging.getLogger("test").warning("%s %r", secret, secret)
    printed = [repr(settings), str(settings), f"{secret} {secret:>20} {secret!r}", "%s" % secret, caplog.text]  # noqa: UP031

    assert "hunter2" not in "".join(printed) + "".join(map(str, describe(settings)))
    assert secret.reveal() == "hunter2-hunter2"
    assert type(secret.reveal()) is str


def test_a_secret_of_the_wrong_type_is_not_shown_in_the_complaint(tmp_path: Path) -> None:
    write(tmp_path, "[auth]\nkey = 123456789")

    (complaint,) = complaints_of(tmp_path, {}, {})

    assert complaint == "auth.key in toque.toml: expected text, received int"


def test_a_secret_is_not_encoded() -> None:
    with pytest.raises(TypeError):
        msgspec.json.encode([Secret("x")])


def test_settings_reach_a_worker_whole(tmp_path: Path) -> None:
    settings = load(tmp_path, {"TOQUE_DATABASE_URL": "sqlite:///x", "TOQUE_HTTP_PORT": "1"}, {})

    arrived = pickle.loads(pickle.dumps(settings))

    assert arrived == settings
    assert isinstance(arrived.database.url, Secret)


def test_every_setting_is_described_with_its_origin() -> None:
    rows = {row.name: row for row in describe(load(None, {"TOQUE_DATABASE_URL": "postgresql://a:b@db:1/x"}, {}))}

    assert [name for name, row in rows.items() if not row.doc] == []
    assert rows["database.url"][1:3] == ("postgresql://****@db:1/x", "TOQUE_DATABASE_URL")
    assert rows["http.port"][1:3] == ("8000", "default")


@pytest.mark.parametrize(
    ("environ", "subject", "words"),
    [
        (
            {"TOQUE_HTTP_CORS_ORIGINS": "*", "TOQUE_HTTP_CORS_CREDENTIALS": "1"},
            "http.cors_origins",
            "cookies",
        ),
        ({"TOQUE_HTTP_CORS_ORIGINS": "https://a.example/shop"}, "http.cors_origins", "https://a.example"),
        ({"TOQUE_APP_ENVIRONMENT": "production"}, "http.hosts", "TOQUE_HTTP_HOSTS"),
        ({"TOQUE_HTTP_TLS_KEY": __file__}, "http.tls_certificate", "set both"),
        ({"TOQUE_AUTH_KEY": SHARED}, "auth.key", "aud"),
        ({"TOQUE_AUTH_KEY": "short", "TOQUE_AUTH_AUDIENCE": "a"}, "auth.key", "32 bytes"),
        (
            {"TOQUE_AUTH_KEY": SHARED, "TOQUE_AUTH_JWKS_FILE": __file__, "TOQUE_AUTH_AUDIENCE": "a"},
            "auth.jwks_file",
            "keep one",
        ),
    ],
)
def test_settings_that_contradict_one_another_keep_the_app_from_starting(
    environ: dict[str, str], subject: str, words: str
) -> None:
    (complaint,) = problems(load(None, environ, {}))

    assert complaint.subject == subject
    assert words in str(complaint)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TOQUE_APP_ENVIRONMENT": "production", "TOQUE_HTTP_HOSTS": "*"},
        {"TOQUE_HTTP_CORS_ORIGINS": "https://a.example:8443,http://localhost:3000"},
        {"TOQUE_AUTH_KEY": SHARED, "TOQUE_AUTH_AUDIENCE": "shop"},
    ],
)
def test_settings_that_agree_are_not_complained_about(environ: dict[str, str]) -> None:
    assert problems(load(None, environ, {})) == []
