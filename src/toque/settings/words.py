"""A setting's type in words, for messages."""

from __future__ import annotations

from typing import Any

import msgspec.inspect as kinds

__all__ = ["expected"]


def expected(annotation: Any) -> str:
    """What a setting takes: `a whole number from 1 to 65535`.

    >>> expected(int)
    'a whole number'
    """
    return _words(kinds.type_info(annotation))


def _words(kind: kinds.Type) -> str:
    match kind:
        case kinds.Metadata(type=inner):
            return _words(inner)
        case kinds.BoolType():
            return "true or false"
        case kinds.IntType(ge=least, le=most):
            return "a whole number" + _range(least, most)
        case kinds.FloatType(ge=least, le=most):
            return "a number" + _range(least, most)
        case kinds.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case kinds.VarTupleType(item_type=item):
            return f"a list, each {_words(item)}"
        case kinds.UnionType(types=types):
            return " or ".join(_words(each) for each in types)
        case kinds.NoneType():
            return "nothing"
    return "text"


def _range(least: float | None, most: float | None) -> str:
    bounds = [f"from {least:g}" if least is not None else "", f"to {most:g}" if most is not None else ""]
    return "".join(f" {bound}" for bound in bounds if bound)
