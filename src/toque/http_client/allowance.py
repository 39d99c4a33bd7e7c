"""Where requests may go beside the public internet's usual ports: `http_client.allow`, read once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from toque.http_client.addresses import METADATA, Address, Network, plain, why_closed

__all__ = ["PORTS", "Allowance", "Entry", "read_entry"]

PORTS = frozenset({80, 443})
"""Where HTTP is spoken unless an address says otherwise (RFC 9110, 4.2)."""

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
"""A name as in DNS (RFC 1123, 2.1); the underscore is what container networks write."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was opened: a name, or addresses; and its ports."""

    place: str | Network
    ports: frozenset[int] | None
    """None for any."""

    def covers(self, host: str, port: int, address: Address) -> bool:
        if self.ports is not None and port not in self.ports:
            return False
        if isinstance(self.place, str):
            # A name is never enough for metadata: whoever keeps its zone would get at the machine's credentials.
            return host == self.place and plain(address) not in METADATA
        if plain(address) in METADATA and self.place.num_addresses > 1:
            return False
        return plain(address) in self.place


def read_entry(text: str) -> Entry:
    """`billing.internal`, `10.0.0.0/8` or `[fd00::/8]`, each with `:8080` or, for any port, `:*` behind it.

    Raises: ValueError where it is none.
    """
    place, port = _parted(text.strip().lower())
    if port not in ("", "*") and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r}: a port is 1 to 65535, or * for any")
    ports = {"": PORTS, "*": None}.get(port, frozenset({int(port)}) if port.isdigit() else PORTS)
    return Entry(_place(place.rstrip("."), text), ports)


def _parted(text: str) -> tuple[str, str]:
    if text.startswith("[") and "]" in text:
        place, _, rest = text[1:].partition("]")
        return place, rest.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    place, _, port = text.partition(":")
    return place, port


def _place(place: str, text: str) -> str | Network:
    if "/" in place or ":" in place or re.fullmatch(r"[\d.]+", place):
        try:
            return ip_network(place)
        except ValueError as error:
            raise ValueError(f"{text!r} is no network: {error}") from None
    if _HOST.fullmatch(place) is None:
        raise ValueError(f"{text!r} names no host; write it as in DNS, without a scheme or a path")
    return place


class Allowance:
    """All that was opened."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Raises: ValueError where one of *texts* is no entry."""
        self.entries = tuple(map(read_entry, texts))

    def why_refused(self, host: str, port: int, address: Address) -> str | None:
        """Why nobody may be sent to *address* for *host*; None where they may."""
        why = why_closed(address)
        if why is None and port in PORTS:
            return None
        if any(entry.covers(host, port, address) for entry in self.entries):
            return None
        return f"port {port} is not open" if why is None else why
