"""What an operation hears of a request that failed. Its own caller hears less: where an app looks is its own matter."""

from __future__ import annotations

from toque.contract.errors import Error, Unavailable

__all__ = ["AddressRefused", "BadAnswer", "Interrupted", "Unreachable"]

_SILENT = "another service that this needs does not answer"


class AddressRefused(Error, code="address_refused"):
    """The URL leads to where the app does not go; `reason` says why, and is not for the caller. *remedy* is."""

    def __init__(self, host: str, reason: str, remedy: str = "") -> None:
        super().__init__(f"{host} is not an address that this app sends requests to{remedy}")
        self.reason = reason


class Unreachable(Unavailable):
    """Nobody answered, and nothing was sent: it may be tried again, whatever it does."""

    def __init__(self, reason: str) -> None:
        super().__init__(_SILENT)
        self.reason = reason


class Interrupted(Unavailable):
    """The answer did not come whole; whether the request was carried out is not known."""

    def __init__(self, reason: str) -> None:
        super().__init__(_SILENT)
        self.reason = reason


class BadAnswer(Error, code="bad_answer"):
    """The answer came, and is not what was asked for; `status` is its HTTP status."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__("another service that this needs answered what cannot be used")
        self.reason = reason
        self.status = status
