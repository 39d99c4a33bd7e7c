"""A named group of operations, resources, files and mounted apps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct

from toque.contract import limits
from toque.contract.access import Access, public
from toque.contract.errors import Error
from toque.contract.event import Event
from toque.contract.job import DEFAULT_QUEUE, KEEP_RESULT_S, JobRules, Retries
from toque.contract.limits import Limits
from toque.contract.operation import ATTEMPTS_MAX, FreshnessWord, Isolation, Kind, Operation
from toque.contract.schedule import Missed
from toque.contract.schedule import cron as cron_line
from toque.contract.schedule import every as every_interval

__all__ = ["Lifetime", "Module", "Mount", "Recipe", "StaticFiles", "declared_job"]

Function = TypeVar("Function", bound=Callable[..., Any])
Lifetime = Literal["app", "call"]
PriorityWord = Literal["critical", "normal", "sheddable"]


class Recipe(Struct, frozen=True):
    """How a resource is made: a factory, and how long what it makes lives."""

    factory: Callable[..., Any]
    lifetime: Lifetime
    namespace: Mapping[str, Any]


class StaticFiles(Struct, frozen=True):
    """A folder whose files are served below a path."""

    path: str
    folder: Path


class Mount(Struct, frozen=True):
    """An ASGI application that answers below a path."""

    path: str
    asgi: Callable[..., Any]


class Module:
    """A named group of operations and resources, included in an app with `App(modules=[...])`.

    Args:
        name: the first part of every operation's name: `kitchen.cook`.
        prefix: put before the path of every operation: `/kitchen`.
        tags: how the operations are grouped in the documentation; the module's name unless given.
    """

    def __init__(self, name: str, *, prefix: str = "", tags: Sequence[str] = ()) -> None:
        if not name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"a module's name is letters, digits, '_' and '-', got {name!r}")
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ValueError(f"a prefix starts with '/' and does not end with one, got {prefix!r}")
        self.name = name
        self.prefix = prefix
        self.tags = tuple(tags) or (name,)
        self.operations: list[Operation] = []
        self.recipes: list[Recipe] = []
        self.static_files: list[StaticFiles] = []
        self.mounts: list[Mount] = []
        self.seeds: list[Operation] = []
        self.sent: list[type[Event]] = []
        self.handlers: list[Operation] = []
        self.jobs: list[Operation] = []
        self.queues: list[Limits] = []
        self.folder = _folder_of(sys._getframe(1).f_globals)

    def query(
        self,
        path: str | None = None,
        *,
        allow: Access | None = None,
        name: str | None = None,
        page: str | None = None,
        media_type: str | None = None,
        errors: Sequence[type[Error]] = (),
        deadline_s: float | None = None,
        isolation: Isolation | None = None,
        priority: PriorityWord = "normal",
        freshness: FreshnessWord | float | None = None,
        cached: bool = True,
        stale_while_revalidate_s: float | None = None,
        stale_if_error_s: float | None = None,
        reads: Sequence[type] | None = None,
        is_deprecated: bool = False,
    ) -> Callable[[Function], Function]:
        """Offer a function that only reads.

        Where it asks for nothing but Database and Principal it is answered from memory until what it has read changes
        (docs/guides/caching.md).

        Args:
            path: where HTTP finds it: `/orders/{id}`. Without one it is offered by name only.
            allow: who may call; obligatory, an app does not start without it.
            name: the last part of its name; the function's own unless given.
            page: a template that shows the answer to browsers, beside the data formats.
            media_type: what the bytes are, where the answer is `bytes` or a stream of them.
            errors: what it raises besides the table's own codes; they join the documentation.
            deadline_s: seconds until the call is stopped; the settings' `calls.deadline_s` unless given.
            isolation: `serializable` for a snapshot that fits into the order of serializable commands.
            priority: where there is too much to do, `critical` goes first and `sheddable` is refused first.
            freshness: what an answer from memory may miss: `own-writes`, unless given, never misses what its caller has
                committed, and misses nobody's commit for longer than `cache.bound_s`; `strict` misses none; a number is
                a bound in seconds of its own.
            cached: False has it always run.
            stale_while_revalidate_s: how long caches on the way may give an old answer while they ask for a new one
                (RFC 5861).
            stale_if_error_s: and how long where that fails.
            reads: models; the author's word that its answer depends on their tables, its inputs and its caller alone.
                It is answered from memory then although it does what cannot be looked through.
        """
        return self._declare(
            Kind.QUERY, path, "GET", allow, name,
            page=page, media_type=media_type, errors=_listed(errors), deadline_s=deadline_s,
            isolation=isolation, priority=priority, is_deprecated=is_deprecated,
            freshness=freshness, is_cached=cached, reads=_listed(reads),
            stale_while_revalidate_s=stale_while_revalidate_s, stale_if_error_s=stale_if_error_s,
        )  # fmt: skip

    def command(
        self,
        path: str | None = None,
        *,
        allow: Access | None = None,
        name: str | None = None,
        method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST",
        status: int = 200,
        location: str | None = None,
        media_type: str | None = None,
        errors: Sequence[type[Error]] = (),
        deadline_s: float | None = None,
        body_bytes_max: int | None = None,
        isolation: Isolation | None = None,
        is_idempotent: bool = False,
        has_outside_effects: bool = False,
        priority: PriorityWord = "normal",
        is_deprecated: bool = False,
    ) -> Callable[[Function], Function]:
        """Offer a function that writes, in one transaction which is committed before the answer leaves.

        Args:
            method: the HTTP method.
            status: the HTTP status of success; an operation that answers nothing has 204.
            location: where what was made is found, from the answer's fields: `/orders/{id}`.
            body_bytes_max: the largest body; the settings' `http.body_bytes_max` unless given.
            isolation: how much of other commands it may see; `read committed` unless given.
            is_idempotent: under one `Idempotency-Key` it is done once, and its answer is given again.
            has_outside_effects: it does something that no rollback undoes, so it is never run again by itself.
            path, allow, name, media_type, errors, deadline_s, priority: as for `query`.
        """
        return self._declare(
            Kind.COMMAND, path, method, allow, name,
            status=status, location=location, media_type=media_type, errors=_listed(errors),
            deadline_s=deadline_s, body_bytes_max=body_bytes_max, isolation=isolation, priority=priority,
            is_idempotent=is_idempotent, has_outside_effects=has_outside_effects, is_deprecated=is_deprecated,
        )  # fmt: skip

    def on(
        self,
        event: type[Event],
        *,
        name: str | None = None,
        on_failure: Literal["park", "skip"] = "park",
        attempts_max: int = ATTEMPTS_MAX,
        deadline_s: float | None = None,
    ) -> Callable[[Function], Function]:
        """Have a function run for every *event* that is published, once each, in the order of the events' keys.

        It takes the event, and asks for what it needs by type, as a command does. It is one transaction, and acts on
        behalf of whoever published the event. What it does in the database is done once; what it does elsewhere may be
        done again after a crash, with the same `Delivery.idempotency_key`.

        Args:
            name: the last part of its name, under which it is known to have handled an event; the function's own unless
                given. Under another name it is another handler, which begins with the events that come from then on.
            on_failure: what becomes of the events of one key when one of them could not be handled in all its attempts:
                `park` keeps them behind it until somebody retries or discards it, `skip` puts it aside and goes on,
                out of order.
            attempts_max: how often an event is tried before it is kept as a dead letter.
            deadline_s: as for `query`.
        """

        return self._adding(
            self.handlers, Kind.HANDLER, name,
            allow=public, method="POST", deadline_s=deadline_s,
            event=event, on_failure=on_failure, attempts_max=attempts_max,
        )  # fmt: skip

    def job(
        self,
        *,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        retries: Retries | int | None = None,
        keep_result_s: float = KEEP_RESULT_S,
        name: str | None = None,
        deadline_s: float | None = None,
        isolation: Isolation | None = None,
        has_outside_effects: bool = False,
    ) -> Callable[[Function], Function]:
        """Have a function run later, by whichever process is free: `jobs.enqueue(function, ...)`.

        Its inputs come first, and then what it asks for by type, as a command does. It acts on behalf of whoever
        enqueued it. One that asks for Database is one transaction, and what it does there is done once; what it does
        elsewhere may be done again after a crash, with the same `Delivery.idempotency_key`.

        Args:
            queue: those of one queue stand in one line.
            priority: the higher goes first, of those in one queue.
            retries: when it is tried again after a failure; a number is how often it is tried in all.
            keep_result_s: how long what it returns is kept.
            name: the last part of its name; the function's own unless given. Jobs are kept under their names: rename
                the function and keep the name, and those that wait will find it.
            deadline_s: seconds until it is stopped; the settings' `messages.job_deadline_s` unless given.
            isolation, has_outside_effects: as for `command`.
        """

        return self._job(
            JobRules(queue=queue, priority=priority, retries=_retries(retries), keep_result_s=keep_result_s),
            name, deadline_s=deadline_s, isolation=isolation, has_outside_effects=has_outside_effects,
        )  # fmt: skip

    def queue(
        self,
        name: str,
        /,
        *,
        at_once: int | None = None,
        rate: str | None = None,
        at_once_per_key: int | None = None,
        rate_per_key: str | None = None,
    ) -> None:
        """Limit how many jobs of the queue *name* begin, in all processes together.

        Args:
            at_once: how many run at once.
            rate: how many begin in a time: `"100/1m"` is at most 100 in any minute.
            at_once_per_key, rate_per_key: the same for the jobs with one `key=`. Keys then take turns, and keep no
                order; jobs without one have no such limit.
        Raises: ValueError where a limit lets nothing begin, or is not written as one.
        """
        self.queues.append(
            Limits(
                queue=name,
                at_once=limits.at_once(at_once, "at_once"),
                rate=None if rate is None else limits.rate(rate),
                at_once_per_key=limits.at_once(at_once_per_key, "at_once_per_key"),
                rate_per_key=None if rate_per_key is None else limits.rate(rate_per_key),
            )
        )

    def every(
        self,
        interval: str | float | timedelta,
        *,
        missed: Missed = "last",
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        retries: Retries | int | None = None,
        name: str | None = None,
        deadline_s: float | None = None,
    ) -> Callable[[Function], Function]:
        """Have a job begin every *interval*: `"30s"`, `"5m"`, `"1h"`, seconds, or a timedelta.

        Once for all processes, at the multiples of the interval since 1970. It is a job without inputs; its next time
        may come before the last one has ended.

        Args:
            missed: what is made up for when no process was there: the `last` moment, `all` of them, or `none`.
            queue, priority, retries, name, deadline_s: as for `job`.
        """
        schedule = every_interval(interval, missed)
        rules = JobRules(queue=queue, priority=priority, retries=_retries(retries), schedule=schedule)
        return self._job(rules, name, deadline_s=deadline_s)

    def cron(
        self,
        line: str,
        *,
        zone: str = "UTC",
        missed: Missed = "last",
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        retries: Retries | int | None = None,
        name: str | None = None,
        deadline_s: float | None = None,
    ) -> Callable[[Function], Function]:
        """Have a job begin when a *line* of cron says, in the time of *zone*: `"0 6 * * 1-5"`, `"Europe/Berlin"`.

        What falls into the hour that summer time leaves out begins right after it; what falls into the hour that comes
        twice begins once, unless it is to begin hourly or more often. Needs `pip install 'toque[schedules]'`.

        Args:
            missed, queue, priority, retries, name, deadline_s: as for `every`.
        """
        schedule = cron_line(line, zone, missed)
        rules = JobRules(queue=queue, priority=priority, retries=_retries(retries), schedule=schedule)
        return self._job(rules, name, deadline_s=deadline_s)

    def _job(self, rules: JobRules, name: str | None, **details: Any) -> Callable[[Function], Function]:
        return self._adding(
            self.jobs, Kind.JOB, name, allow=public, method="POST", priority="sheddable", job=rules, **details
        )

    def resource(self, *, lifetime: Lifetime = "app") -> Callable[[Function], Function]:
        """Offer what a function makes to every operation that asks for its type.

        The function's return annotation is the type; what it needs itself it asks for by type. An (async)
        generator yields the resource once and cleans up after that, in a `finally`: as with
        `contextlib.contextmanager`, what the call raises is raised at the `yield`. An `app` resource is made
        at its first use and lives until the app stops, a `call` resource lives for one call; both end in the
        reverse order.
        """

        def declare(factory: Function) -> Function:
            self.recipes.append(Recipe(factory, lifetime, _locals_around(factory)))
            return factory

        return declare

    def sends(self, *events: type[Event]) -> None:
        """Let others subscribe to *events* by webhooks (`Webhooks`). No other event ever leaves by one."""
        self.sent.extend(events)

    def seed(self, function: Function) -> Function:
        """Fill a new database: *function* runs once in development, and in tests, after the tables were made.

        It asks for what it needs by type, as a command does, and is one transaction like a command.
        """
        name = f"{self.name}.{function.__name__}"
        self.seeds.append(
            Operation(name, Kind.COMMAND, function, public, method="POST", namespace=_locals_around(function))
        )
        return function

    def static(self, path: str, folder: str | Path) -> None:
        """Serve the files of *folder*, relative to this module's own folder, below *path*."""
        self.static_files.append(StaticFiles(self._below(path), self.folder / folder))

    def mount(self, path: str, asgi: Callable[..., Any]) -> None:
        """Let an ASGI application (FastAPI, Starlette, Django) answer below *path*."""
        self.mounts.append(Mount(self._below(path), asgi))

    def _below(self, path: str) -> str:
        if path and not path.startswith("/"):
            raise ValueError(f"a path starts with '/', got {path!r}")
        return self.prefix + path.rstrip("/")

    def _declare(
        self,
        kind: Kind,
        path: str | None,
        method: str,
        allow: Access | None,
        name: str | None,
        **details: Any,
    ) -> Callable[[Function], Function]:
        if callable(path):
            raise TypeError(f"an operation says who may call it: @{kind.value}(allow=...), with a path or without one")
        if path is not None and not (self.prefix + path).startswith("/"):
            raise ValueError(f"a path starts with '/', got {path!r}")
        if path and not path.startswith("/"):
            raise ValueError(f"below {self.prefix!r} a path starts with '/' or is empty, got {path!r}")

        full_path = None if path is None else self.prefix + path
        return self._adding(self.operations, kind, name, allow=allow, path=full_path, method=method, **details)

    def _adding(
        self, declared: list[Operation], kind: Kind, name: str | None, **details: Any
    ) -> Callable[[Function], Function]:
        """What adds a function to those *declared*, as an operation of *kind*."""

        def declare(function: Function) -> Function:
            operation = Operation(
                name=f"{self.name}.{name or function.__name__}",
                kind=kind,
                function=function,
                tags=self.tags,
                namespace=_locals_around(function),
                **details,
            )
            declared.append(operation)
            if kind is Kind.JOB:
                _declared_jobs[function] = operation.name
            return function

        return declare


_declared_jobs: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()


def declared_job(function: Callable[..., Any]) -> str | None:
    """The name under which some module declares *function* as a job, included in an app or not."""
    return _declared_jobs.get(function)


def _retries(given: Retries | int | None) -> Retries:
    return Retries(attempts_max=given) if isinstance(given, int) else Retries() if given is None else given


def _listed(given: Any) -> Any:
    """*given* as it is kept; what is no list is told of at start (`checks.py`)."""
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, (str, type)) else given


def _folder_of(module_globals: Mapping[str, Any]) -> Path:
    file = module_globals.get("__file__")
    return Path(file).resolve().parent if file else Path.cwd()


def _locals_around(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The local names where a nested function is declared; a function of a module needs none."""
    if "<locals>" not in getattr(function, "__qualname__", ""):
        return {}
    return dict(sys._getframe(2).f_locals)
