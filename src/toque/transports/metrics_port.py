"""`/metrics` of a process that serves nothing else: just enough HTTP/1.1 for a scraper (RFC 9112)."""

from __future__ import annotations

import asyncio

from toque.transports.metrics import Metrics

__all__ = ["serve_metrics"]

HEAD_BYTES_MAX = 16 * 1024
"""The largest head of a request: what common servers take (nginx 8 KiB, Node 16 KiB). A scraper's has some hundreds."""

HEAD_S = 5.0
"""How long a client may take to say what it wants: it is one packet."""


async def serve_metrics(metrics: Metrics, host: str, port: int) -> asyncio.Server:
    """Answer GET /metrics at *host* and *port*, each request on a connection of its own. Raises: OSError."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(await _answer(metrics, head.decode("latin-1")))
            await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # Whoever says nothing that can be read is told nothing.
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port, limit=HEAD_BYTES_MAX)


async def _answer(metrics: Metrics, head: str) -> bytes:
    first, *lines = head.split("\r\n")
    method, _, rest = first.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if path != "/metrics":
        return _written("404 Not Found", "text/plain", b"this process has /metrics alone\n")
    if method not in ("GET", "HEAD"):
        return _written("405 Method Not Allowed", "text/plain", b"ask with GET\n")
    named = (line.partition(":") for line in lines)
    accept = next((value.strip() for name, _, value in named if name.lower() == "accept"), "")
    body, content_type = await metrics.scraped(accept)
    return _written("200 OK", content_type, body, has_body=method == "GET")


def _written(status: str, content_type: str, body: bytes, *, has_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (body if has_body else b"")
