"""What a file is, told by its name: its media type, whether compressing helps, what it may do in a browser.

Source: the WHATWG MIME Sniffing Standard and the IANA registry; the standard library for what is rare.
"""

from __future__ import annotations

from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING

from toque.transports.replies import DATA_HEADERS, PAGE_HEADERS, Headers

if TYPE_CHECKING:
    from mimetypes import MimeTypes

__all__ = ["headers_of", "is_compressible", "media_type_of"]

_TYPES = {
    ".avif": "image/avif",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".gif": "image/gif",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
"""Fixed, because the standard library also reads the machine's own tables and so differs between machines."""

_COMPRESSIBLE = (
    "text/", "application/json", "application/manifest+json", "application/wasm", "application/xml",
    "image/svg+xml", "font/otf", "font/ttf",
)  # fmt: skip

_PAGE_TYPES = ("text/html", "text/javascript")
"""A script may be a worker, which is bound by the policy that comes with its own file."""


def media_type_of(name: str) -> str:
    """The media type of the file *name*; where it is not known, the one that no browser shows or runs."""
    suffix = PurePath(name).suffix.lower()
    if suffix in _TYPES:
        return _TYPES[suffix]
    guessed, coding = _known().guess_type(f"file{suffix}")
    return guessed if guessed and coding is None else "application/octet-stream"


@cache
def _known() -> MimeTypes:
    """Read from the machine's own files."""
    from mimetypes import MimeTypes

    return MimeTypes()


def is_compressible(media_type: str) -> bool:
    return media_type.startswith(_COMPRESSIBLE)


def headers_of(media_type: str) -> Headers:
    """What browsers are told about a file of this type."""
    if media_type.startswith(_PAGE_TYPES):
        return PAGE_HEADERS
    return _PICTURE_HEADERS if media_type == "image/svg+xml" else DATA_HEADERS


# A drawing styles itself from within and may carry scripts: it may do the first, never the second.
_PICTURE_HEADERS: Headers = [
    *(header for header in DATA_HEADERS if header[0] != "content-security-policy"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
    ),
]
