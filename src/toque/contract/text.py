"""Text to values: what a path, a query string, a header, a form and CSV carry.

Source: RFC 3339 (dates and times).
"""

from __future__ import annotations

import enum
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec

from toque.contract.conversion import dec_hook, enums_as_values
from toque.contract.errors import Invalid
from toque.contract.faults import below, cut, invalid, refusal, refused
from toque.contract.guard import DECIMAL_EXPONENT_MAX, bounded_decimal
from toque.contract.schema import CONTAINERS, ForeignText, arms_of, is_container, plain_type, type_name

__all__ = ["INT_DIGITS_MAX", "text_of", "text_reader", "texts_reader"]

INT_DIGITS_MAX = 20
"""Digits of an integer given as text: 2**64 - 1 has 20, and no store or format here keeps more."""


def text_reader(tp: Any, *, place: str = "query", path: str = "$") -> Callable[[Any], Any]:
    """What turns text into a value of *tp*, made once and called per request.

    A list type takes the list of a repeated field's texts, every other type one text. An empty text is None
    where None is allowed, except beside str, where it is the empty string.

    Raises: TypeError at once where no text can stand for *tp*; the reader itself raises Invalid.
    """
    inner, constrained = plain_type(tp), typing.get_origin(tp) is Annotated
    try:
        read = _reader(inner, place, path)
    except KeyError:
        raise TypeError(f"no text can stand for {type_name(tp)}; take it from the body") from None
    if not constrained:
        return read
    return _constrained(read, tp, place, path)


def _constrained(read: Callable[[Any], Any], tp: Any, place: str, path: str) -> Callable[[Any], Any]:
    # Around a class, for msgspec keeps what it knows of a class there, and looks all others up by a slow hash.
    around: Any = msgspec.defstruct("Checked", [("value", tp)], array_like=True)

    def check(text: Any) -> Any:
        value = read(text)
        try:
            return msgspec.convert((value,), around, dec_hook=dec_hook).value
        except msgspec.ValidationError:
            return explain(value)

    def explain(value: Any) -> Any:
        try:
            return msgspec.convert(enums_as_values(value), tp, dec_hook=dec_hook)
        except msgspec.ValidationError as error:
            raise refusal(error, place, path) from error

    return check


def texts_reader(tp: Any, *, place: str = "query", path: str = "$") -> Callable[[list[str]], Any]:
    """Like `text_reader`, from the list of texts that a field came with: just one, unless *tp* is a list."""
    read = text_reader(tp, place=place, path=path)
    if any(is_container(plain_type(arm)) for arm in arms_of(tp)):
        return read

    def read_one(texts: list[str]) -> Any:
        if len(texts) != 1:
            raise _unreadable(texts, "one value", place, path)
        return read(texts[0])

    return read_one


def _reader(tp: Any, place: str, path: str) -> Callable[[Any], Any]:
    origin = typing.get_origin(tp)
    if origin in (Union, types.UnionType):
        return _union_reader(tp, place, path)
    if is_container(tp) and not issubclass(origin or tp, dict | Mapping):
        return _list_reader(tp, place, path)
    if origin is Literal:
        return _choice_reader({text_of(value): value for value in typing.get_args(tp)}, place, path)
    if isinstance(tp, type) and issubclass(tp, enum.Enum) and not issubclass(tp, enum.Flag):
        return _choice_reader({text_of(member.value): member for member in tp}, place, path)
    if tp in (str, ForeignText, Any):
        return _as_it_is
    if tp is bool:
        return _choice_reader({"true": True, "false": False, "1": True, "0": False}, place, path)
    parse, expected = _flags(tp) if isinstance(tp, type) and issubclass(tp, enum.Flag) else _PARSERS[tp]

    def read(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, ArithmeticError):
            raise _unreadable(text, expected, place, path) from None

    return read


def _as_it_is(text: str) -> str:
    return text


def text_of(value: Any) -> str:
    """The text that `text_reader` reads as *value*, a plain value or what leaves as one."""
    plain = msgspec.to_builtins(value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _choice_reader(choices: dict[str, Any], place: str, path: str) -> Callable[[Any], Any]:
    expected = "one of " + ", ".join(choices)

    def read(text: str) -> Any:
        try:
            return choices[text]
        except KeyError:
            raise _unreadable(text, expected, place, path) from None

    return read


def _union_reader(tp: Any, place: str, path: str) -> Callable[[Any], Any]:
    """The first arm that can read the text, str last, because it reads every text."""
    arms = sorted(typing.get_args(tp), key=lambda arm: plain_type(arm) is str)
    takes_none, takes_str = type(None) in arms, any(plain_type(arm) is str for arm in arms)
    readers = [text_reader(arm, place=place, path=path) for arm in arms if arm is not type(None)]
    expected = " or ".join(type_name(plain_type(arm)) for arm in arms if arm is not type(None))

    def read(text: Any) -> Any:
        if takes_none and not takes_str and text == "":
            return None
        for reader in readers[:-1]:
            try:
                return reader(text)
            except Invalid:
                continue
        if len(readers) == 1 or takes_str:
            return readers[-1](text)
        try:
            return readers[-1](text)
        except Invalid:
            raise _unreadable(text, expected, place, path) from None

    return read


def _list_reader(tp: Any, place: str, path: str) -> Callable[[Any], Any]:
    made, arguments = typing.get_origin(tp) or tp, typing.get_args(tp) or (str,)
    is_fixed = made is tuple and tp is not tuple and arguments[1:] != (Ellipsis,)
    if is_fixed or hasattr(made, "_fields"):
        raise KeyError(tp)  # It has places, and texts of one name have none.
    made = made if made in CONTAINERS else (frozenset if issubclass(made, AbstractSet) else list)
    item = text_reader(arguments[0], place=place)

    def read(texts: Any) -> Any:
        texts, values = [texts] if isinstance(texts, str) else texts, list[Any]()
        for text in texts:
            try:
                values.append(item(text))
            except Invalid as error:
                raise invalid(*below(f"{path}[{len(values)}]", error.faults)) from None
        return made(values)

    return read


def _unreadable(text: Any, expected: str, place: str, path: str) -> Invalid:
    received = f"'{text}'" if isinstance(text, str) else f"{len(text)} values"
    return refused(path, cut(expected), cut(received), place)


def _int(text: str) -> int:
    # int() alone takes spaces, underscores and the digits of every script, and any number of them.
    if text.isdigit() and text.isascii() and len(text) <= INT_DIGITS_MAX:
        return int(text)
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= INT_DIGITS_MAX):
        raise ValueError
    return int(text)


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def _float(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _decimal(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError
    return bounded_decimal(Decimal(text))


def _flags(tp: type[enum.Flag]) -> tuple[Callable[[str], Any], str]:
    return lambda text: tp(_int(text)), "the sum of any of " + ", ".join(str(member.value) for member in tp)


def _rfc3339(tp: type) -> Callable[[str], Any]:
    # Strict, so that "5" is no date: lax msgspec reads digits as seconds since 1970.
    return lambda text: msgspec.convert(text, tp)


_PARSERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (_int, f"an integer of at most {INT_DIGITS_MAX} digits"),
    float: (_float, "a finite number"),
    Decimal: (_decimal, f"a decimal number with an exponent within {DECIMAL_EXPONENT_MAX}"),
    UUID: (_rfc3339(UUID), "a UUID"),
    datetime: (_rfc3339(datetime), "an RFC 3339 date-time"),
    date: (_rfc3339(date), "an RFC 3339 date"),
    time: (_rfc3339(time), "an RFC 3339 time"),
    timedelta: (_rfc3339(timedelta), "an ISO 8601 duration"),
    bytes: (_rfc3339(bytes), "base64"),
}
