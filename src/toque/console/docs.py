"""The documentation page: every operation, readable and callable, made in the browser of `/openapi.json`."""

from __future__ import annotations

from pathlib import Path

from toque.contract.module import StaticFiles
from toque.transports.document import document_endpoint
from toque.transports.replies import PAGE_HEADERS
from toque.transports.router import Endpoint
from toque.transports.static import static_endpoint

__all__ = ["DOCS_FILES", "docs_endpoints"]

DOCS_FILES = StaticFiles("/docs", Path(__file__).parent / "assets")


def docs_endpoints() -> dict[str, Endpoint]:
    """What answers GET at each of the page's route templates."""
    page = DOCS_FILES.folder / "page.html"
    return {
        DOCS_FILES.path: document_endpoint(lambda _root: page.read_bytes(), "text/html; charset=utf-8", PAGE_HEADERS),
        f"{DOCS_FILES.path}/{{*}}": static_endpoint(DOCS_FILES),
    }
