"""Which story a call belongs to: the trace context that services hand on to one another.

Source: W3C Trace Context, level 1, section 3.2 (traceparent). The header is read and ids are made only when
somebody asks for them: a call that logs nothing and calls nobody pays for neither.
"""

from __future__ import annotations

import os
import random
import re
from threading import Lock
from typing import NamedTuple

__all__ = ["Trace"]

# Section 3.2.2: version-traceid-parentid-flags in lower-case hex; a future version may append "-" and more.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)

HEADER_CHARS_MAX = 512
"""Longest header that is looked at: 55 characters today, and room for what a future version appends."""

_SAMPLED = 1

# Ids name calls and guard nothing, so a fast generator is enough. The operating system seeds it, and again in
# a forked child: two workers must not tell two stories under one id.
_random = random.Random(os.urandom(32))  # noqa: S311
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))

# The loop and an operation's thread may ask one trace for its ids at the same moment.
_begin_lock = Lock()


class _Ids(NamedTuple):
    trace_id: str
    span_id: str
    parent_id: str
    is_sampled: bool


class Trace:
    """The ids of one call. They never change once somebody has seen them."""

    __slots__ = ("_begun", "_header")

    def __init__(self, header: str | None = None) -> None:
        self._header = header
        self._begun: _Ids | None = None

    @classmethod
    def incoming(cls, header: str | None) -> Trace:
        """The trace of a call that came with this `traceparent`; a new one where it is absent or invalid."""
        return cls(header)

    @classmethod
    def known(cls, trace_id: str, span_id: str, *, parent_id: str = "", is_sampled: bool = True) -> Trace:
        """A trace whose ids somebody else chose: a tracer, or a job's row."""
        trace = cls()
        trace._begun = _Ids(trace_id, span_id, parent_id, is_sampled)
        return trace

    @property
    def trace_id(self) -> str:
        """32 hex digits, the same in every service that the story passes."""
        return self._ids().trace_id

    @property
    def span_id(self) -> str:
        """16 hex digits: this call."""
        return self._ids().span_id

    @property
    def parent_id(self) -> str:
        """16 hex digits: the caller's own span; empty where the story begins here."""
        return self._ids().parent_id

    @property
    def is_sampled(self) -> bool:
        """Whether the caller may have recorded the story, and so those behind us should."""
        return self._ids().is_sampled

    def traceparent(self) -> str:
        """The header for those whom this call calls."""
        ids = self._ids()
        return f"00-{ids.trace_id}-{ids.span_id}-{'01' if ids.is_sampled else '00'}"

    def child(self) -> Trace:
        """A further span of the same story, below this one."""
        ids = self._ids()
        return Trace.known(ids.trace_id, _new_id(64), parent_id=ids.span_id, is_sampled=ids.is_sampled)

    def __repr__(self) -> str:
        return f"Trace({self.traceparent()!r})"

    def _ids(self) -> _Ids:
        return self._begun or self._begin()

    def _begin(self) -> _Ids:
        with _begin_lock:
            if self._begun is None:
                # A story that begins here is marked as sampled, so that those behind us who follow their
                # caller's choice record it.
                self._begun = _continued(self._header) or _Ids(_new_id(128), _new_id(64), "", True)
            return self._begun


def _continued(header: str | None) -> _Ids | None:
    if header is None or len(header) > HEADER_CHARS_MAX:
        return None
    found = _TRACEPARENT.fullmatch(header)
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    # Version ff is invalid, version 00 ends after its flags, and ids of zeros only are invalid. Of the flags
    # only "sampled" has a meaning at level 1.
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return _Ids(trace_id, _new_id(64), parent_id, bool(int(flags, 16) & _SAMPLED))


def _new_id(bits: int) -> str:
    # An id of zeros only is invalid; one in 2^64 would be drawn.
    return f"{_random.getrandbits(bits) or 1:0{bits // 4}x}"
