"""Plain values, as any format holds them, to values of a type and back.

msgspec converts; its hooks here add pydantic models, which are known by their attributes and never imported.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from toque.contract.faults import refusal
from toque.contract.guard import key_guard
from toque.contract.schema import is_pydantic, type_name

__all__ = ["convert", "dec_hook", "enc_hook"]


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
        raise refusal(error, place, path) from error


def enc_hook(value: Any) -> Any:
    """A pydantic model as plain values: those of its own JSON form, so that every format says the same."""
    if is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"no format carries {type_name(type(value))}; answer with a declared view")


def dec_hook(tp: Any, value: Any) -> Any:
    """Plain values as a pydantic model.

    A strict model takes a date as text from JSON only, and here JSON is already parsed into plain values. So
    what it refuses is offered once more as JSON, unless it holds what JSON cannot carry, as bytes.
    """
    if isinstance(value, tp):
        return value
    if not is_pydantic(tp):
        raise ValueError(f"Expected `{type_name(tp)}`, got `{type(value).__name__}`")
    try:
        return tp.model_validate(value)
    except ValueError:
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            text = None
        if text is None:
            raise
    return tp.model_validate_json(text)
