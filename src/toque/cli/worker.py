"""`toque worker`: run an app's handlers and jobs, and serve nobody."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from threading import Timer
from typing import Any

import uvloop
from msgspec import structs

from toque.cli import garbage
from toque.cli.failures import Failure
from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.target import load_app
from toque.serving import Serving

__all__ = ["worker"]

log = logging.getLogger("toque.jobs")

PARTS, REST_S = 4, 5.0
"""A process that stops has so many parts to wait for, each for `messages.drain_s` at most (`Worker.stop`); and what the
rest of it may take. With its default Kubernetes waits longer still."""


def worker(target: Target = ".", /, *, metrics_port: int | None = None) -> None:
    """Run the handlers and jobs of the app TARGET, without serving it.

    For apps whose served processes only serve (`messages.work = false`), or where these have not enough hands. Any
    number of workers may run, on any number of machines: they share the work, and take over what one leaves behind. It
    runs until it is told to stop (SIGTERM, Ctrl-C), and then lets what is at work end (`messages.drain_s`).

    - `toque worker shop`
    - `TOQUE_MESSAGES_AT_ONCE=20 toque worker shop` works on more events of a handler at a time.
    - `toque worker shop --metrics-port 9100` answers scrapes at `/metrics`, on the address `http.host`.

    Args:
        metrics_port: Where to show what it did; 0 for a free one. Nowhere unless given.
    """
    from toque.call import logs

    app = load_app(target)
    settings = settings_for(app)
    settings = structs.replace(settings, messages=structs.replace(settings.messages, work=True))
    serving = Serving(app, settings)
    messages = serving.system.messages
    if messages is None:
        raise Failure(f"{app.name} has no events and no jobs; declare one with @app.on(...) or @app.job()")
    logs.configure(settings.log.level, settings.log.format)
    serving.prepare()
    garbage.spare()
    # The loop that a served process has too.
    uvloop.run(_work(serving, metrics_port))


async def _work(serving: Serving, metrics_port: int | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    late = Timer(PARTS * serving.settings.messages.drain_s + REST_S, _end_late)
    late.daemon = True

    def begin_stopping() -> None:
        if not stopping.is_set():
            serving.begin_stopping()
            stopping.set()

    def told(*_: Any) -> None:
        if late.ident is None:
            late.start()
        loop.call_soon_threadsafe(begin_stopping)

    # Not the loop's own handlers, of which it hears when it turns: a job that blocks may hold it up for ever.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    await serving.start()
    shown = None
    try:
        shown = None if metrics_port is None else await _show(serving, metrics_port)
        at = "" if shown is None else f", metrics at port {shown.sockets[0].getsockname()[1]}"
        print(f"{serving.app.name} {serving.app.version} works ({serving.settings.app.environment}){at}", flush=True)
        await stopping.wait()
    finally:
        if shown is not None:
            shown.close()
        await serving.stop()


def _end_late() -> None:
    """End as a served process is ended by its server: what runs here is begun again elsewhere, as after a crash."""
    log.error("the process is ended: a job or a handler holds up its event loop, or takes no notice of its end")
    os._exit(1)


async def _show(serving: Serving, port: int) -> asyncio.Server:
    from toque.transports.metrics_port import serve_metrics

    host = serving.settings.http.host
    try:
        return await serve_metrics(serving.metrics, host, port)
    except OSError as error:
        raise Failure(f"cannot listen on {host}:{port}: {error.strerror}") from None
