"""From what a driver gives for a column to what a view's field is declared as.

Two steps, each left out where the types already agree: SQLAlchemy's result processor for the column's SQL
type, and msgspec.convert where the field is declared with another type than the column has (a `float` from a
NUMERIC, a Struct from a JSON document).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import UnionType
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

import msgspec
from sqlalchemy.engine import Dialect
from sqlalchemy.types import Float, NullType, TypeEngine

__all__ = ["reader"]

Convert = Callable[[Any], Any]

# asyncpg tells its types by OID (PostgreSQL's pg_type.dat): SQLAlchemy's NUMERIC wants to know which one
# came.
_FLOAT8, _NUMERIC = 701, 1700


def reader(sql_type: TypeEngine[Any], annotation: Any, dialect: Dialect) -> Convert | None:
    """What turns the driver's value of *sql_type* into a value of *annotation*; None when it is one
    already."""
    oid = _FLOAT8 if isinstance(sql_type, Float) else _NUMERIC
    processed = sql_type.dialect_impl(dialect).result_processor(dialect, oid)
    have = _python_type(sql_type)
    converted = None if _agrees(have, annotation) else _converter(have, annotation)
    if processed is None or converted is None:
        return processed or converted
    return lambda value: converted(processed(value))


def _python_type(sql_type: TypeEngine[Any]) -> type | None:
    if isinstance(sql_type, NullType):
        return None
    try:
        return sql_type.python_type
    except NotImplementedError:
        return None


def _agrees(have: type | None, annotation: Any) -> bool:
    """Whether every value of type *have* is a value of *annotation*."""
    origin = get_origin(annotation)
    if annotation is Any or annotation is object:
        return True
    if isinstance(annotation, NewType):
        return _agrees(have, annotation.__supertype__)
    if origin is Annotated:
        return _agrees(have, get_args(annotation)[0])
    if origin in (Union, UnionType):
        return any(_agrees(have, arg) for arg in get_args(annotation))
    if have is None:
        return False
    if origin is Literal:
        return all(isinstance(value, have) for value in get_args(annotation))
    if origin is not None:
        return False
    return isinstance(annotation, type) and issubclass(have, annotation)


# Types that msgspec.convert takes as they are; others go through what they look like on the wire.
_PLAIN = (None, bool, int, float, str, bytes, dict, list)


def _converter(have: type | None, annotation: Any) -> Convert:
    convert = partial(msgspec.convert, type=annotation, strict=False, dec_hook=_foreign)
    return convert if have in _PLAIN else lambda value: convert(msgspec.to_builtins(value))


def _foreign(kind: Any, value: Any) -> Any:
    """A type that msgspec does not know: a pydantic model, known by its method; or the value as it came."""
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    return value
