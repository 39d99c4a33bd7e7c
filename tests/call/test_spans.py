"""OpenTelemetry spans: one a call, one a statement, in the caller's own trace."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from toque.call import spans
from toque.call.context import Context
from toque.call.spans import statement_observer, traced
from toque.contract.errors import NotFound, Unavailable
from toque.store.statement import Statement

T, P = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that end. OpenTelemetry's own provider can be set once a process only: it is passed by."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(otel, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def context(header: str | None = None) -> Context:
    return Context("orders.place", monotonic() + 10, traceparent=header)


async def answer(context: Context, _arguments: Any) -> str:
    return context.trace.span_id


async def test_a_call_is_a_span_below_the_callers(exported: InMemorySpanExporter) -> None:
    call = context(f"00-{T}-{P}-01")

    await traced(answer, "orders.place", "command")(call, ())

    (span,) = exported.get_finished_spans()
    assert (span.name, span.kind) == ("orders.place", otel.SpanKind.SERVER)
    assert span.parent is not None
    assert otel.format_span_id(span.parent.span_id) == P
    assert otel.format_trace_id(span.context.trace_id) == T
    assert span.attributes == {
        "rpc.system.name": "toque",
        "rpc.method": "orders.place",
        "toque.kind": "command",
    }
    assert span.status.status_code is otel.StatusCode.UNSET


@pytest.mark.parametrize("header", [None, f"00-{T}-{P}-01", f"00-{T}-{P}-00"])
async def test_logs_and_spans_name_a_call_alike(exported: InMemorySpanExporter, header: str | None) -> None:
    call = context(header)

    inside = await traced(answer, "orders.place", "command")(call, ())

    assert inside == call.trace.span_id
    assert call.trace.parent_id == (P if header else "")
    assert call.trace.is_sampled is (header != f"00-{T}-{P}-00")
    for span in exported.get_finished_spans():
        assert otel.format_span_id(span.context.span_id) == call.trace.span_id
        assert otel.format_trace_id(span.context.trace_id) == call.trace.trace_id


@pytest.mark.parametrize(
    ("error", "type_", "status"),
    [
        (NotFound("hunter2"), "not_found", otel.StatusCode.UNSET),
        (Unavailable("hunter2"), "unavailable", otel.StatusCode.ERROR),
        (ZeroDivisionError("hunter2"), "ZeroDivisionError", otel.StatusCode.ERROR),
    ],
)
async def test_a_failure_is_recorded_by_its_kind_and_never_by_its_text(
    exported: InMemorySpanExporter, error: Exception, type_: str, status: otel.StatusCode
) -> None:
    async def fail(_context: Context, _arguments: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        await traced(fail, "orders.place", "command")(context(), ())

    (span,) = exported.get_finished_spans()
    assert span.attributes is not None
    assert (span.attributes["error.type"], span.status.status_code) == (type_, status)
    assert "hunter2" not in span.to_json()


async def test_a_statement_is_a_span_within_its_call(exported: InMemorySpanExporter) -> None:
    observe = statement_observer("sqlite")

    async def run(asked: Context, _arguments: Any) -> None:
        observe(Statement("SELECT name FROM dish WHERE id = ?", False, (7,), asked, 1_000, 3_000, 2))

    await traced(run, "menu.list", "query")(context(), ())

    statement, call = exported.get_finished_spans()
    assert statement.parent is not None
    assert statement.parent.span_id == call.context.span_id
    assert (statement.name, statement.kind) == ("SELECT", otel.SpanKind.CLIENT)
    assert statement.attributes == {
        "db.system.name": "sqlite",
        "db.operation.name": "SELECT",
        "db.query.text": "SELECT name FROM dish WHERE id = ?",
        "db.response.returned_rows": 2,
    }
    assert (statement.start_time, statement.end_time) == (1_000, 3_000)


async def test_without_an_sdk_a_call_keeps_its_own_ids() -> None:
    call = context(f"00-{T}-{P}-01")
    before = call.trace.span_id

    await traced(answer, "orders.place", "command")(call, ())

    assert (call.trace.trace_id, call.trace.span_id) == (T, before)


def test_a_provider_that_is_there_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "get_tracer_provider", TracerProvider)
    monkeypatch.setattr(otel, "set_tracer_provider", lambda _provider: pytest.fail("was replaced"))

    spans.start_tracing("restaurant")()
