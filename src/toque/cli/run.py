"""`toque run`: serve an app."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from toque.cli.parameters import Target
from toque.cli.serve import serve

__all__ = ["run"]


def run(
    target: Target = ".",
    /,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    fd: Annotated[int | None, Parameter(show=False)] = None,
) -> None:
    """Serve the app TARGET.

    It serves until it is told to stop (SIGTERM, Ctrl-C), and then lets running calls end. A flag wins over
    the environment, the environment over `toque.toml`.

    - `toque run shop` serves the app of the folder `shop`.
    - `toque run shop.web:app --port 0` takes a free port, and prints it.
    - `TOQUE_APP_ENVIRONMENT=production toque run shop --host 0.0.0.0 --workers 4` serves others.

    Args:
        host: Address to listen on; setting `http.host`.
        port: Port to listen on, 0 for a free one; setting `http.port`.
        workers: Processes that serve; setting `http.workers`.
        fd: A listening socket that is open already.
    """
    serve(target, host=host, port=port, workers=workers, fd=fd)
