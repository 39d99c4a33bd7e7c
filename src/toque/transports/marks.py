"""How a caller's mark travels over HTTP: the last commit that he knows of, so that no replica answers from before it.

A command's answer carries it as a header, for programs, and as a cookie, which browsers send back by themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from toque.call.context import Mark

__all__ = ["mark_headers", "mark_of"]

HEADER = "toque-mark"
COOKIE = "toque_mark"

# What is older than a second is on every replica that is used (`store/replicas.py`); five forgive a slow line.
KEPT_S = 5

# A position has 64 bits: twenty digits.
DIGITS_MAX = 20


def mark_of(header: Callable[[str], str | None]) -> Mark:
    """The mark that a request brings along; what is none counts as nothing known."""
    text = header(HEADER)
    if text is None and (cookies := header("cookie")) is not None:
        pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
        text = next((value for name, _, value in pairs if name == COOKIE), None)
    is_position = text is not None and len(text) <= DIGITS_MAX and text.isascii() and text.isdigit()
    return Mark(int(text) if text is not None and is_position else 0)


def mark_headers(mark: Mark, scheme: str) -> list[tuple[str, str]]:
    """What hands *mark* to the caller (RFC 6265bis)."""
    secure = "; Secure" if scheme == "https" else ""
    cookie = f"{COOKIE}={mark.position}; Path=/; Max-Age={KEPT_S}; HttpOnly; SameSite=Lax{secure}"
    return [(HEADER, str(mark.position)), ("set-cookie", cookie)]
