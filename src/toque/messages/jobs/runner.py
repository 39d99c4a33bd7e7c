"""One start of a job, run, and what is written about how it ended."""

from __future__ import annotations

import logging
import traceback
from asyncio import CancelledError, Task
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from toque.call.context import Context
from toque.call.delivery import Delivery
from toque.call.observation import CallerLeft
from toque.contract.errors import DeadlineExceeded, Error, Invalid, Overloaded, Unavailable
from toque.contract.job import Again, GiveUp, Retries
from toque.contract.operation import Priority
from toque.messages.behalf import TRACEPARENT, principal_of
from toque.messages.failures import kept, words_of
from toque.messages.handling import ABANDONED, STUCK_S, abandon
from toque.messages.jobs.book import Book, Compiled
from toque.messages.jobs.job import Outcome, Start
from toque.messages.jobs.settling import Settling
from toque.messages.jobs.steps import FOR_EVER_S, Suspended
from toque.store.closing import Superseded
from toque.store.store import Store

__all__ = ["Cancelled", "Draining", "Runner", "Running", "context_of"]

log = logging.getLogger("toque.jobs")

REFUSED_S = 1.0
"""After a failure of the app's own: the database is away, or there is no room."""

PAUSE_MIN_S, PAUSE_MAX_S = 0.001, FOR_EVER_S
"""What is due at once would be claimed in the same turn, before others. No database knows a time without end: such a
pause could not be written down."""

TRACEBACK_CHARS_MAX = 2000

_MISFIT = Retries()
"""For inputs that cannot be read: twenty attempts in about five hours, and a release is out in one."""


class Cancelled(CallerLeft):
    """Somebody cancelled the job."""


class Draining(CallerLeft):
    """The process stops: another one begins the job anew."""


class Running:
    """One start under way."""

    __slots__ = ("began", "context", "is_abandoned", "seen_stopped", "start", "task")

    def __init__(self, start: Start, context: Context) -> None:
        self.start = start
        self.context = context
        self.began = monotonic()
        self.task: Task[None] | None = None
        self.is_abandoned = False
        self.seen_stopped: float | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether it has taken no notice of its deadline, for long enough since that was seen: a clock that jumps past
        it leaves a job its time to end, too."""
        if self.context.stopped is None:
            return False
        if self.seen_stopped is None:
            self.seen_stopped = monotonic()
        return monotonic() - self.seen_stopped > STUCK_S

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody cancelled it; else it raised that itself, or awaited what others had cancelled."""
        return self.task is None or self.task.cancelling() > 0

    def stop(self, why: Exception) -> None:
        """Stop it; whatever it does from now on is not kept."""
        if self.task is not None and self.context.stopped is None:
            self.context.stopped = why
            self.task.cancel()


class Runner:
    """Runs what a worker has claimed.

    Args:
        on_pause: told how long it is until a job comes again.
    """

    def __init__(self, store: Store, book: Book, settling: Settling, on_pause: Callable[[float], None]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """How many starts ended in which way, by queue."""
        self._store = store
        self._book = book
        self._settling = settling
        self._on_pause = on_pause

    async def run(self, job: Compiled, running: Running) -> None:
        start = running.start
        try:
            arguments = job.arguments(start.data)
        except Invalid as error:
            self._misfit(job, start, error)
            return
        try:
            value = await job.plan.call(running.context, arguments)
            result = job.result(value) if job.keep_s and not job.is_transaction else None
        except Suspended as suspended:
            self._again(start, suspended.pause_s, refund=1)
        except Superseded:
            self._count(job, "superseded")
            log.warning("job %s %s: another start of it counts; nothing of this one was kept", start.name, start.id)
        except Cancelled:
            self.cancelled(start)
        except Draining:
            self.give_back(start)
        except CancelledError as error:
            if not running.is_cancelled:
                await self._failed(job, start, error)
                return
            self.give_back(start)
            raise
        except BaseException as error:
            # Whatever it raises: what nobody writes down would begin anew for ever, and never count.
            if not running.is_abandoned:
                await self._failed(job, start, error)
        else:
            if running.is_abandoned:
                return
            self._count(job, "done")
            if not job.is_transaction:
                self._settle("done", start, result=result, keep=job.keep_s)

    async def abandon(self, job: Compiled, running: Running) -> None:
        """Count one that does not end as failed, so that it does not hold its place for ever."""
        running.is_abandoned = True
        if running.task is not None:
            await abandon(running.task, running.context)
        await self._failed(job, running.start, DeadlineExceeded(ABANDONED))

    async def _failed(self, job: Compiled, start: Start, error: BaseException) -> None:
        if isinstance(error, Overloaded) or (isinstance(error, Unavailable) and await self._is_away()):
            self.give_back(start, REFUSED_S)
            return
        if isinstance(error, GiveUp):
            self._dead(job, start, error, words_of(error) or "it gave up")
            return
        failures = start.failures_before + 1
        retries = job.rules.retries.of(error)
        if isinstance(error, Again):
            pause = error.delay_s if failures < retries.attempts_max or not error.counts else None
            refund = int(not error.counts)
        else:
            pause, refund = retries.pause_s(failures), 0
        if pause is None:
            self._dead(job, start, error, f"it failed {failures} times" if failures > 1 else "it failed")
            return
        self._count(job, "again")
        self._again(start, pause, refund=refund, error=_report(start, error))

    def _misfit(self, job: Compiled, start: Start, error: Invalid) -> None:
        """While one release takes the place of another, each may be given what only the other can read: so it comes
        again, for hours, whatever the job's own retries say of what it does."""
        pause = _MISFIT.pause_s(start.failures_before + 1)
        if pause is None:
            self._dead(job, start, error, "its inputs fit the job no more")
            return
        log.warning("job %s %s comes again: its inputs do not fit it in this release: %s", start.name, start.id, error)
        self._count(job, "again")
        self._again(start, pause, error=_report(start, error))

    async def _is_away(self) -> bool:
        try:
            await self._store.ping()
        except Error:
            return True
        return False

    def _dead(self, job: Compiled, start: Start, error: BaseException, reason: str) -> None:
        self._count(job, "dead")
        log.error("job %s %s is a dead letter: %s", start.name, start.id, reason, exc_info=error)
        self._settle("dead", start, error=_report(start, error), reason=reason)

    def cancelled(self, start: Start) -> None:
        """It was cancelled, whether it had begun or not."""
        job = self._book.by_name[start.name]
        self._count(job, "cancelled")
        self._settle("done", start, outcome="cancelled", keep=job.rules.keep_result_s)

    def give_back(self, start: Start, pause: float = 0.0) -> None:
        """Let it begin anew, here or elsewhere, as if it had not been begun."""
        self._settle("again", start, pause=pause, refund=1)

    def _again(self, start: Start, pause: float, **what: Any) -> None:
        # In this order: what is no number is no pause.
        pause = min(max(PAUSE_MIN_S, pause), PAUSE_MAX_S)
        self._settle("again", start, pause=pause, **what)
        self._on_pause(pause)

    def _settle(self, kind: str, start: Start, **what: Any) -> None:
        self._settling.add(kind, Outcome(id=str(start.id), fence=start.fence, **what))
        if kind == "done" and self._book.by_name[start.name].has_steps:
            self._settling.add("forget", Outcome(id=str(start.id), fence=start.fence))

    def _count(self, job: Compiled, outcome: str) -> None:
        self.counts[job.rules.queue, outcome] += 1


def context_of(job: Compiled, start: Start) -> Context:
    """What is known about the call that *start* is: on whose behalf, and until when."""
    plan = job.plan
    context = Context.within(job.name, plan.deadline_s, principal_of(start.headers))
    context.traceparent = start.headers.get(TRACEPARENT)
    context.priority = Priority.SHEDDABLE
    context.delivery = Delivery(
        consumer=job.name, id=str(start.id), key=start.key, at=start.at, attempt=start.attempt, fence=start.fence
    )
    return context


def _report(start: Start, error: BaseException) -> str:
    """What is kept of a failure: when, which attempt, what, and where from."""
    lines = kept("".join(traceback.format_exception(error))[-TRACEBACK_CHARS_MAX:])
    what = f"{type(error).__name__}: {words_of(error)}"
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} attempt {start.attempt}: {what}\n{lines}\n"
