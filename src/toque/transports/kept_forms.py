"""Kept answers over HTTP: bytes that were encoded and compressed once, with a tag by which a client asks for news only.

Source: RFC 9110, 8.8.3 (ETag) and 13.1.2 (If-None-Match); RFC 9111, 5.2 (Cache-Control).
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

from msgspec import Struct

from toque.cache.kept import KeptAnswer
from toque.cache.tags import tag
from toque.codecs import compression
from toque.codecs.negotiation import choose_coding
from toque.contract.freshness import BYPASS, STRICT, Freshness
from toque.transports.conditions import precondition
from toque.transports.replies import Headers, Offer

__all__ = ["HIT", "Form", "form_of", "freshness_of", "is_known"]

HIT = ("cache-status", "toque; hit")

DIGITS_MAX = 9
"""Of `max-age`: thirty years."""


class Form(Struct, frozen=True):
    """An answer in one format and one content coding; nobody changes its headers."""

    name: Hashable
    """Under which an answer has it."""
    headers: Headers
    body: bytes
    etag: str
    brief: Headers
    """What a 304 says (RFC 9110, 15.4.5)."""


def form_of(kept: KeptAnswer, offer: Offer, asked: Any, compress_from: int) -> Form:
    """*kept* as *offer* has it, in the content coding that the headers *asked* prefer: made once, if it lasts."""
    plain: Form | None = kept.form(offer.media_type)
    if plain is None:
        body = offer.encode(kept.value())
        plain = _form(kept, offer, body, None, len(body) >= compress_from)
        if offer.is_lasting:
            kept.add_form(offer.media_type, plain, len(body))
    if len(plain.body) < compress_from:
        return plain
    coding = choose_coding(asked.get("accept-encoding") or "", compression.AVAILABLE)
    if coding is None:
        return plain
    key = (offer.media_type, coding)
    found: Form | None = kept.form(key)
    if found is None:
        body = compression.compress(plain.body, coding)
        found = _form(kept, offer, body, coding, True)
        if offer.is_lasting:
            kept.add_form(key, found, len(body))
    return found


def is_known(asked: Any, form: Form) -> bool:
    """Whether the caller has said, in the headers *asked*, that he has *form* already."""
    return asked.get("if-none-match") is not None and precondition(asked, form.etag) == 304


def freshness_of(cache_control: str | None) -> Freshness | None:
    """What a request's `Cache-Control` demands (RFC 9111, 5.2.1); None where nothing. What is none is passed over."""
    if cache_control is None:
        return None
    bound_s: float | None = None
    for directive in cache_control.lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "no-store":
            return BYPASS
        if name == "no-cache":
            bound_s = 0.0
        elif name == "max-age" and value.isascii() and value.isdigit() and len(value) <= DIGITS_MAX:
            bound_s = min(float(value), float("inf") if bound_s is None else bound_s)
    if bound_s is None:
        return None
    return Freshness(bound_s=bound_s) if bound_s else STRICT


def _form(kept: KeptAnswer, offer: Offer, body: bytes, coding: str | None, has_codings: bool) -> Form:
    etag = tag(body)
    vary = [value for name, value in offer.headers if name == "vary"]
    if has_codings:
        vary.append("accept-encoding")
    if kept.is_personal:
        vary.append("authorization")
    brief = [
        ("etag", etag),
        _shared("cache-control", kept.control),
        _shared("vary", ", ".join(vary)),
        *kept.labels,
    ]
    own = [header for header in offer.headers if header[0] not in ("cache-control", "vary")]
    coded = [] if coding is None else [("content-encoding", coding)]
    name = offer.media_type if coding is None else (offer.media_type, coding)
    return Form(name, [*own, *brief, *coded, HIT], body, etag, [*brief, HIT])


@functools.lru_cache(256)
def _shared(name: str, value: str) -> tuple[str, str]:
    """A header that most answers have: one object, so that it is in a processor's cache."""
    return name, value
