"""What is wrong with a declared app, before anything is compiled: every complaint, each with its remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from math import inf
from typing import Any

from toque.call.delivery import Delivery
from toque.call.resources import Pantry
from toque.codecs.file import takes_upload
from toque.codecs.multipart import multipart_reader
from toque.contract import schema
from toque.contract.access import Access
from toque.contract.complaints import Complaint
from toque.contract.errors import Error
from toque.contract.module import Module
from toque.contract.nodes import holds_carried
from toque.contract.operation import FRESHNESS, ISOLATIONS, PRIORITIES, Kind, Operation
from toque.contract.signature import Place, Signature, path_names
from toque.store.database import DATABASES
from toque.transports.bodies import body_type

__all__ = ["of_modules", "of_operation", "of_seed", "of_signature"]

OWN_PLACES = {("POST", "/rpc"): "JSON-RPC", ("GET", "/ws"): "the WebSocket"}
"""Where every app answers by itself, whatever its settings say."""


def of_modules(modules: Sequence[Module]) -> Iterator[Complaint]:
    """Whatever there is twice."""
    for module, count in Counter(modules).items():
        if count > 1:
            yield Complaint(f"module {module.name}", f"it is included {count} times", "include it once")
    operations = [operation for module in dict.fromkeys(modules) for operation in module.operations]
    started = [operation for module in dict.fromkeys(modules) for operation in (*module.handlers, *module.jobs)]
    for name, count in Counter(operation.name for operation in (*operations, *started)).items():
        if count > 1:
            yield Complaint(name, f"{count} operations have this name", "give all but one another, with name=")
    yield from _shared_paths(operations)
    yield from _queues(list(dict.fromkeys(modules)))
    folders = [files.path for module in modules for files in module.static_files]
    folders += [mount.path for module in modules for mount in module.mounts]
    for path, count in Counter(folders).items():
        if count > 1:
            yield Complaint(path or "/", f"{count} folders or apps are mounted here", "give each a path of its own")


def _queues(modules: Sequence[Module]) -> Iterator[Complaint]:
    limited = Counter(limits.queue for module in modules for limits in module.queues)
    used = {job.job.queue for module in modules for job in module.jobs if job.job is not None}
    for name, count in limited.items():
        if count > 1:
            yield Complaint(f"queue {name}", f"its limits are given {count} times", "give them once")
        if name not in used:
            near = get_close_matches(name, used, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"let a job be in it: @app.job(queue={name!r})"
            yield Complaint(f"queue {name}", "it has limits and no jobs", hint)


def of_operation(operation: Operation) -> Iterator[Complaint]:
    """What its declaration alone gets wrong."""

    def complaint(problem: str, remedy: str) -> Complaint:
        return Complaint(operation.name, problem, remedy, operation.where)

    if operation.allow is not None and not isinstance(operation.allow, Access):
        yield complaint(
            f"allow= is {operation.allow!r}, which is no access rule",
            "use public, authenticated, role(...), scope(...), webhook(...) or predicate(...)",
        )
    if operation.allow is None:
        yield complaint(
            "nobody said who may call it",
            "add allow=public, authenticated, role(...), scope(...), webhook(...) or predicate(...)",
        )
    if (problem := _path_problem(operation.path)) is not None:
        yield complaint(*problem)
    if (own := OWN_PLACES.get((operation.method, operation.path or ""))) is not None:
        yield complaint(f"{operation.path} is {own}'s own", "give it another path")
    if not 200 <= operation.status <= 299:
        yield complaint(f"status {operation.status} is not one of success", "choose 200 to 299; failures are raised")
    for name in ("deadline_s", "body_bytes_max"):
        limit = getattr(operation, name)
        if limit is not None and (not isinstance(limit, int | float) or limit <= 0):
            yield complaint(f"{name} is {limit!r}", "choose more than nothing, or leave it to the settings")
    if (problem := _isolation_problem(operation)) is not None:
        yield complaint(*problem)
    if operation.priority not in PRIORITIES:
        near = get_close_matches(str(operation.priority), PRIORITIES, 1)
        yield complaint(
            f"priority={operation.priority!r} is none",
            f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(PRIORITIES)}",
        )
    for wrong in _of_freshness(operation):
        yield complaint(*wrong)
    if not isinstance(operation.errors, tuple):
        yield complaint(*_not_listed("errors", operation.errors))
    for error in operation.errors if isinstance(operation.errors, tuple) else ():
        if not (isinstance(error, type) and issubclass(error, Error)):
            yield complaint(f"errors= holds {error!r}", "list subclasses of toque.Error")


def of_signature(operation: Operation, signature: Signature, pantry: Pantry) -> Iterator[Complaint]:
    """Where the declaration and the function do not go together."""
    for problem, remedy in (
        *_of_access(operation, signature),
        *_of_webhooks(operation, signature),
        *_of_output(operation, signature),
        *_of_location(operation, signature),
        *_of_files(operation, signature),
        *_of_transaction(operation, signature, pantry),
    ):
        yield Complaint(operation.name, problem, remedy, operation.where)
    if operation.kind in (Kind.QUERY, Kind.COMMAND) and any(tp is Delivery for _, tp in signature.resources):
        remedy = "ask for Delivery in a handler, a job or a step; for Context here"
        yield Complaint(operation.name, "it is called, and nothing is delivered to it", remedy, operation.where)
    if not signature.is_async and not pantry.closure(wanted for _, wanted in signature.resources).isdisjoint(DATABASES):
        yield Complaint(
            operation.name, "a plain `def` cannot wait for Database", "make it `async def`", operation.where
        )


def of_seed(seed: Operation, signature: Signature) -> Iterator[Complaint]:
    """A seed is called by nobody, so nobody can give it anything."""
    for found in signature.inputs:
        yield Complaint(
            seed.name, f"nobody gives a seed its input {found.name!r}", "ask for resources only", seed.where
        )


def _shared_paths(operations: Sequence[Operation]) -> Iterator[Complaint]:
    places: dict[tuple[str, str], list[str]] = {}
    for operation in operations:
        if operation.path is not None:
            places.setdefault((operation.method, _shape_of(operation.path)), []).append(operation.name)
    for (method, path), names in places.items():
        if len(names) > 1:
            sharing = ", ".join(names)
            yield Complaint(f"{method} {path}", f"{sharing} share this path", "give each a path of its own")


def _shape_of(path: str) -> str:
    """Templates that differ only in their parameters' names are the same path."""
    return "/".join("{}" if segment.startswith("{") else segment for segment in path.split("/"))


def _path_problem(path: str | None) -> tuple[str, str] | None:
    for segment in (path or "").split("/"):
        is_parameter = segment.startswith("{") and segment.endswith("}") and segment[1:-1].isidentifier()
        if not is_parameter and set(segment) & set("{}"):
            return f"path segment {segment!r} is not {{name}}", "use whole segments: /orders/{id}"
        if set(segment) & set("?#% "):
            return f"path segment {segment!r} holds what a path cannot", "do without ? # % and spaces"
    for name, count in Counter(path_names(path)).items():
        if count > 1:
            return f"path {path!r} names {{{name}}} {count} times", "give each its own name"
    return None


def _isolation_problem(operation: Operation) -> tuple[str, str] | None:
    known = ISOLATIONS[operation.kind]
    if operation.isolation is None or operation.isolation in known:
        return None
    if operation.isolation in ISOLATIONS[Kind.COMMAND]:
        return (
            f"isolation= is {operation.isolation!r}, and a query reads one state of the database",
            f"leave it out, or choose {' or '.join(map(repr, known))}",
        )
    near = get_close_matches(str(operation.isolation).lower(), known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose {' or '.join(map(repr, known))}"
    return f"isolation= is {operation.isolation!r}, which is none", hint


Problem = tuple[str, str]
"""What is wrong, and what to do."""


def _of_freshness(operation: Operation) -> Iterator[Problem]:
    freshness, reads = operation.freshness, operation.reads
    if isinstance(freshness, str) and freshness not in FRESHNESS:
        near = get_close_matches(freshness, FRESHNESS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose {' or '.join(map(repr, FRESHNESS))}, or seconds"
        yield f"freshness={freshness!r} is none", hint
    elif not isinstance(freshness, str | int | float | None) or isinstance(freshness, bool):
        yield f"freshness= is {freshness!r}", f"choose {' or '.join(map(repr, FRESHNESS))}, or seconds"
    elif isinstance(freshness, int | float) and not 0 <= freshness < inf:
        yield f"freshness={freshness} is no time", "choose a number of seconds from 0 on"
    for name in ("stale_while_revalidate_s", "stale_if_error_s"):
        seconds = getattr(operation, name)
        if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds < inf):
            yield f"{name}={seconds!r} is no time", "choose a number of seconds from 0 on"
        elif seconds is not None and not operation.is_cached:
            yield f"cached=False leaves no answer about which {name}= says anything", "leave one of them out"
    if not operation.is_cached and (freshness is not None or reads is not None):
        yield "cached=False has it always run, and it says how its kept answers are", "leave one of them out"
    if reads is None:
        return
    if not isinstance(reads, tuple):
        yield _not_listed("reads", reads)
        return
    if not reads:
        yield "reads= names no model, so nothing would ever make its answer old", "name what it reads, or cached=False"
    for model in reads:
        if not hasattr(model, "__mapper__"):
            yield f"reads= holds {model!r}, which is no model", "name mapped classes: reads=[Order]"


def _not_listed(name: str, value: Any) -> Problem:
    told = value.__name__ if isinstance(value, type) else repr(value)
    return f"{name}= is {told}, which is no list", f"put it in brackets: {name}=[{told}]"


def _of_access(operation: Operation, signature: Signature) -> Iterator[Problem]:
    names = sorted(found.name for found in signature.inputs)
    reads = operation.allow.reads if isinstance(operation.allow, Access) else frozenset()
    for unknown in sorted(reads - set(names)):
        near = get_close_matches(unknown, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"its inputs are: {', '.join(names) or 'none'}"
        yield f"its access rule reads {unknown}, which is no input", hint


def _of_webhooks(operation: Operation, signature: Signature) -> Iterator[Problem]:
    if not isinstance(operation.allow, Access) or not operation.allow.webhooks:
        return
    if operation.path is None:
        yield "only HTTP carries a webhook, and it has no path", 'give it one: "/hooks/payments"'
    if signature.places(Place.UPLOAD):
        yield "a webhook is verified as a whole, and it takes its body as it comes", "take a Struct or a dict"
    elif not signature.places(Place.BODY, Place.MEMBER):
        yield "a webhook is a body, and it takes none", "take the message as an input: `message: OrderEvent`"


def _of_output(operation: Operation, signature: Signature) -> Iterator[Problem]:
    is_bytes = schema.plain_type(signature.output) is bytes
    if is_bytes and operation.media_type is None:
        yield "it answers bytes of no stated kind", 'add media_type="application/pdf" or the like'
    if operation.media_type is not None and not is_bytes:
        yield (
            "media_type= is for bytes, and it answers something else",
            "leave it out: callers choose the format",
        )
    if signature.is_stream and operation.page is not None:
        yield "it answers a stream, and a page shows one answer", "answer a list, or leave page= out"
    if operation.status in (204, 205) and signature.output is not None:
        yield (
            f"status {operation.status} has no content, but it answers something",
            "leave it out, or `-> None`",
        )


def _of_files(operation: Operation, signature: Signature) -> Iterator[Problem]:
    """Some format carries all else that `read_signature` takes; a file comes in forms alone, and leaves in none."""
    if signature.output is not None and holds_carried(signature.output):
        yield "it answers a file, which no format carries", "answer its bytes, with media_type="
    has_file = any(holds_carried(found.type) for found in signature.places(Place.BODY, Place.MEMBER))
    if has_file and multipart_reader(body_type(operation, signature)) is None:
        yield (
            "its body holds a file beside what no form carries",
            "give it a Struct whose fields are files, plain values and lists of them",
        )


def _of_transaction(operation: Operation, signature: Signature, pantry: Pantry) -> Iterator[Problem]:
    has_database = not pantry.closure(wanted for _, wanted in signature.resources).isdisjoint(DATABASES)
    if operation.isolation is not None and not has_database:
        yield "isolation= is for a transaction, and it asks for no Database", "ask for one, or leave isolation= out"
    if operation.is_idempotent and signature.is_stream:
        yield "it answers a stream, and is_idempotent= keeps one answer", "answer a list, or leave is_idempotent= out"
    if operation.is_idempotent and takes_upload(signature):
        yield "it takes a file, which is_idempotent= cannot compare with the next", "leave is_idempotent= out"


def _of_location(operation: Operation, signature: Signature) -> Iterator[Problem]:
    names = path_names(operation.location)
    fields = sorted(field.attribute for field in schema.fields_of(signature.output)) if names else []
    for name in names:
        if name not in fields:
            near = get_close_matches(name, fields, 1)
            known = f"its fields are: {', '.join(fields) or 'none'}"
            hint = f"did you mean {{{near[0]}}}?" if near else known
            yield f"location= names {{{name}}}, which is no field of the answer", hint
