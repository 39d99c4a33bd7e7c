"""A URL, read once: what is looked up, dialled and written into the request all comes from here.

Whoever checks a URL with one parser and sends it with another can be shown two hosts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit

__all__ = ["URL_CHARS_MAX", "Query", "Target"]

URL_CHARS_MAX = 8000
"""As long as every server should take at least (RFC 9110, 4.1)."""

Query = Mapping[str, str | int | float | Sequence[str | int | float]]

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")
_UNSEEN = re.compile(r"[^\x21-\x7e]|\\")
"""What a URL cannot hold: spaces, control characters, what is not ASCII; and the backslash, which browsers take for
a slash (WHATWG URL, 4.4) and RFC 3986 for nothing at all."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    scheme: str
    host: str
    """A name or an address, without brackets."""
    port: int
    resource: str
    """Path and query string."""

    @classmethod
    def read(cls, url: str, query: Query | None = None) -> Target:
        """The target that *url* names, with *query* added.

        Raises: ValueError with what is wrong and what to write.
        """
        if found := _UNSEEN.search(url):
            raise ValueError(f"a URL cannot hold {found[0]!r}; percent-encode it, and write names as xn--...")
        if len(url) > URL_CHARS_MAX:
            raise ValueError(f"a URL has at most {URL_CHARS_MAX} characters, received {len(url)}")
        parts = urlsplit(url)  # ValueError for a bad port or bracket.
        host = parts.hostname or ""
        if parts.scheme not in _PORTS:
            raise ValueError(f"a URL begins with https:// or http://, received {parts.scheme[:20]!r}")
        if "@" in parts.netloc:
            raise ValueError("a URL holds no user and password here; send the header `Authorization`")
        if _HOST.fullmatch(host) is None:
            raise ValueError(f"a URL names a host, received {host[:100]!r}")
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        text = "&".join(filter(None, (parts.query, urlencode(query or {}, doseq=True))))
        return cls(parts.scheme, host, port, (parts.path or "/") + (f"?{text}" if text else ""))

    def joined(self, reference: str) -> Target:
        """Where *reference*, the `Location` of this target's answer, leads. Raises: ValueError."""
        return Target.read(urljoin(str(self), reference))

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port as the header `Host` has them: the usual port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.resource}"
