"""Forms with files, multipart/form-data (RFC 7578), read as they arrive and in constant memory.

A file's bytes go to a temporary file without a name once they are more than a little. What the client calls
the file is data: no path is ever made of it. The body is parsed by the `multipart` library's push parser.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from toque.codecs.file import IN_MEMORY_MAX, File
from toque.codecs.flat import object_reader
from toque.codecs.negotiation import parse_media_type
from toque.contract.errors import Malformed, TooLarge

if TYPE_CHECKING:
    from multipart import PushMultipartParser  # type: ignore[import-untyped]

__all__ = ["MULTIPART", "MultipartLimits", "multipart_reader"]

BOUNDARY_MAX = 70
"""Characters of a boundary (RFC 2046, section 5.1.1)."""


class MultipartLimits(Struct, frozen=True):
    """How much one body may hold. The whole body's size is its transport's to limit."""

    parts_max: int = 1_000
    """As many as Django takes fields (`DATA_UPLOAD_MAX_NUMBER_FIELDS`)."""
    header_bytes_max: int = 8 * 1024
    """One line of a part's header: what nginx and Apache allow a request's header line."""
    headers_max: int = 8
    """Lines of a part's header: RFC 7578 knows three."""
    text_bytes_max: int = 1024 * 1024
    """All the parts that are no files, which stay in memory; Django's `DATA_UPLOAD_MAX_MEMORY_SIZE` is 2.5
    MB."""
    file_bytes_max: int | None = None


def multipart_reader(
    tp: Any, limits: MultipartLimits | None = None
) -> Callable[[AsyncIterable[bytes], str], Coroutine[Any, Any, Any]] | None:
    """What makes a *tp* of a body's chunks and its Content-Type, or None where multipart cannot carry one.

    The reader raises Malformed, Invalid or TooLarge, and then no file stays behind.
    """
    read_object = object_reader(tp)
    if read_object is None:
        return None

    async def read(chunks: AsyncIterable[bytes], content_type: str) -> Any:
        parts = _Parts(content_type, limits or MultipartLimits())
        try:
            async for chunk in chunks:
                # Writing to disk blocks, so it is done elsewhere as soon as some file is there.
                await asyncio.to_thread(parts.feed, chunk) if parts.is_on_disk else parts.feed(chunk)
            parts.finish()
            parts.rewind()
            return read_object(parts.pairs)
        except BaseException:
            parts.close()
            raise

    return read


class _Parts:
    """The parts of one body, as far as they have arrived."""

    def __init__(self, content_type: str, limits: MultipartLimits) -> None:
        self.pairs: list[tuple[str, str | File]] = []
        self.is_on_disk = False
        self._limits = limits
        self._parser = _parser(content_type, limits)
        self._name = ""
        self._file: File | None = None
        self._text: list[bytes] = []
        self._text_bytes = 0

    def feed(self, chunk: bytes) -> None:
        from multipart import MultipartError, ParserLimitReached

        if not chunk:
            return
        try:
            for event in self._parser.parse(chunk):
                if event is None:
                    self._end()
                elif isinstance(event, bytes | bytearray):
                    self._add(bytes(event))
                else:
                    self._begin(event)
        except ParserLimitReached as error:
            raise TooLarge(f"A part of the body is beyond a limit: {error}.") from error
        except MultipartError as error:
            raise Malformed(f"The body is not multipart/form-data: {error}.") from error
        except UnicodeDecodeError as error:
            raise Malformed(f"The body's text is not UTF-8: {error.reason}.") from error

    def finish(self) -> None:
        from multipart import MultipartError

        try:
            self._parser.close()
        except MultipartError as error:
            raise Malformed(f"The body ends too early: {error}.") from error

    def rewind(self) -> None:
        for _, held in self.pairs:
            if isinstance(held, File):
                held.open()

    def close(self) -> None:
        for held in [self._file, *(held for _, held in self.pairs)]:
            if isinstance(held, File):
                held.close()

    def _begin(self, segment: Any) -> None:
        if segment.name is None:
            raise Malformed("A part has no name (RFC 7578, section 4.2).")
        self._name = segment.name
        if segment.filename is not None:
            self._file = File(segment.filename, segment.content_type or "application/octet-stream")

    def _add(self, chunk: bytes) -> None:
        if self._file is None:
            self._text_bytes += len(chunk)
            if self._text_bytes > self._limits.text_bytes_max:
                raise TooLarge(f"The parts that are no files are larger than {self._limits.text_bytes_max} bytes.")
            self._text.append(chunk)
            return
        self._file.write(chunk)
        self.is_on_disk = self.is_on_disk or self._file.size_bytes > IN_MEMORY_MAX // 2
        most = self._limits.file_bytes_max
        if most is not None and self._file.size_bytes > most:
            raise TooLarge(f"A file is larger than {most} bytes.")

    def _end(self) -> None:
        if self._file is not None and not self._file.filename and not self._file.size_bytes:
            # How a browser says that no file was chosen (HTML, 4.10.22.4, "constructing the entry list").
            self._file.close()
            self._file = None
            return
        self.pairs.append((self._name, self._file or b"".join(self._text).decode()))
        self._file, self._text = None, []


def _parser(content_type: str, limits: MultipartLimits) -> PushMultipartParser:
    from multipart import MultipartError, PushMultipartParser

    media_type, parameters = parse_media_type(content_type)
    boundary = parameters.get("boundary", "")
    if media_type != "multipart/form-data" or not 0 < len(boundary) <= BOUNDARY_MAX or not boundary.isascii():
        raise Malformed(
            f"Expected a Content-Type of multipart/form-data and a boundary of 1 to {BOUNDARY_MAX} letters."
        )
    try:
        return PushMultipartParser(
            boundary,
            max_header_size=limits.header_bytes_max,
            max_header_count=limits.headers_max,
            max_segment_count=limits.parts_max,
        )
    except MultipartError as error:
        raise Malformed(f"The boundary is not usable: {error}.") from error


class _Multipart:
    """Input only, and only as it arrives: the boundary stands in the header, and a file may be larger than
    memory."""

    name = "multipart"
    media_types: tuple[str, ...] = ("multipart/form-data",)
    problem_media_type = ""

    def decoder(self, tp: Any) -> None:
        return None

    def encoder(self, tp: Any) -> None:
        return None

    def stream_encoder(self, item_tp: Any) -> None:
        return None


MULTIPART = _Multipart()
