"""What a command says when it cannot do what was asked: one message with a remedy, and an exit code."""

from __future__ import annotations

from toque.contract.complaints import SetupError
from toque.contract.errors import Error
from toque.settings import SettingsError

__all__ = ["Failure", "failure_of"]


class Failure(Exception):
    """A command failed (code 1) or was used wrongly (code 2)."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def failure_of(error: Exception) -> Failure | None:
    """*error* as a message for people, or None where only a traceback can explain it."""
    if isinstance(error, SetupError | SettingsError | Error):
        return Failure(str(error))
    return None
