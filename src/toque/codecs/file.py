"""A file that came with a form: what was said of it, and its bytes.

They go to a temporary file without a name once they are more than a little. What the client calls the file is
data: no path is ever made of it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import IO, Any, ClassVar

from toque.contract.nodes import holds
from toque.contract.signature import Place, Signature

__all__ = ["IN_MEMORY_MAX", "File", "takes_upload"]

IN_MEMORY_MAX = 64 * 1024
"""Bytes of a file kept in memory: one chunk of most servers, and a thousand such uploads are 64 MiB."""
CHUNK_BYTES = 64 * 1024
"""Bytes read from a file at a time: what shutil copies at a time on POSIX."""


class File:
    """An uploaded file: its name as the client gave it, its media type, its size and its bytes.

    Async code awaits `read()` or loops with `async for`; plain code reads `open()`, an ordinary binary
    file, or loops with `for`. The bytes are gone when the file is closed, at the latest when nothing refers
    to it any more."""

    __json_schema__: ClassVar[dict[str, Any]] = {
        "type": "string",
        "format": "binary",
        "contentMediaType": "application/octet-stream",
    }
    __slots__ = ("_held", "filename", "media_type", "size_bytes")

    def __init__(self, filename: str, media_type: str) -> None:
        self.filename = filename
        self.media_type = media_type
        self.size_bytes = 0
        self._held: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX)  # noqa: SIM115 (see close)

    def open(self) -> IO[bytes]:
        """The file itself, at its start."""
        self._held.seek(0)
        return self._held

    async def read(self, size: int = -1) -> bytes:
        """The next *size* bytes, or all that follow; off the event loop where they are on disk."""
        if self.size_bytes <= IN_MEMORY_MAX:
            return self._held.read(size)
        return await asyncio.to_thread(self._held.read, size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._held.seek(0)
        while chunk := await self.read(CHUNK_BYTES):
            yield chunk

    def __iter__(self) -> Iterator[bytes]:
        self._held.seek(0)
        while chunk := self._held.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        self._held.close()

    def write(self, chunk: bytes) -> None:
        """Append *chunk*: the reader of the body fills the file with it."""
        self._held.write(chunk)
        self.size_bytes += len(chunk)

    def __repr__(self) -> str:
        return f"File({self.filename!r}, {self.media_type!r}, {self.size_bytes} bytes)"

    def __del__(self) -> None:
        # A file that nobody closed gives its disk space back here; quietly, for that is the usual case.
        held = getattr(self, "_held", None)
        if held is not None:
            held.close()


def takes_upload(signature: Signature) -> bool:
    """Whether an input is read as it comes, or is a file with a place up to which it was read: neither comes twice."""
    return any(found.place is Place.UPLOAD or holds(found.type, File) for found in signature.inputs)
