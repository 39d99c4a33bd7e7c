"""The key of development: tokens to try an app with, before anybody has set up an issuer."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import time
from typing import Any

from toque.contract.complaints import Complaint
from toque.contract.errors import Forbidden
from toque.settings import Settings, SettingsError

__all__ = ["AUDIENCE", "DevelopmentTokens", "development_key", "mint"]

AUDIENCE = "toque"
"""Whom a development token is meant for, unless `auth.audience` names the app."""

KEY_BYTES = 32
"""256 bits, as HS256 asks for (RFC 7518, 3.2)."""


def mint(
    settings: Settings,
    *,
    subject: str,
    roles: Collection[str] = (),
    scopes: Collection[str] = (),
    tenant: str = "",
    lifetime_s: float,
) -> str:
    """A token for *subject*, signed with the development key, such as the app's own issuer would give.

    Raises: SettingsError outside development, or where an issuer's key is configured.
    """
    auth = settings.auth
    if settings.is_production:
        raise _refusal("app.environment", "tokens are minted in development only", "ask the issuer of your tokens")
    if auth.has_key:
        raise _refusal("auth", "an issuer's key is configured, and only the issuer can sign", "ask it for a token")
    if not subject:
        raise ValueError("a token is for somebody: give a subject")
    now = int(time())
    claims: dict[str, Any] = {
        "sub": subject,
        "aud": auth.audience[0] if auth.audience else AUDIENCE,
        "iat": now,
        "exp": now + lifetime_s,
        auth.roles_claim: sorted(roles),
        auth.scopes_claim: " ".join(sorted(scopes)),
    }
    if tenant:
        claims[auth.tenant_claim] = tenant
    if auth.issuer:
        claims["iss"] = auth.issuer
    from toque.security.keys import sign

    return sign(claims, development_key(settings.folder).encode())


class DevelopmentTokens:
    """A resource for operations that sign people in while there is no issuer yet: in development."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def mint(
        self,
        subject: str,
        *,
        roles: Collection[str] = (),
        scopes: Collection[str] = (),
        tenant: str = "",
        lifetime_s: float = 8 * 3600,
    ) -> str:
        """A token for *subject* that this app takes. Raises: Forbidden where an issuer signs its tokens."""
        try:
            return mint(
                self._settings, subject=subject, roles=roles, scopes=scopes, tenant=tenant, lifetime_s=lifetime_s
            )
        except SettingsError as error:
            raise Forbidden(f"nobody is signed in by name here: {error.complaints[0].problem}") from error


def development_key(folder: Path | None) -> str:
    """The app's development key, kept in `.toque/development.key` and made at its first use.

    An app without a folder has one that lives as long as its process.
    """
    if folder is None:
        return _key_of_this_process()
    path = folder / ".toque" / "development.key"
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_once(path, secrets.token_hex(KEY_BYTES))
    return path.read_text(encoding="ascii").strip()


def _write_once(path: Path, text: str) -> None:
    """Give *path* its content, whole and for its owner only; of several who try at once, the first wins."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(text)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


@cache
def _key_of_this_process() -> str:
    return secrets.token_hex(KEY_BYTES)


def _refusal(subject: str, problem: str, remedy: str) -> SettingsError:
    return SettingsError([Complaint(subject, problem, remedy)])
