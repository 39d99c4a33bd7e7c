"""A worker that is apart shows what it did, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from toque.call.counts import Count
from toque.transports.metrics import Metrics
from toque.transports.metrics_port import HEAD_BYTES_MAX, serve_metrics


async def ask(request: bytes) -> bytes:
    """The whole answer to *request*; empty where there is none."""
    counts = [Count("jobs_ended", {"queue": "mail", "outcome": "done"}, 3)]
    server = await serve_metrics(Metrics({}, counts=lambda: counts), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(request)
        writer.write_eof()
        try:
            return await reader.read()
        except ConnectionError:  # It closed while we were still talking.
            return b""
        finally:
            writer.close()


async def test_a_scrape_is_answered() -> None:
    head, _, body = (await ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n")).partition(
        b"\r\n\r\n"
    )

    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain")
    assert f"content-length: {len(body)}".encode() in head
    families = {family.name: family for family in parse(body.decode())}
    assert families["toque_jobs_ended"].samples[0].value == 3


async def test_the_scraper_chooses_the_format() -> None:
    answer = await ask(b"GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n")

    assert b"content-type: application/openmetrics-text" in answer
    assert answer.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /openapi.json HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 "),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 404 "),
        (b"GET /metrics HTTP/1.1\r\n", b""),
        (b"x" * (HEAD_BYTES_MAX * 2) + b"\r\n\r\n", b""),
    ],
)
async def test_nothing_else_is(request_: bytes, status: bytes) -> None:
    answer = await ask(request_)

    assert answer.startswith(status)
    assert bool(answer) is bool(status)


async def test_a_head_is_an_answer_without_its_body() -> None:
    head, _, body = (await ask(b"HEAD /metrics HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: 0" not in head
    assert body == b""
