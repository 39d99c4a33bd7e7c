"""Whose attributes Python's bytecode writes: those of a module or a class.

A module's names are its attributes, also where they are written to what `globals()`, `vars(...)` or `__dict__` has. Of
objects nothing is known, nor of what is handed on as an argument.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = ["ANY", "OWN", "SOMEBODY", "SOME_CLASS", "Target", "attributes_in"]

Target: TypeAlias = "tuple[str, ...]"
"""A global name and attributes of it, as `("flags", "Limits")`, or one of those below."""

SOME_CLASS: Target = ()
"""The class that a method is called on, or that of an object."""
OWN: Target = ("globals()",)
"""The module of the code itself."""
SOMEBODY: Target = ("a module",)
"""A module that is fetched while the code runs, or what is in it: it may be any."""

ANY = "*"
"""As an attribute: one whose name is not known before it runs."""

_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
_FETCHING = frozenset({"__import__", "import_module", "modules"})
_READING = frozenset({"copy", "get", "items", "keys", "values"})
_STORING = ("STORE_ATTR", "DELETE_ATTR")
_WRITERS = frozenset({"delattr", "exec", "globals", "setattr", "vars"})
_DOORS = _WRITERS | {"__dict__"}
_LOOKED_AT = frozenset({*_STORING, *_ATTRIBUTE, "LOAD_GLOBAL"})


class _Step(NamedTuple):
    opname: str
    argval: Any
    effect: int
    """How many values more it leaves than it found, where it does not jump."""


def attributes_in(instructions: Sequence[dis.Instruction]) -> Iterator[tuple[Target, str]]:
    """Whose attributes are written, and which."""
    # All code of an app is looked at when it starts, and few functions write any.
    if not any(each.opname in _STORING or each.argval in _DOORS for each in instructions if each.opname in _LOOKED_AT):
        return
    steps = [step for each in instructions for step in _steps(each)]
    for at in range(len(steps)):
        target, names = _written_at(steps, at)
        if target is not None:
            # Of a class that is any, and names that are any, nothing could be trusted any more.
            yield from ((target, name) for name in names if target != SOME_CLASS or name != ANY)


def _steps(each: dis.Instruction) -> Iterator[_Step]:
    """*each* as all versions of Python have it: 3.11 announces calls, and 3.13 loads and stores two names at once."""
    opname = each.opname
    if isinstance(each.argval, tuple) and "_FAST_" in opname:
        for part, name in zip(opname.replace("_FAST_", "_FAST ").split(), each.argval, strict=False):
            yield _Step(part, name, 1 if part.startswith("LOAD") else -1)
    elif opname == "CALL":
        yield _Step(opname, each.argval, -1 - (each.arg or 0))
    elif opname != "PRECALL":
        yield _Step(opname, each.argval, dis.stack_effect(each.opcode, each.arg, jump=False))


def _written_at(steps: Sequence[_Step], at: int) -> tuple[Target | None, Sequence[str]]:
    """Whose attributes the step *at* writes, or what is written with what it loads."""
    step = steps[at]
    if step.opname in _STORING:
        return _target_before(steps, at), (step.argval,)
    if step.opname in _ATTRIBUTE and step.argval == "__dict__":
        return _target_before(steps, at), _names_within(steps, at + 1)
    if step.opname != "LOAD_GLOBAL" or step.argval not in _WRITERS:
        return None, ()
    if step.argval == "exec":
        return OWN, (ANY,)
    depths = _depths(steps, at + 1)
    call = at + 1 + len(depths)
    if step.argval == "globals":
        return OWN, (ANY,) if depths else _names_within(steps, call + 1)
    if 1 not in depths:
        return None, ()
    second = call - depths[::-1].index(1)
    target = _target_before(steps, second)
    if step.argval == "vars":
        return target, _names_within(steps, call + 1)
    is_told = steps[second].opname == "LOAD_CONST" and depths[second - at - 1 :].count(2) == 1
    return target, (steps[second].argval if is_told else ANY,)


def _depths(steps: Sequence[_Step], start: int) -> list[int]:
    """How many arguments there are after each step from *start*, up to the call of what was loaded before."""
    depths: list[int] = []
    depth = 0
    for step in steps[start:]:
        depth += step.effect
        if depth < 1:
            break
        depths.append(depth)
    return depths


def _names_within(steps: Sequence[_Step], at: int) -> Sequence[str]:
    """The names that are written to a module's, which are there as a dict before the step *at*."""
    step, after = steps[at], steps[min(at + 1, len(steps) - 1)]
    if step.opname == "CONTAINS_OP" or (step.opname in _ATTRIBUTE and step.argval in _READING):
        return ()
    if _is_subscript(after):
        return ()
    is_told = step.opname == "LOAD_CONST" and after.opname in ("STORE_SUBSCR", "DELETE_SUBSCR", "COPY")
    return (step.argval if is_told else ANY,)


def _target_before(steps: Sequence[_Step], at: int) -> Target | None:
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
    is_class = attributes == ["__class__"] or (not attributes and base.argval == "cls")
    if is_class or (base.opname == "CALL" and any(step.argval == "type" for step in steps[max(at - 3, 0) : at])):
        return SOME_CLASS
    found = _named(steps, at) if base.opname.startswith("LOAD") else _fetched(steps, at)
    if found == OWN:
        return tuple(attributes) or OWN
    if found is None or found == SOMEBODY or not attributes:
        return found
    return None if found == SOME_CLASS else (*found, *attributes)


def _is_copied(steps: Sequence[_Step], at: int, attribute: str) -> bool:
    return steps[at].opname == "COPY" and steps[at + 1].opname == "LOAD_ATTR" and steps[at + 1].argval == attribute


def _named(steps: Sequence[_Step], at: int) -> Target | None:
    """What the function's own name that the step *at* loads was given before."""
    stores = (n for n in range(at - 1, 0, -1) if steps[n].opname in ("STORE_FAST", "STORE_DEREF"))
    found = (_target_before(steps, n) for n in stores if steps[n].argval == steps[at].argval)
    return next((target for target in found if target is not None), None)


def _fetched(steps: Sequence[_Step], at: int) -> Target | None:
    """The module that the step *at* leaves; None where it leaves something else."""
    if steps[at].opname in ("IMPORT_NAME", "IMPORT_FROM"):
        return SOMEBODY
    if _is_subscript(steps[at]) and (steps[at - 2].argval, steps[at - 1].argval) == ("modules", "__name__"):
        return OWN
    if steps[at].opname != "CALL" and not _is_subscript(steps[at]):
        return None
    for step in steps[at - 1 :: -1] if at else ():
        if step.argval in _FETCHING and step.opname.startswith("LOAD"):
            return SOMEBODY
        if step.opname.startswith("STORE") or step.opname == "POP_TOP":
            break
    return None


_SUBSCRIPT = 26
"""NB_SUBSCR: since 3.14 a subscription is a binary operation."""


def _is_subscript(step: _Step) -> bool:
    return step.opname == "BINARY_SUBSCR" or (step.opname == "BINARY_OP" and step.argval == _SUBSCRIPT)
