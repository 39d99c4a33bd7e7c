"""When a job begins by itself: every so long, or as a line of cron says. Plain data, and the arithmetic of its moments.

Moments are seconds since 1970. An interval's are multiples of it from 1970 on, so all processes agree about them
without a word. A cron line is read by cronsim, which treats the changes of daylight saving time as Debian's cron does:
what falls into the hour that is left out begins right after it, and what falls into the hour that comes twice begins
once, unless it is to begin every hour or more often.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Literal

from msgspec import Struct

__all__ = ["Missed", "Schedule", "cron", "every", "interval_s"]

Missed = Literal["none", "last", "all"]
"""Which of the moments at which no process was there are made up for."""

INTERVAL_MIN_S = 1.0
"""What is to happen more often is no job: a commit each second is what a schedule is worth."""

INTERVAL_MAX_S = 36_525 * 86_400.0
"""A century: nothing comes of what is to happen less often, and databases hold no time without end."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


class Schedule(Struct, frozen=True, kw_only=True):
    """The moments of one job."""

    interval_s: float = 0.0
    cron: str = ""
    """A line of cron (crontab(5)), instead of an interval."""
    zone: str = "UTC"
    missed: Missed = "last"

    @property
    def words(self) -> str:
        """What it is known by: a schedule with other words begins anew."""
        return f"{self.cron} {self.zone}" if self.cron else f"every {self.interval_s:g} s"

    def after(self, moment: float) -> float:
        """The first of its moments that is later than *moment*."""
        if self.interval_s:
            return (moment // self.interval_s + 1) * self.interval_s
        from zoneinfo import ZoneInfo

        from cronsim import CronSim

        # cronsim forgets which of the two hours it is asked in where one comes twice, and begins with the first.
        times = CronSim(self.cron, datetime.fromtimestamp(moment, ZoneInfo(self.zone)))
        return next(at for time in times if (at := time.timestamp()) > moment)


def every(interval: str | float | timedelta, missed: Missed = "last") -> Schedule:
    """The moments that are *interval* apart: `"30s"`, `"5m"`, `"1h"`, `"1d"`, seconds, or a timedelta.

    Raises: ValueError where it is none.
    """
    return Schedule(interval_s=interval_s(interval), missed=_checked(missed))


def interval_s(interval: str | float | timedelta) -> float:
    """The seconds of *interval*, as it is written. Raises: ValueError where it is none, too short or too long."""
    if isinstance(interval, str):
        found = _INTERVAL.fullmatch(interval.strip())
        if found is None:
            raise ValueError(f"an interval is a number and one of s, m, h, d, as in '5m'; got {interval!r}")
        seconds = float(found[1]) * _UNITS[found[2]]
    else:
        seconds = interval.total_seconds() if isinstance(interval, timedelta) else float(interval)
    if not INTERVAL_MIN_S <= seconds <= INTERVAL_MAX_S:
        raise ValueError(f"an interval is between {INTERVAL_MIN_S:g} s (the shortest) and a century, got {interval!r}")
    return seconds


def cron(line: str, zone: str = "UTC", missed: Missed = "last") -> Schedule:
    """The moments of a *line* of cron in the time of *zone*.

    Raises: ValueError where it has none, or there is no such zone.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        near = get_close_matches(zone, sorted(available_timezones()), 1)
        hint = f"did you mean {near[0]!r}?" if near else "use a name such as 'Europe/Berlin'"
        raise ValueError(f"there is no time zone {zone!r}; {hint}") from None
    try:
        from cronsim import CronSimError
    except ImportError:
        raise ValueError("cron lines are read by cronsim: pip install 'toque[schedules]'") from None
    found = Schedule(cron=line, zone=zone, missed=_checked(missed))
    try:
        found.after(0.0)
    except (CronSimError, StopIteration) as error:
        raise ValueError(
            f"{line!r} is no line of cron with moments ({error}); five fields, as in '0 6 * * 1-5'"
        ) from None
    return found


def _checked(missed: Missed) -> Missed:
    if missed not in ("none", "last", "all"):
        raise ValueError(f"missed= is 'none', 'last' or 'all', got {missed!r}")
    return missed
