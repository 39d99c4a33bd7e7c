"""A backup's file: a ZIP with a manifest and its parts, each with its checksum.

Any tool opens it. It holds all of an app's data, so only its owner may read it.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO, Literal

import msgspec
from msgspec import Struct, field

from toque.store.moving.site import MovingError

__all__ = ["Archive", "Draft", "Manifest", "Part", "Sequence", "open_archive", "writing"]

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20
# The lowest level is four times as fast as zlib's default and 10 % larger: a backup is made often and read seldom.
LEVEL = 1

Kind = Literal["sqlite", "postgresql"]


class Part(Struct, kw_only=True):
    """One file of the archive."""

    name: str
    bytes: int
    sha256: str
    table: str = ""
    """The table that it holds; empty where it holds the whole database."""
    columns: list[str] = []
    rows: int = 0


class Sequence(Struct, kw_only=True):
    """Where a sequence of PostgreSQL stands."""

    name: str
    last: int
    is_called: bool


class Manifest(Struct, kw_only=True):
    """What an archive holds."""

    database: Kind
    app: str
    app_version: str
    revision: str | None
    """The migration that the database was at; None where it has none."""
    tables: dict[str, int]
    """How many rows each table has."""
    parts: list[Part] = []
    sequences: list[Sequence] = []
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    toque: str = field(default_factory=lambda: version("toque"))
    format: int = FORMAT


class Draft:
    """An archive that is being written."""

    def __init__(self, file: zipfile.ZipFile, folder: Path) -> None:
        self.folder = folder
        """Where large temporary files may stand: on the disk that the archive is written to."""
        self._file = file
        self._parts: list[Part] = []

    @contextmanager
    def part(self, name: str, table: str = "", columns: list[str] | None = None) -> Iterator[_Measured]:
        """Add a part; what is written to it is measured on the way. Set its `rows` before the end."""
        with self._file.open(name, "w", force_zip64=True) as file:
            measured = _Measured(file)
            yield measured
        self._parts.append(
            Part(
                name=name,
                table=table,
                columns=columns or [],
                rows=measured.rows,
                bytes=measured.bytes,
                sha256=measured.hash.hexdigest(),
            )
        )

    def end(self, manifest: Manifest) -> None:
        manifest.parts = self._parts
        self._file.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))


class _Measured:
    def __init__(self, file: IO[bytes]) -> None:
        self.bytes = 0
        self.rows = 0
        self.hash = sha256()
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.hash.update(data)
        self.bytes += len(data)

    def copy(self, file: Path) -> None:
        with file.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                self.write(chunk)


@contextmanager
def writing(file: Path) -> Iterator[Draft]:
    """A new archive at *file*, which is there whole when this ends well, and not at all otherwise."""
    if file.exists():
        raise MovingError(f"there is a file {file} already; a backup replaces none")
    file.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp and mkdtemp make what their owner alone may read.
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    draft = Path(name)
    try:
        with (
            os.fdopen(handle, "wb") as opened,
            tempfile.TemporaryDirectory(prefix=".toque-", dir=file.parent) as folder,
        ):
            with zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
                yield Draft(archive, Path(folder))
            opened.flush()
            os.fsync(opened.fileno())
        # A link fails where a file has come meanwhile; a rename would replace it.
        os.link(draft, file)
    except FileExistsError:
        raise MovingError(f"there is a file {file} already; a backup replaces none") from None
    finally:
        draft.unlink(missing_ok=True)


class Archive:
    """An archive that is read."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        try:
            self.manifest = msgspec.json.decode(file.read(MANIFEST), type=Manifest)
        except (KeyError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise MovingError(f"the file has no manifest of a backup: {error}") from error
        if self.manifest.format > FORMAT:
            raise MovingError(
                f"the backup has format {self.manifest.format}, and this version reads {FORMAT}; "
                f"use toque {self.manifest.toque} or newer"
            )

    def verify(self) -> None:
        """Raises: MovingError where a part is missing, or is not what was written."""
        for part in self.manifest.parts:
            for _ in self.chunks(part):
                pass

    def chunks(self, part: Part) -> Iterator[bytes]:
        """The bytes of *part*. Raises: MovingError at its end where its checksum is another."""
        found = sha256()
        try:
            with self._file.open(part.name) as source:
                while chunk := source.read(CHUNK_BYTES):
                    found.update(chunk)
                    yield chunk
        except (KeyError, zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
            raise MovingError(f"the backup is damaged: {part.name}: {error}") from error
        if found.hexdigest() != part.sha256:
            raise MovingError(f"the backup is damaged: {part.name} has another checksum than its manifest says")

    def extract(self, part: Part, file: Path) -> None:
        """Write *part* to *file*."""
        with file.open("wb") as target:
            for chunk in self.chunks(part):
                target.write(chunk)


@contextmanager
def open_archive(file: Path) -> Iterator[Archive]:
    """The archive at *file*. Raises: MovingError where there is none."""
    try:
        opened = zipfile.ZipFile(file)
    except FileNotFoundError:
        raise MovingError(f"there is no file {file}") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise MovingError(f"{file} is no backup: {error}") from error
    with opened:
        yield Archive(opened)
