"""What is played under faults: an app, the calls that its clients make, and how to read what came of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from toque.contract.principal import Principal
from toque.settings import Settings
from toque.testing.faults.checker import Rules, State
from toque.testing.faults.steps import STORE, Step

if TYPE_CHECKING:
    from toque.app import App
    from toque.store.database import Database

__all__ = ["Call", "Scenario", "load"]


class Call(Struct, frozen=True):
    """One call of a client, who asks again until he knows what became of it."""

    id: str
    """Names it in the history, and is what the app has to keep of it; also its idempotency key."""
    operation: str
    inputs: Mapping[str, Any] = {}
    """As JSON would have them."""
    is_once: bool = True
    """Whether it is asked for under an idempotency key. One without is not asked for again where nobody knows."""
    principal: Principal | None = None


class Scenario(Struct, frozen=True):
    """An app under faults."""

    app: App
    calls: Callable[[Random], Sequence[Call]]
    """What the clients ask for; the same for the same seed. Each client makes its calls one after the other."""
    read: Callable[[Database], Awaitable[State]]
    """What the database holds of it."""
    identify: Callable[[Mapping[str, Any]], tuple[str, str]] = lambda inputs: ("", "")
    """From the inputs of a handler or a job to the id of the call that brought it about, and to its key."""
    rules: Rules = Rules()
    steps: Sequence[Step] = STORE
    settings: Settings = field(default_factory=Settings)
    nodes: int = 2
    """How many processes serve the app."""
    clients: int = 4
    settled_s: float = 60.0
    """How long handlers and jobs may take, once everything works again, to have done all that is owed."""


def load(target: str) -> Scenario:
    """The scenario at *target*, `package.module:name`. Raises: TypeError where there is another thing."""
    module, _, name = target.partition(":")
    found = getattr(import_module(module), name or "scenario")
    if not isinstance(found, Scenario):
        raise TypeError(f"expected a Scenario at {target}, got {type(found).__name__}.")
    return found
