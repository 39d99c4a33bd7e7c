"""Development tokens: easy there, impossible anywhere else."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toque.contract.errors import Unauthenticated
from toque.security.credentials import Verifier
from toque.security.development import development_key, mint
from toque.settings import Settings, SettingsError, load


def test_a_minted_token_proves_what_it_was_minted_with(tmp_path: Path) -> None:
    settings = load(tmp_path, {}, {})

    token = mint(
        settings,
        subject="ana",
        roles=["waiter", "cook"],
        scopes=["read", "write"],
        tenant="t1",
        lifetime_s=60,
    )
    principal = Verifier(settings).verify(token)

    assert (principal.subject, principal.tenant) == ("ana", "t1")
    assert principal.roles == {"waiter", "cook"}
    assert principal.scopes == {"read", "write"}


def test_a_minted_token_follows_the_apps_own_rules(tmp_path: Path) -> None:
    environ = {
        "TOQUE_AUTH_AUDIENCE": "shop,till",
        "TOQUE_AUTH_ISSUER": "https://id.example",
        "TOQUE_AUTH_ROLES_CLAIM": "realm_access.roles",
    }
    settings = load(tmp_path, environ, {})

    assert Verifier(settings).verify(mint(settings, subject="ana", roles=["a"], lifetime_s=60)).roles == {"a"}


def test_another_apps_development_token_is_refused(tmp_path: Path) -> None:
    here, there = (load(tmp_path / name, {}, {}) for name in ("here", "there"))

    with pytest.raises(Unauthenticated):
        Verifier(here).verify(mint(there, subject="ana", lifetime_s=60))


def test_a_minted_token_ends(tmp_path: Path) -> None:
    settings = load(tmp_path, {"TOQUE_AUTH_LEEWAY_S": "0"}, {})

    with pytest.raises(Unauthenticated, match="expired"):
        Verifier(settings).verify(mint(settings, subject="ana", lifetime_s=-1))


def test_production_mints_nothing_and_accepts_no_development_token(tmp_path: Path) -> None:
    token = mint(load(tmp_path, {}, {}), subject="ana", lifetime_s=60)
    production = load(tmp_path, {"TOQUE_APP_ENVIRONMENT": "production"}, {})

    with pytest.raises(SettingsError, match="development only"):
        mint(production, subject="ana", lifetime_s=60)
    with pytest.raises(Unauthenticated):
        Verifier(production).verify(token)


def test_an_app_with_an_issuer_neither_mints_nor_accepts_development_tokens(tmp_path: Path) -> None:
    token = mint(load(tmp_path, {}, {}), subject="ana", lifetime_s=60)
    settings = load(tmp_path, {"TOQUE_AUTH_KEY": "s" * 32, "TOQUE_AUTH_AUDIENCE": "toque"}, {})

    with pytest.raises(SettingsError, match="issuer"):
        mint(settings, subject="ana", lifetime_s=60)
    with pytest.raises(Unauthenticated):
        Verifier(settings).verify(token)


def test_the_key_is_for_its_owner_only_and_stays(tmp_path: Path) -> None:
    key = development_key(tmp_path)
    file = tmp_path / ".toque" / "development.key"

    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert len(bytes.fromhex(key)) == 32
    assert development_key(tmp_path) == key == file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["development.key"]


def test_workers_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: development_key(tmp_path), range(32)))

    assert len(keys) == 1


def test_an_app_without_a_folder_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    token = mint(Settings(), subject="ana", lifetime_s=60)

    assert Verifier(Settings()).verify(token).subject == "ana"
    assert list(tmp_path.iterdir()) == []


def test_checking_a_development_app_touches_no_key(tmp_path: Path) -> None:
    assert Verifier(load(tmp_path, {}, {})).check() == []
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_for_somebody(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subject"):
        mint(load(tmp_path, {}, {}), subject="", lifetime_s=time.time())
