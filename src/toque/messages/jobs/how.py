"""How a job is enqueued: when, in which order, and whether at all. Whatever cannot be is refused where it is said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Literal, TypedDict
from uuid import UUID

from toque.messages.jobs.steps import FOR_EVER_S
from toque.messages.outbox import key_text

__all__ = ["How", "options"]

PRIORITY_MAX = 32_767
"""The largest number that the column holds, on either side of 0."""


class How(TypedDict, total=False):
    """When, in which order, and whether at all."""

    delay: float | timedelta
    """It begins no earlier than so long (in seconds) from the commit on, by the database's clock."""
    at: datetime
    """It begins no earlier than this; a time with its zone."""
    priority: int
    """The higher goes first; the job's own, 0, unless given."""
    key: str | UUID | int
    """Jobs of one queue with one key run one after the other, in the order in which they were enqueued; or as the
    queue's limits per key say (`app.queue`)."""
    unique: str | UUID | int
    """As long as one of this job with the same text is to be done, another one is not taken."""
    unique_s: float
    """And for so many seconds after it was enqueued, whatever became of it."""
    unique_until: Literal["begun", "ended"]
    """Whether the text is free as soon as the job has begun; `ended` unless given."""


_SECONDS: tuple[type, ...] = (int, float, timedelta)
_TEXT = (str, UUID, int), "text, a UUID or a whole number"
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "delay": (_SECONDS, "a number of seconds or a timedelta"),
    "at": ((datetime,), "a datetime with its zone"),
    "priority": ((int,), "a whole number"),
    "key": _TEXT,
    "unique": _TEXT,
    "unique_s": (_SECONDS, "a number of seconds"),
    "unique_until": ((str,), "'begun' or 'ended'"),
}


def options(how: How, priority: int) -> tuple[str, dict[str, Any]]:
    """The key of *how*, empty where it has none, and the rest as fields of a `Batch`; *priority* unless it has its own.

    Raises: TypeError or ValueError where it says what cannot be.
    """
    _refuse(how)
    if not {"unique_s", "unique_until"}.isdisjoint(how) and "unique" not in how:
        raise TypeError("unique_s= and unique_until= say for how long unique= keeps others out; give that, too")
    until = how.get("unique_until", "ended")
    if until not in ("begun", "ended"):
        raise ValueError(f"unique_until= is 'begun' or 'ended', got {until!r}")
    return key_text(how.get("key", "")), {
        "priority": _priority(how.get("priority", priority)),
        "delay_s": _seconds(how.get("delay", 0.0), "delay"),
        "at": _moment(how),
        "unique": key_text(how["unique"], "unique") if "unique" in how else None,
        "unique_s": _seconds(how.get("unique_s", 0.0), "unique_s"),
        "is_freed": until == "begun",
    }


def _refuse(how: Mapping[str, Any]) -> None:
    """Refuse what nobody knows, and what is of another type: a type checker may not have looked."""
    for name, value in how.items():
        if name not in _TYPES:
            near = get_close_matches(name, _TYPES, 1)
            hint = f"did you mean {near[0]}=?" if near else "inputs have no names here, and come in the job's order"
            raise TypeError(f"a job is not enqueued with {name}=; {hint}")
        types, words = _TYPES[name]
        if not isinstance(value, types):
            raise TypeError(f"{name}= is {words}, got {value!r}; leave it out where there is none")


def _seconds(length: float | timedelta, what: str) -> float:
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    if not seconds <= FOR_EVER_S:
        raise ValueError(f"{what}= is at most ten years, got {length!r}")
    # Who counts on until when may come late: what is over is now.
    return max(seconds, 0.0)


def _moment(how: How) -> float | None:
    if "at" not in how:
        return None
    if "delay" in how:
        raise ValueError("delay= and at= both say when; give one of them")
    at = how["at"]
    if at.tzinfo is None:
        raise ValueError(f"at= is a time with its zone, got {at.isoformat()}; use datetime.now(UTC) or a ZoneInfo")
    return at.timestamp()


def _priority(priority: int) -> int:
    if abs(priority) > PRIORITY_MAX:
        raise ValueError(f"a priority is between -{PRIORITY_MAX} and {PRIORITY_MAX}, got {priority}")
    return priority
