"""JSON, RFC 8259.

Numbers out of range, NaN and Infinity are refused. Where an object has a name twice, the last one counts
(RFC 8259, section 4, leaves it open). A float that is not finite leaves as null, for JSON has no other word
for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from toque.codecs.depth import shallow_json
from toque.codecs.problem import problem_encoder
from toque.codecs.refusing import refusing
from toque.codecs.stream import StreamEncoder
from toque.codecs.suspicion import suspicion
from toque.contract.conversion import dec_hook, enc_hook, faults_of
from toque.contract.errors import Fault, Problem
from toque.contract.guard import key_guard
from toque.contract.nodes import holds_carried, is_endless

__all__ = ["JSON", "can_carry", "encode", "proven_text"]

AGAIN_BYTES_MAX = 64 * 1024
"""Of a refused body that is read again for all its faults: far more than a form that people fill in, and small enough
that a second reading without its type, which takes some thirty times its size, hurts nobody."""

encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=enc_hook).encode


class _Json:
    name = "json"
    media_types: tuple[str, ...] = ("application/json",)
    problem_media_type = "application/problem+json"

    def decoder(self, tp: Any) -> Callable[[bytes], Any] | None:
        if not can_carry(tp):
            return None
        typed: Callable[[bytes], Any] = msgspec.json.Decoder(tp, dec_hook=dec_hook).decode
        if is_endless(tp):
            typed = shallow_json(typed)
        look_again = partial(_faults, tp)
        guard = key_guard(tp)
        if guard is None:
            return refusing("JSON", lambda data: typed(data if data.isascii() else proven_text(data)), look_again)

        is_suspect = suspicion(tp)

        def decode(data: bytes) -> Any:
            if is_suspect(data):
                guard(msgspec.json.decode(data))
            return typed(data if data.isascii() else proven_text(data))

        return refusing("JSON", decode, look_again)

    def encoder(self, tp: Any) -> Callable[[Any], bytes] | None:
        if tp is Problem:
            return problem_encoder(encode)
        return encode if can_carry(tp) else None

    def stream_encoder(self, item_tp: Any) -> StreamEncoder | None:
        return StreamEncoder(encode, b"[", b",", b"]") if can_carry(item_tp) else None


JSON = _Json()


def _faults(tp: Any, data: bytes) -> list[Fault]:
    if len(data) > AGAIN_BYTES_MAX:
        return []
    try:
        return faults_of(msgspec.json.decode(data), tp)
    except (msgspec.DecodeError, RecursionError):
        return []


def proven_text(data: bytes) -> bytes:
    """*data*, once all of it is UTF-8 (RFC 8259, section 8.1): msgspec does not look into what it skips."""
    data.decode()
    return data


def can_carry(tp: Any) -> bool:
    """Whether *tp* is made of plain values: all but uploaded files."""
    return not holds_carried(tp)
