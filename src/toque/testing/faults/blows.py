"""What comes over nodes from outside, when so many calls were answered."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from itertools import repeat

from toque.testing.faults.history import Line
from toque.testing.faults.proxy import Cut
from toque.testing.faults.remote import Remote
from toque.testing.faults.schedule import FromOutside, Outside, Schedule
from toque.testing.faults.site import Site

__all__ = ["Blows"]

DELAY_S = 0.005
"""How slow a slow network is, each piece and way: a call takes some ten of them."""


class Blows:
    """The faults of one schedule that come from outside."""

    def __init__(self, schedule: Schedule, nodes: Mapping[str, Remote], site: Site) -> None:
        self._waiting = sorted(schedule.from_outside, key=lambda blow: blow.after)
        self._nodes = nodes
        self._site = site
        self._answered = 0
        self._falling: set[asyncio.Task[None]] = set()

    def count(self) -> None:
        """One more call was answered."""
        self._answered += 1
        while self._waiting and self._waiting[0].after < self._answered:
            blow = self._waiting.pop(0)
            task = asyncio.create_task(self._strike(blow))
            self._falling.add(task)
            task.add_done_callback(self._falling.discard)

    async def end(self) -> None:
        """Come back when everything works again."""
        await asyncio.gather(*self._falling)

    async def _strike(self, blow: FromOutside) -> None:
        hurt = self._nodes.values() if blow.act in _EVERYBODY else [self._nodes[blow.node]]
        for node in hurt:
            self._site.history.write(Line(what="hurt", life=node.life, told=blow.act))
        await _ACTS[blow.act](self._nodes[blow.node], self._site, blow)


async def _kill(node: Remote, site: Site, blow: FromOutside) -> None:
    node.signal(signal.SIGKILL)


async def _freeze(node: Remote, site: Site, blow: FromOutside) -> None:
    node.freeze(blow.for_s)
    await asyncio.sleep(blow.for_s)


async def _stop(node: Remote, site: Site, blow: FromOutside) -> None:
    node.restart()


async def _hold_file(node: Remote, site: Site, blow: FromOutside) -> None:
    await site.hold_file(blow.for_s)


async def _cut(node: Remote, site: Site, blow: FromOutside) -> None:
    site.proxies[node.name].cut_all()


async def _cut_one(node: Remote, site: Site, blow: FromOutside) -> None:
    site.proxies[node.name].cut_one(blow.times)


async def _lapse(node: Remote, site: Site, blow: FromOutside) -> None:
    node.freeze(blow.for_s)
    site.cut(node.name)
    await asyncio.sleep(blow.for_s)


async def _half_close(node: Remote, site: Site, blow: FromOutside) -> None:
    site.proxies[node.name].half_close_all()


async def _slow(node: Remote, site: Site, blow: FromOutside) -> None:
    proxy = site.proxies[node.name]
    proxy.delay_s = DELAY_S
    await asyncio.sleep(blow.for_s)
    proxy.delay_s = 0.0


async def _hold(node: Remote, site: Site, blow: FromOutside) -> None:
    proxy = site.proxies[node.name]
    proxy.hold()
    await asyncio.sleep(blow.for_s)
    proxy.release()


async def _refuse(node: Remote, site: Site, blow: FromOutside) -> None:
    proxy = site.proxies[node.name]
    proxy.is_dark = True
    proxy.cut_all()
    await asyncio.sleep(blow.for_s)
    proxy.is_dark = False


def _cut_commits(cut: Cut) -> Callable[[Remote, Site, FromOutside], Awaitable[None]]:
    async def cut_commits(node: Remote, site: Site, blow: FromOutside) -> None:
        site.proxies[node.name].cuts = repeat(cut, blow.times)

    return cut_commits


async def _end_sessions(node: Remote, site: Site, blow: FromOutside) -> None:
    await site.end_sessions()


async def _restart_database(node: Remote, site: Site, blow: FromOutside) -> None:
    await site.restart_database()


_ACTS: Mapping[Outside, Callable[[Remote, Site, FromOutside], Awaitable[None]]] = {
    "kill": _kill,
    "freeze": _freeze,
    "stop": _stop,
    "hold the file": _hold_file,
    "cut": _cut,
    "cut one": _cut_one,
    "lapse": _lapse,
    "half-close": _half_close,
    "slow": _slow,
    "hold": _hold,
    "refuse": _refuse,
    "cut before COMMIT": _cut_commits("before"),
    "cut after COMMIT": _cut_commits("unanswered"),
    "cut the answer of COMMIT": _cut_commits("answered"),
    "end the sessions": _end_sessions,
    "restart the database": _restart_database,
}

_EVERYBODY: frozenset[Outside] = frozenset({"end the sessions", "restart the database"})
"""What meets every node, whichever it is meant for."""
