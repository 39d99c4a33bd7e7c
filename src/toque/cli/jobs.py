"""`toque jobs`: what is to be done, what is done, and what could not be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar
from uuid import UUID

from cyclopts import App, Parameter

from toque.cli import tables
from toque.cli.databases import in_store, place_of
from toque.cli.failures import Failure, nearest
from toque.cli.parameters import AppTarget, Limit
from toque.cli.tables import Format

if TYPE_CHECKING:
    from toque.messages.jobs.desk import Desk, Listed
    from toque.messages.jobs.status import JobStatus
    from toque.store.store import Store

__all__ = ["jobs"]

T = TypeVar("T")

jobs = App(name="jobs", help="See what an app has to do, do again what failed, and stop what should not be done.")

Id = Annotated[UUID, Parameter(help="The job's id, as `list` shows it.")]


@jobs.command(name="list")
def list_(
    app: AppTarget = ".",
    *,
    state: Literal["", "waiting", "later", "running", "dead"] = "",
    queue: str = "",
    limit: Limit = 100,
    format: Format = "table",
) -> None:
    """List the jobs that are to be done, and the dead letters.

    - `toque jobs list shop`
    - `toque jobs list shop --state dead`: those that failed for good.

    Args:
        state: Only those in this state.
        queue: Only those of this queue.
        limit: How many at most.
        format: For people, or for programs.
    """

    async def act(desk: Desk) -> list[Listed]:
        found = await desk.jobs(state=state, queue=queue, limit=limit)
        if queue and not found:
            await _require_queue(desk, app, queue)
        return found

    found = _act(app, act)
    tables.show(format, found, ("job", "queue, key", "state", "due"), list(map(_row, found)), whole=ID_CHARS)


@jobs.command
def queues(app: AppTarget = ".", *, format: Format = "table") -> None:
    """List the queues: how much waits in each, and for how long.

    - `toque jobs queues shop`

    Args:
        format: For people, or for programs.
    """
    found = _act(app, lambda desk: desk.queues())
    rows = [
        [
            one.name,
            *map(str, (one.waiting, one.running, one.later, one.dead)),
            _when(-one.oldest_s) if one.waiting else "",
            "paused" * one.is_paused,
        ]
        for one in found
    ]
    tables.show(format, found, ("queue", "waiting", "running", "later", "dead", "oldest due", ""), rows)


@jobs.command
def show(
    id: Id,
    /,
    *,
    app: AppTarget = ".",
    follow: Annotated[bool, Parameter(negative=())] = False,
    format: Format = "table",
) -> int:
    """Show the job ID: its state, its progress, what it returned or why it failed.

    - `toque jobs show 0192... --follow --app shop`: until it is over, with a bar where the job says how far it is.

    Args:
        follow: Look again until it is over.
        format: For people, or for programs.
    """
    found = _follow(app, id) if follow else _act(app, lambda desk: desk.show(id))
    if found is None:
        raise Failure(f"nothing is known of job {id}: it was never committed, or has ended and left nothing")
    if format == "json":
        tables.print_json(found)
    else:
        _describe(found)
    return 1 if found.state == "dead" else 0


@jobs.command
def retry(id: Id, /, *, app: AppTarget = ".") -> None:
    """Have the job ID done now: a dead letter, with all its attempts again, or one that was to come later.

    - `toque jobs retry 0192... --app shop`
    """
    _require(_act(app, lambda desk: desk.retry(id)), f"job {id} is no dead letter, and waits for no later time")
    print(f"{id} may begin")


@jobs.command
def discard(id: Id, /, *, app: AppTarget = ".") -> None:
    """Forget the dead letter ID.

    - `toque jobs discard 0192... --app shop`
    """
    _require(_act(app, lambda desk: desk.discard(id)), f"job {id} is no dead letter")
    print(f"{id} is forgotten")


@jobs.command
def cancel(id: Id, /, *, app: AppTarget = ".") -> None:
    """Have the job ID not done; one that runs is stopped within a second or two, and undone.

    - `toque jobs cancel 0192... --app shop`
    """
    _require(_act(app, lambda desk: desk.cancel(id)), f"job {id} is not to be done")
    print(f"{id} is cancelled")


@jobs.command
def pause(queue: str, /, *, app: AppTarget = ".") -> None:
    """Let nothing of QUEUE begin; what runs goes on.

    - `toque jobs pause mail --app shop`
    """
    _pause(app, queue, is_paused=True)
    print(f"{queue} is paused")


@jobs.command
def resume(queue: str, /, *, app: AppTarget = ".") -> None:
    """Let the jobs of QUEUE begin again.

    - `toque jobs resume mail --app shop`
    """
    _pause(app, queue, is_paused=False)
    print(f"{queue} goes on")


def _pause(target: str, queue: str, *, is_paused: bool) -> None:
    async def act(desk: Desk) -> None:
        await _require_queue(desk, target, queue)
        await desk.pause(queue, is_paused=is_paused)

    _act(target, act)


async def _require_queue(desk: Desk, target: str, queue: str) -> None:
    """Raises: Failure where the app has no such queue, and the database knows of none: its name is misspelt."""
    loaded, _, _ = place_of(target)
    jobs = [operation.job for module in loaded.modules for operation in module.jobs]
    known = {job.queue for job in jobs if job is not None} | {one.name for one in await desk.queues()}
    if queue not in known:
        raise Failure(f"there is no queue {queue!r}; {nearest(queue, known)}", code=2)


def _require(is_done: bool, otherwise: str) -> None:
    if not is_done:
        raise Failure(f"{otherwise}; see `toque jobs list`")


def _act(target: str, act: Callable[[Desk], Awaitable[T]]) -> T:
    """What *act* makes of the jobs of the app that *target* names, in one transaction."""
    from toque.messages.jobs.desk import Desk
    from toque.store.database import Database, transaction_of

    _, _, url = place_of(target)

    async def within(database: Database, dialect: str) -> T:
        return await act(Desk(transaction_of(database), dialect))

    return in_store(url, lambda store: store.command(lambda database: within(database, store.dialect_name)))


def _follow(target: str, id: UUID) -> JobStatus | None:
    """The job *id*, when it is over; None where nothing is known of it."""
    from rich.progress import Progress

    from toque.messages.jobs import status

    _, _, url = place_of(target)

    async def watch(store: Store) -> JobStatus | None:
        found = None
        with Progress(transient=True) as bars:
            bar = bars.add_task(str(id), total=None)
            async for found in status.follow(store, id):
                if found.progress is not None:
                    note = f"{found.name} {found.progress.note}"
                    bars.update(bar, completed=found.progress.done, total=found.progress.total, description=note)
        return found if found is not None and found.is_over else None

    return in_store(url, watch)


def _describe(found: JobStatus) -> None:
    print(f"{found.id} {found.name}: {found.state}" + (", told to stop" if found.is_cancelled else ""))
    begun = f", begun {found.attempt} time{'s' * (found.attempt != 1)}" if found.attempt else ""
    print(f"enqueued {datetime.fromtimestamp(found.at, UTC):%Y-%m-%d %H:%M:%S} UTC{begun}")
    if found.progress is not None:
        total = "" if found.progress.total is None else f" of {found.progress.total:g}"
        print(f"progress: {found.progress.done:g}{total} {found.progress.note}")
    if found.result is not None:
        print(f"result: {found.result}")
    if found.reason:
        print(f"reason: {found.reason}")
    if found.errors:
        print(found.errors)


ID_CHARS = 36


def _row(one: Listed) -> list[str]:
    """A job in three lines at most: what it is, its id, and why it failed."""
    begun = f"begun {one.attempt}x" if one.attempt else ""
    lines = [one.name, one.id, *([one.reason] if one.reason else [])]
    return ["\n".join(lines), _two(one.queue, one.key), _two(one.state, begun), _when(one.due_s)]


def _two(first: str, second: str) -> str:
    return f"{first}\n{second}" if second else first


LONGEST = {"s": 120, "min": 7200, "h": 172_800}
"""Up to how many seconds a time is told in which unit; what is longer is told in days."""
SECONDS = {"s": 1, "min": 60, "h": 3600, "days": 86_400}


def _when(due_s: float) -> str:
    unit = next((unit for unit, longest in LONGEST.items() if abs(due_s) < longest), "days")
    time = f"{abs(due_s) / SECONDS[unit]:.0f} {unit}"
    return f"in {time}" if due_s > 0 else f"{time} ago"
