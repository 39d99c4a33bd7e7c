"""What is wrong with declared events, handlers and jobs, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import chain

from toque.contract.complaints import Complaint
from toque.contract.event import Event
from toque.contract.job import JobRules, Retries
from toque.contract.module import Module
from toque.contract.operation import Operation
from toque.contract.signature import Place, Signature
from toque.store.database import DATABASES

__all__ = ["is_event", "of_events", "of_handler", "of_job"]

Problem = tuple[str, str]
"""What is wrong, and what to do."""

ON_FAILURE = ("park", "skip")

PRIORITY_MAX = 32_767
"""What the jobs' table has room for, both ways."""

QUEUE_CHARS_MAX = 255
"""As of an event's key."""


def is_event(thing: object) -> bool:
    """Whether *thing* is a class of events."""
    return isinstance(thing, type) and issubclass(thing, Event) and thing is not Event


def of_events(modules: Sequence[Module]) -> Iterator[Complaint]:
    """What is no event, and what cannot be told apart in the log."""
    for module in modules:
        for sent in module.sent:
            if not is_event(sent):
                remedy = "sends(...) takes classes of events: sends(OrderPlaced)"
                yield Complaint(f"module {module.name}", f"it sends {sent!r}, which is no event", remedy)
    handled = (handler.event for module in modules for handler in module.handlers)
    known = dict.fromkeys(filter(is_event, chain(handled, *(module.sent for module in modules))))
    by_type: dict[str, list[str]] = {}
    for event in known:
        assert event is not None, "None is no event"
        by_type.setdefault(event.type_name(), []).append(f"{event.__module__}.{event.__qualname__}")
        if not isinstance(event.__version__, int) or event.__version__ < 1:
            remedy = "number the versions from 1 on"
            yield Complaint(f"event {event.type_name()}", f"its __version__ is {event.__version__!r}", remedy)
    for type, classes in by_type.items():
        if len(classes) > 1:
            remedy = 'give all but one another type: __type__ = "orders.Placed"; what was published keeps its type'
            yield Complaint(f"event {type}", f"{' and '.join(classes)} have this type", remedy)


def of_handler(handler: Operation, signature: Signature) -> Iterator[Complaint]:
    """A handler is given its event, and answers nobody."""
    for problem, remedy in _of_handler(handler, signature):
        yield Complaint(handler.name, problem, remedy, handler.where)


def _of_handler(handler: Operation, signature: Signature) -> Iterator[Problem]:
    if handler.on_failure not in ON_FAILURE:
        near = get_close_matches(str(handler.on_failure), ON_FAILURE, 1)
        hint = f"did you mean {near[0]!r}?" if near else "choose 'park', which keeps the order of a key, or 'skip'"
        yield f"on_failure={handler.on_failure!r} is none", hint
    yield from _of_attempts(handler.attempts_max, "attempts_max")
    event = handler.event
    if not is_event(event):
        yield f"it is on {event!r}, which is no event", "on(...) takes a class of events"
        return
    assert event is not None, "None is no event"
    taken = [found.name for found in signature.inputs if found.type is not event]
    if taken or len(signature.inputs) != 1:
        got = f"it takes {', '.join(taken)}" if taken else f"it takes no {event.__name__}"
        yield got, f"let it take one input, event: {event.__name__}, and ask for resources by type"
    if signature.is_stream or signature.output is not None:
        yield "it answers, and nobody hears it", "let it return None"


def of_job(job: Operation, signature: Signature) -> Iterator[Complaint]:
    """A job is given its inputs by position, and from a document."""
    problems = _of_job(job, signature)
    if job.job is not None:
        problems = chain(problems, _of_rules(job.job))
    for problem, remedy in problems:
        yield Complaint(job.name, problem, remedy, job.where)


def _of_job(job: Operation, signature: Signature) -> Iterator[Problem]:
    names, first = [found.name for found in signature.inputs], min((at for at, _ in signature.resources), default=0)
    if names and signature.resources and first < len(names):
        yield "it asks for something before its last input", f"let {', '.join(names)} come first, in this order"
    for found in signature.inputs:
        if found.name in signature.keywords:
            yield f"its input {found.name!r} is taken by name only", "put it before the `*`"
        if found.place is Place.UPLOAD:
            yield f"its input {found.name!r} is an upload", "keep the file, and give the job its name"
    if signature.is_stream:
        yield "it answers a stream, and nobody reads it", "let it return one value"
    if job.job is not None and job.job.schedule is not None and any(found.is_required for found in signature.inputs):
        yield f"it begins by itself, and nobody gives it {names[0]!r}", "let it take no inputs"
    from toque.messages.jobs.steps import Steps

    types = {tp for _, tp in signature.resources}
    if Steps in types and not types.isdisjoint(DATABASES):
        yield "its steps are transactions of their own, and it is one too", "ask for Database in the steps' functions"


def _of_rules(rules: JobRules) -> Iterator[Problem]:
    if not isinstance(rules.queue, str) or not 1 <= len(rules.queue) <= QUEUE_CHARS_MAX:
        yield f"queue={rules.queue!r} is no queue's name", f"choose text of 1 to {QUEUE_CHARS_MAX} characters"
    if not isinstance(rules.priority, int) or abs(rules.priority) > PRIORITY_MAX:
        choice = f"choose a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}; the higher goes first"
        yield f"priority={rules.priority!r} cannot be kept", choice
    if not _is_seconds(rules.keep_result_s):
        yield f"keep_result_s={rules.keep_result_s!r} is no time", "choose seconds; 0 keeps no result"
    yield from _of_retries(rules.retries, "retries")


def _of_retries(retries: object, name: str) -> Iterator[Problem]:
    if not isinstance(retries, Retries):
        yield f"{name}={retries!r} is none", "say how often it is tried in all, or Retries(...)"
        return
    yield from _of_attempts(retries.attempts_max, f"{name}.attempts_max")
    for part in ("first_s", "longest_s"):
        if not _is_seconds(seconds := getattr(retries, part)):
            yield f"{name}.{part} is {seconds!r}", "choose seconds"
    if not all(map(_is_seconds, retries.pauses_s)):
        yield f"{name}.pauses_s is {retries.pauses_s!r}", "choose seconds, one for each attempt but the first"
    elif _is_seconds(retries.first_s) and _is_seconds(retries.longest_s) and retries.first_s > retries.longest_s:
        problem = f"{name}.first_s is {retries.first_s:g}, and no pause is longer than {retries.longest_s:g} s"
        yield problem, "choose a shorter first one, or a larger longest_s"
    for error, others in retries.by_error.items():
        if not (isinstance(error, type) and issubclass(error, Exception)):
            yield f"{name}.by_error has {error!r}, which is no class of errors", "name a class: {TimeoutError: ...}"
            continue
        yield from _of_retries(others, f"{name}.by_error[{error.__name__}]")
        if isinstance(others, Retries) and others.by_error:
            yield (
                f"{name}.by_error[{error.__name__}] has errors of its own, which nobody asks for",
                "name them beside it",
            )


def _of_attempts(attempts: object, name: str) -> Iterator[Problem]:
    if not isinstance(attempts, int) or attempts < 1:
        yield f"it is tried {attempts!r} times ({name})", "choose how often it is tried in all, 1 or more"


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0
