"""Which tables an operation can meet, read from its code: every model, table and statement that it names, and what the
functions that it calls name.

This is for people (`toque explain`). Nothing is enforced by it: the compilers guard every table, named or not.
"""

from __future__ import annotations

import builtins
import dis
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy import inspect as mapped
from sqlalchemy.orm import Mapper, registry
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement

from toque.contract.code import TooMuch, codes_of, enclosed_by, is_of_library, reached

__all__ = ["Named", "named_tables"]

_LATE = frozenset(
    {"getattr", "globals", "locals", "vars", "eval", "exec", "compile", "__import__", "import_module", "attrgetter"}
    | {"text", "literal_column", "table"}
)
"""Functions by which code reaches what it does not name."""

_LATE_OF = frozenset({"builtins", "importlib", "operator", "sqlalchemy"})
"""Whose functions these are."""

_OPAQUE = (MetaData, registry, SimpleNamespace, Mapping)
"""What libraries make that may hold any table."""


@dataclass(frozen=True, slots=True)
class Named:
    """The tables that an operation can meet, or why that cannot be known."""

    tables: frozenset[str]
    unknown: str = ""


class _Unknown(Exception):
    """Something is named that may hold any statement."""


def named_tables(roots: Iterable[Any]) -> Named:
    """The tables that *roots*, the functions and classes of an operation, can meet; related ones are among them."""
    try:
        return Named(frozenset(table.name for value in reached(roots, _named_by) for table in _tables_of(value)))
    except (TooMuch, _Unknown) as why:
        return Named(frozenset(), str(why))


# What a value stands for in the database.


def _tables_of(value: Any) -> Iterator[Table]:
    """The tables of a model, an attribute of one, a table or a statement; none for anything else."""
    if isinstance(value, ClauseElement):
        yield from (each for each in visitors.iterate(value) if isinstance(each, Table))
        for column in getattr(value, "column_descriptions", ()):
            yield from _tables_of(column.get("entity"))
        return
    subject = mapped(value, raiseerr=False)
    mapper = getattr(subject, "parent", getattr(subject, "mapper", None))
    if isinstance(mapper, Mapper):
        yield from _related(mapper)


def _related(mapper: Mapper[Any]) -> set[Table]:
    """The tables of a model and of all that can be loaded from it: nested views and sessions do."""
    mappers, waiting = set[Mapper[Any]](), [mapper]
    tables: set[Any] = set()
    while waiting:
        each = waiting.pop()
        if each not in mappers:
            mappers.add(each)
            waiting += [*each.self_and_descendants, *(relation.mapper for relation in each.relationships)]
            tables |= {*each.tables, *(relation.secondary for relation in each.relationships)}
    return {table for table in tables if isinstance(table, Table)}


# What a value names in turn.


def _named_by(value: Any) -> Iterable[Any]:
    """Raises: _Unknown where that cannot be seen."""
    for kind, parts in _PARTS.items():
        if isinstance(value, kind):
            return parts(value)
    if isinstance(wrapped := getattr(value, "__wrapped__", None), FunctionType):
        return [wrapped]
    if is_of_library(type(value)):
        if isinstance(value, _OPAQUE):
            raise _Unknown(f"it uses a {type(value).__name__}, which may hold any table")
        return ()
    return [type(value), *getattr(value, "__dict__", {}).values()]


def _members(cls: type) -> Iterator[Any]:
    """The methods and attributes of a class of the app, and of its bases."""
    if is_of_library(cls):
        return
    yield from cls.__bases__
    for name, member in vars(cls).items():
        # What a model's own rules read is not the operation's doing.
        if not name.startswith("__") and name != "__rows__" and not isinstance(member, Mapping | MetaData | registry):
            yield member


def _named_by_code(function: FunctionType) -> Iterator[Any]:
    if is_of_library(function):
        return
    yield from enclosed_by(function)
    yield getattr(function, "__wrapped__", None)
    for code in codes_of(function.__code__):
        yield from _named_in(code, function)


_PARTS: dict[Any, Callable[[Any], Iterable[Any]]] = {
    FunctionType: _named_by_code,
    staticmethod: lambda value: [value.__func__],
    classmethod: lambda value: [value.__func__],
    MethodType: lambda value: [value.__func__, value.__self__],
    property: lambda value: filter(None, (value.fget, value.fset)),
    partial: lambda value: [value.func, *value.args, *value.keywords.values()],
    type: _members,
    dict: lambda value: [*value, *value.values()],
    list: list,
    tuple: list,
    set: list,
    frozenset: list,
}


def _named_in(code: CodeType, function: FunctionType) -> Iterator[Any]:
    if "metadata" in code.co_names:  # A name that SQLAlchemy keeps for itself: every model has all tables there.
        raise _Unknown("it uses metadata, which holds every table")
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            name = step.argval
            yield from _known(name, function.__globals__.get(name, vars(builtins).get(name)), code)
        elif step.opname == "IMPORT_NAME":
            if (module := sys.modules.get(step.argval)) is None:
                raise _Unknown(f"{function.__name__} imports {step.argval or 'something'} while it runs")
            yield from _known(step.argval, module, code)


def _known(name: str, value: Any, code: CodeType) -> Iterator[Any]:
    """*value*, which *code* calls *name*; of a module what its names can mean, for attributes are among them."""
    if isinstance(value, ModuleType):
        for attribute in code.co_names:
            if not isinstance(member := vars(value).get(attribute), ModuleType):
                yield from _known(f"{name}.{attribute}", member, code)
    elif getattr(value, "__name__", "") in _LATE and _top_module(value) in _LATE_OF:
        raise _Unknown(f"it uses {name}, which may reach what is not named")
    else:
        yield value


def _top_module(thing: Any) -> str:
    return (getattr(thing, "__module__", None) or "").partition(".")[0]
