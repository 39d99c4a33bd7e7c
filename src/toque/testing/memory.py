"""RSGI without a socket: a request made of values, an answer kept as values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Answer", "Headers", "MemoryProtocol", "MemoryScope"]


class Headers:
    """Header fields as a server hands them over: names in lower case, one name may come several times."""

    def __init__(self, items: Sequence[tuple[str, str]]) -> None:
        self._items = [(name.lower(), value) for name, value in items]

    def get(self, name: str, default: Any = None) -> Any:
        return next((value for key, value in self._items if key == name), default)

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self._items if key == name]

    def items(self) -> list[tuple[str, str]]:
        return list(self._items)

    def keys(self) -> list[str]:
        return [key for key, _ in self._items]

    def values(self) -> list[str]:
        return [value for _, value in self._items]

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self._items)

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return str(value)


class MemoryScope:
    """What RSGI's scope says of a request."""

    proto = "http"
    http_version = "1.1"
    rsgi_version = "1.5"
    server = "127.0.0.1:80"
    client = "127.0.0.1:50000"
    scheme = "http"
    authority: str | None = None

    def __init__(self, method: str, path: str, query_string: str, headers: Sequence[tuple[str, str]]) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = Headers(headers)


class Answer(msgspec.Struct):
    """What came back."""

    status: int
    headers: Headers
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        """The content, read as JSON."""
        return msgspec.json.decode(self.content)


class MemoryProtocol:
    """Takes the answer of one request, and gives its body in the chunks it was made with."""

    def __init__(self, body: Sequence[bytes]) -> None:
        self._body = body
        self._chunks: list[bytes] = []
        self._status = 0
        self._headers: Sequence[tuple[str, str]] = ()
        self._left = asyncio.Event()

    async def __call__(self) -> bytes:
        return b"".join(self._body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._body:
            yield chunk

    async def client_disconnect(self) -> None:
        await self._left.wait()

    def leave(self) -> None:
        """Go away before the answer has come."""
        self._left.set()

    def response_empty(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self.response_bytes(status, headers, b"")

    def response_bytes(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        assert not self._status, "a request is answered once"
        self._status, self._headers, self._chunks = status, headers, [body]

    def response_str(self, status: int, headers: Sequence[tuple[str, str]], body: str) -> None:
        self.response_bytes(status, headers, body.encode())

    def response_file(self, status: int, headers: Sequence[tuple[str, str]], file: str) -> None:
        self.response_bytes(status, headers, Path(file).read_bytes())

    def response_file_range(
        self, status: int, headers: Sequence[tuple[str, str]], file: str, start: int, end: int
    ) -> None:
        self.response_bytes(status, headers, Path(file).read_bytes()[start:end])

    def response_stream(self, status: int, headers: Sequence[tuple[str, str]]) -> MemoryProtocol:
        self.response_bytes(status, headers, b"")
        return self

    async def send_bytes(self, data: bytes) -> None:
        self._chunks.append(data)

    async def send_str(self, data: str) -> None:
        self._chunks.append(data.encode())

    @property
    def answer(self) -> Answer:
        return Answer(self._status, Headers(list(self._headers)), b"".join(self._chunks))
