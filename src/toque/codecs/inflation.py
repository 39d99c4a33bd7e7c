"""Request bodies without their content coding (RFC 9110, section 8.4.1).

They pass through a cap, because 1 MB of zeros is 1 kB of gzip."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

from toque.codecs.compression import AVAILABLE
from toque.contract.errors import Malformed, TooLarge, UnsupportedMediaType

__all__ = ["inflate"]

RATIO_MAX = 200
"""Bytes out for a byte in: Apache's `DeflateInflateRatioLimit`. Deflate itself ends at 1 032."""
RATIO_FROM_BYTES = 64 * 1024
"""From where the ratio counts: what is smaller harms nobody."""
ZSTD_WINDOW_MAX = 8 * 1024 * 1024
"""The largest window of the content coding (RFC 9659, section 3)."""
STEP_BYTES = 64 * 1024
"""Bytes inflated at a time."""
ZSTD_SLICE_BYTES = 128
"""Bytes given to zstd at a time, which cannot stop in between: four bytes make a block of 128 KiB (RFC
8878, 3.1.1.2), so a slice makes at most 4 MiB."""


def inflate(body: bytes, content_encoding: str, bytes_max: int) -> bytes:
    """*body* without its content coding.

    Raises: UnsupportedMediaType for an unknown coding or several, TooLarge beyond *bytes_max* or RATIO_MAX,
    Malformed where the bytes are not what the coding says.
    """
    coding = content_encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    steps = _STEPS.get(coding)
    if steps is None:
        known = ", ".join(_STEPS)
        raise UnsupportedMediaType(f"Expected Content-Encoding to be one of {known}, got {coding[:100]!r}.")
    out: list[bytes] = []
    size = 0
    try:
        for piece in steps(body):
            out.append(piece)
            size += len(piece)
            if size > bytes_max:
                raise TooLarge(f"The body is larger than {bytes_max} bytes without its {coding}.")
            if size > RATIO_FROM_BYTES and size > RATIO_MAX * len(body):
                raise TooLarge(f"The body is more than {RATIO_MAX} times as large without its {coding}.")
    except (zlib.error, _Broken) as error:
        raise Malformed(f"The body is not {coding}: {error}.") from error
    return b"".join(out)


class _Broken(ValueError):
    """The bytes are not what their coding says."""


def _deflated(body: bytes) -> Iterator[bytes]:
    """What HTTP calls deflate is zlib's format (section 8.4.1.2); some send bare deflate, and are
    understood."""
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _zlib_steps(body, 15 if is_zlib else -15)


def _gzipped(body: bytes) -> Iterator[bytes]:
    return _zlib_steps(body, 31)


def _zlib_steps(body: bytes, wbits: int) -> Iterator[bytes]:
    while True:
        state = zlib.decompressobj(wbits)
        rest = body
        while not state.eof:
            piece = state.decompress(rest, STEP_BYTES)
            rest = state.unconsumed_tail
            if not piece and not state.eof:
                raise _Broken("it ends too early")
            yield piece
        body = state.unused_data
        if not body:
            return
        # RFC 1952, section 2.2: a gzip file may be several, one behind the other.
        if wbits != 31:
            raise _Broken("bytes follow its end")


def _brotlied(body: bytes) -> Iterator[bytes]:
    import brotli  # type: ignore[import-untyped]

    state: Any = brotli.Decompressor()
    rest = body
    try:
        while not state.is_finished():
            piece = state.process(rest, output_buffer_limit=STEP_BYTES)
            rest = b""
            if not piece and not state.is_finished() and state.can_accept_more_data():
                raise _Broken("it ends too early")
            yield bytes(piece)
    except brotli.error as error:
        raise _Broken(str(error)) from error


def _zstandarded(body: bytes) -> Iterator[bytes]:
    import zstandard

    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
    rest = memoryview(body)
    is_whole = False
    try:
        while rest:
            # Several frames may follow one another (RFC 8878, section 3).
            state = unpacker.decompressobj()
            while rest and not state.eof:
                piece = rest[:ZSTD_SLICE_BYTES]
                yield state.decompress(piece)
                rest = rest[len(piece) - len(state.unused_data) :]
            is_whole = state.eof
    except zstandard.ZstdError as error:
        raise _Broken(str(error)) from error
    if not is_whole:
        raise _Broken("it ends too early")


_STEPS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gzipped,
    "x-gzip": _gzipped,
    "deflate": _deflated,
    **{name: steps for name, steps in (("br", _brotlied), ("zstd", _zstandarded)) if name in AVAILABLE},
}
