"""A client that sends exactly the bytes it is given: what no well-behaved library lets a test do."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import msgspec

GIVE_UP_S = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP/1.1 answer."""

    status: int
    headers: dict[str, list[str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.headers.get(name)
        return None if values is None else ", ".join(values)

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """The code of a problem document."""
        assert self.header("content-type") == "application/problem+json", self
        found: str = self.json()["code"]
        assert self.json()["status"] == self.status
        return found


class Wire:
    """One TCP connection."""

    def __init__(self, port: int, *, timeout_s: float = GIVE_UP_S) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> Wire:
        """Send what the server still takes: it may answer and close before it has read everything."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def end(self) -> None:
        """Say that nothing more comes, unless the server has closed already."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reply(self, *, to_head: bool = False) -> Reply | None:
        """The next answer, or None where the server closed the connection without one."""
        while b"\r\n\r\n" not in self._held:
            if not self._more():
                assert not self._held, f"the server closed within a head: {self._held[:200]!r}"
                return None
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        status, headers = _read_head(head)
        if status == 100:
            return self.reply(to_head=to_head)
        return Reply(status, headers, b"" if to_head or status in (204, 304) else self._body(headers))

    def reply_head(self) -> int:
        """The status of an answer, whose body is left alone."""
        while b"\r\n\r\n" not in self._held:
            assert self._more(), "the server closed before it answered"
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        return _read_head(head)[0]

    def rest(self) -> bytes:
        """Everything until the server closes."""
        while self._more():
            pass
        return self._held

    def is_closed(self) -> bool:
        """Whether the server closes before it sends anything else."""
        return not self._held and not self._more()

    def _more(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        self._held += data
        return bool(data)

    def _body(self, headers: dict[str, list[str]]) -> bytes:
        if "content-length" in headers:
            return self._take(int(headers["content-length"][0]))
        if headers.get("transfer-encoding") == ["chunked"]:
            return b"".join(iter(self.chunk, b""))
        return self.rest()

    def chunk(self) -> bytes:
        """The next chunk of an answer in chunks, after its head; none at its end."""
        while b"\r\n" not in self._held:
            assert self._more(), "the server closed within a chunked body"
        size, _, self._held = self._held.partition(b"\r\n")
        return self._take(int(size, 16) + 2)[:-2]

    def _take(self, count: int) -> bytes:
        while len(self._held) < count:
            assert self._more(), f"the server closed after {len(self._held)} of {count} bytes"
        taken, self._held = self._held[:count], self._held[count:]
        return taken


def ask(port: int, request: bytes, *, to_head: bool = False) -> Reply | None:
    """The first answer to *request* on a connection of its own."""
    with Wire(port) as wire:
        return wire.send(request).reply(to_head=to_head)


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode("latin-1")


def post(path: str, body: bytes, *fields: str, content_type: str = "application/json") -> bytes:
    """A request with a body and its length."""
    return get(path, f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *fields, method="POST") + body


def _read_head(head: bytes) -> tuple[int, dict[str, list[str]]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/1."), first
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return int(first.split()[1]), headers
