"""`toque export`: the app's documents, for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from toque.cli.failures import Failure
from toque.cli.parameters import Target
from toque.cli.serve import settings_for
from toque.cli.target import load_app

__all__ = ["export"]


def export(
    document: Literal["openapi", "asyncapi", "manifest"], target: Target = ".", /, *, out: Path | None = None
) -> None:
    """Write the OpenAPI document, the AsyncAPI document or the manifest of the app TARGET, as JSON.

    - `toque export openapi shop --out openapi.json`
    - `toque export asyncapi shop --out asyncapi.json`
    - `toque export manifest shop > manifest.json`

    Args:
        document: `openapi` (3.1) for operations, `asyncapi` (3.0) for events, or `manifest` for `toque diff`.
        out: A file; the standard output unless given.
    """
    app = load_app(target)
    text = app.serve(settings_for(app)).document(document)
    if out is None:
        sys.stdout.buffer.write(text + b"\n")
        return
    try:
        out.write_bytes(text + b"\n")
    except OSError as error:
        raise Failure(f"cannot write {out}: {error.strerror}") from None
