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
from typing import Any, TypeAlias

from msgspec import Struct

from toque.contract.code import codes_of, is_library

__all__ = ["Written", "is_attribute_written", "written_by", "written_in"]

Target: TypeAlias = "tuple[str, ...]"
"""A global name and attributes of it, as `("flags", "Limits")`; empty for the class that a method is called on."""

ANY = "*"
"""As an attribute: one whose name is not known before it runs."""


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
    owners = owner.__mro__ if isinstance(owner, type) else (owner,)
    writing = _writing()
    return any((id(each), name) in writing for each in owners for name in (attribute, ANY)) or (
        isinstance(owner, type) and (None, attribute) in writing
    )


_known: tuple[int, frozenset[tuple[int | None, str]], list[Any]] = -1, frozenset(), []
"""How many modules there were, what their code writes, and of whom, so that no identity is given to another."""


def _writing() -> frozenset[tuple[int | None, str]]:
    """Each attribute that code of the app writes, with the identity of whose it is; None where any class may be it."""
    global _known
    if _known[0] == len(sys.modules):
        return _known[1]
    found: set[tuple[int | None, str]] = set()
    owners = []
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None)
        if names is None or is_library(name):
            continue
        for target, attribute in written_in(names).attributes:
            owner = _owner(target, names)
            owners.append(owner)
            found.add((None if not target else id(owner), attribute))
    _known = len(sys.modules), frozenset(found), owners
    return _known[1]


def _owner(target: Target, names: Mapping[str, Any]) -> Any:
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
    return Written(frozenset(names), frozenset(enclosed), frozenset(_attributes(steps)))


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


def _attributes(steps: list[dis.Instruction]) -> Iterator[tuple[Target, str]]:
    """`target.attribute = value` and `setattr(target, "attribute", value)`."""
    for at, step in enumerate(steps):
        if step.opname in ("STORE_ATTR", "DELETE_ATTR"):
            target = _target_before(steps, at)
            if target is not None:
                yield target, step.argval
        elif step.opname == "LOAD_GLOBAL" and step.argval in ("setattr", "delattr"):
            end = at + 2
            while steps[end].opname == "LOAD_ATTR":
                end += 1
            target = _target_before(steps, end)
            is_told = steps[end].opname == "LOAD_CONST" and isinstance(steps[end].argval, str)
            if target is not None and (target or is_told):
                yield target, steps[end].argval if is_told else ANY


def _target_before(steps: list[dis.Instruction], at: int) -> Target | None:
    """What was loaded right before the step *at*; None where that is an object, of which nothing is known."""
    if steps[at - 1].opname == "SWAP":  # `target.attribute += value` loads the target first, and keeps a copy.
        copies = (n for n in range(at - 1, 0, -1) if _is_copied(steps, n, steps[at].argval))
        at = next(copies, at)
    attributes: list[str] = []
    at -= 1
    while steps[at].opname == "LOAD_ATTR" and at > 0:
        attributes.insert(0, steps[at].argval)
        at -= 1
    base = steps[at]
    if base.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
        return (base.argval, *attributes)
    loaded = base.argval[-1] if isinstance(base.argval, tuple) else base.argval
    is_class = attributes == ["__class__"] or (not attributes and loaded == "cls")
    is_type = base.opname == "CALL" and any(step.argval == "type" for step in steps[max(at - 4, 0) : at])
    return () if is_class or is_type else None


def _is_copied(steps: list[dis.Instruction], at: int, attribute: str) -> bool:
    return steps[at].opname == "COPY" and steps[at + 1].opname == "LOAD_ATTR" and steps[at + 1].argval == attribute
