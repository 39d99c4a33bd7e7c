"""Order by key: one at a time for each key, as many keys at once as there is room for, and no order without a key."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Lanes"]

T = TypeVar("T")


class Lanes(Generic[T]):
    """Things that wait for their turn. Pure data: it says when one may begin, and is told when it has ended.

    Args:
        at_once: how many may be at work.
        begin: called with each whose turn it is.
    """

    def __init__(self, at_once: int, begin: Callable[[str, T], None]) -> None:
        self._room = at_once
        self._begin = begin
        # A key has a lane while something of it is at work or waits; the one at work is not in it.
        self._lanes: dict[str, deque[T]] = {}
        self._ready: deque[tuple[str, T]] = deque()

    def add(self, key: str, thing: T) -> None:
        """Let *thing* wait behind those of its key; with an empty key behind nobody in particular."""
        if key and (lane := self._lanes.get(key)) is not None:
            lane.append(thing)
            return
        if key:
            self._lanes[key] = deque()
        self._ready.append((key, thing))
        self._next()

    def end(self, key: str) -> None:
        """The one of *key* that was at work is not any more."""
        self._room += 1
        if key:
            lane = self._lanes[key]
            if lane:
                # Behind what other keys have ready: a long lane takes turns with the others.
                self._ready.append((key, lane.popleft()))
            else:
                del self._lanes[key]
        self._next()

    def take(self, key: str) -> list[T]:
        """Everything that waits behind the one of *key* that is at work; it waits here no more."""
        lane = self._lanes[key]
        waiting = list(lane)
        lane.clear()
        return waiting

    def close(self) -> None:
        """Begin nothing any more."""
        self._ready.clear()
        for lane in self._lanes.values():
            lane.clear()

    def _next(self) -> None:
        while self._room and self._ready:
            self._room -= 1
            self._begin(*self._ready.popleft())
