"""A document that the app makes of itself once, answered with a validator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from toque.codecs import compression
from toque.codecs.negotiation import choose_coding
from toque.contract.errors import PreconditionFailed
from toque.transports.conditions import precondition
from toque.transports.replies import DATA_HEADERS, Headers, refuse
from toque.transports.router import Endpoint, root_path_of

__all__ = ["document_endpoint"]

VERSIONS_MAX = 16
"""Versions that are kept: four codings of a few mounts. Where a mount has parameters in its path, clients make more."""


def document_endpoint(
    make: Callable[[str], bytes], media_type: str = "application/json", headers: Headers = DATA_HEADERS
) -> Endpoint:
    """What answers GET and HEAD with the document that *make* makes, of the path where the app is mounted, when it is
    first asked for."""
    versions: dict[tuple[str, str | None], tuple[str, Headers, bytes]] = {}

    def version(root: str, coding: str | None) -> tuple[str, Headers, bytes]:
        body = make(root)
        etag = sha256(body).hexdigest()[:32]
        reply: Headers = [("cache-control", "no-cache"), ("vary", "accept-encoding"), *headers]
        if coding is not None:
            body = compression.compress(body, coding)
            # Other bytes, so another strong validator (RFC 9110, 8.8.3.3).
            etag += f"-{coding}"
            reply.append(("content-encoding", coding))
        return f'"{etag}"', [*reply, ("etag", f'"{etag}"')], body

    async def answer(scope: Any, asked: Any, proto: Any, segments: tuple[str, ...]) -> None:
        coding = choose_coding(asked.get("accept-encoding") or "", compression.AVAILABLE)
        key = root_path_of(scope), coding
        if key not in versions:
            if len(versions) >= VERSIONS_MAX:
                versions.clear()
            # Making and compressing a large document takes longer than the event loop may stand still.
            versions[key] = await asyncio.to_thread(version, *key)
        etag, reply, body = versions[key]
        status = precondition(asked, etag)
        if status == 412:
            refuse(scope, proto, PreconditionFailed("the document is another version by now"))
        elif status == 304:
            proto.response_empty(304, reply)
        else:
            proto.response_bytes(200, [("content-type", media_type), *reply], body)

    return answer
