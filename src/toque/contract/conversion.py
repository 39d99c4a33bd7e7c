"""Plain values, as any format holds them, to values of a type and back.

msgspec converts; its hooks here add pydantic models, which are known by their attributes and never imported.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from typing import Any

import msgspec

from toque.contract.errors import Fault
from toque.contract.faults import FAULTS_MAX, below, cut, faults_from, refusal
from toque.contract.guard import key_guard
from toque.contract.schema import fields_of, is_pydantic, list_item, plain_arms, type_name

__all__ = ["convert", "dec_hook", "enc_hook", "enums_as_values", "faults_of", "keep_hook", "kept_hook"]

DEPTH_MAX = 16
"""How deep a refused value is searched for more faults: each level converts what lies below it once more, and nobody
writes by hand what is nested deeper."""


def convert(value: Any, tp: Any, *, strict: bool = True, place: str = "body", path: str = "$") -> Any:
    """*value*, plain values of any format, as a value of *tp*.

    Args:
        strict: False also takes numbers, booleans and null as text.
        place, path: where the value stands, for the faults.

    Raises: Invalid with the faults.
    """
    if (guard := key_guard(tp)) is not None:
        guard(value, place, path)
    try:
        return msgspec.convert(value, tp, strict=strict, str_keys=True, dec_hook=dec_hook)
    except (msgspec.ValidationError, RecursionError) as error:
        raise refusal(error, place, path, faults_of(value, tp, strict=strict, place=place)) from error


def faults_of(value: Any, tp: Any, *, strict: bool = True, place: str = "body") -> list[Fault]:
    """What keeps *value*, plain values, from being a *tp*: not the first fault alone, as msgspec has it, but those of
    every field of an object and every item of a list. Of a union and a dict it is the first."""
    return list(islice(_faults(value, tp, strict, Fault("$", "", place), DEPTH_MAX), FAULTS_MAX))


def _faults(value: Any, tp: Any, strict: bool, at: Fault, depth: int) -> Iterator[Fault]:
    """The faults of what stands *at*, one by one: a large value may have more than anybody asks for."""
    try:
        msgspec.convert(value, tp, strict=strict, str_keys=True, dec_hook=dec_hook)
        return
    except msgspec.ValidationError as error:
        own = below(at.path, faults_from(error, at.place))
    except RecursionError:
        return
    told: set[str] = set()
    for step, part, part_tp in _parts(value, tp) if depth else ():
        inside = msgspec.structs.replace(at, path=cut(at.path + step))
        for fault in _missing(inside) if part is msgspec.UNSET else _faults(part, part_tp, strict, inside, depth - 1):
            told.add(fault.path)
            yield fault
    yield from (fault for fault in own if fault.path not in told)


def _missing(at: Fault) -> Iterator[Fault]:
    yield Fault(at.path, "Expected a value, got nothing", at.place, "a value", "nothing")


def _parts(value: Any, tp: Any) -> Iterator[tuple[str, Any, Any]]:
    """The fields of an object and the items of a list: where each stands, its value and its type. UNSET is a field
    that must be there and is not."""
    arms = [arm for arm in plain_arms(tp) if arm is not type(None)]
    if len(arms) != 1 or is_pydantic(arms[0]):  # A pydantic model has told all of its faults by itself.
        return
    item = list_item(arms[0])
    if item is not None and isinstance(value, list):
        yield from ((f"[{place}]", one, item) for place, one in enumerate(value))
    elif isinstance(value, dict):
        for field in fields_of(arms[0]):
            if field.name in value:
                yield f".{field.name}", value[field.name], field.type
            elif field.required:
                yield f".{field.name}", msgspec.UNSET, field.type


def enc_hook(value: Any) -> Any:
    """A pydantic model as plain values: those of its own JSON form, so that every format says the same."""
    if is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"no format carries {type_name(type(value))}; answer with a declared view")


def keep_hook(value: Any) -> Any:
    """A pydantic model as plain values that `kept_hook` reads: its fields under their names in Python. The form that
    leaves is for others: it may have names that the model does not read, and what it computes."""
    model: Any = type(value)
    if _reads_by_name(model):
        return value.model_dump(mode="json", by_alias=False, round_trip=True)
    return enc_hook(value)


def kept_hook(tp: Any, value: Any) -> Any:
    """What `keep_hook` wrote as a pydantic model again; the form that leaves is read too, as it was kept before."""
    return dec_hook(tp, value, **({"by_alias": True, "by_name": True} if _reads_by_name(tp) else {}))


@functools.cache
def _reads_by_name(model: Any) -> bool:
    """Whether it is a model of pydantic 2.11 or later, which can be told to."""
    return is_pydantic(model) and "by_name" in inspect.signature(model.model_validate).parameters


def enums_as_values(value: Any) -> Any:
    """*value* with what it says on the wire in the place of each member of an Enum, also in containers: msgspec refuses
    a member of an Enum of numbers where that very Enum is asked for."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {enums_as_values(key): enums_as_values(held) for key, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [enums_as_values(held) for held in value]
    return value


def dec_hook(tp: Any, value: Any, **how: bool) -> Any:
    """Plain values as a pydantic model, validated as *how* says.

    A strict model takes a date as text from JSON only, and here JSON is already parsed into plain values. So
    what it refuses is offered once more as JSON, unless it holds what JSON cannot carry, as bytes.
    """
    if isinstance(value, tp):
        return value
    if not is_pydantic(tp):
        raise ValueError(f"Expected `{type_name(tp)}`, got `{type(value).__name__}`")
    try:
        return tp.model_validate(value, **how)
    except ValueError:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            text = None
        if text is None:
            raise
    return tp.model_validate_json(text, **how)
