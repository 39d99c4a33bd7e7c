"""Signing a webhook, and verifying one. Pure functions.

Source: Standard Webhooks 1.0, "Signature scheme" and "Webhook headers".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator

from toque.messages.webhooks.keys import SigningKey, VerifyingKey

__all__ = ["ID", "SIGNATURE", "TIMESTAMP", "Unverified", "sign", "verify"]

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

TOLERANCE_S = 300
"""How far a message's time may be off: as in the standard's own libraries."""

SIGNATURES_MAX = 8
"""More are not looked at: a sender that rotates its keys has two or three, and each costs a computation."""

_ID = re.compile(r"[!-\-/-~]{1,255}")
"""Visible ASCII without the full stop: it parts what is signed, so an id that has one could be read as id and time."""

_SECONDS = re.compile(r"[0-9]{1,12}")


class Unverified(Exception):
    """A message whose sender is not proven; the reason is for the log, not for the sender."""


def sign(keys: Iterable[SigningKey], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a message, signed with each of *keys*: the present one, and that before it.

    Args:
        id: of the message, equal over all tries.
        timestamp: of this try, seconds since 1970.
    """
    if _ID.fullmatch(id) is None:
        raise ValueError(f"a webhook's id is 1 to 255 visible ASCII characters without '.', got {id[:60]!r}")
    content = _signed(id, str(timestamp), body)
    signatures = [f"{key.version},{base64.b64encode(key.sign(content)).decode()}" for key in keys]
    if not signatures:
        raise ValueError("a webhook is signed with at least one key")
    return {ID: id, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(signatures)}


def verify(
    keys: Iterable[VerifyingKey],
    header: Callable[[str], str | None],
    body: bytes,
    *,
    now: float,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """The id of a message that was signed with one of *keys* about *now*.

    Args:
        header: looks a header up by its name in lower case.
        body: as it came, not decoded.
    Raises: Unverified.
    """
    id, timestamp, signatures = (_required(header, name) for name in (ID, TIMESTAMP, SIGNATURE))
    if _ID.fullmatch(id) is None:
        raise Unverified(f"{ID} is no id")
    if _SECONDS.fullmatch(timestamp) is None or abs(int(timestamp) - now) > tolerance_s:
        raise Unverified(f"{TIMESTAMP} is not within {tolerance_s:g} s of now")
    content = _signed(id, timestamp, body)
    keys = tuple(keys)
    for version, signature in _parted(signatures):
        # A key is asked about signatures of its own kind only, or a public key could be taken for a secret.
        if any(key.version == version and key.verifies(content, signature) for key in keys):
            return id
    raise Unverified(f"{SIGNATURE} holds none that one of {len(keys)} keys has made")


def _signed(id: str, timestamp: str, body: bytes) -> bytes:
    return b"%b.%b.%b" % (id.encode(), timestamp.encode(), body)


def _required(header: Callable[[str], str | None], name: str) -> str:
    text = header(name)
    if not text:
        raise Unverified(f"{name} is missing")
    return text


def _parted(signatures: str) -> Iterator[tuple[str, bytes]]:
    for one in signatures.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]:
        version, _, text = one.partition(",")
        try:
            yield version, base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
