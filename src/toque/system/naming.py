"""Which events an operation can publish: those that its code names, and the code that it calls.

This is for people and documents. Nothing is enforced by it, and what code reaches in other ways is not found.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from toque.call.plan import Plan
from toque.call.resources import Pantry
from toque.contract.code import TooMuch, codes_of, enclosed_by, is_of_library, reached
from toque.contract.event import Event

__all__ = ["events_named", "named_by_steps", "named_directly", "roots_of"]


def roots_of(plan: Plan, pantry: Pantry) -> list[Callable[..., Any]]:
    """The functions and classes that run for *plan*: its own, and those of what it asks for."""
    made = (part for tp in plan.asks_for for part in (tp, pantry.factory(tp)))
    return [plan.operation.function, *(part for part in made if part is not None)]


def events_named(roots: Iterable[Any], others: Collection[Any] = ()) -> set[type[Event]]:
    """The events that the code of *roots* names, but not what the functions *others* name in turn."""
    return set(filter(_is_event, _named(roots, others)))


def named_by_steps(function: Callable[..., Any]) -> list[Any]:
    """What the code of *function*, a job of durable steps, names but for events: having no outbox itself it waits for
    these, and what publishes are the functions that it gives to its steps, its own inner ones too."""
    if not isinstance(function, FunctionType):
        return [function]
    own, *inner = codes_of(function.__code__)
    named = [*enclosed_by(function), *_named_in(own, function)]
    return [
        *(each for each in named if not _is_event(each)),
        *(each for code in inner for each in _named_in(code, function)),
    ]


def named_directly(function: Callable[..., Any]) -> set[FunctionType]:
    """The functions that the code of *function* itself names."""
    return {each for each in _within(function) if isinstance(each, FunctionType)}


def _is_event(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Event) and thing is not Event


def _named(roots: Iterable[Any], others: Collection[Any]) -> Iterator[Any]:
    roots = list(roots)
    closed = {id(each) for each in others} - {id(each) for each in roots}
    # More code than that is not an operation's own.
    with suppress(TooMuch):
        yield from reached(roots, lambda value: () if id(value) in closed else _within(value))


def _within(value: Any) -> Iterator[Any]:
    if isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType | staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, type):
        if not issubclass(value, Event) and not is_of_library(value):
            yield from value.__bases__
            yield from (each for name, each in vars(value).items() if not name.startswith("__"))
    elif isinstance(value, FunctionType) and not is_of_library(value):
        yield from enclosed_by(value)
        yield getattr(value, "__wrapped__", None)
        for code in codes_of(value.__code__):
            yield from _named_in(code, value)


def _named_in(code: CodeType, function: FunctionType) -> Iterator[Any]:
    for step in dis.get_instructions(code):
        found: Any = None
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found = function.__globals__.get(step.argval)
        elif step.opname == "IMPORT_NAME":
            found = sys.modules.get(step.argval)
        if isinstance(found, ModuleType):
            # Of a module what its names can mean, for attributes are among them.
            yield from (getattr(found, name, None) for name in code.co_names)
        elif found is not None:
            yield found
