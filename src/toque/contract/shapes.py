"""The JSON Schemas of types, made together so that equal names are told apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from toque.contract.conversion import enc_hook
from toque.contract.json_schema import json_schema

__all__ = ["JsonSchema", "Shapes", "plain"]

JsonSchema = dict[str, Any]


class Shapes:
    """The schemas of *types*, and the components that they share."""

    def __init__(self, types: Iterable[Any]) -> None:
        types = list(types)
        # As it will be read from a file: a tuple there is a list.
        schemas, self.components = msgspec.json.decode(msgspec.json.encode(json_schema(types)))
        # By identity: a type need not be hashable, and each is the very object that stands in the signature.
        self._known: dict[int, tuple[Any, JsonSchema]] = {
            id(tp): (tp, shape) for tp, shape in zip(types, schemas, strict=True)
        }

    def of(self, tp: Any) -> JsonSchema:
        """The schema of one of the types."""
        return self._known[id(tp)][1]


def plain(value: Any) -> Any:
    """A default as plain values; None where it has no such form."""
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=enc_hook)
    except TypeError:
        return None
