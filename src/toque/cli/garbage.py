"""Python's garbage collector in a process that lives as long as its app."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["YOUNG_MAX", "spare", "uncollected"]

YOUNG_MAX = 20_000
"""So many more objects may have been made than have gone before the garbage collector looks at the new ones. A call
makes some twenty, and while as many are under way as a worker takes (`calls.in_flight_max`) none of them is garbage.
Python's own 700 is reached by 64 calls that wait for their bodies, one look for every 45 of them, and by one that
enqueues 500 jobs: most of what that costs its process."""


def spare() -> None:
    """Have it leave alone what is there by now, and look less often at what comes.

    It would look at all of the app again and again, for nothing.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep it from what is made here: an app lives as long as its processes, and looking at a thousand operations again
    and again is a tenth of their start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
