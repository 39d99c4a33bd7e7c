"""Named steps of a program, and a way to be there when one is reached: the program itself knows nothing of it.

A step is a row of a table: a function, and whether it is about to be called or has just returned. In a process that is
to be harmed those functions are wrapped; in every other one there is nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, Literal

from msgspec import Struct

from toque.testing.faults.everywhere import replace

__all__ = ["JOBS", "MESSAGES", "STORE", "WAITS", "Step", "arm", "find"]

Reached = Callable[[str], None]

Moment = Literal["before", "after"]


class Step(Struct, frozen=True):
    """One moment of a program."""

    name: str
    target: str
    """`package.module:function` or `package.module:Class.method`."""
    moment: Moment
    databases: tuple[str, ...] = ("sqlite", "postgresql")
    """Where it can be reached."""


def _around(name: str, target: str, *databases: str) -> tuple[Step, Step]:
    reached = databases or ("sqlite", "postgresql")
    return Step(f"before {name}", target, "before", reached), Step(f"after {name}", target, "after", reached)


STORE: tuple[Step, ...] = (
    *_around("a statement", "toque.store.sqlite_batch:Batch.run", "sqlite"),
    *_around("the end of a command in its batch", "toque.store.sqlite_batch:Batch.end", "sqlite"),
    *_around("the batch's COMMIT", "toque.store.sqlite_batch:Batch.settle", "sqlite"),
    *_around("a statement's answer", "toque.store.postgres_connection:Connection.affected", "postgresql"),
    *_around("BEGIN", "toque.store.postgres_connection:Connection.begin_numbered", "postgresql"),
    *_around("COMMIT", "toque.store.postgres_transaction:PostgresTransaction.commit", "postgresql"),
    *_around("the key is claimed", "toque.store.replies:Replies.claim"),
    *_around("the answer is kept", "toque.store.replies:Replies.keep"),
    *_around("a command", "toque.store.attempts:Attempts.command"),
)
"""What a command does to its database."""


MESSAGES: tuple[Step, ...] = (
    *_around("a consumer is taken over", "toque.messages.register:Register.take"),
    *_around("what a former owner left is looked at", "toque.messages.parked:Parked.recover"),
    *_around("events are read", "toque.messages.feed:Feed.read"),
    *_around("an event is handled", "toque.messages.handling:Handling.run"),
    *_around("the inbox row", "toque.messages.inbox:Inbox.claim"),
    *_around("events are parked", "toque.messages.parked:Parked.add"),
    *_around("a parked event is tried", "toque.messages.parked:Parked.start"),
    *_around("a parked event is done", "toque.messages.parked:Parked.leave"),
    *_around("the cursor is noted", "toque.messages.register:Register.move"),
    *_around("a claim", "toque.log.tail:Tail.claim"),
    *_around("a claim is let go", "toque.log.tail:Tail.release"),
    *_around("others are rung for", "toque.log.tail:Tail._ring"),
)
"""What the consumers of events do."""


JOBS: tuple[Step, ...] = (
    *_around("jobs are claimed", "toque.messages.jobs.table:JobTable.claim"),
    *_around("jobs are settled", "toque.messages.jobs.table:JobTable.settle"),
    *_around("a job is run", "toque.messages.jobs.runner:Runner.run"),
    *_around("the dead are looked for", "toque.messages.jobs.rescue:Rescue.look"),
    *_around("a dead worker's jobs are given back", "toque.messages.jobs.rescue:Rescue._give_back"),
    *_around("a durable step", "toque.messages.jobs.steps:Steps.run"),
    *_around("a worker gets its number", "toque.messages.jobs.table:JobTable.number"),
)
"""What workers do to jobs."""


WAITS: tuple[Step, ...] = (
    *_around("a wait begins", "toque.messages.jobs.steps:Steps._begin_waiting"),
    *_around("a wait is looked for", "toque.messages.jobs.steps:Steps._found"),
    *_around("events are compared with waits", "toque.messages.jobs.matching:Matching._compare"),
)
"""What jobs that wait for events do, and who wakes them."""


def find(steps: Iterable[Step]) -> None:
    """Do nothing where every one of *steps* is there. Raises: as `arm` does."""
    for step in steps:
        _find(step.target)


def arm(steps: Iterable[Step], reached: Reached) -> None:
    """Have *reached* called with a step's name, in the thread that reaches it.

    Raises: LookupError where a step's function is not there, or not a plain or async one.
    """
    targets: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        targets[step.target].append(step)
    for target, group in targets.items():
        owner, name, function = _find(target)
        before = [step.name for step in group if step.moment == "before"]
        after = [step.name for step in group if step.moment == "after"]
        wrapped = _wrapped(function, before, after, reached)
        if isinstance(owner, type):
            setattr(owner, name, wrapped)
        else:
            replace(function, wrapped)


def _find(target: str) -> tuple[Any, str, Callable[..., Any]]:
    """What has the function, under which name, and the function."""
    module, _, path = target.partition(":")
    *outer, name = path.split(".")
    owner: Any = import_module(module)
    for part in outer:
        owner = _part(owner, part, target)
    # As it is written, not as it is bound.
    function = vars(owner).get(name)
    if not hasattr(function, "__code__"):
        _part(owner, name, target)
        raise LookupError(f"the step {target} has to be a function of its own, no property, class or inherited one.")
    return owner, name, function


def _part(owner: Any, name: str, target: str) -> Any:
    try:
        return vars(owner)[name]
    except KeyError:
        near = get_close_matches(name, vars(owner), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise LookupError(f"the step {target}: {owner.__name__} has no {name}{hint}") from None


def _wrapped(
    function: Callable[..., Any], before: Sequence[str], after: Sequence[str], reached: Reached
) -> Callable[..., Any]:
    if iscoroutinefunction(function):

        @wraps(function)
        async def waits(*args: Any, **options: Any) -> Any:
            for name in before:
                reached(name)
            result = await function(*args, **options)
            for name in after:
                reached(name)
            return result

        return waits

    @wraps(function)
    def runs(*args: Any, **options: Any) -> Any:
        for name in before:
            reached(name)
        result = function(*args, **options)
        for name in after:
            reached(name)
        return result

    return runs
