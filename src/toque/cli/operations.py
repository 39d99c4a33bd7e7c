"""Finding an operation by the name that a person types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated

from cyclopts import Parameter

from toque.call.plan import Plan
from toque.cli.failures import Failure

__all__ = ["OperationName", "Optional", "Several", "find_plan"]

OperationName = Annotated[str, Parameter(help="Its name; the part before the dot may be left out where that is clear.")]
Several = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]
Optional = Annotated[str, Parameter(show_default=False)]


def find_plan(plans: Mapping[str, Plan], name: str, others: Iterable[str] = ()) -> Plan:
    """The plan called *name*, or whose last part is *name* where only one has it.

    Raises: Failure with code 2, naming the nearest, be it one of the *others* that could have been meant.
    """
    if name in plans:
        return plans[name]
    ending = [full for full in plans if full.rpartition(".")[2] == name]
    if len(ending) == 1:
        return plans[ending[0]]
    near = ending or get_close_matches(name, [*plans, *(full.rpartition(".")[2] for full in plans), *others], 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(sorted(plans)) or 'none'}"
    raise Failure(f"the app has no operation {name!r}; {hint}", code=2)
