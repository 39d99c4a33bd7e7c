"""A process's clocks, made to lie: the wall clock jumps, and both run fast or slow.

Reached: `time.time`, `time_ns`, `monotonic`, `monotonic_ns`, `perf_counter` and `sleep`'s callers' idea of them in
every Python module that is loaded by then, asyncio's own loop among them. Not reached: `datetime.now` (C code of its
own), timers of uvloop and of the kernel, SQLite's `datetime('now')`, the database server. The monotonic clock never
jumps, because no kernel lets it: a process that was frozen sees it go on, which SIGSTOP shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from toque.testing.faults.everywhere import replace

__all__ = ["Clock", "set_clock"]

NS = 1_000_000_000


class Clock(Struct, frozen=True):
    """How a process's clocks lie."""

    jump_s: float = 0.0
    """By how much the wall clock jumps, forward or back ..."""
    after_s: float = 0.0
    """... and how long after the start. It may have jumped long before: 0."""
    rate: float = 1.0
    """How fast both clocks run."""

    def wall(self, now: int, began: int) -> int:
        """What the wall clock shows, in nanoseconds, when it is *now* and was *began* at the start."""
        jump = self.jump_s if now - began >= self.after_s * NS else 0.0
        return self.monotonic(now, began) + int(jump * NS)

    def monotonic(self, now: int, began: int) -> int:
        return began + int((now - began) * self.rate)


def set_clock(clock: Clock) -> None:
    """Let this process's clocks lie as *clock* says, from now on."""
    for name, told in (("time", clock.wall), ("monotonic", clock.monotonic), ("perf_counter", clock.monotonic)):
        of_ns: Callable[[], int] = getattr(time, f"{name}_ns")
        lying = _lying(of_ns, told)
        replace(getattr(time, name), _in_seconds(lying))
        replace(of_ns, lying)


def _lying(true: Callable[[], int], told: Callable[[int, int], int]) -> Callable[[], int]:
    began = true()
    return lambda: told(true(), began)


def _in_seconds(of_ns: Callable[[], int]) -> Callable[[], float]:
    return lambda: of_ns() / NS
