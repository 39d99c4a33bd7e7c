"""`toque check`: everything that would keep an app from starting, without starting it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from cyclopts import Parameter

from toque.cache.learned import Learned, learned
from toque.call.plan import Plan
from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.target import load_app

__all__ = ["check"]


def check(target: Target = ".", /, *, queries: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Say everything that would keep the app TARGET from starting.

    It compiles the app as `toque run` does, without serving it or opening its database, and lists all that is
    wrong, each with its remedy.

    - `toque check shop` ends with code 1 where anything is wrong: a step for your CI.
    - `toque check shop --queries` also says which queries always ask the database, and why.

    Args:
        queries: Say of the queries that read the database which are not answered from memory. That is no fault.
    """
    app = load_app(target)
    serving = app.serve(settings_for(app))
    plans = serving.system.plans
    if queries:
        for name, why in _uncached(plans, learned(app.folder)):
            print(f"{name} asks the database each time: {why}")
    print(f"{app.name} {app.version}: {len(plans)} operation{'s' * (len(plans) != 1)}, nothing wrong")


def _uncached(plans: Mapping[str, Plan], known: Mapping[str, Learned]) -> Iterator[tuple[str, str]]:
    """The queries that are not answered from memory, and why: by what they say, or by what was seen when they ran."""
    for name, plan in plans.items():
        declared = "" if plan.is_cached else next((stage.why for stage in plan.stages if stage.name == "cache"), "")
        why = declared.removeprefix("not cached: ") or (known[name].why_not if name in known else "")
        if why:
            yield name, why
