"""MessagePack (the msgpack specification, 2.0), registered as application/vnd.msgpack, best known without
`vnd`.

Decimals and UUIDs travel as text, datetimes as RFC 3339 text; the timestamp extension is read too, others
are refused. Where a map has a key twice, the last one counts. A float that is not finite is refused on the
way in; on the way out it stays what it is, because the format has a form for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from toque.codecs.json import can_carry
from toque.codecs.problem import problem_document
from toque.codecs.refusing import refusing
from toque.codecs.stream import StreamEncoder
from toque.codecs.suspicion import suspicion
from toque.contract.conversion import dec_hook, enc_hook
from toque.contract.errors import Problem
from toque.contract.faults import refused
from toque.contract.guard import key_guard
from toque.contract.nodes import holds

__all__ = ["MSGPACK"]

encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=enc_hook).encode

LOOKED_AT_MIN = 4096
"""A colliding key takes eleven bytes (an array, a 64-bit number, a value), so smaller bodies hold below
400: some ms."""

LEVELS_MAX = 32
"""Levels of such a body, on average over its bytes: each level reads all below it once more (cbor2 stops at
400, and documents that people write stay below 10)."""


class _Msgpack:
    name = "msgpack"
    media_types: tuple[str, ...] = ("application/msgpack", "application/vnd.msgpack", "application/x-msgpack")
    problem_media_type = "application/problem+msgpack"

    def decoder(self, tp: Any) -> Callable[[bytes], Any] | None:
        if not can_carry(tp):
            return None
        typed = msgspec.msgpack.Decoder(tp, dec_hook=dec_hook, ext_hook=_refuse_extension).decode
        guard = key_guard(tp)
        is_suspect = suspicion(tp)
        is_open = guard is not None or holds(tp, inspect.AnyType)

        def decode(data: bytes) -> Any:
            # A body is looked at more closely only where it could hold what is refused.
            if is_open and len(data) >= LOOKED_AT_MIN:
                _refuse_compound_keys(data)
            if _NOT_FINITE.search(data) is not None:
                _refuse_not_finite(_untyped(data))
            if guard is not None and is_suspect(data):
                guard(_untyped(data))
            return typed(data)

        return refusing("MessagePack", decode)

    def encoder(self, tp: Any) -> Callable[[Any], bytes] | None:
        if tp is Problem:
            return lambda problem: encode(problem_document(problem))
        return encode if can_carry(tp) else None

    def stream_encoder(self, item_tp: Any) -> StreamEncoder | None:
        return None


MSGPACK = _Msgpack()


def _refuse_extension(code: int, _data: memoryview) -> Any:
    raise msgspec.DecodeError(f"extension type {code} is unknown; known is -1, the timestamp")


_untyped: Callable[[bytes], Any] = msgspec.msgpack.Decoder(ext_hook=_refuse_extension).decode

# The head of a float32 or float64 and an exponent of ones only (IEEE 754). No UTF-8 text holds these bytes,
# so only numbers and binary data can be taken for it, and then the values themselves are looked at.
_NOT_FINITE = re.compile(rb"[\xca\xcb][\x7f\xff][\x80-\xff]")


def _refuse_not_finite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise refused("$", "a finite number", str(value))
    if isinstance(value, dict):
        _refuse_not_finite([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_not_finite(item)


_level: Callable[[Any], Any] = msgspec.msgpack.Decoder(
    dict[str | int | float | bool | None, msgspec.Raw] | list[msgspec.Raw]
).decode
_HEADS = frozenset([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""The first bytes of maps and arrays."""


def _refuse_compound_keys(data: bytes) -> None:
    """Refuse maps keyed by arrays, or by binary: untyped, they become tuples, whose hashes can be made to
    collide."""
    waiting: list[Any] = [data]
    budget = LEVELS_MAX * len(data)
    while waiting:
        held = waiting.pop()
        view = memoryview(held)
        budget -= len(view)
        if budget < 0:
            raise msgspec.DecodeError(f"nested deeper than {LEVELS_MAX} levels")
        if view[0] in _HEADS:
            level = _level(held)
            waiting.extend(level.values() if isinstance(level, dict) else level)
