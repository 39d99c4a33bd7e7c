"""Forms, application/x-www-form-urlencoded (WHATWG URL, section 5), with the names that `flat` explains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus, urlencode

import msgspec

from toque.codecs.flat import object_reader
from toque.codecs.leaves import leaves_of, text_of
from toque.contract.conversion import enc_hook
from toque.contract.errors import Malformed, TooLarge
from toque.contract.nodes import holds_carried
from toque.contract.schema import left_fields_of

__all__ = ["FIELDS_MAX", "FORM"]

FIELDS_MAX = 1_000
"""As many fields as Django takes (`DATA_UPLOAD_MAX_NUMBER_FIELDS`)."""


class _Form:
    name = "form"
    media_types: tuple[str, ...] = ("application/x-www-form-urlencoded",)
    problem_media_type = ""

    def decoder(self, tp: Any) -> Callable[[bytes], Any] | None:
        read = object_reader(tp)
        # Files come in multipart only.
        if read is None or holds_carried(tp):
            return None
        return lambda data: read(_pairs(data))

    def encoder(self, tp: Any) -> Callable[[Any], bytes] | None:
        leaves = leaves_of(tp, left_fields_of)
        if leaves is None:
            return None

        def encode(value: Any) -> bytes:
            members = msgspec.to_builtins(value, enc_hook=enc_hook)
            pairs: list[tuple[str, str]] = []
            for leaf in leaves:
                held = leaf.of(members)
                items = held if isinstance(held, list | tuple) else () if held is None else (held,)
                pairs += [(leaf.name, text_of(item)) for item in items]
            return urlencode(pairs).encode("ascii")

        return encode

    def stream_encoder(self, item_tp: Any) -> None:
        return None


FORM = _Form()


def _pairs(data: bytes) -> list[tuple[str, str]]:
    fields = data.split(b"&", FIELDS_MAX)
    if len(fields) > FIELDS_MAX:
        raise TooLarge(f"The form has more than {FIELDS_MAX} fields.")
    try:
        halves = [field.decode().partition("=") for field in fields if field]
        return [(_unquoted(name), _unquoted(text)) for name, _, text in halves]
    except UnicodeDecodeError as error:
        raise Malformed(f"The form is not UTF-8: {error.reason}.") from error


def _unquoted(text: str) -> str:
    return unquote_plus(text, errors="strict")
