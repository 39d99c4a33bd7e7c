"""OpenTelemetry spans: one per call and one per statement, where an app asks for them.

Nothing here is imported otherwise. Source of the attributes: OpenTelemetry semantic conventions for RPC
servers, database clients and errors. Neither a statement's values nor an error's text is recorded: they
may be secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry import trace as otel
from opentelemetry.context import Context as SpanScope

from toque.call.context import Context
from toque.call.observation import CallerLeft
from toque.call.trace import Trace
from toque.contract.errors import CODES, Error

if TYPE_CHECKING:
    from toque.call.plan import Arguments, Handler
    from toque.store.statement import Statement

__all__ = ["start_tracing", "statement_observer", "traced"]

SCOPE = "toque"


def start_tracing(service: str) -> Callable[[], None]:
    """Send spans to where the OTEL_* variables say, under the name *service*; returns what ends it.

    A tracer provider that is there already (an agent's, or the app's own) is left alone.
    Raises: ModuleNotFoundError without the extra `telemetry`.
    """
    if not isinstance(otel.get_tracer_provider(), otel.ProxyTracerProvider):
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("observe.traces needs OpenTelemetry's SDK: pip install 'toque[telemetry]'") from error
    provider = TracerProvider(resource=Resource({"service.name": service}).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    otel.set_tracer_provider(provider)
    return provider.shutdown


def traced(call: Handler, operation: str, kind: str) -> Handler:
    """*call* within a span named after its operation, below the span that the caller named.

    The span's ids become those of `context.trace`, so that logs, spans and the callers of others agree.
    """
    tracer = otel.get_tracer(SCOPE)
    attributes = {"rpc.system.name": "toque", "rpc.method": operation, "toque.kind": kind}

    async def trace(context: Context, arguments: Arguments) -> Any:
        with tracer.start_as_current_span(
            operation,
            context=_below(context.trace),
            kind=otel.SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            context.known_trace = _named_by(span, context.trace)
            try:
                return await call(context, arguments)
            except BaseException as error:
                _note(span, error)
                raise

    return trace


def statement_observer(system: str = "other_sql") -> Callable[[Statement], None]:
    """What makes a span of each statement that has ended: its SQL, its start and end, and its rows.

    Args:
        system: `postgresql` or `sqlite`.
    """
    tracer = otel.get_tracer(SCOPE)

    def observe(statement: Statement) -> None:
        sql = statement.sql
        verb = sql.lstrip().partition(" ")[0].upper()
        attributes: dict[str, str | int] = {
            "db.system.name": system,
            "db.operation.name": verb,
            "db.query.text": sql,
            "db.response.returned_rows": statement.rows,
        }
        span = tracer.start_span(
            verb or system, kind=otel.SpanKind.CLIENT, attributes=attributes, start_time=statement.started_ns
        )
        span.end(statement.ended_ns)

    return observe


def _below(trace: Trace) -> SpanScope | None:
    """The scope below the caller's span; None, which means the span around this code, where there is none."""
    if not trace.parent_id:
        return None
    flags = otel.TraceFlags(otel.TraceFlags.SAMPLED if trace.is_sampled else otel.TraceFlags.DEFAULT)
    caller = otel.SpanContext(int(trace.trace_id, 16), int(trace.parent_id, 16), is_remote=True, trace_flags=flags)
    return otel.set_span_in_context(otel.NonRecordingSpan(caller), SpanScope())


def _named_by(span: otel.Span, trace: Trace) -> Trace:
    """The ids of *span*; without an SDK there is none of its own, and *trace* stays."""
    ids = span.get_span_context()
    span_id = otel.format_span_id(ids.span_id)
    if not ids.is_valid or span_id == trace.parent_id:
        return trace
    return Trace.known(
        otel.format_trace_id(ids.trace_id),
        span_id,
        parent_id=trace.parent_id,
        is_sampled=ids.trace_flags.sampled,
    )


def _note(span: otel.Span, error: BaseException) -> None:
    """How it ended. A refusal is no error of a server's span (semantic conventions for HTTP, "Status")."""
    if isinstance(error, Error):
        span.set_attribute("error.type", error.code)
        is_fault = CODES[error.code].http >= 500
    else:
        span.set_attribute("error.type", type(error).__qualname__)
        is_fault = isinstance(error, Exception) and not isinstance(error, CallerLeft)
    if is_fault:
        span.set_status(otel.Status(otel.StatusCode.ERROR))
