"""Where the keys come from: settings, a file that may change, or the development key."""

from __future__ import annotations

import logging
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from toque.security.development import development_key
from toque.settings import Settings

if TYPE_CHECKING:
    from toque.security.keys import Key

__all__ = ["KeySource", "NoKeys"]

LOOK_EVERY_S = 5.0
"""How often a key file is looked at: a withdrawn key verifies nothing more after this long. Issuers show a
key hours before they sign with it, so this is soon enough, and one `stat` in five seconds costs nothing."""

FILE_BYTES_MAX = 1024 * 1024
"""A hundred keys with their certificates take some 300 KiB."""

log = logging.getLogger("toque.security")


class NoKeys(ValueError):
    """There is no key to verify with; the message says why."""


class KeySource:
    """The keys of one app by their id; `version` grows whenever they change.

    Nothing is read, and no cryptography imported, before the first key is needed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        auth = settings.auth
        self._file = auth.jwks_file or auth.key_file
        self._keys: dict[str, Key] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._failure: NoKeys | None = None
        self._look_at = 0.0
        self.version = 0

    def refresh(self) -> None:
        """Read the keys, if they were never read or their file has changed.

        Raises: NoKeys where there are none, because there were none before or the file withdraws them all. A file that
        breaks later leaves the keys as they were, and the log says so.
        """
        now = monotonic()
        if now < self._look_at:
            if self._failure is not None:
                raise self._failure
            return
        self._look_at = now + LOOK_EVERY_S
        try:
            self._read_anew()
        except (OSError, ValueError) as error:
            if not self._keys:
                self._stamp = None
                why = f"{self._file}: {error.strerror}" if isinstance(error, OSError) else str(error)
                self._failure = NoKeys(why)
                raise self._failure from error
            log.exception("%s cannot be used; the keys from before stay in use", self._file)

    def _read_anew(self) -> None:
        if self._file is None and self._keys:
            return
        if self._file is None or self._has_changed(self._file):
            keys = {key.kid: key for key in self._read()}
            if self._keys and not keys:
                log.error("%s withdraws all keys; no token is taken until it has one", self._file)
            self._keys = keys
            self._failure = None
            self.version += 1
        if not self._keys:
            raise ValueError("none of the keys in the key set verifies tokens here; see auth.algorithms")

    def find(self, kid: str | None) -> Key | None:
        """The key named *kid*; a key that has no name of its own answers to every name."""
        if len(self._keys) == 1:
            ((name, key),) = self._keys.items()
            return key if name in ("", kid) or kid is None else None
        return self._keys.get(kid) if kid else None

    def _has_changed(self, file: Path) -> bool:
        status = file.stat()
        # A secret mounted by Kubernetes is replaced by a link to a new file: the inode tells.
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        before, self._stamp = self._stamp, stamp
        return stamp != before

    def _read(self) -> list[Key]:
        from toque.security.keys import DEFAULT_ALGORITHMS, read_key, read_key_set

        auth = self._settings.auth
        allowed = frozenset(auth.algorithms) or DEFAULT_ALGORITHMS
        if auth.jwks_file is not None:
            return read_key_set(_text_of(auth.jwks_file), allowed)
        if auth.key_file is not None:
            return [read_key(_text_of(auth.key_file), allowed)]
        if auth.key:
            return [read_key(auth.key.reveal(), allowed)]
        if self._settings.is_production:
            raise ValueError("no key is configured: set auth.key, auth.key_file or auth.jwks_file")
        return [read_key(development_key(self._settings.folder), {"HS256"})]


def _text_of(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"a key file has at most {FILE_BYTES_MAX} bytes")
    return content.decode()
