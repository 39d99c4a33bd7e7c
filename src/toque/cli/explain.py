"""`toque explain`: what an operation is compiled to, and where each part came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from toque.cache.learned import learned
from toque.cache.live import why_not_live
from toque.call.plan import Plan
from toque.cli.explain_messages import event_called, events_of, of_event, of_handler, of_job
from toque.cli.operations import OperationName, find_plan
from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.tables import Format, print_grid, print_json
from toque.cli.target import load_app
from toque.contract import schema
from toque.contract.errors import CODES
from toque.contract.nodes import nodes_of
from toque.contract.operation import ISOLATIONS, Kind
from toque.serving import Serving
from toque.store import AllRows, Database
from toque.store.attempts import ATTEMPTS_MAX
from toque.system.naming import roots_of
from toque.system.workshop import why_once
from toque.transports.jsonrpc import unoffered

__all__ = ["explain"]

Row = tuple[str, str, str]
"""What, its value, and where that came from."""


def explain(operation: OperationName, /, *, app: Target = ".", format: Format = "table") -> None:
    """Print what OPERATION, a handler, a job, an event or a table is, and where each part comes from.

    Of an operation its protocols, the formats that it takes and gives, its inputs, its policies in order, its limits.

    - `toque explain place_order --app shop`
    - `toque explain cook --app shop`: what starts this handler or job, and what becomes of failures.
    - `toque explain OrderPlaced --app shop`: who publishes this event, who handles it, and where else it goes.
    - `toque explain order`: the rules of the table `order`, in words and in the SQL of the app's database.

    Args:
        format: For people, or for programs.
    """
    loaded = load_app(app)
    serving = loaded.serve(settings_for(loaded))
    system = serving.system
    plans = {plan.operation.name: plan for plan in (*system.plans.values(), *system.handlers, *system.jobs)}
    if operation not in plans:
        if (lines := _rules(serving, operation)) is not None:
            _print(f"{operation} (rows)", ("rule", "in words", "in SQL"), [lines], format)
            return
        if (event := event_called(serving, operation)) is not None:
            rows = of_event(serving, event, _type_name)
            _print(f"{event.type_name()} (event)", HEADINGS, [map(_shown, rows)], format)
            return
    plan = find_plan(plans, operation, [*_tables(serving), *events_of(serving)])
    _print(f"{plan.operation.name} ({plan.operation.kind})", HEADINGS, _parts(serving, plan), format)


HEADINGS = ("what", "value", "from")


def _parts(serving: Serving, plan: Plan) -> Iterator[Iterable[Row]]:
    operation = plan.operation
    if operation.kind in (Kind.HANDLER, Kind.JOB):
        yield [("function", operation.summary, _near(operation.where))]
        is_job = operation.kind is Kind.JOB
        yield of_job(serving, plan, _type_name) if is_job else of_handler(serving, plan)
    else:
        yield _declared(plan)
        yield _carried(serving, plan)
        yield _live(serving, plan)
    yield _policies(plan)
    yield _memory(serving, plan)
    yield _limits(serving, plan)


def _shown(row: Row) -> Row:
    return (*row[:2], _near(row[2]))


def _print(title: str, headings: Row, parts: Iterable[Iterable[Row]], format: Format) -> None:
    if format == "json":
        print_json([dict(zip(headings, row, strict=True)) for part in parts for row in part])
        return
    print_grid(headings, *parts, title=title)


def _rules(serving: Serving, name: str) -> list[Row] | None:
    """The rules of the table or model called *name*; None where there is none."""
    guard, store = serving.system.guard, serving.system.store
    if guard is None or store is None:
        return None
    from toque.store.described import rules_of

    return rules_of(guard, name, store.dialect_name)


def _tables(serving: Serving) -> list[str]:
    guard = serving.system.guard
    return [] if guard is None else [table.name for table, _ in guard.tables.values()]


def _declared(plan: Plan) -> Iterator[Row]:
    operation, signature = plan.operation, plan.signature
    yield "function", operation.summary, _near(operation.where)
    if operation.path:
        yield "HTTP", f"{operation.method} {operation.path}", "its declaration"
    why_not = unoffered(plan)
    offered = f"POST /rpc and WebSocket /ws: {operation.name}"
    yield "JSON-RPC", why_not or offered, "its types" if why_not else "its name"
    yield "access", operation.allow.words if operation.allow else "nobody", "allow="
    for found in signature.inputs:
        required = "required" if found.is_required else f"default {found.default!r}"
        yield (
            f"input {found.name}",
            f"{_type_name(found.type)}, {required}",
            f"{found.place}: {found.wire_name}",
        )
    for error in operation.errors:
        yield "error", f"{error.code} (HTTP {CODES[error.code].http})", "errors="


def _carried(serving: Serving, plan: Plan) -> Iterator[Row]:
    operation, signature, offered = plan.operation, plan.signature, serving.offered(plan)
    if offered.takes:
        yield "takes", ", ".join(offered.takes), "what can carry its inputs"
    yield "output", _type_name(signature.output), "a stream" if signature.is_stream else "its annotation"
    if offered.gives:
        yield "gives", ", ".join(offered.gives), "what can carry its output"
    if operation.page:
        yield "page", operation.page, "page="


def _live(serving: Serving, plan: Plan) -> Iterator[Row]:
    """Whether its answer can be followed."""
    operation = plan.operation
    if operation.kind is not Kind.QUERY:
        return
    if why_not := why_not_live(plan, serving.system.cache):
        yield "live", "no", why_not
        return
    if operation.method == "GET" and operation.path:
        yield "live", f"text/event-stream at {operation.path}", "it is cached"
    yield "live", "subscribe on WebSocket /ws", "it is cached"


def _policies(plan: Plan) -> Iterator[Row]:
    for position, stage in enumerate(plan.stages, 1):
        yield f"policy {position}", stage.name, stage.why


def _memory(serving: Serving, plan: Plan) -> Iterator[Row]:
    """How a query is answered from memory."""
    cache = serving.system.cache
    if cache is None or not plan.is_cached:
        return
    query, settings = cache.queries[plan.operation.name], serving.settings
    bound_s = cache.bound_s if query.freshness.bound_s is None else query.freshness.bound_s
    what = "misses nobody's commit" if query.freshness.is_strict else f"misses no commit for longer than {bound_s:g} s"
    where = "freshness=" if plan.operation.freshness is not None else "cache.bound_s"
    is_sqlite = serving.system.store is not None and serving.system.store.dialect_name == "sqlite"
    yield "freshness", "misses nobody's commit" if is_sqlite else what, "SQLite" if is_sqlite else where
    room = f"{settings.cache.bytes_max:,} bytes a worker"
    yield "memory", room, f"cache.bytes_max, {settings.sources.get('cache.bytes_max', 'default')}"
    if settings.cache.purge_url:
        front = f"{settings.cache.edge_s:g} s, where nothing of its caller is asked"
        yield "in front", front, f"cache.edge_s, {settings.sources.get('cache.edge_s', 'default')}"
    if settings.cache.shared_url:
        shared = f"from {settings.cache.shared_from_s:g} s a run on"
        yield "shared", shared, f"cache.shared_url, {settings.sources.get('cache.shared_url', 'default')}"
    if plan.operation.reads is not None:
        yield "reads", ", ".join(model.__name__ for model in plan.operation.reads), "reads="
    known = learned(serving.app.folder).get(plan.operation.name)
    if known is not None and known.reads:
        yield "has read", known.words, "seen when it ran"
    if known is not None and known.why_not:
        yield "not kept", known.why_not, "seen when it ran"


def _limits(serving: Serving, plan: Plan) -> Iterator[Row]:
    operation, signature, settings = plan.operation, plan.signature, serving.settings

    def origin(setting: str, own: object = None) -> str:
        if own is not None:
            return "its declaration"
        return f"{setting}, {settings.sources.get(setting, 'default')}"

    for _, tp in signature.resources:
        at_hand = tp in serving.system.pantry.at_hand
        yield "resource", tp.__name__, "at hand in every call" if at_hand else "@app.resource"
    deadline = "messages.job_deadline_s" if operation.kind is Kind.JOB else "calls.deadline_s"
    yield "deadline", f"{plan.deadline_s:g} s", origin(deadline, operation.deadline_s)
    yield "priority", operation.priority, "priority="
    yield "calls at once", f"{settings.calls.in_flight_max} a worker", origin("calls.in_flight_max")
    if not signature.is_async:
        yield "threads", f"{settings.calls.threads_max} a worker", origin("calls.threads_max")
    if plan.receives:
        limit = operation.body_bytes_max or settings.http.body_bytes_max
        yield "body", f"at most {limit:,} bytes", origin("http.body_bytes_max", operation.body_bytes_max)
        yield "body", f"within {settings.http.body_timeout_s:g} s", origin("http.body_timeout_s")
    if serving.system.store is not None and any(stage.name == "transact" for stage in plan.stages):
        store = serving.system.store
        yield "database", store.dialect_name, origin("database.url")
        yield from _rows_of(serving, plan)
        yield from _transaction(plan, store.dialect_name)


def _rows_of(serving: Serving, plan: Plan) -> Iterator[Row]:
    if AllRows in plan.asks_for:
        asks = AllRows in {tp for _, tp in plan.signature.resources}
        yield "rows", "all of them, past every rule", f"{'it' if asks else 'a resource of it'} asks for AllRows"
    elif serving.system.guard is not None and Database in plan.asks_for:
        from toque.store.named import named_tables

        named = named_tables(_code_of(serving, plan))
        why = f"the models; any, because {named.unknown}" if named.unknown else "the models that its code names"
        yield "rows", serving.system.guard.words(named), why


def _code_of(serving: Serving, plan: Plan) -> Iterator[object]:
    """The functions and classes that run for an operation."""
    yield from roots_of(plan, serving.system.pantry)
    for found in plan.signature.inputs:
        yield from filter(None, (getattr(node, "cls", None) for node in nodes_of(found.type)))


def _transaction(plan: Plan, dialect_name: str) -> Iterator[Row]:
    operation = plan.operation
    asked = operation.isolation or ISOLATIONS[operation.kind][0]
    origin = "isolation=" if operation.isolation else "default"
    if dialect_name == "sqlite":
        yield "isolation", f"serializable ({asked} on PostgreSQL)", f"{origin}; SQLite has one writer"
    else:
        yield "isolation", asked, origin
    once = why_once(operation, plan.signature)
    yield "attempts", "1" if once else f"at most {ATTEMPTS_MAX}", once or "where it meets another transaction"


def _near(where: str) -> str:
    """*where* as seen from the working folder, if it lies below."""
    return where.removeprefix(f"{Path.cwd()}/")


def _type_name(tp: object) -> str:
    """`int (ge=1, le=12)` for an annotated type, the plain name for any other."""
    marks = [mark for mark in getattr(tp, "__metadata__", ()) if isinstance(mark, msgspec.Meta)]
    plain = schema.plain_type(tp)
    named = isinstance(plain, type) and not hasattr(plain, "__args__")
    name = plain.__name__ if named else re.sub(r"\b(\w+\.)+", "", str(plain))
    limits = ", ".join(f"{key}={value}" for mark in marks for key, value in mark.__rich_repr__() if value is not None)
    return name + (f" ({limits})" if limits else "")
