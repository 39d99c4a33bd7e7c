"""Traces as an operator has them: spans leave a served app by OTLP, and a collector gets them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from running import serving, until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """What receives OTLP over HTTP (OpenTelemetry Protocol 1.5, "OTLP/HTTP"), and keeps the spans."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.services: set[str] = set()
        self.paths: set[str] = set()

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = (one.value.string_value for one in sent.resource.attributes if one.key == "service.name")
            self.services.update(named)
            self.spans |= {span.name: span for scope in sent.scope_spans for span in scope.spans}

    @contextmanager
    def listening(self) -> Iterator[str]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                is_packed = self.headers["content-encoding"] == "gzip"
                collector.take(self.path, decompress(body) if is_packed else body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_a_collector_gets_a_span_of_each_call_and_statement(
    folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector()
    with collector.listening() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        settings = {"observe.traces": True, "database.url": database_url}
        with serving("kitchen", folder, settings=settings) as served:
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
            assert httpx.get(f"{served.url}/one", headers=headers).status_code == 200
            until(lambda: {"kitchen.one", "SELECT"} <= collector.spans.keys(), "both spans")

    call, statement = collector.spans["kitchen.one"], collector.spans["SELECT"]
    assert call.trace_id.hex() == statement.trace_id.hex() == TRACE
    assert call.parent_span_id.hex() == CALLER
    assert statement.parent_span_id == call.span_id
    assert call.start_time_unix_nano <= statement.start_time_unix_nano
    assert statement.end_time_unix_nano <= call.end_time_unix_nano
    assert (collector.services, collector.paths) == ({"kitchen"}, {"/v1/traces"})


def test_spans_that_wait_are_sent_when_the_server_stops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    with collector.listening() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        with serving("kitchen", folder, settings={"observe.traces": True}) as served:
            assert httpx.get(f"{served.url}/hello").status_code == 200
            assert collector.spans == {}
            assert served.stop() == 0

    assert "kitchen.hello" in collector.spans


def test_a_collector_that_is_away_fails_no_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with serving("kitchen", folder, settings={"observe.traces": True}) as served:
        for _ in range(20):
            assert httpx.get(f"{served.url}/hello").status_code == 200
        assert served.stop() == 0
