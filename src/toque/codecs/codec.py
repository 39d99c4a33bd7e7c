"""What a format can do, and the table of the formats.

A codec is asked once per type, when a plan is compiled, and answers with a callable or with None where the
format cannot carry the type: so only what works is ever offered. Whatever bytes come in, a decoder answers
with a value or with Malformed, Invalid or TooLarge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from toque.codecs.csv import CSV
from toque.codecs.form import FORM
from toque.codecs.json import JSON
from toque.codecs.msgpack import MSGPACK
from toque.codecs.multipart import MULTIPART
from toque.codecs.ndjson import NDJSON
from toque.codecs.stream import StreamEncoder

__all__ = ["CODECS", "Codec", "StreamEncoder"]


class Codec(Protocol):
    """One message format."""

    @property
    def name(self) -> str: ...

    @property
    def media_types(self) -> tuple[str, ...]:
        """The media types that name it; the first is what is sent, with its charset where that is usual."""
        ...

    @property
    def problem_media_type(self) -> str:
        """The media type of its problem documents; empty where they are sent as JSON."""
        ...

    def decoder(self, tp: Any) -> Callable[[bytes], Any] | None:
        """What reads a *tp*; None where the format cannot carry it."""

    def encoder(self, tp: Any) -> Callable[[Any], bytes] | None:
        """What writes a *tp*; None where the format cannot carry it."""

    def stream_encoder(self, item_tp: Any) -> StreamEncoder | None:
        """What writes items of *item_tp* one after the other; None where the format has no such form."""


_ALL: tuple[Codec, ...] = (JSON, MSGPACK, NDJSON, CSV, FORM, MULTIPART)

CODECS: Mapping[str, Codec] = MappingProxyType({codec.name: codec for codec in _ALL})
"""Every format by its name; the first is for those who do not care."""
