"""Requests that come again word for word, and are answered from memory before they are read.

Whatever is read of a request - its inputs, its format, its demands - comes out the same when its path, its query and
all its headers do. What is left to ask is what the memory has now under the key that they led to. A request that says
who sends it, or demands something, is read each time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from toque.cache.kept import KeptAnswer
from toque.call.context import Context
from toque.call.observation import OK, Figures

if TYPE_CHECKING:
    from toque.cache.policy import CachedQuery

__all__ = ["Repeated", "Repeats"]

REQUESTS_MAX = 16_384
"""How many are known at least, and half of those that are at most: each takes some 300 bytes beside its path."""

WORDINGS_MAX = 4_096
"""The same for all headers of a request as they are worded: as many as there are versions of browsers and programs.
CHARS_MAX bounds them to some 30 MB, and they take a few as a rule."""

CHARS_MAX = 2_048
"""A longer one has cookies or the like in it, and so comes from one client alone."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Headers = list[tuple[str, str]]


class Led(Struct, frozen=True):
    """Where reading a request has led to."""

    key: Any
    form: Hashable
    """Which form of the answer it takes."""


class _Generations(Generic[K, V]):
    """A dict of what is asked for again: the older half is forgotten when the younger is complete."""

    __slots__ = ("_most", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._most = most
        self._old: dict[K, V] = {}
        self._young: dict[K, V] = {}

    def find(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.add(key, found)
        return found

    def add(self, key: K, value: V) -> None:
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[key] = value


class Repeats:
    """What is known of the requests of all operations in one worker.

    Headers are kept once for all requests that have the same, under a number: a request is its path, its query and
    that. So they are compared with the same memory each time; ten thousand copies would not be in a processor's cache.

    Args:
        on_path: told of the paths that are asked for again.
    """

    def __init__(self, on_path: Callable[[str], None]) -> None:
        self._on_path = on_path
        self._requests = _Generations[tuple[str, str, int], Led](REQUESTS_MAX)
        self._wordings = _Generations[tuple[tuple[str, str], ...], int](WORDINGS_MAX)
        self._numbers = count()
        self._last: tuple[Headers | None, int] = None, -1
        """Most requests are worded as the one before them."""

    def find(self, path: str, query: str, headers: Headers) -> Led | None:
        last, number = self._last
        if last != headers:
            found = self._wordings.find(tuple(headers))
            if found is None:
                return None
            self._last, number = (headers, found), found
        return self._requests.find((path, query, number))

    def add(self, path: str, query: str, headers: Headers, led: Led) -> None:
        wording = tuple(headers)
        number = self._wordings.find(wording)
        if number is None:
            number = next(self._numbers)
            self._wordings.add(wording, number)
        self._last = headers, number
        self._requests.add((path, query, number), led)
        self._on_path(path)


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
        path, query, headers = scope.path, scope.query_string, asked.items()
        if len(path) + len(query) + sum(len(name) + len(value) for name, value in headers) <= CHARS_MAX:
            self._repeats.add(path, query, headers, Led(context.cache_key, form))
