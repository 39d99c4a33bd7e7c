"""Files of a folder over HTTP, with validators, ranges and precompressed variants.

A name is looked up by its metadata alone; the web server reads and sends the content outside the event loop.
Source: RFC 9110, sections 8.8, 12.5.3, 13 and 14; RFC 8246 (`immutable`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from toque.codecs.negotiation import choose_coding
from toque.contract.errors import Error, NotFound, PreconditionFailed, RangeNotSatisfiable
from toque.contract.module import StaticFiles
from toque.transports.conditions import Unsatisfiable, http_date, precondition, wanted_range
from toque.transports.file_types import headers_of, is_compressible, media_type_of
from toque.transports.replies import Headers, answered, refuse
from toque.transports.router import Endpoint

__all__ = ["problem", "static_endpoint"]

VARIANTS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
"""Content codings, best first, and how a file compressed in advance is named: `app.css.br`."""

IMMUTABLE = "public, max-age=31536000, immutable"
"""A year: the longest that caches keep anything (RFC 9111, 1.2.2 takes more, none uses it)."""

# `name.<8+ hex>.ext`. Digits alone are more likely a date, and a hash has none but digits once in 43 times.
_HASHED = re.compile(r".+\.(?=\d*[a-f])[0-9a-f]{8,}\.[^/]+")


def static_endpoint(files: StaticFiles) -> Endpoint:
    """What answers GET and HEAD below `files.path`; its route's template is that path and `/{*}`."""
    folder = os.path.realpath(files.folder)

    def answer(scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> Awaitable[None]:
        try:
            _answer(scope, asked, proto, folder, segments[0])
        except Error as error:
            refuse(scope, proto, error)
        return answered()

    return answer


def problem(files: StaticFiles) -> str | None:
    """Why *files* cannot be served, or None."""
    return None if files.folder.is_dir() else f"there is no folder {files.folder}"


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is now, or its variant in a content coding."""

    path: str
    size: int
    modified_ns: int
    coding: str = ""

    @property
    def modified_s(self) -> int:
        return self.modified_ns // 1_000_000_000

    @property
    def etag(self) -> str:
        """Strong as far as no two contents of one size bear one date (in ns); the same on every worker."""
        return f'"{self.modified_ns:x}-{self.size:x}{self.coding and "-" + self.coding}"'


def _answer(scope: Any, asked: Any, proto: Any, folder: str, name: str) -> None:
    file = _find(folder, name)
    if file is None:
        # A folder's page has relative links, which need the slash at the end of its address.
        proto.response_empty(308, [("location", quote(name.rpartition("/")[2]) + "/"), ("content-length", "0")])
        return
    media_type = media_type_of(file.path)
    headers: Headers = [
        ("cache-control", IMMUTABLE if _HASHED.fullmatch(os.path.basename(file.path)) else "no-cache"),
        *headers_of(media_type),
    ]
    if is_compressible(media_type):
        headers.append(("vary", "accept-encoding"))
        file = _smallest(file, asked.get("accept-encoding"))
        headers += [("content-encoding", file.coding)] if file.coding else []
    etag = file.etag
    headers += [("etag", etag), ("last-modified", http_date(file.modified_s)), ("accept-ranges", "bytes")]
    status = precondition(asked, etag, file.modified_s)
    if status == 412:
        raise PreconditionFailed("the file is another version by now")
    if status == 304:
        proto.response_empty(304, headers)
        return
    _send(scope, asked, proto, file, [("content-type", media_type), *headers])


def _send(scope: Any, asked: Any, proto: Any, file: _File, headers: Headers) -> None:
    part = None
    try:
        if scope.method == "GET":  # Range is defined for no other (RFC 9110, 14.2).
            part = wanted_range(asked, file.size, file.etag, file.modified_s)
    except Unsatisfiable:
        length = ("content-range", f"bytes */{file.size}")
        refuse(scope, proto, RangeNotSatisfiable(f"the file has {file.size} bytes"), [length])
        return
    if part is None:
        proto.response_file(200, [*headers, ("content-length", str(file.size))], file.path)
        return
    start, end = part
    headers = [
        *headers,
        ("content-range", f"bytes {start}-{end - 1}/{file.size}"),
        ("content-length", str(end - start)),
    ]
    proto.response_file_range(206, headers, file.path, start, end)


def _find(folder: str, name: str) -> _File | None:
    """The file that *name* means, or None where it means a folder and lacks the slash.

    Raises: NotFound also for what must not be found: hidden names, and whatever lies outside *folder*.
    """
    is_folder = name == "" or name.endswith("/")
    parts = name.removesuffix("/").split("/") if name else []
    if "\0" in name or "\\" in name or any(part == "" or part.startswith(".") for part in parts):
        raise NotFound("there is no such file")
    path, entry = _look(folder, os.path.join(folder, *parts))
    if stat.S_ISDIR(entry.st_mode):
        if not is_folder:
            _look(folder, os.path.join(path, "index.html"))
            return None
        path, entry = _look(folder, os.path.join(path, "index.html"))
    elif is_folder:
        raise NotFound("there is no such folder")
    if not stat.S_ISREG(entry.st_mode):
        raise NotFound("there is no such file")
    return _File(path, entry.st_size, entry.st_mtime_ns)


def _look(folder: str, path: str) -> tuple[str, os.stat_result]:
    """The true path, all links followed, and what is there. Raises: NotFound where it is outside *folder*."""
    try:
        path = os.path.realpath(path, strict=True)
        if path == folder or path.startswith(folder + os.sep):
            return path, os.stat(path)
    except (OSError, ValueError):
        pass  # Not there, not ours to read, a circle of links, or no name that a file could have.
    raise NotFound("there is no such file")


def _smallest(file: _File, accept_encoding: str | None) -> _File:
    """*file*, or its variant in the best coding that the caller takes. An older one is not its variant."""
    found: dict[str, _File] = {}
    for coding, suffix in VARIANTS.items() if accept_encoding else ():
        try:
            entry = os.lstat(file.path + suffix)
        except OSError:
            continue
        if stat.S_ISREG(entry.st_mode) and entry.st_mtime_ns >= file.modified_ns:
            found[coding] = _File(file.path + suffix, entry.st_size, entry.st_mtime_ns, coding)
    chosen = choose_coding(accept_encoding or "", tuple(found)) if found else None
    return file if chosen is None else found[chosen]
