"""An app served by this process and its workers, as `toque run` was asked to."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from toque.app import App
from toque.cli import garbage
from toque.cli.failures import Failure
from toque.cli.target import load_app
from toque.serving import Serving
from toque.settings import Settings, load

__all__ = ["listen", "serve", "settings_for"]


def serve(
    target: str = ".",
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    fd: int | None = None,
) -> None:
    """Serve the app that *target* names until told to stop.

    Args:
        fd: a listening socket that is open already.
    Raises: Failure, SetupError, SettingsError.
    """
    # Until the server has its own: who is told to stop before he has begun has done so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    flags = {"http.host": host, "http.port": port, "http.workers": workers}
    with TemporaryDirectory(prefix="toque-") as figures:
        with garbage.uncollected():
            app = load_app(target)
            settings = settings_for(app, {name: str(value) for name, value in flags.items() if value is not None})
            serving = Serving(app, settings, figures_folder=Path(figures))
        serving.prepare()
        _serve(serving, target, fd)


def _serve(serving: Serving, target: str, fd: int | None) -> None:
    app, settings = serving.app, serving.settings

    from toque.transports import server

    listener = socket.socket(fileno=fd) if fd is not None else listen(settings)
    if fd is not None:
        server.end_with_parent(os.getppid())
    scheme = "https" if settings.http.tls_certificate else "http"
    address, taken = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    print(f"{app.name} {app.version} on {scheme}://{shown}:{taken} ({settings.app.environment})", flush=True)
    # A worker's own collector would touch, and so copy, the memory that it shares with us (Python's manual, gc.freeze):
    # 17 MB of a thousand operations.
    garbage.spare()
    server.serve(listener, settings, _Loader(serving, target), is_last=fd is None)


class _Loader:
    """Gives a worker what it serves: the parent's own where it was forked, else the app loaded anew."""

    def __init__(self, serving: Serving, target: str) -> None:
        self._serving: Serving | None = serving
        self._target = target
        self._settings = serving.settings
        self._figures_folder = serving.figures_folder

    def __call__(self) -> Serving:
        return self._serving or Serving(load_app(self._target), self._settings, figures_folder=self._figures_folder)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_serving": None}


def settings_for(app: App, flags: dict[str, str] | None = None) -> Settings:
    """The settings of *app*: those it was made with, or its toque.toml and the environment; then *flags*."""
    if app.given_settings is None:
        return load(app.folder, os.environ, flags or {})
    asked = load(None, {}, flags or {})
    names = {setting.partition(".")[2] for setting in asked.sources}
    http = msgspec.structs.replace(app.given_settings.http, **{name: getattr(asked.http, name) for name in names})
    return msgspec.structs.replace(app.given_settings, http=http)


def listen(settings: Settings) -> socket.socket:
    """A socket that is open to clients.

    Raises: Failure where the address is taken, is not ours, or would show development to strangers.
    """
    _refuse_open_development(settings)
    from toque.transports import server

    http = settings.http
    try:
        return server.listen(http.host, http.port)
    except OSError as error:
        raise Failure(
            f"cannot listen on {http.host}:{http.port}: {error.strerror}; stop what listens there, or choose --port 0"
        ) from None


def _refuse_open_development(settings: Settings) -> None:
    """Development hands out tokens and shows how the app is made: not to strangers."""
    host = settings.http.host
    try:
        is_private = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_private = host == "localhost"
    # A file may have come along with the app; a variable was set by whoever starts it.
    is_meant = settings.sources.get("app.environment", "").startswith("TOQUE_")
    if not is_private and not settings.is_production and not is_meant:
        raise Failure(
            f"host {host} can be reached by others, and development is not for others; set "
            "TOQUE_APP_ENVIRONMENT=production, or =development to say that you mean it",
            code=2,
        )
