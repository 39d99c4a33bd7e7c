"""Requests that come again word for word, and are answered from memory before they are read.

Whatever is read of a request - its inputs, its format, its demands - comes out the same when its path, its query and
all its headers do. What is left to ask is what the memory has now under the key that they led to. A request that says
who sends it, or demands something, is read each time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from toque.cache.kept import KeptAnswer
from toque.call.context import Context
from toque.call.observation import OK, Figures

if TYPE_CHECKING:
    from toque.cache.policy import CachedQuery

__all__ = ["Repeated", "Repeats"]

REQUESTS_MAX = 4_096
"""How many are known at least, and half of those that are at most. A hot page has one address, and as many wordings as
there are versions of browsers; with CHARS_MAX it bounds them to some 30 MB, and they take a few as a rule."""

CHARS_MAX = 2_048
"""A longer one has cookies or the like in it, and so comes from one client alone."""

Headers = list[tuple[str, str]]
Request = tuple[str, str, tuple[tuple[str, str], ...]]
"""Path, query string, and all headers in their order."""


class Led(Struct, frozen=True):
    """Where reading a request has led to."""

    key: Any
    form: Hashable
    """Which form of the answer it takes."""


class Repeats:
    """What is known of the requests of all operations in one worker: those of two generations, of which the older is
    forgotten when the younger is complete.

    Args:
        on_path: told of the paths that are asked for again.
    """

    def __init__(self, on_path: Callable[[str], None]) -> None:
        self._on_path = on_path
        self._young: dict[Request, Led] = {}
        self._old: dict[Request, Led] = {}
        self._last: dict[str, tuple[str, Headers, Led]] = {}
        """The last request of each path. Many in a row are worded alike, and to compare one takes half of what it takes
        to look it up."""

    def find(self, path: str, query: str, headers: Headers) -> Led | None:
        last = self._last.get(path)
        if last is not None and last[1] == headers and last[0] == query:
            return last[2]
        request = (path, query, tuple(headers))
        led = self._young.get(request)
        if led is None and (led := self._old.get(request)) is not None:
            self.add(request, led)
        if led is not None:
            self._last[path] = (query, headers, led)
        return led

    def add(self, request: Request, led: Led) -> None:
        if len(self._young) >= REQUESTS_MAX:
            self._old, self._young, self._last = self._young, {}, {}
        self._young[request] = led
        self._on_path(request[0])


class Repeated:
    """The requests of one operation, which anybody may ask."""

    __slots__ = ("_figures", "_query", "_repeats")

    def __init__(self, repeats: Repeats, query: CachedQuery, figures: Figures) -> None:
        self._repeats = repeats
        self._query = query
        self._figures = figures

    def answer(self, scope: Any, asked: Any) -> Any:
        """The form in which this request is answered from memory; None where it is to be read."""
        led = self._repeats.find(scope.path, scope.query_string, asked.items())
        if led is None:
            return None
        kept = self._query.at_once(led.key)
        form = None if kept is None else kept.form(led.form)
        if form is not None:
            # It has taken no time that a histogram could show.
            self._figures.record(OK, 0.0)
            self._query.figures.repeated += 1
        return form

    def learn(self, scope: Any, asked: Any, context: Context, kept: KeptAnswer, form: Hashable) -> None:
        """This request was read, and answered with that *form* of *kept*, which is in memory."""
        if (
            kept.is_personal
            or context.credential is not None
            or context.traceparent is not None
            or context.freshness is not None
            or asked.get("if-match") is not None
            or (context.mark is not None and context.mark.token is not None)
        ):
            return
        request = (scope.path, scope.query_string, tuple(asked.items()))
        if len(request[0]) + len(request[1]) + sum(len(name) + len(value) for name, value in request[2]) <= CHARS_MAX:
            self._repeats.add(request, Led(context.cache_key, form))
