"""RSGI protocols that change what an endpoint answers, so that no endpoint needs to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toque.call.observation import CallerLeft
from toque.transports.paced import open_stream
from toque.transports.replies import Headers

__all__ = ["Headless", "ReplyWith"]


class _Rewriting:
    """Passes everything on to another protocol."""

    __slots__ = ("_proto",)

    def __init__(self, proto: Any) -> None:
        self._proto = proto

    def __call__(self) -> Any:
        return self._proto()

    def __aiter__(self) -> Any:
        return self._proto.__aiter__()

    def client_disconnect(self) -> Any:
        return self._proto.client_disconnect()

    def response_empty(self, status: int, headers: Headers) -> None:
        self._proto.response_empty(status, self.rewrite(headers))

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._proto.response_bytes(status, self.rewrite(headers), body)

    def response_file(self, status: int, headers: Headers, file: str) -> None:
        self._proto.response_file(status, self.rewrite(headers), file)

    def response_file_range(self, status: int, headers: Headers, file: str, start: int, end: int) -> None:
        self._proto.response_file_range(status, self.rewrite(headers), file, start, end)

    def open_stream(self, status: int, headers: Headers, client: str, on_left: Callable[[], None]) -> Any:
        return open_stream(self._proto, status, self.rewrite(headers), client, on_left)

    def response_stream(self, status: int, headers: Headers) -> Any:
        return self._proto.response_stream(status, self.rewrite(headers))

    def rewrite(self, headers: Headers) -> Headers:
        return headers


class ReplyWith(_Rewriting):
    """Adds headers to whatever is answered."""

    __slots__ = ("_extra",)

    def __init__(self, proto: Any, extra: Headers) -> None:
        super().__init__(proto)
        self._extra = extra

    def rewrite(self, headers: Headers) -> Headers:
        return [*headers, *self._extra]


class Headless(_Rewriting):
    """Answers HEAD: the headers of GET, Content-Length included, and no body (RFC 9110, 9.3.2). granian takes the body
    away by itself in HTTP/1.1, and sends it in HTTP/2."""

    __slots__ = ()

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers = [*headers, ("content-length", str(len(body)))]
        self._proto.response_empty(status, headers)

    def response_file(self, status: int, headers: Headers, file: str) -> None:
        """Whoever sends a file says how long it is: only he has looked."""
        self._proto.response_empty(status, headers)

    def response_file_range(self, status: int, headers: Headers, file: str, start: int, end: int) -> None:
        self._proto.response_empty(status, headers)

    def open_stream(self, status: int, headers: Headers, client: str, on_left: Callable[[], None]) -> Any:
        self._proto.response_empty(status, headers)
        return _Nowhere()


class _Nowhere:
    """Ends a streamed answer at its first chunk: its head has been sent, and nobody reads what follows. An answer
    without an end would else go on, and one that never waits would keep its worker from everything else."""

    async def send_bytes(self, data: bytes) -> None:
        raise CallerLeft

    def close(self) -> None: ...
