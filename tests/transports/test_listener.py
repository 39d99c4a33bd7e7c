"""The socket that clients connect to, and what the kernel tells of it."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from toque.transports.server import listen, waiting


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tell")
def test_who_is_connected_and_not_accepted_is_counted() -> None:
    # A stopping server on a busy machine closed its listener on them: their requests were reset.
    with listen("127.0.0.1", 0) as listener:
        before = waiting(listener)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        for client in clients:
            client.sendall(b"GET")  # Whoever has said nothing is with the kernel alone.
        give_up = time.monotonic() + 30
        while waiting(listener) < 3 and time.monotonic() < give_up:
            time.sleep(0.01)
        waited = waiting(listener)
        accepted = [listener.accept()[0] for _ in range(2)]
        left = waiting(listener)
        for connection in (*clients, *accepted):
            connection.close()

    assert (before, waited, left) == (0, 3, 1)
