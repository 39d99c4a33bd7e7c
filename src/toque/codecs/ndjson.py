"""Newline-delimited JSON (the ndjson specification): a list, one item a line. Empty lines are skipped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from toque.codecs import json
from toque.codecs.refusing import refusing
from toque.codecs.stream import StreamEncoder
from toque.contract.conversion import dec_hook, enc_hook
from toque.contract.errors import Invalid
from toque.contract.faults import below, invalid
from toque.contract.guard import key_guard
from toque.contract.nodes import is_endless
from toque.contract.schema import list_item

__all__ = ["NDJSON"]


class _Ndjson:
    name = "ndjson"
    media_types: tuple[str, ...] = ("application/x-ndjson", "application/ndjson", "application/jsonl")
    problem_media_type = ""

    def decoder(self, tp: Any) -> Callable[[bytes], Any] | None:
        item = list_item(tp)
        if item is None or not json.can_carry(tp):
            return None
        if key_guard(item) is not None or is_endless(item):
            # One line is one JSON text, so a second look at those that deserve it is JSON's own.
            read = json.JSON.decoder(item)
            assert read is not None, "what JSON can carry it decodes"
            return partial(_read_lines, read)
        typed = msgspec.json.Decoder(item, dec_hook=dec_hook).decode_lines
        return refusing("NDJSON", lambda data: typed(json.proven_text(data)))

    def encoder(self, tp: Any) -> Callable[[Any], bytes] | None:
        if list_item(tp) is None or not json.can_carry(tp):
            return None
        return msgspec.json.Encoder(enc_hook=enc_hook).encode_lines

    def stream_encoder(self, item_tp: Any) -> StreamEncoder | None:
        if not json.can_carry(item_tp):
            return None
        return StreamEncoder(lambda item: json.encode(item) + b"\n")


NDJSON = _Ndjson()


def _read_lines(read: Callable[[bytes], Any], data: bytes) -> list[Any]:
    values: list[Any] = []
    for line in data.splitlines():
        try:
            if line.strip():
                values.append(read(line))
        except Invalid as error:
            raise invalid(*below(f"$[{len(values)}]", error.faults)) from None
    return values
