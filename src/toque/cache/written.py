"""What the code of a module writes while it runs: a name of its own, one that encloses a function, or an attribute of
either. Whoever reads one of them depends on who was there before."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from msgspec import Struct

from toque.contract.code import codes_of

__all__ = ["Written", "written_by", "written_in"]


class Written(Struct, frozen=True):
    """By name, because code is all that there is to look at: what has the name of one that is written counts as it."""

    names: frozenset[str] = frozenset()
    """Of the module."""
    enclosed: frozenset[str] = frozenset()
    """Of a function around the one that writes: what it names `nonlocal`."""
    attributes: frozenset[tuple[str, str]] = frozenset()
    """Of what a name of the module stands for: the name and the attribute."""


_seen: dict[int, tuple[dict[str, Any], int, Written]] = {}
"""For a module's names, by identity: they, how many there were, and what was found. There are as many as modules."""


def written_in(names: dict[str, Any]) -> Written:
    """What the functions of the module that has *names* write, those within others and in classes too."""
    known = _seen.get(id(names))
    if known is not None and known[0] is names and known[1] == len(names):
        return known[2]
    functions = [each for each in _functions(names) if each.__globals__ is names]
    found = [written_by(code) for function in functions for code in codes_of(function.__code__)]
    every = Written(
        frozenset[str]().union(*(each.names for each in found)),
        frozenset[str]().union(*(each.enclosed for each in found)),
        frozenset[tuple[str, str]]().union(*(each.attributes for each in found)),
    )
    _seen[id(names)] = names, len(names), every
    return every


def written_by(code: CodeType) -> Written:
    """What *code* writes, without what is defined in it."""
    steps = list(dis.get_instructions(code))
    names = {step.argval for step in steps if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")}
    enclosed = {step.argval for step in steps if step.opname == "STORE_DEREF" and step.argval in code.co_freevars}
    return Written(frozenset(names), frozenset(enclosed), frozenset(_attributes(steps)))


def _functions(names: dict[str, Any]) -> Iterator[FunctionType]:
    for value in list(names.values()):
        members = list(vars(value).values()) if isinstance(value, type) else [value]
        for member in members:
            function = getattr(member, "__func__", member)
            if isinstance(function, FunctionType):
                yield function


def _attributes(steps: list[dis.Instruction]) -> Iterator[tuple[str, str]]:
    """`name.attribute = value` loads the name last; `name.attribute += value` loads it first, and keeps a copy."""
    for at, step in enumerate(steps):
        if step.opname not in ("STORE_ATTR", "DELETE_ATTR") or at == 0:
            continue
        if steps[at - 1].opname == "LOAD_GLOBAL":
            yield steps[at - 1].argval, step.argval
        for first, second, third in zip(steps[:at], steps[1:at], steps[2:at], strict=False):
            is_copied = first.opname == "LOAD_GLOBAL" and second.opname == "COPY"
            if is_copied and third.opname == "LOAD_ATTR" and third.argval == step.argval:
                yield first.argval, step.argval
