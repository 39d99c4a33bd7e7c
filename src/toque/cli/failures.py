"""What a command says when it cannot do what was asked: one message with a remedy, and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from traceback import format_exception
from types import TracebackType

from toque.contract.complaints import SetupError
from toque.contract.errors import Error
from toque.settings import SettingsError

__all__ = ["Failure", "failure_of", "nearest"]


class Failure(Exception):
    """A command failed (code 1) or was used wrongly (code 2)."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def nearest(name: str, known: Iterable[str]) -> str:
    """What a message says about a *name* that is not *known*: the one that is meant, or else all there are."""
    near = get_close_matches(name, known := sorted(known), 1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"


def failure_of(error: Exception) -> Failure | None:
    """*error* as a message for people, or None where only our own whole traceback can explain it."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, SettingsError):
        is_misused = any(complaint.subject.startswith("flag ") for complaint in error.complaints)
        return Failure(str(error), code=2 if is_misused else 1)
    if isinstance(error, SetupError | Error):
        return Failure(str(error))
    traceback = _from_users_code(error.__traceback__)
    if traceback is None and not isinstance(error, SyntaxError):
        return None
    return Failure("".join(format_exception(type(error), error, traceback)).rstrip())


def _from_users_code(traceback: TracebackType | None) -> TracebackType | None:
    """*traceback* from the first line that is the user's own; None where there is none."""
    import sysconfig

    # Where the code stands that leads to the user's: ours, Python's own, and that of other packages.
    ours = str(Path(__file__).parents[1])
    machinery = ("<frozen ", ours, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(machinery):
        traceback = traceback.tb_next
    return traceback
