"""What the runs of one operation have asked about their callers so far, and the keys that tell it.

A key holds the values of all facts that are known by then. Facts only come in addition and keep their places, so how
many a key holds says which they are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from toque.contract.principal import Principal
from toque.store.facts import value_of

__all__ = ["INPUT_BYTES_MAX", "FactName", "Key", "Knowledge"]

FactName: TypeAlias = "tuple[Any, tuple[str, ...]]"
"""`about` and `names` of a fact (`store/facts.py`)."""

Key: TypeAlias = "tuple[str, bytes, int, Hashable]"
"""The operation, its inputs, how many facts are told, and their values; -1 facts where it is the whole caller."""

INPUT_BYTES_MAX = 4096
"""Inputs that are longer are seldom asked for twice, and would fill the room with keys."""


def _plain(value: Any) -> Any:
    """Claims stand in a view that nobody can write to."""
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is in no key")


_encode = msgspec.msgpack.Encoder(order="deterministic", enc_hook=_plain).encode
"""In MessagePack 1, 1.0, true and "1" are different bytes."""


class Knowledge:
    """The keys of one operation.

    Args:
        is_about_caller: whether it is given its caller as a whole, so that every key tells all about him.
    """

    def __init__(self, operation: str, *, is_about_caller: bool) -> None:
        self.operation = operation
        self.is_about_caller = is_about_caller
        self._facts: list[FactName] = []

    @property
    def facts(self) -> Sequence[FactName]:
        """What is known so far to have been asked."""
        return self._facts

    def key(self, inputs: Sequence[Any], caller: Principal, encode: Callable[[Any], bytes]) -> Key | None:
        """The key of a call; None where it can have none, because its inputs are too long or not plain."""
        try:
            told = encode(inputs) if inputs else b""
            if len(told) > INPUT_BYTES_MAX:
                return None
            if self.is_about_caller:
                return self.operation, told, -1, (type(caller), _encode(caller))
            facts = self._facts
            if not facts:
                return self.operation, told, 0, None
            values = _encode([value_of(about, names, caller) for about, names in facts])
            return self.operation, told, len(facts), values
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
            return None

    def told_by(self, key: Key) -> Sequence[FactName]:
        """The facts whose values *key* holds, in its order."""
        return self._facts[: max(key[2], 0)]

    def tells(self, key: Key, asked: Iterable[FactName]) -> bool:
        """Whether *key* tells all that was *asked*. What it does not is known from now on."""
        if self.is_about_caller:
            return True
        told = self.told_by(key)
        is_told = True
        for fact in asked:
            if fact not in told:
                is_told = False
            if fact not in self._facts:
                self._facts.append(fact)
        return is_told
