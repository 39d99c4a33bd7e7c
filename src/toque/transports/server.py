"""The web server: granian's processes around our listening socket, and a stop that fails nobody.

The socket is made here and shared by all workers, not made by each of them (SO_REUSEPORT), so that a second server on
the same port is noticed, a worker that ends takes no waiting connection with it, and a reload refuses none.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from granian._granian import SocketHolder
from granian.constants import Interfaces, Loops
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.mp import MPServer

from toque.settings import Settings
from toque.transports.rsgi import ENDING, STOPPING

__all__ = ["end_with_parent", "listen", "serve", "waiting"]

STREAMS_MAX = 100
"""Requests at once on one connection of HTTP/2: RFC 9113, 6.5.2 recommends no fewer, and no more may lie in memory
for a client that asks and does not read."""

BACKLOG = 1024
"""Connections that wait in the kernel while every worker is busy; Linux cuts it to net.core.somaxconn."""

SILENT_S = 10
"""How long the kernel keeps a connection to itself that has not said a word (TCP_DEFER_ACCEPT, tcp(7)): silent ones
would else fill the server, which gives no time limit before the first byte."""

LEFT_S = 6.8
"""How long a stopping server waits for its workers to see their clients off: a second more than they give themselves
(`serving.SOCKETS_S`, and `serving.LEAVING_S` where nothing is open)."""

AGAIN_S = 0.1
"""How soon it tells the workers again: one that was still starting has not heard."""

TAKEN_UP_S = 2.0
"""How long it then waits until who is connected has said what he wants and was accepted, while the kernel turns away
everybody else: an instant, but on a busy machine. Somebody silent may hold a stop up for so long."""

LOOK_S = 0.02
"""Between two looks whether they have."""

CLOSING_S = 0.2
"""How long it then only answers those who are connected."""

CUT_S = 1.0
"""How much longer than the drain time it waits for them to end what they stream: they cut it off themselves."""

FILE_THREADS = 64
"""Threads of a worker that read files, made as they are needed: disks serve few readers at once well."""

SOON_S = 5.5
"""What granian takes for soon."""

CRASHES_MAX = 5
"""How many workers in a row may be ended by what they do, each soon after its start: a job or an event that ends its
process is put aside after three or four, and one that is there at the start ends each of them at once."""

PR_SET_PDEATHSIG = 1
"""linux/prctl.h; there is no module for it."""

SO_ATTACH_FILTER = 26
"""asm-generic/socket.h; the socket module does not name it."""

UNACCEPTED = frozenset({"01", "03"})
"""TCP_ESTABLISHED and TCP_SYN_RECV (linux/net/tcp_states.h)."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises: OSError when the address is not ours, or somebody listens there already.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # What is accepted inherits it. Without it the kernel holds a second small write back until the client has
    # acknowledged the first, which that puts off by 40 ms (RFC 1122, 4.2.3.4): the next event, or a pipelined answer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def serve(listener: socket.socket, settings: Settings, load: Callable[[], Any], *, is_last: bool) -> None:
    """Serve the RSGI application that *load* returns, until SIGTERM or SIGINT.

    Args:
        load: called in every worker. It must be picklable where processes are not forked. What it returns calls its
            `on_sockets_closed` when it has seen off its clients after STOPPING, and its `on_streams_ended` when it
            streams nothing any more after ENDING.
        is_last: nobody serves *listener* after us, so its clients are seen off before we stop.
    A worker that ends by itself is replaced.
    Raises: SystemExit with 1 when a worker cannot start.
    """
    http = settings.http
    _take_all_files()
    if sys.platform != "win32":
        # A worker that has just begun would be ended by them; the signal to stop comes after them.
        signal.signal(STOPPING, signal.SIG_IGN)
        signal.signal(ENDING, signal.SIG_IGN)
    host, port = listener.getsockname()[:2]
    sockets_closed, streams_ended = multiprocessing.Semaphore(0), multiprocessing.Semaphore(0)
    _Server(
        listener,
        {STOPPING: sockets_closed, ENDING: streams_ended} if is_last else {},
        target="toque",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop if sys.platform != "win32" else Loops.asyncio,
        workers=http.workers,
        backlog=BACKLOG,
        backpressure=http.connections_max,
        # One for each answer that may be read from a pipe, which holds a thread while it waits (`paced`).
        runtime_blocking_threads=settings.calls.in_flight_max + FILE_THREADS,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(http.header_timeout_s * 1000),
            max_buffer_size=max(http.header_bytes_max, 8192),
        ),
        http2_settings=HTTP2Settings(max_headers_size=http.header_bytes_max, max_concurrent_streams=STREAMS_MAX),
        ssl_cert=http.tls_certificate,
        ssl_key=http.tls_key,
        workers_kill_timeout=max(1, int(http.drain_s)),
        respawn_failed_workers=True,
        log_enabled=False,
    ).serve(target_loader=_InWorker(load, os.getpid(), sockets_closed, streams_ended), wrap_loader=False)


class _InWorker:
    """What a worker does first: it binds itself to its server, and loads what it serves."""

    def __init__(self, load: Callable[[], Any], server_pid: int, sockets_closed: Any, streams_ended: Any) -> None:
        self._load = load
        self._server_pid = server_pid
        self._sockets_closed = sockets_closed
        self._streams_ended = streams_ended

    def __call__(self) -> Any:
        # The server's own handler was inherited with its memory: here, until the web server has set one, it would do
        # nothing.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end_with_parent(self._server_pid)
        application = self._load()
        application.on_sockets_closed = self._sockets_closed.release
        application.on_streams_ended = self._streams_ended.release
        return application


def end_with_parent(parent_pid: int) -> None:
    """Be told to stop when the parent has gone, however it went: a forgotten worker would go on answering at its
    port, beside the next server's (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:
            os.kill(os.getpid(), signal.SIGTERM)


def _take_all_files() -> None:
    """Let this process and its workers open as many files as they may: each connection is one, and the usual soft
    limit (1024) is for programs that use select(2). Go's programs do the same."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        except (OSError, ValueError):
            pass  # macOS says "infinite" and refuses it.


class _Server(MPServer):
    """granian's supervisor, given our socket, and stopping in steps."""

    interrupt_signal: bool
    workers_kill_timeout: int | None

    def __init__(self, listener: socket.socket, answers: Mapping[signal.Signals, Any], **options: Any) -> None:
        """*answers*: what each worker releases when it has done what a signal asks of it; none for an abrupt stop."""
        super().__init__(**options)
        self._listener = listener
        self._answers = answers

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._sfd = self._listener.fileno()
        # Typed as taking nothing; it takes the descriptor, whether that is a Unix socket, and the backlog.
        holder: Any = SocketHolder
        self._shd = holder(self._sfd, False, BACKLOG)
        self._sso = self._listener

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        super()._spawn_workers(spawn_target, target_loader)
        self.respawned_wrks = _Starts(self._has_crashed, dict.fromkeys(range(self.workers), time.monotonic()))

    def _has_crashed(self, at: int) -> bool:
        """Whether the worker ended by what it did: one that cannot start says why, and ends with 1."""
        code: int | None = self.wrks[at].inner.exitcode
        return code != 1

    def _respawn_workers(self, workers: Any, *args: Any, **options: Any) -> None:
        for at in workers:
            self._say_end(at, "another takes its place")
        super()._respawn_workers(workers, *args, **options)

    def shutdown(self, exit_code: int = 0) -> None:
        if self.interrupt_signal:
            # Whoever stops us may have told our workers too, as systemd does (systemd.kill(5), control-group).
            self.interrupt_children.clear()
        for at in self.interrupt_children:
            self._say_end(at, "the server stops, for another would fare no better")
        super().shutdown(exit_code)

    def _say_end(self, at: int, what_now: str) -> None:
        code = self.wrks[at].inner.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        print(f"worker {at + 1} {how}; {what_now}", file=sys.stderr, flush=True)

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """Stop in steps, so that no client has its request in a connection that is about to close."""
        if self.interrupt_signal or not self._answers:
            super().signal_handler_interrupt()
            return
        self.interrupt_signal = True
        threading.Thread(target=self._stop_in_steps, daemon=True).start()

    def _stop_in_steps(self) -> None:
        self._have_done(STOPPING, LEFT_S)
        try:
            _turn_away(self._listener)
            give_up = time.monotonic() + TAKEN_UP_S
            while waiting(self._listener.getsockname()[1]) and time.monotonic() < give_up:
                time.sleep(LOOK_S)
        except OSError:
            # Whoever tells us twice wants it at once: the listener is closed already.
            if not self.main_loop_interrupt.is_set():
                raise
            return
        time.sleep(CLOSING_S)
        drain_s = self.workers_kill_timeout or 0
        began = time.monotonic()
        self._have_done(ENDING, drain_s + CUT_S)
        self.workers_kill_timeout = max(1, int(drain_s - (time.monotonic() - began)))
        self.main_loop_interrupt.set()

    def _have_done(self, sign: signal.Signals, seconds: float) -> None:
        """Ask all workers for what *sign* means, and wait until they have done it, so many *seconds* at most."""
        self._tell_workers(sign)
        give_up = time.monotonic() + seconds
        done = 0
        # Not `is_alive`: one that is about to be forked is not yet, and must be waited for.
        while done < sum(worker.inner.exitcode is None for worker in self.wrks) and time.monotonic() < give_up:
            if self.main_loop_interrupt.is_set():
                return
            if self._answers[sign].acquire(timeout=AGAIN_S):
                done += 1
            else:
                self._tell_workers(sign)

    def _tell_workers(self, sign: signal.Signals) -> None:
        for worker in self.wrks:
            if worker.is_alive():
                os.kill(worker._id(), sign)


class _Starts(dict[int, float]):
    """When each worker was started, as granian asks it: one that ends soon after is taken for one that cannot start,
    and all of them are stopped. For one that has crashed it is long ago, some times in a row."""

    def __init__(self, has_crashed: Callable[[int], bool], starts: Mapping[int, float]) -> None:
        super().__init__(starts)
        self._has_crashed = has_crashed
        self._crashes = 0

    def get(self, at: int, default: Any = 0.0) -> Any:
        started: Any = super().get(at, default)
        if time.monotonic() - started > SOON_S:
            self._crashes = 0
        elif self._has_crashed(at) and self._crashes < CRASHES_MAX:
            self._crashes += 1
            return 0.0
        return started


def waiting(port: int) -> int:
    """How many clients are connected to *port* and were not accepted yet; 0 where the kernel does not tell.

    Closing the listener resets them. Linux keeps those that have not said a word as half open, the others as open, and
    neither belongs to a process yet: it has no inode (proc(5), "/proc/net/tcp").
    """
    found = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError), open(table) as lines:
            for line in lines:
                _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
                found += state in UNACCEPTED and inode == "0" and int(local.rpartition(":")[2], 16) == port
    return found


def _turn_away(listener: socket.socket) -> None:
    """Let nobody new connect, and everybody who has begun to finish.

    Closing the socket would reset whoever waits to be accepted. A packet filter that drops SYN (socket(7),
    SO_ATTACH_FILTER) does not: a newcomer tries again until the port is closed, and is then refused before it has
    sent anything.
    """
    if sys.platform != "linux":
        return
    # Load the byte of the flags; if SYN is not set skip one step; drop; keep.
    steps = (0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(program)
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 4, ctypes.addressof(buffer)))
