"""The socket that clients connect to, and what the kernel tells of it."""

from __future__ import annotations

import select
import socket
import sys

import pytest

from toque.transports.server import listen, waiting


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tell")
def test_who_is_connected_and_not_accepted_is_counted() -> None:
    # A stopping server on a busy machine closed its listener on them: their requests were reset.
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        before = waiting(port)
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        silent = waiting(port)
        for client in clients[:3]:
            client.sendall(b"GET")
        accepted = [_accept(listener) for _ in range(2)]
        left = waiting(port)
        for connection in (*clients, *accepted):
            connection.close()

    assert (before, silent, left) == (0, 4, 2)


def _accept(listener: socket.socket) -> socket.socket:
    select.select([listener], [], [], 30)
    return listener.accept()[0]


def test_what_is_accepted_sends_small_answers_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        client.send(b"G")  # Who is silent is not accepted yet.
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
