"""What is wrong with an input, in words for its caller: where, what was expected and what came."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from toque.contract.errors import Fault, Invalid

__all__ = ["FAULTS_MAX", "FAULT_TEXT_MAX", "below", "cut", "faults_from", "invalid", "refusal", "refused"]

FAULTS_MAX = 100
"""Faults in one answer; pydantic reports each of a million wrong items, and nobody reads past the first."""
FAULT_TEXT_MAX = 200
"""Characters of one fault's text: a message may quote the client's own value, which may be a megabyte."""


def refused(path: str, expected: str, received: str, place: str = "body") -> Invalid:
    """An Invalid of one fault."""
    message = f"Expected {expected}, got {received}"
    return invalid(Fault(cut(path), cut(message), place, cut(expected), cut(received)))


def refusal(error: Exception, place: str, path: str = "$", faults: Sequence[Fault] = ()) -> Invalid:
    """The Invalid that tells the caller of a conversion that failed.

    Args:
        faults: what a second look has found; without one there is the first fault, which *error* tells.
    """
    if isinstance(error, RecursionError):
        return invalid(Fault(path, "nested too deeply", place))
    return invalid(*below(path, faults or faults_from(error, place)))


def invalid(first: Fault, *others: Fault) -> Invalid:
    """An Invalid that tells the first fault in words."""
    more = f" (and {len(others)} more)" if others else ""
    return Invalid(cut(f"{first.message} at {first.path}{more}"), faults=(first, *others)[:FAULTS_MAX])


def below(path: str, faults: Iterable[Fault]) -> list[Fault]:
    """*faults* of what stands at *path*, as faults of the whole."""
    return [msgspec.structs.replace(fault, path=cut(path + fault.path[1:])) for fault in faults]


_AT = re.compile(r" - at (?:`key` in )?`(?P<path>\$[^`]*)`\Z")
_EXPECTED = re.compile(r"\AExpected (?P<expected>.+?)(?:, got `?(?P<received>[^`]*)`?)?\Z", re.DOTALL)
_MISSING = re.compile(r"\AObject missing required field `(?P<name>[^`]*)`\Z")
_UNKNOWN = re.compile(r"\AObject contains unknown field `(?P<name>.*)`\Z", re.DOTALL)
_WRONG = re.compile(r"\AInvalid (?P<expected>(?:(?! '| -?\d).)+)(?: (?P<received>.+))?\Z", re.DOTALL)


def faults_from(exc: BaseException, place: str = "body") -> tuple[Fault, ...]:
    """What msgspec, or pydantic inside it, found wrong, as faults with path, expected and received."""
    # Anchored at the end, because the text before may quote the client, who may write what looks like a path.
    text = str(exc)
    located = _AT.search(text)
    path, message = (located["path"], text[: located.start()]) if located else ("$", text)
    errors: Any = getattr(exc.__cause__, "errors", None)
    if errors is not None:
        details = errors(include_url=False, include_context=False)[:FAULTS_MAX]
        return tuple(_pydantic_fault(path, detail, place) for detail in details)
    return (_fault(path, message, place),)


def _fault(path: str, message: str, place: str) -> Fault:
    expected, received = "", ""
    if found := _MISSING.match(message):
        path, expected, received = f"{path}.{found['name']}", "a value", "nothing"
        message = "Expected a value, got nothing"
    elif found := _UNKNOWN.match(message):
        path, expected, received = f"{path}.{found['name']}", "no such field", "a value"
    elif (found := _EXPECTED.match(message)) or (found := _WRONG.match(message)):
        expected, received = found["expected"].replace("`", ""), found["received"] or ""
    return Fault(cut(path), cut(message.replace("`", "")), place, cut(expected), cut(received))


def _pydantic_fault(path: str, detail: Mapping[str, Any], place: str) -> Fault:
    path += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    if detail["type"] == "missing":
        return Fault(cut(path), "Expected a value, got nothing", place, "a value", "nothing")
    message = str(detail["msg"])
    _, _, expected = message.partition("Input should be ")
    return Fault(cut(path), cut(message), place, cut(expected.partition(",")[0]), type(detail["input"]).__name__)


def cut(text: str) -> str:
    """*text*, short enough for a fault."""
    return text if len(text) <= FAULT_TEXT_MAX else text[: FAULT_TEXT_MAX - 1] + "…"
