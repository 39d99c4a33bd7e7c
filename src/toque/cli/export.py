"""`toque export`: the app's documents, for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from toque.cli.run import settings_for
from toque.cli.target import load_app

__all__ = ["export"]


def export(document: Literal["openapi", "manifest"], target: str = ".", *, out: Path | None = None) -> None:
    """Write a document of the app TARGET as JSON.

    Parameters
    ----------
    document: `openapi` (OpenAPI 3.1) or `manifest` (everything the app offers, for comparing releases).
    target: `package.module:app`, a file or a folder.
    out: a file; the standard output unless given.
    """
    app = load_app(target)
    text = app.serve(settings_for(app)).document(document)
    if out is None:
        sys.stdout.buffer.write(text + b"\n")
    else:
        out.write_bytes(text + b"\n")
