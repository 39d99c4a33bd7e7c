"""`toque events`: what was published, who handles it, and what could not be handled."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec
from cyclopts import App as Commands
from cyclopts import Parameter, validators

from toque.cli import tables
from toque.cli.databases import in_store, place_of
from toque.cli.failures import Failure, nearest
from toque.cli.parameters import AppTarget, Limit
from toque.cli.tables import Format
from toque.cli.target import load_app

if TYPE_CHECKING:
    from toque.app import App
    from toque.messages.operating import Operator, ParkedView
    from toque.store.store import Store

__all__ = ["events"]

T = TypeVar("T")
WHOLE = 44
"""Columns for an id (36) and the beginning of a payload or an error below it; the rest of eighty is for the others."""

events = Commands(
    name="events",
    help="Look at events and their handlers, and decide about what could not be handled. All of it works beside a "
    "running app, which feels it within a second.",
)


@events.command
def consumers(target: AppTarget = ".", *, format: Format = "table") -> None:
    """Print who handles events, how far each is behind, and what is parked for it.

    - `toque events consumers shop`
    """
    found = _acting(target, lambda operator, app: operator.consumers(_types(app)))
    tables.show(
        format,
        found,
        ("consumer", "state", "behind", "oldest", "parked", "keys held"),
        [
            (
                row.name,
                row.state if row.is_owned else f"{row.state}\nnobody works on it",
                str(row.lag),
                _ago(row.oldest_at),
                "\n".join(f"{count} {state}" for state, count in sorted(row.parked.items())),
                str(row.keys),
            )
            for row in found
        ],
    )


@events.command(name="list")
def list_(target: AppTarget = ".", *, since: str = "1h", limit: Limit = 100, format: Format = "table") -> None:
    """Print what was published.

    - `toque events list shop --since 2026-11-01T08:00`

    Args:
        since: From when on: a time, or how long ago: `30m`, `2h`, `3d`.
        limit: How many at most.
        format: For people, or for programs.
    """
    from toque.log.reader import reader_of

    at = _moment(since)

    async def read(operator: Operator, app: App, store: Store) -> Any:
        reader = reader_of(store)
        return (await reader.read(await reader.since(at), limit))[0]

    found = _within(target, read)
    tables.show(
        format,
        [{**msgspec.to_builtins(each), "data": msgspec.Raw(each.data)} for each in found],
        ("event", "position, key", "at"),
        [
            (f"{e.type} {e.version}\n{e.id}\n{_cut(e.data.decode())}", f"{e.pos}\n{e.key}", _when(e.at, "\n"))
            for e in found
        ],
        whole=WHOLE,
    )


@events.command
def parked(target: AppTarget = ".", *, consumer: str = "", limit: Limit = 100, format: Format = "table") -> None:
    """Print what could not be handled: what is tried again, dead letters, and what waits behind them.

    - `toque events parked shop --consumer shop.cook`

    Args:
        consumer: Of this one only.
        limit: How many at most.
        format: For people, or for programs.
    """
    found = _acting(target, lambda operator, app: operator.parked(consumer, limit=limit))
    if consumer and not found:
        _require_consumer(target, consumer)
    tables.show(
        format,
        found,
        ("event, last error", "consumer, key", "state"),
        [
            (
                f"{row.type} {row.version}\n{row.id}\n{_cut(row.errors[-1].error) if row.errors else ''}",
                f"{row.consumer}\n{row.key}",
                f"{row.state}{f' ({row.reason})' if row.reason else ''}\ntried {row.attempt}x",
            )
            for row in found
        ],
        whole=WHOLE,
    )


@events.command
def show(consumer: str, event: str, /, *, app: AppTarget = ".") -> None:
    """Print a parked event: payload, headers, and every failure that is kept.

    - `toque events show shop.cook 01a2...`
    """
    tables.print_json(_the(app, consumer, event))


@events.command
def retry(consumer: str, event: str = "", /, *, app: AppTarget = ".", all: bool = False) -> None:
    """Have a parked event tried again now, with all its attempts before it.

    - `toque events retry shop.cook 01a2...`
    - `toque events retry shop.cook --all` once what was wrong is mended.

    Args:
        all: Everything of this consumer that is not behind something else.
    """
    if bool(event) == all:
        raise Failure("name one event, or say --all", code=2)
    count = _acting(app, lambda operator, _: operator.retry(consumer, event))
    if not count:
        _require_consumer(app, consumer)
        raise Failure(f"{consumer} has nothing parked that could be tried{f', of the id {event}' if event else ''}")
    print(f"{count} to be tried now")


@events.command
def discard(consumer: str, event: str, /, *, app: AppTarget = ".") -> None:
    """Have a parked event count as handled; what waits behind it goes on.

    - `toque events discard shop.cook 01a2...`
    """
    if not _acting(app, lambda operator, _: operator.discard(consumer, event)):
        _refuse(app, consumer, event)
    print("discarded")


@events.command
def edit(consumer: str, event: str, /, *, data: str, version: int | None = None, app: AppTarget = ".") -> None:
    """Give a parked event another payload; `retry` has it tried with that.

    - `toque events show shop.cook 01a2... | jq .data > event.json`, and when it is mended
      `toque events edit shop.cook 01a2... --data @event.json`

    Args:
        data: JSON, or `@file`, or `-` for what comes in.
        version: Of the event's type, where the payload is of another one now.
    """
    try:
        text = sys.stdin.read() if data == "-" else Path(data[1:]).read_bytes() if data.startswith("@") else data
        payload = msgspec.json.encode(msgspec.json.decode(text))
    except OSError as error:
        raise Failure(f"{data[1:]} cannot be read: {error.strerror}", code=2) from None
    except msgspec.DecodeError as error:
        raise Failure(f"the payload is no JSON: {error}", code=2) from None
    known = _the(app, consumer, event)
    number = known.version if version is None else version
    if not _acting(app, lambda operator, _: operator.edit(consumer, event, payload, number)):
        raise Failure("it is being tried at this moment; do it again")
    print("changed; `toque events retry` has it tried")


@events.command
def pause(consumer: str, /, *, app: AppTarget = ".") -> None:
    """Let a consumer begin nothing new; its events are kept for it.

    - `toque events pause shop.cook`
    """
    _set_state(app, consumer, "paused")


@events.command
def resume(consumer: str, /, *, app: AppTarget = ".") -> None:
    """Let a paused consumer go on where it was.

    - `toque events resume shop.cook`
    """
    _set_state(app, consumer, "running")


@events.command
def forget(consumer: str, /, *, app: AppTarget = ".") -> None:
    """Remove a consumer whose handler is no more, and what is parked for it: events are kept for it otherwise.

    - `toque events forget shop.old_cook`
    """
    loaded = load_app(app)
    if consumer in _types(loaded):
        raise Failure(f"{consumer} is a handler of {loaded.name}; remove it from the app first")
    if not _acting(app, lambda operator, _: operator.forget(consumer)):
        _require_consumer(app, consumer)
    print("forgotten")


@events.command
def replay(
    handler: str,
    /,
    *,
    since: Annotated[str, Parameter(name="--from")] = "",
    position: Annotated[int | None, Parameter(name="--from-position", validator=validators.Number(gte=0))] = None,
    name: Annotated[str, Parameter(name="--as")] = "",
    detach: bool = False,
    app: AppTarget = ".",
) -> None:
    """Have a handler handle again what was published from a moment on until now, under another consumer name.

    Under its own name it would find everything handled already. The running app (or `toque worker`) does it, beside
    the events that come; when all is handled the replay is over, and its name cannot be used again.

    - `toque events replay shop.cook --from 2026-11-01T08:00 --as recook`
    - `toque events replay shop.cook --from 3d`
    - `toque events replay shop.cook --from-position 48213`

    Args:
        since: From when on: a time, or how long ago: `30m`, `2h`, `3d`.
        position: From which position of the log on, instead of a time.
        name: What it is known by, `shop.cook@` and the time unless given.
        detach: Do not wait for its end.
    """
    loaded = load_app(app)
    types = _types(loaded)
    if handler not in types:
        raise Failure(f"{loaded.name} has no handler {handler!r}; {nearest(handler, types)}", code=2)
    if bool(since) == (position is not None):
        raise Failure("a replay begins at a time or at a position; give one of --from and --from-position", code=2)
    name = name or f"{handler}@{datetime.now(UTC):%Y%m%dT%H%M%S}"

    async def act(operator: Operator, app: App, store: Store) -> None:
        at = _moment(since) if since else 0.0
        if not await operator.replay(handler, name, at=at, position=position):
            raise Failure(f"there is a consumer {name!r} already; choose another with --as", code=2)
        if not detach:
            await _follow(operator, name, types[handler])

    _within(app, act)
    print(f"{name} {'begins' if detach else 'is done'}")


WAIT_S = 10.0
"""How long nobody may take a replay up before it is said that nobody does."""


async def _follow(operator: Operator, name: str, type: str) -> None:
    from rich.progress import Progress

    begun, first = monotonic(), None
    with Progress(transient=True) as progress:
        task = progress.add_task(name)
        while True:
            row = await operator.row(name)
            if row is None or row.state == "done":
                return
            if row.fence == 0 and monotonic() - begun > WAIT_S:
                raise Failure(f"nobody takes {name} up; start the app, or `toque worker`")
            lag = await operator.behind(row, type)
            counts = await operator.counts(row.id)
            if not lag.events and counts and not counts.keys() & {"waiting", "started"}:
                count = sum(counts.values())
                raise Failure(
                    f"{count} event{'s' * (count != 1)} could not be handled; "
                    f"see `toque events parked --consumer {name}`. It is done when they are retried or discarded"
                )
            # By the time that it has come to: many events are not counted to the last one.
            until, oldest_at = row.until or time(), lag.oldest_at or row.until or time()
            first = oldest_at if first is None else first
            progress.update(task, total=max(until - first, 0.001), completed=max(0.0, oldest_at - first))
            await asyncio.sleep(0.2)


def _set_state(app: str, consumer: str, state: str) -> None:
    if not _acting(app, lambda operator, _: operator.set_state(consumer, state)):
        _require_consumer(app, consumer)
        raise Failure(f"{consumer} is a replay, and done")
    print(f"{consumer} is {state}")


def _the(app: str, consumer: str, event: str) -> ParkedView:
    found = _acting(app, lambda operator, _: operator.parked(consumer, event, 1))
    if not found:
        _refuse(app, consumer, event)
    return found[0]


def _refuse(app: str, consumer: str, event: str) -> NoReturn:
    _require_consumer(app, consumer)
    raise Failure(f"nothing of the id {event} is parked for {consumer}; see `toque events parked {app}`", code=1)


def _require_consumer(app: str, consumer: str) -> None:
    """Raises: Failure where there is none of that name: it is misspelt."""
    names = [row.name for row in _acting(app, lambda operator, loaded: operator.consumers(_types(loaded)))]
    if consumer not in names:
        raise Failure(f"there is no consumer {consumer!r}; {nearest(consumer, names)}", code=2)


def _types(app: App) -> dict[str, str]:
    """The event of each handler."""
    handlers = [handler for module in app.modules for handler in module.handlers]
    return {handler.name: handler.event.type_name() for handler in handlers if handler.event is not None}


def _acting(target: str, act: Callable[[Operator, App], Awaitable[T]]) -> T:
    return _within(target, lambda operator, app, _: act(operator, app))


def _within(target: str, act: Callable[[Operator, App, Store], Awaitable[T]]) -> T:
    """What *act* comes to on the app's database."""
    from toque.messages.operating import Operator

    app, _, url = place_of(target)
    return in_store(url, lambda store: act(Operator(store), app, store))


UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _moment(text: str) -> float:
    """Seconds since 1970. Raises: Failure with code 2."""
    if text[-1:] in UNITS_S and text[:-1].replace(".", "", 1).isdigit():
        return time() - float(text[:-1]) * UNITS_S[text[-1]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise Failure(f"{text!r} is no time; write 2026-11-01T08:00, or how long ago: 30m, 2h, 3d", code=2) from None


def _when(at: float, between: str = " ") -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d{between}%H:%M:%S}"


def _ago(at: float | None) -> str:
    return "" if at is None else f"{max(0.0, time() - at):,.0f} s"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
