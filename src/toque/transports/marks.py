"""How a caller's mark travels over HTTP: the last commit that he knows of, so that neither a replica nor another
process's memory answers from before it. Who makes one up has to wait for one look, and is answered as well.

A command's answer carries it as a header, for programs, and as a cookie, which browsers send back by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from toque.call.context import Mark, Token

__all__ = ["mark_headers", "mark_of"]

HEADER = "toque-mark"
COOKIE = "toque_mark"

# What is older than a second is on every replica that is used (`store/replicas.py`), and what is older than the longest
# `freshness=` in every process's memory. Until then the cookie is needed; four more seconds forgive a slow line.
NEEDED_S, SLOW_S = 1, 4

# A position has 64 bits: twenty digits.
DIGITS_MAX = 20

# A log is named by a digest (`cache/postgres_changes.py`).
LOG_CHARS_MAX = 32


def _read(text: str) -> Mark:
    """`position`, or `position.number.log` of who has committed where a cache asks for it. What is none counts as
    nothing known."""
    parts = text.split(".", 2)
    if len(parts) not in (1, 3) or not all(_is_number(part) for part in parts[:2]):
        return Mark()
    token = Token(parts[2], int(parts[1])) if len(parts) == 3 and _is_log(parts[2]) else None
    return Mark(int(parts[0]), token)


def _is_number(text: str) -> bool:
    return len(text) <= DIGITS_MAX and text.isascii() and text.isdigit()


def _is_log(text: str) -> bool:
    # It may be handed back, in a cookie.
    return len(text) <= LOG_CHARS_MAX and text.isascii() and text.isalnum()


def _written(mark: Mark) -> str:
    token = mark.token
    return str(mark.position) if token is None else f"{mark.position}.{token.number}.{token.epoch}"


def mark_of(header: Callable[[str], str | None]) -> Mark:
    """The mark that a request brings along; what is none counts as nothing known."""
    text = header(HEADER)
    if text is None and (cookies := header("cookie")) is not None:
        pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
        text = next((value for name, _, value in pairs if name == COOKIE), None)
    return Mark() if text is None else _read(text)


def mark_headers(mark: Mark, scheme: str) -> list[tuple[str, str]]:
    """What hands *mark* to the caller (RFC 6265bis)."""
    secure = "; Secure" if scheme == "https" else ""
    text = _written(mark)
    kept_s = ceil(max(mark.needed_s, NEEDED_S)) + SLOW_S
    cookie = f"{COOKIE}={text}; Path=/; Max-Age={kept_s}; HttpOnly; SameSite=Lax{secure}"
    return [(HEADER, text), ("set-cookie", cookie)]
