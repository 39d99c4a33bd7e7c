"""`toque check`: everything that would keep an app from starting, without starting it."""

from __future__ import annotations

from toque.cli.run import settings_for
from toque.cli.target import load_app

__all__ = ["check"]


def check(target: str = ".") -> None:
    """Compile the app TARGET and say all that is wrong with it, each with its remedy.

    Parameters
    ----------
    target: `package.module:app`, a file or a folder.
    """
    app = load_app(target)
    serving = app.serve(settings_for(app))
    plans = serving.system.plans
    print(f"{app.name} {app.version}: {len(plans)} operations, nothing wrong")
