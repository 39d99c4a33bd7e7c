"""`toque settings`: every setting, its value, and where the value came from."""

from __future__ import annotations

from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.tables import print_grid
from toque.cli.target import load_app
from toque.settings import describe

__all__ = ["settings"]


def settings(target: Target = ".", /) -> None:
    """Print every setting of the app TARGET: its value, its source and its meaning.

    Secrets are not shown. A setting `http.port` is `port` below `[http]` in `toque.toml`, and
    `TOQUE_HTTP_PORT` in the environment, which wins.

    - `TOQUE_HTTP_PORT=9000 toque settings shop` shows where each value comes from.
    """
    print_grid(("setting", "value", "from", "meaning"), describe(settings_for(load_app(target))))
