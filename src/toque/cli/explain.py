"""`toque explain`: what an operation is compiled to, and where each part came from."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from toque.call.plan import Plan
from toque.cli.operations import find_plan
from toque.cli.run import settings_for
from toque.cli.target import load_app
from toque.contract.errors import CODES
from toque.serving import Serving

__all__ = ["explain"]


def explain(operation: str, *, app: str = ".") -> None:
    """Print the plan of OPERATION: protocols, formats, inputs, policies in their order, and limits.

    Parameters
    ----------
    operation: its name; the part before the dot may be left out where that is clear.
    app: `package.module:app`, a file or a folder.
    """
    loaded = load_app(app)
    serving = loaded.serve(settings_for(loaded))
    plan = find_plan(serving.system.plans, operation)
    table = Table(title=f"{plan.operation.name} ({plan.operation.kind})", title_justify="left", show_lines=False)
    for heading in ("what", "value", "from"):
        table.add_column(heading, overflow="fold")
    for row in _rows(serving, plan):
        table.add_row(*row)
    Console().print(table)


def _rows(serving: Serving, plan: Plan) -> Iterator[tuple[str, str, str]]:
    operation, signature, settings = plan.operation, plan.signature, serving.settings
    yield "function", operation.summary, operation.where
    if operation.path:
        yield "HTTP", f"{operation.method} {operation.path}", "its declaration"
    yield "JSON-RPC", f"POST /rpc, WebSocket /ws: {operation.name}", "every operation has a name"
    yield "access", operation.allow.words if operation.allow else "nobody", "allow="
    for found in signature.inputs:
        required = "required" if found.is_required else f"default {found.default!r}"
        yield f"input {found.name}", f"{_type_name(found.type)}, {required}", f"{found.place}: {found.wire_name}"
    for _, tp in signature.resources:
        yield "resource", tp.__name__, "at hand" if tp in serving.system.pantry.at_hand else "a recipe"
    yield "output", _type_name(signature.output), "a stream" if signature.is_stream else "its annotation"
    if formats := serving.formats(plan):
        yield "formats", ", ".join(formats), "what can carry the output"
    for position, stage in enumerate(plan.stages, 1):
        yield f"policy {position}", stage.name, stage.why
    own = "its declaration" if operation.deadline_s else _source(serving, "calls.deadline_s")
    yield "deadline", f"{plan.deadline_s:g} s", own
    limit = operation.body_bytes_max or settings.http.body_bytes_max
    yield "body", f"at most {limit:,} bytes", (
        "its declaration" if operation.body_bytes_max else _source(serving, "http.body_bytes_max")
    )
    for error in operation.errors:
        yield "error", f"{error.code} (HTTP {CODES[error.code].http})", "errors="


def _source(serving: Serving, setting: str) -> str:
    return f"{setting}, {serving.settings.sources.get(setting, 'default')}"


def _type_name(tp: object) -> str:
    return getattr(tp, "__name__", None) or str(tp).replace("typing.", "")
