"""MessagePack (the msgpack specification, 2.0), registered as application/vnd.msgpack, best known without
`vnd`.

Decimals and UUIDs travel as text, datetimes as RFC 3339 text; the timestamp extension is read too, others
are refused. An integer that 64 bits do not hold leaves as text. Where a map has a key twice, the last one
counts. A float that is not finite is refused on the way in; on the way out it stays what it is, because the
format has a form for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

from toque.codecs.depth import DEPTH_MAX
from toque.codecs.json import can_carry
from toque.codecs.problem import problem_encoder
from toque.codecs.refusing import refusing
from toque.codecs.stream import StreamEncoder
from toque.codecs.suspicion import suspicion
from toque.contract.conversion import dec_hook, enc_hook
from toque.contract.errors import Problem
from toque.contract.faults import refused
from toque.contract.guard import key_guard
from toque.contract.nodes import is_endless

__all__ = ["MSGPACK"]

_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=enc_hook).encode

LEVELS_MAX = 32
"""Levels of a body that is looked at closely, on average over its bytes: each level reads all below it once more."""

SMALL_BYTES = 4096
"""A shorter body may be deep, and holds below 400 colliding keys of eleven bytes (an array, a 64-bit number, a value):
some ms either way."""


def encode(value: Any) -> bytes:
    """*value* in MessagePack. A time with a zone is its timestamp, or text where that is in no year from 1 to 9999; an
    integer is text where 64 bits do not hold it: JSON brings such ones, and the format has no number for them."""
    try:
        return _encode(value)
    except OverflowError:
        plain = msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview), enc_hook=enc_hook)
        return _encode(_in_64_bits(plain))


def _in_64_bits(value: Any) -> Any:
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, dict):
        return {_in_64_bits(key): _in_64_bits(held) for key, held in value.items()}
    return [_in_64_bits(held) for held in value] if isinstance(value, list | tuple) else value


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
        # The smallest body that is looked at more closely, because it could hold what is refused.
        bytes_min = 1 if is_endless(tp) else SMALL_BYTES if guard is not None else math.inf

        def decode(data: bytes) -> Any:
            if len(data) >= bytes_min:
                _look_at_levels(data)
            if _NOT_FINITE.search(data) is not None:
                _refuse_not_finite(_untyped(data))
            if guard is not None and is_suspect(data):
                guard(_untyped(data))
            return typed(data)

        return refusing("MessagePack", decode)

    def encoder(self, tp: Any) -> Callable[[Any], bytes] | None:
        if tp is Problem:
            return problem_encoder(encode)
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


_level: Callable[[Any], Any] = msgspec.msgpack.Decoder(dict[str | int | float, msgspec.Raw] | list[msgspec.Raw]).decode
_HEADS = frozenset([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""The first bytes of maps and arrays."""


def _look_at_levels(data: bytes) -> None:
    """Refuse what is nested too deeply, and maps keyed by arrays or by binary: untyped, they become tuples, which no
    format writes as keys and whose hashes can be made to collide."""
    level: list[Any] = [data]
    budget = LEVELS_MAX * max(len(data), SMALL_BYTES)
    for _ in range(DEPTH_MAX + 1):
        inner: list[Any] = []
        for held in level:
            budget -= len(view := memoryview(held))
            if budget < 0:
                raise msgspec.DecodeError(f"too much of it is nested deeper than {LEVELS_MAX} levels")
            if view[0] in _HEADS:
                parts = _level(held)
                inner.extend(parts.values() if isinstance(parts, dict) else parts)
        if not inner:
            return
        level = inner
    raise msgspec.DecodeError(f"nested deeper than {DEPTH_MAX} levels")
