"""The web server: granian's processes around our listening socket, and a stop that fails nobody.

The socket is made here and shared by all workers, not made by each of them (SO_REUSEPORT), so that a second server on
the same port is noticed, a worker that ends takes no waiting connection with it, and a reload refuses none.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from granian._granian import SocketHolder
from granian.constants import Interfaces, Loops
from granian.http import HTTP1Settings
from granian.server.mp import MPServer

from toque.settings import Http

__all__ = ["listen", "serve", "stopping_signal"]

BACKLOG = 1024
"""Connections that wait in the kernel while every worker is busy; Linux cuts it to net.core.somaxconn."""

SILENT_S = 10
"""How long the kernel keeps a connection to itself that has not said a word (TCP_DEFER_ACCEPT, tcp(7)): silent ones
would else fill the server, which gives no time limit before the first byte."""

STOPPING_S = 1.0
"""How long a stopping server goes on answering while it asks every client to leave its connection."""

stopping_signal = signal.SIGUSR1
"""Tells a worker that the server is about to stop."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises: OSError when the address is not ours, or somebody listens there already.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT_S)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def serve(listener: socket.socket, settings: Http, load: Callable[[], Any]) -> None:
    """Serve the RSGI application that *load* returns, until SIGTERM or SIGINT.

    Args:
        load: called in every worker. It must be picklable where processes are not forked.
    Raises: SystemExit with 1 when a worker ended by itself.
    """
    host, port = listener.getsockname()[:2]
    _Server(
        listener,
        target="toque",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop if sys.platform != "win32" else Loops.asyncio,
        workers=settings.workers,
        backlog=BACKLOG,
        backpressure=settings.connections_max,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(settings.header_timeout_s * 1000),
            max_buffer_size=max(settings.header_bytes_max, 8192),
        ),
        ssl_cert=settings.tls_certificate,
        ssl_key=settings.tls_key,
        workers_kill_timeout=max(1, int(settings.drain_s)),
        log_enabled=False,
    ).serve(target_loader=load, wrap_loader=False)


class _Server(MPServer):
    """granian's supervisor, given our socket, and stopping in two steps."""

    def __init__(self, listener: socket.socket, **options: Any) -> None:
        super().__init__(**options)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._sfd = self._listener.fileno()
        self._shd = SocketHolder(self._sfd)
        self._sso = self._listener

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """First tell the workers, so that no client sends its next request into a connection about to close."""
        if self.interrupt_signal or not self.wrks:
            super().signal_handler_interrupt()
            return
        self.interrupt_signal = True
        for worker in self.wrks:
            if worker.is_alive():
                os.kill(worker._id(), stopping_signal)
        threading.Timer(STOPPING_S, self.main_loop_interrupt.set).start()
