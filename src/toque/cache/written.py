"""What the app's code writes while it runs: a name of a module, one that encloses a function, or an attribute of a
module or a class. Whoever reads one of them depends on who was there before.

Attributes are told apart by whose they are, as far as that is known when it is looked; objects of the app need no
looking, because one that may change is not trusted in the first place (`purity.py`).
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from msgspec import Struct

from toque.cache.targets import ANY, OWN, SOME_CLASS, SOMEBODY, Target, attributes_in
from toque.contract.code import codes_of, is_library

__all__ = ["Written", "is_attribute_written", "written_by", "written_in"]


class Written(Struct, frozen=True):
    """By name, because code is all that there is to look at: what has the name of one that is written counts as it."""

    names: frozenset[str] = frozenset()
    """Of the module."""
    enclosed: frozenset[str] = frozenset()
    """Of a function around the one that writes: what it names `nonlocal`."""
    attributes: frozenset[tuple[Target, str]] = frozenset()


_seen: dict[int, tuple[dict[str, Any], int, Written]] = {}
"""For a module's names, by identity: they, how many there were, and what was found. There are as many as modules."""


def written_in(names: dict[str, Any]) -> Written:
    """What the functions of the module that has *names* write, those within others and in classes too."""
    known = _seen.get(id(names))
    if known is not None and known[0] is names and known[1] == len(names):
        return known[2]
    functions = {each for each in _functions(names) if each.__globals__ is names}
    found = [written_by(code) for function in functions for code in codes_of(function.__code__)]
    every = Written(
        frozenset[str]().union(*(each.names for each in found)),
        frozenset[str]().union(*(each.enclosed for each in found)),
        frozenset[tuple[Target, str]]().union(*(each.attributes for each in found)),
    )
    _seen[id(names)] = names, len(names), every
    return every


def is_attribute_written(owner: Any, attribute: str) -> bool:
    """Whether code of the app writes *attribute* of *owner*: the names of a module, or a class, which may have it from
    another."""
    owners: list[int | Target] = [SOMEBODY, *map(id, owner.__mro__ if isinstance(owner, type) else (owner,))]
    if isinstance(owner, type):
        owners.append(SOME_CLASS)
    writing = _writing()
    return any((each, name) in writing for each in owners for name in (attribute, ANY))


_known: tuple[int, frozenset[tuple[int | Target, str]], list[Any]] = -1, frozenset(), []
"""How many modules there were, what their code writes, and of whom, so that no identity is given to another."""


def _writing() -> frozenset[tuple[int | Target, str]]:
    """Each attribute that code of the app writes, with the identity of whose it is; or with the target, where that may
    be any."""
    global _known
    if _known[0] == len(sys.modules):
        return _known[1]
    found: set[tuple[int | Target, str]] = set()
    owners = []
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None)
        if names is None or is_library(name):
            continue
        for target, attribute in written_in(names).attributes:
            owner = _owner(target, names)
            owners.append(owner)
            found.add((target if target in (SOME_CLASS, SOMEBODY) else id(owner), attribute))
    _known = len(sys.modules), frozenset(found), owners
    return _known[1]


def _owner(target: Target, names: Mapping[str, Any]) -> Any:
    if target == OWN:
        return names
    found = names.get(target[0]) if target else None
    for attribute in target[1:]:
        found = getattr(found, "__dict__", {}).get(attribute)
    # A module's own functions have its names, and not itself.
    return vars(found) if isinstance(found, ModuleType) else found


def written_by(code: CodeType) -> Written:
    """What *code* writes, without what is defined in it."""
    steps = list(dis.get_instructions(code))
    names = {step.argval for step in steps if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")}
    enclosed = {step.argval for step in steps if step.opname == "STORE_DEREF" and step.argval in code.co_freevars}
    return Written(frozenset(names), frozenset(enclosed), frozenset(attributes_in(steps)))


def _functions(names: dict[str, Any]) -> Iterator[FunctionType]:
    """The functions among *names*, and in classes among them, whatever decorators stand around them."""
    waiting = list(names.values())
    classes = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, FunctionType):
            yield value
        elif isinstance(value, type):
            if value not in classes and value.__module__ == names.get("__name__"):
                classes.add(value)
                waiting += vars(value).values()
            continue
        parts = ("fget", "fset", "fdel") if isinstance(value, property) else ("__func__", "__wrapped__")
        # An object of the app may answer to any name.
        waiting += [part for part in (getattr(value, each, None) for each in parts) if isinstance(part, _CODE)]


_CODE = (FunctionType, property, classmethod, staticmethod)
