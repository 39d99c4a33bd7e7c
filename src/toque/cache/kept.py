"""An answer as it is kept: in bytes, so that nobody who is given it can change what the next one is given."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from toque.codecs.msgpack import encode
from toque.contract.conversion import dec_hook, enc_hook
from toque.contract.nodes import holds

__all__ = ["Canonical", "KeptAnswer", "Unfit"]

F = TypeVar("F")

json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=enc_hook).encode

_NOTHING: Any = object()


class Unfit(Exception):
    """An answer that does not come back from its bytes as it was."""


class Canonical:
    """How answers of one type become bytes, and values again."""

    def __init__(self, tp: Any) -> None:
        # Of a time with a zone, MessagePack keeps the moment alone.
        has_times = holds(tp, inspect.DateTimeType)
        self._encode = json if has_times else encode
        decoder = msgspec.json.Decoder if has_times else msgspec.msgpack.Decoder
        self._decode: Callable[[bytes], Any] = decoder(tp, dec_hook=dec_hook).decode
        self._may_be_anything = holds(tp, inspect.AnyType)

    def kept(self, value: Any) -> KeptAnswer:
        """*value*, which is as the type says, to keep. Raises: Unfit."""
        try:
            body = self._encode(value)
            again = self._decode(body)
            # What equals nothing, as NaN and an hour that comes twice, has its bytes. A zone is no part of what makes
            # two times equal.
            is_same = again == value or self._encode(again) == body
            if is_same and self._may_be_anything:
                is_same = json(again) == json(value)
        except Exception as error:
            raise Unfit(f"it cannot be kept as bytes: {error}") from error
        if not is_same:
            raise Unfit("it does not come back from its bytes as it was")
        return KeptAnswer(body, self._decode, again)

    def read(self, body: bytes) -> KeptAnswer:
        """The answer that was kept as *body*. Raises: Unfit."""
        try:
            return KeptAnswer(body, self._decode, self._decode(body))
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise Unfit(f"these bytes are none of its answers: {error}") from error


class KeptAnswer:
    """One answer, and the forms in which it has left."""

    __slots__ = ("_decode", "_forms", "_spare", "body", "control", "is_personal", "labels", "on_grown", "weight")

    def __init__(self, body: bytes, decode: Callable[[bytes], Any], spare: Any = _NOTHING) -> None:
        self.body = body
        self.weight = len(body)
        self.is_personal = True
        """Whether it was found to depend on its caller."""
        self.control = "private, no-cache"
        self.labels: list[tuple[str, str]] = []
        """What it says to caches on its way (`front.py`)."""
        self.on_grown: Callable[[KeptAnswer, int], None] | None = None
        """Told of the bytes that a form takes beside those of the answer itself."""
        self._decode = decode
        self._spare = spare
        self._forms: dict[Hashable, Any] = {}

    def value(self) -> Any:
        """The answer, as an object of whoever asks."""
        # The first is at hand: it was made to see whether the bytes are the answer.
        spare, self._spare = self._spare, _NOTHING
        return self._decode(self.body) if spare is _NOTHING else spare

    def form(self, key: Hashable) -> Any:
        """The form that was made under *key*; None where none was."""
        return self._forms.get(key)

    def add_form(self, key: Hashable, form: F, weight: int) -> F:
        """Keep *form*, which nobody changes, for all who ask for it under *key*."""
        self._forms[key] = form
        self.weight += weight
        if self.on_grown is not None:
            self.on_grown(self, weight)
        return form
