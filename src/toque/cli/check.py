"""`toque check`: everything that would keep an app from starting, without starting it."""

from __future__ import annotations

from toque.cli.run import settings_for
from toque.cli.target import Target, load_app

__all__ = ["check"]


def check(target: Target = ".", /) -> None:
    """Say everything that would keep the app TARGET from starting.

    It compiles the app as `toque run` does, without serving it or opening its database, and lists all that is
    wrong, each with its remedy.

    - `toque check shop` ends with code 1 where anything is wrong: a step for your CI.
    """
    app = load_app(target)
    serving = app.serve(settings_for(app))
    plans = serving.system.plans
    print(f"{app.name} {app.version}: {len(plans)} operations, nothing wrong")
